"""Logistic regression of many traits on the same covariates: the null models of binary traits.

Newton's method for all traits at once. What a step needs of the samples, the gradients ``Xᵀ(y − μ)`` and the
information matrices ``Xᵀ W X`` of all traits, are products of samples × traits with the covariates and with the
products of each two of them, so that the samples are gone through in a few matrix products.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_STEPS = 60
TOLERANCE = 1e-10
"""A fit has converged once a Newton step moves it by less than the root of this, in standard errors: the step that
is taken then leaves an error of the square of that."""
CERTAIN = 1e-9
"""A fitted probability this close to 0 or 1 is one that the likelihood would have there: covariates separate it."""
GONE = 1e-12
"""Least eigenvalue of the information matrix, relative to the largest, of a direction that is still fitted."""
_SMALLEST_STEP = 2.0**-20
_STRIP_CELLS = 1 << 20


class LogisticFits(NamedTuple):
    """Fits by maximum likelihood, one a trait."""

    coefficients: NDArray[np.float64]  # (columns, traits)
    information: NDArray[np.float64]  # (traits, columns, columns) XᵀWX at the fit
    log_likelihood: NDArray[np.float64]  # (traits,)
    converged: NDArray[np.bool_]  # (traits,)
    n_certain: NDArray[np.int64]  # (traits,) people with a fitted probability of 0 or 1


class LogisticFit(NamedTuple):
    """A fit by maximum likelihood."""

    linear: NDArray[np.float64]  # (samples,) log odds
    log_likelihood: float
    converged: bool
    separated: bool  # probabilities of 0 or 1: the likelihood has no maximum


def fit_logistic(
    y: NDArray[np.float64], covariates: NDArray[np.float64], offset: NDArray[np.float64] | None = None
) -> LogisticFit:
    """Fit one trait.

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
    fits = fit_logistic_many(y[:, None], basis, None if offset is None else offset[:, None])
    linear = basis @ fits.coefficients[:, 0]
    if offset is not None:
        linear += offset
    separated = bool(fits.n_certain[0] > 0)
    return LogisticFit(linear, float(fits.log_likelihood[0]), bool(fits.converged[0]) and not separated, separated)


def fit_logistic_many(
    traits: NDArray[np.float64],
    basis: NDArray[np.float64],
    offset: NDArray[np.float64] | None = None,
    start: NDArray[np.float64] | None = None,
    *,
    penalised: bool = False,
) -> LogisticFits:
    """Maximum likelihood of every trait by Newton's method with halved steps.

    Parameters
    ----------
    traits : (samples, traits)
        0 or 1; NaN where a person is not analysed.
    basis : (samples, columns)
        Orthonormal covariates. Directions in which a trait's own samples do not vary are left at zero.
    offset : (samples, traits), optional
        Log odds that are known.
    start : (columns, traits), optional
        Coefficients to begin with.
    penalised
        Firth's likelihood: that times the root of the determinant of the information matrix.

    Returns
    -------
    The fits; the log likelihood is the penalised one if that is asked for. Where covariates separate some people, whose
    fitted probabilities go to 0 or 1, a fit converges to the limit, in which these people weigh nothing.

    References
    ----------
    Albert A, Anderson JA. On the existence of maximum likelihood estimates in logistic regression models. Biometrika
    1984;71:1–10. https://doi.org/10.1093/biomet/71.1.1
    Firth D. Bias reduction of maximum likelihood estimates. Biometrika 1993;80:27–38.
    https://doi.org/10.1093/biomet/80.1.27
    """
    n_traits = traits.shape[1]
    fitted = _start(traits, basis) if start is None else start.copy()
    best = np.full(n_traits, -np.inf)
    information = np.zeros((n_traits, basis.shape[1], basis.shape[1]))
    certain = np.zeros(n_traits, np.int64)
    step, size = np.zeros_like(fitted), np.ones(n_traits)
    converged, last, open_ = np.zeros(n_traits, bool), np.zeros(n_traits, bool), np.ones(n_traits, bool)
    for _ in range(MAX_STEPS):
        going = np.flatnonzero(open_)
        if not len(going):
            break
        trial = fitted[:, going] + size[going] * step[:, going]
        known = None if offset is None else offset[:, going]
        found, gradient, matrices, sure = _evaluate(traits[:, going], basis, known, trial)
        if penalised:
            found += 0.5 * np.linalg.slogdet(matrices)[1]
            gradient += _penalty_gradient(traits[:, going], basis, known, trial, matrices)
        # Rounding of a sum of n terms must not count as a loss.
        better = found >= best[going] - 1e-12 * np.abs(found)
        for k, t in enumerate(going):
            if not better[k] and size[t] > _SMALLEST_STEP:
                size[t] *= 0.5
                continue
            fitted[:, t], best[t], information[t], certain[t] = trial[:, k], found[k], matrices[k], sure[k]
            if last[t] or not better[k]:
                open_[t], converged[t] = False, bool(last[t])
                continue
            values, vectors = np.linalg.eigh(information[t])
            kept = values > GONE * values[-1]
            along = vectors[:, kept].T @ gradient[:, k]
            step[:, t], size[t] = vectors[:, kept] @ (along / values[kept]), 1.0
            last[t] = float(along @ (along / values[kept])) <= TOLERANCE
    return LogisticFits(fitted, information, best, converged, certain)


