"""Expected allele copies from stored genotype probabilities: the case that nearly every imputed file is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@jit
def diploid_dosage(
    flags: NDArray[np.uint8],
    stored: NDArray[Any],
    whole: int,
    phased: bool,
    second_allele: bool,
    slack: float,
    dosage: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> int:
    """Expected copies of one of two alleles in diploid samples, and what IMPUTE's info is made of.

    Parameters
    ----------
    flags : (samples,) uint8
        The high bit is set for a missing sample.
    stored : (2 × samples,) unsigned integers
        Unphased: probabilities of two and of one copy of the first allele. Phased: that each haplotype carries
        the first allele. In units of ``1 / whole``.
    second_allele
        Count the second allele, or else the first.
    slack
        How far probabilities may exceed 1 in all; a sample beyond that is missing.
    dosage : (samples,) float32
        Overwritten; NaN is missing.
    sums : (3,) float64
        Overwritten: called samples, sum of the dosages, sum of their posterior variances.

    Returns
    -------
    int
        Samples whose probabilities exceed 1 by more than ``slack``.
    """
    unit = 1.0 / whole
    called = 0
    wrong = 0
    total = 0.0
    variance = 0.0
    for i in range(flags.shape[0]):
        if flags[i] & 128:
            dosage[i] = np.nan
            continue
        first = stored[2 * i] * unit
        second = stored[2 * i + 1] * unit
        if phased:
            if second_allele:
                first = 1.0 - first
                second = 1.0 - second
            mean = first + second
            spread = first * (1.0 - first) + second * (1.0 - second)
        else:
            rest = 1.0 - first - second
            if rest < 0.0:
                if rest < -slack:
                    wrong += 1
                    dosage[i] = np.nan
                    continue
                rest = 0.0
            both = rest if second_allele else first
            mean = second + 2.0 * both
            spread = second + 4.0 * both - mean * mean
        dosage[i] = min(max(mean, 0.0), 2.0)
        called += 1
        total += mean
        variance += spread
    sums[0] = called
    sums[1] = total
    sums[2] = variance
    return wrong
