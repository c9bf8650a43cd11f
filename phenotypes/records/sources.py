"""Where OMOP tables stand: a folder of Parquet or CSV files, a DuckDB file, a dataset of BigQuery."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from sqlglot import expressions as exp

from allscan.errors import FileFormatError, InputError, MissingDependencyError
from allscan.phenotypes.records.dialect import literal, quoted, translated
from allscan.phenotypes.records.omop import BIGQUERY, DATE, INTEGER, NUMBER, TABLES, TEXT

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

SCHEMA = "omop"
SAMPLED_BYTES = 1 << 16
"""Of the beginning and of the end of a file, that tell whether it is another one."""

_ENDS = (".parquet", ".csv", ".csv.gz", ".csv.zst", ".tsv", ".tsv.gz")
_PART = re.compile(r"[-_.]?\d[\d-]*$")


class Source(ABC):
    """OMOP tables somewhere."""

    name: str
    """As messages and the provenance spell it."""
    is_local = True
    """Whether its rows are read here, and need not be fetched."""

    @abstractmethod
    def columns(self, table: str) -> frozenset[str] | None:
        """Lower-case names of a table's columns; None where there is no such table."""

    @abstractmethod
    def extract(self, name: str, sql: str) -> None:
        """Make a local relation of what a ``SELECT`` (DuckDB's dialect, bare names of tables) finds."""

    @abstractmethod
    def unread(self, table: str, column: str) -> str:
        """SQL condition: the cell holds something, and it is no date."""

    @abstractmethod
    def where(self, table: str) -> str:
        """Where a table stands, for messages."""

    @abstractmethod
    def fingerprint(self, tables: list[str]) -> str:
        """What changes when the tables do."""


class _Local(Source):
    """Tables that DuckDB reads: a typed view of each, made when it is first asked for."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._views: dict[str, dict[str, str] | None] = {}
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")

    @abstractmethod
    def _raw(self, table: str) -> str | None:
        """SQL of a relation that holds a table as it is; None where there is none."""

    def columns(self, table: str) -> frozenset[str] | None:
        """See :class:`Source`."""
        types = self._view(table)
        return None if types is None else frozenset(types)

    def extract(self, name: str, sql: str) -> None:
        """See :class:`Source`."""
        text = translated(sql, lambda table: exp.table_(table, db=SCHEMA))
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS {text}")

    def unread(self, table: str, column: str) -> str:
        """See :class:`Source`."""
        types = self._view(table) or {}
        return quoted(f"{column} unread") if _may_be_unread(types.get(column, DATE)) else "FALSE"

    def _view(self, table: str) -> dict[str, str] | None:
        if table not in self._views:
            self._views[table] = self._make_view(table)
        return self._views[table]

    def _make_view(self, table: str) -> dict[str, str] | None:
        import duckdb

        raw = self._raw(table)
        if raw is None:
            return None
        try:
            described = self._connection.execute(f"DESCRIBE SELECT * FROM {raw}").fetchall()
        except duckdb.Error as error:
            raise FileFormatError(
                f"the table {table!r} cannot be read: {_first_line(error)}",
                where=self.where(table),
                fix="check how the file was written; Parquet and CSV with a header are read",
            ) from error
        wanted = TABLES.get(table, {})
        types = {name.lower(): kind for name, kind, *_ in described}
        spelled = {name.lower(): name for name, *_ in described}
        items = []
        for name, column in wanted.items():
            if name in types:
                items.append(f"{_as(column, quoted(spelled[name]), types[name])} AS {quoted(name)}")
                if column == DATE and _may_be_unread(types[name]):
                    value = quoted(spelled[name])
                    filled = f"({value} IS NOT NULL AND trim(CAST({value} AS VARCHAR)) <> '')"
                    items.append(
                        f"{filled} AND {_as(column, value, types[name])} IS NULL AS {quoted(name + ' unread')}"
                    )
        if not items:
            return {}
        self._connection.execute(f"CREATE VIEW {SCHEMA}.{quoted(table)} AS SELECT {', '.join(items)} FROM {raw}")
        return {name: types[name] for name in wanted if name in types}


class FolderSource(_Local):
    """A folder with a file or a folder of part files for each table, in Parquet or CSV."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        super().__init__(connection, str(folder))
        self._folder = folder
        self._files: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            table = _table_of(path)
            if table is not None:
                self._files.setdefault(table, []).append(path)

    def _raw(self, table: str) -> str | None:
        files = self._parts(table)
        if not files:
            return None
        kinds = {_kind(path) for path in files}
        if len(kinds) > 1:
            raise FileFormatError(
                f"the table {table!r} stands in files of several kinds",
                where=self.where(table),
                fix="leave the files of one kind in the folder",
            )
        names = ", ".join(literal(str(path)) for path in files)
        if kinds == {"parquet"}:
            return f"read_parquet([{names}], union_by_name = true)"
        # As text: what is no number or date is counted, and does not end the reading.
        return f"read_csv([{names}], header = true, all_varchar = true, union_by_name = true)"

    def _parts(self, table: str) -> list[Path]:
        files: list[Path] = []
        for path in self._files.get(table, []):
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            files += [file for file in inside if file.is_file() and file.name.lower().endswith(_ENDS)]
        return files

    def where(self, table: str) -> str:
        """See :class:`Source`."""
        found = self._files.get(table)
        return str(found[0]) if found else f"{self._folder}, table {table!r}"

    def fingerprint(self, tables: list[str]) -> str:
        """See :class:`Source`."""
        digest = hashlib.sha256()
        for table in sorted(tables):
            for path in self._parts(table):
                digest.update(f"{table}\0{_sampled(path)}\n".encode())
        return digest.hexdigest()