def _start(traits: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of the log odds of the whole, as far as the covariates span a constant."""
    n = np.maximum((~np.isnan(traits)).sum(axis=0), 1)
    rate = np.clip(np.nansum(traits, axis=0) / n, 1e-6, 1 - 1e-6)
    return np.outer(basis.sum(axis=0), np.log(rate / (1 - rate)))


def _evaluate(
    traits: NDArray[np.float64],
    basis: NDArray[np.float64],
    offset: NDArray[np.float64] | None,
    coefficients: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Log likelihoods, gradients, information matrices, and numbers of people whose outcome is certain."""
    n, c = basis.shape
    n_traits = traits.shape[1]
    first, second = np.tril_indices(c)
    likelihood, gradient = np.zeros(n_traits), np.zeros((c, n_traits))
    products = np.zeros((n_traits, len(first)))
    certain = np.zeros(n_traits, np.int64)
    rows = min(n, max(256, _STRIP_CELLS // max(1, len(first) + 4 * n_traits)))
    buffer = np.empty((rows, len(first)))
    for start in range(0, n, rows):
        strip = slice(start, start + rows)
        x, y = basis[strip], traits[strip]
        eta = x @ coefficients
        if offset is not None:
            eta += offset[strip]
        weight = np.empty_like(eta)
        _terms(eta, y, weight, likelihood, certain)
        gradient += x.T @ eta
        both = buffer[: len(x)]
        _multiply_pairs(x, both)
        products += weight.T @ both
    information = np.zeros((n_traits, c, c))
    information[:, first, second] = products
    information[:, second, first] = products
    return likelihood, gradient, information, certain


def _penalty_gradient(
    traits: NDArray[np.float64],
    basis: NDArray[np.float64],
    offset: NDArray[np.float64] | None,
    coefficients: NDArray[np.float64],
    information: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``Σ x h (½ − μ)`` with the leverages ``h = w xᵀ A⁻¹ x``, shape (columns, traits)."""
    n, c = basis.shape
    first, second = np.tril_indices(c)
    inverse = np.linalg.pinv(information, rcond=GONE, hermitian=True)[:, first, second]
    inverse[:, first != second] *= 2.0
    gradient = np.zeros((c, traits.shape[1]))
    rows = min(n, max(256, _STRIP_CELLS // max(1, len(first) + 4 * traits.shape[1])))
    buffer = np.empty((rows, len(first)))
    for start in range(0, n, rows):
        strip = slice(start, start + rows)
        x = basis[strip]
        mu = probabilities(x, coefficients, None if offset is None else offset[strip])
        both = buffer[: len(x)]
        _multiply_pairs(x, both)
        leverage = (both @ inverse.T) * mu * (1.0 - mu) * (0.5 - mu)
        leverage[np.isnan(traits[strip])] = 0.0
        gradient += x.T @ leverage
    return gradient


@jit
def _terms(
    eta: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    likelihood: NDArray[np.float64],
    certain: NDArray[np.int64],
) -> None:
    """What people add, all (samples, traits): ``eta`` becomes ``y − μ``, and ``weight`` is ``μ (1 − μ)``."""
    for t in range(eta.shape[1]):
        loss, product = 0.0, 1.0
        for i in range(eta.shape[0]):
            if math.isnan(y[i, t]):
                eta[i, t] = 0.0
                weight[i, t] = 0.0
                continue
            value = eta[i, t]
            small = math.exp(-abs(value))
            inverse = 1.0 / (1.0 + small)
            less = small * inverse
            # log(1 + e^η) − y η, without overflow; factors of up to 2 are multiplied before a logarithm is taken.
            loss += max(value, 0.0) - y[i, t] * value
            product *= 1.0 + small
            if product > 1e290:
                loss += math.log(product)
                product = 1.0
            eta[i, t] = y[i, t] - (inverse if value >= 0.0 else less)
            weight[i, t] = less * inverse
            if less < CERTAIN:
                certain[t] += 1
        likelihood[t] -= loss + math.log(product)


@jit
def _multiply_pairs(x: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Products of each two columns, the first not before the second, shape (samples, pairs)."""
    for i in range(x.shape[0]):
        at = 0
        for j in range(x.shape[1]):
            for k in range(j + 1):
                out[i, at] = x[i, j] * x[i, k]
                at += 1


def probabilities(
    basis: NDArray[np.float64], coefficients: NDArray[np.float64], offset: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Fitted probabilities, shape (samples, traits)."""
    eta = basis @ coefficients
    if offset is not None:
        eta += offset
    return expit(eta)


def expit(eta: NDArray[Any]) -> NDArray[Any]:
    """``1 / (1 + exp(−η))``, without overflow."""
    small = np.exp(-np.abs(eta))
    out: NDArray[Any] = np.where(eta >= 0, 1.0, small) / (1.0 + small)
    return out
