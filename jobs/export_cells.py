"""Columns on their way into a text file: what stands in them, and how rows are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allscan.engine.variant_names import buffers
from allscan.kernels import text as kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NO_VALUE = "NA"

P_DIGITS = 7


@dataclass(frozen=True)
class Cells:
    """A column of text; row ``r`` is ``data[starts[r] : starts[r] + lengths[r]]``."""

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]  # (rows,)
    lengths: NDArray[np.int32]  # (rows,); negative: no value

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of_strings(cls, strings: pa.StringArray) -> Cells:
        """Cells of strings, none of them missing; the bytes are not copied."""
        offsets, data = buffers(strings)
        return cls(data, offsets[:-1].astype(np.int64), np.diff(offsets))

    def where(self, mask: NDArray[np.bool_], other: Cells) -> Cells:
        """These cells where ``mask`` is true, the others elsewhere."""
        return Cells(
            np.concatenate([self.data, other.data]),
            np.where(mask, self.starts, other.starts + len(self.data)),
            np.where(mask, self.lengths, other.lengths),
        )


@dataclass(frozen=True)
class Words:
    """A column of a few words."""

    codes: NDArray[Any]  # (rows,)
    words: tuple[str | None, ...]  # of the codes; None: no value

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def constant(cls, word: str | None, rows: int) -> Words:
        """The same word in every row."""
        return cls(np.zeros(rows, np.int8), (word,))


@dataclass(frozen=True)
class Integers:
    """A column of integers."""

    values: NDArray[np.integer[Any]]  # (rows,)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Floats:
    """A column of floats: the shortest decimal that reads back as the same float; no value where not finite."""

    values: NDArray[np.float32]  # (rows,)

    lowest, highest = -6, 10

    def __len__(self) -> int:
        return len(self.values)

    def find(self, digits: NDArray[np.int64], leading: NDArray[np.int64], negative: NDArray[np.bool_]) -> None:
        """Find the decimals, each of shape (rows,), for :class:`allscan.kernels.text.Columns`."""
        values = np.ascontiguousarray(self.values)
        kernels.shortest_digits(values, values.view(np.uint32), digits, leading)
        np.signbit(values, out=negative)
        unsure = np.flatnonzero(digits == kernels.UNSURE)
        if len(unsure):
            words = pc.cast(pa.array(values[unsure]), pa.string()).to_pylist()
            for r, word in zip(unsure, words, strict=True):
                size = abs(Decimal(word))
                leading[r] = size.adjusted()
                digits[r] = int(size.scaleb(8 - size.adjusted()))


@dataclass(frozen=True)
class PValues:
    """A column of p-values with 7 significant digits, from −log10 p; no value where that is not finite.

    p-values below the smallest float64 are as exact as others: ``1.234567e-412``.
    """

    neg_log10_p: NDArray[np.floating[Any]]  # (rows,)

    lowest, highest = -4, 1

    def __len__(self) -> int:
        return len(self.neg_log10_p)

    def find(self, digits: NDArray[np.int64], leading: NDArray[np.int64], negative: NDArray[np.bool_]) -> None:
        """Find the decimals, each of shape (rows,), for :class:`allscan.kernels.text.Columns`."""
        y = np.asarray(self.neg_log10_p, dtype=np.float64)
        finite = np.isfinite(y)
        known = np.where(finite, y, 0.0)
        power = np.floor(-known)
        mantissa = np.rint(10.0 ** (-known - power) * 10.0 ** (P_DIGITS - 1)) * 10.0 ** (9 - P_DIGITS)
        digits[:] = np.where(finite, mantissa, kernels.MISSING)
        leading[:] = power
        negative[:] = False


@dataclass(frozen=True)
class Joined:
    """A column whose text is that of several columns, which have a value in every row."""

    columns: tuple[Column, ...]
    separator: str

    def __len__(self) -> int:
        return len(self.columns[0])


Column = Cells | Words | Integers | Floats | PValues | Joined


class Lines(NamedTuple):
    """Rows of text."""

    content: NDArray[np.uint8]
    ends: NDArray[np.int64]  # (rows,), in content


def text(values: NDArray[Any]) -> Column:
    """Numbers as a column: floats by their shortest decimals; no value where not finite.

    Parameters
    ----------
    values
        Integers or floats, shape (rows,); float32 is quick.
    """
    if values.dtype.kind in "iu":
        return Integers(values)
    if values.dtype == np.float32:
        return Floats(values)
    words = Cells.of_strings(pc.cast(pa.array(values), pa.string()))
    return Cells(words.data, words.starts, np.where(np.isfinite(values), words.lengths, np.int32(kernels.MISSING)))


def lines(
    tables: Sequence[Sequence[Column]], separator: str, missing: str = NO_VALUE, kept: NDArray[np.bool_] | None = None
) -> Lines:
    """Join columns into lines, each ended by a newline.

    Parameters
    ----------
    tables
        Columns of the first line of each row, of the second one …
    separator
        Between columns.
    missing
        What stands where there is no value.
    kept
        Rows that are written, shape (rows,); None: all of them.
    """
    parts = [
        _Part(column, ("\n" if k else "") if j == 0 else separator, missing)
        for k, columns in enumerate(tables)
        for j, column in enumerate(columns)
    ]
    return _write(parts, "\n", kept)


def joined(columns: Sequence[Column], separator: str, kept: NDArray[np.bool_] | None = None) -> Cells:
    """Text of several columns put together; rows that are not kept are empty."""
    return _as_cells(_write([_Part(Joined(tuple(columns), separator))], "", kept))


def entries(columns: Sequence[tuple[str, Column]], separator: str) -> Cells:
    """Columns put together, each value after its prefix; without those that are missing, and missing without any."""
    assert len(separator) == 1
    found = _as_cells(_write([_Part(column, separator + prefix, None) for prefix, column in columns], "", None))
    # What is before the first one is left out.
    return Cells(found.data, found.starts + 1, np.where(found.lengths == 0, kernels.MISSING, found.lengths - 1))


def strings(column: Column) -> list[str | None]:
    """A column as Python's strings; None where there is no value."""
    (found,) = [column] if isinstance(column, Cells) else [entries([("", column)], "\t")]
    content = found.data.tobytes()
    return [
        None if size < 0 else content[start : start + size].decode()
        for start, size in zip(found.starts.tolist(), found.lengths.tolist(), strict=True)
    ]


