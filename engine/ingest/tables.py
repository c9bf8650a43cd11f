"""The text files beside a genotype file: how they are opened, and variant tables too long to keep in memory."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from allscan.errors import FileFormatError, InputError
from allscan.storage.compression import MAGIC_BYTES, compression_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

_BLOCK_BYTES = 4 << 20
MAX_POSITION = 2**31 - 1


def sibling(path: Path, *suffixes: str) -> Path:
    """First existing file with the stem of ``path`` and one of ``suffixes``.

    Raises
    ------
    InputError
        If there is none.
    """
    candidates = [path.with_name(path.stem + suffix) for suffix in suffixes]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    names = " or ".join(candidate.name for candidate in candidates)
    raise InputError(
        f"{path.name} cannot be read without {names}",
        where=str(path),
        fix=f"put {names} beside {path.name}, with the same name up to the extension",
    )


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressing gzip, zstd and bzip2 by content.

    Raises
    ------
    InputError
        If the file cannot be opened.
    FileFormatError
        If its compression is damaged.
    """
    import pyarrow as pa

    try:
        with path.open("rb") as file:
            compression = compression_of(file.read(MAGIC_BYTES))
        if compression is None:
            with path.open("rb") as file:
                yield file
        else:
            with pa.input_stream(str(path), compression=compression) as stream:
                yield cast("BinaryIO", stream)
    except OSError as error:
        if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError)):
            raise InputError(
                f"{path.name} cannot be opened: {error.strerror}",
                where=str(path),
                fix="check the path and the permissions",
            ) from error
        raise FileFormatError(
            f"{path.name} cannot be decompressed: {error}",
            where=str(path),
            fix="the file is damaged or incomplete: copy or create it again",
        ) from error


def read_lines(path: Path) -> list[str]:
    """All lines of a small text file, without line ends and byte order mark.

    Raises
    ------
    InputError, FileFormatError
        If it cannot be opened or is not UTF-8 text.
    """
    with open_bytes(path) as stream:
        raw = stream.read()
    try:
        return raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FileFormatError(
            f"{path.name} is not UTF-8 text: byte 0x{raw[error.start]:02x}",
            where=f"{path}, line {line}",
            fix="save the file as UTF-8, or check that it is the right file",
        ) from error


@dataclass(frozen=True)
class Block:
    """A run of whole lines of a variant table."""

    offset: int  # bytes from the start of the (decompressed) file
    size: int  # bytes
    first_row: int
    n_rows: int
    first_line: int  # 1-based


class OrderCheck:
    """Checks that variants come sorted: each contig in one piece, positions never falling."""

    def __init__(self, path: str, fix: str) -> None:
        self.path = path
        self.fix = fix
        self.contig: str | None = None
        self.position = 0
        self.done: set[str] = set()

    def check(
        self,
        contig: NDArray[np.object_],
        position: NDArray[np.int64],
        where: Callable[[int], str] = "variant {}".format,
    ) -> None:
        """Check the next variants, in file order.

        Parameters
        ----------
        contig, position
            (variants,) of the next variants.
        where
            Names a variant of these by its number, for the message.

        Raises
        ------
        FileFormatError
            If a contig comes back after another one, or a position falls.
        """
        if len(position) == 0:
            return
        starts = np.concatenate([[0], np.flatnonzero(contig[1:] != contig[:-1]) + 1])
        stops = np.append(starts[1:], len(position))
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            name = str(contig[start])
            if name != self.contig:
                if name in self.done:
                    raise FileFormatError(
                        f"variants are not sorted: contig {name!r} comes again after {self.contig!r}",
                        where=f"{self.path}, {where(start)}",
                        fix=self.fix,
                    )
                if self.contig is not None:
                    self.done.add(self.contig)
                self.contig, self.position = name, 0
            here = position[start:stop]
            falls = np.flatnonzero(np.diff(here, prepend=self.position) < 0)
            if falls.size:
                row = start + int(falls[0])
                before = self.position if falls[0] == 0 else int(position[row - 1])
                raise FileFormatError(
                    f"variants are not sorted: {name}:{int(position[row])} comes after {name}:{before}",
                    where=f"{self.path}, {where(row)}",
                    fix=self.fix,
                )
            self.position = int(here[-1])

    def check_next(self, contig: str, position: int) -> None:
        """Check one more variant.

        Raises
        ------
        FileFormatError
            As :meth:`check`.
        """
        if contig == self.contig and position >= self.position:
            self.position = position
            return
        name = np.array([contig], dtype=object)
        self.check(name, np.array([position]), lambda _: f"record {contig}:{position}")


