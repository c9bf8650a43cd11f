"""The scan with what the rest of the genome predicts: each variant is tested without its own chromosome's share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine import null_groups as groups_module
from allscan.engine import plan as plan_module
from allscan.engine import scan as scan_module
from allscan.engine.chromosomes import PloidyClass
from allscan.engine.costs import BatchPlan
from allscan.engine.design import Design, Strata, Stratum
from allscan.engine.null_groups import null_groups
from allscan.engine.null_model_files import NullModelFiles
from allscan.engine.offsets import ALL, StoredOffsets, residual_sd
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.ploidy import CLASSES
from allscan.engine.results import CUBE, ResultsCube
from allscan.engine.scan import ScanSummary, run_scan
from allscan.errors import FileFormatError, InputError
from allscan.kernels.association import Missing, Model, Status
from tests import naive
from tests.engine.cohorts import BLOCK, Cohort, Computed, make_design, split, strata_of, watch_tasks, write_cohort
from tests.engine.null_models import DrawnOffsets, draw_model
from tests.engine.test_scan import Backwards, Dying, assert_cell, tree

GIB = 1 << 30
CONTIGS = {"chr1": 2 * BLOCK + 20, "chr2": 70, "chr3": 90, "chrX": 60, "scaffold": 30}


def scan(
    cohort: Cohort,
    design: Design | Strata,
    out: Path,
    spec: ScanSpec | None = None,
    executor: Any = None,
    workers: int = 1,
    **options: Any,
) -> ScanSummary:
    spec = spec or ScanSpec()
    plan = plan_scan(cohort.store, strata_of(design), spec, workers=workers, memory_bytes=4 * GIB)
    return run_scan(plan, cohort.store, strata_of(design), spec, executor or EmbeddedExecutor(workers), out, **options)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return write_cohort(tmp_path / "cohort.zarr", contigs=CONTIGS)


@pytest.fixture
def design(cohort: Cohort) -> Design:
    plain = make_design(cohort)
    return replace(plain, offsets=DrawnOffsets(plain, ("1", "2", "X")))


def columns(folder: Path) -> dict[str, bytes]:
    """Every file of the results' columns."""
    return {name: content for name, content in tree(folder / CUBE).items() if "/c/" in name}


@pytest.mark.parametrize("missing", Missing)
def test_a_variant_is_tested_against_the_trait_less_the_prediction_of_its_chromosome(
    cohort: Cohort, design: Design, tmp_path: Path, missing: Missing
) -> None:
    assert isinstance(design.offsets, DrawnOffsets)
    scan(cohort, design, tmp_path / "run", ScanSpec(missing=missing, x_sex_covariate=False))
    cube = ResultsCube(tmp_path / "run")
    # chr3 and the scaffold have no markers in the model: the prediction of all is taken off.
    of_contig = {"chr1": "1", "chr2": "2", "chr3": ALL, "chrX": "X", "scaffold": ALL}
    for t, trait in enumerate(cube.traits):
        table = cube.trait_table(trait)
        for v in range(0, len(cohort.calls), 3):
            offset = design.offsets.values[of_contig[table["contig"][v]]][:, t]
            calls = cohort.calls[v, design.store_rows].astype(float)
            haploid = (table["contig"][v] == "chrX") & (design.sex == 1)
            dosage = np.where((calls < 0) | (haploid & (calls == 1)), np.nan, calls)
            fit = naive.linear(dosage, design.traits[:, t] - offset, design.covariates, exclude=bool(missing))
            assert_cell(table, v, fit)


def test_every_stratum_is_tested_less_its_own_predictions(cohort: Cohort, tmp_path: Path) -> None:
    plain = split(make_design(cohort), ("AFR", "EUR"))
    offsets = [DrawnOffsets(of, ("1", "2", "X"), seed) for seed, (_, of) in enumerate(plain)]
    with_offsets = tuple(Stratum(name, replace(of, offsets=o)) for (name, of), o in zip(plain, offsets, strict=True))
    without_2 = tuple(
        Stratum(name, replace(of, traits=of.traits - o.values["2"]))
        for (name, of), o in zip(plain, offsets, strict=True)
    )
    scan(cohort, with_offsets, tmp_path / "run")
    scan(cohort, without_2, tmp_path / "two")
    for stratum, of in plain:
        for trait in of.trait_names:
            found, expected = (ResultsCube(tmp_path / name).trait_table(trait, stratum) for name in ("run", "two"))
            on_two = found["contig"] == "chr2"
            for name in ("beta", "standard_error", "neg_log10_p", "status", "n"):
                np.testing.assert_array_equal(found[name][on_two], expected[name][on_two])


