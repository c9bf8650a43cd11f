"""RE2: the random-effects test that assumes no heterogeneity where there is no association.

Han B, Eskin E. Am J Hum Genet 2011;88:586–598, doi:10.1016/j.ajhg.2011.04.014. Effects ``x`` of ``k`` studies with
variances ``v``; the null is ``μ = 0`` and ``τ² = 0``, the alternative ``x ~ N(μ, v + τ²)``. The statistic is twice the
logarithm of the ratio of maximised likelihoods, and the sum of two parts::

    mean            that of μ, with τ² = 0: the squared deviate of fixed effects
    heterogeneity   that of τ² >= 0, zero where the best τ² is zero

**Its distribution.** With many studies it is an equal mixture of chi-squared on one and on two degrees of freedom. With
few, τ² is best at zero in more than half of the cases, and that p is too large: at 5e-8 by a factor of 2.4 with six
studies. Han and Eskin correct it by tables, made by simulation of studies of equal size. For those no simulation is
needed: with ``v = 1``, ``A = k x̄²`` and ``Q = Σ (x − x̄)²`` are independent, chi-squared on 1 and ``k − 1`` degrees of
freedom, and the statistic is ``A + g(Q)`` with ``g(Q) = Q − k − k ln(Q / k)`` for ``Q > k`` and zero below. So its tail
is an integral over ``Q``, computed here to 3e-8 of p at any depth.

**For studies of unequal precision it is an approximation, as theirs is, and a cautious one.** Simulated, the test
rejects 0.87 of the nominal share at 0.01 to 1e-4 with six studies of sizes 120, 70, 60, 5, 2 and 1, and 0.7 of it with
one that has 400 times the size of each of five others.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.chi_squared import chi2_neg_log10_p
from allscan.kernels.jit import jit
from allscan.kernels.meta_studies import (
    NO_STUDY,
    OK,
    ONE_STUDY,
    gather,
    matrices,
    weighted_mean,
    weighted_squares,
)
from allscan.kernels.normal import chi2_1_neg_log10_p
from allscan.kernels.student import LOG10_E, log_erfcx

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOG_2 = math.log(2.0)
_GRID = 1.5
"""Ratio of neighbouring values of ``smallest v + τ²`` between which a maximum of the likelihood is looked for."""
_PRECISION = 1e-13
_DEGREE = 48
_MIDDLE = 3.0
"""Root of the statistic that is the middle of the interval of the approximation."""
_QUADRATURE = 200


class RE2(NamedTuple):
    """Han and Eskin's random effects; all (tests,), NaN but for the status with fewer than two studies."""

    beta: NDArray[np.float64]
    """Mean effect at the maximum of the likelihood."""
    standard_error: NDArray[np.float64]
    """Of the mean effect, given τ²; the test does not rest on it."""
    tau_squared: NDArray[np.float64]
    mean_statistic: NDArray[np.float64]
    heterogeneity_statistic: NDArray[np.float64]
    neg_log10_p: NDArray[np.float64]
    """For this number of studies, exact if they are equally precise."""
    asymptotic_neg_log10_p: NDArray[np.float64]
    """For many studies; never the smaller p."""
    status: NDArray[np.uint8]
    """:class:`~allscan.kernels.meta_studies.MetaStatus`."""


def re2(beta: NDArray[np.floating], standard_error: NDArray[np.floating]) -> RE2:
    """Likelihood-ratio test of mean and heterogeneity.

    Parameters
    ----------
    beta, standard_error : (studies, tests)
        NaN where a study has no test.

    Raises
    ------
    ValueError
        Their shapes differ.

    Warnings
    --------
    A small p may come from the mean or from the heterogeneity alone: the two parts of the statistic tell which.
    """
    beta, standard_error = matrices(beta, standard_error)
    n_studies, n = beta.shape
    out = RE2._make([*np.full((7, n), np.nan), np.zeros(n, np.uint8)])
    null = np.zeros((n_studies + 1, _DEGREE + 1))
    for k in range(2, n_studies + 1):
        null[k] = _log_ratio_series(k)
    _re2(beta, standard_error, null, out)
    return out


