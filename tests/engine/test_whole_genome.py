"""The whole-genome model as tasks: the same numbers however it is run, and nothing that one trait can do to another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.markers import MarkerRules
from allscan.engine.null_model_files import FOLDER, NullModelFiles
from allscan.engine.whole_genome import level0
from allscan.engine.whole_genome.cohort import Cohort, fold_of
from allscan.engine.whole_genome.model import WORK, Stage, WholeGenomeSpec, fit_whole_genome, trait_digests
from allscan.errors import CorruptChunkError
from benchmarks.science.whole_genome import Size, simulate_calls, simulate_traits, write_store

SIZE = Size(families=60, singles=120, markers=60, traits=4, causal=60)
SPEC = WholeGenomeSpec(markers=MarkerRules(prune_r2=None), block_markers=40)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A store, and traits of which one is missing for a fifth."""
    rng = np.random.default_rng(1)
    calls, share = simulate_calls(SIZE, rng)
    store = write_store(tmp_path_factory.mktemp("whole_genome") / "store.zarr", calls)
    traits = simulate_traits(calls, share, SIZE, rng, None).values
    traits[rng.random(len(traits)) < 0.2, 1] = np.nan
    n = len(traits)
    covariates = np.column_stack([np.ones(n), share])
    names = ("a", "b", "c", "d")
    return store, Cohort(np.arange(n), store.sample_ids, covariates, traits, names, ("quantitative",) * 4)


def predictions(folder):
    """Of each trait that was fitted, (chromosomes + 1, people)."""
    files = NullModelFiles(folder / FOLDER)
    names = (*files.chromosomes, "all")
    return {
        model.name: np.stack([files.read(t, name) for name in names])
        for t, model in enumerate(files.traits)
        if model.status == "ok"
    }


