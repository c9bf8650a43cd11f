"""Restricted maximum likelihood of a heritability, by the eigenvectors of the relationship matrix.

The model of a trait is ``y = Xβ + u + e`` with ``Var(u + e) = σ² V`` and ``V = h² K + (1 − h²) I``. With ``K = U D Uᵀ``
it is diagonal after a rotation by ``Uᵀ``: ``V`` has the eigenvalues ``v = 1 + h² (d − 1)``. ``β`` and ``σ²`` are known
for each ``h²``, so that the likelihood (Patterson & Thompson 1971, 10.1093/biomet/58.3.545) is a function of one
number. It is looked at over the whole range, and its highest top is found where its slope is zero.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.relatedness import Families

HIGHEST = 0.9999
"""The upper bound of h²: at one, relatives that are as good as twins would have to have the same value."""
GRID = np.linspace(0.0, HIGHEST, 34)
# Spread of the eigenvalues below which V hardly depends on h².
FLAT = 1e-8


class Bound(IntEnum):
    """Where an estimated heritability lies."""

    INSIDE = 0
    ZERO = 1
    ONE = 2
    UNKNOWN = 3  # the samples do not tell: no two of them are related
    GIVEN = 4  # by the user
    NO_MAXIMUM = 5  # the likelihood has none that can be found


class VarianceComponents(NamedTuple):
    """Estimates of the traits of a batch; each of shape (traits,), NaN where there is none."""

    heritability: NDArray[np.float64]  # σg² / (σg² + σe²)
    heritability_error: NDArray[np.float64]  # its standard error, from the curvature of the likelihood
    genetic_variance: NDArray[np.float64]  # σg², in squared trait units
    residual_variance: NDArray[np.float64]  # σe²
    log_likelihood: NDArray[np.float64]  # restricted, at the estimate
    bound: NDArray[np.uint8]  # a Bound

    @classmethod
    def unknown(cls, n_traits: int) -> VarianceComponents:
        """Nothing known of any trait."""
        values = [np.full(n_traits, np.nan) for _ in range(5)]
        return cls(values[0], values[1], values[2], values[3], values[4], np.full(n_traits, Bound.UNKNOWN, np.uint8))


class Rotated(NamedTuple):
    """Traits that have the same samples, rotated by the eigenvectors of the relationship matrix.

    Samples with an eigenvalue of one weigh the same whatever the heritability is: of them there are only products.
    """

    excess: NDArray[np.float64]  # (eigenvalues,) d − 1
    x: NDArray[np.float64]  # (eigenvalues, covariates) of an orthonormal basis
    y: NDArray[np.float64]  # (eigenvalues, traits) after the covariates
    xx: NDArray[np.float64]  # (covariates, covariates) over the unrelated
    xy: NDArray[np.float64]  # (covariates, traits)
    yy: NDArray[np.float64]  # (traits,)
    n_unrelated: int
    df: int  # samples less covariates

    def trait(self, t: int) -> Rotated:
        """One of the traits."""
        return self._replace(y=self.y[:, [t]], xy=self.xy[:, [t]], yy=self.yy[[t]])


def rotate(families: Families, basis: NDArray[np.float64], residuals: NDArray[np.float64]) -> Rotated:
    """Prepare the likelihood.

    Parameters
    ----------
    families
        Of the traits' samples.
    basis : (samples, covariates)
        Orthonormal among the traits' samples, zero outside.
    residuals : (samples, traits)
        Traits after the covariates, zero outside.
    """
    unrelated = families.unrelated
    x, y = basis[unrelated], residuals[unrelated]
    return Rotated(
        families.values - 1.0,
        families.to_eigenvectors(basis),
        families.to_eigenvectors(residuals),
        x.T @ x,
        x.T @ y,
        np.einsum("nt,nt->t", y, y),
        len(unrelated),
        len(unrelated) + len(families.samples) - basis.shape[1],
    )


class GeneralisedFit(NamedTuple):
    """Generalised least squares of the traits at one heritability."""

    factor: NDArray[np.float64]  # (covariates, covariates) L with L Lᵀ = Xᵀ V⁻¹ X
    coefficients: NDArray[np.float64]  # (covariates, traits)
    rest: NDArray[np.float64]  # (traits,) yᵀ P y
    log_determinants: float  # of V, and of Xᵀ V⁻¹ X


def generalised_fit(rotated: Rotated, h2: float) -> GeneralisedFit:
    """Estimates of the covariates' effects, and what they leave."""
    v = 1.0 + h2 * rotated.excess
    weighted = rotated.x / v[:, None]
    factor = np.linalg.cholesky(rotated.xx + weighted.T @ rotated.x).astype(np.float64, copy=False)
    half = solve_triangular(factor, rotated.xy + weighted.T @ rotated.y, lower=True)
    total = rotated.yy + (rotated.y**2).T @ (1.0 / v)
    determinants = float(np.log(v).sum() + 2.0 * np.log(np.diag(factor)).sum())
    return GeneralisedFit(
        factor,
        solve_triangular(factor, half, lower=True, trans="T"),
        total - np.einsum("ct,ct->t", half, half),
        determinants,
    )


