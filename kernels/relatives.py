"""Quadratic forms of genotypes over pairs of relatives: what their covariance adds to the variance of a score.

For a matrix ``E`` that is zero between families, ``gᵀEg`` is a sum over single people and over pairs within families.
The products ``g_i g_j`` are the same for all matrices, so that those of many traits, each with its own missing samples,
are one matrix product. Where a variant is held as carriers only pairs of carriers are looked at.

A missing genotype is its variant's mean ``m`` among the samples of a trait, which other traits do not share. So the
sums are given as three: ``gᵀEg = q₀ + m q₁ + m² q₂``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.association import Coding
from allscan.kernels.block import MISSING8, MISSING16, Encoding, GenotypeBlock, hard_calls, take
from allscan.kernels.jit import jit
from allscan.kernels.products import code_values
from allscan.kernels.relatedness import family_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.entries import Entries
    from allscan.kernels.relatedness import Relatedness

TILE_VARIANTS = 64
PAIRS_AT_ONCE = 8192  # their products of a tile (4 MB) stay in cache


class Relatives(NamedTuple):
    """People whose rows of ``E`` are not zero, family by family, and the pairs within families.

    The pair of the places ``a <= b`` of one family has the number ``first_pair[a] + b - a``; the first is the person
    with itself.
    """

    sample: NDArray[np.int64]  # (people,)
    place: NDArray[np.int32]  # (samples,) where each sample stands, or -1
    start: NDArray[np.int64]  # (people,) first place of the family
    stop: NDArray[np.int64]  # (people,)
    first_pair: NDArray[np.int64]  # (people,)
    one: NDArray[np.int32]  # (pairs,) place
    other: NDArray[np.int32]  # (pairs,) place, not before the first

    @property
    def n_pairs(self) -> int:
        """Pairs, among them each person with itself."""
        return len(self.one)

    def pair(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the pairs of places of the same families, in either order."""
        low = np.minimum(a, b)
        numbers: NDArray[np.int64] = self.first_pair[low] + np.maximum(a, b) - low
        return numbers


def lay_out(relatedness: Relatedness, member: NDArray[np.bool_], singled_out: NDArray[np.bool_]) -> Relatives:
    """Everybody of ``member`` with a relative among them, and those of ``singled_out``."""
    keep = member[relatedness.first] & member[relatedness.second]
    family = family_numbers(relatedness, keep)
    size = np.bincount(family[member], minlength=len(member))[family]
    chosen = np.flatnonzero(member & ((size > 1) | singled_out))
    sample = chosen[np.argsort(family[chosen], kind="stable")]
    _, first, lengths = np.unique(family[sample], return_index=True, return_counts=True)
    start, stop = np.repeat(first, lengths), np.repeat(first + lengths, lengths)
    here = np.arange(len(sample))
    partners = stop - here
    first_pair = np.cumsum(partners) - partners
    one = np.repeat(here, partners)
    place = np.full(len(member), -1, np.int32)
    place[sample] = here
    other = one + np.arange(len(one)) - first_pair[one]
    return Relatives(sample, place, start, stop, first_pair, one.astype(np.int32), other.astype(np.int32))


@jit
def _add_missing(
    samples: NDArray[np.int32],
    place: NDArray[np.int32],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    first_pair: NDArray[np.int64],
    weight: NDArray[np.float64],
    values: NDArray[np.float64],
    column: int,
    absent: NDArray[np.bool_],
    once: NDArray[np.float64],
    twice: NDArray[np.float64],
) -> None:
    """Pairs with one person, and with two people, whose genotype is missing; ``absent`` is scratch, all false."""
    for m in range(samples.shape[0]):
        if place[samples[m]] >= 0:
            absent[place[samples[m]]] = True
    for m in range(samples.shape[0]):
        a = place[samples[m]]
        if a < 0:
            continue
        for b in range(start[a], stop[a]):
            if absent[b]:
                if b >= a:
                    row = weight[first_pair[a] + b - a]
                    for k in range(weight.shape[1]):
                        twice[k] += row[k]
            elif values[b, column] != 0.0:
                low, high = min(a, b), max(a, b)
                row = weight[first_pair[low] + high - low]
                for k in range(weight.shape[1]):
                    once[k] += row[k] * values[b, column]
    for m in range(samples.shape[0]):
        if place[samples[m]] >= 0:
            absent[place[samples[m]]] = False


