"""Sums over listed samples: the carriers of rare variants, and the samples without a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.block import MISSING8, MISSING16, GenotypeBlock
from allscan.kernels.jit import intrinsic, jit
from allscan.kernels.packing import GROUP, trailing_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.panel import Panel
    from allscan.kernels.subsets import Subsets


class Entries(NamedTuple):
    """For each variant a list of samples."""

    offset: NDArray[np.int64]  # (variants + 1,)
    sample: NDArray[np.int32]  # (entries,) increasing within a variant


MOST_ROWS = 200 * GROUP
"""Panel rows of a strip, at most. Two chunks of it have 6.5 MB: cutting finer costs more than the caches save."""
ENTRIES_AT_ONCE = 32
"""Entries that are summed in the panel's own type, at most."""

add_list = intrinsic("add_list")
add_calls = intrinsic("add_calls")


@jit
def _strip_rows(n_rows: int) -> int:
    """Panel rows of a strip: whole groups of samples, strips of about one size."""
    groups, strips = -(-n_rows // GROUP), -(-n_rows // MOST_ROWS)
    return GROUP * -(-groups // strips)


@jit
def _enter_strip(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    strip_end: int,
    is_last: bool,
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
) -> None:
    """Of each list the entries ``begin:end`` that are in the next strip; before, ``end`` is that of the one before."""
    for v in range(offset.shape[0] - 1):
        j = end[v]
        begin[v] = j
        if is_last:
            j = offset[v + 1]
        while j < offset[v + 1] and sample[j] < strip_end:
            j += 1
        end[v] = j


@jit
def _sum_entries(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    weight: NDArray[np.float32],
    target: NDArray[np.int64],
    data: NDArray[np.floating[Any]],
    subsets_of_sample: NDArray[np.int64],
    subset: NDArray[np.int32],
    out: NDArray[np.float64],
    subset_out: NDArray[np.float64],
) -> None:
    """Strip by strip, so that the panel rows of a strip stay in cache for all variants.

    Where strips and lists end follows from a variant's own entries, so that its sums do not depend on its neighbours.
    """
    n_lists = offset.shape[0] - 1
    n_chunks, n_rows, lanes = data.shape
    n_variants, subset_chunks = subset_out.shape[1], subset_out.shape[2] // lanes
    has_subsets = subset_out.shape[0] > 0
    rows, size = _strip_rows(n_rows), n_rows * lanes
    flat, flat_out, flat_subsets = data.reshape(-1), out.reshape(-1), subset_out.reshape(-1)
    begin, end = np.empty(n_lists, np.int64), offset[:-1].copy()
    for strip_end in range(rows, n_rows + rows, rows):
        _enter_strip(offset, sample, strip_end, strip_end >= n_rows, begin, end)
        for chunk in range(0, n_chunks, 2):
            here, alone = chunk * size, chunk + 1 == n_chunks
            for v in range(n_lists):
                to = (target[v] * n_chunks + chunk) * lanes
                for first in range(begin[v], end[v], ENTRIES_AT_ONCE):
                    last = min(first + ENTRIES_AT_ONCE, end[v])
                    if alone:
                        add_list(flat_out, to, flat, (here,), sample, weight, first, last)
                    else:
                        add_list(flat_out, to, flat, (here, here + size), sample, weight, first, last)
        if not has_subsets:
            continue
        for v in range(n_lists):
            for j in range(begin[v], end[v]):
                i = sample[j]
                for m in range(subsets_of_sample[i], subsets_of_sample[i + 1]):
                    for chunk in range(subset_chunks):
                        to = ((subset[m] * n_variants + target[v]) * subset_chunks + chunk) * lanes
                        add_list(flat_subsets, to, flat, (chunk * size,), sample, weight, j, j + 1)


def add_entries(
    entries: Entries,
    weight: NDArray[np.float32],
    target: NDArray[np.int64],
    panel: Panel,
    subsets: Subsets,
    out: NDArray[np.float64],
    subset_out: NDArray[np.float64],
) -> None:
    """Add weighted sums of the panel's rows over the listed samples.

    Parameters
    ----------
    entries
        As many lists as there are targets.
    weight : (entries,) float32
        Small whole numbers.
    target : (lists,)
        The variant of each list.
    out : (variants, columns) float64
        Columns fill whole chunks of the panel.
    subset_out : (subsets, variants, columns of subsets) float64
        The same over the listed samples that are in each subset.
    """
    _sum_entries(
        entries.offset,
        entries.sample,
        weight,
        target,
        panel.data,
        subsets.of_sample_start,
        subsets.of_sample,
        out,
        subset_out,
    )


@jit
def _sum_carriers(
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    call: NDArray[np.uint8],
    flipped: NDArray[np.bool_],
    weights: NDArray[np.float32],
    target: NDArray[np.int64],
    data: NDArray[np.floating[Any]],
    subsets_of_sample: NDArray[np.int64],
    subset: NDArray[np.int32],
    out: NDArray[np.float64],
    subset_out: NDArray[np.float64],
    absent: NDArray[np.float64],
    subset_absent: NDArray[np.float64],
) -> None:
    """As :func:`_sum_entries`, both sums in one walk, for which rows of the panel come from memory once."""
    n_lists = offset.shape[0] - 1
    n_chunks, n_rows, lanes = data.shape
    n_variants, subset_chunks = subset_out.shape[1], subset_out.shape[2] // lanes
    has_subsets = subset_out.shape[0] > 0
    rows, size = _strip_rows(n_rows), n_rows * lanes
    flat, flat_out, flat_absent, of_call = data.reshape(-1), out.reshape(-1), absent.reshape(-1), weights.reshape(-1)
    flat_subsets, flat_subsets_absent = subset_out.reshape(-1), subset_absent.reshape(-1)
    begin, end = np.empty(n_lists, np.int64), offset[:-1].copy()
    for strip_end in range(rows, n_rows + rows, rows):
        _enter_strip(offset, sample, strip_end, strip_end >= n_rows, begin, end)
        for chunk in range(0, n_chunks, 2):
            here, alone = chunk * size, chunk + 1 == n_chunks
            for v in range(n_lists):
                to = (target[v] * n_chunks + chunk) * lanes
                own = weights.shape[1] * int(flipped[v])
                for first in range(begin[v], end[v], ENTRIES_AT_ONCE):
                    last = min(first + ENTRIES_AT_ONCE, end[v])
                    if alone:
                        add_calls(flat_out, flat_absent, to, flat, (here,), sample, call, of_call, own, first, last)
                    else:
                        both = (here, here + size)
                        add_calls(flat_out, flat_absent, to, flat, both, sample, call, of_call, own, first, last)
        if not has_subsets:
            continue
        for v in range(n_lists):
            own = weights.shape[1] * int(flipped[v])
            for j in range(begin[v], end[v]):
                i = sample[j]
                for m in range(subsets_of_sample[i], subsets_of_sample[i + 1]):
                    for chunk in range(subset_chunks):
                        to = ((subset[m] * n_variants + target[v]) * subset_chunks + chunk) * lanes
                        here = chunk * size
                        add_calls(
                            *(flat_subsets, flat_subsets_absent, to, flat, (here,)),
                            *(sample, call, of_call, own, j, j + 1),
                        )


def add_carriers(
    block: GenotypeBlock,
    weight_of: NDArray[np.float32],
    target: NDArray[np.int64],
    panel: Panel,
    subsets: Subsets,
    out: NDArray[np.float64],
    subset_out: NDArray[np.float64],
    absent: NDArray[np.float64],
    subset_absent: NDArray[np.float64],
) -> None:
    """Add sums over carriers, weighted by their calls, and sums over the samples without a call.

    Parameters
    ----------
    weight_of : (2, 4) float32
        Of the calls of carriers of ALT, and of those of REF; small whole numbers.
    target : (carrier variants,)
        Their rows in the sums.
    out, subset_out
        As of :func:`add_entries`.
    absent, subset_absent
        The same, for samples without a call, each counted once.
    """
    is_absent = np.zeros_like(weight_of)
    is_absent[:, 3] = 1.0
    _sum_carriers(
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.carrier_flipped,
        np.concatenate([weight_of, is_absent], axis=1),
        target,
        panel.data,
        subsets.of_sample_start,
        subsets.of_sample,
        out,
        subset_out,
        absent,
        subset_absent,
    )


@jit
def missing_in_packed(words: NDArray[np.uint64], some: NDArray[np.int32], found: NDArray[np.int32]) -> int:
    """Samples without a call of a packed row, ascending. ``some`` has room for the places of all words."""
    low = np.uint64(0x5555555555555555)
    n_some = 0
    for w in range(words.shape[0]):
        # Written in any case, counted if somebody has no call: no branch to guess wrong.
        some[n_some] = w
        n_some += (words[w] & (words[w] >> np.uint64(1)) & low) != 0
    n = 0
    for k in range(n_some):
        w = some[k]
        both = words[w] & (words[w] >> np.uint64(1)) & low
        # Byte j of 64 holds the samples j, j + 64, j + 128 and j + 192 of 256.
        group = w // 8 * 256
        first = group + w % 8 * 8
        while both:
            bit = trailing_zeros(both)
            both &= both - np.uint64(1)
            value = first + 64 * ((bit & 7) >> 1) + (bit >> 3)
            # Of 256 neighbours few have no call: they are sorted as they come.
            j = n
            while j > 0 and found[j - 1] > value:
                found[j] = found[j - 1]
                j -= 1
            found[j] = value
            n += 1
    return n


@jit
def _missing_in_dosages(
    codes: NDArray[np.uint16] | NDArray[np.uint8], missing_code: int, found: NDArray[np.int32]
) -> int:
    """Samples without a dosage, ascending."""
    n = 0
    for i in range(codes.shape[0]):
        if codes[i] == missing_code:
            found[n] = i
            n += 1
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
    n_samples: int,
    of_carriers: bool,
    offset: NDArray[np.int64],
) -> NDArray[np.int32]:
    some = np.empty(words.shape[1], np.int32)
    room = 1024
    out = np.empty(room, np.int32)
    total = 0
    for v in range(encoding.shape[0]):
        s = slot[v]
        first, last = 0, 0
        if encoding[v] == 1 and not of_carriers:
            offset[v + 1] = total
            continue
        if encoding[v] == 1:
            first, last = carrier_offset[s], carrier_offset[s + 1]
        # As many as there can be: of carriers all are written, and those that are missing counted.
        most = last - first if encoding[v] == 1 else n_samples + GROUP
        if total + most > room:
            room = 2 * (total + most)
            grown = np.empty(room, np.int32)
            for j in range(total):
                grown[j] = out[j]
            out = grown
        found = out[total:]
        n = 0
        if encoding[v] == 0:
            n = missing_in_packed(words[s], some, found)
        elif encoding[v] == 1:
            samples, calls = carrier_sample[first:last], carrier_call[first:last]
            for j in range(samples.shape[0]):
                found[n] = samples[j]
                n += calls[j] == 3
        elif encoding[v] == 2:
            n = _missing_in_dosages(dosage8[s], MISSING8, found)
        else:
            n = _missing_in_dosages(dosage16[s], MISSING16, found)
        total += n
        offset[v + 1] = total
    return out[:total]


def missing_entries(block: GenotypeBlock, *, of_carriers: bool = True) -> Entries:
    """List the missing genotypes of a block; without ``of_carriers`` none of variants that are held as carriers."""
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
        block.n_samples,
        of_carriers,
        offset,
    )
    return Entries(offset, sample)
