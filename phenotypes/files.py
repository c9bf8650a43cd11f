"""Opening people's tables, text or Parquet: names of the columns, and the columns as Arrow arrays."""

from __future__ import annotations

import csv
import io
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from allscan import arrow
from allscan.errors import FileFormatError, InputError
from allscan.phenotypes.cells import LARGEST_VALUE, MissingValues, numbers
from allscan.phenotypes.lines import (
    BLOCK_BYTES,
    CheckedLines,
    decode,
    first_bytes,
    open_bytes,
    read_line,
    rows_with_lines,
)
from allscan.phenotypes.names import listed
from allscan.printable import control_character
from allscan.storage import place_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from allscan.storage import Place

FIRST_ROWS = 50
"""Rows that tell columns of numbers from columns of text."""

COLUMNS_AT_A_TIME = 64
"""Parquet columns read at once: bounds what Arrow holds beside the trait matrix."""


class RawTable(Protocol):
    """A table before its cells are understood. Rows are counted from 0, without header and empty lines."""

    source: str
    names: tuple[str, ...]  # unique, not empty

    def columns(
        self, names: Sequence[str], *, numeric: Collection[str] = (), missing: MissingValues | None = None
    ) -> Iterator[tuple[str, Any]]:
        """The named columns, in the order given, each a ``pyarrow.ChunkedArray``.

        Text is left as it is, except that a column of ``numeric`` may come as float64, null where a cell is
        one of the ``missing`` words, if ``cells.numbers`` would make the same of it and find nothing bad.
        """

    def where(self, row: int, column: str) -> str:
        """File, line (or row) and column of a cell."""


def open_table(path: str | Place) -> RawTable:
    """Open a table: Parquet (a file, or a folder of part files) or delimited text, by its first bytes.

    Raises
    ------
    InputError
        If there is no such file, or its header cannot be used.
    FileFormatError
        If the file is damaged or of another kind.
    """
    path = place_of(path)
    if path.is_dir() or first_bytes(path).startswith(b"PAR1"):
        return ParquetTable(path)
    return TextTable(path)