def content(folder):
    """Every file of the model."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def fitted(cohort, tmp_path_factory):
    """The model, fitted in one go."""
    folder = tmp_path_factory.mktemp("fitted")
    fit_whole_genome(*cohort, SPEC, EmbeddedExecutor(1), folder)
    return folder


def test_it_predicts_and_takes_inflation_away(fitted, cohort):
    model = NullModelFiles(fitted / FOLDER)
    assert [trait.status for trait in model.traits] == ["ok"] * 4
    assert model.traits[1].n == int((~np.isnan(cohort[1].traits[:, 1])).sum())
    for trait in model.traits:
        assert trait.accuracy.name == "r2"
        assert 0.02 < trait.accuracy.value < 0.5
        assert 0.1 < trait.h2 <= 1
        assert trait.shrinkage in SPEC.heritabilities
    plain, after = (np.mean([getattr(t, name) for t in model.traits]) for name in ("lambda_without", "lambda_with"))
    assert after < plain - 0.1
    assert not (fitted / WORK).exists()
    # Leaving a chromosome out leaves its share of the prediction out.
    found = predictions(fitted)["a"]
    assert len(found) == 11
    trait = cohort[1].traits[:, 0]
    correlations = [np.corrcoef(row, trait)[0, 1] for row in found]
    assert correlations[-1] > np.mean(correlations[:-1]) > 0.1


def test_what_is_predicted_of_noise(cohort, tmp_path):
    """A fit to the same people would explain much of it.

    The weights of level 1 are found where level 0 has seen the fold that they will predict: the accuracy is too good
    by the number of blocks over that of people, in REGENIE as here. What is tested does not suffer.
    """
    store, people = cohort
    n = people.n_people
    values = np.random.default_rng(5).normal(size=(n, 60))
    names = tuple(f"noise{t}" for t in range(60))
    noise = replace(people, traits=values, trait_names=names, kinds=("quantitative",) * 60)
    fit_whole_genome(store, noise, SPEC, EmbeddedExecutor(1), tmp_path)
    model = NullModelFiles(tmp_path / FOLDER)
    blocks = model.settings["blocks"]
    assert np.mean([trait.accuracy.value for trait in model.traits]) < 1.5 * blocks / n
    for name in ("lambda_without", "lambda_with"):
        assert abs(np.mean([getattr(trait, name) for trait in model.traits]) - 1) < 0.04
    assert np.mean([trait.h2 for trait in model.traits]) < 0.05


def test_workers_change_no_bit(cohort, fitted, tmp_path):
    fit_whole_genome(*cohort, SPEC, EmbeddedExecutor(2, "threads"), tmp_path)
    assert content(tmp_path) == content(fitted)


class StoppedError(Exception):
    """Somebody stopped it."""


@pytest.mark.parametrize(
    ("stage", "number"), [(Stage.LEVEL_0, 1), (Stage.LEVEL_0, 17), (Stage.LEVEL_1, 2), (Stage.INFLATION, 3)]
)
def test_it_goes_on_where_it_was_stopped(cohort, fitted, tmp_path, monkeypatch, stage, number):
    def stop(now, done, _total):
        if now == stage and done == number:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit_whole_genome(*cohort, SPEC, EmbeddedExecutor(1), tmp_path, on_progress=stop)
    assert not (tmp_path / FOLDER).exists()
    told = []
    fit_whole_genome(*cohort, SPEC, EmbeddedExecutor(1), tmp_path, on_progress=lambda *now: told.append(now))
    if stage == Stage.LEVEL_0:
        assert min(done for now, done, _ in told if now == stage) == number
    else:
        assert Stage.LEVEL_0 not in {now for now, _, _ in told} or stage == Stage.LEVEL_1
    assert content(tmp_path) == content(fitted)
    # Once more: there is nothing to do.
    fit_whole_genome(*cohort, SPEC, EmbeddedExecutor(1), tmp_path, on_progress=lambda *_: pytest.fail("it was there"))


def test_a_trait_is_the_same_alone_and_in_a_batch(cohort, fitted, tmp_path):
    store, people = cohort
    whole = predictions(fitted)
    for t, name in enumerate(people.trait_names[:2]):
        alone = replace(people, traits=people.traits[:, [t]], trait_names=(name,), kinds=("quantitative",))
        fit_whole_genome(store, alone, SPEC, EmbeddedExecutor(1), tmp_path / name)
        found = predictions(tmp_path / name)[name]
        # Products of other widths are summed in another order, in float32.
        np.testing.assert_allclose(found, whole[name], atol=2e-4 * np.nanstd(whole[name]))


def test_batches_of_traits_change_rounding_only(cohort, fitted, tmp_path, monkeypatch):
    monkeypatch.setattr("allscan.engine.whole_genome.model.traits_per_batch", lambda *_: 3)
    fit_whole_genome(*cohort, SPEC, EmbeddedExecutor(1), tmp_path)
    whole = predictions(fitted)
    for name, found in predictions(tmp_path).items():
        np.testing.assert_allclose(found, whole[name], atol=2e-4 * np.nanstd(whole[name]))


def test_folds_follow_the_ids():
    ids = np.array([f"P{i}" for i in range(5000)], object)
    fold = fold_of(ids, 5)
    assert (np.bincount(fold) > 900).all()
    order = np.random.default_rng(0).permutation(5000)
    assert (fold_of(ids[order], 5) == fold[order]).all()
    assert (fold_of(ids[:10], 5) == fold[:10]).all()


def test_relatives_are_in_one_fold():
    ids = np.array([f"P{i}" for i in range(5000)], object)
    nobody = np.empty((5000, 0))
    people = Cohort(np.arange(5000), ids, np.ones((5000, 1)), nobody, (), (), family=np.arange(5000) // 4)
    fold = people.folds(5).reshape(-1, 4)
    assert (fold == fold[:, :1]).all()
    assert (np.bincount(fold[:, 0]) > 180).all()
    # A family is where its first id would be; numbers and order of families do not matter.
    first = [min(family) for family in ids.reshape(-1, 4).tolist()]
    assert (fold[:, 0] == fold_of(first, 5)).all()
    other = replace(people, family=7000 - np.arange(5000) // 4)
    assert (other.folds(5) == people.folds(5)).all()
    alone = replace(people, family=np.arange(5000))
    assert (alone.folds(5) == fold_of(ids, 5)).all()


def test_who_is_related_decides_what_a_model_is_made_of(cohort):
    store, people = cohort
    n = people.n_people
    alone, paired = (replace(people, family=np.arange(n) // size) for size in (1, 2))
    digests = [trait_digests(store, who, SPEC) for who in (people, alone, paired)]
    assert all(len(set(of_trait)) == 3 for of_trait in zip(*digests, strict=True))


def test_a_bad_trait_is_told_and_the_others_are_fitted(cohort, fitted, tmp_path):
    store, people = cohort
    values = people.traits.copy()
    values[:, 2] = 3.0
    values[10:, 3] = np.nan
    fit_whole_genome(store, replace(people, traits=values), SPEC, EmbeddedExecutor(1), tmp_path)
    model = NullModelFiles(tmp_path / FOLDER)
    assert [trait.status == "ok" for trait in model.traits] == [True, True, False, False]
    assert "does not vary" in model.traits[2].message
    assert "10 people have a value" in model.traits[3].message
    whole = predictions(fitted)
    for name, found in predictions(tmp_path).items():
        np.testing.assert_allclose(found, whole[name], atol=2e-4 * np.nanstd(whole[name]))


def test_binary_traits(cohort, tmp_path):
    store, people = cohort
    liability = np.nan_to_num(people.traits)
    values = (liability > np.diag(np.quantile(liability, [0.5, 0.7, 0.9, 0.998], axis=0))).astype(float)
    binary = replace(people, traits=values, kinds=("binary",) * 4)
    fit_whole_genome(store, binary, SPEC, EmbeddedExecutor(1), tmp_path)
    model = NullModelFiles(tmp_path / FOLDER)
    assert [trait.status for trait in model.traits[:3]] == ["ok"] * 3
    assert all(trait.accuracy.name == "auc" for trait in model.traits[:3])
    assert model.traits[0].accuracy.value > 0.55
    assert model.traits[3].status != "ok"
    assert model.traits[3].message
    found = predictions(tmp_path)["a"][-1]
    assert found[values[:, 0] == 1].mean() > found[values[:, 0] == 0].mean()


def test_leaving_one_out(cohort, tmp_path):
    store, people = cohort
    fit_whole_genome(store, people, replace(SPEC, folds=1), EmbeddedExecutor(1), tmp_path)
    model = NullModelFiles(tmp_path / FOLDER)
    assert [trait.status for trait in model.traits] == ["ok"] * 4
    assert all(0.02 < trait.accuracy.value < 0.6 for trait in model.traits)


def test_damaged_predictions_are_named(cohort, tmp_path, monkeypatch):
    run_block = level0.run_block

    def damaging(shared, number):
        note = run_block(shared, number)
        if number == 3:
            path = Path(shared.folder) / "000003.f32"
            path.write_bytes(path.read_bytes()[:-1] + b"\0")
        return note

    monkeypatch.setattr("allscan.engine.whole_genome.model.run_block", damaging)
    with pytest.raises(CorruptChunkError, match="do not match their checksum") as caught:
        fit_whole_genome(*cohort, SPEC, EmbeddedExecutor(1), tmp_path)
    assert "000003.f32" in caught.value.where


def test_no_person_is_named_beside_the_model(fitted):
    document = json.loads((fitted / FOLDER / "null_model.json").read_text())
    assert "P1" not in json.dumps(document)
