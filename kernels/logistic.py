"""Logistic regression on covariates: the null model of a binary trait."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.basis import orthonormal_basis

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_STEPS = 50
TOLERANCE = 1e-10
"""Of the log likelihood, relative: the steps are quadratic, so that the last one is far better."""
MOST_LOG_ODDS = 30.0
"""Beyond it a fitted probability is 0 or 1: the covariates separate some people's values."""


class LogisticFit(NamedTuple):
    """A fit by maximum likelihood."""

    linear: NDArray[np.float64]  # (samples,) log odds
    log_likelihood: float
    converged: bool
    separated: bool  # probabilities of 0 or 1: the likelihood has no maximum


def fit_logistic(
    y: NDArray[np.float64], covariates: NDArray[np.float64], offset: NDArray[np.float64] | None = None
) -> LogisticFit:
    """Maximum likelihood by Newton's method with halved steps.

    Parameters
    ----------
    y : (samples,)
        0 or 1.
    covariates : (samples, covariates)
        With the intercept; columns that depend on earlier ones are left out.
    offset : (samples,), optional
        Log odds that are known.
    """
    basis, _ = orthonormal_basis(covariates)
    known = np.zeros(len(y)) if offset is None else offset
    coefficients = np.zeros(basis.shape[1])
    linear = known.copy()
    best = _log_likelihood(y, linear)
    for _ in range(MAX_STEPS):
        p = _expit(linear)
        weight = p * (1 - p)
        gradient = basis.T @ (y - p)
        information = (basis * weight[:, None]).T @ basis
        try:
            step = np.linalg.solve(information + 1e-12 * np.trace(information) * np.eye(len(information)), gradient)
        except np.linalg.LinAlgError:
            break
        size = 1.0
        while True:
            trial = known + basis @ (coefficients + size * step)
            found = _log_likelihood(y, trial)
            if found >= best or size < 1e-6:
                break
            size /= 2
        coefficients = coefficients + size * step
        gain, linear, best = found - best, trial, found
        if np.abs(linear - known).max(initial=0.0) > MOST_LOG_ODDS:
            return LogisticFit(linear, best, converged=False, separated=True)
        if abs(gain) <= TOLERANCE * (abs(best) + 1e-3):
            return LogisticFit(linear, best, converged=True, separated=False)
    return LogisticFit(linear, best, converged=False, separated=False)


def _expit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(x, -700, 700)))
    return out


def _log_likelihood(y: NDArray[np.float64], linear: NDArray[np.float64]) -> float:
    return float((y * linear - np.logaddexp(0.0, linear)).sum())
