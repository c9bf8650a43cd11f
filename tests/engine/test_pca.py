"""Principal components: against a dense decomposition, PLINK 2, and themselves in other orders."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.structure import pca as engine_pca
from allscan.engine.structure.krylov import leading_eigenpairs
from allscan.engine.structure.pca import PcaSpec, PrincipalComponents, principal_components
from allscan.engine.structure.projection import project
from allscan.errors import CorruptChunkError, InputError
from allscan.kernels import standardised
from tests.engine.cohorts import Cohort, write_calls


class Backwards:
    """Gives tasks out from the last to the first."""

    def run(self, function: Any, shared: Any, tasks: Any, *, memory_bytes: int = 0) -> Iterator[tuple[Any, Any]]:
        assert memory_bytes > 0
        for task in reversed(list(tasks)):
            yield task, function(shared, task)


def structured_calls(seed: int, markers: int, people: int, populations: int = 4, spread: float = 0.1) -> Any:
    """Calls of populations that drifted apart, 2 % missing."""
    rng = np.random.default_rng(seed)
    ancestral = rng.uniform(0.1, 0.9, markers)
    shape = (1 - spread) / spread
    own = rng.beta(ancestral * shape, (1 - ancestral) * shape, (populations, markers))
    calls = rng.binomial(2, own[rng.integers(0, populations, people)].T).astype(np.int8)
    calls[rng.random(calls.shape) < 0.02] = -1
    return calls


def cohort_of(path: Path, calls: NDArray[np.int8], **options: Any) -> Cohort:
    v = len(calls)
    return write_calls(path, calls, np.zeros(v, np.int16), np.arange(1, v + 1, dtype=np.int32) * 100, ("1",), **options)


def dense(calls: NDArray[np.int8], people: NDArray[np.int64], number: int) -> tuple[Any, Any]:
    """Eigenvalues and eigenvectors of the relationship matrix, written out."""
    exact = np.where(calls[:, people] < 0, np.nan, calls[:, people])
    frequency = np.nanmean(exact, axis=1) / 2
    varies = (frequency > 0) & (frequency < 1)
    exact, frequency = exact[varies], frequency[varies, None]
    x = np.nan_to_num((exact - 2 * frequency) / np.sqrt(2 * frequency * (1 - frequency)))
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    return values[::-1][:number], vectors[:, ::-1][:, :number]


def agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Cosine of the largest angle between two subspaces."""
    return float(np.linalg.svd(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0], compute_uv=False).min())


def fit(
    cohort: Cohort, work: Path, people: NDArray[np.int64] | None = None, executor: Any = None, **spec: Any
) -> PrincipalComponents:
    rows = np.arange(cohort.store.n_variants)
    people = np.arange(cohort.store.n_samples) if people is None else people
    return principal_components(cohort.store, rows, people, PcaSpec(**spec), executor or EmbeddedExecutor(1), work)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """2,000 markers × 300 people of four populations; some markers are rare, and two do not vary."""
    calls = structured_calls(1, 2000, 300)
    calls[5:9] = -np.int8(1) * (calls[5:9] < 0)
    calls[5:7, 3] = 1
    return cohort_of(tmp_path_factory.mktemp("pca") / "store.zarr", calls)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pca, "PART_MARKERS", 100)
    monkeypatch.setattr(engine_pca, "MOST_TASKS", 7)
    monkeypatch.setattr(standardised, "TILE_VALUES", 300 * 40)


@pytest.mark.parametrize("share", [1.0, 0.6], ids=["everybody", "some"])
def test_components_are_those_of_the_dense_decomposition(
    cohort: Cohort, tmp_path: Path, small_parts: None, share: float
) -> None:
    people = np.flatnonzero(np.random.default_rng(2).random(300) < share)
    found = fit(cohort, tmp_path / "work", people, accuracy=0.005)
    values, vectors = dense(cohort.calls, people, 10)
    assert agreement(found.scores, vectors) >= 0.9999
    assert np.abs((found.scores * vectors).sum(axis=0)).min() >= 0.9999
    np.testing.assert_allclose(found.axes.eigenvalues, values, rtol=1e-4)
    assert (found.error <= 0.005).all()
    sine = np.sqrt(1 - np.minimum((found.scores * vectors).sum(axis=0) ** 2, 1))
    assert (sine <= 2 * found.error + 1e-3).all(), "the error that is told is a bound, to first order"
    np.testing.assert_allclose(found.axes.loadings.T @ found.axes.loadings, np.eye(10), atol=0.01)
    assert not list(tmp_path.glob("work/*"))


def test_neither_workers_nor_order_of_tasks_change_a_bit(cohort: Cohort, tmp_path: Path, small_parts: None) -> None:
    alone, *others = (
        fit(cohort, tmp_path / "work", executor=executor)
        for executor in (EmbeddedExecutor(1), EmbeddedExecutor(3), Backwards())
    )
    for other in others:
        assert other.scores.tobytes() == alone.scores.tobytes()
        assert other.axes.loadings.tobytes() == alone.axes.loadings.tobytes()
        assert other.axes.eigenvalues.tobytes() == alone.axes.eigenvalues.tobytes()


