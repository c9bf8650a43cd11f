"""Records: every form holds the same; what is wrong is refused, or counted, by table and never by person."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot

from allscan.errors import AllscanError, InputError
from allscan.phenotypes.model import SampleList
from allscan.phenotypes.records.codes import CodeEntry, matching_events, resolve
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr

SECRET = 987654321  # an id that no message may hold


def cohort() -> Cdr:
    cdr = Cdr()
    cdr.person(30, "M", 1950, month_of_birth=3, day_of_birth=9).person(10, "F", 1960).person(20, "?", None)
    cdr.observed(10, "2000-01-01", "2018-06-30").observed(30, "2001-01-01", "2019-12-31")
    cdr.condition(10, "E11.9", "2010-05-01", source_concept=111).condition(10, "E11.9", "2011-05-01")
    cdr.condition(30, "250.00", "2012-01-01").condition(30, "X", "1949-12-31").condition(30, "Y", "2020-01-01")
    cdr.condition(30, "Z", None).condition(99, "E11.9", "2010-01-01")
    return cdr


@pytest.mark.parametrize("form", ["parquet", "csv", "duckdb"])
def test_every_form_holds_the_same(tmp_path, form):
    place = cohort().write(tmp_path / "cdr", form)
    with open_records(place) as records:
        assert records.people.person_id.tolist() == [10, 20, 30]
        assert records.people.sex.tolist() == [2, 0, 1]
        assert records.people.birth.astype(str).tolist() == ["1960-07-01", "NaT", "1950-03-09"]
        assert records.until == dt.date(2019, 12, 31)
        events = records.events("condition_occurrence", ["condition_source_value", "condition_source_concept_id"])
        rows = records.connection.execute(f"SELECT * FROM {events} ORDER BY ALL").fetchall()
        assert rows == [
            (0, dt.date(2010, 5, 1), "E11.9", 111),
            (0, dt.date(2011, 5, 1), "E11.9", 0),
            (2, dt.date(2012, 1, 1), "250.00", 0),
        ]
        told = {(line.table, line.what): line.rows for line in records.quality()}
        assert told == {
            ("condition_occurrence", "rows of people who are not in the table of people"): 1,
            ("condition_occurrence", "rows without a date"): 1,
            ("condition_occurrence", "rows dated before the year of birth"): 1,
            ("condition_occurrence", "rows dated after the end of the records"): 1,
        }
        assert records.used == ("person", "condition_occurrence")
        assert len(records.fingerprint()) == 64


def test_part_files_and_capital_letters(tmp_path):
    cdr = cohort()
    folder = tmp_path / "cdr"
    (folder / "CONDITION_OCCURRENCE").mkdir(parents=True)
    table = cdr.arrow("condition_occurrence")
    pq.write_table(table.slice(0, 3), folder / "CONDITION_OCCURRENCE" / "000000000000.parquet")
    pq.write_table(table.slice(3), folder / "CONDITION_OCCURRENCE" / "000000000001.parquet")
    person = cdr.arrow("person")
    pq.write_table(
        person.slice(0, 1).rename_columns([name.upper() for name in person.column_names]),
        folder / "person-0001.parquet",
    )
    pq.write_table(
        person.slice(1).rename_columns([name.upper() for name in person.column_names]), folder / "person-0002.parquet"
    )
    with open_records(folder, until=dt.date(2019, 12, 31)) as records:
        events = records.events("condition_occurrence", ["condition_source_value"])
        assert records.connection.execute(f"SELECT count(*) FROM {events}").fetchall() == [(3,)]


def test_dates_as_texts_and_as_numbers(tmp_path):
    folder = tmp_path / "cdr"
    folder.mkdir()
    (folder / "person.csv").write_text("person_id,year_of_birth,gender_concept_id\n1,1960,8507\n")
    (folder / "condition_occurrence.csv").write_text(
        "person_id,condition_start_date,condition_source_value\n"
        "1,20100102,A\n1,2010-01-03,B\n1,2010-01-04 10:00:00,C\n1,yesterday,D\n1,2010-02-30,E\n1,,F\n"
    )
    with open_records(folder) as records:
        events = records.events("condition_occurrence", ["condition_source_value"])
        rows = records.connection.execute(f"SELECT condition_source_value, date FROM {events} ORDER BY ALL").fetchall()
        assert rows == [(code, dt.date(2010, 1, day)) for code, day in (("A", 2), ("B", 3), ("C", 4))]
        told = {line.what: line.rows for line in records.quality()}
        assert told == {"rows whose date is no date": 2, "rows without a date": 1}


def test_who_is_withdrawn_is_gone(tmp_path):
    place = cohort().write(tmp_path / "cdr")
    withdrawn = SampleList(np.array(["10", "12345"], dtype=object), "withdrawn.txt")
    with open_records(place, exclude=[withdrawn]) as records:
        assert records.people.person_id.tolist() == [20, 30]
        events = records.events("condition_occurrence")
        assert records.connection.execute(f"SELECT DISTINCT person FROM {events}").fetchall() == [(1,)]
        told = {line.what: line.rows for line in records.quality()}
        assert told["rows of people who are not in the table of people"] == 1  # not those who have withdrawn
        assert ("left out by a list", 1) in records.accounting
        assert any("1 people on a list of whom to leave out are not in the records" in note for note in records.notes)


def test_a_condition_is_applied_where_the_table_stands(tmp_path):
    with open_records(cohort().write(tmp_path / "cdr")) as records:
        events = records.events("condition_occurrence", [], "condition_source_value = 'E11.9'")
        assert records.connection.execute(f"SELECT count(*) FROM {events}").fetchall() == [(2,)]
        assert records.events("condition_occurrence", [], "condition_source_value = 'E11.9'") == events


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda cdr: cdr.person(SECRET).person(SECRET), "several rows.*rows 4, 5"),
        (lambda cdr: cdr.add("person", year_of_birth=1950), "1 rows have no person_id"),
        (lambda cdr: cdr.rows.update(person=[]), "is empty"),
    ],
)
def test_people_who_cannot_be_told_apart_are_refused(tmp_path, damage, message):
    cdr = cohort()
    damage(cdr)
    place = cdr.write(tmp_path / "cdr")
    with pytest.raises(InputError) as caught, open_records(place):
        pass
    assert re.search(message, str(caught.value), re.DOTALL)
    assert str(SECRET) not in str(caught.value)


def test_missing_tables_and_columns_are_named(tmp_path):
    cdr = cohort()
    place = cdr.write(tmp_path / "cdr")
    pq.write_table(
        cdr.arrow("observation_period").drop_columns(["observation_period_end_date"]),
        place / "observation_period.parquet",
    )
    with open_records(place, until=dt.date(2020, 1, 1)) as records:
        with pytest.raises(InputError, match="no table 'measurement'"):
            records.events("measurement")
        with pytest.raises(InputError, match="no column observation_period_end_date"):
            records.table("observation_period", ["observation_period_end_date"])
        with pytest.raises(InputError, match="did you mean 'condition_source_value'"):
            records.events("condition_occurrence", ["condition_source_val"])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "no records here"),
        ("s3://bucket/cdr", "not read from s3"),
        ("bigquery://nothing", "names no dataset"),
        ("empty", "no table 'person'"),
        ("broken.duckdb", "cannot be opened"),
        ("broken", "cannot be read"),
    ],
)
def test_no_records(tmp_path, monkeypatch, place, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "person.parquet").write_bytes(b"PAR1 but nothing else")
    (tmp_path / "broken.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(AllscanError, match=message), open_records(place):
        pass


def test_ids_that_are_no_numbers_are_refused_on_a_list(tmp_path):
    place = cohort().write(tmp_path / "cdr")
    listed = SampleList(np.array(["P10", "30"], dtype=object), "withdrawn.txt")
    message = "1 of 2 ids of the list are not whole numbers"
    with pytest.raises(InputError, match=message) as caught, open_records(place, exclude=[listed]):
        pass
    assert "P10" not in str(caught.value)


class Rows(list):
    """What BigQuery's client returns, as far as it is used."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__(zip(*(column.to_pylist() for column in table.columns), strict=True))
        self.table = table

    def result(self):
        return self

    def to_arrow(self):
        return self.table

    def to_arrow_iterable(self):
        return iter(self.table.to_batches())