class DuckDBSource(_Local):
    """The tables of a DuckDB file, in its only schema that has a table of people."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        import duckdb

        super().__init__(connection, str(path))
        self._path = path
        try:
            connection.execute(f"ATTACH {literal(str(path))} AS records_file (READ_ONLY)")
        except duckdb.Error as error:
            raise FileFormatError(
                f"the file cannot be opened as a DuckDB database: {_first_line(error)}",
                where=str(path),
                fix="name a folder of Parquet or CSV files, or a file that this version of DuckDB reads",
            ) from error
        found = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'records_file' "
            "UNION ALL SELECT schema_name, view_name FROM duckdb_views() "
            "WHERE database_name = 'records_file' AND NOT internal"
        ).fetchall()
        schemas = [schema for schema, name in found if name.lower() == "person"]
        if len(schemas) > 1:
            raise InputError(
                f"several schemas have a table 'person': {', '.join(sorted(schemas))}",
                where=str(path),
                fix="copy the tables of one of them into a file of their own",
            )
        self._schema = schemas[0] if schemas else "main"
        self._tables = {name.lower(): name for schema, name in found if schema == self._schema}

    def _raw(self, table: str) -> str | None:
        name = self._tables.get(table)
        return None if name is None else f"records_file.{quoted(self._schema)}.{quoted(name)}"

    def where(self, table: str) -> str:
        """See :class:`Source`."""
        return f"{self._path}, table {table!r}"

    def fingerprint(self, tables: list[str]) -> str:
        """See :class:`Source`."""
        del tables  # one file holds them all
        return hashlib.sha256(_sampled(self._path).encode()).hexdigest()


class BigQuerySource(Source):
    """A dataset of BigQuery: what is asked for is read into the local database."""

    is_local = False

    def __init__(self, connection: duckdb.DuckDBPyConnection, dataset: str, client: Any = None) -> None:
        self.name = BIGQUERY + dataset
        self._connection = connection
        project, _, name = dataset.rpartition(".")
        if not project or not re.fullmatch(r"[\w:.-]+", dataset):
            raise InputError(
                f"{self.name!r} names no dataset of BigQuery",
                fix="write bigquery://PROJECT.DATASET, e.g. what the environment variable WORKSPACE_CDR holds",
            )
        self._project, self._dataset = project, name
        self._client = client if client is not None else _bigquery_client()
        asked = f"SELECT table_name, column_name FROM `{project}.{name}.INFORMATION_SCHEMA.COLUMNS`"
        self._columns: dict[str, set[str]] = {}
        for row in self._client.query(asked).result():
            self._columns.setdefault(str(row[0]).lower(), set()).add(str(row[1]).lower())

    def columns(self, table: str) -> frozenset[str] | None:
        """See :class:`Source`."""
        found = self._columns.get(table)
        return None if found is None else frozenset(found & set(TABLES.get(table, {})))

    def sql(self, sql: str) -> str:
        """What BigQuery is asked."""
        return translated(sql, lambda table: exp.table_(table, db=self._dataset, catalog=self._project), "bigquery")

    def extract(self, name: str, sql: str) -> None:
        """See :class:`Source`."""
        rows = self._client.query(self.sql(sql)).result()
        made = False
        for batch in rows.to_arrow_iterable():
            self._connection.register("arriving", batch)
            if made:
                self._connection.execute(f"INSERT INTO {quoted(name)} SELECT * FROM arriving")
            else:
                self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {quoted(name)} AS SELECT * FROM arriving")
                made = True
            self._connection.unregister("arriving")
        if not made:
            self._connection.register("arriving", rows.to_arrow())
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {quoted(name)} AS SELECT * FROM arriving")
            self._connection.unregister("arriving")

    def unread(self, table: str, column: str) -> str:
        """See :class:`Source`."""
        del table, column
        return "FALSE"  # columns have types there

    def where(self, table: str) -> str:
        """See :class:`Source`."""
        return f"{self.name}, table {table!r}"

    def fingerprint(self, tables: list[str]) -> str:
        """See :class:`Source`."""
        asked = (
            f"SELECT table_id, row_count, last_modified_time FROM `{self._project}.{self._dataset}.__TABLES__` "
            "ORDER BY table_id"
        )
        kept = [tuple(row) for row in self._client.query(asked).result() if str(row[0]).lower() in tables]
        return hashlib.sha256(repr(kept).encode()).hexdigest()


def _bigquery_client() -> Any:
    try:
        from google.cloud import bigquery
    except ImportError as error:
        raise MissingDependencyError(
            "records in BigQuery need the package google-cloud-bigquery",
            fix="pip install 'allscan[bigquery]'",
        ) from error
    return bigquery.Client()


def _table_of(path: Path) -> str | None:
    """The OMOP table that a file or folder holds, by its name: PERSON.csv.gz, person/, person-0001.parquet."""
    name = path.name.lower()
    stem = next((name.removesuffix(end) for end in sorted(_ENDS, key=len, reverse=True) if name.endswith(end)), None)
    if stem is None:
        stem = name if path.is_dir() else ""
    return next((found for found in (stem, _PART.sub("", stem)) if found in TABLES), None)


def _kind(path: Path) -> str:
    return "parquet" if path.name.lower().endswith(".parquet") else "text"


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(SAMPLED_BYTES))
        file.seek(max(0, size - SAMPLED_BYTES))
        digest.update(file.read())
    return f"{size} {digest.hexdigest()}"


def _may_be_unread(kind: str) -> bool:
    return not kind.startswith(("DATE", "TIMESTAMP"))


def _as(wanted: str, value: str, kind: str) -> str:
    """SQL of a column as the type that it has in the CDM; NULL for what is not of that type."""
    if wanted == TEXT:
        return f"nullif(CAST({value} AS VARCHAR), '')"
    if wanted == DATE:
        if not _may_be_unread(kind):
            return f"CAST({value} AS DATE)"
        text = f"trim(CAST({value} AS VARCHAR))"
        return f"coalesce(TRY_CAST({text} AS DATE), CAST(try_strptime({text}, '%Y%m%d') AS DATE))"
    if wanted == NUMBER:
        return f"TRY_CAST({value} AS DOUBLE)"
    assert wanted == INTEGER
    whole = f"TRY_CAST(CAST({value} AS VARCHAR) AS DOUBLE)"
    if kind in ("VARCHAR", "DOUBLE", "FLOAT"):
        return f"CASE WHEN {whole} = floor({whole}) THEN TRY_CAST({value} AS BIGINT) END"
    return f"TRY_CAST({value} AS BIGINT)"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
