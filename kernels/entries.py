"""Sums over listed samples: the carriers of rare variants, and the samples without a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.block import MISSING8, MISSING16, GenotypeBlock
from allscan.kernels.jit import intrinsic, jit
from allscan.kernels.lookup import STRIP_ROWS
from allscan.kernels.packing import GROUP, trailing_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.panel import Panel
    from allscan.kernels.subsets import Subsets


class Entries(NamedTuple):
    """For each variant a list of samples."""

    offset: NDArray[np.int64]  # (variants + 1,)
    sample: NDArray[np.int32]  # (entries,) increasing within a variant


LEAST_ROWS = 2 * STRIP_ROWS
"""Panel rows of a strip, at least: a chunk of them fits the second-level cache."""
ENTRIES_OF_STRIP = 24
"""Entries of a variant in a strip, about: to begin another list costs as much as some entries do."""

add_entries = intrinsic("add_entries")


@jit
def _sum_entries(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    weight: NDArray[np.float64],
    data: NDArray[np.floating[Any]],
    subsets_of_sample: NDArray[np.int64],
    subset: NDArray[np.int32],
    rows: int,
    out: NDArray[np.float64],
    subset_out: NDArray[np.float64],
) -> float:
    """Strip by strip, so that the panel rows of a strip stay in cache for all variants.

    The returned number has no meaning: it keeps the compiler from leaving out the reading ahead.
    """
    n_variants = offset.shape[0] - 1
    n_chunks, n_rows, lanes = data.shape
    subset_chunks = subset_out.shape[2]
    has_subsets = subset_out.shape[0] > 0
    flat, flat_out, flat_subsets = data.reshape(-1), out.reshape(-1), subset_out.reshape(-1)
    begin, end = np.empty(n_variants, np.int64), np.empty(n_variants, np.int64)
    for v in range(n_variants):
        end[v] = offset[v]
    ahead = 0.0
    for strip_end in range(rows, n_rows + rows, rows):
        inside = 0
        for v in range(n_variants):
            j = end[v]
            begin[v] = j
            while j < offset[v + 1] and sample[j] < strip_end:
                j += 1
            end[v] = j
            inside += j - begin[v]
        for chunk in range(n_chunks):
            at = chunk * n_rows * lanes
            if inside > rows // 4:
                # Memory is read fast in its own order, and slowly in that of the entries.
                for row in range(strip_end - rows, min(strip_end, n_rows)):
                    ahead += flat[at + row * lanes]
            for v in range(n_variants):
                to = (v * n_chunks + chunk) * lanes
                if begin[v] < end[v]:
                    add_entries(flat_out, to, flat, at, sample, weight, begin[v], end[v])
        if not has_subsets:
            continue
        for v in range(n_variants):
            for j in range(begin[v], end[v]):
                i = sample[j]
                for m in range(subsets_of_sample[i], subsets_of_sample[i + 1]):
                    for chunk in range(subset_chunks):
                        to = ((subset[m] * n_variants + v) * subset_chunks + chunk) * lanes
                        at = chunk * n_rows * lanes
                        add_entries(flat_subsets, to, flat, at, sample, weight, j, j + 1)
    return ahead


def sum_entries(
    entries: Entries,
    weight: NDArray[np.float64],
    panel: Panel,
    subsets: Subsets,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted sums of the panel's rows over the listed samples.

    Parameters
    ----------
    entries
        Samples of each variant.
    weight : (entries,) float64

    Returns
    -------
    sums : (variants, columns) float64
    subset_sums : (subsets, variants, columns of subsets) float64
        The same over the listed samples that are in each subset.
    """
    v = len(entries.offset) - 1
    chunks, n_rows, lanes = panel.data.shape
    strips = max(1, len(entries.sample) // max(1, v * ENTRIES_OF_STRIP))
    out = np.zeros((v, chunks, lanes))
    subset_out = np.zeros((subsets.n_subsets, v, -(-subsets.n_columns // lanes), lanes))
    _sum_entries(
        entries.offset,
        entries.sample,
        weight,
        panel.data,
        subsets.of_sample_start,
        subsets.of_sample,
        max(LEAST_ROWS, GROUP * -(-n_rows // (GROUP * strips))),
        out,
        subset_out,
    )
    return (
        out.reshape(v, chunks * lanes)[:, : panel.n_columns],
        subset_out.reshape(subsets.n_subsets, v, subset_out.shape[2] * lanes)[:, :, : subsets.n_columns],
    )


@jit
def _missing_in_packed(words: NDArray[np.uint64], found: NDArray[np.int32]) -> int:
    """Samples without a call of a packed row, ascending."""
    n = 0
    low = np.uint64(0x5555555555555555)
    for group in range(words.shape[0] // 8):
        begin = n
        for w in range(8):
            word = words[group * 8 + w]
            both = word & (word >> np.uint64(1)) & low
            while both:
                rest = both & (both - np.uint64(1))
                bit = trailing_zeros(both)
                # Byte j of a group holds the samples j, j + 64, j + 128 and j + 192.
                found[n] = group * 256 + 64 * ((bit & 7) >> 1) + w * 8 + (bit >> 3)
                n += 1
                both = rest
        for i in range(begin + 1, n):
            value = found[i]
            j = i
            while j > begin and found[j - 1] > value:
                found[j] = found[j - 1]
                j -= 1
            found[j] = value
    return n


@jit
def _list_missing(
    encoding: NDArray[np.uint8],
    slot: NDArray[np.int32],
    words: NDArray[np.uint64],
    carrier_offset: NDArray[np.int64],
    carrier_sample: NDArray[np.int32],
    carrier_call: NDArray[np.uint8],
    dosage8: NDArray[np.uint8],
    dosage16: NDArray[np.uint16],
    buffer: NDArray[np.int32],
    offset: NDArray[np.int64],
) -> NDArray[np.int32]:
    room = 1024
    out = np.empty(room, np.int32)
    total = 0
    for v in range(encoding.shape[0]):
        s = slot[v]
        n = 0
        if encoding[v] == 0:
            n = _missing_in_packed(words[s], buffer)
        elif encoding[v] == 1:
            for j in range(carrier_offset[s], carrier_offset[s + 1]):
                if carrier_call[j] == 3:
                    buffer[n] = carrier_sample[j]
                    n += 1
        elif encoding[v] == 2:
            for i in range(dosage8.shape[1]):
                if dosage8[s, i] == MISSING8:
                    buffer[n] = i
                    n += 1
        else:
            for i in range(dosage16.shape[1]):
                if dosage16[s, i] == MISSING16:
                    buffer[n] = i
                    n += 1
        if total + n > room:
            room = 2 * (total + n)
            grown = np.empty(room, np.int32)
            for j in range(total):
                grown[j] = out[j]
            out = grown
        for j in range(n):
            out[total + j] = buffer[j]
        total += n
        offset[v + 1] = total
    return out[:total]


def missing_entries(block: GenotypeBlock) -> Entries:
    """List the missing genotypes of a block."""
    offset = np.zeros(block.n_variants + 1, np.int64)
    sample = _list_missing(
        block.encoding,
        block.slot,
        block.calls.view(np.uint64),
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.dosage8,
        block.dosage16,
        np.empty(block.n_samples + GROUP, np.int32),
        offset,
    )
    return Entries(offset, sample)