@pytest.mark.parametrize("model", [Model.ADDITIVE, Model.GENOTYPIC])
def test_an_offset_of_zero_gives_the_bytes_of_the_plain_scan(cohort: Cohort, tmp_path: Path, model: Model) -> None:
    plain = make_design(cohort)
    zero = replace(plain, offsets=DrawnOffsets(plain, ("1", "2", "X"), scale=0.0))
    scan(cohort, plain, tmp_path / "plain", ScanSpec(model=model))
    scan(cohort, zero, tmp_path / "zero", ScanSpec(model=model))
    assert columns(tmp_path / "plain") == columns(tmp_path / "zero")


def test_executors_orders_and_resumption_change_no_byte(cohort: Cohort, design: Design, tmp_path: Path) -> None:
    whole = scan(cohort, design, tmp_path / "one")
    scan(cohort, design, tmp_path / "two", workers=2)
    scan(cohort, design, tmp_path / "backwards", executor=Backwards())
    with pytest.raises(KeyboardInterrupt):
        scan(cohort, design, tmp_path / "died", executor=Dying(3))
    resumed = scan(cohort, design, tmp_path / "died")
    assert resumed.tasks_resumed == 3
    assert resumed.trait_notes == whole.trait_notes
    expected = tree(tmp_path / "one")
    for name in ("two", "backwards", "died"):
        assert tree(tmp_path / name) == expected


@pytest.mark.parametrize("held", [1, 2, 100])
@pytest.mark.parametrize("blocks", [1, 2, 8])
def test_lengths_of_tasks_and_the_null_models_held_change_no_number(
    cohort: Cohort, design: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int, blocks: int
) -> None:
    scan(cohort, design, tmp_path / "usual")
    monkeypatch.setattr(plan_module, "_task_variants", lambda *_: blocks * BLOCK)
    monkeypatch.setattr(plan_module, "HELD_NULL_BYTES", held * _batches(design).null_bytes)
    alive: list[int] = []
    hold = scan_module._BatchNulls.hold
    monkeypatch.setattr(
        scan_module._BatchNulls, "hold", lambda self, codes: alive.append(len(codes)) or hold(self, codes)
    )
    plan = plan_scan(cohort.store, strata_of(design), ScanSpec(), workers=1, memory_bytes=4 * GIB)
    assert [run for group in plan.groups for run in group.runs] == list(range(plan.n_runs))
    scan(cohort, design, tmp_path / "run")
    assert max(alive) == plan.nulls_held <= max(held, 4 if blocks == 8 else 3)
    usual, found = ResultsCube(tmp_path / "usual"), ResultsCube(tmp_path / "run")
    for trait in usual.traits:
        expected, table = usual.trait_table(trait), found.trait_table(trait)
        for name in expected:
            np.testing.assert_array_equal(table[name], expected[name])


def _batches(design: Design) -> BatchPlan:
    return plan_module.trait_batches(strata_of(design), ScanSpec())


@pytest.mark.parametrize("together", [BLOCK, 3 * BLOCK, 1 << 20])
def test_groups_hold_what_their_runs_need(cohort: Cohort, monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    monkeypatch.setattr(groups_module, "COUNTED_ROWS", together)
    of_contig = np.array([CLASSES, 2 * CLASSES, 0, PloidyClass.X + 3 * CLASSES, 0])
    codes = of_contig[cohort.contig]
    for rows in (None, np.arange(len(codes))[::3]):
        of_row = codes if rows is None else codes[rows]
        runs = [set(of_row[start : start + BLOCK].tolist()) for start in range(0, len(of_row), BLOCK)]
        for most in range(1, 5):
            groups = null_groups(cohort.store, rows, BLOCK, ("1", "2", "X"), most)
            assert [run for group in groups for run in group.runs] == list(range(len(runs)))
            for group in groups:
                needed = [runs[run] for run in group.runs]
                assert set(group.codes) == set().union(*needed)
                assert len(group.codes) <= max(most, *map(len, needed))
    assert len(null_groups(cohort.store, None, BLOCK, (), 1)) == 1


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Computed]:
    return watch_tasks(monkeypatch)


