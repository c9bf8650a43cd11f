"""Groups learned from people whose group is known: who is given one, who is not, and why."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.ensemble import RandomForestClassifier

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.structure.groups import FAR, NOT_PLACED, UNSURE, GroupSpec, infer_groups
from allscan.engine.structure.pca import PcaSpec
from allscan.engine.structure.reference import place_among
from allscan.errors import InputError, MissingDependencyError
from tests.engine.cohorts import Cohort, write_calls

CENTRES = np.array([[0.0, 0, 0], [30, 0, 0], [0, 30, 0]])
NAMES = ("afr", "eas", "eur")
ONE = EmbeddedExecutor(1)
QUICK = GroupSpec(trees=20, folds=3)


def clouds(seed: int, of_each: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(3), of_each)
    order = rng.permutation(len(code))
    return (CENTRES[code] + rng.normal(size=(3 * of_each, 3)))[order], np.array(NAMES)[code[order]]


@pytest.fixture(scope="module")
def reference() -> tuple[np.ndarray, np.ndarray]:
    return clouds(1, 60)


def test_people_like_the_reference_are_given_its_groups(reference) -> None:
    people, own = clouds(2, 40)
    found = infer_groups(*reference, people, QUICK)
    assert found.labels == NAMES
    given = np.array([*NAMES, "none"])[found.codes]
    assert (given == own).mean() > 0.98
    assert (given[given != "none"] == own[given != "none"]).all()
    assert sum(found.counts.values()) + sum(found.outside.values()) == len(people)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert np.median(found.distance) < 1


def test_the_forest_is_that_of_scikit_learn(reference) -> None:
    people, _ = clouds(2, 40)
    forest = RandomForestClassifier(n_estimators=100, random_state=337337).fit(*reference)
    np.testing.assert_array_equal(infer_groups(*reference, people).probabilities, forest.predict_proba(people))


def test_who_fits_nowhere_is_in_no_group_and_the_reason_is_told(reference) -> None:
    people = np.array([[0.3, 0.1, 0], [15, 0, 0], [60, -20, 0], [0, 0, 40], [np.nan, 0, 0]])
    found = infer_groups(*reference, people, QUICK)
    assert found.codes.tolist() == [0, -1, -1, -1, -1]
    assert found.reason.tolist() == [-1, FAR, FAR, FAR, NOT_PLACED]
    assert found.outside == {"far from all of the reference": 3, "not placed": 1}
    # The forest alone is certain of them.
    assert found.probabilities[2].max() > 0.9
    assert infer_groups(*reference, people, replace(QUICK, max_distance=None)).codes[2] == 1
    assert np.isnan(found.probabilities[4]).all()
    assert np.isnan(found.distance[4])


def test_people_between_groups_are_unsure(reference) -> None:
    bridge = np.linspace(0, 30, 120)[:, None] * np.array([1.0, 0, 0]) + np.random.default_rng(3).normal(size=(120, 3))
    scores, labels = reference
    mixed = np.concatenate([scores, bridge])
    names = np.concatenate([labels, np.where(np.arange(120) % 2, "afr", "eas")])
    found = infer_groups(mixed, names, np.array([[15.0, 0, 0], [0, 30, 0]]), GroupSpec(min_probability=0.9, folds=2))
    assert found.codes.tolist() == [-1, 2]
    assert found.reason.tolist() == [UNSURE, -1]


def test_the_reference_is_cross_validated(reference) -> None:
    scores, labels = reference
    wrong = labels.copy()
    wrong[np.flatnonzero(labels == "afr")[:6]] = "eur"  # labels that the scores do not bear out
    found = infer_groups(scores, wrong, scores[:1], QUICK)
    assert found.confusion.sum(axis=1).tolist() == [np.count_nonzero(wrong == name) for name in NAMES]
    assert found.confusion[2, 0] >= 5
    assert found.confusion[1].tolist() == [0, 60, 0, 0]


def test_neither_threads_nor_company_change_a_bit(reference) -> None:
    people, _ = clouds(2, 40)
    whole = infer_groups(*reference, people, QUICK)
    with parallel_config(backend="threading", n_jobs=4):
        threaded = infer_groups(*reference, people, QUICK)
    np.testing.assert_array_equal(threaded.probabilities, whole.probabilities)
    np.testing.assert_array_equal(threaded.confusion, whole.confusion)
    part = infer_groups(*reference, people[::-3], QUICK)
    np.testing.assert_array_equal(part.probabilities, whole.probabilities[::-3])
    np.testing.assert_array_equal(part.distance, whole.distance[::-3])


def test_references_that_are_refused(reference, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = reference
    with pytest.raises(InputError, match="1 group: there is nothing"):
        infer_groups(scores, ["one"] * len(labels), scores)
    with pytest.raises(InputError, match=r"fewer than 10 people: rare \(9\)"):
        infer_groups(scores, ["rare"] * 9 + labels[9:].tolist(), scores)
    with pytest.raises(InputError, match="no scores"):
        infer_groups(np.where(np.arange(len(scores))[:, None] == 3, np.nan, scores), labels, scores)
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingDependencyError, match="scikit-learn"):
        infer_groups(scores, labels, scores)


def populations(seed: int, markers: int) -> np.ndarray:
    """Frequencies of ALT in four populations that drifted apart."""
    rng = np.random.default_rng(seed)
    ancestral = rng.uniform(0.1, 0.9, markers)
    return rng.beta(ancestral * 9, (1 - ancestral) * 9, (4, markers))


def store_of(path: Path, frequency: np.ndarray, seed: int, *, swapped: bool = False) -> Cohort:
    """People whose frequencies are the rows; a fifth of the markers named by the other allele, if ``swapped``."""
    calls = np.random.default_rng(seed).binomial(2, frequency.T).astype(np.int8)
    v = len(calls)
    alleles = [("A", "C")] * v
    if swapped:
        calls[::5] = 2 - calls[::5]
        alleles[::5] = [("C", "A")] * len(alleles[::5])
    position = np.arange(1, v + 1, dtype=np.int32) * 1000
    return write_calls(path, calls, np.zeros(v, np.int16), position, ("1",), alleles=alleles)


def test_from_genotypes_of_a_reference(tmp_path: Path) -> None:
    markers = 1500
    frequency = populations(5, markers)
    known = np.repeat(np.arange(3), 50)
    reference = store_of(tmp_path / "reference.zarr", frequency[known], 1)
    own = np.repeat([0, 1, 2, 3], [20, 20, 20, 20])
    half = 0.5 * (frequency[0] + frequency[1])
    people = np.concatenate([frequency[own], np.repeat(half[None], 20, axis=0)])
    # The cohort lacks some markers at the end.
    cohort = store_of(tmp_path / "cohort.zarr", people[:, :1400], 2, swapped=True)
    placed = place_among(
        reference.store,
        np.arange(markers),
        np.arange(len(known)),
        cohort.store,
        np.arange(len(people)),
        PcaSpec(components=4),
        ONE,
        tmp_path / "work",
        tmp_path / "axes.parquet",
    )
    assert placed.n_markers == 1400
    names = np.array(["a", "b", "c"])
    found = infer_groups(placed.reference, names[known], placed.people, QUICK)
    given = found.codes[:60]
    assert ((given == own[:60]) | (given == -1)).all()
    assert (given == -1).sum() <= 3
    # Two components tell three populations apart; the others are noise.
    assert (placed.people.std(axis=0) > 0).tolist() == [True, True, False, False]
    # Neither a population that the reference lacks nor children of two of them belong to any.
    assert (found.codes[60:] == -1).all()
    assert (found.distance[60:] > 3).all()
    assert np.trace(found.confusion[:, :3]) >= len(known) - 3
    assert found.confusion.sum() - np.trace(found.confusion[:, :3]) == found.confusion[:, 3].sum()


def test_references_that_share_too_little(tmp_path: Path) -> None:
    frequency = populations(5, 200)[np.repeat([0, 1], 30)]
    reference = store_of(tmp_path / "reference.zarr", frequency, 1)
    few = store_of(tmp_path / "few.zarr", frequency[:, :30], 2)
    other_build = write_calls(
        tmp_path / "build.zarr", few.calls, few.contig, few.position, ("1",), alleles=[("A", "C")] * 30, build="GRCh37"
    )

    def place(store):
        rows, people = np.arange(200), np.arange(60)
        work = tmp_path / "work"
        return place_among(
            reference.store, rows, people, store, people, PcaSpec(components=4), ONE, work, tmp_path / "axes.parquet"
        )

    with pytest.raises(InputError, match="share 30 of 200 markers, which are too few for 4 components"):
        place(few.store)
    with pytest.raises(InputError, match="reference is on GRCh38, the store on GRCh37"):
        place(other_build.store)