def _as_cells(written: Lines) -> Cells:
    starts = np.concatenate([[0], written.ends[:-1]])
    return Cells(written.content, starts, (written.ends - starts).astype(np.int32))


class _Part(NamedTuple):
    """A column of a row."""

    column: Column
    before: str = ""  # what stands before it
    missing: str | None = ""  # what stands for it, after that; None: nothing, and not that either

    @property
    def instead(self) -> str:
        return "" if self.missing is None else self.before + self.missing


class _Piece(NamedTuple):
    """A column of a row, as far as rows of one layout have it in common."""

    kind: int
    column: int
    before: str
    instead: str
    words: tuple[str, ...] = ()  # with what is before them
    lowest: int = 0
    highest: int = 0


def _write(parts: Sequence[_Part], end: str, kept: NDArray[np.bool_] | None) -> Lines:
    rows = len(parts[0].column)
    columns: dict[int, list[Any]] = {kernels.CODE: [], kernels.TEXT: [], kernels.DECIMAL: [], kernels.INTEGER: []}
    pieces = [piece for part in parts for piece in _pieces(part, columns)]
    if end:
        pieces.append(_Piece(kernels.CODE, _place(columns[kernels.CODE], np.zeros(rows, np.int8)), "", "", (end,)))
    cells: list[Cells] = columns[kernels.TEXT]
    decimals: list[Floats | PValues] = columns[kernels.DECIMAL]
    starts, lengths = np.empty((len(cells), rows), np.int64), np.empty((len(cells), rows), np.int32)
    first = 0
    for k, cell in enumerate(cells):
        np.add(cell.starts, first, out=starts[k])
        lengths[k] = cell.lengths
        first += len(cell.data)
    data = np.concatenate([*(cell.data for cell in cells), np.zeros(kernels.PADDING, np.uint8)])
    digits, leading = np.empty((2, len(decimals), rows), np.int64)
    negative = np.empty((len(decimals), rows), np.bool_)
    for k, decimal in enumerate(decimals):
        decimal.find(digits[k], leading[k], negative[k])
    of_rows = kernels.Columns(
        data,
        starts,
        lengths,
        digits,
        leading,
        negative,
        _stack(columns[kernels.INTEGER], rows),
        _stack(columns[kernels.CODE], rows),
    )
    program, longest = _program(tuple(pieces))
    uses = np.array(
        [sum(p.kind == kernels.TEXT and p.column == k for p in pieces) for k in range(len(cells))], np.int64
    )
    texts = int((uses * np.maximum(lengths, 0).sum(axis=1, dtype=np.int64)).sum())
    out, ends = np.empty(rows * longest + texts + kernels.PADDING, np.uint8), np.empty(rows, np.int64)
    kernels.write_rows(of_rows, program, np.ones(rows, np.bool_) if kept is None else kept, out, ends)
    return Lines(out[: int(ends[-1]) if rows else 0], ends)


