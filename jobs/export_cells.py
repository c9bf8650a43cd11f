"""Columns of text on their way into a file: made of numbers or strings, and joined into lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

# Powers of ten of the leading digit that are written without an exponent.
_FLOAT_PLAIN = (-6, 10)
_P_PLAIN = (-4, 1)


@dataclass(frozen=True)
class Cells:
    """A column of text; row ``r`` is ``data[starts[r] : starts[r] + lengths[r]]``."""

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]  # (rows,)
    lengths: NDArray[np.int32]  # (rows,); negative: no value

    def __len__(self) -> int:
        return len(self.starts)

    def to_pylist(self) -> list[str | None]:
        """Python's strings; None where there is no value."""
        content = self.data.tobytes()
        return [
            None if size < 0 else content[start : start + size].decode()
            for start, size in zip(self.starts.tolist(), self.lengths.tolist(), strict=True)
        ]

    @classmethod
    def of_strings(cls, strings: pa.StringArray) -> Cells:
        """Cells of strings, none of them missing; the bytes are not copied."""
        offsets, data = buffers(strings)
        return cls(data, offsets[:-1].astype(np.int64), np.diff(offsets))

    @classmethod
    def of_codes(cls, codes: NDArray[Any], words: Sequence[str | None]) -> Cells:
        """The word of each code."""
        encoded = [(word or "").encode() for word in words]
        lengths = np.array([len(word) for word in encoded], np.int32)
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        lengths[[word is None for word in words]] = kernels.MISSING
        return cls(np.frombuffer(b"".join(encoded), np.uint8), starts[codes], lengths[codes])

    @classmethod
    def constant(cls, word: str, rows: int) -> Cells:
        """The same text in every row."""
        return cls.of_codes(np.zeros(rows, np.int8), [word])

    def where(self, mask: NDArray[np.bool_], other: Cells) -> Cells:
        """These cells where ``mask`` is true, the others elsewhere."""
        if mask.all():
            return self
        return Cells(
            np.concatenate([self.data, other.data]),
            np.where(mask, self.starts, other.starts + len(self.data)),
            np.where(mask, self.lengths, other.lengths),
        )

    @classmethod
    def interleave(cls, parts: Sequence[Cells]) -> Cells:
        """The first rows of all parts, then the second ones …"""
        data, starts, lengths = _stack(parts)
        return cls(data, starts.T.ravel(), lengths.T.ravel())


def _stack(columns: Sequence[Cells]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
    """All bytes, padded, and starts and lengths of shape (columns, rows)."""
    sizes = [len(column.data) for column in columns]
    first = np.cumsum([0, *sizes[:-1]])
    starts = np.stack([column.starts + place for column, place in zip(columns, first, strict=True)])
    data = np.concatenate([*(column.data for column in columns), np.zeros(kernels.PADDING, np.uint8)])
    return data, starts, np.stack([column.lengths for column in columns])


def _empty(rows: int) -> Cells:
    """Room for a number in each row."""
    starts = np.arange(rows, dtype=np.int64) * kernels.WIDTH
    return Cells(np.empty(rows * kernels.WIDTH, np.uint8), starts, np.empty(rows, np.int32))


def text(values: NDArray[Any]) -> Cells:
    """Numbers as text: the shortest decimal that reads back as the same float; no value where not finite.

    Parameters
    ----------
    values
        Integers or floats, shape (rows,); float32 is quick.
    """
    cells = _empty(len(values))
    if values.dtype.kind in "iu":
        kernels.write_integers(values.astype(np.int64), cells.data, cells.starts, cells.lengths)
        return cells
    if values.dtype == np.float32:
        floats = np.ascontiguousarray(values)
        digits, leading = np.empty((2, len(floats)), np.int64)
        kernels.shortest_digits(floats, floats.view(np.uint32), digits, leading, cells.lengths)
        kernels.write_decimals(digits, leading, np.signbit(floats), *_FLOAT_PLAIN, cells.data, cells.lengths)
    else:
        cells.lengths[:] = np.where(np.isfinite(values), kernels.UNSURE, kernels.MISSING)
    unsure = np.flatnonzero(cells.lengths == kernels.UNSURE)
    if not len(unsure):
        return cells
    words = Cells.of_strings(pc.cast(pa.array(values[unsure]), pa.string()))
    starts, lengths = cells.starts, cells.lengths
    starts[unsure] = words.starts + len(cells.data)
    lengths[unsure] = words.lengths
    return Cells(np.concatenate([cells.data, words.data]), starts, lengths)


def p_value_text(neg_log10_p: NDArray[np.floating[Any]]) -> Cells:
    """p-values as text with 7 significant digits, from −log10 p; no value where that is NaN.

    p-values below the smallest float64 are as exact as others: ``1.234567e-412``.
    """
    y = np.asarray(neg_log10_p, dtype=np.float64)
    finite = np.isfinite(y)
    known = np.where(finite, y, 0.0)
    leading = np.floor(-known)
    mantissa = np.rint(10.0 ** (-known - leading) * 10.0 ** (P_DIGITS - 1)) * 10.0 ** (9 - P_DIGITS)
    cells = _empty(len(y))
    cells.lengths[:] = np.where(finite, 0, kernels.MISSING)
    kernels.write_decimals(
        mantissa.astype(np.int64),
        leading.astype(np.int64),
        np.zeros(len(y), np.bool_),
        *_P_PLAIN,
        cells.data,
        cells.lengths,
    )
    return cells


def joined(columns: Sequence[Cells], separator: str, *, skip_missing: bool = False) -> Cells:
    """Cells of several columns put together; missing ones left out with their separators, or empty.

    With ``skip_missing`` a row of missing cells only is missing.
    """
    out, ends = _join(columns, separator, "", "", skip_missing)
    starts = np.concatenate([[0], ends[:-1]])
    lengths = (ends - starts).astype(np.int32)
    if skip_missing:
        lengths[np.all([column.lengths < 0 for column in columns], axis=0)] = kernels.MISSING
    return Cells(out, starts, lengths)


def lines(columns: Sequence[Cells], separator: str, missing: str = NO_VALUE) -> memoryview:
    """Join columns of text into lines, each ended by a newline; ``missing`` stands where there is no value."""
    out, _ = _join(columns, separator, missing, "\n", False)
    return out.data


def _join(
    columns: Sequence[Cells], separator: str, missing: str, end: str, skip_missing: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    data, starts, lengths = _stack(columns)
    rows = starts.shape[1]
    absent = int(np.count_nonzero(lengths < 0))
    most = (
        int(lengths.sum(dtype=np.int64))
        + absent * (1 + len(missing))
        + rows * (len(separator) * (len(columns) - 1) + len(end))
    )
    out, ends = np.empty(most + kernels.PADDING, np.uint8), np.empty(rows, np.int64)
    between, instead, after = (np.frombuffer(word.encode(), np.uint8) for word in (separator, missing, end))
    kernels.join_cells(data, starts, lengths, between, instead, skip_missing, after, out, ends)
    return out[: int(ends[-1]) if rows else 0], ends
