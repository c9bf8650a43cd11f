"""Numbers as decimal text, and cells of text joined into lines.

A column of text is ``data`` (bytes), ``starts`` and ``lengths``, both of shape (rows,): the text of row ``r`` is
``data[starts[r] : starts[r] + lengths[r]]``. A length of :data:`MISSING` stands for no value.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = -1
UNSURE = -2
"""Length of a number that float64 arithmetic is too coarse to write; about one of a million."""

WIDTH = 24
"""Bytes that any number here fits into."""

PADDING = 16
"""Bytes that are read and written beyond the end of cells, and mean nothing."""

LOWEST = -6
"""Least power of ten of the leading digit that can be written without an exponent."""

_MINUS, _POINT, _ZERO, _E, _PLUS = (ord(c) for c in "-.0e+")
_FOUR_DIGITS = np.frombuffer("".join(f"{k:04d}" for k in range(10000)).encode(), np.uint8)

# By the biased exponent of a float32: the power of ten of the leading digit of the smallest such float, what makes nine
# digits before the point of it, the same for floats that reach the next power of ten, and half the step to the next.
_LEADING = np.array([math.floor((e - 127) * math.log10(2.0)) for e in range(256)])
_SCALE = np.array([float(f"1e{8 - k}") for k in _LEADING.tolist()])
_NEXT_SCALE = np.array([float(f"1e{7 - k}") for k in _LEADING.tolist()])
_HALF_UNIT = np.array([2.0 ** (e - 151) for e in range(256)])
# Error of a product of two float64 below 1e9, with a margin.
_TOLERANCE = 1e-5

# Indices are unsigned throughout: numba takes signed ones to count from the end where they are negative, and checks.
_u = np.uint64


@jit
def shortest_digits(
    values: NDArray[np.float32],
    bits: NDArray[np.uint32],
    digits: NDArray[np.int64],
    leading: NDArray[np.int64],
    lengths: NDArray[np.int32],
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
        Written: the decimal is digits × 10^(leading − 8), of nine digits, zeros at the end among them.
    lengths
        Written: :data:`MISSING` where the value is not finite, :data:`UNSURE` where it is for the caller to write, 0
        elsewhere.
    """
    for r in range(len(values)):
        binary = (bits[r] >> np.uint32(23)) & np.uint32(255)
        fraction = (bits[r] & np.uint32(0x7FFFFF)) != 0
        value = abs(np.float64(values[r]))
        over = value * _SCALE[binary] >= 1e9
        scale = _NEXT_SCALE[binary] if over else _SCALE[binary]
        scaled = value * scale
        # Below a power of two the floats stand twice as close.
        reach = _HALF_UNIT[binary] * scale * (1.0 if fraction else 0.5)
        six, seven = np.floor(scaled * 1e-3 + 0.5) * 1e3, np.floor(scaled * 1e-2 + 0.5) * 1e2
        eight, nine = np.floor(scaled * 1e-1 + 0.5) * 1e1, np.floor(scaled + 0.5)
        by_six, by_seven, by_eight = abs(six - scaled), abs(seven - scaled), abs(eight - scaled)
        best = eight if by_eight < reach else nine
        best = seven if by_seven < reach else best
        best = six if by_six < reach else best
        at_end = (
            (abs(by_six - reach) < _TOLERANCE)
            | (abs(by_seven - reach) < _TOLERANCE)
            | (abs(by_eight - reach) < _TOLERANCE)
        )
        in_the_middle = (
            (by_six > 500 - _TOLERANCE)
            | (by_seven > 50 - _TOLERANCE)
            | (by_eight > 5 - _TOLERANCE)
            | (abs(nine - scaled) > 0.5 - _TOLERANCE)
        )
        # The reach upwards from a power of two is longer: a decimal on that side may be shorter.
        unsure = at_end | in_the_middle | ((not fraction) & (by_six >= reach))
        # No number but zero is below the normal ones that this holds for.
        unsure = fraction if binary == 0 else unsure
        digits[r] = 0 if binary == 0 else np.int64(best)
        leading[r] = _LEADING[binary] + over
        lengths[r] = MISSING if binary == 255 else UNSURE if unsure else 0