class TextTable:
    """Delimited text; every cell stays a string, unless the reader asks for numbers.

    The header says what separates the columns: a tab if it has one, else a comma, else a semicolon, else
    white space.
    """

    def __init__(self, path: Place) -> None:
        self.source = str(path)
        self._path = path
        header, self.header_line = _header(path)
        self.delimiter = _delimiter(header)
        self.names = _checked_names(split_cells(header, self.delimiter), f"{path}, line {self.header_line}")

    def columns(
        self, names: Sequence[str], *, numeric: Collection[str] = (), missing: MissingValues | None = None
    ) -> Iterator[tuple[str, Any]]:
        """The named columns as strings, or float64 where ``numeric`` allows it and the text, too.

        The file is read once, whatever the number of columns, if all of ``numeric`` are numbers.
        """
        missing = missing or MissingValues.with_extra(())
        table = self._converted(names, numeric, missing) if numeric else None
        if table is None:
            table = self._strings(names)
        if table.num_rows == 0:
            raise _no_rows(self.source)
        refused = [name for name in numeric if _beyond_limits(table.column(name))]
        # A message shows such a cell as it is written.
        again = self._strings(refused) if refused else table
        for name in names:
            yield name, (again if name in refused else table).column(name)

    def _converted(self, names: Sequence[str], numeric: Collection[str], missing: MissingValues) -> Any:
        """The columns, those of ``numeric`` as float64 that seem to hold numbers; None if they do not."""
        try:
            return self._read(names, numeric, missing)
        except pa.ArrowException:
            pass
        likely = self._numbers_at_start(numeric, missing)
        if not likely or len(likely) == len(numeric):
            return None
        try:
            return self._read(names, likely, missing)
        except pa.ArrowException:
            return None

    def _numbers_at_start(self, names: Collection[str], missing: MissingValues) -> list[str]:
        """The columns whose first cells are numbers or missing."""
        with self._lines() as lines:
            start = io.BytesIO(b"".join(itertools.islice(lines, FIRST_ROWS)))
        try:
            table = self._parsed(start, names, dict.fromkeys(names, pa.string()), ())
        except pa.ArrowException:
            return []
        return [name for name in names if numbers(table.column(name), missing)[1] is None]

    def _strings(self, names: Sequence[str]) -> Any:
        try:
            return self._read(names, (), None)
        except pa.ArrowException as error:
            raise self._diagnosis(error) from error

    def _read(self, names: Sequence[str], numeric: Collection[str], missing: MissingValues | None) -> Any:
        types = dict.fromkeys(names, pa.string()) | dict.fromkeys(numeric, pa.float64())
        # Cells of text lose the white space around them before they are compared with the words.
        words = (
            [f"{before}{word}{after}" for word in missing.words for before in ("", " ") for after in ("", " ")]
            if missing
            else ()
        )
        with self._lines() as lines:
            return self._parsed(lines, names, types, words)

    def _parsed(self, lines: Any, names: Collection[str], types: dict[str, Any], words: Sequence[str]) -> Any:
        from pyarrow import csv as arrow_csv

        return arrow_csv.read_csv(
            lines,
            # Lines come from Python one block at a time: a second thread would find little to do.
            read_options=arrow_csv.ReadOptions(column_names=list(self.names), use_threads=False),
            parse_options=arrow_csv.ParseOptions(delimiter=self.delimiter or "\t"),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types,
                include_columns=list(names),
                null_values=list(words),
                check_utf8=False,  # the lines are checked
            ),
        )

    @contextmanager
    def _lines(self) -> Iterator[io.BufferedReader]:
        with open_bytes(self._path) as stream:
            for _ in range(self.header_line):
                read_line(self._path, stream)
            checked = CheckedLines(self._path, stream, delimiter=self.delimiter, line=self.header_line + 1)
            yield io.BufferedReader(checked, BLOCK_BYTES)

    def where(self, row: int, column: str) -> str:
        """File, physical line and column of a cell."""
        rows = rows_with_lines(self._path, self.header_line, self.delimiter)
        line, _ = next(itertools.islice(rows, row, None))
        return f"{self.source}, line {line}, column {column!r}"

    def _diagnosis(self, error: Exception) -> Exception:
        wanted = len(self.names)
        found = 0
        for line, cells in rows_with_lines(self._path, self.header_line, self.delimiter):
            found += 1
            if len(cells) == wanted:
                continue
            fix = "give every row one cell per column"
            if found == 1 and len(cells) == wanted + 1:
                fix = "the file seems to have row names: write it without them (in R: row.names = FALSE)"
            elif self.delimiter is None:
                fix = "with white space between columns, write missing cells as NA and keep spaces out of cells"
            return FileFormatError(
                f"the row has {len(cells)} cells, the header has {wanted}",
                where=f"{self.source}, line {line}",
                fix=fix,
            )
        if found == 0:
            return _no_rows(self.source)
        return FileFormatError(f"the table cannot be read: {error}", where=self.source, fix="export the file again")


