"""Genotype counts of each person, over variants of a category, and of each variant, over groups of people.

A packed call has a low and a high bit. Counters of three kinds (low, high, both) are added up where the bits stand:
three rows fit fields of two bits, fifteen fields of four, 255 whole bytes; only then are the fields spread over people.
It costs little more than to read the packed calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.block import MISSING8, MISSING16, Encoding, GenotypeBlock, hard_calls
from allscan.kernels.counts import count_calls
from allscan.kernels.jit import jit
from allscan.kernels.packing import pack_mask, row_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.entries import Entries

HET, HOM_ALT, MISSING = 0, 1, 2
"""What is counted of a person."""
NOT_COUNTED = 255
"""Category of a variant, and group of a person, that takes no part."""
STRIP_WORDS = 256  # of eight bytes: the counters of a strip stay in the first-level cache

_PAIRS = np.uint64(0x5555555555555555)
_FOURS = np.uint64(0x3333333333333333)
_BYTES = np.uint64(0x0F0F0F0F0F0F0F0F)


class Partition(NamedTuple):
    """People in groups that have nobody in common."""

    group: NDArray[np.uint8]  # (samples,); NOT_COUNTED: of none
    packed: NDArray[np.uint8]  # (groups, row_bytes) laid out like packed calls
    size: NDArray[np.int64]  # (groups,)


class GroupCounts(NamedTuple):
    """What the people of each group carry; every array has shape (variants, groups).

    A dosage counts as the nearest call in ``n_het`` and ``n_hom_alt``, and exactly in ``copies``.
    """

    n_missing: NDArray[np.int64]
    n_het: NDArray[np.int64]
    n_hom_alt: NDArray[np.int64]
    copies: NDArray[np.float64]  # of ALT


def partition(group: NDArray[np.integer], n_groups: int) -> Partition:
    """Prepare groups, numbered from 0 (at most 255); a negative number is none."""
    assert n_groups <= NOT_COUNTED
    of_sample = np.where(group < 0, NOT_COUNTED, group).astype(np.uint8)
    packed = np.empty((n_groups, row_bytes(len(group))), np.uint8)
    for k in range(n_groups):
        pack_mask(of_sample == k, packed[k])
    return Partition(of_sample, packed, np.bincount(of_sample, minlength=256)[:n_groups].astype(np.int64))


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
    group: NDArray[np.uint8],
    size: NDArray[np.int64],
    counts: NDArray[np.int64],
    copies: NDArray[np.float64],
) -> None:
    n_groups = size.shape[0]
    found = np.zeros((256, 4), np.int64)
    for v in range(encoding.shape[0]):
        s = slot[v]
        if encoding[v] == 0:
            for k in range(n_groups):
                count_calls(words[s], masks[k], counts[v, k])
        elif encoding[v] == 1:
            found[:n_groups] = 0
            for j in range(carrier_offset[s], carrier_offset[s + 1]):
                found[group[carrier_sample[j]], carrier_call[j]] += 1
            for k in range(n_groups):
                het, hom, missing = found[k, 1], found[k, 2], found[k, 3]
                counts[v, k, 1] = het
                counts[v, k, 2] = size[k] - het - hom - missing if carrier_flipped[s] else hom
                counts[v, k, 3] = missing
        else:
            for i in range(group.shape[0]):
                k = group[i]
                if k == 255:
                    continue
                code = int(dosage8[s, i]) if encoding[v] == 2 else int(dosage16[s, i])
                if code == (MISSING8 if encoding[v] == 2 else MISSING16):
                    counts[v, k, 3] += 1
                    continue
                copies[v, k] += code
                if 2 * code >= 3 * int(steps[v]):
                    counts[v, k, 2] += 1
                elif 2 * code >= int(steps[v]):
                    counts[v, k, 1] += 1
        for k in range(n_groups):
            if encoding[v] > 1:
                copies[v, k] /= steps[v]
            else:
                copies[v, k] = counts[v, k, 1] + 2.0 * counts[v, k, 2]


def count_groups(block: GenotypeBlock, people: Partition) -> GroupCounts:
    """Count the calls of every variant in each group."""
    v, k = block.n_variants, len(people.size)
    counts = np.zeros((v, k, 4), np.int64)
    copies = np.zeros((v, k))
    _count_block(
        block.encoding,
        block.slot,
        block.steps,
        block.calls.view(np.uint64),
        people.packed.view(np.uint64),
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.carrier_flipped,
        block.dosage8,
        block.dosage16,
        people.group,
        people.size,
        counts,
        copies,
    )
    return GroupCounts(counts[:, :, 3].copy(), counts[:, :, 1].copy(), counts[:, :, 2].copy(), copies)


@jit
def _add_three(a: NDArray[np.uint64], b: NDArray[np.uint64], c: NDArray[np.uint64], fours: NDArray[np.uint64]) -> None:
    """Add three rows to fields of four bits: those of planes 0 and 2 of counter k in ``fours[2 * k]``, others after."""
    one, two = np.uint64(1), np.uint64(2)
    for w in range(a.shape[0]):
        x, y, z = a[w], b[w], c[w]
        low = (x & _PAIRS) + (y & _PAIRS) + (z & _PAIRS)
        x1, y1, z1 = x >> one, y >> one, z >> one
        high = (x1 & _PAIRS) + (y1 & _PAIRS) + (z1 & _PAIRS)
        both = (x & x1 & _PAIRS) + (y & y1 & _PAIRS) + (z & z1 & _PAIRS)
        fours[0, w] += low & _FOURS
        fours[1, w] += (low >> two) & _FOURS
        fours[2, w] += high & _FOURS
        fours[3, w] += (high >> two) & _FOURS
        fours[4, w] += both & _FOURS
        fours[5, w] += (both >> two) & _FOURS


@jit
def _widen(fours: NDArray[np.uint64], eights: NDArray[np.uint64]) -> None:
    """Add fields of four bits to fields of eight, those of plane p of counter k in ``eights[4 * k + p]``."""
    four = np.uint64(4)
    for k in range(3):
        for parity in range(2):
            for w in range(fours.shape[1]):
                fields = fours[2 * k + parity, w]
                eights[4 * k + parity, w] += fields & _BYTES
                eights[4 * k + parity + 2, w] += (fields >> four) & _BYTES
    fours[:] = np.uint64(0)


@jit
def _spread(eights: NDArray[np.uint8], first: int, out: NDArray[np.int32]) -> None:
    """Add the bytes of a strip, (12, bytes), to the counts of people from ``first`` on; the bytes become 0."""
    n = out.shape[1]
    for group in range(eights.shape[1] // 64):
        for plane in range(4):
            begin = first + group * 256 + plane * 64
            for j in range(max(0, min(64, n - begin))):
                at = group * 64 + j
                both = np.int32(eights[8 + plane, at])
                out[0, begin + j] += np.int32(eights[plane, at]) - both
                out[1, begin + j] += np.int32(eights[4 + plane, at]) - both
                out[2, begin + j] += both
    eights[:] = np.uint8(0)


@jit
def _add_packed(words: NDArray[np.uint64], rows: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Add packed rows to ``out``, shape (3, samples)."""
    nothing = np.zeros(STRIP_WORDS, np.uint64)
    for start in range(0, words.shape[1], STRIP_WORDS):
        stop = min(start + STRIP_WORDS, words.shape[1])
        fours = np.zeros((6, stop - start), np.uint64)
        eights = np.zeros((12, stop - start), np.uint64)
        for r in range(0, rows.shape[0], 3):
            a = words[rows[r], start:stop]
            b = words[rows[r + 1], start:stop] if r + 1 < rows.shape[0] else nothing[: stop - start]
            c = words[rows[r + 2], start:stop] if r + 2 < rows.shape[0] else nothing[: stop - start]
            _add_three(a, b, c, fours)
            done = r + 3
            if done % 15 == 0:
                _widen(fours, eights)
            if done % 255 == 0:
                _spread(eights.view(np.uint8), start * 32, out)
        _widen(fours, eights)
        _spread(eights.view(np.uint8), start * 32, out)