class BigQuery:
    """BigQuery as DuckDB plays it: queries are translated back, so they are understood in BigQuery's dialect."""

    def __init__(self, cdr: Cdr) -> None:
        self.connection = duckdb.connect()
        self.asked = []
        self.connection.execute('ATTACH \':memory:\' AS "my-project"; CREATE SCHEMA "my-project".cdr')
        for name in cdr.rows:
            self.connection.register("arriving", cdr.arrow(name))
            self.connection.execute(f'CREATE TABLE "my-project".cdr."{name}" AS SELECT * FROM arriving')

    def query(self, sql):
        self.asked.append(sql)
        back = sqlglot.transpile(sql, read="bigquery", write="duckdb")[0]
        if "INFORMATION_SCHEMA" in sql:
            back = "SELECT table_name, column_name FROM information_schema.columns"
        elif "__TABLES__" in sql:
            back = "SELECT table_name, estimated_size, 1 FROM duckdb_tables() ORDER BY 1"
        return Rows(self.connection.sql(back).to_arrow_table())


def test_bigquery_is_asked_in_its_own_words(tmp_path):
    client = BigQuery(cohort())
    with open_records("bigquery://my-project.cdr", client=client) as records:
        events = records.events(
            "condition_occurrence", ["condition_source_value"], "condition_source_value IN ('E11.9', 'X')"
        )
        rows = records.connection.execute(f"SELECT person, condition_source_value FROM {events}").fetchall()
        assert rows == [(0, "E11.9"), (0, "E11.9")]
        assert records.until == dt.date(2019, 12, 31)
        assert len(records.fingerprint()) == 64
    assert client.asked[-2] == (
        "SELECT person_id, `condition_start_date` AS date, FALSE AS unread, `condition_source_value` FROM "
        "`my-project`.cdr.condition_occurrence AS condition_occurrence WHERE condition_source_value IN ('E11.9', 'X')"
    )