@jit
def _re2(beta: NDArray[np.floating], standard_error: NDArray[np.floating], null: NDArray[np.float64], out: RE2) -> None:
    n_studies, n_tests = beta.shape
    who, x, v = np.empty(n_studies, np.int64), np.empty(n_studies), np.empty(n_studies)
    for t in range(n_tests):
        k, unit = gather(beta, standard_error, t, who, x, v)
        if k < 2:
            out.status[t] = ONE_STUDY if k else NO_STUDY
            continue
        mean, weight = weighted_mean(x, v, k, 0.0)
        by_mean = mean * mean * weight
        between, by_heterogeneity = _maximise(x, v, k, mean, weight)
        mean, weight = weighted_mean(x, v, k, between)
        statistic = by_mean + by_heterogeneity
        out.beta[t] = mean * unit
        out.standard_error[t] = unit / math.sqrt(weight)
        out.tau_squared[t] = between * unit * unit
        out.mean_statistic[t] = by_mean
        out.heterogeneity_statistic[t] = by_heterogeneity
        out.asymptotic_neg_log10_p[t] = _mixture_neg_log10_p(statistic)
        out.neg_log10_p[t] = chi2_1_neg_log10_p(statistic) - _series(null[k], statistic) * LOG10_E
        out.status[t] = OK


@jit
def _maximise(
    x: NDArray[np.float64], v: NDArray[np.float64], k: int, mean: float, weight: float
) -> tuple[float, float]:
    """The variance between studies that maximises the likelihood, and twice what it adds to its logarithm.

    The likelihood may have several maxima. Its slope in τ² is looked at on a grid, from zero to the squared range of
    the effects, beyond which it falls; every change of sign is followed to its end. The smallest ``v`` is 1.
    """
    q = weighted_squares(x, v, k, 0.0, mean)
    # Σw²r² <= max(w) Q, and both factors, relative to Σw, fall with τ²: below this the slope is negative everywhere.
    if q <= weight:
        return 0.0, 0.0
    low = high = x[0]
    for i in range(1, k):
        low, high = min(low, x[i]), max(high, x[i])
    end = (high - low) * (high - low)
    best = gain = 0.0
    left, left_slope = 0.0, _slope(x, v, k, 0.0)
    while left < end:
        right = (1.0 + left) * _GRID - 1.0
        right_slope = _slope(x, v, k, right)
        if left_slope > 0.0 and right_slope <= 0.0:
            between = _root(x, v, k, left, left_slope, right, right_slope)
            there, _ = weighted_mean(x, v, k, between)
            added = q - weighted_squares(x, v, k, between, there)
            for i in range(k):
                added -= math.log1p(between / v[i])
            if added > gain:
                best, gain = between, added
        left, left_slope = right, right_slope
    return best, gain


@jit
def _slope(x: NDArray[np.float64], v: NDArray[np.float64], k: int, between: float) -> float:
    """Twice the derivative of the log-likelihood, maximised over the mean, by the variance between studies."""
    mean, weight = weighted_mean(x, v, k, between)
    total = 0.0
    for i in range(k):
        wr = (x[i] - mean) / (v[i] + between)
        total += wr * wr
    return total - weight


@jit
def _root(
    x: NDArray[np.float64],
    v: NDArray[np.float64],
    k: int,
    left: float,
    left_slope: float,
    right: float,
    right_slope: float,
) -> float:
    """Where the slope becomes zero, by the Illinois method: a secant, of which neither end stays for long."""
    before = left
    side = 0
    for _ in range(100):
        at = (left * right_slope - right * left_slope) / (right_slope - left_slope)
        if abs(at - before) <= _PRECISION * (1.0 + at):
            break
        before = at
        slope = _slope(x, v, k, at)
        if slope > 0.0:
            left, left_slope = at, slope
            if side > 0:
                right_slope *= 0.5
            side = 1
        elif slope < 0.0:
            right, right_slope = at, slope
            if side < 0:
                left_slope *= 0.5
            side = -1
        else:
            break
    return at


