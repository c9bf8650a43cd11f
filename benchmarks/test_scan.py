"""The linear scan of one and of many traits, without the ingest.

``ALLSCAN_BENCHMARK=full pytest benchmarks/test_scan.py --benchmark-enable`` for 50,000 people.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.design import Design
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.scan import ScanSummary, run_scan
from allscan.kernels.association import Missing
from benchmarks.conftest import FULL, Cohort

COVARIATES = 11


def make_design(cohort: Cohort, traits: int) -> Design:
    rng = np.random.default_rng(traits)
    n = cohort.store.n_samples
    covariates = np.column_stack([np.ones(n), rng.normal(size=(n, COVARIATES - 1))])
    names = tuple(f"c{j}" for j in range(COVARIATES))
    values = rng.normal(size=(n, traits))
    return Design(np.arange(n), values, tuple(f"t{t}" for t in range(traits)), covariates, names, np.zeros(n, np.int8))


@pytest.mark.parametrize("missing", list(Missing), ids=lambda m: m.name.lower())
@pytest.mark.parametrize("traits", [1, 16, 128] if FULL else [1, 3])
def test_linear_scan(
    benchmark: BenchmarkFixture, wgs_cohort: Cohort, tmp_path: Path, traits: int, missing: Missing
) -> None:
    design, spec = make_design(wgs_cohort, traits), ScanSpec(missing=missing)
    plan = plan_scan(wgs_cohort.store, design, spec, workers=2, memory_bytes=4 << 30)
    out = tmp_path / "run"

    def scan() -> ScanSummary:
        shutil.rmtree(out, ignore_errors=True)
        return run_scan(plan, wgs_cohort.store, design, spec, EmbeddedExecutor(2), out)

    benchmark.group = f"linear scan {wgs_cohort.store.n_samples} x {wgs_cohort.store.n_variants}, {missing.name}"
    benchmark.extra_info["tests"] = wgs_cohort.store.n_variants * traits
    summary = benchmark(scan)
    assert summary.n_tests == wgs_cohort.store.n_variants * traits
    assert summary.status_counts["ok"] > 0.9 * summary.n_tests
