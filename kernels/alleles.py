"""Pairs of alleles of summary statistics: one variant whichever way round, on either strand, padded or not.

A variant has a *key*, which two rows share when they may be of one variant, and each row a *side*: how its pair of
alleles stands to the key's.

- A single-base variant that is no palindrome has four spellings: A/C, C/A and, on the other strand, T/G, G/T. At one
  position they cannot mean two variants, as all alleles of a site share their reference allele.
- A palindrome (A/T, C/G) reads the same on both strands, of which its alleles say nothing.
- Of all others the sequences themselves are the key; strands are not told apart, for nobody writes indels on the other.

Bases that both alleles share at their ends are no part of a variant: those at the right end are taken off first, then
those at the left, where the position moves on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

REGION_BITS = 25
"""Positions are counted from the beginning of a region of ``2 ** REGION_BITS`` bases."""
PAYLOAD_BITS = 38
"""Of a key that tell the alleles at a position."""

SWAPPED = 1
"""Bit of a side: the effect allele is the first of the key's alleles in place of the second."""
OTHER_STRAND = 2
"""Bit of a side: the alleles are those of the other strand."""

SNV, PALINDROME, SEQUENCE, REFUSED = 0, 1, 2, 3
"""Kinds: a single base that is no palindrome, one that is, other sequences, and what is no pair of sequences."""

LONGEST = 65_535
"""Bases; longer alleles are refused."""

_BASE = np.full(256, -1, np.int8)
for _index, _letters in enumerate(("Aa", "Cc", "Gg", "Tt")):
    for _letter in _letters:
        _BASE[ord(_letter)] = _index

# (first, second) of the key of each class of single bases, as indices in ACGT; the first strand's.
SNV_ALLELES = np.array([[0, 1], [0, 2], [0, 3], [1, 2]], np.int64)
_A_C, _A_G, _A_T, _C_G = range(4)

_MIX = np.uint64(0x9E3779B97F4A7C15)
_PAYLOAD = np.int64((1 << (PAYLOAD_BITS - 1)) - 1)
_IS_SEQUENCE = np.int64(1 << (PAYLOAD_BITS - 1))
_REGION = np.int64((1 << REGION_BITS) - 1)


@jit
def allele_keys(
    position: NDArray[np.int64],
    other_ends: NDArray[np.int32],
    other: NDArray[np.uint8],
    effect_ends: NDArray[np.int32],
    effect: NDArray[np.uint8],
    key: NDArray[np.int64],
    side: NDArray[np.uint8],
    kind: NDArray[np.uint8],
    trimmed: NDArray[np.int64],
    cut: NDArray[np.int32],
) -> None:
    """Keys and sides of rows.

    Parameters
    ----------
    position : (rows,)
        1-based.
    other_ends, effect_ends : (rows + 1,)
        Where the alleles begin, and the last ends.
    other, effect
        Letters of the alleles.
    key, side, kind : (rows,)
        Written; of REFUSED rows only the kind.
    trimmed : (rows,)
        Written: the position without shared bases.
    cut : (rows, 2)
        Written: shared bases at the left and at the right.
    """
    for row in range(len(position)):
        o, o_end = int(other_ends[row]), int(other_ends[row + 1])
        e, e_end = int(effect_ends[row]), int(effect_ends[row + 1])
        kind[row] = REFUSED
        left = right = 0
        if not _is_sequence(other, o, o_end) or not _is_sequence(effect, e, e_end):
            continue
        while o_end - o > 1 and e_end - e > 1 and _BASE[other[o_end - 1]] == _BASE[effect[e_end - 1]]:
            o_end -= 1
            e_end -= 1
            right += 1
        while o_end - o > 1 and e_end - e > 1 and _BASE[other[o]] == _BASE[effect[e]]:
            o += 1
            e += 1
            left += 1
        place = position[row] + left
        trimmed[row] = place
        cut[row, 0], cut[row, 1] = left, right
        start = (place & _REGION) << PAYLOAD_BITS
        if o_end - o == 1 and e_end - e == 1:
            a, b = int(_BASE[other[o]]), int(_BASE[effect[e]])
            if a == b:
                continue
            low, high = min(a, b), max(a, b)
            if low + high == 3:
                kind[row] = PALINDROME
                key[row] = start | (_A_T if low == 0 else _C_G)
                side[row] = SWAPPED if a > b else 0
                continue
            kind[row] = SNV
            strand = 0
            if low != 0:
                # C/T and G/T, of which the other strand is A/G and A/C.
                a, b = 3 - a, 3 - b
                strand = OTHER_STRAND
            key[row] = start | (_A_C if max(a, b) == 1 else _A_G)
            side[row] = strand | (SWAPPED if a > b else 0)
            continue
        swapped = _is_after(other, o, o_end, effect, e, e_end)
        mixed = _mixed(effect, e, e_end, other, o, o_end) if swapped else _mixed(other, o, o_end, effect, e, e_end)
        kind[row] = SEQUENCE
        key[row] = start | _IS_SEQUENCE | (np.int64(mixed >> np.uint64(1)) & _PAYLOAD)
        side[row] = SWAPPED if swapped else 0


