"""Kinship of two people by KING-robust: exact, by counting bits.

A person's calls are two rows of bits over the markers, *homozygous* (call 0 or 2) and *raised* (call 1 or 2); a missing
call has neither. All that the estimator is made of are numbers of set bits, so it depends neither on the order of the
markers nor on which allele is counted, and is the same on every machine.

KING-robust (Manichaikul et al. 2010, 10.1093/bioinformatics/btq559, equation 11) is

    ½ − Σ (gᵢ − gⱼ)² / (4 min(Hᵢ, Hⱼ))

over the markers that both have a call of, ``H`` being the heterozygous ones among them: as PLINK 2 and Hail compute it.
Its mean is the kinship coefficient where both come from one population, and lower where they do not.

Most pairs are unrelated, which a few thousand markers tell: :mod:`allscan.kernels.kinship_screen`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit
from allscan.kernels.packing import count_ones

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PairCounts(NamedTuple):
    """What pairs of people share: numbers of markers that both have a call of, shape (pairs,) each."""

    het_het: NDArray[np.int64]  # both heterozygous
    het_hom: NDArray[np.int64]  # the first heterozygous, the second not
    hom_het: NDArray[np.int64]  # the other way round
    opposite: NDArray[np.int64]  # homozygous for different alleles: no allele by state in common
    called: NDArray[np.int64]  # all of them

    @property
    def difference(self) -> NDArray[np.int64]:
        """Sum of squared differences of the calls."""
        return self.het_hom + self.hom_het + 4 * self.opposite

    @property
    def kinship(self) -> NDArray[np.float64]:
        """KING-robust; NaN where one of the two has no heterozygous call."""
        fewer = self.het_het + np.minimum(self.het_hom, self.hom_het)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(fewer > 0, 0.5 - self.difference / (4.0 * fewer), np.nan)


def words_of(n_markers: int) -> int:
    """Words of a row of bits."""
    return -(-n_markers // 64)


@jit
def fill_planes(packed: NDArray[np.uint8], out: NDArray[np.uint64]) -> None:
    """Turn calls of markers into bits of people.

    Parameters
    ----------
    packed : (markers, row_bytes(people)) uint8
        See :mod:`allscan.kernels.packing`.
    out : (people, 2, words_of(markers)) uint64, overwritten
        Homozygous, raised.
    """
    n_people = out.shape[0]
    homozygous = np.empty(256, np.uint64)
    raised = np.empty(256, np.uint64)
    for group in range((n_people + 255) // 256):
        here = min(256, n_people - group * 256)
        for word in range(out.shape[2]):
            homozygous[:] = 0
            raised[:] = 0
            for v in range(word * 64, min(word * 64 + 64, packed.shape[0])):
                place = np.uint64(v - word * 64)
                source = packed[v, group * 64 : group * 64 + 64]
                for plane in range(4):
                    shift = np.uint8(2 * plane)
                    for j in range(64):
                        code = np.uint64(source[j] >> shift)
                        homozygous[plane * 64 + j] |= (~code & np.uint64(1)) << place
                        raised[plane * 64 + j] |= ((code ^ (code >> np.uint64(1))) & np.uint64(1)) << place
            for i in range(here):
                out[group * 256 + i, 0, word] = homozygous[i]
                out[group * 256 + i, 1, word] = raised[i]


@jit
def count_heterozygous(planes: NDArray[np.uint64], out: NDArray[np.int64]) -> None:
    """Heterozygous calls of each person, into ``out``, shape (people,)."""
    for i in range(planes.shape[0]):
        count = 0
        for w in range(planes.shape[2]):
            count += count_ones(planes[i, 1, w] & ~planes[i, 0, w])
        out[i] = count


@jit
def one_differs(h: np.uint64, r: np.uint64, other_h: np.uint64, other_r: np.uint64) -> int:
    """Markers where one of two people is heterozygous and the other is not."""
    found: int = count_ones((h ^ other_h) & (r ^ (h & (r ^ other_r))))
    return found


@jit
def count_differences(first: NDArray[np.uint64], second: NDArray[np.uint64], out: NDArray[np.int32]) -> None:
    """Markers at which people differ.

    Parameters
    ----------
    first, second : (people, 2, words) and (others, 2, words) uint64
        See :func:`fill_planes`.
    out : (2, people, others) int32, overwritten
        Markers where one is heterozygous and the other is not; where they are homozygous for different alleles.
    """
    n_words = first.shape[2]
    whole = first.shape[0] // 4 * 4
    # A row is loaded once for four others.
    for i in range(0, whole, 4):
        for j in range(second.shape[0]):
            d0, d1, d2, d3 = 0, 0, 0, 0
            o0, o1, o2, o3 = 0, 0, 0, 0
            for w in range(n_words):
                h, r = second[j, 0, w], second[j, 1, w]
                h0, r0 = first[i, 0, w], first[i, 1, w]
                h1, r1 = first[i + 1, 0, w], first[i + 1, 1, w]
                h2, r2 = first[i + 2, 0, w], first[i + 2, 1, w]
                h3, r3 = first[i + 3, 0, w], first[i + 3, 1, w]
                d0 += one_differs(h, r, h0, r0)
                d1 += one_differs(h, r, h1, r1)
                d2 += one_differs(h, r, h2, r2)
                d3 += one_differs(h, r, h3, r3)
                o0 += count_ones(h & h0 & (r ^ r0))
                o1 += count_ones(h & h1 & (r ^ r1))
                o2 += count_ones(h & h2 & (r ^ r2))
                o3 += count_ones(h & h3 & (r ^ r3))
            out[0, i, j], out[0, i + 1, j], out[0, i + 2, j], out[0, i + 3, j] = d0, d1, d2, d3
            out[1, i, j], out[1, i + 1, j], out[1, i + 2, j], out[1, i + 3, j] = o0, o1, o2, o3
    for i in range(whole, first.shape[0]):
        for j in range(second.shape[0]):
            differ, opposite = 0, 0
            for w in range(n_words):
                h, r = first[i, 0, w], first[i, 1, w]
                differ += one_differs(h, r, second[j, 0, w], second[j, 1, w])
                opposite += count_ones(h & second[j, 0, w] & (r ^ second[j, 1, w]))
            out[0, i, j], out[1, i, j] = differ, opposite


@jit
def _count_pairs(
    first: NDArray[np.uint64],
    second: NDArray[np.uint64],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    for k in range(i.shape[0]):
        a, b = i[k], j[k]
        both, one, other, opposite, called = 0, 0, 0, 0, 0
        for w in range(first.shape[2]):
            h, r = first[a, 0, w], first[a, 1, w]
            h2, r2 = second[b, 0, w], second[b, 1, w]
            het, het2 = r & ~h, r2 & ~h2
            both += count_ones(het & het2)
            one += count_ones(het & h2)
            other += count_ones(h & het2)
            opposite += count_ones(h & h2 & (r ^ r2))
            called += count_ones((h | r) & (h2 | r2))
        out[0, k] += both
        out[1, k] += one
        out[2, k] += other
        out[3, k] += opposite
        out[4, k] += called


def count_pairs(
    parts: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]], i: NDArray[np.int64], j: NDArray[np.int64]
) -> PairCounts:
    """Count what pairs share.

    Parameters
    ----------
    parts
        Planes of the first and of the second people, for some markers each.
    i, j : (pairs,)
        Rows of them.
    """
    out = np.zeros((5, len(i)), np.int64)
    for first, second in parts:
        _count_pairs(first, second, i, j, out)
    return PairCounts(*out)
