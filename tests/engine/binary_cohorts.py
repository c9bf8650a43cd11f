"""Binary traits for the engine's tests, and a quick test of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from allscan.engine.design import Design
from allscan.kernels.association import Model, OutputColumn, Status
from allscan.kernels.one_trait import CannotTest, one_trait_test
from tests.engine.cohorts import Cohort, make_design

COLUMNS = (
    OutputColumn("beta", "Log odds ratio per copy of the effect allele, of one step"),
    OutputColumn("standard_error", "Standard error of beta"),
    OutputColumn("neg_log10_p", "−log10 p, two-sided"),
)


def _fit(trait: NDArray[np.float64], _covariates: NDArray[np.float64], _options: Mapping[str, Any]) -> Any:
    share = trait.mean()
    if share in (0.0, 1.0):
        raise CannotTest(Status.TRAIT_CONSTANT, "nobody is a case" if share == 0 else "everybody is a case")
    return trait - share, share * (1 - share)


def _score(predictors: NDArray[np.float64], fitted: Any, _options: Mapping[str, Any]) -> Mapping[str, float]:
    residual, spread = fitted
    x = predictors[:, 0] - predictors[:, 0].mean()
    score, variance = float(x @ residual), spread * float(x @ x)
    if variance == 0:
        raise CannotTest(Status.COLLINEAR)
    error = variance**-0.5
    log_p = np.log(2) + stats.norm.logsf(abs(score * error))
    return {"beta": score / variance, "standard_error": error, "neg_log10_p": -log_p / np.log(10)}


SCORE = one_trait_test(
    "score",
    title="Score test without covariates",
    doi="none",
    fit=_fit,
    score=_score,
    columns=COLUMNS,
    trait_kinds=("binary",),
    models=(Model.ADDITIVE, Model.DOMINANT, Model.RECESSIVE),
)
NAME = f"{__name__}:SCORE"


def binary_design(cohort: Cohort, *, seed: int = 1) -> Design:
    """Traits of two patterns of missing samples: of many cases, few cases, one case and none."""
    design = make_design(cohort, seed=seed)
    missing = np.isnan(design.traits)
    share = np.array([0.4, 0.1, 0.0, 0.0])
    traits = (np.random.default_rng(seed).random(missing.shape) < share).astype(float)
    traits[5, 2] = 1.0
    traits[missing] = np.nan
    return replace(design, traits=traits, binary=True)