@jit
def _is_sequence(letters: NDArray[np.uint8], start: int, end: int) -> bool:
    if end <= start or end - start > LONGEST:
        return False
    i = start
    while i < end and _BASE[letters[i]] >= 0:
        i += 1
    return i == end


@jit
def _is_after(a: NDArray[np.uint8], a_start: int, a_end: int, b: NDArray[np.uint8], b_start: int, b_end: int) -> bool:
    """Whether sequence ``a`` is longer than ``b``, or as long and later in the alphabet."""
    size = a_end - a_start
    if size != b_end - b_start:
        return size > b_end - b_start
    for i in range(size):
        x, y = _BASE[a[a_start + i]], _BASE[b[b_start + i]]
        if x != y:
            return bool(x > y)
    return False


@jit
def _mixed(a: NDArray[np.uint8], a_start: int, a_end: int, b: NDArray[np.uint8], b_start: int, b_end: int) -> np.uint64:
    """Hash of two sequences."""
    h = np.uint64(a_end - a_start) * _MIX
    for i in range(a_start, a_end):
        h = (h ^ np.uint64(_BASE[a[i]] + 1)) * _MIX
        h ^= h >> np.uint64(29)
    h = (h ^ np.uint64(7)) * _MIX
    for i in range(b_start, b_end):
        h = (h ^ np.uint64(_BASE[b[i]] + 1)) * _MIX
        h ^= h >> np.uint64(29)
    h *= _MIX
    h ^= h >> np.uint64(32)
    return h


@jit
def same_sequences(
    letters: NDArray[np.uint8],
    start: NDArray[np.int64],
    size: NDArray[np.int64],
    other_start: NDArray[np.int64],
    other_size: NDArray[np.int64],
    out: NDArray[np.bool_],
) -> None:
    """Whether pairs of sequences are the same, in any letter case.

    Parameters
    ----------
    letters
        Of all sequences.
    start, size, other_start, other_size : (pairs,)
        Where the two of each pair stand.
    out : (pairs,)
        Written.
    """
    for pair in range(len(out)):
        same = size[pair] == other_size[pair]
        i = 0
        while same and i < size[pair]:
            same = _BASE[letters[start[pair] + i]] == _BASE[letters[other_start[pair] + i]]
            i += 1
        out[pair] = same


@jit
def rs_numbers(ends: NDArray[np.int32], letters: NDArray[np.uint8], out: NDArray[np.int64]) -> None:
    """Number of each identifier of the form ``rs123``; 0 of others.

    Parameters
    ----------
    ends : (rows + 1,)
        Where the identifiers begin, and the last ends.
    letters
        Of all.
    out : (rows,)
        Written.
    """
    for row in range(len(out)):
        start, end = ends[row], ends[row + 1]
        number = np.int64(0)
        if 3 <= end - start <= 17 and letters[start] == ord("r") and letters[start + 1] == ord("s"):
            for i in range(start + 2, end):
                digit = np.int64(letters[i]) - ord("0")
                if digit < 0 or digit > 9:
                    number = np.int64(0)
                    break
                number = number * 10 + digit
        out[row] = number
