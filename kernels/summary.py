"""What a scan's p-values say as a whole: genomic inflation, quantiles, and lead variants.

p-values are held as −log10 p throughout, so that 1e-400 is as good a value as 0.05.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.beta import beta_log_quantiles
from allscan.quantiles import normal_score_of_log

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LN10 = float(np.log(10.0))

# The histogram of −log10 p that stands for values too many to hold. Bins are fine where the median lies
# (an error of one bin moves λ by 1.6e-4), finer than a pixel above, and logarithmic in the far tail.
FINE_BINS = 1 << 15  # of [0, 1)
MIDDLE_BINS = 1 << 12  # of [1, 9)
TAIL_BINS = 1 << 12  # of [9, 9 · 2^16), equal steps of the logarithm
N_BINS = FINE_BINS + MIDDLE_BINS + TAIL_BINS
_MIDDLE_END = 9.0
_MIDDLE_PER_UNIT = MIDDLE_BINS / (_MIDDLE_END - 1.0)
_TAIL_OCTAVES = 16
_TAIL_PER_OCTAVE = TAIL_BINS / _TAIL_OCTAVES


def chi_square(neg_log10_p: ArrayLike, df: int = 1) -> NDArray[np.float64]:
    """Chi-square statistic with ``df`` degrees of freedom whose upper tail has this p-value.

    Parameters
    ----------
    neg_log10_p
        −log10 of two-sided p-values, any shape; NaN stays NaN.
    df
        Degrees of freedom, 1 or 2.

    Returns
    -------
    Chi-square statistics of the same shape, exact far beyond the range of p as a float64.

    Raises
    ------
    ValueError
        If ``df`` is neither 1 nor 2.
    """
    y = np.asarray(neg_log10_p, dtype=np.float64)
    if df == 1:
        # Half the p-value in the lower tail of the normal, inverted from its logarithm.
        z = normal_score_of_log((-y * LN10 - np.log(2.0)).ravel()).reshape(y.shape)
        return np.asarray(z * z)
    if df == 2:
        return np.asarray(2.0 * LN10 * y)
    raise ValueError(f"df is {df}; 1 and 2 are known")


def inflation_of_median(median_neg_log10_p: ArrayLike, df: int = 1) -> NDArray[np.float64]:
    """Genomic inflation λ of scans whose median −log10 p are these, any shape; NaN where that is NaN."""
    return np.asarray(chi_square(median_neg_log10_p, df) / _median_chi_square(df))


@functools.cache
def _median_chi_square(df: int) -> float:
    return float(chi_square(-np.log10(0.5), df))


def genomic_inflation(neg_log10_p: NDArray[np.floating], df: int = 1) -> float:
    """Genomic inflation λ: the median chi-square statistic over its expectation.

    Parameters
    ----------
    neg_log10_p
        −log10 p, shape (variants,); NaN is left out.
    df
        Degrees of freedom of the test, 1 or 2.

    Returns
    -------
    λ, or NaN when no value is finite.

    References
    ----------
    Devlin B, Roeder K. Genomic control for association studies. Biometrics 1999;55:997–1004.
    https://doi.org/10.1111/j.0006-341X.1999.00997.x
    """
    values = np.asarray(neg_log10_p)[np.isfinite(neg_log10_p)]
    if not len(values):
        return float("nan")
    return float(inflation_of_median(np.median(values.astype(np.float64)), df))


def histogram_bin(neg_log10_p: NDArray[np.floating]) -> NDArray[np.int64]:
    """Bin of each finite, non-negative −log10 p, shape (variants,), in 0..``N_BINS`` − 1."""
    y = np.asarray(neg_log10_p, dtype=np.float64)
    fine = y * FINE_BINS
    middle = FINE_BINS + (y - 1.0) * _MIDDLE_PER_UNIT
    bins = np.where(y < 1.0, fine, middle)
    # Few values lie there, and logarithms are slow.
    far = np.flatnonzero(y >= _MIDDLE_END)
    bins[far] = FINE_BINS + MIDDLE_BINS + np.log2(y[far] / _MIDDLE_END) * _TAIL_PER_OCTAVE
    return np.minimum(bins.astype(np.int64), N_BINS - 1)


def _bin_edges() -> NDArray[np.float64]:
    fine = np.arange(FINE_BINS) / FINE_BINS
    middle = 1.0 + np.arange(MIDDLE_BINS) / _MIDDLE_PER_UNIT
    tail = _MIDDLE_END * 2.0 ** (np.arange(TAIL_BINS + 1) / _TAIL_PER_OCTAVE)
    return np.concatenate([fine, middle, tail])


BIN_EDGES = _bin_edges()
"""Edges of the histogram's bins, shape (``N_BINS`` + 1,), increasing."""