def test_a_null_model_that_changed_costs_its_trait(
    cohort: Cohort, design: Design, tmp_path: Path, scored: list[Computed]
) -> None:
    scan(cohort, design, tmp_path / "run", update=True)
    scored.clear()
    offsets = DrawnOffsets(design, ("1", "2", "X"))
    for values in offsets.values.values():
        values[5, 2] += 1.0
    changed = replace(design, offsets=offsets)
    scan(cohort, changed, tmp_path / "run", update=True)
    assert {traits for traits, _ in scored} == {(("trait2",),)}
    scan(cohort, changed, tmp_path / "fresh")
    for trait in design.trait_names:
        found, expected = (ResultsCube(tmp_path / name).trait_table(trait) for name in ("run", "fresh"))
        np.testing.assert_array_equal(found["status"], expected["status"])
        np.testing.assert_allclose(found["neg_log10_p"], expected["neg_log10_p"], rtol=1e-5, atol=1e-6)


def test_a_null_model_that_is_added_or_taken_away_costs_everything(
    cohort: Cohort, design: Design, tmp_path: Path, scored: list[Computed]
) -> None:
    scan(cohort, replace(design, offsets=None), tmp_path / "run", update=True)
    for changed in (design, replace(design, offsets=None)):
        scored.clear()
        scan(cohort, changed, tmp_path / "run", update=True)
        assert {traits for traits, _ in scored} == {(design.trait_names,)}


def stored(cohort: Cohort, design: Design, folder: Path, **options: Any) -> StoredOffsets:
    people = cohort.store.sample_ids
    rng = np.random.default_rng(8)
    draw_model(folder, list(rng.permutation(people)), [*reversed(design.trait_names), "other"], **options)
    return StoredOffsets(NullModelFiles(folder), design, people[design.store_rows])


