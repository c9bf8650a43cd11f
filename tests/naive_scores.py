"""Logistic null models and score tests, person by person, as the textbooks write them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests import naive_logistic


def fit_null(
    y: NDArray[np.float64], covariates: NDArray[np.float64], offset: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Fitted probabilities of one trait."""
    x = covariates / np.abs(covariates).max(axis=0)
    known = np.zeros(len(y)) if offset is None else offset
    return np.asarray(1 / (1 + np.exp(-(x @ naive_logistic.maximum_likelihood(x, y, known) + known))))


class Score(NamedTuple):
    """A score test, and what it is made of."""

    score: float
    variance: float
    adjusted: NDArray[np.float64]  # (samples,) the predictor less what the covariates explain
    mu: NDArray[np.float64]


def score_test(
    y: NDArray[np.float64],
    covariates: NDArray[np.float64],
    g: NDArray[np.float64],
    offset: NDArray[np.float64] | None = None,
) -> Score:
    """Score and variance of one predictor, all values known."""
    mu = fit_null(y, covariates, offset)
    w = mu * (1 - mu)
    wx = covariates * w[:, None]
    b = np.linalg.lstsq(wx.T @ covariates, wx.T @ g, rcond=None)[0]
    adjusted = g - covariates @ b
    return Score(float(adjusted @ (y - mu)), float((w * adjusted**2).sum()), adjusted, mu)


def pair(
    genotypes: NDArray[np.floating],
    y: NDArray[np.float64],
    covariates: NDArray[np.float64],
    *,
    exclude: bool = False,
    scale: NDArray[np.float64] | None = None,
    offset: NDArray[np.float64] | None = None,
) -> Score:
    """Score of one variant (NaN: no call) and one trait (NaN: not analysed)."""
    own = ~np.isnan(y)
    if exclude:
        own &= ~np.isnan(genotypes)
    g = genotypes[own].astype(np.float64)
    g[np.isnan(g)] = np.nanmean(g)
    if scale is not None:
        g = g * scale[own]
    return score_test(y[own], covariates[own], g, None if offset is None else offset[own])


def fit_firth_null(y: NDArray[np.float64], covariates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fitted probabilities that maximise the likelihood times the root of the information's determinant."""
    x = covariates / np.abs(covariates).max(axis=0)
    return np.asarray(1 / (1 + np.exp(-x @ naive_logistic.maximum_penalised(x, y, np.zeros(len(y)), x.shape[1]))))
