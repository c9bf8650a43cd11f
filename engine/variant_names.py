"""Names and places of variants, as Arrow columns, and arrays of strings as they stand in a Zarr store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numcodecs
import numpy as np
import pyarrow as pa

from allscan.arrow import string_array
from allscan.engine.chunk_files import ZSTD_LEVEL, read_file, with_checksum
from allscan.engine.names import MOST_TEXT, refuse_controls
from allscan.engine.zstd import decompress
from allscan.kernels.strings import HEADER, SPARE, gather_strings, join_strings, split_strings
from allscan.storage import each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.storage import Place


ASCII_DELETE = 127
"""The last character of ASCII, and a control character."""


class VariantPlaces(NamedTuple):
    """Where variants are."""

    contigs: tuple[str, ...]  # all that there are
    contig: NDArray[np.integer[Any]]  # (variants,), index into contigs
    position: NDArray[np.int32]  # (variants,)


@dataclass(frozen=True)
class VariantNames:
    """Variants, column by column; every column has a value for each."""

    contigs: tuple[str, ...]  # all that there are
    contig: NDArray[np.integer[Any]]  # index into contigs
    position: NDArray[np.int32]
    variant_id: pa.StringArray
    ref: pa.StringArray
    alt: pa.StringArray
    info: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.position)

    def slice(self, start: int, stop: int) -> VariantNames:
        """Variants ``start:stop``; nothing is copied."""
        return VariantNames(
            self.contigs,
            self.contig[start:stop],
            self.position[start:stop],
            self.variant_id.slice(start, stop - start),
            self.ref.slice(start, stop - start),
            self.alt.slice(start, stop - start),
            self.info[start:stop],
        )

    def take(self, rows: NDArray[Any]) -> VariantNames:
        """Variants by mask or by index."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return VariantNames(
            self.contigs,
            self.contig[index],
            self.position[index],
            take_strings(self.variant_id, index),
            take_strings(self.ref, index),
            take_strings(self.alt, index),
            self.info[index],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[VariantNames]) -> VariantNames:
        """Variants of several parts of one table, one after another."""
        return cls(
            parts[0].contigs,
            np.concatenate([part.contig for part in parts]),
            np.concatenate([part.position for part in parts]),
            pa.concat_arrays([part.variant_id for part in parts]),
            pa.concat_arrays([part.ref for part in parts]),
            pa.concat_arrays([part.alt for part in parts]),
            np.concatenate([part.info for part in parts]),
        )

    @property
    def contig_names(self) -> pa.StringArray:
        """Contig of each variant."""
        return take_strings(string_array(self.contigs), self.contig)


def read_strings(array: Place, shape: tuple[int, ...], rows: int, start: int, stop: int) -> pa.StringArray:
    """Read rows of an array of strings with the codecs ``vlen-utf8``, ``zstd``, ``crc32c``.

    Parameters
    ----------
    array
        Folder of the array.
    shape, rows
        Its shape, and rows of a chunk; chunks have all columns.
    start, stop
        Rows to read.

    Raises
    ------
    FileNotFoundError, ValueError
        If a chunk is absent or damaged.
    """
    width = int(np.prod(shape[1:], dtype=np.int64))
    rest = "/0" * (len(shape) - 1)
    parts = [string_array([])]
    chunks = range(start // rows, -(-stop // rows))
    for k, content in zip(chunks, each(read_file, [array / f"c/{k}{rest}" for k in chunks]), strict=True):
        strings = decode_strings(decompress(content, MOST_TEXT), rows * width)
        _refuse_controls(strings)
        low, high = max(start - k * rows, 0), min(stop - k * rows, rows)
        parts.append(strings.slice(low * width, (high - low) * width))
    return pa.concat_arrays(parts) if len(parts) != 2 else parts[1]


def _refuse_controls(strings: pa.StringArray) -> None:
    data = buffers(strings)[1]
    # Names are ASCII but for a few, and its control characters are quickly looked for in bytes.
    if len(data) and (data.min() < ord(" ") or data.max() >= ASCII_DELETE):
        refuse_controls(data.tobytes().decode("utf-8"))


def encode_strings_chunk(strings: pa.StringArray, size: int) -> list[bytes]:
    """Content of a chunk of ``size`` strings, filled up with empty ones, for the same codecs."""
    return with_checksum(numcodecs.Zstd(level=ZSTD_LEVEL).encode(encode_strings(strings, size)))


def encode_strings(strings: pa.StringArray, size: int) -> NDArray[np.uint8]:
    """Strings, filled up with empty ones to ``size``, as ``vlen-utf8``."""
    offsets, data = buffers(strings)
    offsets = np.concatenate([offsets, np.full(size - len(strings), offsets[-1], np.int32)])
    content = np.empty(HEADER * (size + 1) + len(data), np.uint8)
    join_strings(offsets, data, content)
    return content


def decode_strings(content: bytes | memoryview, size: int) -> pa.StringArray:
    """Strings of ``size`` values as ``vlen-utf8``.

    Raises
    ------
    ValueError
        If the bytes are not those of so many strings.
    """
    found = int.from_bytes(content[:HEADER], "little")
    length = len(content) - HEADER * (size + 1)
    if found != size or length < 0:
        raise ValueError(f"a chunk holds {found} strings, expected {size}")
    offsets, data = np.empty(size + 1, np.int32), np.empty(length + SPARE, np.uint8)
    split_strings(np.frombuffer(content, np.uint8), offsets, data)
    if offsets[-1] < 0:
        raise ValueError("the lengths of a chunk's strings do not add up")
    return pa.StringArray.from_buffers(size, pa.py_buffer(offsets), pa.py_buffer(data[:length]))


def take_strings(strings: pa.StringArray, rows: NDArray[np.integer[Any]]) -> pa.StringArray:
    """Some strings, by index: as Arrow's own, which takes five times as long."""
    offsets, data = buffers(strings)
    ends = np.zeros(len(rows) + 1, np.int32)
    np.cumsum(np.diff(offsets)[rows], out=ends[1:])
    out = np.empty(int(ends[-1]) + SPARE, np.uint8)
    gather_strings(offsets, data, rows.astype(np.int64, copy=False), ends, out)
    return pa.StringArray.from_buffers(len(rows), pa.py_buffer(ends), pa.py_buffer(out[: int(ends[-1])]))


def buffers(strings: pa.StringArray) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Offsets, shape (strings + 1,), from 0, and the bytes that they point into."""
    _, offsets, data = strings.buffers()
    ends = np.frombuffer(offsets or bytes(HEADER), np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return ends - ends[0], np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
