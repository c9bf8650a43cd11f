"""The text of a study's table: its header, and its bytes decompressed, hashed as they are read, one separator long."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from allscan.storage import first_bytes, open_stream
from allscan.storage.compression import MAGIC_BYTES, compression_of

if TYPE_CHECKING:
    from allscan.storage import Place

BLOCK_BYTES = 8 << 20


def first_line(place: Place) -> str:
    """The first line of a table."""
    codec = _codec(place)
    with open_stream(place) as stream:
        source: Any = pa.CompressedInputStream(pa.PythonFile(stream, "r"), codec) if codec else stream
        content = b""
        while b"\n" not in content and (more := source.read(1 << 16)):
            content += more
    return str(content.split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r"))


def delimiter_of(header: str) -> tuple[str, bool]:
    """What separates columns, and whether it is any number of spaces."""
    if "\t" in header:
        return "\t", False
    if "," in header and " " not in header.strip():
        return ",", False
    return " ", header != " ".join(header.split()) or " " not in header


def open_text(place: Place, digest: Any, *, squeezed: bool) -> Any:
    """A table's decompressed bytes, for Arrow.

    Parameters
    ----------
    digest
        Updated with the bytes of the file, all of them once the stream is closed.
    squeezed
        Whether any number of spaces separates columns: tabs take their place.
    """
    codec = _codec(place)
    raw: Any = pa.PythonFile(io.BufferedReader(_Hashed(open_stream(place), digest), BLOCK_BYTES), "r")
    text = pa.CompressedInputStream(raw, codec) if codec else raw
    return pa.PythonFile(io.BufferedReader(_Squeezed(text), BLOCK_BYTES), "r") if squeezed else text


def _codec(place: Place) -> str | None:
    return compression_of(first_bytes(place, MAGIC_BYTES))


class _Hashed(io.RawIOBase):
    """A file that is hashed as it is read."""

    def __init__(self, stream: io.BufferedReader, digest: Any) -> None:
        self._stream, self._digest = stream, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._stream.readinto(buffer)
        self._digest.update(memoryview(buffer)[:count])
        return count

    def close(self) -> None:
        # What follows the last row, such as BGZF's empty block, is part of the file.
        if not self.closed:
            while more := self._stream.read(1 << 20):
                self._digest.update(more)
            self._stream.close()
        super().close()


class _Squeezed(io.RawIOBase):
    """Text whose columns any number of spaces separate, as text with tabs."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._rest, self._ready = stream, b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            more = self._stream.read(1 << 20)
            content = self._rest + more
            if not content:
                return 0
            # A line is looked at when it is whole.
            end = content.rfind(b"\n") + 1 if more else len(content)
            self._rest = content[end:]
            lines = re.sub(rb"[ \t]+", b"\t", content[:end])
            self._ready = re.sub(rb"(?m)^\t|\t(?=\r?$)", b"", lines)
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size
