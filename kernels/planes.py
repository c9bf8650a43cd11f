"""Calls of common variants in planes of bits, which are almost as small as entropy coding makes them and quick to read.

Of three calls in Hardy-Weinberg proportions the most frequent makes up half when alleles are about equally frequent.
One bit for everybody, whether the call is another one, and one bit for each of those, which of the other two it is,
are then what Shannon allows (1.5 bits at a frequency of one half; 4 % more than that at 0.4, 13 % at 0.3). To read
them, bits of the second plane are spread to where the first one has bits, 64 calls at a time, where an entropy coder
reads symbol after symbol. People without a call are listed beside.

Planes follow the order in which packed rows (:mod:`allscan.kernels.packing`) hold calls: of two neighbouring
64-bit words of a row, bit 2 k of a plane's word is of the first one's call k, bit 2 k + 1 of the second one's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.counts import count_calls
from allscan.kernels.entries import missing_in_packed
from allscan.kernels.jit import intrinsic, jit
from allscan.kernels.packing import count_ones

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORDERS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]], np.uint8)
"""Calls by how frequent they are in a row: the most frequent one, the next, the last."""
PACKED = 0
"""Form of a row that is packed; a row in planes has the number of its order plus one."""
SLACK = 16
"""Bytes that follow the planes of a block, so that whole words can be read at their end."""
MOST_EXCESS = 1.4
"""Bits of a row in planes over its entropy, at most: stores are then 2 to 3 % larger than zstd alone makes them."""
LISTED_BITS = 12
"""What a missing call takes, roughly."""

load_long = intrinsic("load_long")
deposit_bits = intrinsic("deposit_bits")
extract_bits = intrinsic("extract_bits")

_EVEN = np.uint64(0x5555555555555555)
_ODD = np.uint64(0xAAAAAAAAAAAAAAAA)


class Planes(NamedTuple):
    """Rows of a block that are in planes."""

    form: NDArray[np.uint8]  # (rows of the block,)
    second_bytes: NDArray[np.uint32]  # (rows in planes,) of the second plane
    missing: NDArray[np.uint32]  # (rows in planes,) people without a call
    missing_sample: NDArray[np.int32]  # they, row after row, ascending
    content: NDArray[np.uint8]  # of each row the first plane, then the second one


def plane_bytes(row_bytes: int) -> int:
    """Bytes of the first plane of a row."""
    return row_bytes // 2


@jit
def _count_rows(words: NDArray[np.uint64], everybody: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
    """Calls 1, 2 and 3 of packed rows, into ``counts[:, 1:]``."""
    for row in range(words.shape[0]):
        count_calls(words[row], everybody, counts[row])


def choose_forms(words: NDArray[np.uint64], n_samples: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Forms of packed rows, and their calls of each kind, shape (rows, 4).

    A row is put in planes where they take at most :data:`MOST_EXCESS` times its entropy.
    """
    counts = np.zeros((len(words), 4), np.int64)
    _count_rows(words, np.full(words.shape[1], ~np.uint64(0)), counts)
    counts[:, 0] = n_samples - counts.sum(axis=1)
    calls = counts[:, :3]
    ranked = np.argsort(-calls, axis=1, kind="stable").astype(np.uint8)
    order = (ranked[:, None, :] == ORDERS).all(axis=2).argmax(axis=1)
    share = counts / max(n_samples, 1)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    entropy = -(share * logs).sum(axis=1)
    bits = 1 + share[:, :3].sum(axis=1) - share[:, :3].max(axis=1) + LISTED_BITS * share[:, 3]
    return np.where(bits <= MOST_EXCESS * entropy, order + 1, PACKED).astype(np.uint8), counts


@jit
def _write_row(words: NDArray[np.uint64], order: NDArray[np.uint8], content: NDArray[np.uint8]) -> int:
    """Write the planes of a row, and return the bytes of the second one.

    ``content`` is zeros, with room for the bits of both planes and a word more.
    """
    n_words = words.shape[0] // 2
    bits = 0
    second = content[8 * n_words :]
    for w in range(n_words):
        low = (words[2 * w] & _EVEN) | ((words[2 * w + 1] & _EVEN) << np.uint64(1))
        high = ((words[2 * w] & _ODD) >> np.uint64(1)) | (words[2 * w + 1] & _ODD)
        both = low & high
        none = ~(low | high)
        is_call = (none, low & ~both, high & ~both)
        third = is_call[order[2]]
        # People without a call count as having the most frequent one.
        other = is_call[order[1]] | third
        for k in range(8):
            content[8 * w + k] = (other >> np.uint64(8 * k)) & np.uint64(255)
        taken = extract_bits(third, other)
        byte, shift = bits >> 3, np.uint64(bits & 7)
        for k in range(8):
            second[byte + k] |= ((taken << shift) >> np.uint64(8 * k)) & np.uint64(255)
        second[byte + 8] |= (taken >> np.uint64(1)) >> (np.uint64(63) - shift)
        bits += count_ones(other)
    return (bits + 7) // 8


