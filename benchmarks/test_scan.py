"""Scans from store to results cube, without the ingest and the start of Python.

What a case is judged by is wall time on two workers, so that reading, arithmetic and writing have to overlap, and
CPU time on one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.association_tests import find_test
from allscan.engine.design import Design, Stratum, pooled
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.results import ResultsCube
from allscan.engine.scan import run_scan
from allscan.engine.store import GenotypeStore
from allscan.kernels.association import HAS_RESULT, Missing
from benchmarks.conftest import Cohort
from benchmarks.timing import SIZE, Folders, Timed, Work

COVARIATES = 11  # the intercept among them
PATTERN_MISSING = 0.1
MEMORY = 4 << 30

CommonStore = Callable[[int, int], GenotypeStore]

LARGE = {"tiny": (1_500, 200), "quick": (16_000, 1_024), "full": (50_000, 4_096)}[SIZE]
LONG = {**dict.fromkeys(["tiny", "quick"], LARGE), "full": (50_000, 16_384)}[SIZE]
"""For hundreds of traits, whose null models take as long as some thousand variants."""
MEDIUM = {"tiny": (600, 100), "quick": (5_000, 512), "full": (20_000, 2_048)}[SIZE]
SMALL = {"tiny": (300, 300), "quick": (2_000, 2_048), "full": (5_000, 20_480)}[SIZE]


def make_design(store: GenotypeStore, traits: int, patterns: int = 1) -> Design:
    """Traits without effects; with several patterns, trait ``t`` misses up to 10 % of the people, each its own."""
    rng = np.random.default_rng(traits)
    n = store.n_samples
    covariates = np.column_stack([np.ones(n), rng.normal(size=(n, COVARIATES - 1))])
    values = rng.normal(size=(n, traits))
    if patterns > 1:
        rate = rng.uniform(0, PATTERN_MISSING, patterns)
        absent = rng.random((n, patterns)) < rate
        values[absent[:, np.arange(traits) % patterns]] = np.nan
    names = tuple(f"c{j}" for j in range(COVARIATES))
    return Design(np.arange(n), values, tuple(f"t{t}" for t in range(traits)), covariates, names, np.zeros(n, np.int8))


def time_scan(
    timed: Timed,
    store: GenotypeStore,
    out: Path,
    traits: int,
    *,
    missing: Missing = Missing.IMPUTE_MEAN,
    workers: int = 1,
    patterns: int = 1,
    binary: bool = False,
) -> NDArray[np.float32]:
    """Time a scan; returns −log10 p, shape (traits, variants)."""
    design, spec = make_design(store, traits, patterns), ScanSpec(missing=missing)
    if binary:
        # From one case in five hundred to one in three.
        rate = np.random.default_rng(traits).permutation(np.geomspace(0.002, 0.33, traits))
        cases = (design.traits > np.quantile(design.traits, 1 - rate, axis=0).diagonal()).astype(float)
        design = replace(design, traits=cases)
        test = find_test("logistic")
        options = {**(test.options or {}), "min_cases": 1}
        spec = ScanSpec(missing=missing, test=test.name, test_options=options)
    plan = plan_scan(store, pooled(design), spec, workers=workers, memory_bytes=MEMORY)
    genotypes = store.n_variants * store.n_samples
    # Many traits are a matrix product of all columns, few are not.
    columns = traits * (COVARIATES + 2) if binary else traits + COVARIATES
    product = columns >= 100
    load = Work(
        "sgemm" if product else "dgemm",
        2.0 * genotypes * columns if product else float(genotypes),
        genotypes,
        genotypes // 4,
        is_product=product,
        threads=workers,
        judged="cpu" if workers == 1 else "wall",
    )
    rounds = Folders(out)
    summary = timed(
        lambda: run_scan(plan, store, pooled(design), spec, EmbeddedExecutor(workers), rounds.here),
        load,
        before=rounds.change,
    )
    assert summary.n_tests == store.n_variants * traits
    tested = sum(summary.status_counts.get(status.name.lower(), 0) for status in HAS_RESULT)
    assert tested > 0.9 * summary.n_tests
    return neg_log10_p(rounds.here)


def neg_log10_p(run: Path) -> NDArray[np.float32]:
    """Results of a run, shape (traits, variants)."""
    cube = ResultsCube.open(run)
    variants = len(cube.variant_table().position)
    values: NDArray[np.float32] = cube.block("neg_log10_p", 0, slice(0, len(cube.traits)), slice(0, variants))
    return values


TRAITS = [1, 16, 128, 512] if SIZE != "tiny" else [1, 3]


@pytest.mark.parametrize("traits", TRAITS)
@pytest.mark.parametrize("missing", list(Missing), ids=lambda m: m.name.lower())
def test_scan_of_common_variants(
    timed: Timed, common_store: CommonStore, tmp_path: Path, traits: int, missing: Missing
) -> None:
    time_scan(timed, common_store(*(LONG if traits > 128 else LARGE)), tmp_path / "run", traits, missing=missing)


@pytest.mark.parametrize("traits", [16, 128] if SIZE != "tiny" else [3])
def test_scan_of_binary_traits(timed: Timed, common_store: CommonStore, tmp_path: Path, traits: int) -> None:
    found = time_scan(timed, common_store(*LARGE), tmp_path / "run", traits, binary=True)
    # The traits have no effects.
    assert 0.02 < np.mean(found > -np.log10(0.05)) < 0.08


@pytest.mark.parametrize("traits", [16, 128] if SIZE != "tiny" else [3])
def test_scan_of_binary_traits_and_whole_genomes(timed: Timed, wgs_cohort: Cohort, tmp_path: Path, traits: int) -> None:
    time_scan(timed, wgs_cohort.store, tmp_path / "run", traits, binary=True)


@pytest.mark.parametrize("traits", [1, 16, 128] if SIZE != "tiny" else [3])
@pytest.mark.parametrize("workers", [2])
def test_scan_by_workers(timed: Timed, common_store: CommonStore, tmp_path: Path, traits: int, workers: int) -> None:
    time_scan(timed, common_store(*LARGE), tmp_path / "run", traits, workers=workers)


@pytest.mark.parametrize("traits", [1, 16] if SIZE != "tiny" else [2])
def test_scan_of_few_people(timed: Timed, common_store: CommonStore, tmp_path: Path, traits: int) -> None:
    time_scan(timed, common_store(*SMALL), tmp_path / "run", traits)


@pytest.mark.parametrize("patterns", [1, 128] if SIZE != "tiny" else [1, 4])
def test_scan_by_patterns_of_missing_people(
    timed: Timed, common_store: CommonStore, tmp_path: Path, patterns: int
) -> None:
    time_scan(timed, common_store(*MEDIUM), tmp_path / "run", 128 if SIZE != "tiny" else 4, patterns=patterns)


@pytest.mark.parametrize("traits", [1, 16, 128] if SIZE != "tiny" else [3])
def test_scan_of_whole_genomes(timed: Timed, wgs_cohort: Cohort, tmp_path: Path, traits: int) -> None:
    time_scan(timed, wgs_cohort.store, tmp_path / "run", traits)


def test_scan_of_whole_genomes_in_two_bits(
    timed: Timed, wgs_cohort: Cohort, wgs_two_bit_store: GenotypeStore, tmp_path: Path
) -> None:
    traits = 16 if SIZE != "tiny" else 3
    dense = time_scan(timed, wgs_two_bit_store, tmp_path / "dense", traits)
    design, spec = make_design(wgs_cohort.store, traits), ScanSpec()
    plan = plan_scan(wgs_cohort.store, pooled(design), spec, workers=1, memory_bytes=MEMORY)
    run_scan(plan, wgs_cohort.store, pooled(design), spec, EmbeddedExecutor(1), tmp_path / "carriers")
    # The bound of the issue, for products in float32.
    np.testing.assert_allclose(neg_log10_p(tmp_path / "carriers"), dense, rtol=1e-4, atol=1e-4)


GROUPS = (0.5, 0.2, 0.15, 0.08, 0.05, 0.02)


@pytest.mark.parametrize("traits", [16] if SIZE != "tiny" else [3])
def test_scan_of_everybody_and_six_groups(timed: Timed, common_store: CommonStore, tmp_path: Path, traits: int) -> None:
    """Beside the scan of everybody alone: what groups cost where genotypes are read once."""
    store, spec = common_store(*LARGE), ScanSpec()
    whole = make_design(store, traits)
    group = np.random.default_rng(6).choice(len(GROUPS), store.n_samples, p=GROUPS)
    strata = [*pooled(whole)]
    for k in range(len(GROUPS)):
        who = group == k
        some = replace(
            whole,
            store_rows=whole.store_rows[who],
            traits=whole.traits[who],
            covariates=whole.covariates[who],
            sex=whole.sex[who],
        )
        strata.append(Stratum(f"group={k}", some))
    plan = plan_scan(store, tuple(strata), spec, workers=1, memory_bytes=MEMORY)
    genotypes = store.n_variants * store.n_samples
    rounds = Folders(tmp_path)
    summary = timed(
        lambda: run_scan(plan, store, tuple(strata), spec, EmbeddedExecutor(1), rounds.here),
        Work("dgemm", float(genotypes), genotypes, genotypes // 4),
        before=rounds.change,
    )
    assert summary.n_tests == store.n_variants * traits * len(strata)
