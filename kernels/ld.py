"""Correlation between calls, and pruning by it: exact, by counting bits.

A marker's calls are two rows of bits over the people: *homozygous* (call 0 or 2) and *raised* (call 1 or 2); a missing
call has neither. With calls taken as −1, 0 and 1, all sums that a correlation is made of are numbers of set bits. They
are whole numbers, so whether r² is above a bound depends neither on the order of people nor on the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit
from allscan.kernels.packing import count_ones

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_PEOPLE = 1 << 15
"""Sums of fourth powers of their number must fit 63 bits."""
KEPT, CORRELATED, IDENTICAL = 0, 1, 2
"""What becomes of a marker."""
_WORDS = 8  # of a vector register: rows are filled up to whole ones


class LdMarkers(NamedTuple):
    """Calls of some people, as bits."""

    planes: NDArray[np.uint64]  # (markers, 2, words) homozygous, raised
    totals: NDArray[np.int64]  # (markers, 3) people called, and sums of call − 1 and of its square

    @property
    def n_markers(self) -> int:
        """Number of markers."""
        return len(self.totals)


def plane_words(n_people: int) -> int:
    """Words of a row of bits."""
    return -(-n_people // (64 * _WORDS)) * _WORDS


def no_ld_markers(n_people: int) -> LdMarkers:
    """None at all."""
    return LdMarkers(np.empty((0, 2, plane_words(n_people)), np.uint64), np.empty((0, 3), np.int64))


def ld_markers(calls: NDArray[np.int8], people: NDArray[np.int64]) -> LdMarkers:
    """Bits of the calls of some people.

    Parameters
    ----------
    calls : (markers, samples) int8
        0, 1, 2; negative is missing.
    people : (people,) int64
        Columns of ``calls``, at most :data:`MOST_PEOPLE`.
    """
    assert len(people) <= MOST_PEOPLE
    markers = LdMarkers(
        np.zeros((len(calls), 2, plane_words(len(people))), np.uint64), np.zeros((len(calls), 3), np.int64)
    )
    _fill(calls, people, markers.planes, markers.totals)
    return markers


def join(parts: list[LdMarkers]) -> LdMarkers:
    """Markers of the same people, one after the other."""
    return LdMarkers(np.concatenate([part.planes for part in parts]), np.concatenate([part.totals for part in parts]))


@jit
def _fill(
    calls: NDArray[np.int8], people: NDArray[np.int64], planes: NDArray[np.uint64], totals: NDArray[np.int64]
) -> None:
    for v in range(calls.shape[0]):
        zeros = 0
        ones = 0
        twos = 0
        for first in range(0, people.shape[0], 64):
            homozygous = np.uint64(0)
            raised = np.uint64(0)
            for j in range(first, min(first + 64, people.shape[0])):
                call = calls[v, people[j]]
                bit = np.uint64(1) << np.uint64(j - first)
                if call == 0 or call == 2:
                    homozygous |= bit
                if call > 0:
                    raised |= bit
            planes[v, 0, first // 64] = homozygous
            planes[v, 1, first // 64] = raised
            both = count_ones(homozygous & raised)
            twos += both
            zeros += count_ones(homozygous) - both
            ones += count_ones(raised) - both
        totals[v, 0] = zeros + ones + twos
        totals[v, 1] = twos - zeros
        totals[v, 2] = twos + zeros


@jit
def _dot(planes: NDArray[np.uint64], a: int, b: int) -> int:
    """Sum of products of two markers' calls."""
    both = 0
    opposite = 0
    for w in range(planes.shape[2]):
        homozygous = planes[a, 0, w] & planes[b, 0, w]
        both += count_ones(homozygous)
        opposite += count_ones(homozygous & (planes[a, 1, w] ^ planes[b, 1, w]))
    return both - 2 * opposite


@jit
def _sums_where_called(planes: NDArray[np.uint64], a: int, b: int) -> tuple[int, int, int]:
    """People with both calls, and sums of ``a``'s calls and of their squares over them."""
    people = 0
    squares = 0
    twos = 0
    for w in range(planes.shape[2]):
        called = planes[b, 0, w] | planes[b, 1, w]
        homozygous = planes[a, 0, w] & called
        people += count_ones((planes[a, 0, w] | planes[a, 1, w]) & called)
        squares += count_ones(homozygous)
        twos += count_ones(homozygous & planes[a, 1, w])
    return people, 2 * twos - squares, squares


@jit
def _compare(
    planes: NDArray[np.uint64], totals: NDArray[np.int64], n_people: int, a: int, b: int, most_r2: float
) -> int:
    """``KEPT`` where r² over the people with both calls is at most ``most_r2``, or not defined."""
    people, sum_a, squares_a = totals[a, 0], totals[a, 1], totals[a, 2]
    sum_b, squares_b = totals[b, 1], totals[b, 2]
    if totals[b, 0] < n_people:
        people, sum_a, squares_a = _sums_where_called(planes, a, b)
    if totals[a, 0] < n_people:
        people, sum_b, squares_b = _sums_where_called(planes, b, a)
    covariance = people * _dot(planes, a, b) - sum_a * sum_b
    squared = covariance * covariance
    variances = (people * squares_a - sum_a * sum_a) * (people * squares_b - sum_b * sum_b)
    if variances == 0:
        return 0
    if squared == variances:
        return 2
    return 1 if float(squared) > most_r2 * float(variances) else 0


@jit
def _prune(
    planes: NDArray[np.uint64],
    totals: NDArray[np.int64],
    n_people: int,
    frequency: NDArray[np.float64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    most_r2: float,
    unchecked: NDArray[np.int64],
    fate: NDArray[np.uint8],
) -> None:
    for k in range(starts.shape[0]):
        start, end = starts[k], ends[k]
        again = True
        while again:
            again = False
            for a in range(start, end):
                if fate[a] != 0:
                    continue
                b = max(unchecked[a], a + 1)
                while b < end:
                    if fate[b] == 0:
                        found = _compare(planes, totals, n_people, a, b, most_r2)
                        if found != 0:
                            again = True
                            if frequency[a] < frequency[b]:
                                fate[a] = found
                            else:
                                fate[b] = found
                            break
                    b += 1
                unchecked[a] = b


def prune_windows(
    markers: LdMarkers,
    n_people: int,
    frequency: NDArray[np.float64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    most_r2: float,
    unchecked: NDArray[np.int64],
    fate: NDArray[np.uint8],
) -> None:
    """Prune markers window by window, by the rule of PLINK 2's ``--indep-pairwise`` with a step of one marker.

    In a window the markers take turns, in order, until a round of turns removes nothing: a marker is compared with the
    ones behind it, from the first that it has not been compared with, until one has r² above ``most_r2``, or 1. Of the
    two the one with the lower minor allele frequency goes, the later one where they are equal, and the turn is over.
    Afterwards no two markers of a window have such an r².

    Parameters
    ----------
    markers
        Of one chromosome, in order.
    n_people
        People of their rows.
    frequency : (markers,) float64
        Minor allele frequency.
    starts, ends : (windows,) int64
        First marker of a window, and one past its last; both ascend.
    most_r2
        Bound on r², over the people with both calls.
    unchecked : (markers,) int64, changed
        First marker that each has not been compared with; 0 at first.
    fate : (markers,) uint8, changed
        ``KEPT`` at first; ``CORRELATED`` or ``IDENTICAL`` of those that went.
    """
    _prune(markers.planes, markers.totals, n_people, frequency, starts, ends, most_r2, unchecked, fate)
