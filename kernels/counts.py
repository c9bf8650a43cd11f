"""Genotype counts by sample set: from packed calls by counting bits, from carriers by walking them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.block import MISSING8, MISSING16, GenotypeBlock
from allscan.kernels.jit import intrinsic, jit
from allscan.kernels.packing import count_ones, pack_mask, row_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SampleSets(NamedTuple):
    """Sets of samples within which genotypes are counted: one for each pattern of missing traits."""

    member: NDArray[np.bool_]  # (sets, samples)
    packed: NDArray[np.uint8]  # (sets, row_bytes) the same, laid out like packed calls
    size: NDArray[np.int64]  # (sets,)


class GenotypeCounts(NamedTuple):
    """What the samples of each set carry; every array has shape (variants, sets).

    A dosage counts as the nearest call in ``n_het`` and ``n_hom_alt``, and exactly in the sums.
    """

    n_missing: NDArray[np.int32]
    n_het: NDArray[np.int32]
    n_hom_alt: NDArray[np.int32]
    dosage_sum: NDArray[np.float64]  # of copies of ALT, called samples
    dosage_sum_sq: NDArray[np.float64]
    size: NDArray[np.int64]  # (sets,) samples of each set


def sample_sets(member: NDArray[np.bool_]) -> SampleSets:
    """Prepare sample sets, ``member`` of shape (sets, samples)."""
    packed = np.empty((len(member), row_bytes(member.shape[1])), np.uint8)
    for k in range(len(member)):
        pack_mask(member[k], packed[k])
    return SampleSets(member, packed, member.sum(axis=1, dtype=np.int64))


count_calls = intrinsic("count_calls")
load_long = intrinsic("load_long")

_LOWEST = np.uint64(0x0101010101010101)


@jit
def _count_codes(calls: NDArray[np.uint8]) -> tuple[int, int, int]:
    """How many calls, of a byte each, are 1, 2 and 3; eight at a time."""
    n = calls.shape[0]
    low, high, both = 0, 0, 0
    for j in range(0, n, 8):
        if n < 8:
            word = np.uint64(0)
            for k in range(n):
                word = word << np.uint64(8) | np.uint64(calls[k])
        elif j + 8 <= n:
            word = load_long(calls, j)
        else:  # the last ones: of the last eight those that were not counted
            word = load_long(calls, n - 8) >> np.uint64(8 * (j + 8 - n))
        ones, twos = word & _LOWEST, word >> np.uint64(1) & _LOWEST
        low += count_ones(ones)
        high += count_ones(twos)
        both += count_ones(ones & twos)
    return int(low - both), int(high - both), int(both)


@jit
def _count_carriers(
    samples: NDArray[np.int32],
    calls: NDArray[np.uint8],
    flipped: bool,
    member: NDArray[np.bool_],
    size: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    for k in range(member.shape[0]):
        if size[k] == member.shape[1]:  # everybody: who they are does not matter
            het, hom, missing = _count_codes(calls)
        else:
            # The three counts side by side in one number, 21 bits each.
            found = 0
            inside = member[k]
            for j in range(samples.shape[0]):
                found += int(inside[samples[j]]) << (21 * (calls[j] - 1))
            het, hom, missing = found & 0x1FFFFF, (found >> 21) & 0x1FFFFF, found >> 42
        out[k, 1] = het
        out[k, 2] = size[k] - het - hom - missing if flipped else hom
        out[k, 3] = missing


@jit
def _sum_dosages(
    codes: NDArray[np.uint16] | NDArray[np.uint8],
    missing_code: int,
    steps: int,
    member: NDArray[np.bool_],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    """Counts as above, and ``sums[set]`` = (sum, sum of squares), for one row of dosages."""
    for k in range(member.shape[0]):
        total = 0
        squares = 0.0
        het = 0
        hom = 0
        missing = 0
        for i in range(codes.shape[0]):
            if member[k, i]:
                code = int(codes[i])
                if code == missing_code:
                    missing += 1
                else:
                    total += code
                    squares += float(code * code)
                    if 2 * code >= 3 * steps:
                        hom += 1
                    elif 2 * code >= steps:
                        het += 1
        counts[k, 1] = het
        counts[k, 2] = hom
        counts[k, 3] = missing
        sums[k, 0] = total / steps
        sums[k, 1] = squares / (float(steps) * steps)


@jit
def _count_block(
    encoding: NDArray[np.uint8],
    slot: NDArray[np.int32],
    steps: NDArray[np.uint16],
    words: NDArray[np.uint64],
    masks: NDArray[np.uint64],
    carrier_offset: NDArray[np.int64],
    carrier_sample: NDArray[np.int32],
    carrier_call: NDArray[np.uint8],
    carrier_flipped: NDArray[np.bool_],
    dosage8: NDArray[np.uint8],
    dosage16: NDArray[np.uint16],
    member: NDArray[np.bool_],
    size: NDArray[np.int64],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    for v in range(encoding.shape[0]):
        s = slot[v]
        if encoding[v] == 2:
            _sum_dosages(dosage8[s], MISSING8, int(steps[v]), member, counts[v], sums[v])
            continue
        if encoding[v] == 3:
            _sum_dosages(dosage16[s], MISSING16, int(steps[v]), member, counts[v], sums[v])
            continue
        if encoding[v] == 0:
            for k in range(size.shape[0]):
                count_calls(words[s], masks[k], counts[v, k])
        else:
            a, b = carrier_offset[s], carrier_offset[s + 1]
            _count_carriers(carrier_sample[a:b], carrier_call[a:b], carrier_flipped[s], member, size, counts[v])
        for k in range(size.shape[0]):
            sums[v, k, 0] = counts[v, k, 1] + 2.0 * counts[v, k, 2]
            sums[v, k, 1] = counts[v, k, 1] + 4.0 * counts[v, k, 2]


def count_genotypes(block: GenotypeBlock, sets: SampleSets) -> GenotypeCounts:
    """Count calls, missing calls and allele copies in each sample set."""
    v, k = block.n_variants, len(sets.size)
    counts = np.zeros((v, k, 4), np.int64)
    sums = np.zeros((v, k, 2))
    _count_block(
        block.encoding,
        block.slot,
        block.steps,
        block.calls.view(np.uint64),
        sets.packed.view(np.uint64),
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.carrier_flipped,
        block.dosage8,
        block.dosage16,
        sets.member,
        sets.size,
        counts,
        sums,
    )
    return GenotypeCounts(
        counts[:, :, 3].astype(np.int32),
        counts[:, :, 1].astype(np.int32),
        counts[:, :, 2].astype(np.int32),
        np.ascontiguousarray(sums[:, :, 0]),
        np.ascontiguousarray(sums[:, :, 1]),
        sets.size,
    )


@jit
def _hide_packed_hets(row: NDArray[np.uint8], mask: NDArray[np.uint8]) -> int:
    hidden = 0
    for b in range(row.shape[0]):
        low = row[b] & mask[b] & np.uint8(0x55)
        high = (row[b] >> np.uint8(1)) & mask[b] & np.uint8(0x55)
        het = low & (high ^ np.uint8(0x55))
        if het:
            hidden += count_ones(np.uint64(het))
            row[b] |= het << np.uint8(1)
    return hidden


def hide_heterozygotes(block: GenotypeBlock, males: SampleSets) -> tuple[GenotypeBlock, int]:
    """A copy of the block in which heterozygous calls of ``males`` (one set) are missing, and their number.

    For chromosome X outside the pseudoautosomal regions and chromosome Y, where a male has one allele.
    Dosages are left alone: an uncertain one is not a heterozygous call.
    """
    calls = block.calls.copy()
    hidden = 0
    for row in calls:
        hidden += _hide_packed_hets(row, males.packed[0])
    impossible = (block.carrier_call == 1) & males.member[0][block.carrier_sample]
    carrier_call = np.where(impossible, np.uint8(3), block.carrier_call)
    return block._replace(calls=calls, carrier_call=carrier_call), hidden + int(impossible.sum())
