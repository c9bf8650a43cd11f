"""Cases and controls of each row, counted person by person from the calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.columns import CASE_COLUMNS, cube_columns
from allscan.engine.design import Design, Strata
from allscan.engine.plan import ScanSpec, VariantFilter, plan_scan
from allscan.engine.results import ResultsCube
from allscan.engine.scan import run_scan
from allscan.kernels.association import Missing, Model, Status
from tests.engine.binary_cohorts import NAME, binary_design
from tests.engine.cohorts import Cohort, split, strata_of, write_calls, write_cohort

NAMES = [column.name for column in CASE_COLUMNS]
CONTIGS = {"1": 70, "X": 70, "Y": 30, "MT": 20}


def scan(cohort: Cohort, design: Design | Strata, out: Path, spec: ScanSpec, workers: int = 1) -> ResultsCube:
    plan = plan_scan(cohort.store, strata_of(design), spec, workers=workers, memory_bytes=4 << 30)
    run_scan(plan, cohort.store, strata_of(design), spec, EmbeddedExecutor(workers), out)
    return ResultsCube(out)


def naive(
    dosage: NDArray[np.float64], trait: NDArray[np.float64], sex: NDArray[np.int8], contig: str, *, exclude: bool
) -> dict[str, float]:
    """One variant and trait, person by person; dosages of everybody who is analysed, NaN missing."""
    counts = dict.fromkeys(NAMES, 0.0)
    copies, called = {0.0: 0.0, 1.0: 0.0}, {0.0: 0, 1.0: 0}
    for i in range(len(trait)):
        if np.isnan(trait[i]) or (contig == "Y" and sex[i] != 1):
            continue
        male = sex[i] == 1 and contig in ("X", "Y")
        is_missing = np.isnan(dosage[i]) or (male and dosage[i] == 1)
        counts["cases"] += trait[i] == 1 and not (exclude and is_missing)
        if is_missing:
            continue
        one_allele = male or contig == "MT"
        copies[trait[i]] += dosage[i] / 2 if one_allele else dosage[i]
        called[trait[i]] += 1 if one_allele else 2
        counts["carriers_cases" if trait[i] else "carriers_controls"] += dosage[i] >= 0.5
    for kind, name in ((1.0, "cases"), (0.0, "controls")):
        counts[f"effect_allele_frequency_{name}"] = copies[kind] / called[kind] if called[kind] else np.nan
    return counts


def assert_counts(cube: ResultsCube, exact: NDArray[np.float64], design: Design, contig: list[str], **how: Any) -> None:
    for t, trait in enumerate(cube.traits):
        found = cube.trait_columns(trait)
        for v in range(len(exact)):
            expected = naive(exact[v], design.traits[:, t], design.sex, contig[v], **how)
            for name, value in expected.items():
                # Counts are exact, and frequencies the nearest float32.
                assert found[name][v] == found[name].dtype.type(value) or np.isnan(found[name][v] + value), (
                    f"{name} of {trait} in variant {v} on {contig[v]}: {found[name][v]}, not {value}"
                )


@pytest.mark.parametrize("missing", Missing)
def test_counts_on_every_kind_of_chromosome(tmp_path: Path, missing: Missing) -> None:
    cohort = write_cohort(tmp_path / "cohort.zarr", contigs=CONTIGS)
    design = binary_design(cohort)
    cube = scan(cohort, design, tmp_path / "run", ScanSpec(test=NAME, missing=missing))
    exact = np.where(cohort.calls < 0, np.nan, cohort.calls)[:, design.store_rows]
    contig = [name for name, count in CONTIGS.items() for _ in range(count)]
    assert_counts(cube, exact, design, contig, exclude=missing == Missing.EXCLUDE)
    lone = cube.trait_columns("trait2")
    assert set(lone["cases"][:70]) <= {0, 1}
    nobody = cube.trait_columns("trait3")
    assert np.isnan(nobody["effect_allele_frequency_cases"]).all()
    assert set(nobody["status"][:70]) == {Status.TRAIT_CONSTANT}


def test_counts_of_dosages_and_in_strata(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    steps = rng.choice([100, 1000], 40)
    codes = rng.integers(0, 2 * steps[:, None] + 1, (40, 300))
    dosage = codes / steps[:, None]
    dosage[rng.random(dosage.shape) < 0.02] = np.nan
    calls = np.where(np.isnan(dosage), -1, np.rint(np.nan_to_num(dosage))).astype(np.int8)
    cohort = write_calls(
        tmp_path / "dosages.zarr",
        calls,
        np.zeros(40, np.int16),
        np.arange(40, dtype=np.int32) + 1000,
        ("1",),
        dosage=dosage.astype(np.float32),
    )
    strata = split(binary_design(cohort), ("one", "two"))
    cube = scan(cohort, strata, tmp_path / "run", ScanSpec(test=NAME))
    for stratum, design in strata:
        exact = dosage[:, design.store_rows]
        found = cube.trait_columns("trait0", stratum)
        of_cases = design.traits[:, 0] == 1
        for name, who in (("cases", of_cases), ("controls", ~of_cases)):
            frequency = np.nanmean(exact[:, who], axis=1) / 2
            np.testing.assert_allclose(found[f"effect_allele_frequency_{name}"], frequency, rtol=1e-6)
            np.testing.assert_array_equal(found[f"carriers_{name}"], (exact[:, who] >= 0.5).sum(axis=1))
        np.testing.assert_array_equal(found["cases"], np.full(40, of_cases.sum()))


def test_counts_stay_where_filters_and_the_model_leave_no_result(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort.zarr", contigs={"1": 60, "MT": 20})
    design = binary_design(cohort)
    plain = scan(cohort, design, tmp_path / "plain", ScanSpec(test=NAME))
    few = ScanSpec(test=NAME, model=Model.RECESSIVE, filter=VariantFilter(min_maf=0.05, min_info=0.8))
    filtered = scan(cohort, design, tmp_path / "filtered", few)
    status = filtered.trait_columns("trait0")["status"]
    assert {Status.FILTERED, Status.NOT_TESTED} <= set(status)
    for trait in plain.traits:
        for name in NAMES:
            np.testing.assert_array_equal(filtered.trait_columns(trait)[name], plain.trait_columns(trait)[name])


def test_workers_and_traits_beside_change_no_count(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort.zarr", contigs=CONTIGS)
    design = binary_design(cohort)
    one = scan(cohort, design, tmp_path / "one", ScanSpec(test=NAME))
    two = scan(cohort, design, tmp_path / "two", ScanSpec(test=NAME), workers=2)
    alone = replace(design, traits=design.traits[:, [1]], trait_names=("trait1",))
    single = scan(cohort, alone, tmp_path / "alone", ScanSpec(test=NAME))
    for name in NAMES:
        expected = one.trait_columns("trait1")[name]
        np.testing.assert_array_equal(two.trait_columns("trait1")[name], expected)
        np.testing.assert_array_equal(single.trait_columns("trait1")[name], expected)


def test_only_tests_of_binary_traits_count_cases(tmp_path: Path) -> None:
    assert not {column.name for column in cube_columns(ScanSpec())} & set(NAMES)
    columns = cube_columns(ScanSpec(test=NAME))
    assert [column.name for column in columns][-6:] == [*NAMES, "status"]
    cohort = write_cohort(tmp_path / "cohort.zarr", contigs={"1": 60})
    spec = ScanSpec(test=NAME, hits_neg_log10_p=0.5)
    scan(cohort, binary_design(cohort), tmp_path / "run", spec)
    hits = pq.read_table(tmp_path / "run" / "hits.parquet")
    assert set(NAMES) <= set(hits.column_names)
    assert hits.num_rows


def test_other_values_than_0_and_1_are_no_binary_traits(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort.zarr", contigs={"1": 10})
    design = binary_design(cohort)
    with pytest.raises(ValueError, match="0 and 1"):
        replace(design, traits=design.traits + 1.0)
