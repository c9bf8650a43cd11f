"""Diseases of one sex beside those of both: what a scan adjusts for is constant in some traits, and drops out there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.association_tests import find_test
from allscan.engine.design import FEMALE, Design
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.results import ResultsCube
from allscan.engine.scan import ScanSummary, run_scan
from allscan.kernels.association import Missing, has_result
from tests.engine.cohorts import Cohort, make_design, strata_of, write_cohort

KIND_OF_TEST = {"linear": False, "logistic": True, "firth": True, "logistic_wald": True}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("one_sex") / "cohort.zarr", samples=500, contigs={"1": 150, "X": 60})


def both_sexes(cohort: Cohort, *, binary: bool) -> Design:
    """Of four traits one is of women, one of men, one of women and a man; covariates: sex, and what goes with it."""
    rng = np.random.default_rng(5)
    design = make_design(cohort)
    n = design.n_samples
    women = design.sex == FEMALE
    effect = np.maximum(cohort.calls[1, design.store_rows], 0)
    values = rng.normal(size=(n, 4)) + 0.4 * effect[:, None] + women[:, None]
    if binary:
        values = (values > 0.8).astype(float)
    values[rng.random(values.shape) < 0.05] = np.nan
    values[~women, 1] = np.nan
    values[women, 2] = np.nan
    values[np.flatnonzero(~women)[1:], 3] = np.nan
    age = rng.normal(50.0, 10.0, n)
    return replace(
        design,
        traits=values,
        covariates=np.column_stack([np.ones(n), age, women, age * women]),
        covariate_names=("intercept", "age", "sex", "age:sex"),
        binary=binary,
    )


def alone(design: Design, trait: int, covariates: list[int]) -> Design:
    """A scan of the people who have a trait, with some of the covariates."""
    who = ~np.isnan(design.traits[:, trait])
    return replace(
        design,
        store_rows=design.store_rows[who],
        traits=design.traits[who, trait : trait + 1],
        trait_names=(design.trait_names[trait],),
        covariates=design.covariates[np.ix_(who, covariates)],
        covariate_names=tuple(design.covariate_names[k] for k in covariates),
        sex=design.sex[who],
    )


def scan(cohort: Cohort, design: Design, out: Path, spec: ScanSpec) -> ScanSummary:
    plan = plan_scan(cohort.store, strata_of(design), spec, workers=1, memory_bytes=4 << 30)
    return run_scan(plan, cohort.store, strata_of(design), spec, EmbeddedExecutor(1), out)


@pytest.mark.parametrize("missing", list(Missing))
@pytest.mark.parametrize("test", list(KIND_OF_TEST))
def test_sex_drops_out_of_a_trait_of_one_sex_alone(cohort: Cohort, tmp_path: Path, test: str, missing: Missing) -> None:
    design = both_sexes(cohort, binary=KIND_OF_TEST[test])
    options: dict[str, Any] = dict(find_test(test).options or {})
    options |= {name: 10 for name in ("min_cases",) if name in options}
    spec = ScanSpec(test=test, test_options=options, missing=missing)
    summary = scan(cohort, design, tmp_path / "both", spec)
    noted = {trait: message for trait, _, message in summary.trait_notes if not message.startswith("chromosome")}
    for trait in ("trait1", "trait2"):
        assert noted[trait] == "covariates left out because others determine them: sex, age:sex"
    assert "trait0" not in noted
    cube = ResultsCube(tmp_path / "both")
    # Of women age * sex is age; of men it is nothing.
    others = [] if KIND_OF_TEST[test] else [(3, [0, 1, 2])]  # where one man is told by the covariates
    for trait, covariates in ((1, [0, 1]), (2, [0, 1]), (0, [0, 1, 2, 3]), *others):
        name = design.trait_names[trait]
        summary = scan(cohort, alone(design, trait, covariates), tmp_path / name, spec)
        assert not [message for _, _, message in summary.trait_notes if "left out" in message]
        found, expected = cube.trait_columns(name), ResultsCube(tmp_path / name).trait_columns(name)
        assert has_result(expected["status"]).sum() > 100
        for column in ("status", "n", "effect_allele_count"):
            np.testing.assert_array_equal(found[column], expected[column])
        for column in ("beta", "standard_error", "neg_log10_p"):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-5, atol=1e-6)
