"""The exact distribution of the number of effect alleles that cases carry, for variants with few carriers.

Each carrier is a case with the probability that the null model gives. The number ``N`` of copies that cases carry is
then a sum of independent terms, and its distribution a product of short polynomials (Poisson-binomial, with weights).
Dosages count in whole steps of a lattice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit, jit_fast
from allscan.kernels.student import LOG10_E

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_STEPS = 64
"""Per copy, of the lattice of dosages. It moves a carrier's dosage by 1/128 at most, by 1/256 on average."""
_WHOLE = 1e-6  # copies: dosages are kept in 8 or 16 bits
_TIE = 1e-9  # outcomes nearer than this to being as extreme as the observed one are
_REST = 41.4  # −ln 1e-18
_RARE = 1e-20  # a variance with which one more step is negligible
_SMALL = -460.0  # ln 1e-200


class ExactTail(NamedTuple):
    """−log10 of the two-sided p, and of the mid-p, to which outcomes as extreme as the observed one count half."""

    neg_log10_p: float
    neg_log10_mid_p: float


class _Tails(NamedTuple):
    """``ln P`` of both tails, and with half of their first outcomes where these are as extreme as the observed one."""

    lower: float
    upper: float
    lower_mid: float
    upper_mid: float


@jit
def lattice(dosages: NDArray[np.float64], steps: NDArray[np.int64]) -> int:
    """Dosages in whole steps.

    Parameters
    ----------
    dosages : (carriers,)
        Copies of the counted allele, 0 or more.
    steps : (carriers,), overwritten
        Copies × steps per copy, rounded.

    Returns
    -------
    int
        Steps per copy: the least power of two of which all dosages are multiples, at most MOST_STEPS.
    """
    per_copy = 1
    for i in range(dosages.shape[0]):
        x = dosages[i] * per_copy
        while per_copy < MOST_STEPS and abs(x - math.floor(x + 0.5)) > _WHOLE:
            per_copy *= 2
            x *= 2.0
    for i in range(dosages.shape[0]):
        steps[i] = math.floor(dosages[i] * per_copy + 0.5)
    return per_copy


@jit_fast
def _convolve(old: NDArray[np.float64], new: NDArray[np.float64], shift: int, p: float) -> None:
    q = 1.0 - p
    for j in range(min(shift, old.shape[0])):
        new[j] = q * old[j]
    # Slices: an index that might be negative would be checked, and the loop not vectorise.
    stay, move, out = old[shift:], old[: max(old.shape[0] - shift, 0)], new[shift:]
    for j in range(out.shape[0]):
        out[j] = q * stay[j] + p * move[j]


@jit
def _span(steps: NDArray[np.int64], probability: NDArray[np.float64], observed: int) -> int:
    """Outcomes that are needed: what is beyond them is negligible beside the tail from ``observed`` on.

    By Bennett's inequality from the mean on; a tail that begins farther out falls faster.
    """
    total = 0
    variance = 0.0
    widest = 1
    for i in range(steps.shape[0]):
        total += steps[i]
        variance += steps[i] * steps[i] * probability[i] * (1.0 - probability[i])
        widest = max(widest, steps[i])
    scale = variance / (widest * widest)
    if scale < _RARE:
        return min(total, observed + widest) + 1
    x = max(1.0, 1.0 / scale)
    while scale * ((1.0 + x) * math.log1p(x) - x) < _REST:
        x *= 1.25
    return int(min(float(total), observed + x * scale * widest + 1.0)) + 1


@jit
def _tails(
    steps: NDArray[np.int64],
    probability: NDArray[np.float64],
    low: int,
    high: int,
    ties: tuple[bool, bool],
    tilt: float,
) -> _Tails:
    """``P(N <= low)`` and ``P(N >= high)``, by the distribution tilted by ``exp(tilt N)``."""
    length = _span(steps, probability, high)
    old = np.zeros(length)
    new = np.zeros(length)
    old[0] = 1.0
    filled = 1
    log_mean = 0.0  # of exp(tilt N)
    for i in range(steps.shape[0]):
        p = probability[i]
        if tilt != 0.0:
            u = tilt * steps[i]
            case = math.exp(min(0.0, u))
            mean = (1.0 - p) * math.exp(min(0.0, -u)) + p * case
            log_mean += math.log(mean) + max(u, 0.0)
            p *= case / mean
        filled = min(filled + steps[i], length)
        _convolve(old[:filled], new[:filled], steps[i], p)
        old, new = new, old
    lower = upper = 0.0
    for j in range(min(low, length - 1) + 1):
        lower += old[j] * math.exp(tilt * (low - j))
    for j in range(high, length):
        upper += old[j] * math.exp(tilt * (high - j))
    lower_mid = lower - (0.5 * old[low] if ties[0] and 0 <= low < length else 0.0)
    upper_mid = upper - (0.5 * old[high] if ties[1] and 0 <= high < length else 0.0)
    at_low = log_mean - tilt * low
    at_high = log_mean - tilt * high
    return _Tails(_log(lower) + at_low, _log(upper) + at_high, _log(lower_mid) + at_low, _log(upper_mid) + at_high)


@jit
def _tilt(steps: NDArray[np.int64], probability: NDArray[np.float64], target: float) -> float:
    """Where the tilted distribution has its mean at ``target``, roughly."""
    low = -1000.0
    high = 1000.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        mean = 0.0
        for i in range(steps.shape[0]):
            u = middle * steps[i]
            case = probability[i] * math.exp(min(0.0, u))
            mean += steps[i] * case / (case + (1.0 - probability[i]) * math.exp(min(0.0, -u)))
        if mean < target:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@jit
def _log(x: float) -> float:
    return math.log(x) if x > 0.0 else -math.inf


@jit
def _log_sum(a: float, b: float) -> float:
    high = max(a, b)
    return high if high == -math.inf else high + math.log1p(math.exp(min(a, b) - high))


@jit
def carrier_count_tail(steps: NDArray[np.int64], probability: NDArray[np.float64], observed: int) -> ExactTail:
    """Exact two-sided p of the number of effect alleles that cases carry.

    ``P(|N − E N| >= |observed − E N|)``, which is that of the score ``Σ g (y − μ)``, the carriers taken as given.

    Parameters
    ----------
    steps : (carriers,)
        Copies of the allele, or steps of :func:`lattice`.
    probability : (carriers,)
        Of each being a case, under the null model.
    observed
        The sum of the steps of those who are.
    """
    mean = 0.0
    total = 0
    for i in range(steps.shape[0]):
        mean += steps[i] * probability[i]
        total += steps[i]
    distance = abs(observed - mean)
    slack = _TIE * max(1.0, mean)
    high = math.ceil(mean + distance - slack)
    low = math.floor(mean - distance + slack)
    ties = (abs(low - mean + distance) <= slack, abs(high - mean - distance) <= slack)
    tails = _tails(steps, probability, low, high, ties, 0.0)
    if _log_sum(tails.lower, tails.upper) < _SMALL:
        # The terms themselves come near the smallest number there is: tilt the distribution to where each tail begins.
        up = _tails(steps, probability, low, high, ties, _tilt(steps, probability, min(float(high), total - 0.5)))
        down = _tails(steps, probability, low, high, ties, _tilt(steps, probability, max(float(low), 0.5)))
        tails = _Tails(down.lower, up.upper, down.lower_mid, up.upper_mid)
    log_p = min(0.0, _log_sum(tails.lower, tails.upper))
    log_mid = min(0.0, _log_sum(tails.lower_mid, tails.upper_mid))
    return ExactTail(-log_p * LOG10_E, -log_mid * LOG10_E)
