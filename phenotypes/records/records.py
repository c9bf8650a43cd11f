"""Records of people: opened once, asked for events and tables, and for what was wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from allscan.errors import InputError
from allscan.phenotypes.names import did_you_mean, listed
from allscan.phenotypes.records.dialect import quoted
from allscan.phenotypes.records.omop import DATE_OF, TABLES, VOCABULARY_TABLES

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    import duckdb
    from numpy.typing import NDArray

    from allscan.phenotypes.records.sources import Source


@dataclass(frozen=True)
class People:
    """Who is in the records, in order of their ids; everything else calls them by their row here."""

    person_id: NDArray[np.int64]  # (people,) increasing
    sex: NDArray[np.int8]  # (people,) 1 male, 2 female, 0 unknown
    birth: NDArray[np.datetime64]  # (people,) days; NaT unknown. Where only the year is known: 1 July

    def __len__(self) -> int:
        return len(self.person_id)


@dataclass(frozen=True)
class QualityLine:
    """Something about the rows of a table that is for the user to know: a count, and never whose rows they are."""

    table: str
    what: str
    rows: int


@dataclass
class Records:
    """OMOP tables of people, opened for reading.

    Relations that the methods name live in :attr:`connection`, where ``people(person, person_id, sex, birth)`` has
    everybody. They call a person by ``person``, the row in :attr:`people`; ids stay in that one relation.
    """

    connection: duckdb.DuckDBPyConnection
    source: Source
    people: People
    cdr: str  # which release of which records
    until: dt.date  # what is said to be later is wrong
    accounting: tuple[tuple[str, int], ...]  # (reason, people): who is in the records, and who is left out
    notes: tuple[str, ...] = ()
    _named: int = 0
    _lines: list[QualityLine] = field(default_factory=list)
    _relations: dict[tuple[str, ...], str] = field(default_factory=dict)
    _used: dict[str, None] = field(default_factory=dict)  # tables, in order of use
    # table: raw relations of its events, and what their rows count
    _checks: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def has(self, table: str, *columns: str) -> bool:
        """Whether there is such a table, with these columns."""
        found = self.source.columns(table)
        return found is not None and all(column in found for column in columns)

    def require(self, table: str, *columns: str) -> None:
        """Refuse records without a table, or without columns of it.

        Raises
        ------
        InputError
            Naming what is missing.
        """
        found = self.source.columns(table)
        if found is None:
            raise InputError(
                f"the records have no table {table!r}",
                where=self.source.where(table),
                fix=f"add {table}.parquet (or .csv, or a folder of part files), or take out what asks for it",
            )
        missing = [column for column in columns if column not in found]
        if missing:
            known = TABLES[table]
            unknown = next((column for column in missing if column not in known), None)
            raise InputError(
                f"the table {table!r} has no column {listed(missing)}",
                where=self.source.where(table),
                fix="add what is missing (OMOP CDM 5.3 and 5.4 have it)"
                if unknown is None
                else did_you_mean(unknown, known, otherwise=f"its columns: {listed(found)}"),
            )

    def fresh_name(self, prefix: str) -> str:
        """A name that no relation has yet."""
        self._named += 1
        return f"{prefix}_{self._named}"

    def events(self, table: str, columns: Sequence[str] = (), where: str = "", *, counted: bool = False) -> str:
        """A relation of what happened to people: ``person``, ``date``, and the columns.

        Left out, and counted in :meth:`quality`, are rows of people who are not in :attr:`people`, and rows whose date
        is missing, no date, before the year of birth or after :attr:`until`.

        Parameters
        ----------
        table
            A table whose rows have a date (``DATE_OF``).
        columns
            Columns of the CDM.
        where
            SQL condition on columns of the table, in DuckDB's dialect, applied where the table stands.
        counted
            Rows that are equal in person, day and columns are one, and ``n`` of them: done where the table stands.

        Returns
        -------
        Name of a relation in :attr:`connection`.

        Raises
        ------
        InputError
            If the table or a column is missing.
        """
        day = DATE_OF[table]
        self.require(table, "person_id", day, *columns)
        key = ("counted" if counted else "events", table, where, *columns)
        if key not in self._relations:
            self._used[table] = None
            name = self.fresh_name("events")
            picked = "".join(f", {quoted(column)}" for column in columns if column != day)
            condition = f" WHERE {where}" if where else ""
            unread = self.source.unread(table, day)
            query = f"SELECT person_id, {quoted(day)} AS date, {unread} AS unread{picked} FROM {table}{condition}"
            if counted:
                query = (
                    f"SELECT person_id, CAST({quoted(day)} AS DATE) AS date, {unread} AS unread{picked}, count(*) AS n "
                    f"FROM {table}{condition} GROUP BY ALL"
                )
            self.source.extract(f"{name}_raw", query)
            same_day = f", e.date AS {quoted(day)}" if day in columns and day != "date" else ""
            shown = "".join(
                f", e.{quoted(column)}" for column in [*columns, *(["n"] if counted else [])] if column != day
            )
            self.connection.execute(
                f"CREATE TEMP VIEW {name} AS SELECT p.person, CAST(e.date AS DATE) AS date{same_day}{shown} "
                f"FROM {name}_raw AS e JOIN people AS p USING (person_id) "
                f"WHERE e.date >= p.first_day AND e.date <= DATE '{self.until}'"
            )
            self._checks.setdefault(table, []).append((f"{name}_raw", "n" if counted else "1"))
            self._relations[key] = name
        return self._relations[key]

    def table(self, table: str, columns: Sequence[str], where: str = "") -> str:
        """A relation of the rows of a table that are of ``people``: ``person`` and the columns. As :meth:`events`."""
        self.require(table, "person_id", *columns)
        key = ("table", table, where, *columns)
        if key not in self._relations:
            self._used[table] = None
            name = self.fresh_name("rows")
            picked = "".join(f", {quoted(column)}" for column in columns)
            condition = f" WHERE {where}" if where else ""
            self.source.extract(f"{name}_raw", f"SELECT person_id{picked} FROM {table}{condition}")
            shown = "".join(f", e.{quoted(column)}" for column in columns)
            self.connection.execute(
                f"CREATE TEMP VIEW {name} AS SELECT p.person{shown} "
                f"FROM {name}_raw AS e JOIN people AS p USING (person_id)"
            )
            self._relations[key] = name
        return self._relations[key]

    def vocabulary(self, table: str, columns: Sequence[str], where: str = "") -> str:
        """A relation of a table without people, such as ``concept``. As :meth:`events`."""
        if table not in VOCABULARY_TABLES:
            raise ValueError(f"{table} has people")
        self.require(table, *columns)
        key = ("vocabulary", table, where, *columns)
        if key not in self._relations:
            self._used[table] = None
            name = self.fresh_name("vocabulary")
            condition = f" WHERE {where}" if where else ""
            self.source.extract(name, f"SELECT {', '.join(map(quoted, columns))} FROM {table}{condition}")
            self._relations[key] = name
        return self._relations[key]

    def note_quality(self, table: str, what: str, rows: int) -> None:
        """Count something about rows that a derivation found; nothing is said of none."""
        line = QualityLine(table, what, int(rows))
        # Definitions may build on the same one, which then finds the same again.
        if rows and line not in self._lines:
            self._lines.append(line)

    def quality(self) -> tuple[QualityLine, ...]:
        """What is wrong with the rows of the tables that were asked for events.

        Counted are all rows of a table; of one that would have to be fetched for that, those of the largest question.
        """
        lines = []
        for table, relations in self._checks.items():
            if self.source.is_local:
                counts = np.array(self._counts(self._all_rows(table), "1"))
                if not counts[0]:
                    lines.append(QualityLine(table, "the table is empty", 0))
            else:
                counts = np.max([self._counts(*relation) for relation in relations], axis=0)
            lines += [QualityLine(table, what, int(n)) for what, n in zip(_WRONG, counts[1:], strict=True) if n]
        return (*lines, *self._lines)

    def _all_rows(self, table: str) -> str:
        name = f"all_{table}"
        day = DATE_OF[table]
        unread = self.source.unread(table, day)
        self.source.extract(name, f"SELECT person_id, {quoted(day)} AS date, {unread} AS unread FROM {table}")
        return name

    def _counts(self, relation: str, weight: str) -> list[int]:
        dated = "e.date IS NOT NULL AND p.person IS NOT NULL"
        wrong = (
            "TRUE",
            "p.person IS NULL AND x.person_id IS NULL",
            "e.unread",
            "e.date IS NULL AND NOT e.unread",
            f"{dated} AND e.date < p.first_day",
            f"{dated} AND e.date > DATE '{self.until}'",
        )
        return [
            int(count)
            for count in self.connection.execute(
                f"SELECT {', '.join(f'coalesce(sum({weight}) FILTER ({condition}), 0)' for condition in wrong)} "
                f"FROM {relation} AS e LEFT JOIN people AS p USING (person_id) "
                "LEFT JOIN withdrawn AS x USING (person_id)"
            ).fetchall()[0]
        ]

    def fingerprint(self) -> str:
        """What changes when the tables do."""
        return self.source.fingerprint([table for table in TABLES if self.source.columns(table) is not None])

    @property
    def used(self) -> tuple[str, ...]:
        """Tables that were asked for."""
        return ("person", *self._used)


_WRONG = (
    "rows of people who are not in the table of people",
    "rows whose date is no date",
    "rows without a date",
    "rows dated before the year of birth",
    "rows dated after the end of the records",
)
