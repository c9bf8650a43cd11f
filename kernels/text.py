"""Rows of text, made of columns of numbers, words and texts.

A column of text is ``data`` (bytes), ``starts`` and ``lengths``, both of shape (rows,): the text of row ``r`` is
``data[starts[r] : starts[r] + lengths[r]]``. A length of :data:`MISSING` stands for no value.

Digits are made and moved eight at a time, as the bytes of one integer, and texts sixteen bytes at a time: most are
shorter, and a loop whose length is not known before costs more than what is copied in vain.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import intrinsic, jit, jit_inline

if TYPE_CHECKING:
    from numpy.typing import NDArray

copy_sixteen = intrinsic("copy_sixteen")
store_word = intrinsic("store_word")
leading_zeros = intrinsic("leading_zeros")
trailing_zeros = intrinsic("trailing_zeros")

MISSING = -1
UNSURE = -2
"""In the place of digits: float64 arithmetic is too coarse to find them; about one number of a hundred thousand."""

WIDTH = 24
"""Bytes that any number here fits into."""

PADDING = 16
"""Bytes that are read and written beyond the end of texts, and mean nothing."""

LOWEST = -6
"""Least power of ten of the leading digit that can be written without an exponent."""

CODE, TEXT, DECIMAL, INTEGER = range(4)
"""Kinds of columns: codes of words, texts, decimals, integers."""

# Indices are unsigned throughout: numba takes signed ones to count from the end where they are negative, and checks.
_u = np.uint64

_MINUS, _POINT, _ZERO, _E, _PLUS = (_u(ord(c)) for c in "-.0e+")
_EIGHT_DIGITS = _u(10**8)
_ASCII = _u(int.from_bytes(b"0" * 8, "little"))
_POINT_AND_ZEROS = _u(int.from_bytes(b"0.000000", "little"))
_LAST_DIGIT = _u(1 << 56)

# By the biased exponent of a float32: the power of ten of the leading digit of the smallest such float, what makes nine
# digits before the point of it, the same for floats that reach the next power of ten, and half the step to the next.
_LEADING = np.array([math.floor((e - 127) * math.log10(2.0)) for e in range(256)])
_SCALE = np.array([float(f"1e{8 - k}") for k in _LEADING.tolist()])
_NEXT_SCALE = np.array([float(f"1e{7 - k}") for k in _LEADING.tolist()])
_HALF_UNIT = np.array([2.0 ** (e - 151) for e in range(256)])
# Error of a product of two float64 below 1e9, with a margin.
_TOLERANCE = 1e-5


@jit
def shortest_digits(
    values: NDArray[np.float32], bits: NDArray[np.uint32], digits: NDArray[np.int64], leading: NDArray[np.int64]
) -> None:
    """Find the shortest decimals that read back as the same float32, and of these the nearest.

    A decimal of nine digits always does, and float64 is fine enough to tell whether one of eight, seven or six does:
    the reals that round to a float32 reach at least three units of the ninth digit to either side (1.5 below a power of
    two), and products are exact to a millionth of that unit. What falls closer to the end of that reach, or to the
    middle between two decimals, is left to the caller.

    Parameters
    ----------
    values, bits
        The floats, and the same bytes as integers, shape (rows,).
    digits, leading
        Written: the size of the decimal is digits × 10^(leading − 8), of nine digits, zeros at the end among them (or
        ten, 10^9), or 0. Instead of digits stands :data:`MISSING` where the value is not finite, and :data:`UNSURE`
        where it is for the caller to find them.
    """
    # No branches, and every table looked into by every number: so the loop is one of vectors.
    for r in range(len(values)):
        binary = np.int64((bits[r] >> np.uint32(23)) & np.uint32(255))
        fraction = (bits[r] & np.uint32(0x7FFFFF)) != 0
        value = abs(np.float64(values[r]))
        scale, next_scale = _SCALE[binary], _NEXT_SCALE[binary]
        over = value * scale >= 1e9
        scale = next_scale if over else scale
        scaled = value * scale
        # Below a power of two the floats stand twice as close.
        reach = _HALF_UNIT[binary] * scale * (1.0 if fraction else 0.5)
        six, seven = np.floor(scaled * 1e-3 + 0.5) * 1e3, np.floor(scaled * 1e-2 + 0.5) * 1e2
        eight, nine = np.floor(scaled * 1e-1 + 0.5) * 1e1, np.floor(scaled + 0.5)
        by_six, by_seven, by_eight, by_nine = (
            abs(six - scaled),
            abs(seven - scaled),
            abs(eight - scaled),
            abs(nine - scaled),
        )
        best = eight if by_eight < reach else nine
        best = seven if by_seven < reach else best
        best = six if by_six < reach else best
        from_end = min(min(abs(by_six - reach), abs(by_seven - reach)), abs(by_eight - reach))
        from_middle = min(min(500.0 - by_six, 50.0 - by_seven), min(5.0 - by_eight, 0.5 - by_nine))
        # The reach upwards from a power of two is longer: a decimal on that side may be shorter.
        unsure = (min(from_end, from_middle) < _TOLERANCE) | ((not fraction) & (by_six >= reach))
        best = UNSURE if unsure else best
        # No number but zero is below the normal ones that this holds for.
        best = (UNSURE if fraction else 0.0) if binary == 0 else best
        digits[r] = np.int64(MISSING if binary == 255 else best)
        leading[r] = _LEADING[binary] + np.int64(over)


class Columns(NamedTuple):
    """What rows are made of, by kind of column; every column has a value for each row."""

    data: NDArray[np.uint8]  # bytes of all texts, and PADDING
    starts: NDArray[np.int64]  # (texts, rows), in data
    lengths: NDArray[np.int32]  # (texts, rows); MISSING where there is none
    digits: NDArray[np.int64]  # (decimals, rows), as of shortest_digits; MISSING where there is none
    leading: NDArray[np.int64]  # (decimals, rows), between ±10^10
    negative: NDArray[np.bool_]  # (decimals, rows)
    integers: NDArray[np.int64]  # (integers, rows)
    codes: NDArray[np.int64]  # (codes, rows), of words


class Pieces(NamedTuple):
    """A row, piece by piece: every array has shape (pieces,) but ``words`` and the ranges of words in it."""

    kind: NDArray[np.int64]
    column: NDArray[np.int64]  # among those of its kind
    before: NDArray[np.int64]  # word that stands before a value
    instead: NDArray[np.int64]  # word that stands in the place of one that is missing, and of what is before it
    of_code: NDArray[np.int64]  # word of code 0
    lowest: NDArray[np.int64]  # leading powers of ten that are written without an exponent, from LOWEST at least
    highest: NDArray[np.int64]  # to below this, 10 at most
    words: NDArray[np.uint8]  # and PADDING
    word_starts: NDArray[np.int64]
    word_lengths: NDArray[np.int64]


@jit_inline
def _copy(
    source: NDArray[np.uint8], start: np.uint64, size: np.uint64, out: NDArray[np.uint8], place: np.uint64
) -> np.uint64:
    """Copy bytes, and some that mean nothing after them; returns where they end."""
    done, step = _u(0), _u(16)
    # Whole vectors: what is too much is written over, or is padding.
    while True:
        copy_sixteen(source, start + done, out, place + done)
        done += step
        if done >= size:
            return place + size


@jit_inline
def _eight_digits(number: np.uint64) -> np.uint64:
    """Digits of a number below 10^8, the first in the lowest byte: halved thrice, all parts at the same time."""
    upper = number // _u(10000)
    fours = upper | (number - upper * _u(10000)) << _u(32)
    hundreds = ((fours * _u(10486)) >> _u(20)) & _u(0x0000007F0000007F)
    twos = hundreds | (fours - hundreds * _u(100)) << _u(16)
    tens = ((twos * _u(103)) >> _u(10)) & _u(0x000F000F000F000F)
    return tens | (twos - tens * _u(10)) << _u(8)


@jit_inline
def _write_integer(number: np.uint64, out: NDArray[np.uint8], place: np.uint64) -> np.uint64:
    """Write a number that is not negative; returns where it ends."""
    high = number // _EIGHT_DIGITS
    if high:
        # Two more digits are the most that 32 bits need.
        place = _write_integer_digits(high, out, place)
        store_word(_eight_digits(number - high * _EIGHT_DIGITS) | _ASCII, out, place)
        return place + _u(8)
    word = _eight_digits(number)
    # Of a zero the last digit is left.
    skipped = _u(trailing_zeros(word | _LAST_DIGIT)) & _u(0x38)
    store_word((word | _ASCII) >> skipped, out, place)
    return place + _u(8) - (skipped >> _u(3))


@jit
def _write_integer_digits(number: np.uint64, out: NDArray[np.uint8], place: np.uint64) -> np.uint64:
    """The same digit by digit."""
    count, bound = _u(1), number // _u(10)
    while bound:
        count += _u(1)
        bound //= _u(10)
    end = place + count
    for k in range(count):
        out[end - _u(1) - k] = _ZERO + number % _u(10)
        number //= _u(10)
    return end


@jit_inline
def _write_decimal(
    number: np.uint64,
    power: int,
    negative: bool | np.bool_,
    lowest: int,
    highest: int,
    out: NDArray[np.uint8],
    place: np.uint64,
) -> np.uint64:
    """Write digits × 10^(power − 8) without the zeros at its end; returns where it ends."""
    one = _u(1)
    out[place] = _MINUS
    place += _u(negative)
    if number == _u(0):
        out[place] = _ZERO
        return place + one
    if number == _u(1000000000):
        number = _EIGHT_DIGITS
        power += 1
    first = number // _EIGHT_DIGITS
    rest = _eight_digits(number - first * _EIGHT_DIGITS)
    count = one + (_u(71) - _u(leading_zeros(rest))) // _u(8) if rest else one
    head, rest = _ZERO + first, rest | _ASCII
    if lowest <= power < 0:
        store_word(_POINT_AND_ZEROS, out, place)
        place += _u(1 - power)
        out[place] = head
        store_word(rest, out, place + one)
        return place + count
    if 0 <= power < highest:
        whole = _u(power + 1)
        out[place] = head
        store_word(rest, out, place + one)
        if count <= whole:
            out[place + _u(9)] = _ZERO
            return place + whole
        # What follows the point is written once more, a byte further.
        out[place + whole] = _POINT
        store_word(rest >> (_u(8) * _u(power)), out, place + whole + one)
        return place + count + one
    out[place] = head
    out[place + one] = _POINT
    store_word(rest, out, place + _u(2))
    place += one if count == one else count + one
    out[place] = _E
    out[place + one] = _MINUS if power < 0 else _PLUS
    return _write_integer_digits(_u(abs(power)), out, place + _u(2))


@jit
def write_rows(
    columns: Columns, pieces: Pieces, kept: NDArray[np.bool_], out: NDArray[np.uint8], ends: NDArray[np.int64]
) -> None:
    """Write rows of text.

    Parameters
    ----------
    columns
        What stands in them.
    pieces
        How they are laid out: piece after piece, each a word and a value.
    kept
        Rows to write, shape (rows,).
    out
        Written: the rows, one after another; with room for :data:`PADDING` more.
    ends
        Written: where each row ends in ``out``, shape (rows,).
    """
    place = _u(0)
    for r in range(len(kept)):
        if kept[r]:
            for c in range(len(pieces.kind)):
                kind, column, word = pieces.kind[c], _u(pieces.column[c]), _u(pieces.before[c])
                if kind == CODE:
                    word = _u(pieces.of_code[c] + columns.codes[column, r])
                elif kind == TEXT:
                    absent = columns.lengths[column, r] < 0
                    word = _u(pieces.instead[c]) if absent else word
                elif kind == DECIMAL:
                    absent = columns.digits[column, r] < 0
                    word = _u(pieces.instead[c]) if absent else word
                else:
                    absent = False
                place = _copy(pieces.words, _u(pieces.word_starts[word]), _u(pieces.word_lengths[word]), out, place)
                if kind == CODE or absent:
                    continue
                if kind == DECIMAL:
                    place = _write_decimal(
                        _u(columns.digits[column, r]),
                        columns.leading[column, r],
                        columns.negative[column, r],
                        pieces.lowest[c],
                        pieces.highest[c],
                        out,
                        place,
                    )
                elif kind == TEXT:
                    place = _copy(
                        columns.data, _u(columns.starts[column, r]), _u(columns.lengths[column, r]), out, place
                    )
                else:
                    number = columns.integers[column, r]
                    out[place] = _MINUS
                    place += _u(number < 0)
                    place = _write_integer(_u(abs(number)), out, place)
        ends[r] = np.int64(place)


@jit
def find_sequences(
    data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32], out: NDArray[np.bool_]
) -> None:
    """Tell which cells are sequences of A, C, G, T in either case, one base at least; written to ``out``."""
    for r in range(len(starts)):
        plain = lengths[r] > 0
        for k in range(starts[r], starts[r] + lengths[r]):
            base = data[k] & 0xDF
            plain = plain and (base == 65 or base == 67 or base == 71 or base == 84)
        out[r] = plain


@jit
def find_rs_numbers(
    data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32], out: NDArray[np.bool_]
) -> None:
    """Tell which cells are ``rs`` and a number; written to ``out``."""
    for r in range(len(starts)):
        start = starts[r]
        found = lengths[r] > 2 and data[start] == 114 and data[start + 1] == 115
        for k in range(start + 2, start + lengths[r]):
            found = found and _ZERO <= data[k] < _ZERO + 10
        out[r] = found
