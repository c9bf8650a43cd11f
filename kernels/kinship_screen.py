"""Which pairs of people may be relatives: decided by a few thousand markers for most.

A pair is looked at by a random sample of the markers, by another one if it may still be related, and so on; only
relatives, and who looks like them, are compared at all markers. :func:`likely_pairs` says what that can miss.

Kinship is KING-robust (:mod:`allscan.kernels.king`) or, given the frequencies that principal components predict for
each person, PC-Relate's (:mod:`allscan.kernels.pc_relate`). The sum of that is

    Σ rᵢ rⱼ = ½ (Σ rᵢ² + Σ rⱼ² − Σ (rᵢ − rⱼ)²)

in which, with ``r`` a call less its mean and what components predict, the squared difference of the calls is the only
part that is not a product of a few numbers of each of the two. So kinship whatever the ancestries costs hardly more
than counting bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit
from allscan.kernels.king import count_differences, one_differs
from allscan.kernels.packing import count_ones

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOGETHER = 256
"""People of a tile: its rows of a sample of the markers stay in the cache."""
DIVERGENT = -0.025
"""Kinship below which two people count as of different ancestry (PC-AiR: Conomos et al. 2015, 10.1002/gepi.21896)."""


class Standing(NamedTuple):
    """People of a block after a stage of the screen; all numbers are of the markers looked at so far.

    Without ancestry ``own`` are heterozygous calls, and the rest is not looked at. With it, for the mean ``m`` of a
    marker and the residual ``r`` of a call, twice ``Σ rᵢ rⱼ`` less what the least kinship asks for is

        own_i share_j + own_j share_i + left_i · right_j − Σ (gᵢ − gⱼ)²
    """

    own: NDArray[np.float64]  # (people,) Σ (g − m)², less 2 × the least kinship × Σ 2μ(1 − μ)
    share: NDArray[np.float64]  # (people,) of the markers that have a call
    fourth: NDArray[np.float64]  # (people,) Σ r⁴
    left: NDArray[np.float64]  # (people, 2 components); none without ancestry
    right: NDArray[np.float64]


class Stage(NamedTuple):
    """Some markers, and where two blocks of people stand after them."""

    first: NDArray[np.uint64]  # (people, 2, words) of these markers alone
    second: NDArray[np.uint64]  # (others, 2, words)
    of_first: Standing
    of_second: Standing
    spread: float  # standard deviations, by the markers drawn, that a pair may fall short of the bound by


@jit
def _may_reach(
    one: float,
    four: float,
    own: float,
    other_own: float,
    cross: float,
    squares: float,
    adjusted: bool,
    least: float,
    spread: float,
) -> bool:
    """Whether a pair may reach the bound; ``one`` and ``four`` as in :func:`count_differences`."""
    difference = one + 4.0 * four
    if adjusted:
        total = cross - difference
    else:
        total = least * min(own, other_own) - difference
        # Both heterozygous; one of them, of whom it is not known which; opposite.
        both = 0.5 * (own + other_own - one)
        squares = least * least * both + max(1.0, (least - 1.0) ** 2) * one + 16.0 * four
    return total >= 0.0 or total * total <= spread * spread * squares


@jit
def _select(
    counts: NDArray[np.int32],
    first_het: NDArray[np.int64],
    second_het: NDArray[np.int64],
    own: NDArray[np.float64],
    share: NDArray[np.float64],
    fourth: NDArray[np.float64],
    left: NDArray[np.float64],
    other_own: NDArray[np.float64],
    other_share: NDArray[np.float64],
    other_fourth: NDArray[np.float64],
    right: NDArray[np.float64],
    diagonal: bool,
    least: float,
    spread: float,
    divergent: float,
    chosen: NDArray[np.int64],
    differences: NDArray[np.int32],
    first_divergent: NDArray[np.int64],
    second_divergent: NDArray[np.int64],
) -> int:
    n = 0
    adjusted = left.shape[1] > 0
    cross = np.empty(other_own.shape[0])
    for i in range(own.shape[0]):
        start = i + 1 if diagonal else 0
        if adjusted:
            for j in range(start, other_own.shape[0]):
                cross[j] = own[i] * other_share[j] + other_own[j] * share[i]
            for k in range(left.shape[1]):
                here = left[i, k]
                for j in range(start, other_own.shape[0]):
                    cross[j] += here * right[k, j]
        for j in range(start, other_own.shape[0]):
            one = float(counts[0, i, j])
            four = float(counts[1, i, j])
            if one + 4.0 * four > divergent * min(first_het[i], second_het[j]):
                first_divergent[i] += 1
                second_divergent[j] += 1
            squares = 2.0 * (fourth[i] + other_fourth[j]) if adjusted else 0.0
            if _may_reach(one, four, own[i], other_own[j], cross[j], squares, adjusted, least, spread):
                chosen[0, n] = i
                chosen[1, n] = j
                differences[0, n] = counts[0, i, j]
                differences[1, n] = counts[1, i, j]
                n += 1
    return n


@jit
def _go_on(
    first: NDArray[np.uint64],
    second: NDArray[np.uint64],
    own: NDArray[np.float64],
    share: NDArray[np.float64],
    fourth: NDArray[np.float64],
    left: NDArray[np.float64],
    other_own: NDArray[np.float64],
    other_share: NDArray[np.float64],
    other_fourth: NDArray[np.float64],
    right: NDArray[np.float64],
    least: float,
    spread: float,
    n: int,
    chosen: NDArray[np.int64],
    differences: NDArray[np.int32],
) -> int:
    """Look at more markers of the pairs that are left, and keep those that may still reach the bound."""
    adjusted = left.shape[1] > 0
    kept = 0
    for k in range(n):
        i, j = chosen[0, k], chosen[1, k]
        one, four = 0, 0
        for w in range(first.shape[2]):
            h, r = first[i, 0, w], first[i, 1, w]
            one += one_differs(h, r, second[j, 0, w], second[j, 1, w])
            four += count_ones(h & second[j, 0, w] & (r ^ second[j, 1, w]))
        one += differences[0, k]
        four += differences[1, k]
        cross, squares = 0.0, 0.0
        if adjusted:
            cross = own[i] * other_share[j] + other_own[j] * share[i]
            for c in range(left.shape[1]):
                cross += left[i, c] * right[c, j]
            squares = 2.0 * (fourth[i] + other_fourth[j])
        if _may_reach(float(one), float(four), own[i], other_own[j], cross, squares, adjusted, least, spread):
            chosen[0, kept] = i
            chosen[1, kept] = j
            differences[0, kept] = one
            differences[1, kept] = four
            kept += 1
    return kept


def likely_pairs(
    stages: list[Stage],
    het: tuple[NDArray[np.int64], NDArray[np.int64]],
    least_kinship: float,
    divergent: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    same: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of two blocks of people that may have at least a kinship.

    Parameters
    ----------
    stages
        Random samples of the markers, one after the other; pairs that cannot reach the bound by the first are not
        looked at in the second.
    het
        Heterozygous calls of the people of both blocks in the first sample, shape (people,) each.
    least_kinship
        KING-robust; where people have places among ancestries, PC-Relate's.
    divergent
        How many others each person has a kinship below :data:`DIVERGENT` with by the first sample, shape (people,)
        each: added to.
    same
        Whether the blocks are one: each pair is then looked at once.

    Returns
    -------
    Rows of the first and of the second people.

    Notes
    -----
    KING-robust is at least ``c`` where the sum over markers of ``(2 − 4c) [i heterozygous] − (gᵢ − gⱼ)²`` is not
    negative, for each of the two people, and PC-Relate's where that of ``2 rᵢ rⱼ − 2c (vᵢ + vⱼ)`` is not, with
    ``v = 2μ(1 − μ)``. The markers are a random sample, so the sum over the sample has a known mean and a variance that
    is at most the sum of squares, whatever the ancestry of the two and however the markers depend on each other: what
    may be missed is a matter of the draw alone. The squares are counted, or bounded by ``2 (Σ rᵢ⁴ + Σ rⱼ⁴)``.
    """
    first, second, of_first, of_second, _ = stages[0]
    counts = np.empty((2, min(TOGETHER, len(first)), min(TOGETHER, len(second))), np.int32)
    chosen, differences = np.empty((2, counts[0].size), np.int64), np.empty((2, counts[0].size), np.int32)
    # Kinship ≥ c is: difference ≤ 4 (½ − c) × heterozygous calls.
    least, apart = 2.0 - 4.0 * least_kinship, 2.0 - 4.0 * DIVERGENT
    found = [np.empty((2, 0), np.int64)]
    for b in range(0, len(second), TOGETHER):
        others = slice(b, b + TOGETHER)
        rights = [np.ascontiguousarray(stage.of_second.right[others].T) for stage in stages]
        for a in range(0, b + 1 if same else len(first), TOGETHER):
            people = slice(a, a + TOGETHER)
            here = counts[:, : len(first[people]), : len(second[others])]
            count_differences(first[people], second[others], here)
            n = _select(
                here,
                het[0][people],
                het[1][others],
                *_of(of_first, people)[:4],
                *_of(of_second, others)[:3],
                rights[0],
                same and a == b,
                least,
                stages[0].spread,
                apart,
                chosen,
                differences,
                divergent[0][people],
                divergent[1][others],
            )
            for stage, right in zip(stages[1:], rights[1:], strict=True):
                n = _go_on(
                    stage.first[people],
                    stage.second[others],
                    *_of(stage.of_first, people)[:4],
                    *_of(stage.of_second, others)[:3],
                    right,
                    least,
                    stage.spread,
                    n,
                    chosen,
                    differences,
                )
            found.append(chosen[:, :n] + np.array([[a], [b]]))
    i, j = np.concatenate(found, axis=1)
    return i, j


def _of(standing: Standing, people: slice) -> Standing:
    return Standing(*(column[people] for column in standing))
