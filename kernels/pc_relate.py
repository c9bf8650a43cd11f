"""Kinship and sharing of people of any ancestry, given the allele frequencies of each: PC-Relate's sums over markers.

PC-Relate (Conomos et al. 2016, 10.1016/j.ajhg.2015.11.022) takes the frequency ``μ`` of an allele for each person from
a regression on principal components. With ``r = g − 2μ`` kinship is

    Σ rᵢ rⱼ / (4 Σ √(μᵢ(1 − μᵢ) μⱼ(1 − μⱼ)))

and the probabilities to share no, one and two alleles by descent follow from similar sums (equations 4 to 7 of the
paper). A marker counts for a person with a call whose ``μ`` is not near 0 or 1, and for a pair where it does for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit, jit_fast

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLOSE = 2.0**-2.5
"""Kinship above which markers without a common allele tell best how often none is shared: of closer relatives there are
few. Of others, kinship and ``k2`` tell it better."""


class Terms(NamedTuple):
    """What the sums are made of, shape (people, markers) each; 0 where a marker does not count for a person."""

    residual: NDArray[np.float32]  # g − 2μ
    spread: NDArray[np.float32]  # √(μ(1 − μ))
    dominance: NDArray[np.float32]  # μ, 0 and 1 − μ of 0, 1 and 2 copies, less μ(1 − μ)
    ref: NDArray[np.float32]  # (1 − μ)²
    alt: NDArray[np.float32]  # μ²
    no_copy: NDArray[np.float32]  # 1 where the call is 0
    two_copies: NDArray[np.float32]


class PairSums(NamedTuple):
    """Sums over markers, shape (pairs,) each."""

    product: NDArray[np.float64]  # of residuals
    spread: NDArray[np.float64]
    dominance: NDArray[np.float64]
    first_dominance: NDArray[np.float64]  # dominance of the first × μ(1 − μ) of the second
    second_dominance: NDArray[np.float64]
    variance: NDArray[np.float64]  # of μ(1 − μ)
    opposite: NDArray[np.float64]  # markers without an allele in common
    expected_opposite: NDArray[np.float64]  # of them among unrelated people


class Sharing(NamedTuple):
    """Estimates for pairs, shape (pairs,) each; NaN where no marker counts."""

    kinship: NDArray[np.float64]
    k0: NDArray[np.float64]  # probability to have no allele in common by descent; estimates may leave [0, 1]
    k2: NDArray[np.float64]  # two of them

    @property
    def k1(self) -> NDArray[np.float64]:
        """Probability to have one allele in common."""
        return 1.0 - self.k0 - self.k2


def make_terms(calls: NDArray[np.int8], frequency: NDArray[np.float64], least: float) -> Terms:
    """What the sums over some markers are made of.

    Parameters
    ----------
    calls : (people, markers) int8
        0, 1, 2; negative is missing.
    frequency : (people, markers)
        ``μ``.
    least
        A marker counts where ``μ`` is above this and below one minus this.
    """
    terms = Terms(*(np.empty(calls.shape, np.float32) for _ in Terms._fields))
    _fill(calls, frequency, least, *terms)
    return terms


@jit
def _fill(
    calls: NDArray[np.int8],
    frequency: NDArray[np.float64],
    least: float,
    residual: NDArray[np.float32],
    spread: NDArray[np.float32],
    dominance: NDArray[np.float32],
    ref: NDArray[np.float32],
    alt: NDArray[np.float32],
    no_copy: NDArray[np.float32],
    two_copies: NDArray[np.float32],
) -> None:
    for i in range(calls.shape[0]):
        for v in range(calls.shape[1]):
            call, mu = calls[i, v], frequency[i, v]
            counts = call >= 0 and mu > least and mu < 1.0 - least
            mu = mu if counts else 0.0
            variance = mu * (1.0 - mu)
            coded = mu if call == 0 else (1.0 - mu if call == 2 else 0.0)
            residual[i, v] = call - 2.0 * mu if counts else 0.0
            spread[i, v] = np.sqrt(variance)
            dominance[i, v] = coded - variance if counts else 0.0
            ref[i, v] = (1.0 - mu) ** 2 if counts else 0.0
            alt[i, v] = mu * mu
            no_copy[i, v] = 1.0 if counts and call == 0 else 0.0
            two_copies[i, v] = 1.0 if counts and call == 2 else 0.0


@jit
def add_people(
    packed: NDArray[np.uint8], mean: NDArray[np.float64], fitted: NDArray[np.float32], sums: NDArray[np.float64]
) -> None:
    """Add what some markers contribute to sums over the markers that a person has a call of.

    Parameters
    ----------
    packed : (markers, row_bytes(people)) uint8
        Calls.
    mean : (markers,)
        Of each.
    fitted : (markers, people) float32
        What components predict beyond it.
    sums : (3, people) float64, added to
        Markers with a call, ``Σ 2μ(1 − μ)`` and ``Σ r⁴``. A ``μ`` outside 0 to 1 has no variance.
    """
    n_people = fitted.shape[1]
    for v in range(packed.shape[0]):
        row, fit = packed[v], fitted[v]
        for group in range(row.shape[0] // 64):
            for plane in range(4):
                first = group * 256 + plane * 64
                for j in range(max(0, min(64, n_people - first))):
                    code = (row[group * 64 + j] >> np.uint8(2 * plane)) & np.uint8(3)
                    if code != np.uint8(3):
                        expected = mean[v] + fit[first + j]
                        left = (code - expected) ** 2
                        sums[0, first + j] += 1.0
                        sums[1, first + j] += max(0.0, expected * (1.0 - 0.5 * expected))
                        sums[2, first + j] += left * left


def add_pairs(terms: Terms, i: NDArray[np.int64], j: NDArray[np.int64], sums: NDArray[np.float64]) -> None:
    """Add what some markers contribute to ``sums``, shape (8, pairs): see :class:`PairSums`.

    Parameters
    ----------
    i, j : (pairs,)
        Rows of the terms.
    """
    _add(*terms, i, j, sums)


@jit_fast
def _add(
    residual: NDArray[np.float32],
    spread: NDArray[np.float32],
    dominance: NDArray[np.float32],
    ref: NDArray[np.float32],
    alt: NDArray[np.float32],
    no_copy: NDArray[np.float32],
    two_copies: NDArray[np.float32],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    zero = np.float32(0.0)
    for k in range(i.shape[0]):
        a, b = i[k], j[k]
        product, scale, both, first, second, variance = zero, zero, zero, zero, zero, zero
        opposite, expected = zero, zero
        for v in range(residual.shape[1]):
            one, other = spread[a, v], spread[b, v]
            product += residual[a, v] * residual[b, v]
            scale += one * other
            variance += (one * one) * (other * other)
            both += dominance[a, v] * dominance[b, v]
            first += dominance[a, v] * (other * other)
            second += (one * one) * dominance[b, v]
            opposite += no_copy[a, v] * two_copies[b, v] + two_copies[a, v] * no_copy[b, v]
            expected += ref[a, v] * alt[b, v] + alt[a, v] * ref[b, v]
        sums[0, k] += product
        sums[1, k] += scale
        sums[2, k] += both
        sums[3, k] += first
        sums[4, k] += second
        sums[5, k] += variance
        sums[6, k] += opposite
        sums[7, k] += expected


def sharing(sums: PairSums, first_inbreeding: NDArray[np.float64], second_inbreeding: NDArray[np.float64]) -> Sharing:
    """Estimates from sums.

    Parameters
    ----------
    first_inbreeding, second_inbreeding : (pairs,)
        Inbreeding coefficients of the two: twice the kinship with oneself, less one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        kinship = sums.product / (4.0 * sums.spread)
        # Dominance less its mean (1 + f) μ(1 − μ), of which one part is taken off already.
        shared = (
            sums.dominance
            - second_inbreeding * sums.first_dominance
            - first_inbreeding * sums.second_dominance
            + first_inbreeding * second_inbreeding * sums.variance
        )
        k2 = shared / sums.variance
        k0 = np.where(kinship > CLOSE, sums.opposite / sums.expected_opposite, 1.0 - 4.0 * kinship + k2)
    return Sharing(kinship, k0, k2)