def test_stored_predictions_are_found_by_person_and_trait(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    offsets = stored(cohort, design, tmp_path / "model")
    model = NullModelFiles(tmp_path / "model")
    place = {person: k for k, person in enumerate(model.sample_ids)}
    names = [trait.name for trait in model.traits]
    for chromosome, row in (("1", "1"), ("2", "2"), ("3", ALL), (ALL, ALL)):
        found = offsets.of(chromosome, np.array([3, 0]))
        for k, trait in enumerate((3, 0)):
            values = model.read(names.index(design.trait_names[trait]), row)
            expected = [values[place[cohort.store.sample_ids[who]]] for who in design.store_rows]
            np.testing.assert_array_equal(found[:, k], np.array(expected, float))


def test_a_digest_is_of_the_people_who_have_the_trait(cohort: Cohort, tmp_path: Path) -> None:
    """People who come with another trait change nothing, as they change no result."""
    whole = make_design(cohort)
    values = whole.traits.copy()
    values[:30, :3] = np.nan
    whole = replace(whole, traits=values)
    there = slice(30, None)
    fewer = replace(
        whole,
        store_rows=whole.store_rows[there],
        traits=values[there],
        covariates=whole.covariates[there],
        sex=whole.sex[there],
    )
    one, other = stored(cohort, whole, tmp_path / "model"), stored(cohort, fewer, tmp_path / "model")
    assert [one.digest(t) == other.digest(t) for t in range(4)] == [True, True, True, False]
    another = stored(cohort, whole, tmp_path / "another", seed=4)
    assert all(one.digest(t) != another.digest(t) for t in range(4))


def test_people_without_a_prediction_are_counted_and_refused(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    with pytest.raises(InputError, match="people who have a trait have no prediction") as refused:
        stored(cohort, design, tmp_path / "model", missing=0.2)
    assert "of 'trait0'" in refused.value.what
    assert "person" not in str(refused.value)
    model = NullModelFiles(tmp_path / "model")
    predicted = np.isin(cohort.store.sample_ids[design.store_rows], model.sample_ids[model.has_prediction(3)])
    names = [trait.name for trait in model.traits]
    assert names[3] == "trait0"
    assert f"{(~predicted).sum()} of 'trait0'" in refused.value.what
    # Somebody who lacks the trait needs none.
    values = design.traits.copy()
    for t, trait in enumerate(design.trait_names):
        known = model.sample_ids[model.has_prediction(names.index(trait))]
        values[~np.isin(cohort.store.sample_ids[design.store_rows], known), t] = np.nan
    people = cohort.store.sample_ids[design.store_rows]
    offsets = StoredOffsets(model, replace(design, traits=values), people)
    assert np.isfinite(offsets.of("1", np.arange(4))[~np.isnan(values)]).all()


def test_people_who_are_not_in_the_model_are_refused(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    draw_model(tmp_path / "model", list(cohort.store.sample_ids[:250]), design.trait_names)
    with pytest.raises(InputError, match="have no prediction"):
        StoredOffsets(NullModelFiles(tmp_path / "model"), design, cohort.store.sample_ids[design.store_rows])


def test_traits_without_a_model_are_refused_by_name(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    people = cohort.store.sample_ids
    draw_model(tmp_path / "few", list(people), ["trait0", "trait2"])
    with pytest.raises(InputError, match="no predictions of 'trait1', 'trait3'"):
        StoredOffsets(NullModelFiles(tmp_path / "few"), design, people[design.store_rows])
    draw_model(tmp_path / "failed", list(people), design.trait_names, failed=["trait2"])
    with pytest.raises(InputError, match=r"'trait2' \(the fit did not converge\) was not fitted"):
        StoredOffsets(NullModelFiles(tmp_path / "failed"), design, people[design.store_rows])


def test_predictions_that_are_not_finite_are_never_used(cohort: Cohort, tmp_path: Path) -> None:
    """The writer makes none; a file may be of anybody."""
    design = make_design(cohort)
    offsets = stored(cohort, design, tmp_path / "model")
    offsets._stored.read = lambda *_: np.full(300, np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(FileFormatError, match="not finite"):
        offsets.of("1", np.array([1]))


def test_the_residual_standard_deviation_counts_the_rank() -> None:
    rng = np.random.default_rng(1)
    covariates = np.column_stack([np.ones(50), rng.normal(size=50), np.full(50, 3.0)])
    trait = rng.normal(size=50) * 4 + covariates[:, 1]
    left = trait - covariates @ np.linalg.lstsq(covariates, trait)[0]
    assert residual_sd(trait, covariates) == pytest.approx(np.sqrt(left @ left / 48), rel=1e-12)


def test_memory_is_planned_for_the_null_models_that_are_held(cohort: Cohort, design: Design) -> None:
    plain, loco = (
        plan_scan(cohort.store, strata_of(of), ScanSpec(), workers=1, memory_bytes=4 * GIB)
        for of in (replace(design, offsets=None), design)
    )
    one = _batches(design).null_bytes
    assert plain.nulls_held == 2  # autosomes, X
    assert loco.nulls_held == 4  # 1, 2, X, the rest
    assert loco.shared_memory_bytes >= plain.shared_memory_bytes + 2 * one
    assert loco.variants_per_task == plain.variants_per_task


def test_a_trait_that_its_prediction_explains_has_a_status(cohort: Cohort, tmp_path: Path) -> None:
    """One bad trait never ends a run; and it is told once, not for every chromosome."""
    plain = make_design(cohort)
    offsets = DrawnOffsets(plain, ("1", "2", "X"))
    for values in offsets.values.values():
        values[:, 0] = plain.traits[:, 0]
    summary = scan(cohort, replace(plain, offsets=offsets), tmp_path / "run")
    cube = ResultsCube(tmp_path / "run")
    assert (cube.trait_table("trait0")["status"] == Status.TRAIT_CONSTANT).all()
    assert (cube.trait_table("trait1")["status"] == Status.OK).any()
    messages = [message for trait, _, message in summary.trait_notes if trait == "trait0"]
    assert len(messages) == len(set(messages)) == 2  # autosomes, X
