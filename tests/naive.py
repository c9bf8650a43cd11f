"""Loop-by-loop references in float64, written from the definitions and not from the kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


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
    relationship: NDArray[np.float64] | None = None,
) -> Fit | None:
    """Full least squares by the pseudo-inverse; None where nothing can be estimated.

    ``relationship`` (samples, samples) is that of the people, where their variance is to be heeded.
    """
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
    if relationship is not None:
        variance *= relatives_factor(trait, covariates, relationship, model)
    errors = np.sqrt(variance * np.diag(inverse)[:p])
    beta = coefficients[:p]
    if p == 1:
        log_p = math.log(2) + stats.t.logsf(abs(beta[0] / errors[0]), df)
    else:
        statistic = float(beta @ np.linalg.solve(inverse[:p, :p], beta)) / p / variance
        log_p = stats.f.logsf(statistic, p, df)
    return Fit(beta, errors, -log_p / math.log(10), len(rows))


def relatives_factor(trait: Floats, covariates: Floats, relationship: Floats, model: str) -> float:
    """The variance of a product with a genotype of this covariance, over that with one of independent people."""
    rows = ~np.isnan(trait)
    c, k = covariates[rows], relationship[np.ix_(rows, rows)]
    maker = np.eye(len(c)) - c @ np.linalg.pinv(c)
    left = maker @ trait[rows]
    factor = (left @ k @ left) / (left @ left) / (np.trace(maker @ k) / round(np.trace(maker)))
    return float(factor) if model == "additive" else max(float(factor), 1.0)


def dense(first: NDArray[np.int64], second: NDArray[np.int64], value: Floats, diagonal: Floats) -> Floats:
    """A relationship matrix with all its zeros."""
    matrix = np.diag(diagonal)
    for i, j, related in zip(first, second, value, strict=True):
        matrix[i, j] = matrix[j, i] = related
    return matrix


def restricted_likelihood(trait: Floats, covariates: Floats, relationship: Floats) -> Callable[[float], float]:
    """Restricted log-likelihood of a heritability, σ² at its best, by the contrasts that the covariates leave."""
    contrasts = np.linalg.svd(covariates)[0][:, covariates.shape[1] :]
    values, shape = contrasts.T @ trait, contrasts.T @ relationship @ contrasts

    def likelihood(heritability: float) -> float:
        v = heritability * shape + (1 - heritability) * np.eye(len(values))
        variance = float(values @ np.linalg.solve(v, values)) / len(values)
        return -0.5 * float(len(values) * (1 + math.log(2 * math.pi * variance)) + np.linalg.slogdet(v)[1])

    return likelihood


def mixed(
    dosage: Floats,
    trait: Floats,
    covariates: Floats,
    relationship: Floats,
    heritability: float,
    *,
    model: str = "additive",
    scale: Floats | None = None,
) -> Fit:
    """Generalised least squares of one variant with the inverse of the whole covariance; missing ones at the mean."""
    scale = np.ones(len(dosage)) if scale is None else scale
    rows = np.flatnonzero(~np.isnan(trait))
    coded = np.array([np.nan if np.isnan(g) else code(float(g), model)[0] for g in dosage[rows]])
    predictor = np.where(np.isnan(coded), np.nanmean(coded), coded) * scale[rows]
    x = np.column_stack([predictor, covariates[rows]])
    y = trait[rows]
    inverse = np.linalg.inv(heritability * relationship[np.ix_(rows, rows)] + (1 - heritability) * np.eye(len(rows)))
    spread = np.linalg.inv(x.T @ inverse @ x)
    coefficients = spread @ (x.T @ inverse @ y)
    residuals = y - x @ coefficients
    df = len(rows) - x.shape[1]
    error = math.sqrt(float(residuals @ inverse @ residuals) / df * spread[0, 0])
    log_p = math.log(2) + stats.t.logsf(abs(coefficients[0] / error), df)
    return Fit(coefficients[:1], np.array([error]), -log_p / math.log(10), len(rows))
