"""Logistic null models and score tests, person by person, as the textbooks write them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize


def fit_null(
    y: NDArray[np.float64], covariates: NDArray[np.float64], offset: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Fitted probabilities of one trait, by Newton's method."""
    n, c = covariates.shape
    known = np.zeros(n) if offset is None else offset
    scale = np.abs(covariates).max(axis=0)
    x = covariates / scale
    alpha = np.zeros(c)
    for _ in range(100):
        mu = np.array([1 / (1 + math.exp(-(known[i] + x[i] @ alpha))) for i in range(n)])
        information = np.zeros((c, c))
        gradient = np.zeros(c)
        for i in range(n):
            information += mu[i] * (1 - mu[i]) * np.outer(x[i], x[i])
            gradient += (y[i] - mu[i]) * x[i]
        step = np.linalg.pinv(information, rcond=1e-13) @ gradient
        alpha += step
        if np.abs(step).max() < 1e-13:
            break
    return mu


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

    def modified_score(alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        mu = 1 / (1 + np.exp(-x @ alpha))
        w = mu * (1 - mu)
        leverage = w * np.einsum("ij,jk,ik->i", x, np.linalg.inv((x * w[:, None]).T @ x), x)
        return np.asarray(x.T @ (y - mu + leverage * (0.5 - mu)))

    start = np.zeros(x.shape[1])
    start[0] = math.log(y.mean() / (1 - y.mean()))
    alpha = optimize.root(modified_score, start, tol=1e-13).x
    return 1 / (1 + np.exp(-x @ alpha))