class ParquetTable:
    """Parquet: columns keep the types that the file gives them."""

    def __init__(self, path: Place) -> None:
        from pyarrow import dataset, parquet

        from allscan.storage.parquet import arrow_place

        self.source = str(path)
        place, system = arrow_place(path)
        try:
            if path.is_file():
                # A dataset would say of names that occur twice only that it cannot unify its schema.
                _checked_names(parquet.read_schema(place, filesystem=system).names, f"{path}, schema")
            self._data = dataset.dataset(place, format="parquet", filesystem=system)
            self._n_rows = int(self._data.count_rows())
        except (OSError, pa.ArrowException) as error:
            raise FileFormatError(
                f"the Parquet file is truncated or damaged: {_first_line(error)}",
                where=self.source,
                fix="write the file again",
            ) from error
        if not self._data.schema.names:
            raise FileFormatError(
                "the folder holds no Parquet files" if path.is_dir() else "the Parquet file has no columns",
                where=self.source,
                fix="give a table: text, or Parquet (a file, or a folder of part files)",
            )
        self.names = _checked_names(list(self._data.schema.names), f"{path}, schema")

    def columns(
        self,
        names: Sequence[str],
        *,
        numeric: Collection[str] = (),  # noqa: ARG002 - the file's own types stand
        missing: MissingValues | None = None,  # noqa: ARG002
    ) -> Iterator[tuple[str, Any]]:
        """The named columns in their own types, a few at a time."""
        if self._n_rows == 0:
            raise _no_rows(self.source)
        for start in range(0, len(names), COLUMNS_AT_A_TIME):
            batch = list(names[start : start + COLUMNS_AT_A_TIME])
            try:
                table = self._data.to_table(columns=batch)
            except (OSError, pa.ArrowException) as error:
                raise FileFormatError(
                    f"the Parquet file is damaged: {_first_line(error)}",
                    where=f"{self.source}, columns {listed(batch)}",
                    fix="write the file again",
                ) from error
            for name in batch:
                yield name, table.column(name)

    def where(self, row: int, column: str) -> str:
        """File, row (from 1) and column of a cell."""
        return f"{self.source}, row {row + 1}, column {column!r}"


def first_line(path: str | Place) -> tuple[str, int]:
    """Text and physical number of the first line that is neither empty nor a ``##`` comment.

    Raises
    ------
    InputError
        If the file holds nothing.
    """
    return _header(place_of(path))


def split_cells(line: str, delimiter: str | None) -> list[str]:
    """The cells of one line, without surrounding white space; delimiter None: separated by white space."""
    text = "\t".join(line.split()) if delimiter is None else line
    return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter or "\t"))]


def delimiter_of(line: str) -> str | None:
    """What separates the columns of a line; None: white space."""
    return _delimiter(line)


def _header(path: Place) -> tuple[str, int]:
    with open_bytes(path) as stream:
        for number in itertools.count(1):
            raw = read_line(path, stream)
            if not raw:
                raise InputError("the file is empty", where=str(path), fix="give a table with a header line")
            if b"\0" in raw:
                raise FileFormatError(
                    "the file is not text: it contains NUL bytes",
                    where=f"{path}, line {number}",
                    fix="give a text table or a Parquet file",
                )
            line = raw.rstrip(b"\r\n")
            if line.strip() and not line.startswith(b"##"):
                if b"\r" in line:
                    raise FileFormatError(
                        "a carriage return without a line feed",
                        where=f"{path}, line {number}",
                        fix="convert the line ends to LF or CRLF",
                    )
                return decode(path, line, number), number
    raise AssertionError("unreachable: the loop above ends by return or raise")


def _delimiter(line: str) -> str | None:
    return next((mark for mark in "\t,;" if mark in line), None)


def _beyond_limits(column: Any) -> bool:
    if not pa.types.is_float64(column.type):
        return False
    range_ = arrow.compute("min_max", column).as_py()
    return any(value is not None and abs(value) > LARGEST_VALUE for value in range_.values())


def _checked_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    cleaned = tuple(name.strip() for name in names)
    for position, name in enumerate(cleaned, 1):
        if not name:
            raise InputError(
                f"column {position} of {len(cleaned)} has no name",
                where=where,
                fix="name every column; an unnamed first one is often a row index (pandas: index=False, "
                "R: row.names = FALSE), an unnamed last one a separator too many",
            )
        found = control_character(name)
        if found is not None:
            raise InputError(
                f"the name of column {position} holds a control character ({found})",
                where=where,
                fix="rename it: names are shown in reports and on the screen",
            )
    seen: dict[str, int] = {}
    for position, name in enumerate(cleaned, 1):
        if name in seen:
            raise InputError(
                f"two columns are called {name!r}: columns {seen[name]} and {position}",
                where=where,
                fix="rename or remove one of them",
            )
        seen[name] = position
    return cleaned


def _no_rows(source: str) -> InputError:
    return InputError("the table has a header and no rows", where=source, fix="check how the file was written")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
