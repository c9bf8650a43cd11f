"""Groups and arrays of a Zarr v3 store, described and read without the Zarr library.

What a command reads before it computes anything are columns of numbers and names, each cut into chunks along its first
dimension. For these, starting the library takes longer than reading; the files are the same.
"""

from __future__ import annotations

import json
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np

from allscan.engine.chunk_files import CRC32C, ZSTD, ZSTD_LEVEL, bytes_codec, fill_value, read_file, with_checksum
from allscan.engine.names import MOST_TEXT, refuse_controls
from allscan.engine.zstd import decompress
from allscan.storage import each, is_remote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.storage import Place


def write_group(path: Place, attributes: Mapping[str, Any]) -> None:
    """Make a folder a Zarr group, or replace its attributes."""
    _write_metadata(path, {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"})


def write_array(
    path: Place,
    *,
    dtype: np.dtype[Any] | None,
    shape: Sequence[int],
    chunks: Sequence[int],
    dimensions: Sequence[str],
    codecs: Sequence[Mapping[str, Any]] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Describe an array; its chunks are written apart.

    Parameters
    ----------
    path
        Folder of the array, which is made.
    dtype
        Of the values; None for strings.
    shape, chunks
        Of the array, and of the part of it that is one file.
    dimensions
        Their names.
    codecs
        Metadata of the codecs of a file; left out, those of a column: ``zstd`` and ``crc32c``.
    attributes
        Of the array.
    """
    first = {"name": "vlen-utf8", "configuration": {}} if dtype is None else bytes_codec(dtype)
    path.mkdir()
    _write_metadata(
        path,
        {
            "shape": list(shape),
            "data_type": "string" if dtype is None else dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": "" if dtype is None else "NaN" if dtype.kind == "f" else 0,
            "codecs": [first, ZSTD, CRC32C] if codecs is None else list(codecs),
            "attributes": dict(attributes or {}),
            "dimension_names": list(dimensions),
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        },
    )


def encode_numbers_chunk(values: NDArray[Any], size: int) -> list[bytes]:
    """Content of a chunk of a column of ``size`` numbers, filled up with what stands for nothing."""
    whole = np.full(size, fill_value(values.dtype), values.dtype.newbyteorder("<"))
    whole[: len(values)] = values
    return with_checksum(numcodecs.Zstd(level=ZSTD_LEVEL).encode(whole))


def read_group_attributes(path: Place) -> dict[str, Any]:
    """Attributes of a Zarr group of version 3 or 2.

    Raises
    ------
    OSError, ValueError
        If there is no group at ``path``.
    """
    try:
        metadata = _metadata(path)
    except FileNotFoundError:
        if (path / ".zgroup").exists():
            return {}
        raise
    if metadata.get("node_type") != "group":
        raise ValueError(f"this is no group but {metadata.get('node_type')!r}")
    return dict(metadata.get("attributes", {}))


class StoredArray:
    """One array of a store.

    Parameters
    ----------
    path
        Folder of the array.

    Raises
    ------
    OSError, ValueError
        If there is no array, or it is not described.
    """

    def __init__(self, path: Place) -> None:
        self._path = path
        self._metadata = _metadata(path)
        try:
            self.shape = tuple(int(size) for size in self._metadata["shape"])
            self.chunks = tuple(int(size) for size in self._metadata["chunk_grid"]["configuration"]["chunk_shape"])
            self.data_type = str(self._metadata["data_type"])
            self._codecs = [str(codec["name"]) for codec in self._metadata["codecs"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"its metadata say nothing of {error}") from error

    @cached_property
    def _dtype(self) -> np.dtype[Any]:
        """Type of the values; objects for strings."""
        is_text = self.data_type == "string"
        first = "vlen-utf8" if is_text else "bytes"
        if self._codecs != [first, "zstd", "crc32c"] or self.chunks[1:] != self.shape[1:]:
            raise ValueError(f"the codecs {', '.join(self._codecs)}, chunks {self.chunks} are not this program's")
        return np.dtype(object if is_text else self.data_type).newbyteorder("<")

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows ``start:stop``; strings are objects.

        Raises
        ------
        OSError, ValueError
            If a chunk is absent, damaged, or of another program.
        """
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        out = np.empty((max(0, stop - start), *self.shape[1:]), self._dtype)
        rows = self.chunks[0]
        chunks = range(start // rows, -(-stop // rows))
        remote = is_remote(self._path) and len(chunks) > 1
        for k, values in zip(chunks, each(self._chunk, chunks, side_by_side=remote), strict=True):
            first = k * rows
            low, high = max(start, first), min(stop, first + rows)
            out[low - start : high - start] = values[low - first : high - first]
        return out

    def _chunk(self, index: int) -> NDArray[Any]:
        path = self._path.joinpath("c", str(index), *["0"] * (len(self.shape) - 1))
        is_text = self._dtype.kind == "O"
        content = decompress(read_file(path), MOST_TEXT if is_text else math.prod(self.chunks) * self._dtype.itemsize)
        if is_text:
            values = np.asarray(numcodecs.VLenUTF8().decode(content))
            refuse_controls("".join(values))
        else:
            values = np.frombuffer(content, self._dtype)
        return values.reshape(self.chunks)


def _metadata(path: Place) -> dict[str, Any]:
    metadata = json.loads((path / "zarr.json").read_bytes())
    if not isinstance(metadata, dict) or metadata.get("zarr_format") != 3:
        raise ValueError("zarr.json is not that of Zarr version 3")
    return metadata


def _write_metadata(path: Place, metadata: Mapping[str, Any]) -> None:
    (path / "zarr.json").write_bytes(json.dumps(metadata, indent=2).encode())