@jit
def write_decimals(
    digits: NDArray[np.int64],
    leading: NDArray[np.int64],
    negative: NDArray[np.bool_],
    lowest: int,
    highest: int,
    data: NDArray[np.uint8],
    lengths: NDArray[np.int32],
) -> None:
    """Write decimals without the zeros at their end.

    Parameters
    ----------
    digits, leading, negative
        The decimal is digits × 10^(leading − 8); digits from 10^8 to 10^9, or 0, and leading between ±10^10. Shape
        (rows,).
    lowest, highest
        The leading powers of ten that are written without an exponent, from ``lowest`` (at least :data:`LOWEST`) to
        below ``highest``.
    data
        Written: :data:`WIDTH` bytes for each row.
    lengths
        Where it is negative, nothing is written; elsewhere the bytes of each row are written to it.
    """
    one, four = _u(1), _u(4)
    for r in range(len(digits)):
        if lengths[r] < 0:
            continue
        number, power = digits[r], leading[r]
        start = _u(r) * _u(WIDTH)
        place = start
        if negative[r]:
            data[place] = _MINUS
            place += one
        if number == 0:
            data[place] = _ZERO
            lengths[r] = np.int32(place + one - start)
            continue
        if number == 1000000000:
            number = 100000000
            power += 1
        small = lowest <= power < 0
        if small:
            for k in range(_u(2 - LOWEST)):
                data[place + k] = _ZERO
            data[place + one] = _POINT
            place += _u(1 - power)
            first = place
        else:
            # A byte further than they belong: the ones before the point are moved.
            first = place + one
        upper = number // 10000
        lower = _u(number - upper * 10000) * four
        head = upper // 10000
        upper = _u(upper - head * 10000) * four
        data[first] = _ZERO + head
        for k in range(four):
            data[first + one + k] = _FOUR_DIGITS[upper + k]
        for k in range(four):
            data[first + _u(5) + k] = _FOUR_DIGITS[lower + k]
        end = first + _u(9)
        while data[end - one] == _ZERO:
            end -= one
        if 0 <= power < highest:
            whole = _u(power + 1)
            for k in range(whole):
                data[place + k] = data[first + k] if k < _u(9) else _ZERO
            data[place + whole] = _POINT
            end = max(end, place + whole) if end - first > whole else place + whole
        elif not small:
            data[place] = data[first]
            data[first] = _POINT
            if end - first == one:
                end = first
            data[end] = _E
            data[end + one] = _MINUS if power < 0 else _PLUS
            end += _u(2)
            rest = abs(power)
            count, bound = 1, 10
            while rest >= bound:
                count += 1
                bound *= 10
            end += _u(count)
            for k in range(_u(count)):
                data[end - one - k] = _ZERO + rest % 10
                rest //= 10
        lengths[r] = np.int32(end - start)


@jit
def write_integers(
    values: NDArray[np.int64], data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32]
) -> None:
    """Write integers to the ends of :data:`WIDTH` bytes of ``data`` each, with where they start and their lengths."""
    one = _u(1)
    for r in range(len(values)):
        number = abs(values[r])
        end = _u(r + 1) * _u(WIDTH)
        place = end
        while True:
            place -= one
            data[place] = _ZERO + number % 10
            number //= 10
            if number == 0:
                break
        if values[r] < 0:
            place -= one
            data[place] = _MINUS
        starts[r] = np.int64(place)
        lengths[r] = np.int32(end - place)


@jit
def join_cells(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    separator: NDArray[np.uint8],
    missing: NDArray[np.uint8],
    skip_missing: bool,
    end: NDArray[np.uint8],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    """Join columns of text row by row.

    Parameters
    ----------
    data
        The bytes of all columns, and :data:`PADDING`.
    starts, lengths
        Where the cells are, shape (columns, rows).
    separator
        Between cells.
    missing
        What stands for a missing cell.
    skip_missing
        Leave missing cells out instead, with their separators.
    end
        After each row.
    out
        Written: the rows, one after another; with room for :data:`PADDING` more.
    ends
        Written: where each row ends in ``out``, shape (rows,).
    """
    place, step = _u(0), _u(PADDING)
    for r in range(starts.shape[1]):
        first = True
        for c in range(starts.shape[0]):
            size = lengths[c, r]
            if size < 0 and skip_missing:
                continue
            if not first:
                for k in range(_u(len(separator))):
                    out[place + k] = separator[k]
                place += _u(len(separator))
            first = False
            if size < 0:
                for k in range(_u(len(missing))):
                    out[place + k] = missing[k]
                place += _u(len(missing))
                continue
            # Whole vectors: what is too much is written over, or is padding.
            start, done = _u(starts[c, r]), _u(0)
            while done < _u(size):
                for k in range(step):
                    out[place + done + k] = data[start + done + k]
                done += step
            place += _u(size)
        for k in range(_u(len(end))):
            out[place + k] = end[k]
        place += _u(len(end))
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