def _pieces(part: _Part, columns: dict[int, list[Any]]) -> list[_Piece]:
    """The pieces of a column; ``columns`` gets what they refer to."""
    column, before, instead = part.column, part.before, part.instead
    match column:
        case Joined():
            befores = [before] + [column.separator] * (len(column.columns) - 1)
            inner = [_Part(one, word) for one, word in zip(column.columns, befores, strict=True)]
            return [piece for one in inner for piece in _pieces(one, columns)]
        case Words():
            words = tuple(instead if word is None else before + word for word in column.words)
            return [_Piece(kernels.CODE, _place(columns[kernels.CODE], column.codes), before, instead, words)]
        case Cells():
            return [_Piece(kernels.TEXT, _place(columns[kernels.TEXT], column), before, instead)]
        case Integers():
            return [_Piece(kernels.INTEGER, _place(columns[kernels.INTEGER], column.values), before, instead)]
        case Floats() | PValues():
            place = _place(columns[kernels.DECIMAL], column)
            return [_Piece(kernels.DECIMAL, place, before, instead, (), column.lowest, column.highest)]


def _place(columns: list[Any], column: Any) -> int:
    """Where a column is among those of its kind; one that is written twice is there once."""
    for place, known in enumerate(columns):
        if known is column:
            return place
    columns.append(column)
    return len(columns) - 1


def _stack(columns: list[NDArray[Any]], rows: int) -> NDArray[np.int64]:
    out = np.empty((len(columns), rows), np.int64)
    for k, column in enumerate(columns):
        out[k] = column
    return out


@lru_cache(maxsize=64)
def _program(pieces: tuple[_Piece, ...]) -> tuple[kernels.Pieces, int]:
    """Pieces as arrays, and the bytes that they have at most in a row, without those of cells."""
    words: list[bytes] = []
    of_pieces = []
    for piece in pieces:
        of_pieces.append((len(words), len(words) + 1, len(words) + 2))
        words += [word.encode() for word in (piece.before, piece.instead, *piece.words)]
    lengths = np.array([len(word) for word in words], np.int64)
    before, instead, of_code = np.array(of_pieces, np.int64).T.copy()
    kind, column, lowest, highest = np.array(
        [(p.kind, p.column, p.lowest, p.highest) for p in pieces], np.int64
    ).T.copy()
    longest = sum(max(len(word.encode()) for word in (p.before, p.instead, *p.words)) + kernels.WIDTH for p in pieces)
    content = np.frombuffer(b"".join(words) + bytes(kernels.PADDING), np.uint8)
    return (
        kernels.Pieces(
            kind,
            column,
            before,
            instead,
            of_code,
            lowest,
            highest,
            content.copy(),  # writable, as numba compiles for
            np.cumsum(lengths) - lengths,
            lengths,
        ),
        longest,
    )