def test_parts_and_blocks_change_no_more_than_rounding(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(cohort, tmp_path / "work", accuracy=1e-4)
    monkeypatch.setattr(engine_pca, "PART_MARKERS", 64)
    again = cohort_of(tmp_path / "other.zarr", cohort.calls, block=500)
    parts = fit(again, tmp_path / "work", accuracy=1e-4)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-4)


def test_which_allele_is_counted_does_not_matter(cohort: Cohort, tmp_path: Path) -> None:
    swapped = cohort.calls.copy()
    swapped[::2] = np.where(swapped[::2] < 0, -1, 2 - swapped[::2])
    other = fit(cohort_of(tmp_path / "swapped.zarr", swapped), tmp_path / "work", accuracy=1e-4)
    found = fit(cohort, tmp_path / "work", accuracy=1e-4)
    np.testing.assert_allclose(other.scores, found.scores, atol=1e-4)
    np.testing.assert_allclose(other.axes.frequency[::2], 1 - found.axes.frequency[::2], atol=1e-12)
    np.testing.assert_allclose(other.axes.loadings[::2], -found.axes.loadings[::2], atol=1e-4)


def test_the_same_people_twice_have_the_same_scores(tmp_path: Path) -> None:
    calls = structured_calls(3, 800, 80)
    twice = cohort_of(tmp_path / "twice.zarr", np.concatenate([calls, calls], axis=1))
    found = fit(twice, tmp_path / "work", components=5)
    np.testing.assert_allclose(found.scores[:80], found.scores[80:], atol=1e-4)
    values, _ = dense(twice.calls, np.arange(160), 5)
    np.testing.assert_allclose(found.axes.eigenvalues, values, rtol=1e-4)


def test_fewer_dimensions_than_components_give_fewer_components(tmp_path: Path) -> None:
    calls = np.repeat(structured_calls(4, 60, 6), 5, axis=1)
    found = fit(cohort_of(tmp_path / "alike.zarr", calls), tmp_path / "work", components=8)
    assert found.scores.shape == (30, np.linalg.matrix_rank(dense_matrix(calls)))
    assert found.axes.loadings.shape == (60, found.scores.shape[1])


def dense_matrix(calls: NDArray[np.int8]) -> NDArray[np.float64]:
    exact = np.where(calls < 0, np.nan, calls)
    return np.nan_to_num(exact - np.nanmean(exact, axis=1)[:, None])


def test_too_few_people_or_markers_are_refused(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="8 people and 2,000 markers have no 10 principal components"):
        fit(cohort, tmp_path / "work", np.arange(8))
    constant = cohort_of(tmp_path / "constant.zarr", np.ones((30, 40), np.int8) * 2)
    with pytest.raises(InputError, match="only 0 markers vary"):
        fit(constant, tmp_path / "work")
    assert not list(tmp_path.glob("work/*"))


def test_damaged_packed_calls_are_not_used(cohort: Cohort, tmp_path: Path) -> None:
    class Damaging(EmbeddedExecutor):
        def run(self, function: Any, shared: Any, tasks: Any, *, memory_bytes: int = 0) -> Any:
            for file in (tmp_path / "work").glob("*/*.calls"):
                content = bytearray(file.read_bytes())
                content[100] ^= 1
                file.write_bytes(content)
            return super().run(function, shared, tasks, memory_bytes=memory_bytes)

    with pytest.raises(CorruptChunkError, match="not what was written"):
        fit(cohort, tmp_path / "work", executor=Damaging(1))


def test_restarts_of_the_basis_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    vectors, _ = np.linalg.qr(rng.standard_normal((400, 400)))
    values = 1.0 / np.arange(1, 401) ** 0.5
    matrix = (vectors * values) @ vectors.T
    monkeypatch.setattr("allscan.engine.structure.krylov.MOST_COLUMNS", 30)
    passes: list[int] = []
    found = leading_eigenpairs(
        lambda block: matrix @ block,
        400,
        4,
        block=6,
        accuracy=1e-6,
        most_passes=200,
        seed=1,
        on_pass=lambda done, _error: passes.append(done),
    )
    assert found.passes == len(passes) > 6
    np.testing.assert_allclose(found.values, values[:4], rtol=1e-10)
    np.testing.assert_allclose(np.abs((found.vectors * vectors[:, :4]).sum(axis=0)), 1, atol=1e-10)


