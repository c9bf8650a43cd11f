"""Chunks of arrays as files, written and read without the detours of a general Zarr library.

The bytes are those of the Zarr v3 specification (codecs ``bytes``, ``blosc``, ``zstd``, ``sharding_indexed``,
``crc32c``): any Zarr reader reads them.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import google_crc32c
import numcodecs
import numcodecs.blosc
import numpy as np

from allscan.storage import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.storage import Opened, Place

CHECKSUM_BYTES = 4
ZSTD_LEVEL = 1
BLOSC_LEVEL = 5
INNER_VALUES = 8192
"""A shard's inner chunks have at least so many values: smaller ones cost more to find than to read."""

_ABSENT = 2**64 - 1  # offset and size of an inner chunk that a shard does not hold


ZSTD: dict[str, Any] = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
CRC32C: dict[str, Any] = {"name": "crc32c"}
"""Metadata of codecs."""


def bytes_codec(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Metadata of the codec that turns numbers into bytes."""
    return {"name": "bytes"} if dtype.itemsize == 1 else {"name": "bytes", "configuration": {"endian": "little"}}


def fill_value(dtype: np.dtype[Any]) -> Any:
    """What stands where no number was written."""
    return dtype.type(np.nan if dtype.kind == "f" else 0)


class Codec(Enum):
    """How the values of a chunk are compressed."""

    # Noise of 32 bits: sign and exponent compress, the rest does not. Sorted by bits, LZ4 finds that as well as zstd's
    # entropy coder does, in a third of its time to read or write.
    BITSHUFFLE = "bitshuffle"
    # Few distinct values, or rows that repeat.
    ZSTD = "zstd"

    @property
    def compressor(self) -> Any:
        """The codec of numcodecs."""
        if self is Codec.ZSTD:
            return numcodecs.Zstd(level=ZSTD_LEVEL)
        return numcodecs.Blosc("lz4", BLOSC_LEVEL, numcodecs.Blosc.BITSHUFFLE)


@dataclass(frozen=True)
class ChunkLayout:
    """How an array (stratum, trait, variant) is cut into chunks, one file each."""

    dtype: np.dtype[Any]
    traits: int  # of a file
    variants: int
    inner_traits: int  # of an inner chunk, where the file is a shard
    codec: Codec

    @property
    def sharded(self) -> bool:
        """Whether a file holds several chunks, each readable alone."""
        return self.inner_traits < self.traits

    @property
    def fill(self) -> Any:
        """Value of what was not written."""
        return fill_value(self.dtype)

    @property
    def codecs(self) -> list[dict[str, Any]]:
        """Metadata of the codecs of a file."""
        compressor = ZSTD
        if self.codec is Codec.BITSHUFFLE:
            settings = {"cname": "lz4", "clevel": BLOSC_LEVEL, "shuffle": "bitshuffle", "blocksize": 0}
            compressor = {"name": "blosc", "configuration": {"typesize": self.dtype.itemsize, **settings}}
        of_chunk = [bytes_codec(self.dtype), compressor, CRC32C]
        if not self.sharded:
            return of_chunk
        sharding = {
            "chunk_shape": [1, self.inner_traits, self.variants],
            "codecs": of_chunk,
            "index_codecs": [bytes_codec(np.dtype("<u8")), CRC32C],
            "index_location": "end",
        }
        return [{"name": "sharding_indexed", "configuration": sharding}]

    def encode(self, rows: NDArray[Any]) -> list[bytes]:
        """Content of a file, in pieces.

        Parameters
        ----------
        rows
            Shape (traits, variants), at most those of a file; what is left of it is filled.
        """
        if not self.sharded:
            return self._encode_chunk(rows, self.traits)
        pieces: list[bytes] = []
        index = np.full((self.traits // self.inner_traits, 2), _ABSENT, "<u8")
        offset = 0
        chunk: list[bytes] = []
        for k in range(-(-len(rows) // self.inner_traits)):
            inside = rows[k * self.inner_traits : (k + 1) * self.inner_traits]
            # One row that is repeated, without copies, makes the same chunk again.
            if not chunk or rows.strides[0] or len(inside) < self.inner_traits:
                chunk = self._encode_chunk(inside, self.inner_traits)
            size = sum(len(piece) for piece in chunk)
            index[k] = offset, size
            offset += size
            pieces += chunk
        return [*pieces, *with_checksum(index.tobytes())]

    def _encode_chunk(self, rows: NDArray[Any], traits: int) -> list[bytes]:
        assert rows.dtype == self.dtype
        whole = rows
        if rows.shape != (traits, self.variants):
            whole = np.full((traits, self.variants), self.fill, self.dtype)
            whole[: rows.shape[0], : rows.shape[1]] = rows
        whole = np.ascontiguousarray(whole)
        with _one_thread():
            return with_checksum(self.codec.compressor.encode(whole))

    def read(self, place: Place, traits: slice, variants: slice, out: NDArray[Any]) -> None:
        """Read a part of a file.

        Parameters
        ----------
        place
            The file.
        traits, variants
            The part, within the file.
        out
            Written: shape (traits, variants).

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ChecksumError
            If its bytes are not those that were written.
        """
        with opened(place) as file:
            if not self.sharded:
                file.load_all()
                content = _read_checked(file, 0, file.size)
                out[:] = self._decode_chunk(content, self.traits)[traits, variants]
                return
            count = self.traits // self.inner_traits
            length = 16 * count + CHECKSUM_BYTES
            file.load_end(length)
            index = np.frombuffer(_read_checked(file, file.size - length, length), "<u8").reshape(count, 2)
            wanted = range(traits.start // self.inner_traits, -(-traits.stop // self.inner_traits))
            file.load([(int(index[k, 0]), int(index[k, 1])) for k in wanted if index[k, 0] != _ABSENT])
            for k in wanted:
                first = k * self.inner_traits
                low, high = max(traits.start, first), min(traits.stop, first + self.inner_traits)
                target = out[low - traits.start : high - traits.start]
                if index[k, 0] == _ABSENT:
                    target[:] = self.fill
                    continue
                content = _read_checked(file, int(index[k, 0]), int(index[k, 1]))
                target[:] = self._decode_chunk(content, self.inner_traits)[low - first : high - first, variants]

    def _decode_chunk(self, content: bytes, traits: int) -> NDArray[Any]:
        chunk = np.empty((traits, self.variants), self.dtype)
        with _one_thread():
            self.codec.compressor.decode(content, chunk)
        return chunk


class ChecksumError(ValueError):
    """The bytes of a file do not match their checksum."""


def read_file(place: Place) -> bytes:
    """Content of a file, checked, without the checksum that ends it.

    Raises
    ------
    ChecksumError
        If its bytes are not those that were written.
    """
    with opened(place) as file:
        file.load_all()
        return _read_checked(file, 0, file.size)


def stored_checksum(place: Place) -> tuple[int, int]:
    """Size of a file and the checksum that ends it, which is not compared with its content."""
    with opened(place) as file:
        file.load_end(CHECKSUM_BYTES)
        end = file.read(max(0, file.size - CHECKSUM_BYTES), CHECKSUM_BYTES)
        return file.size, int.from_bytes(end, "little")


def with_checksum(content: bytes) -> list[bytes]:
    """What the codec ``crc32c`` makes of some bytes, in two pieces."""
    return [content, google_crc32c.value(content).to_bytes(CHECKSUM_BYTES, "little")]


def _read_checked(file: Opened, offset: int, size: int) -> bytes:
    """Bytes of a file without the checksum that ends them."""
    content = file.read(offset, max(size - CHECKSUM_BYTES, 0))
    checksum = file.read(offset + size - CHECKSUM_BYTES, CHECKSUM_BYTES)
    if size <= CHECKSUM_BYTES or google_crc32c.value(content).to_bytes(CHECKSUM_BYTES, "little") != checksum:
        raise ChecksumError("the bytes do not match their checksum")
    return content


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep Blosc from threads of its own, whose order would be that of the blocks in a chunk.

    It has them in the main thread only, and the setting is one of the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = numcodecs.blosc.use_threads
    numcodecs.blosc.use_threads = False
    try:
        yield
    finally:
        numcodecs.blosc.use_threads = before
