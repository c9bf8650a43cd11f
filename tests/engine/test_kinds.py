"""Scans of quantitative and binary traits together: each trait gets what a scan of its kind alone gives it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import allscan
from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.association_tests import find_test
from allscan.engine.columns import CASE_COLUMNS, cube_columns
from allscan.engine.design import Design, Strata, Stratum
from allscan.engine.plan import ScanPlan, ScanSpec, plan_scan
from allscan.engine.results import CUBE, ResultsCube
from allscan.engine.scan import ScanSummary, run_scan
from allscan.errors import InputError
from allscan.kernels.association import OutputColumn
from tests.engine.cohorts import Cohort, Computed, make_design, split, strata_of, watch_tasks, write_cohort
from tests.engine.test_scan import Backwards, Dying, tree

LOGISTIC = {"correction": "saddlepoint", "p_threshold": 0.05, "min_cases": 10, "exact_carriers": 4}
BOTH = ScanSpec(tests={"quantitative": ("linear", {}), "binary": ("logistic", LOGISTIC)}, hits_neg_log10_p=1.5)
BINARY = (False, True, True, False, True, False, True)
STRATA = ("AFR", "EUR")


def mixed_design(cohort: Cohort) -> Design:
    """Traits of both kinds in turn, each missing people of its own."""
    rng = np.random.default_rng(3)
    design = make_design(cohort, traits=len(BINARY))
    traits = rng.normal(size=design.traits.shape)
    case = rng.random(traits.shape) < 0.2 + 0.2 * np.maximum(cohort.calls[2, design.store_rows], 0)[:, None]
    traits = np.where(BINARY, case, traits)
    traits[:, 0] += 0.7 * np.maximum(cohort.calls[1, design.store_rows], 0)
    traits[rng.random(traits.shape) < 0.1] = np.nan
    return replace(design, traits=traits, binary=np.array(BINARY))


def of_traits(design: Design, traits: list[int]) -> Design:
    names = tuple(design.trait_names[t] for t in traits)
    return replace(design, traits=design.traits[:, traits], trait_names=names, binary=design.is_binary[traits])


def of_kind(design: Design, *, binary: bool) -> Design:
    return of_traits(design, np.flatnonzero(design.is_binary == binary).tolist())


def plan_of(cohort: Cohort, design: Design | Strata, spec: ScanSpec) -> ScanPlan:
    return plan_scan(cohort.store, strata_of(design), spec, workers=1, memory_bytes=4 << 30)


def scan(
    cohort: Cohort,
    design: Design | Strata,
    out: Path,
    spec: ScanSpec = BOTH,
    executor: Any = None,
    *,
    update: bool = False,
) -> ScanSummary:
    plan = plan_of(cohort, design, spec)
    return run_scan(plan, cohort.store, strata_of(design), spec, executor or EmbeddedExecutor(1), out, update=update)


def assert_as_alone(cohort: Cohort, people: Design | Strata, run: Path, alone: Path) -> None:
    """Every number of every trait is, bit for bit, that of a scan of its kind alone."""
    mixed = ResultsCube(run)
    strata = strata_of(people)
    assert mixed.traits == strata[0].design.trait_names
    for kind, binary in (("quantitative", False), ("binary", True)):
        part = tuple(Stratum(name, of_kind(design, binary=binary)) for name, design in strata)
        if not (alone / kind).exists():
            scan(cohort, part, alone / kind, BOTH.of_kind(kind))
        expected = ResultsCube(alone / kind)
        assert expected.traits == part[0].design.trait_names
        for stratum in expected.strata:
            for trait in expected.traits:
                found, of_kind_alone = (cube.trait_columns(trait, stratum) for cube in (mixed, expected))
                assert list(found) == list(of_kind_alone)
                for name, values in of_kind_alone.items():
                    np.testing.assert_array_equal(found[name], values, err_msg=f"{trait}, {name}")


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return write_cohort(tmp_path / "cohort.zarr", contigs={"1": 150, "2": 60, "X": 60})


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Computed]:
    return watch_tasks(monkeypatch)


@pytest.mark.parametrize(("strata", "batch"), [(("all",), 2), (STRATA, 256)])
def test_each_trait_gets_what_a_scan_of_its_kind_alone_gives(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strata: tuple[str, ...], batch: int
) -> None:
    monkeypatch.setattr("allscan.engine.costs.MAX_BATCH_TRAITS", batch)
    design = split(mixed_design(cohort), strata)
    summary = scan(cohort, design, tmp_path / "run")
    monkeypatch.setattr("allscan.engine.plan.MIN_TASKS", 2)  # a scan of one kind may have longer tasks
    assert summary.n_tests == len(strata) * 7 * 270 == sum(summary.status_counts.values())
    assert_as_alone(cohort, design, tmp_path / "run", tmp_path)
    assert plan_of(cohort, design, BOTH).n_batches == (2 + 2 if batch == 2 else 2)


def test_workers_order_and_resumption_change_no_byte(cohort: Cohort, tmp_path: Path) -> None:
    design = mixed_design(cohort)
    scan(cohort, design, tmp_path / "one")
    expected = tree(tmp_path / "one")
    scan(cohort, design, tmp_path / "backwards", executor=Backwards())
    assert tree(tmp_path / "backwards") == expected
    scan(cohort, design, tmp_path / "two", executor=EmbeddedExecutor(2))
    assert tree(tmp_path / "two") == expected
    n_runs = plan_of(cohort, design, BOTH).n_runs
    for survive in (1, n_runs - 1):  # of each kind's tasks: the executor is called for each
        with pytest.raises(KeyboardInterrupt):
            scan(cohort, design, tmp_path / "killed", executor=Dying(survive))
    scan(cohort, design, tmp_path / "killed")
    assert tree(tmp_path / "killed") == expected


@pytest.mark.parametrize("first", ["quantitative", "binary"])
def test_traits_of_the_other_kind_are_added_and_the_first_are_kept(
    cohort: Cohort, tmp_path: Path, scored: list[Computed], first: str
) -> None:
    design = mixed_design(cohort)
    part, other = (of_kind(design, binary=binary) for binary in (first == "binary", first != "binary"))
    scan(cohort, part, tmp_path / "run", BOTH.of_kind(first))
    scored.clear()
    with pytest.raises(KeyboardInterrupt):
        scan(cohort, design, tmp_path / "run", executor=Dying(1), update=True)
    summary = scan(cohort, design, tmp_path / "run", update=True)
    assert {traits for traits, _ in scored} == {(other.trait_names,)}
    assert summary.results_kept == len(part.trait_names) * 270
    assert_as_alone(cohort, design, tmp_path / "run", tmp_path)
    scan(cohort, design, tmp_path / "fresh")
    for folder in ("run", "fresh"):
        (tmp_path / folder / "commits").rename(tmp_path / f"commits of {folder}")  # which count what was kept
    assert tree(tmp_path / "run") == tree(tmp_path / "fresh")
    # And back again: what is left of a job costs nothing.
    scored.clear()
    scan(cohort, part, tmp_path / "other", BOTH.of_kind(first))
    (tmp_path / "commits of run").rename(tmp_path / "run/commits")
    scored.clear()
    scan(cohort, part, tmp_path / "run", BOTH.of_kind(first), update=True)
    assert scored == []
    assert tree(tmp_path / "run" / CUBE) == tree(tmp_path / "other" / CUBE)


def test_another_test_of_one_kind_leaves_the_other_kind_alone(
    cohort: Cohort, tmp_path: Path, scored: list[Computed]
) -> None:
    design = mixed_design(cohort)
    scan(cohort, design, tmp_path / "run")
    scored.clear()
    strict = LOGISTIC | {"p_threshold": 0.01}
    changed = replace(BOTH, tests={**BOTH.tests, "binary": ("logistic", strict)})
    scan(cohort, design, tmp_path / "run", changed, update=True)
    assert {traits for traits, _ in scored} == {(of_kind(design, binary=True).trait_names,)}


def test_the_cube_is_read_as_one_in_the_order_of_the_traits(cohort: Cohort, tmp_path: Path) -> None:
    design = mixed_design(cohort)
    scan(cohort, split(design, STRATA), tmp_path / "run")
    cube = ResultsCube(tmp_path / "run")
    assert cube.columns == cube_columns(BOTH)
    names = [column.name for column in cube.columns]
    assert names[:4] == ["beta", "standard_error", "neg_log10_p", "n"]
    assert names[-6:-1] == [column.name for column in CASE_COLUMNS]
    units = {column.name: column.unit for column in cube.columns}
    assert units["beta"].split("; of binary traits: ") == [
        "trait units per copy of the effect allele",
        "log odds per copy of the effect allele",
    ]
    variants = slice(30, 200)
    for column in cube.columns:
        for traits in (slice(0, 7), slice(1, 3), slice(3, 6), slice(5, 5)):
            block = cube.block(column.name, 1, traits, variants)
            assert block.dtype == column.dtype
            for row, trait in zip(block, cube.traits[traits], strict=True):
                own = cube.trait_columns(trait, "EUR").get(column.name)
                if own is None:
                    assert np.isnan(row).all() if row.dtype.kind == "f" else not row.any()
                else:
                    np.testing.assert_array_equal(row, own[variants])
    dataset = allscan.open_results(tmp_path / "run")
    assert dataset.trait.to_numpy().tolist() == list(design.trait_names)
    kinds = ["binary" if binary else "quantitative" for binary in BINARY]
    assert dataset.trait_kind.to_numpy().tolist() == kinds
    for column in cube.columns:
        np.testing.assert_array_equal(
            dataset[column.name].isel(stratum=1, variant=variants).to_numpy(),
            cube.block(column.name, 1, slice(0, 7), variants),
        )


def test_hits_of_both_kinds_stand_in_one_table(cohort: Cohort, tmp_path: Path) -> None:
    design = mixed_design(cohort)
    assert scan(cohort, design, tmp_path / "run").n_hits > 20
    table = pq.read_table(tmp_path / "run/hits.parquet").to_pandas()
    cube = ResultsCube(tmp_path / "run")
    assert list(table.columns[8:]) == [column.name for column in cube.columns]
    order = table.trait.map(cube.traits.index)
    assert order.is_monotonic_increasing
    assert set(order.map(BINARY.__getitem__)) == {True, False}
    quantitative = ~order.map(BINARY.__getitem__)
    assert not table.cases[quantitative].any()
    assert table.effect_allele_frequency_cases[quantitative].isna().all()
    for name, rows in table.groupby("trait"):
        expected = cube.trait_table(str(name))
        at = np.flatnonzero(expected["neg_log10_p"] >= 1.5)
        assert rows.variant_id.tolist() == expected["variant_id"][at].tolist()
        for column in ("beta", "standard_error", "n", "effect_allele_count"):
            np.testing.assert_array_equal(rows[column].to_numpy(), expected[column][at])


def test_a_scan_of_one_kind_has_one_part_whatever_it_may_have(cohort: Cohort, tmp_path: Path) -> None:
    design = of_kind(mixed_design(cohort), binary=True)
    scan(cohort, design, tmp_path / "run")
    cube = ResultsCube(tmp_path / "run")
    assert [kind.kind for kind in cube.kinds] == ["binary"]
    scan(cohort, design, tmp_path / "alone", BOTH.of_kind("binary"))
    alone = ResultsCube(tmp_path / "alone")
    for trait in cube.traits:
        for name, values in alone.trait_columns(trait).items():
            np.testing.assert_array_equal(cube.trait_columns(trait)[name], values)


def test_tests_whose_columns_do_not_agree_are_refused(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(find_test("logistic"), columns=lambda _options: (OutputColumn("beta", "Beta", dtype="float64"),))
    monkeypatch.setattr(
        "allscan.engine.columns.find_test", lambda name: other if name == "logistic" else find_test(name)
    )
    with pytest.raises(InputError, match="a column 'beta' of two types"):
        cube_columns(BOTH)
