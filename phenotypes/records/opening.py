"""Opening records: the people, who of them is left out, and what the records say of themselves."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from allscan.arrow import number_array
from allscan.errors import InputError, MissingDependencyError
from allscan.phenotypes.records.omop import BIGQUERY, FEMALE_CONCEPTS, MALE_CONCEPTS, TABLES
from allscan.phenotypes.records.records import People, Records
from allscan.phenotypes.records.sources import BigQuerySource, DuckDBSource, FolderSource, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from allscan.phenotypes.model import SampleList

EARLIEST_BIRTH = 1880
SHOWN_ROWS = 5


@contextmanager
def open_records(
    place: str | Path,
    *,
    exclude: Sequence[SampleList] = (),
    until: dt.date | None = None,
    cdr: str | None = None,
    memory: str | None = None,
    threads: int | None = None,
    spill: str | Path | None = None,
    client: Any = None,
) -> Iterator[Records]:
    """Open records in OMOP tables.

    Parameters
    ----------
    place
        A folder with a Parquet or CSV file (or a folder of part files) for each table, a DuckDB file, or
        ``bigquery://PROJECT.DATASET``.
    exclude
        Lists of people who are left out of everything, such as those who have withdrawn.
    until
        Last day of the records; without: what ``cdm_source`` says, else the last end of an observation period, else
        today. Later dates are wrong.
    cdr
        Name of the release; without: what ``cdm_source`` says, else the name of the place.
    memory, threads
        Limits of DuckDB, such as ``4GB``; what does not fit is spilled to ``spill``.
    spill
        Folder for that; without: a temporary one.
    client
        Of BigQuery; without: one with the credentials of the environment.

    Raises
    ------
    InputError
        If there are no records, ``person`` is missing, empty, or has a person twice or without an id.
    MissingDependencyError
        If DuckDB, or the client of BigQuery, is not installed.
    """
    duckdb = _load_duckdb()
    config: dict[str, Any] = {"threads": threads} if threads else {}
    if memory:
        config["memory_limit"] = memory
    if spill:
        config["temp_directory"] = str(spill)
    connection = duckdb.connect(":memory:", config=config)
    try:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        source = _source(connection, str(place), client)
        yield _opened(connection, source, exclude, until, cdr)
    finally:
        connection.close()


def _load_duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependencyError(
            "records of people need the package duckdb", fix="pip install 'allscan[phenotypes]'"
        ) from error
    return duckdb


def _source(connection: duckdb.DuckDBPyConnection, place: str, client: Any) -> Source:
    if place.startswith(BIGQUERY):
        return BigQuerySource(connection, place.removeprefix(BIGQUERY), client)
    if "://" in place:
        raise InputError(
            f"records are not read from {place.split('://')[0]}://",
            where=place,
            fix="copy them to a disk (a folder of Parquet files), or name bigquery://PROJECT.DATASET",
        )
    path = Path(place)
    if path.is_dir():
        return FolderSource(connection, path)
    if path.is_file():
        return DuckDBSource(connection, path)
    raise InputError(
        "there are no records here",
        where=place,
        fix="name a folder of OMOP tables (person.parquet, condition_occurrence.parquet, …), or a DuckDB file",
    )


def _opened(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    exclude: Sequence[SampleList],
    until: dt.date | None,
    cdr: str | None,
) -> Records:
    found = source.columns("person")
    if found is None or not {"person_id", "year_of_birth"} <= found:
        lacking = "table 'person'" if found is None else "column person.person_id or person.year_of_birth"
        raise InputError(
            f"the records have no {lacking}",
            where=source.where("person"),
            fix="an OMOP database has the table 'person' with person_id and year_of_birth",
        )
    n_listed = _withdrawn(connection, exclude)
    notes = _make_people(connection, source, found)
    told = _cdm_source(connection, source)
    until = until or told.until or _last_observed(connection, source)
    if until is None:
        until = dt.datetime.now(dt.UTC).date()
        notes.append("the records do not say when they end: dates after today are wrong")
    columns: dict[str, Any] = connection.execute(
        "SELECT person_id, sex, birth FROM people ORDER BY person"
    ).fetchnumpy()
    birth = np.ma.filled(columns["birth"].astype("datetime64[D]"), np.datetime64("NaT"))
    people = People(
        np.asarray(columns["person_id"]).astype(np.int64), np.asarray(columns["sex"]).astype(np.int8), birth
    )
    n_person = _scalar(connection, "SELECT count(*) FROM person_rows")
    if not len(people):
        raise InputError(
            "nobody is left" if n_person else "the table 'person' is empty",
            where=source.where("person"),
            fix="check the list of people to leave out" if n_person else "check how the records were exported",
        )
    left_out = n_person - len(people)
    accounting = (
        ("in the table of people", n_person),
        ("left out by a list", left_out),
        ("in the trait table", len(people)),
    )
    if n_listed > left_out:
        notes.append(f"{n_listed - left_out:,} people on a list of whom to leave out are not in the records")
    unborn = int(np.isnat(birth).sum())
    if unborn:
        notes.append(f"{unborn:,} people have no plausible year of birth: their ages are missing")
    return Records(
        connection, source, people, cdr or told.name or Path(source.name).name, until, accounting, tuple(notes)
    )


def _withdrawn(connection: duckdb.DuckDBPyConnection, lists: Sequence[SampleList]) -> int:
    """Make the relation of people to leave out; how many they are."""
    connection.execute("CREATE TEMP TABLE withdrawn (person_id BIGINT)")
    ids: set[int] = set()
    for one in lists:
        texts = [str(person) for person in one.sample_ids]
        strange = sum(not text.lstrip("-").isdecimal() for text in texts)
        if strange:
            raise InputError(
                f"{strange:,} of {len(texts):,} ids of the list are not whole numbers, as person_id is",
                where=one.source,
                fix="list people by their person_id",
            )
        ids.update(int(text) for text in texts)
    if ids:
        array = np.array(sorted(ids), dtype=np.int64)
        connection.register("arriving", pa.table({"person_id": number_array(array)}))
        connection.execute("INSERT INTO withdrawn SELECT person_id FROM arriving")
        connection.unregister("arriving")
    return len(ids)


def _make_people(connection: duckdb.DuckDBPyConnection, source: Source, found: frozenset[str]) -> list[str]:
    wanted = [column for column in TABLES["person"] if column in found]
    source.extract("person_rows", f"SELECT {', '.join(wanted)} FROM person")
    _refuse_repeated(connection, source)
    year = f"CASE WHEN year_of_birth BETWEEN {EARLIEST_BIRTH} AND 2200 THEN year_of_birth END"
    month = "month_of_birth" if "month_of_birth" in found else "NULL"
    day = "day_of_birth" if "day_of_birth" in found else "NULL"
    text = (
        f"printf('%04d-%02d-%02d', {year}, coalesce({month}, 7), "
        f"coalesce({day}, CASE WHEN {month} IS NULL THEN 1 ELSE 15 END))"
    )
    exact = "CAST(birth_datetime AS DATE)" if "birth_datetime" in found else "NULL::DATE"
    birth = f"CASE WHEN ({year}) IS NOT NULL THEN coalesce({exact}, TRY_CAST({text} AS DATE)) END"
    concepts = [
        column
        for column in ("sex_at_birth_source_concept_id", "sex_at_birth_concept_id", "gender_concept_id")
        if column in found
    ]
    sexes = [
        f"CASE WHEN {column} IN {MALE_CONCEPTS} THEN 1 WHEN {column} IN {FEMALE_CONCEPTS} THEN 2 END"
        for column in concepts
    ]
    sex = f"coalesce({', '.join([*sexes, '0'])})::TINYINT"
    connection.execute(
        "CREATE TEMP TABLE people AS SELECT (row_number() OVER (ORDER BY person_id) - 1)::INTEGER AS person, "
        f"person_id, {sex} AS sex, {birth} AS birth, "
        # The exact day of birth is often a stand-in: what is of the same year may be right.
        f"coalesce(TRY_CAST(printf('%04d-01-01', {year}) AS DATE), DATE '{EARLIEST_BIRTH}-01-01') AS first_day "
        "FROM person_rows AS r ANTI JOIN withdrawn USING (person_id) ORDER BY person_id"
    )
    if not concepts:
        return ["the table of people says nothing of sex"]
    return []


def _refuse_repeated(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    without = _scalar(connection, "SELECT count(*) FROM person_rows WHERE person_id IS NULL")
    if without:
        raise InputError(
            f"{without:,} rows have no person_id, or one that is not a whole number",
            where=source.where("person"),
            fix="give every person a number; person_id is the id in the genotypes, too",
        )
    rows = connection.execute(
        "SELECT row FROM (SELECT row_number() OVER () AS row, count(*) OVER (PARTITION BY person_id) AS n FROM "
        f"(SELECT person_id FROM person_rows)) WHERE n > 1 ORDER BY row LIMIT {SHOWN_ROWS}"
    ).fetchall()
    if rows:
        raise InputError(
            "a person stands in several rows of the table 'person'",
            where=f"{source.where('person')}, rows {', '.join(str(row) for (row,) in rows)} and perhaps more",
            fix="leave one row for each person",
        )


@dataclass(frozen=True)
class _Told:
    name: str = ""
    until: dt.date | None = None


def _cdm_source(connection: duckdb.DuckDBPyConnection, source: Source) -> _Told:
    """What the records say of themselves."""
    found = source.columns("cdm_source")
    if not found:
        return _Told()
    names = [c for c in ("cdm_source_abbreviation", "cdm_source_name", "cdm_version") if c in found]
    days = [c for c in ("source_release_date", "cdm_release_date") if c in found]
    source.extract("told_of_records", f"SELECT {', '.join([*names, *days])} FROM cdm_source")
    rows = connection.execute("SELECT * FROM told_of_records LIMIT 1").fetchall()
    if not rows:
        return _Told()
    of = dict(zip([*names, *days], rows[0], strict=True))
    name = of.get("cdm_source_abbreviation") or of.get("cdm_source_name") or ""
    until = next((of[day] for day in days if of[day] is not None), None)
    told = " ".join(str(part) for part in (name, of.get("cdm_version"), until) if part)
    return _Told(told, until)


def _last_observed(connection: duckdb.DuckDBPyConnection, source: Source) -> dt.date | None:
    found = source.columns("observation_period")
    if found is None or "observation_period_end_date" not in found:
        return None
    source.extract("last_observed", "SELECT max(observation_period_end_date) AS day FROM observation_period")
    day: dt.date | None = connection.execute("SELECT day FROM last_observed").fetchall()[0][0]
    return day


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])