@dataclass(frozen=True)
class VariantText:
    """A variant table (.bim, .pvar) indexed by blocks of lines, so that a worker reads only its own rows."""

    path: str
    columns: tuple[str, ...]  # names of the file's columns, in order
    wanted: tuple[str, ...]  # columns that `rows` returns; "position" is an integer
    blocks: tuple[Block, ...]

    @property
    def n_rows(self) -> int:
        """Number of variants."""
        last = self.blocks[-1]
        return last.first_row + last.n_rows

    @classmethod
    def scan(
        cls,
        path: Path,
        columns: Sequence[str],
        wanted: Sequence[str],
        *,
        skip_lines: int = 0,
        inspect: Callable[[pa.Table, Callable[[int], str]], None],
    ) -> VariantText:
        """Read a table once from end to end, checking every row.

        Parameters
        ----------
        path
            Text, or text compressed by zstd or gzip.
        columns, wanted
            Names of all columns, and of those of use.
        skip_lines
            Header lines to pass over.
        inspect
            Called with each block's rows and a function that names a row's line.

        Raises
        ------
        FileFormatError
            If a row has another number of columns, a position is not a whole number, the text is not UTF-8,
            or there is no row.
        """
        blocks: list[Block] = []
        table = cls(str(path), tuple(columns), tuple(wanted), ())
        with open_bytes(path) as stream:
            offset = 0
            line = 1 + skip_lines
            for _ in range(skip_lines):
                offset += len(_read_line(stream))
            row = 0
            rest = b""
            while True:
                more = stream.read(_BLOCK_BYTES)
                data = rest + more
                cut = data.rfind(b"\n") + 1 if more else len(data)
                rest = data[cut:]
                raw = data[:cut]
                if raw.strip():
                    rows = table.parse(raw, line)
                    inspect(rows, _line_finder(raw, line))
                    blocks.append(Block(offset, len(raw), row, rows.num_rows, line))
                    row += rows.num_rows
                offset += len(raw)
                line += raw.count(b"\n")
                if not more:
                    break
        if not blocks:
            raise FileFormatError(
                f"{path.name} lists no variants", where=str(path), fix="give a file with at least one variant"
            )
        return cls(str(path), tuple(columns), tuple(wanted), tuple(blocks))

    def parse(self, raw: bytes, first_line: int) -> pa.Table:
        """Rows of a run of whole lines, as an Arrow table of the wanted columns."""
        import pyarrow as pa
        from pyarrow import csv

        # PLINK separates by any white space; an ID never holds any.
        tabbed = raw if b" " not in raw else re.sub(rb"[ \t]+", b"\t", re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", raw))
        types = {name: pa.int64() if name == "position" else pa.string() for name in self.wanted}
        try:
            return csv.read_csv(
                pa.BufferReader(tabbed),
                read_options=csv.ReadOptions(
                    column_names=list(self.columns), use_threads=False, block_size=max(len(tabbed), 1)
                ),
                parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
                convert_options=csv.ConvertOptions(
                    column_types=types,
                    include_columns=list(self.wanted),
                    strings_can_be_null=False,
                    null_values=[],
                ),
            )
        except pa.ArrowInvalid as error:
            raise self._explain(raw, first_line, str(error)) from error

    def rows(self, start: int, stop: int) -> dict[str, NDArray[np.object_]]:
        """Columns of the rows ``start`` to ``stop``: str, but ``position`` int64; each of shape (rows,)."""
        import pyarrow as pa

        chosen = [b for b in self.blocks if b.first_row < stop and b.first_row + b.n_rows > start]
        parts = []
        with open_bytes(Path(self.path)) as stream:
            at = 0
            for block in chosen:
                at = _advance(stream, at, block.offset)
                raw = stream.read(block.size)
                at += len(raw)
                parts.append(self.parse(raw, block.first_line))
        first = chosen[0].first_row
        table = pa.concat_tables(parts).slice(start - first, stop - start)
        return {name: table.column(name).to_numpy() for name in self.wanted}

    def _explain(self, raw: bytes, first_line: int, reason: str) -> FileFormatError:
        place = self.columns.index("position")
        name = Path(self.path).name
        for number, line in enumerate(raw.splitlines(), start=first_line):
            cells = line.split()
            if not cells:
                continue
            where = f"{self.path}, line {number}"
            if len(cells) != len(self.columns):
                return FileFormatError(
                    f"{len(cells)} columns where {len(self.columns)} are expected: {', '.join(self.columns)}",
                    where=where,
                    fix=f"repair this line, or check that {name} was copied completely",
                )
            if not re.fullmatch(rb"[+-]?\d{1,18}", cells[place]):
                return FileFormatError(
                    f"position {cells[place].decode(errors='replace')!r} is not a whole number",
                    where=f"{where}, column {place + 1}",
                    fix="give positions as base pairs, 1 to 2147483647",
                )
            try:
                line.decode()
            except UnicodeDecodeError:
                return FileFormatError(f"{name} is not UTF-8 text", where=where, fix="save it as UTF-8")
        return FileFormatError(
            f"{name} cannot be read: {reason}", where=self.path, fix="separate the columns by single tabs"
        )


def check_positions(position: NDArray[np.int64], path: str, where: Callable[[int], str]) -> None:
    """Refuse positions that no chromosome has.

    Raises
    ------
    FileFormatError
        If a position is above 2^31 - 1.
    """
    wrong = np.flatnonzero(position > MAX_POSITION)
    if wrong.size:
        raise FileFormatError(
            f"position {int(position[wrong[0]])} is too large for a chromosome",
            where=f"{path}, {where(int(wrong[0]))}",
            fix="give positions as base pairs, 1 to 2147483647",
        )


def _line_finder(raw: bytes, first_line: int) -> Callable[[int], str]:
    def find(row: int) -> str:
        filled = (number for number, line in enumerate(raw.splitlines(), first_line) if line.strip())
        return f"line {next(number for n, number in enumerate(filled) if n == row)}"

    return find


def _read_line(stream: BinaryIO) -> bytes:
    line = bytearray()
    while True:
        byte = stream.read(1)
        line += byte
        if byte in (b"", b"\n"):
            return bytes(line)


def _advance(stream: BinaryIO, at: int, offset: int) -> int:
    # A compressed stream cannot seek; reading on is fast enough (about 1 GB/s).
    if stream.seekable():
        stream.seek(offset)
        return offset
    while at < offset:
        at += len(stream.read(min(offset - at, _BLOCK_BYTES)))
    return at
