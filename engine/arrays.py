"""Arrays of a Zarr v3 store as this program writes them, read without the Zarr library.

What a command reads before it computes anything are columns of numbers and names, each cut into chunks along its first
dimension. For these, starting the library takes longer than reading; the files are the same.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np

from allscan.engine.chunk_files import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_group_attributes(path: Path) -> dict[str, Any]:
    """Attributes of a Zarr group of version 3 or 2.

    Raises
    ------
    OSError, ValueError
        If there is no group at ``path``.
    """
    if (path / ".zgroup").exists():
        return {}
    metadata = _metadata(path)
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

    def __init__(self, path: Path) -> None:
        self._path = path
        self._metadata = _metadata(path)
        try:
            self.shape = tuple(int(size) for size in self._metadata["shape"])
            self.rows = int(self._metadata["chunk_grid"]["configuration"]["chunk_shape"][0])  # of a chunk
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"its metadata say nothing of {error}") from error

    @cached_property
    def _dtype(self) -> np.dtype[Any]:
        """Type of the values; objects for strings."""
        kind, codecs = self._metadata["data_type"], [codec["name"] for codec in self._metadata["codecs"]]
        chunk = self._metadata["chunk_grid"]["configuration"]["chunk_shape"]
        first = "vlen-utf8" if kind == "string" else "bytes"
        if codecs != [first, "zstd", "crc32c"] or any(c < s for c, s in zip(chunk[1:], self.shape[1:], strict=True)):
            raise ValueError(f"the codecs {', '.join(codecs)} with chunks of {chunk} are not this program's")
        return np.dtype(object if kind == "string" else kind).newbyteorder("<")

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows ``start:stop``; strings are objects.

        Raises
        ------
        OSError, ValueError
            If a chunk is absent, damaged, or of another program.
        """
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        out = np.empty((max(0, stop - start), *self.shape[1:]), self._dtype)
        for k in range(start // self.rows, -(-stop // self.rows)):
            first = k * self.rows
            low, high = max(start, first), min(stop, first + self.rows)
            out[low - start : high - start] = self._chunk(k)[low - first : high - first]
        return out

    def _chunk(self, index: int) -> NDArray[Any]:
        path = self._path.joinpath("c", str(index), *["0"] * (len(self.shape) - 1))
        content = numcodecs.Zstd().decode(read_file(path))
        if self._dtype.kind == "O":
            values = np.asarray(numcodecs.VLenUTF8().decode(content))
        else:
            values = np.frombuffer(content, self._dtype)
        return values.reshape(self.rows, *self.shape[1:])


def _metadata(path: Path) -> dict[str, Any]:
    metadata = json.loads((path / "zarr.json").read_bytes())
    if not isinstance(metadata, dict) or metadata.get("zarr_format") != 3:
        raise ValueError("zarr.json is not that of Zarr version 3")
    return metadata
