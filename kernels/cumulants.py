"""The distribution of the score of a binary trait, by its cumulant generating function.

For a variant and a trait, ``S = Σ g_i (y_i − μ_i)`` with the genotype ``g`` less what the covariates tell of it and
``μ`` the probabilities of the null model, which gives the trait no dependence on the genotype. Under it

    K(t) = Σ [log(1 − μ_i + μ_i exp(g_i t)) − t g_i μ_i]

is the cumulant generating function of ``S``. It is also the logistic likelihood of an effect ``t`` of the genotype,
``t S − K(t)``, with the null model's log odds as offset. So tails (:mod:`allscan.kernels.saddlepoint`) and effects
(:mod:`allscan.kernels.one_parameter`) need one thing, ``K`` and its derivatives.

People enter one by one, which takes an exponential and a logarithm each time, or through the cumulants of their sum,
which are taken once. A :class:`Law` may hold some people in the one way and the others in the other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.elementary import LOWEST, exp_of_negative, log_of_fraction
from allscan.kernels.jit import jit, jit_fast

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIGHEST_ORDER = 10
N_CUMULANTS = HIGHEST_ORDER - 1
"""Of the cumulants 2, 3, … of a series."""
MOMENT = N_CUMULANTS
LARGEST = N_CUMULANTS + 1
N_SUMS = N_CUMULANTS + 2
"""Sums over people: the cumulants, ``Σ w g^10``, and the largest ``|g|``."""
TOLERANCE = 1e-6
"""Of ``−ln p``, for what cumulants leave out; a bound, of which the error is a small part."""
# The largest |κ_11| / w of one person with g = 1, over all probabilities.
_NEXT_CUMULANT = 93.03
_FACTORIAL = 39916800.0  # 11!
_FARTHEST = 2.3
_FARTHEST_OF_THREE = 30.0


class Law(NamedTuple):
    """The distribution of a score: some people one by one, and the cumulants of all others.

    What the people of ``cumulants`` add to ``K`` is ``Σ κ_k t^k / k!``. Without such people the cumulants are zeros
    and ``reach`` is infinite.
    """

    genotype: NDArray[np.float64]  # (people,) less its projection on the covariates
    probability: NDArray[np.float64]  # (people,) of being a case, between 0 and 1
    cumulants: NDArray[np.float64]  # (N_CUMULANTS,) or more: 2nd, 3rd, … of everybody else
    reach: float  # largest |t| for which the cumulants suffice


class Derivatives(NamedTuple):
    """``K(t)`` and its first four derivatives."""

    k: float
    k1: float
    k2: float
    k3: float
    k4: float


class Origin(NamedTuple):
    """What is known of a law without any exponential."""

    variance: float  # K''(0)
    skewness: float  # K'''(0), the third cumulant
    lowest: float  # least score that can be; −inf where there are people in cumulants
    highest: float
    scale: float  # about the largest |genotype|: |t| × scale below 1 is a small effect


@jit_fast
def add_cumulants(
    genotype: NDArray[np.float64], probability: NDArray[np.float64], limit: float, sums: NDArray[np.float64]
) -> None:
    """Add the cumulants of some people's scores to sums.

    The k-th cumulant of ``g (y − μ)`` is ``g^k w P_k``, with ``w = μ (1 − μ)`` and, by
    ``κ_(k+1) = w dκ_k/dμ``, polynomials ``P_k`` of ``w``, the odd ones times ``1 − 2μ``.

    Parameters
    ----------
    genotype, probability : (people,)
        Genotypes less their projection on the covariates, and probabilities under the null model.
    limit
        Of ``|genotype|``: those above it are left out, for :func:`collect`.
    sums : (N_SUMS,), added to
        Cumulants of order 2, 3, …, the sum of ``w g^10``, and the largest ``|g|``.
    """
    k2 = k3 = k4 = k5 = k6 = k7 = k8 = k9 = k10 = moment = 0.0
    largest = np.int64(0)  # bits of a square: whole numbers have a maximum that vectorises, and the same order
    for i in range(genotype.shape[0]):
        g = genotype[i] if abs(genotype[i]) <= limit else 0.0
        mu = probability[i]
        w = mu * (1.0 - mu)
        d = 1.0 - 2.0 * mu
        g2 = g * g
        a = w * g2
        b = d * g
        c = a * g2
        e = c * g2
        f = e * g2
        h = f * g2
        k2 += a
        k3 += a * b
        k4 += c * (1.0 - 6.0 * w)
        k5 += c * b * (1.0 - 12.0 * w)
        k6 += e * (1.0 + w * (-30.0 + 120.0 * w))
        k7 += e * b * (1.0 + w * (-60.0 + 360.0 * w))
        k8 += f * (1.0 + w * (-126.0 + w * (1680.0 - 5040.0 * w)))
        k9 += f * b * (1.0 + w * (-252.0 + w * (5040.0 - 20160.0 * w)))
        k10 += h * (1.0 + w * (-510.0 + w * (17640.0 + w * (-151200.0 + 362880.0 * w))))
        moment += h
        square = np.float64(g2).view(np.int64)
        if square > largest:
            largest = square
    sums[0] += k2
    sums[1] += k3
    sums[2] += k4
    sums[3] += k5
    sums[4] += k6
    sums[5] += k7
    sums[6] += k8
    sums[7] += k9
    sums[8] += k10
    sums[MOMENT] += moment
    sums[LARGEST] = max(sums[LARGEST], math.sqrt(np.int64(largest).view(np.float64)))


@jit
def collect(genotype: NDArray[np.float64], probability: NDArray[np.float64], limit: float, law: Law, found: int) -> int:
    """Copy those above a limit of ``|genotype|`` into a law that has room, from ``found`` on; how many it then has."""
    for i in range(genotype.shape[0]):
        if abs(genotype[i]) > limit:
            law.genotype[found] = genotype[i]
            law.probability[found] = probability[i]
            found += 1
    return found


@jit
def truncation_bound(t: float, sums: NDArray[np.float64]) -> float:
    """Bound of the error in ``−ln p`` that is made by leaving out the cumulants from the eleventh on.

    Taylor's remainder of one person is ``κ_11 u^11 / 11!`` with ``u = g t`` and the cumulant at some probability
    between ``μ`` and the tilted one, ``w`` of which is at most ``w exp(|u|)``. That bounds the error of ``K``. The
    tail also has ``½ log K''``, of which the remainder is greater by a factor of ``110 / t²`` and counts half,
    relative to ``K''``.
    """
    x = abs(t)
    power = (x * x) ** 5
    error = _NEXT_CUMULANT * sums[MOMENT] * power * sums[LARGEST] * x * math.exp(sums[LARGEST] * x) / _FACTORIAL
    return error * (1.0 + 55.0 / (sums[0] * x * x)) if error > 0.0 else 0.0


@jit
def series_reach(sums: NDArray[np.float64], tolerance: float) -> float:
    """Largest ``t`` up to which cumulants suffice: :func:`truncation_bound` is at most ``tolerance``.

    Infinite for people whose genotypes are all zero.
    """
    if not sums[MOMENT] * sums[LARGEST] > 0.0:
        return math.inf
    low = 0.0
    high = math.pi / sums[LARGEST]  # the series of a probability of one half converges up to here
    for _ in range(40):
        middle = 0.5 * (low + high)
        if truncation_bound(middle, sums) <= tolerance:
            low = middle
        else:
            high = middle
    return low


@jit
def reach_of_three(fourth: float, variance: float, tolerance: float) -> float:
    """Largest ``t`` up to which the second and third cumulant of some people suffice.

    Taylor's remainder of one person is ``κ_4 u^4 / 24``, hardly more than ``w g^4 t^4 / 24`` for effects as small as
    those that have no need of more; of ``½ ln K''`` it is half of ``12 / t²`` times that, relative to ``K''``.

    Parameters
    ----------
    fourth
        The sum of ``w g^4`` over these people.
    variance
        Of the score, of all people together.
    tolerance
        Of ``−ln p``.
    """
    if not fourth > 0.0:
        return math.inf
    x = 3.0 / variance
    return math.sqrt(math.sqrt(x * x + 24.0 * tolerance / fourth) - x)


@jit
def series_limit(t: float, variance: float, tolerance: float) -> float:
    """``|genotype|`` up to which people's cumulants suffice for ``t``, whoever else there is.

    The bound of :func:`truncation_bound` with ``limit^8 K''(0)`` for the moment, which it cannot exceed.

    Parameters
    ----------
    t
        Effect: the largest for which the law will be needed.
    variance
        Of the score, of all people together.
    tolerance
        Of ``−ln p``.
    """
    x = abs(t)
    scale = tolerance * _FACTORIAL / (_NEXT_CUMULANT * variance * x * x * (1.0 + 55.0 / (variance * x * x)))
    low = 0.0
    high = math.pi  # |genotype| × t
    for _ in range(40):
        middle = 0.5 * (low + high)
        if middle**9 * math.exp(middle) <= scale:
            low = middle
        else:
            high = middle
    return low / x


@jit
def farthest(law: Law) -> float:
    """How far beyond its reach a law may be used for a tail that hardly matters: ``K`` errs by less than 1 there."""
    return law.reach * (_FARTHEST_OF_THREE if law.cumulants[2] == 0.0 else _FARTHEST)


@jit
def log_error(t: float, law: Law) -> float:
    """Logarithm of the error of ``K(t)`` at most, if it is TOLERANCE at the law's reach.

    The bound of :func:`truncation_bound` grows as ``t^11 exp(|g t|)``, where no law reaches farther than ``π`` over
    its genotypes; that of :func:`reach_of_three` as ``t^4``.
    """
    x = abs(t) / law.reach
    if x <= 1.0:
        return math.log(TOLERANCE)
    if law.cumulants[2] == 0.0:
        return math.log(TOLERANCE) + 4.0 * math.log(x)
    return math.log(TOLERANCE) + 11.0 * math.log(x) + math.pi * (x - 1.0)


@jit_fast
def origin(law: Law) -> Origin:
    """Variance, skewness and range of a law."""
    variance = law.cumulants[0]
    skewness = law.cumulants[1]
    lowest = highest = 0.0
    largest = np.divide(1.0, law.reach)
    for i in range(law.genotype.shape[0]):
        g = law.genotype[i]
        mu = law.probability[i]
        x = g * mu * (1.0 - mu) * g
        variance += x
        skewness += x * g * (1.0 - 2.0 * mu)
        up = g if g > 0.0 else 0.0
        down = up - g
        highest += up * (1.0 - mu) + down * mu
        lowest += up * mu + down * (1.0 - mu)
        size = up + down
        if size > largest:
            largest = size
    if law.cumulants[0] > 0.0:
        return Origin(variance, skewness, -math.inf, math.inf, largest)
    return Origin(variance, skewness, -lowest, highest, largest)


@jit_fast
def derivatives(t: float, law: Law) -> Derivatives:
    """``K(t)`` and four derivatives; no ``t`` overflows.

    Of ``y`` and ``1 − y`` the one that ``t`` makes less likely is looked at, so that exponents are negative.
    """
    k = k1 = k2 = k3 = k4 = 0.0
    for i in range(law.genotype.shape[0]):
        g = law.genotype[i]
        mu = law.probability[i]
        u = g * t
        up = u > 0.0
        v = -abs(u)
        m = 1.0 - mu if up else mu
        a = mu if up else 1.0 - mu
        e = exp_of_negative(v if v > LOWEST else LOWEST)
        d = a + m * e
        r = np.divide(1.0, d)  # unlike an operator without a check for zero, which would not vectorise
        tilted = m * e * r
        shift = a * m * (1.0 - e) * r
        h = g if up else -g
        w = a * r * tilted * g
        s = w * g
        skew = s * (2.0 * tilted - 1.0)
        k += log_of_fraction(d) - v * m
        k1 += h * shift
        k2 += s
        k3 += h * skew
        k4 += s * g * (g - 6.0 * w)
    c = law.cumulants
    t2 = t * t
    x = c[0] / 2 + t * (c[1] / 6 + t * (c[2] / 24 + t * (c[3] / 120 + t * (c[4] / 720 + t * c[5] / 5040))))
    x += t2 * t2 * t2 * (c[6] / 40320 + t * (c[7] / 362880 + t * c[8] / 3628800))
    x1 = c[0] + t * (c[1] / 2 + t * (c[2] / 6 + t * (c[3] / 24 + t * (c[4] / 120 + t * c[5] / 720))))
    x1 += t2 * t2 * t2 * (c[6] / 5040 + t * (c[7] / 40320 + t * c[8] / 362880))
    x2 = c[0] + t * (c[1] + t * (c[2] / 2 + t * (c[3] / 6 + t * (c[4] / 24 + t * c[5] / 120))))
    x2 += t2 * t2 * t2 * (c[6] / 720 + t * (c[7] / 5040 + t * c[8] / 40320))
    x3 = c[1] + t * (c[2] + t * (c[3] / 2 + t * (c[4] / 6 + t * (c[5] / 24 + t * c[6] / 120))))
    x3 += t2 * t2 * t2 * (c[7] / 720 + t * c[8] / 5040)
    x4 = c[2] + t * (c[3] + t * (c[4] / 2 + t * (c[5] / 6 + t * (c[6] / 24 + t * (c[7] / 120 + t * c[8] / 720)))))
    return Derivatives(k + t2 * x, k1 + t * x1, k2 + x2, k3 + x3, k4 + x4)