def log_likelihood(rotated: Rotated, h2: float) -> NDArray[np.float64]:
    """Restricted log-likelihood of each trait at a heritability, σ² at its best, shape (traits,)."""
    fit = generalised_fit(rotated, h2)
    df = rotated.df
    constant = df * (1.0 + math.log(2.0 * math.pi / df))
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood: NDArray[np.float64] = -0.5 * (df * np.log(fit.rest) + fit.log_determinants + constant)
    return likelihood


class _Curve(NamedTuple):
    slope: float
    curvature: float


def _derivatives(rotated: Rotated, h2: float) -> _Curve:
    """First and second derivative of the likelihood of one trait with respect to h².

    With ``V' = K − I``: the slope is ``½ (df zᵀV'z / yᵀPy − tr PV')`` where ``z = Py``.
    """
    fit = generalised_fit(rotated, h2)
    d, x = rotated.excess, rotated.x
    w = 1.0 / (1.0 + h2 * d)
    z = w * (rotated.y[:, 0] - x @ fit.coefficients[:, 0])
    dw = d * w

    def by_covariates(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """``L⁻¹ Xᵀ diag(weights) X L⁻ᵀ``."""
        half = solve_triangular(fit.factor, x.T @ (weights[:, None] * x), lower=True)
        inner: NDArray[np.float64] = solve_triangular(fit.factor, half.T, lower=True)
        return inner

    once = by_covariates(dw * w)
    trace = dw.sum() - np.trace(once)
    traces = (dw * dw).sum() - 2.0 * np.trace(by_covariates(dw * dw * w)) + np.einsum("ij,ij->", once, once)
    moved = solve_triangular(fit.factor, x.T @ (dw * z), lower=True)
    first = float(d @ (z * z)) / fit.rest[0]
    second = float((dw * d) @ (z * z) - moved @ moved) / fit.rest[0]
    return _Curve(
        0.5 * (rotated.df * first - trace),
        -0.5 * (rotated.df * (2.0 * second - first * first) - traces),
    )


def _top(rotated: Rotated, best: int) -> tuple[float, Bound]:
    """Where the likelihood of one trait is highest, near a point of the grid."""
    from scipy.optimize import brentq

    def slope(h2: float) -> float:
        return _derivatives(rotated, h2).slope

    last = len(GRID) - 1
    points = [float(GRID[k]) for k in (best - 1, best, best + 1) if 0 <= k <= last]
    slopes = [slope(h2) for h2 in points]
    for k in range(len(points) - 1):
        if slopes[k] > 0.0 >= slopes[k + 1]:
            return float(brentq(slope, points[k], points[k + 1], xtol=1e-13, rtol=1e-12)), Bound.INSIDE
    if best == 0 and slopes[0] <= 0.0:
        return 0.0, Bound.ZERO
    if best == last and slopes[-1] >= 0.0:
        return HIGHEST, Bound.ONE
    return math.nan, Bound.NO_MAXIMUM


def estimate(rotated: Rotated, given: float | None = None) -> VarianceComponents:
    """Estimate the heritability of each trait.

    Parameters
    ----------
    rotated
        Traits that vary, with degrees of freedom left.
    given
        A heritability that is not to be estimated.
    """
    n_traits = rotated.y.shape[1]
    found = VarianceComponents.unknown(n_traits)
    eigenvalues = rotated.excess if rotated.n_unrelated == 0 else np.append(rotated.excess, 0.0)
    flat = np.ptp(eigenvalues) <= FLAT
    if given is None and not flat:
        likelihoods = np.stack([log_likelihood(rotated, h2) for h2 in GRID])
    for t in range(n_traits):
        one = rotated.trait(t)
        if given is not None:
            h2, bound = given, Bound.GIVEN
        elif flat:
            h2, bound = math.nan, Bound.UNKNOWN
        elif not np.isfinite(likelihoods[:, t]).all():
            h2, bound = math.nan, Bound.NO_MAXIMUM
        else:
            h2, bound = _top(one, int(likelihoods[:, t].argmax()))
        found.bound[t] = bound
        if bound in (Bound.UNKNOWN, Bound.NO_MAXIMUM):
            continue
        found.heritability[t] = h2
        total = float(generalised_fit(one, h2).rest[0]) / one.df
        found.genetic_variance[t], found.residual_variance[t] = h2 * total, (1.0 - h2) * total
        found.log_likelihood[t] = log_likelihood(one, h2)[0]
        if bound == Bound.INSIDE:
            curvature = _derivatives(one, h2).curvature
            found.heritability_error[t] = 1.0 / math.sqrt(-curvature) if curvature < 0.0 else math.nan
    return found