@jit
def _log_tail(x: float) -> float:
    """``ln(exp(x / 2) P(χ²₁ > x))``."""
    return log_erfcx(math.sqrt(0.5 * x))


@jit
def _mixture_neg_log10_p(x: float) -> float:
    """−log10 of the mean of the tails of chi-squared on one and on two degrees of freedom."""
    return max(0.0, (0.5 * x - math.log1p(math.exp(_log_tail(x))) + _LOG_2) * LOG10_E)


@jit
def _log_ratio(statistic: float, k: int, nodes: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Logarithm of the tail of the statistic of ``k`` equally precise studies, over that of χ²₁.

    With ``Q = k exp(2 y)``, ``g = k (exp(2 y) − 1 − 2 y)``, and the density of Q times ``exp(g / 2)`` is a power of Q:
    nothing underflows. ``nodes`` and ``weights`` are Gauss and Legendre's on [0, 1]; ``y = top (1 − node²)`` takes away
    the root at the end, where the statistic is all heterogeneity.
    """
    log_10 = 1.0 / LOG10_E
    none = -math.expm1(-chi2_neg_log10_p(float(k), k - 1.0) * log_10)
    log_density = 0.5 * k * (math.log(k) - 1.0) - 0.5 * (k - 1.0) * _LOG_2 - math.lgamma(0.5 * (k - 1.0))
    front = 2.0 * math.exp(log_density - 0.5 * math.log(k))
    if math.isinf(statistic):
        return math.log(none + front)
    if statistic == 0.0:
        return 0.0
    part = statistic / k
    # exp(2 y) − 1 − 2 y = part: convex, at least 2 y², and 2 y is below 1 + part.
    top = min(math.sqrt(0.5 * part), 0.5 * math.log(2.0 * (1.0 + part)))
    for _ in range(100):
        step = (math.expm1(2.0 * top) - 2.0 * top - part) / (2.0 * math.expm1(2.0 * top))
        top -= step
        if abs(step) <= 1e-15 * top:
            break
    inner = 0.0
    for i in range(len(nodes)):
        y = top * (1.0 - nodes[i] * nodes[i])
        rest = max(0.0, statistic - k * (math.expm1(2.0 * y) - 2.0 * y))
        inner += weights[i] * 2.0 * top * nodes[i] * math.exp(_log_tail(rest) - y)
    beyond = math.exp(0.5 * statistic - chi2_neg_log10_p(k * math.exp(2.0 * top), k - 1.0) * log_10)
    return math.log(none + (front * inner + beyond) * math.exp(-_log_tail(statistic)))


@functools.lru_cache(maxsize=4096)
def _log_ratio_series(k: int) -> NDArray[np.float64]:
    """Chebyshev series of :func:`_log_ratio` in ``root / (root + _MIDDLE)``, from zero to infinity."""
    points, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
    nodes = 0.5 * (points + 1.0)
    angles = np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1)
    u = 0.5 * (np.cos(angles) + 1.0)
    root = _MIDDLE * u / (1.0 - u)
    values = np.array([_log_ratio(float(r * r), k, nodes, 0.5 * weights) for r in root])
    series: NDArray[np.float64] = np.cos(np.outer(np.arange(_DEGREE + 1), angles)) @ values * (2.0 / (_DEGREE + 1))
    series[0] *= 0.5
    return series


@jit
def _series(coefficients: NDArray[np.float64], statistic: float) -> float:
    """Clenshaw's sum of the series."""
    root = math.sqrt(statistic)
    y = 2.0 * (root / (root + _MIDDLE)) - 1.0
    one = two = 0.0
    for i in range(len(coefficients) - 1, 0, -1):
        one, two = 2.0 * y * one - two + coefficients[i], one
    return y * one - two + float(coefficients[0])
