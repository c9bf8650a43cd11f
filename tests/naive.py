"""Loop-by-loop references in float64, written from the definitions and not from the kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Fit:
    """Ordinary least squares of one variant and one trait."""

    beta: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    neg_log10_p: float
    n: int


def code(dosage: float, model: str) -> list[float]:
    """Predictors of one dosage under a genetic model."""
    if model == "additive":
        return [dosage]
    if model == "dominant":
        return [min(dosage, 1.0)]
    if model == "recessive":
        return [max(dosage - 1.0, 0.0)]
    assert model == "genotypic"
    return [dosage, min(dosage, 2.0 - dosage)]


def linear(
    dosage: NDArray[np.float64],
    trait: NDArray[np.float64],
    covariates: NDArray[np.float64],
    *,
    model: str = "additive",
    exclude: bool = False,
    scale: NDArray[np.float64] | None = None,
) -> Fit | None:
    """Full least squares by the pseudo-inverse; None where nothing can be estimated."""
    scale = np.ones(len(dosage)) if scale is None else scale
    rows = [i for i in range(len(trait)) if not math.isnan(trait[i])]
    if exclude:
        rows = [i for i in rows if not math.isnan(dosage[i])]
    called = [code(float(dosage[i]), model) for i in rows if not math.isnan(dosage[i])]
    if not called:
        return None
    mean = [sum(column) / len(called) for column in zip(*called, strict=True)]
    predictors = []
    for i in rows:
        values = mean if math.isnan(dosage[i]) else code(float(dosage[i]), model)
        predictors.append([value * scale[i] for value in values])
    x = np.column_stack([np.array(predictors), covariates[rows]])
    y = trait[rows]
    p = len(mean)
    rank = np.linalg.matrix_rank(x)
    if rank < p + np.linalg.matrix_rank(covariates[rows]) or len(rows) <= rank:
        return None
    solve = np.linalg.pinv(x, rcond=max(x.shape) * np.finfo(float).eps)
    inverse = solve @ solve.T
    coefficients = solve @ y
    residuals = y - x @ coefficients
    df = len(rows) - rank
    variance = float(residuals @ residuals) / df
    errors = np.sqrt(variance * np.diag(inverse)[:p])
    beta = coefficients[:p]
    if p == 1:
        log_p = math.log(2) + stats.t.logsf(abs(beta[0] / errors[0]), df)
    else:
        statistic = float(beta @ np.linalg.solve(inverse[:p, :p], beta)) / p / variance
        log_p = stats.f.logsf(statistic, p, df)
    return Fit(beta, errors, -log_p / math.log(10), len(rows))