@jit
def _missing_of_tile(
    variants: NDArray[np.int64],
    missing_offset: NDArray[np.int64],
    missing_sample: NDArray[np.int32],
    place: NDArray[np.int32],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    first_pair: NDArray[np.int64],
    weight: NDArray[np.float64],
    values: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    absent = np.zeros(start.shape[0], np.bool_)
    for column in range(variants.shape[0]):
        v = variants[column]
        samples = missing_sample[missing_offset[v] : missing_offset[v + 1]]
        once, twice = out[1, v], out[2, v]
        _add_missing(samples, place, start, stop, first_pair, weight, values, column, absent, once, twice)


@jit
def _sum_carriers(
    variants: NDArray[np.int64],
    slot: NDArray[np.int32],
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    call: NDArray[np.uint8],
    flipped: NDArray[np.bool_],
    coded: NDArray[np.float64],
    missing_offset: NDArray[np.int64],
    missing_sample: NDArray[np.int32],
    place: NDArray[np.int32],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    first_pair: NDArray[np.int64],
    weight: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """The three sums of variants that are held as carriers; the common homozygote counts nothing."""
    values = np.zeros((start.shape[0], 1))
    absent = np.zeros(start.shape[0], np.bool_)
    for index in range(variants.shape[0]):
        v = variants[index]
        s = slot[v]
        for j in range(offset[s], offset[s + 1]):
            a = place[sample[j]]
            if a >= 0 and call[j] != 3:
                values[a, 0] = coded[2 - call[j]] - coded[2] if flipped[s] else coded[call[j]] - coded[0]
        called, once, twice = out[0, v], out[1, v], out[2, v]
        for j in range(offset[s], offset[s + 1]):
            a = place[sample[j]]
            if a < 0 or values[a, 0] == 0.0:
                continue
            for b in range(a, stop[a]):
                if values[b, 0] != 0.0:
                    row = weight[first_pair[a] + b - a]
                    product = values[a, 0] * values[b, 0]
                    for k in range(weight.shape[1]):
                        called[k] += row[k] * product
        samples = missing_sample[missing_offset[v] : missing_offset[v + 1]]
        _add_missing(samples, place, start, stop, first_pair, weight, values, 0, absent, once, twice)
        for j in range(offset[s], offset[s + 1]):
            a = place[sample[j]]
            if a >= 0:
                values[a, 0] = 0.0


def _coded(copies: NDArray[np.float64], coding: Coding) -> NDArray[np.float64]:
    if coding == Coding.DOMINANT:
        return np.minimum(copies, 1.0)
    return np.maximum(copies - 1.0, 0.0) if coding == Coding.RECESSIVE else copies


def _decode(
    block: GenotypeBlock, kind: Encoding, coding: Coding, shift: NDArray[np.float64], sample: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Coded genotypes less their shift, 0 for missing, of a block of one encoding; shape (people, variants)."""
    if kind in (Encoding.CALLS, Encoding.CARRIERS):
        calls = np.empty((block.n_variants, block.n_samples), np.int8)
        hard_calls(block, 0, block.n_variants, calls)
        # A missing call is -1, the last value, which is zero.
        return code_values(coding)[calls[:, sample].T]
    codes = block.dosage8 if kind == Encoding.DOSAGE8 else block.dosage16
    chosen = codes[:, sample].T
    values = _coded(chosen / block.steps.astype(np.float64), coding) - shift
    values[chosen == (MISSING8 if kind == Encoding.DOSAGE8 else MISSING16)] = 0.0
    return values


def quadratic_forms(
    block: GenotypeBlock,
    relatives: Relatives,
    weight: NDArray[np.float64],
    coding: Coding,
    shift: NDArray[np.float64],
    missing: Entries,
) -> NDArray[np.float64]:
    """Sums over people and pairs of relatives of the products of their genotypes.

    Parameters
    ----------
    block
        ``v`` variants × ``n`` samples.
    weight : (pairs, matrices) float64
        Of each pair in each matrix; the two places that a pair has in a matrix counted together.
    coding, shift
        What counts is ``f(g) − shift``; the shift, of shape (variants,), is that of
        :func:`~allscan.kernels.products.shifts`, or zero.
    missing
        The samples without a call.

    Returns
    -------
    (3, variants, matrices) float64
        ``q₀``, ``q₁`` and ``q₂``.
    """
    out = np.zeros((3, block.n_variants, weight.shape[1]))
    if relatives.n_pairs == 0:
        return out
    layout = (relatives.place, relatives.start, relatives.stop, relatives.first_pair)
    coded = code_values(coding)
    rare = np.flatnonzero(block.encoding == Encoding.CARRIERS)
    # A list of carriers is of use where everybody else counts nothing.
    listed = ~block.carrier_flipped[block.slot[rare]] | (shift[rare] == coded[2])
    _sum_carriers(
        rare[listed],
        block.slot,
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.carrier_flipped,
        coded,
        missing.offset,
        missing.sample,
        *layout,
        weight,
        out,
    )
    for kind in Encoding:
        rows = rare[~listed] if kind == Encoding.CARRIERS else np.flatnonzero(block.encoding == kind)
        for first in range(0, len(rows), TILE_VARIANTS):
            tile = rows[first : first + TILE_VARIANTS]
            values = _decode(take(block, tile), kind, coding, shift[tile], relatives.sample)
            for begin in range(0, relatives.n_pairs, PAIRS_AT_ONCE):
                some = slice(begin, begin + PAIRS_AT_ONCE)
                products = values[relatives.one[some]]
                products *= values[relatives.other[some]]
                out[0, tile] += products.T @ weight[some]
            _missing_of_tile(tile, missing.offset, missing.sample, *layout, weight, values, out)
    return out