def to_planes(packed: NDArray[np.uint8], n_samples: int) -> Planes:
    """Put those packed rows into planes, shape (rows, row_bytes), for which that is as good as an entropy coder."""
    words = packed.view(np.uint64)
    form, counts = choose_forms(words, n_samples)
    rows = np.flatnonzero(form != PACKED)
    first = plane_bytes(packed.shape[1])
    missing = counts[rows, 3]
    sample = np.empty(int(missing.sum()), np.int32)
    second_bytes = np.empty(len(rows), np.uint32)
    content = np.zeros(len(rows) * (2 * first + 16), np.uint8)
    scratch = np.empty(words.shape[1], np.int32)
    at = listed = 0
    for k, row in enumerate(rows):
        second_bytes[k] = _write_row(words[row], ORDERS[form[row] - 1], content[at:])
        at += first + int(second_bytes[k])
        listed += missing_in_packed(words[row], scratch, sample[listed:])
    return Planes(form, second_bytes, missing.astype(np.uint32), sample, content[:at])


@jit
def _read_rows(
    content: NDArray[np.uint8],
    second_bytes: NDArray[np.uint32],
    order: NDArray[np.uint8],
    row: NDArray[np.int64],
    missing_offset: NDArray[np.int64],
    missing_sample: NDArray[np.int32],
    words: NDArray[np.uint64],
) -> bool:
    """Packed rows from their planes; False if a second plane ends before its row does, or after it."""
    n_words = words.shape[1] // 2
    start = 0
    for k in range(row.shape[0]):
        first, second, third = order[k, 0], order[k, 1], order[k, 2]
        # How the bits of a call follow from those of the most frequent one: changed where it is another, and where it
        # is the last.
        zero = np.uint64(0)
        low = zero - np.uint64(first & 1)
        high = zero - np.uint64(first >> 1)
        low_of_other = zero - np.uint64((first ^ second) & 1)
        high_of_other = zero - np.uint64((first ^ second) >> 1)
        low_of_third = zero - np.uint64((second ^ third) & 1)
        high_of_third = zero - np.uint64((second ^ third) >> 1)
        at = 8 * (start + 8 * n_words)
        last = at + 8 * int(second_bytes[k])
        out = words[row[k]]
        for w in range(n_words):
            other = load_long(content, start + 8 * w)
            byte, shift = at >> 3, np.uint64(at & 7)
            bits = load_long(content, byte) >> shift
            bits |= (np.uint64(content[byte + 8]) << np.uint64(1)) << (np.uint64(63) - shift)
            is_third = deposit_bits(bits, other)
            at += count_ones(other)
            if at > last:
                return False
            lows = low ^ (other & low_of_other) ^ (is_third & low_of_third)
            highs = high ^ (other & high_of_other) ^ (is_third & high_of_third)
            out[2 * w] = (lows & _EVEN) | ((highs & _EVEN) << np.uint64(1))
            out[2 * w + 1] = ((lows >> np.uint64(1)) & _EVEN) | (highs & _ODD)
        if last - at >= 8:
            return False
        for j in range(missing_offset[k], missing_offset[k + 1]):
            i = missing_sample[j]
            byte = (i >> 8) * 64 + (i & 63)
            out[byte >> 3] |= np.uint64(3) << np.uint64(8 * (byte & 7) + 2 * ((i & 255) >> 6))
        start += 8 * n_words + int(second_bytes[k])
    return True


def read_planes(
    content: NDArray[np.uint8],
    form: NDArray[np.uint8],
    second_bytes: NDArray[np.uint32],
    missing_offset: NDArray[np.int64],
    missing_sample: NDArray[np.int32],
    packed: NDArray[np.uint8],
) -> bool:
    """Fill in the rows that are in planes; False if the planes are damaged.

    Parameters
    ----------
    content
        Planes of all rows, whose sizes must add up to it, then at least :data:`SLACK` bytes.
    form : (rows,)
        Each at most ``len(ORDERS)``.
    second_bytes : (rows in planes,)
    missing_offset : (rows in planes + 1,)
    missing_sample
        Numbers of samples that a row has.
    packed : (rows, row_bytes) uint8
        Rows in planes are overwritten.
    """
    row = np.flatnonzero(form != PACKED)
    order = ORDERS[form[row] - 1]
    return _read_rows(content, second_bytes, order, row, missing_offset, missing_sample, packed.view(np.uint64))
