"""The bytes of a text table, decompressed and checked line by line, so that an error can name its line."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa

from allscan import storage
from allscan.errors import FileFormatError, InputError
from allscan.storage.compression import compression_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer

    from allscan.storage import Place

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 1 << 26
"""Bytes; a compressed file of a few bytes can hold a line that fills the memory."""
NEWLINE = ord("\n")

_REFUSED = {
    b"PK\x03\x04": ("an Excel or zip file", "save the sheet as tab-separated text"),
    b"\xd0\xcf\x11\xe0": ("an Excel file", "save the sheet as tab-separated text"),
    b"\xfd7zXZ": ("xz-compressed", "decompress it, or compress it with gzip, zstd or bzip2"),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8"),
}


def first_bytes(path: Place) -> bytes:
    """The start of a file, by which its format is known.

    Raises
    ------
    InputError
        If the file cannot be opened.
    """
    try:
        return storage.first_bytes(path, 8)
    except FileNotFoundError:
        raise InputError(f"there is no file {path.name!r}", where=str(path), fix="check the path") from None
    except OSError as error:
        raise InputError(
            f"the file cannot be read: {error.strerror}", where=str(path), fix="check its permissions"
        ) from error


def open_bytes(path: Place) -> BinaryIO:
    """A table's decompressed bytes, without a byte order mark.

    Raises
    ------
    FileFormatError
        If the file is of a kind that is not text.
    """
    start = first_bytes(path)
    for magic, (kind, fix) in _REFUSED.items():
        if start.startswith(magic):
            raise FileFormatError(f"{path.name} is {kind}, not a text table", where=str(path), fix=fix)
    source = pa.PythonFile(storage.open_stream(path), mode="r") if storage.is_remote(path) else str(path)
    raw = pa.input_stream(source, compression=compression_of(start), buffer_size=BLOCK_BYTES)
    stream = io.BufferedReader(raw, BLOCK_BYTES)
    try:
        has_mark = stream.peek(3).startswith(b"\xef\xbb\xbf")
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from error
    if has_mark:
        stream.read(3)
    return stream


def read_bytes(path: Place, stream: BinaryIO, size: int) -> bytes:
    """Read from a table's stream; a damaged compressed file is refused by name."""
    try:
        return stream.read(size)
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from error


def read_line(path: Place, stream: BinaryIO) -> bytes:
    """One line of a table's stream, with its end."""
    try:
        return stream.readline(LONGEST_LINE)
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from error


def _damaged(path: Place, error: Exception) -> FileFormatError:
    return FileFormatError(
        f"{path.name} is truncated or damaged: {error}", where=str(path), fix="copy or export the file again"
    )


def decode(path: Place, data: bytes, line: int) -> str:
    """Text of bytes that begin at a physical line."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        bad_line = line + data.count(b"\n", 0, error.start)
        raise FileFormatError(
            f"byte {data[error.start : error.start + 1]!r} is not UTF-8 text",
            where=f"{path}, line {bad_line}",
            fix="save the file as UTF-8",
        ) from error


class CheckedLines(io.RawIOBase):
    """The rows of a text table below its header, checked and passed on as bytes.

    Runs of white space become single tabs where white space separates the columns. Refused, with the
    physical line: NUL bytes, bytes that are not UTF-8, bare carriage returns, quotes that are left open.
    """

    def __init__(self, path: Place, stream: BinaryIO, *, delimiter: str | None, line: int) -> None:
        self._path = path
        self._stream = stream
        self._delimiter = delimiter
        self._line = line  # of the next byte read
        self._rest = b""  # an incomplete last line
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Whether the stream can be read: it can."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer with checked bytes; 0 at the end."""
        target = memoryview(buffer).cast("B")
        while not self._ready:
            block = read_bytes(self._path, self._stream, BLOCK_BYTES)
            if not block and not self._rest:
                return 0
            data = self._rest + block
            end = data.rfind(b"\n") + 1 if block else len(data)
            self._rest = data[end:]
            if len(self._rest) > LONGEST_LINE:
                raise FileFormatError(
                    f"a line is longer than {LONGEST_LINE >> 20} MiB: this is no table",
                    where=self._where(data, end),
                    fix="give a table of people, one on each line",
                )
            self._ready = memoryview(self._checked(data[:end]))
        size = min(len(target), len(self._ready))
        target[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _checked(self, data: bytes) -> bytes:
        if b"\0" in data:
            raise FileFormatError(
                "a NUL byte: the file is damaged, or not text",
                where=self._where(data, data.index(b"\0")),
                fix="export the table again as text",
            )
        if b"\r" in data:
            plain = data.replace(b"\r\n", b" \n")
            if b"\r" in plain:
                raise FileFormatError(
                    "a carriage return without a line feed",
                    where=self._where(data, plain.index(b"\r")),
                    fix="convert the line ends to LF or CRLF",
                )
        if not data.isascii():
            decode(self._path, data, self._line)
        if b'"' in data:
            self._check_quotes(data)
        # Five times as fast as bytes.count.
        self._line += int(np.count_nonzero(np.frombuffer(data, np.uint8) == NEWLINE))
        if self._delimiter is None:
            data = b"\n".join(b"\t".join(row.split()) for row in data.split(b"\n"))
        return data

    def _check_quotes(self, data: bytes) -> None:
        for number, row in enumerate(data.split(b"\n"), self._line):
            # A quote opens a cell only at its start: 5'10" is no quoted cell.
            if row.count(b'"') % 2 == 0:
                continue
            text = row.decode("utf-8").rstrip("\r")
            delimiter = self._delimiter or "\t"
            if self._delimiter is None:
                text = delimiter.join(text.split())
            try:
                next(csv.reader([text], delimiter=delimiter, strict=True))
            except csv.Error:
                raise FileFormatError(
                    "a quoted cell is not closed on its line",
                    where=f"{self._path}, line {number}",
                    fix="close or remove the quote; cells cannot contain line breaks",
                ) from None

    def _where(self, data: bytes, offset: int) -> str:
        line = self._line + data.count(b"\n", 0, offset)
        return f"{self._path}, line {line}"


def rows_with_lines(path: Place, header_line: int, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Physical line and cells of every row below the header; empty lines are no rows.

    Slow (Python's own reader): for finding the line of an error.
    """
    with open_bytes(path) as stream:
        for number, raw in enumerate(stream, 1):
            if number <= header_line:
                continue
            text = raw.decode("utf-8", errors="replace").rstrip("\r\n")
            if delimiter is None:
                text = "\t".join(text.split())
            if text:
                yield number, next(csv.reader([text], delimiter=delimiter or "\t"))