@jit
def _add_carriers(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    call: NDArray[np.uint8],
    flipped: NDArray[np.bool_],
    rows: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    everybody = 0
    for r in rows:
        if flipped[r]:
            everybody += 1
            for j in range(offset[r], offset[r + 1]):
                i = sample[j]
                out[1, i] -= 1
                if call[j] != 2:
                    out[0 if call[j] == 1 else 2, i] += 1
        else:
            for j in range(offset[r], offset[r + 1]):
                out[call[j] - 1, sample[j]] += 1
    if everybody > 0:
        for i in range(out.shape[1]):
            out[1, i] += everybody


@jit
def _add_decoded(calls: NDArray[np.int8], out: NDArray[np.int32]) -> None:
    for v in range(calls.shape[0]):
        for i in range(calls.shape[1]):
            out[0, i] += np.int32(calls[v, i] == 1)
            out[1, i] += np.int32(calls[v, i] == 2)
            out[2, i] += np.int32(calls[v, i] < 0)


def add_persons(block: GenotypeBlock, category: NDArray[np.uint8], out: NDArray[np.int32]) -> None:
    """Count the calls of every person over the variants of each category; dosages count as the nearest call.

    Parameters
    ----------
    category : (variants,) uint8
        ``NOT_COUNTED`` of variants that are left out.
    out : (categories, 3, samples) int32, changed
        Variants at which a person is heterozygous, homozygous for ALT, and without a call.
    """
    for k in range(len(out)):
        here = category == k
        packed = block.slot[here & (block.encoding == Encoding.CALLS)]
        if len(packed):
            _add_packed(block.calls.view(np.uint64), packed, out[k])
        carriers = block.slot[here & (block.encoding == Encoding.CARRIERS)]
        if len(carriers):
            _add_carriers(
                block.carrier_offset,
                block.carrier_sample,
                block.carrier_call,
                block.carrier_flipped,
                carriers,
                out[k],
            )
        for v in np.flatnonzero(here & (block.encoding > Encoding.CARRIERS)):
            calls = np.empty((1, block.n_samples), np.int8)
            hard_calls(block, int(v), int(v) + 1, calls)
            _add_decoded(calls, out[k])


@jit
def _add_weights(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    group: NDArray[np.uint8],
    weight: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for v in range(offset.shape[0] - 1):
        for j in range(offset[v], offset[v + 1]):
            k = group[sample[j]]
            if k != 255:
                out[sample[j]] += weight[v, k]


def add_weights(
    entries: Entries, group: NDArray[np.uint8], weight: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Add to each listed person the variant's weight in that person's group.

    Parameters
    ----------
    entries
        People of each variant.
    group : (samples,) uint8
        ``NOT_COUNTED`` of who is left out.
    weight : (variants, groups) float64
    out : (samples,) float64, changed
    """
    _add_weights(entries.offset, entries.sample, group, weight, out)


@jit
def _add_heterozygotes(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    call: NDArray[np.uint8],
    rows: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    for r in rows:
        for j in range(offset[r], offset[r + 1]):
            if call[j] == 1:
                out[sample[j]] += 1


def add_heterozygotes(block: GenotypeBlock, which: NDArray[np.bool_], out: NDArray[np.int32]) -> None:
    """Count at how many of some variants each person is heterozygous; cheap where few people carry them.

    Parameters
    ----------
    which : (variants,) bool
    out : (samples,) int32, changed
    """
    carriers = block.slot[which & (block.encoding == Encoding.CARRIERS)]
    _add_heterozygotes(block.carrier_offset, block.carrier_sample, block.carrier_call, carriers, out)
    for v in np.flatnonzero(which & (block.encoding != Encoding.CARRIERS)):
        calls = np.empty((1, block.n_samples), np.int8)
        hard_calls(block, int(v), int(v) + 1, calls)
        out += calls[0] == 1