def test_bigquery_finds_the_codes_and_counts_what_is_equal(tmp_path):
    cdr = cohort()
    for day in ("2015-01-01", "2015-01-01", "2015-01-02", "2031-01-01"):
        cdr.add("heart_rate_minute_level", person_id=10, datetime=day, heart_rate_value=60)
    client = BigQuery(cdr)
    with open_records("bigquery://my-project.cdr", client=client) as records:
        codes = resolve(records, [CodeEntry(vocabulary="ICD10CM", codes=["E11.9"])], Path)
        events = matching_events(records, "condition_occurrence", codes)
        assert records.connection.execute(f"SELECT count(*) FROM {events}").fetchall() == [(1,)]
        assert client.asked[-1].endswith("UPPER(REPLACE(TRIM(condition_source_value), '.', '')) IN ('E119'))")
        minutes = records.events("heart_rate_minute_level", ["heart_rate_value"], counted=True)
        rows = records.connection.execute(f"SELECT * FROM {minutes} ORDER BY ALL").fetchall()
        assert rows == [(0, dt.date(2015, 1, 1), 60.0, 2), (0, dt.date(2015, 1, 2), 60.0, 1)]
        assert client.asked[-1] == (
            "SELECT person_id, CAST(`datetime` AS DATE) AS date, FALSE AS unread, `heart_rate_value`, COUNT(*) AS n "
            "FROM `my-project`.cdr.heart_rate_minute_level AS heart_rate_minute_level GROUP BY ALL"
        )
        late = [line for line in records.quality() if line.table == "heart_rate_minute_level"]
        assert [(line.what, line.rows) for line in late] == [("rows dated after the end of the records", 1)]


def test_bigquery_needs_its_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "google.cloud.bigquery", None)
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    with pytest.raises(AllscanError, match="google-cloud-bigquery"), open_records("bigquery://a.b"):
        pass
