"""Updates: of a scan that changed, what still holds is taken over, what does not is computed, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine import reuse
from allscan.engine.design import Design, Strata
from allscan.engine.manifest import Manifest, changes, manifest_of
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.results import ResultsCube
from allscan.engine.scan import ScanSummary, run_scan
from allscan.errors import FileFormatError, JobChangedError
from allscan.kernels.association import Model
from tests.engine.cohorts import Cohort, Computed, make_design, split, strata_of, watch_tasks, write_cohort
from tests.engine.test_scan import Dying, tree

GIB = 1 << 30


def update(
    cohort: Cohort, design: Design | Strata, out: Path, spec: ScanSpec | None = None, executor: Any = None
) -> ScanSummary:
    spec = spec or ScanSpec()
    plan = plan_scan(cohort.store, strata_of(design), spec, workers=1, memory_bytes=4 * GIB)
    return run_scan(plan, cohort.store, strata_of(design), spec, executor or EmbeddedExecutor(1), out, update=True)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return write_cohort(tmp_path / "cohort.zarr")


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Computed]:
    return watch_tasks(monkeypatch)


def assert_same_results(found: Path, expected: Path) -> None:
    """Within 1e-5 of a standard error, which is what a trait may owe to those beside it."""
    one, other = ResultsCube(found), ResultsCube(expected)
    assert (one.traits, one.strata, one.n_variants) == (other.traits, other.strata, other.n_variants)
    for stratum in one.strata:
        for trait in one.traits:
            a, b = one.trait_table(trait, stratum), other.trait_table(trait, stratum)
            for name in ("status", "n", "position", "variant_id"):
                np.testing.assert_array_equal(a[name], b[name])
            np.testing.assert_allclose(a["beta"] / b["standard_error"], b["beta"] / b["standard_error"], atol=1e-5)
            np.testing.assert_allclose(a["neg_log10_p"], b["neg_log10_p"], rtol=1e-5, atol=1e-6)
    assert not (found / reuse.PREVIOUS).exists()


def with_traits(design: Design, order: list[int], names: tuple[str, ...] | None = None) -> Design:
    chosen = names or tuple(design.trait_names[k] for k in order)
    return replace(design, traits=np.asfortranarray(design.traits[:, order]), trait_names=chosen)


def test_an_added_trait_is_the_only_one_computed(cohort: Cohort, tmp_path: Path, scored: list[Computed]) -> None:
    design = make_design(cohort, traits=5)
    update(cohort, with_traits(design, [0, 1, 2, 3]), tmp_path / "run")
    before = ResultsCube(tmp_path / "run").trait_table("trait1")
    scored.clear()
    summary = update(cohort, design, tmp_path / "run")
    assert {traits for traits, _ in scored} == {(("trait4",),)}
    assert summary.results_kept == 4 * 210
    assert summary.n_tests == 5 * 210 == sum(summary.status_counts.values())
    after = ResultsCube(tmp_path / "run").trait_table("trait1")
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    update(cohort, design, tmp_path / "fresh")
    assert_same_results(tmp_path / "run", tmp_path / "fresh")


def test_traits_that_move_or_change_names_or_go_cost_nothing(
    cohort: Cohort, tmp_path: Path, scored: list[Computed]
) -> None:
    design = make_design(cohort)
    update(cohort, design, tmp_path / "run")
    scored.clear()
    changed = with_traits(design, [3, 0, 2], ("last", "first", "middle"))
    update(cohort, changed, tmp_path / "run")
    assert scored == []
    update(cohort, changed, tmp_path / "fresh")
    assert_same_results(tmp_path / "run", tmp_path / "fresh")


def test_a_corrected_value_costs_its_trait(cohort: Cohort, tmp_path: Path, scored: list[Computed]) -> None:
    design = make_design(cohort)
    update(cohort, design, tmp_path / "run")
    scored.clear()
    values = design.traits.copy()
    values[5, 2] += 1.0
    update(cohort, replace(design, traits=values), tmp_path / "run")
    assert {traits for traits, _ in scored} == {(("trait2",),)}


@pytest.mark.parametrize("strata", [("all",), ("AFR", "EUR")])
def test_added_variants_are_the_only_ones_computed(
    tmp_path: Path, scored: list[Computed], strata: tuple[str, ...]
) -> None:
    contigs = {"1": 256, "2": 128, "3": 128}
    less = write_cohort(tmp_path / "less.zarr", contigs=contigs, stop=384)
    more = write_cohort(tmp_path / "more.zarr", contigs=contigs)
    design = split(make_design(less), strata)
    update(less, design, tmp_path / "run")
    scored.clear()
    update(more, design, tmp_path / "run")
    assert sorted({first for _, first in scored}) == [384, 448]
    update(more, design, tmp_path / "fresh")
    assert_same_results(tmp_path / "run", tmp_path / "fresh")


def test_variants_put_before_the_others_move_their_results(tmp_path: Path, scored: list[Computed]) -> None:
    contigs = {"1": 128, "2": 384}
    later = write_cohort(tmp_path / "later.zarr", contigs=contigs, skip=128)
    whole = write_cohort(tmp_path / "whole.zarr", contigs=contigs)
    design = make_design(whole)
    update(later, design, tmp_path / "run")
    scored.clear()
    update(whole, design, tmp_path / "run")
    assert sorted({first for _, first in scored}) == [0, 64]
    update(whole, design, tmp_path / "fresh")
    assert_same_results(tmp_path / "run", tmp_path / "fresh")


def test_a_changed_genotype_costs_its_run_of_variants(tmp_path: Path, scored: list[Computed]) -> None:
    one = write_cohort(tmp_path / "one.zarr", contigs={"1": 256})
    design = make_design(one)
    update(one, design, tmp_path / "run")
    from allscan.engine.store_writing import write_genotypes
    from allscan.kernels.block import encode_block

    calls = one.calls[64:128].copy()
    calls[3, 7] = (calls[3, 7] + 1) % 3
    write_genotypes(tmp_path / "one.zarr", 1, encode_block(calls))
    scored.clear()
    update(Cohort(type(one.store)(one.store.path), one.calls, one.contig, one.position), design, tmp_path / "run")
    assert {first for _, first in scored} == {64}


def test_people_who_come_with_an_added_trait_change_no_other(
    cohort: Cohort, tmp_path: Path, scored: list[Computed]
) -> None:
    """A job drops people who have no trait; with another trait some of them come in."""
    design = make_design(cohort)
    values = design.traits.copy()
    values[:30, :3] = np.nan
    whole = replace(design, traits=values)
    less = replace(
        with_traits(whole, [0, 1, 2]), store_rows=whole.store_rows[30:], traits=whole.traits[30:, :3],
        covariates=whole.covariates[30:], sex=whole.sex[30:],
    )  # fmt: skip
    update(cohort, less, tmp_path / "run")
    scored.clear()
    update(cohort, whole, tmp_path / "run")
    assert {traits for traits, _ in scored} == {(("trait3",),)}
    update(cohort, whole, tmp_path / "fresh")
    assert_same_results(tmp_path / "run", tmp_path / "fresh")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: replace(d, covariates=d.covariates + 1e-9), "0 as before, 4 new or changed"),
        (lambda d: replace(d, sex=3 - d.sex), "0 as before, 4 new or changed"),
        (
            lambda d: replace(
                d, store_rows=d.store_rows[1:], traits=d.traits[1:], covariates=d.covariates[1:], sex=d.sex[1:]
            ),
            "0 as before, 4 new or changed",
        ),
    ],
)
def test_what_touches_everything_says_so(
    cohort: Cohort, tmp_path: Path, scored: list[Computed], change: Callable[[Design], Design], said: str
) -> None:
    design = make_design(cohort)
    update(cohort, design, tmp_path / "run")
    scored.clear()
    changed = change(design)
    plan = plan_scan(cohort.store, strata_of(changed), ScanSpec(), workers=1, memory_bytes=4 * GIB)
    with pytest.raises(JobChangedError, match=said):
        run_scan(plan, cohort.store, strata_of(changed), ScanSpec(), EmbeddedExecutor(1), tmp_path / "run")
    update(cohort, changed, tmp_path / "run")
    assert len(scored) == 4
    update(cohort, changed, tmp_path / "fresh")
    assert tree(tmp_path / "run") == tree(tmp_path / "fresh")


def test_a_changed_program_changes_every_task(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    design, spec = make_design(cohort), ScanSpec()
    plan = plan_scan(cohort.store, strata_of(design), spec, workers=1, memory_bytes=4 * GIB)
    monkeypatch.setattr("allscan.engine.manifest.program_digest", lambda: "another")
    other = manifest_of(cohort.store, strata_of(design), spec, plan)
    assert changes(plan.made_of, other) == ["the program changed: everything is computed again"]
    assert not {plan.made_of.of_task(t) for t in plan.all_tasks()} & {other.of_task(t) for t in plan.all_tasks()}


@pytest.mark.parametrize("survive", [0, 1, 3])
def test_an_update_that_is_killed_goes_on(cohort: Cohort, tmp_path: Path, survive: int) -> None:
    design = make_design(cohort, traits=5)
    for folder in ("run", "whole"):
        update(cohort, with_traits(design, [0, 1, 2, 3]), tmp_path / folder)
    update(cohort, design, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        update(cohort, design, tmp_path / "run", executor=Dying(survive))
    assert update(cohort, design, tmp_path / "run").tasks_resumed == survive
    assert tree(tmp_path / "run") == tree(tmp_path / "whole")


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_kill_while_results_are_set_aside_loses_nothing(
    cohort: Cohort, tmp_path: Path, scored: list[Computed], monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    design = make_design(cohort, traits=5)
    less = with_traits(design, [0, 1, 2, 3])
    update(cohort, less, tmp_path / "run")
    rename, count = Path.rename, 0

    def dying(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count > moved:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        with pytest.raises(KeyboardInterrupt):
            update(cohort, design, tmp_path / "run")
    scored.clear()
    update(cohort, design, tmp_path / "run")
    assert {traits for traits, _ in scored} == {(("trait4",),)}


def test_an_update_cut_short_by_another_keeps_the_first_results(
    cohort: Cohort, tmp_path: Path, scored: list[Computed]
) -> None:
    design = make_design(cohort, traits=6)
    update(cohort, with_traits(design, [0, 1, 2, 3]), tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        update(cohort, with_traits(design, [0, 1, 2, 3, 4]), tmp_path / "run", executor=Dying(2))
    scored.clear()
    update(cohort, with_traits(design, [0, 1, 2, 3, 5]), tmp_path / "run")
    assert {traits for traits, _ in scored} == {(("trait4",),)}  # the fifth


def test_a_damaged_manifest_is_named(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    update(cohort, design, tmp_path / "run")
    (tmp_path / "run" / "manifest.json").write_text('{"format_version": 1, "strata": 3')
    with pytest.raises(FileFormatError, match="made of"):
        update(cohort, design, tmp_path / "run")


def test_a_manifest_is_read_as_it_was_written(cohort: Cohort) -> None:
    spec = ScanSpec(model=Model.DOMINANT)
    plan = plan_scan(cohort.store, strata_of(make_design(cohort)), spec, workers=1, memory_bytes=4 * GIB)
    again = Manifest.from_json(plan.made_of.to_json(), "here")
    assert again == plan.made_of
    assert again.digest == plan.made_of.digest
    assert len({again.of_task(task) for task in plan.all_tasks()}) == plan.n_tasks