def test_held_out_people_are_placed_where_they_would_be(tmp_path: Path) -> None:
    cohort = cohort_of(tmp_path / "store.zarr", structured_calls(7, 3000, 400, spread=0.03))
    everybody = np.arange(400)
    held_out = everybody[::20]
    others = np.setdiff1d(everybody, held_out)
    found = fit(cohort, tmp_path / "work", others, components=3)
    placed = project(cohort.store, found.axes, held_out, EmbeddedExecutor(1))
    # Where each would be: components of the others and that person.
    shrunk, corrected = [], []
    for k, person in enumerate(held_out[:8]):
        together = np.sort(np.append(others, person))
        _, vectors = dense(cohort.calls, together, 3)
        at = np.flatnonzero(together == person)[0]
        left, _, right = np.linalg.svd(np.delete(vectors, at, axis=0).T @ found.scores)
        own = vectors[at] @ left @ right
        corrected.append(np.linalg.norm(placed.scores[k] - own) / np.linalg.norm(own))
        shrunk.append(np.linalg.norm(placed.plain[k] - own) / np.linalg.norm(own))
    assert max(corrected) < 0.04
    assert np.median(shrunk) > 5 * np.median(corrected), "the correction is needed, and does what it should"


def test_projection_does_not_depend_on_who_else_is_projected(cohort: Cohort, tmp_path: Path, small_parts: None) -> None:
    found = fit(cohort, tmp_path / "work", np.arange(200), components=4)
    together = project(cohort.store, found.axes, np.arange(200, 300), EmbeddedExecutor(2))
    backwards = project(cohort.store, found.axes, np.arange(200, 300), Backwards())
    assert together.scores.tobytes() == backwards.scores.tobytes()
    few = project(cohort.store, found.axes, np.array([205, 250]), EmbeddedExecutor(1))
    np.testing.assert_allclose(few.scores, together.scores[[5, 50]], atol=1e-5)
    assert project(cohort.store, found.axes, np.arange(0), EmbeddedExecutor(1)).scores.shape == (0, 4)


def test_memory_is_as_planned(tmp_path: Path) -> None:
    """Of the whole run: what the caller holds, and one task."""
    planned = []

    class Asking(EmbeddedExecutor):
        def run(self, function: Any, shared: Any, tasks: Any, *, memory_bytes: int = 0) -> Any:
            planned.append(memory_bytes)
            return super().run(function, shared, tasks, memory_bytes=memory_bytes)

    cohort = cohort_of(tmp_path / "store.zarr", structured_calls(8, 300, 4000))
    spec = {"components": 5, "most_passes": 30, "accuracy": 0.0}
    fit(cohort, tmp_path / "work", **{**spec, "most_passes": 1})
    tracemalloc.start()
    try:
        fit(cohort, tmp_path / "work", executor=Asking(1), **spec)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= max(planned) + engine_pca.memory_bytes(4000, PcaSpec(**spec))


class KilledError(Exception):
    """In the place of a kill."""


class Mortal:
    """Runs so many tasks, and dies."""

    def __init__(self, tasks: int) -> None:
        self.left = tasks
        self.done = 0

    def run(self, function: Any, shared: Any, tasks: Any, *, memory_bytes: int = 0) -> Iterator[tuple[Any, Any]]:
        for task in tasks:
            if not self.left:
                raise KilledError
            self.left -= 1
            self.done += 1
            yield task, function(shared, task)


@pytest.mark.parametrize("tasks", [3, 25, 60])
def test_what_was_stopped_goes_on_to_the_same_bytes(
    cohort: Cohort, tmp_path: Path, small_parts: None, tasks: int
) -> None:
    def go(executor: Any, work: Path) -> PrincipalComponents:
        rows, people = np.arange(cohort.store.n_variants), np.arange(cohort.store.n_samples)
        return principal_components(cohort.store, rows, people, PcaSpec(), executor, work, keep=True)

    whole = Mortal(10**6)
    expected = go(whole, tmp_path / "whole")
    killed, rest = Mortal(tasks), Mortal(10**6)
    with pytest.raises(KilledError):
        go(killed, tmp_path / "work")
    found = go(rest, tmp_path / "work")
    assert found.scores.tobytes() == expected.scores.tobytes()
    assert found.axes.loadings.tobytes() == expected.axes.loadings.tobytes()
    # Tasks that pack parts are given out again, and find them; passes that ended are not repeated.
    assert rest.done < whole.done - tasks + 7 + 20
    assert not list(tmp_path.glob("work/*"))


def test_what_was_kept_of_other_vectors_or_damaged_is_not_used(
    cohort: Cohort, tmp_path: Path, small_parts: None
) -> None:
    rows, people = np.arange(cohort.store.n_variants), np.arange(cohort.store.n_samples)

    def go(executor: Any, seed: int = 1) -> PrincipalComponents:
        return principal_components(cohort.store, rows, people, PcaSpec(seed=seed), executor, tmp_path, keep=True)

    expected = go(EmbeddedExecutor(1))
    with pytest.raises(KilledError):
        go(Mortal(60), seed=2)
    assert go(EmbeddedExecutor(1)).scores.tobytes() == expected.scores.tobytes()
    with pytest.raises(KilledError):
        go(Mortal(60))
    kept = sorted((tmp_path / engine_pca.CALLS).glob("*.pass"))
    kept[0].write_bytes(kept[0].read_bytes()[:-1] + b"\0")
    with pytest.raises(CorruptChunkError, match="not what was written"):
        go(EmbeddedExecutor(1))
    assert go(EmbeddedExecutor(1)).scores.tobytes() == expected.scores.tobytes(), "what is damaged is removed"
