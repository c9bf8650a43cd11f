"""Arrow without what is slow to import: pandas, for its own conversions to NumPy, and its module of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import DTypeLike, NDArray


def string_array(texts: Iterable[str]) -> Any:
    """Texts as a ``pyarrow.StringArray``."""
    encoded = [text.encode() for text in texts]
    ends = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=ends[1:])
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def number_array(values: NDArray[Any]) -> Any:
    """Numbers (n,) as an Arrow array of the same type; nothing is copied if they are contiguous."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def compute(function: str, *arguments: Any, **options: Any) -> Any:
    """What ``pyarrow.compute`` calls ``function``; that module makes 300 functions of Python when it is imported."""
    from pyarrow import _compute

    if not options:
        return _compute.call_function(function, list(arguments))
    kind = getattr(_compute, _compute.get_function(function)._doc.options_class)
    return _compute.call_function(function, list(arguments), kind(**options))


def cast(column: Any, kind: Any, *, safe: bool = True) -> Any:
    """A column, chunked or not, in another type.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a value cannot be; with ``safe``, also if it would lose something.
    """
    from pyarrow import _compute

    options = _compute.CastOptions.safe(kind) if safe else _compute.CastOptions.unsafe(kind)
    return _compute.call_function("cast", [column], options)


def null_string() -> Any:
    """The missing value of a column of strings."""
    return pa.nulls(1, pa.string())[0]


def objects(column: Any) -> NDArray[np.object_]:
    """The values of a column, chunked or not, as Python objects; None where one is missing."""
    out = np.empty(len(column), object)
    out[:] = column.to_pylist()
    return out


def booleans(column: Any) -> NDArray[np.bool_]:
    """A column of booleans, chunked or not; False where one is missing."""
    parts = [_bits(chunk.buffers()[1], chunk) & _valid(chunk) for chunk in _chunks(column)]
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def numbers(column: Any, dtype: DTypeLike, missing: float) -> NDArray[Any]:
    """A column of numbers, chunked or not.

    Parameters
    ----------
    column
        Of the Arrow type that corresponds to ``dtype``.
    dtype
        Of the result.
    missing
        What stands in the result where the column has no value.
    """
    parts = []
    for chunk in _chunks(column):
        data = chunk.buffers()[1]
        values = np.frombuffer(data, dtype)[chunk.offset : chunk.offset + len(chunk)]
        parts.append(np.where(_valid(chunk), values, missing) if chunk.null_count else values)
    return np.concatenate(parts, dtype=dtype) if parts else np.zeros(0, dtype)


def _chunks(column: Any) -> list[Any]:
    return [chunk for chunk in (column.chunks if isinstance(column, pa.ChunkedArray) else [column]) if len(chunk)]


def _valid(chunk: Any) -> NDArray[np.bool_]:
    validity = chunk.buffers()[0]
    return np.ones(len(chunk), np.bool_) if validity is None else _bits(validity, chunk)


def _bits(buffer: Any, chunk: Any) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    return bits[chunk.offset : chunk.offset + len(chunk)].view(np.bool_)
