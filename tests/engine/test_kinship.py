"""Relatives of a store: the same whatever runs the tasks and wherever they stop, found through a screen, told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.structure import kinship as engine_kinship
from allscan.engine.structure import pc_relate as engine_pc_relate
from allscan.engine.structure.kinship import (
    THIRD_DEGREE,
    Ancestry,
    KingSpec,
    Kinship,
    Relationship,
    ancestry_basis,
    king_pairs,
    relationships,
)
from allscan.engine.structure.pc_relate import pc_relate, relatives
from allscan.engine.structure.relatives_file import read_relatives, write_relatives
from allscan.errors import CorruptChunkError, FileFormatError, InputError
from allscan.phenotypes.relatedness import read_relatedness
from benchmarks.science import kinship as science
from tests.engine.cohorts import Cohort, write_calls
from tests.naive_kinship import individual_frequencies, king
from tests.naive_kinship import pc_relate as naive_pc_relate

EXECUTOR = EmbeddedExecutor(1)
COLUMNS = ("first", "second", "kinship", "adjusted", "ibs0", "het_het", "unshared", "n_markers")


class KilledError(RuntimeError):
    """What stops a run here."""


class Dying:
    """Gives tasks out from the last to the first, and dies after some."""

    def __init__(self, tasks: int) -> None:
        self.left = tasks

    def run(self, function: Any, shared: Any, tasks: Any, *, memory_bytes: int = 0) -> Iterator[tuple[Any, Any]]:
        assert memory_bytes > 0
        for task in reversed(list(tasks)):
            if not self.left:
                raise KilledError
            self.left -= 1
            yield task, function(shared, task)


@pytest.fixture(scope="module")
def families() -> science.Families:
    """Admixed families of ten, some people twice, beside people of two populations."""
    return science.draw_families(science.Setting(families=12, singles=250, markers=6000, seed=4))


@pytest.fixture(scope="module")
def cohort(families: science.Families, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    calls = np.concatenate(list(families.blocks(1000)))
    calls[np.random.default_rng(1).random(calls.shape) < 0.02] = -1
    v = len(calls)
    path = tmp_path_factory.mktemp("kinship") / "store.zarr"
    return write_calls(path, calls, np.zeros(v, np.int16), np.arange(1, v + 1, dtype=np.int32), ("1",), block=512)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_kinship, "PART_MARKERS", 1100)
    monkeypatch.setattr(engine_kinship, "TOGETHER", 64)


def find(
    cohort: Cohort, work: Path, executor: Any = EXECUTOR, ancestry: Ancestry | None = None, **spec: Any
) -> Kinship:
    rows, people = np.arange(cohort.store.n_variants), np.arange(cohort.store.n_samples)
    return king_pairs(cohort.store, rows, people, KingSpec(**spec), executor, work / "work", ancestry=ancestry)


def same(one: Kinship, other: Kinship) -> bool:
    return all(
        getattr(one.pairs, name).tobytes() == getattr(other.pairs, name).tobytes() for name in COLUMNS
    ) and np.array_equal(one.divergent, other.divergent)


@pytest.fixture(scope="module")
def ancestry(families: science.Families) -> Ancestry:
    """The true share of an ancestry in the place of components, learnt from people without relatives."""
    return Ancestry(families.share[:, None], families.family < 0)


def test_all_pairs_have_the_kinship_of_the_definition(cohort: Cohort, tmp_path: Path, small_blocks: None) -> None:
    found = find(cohort, tmp_path, min_kinship=None)
    n = cohort.store.n_samples
    i, j = np.triu_indices(n, 1)
    np.testing.assert_array_equal(found.pairs.first, i)
    np.testing.assert_array_equal(found.pairs.second, j)
    assert (found.n_compared, found.n_counted, found.n_people, found.n_markers) == (len(i), len(i), n, 6000)
    for k in np.random.default_rng(3).integers(0, len(i), 40):
        naive = king(cohort.calls[:, i[k]], cohort.calls[:, j[k]])
        assert found.pairs.kinship[k] == pytest.approx(naive.kinship, abs=1e-12)
        assert found.pairs.ibs0[k] == naive.opposite / naive.called
        assert found.pairs.het_het[k] == naive.het_het / naive.called
        assert found.pairs.n_markers[k] == naive.called
    assert not list((tmp_path / "work").iterdir())


def test_some_people_and_markers(cohort: Cohort, tmp_path: Path, small_blocks: None) -> None:
    rng = np.random.default_rng(5)
    rows = np.sort(rng.choice(6000, 3500, replace=False))
    people = np.sort(rng.choice(cohort.store.n_samples, 150, replace=False))
    found = king_pairs(cohort.store, rows, people, KingSpec(min_kinship=None), EXECUTOR, tmp_path)
    assert set(found.pairs.first) | set(found.pairs.second) == set(people.tolist())
    for k in rng.integers(0, len(found.pairs), 20):
        naive = king(cohort.calls[rows, found.pairs.first[k]], cohort.calls[rows, found.pairs.second[k]])
        assert found.pairs.kinship[k] == pytest.approx(naive.kinship, abs=1e-12)


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_screen_finds_what_all_markers_find(
    cohort: Cohort, ancestry: Ancestry, tmp_path: Path, adjusted: bool
) -> None:
    known = ancestry if adjusted else None
    whole = find(cohort, tmp_path, ancestry=known, screen_markers=None)
    screened = find(cohort, tmp_path, ancestry=known, screen_markers=1500, missed=0.01)
    assert (whole.n_screen, screened.n_screen) == (6000, 1500)
    np.testing.assert_array_equal(screened.pairs.first, whole.pairs.first)
    np.testing.assert_array_equal(screened.pairs.second, whole.pairs.second)
    np.testing.assert_array_equal(screened.pairs.kinship, whole.pairs.kinship)
    assert len(whole.pairs) > 100
    assert whole.n_counted <= screened.n_counted < 0.1 * screened.n_compared
    assert (whole.pairs.best >= THIRD_DEGREE).all()


def test_neither_workers_nor_order_nor_death_change_a_bit(
    cohort: Cohort, ancestry: Ancestry, tmp_path: Path, small_blocks: None
) -> None:
    alone = find(cohort, tmp_path, ancestry=ancestry, screen_markers=1500)
    assert same(alone, find(cohort, tmp_path, EmbeddedExecutor(3), ancestry, screen_markers=1500))
    deaths, found = 0, None
    while found is None:
        try:
            found = find(cohort, tmp_path, Dying(4), ancestry, screen_markers=1500)
        except KilledError:
            deaths += 1
            assert deaths < 30
    assert deaths > 3
    assert same(alone, found)


def test_blocks_change_nothing(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = find(cohort, tmp_path, screen_markers=1500)
    monkeypatch.setattr(engine_kinship, "TOGETHER", 32)
    monkeypatch.setattr(engine_kinship, "PART_MARKERS", 640)
    again = find(cohort, tmp_path, screen_markers=1500)
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(again.pairs, name), getattr(alone.pairs, name), rtol=1e-12, err_msg=name)
    np.testing.assert_array_equal(again.divergent, alone.divergent)


def test_results_of_another_question_are_not_used(cohort: Cohort, tmp_path: Path, small_blocks: None) -> None:
    alone = find(cohort, tmp_path, screen_markers=1500)
    with pytest.raises(KilledError):
        find(cohort, tmp_path, Dying(12), screen_markers=1500, min_kinship=0.2)
    assert same(alone, find(cohort, tmp_path, screen_markers=1500))


def test_damaged_bits_are_named(cohort: Cohort, tmp_path: Path, small_blocks: None) -> None:
    with pytest.raises(KilledError):
        find(cohort, tmp_path, Dying(8))
    for file in tmp_path.glob("work/*/planes-*"):
        file.write_bytes(file.read_bytes()[:-5] + b"\0\0\0\0\0")
    with pytest.raises(CorruptChunkError, match="not what was written"):
        find(cohort, tmp_path)


def test_a_damaged_result_is_computed_again(cohort: Cohort, tmp_path: Path, small_blocks: None) -> None:
    alone = find(cohort, tmp_path)
    with pytest.raises(KilledError):
        find(cohort, tmp_path, Dying(10))
    done = sorted(tmp_path.glob("work/*/tile-*"))
    done[-1].write_bytes(done[-1].read_bytes()[:-1] + b"x")
    assert same(alone, find(cohort, tmp_path))


def test_blocks_grow_with_people_and_shrink_with_markers() -> None:
    sizes = [engine_kinship.block_people(*of) for of in ((10, 10), (20_000, 50_000), (10**5, 50_000), (10**5, 10**6))]
    assert sizes == [256, 1280, 4096, 1024]
    assert engine_kinship.tile_memory(10**5, 10**6) < 1 << 30


def test_nobody_to_compare(cohort: Cohort, tmp_path: Path) -> None:
    rows, people = np.arange(10), np.arange(2)
    for some, who in ((rows[:0], people), (rows, people[:1])):
        with pytest.raises(InputError, match="no relatives can be found"):
            king_pairs(cohort.store, some, who, KingSpec(), EXECUTOR, tmp_path)


def test_degrees_and_kinds(families: science.Families, cohort: Cohort, ancestry: Ancestry, tmp_path: Path) -> None:
    """Adjusted for ancestry, close relatives of mixed families are all found, and told apart; few others are."""
    found = find(cohort, tmp_path, ancestry=ancestry).pairs
    assert science.recall(families, found.first, found.second, Relationship.SAME) == 1.0
    for degree in (Relationship.PARENT_CHILD, Relationship.SIBLINGS, Relationship.SECOND):
        assert science.recall(families, found.first, found.second, degree) == 1.0, degree
    truth = families.relationship(found.first, found.second)
    for kind in (Relationship.SAME, Relationship.PARENT_CHILD, Relationship.SIBLINGS):
        assert (found.relationship[truth == kind] == kind).all()
    assert (truth == Relationship.UNRELATED).mean() < 0.03
    robust = find(cohort, tmp_path).pairs
    cousins = [science.recall(families, pairs.first, pairs.second, Relationship.THIRD) for pairs in (robust, found)]
    assert cousins[0] < cousins[1] - 0.05, "KING-robust is too low where ancestry differs"


def test_borders_of_degrees() -> None:
    kinship = np.array([0.5, 0.36, 0.35, 0.25, 0.18, 0.17, 0.09, 0.08, 0.05, 0.04, -0.3, np.nan])
    unshared = np.array([0.0, 0.0, 0.0, 0.25, 0.11, 0.5, 0.5, 0.7, 0.7, 0.9, 1.4, np.nan])
    same_person, pc, fs, second, third, none = 7, 6, 5, 4, 3, 0
    expected = [same_person, same_person, pc, fs, fs, second, second, third, third, none, none, none]
    np.testing.assert_array_equal(relationships(kinship, unshared), expected)


def test_basis_of_ancestry_is_orthonormal_among_those_who_define_it() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)) + 5
    scores = np.column_stack([scores, scores[:, 0]])  # nothing new
    defining = np.arange(50) < 30
    basis, _ = ancestry_basis(Ancestry(scores, defining))
    assert basis.shape == (50, 3)
    np.testing.assert_allclose(basis[defining].T @ basis[defining], np.eye(3), atol=1e-9)
    np.testing.assert_allclose(basis[defining].mean(axis=0), 0, atol=1e-12)


def test_pc_relate_is_the_definition(
    cohort: Cohort, ancestry: Ancestry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_pc_relate, "PAIRS_TOGETHER", 7)
    monkeypatch.setattr(engine_pc_relate, "TERM_BYTES", 0)
    rows, people = np.arange(0, 6000, 5), np.arange(1, cohort.store.n_samples)
    given = Ancestry(ancestry.scores[people], ancestry.defining[people])
    first, second = np.arange(0, 20), np.arange(3, 23)
    found = pc_relate(cohort.store, rows, people, given, first, second, EXECUTOR, tmp_path)
    calls = cohort.calls[np.ix_(rows, people)]
    frequency = individual_frequencies(calls, given.scores, given.defining)
    for k in range(20):
        expected = naive_pc_relate(calls, frequency, first[k], second[k], 0.01)
        got = (found.sharing.kinship[k], found.sharing.k0[k], found.sharing.k2[k])
        np.testing.assert_allclose(got, expected, atol=5e-5)
    np.testing.assert_array_equal(found.people, np.arange(23))
    deaths, again = 0, None
    while again is None:
        try:
            again = pc_relate(cohort.store, rows, people, given, first, second, Dying(1), tmp_path)
        except KilledError:
            deaths += 1
    assert deaths >= 2
    for one, other in zip(found.sharing, again.sharing, strict=True):
        assert one.tobytes() == other.tobytes()
    assert not list(tmp_path.iterdir())


def test_pc_relate_finds_mixed_families(
    families: science.Families, cohort: Cohort, ancestry: Ancestry, tmp_path: Path
) -> None:
    rows, people = np.arange(6000), np.arange(cohort.store.n_samples)
    told = []
    found = relatives(
        cohort.store, rows, people, ancestry, KingSpec(), EXECUTOR, tmp_path, on_progress=lambda *at: told.append(at)
    )
    assert {stage for stage, _, _ in told} == {"extract", "compare", "estimate"}
    assert (found.sharing.kinship >= THIRD_DEGREE).all()
    assert len(found.pairs) < len(found.screen.pairs)
    truth = families.relationship(found.pairs.first, found.pairs.second)
    for kind in (Relationship.SAME, Relationship.PARENT_CHILD, Relationship.SIBLINGS):
        assert science.recall(families, found.pairs.first, found.pairs.second, kind) == 1.0
        assert (found.relationship[truth == kind] == kind).all()
    for kind, expected in (
        (Relationship.PARENT_CHILD, 0.25),
        (Relationship.SECOND, 0.125),
        (Relationship.THIRD, 0.0625),
    ):
        assert found.sharing.kinship[truth == kind].mean() == pytest.approx(expected, abs=0.015)
    # Everybody, by the definition of the estimate alone: the screen loses next to nothing.
    i, j = np.triu_indices(len(people), 1)
    everybody = pc_relate(cohort.store, rows, people, ancestry, i, j, EXECUTOR, tmp_path).sharing.kinship
    above = set(zip(i[everybody >= THIRD_DEGREE].tolist(), j[everybody >= THIRD_DEGREE].tolist(), strict=True))
    chosen = set(zip(found.pairs.first.tolist(), found.pairs.second.tolist(), strict=True))
    assert chosen <= above
    assert len(chosen) >= 0.98 * len(above)


def test_too_few_people_define_the_components(cohort: Cohort, tmp_path: Path) -> None:
    n = cohort.store.n_samples
    few = Ancestry(np.zeros((n, 5)), np.arange(n) < 6)
    with pytest.raises(InputError, match="cannot say"):
        pc_relate(cohort.store, np.arange(50), np.arange(n), few, np.array([0]), np.array([1]), EXECUTOR, tmp_path)


@pytest.mark.parametrize("by", ["king", "adjusted", "pc_relate"])
def test_relatives_as_a_table(cohort: Cohort, ancestry: Ancestry, tmp_path: Path, by: str) -> None:
    place = tmp_path / "relatives.parquet"
    if by == "pc_relate":
        rows, people = np.arange(6000), np.arange(cohort.store.n_samples)
        found = relatives(cohort.store, rows, people, ancestry, KingSpec(), EXECUTOR, tmp_path)
        pairs, sharing = found.pairs, found.sharing
    else:
        pairs, sharing = find(cohort, tmp_path, ancestry=ancestry if by == "adjusted" else None).pairs, None
    write_relatives(place, cohort.store, pairs, sharing)
    again, shared = read_relatives(place, cohort.store)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(again, name), getattr(pairs, name))
    assert (shared is None) == (sharing is None)
    if sharing is not None and shared is not None:
        for one, other in zip(sharing, shared, strict=True):
            np.testing.assert_array_equal(one, other)
    table = read_relatedness(place)
    kinship = pairs.best if sharing is None else sharing.kinship
    np.testing.assert_array_equal(table.value, 2 * np.minimum(kinship, 0.5))
    np.testing.assert_array_equal(table.first, cohort.store.sample_ids[pairs.first])
    np.testing.assert_array_equal(table.second, cohort.store.sample_ids[pairs.second])


def test_another_file_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    place = tmp_path / "relatives.parquet"
    with pytest.raises(InputError, match="cannot be read"):
        read_relatives(place, cohort.store)
    place.write_bytes(b"something else")
    with pytest.raises(FileFormatError, match="no relatives"):
        read_relatives(place, cohort.store)
    write_relatives(place, cohort.store, find(cohort, tmp_path).pairs)
    other = write_calls(
        tmp_path / "other.zarr", cohort.calls[:5, :3], np.zeros(5, np.int16), np.arange(5, dtype=np.int32), ("1",)
    )
    with pytest.raises(InputError, match="do not have") as error:
        read_relatives(place, other.store)
    assert "person" not in str(error.value)