def value_at_rank(histogram: NDArray[np.integer], rank: ArrayLike) -> NDArray[np.float64]:
    """−log10 p of the variant of this rank, 1 being the most significant, read off a histogram.

    Parameters
    ----------
    histogram
        Counts, shape (``N_BINS``,), fewer than 2³² in all where they are uint32.
    rank
        Ranks from 1 to the number of variants, any shape; fractions lie between two variants.

    Returns
    -------
    Values of the same shape, wrong by at most the width of the bin that each falls into.
    """
    histogram = np.asarray(histogram)
    cumulative = np.cumsum(histogram, dtype=np.promote_types(histogram.dtype, np.uint32))
    # The variant of rank r fills [total - r, total - r + 1) of the ascending order; its middle stands for it.
    target = cumulative[-1] - np.asarray(rank, dtype=np.float64) + 0.5
    # In the counts' own type: NumPy would make all of them floats to compare them with floats.
    whole = np.floor(target).astype(cumulative.dtype)
    where = np.minimum(np.searchsorted(cumulative, whole, side="right"), N_BINS - 1)
    counts = histogram[where]
    below = cumulative[where] - counts
    fraction = np.clip((target - below) / np.maximum(counts, 1), 0.0, 1.0)
    return np.asarray(BIN_EDGES[where] + fraction * (BIN_EDGES[where + 1] - BIN_EDGES[where]))


def median_ranks(n: int) -> NDArray[np.int64]:
    """The two ranks whose mean value is the median of ``n`` variants, shape (2,); with an odd count the same twice."""
    return np.array([(n + 1) // 2, n // 2 + 1])


def median_of_histogram(histogram: NDArray[np.integer]) -> float:
    """Median −log10 p of a histogram, shape (``N_BINS``,); NaN when it is empty."""
    total = int(np.sum(histogram, dtype=np.int64))
    if total == 0:
        return float("nan")
    return float(np.mean(value_at_rank(histogram, median_ranks(total))))


def expected_neg_log10_p(rank: ArrayLike, n: int) -> NDArray[np.float64]:
    """Expected −log10 p of the ``rank``-th smallest of ``n`` uniform p-values: −log10(rank / (n + 1))."""
    return np.asarray(-np.log10(np.asarray(rank, dtype=np.float64) / (n + 1.0)))


def qq_band(rank: ArrayLike, n: int, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pointwise confidence band of a quantile–quantile plot under the null hypothesis.

    Parameters
    ----------
    rank
        Ranks from 1 (most significant) to ``n``, any shape.
    n
        Number of p-values.
    level
        Coverage at each point.

    Returns
    -------
    Lower and upper −log10 p, of the shape of ``rank``.

    Warnings
    --------
    The order statistics are those of independent tests; variants in linkage disequilibrium vary more.

    References
    ----------
    The k-th of n uniform order statistics is Beta(k, n − k + 1): Casella G, Berger RL. Statistical
    Inference, 2nd ed., example 5.4.5.
    """
    k = np.asarray(rank, dtype=np.float64)
    tail = (1.0 - level) / 2.0
    lower, upper = np.empty(k.size), np.empty(k.size)
    for level_below, out in ((1.0 - tail, lower), (tail, upper)):
        beta_log_quantiles(k.ravel(), n - k.ravel() + 1.0, level_below, out)
        out /= -LN10
    return lower.reshape(k.shape), upper.reshape(k.shape)


class Clumps(NamedTuple):
    """Lead variants, most significant first."""

    lead: NDArray[np.int64]  # (leads,) index of each lead in the input
    members: NDArray[np.int64]  # (leads,) variants assigned to the lead, itself included


def clump(
    contig: NDArray[np.integer],
    position: NDArray[np.integer],
    neg_log10_p: NDArray[np.floating],
    window: int,
) -> Clumps:
    """Distance-based clumping: keep the most significant variant, set aside its neighbours, repeat.

    Parameters
    ----------
    contig
        Contig numbers, shape (variants,), in any order.
    position
        Positions in base pairs, shape (variants,).
    neg_log10_p
        −log10 p, shape (variants,), finite.
    window
        Variants at most this many base pairs from a lead belong to it.

    Returns
    -------
    The leads. Of equally significant variants the first by contig, position and input order leads.
    """
    n = len(position)
    order = np.lexsort((np.arange(n), position, contig))
    contigs = np.asarray(contig)[order]
    positions = np.asarray(position, dtype=np.int64)[order]
    y = np.asarray(neg_log10_p, dtype=np.float64)[order]
    starts = np.searchsorted(contigs, contigs, side="left")
    ends = np.searchsorted(contigs, contigs, side="right")
    taken = np.zeros(n, dtype=bool)
    leads: list[int] = []
    members: list[int] = []
    for candidate in np.argsort(-y, kind="stable"):
        if taken[candidate]:
            continue
        first, last = starts[candidate], ends[candidate]
        here = positions[first:last]
        low = first + np.searchsorted(here, positions[candidate] - window, side="left")
        high = first + np.searchsorted(here, positions[candidate] + window, side="right")
        members.append(int(np.count_nonzero(~taken[low:high])))
        taken[low:high] = True
        leads.append(int(order[candidate]))
    return Clumps(np.array(leads, dtype=np.int64), np.array(members, dtype=np.int64))
