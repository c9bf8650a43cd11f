"""The exact test of Hardy-Weinberg equilibrium, in log space."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Two heterozygote counts on either side of the mode can be equally likely; the logarithms of their
# probabilities then differ by rounding of lgamma, which grows with the sample size (1e-8 at a million).
TIE_TOLERANCE = 1e-7
NEGLIGIBLE = 1e-18  # of a sum: terms fall at least geometrically, so what follows is below rounding


@jit
def _log_probability(n_het: int, n_rare: int, n_people: int) -> float:
    """ln P(n_het heterozygotes | n_rare copies of the rarer allele), up to a constant of the two totals."""
    hom_rare = (n_rare - n_het) // 2
    hom_common = n_people - n_het - hom_rare
    return (
        n_het * math.log(2.0) - math.lgamma(n_het + 1.0) - math.lgamma(hom_rare + 1.0) - math.lgamma(hom_common + 1.0)
    )


@jit
def _upper_tail(n_het: int, n_rare: int, n_people: int) -> float:
    """Sum of P(k) / P(n_het) over k = n_het, n_het + 2, …"""
    hom_rare = (n_rare - n_het) // 2
    hom_common = n_people - n_het - hom_rare
    term = 1.0
    total = 1.0
    while hom_rare > 0:
        term *= 4.0 * hom_rare * hom_common / ((n_het + 1.0) * (n_het + 2.0))
        total += term
        n_het += 2
        hom_rare -= 1
        hom_common -= 1
        if term < NEGLIGIBLE * total:
            break
    return total


@jit
def _lower_tail(n_het: int, n_rare: int, n_people: int) -> float:
    """Sum of P(k) / P(n_het) over k = n_het, n_het - 2, …"""
    hom_rare = (n_rare - n_het) // 2
    hom_common = n_people - n_het - hom_rare
    term = 1.0
    total = 1.0
    while n_het > 1:
        term *= n_het * (n_het - 1.0) / (4.0 * (hom_rare + 1.0) * (hom_common + 1.0))
        total += term
        n_het -= 2
        hom_rare += 1
        hom_common += 1
        if term < NEGLIGIBLE * total:
            break
    return total


@jit
def _neg_log10_p(n_hom_ref: int, n_het: int, n_hom_alt: int) -> float:
    n_people = n_hom_ref + n_het + n_hom_alt
    n_rare = 2 * min(n_hom_ref, n_hom_alt) + n_het
    if n_people == 0:
        return math.nan
    parity = n_rare % 2
    # The most likely count of the right parity: P rises up to the first k whose next term is not larger.
    mode = int(n_rare * (2.0 * n_people - n_rare) / (2.0 * n_people))
    mode = min(max(mode - (mode - parity) % 2, parity), n_rare)
    while mode + 2 <= n_rare and _log_probability(mode + 2, n_rare, n_people) > _log_probability(
        mode, n_rare, n_people
    ):
        mode += 2
    while mode - 2 >= parity and _log_probability(mode - 2, n_rare, n_people) > _log_probability(
        mode, n_rare, n_people
    ):
        mode -= 2

    observed = _log_probability(n_het, n_rare, n_people)
    limit = observed + TIE_TOLERANCE
    if _log_probability(mode, n_rare, n_people) <= limit:
        return 0.0
    # Counts no more likely than the observed one: its own tail, and the tail of the other side from the
    # first count that is not above the limit, found by bisection because P falls away from the mode.
    if n_het < mode:
        tails = _lower_tail(n_het, n_rare, n_people)
        low, high = mode, n_rare + 2  # P(low) is above the limit, high is past the end or below it
        while high - low > 2:
            middle = low + (high - low) // 4 * 2
            if _log_probability(middle, n_rare, n_people) > limit:
                low = middle
            else:
                high = middle
        if high <= n_rare:
            relative = math.exp(_log_probability(high, n_rare, n_people) - observed)
            tails += relative * _upper_tail(high, n_rare, n_people)
    else:
        tails = _upper_tail(n_het, n_rare, n_people)
        low, high = parity - 2, mode
        while high - low > 2:
            middle = low + (high - low) // 4 * 2
            if _log_probability(middle, n_rare, n_people) > limit:
                high = middle
            else:
                low = middle
        if low >= parity:
            relative = math.exp(_log_probability(low, n_rare, n_people) - observed)
            tails += relative * _lower_tail(low, n_rare, n_people)

    # P(n_het) itself, relative to the sum over all counts, which is taken from the mode.
    all_counts = _lower_tail(mode, n_rare, n_people) + _upper_tail(mode, n_rare, n_people) - 1.0
    log_p = observed - _log_probability(mode, n_rare, n_people) + math.log(tails) - math.log(all_counts)
    return max(0.0, -log_p / math.log(10.0))


@jit
def hwe_neg_log10_p(
    n_hom_ref: NDArray[np.int64],
    n_het: NDArray[np.int64],
    n_hom_alt: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Exact test of Hardy-Weinberg equilibrium, −log10 p (without mid-p correction).

    p is the probability, given the allele counts, of a number of heterozygotes that is no more likely
    than the observed one. Nothing underflows: p = 1e-5000 is 5000.

    Parameters
    ----------
    n_hom_ref, n_het, n_hom_alt : (variants,) int64
        Samples with each genotype.
    out : (variants,) float64, overwritten
        NaN where nobody has a genotype.

    References
    ----------
    Wigginton, Cutler and Abecasis 2005, doi:10.1086/429864; the recurrences are theirs.
    """
    for v in range(out.shape[0]):
        out[v] = _neg_log10_p(n_hom_ref[v], n_het[v], n_hom_alt[v])
