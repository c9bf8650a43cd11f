"""The scan: right values in the right cells, resumable at any point, the same bytes however it ran."""

from __future__ import annotations

import errno
import json
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

import allscan
from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine import scan as scan_module
from allscan.engine.chromosomes import Region
from allscan.engine.design import Design
from allscan.engine.plan import ScanSpec, VariantFilter, plan_scan
from allscan.engine.results import CUBE, ResultsCube
from allscan.engine.scan import ScanProgress, ScanSummary, Stage, run_scan
from allscan.errors import CorruptChunkError, InputError, JobChangedError, OutputError
from allscan.kernels.association import Missing, Model, Status
from allscan.kernels.panel import panel_bytes
from tests import naive
from tests.engine.cohorts import Cohort, make_design, split, strata_of, write_cohort

GIB = 1 << 30


def scan(
    cohort: Cohort,
    design: Design,
    out: Path,
    spec: ScanSpec | None = None,
    *,
    workers: int = 1,
    executor: Any = None,
    on_progress: Callable[[ScanProgress], None] | None = None,
) -> ScanSummary:
    spec = spec or ScanSpec()
    plan = plan_scan(cohort.store, strata_of(design), spec, workers=workers, memory_bytes=4 * GIB)
    return run_scan(
        plan, cohort.store, strata_of(design), spec, executor or EmbeddedExecutor(workers), out, on_progress
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return write_cohort(tmp_path / "cohort.zarr")


def naive_fit(cohort: Cohort, design: Design, v: int, t: int, **options: Any) -> naive.Fit | None:
    calls = cohort.calls[v, design.store_rows].astype(float)
    dosage = np.where(calls < 0, np.nan, calls)
    return naive.linear(dosage, design.traits[:, t], design.covariates, **options)


def assert_cell(table: dict[str, NDArray[Any]], v: int, fit: naive.Fit | None) -> None:
    """float32 in the cube: 6e-8 relative."""
    if fit is None:
        assert table["status"][v] != Status.OK
        assert np.isnan(table["beta"][v])
        return
    assert table["status"][v] == Status.OK
    assert table["beta"][v] == pytest.approx(fit.beta[0], rel=2e-7, abs=1e-7 * fit.standard_error[0])
    assert table["standard_error"][v] == pytest.approx(fit.standard_error[0], rel=2e-7)
    assert table["neg_log10_p"][v] == pytest.approx(fit.neg_log10_p, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("missing", Missing)
def test_every_cell_is_in_its_place(cohort: Cohort, tmp_path: Path, missing: Missing) -> None:
    design = make_design(cohort)
    summary = scan(cohort, design, tmp_path / "run", ScanSpec(missing=missing))
    cube = ResultsCube(tmp_path / "run")
    for t, trait in enumerate(cube.traits):
        table = cube.trait_table(trait)
        present = ~np.isnan(design.traits[:, t])
        calls = cohort.calls[:, design.store_rows][:, present]
        called = (calls >= 0).sum(axis=1)
        copies = np.where(calls < 0, 0, calls).sum(axis=1)
        np.testing.assert_array_equal(table["n"], called if missing else np.full(len(called), present.sum()))
        np.testing.assert_array_equal(table["effect_allele_count"], copies)
        np.testing.assert_allclose(table["effect_allele_frequency"], copies / (2 * called), rtol=1e-6)
        np.testing.assert_allclose(table["missing_rate"], 1 - called / present.sum(), rtol=1e-5, atol=1e-7)
        for v in range(0, len(called), 3):
            assert_cell(table, v, naive_fit(cohort, design, v, t, exclude=bool(missing)))
        assert list(table["position"]) == list(cohort.position)
    assert summary.n_tests == 210 * 4 == sum(summary.status_counts.values())


def test_a_trait_alone_gives_the_same(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    scan(cohort, design, tmp_path / "all")
    together = ResultsCube(tmp_path / "all")
    for t, trait in enumerate(design.trait_names):
        alone = replace(design, traits=design.traits[:, [t]], trait_names=(trait,))
        scan(cohort, alone, tmp_path / trait)
        one, other = together.trait_table(trait), ResultsCube(tmp_path / trait).trait_table(trait)
        np.testing.assert_array_equal(one["status"], other["status"])
        tested = one["status"] == Status.OK
        error = one["standard_error"][tested]
        assert np.max(np.abs(one["beta"] - other["beta"])[tested] / error) <= 1e-5
        np.testing.assert_allclose(one["neg_log10_p"], other["neg_log10_p"], rtol=1e-5, atol=1e-6)


class Backwards:
    """An executor that takes the tasks from the end."""

    def run(self, function: Any, shared: Any, tasks: Iterable[Any], **_: int) -> Iterator[tuple[Any, Any]]:
        for task in reversed(list(tasks)):
            yield task, function(shared, task)


class Dying:
    """An executor that is killed after some tasks."""

    def __init__(self, survive: int) -> None:
        self.survive = survive

    def run(self, function: Any, shared: Any, tasks: Iterable[Any], **_: int) -> Iterator[tuple[Any, Any]]:
        for k, task in enumerate(tasks):
            if k == self.survive:
                raise KeyboardInterrupt
            yield task, function(shared, task)


def test_workers_order_and_resumption_change_no_byte(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    scan(cohort, design, tmp_path / "one")
    expected = tree(tmp_path / "one")
    scan(cohort, design, tmp_path / "two", workers=2)
    scan(cohort, design, tmp_path / "backwards", executor=Backwards())
    for survive in (0, 1, 3):
        out = tmp_path / f"killed{survive}"
        with pytest.raises(KeyboardInterrupt):
            scan(cohort, design, out, executor=Dying(survive))
        assert not (out / "hits.parquet").exists()
        summary = scan(cohort, design, out)
        assert summary.tasks_resumed == survive
    for name in ("two", "backwards", "killed0", "killed1", "killed3"):
        assert tree(tmp_path / name) == expected


def test_a_task_that_was_written_but_not_committed_is_done_again(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    scan(cohort, design, tmp_path / "run")
    expected = tree(tmp_path / "run")
    commit = sorted((tmp_path / "run" / "commits").iterdir())[1]
    commit.unlink()
    chunk = tmp_path / "run" / CUBE / "beta" / "c" / "0" / "0" / "1"
    chunk.write_bytes(b"half a chunk")
    assert scan(cohort, design, tmp_path / "run").tasks_resumed == 3
    assert tree(tmp_path / "run") == expected


def test_a_cube_whose_creation_was_interrupted_is_made_again(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    scan(cohort, design, tmp_path / "run")
    expected = tree(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / CUBE)
    (tmp_path / "run" / CUBE).mkdir()
    assert scan(cohort, design, tmp_path / "run").tasks_resumed == 0
    assert tree(tmp_path / "run") == expected


def test_another_scan_in_the_same_folder_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    scan(cohort, design, tmp_path / "run")
    before = tree(tmp_path / "run")
    with pytest.raises(JobChangedError, match="other inputs or settings"):
        scan(cohort, design, tmp_path / "run", ScanSpec(model=Model.DOMINANT))
    other = replace(design, covariates=design.covariates + 1e-9)
    with pytest.raises(JobChangedError):
        scan(cohort, other, tmp_path / "run")
    assert tree(tmp_path / "run") == before


def test_progress_counts_up_to_the_end(cohort: Cohort, tmp_path: Path) -> None:
    seen: list[ScanProgress] = []
    scan(cohort, make_design(cohort), tmp_path / "run", on_progress=seen.append)
    assert [(p.stage, p.tasks_done) for p in seen] == [
        (Stage.NULL_MODELS, 0),
        *((Stage.SCAN, done) for done in range(5)),
        (Stage.HITS, 4),
    ]
    finished = [p.task for p in seen if p.task is not None]
    assert len({task.name for task in finished}) == 4
    assert sum(task.variants for task in finished) == 210
    assert all(task.seconds > 0 and task.node == socket.gethostname() for task in finished)
    assert seen[-1].variants_done == seen[-1].variants_total == 210


def test_hits_are_the_cells_above_the_threshold(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    summary = scan(cohort, design, tmp_path / "run", ScanSpec(hits_neg_log10_p=2.0))
    hits = pq.read_table(tmp_path / "run" / "hits.parquet").to_pylist()
    cube = ResultsCube(tmp_path / "run")
    expected = [
        (trait, variant_id)
        for trait in cube.traits
        for variant_id, p in zip(*(cube.trait_table(trait)[k] for k in ("variant_id", "neg_log10_p")), strict=True)
        if p >= 2
    ]
    assert [(hit["trait"], hit["variant_id"]) for hit in hits] == expected
    assert len(hits) == summary.n_hits > 0
    assert all(hit["stratum"] == "all" and hit["effect_allele"] == "C" for hit in hits)


def test_strata_are_separate_runs(cohort: Cohort, tmp_path: Path) -> None:
    strata = split(make_design(cohort), ("AFR", "EUR"))
    scan(cohort, strata, tmp_path / "run")
    cube = ResultsCube(tmp_path / "run")
    assert cube.strata == ("AFR", "EUR")
    for stratum, design in strata:
        table = cube.trait_table("trait0", stratum)
        assert set(table["n"]) == {design.n_samples}
        for v in range(0, 210, 10):
            assert_cell(table, v, naive_fit(cohort, design, v, 0))


def test_filters_leave_a_status_and_a_count(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    limits = VariantFilter(min_mac=5, max_missing_rate=0.02, min_info=0.8)
    summary = scan(cohort, design, tmp_path / "run", ScanSpec(filter=limits))
    cube = ResultsCube(tmp_path / "run")
    total = 0
    for trait in cube.traits:
        table = cube.trait_table(trait)
        frequency = table["effect_allele_frequency"]
        mac = np.minimum(frequency, 1 - frequency) * 2 * (1 - table["missing_rate"]) * table["n"]
        out = (mac < 5 - 1e-3) | (table["missing_rate"] > 0.02) | (table["info"] < 0.8)
        np.testing.assert_array_equal(table["status"] == Status.FILTERED, out)
        assert np.isnan(table["neg_log10_p"][out]).all()
        assert np.isfinite(table["neg_log10_p"][~out]).all()
        total += int(out.sum())
    assert summary.status_counts["filtered"] == total > 0


def test_regions_select_variants(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    scan(cohort, design, tmp_path / "all")
    middle = int(np.median(cohort.position[:150]))
    regions = (Region("chr1", middle, middle + 200_000), Region("2"))
    scan(cohort, design, tmp_path / "some", ScanSpec(filter=VariantFilter(regions=regions)))
    first = (cohort.contig == 0) & (cohort.position >= middle) & (cohort.position <= middle + 200_000)
    chosen = np.flatnonzero(first | (cohort.contig == 1))
    whole, part = (
        ResultsCube(tmp_path / "all").trait_table("trait0"),
        ResultsCube(tmp_path / "some").trait_table("trait0"),
    )
    for name in ("variant_id", "position", "status", "n"):
        np.testing.assert_array_equal(part[name], whole[name][chosen])
    np.testing.assert_allclose(part["beta"], whole["beta"][chosen], rtol=1e-6)
    with pytest.raises(InputError, match="no contig '7'"):
        scan(cohort, design, tmp_path / "none", ScanSpec(filter=VariantFilter(regions=(Region("7"),))))
    with pytest.raises(InputError, match="no variant lies in"):
        scan(cohort, design, tmp_path / "none", ScanSpec(filter=VariantFilter(regions=(Region("1", 1, 2),))))


@pytest.mark.parametrize("male_dosage", [1, 2])
def test_chromosome_x(tmp_path: Path, male_dosage: int) -> None:
    cohort = write_cohort(tmp_path / "x.zarr", contigs={"chr1": 20, "chrX": 50, "chrY": 20, "chrM": 10})
    design = make_design(cohort)
    summary = scan(cohort, design, tmp_path / "run", ScanSpec(x_male_dosage=male_dosage))
    table = ResultsCube(tmp_path / "run").trait_table("trait0")
    male = design.sex == 1
    calls = cohort.calls[:, design.store_rows].astype(float)
    calls[calls < 0] = np.nan
    hidden = int((calls[20:90, male] == 1).sum())
    # Counted in everybody of known sex in the store, analysed or not.
    assert summary.variant_accounting["heterozygous calls of males on X or Y, set to missing"] >= hidden > 0
    with_sex = np.column_stack([design.covariates, male])
    for v in range(20, 70):
        dosage = np.where(male & (calls[v] == 1), np.nan, calls[v])
        scale = np.where(male, male_dosage / 2, 1.0)
        assert_cell(table, v, naive.linear(dosage, design.traits[:, 0], with_sex, scale=scale))
        alleles = np.where(male, 1, 2) * ~np.isnan(dosage)
        assert table["effect_allele_count"][v] == np.nansum(dosage * np.where(male, 0.5, 1))
        assert table["effect_allele_frequency"][v] == pytest.approx(
            table["effect_allele_count"][v] / alleles.sum(), rel=1e-6
        )
    for v in range(70, 90):
        dosage = np.where(calls[v] == 1, np.nan, calls[v])[male]
        fit = naive.linear(dosage, design.traits[male, 0], design.covariates[male], scale=np.full(male.sum(), 0.5))
        assert_cell(table, v, fit)
        assert table["n"][v] == male.sum()
    for v in range(90, 100):
        scale = np.full(len(male), 0.5)
        assert_cell(table, v, naive.linear(calls[v], design.traits[:, 0], design.covariates, scale=scale))


def test_x_without_sex_is_said(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "x.zarr", contigs={"1": 10, "X": 10}, sex=np.zeros(300, np.int8))
    summary = scan(cohort, make_design(cohort), tmp_path / "run")
    status = ResultsCube(tmp_path / "run").trait_table("trait0")["status"]
    assert set(status[10:]) == {Status.SEX_UNKNOWN}
    assert summary.status_counts["sex_unknown"] == 40


def test_par_is_autosomal(tmp_path: Path) -> None:
    """Positions are around 5 Mb: shift the store's into PAR1 of GRCh38."""
    cohort = write_cohort(tmp_path / "x.zarr", contigs={"X": 20}, sex=np.zeros(300, np.int8))
    import zarr

    zarr.open_group(cohort.store.path, mode="r+")["variant_position"][:] = np.arange(20) + 1_000_000
    cohort = replace(cohort, store=allscan.open_store(cohort.store.path))
    scan(cohort, make_design(cohort), tmp_path / "run")
    assert (ResultsCube(tmp_path / "run").trait_table("trait0")["status"] != Status.SEX_UNKNOWN).all()


def test_recessive_on_haploid_chromosomes_is_not_tested(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "y.zarr", contigs={"X": 10, "Y": 10, "MT": 10})
    scan(cohort, make_design(cohort), tmp_path / "run", ScanSpec(model=Model.RECESSIVE))
    status = ResultsCube(tmp_path / "run").trait_table("trait0")["status"]
    assert set(status[10:]) == {Status.NOT_TESTED}
    assert Status.NOT_TESTED not in status[:10]


def test_a_bad_trait_does_not_end_the_run(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    traits = design.traits.copy()
    traits[:, 1] = 5.0
    traits[:, 2] = np.nan
    traits[:3, 2] = [1.0, 2.0, 3.0]
    summary = scan(cohort, replace(design, traits=traits), tmp_path / "run")
    cube = ResultsCube(tmp_path / "run")
    assert set(cube.trait_table("trait1")["status"]) == {Status.TRAIT_CONSTANT}
    assert set(cube.trait_table("trait2")["status"]) <= {Status.TOO_FEW_SAMPLES, Status.TRAIT_CONSTANT}
    assert (cube.trait_table("trait0")["status"] == Status.OK).any()
    assert {(trait, stratum) for trait, stratum, _ in summary.trait_notes} >= {("trait1", "all")}


def test_a_damaged_chunk_ends_the_run_and_is_named(cohort: Cohort, tmp_path: Path) -> None:
    chunk = cohort.store.path / "call_dosage" / "c" / "2" / "0"
    content = bytearray(chunk.read_bytes())
    content[30] ^= 1
    chunk.write_bytes(bytes(content))
    with pytest.raises(CorruptChunkError, match="checksum"):
        scan(cohort, make_design(cohort), tmp_path / "run")
    assert not (tmp_path / "run" / "hits.parquet").exists()


def test_a_full_disk_keeps_finished_blocks(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    design = make_design(cohort)
    scan(cohort, design, tmp_path / "whole")
    real, calls = scan_module.write_block, []

    def full(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(scan_module, "write_block", full)
    with pytest.raises(OutputError, match="disk is full") as caught:
        scan(cohort, design, tmp_path / "run")
    assert caught.value.exit_code == 2
    monkeypatch.undo()
    assert scan(cohort, design, tmp_path / "run").tasks_resumed == 2
    assert tree(tmp_path / "run") == tree(tmp_path / "whole")


def test_commits_hold_no_person(cohort: Cohort, tmp_path: Path) -> None:
    scan(cohort, make_design(cohort), tmp_path / "run")
    for path, content in tree(tmp_path / "run").items():
        assert b"person" not in content, path
    commit = json.loads(next((tmp_path / "run" / "commits").iterdir()).read_text())
    assert set(commit) == {"digest", "status_counts", "variants", "hidden_heterozygotes", "hits", "kept"}


def test_too_little_memory_is_said_before_work(cohort: Cohort) -> None:
    with pytest.raises(InputError, match="GiB of memory"):
        plan_scan(cohort.store, strata_of(make_design(cohort)), ScanSpec(), workers=2, memory_bytes=1 << 20)


def test_unknown_test_is_refused(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'linear'"):
        scan(cohort, make_design(cohort), tmp_path / "run", ScanSpec(test="linaer"))


def test_a_test_of_ones_own_is_found_by_module(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    scan(cohort, design, tmp_path / "own", ScanSpec(test="allscan.kernels.linear:LINEAR"))
    scan(cohort, design, tmp_path / "named")
    own, named = (ResultsCube(tmp_path / name).trait_table("trait0") for name in ("own", "named"))
    np.testing.assert_array_equal(own["beta"], named["beta"])


def test_open_results_is_lazy_and_named(cohort: Cohort, tmp_path: Path) -> None:
    design = make_design(cohort)
    scan(cohort, design, tmp_path / "run")
    dataset = allscan.open_results(tmp_path / "run")
    assert dataset["beta"].dims == ("stratum", "trait", "variant")
    assert dataset["beta"].chunks is not None
    top = int(dataset["neg_log10_p"].sel(stratum="all", trait="trait0").fillna(0).argmax("variant").compute())
    table = ResultsCube(tmp_path / "run").trait_table("trait0")
    assert dataset["variant_id"][top].item() == table["variant_id"][np.nanargmax(table["neg_log10_p"])]
    assert set(dataset["effect_allele"].values) == {"C"}


def test_results_name_what_is_not_there(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results here"):
        ResultsCube(tmp_path / "nothing")
    scan(cohort, make_design(cohort), tmp_path / "run")
    with pytest.raises(InputError, match=r"no trait 'trait9'; did you mean"):
        ResultsCube(tmp_path / "run").trait_table("trait9")
    chunk = tmp_path / "run" / CUBE / "beta" / "c" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 4
    chunk.write_bytes(bytes(content))
    with pytest.raises(CorruptChunkError, match="beta"):
        ResultsCube(tmp_path / "run").trait_table("trait0")


@pytest.mark.parametrize(("traits", "batches"), [(512, 1), (513, 2)])
def test_hundreds_of_traits_are_one_batch(cohort: Cohort, traits: int, batches: int) -> None:
    plan = plan_scan(
        cohort.store, strata_of(make_design(cohort, traits=traits)), ScanSpec(), workers=1, memory_bytes=4 * GIB
    )
    assert (plan.traits_per_task, plan.n_batches) == (512, batches)


def test_batches_change_no_result(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels that would be too large are cut; every batch writes whole chunks of the cube."""
    design = make_design(cohort, traits=7)
    scan(cohort, design, tmp_path / "one")
    # Room for eight columns in both precisions: four traits beside the covariates.
    n = cohort.store.n_samples
    limit = panel_bytes(n, 8, np.float32) + panel_bytes(n, 8, np.float64) + 16 * n
    monkeypatch.setattr("allscan.engine.costs.MAX_PANEL_BYTES", limit)
    plan = plan_scan(cohort.store, strata_of(design), ScanSpec(), workers=1, memory_bytes=4 * GIB)
    assert (plan.traits_per_task, plan.n_batches) == (4, 2)
    with pytest.raises(KeyboardInterrupt):
        scan(cohort, design, tmp_path / "cut", executor=Dying(3))
    scan(cohort, design, tmp_path / "cut", workers=2)
    one, cut = ResultsCube(tmp_path / "one"), ResultsCube(tmp_path / "cut")
    for trait in design.trait_names:
        for name, values in one.trait_table(trait).items():
            if values.dtype == np.float32 and name != "info":
                np.testing.assert_allclose(cut.trait_table(trait)[name], values, rtol=1e-5, atol=1e-6)
            elif name != "info":
                np.testing.assert_array_equal(cut.trait_table(trait)[name], values)


def test_null_models_are_fitted_with_one_thread_of_linear_algebra(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    seen: list[set[int]] = []
    whole: Any = scan_module.fit_class_null

    def watched(*arguments: Any) -> Any:
        seen.append(threads())
        return whole(*arguments)

    monkeypatch.setattr(scan_module, "fit_class_null", watched)
    with threadpool_limits(limits=3, user_api="blas"):
        scan(cohort, make_design(cohort), tmp_path / "run")
        assert threads() == {3}
    assert seen == [{1}]
