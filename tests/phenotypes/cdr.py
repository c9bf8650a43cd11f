"""Small OMOP records, written down by hand row by row, in every form that records may have."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from allscan.phenotypes.records.omop import DATE, INTEGER, NUMBER, TABLES, TEXT

ARROW = {INTEGER: pa.int64(), NUMBER: pa.float64(), TEXT: pa.string(), DATE: pa.date32()}


@dataclass
class Cdr:
    """Records in the making: `cdr.person(7, sex="F", born=1960).condition(7, "E11.9", "2015-02-03")`."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"person": []})

    def add(self, table: str, **row: Any) -> Cdr:
        """A row of any table; other columns are missing."""
        assert set(row) <= set(TABLES[table]), sorted(set(row) - set(TABLES[table]))
        self.rows.setdefault(table, []).append(row)
        return self

    def person(self, person: int, sex: str = "F", born: int | None = 1960, **more: Any) -> Cdr:
        gender = {"M": 8507, "F": 8532}.get(sex, 0)
        return self.add("person", person_id=person, gender_concept_id=gender, year_of_birth=born, **more)

    def condition(
        self, person: int, code: str, date: Any, concept: int = 0, source_concept: int = 0, **more: Any
    ) -> Cdr:
        return self.add(
            "condition_occurrence",
            person_id=person,
            condition_concept_id=concept,
            condition_start_date=date,
            condition_source_value=code,
            condition_source_concept_id=source_concept,
            **more,
        )

    def drug(self, person: int, concept: int, start: Any, end: Any = None, **more: Any) -> Cdr:
        return self.add(
            "drug_exposure",
            person_id=person,
            drug_concept_id=concept,
            drug_exposure_start_date=start,
            drug_exposure_end_date=end,
            **more,
        )

    def measurement(self, person: int, concept: int, value: float | None, date: Any, unit: int = 0, **more: Any) -> Cdr:
        return self.add(
            "measurement",
            person_id=person,
            measurement_concept_id=concept,
            value_as_number=value,
            measurement_date=date,
            unit_concept_id=unit,
            **more,
        )

    def observed(self, person: int, start: Any, end: Any) -> Cdr:
        return self.add(
            "observation_period",
            person_id=person,
            observation_period_start_date=start,
            observation_period_end_date=end,
        )

    def concept(
        self, concept: int, vocabulary: str, code: str, name: str = "", standard: str | None = None, **more: Any
    ) -> Cdr:
        return self.add(
            "concept",
            concept_id=concept,
            vocabulary_id=vocabulary,
            concept_code=code,
            concept_name=name or code,
            standard_concept=standard,
            **more,
        )

    def below(self, ancestor: int, *descendants: int) -> Cdr:
        """Descendants of a concept; itself is one, as in OMOP."""
        for one in (ancestor, *descendants):
            self.add("concept_ancestor", ancestor_concept_id=ancestor, descendant_concept_id=one)
        return self

    def arrow(self, table: str) -> pa.Table:
        """A table with every column of the CDM, typed."""
        columns = TABLES[table]
        rows = self.rows[table]
        return pa.table({name: _array([row.get(name) for row in rows], kind) for name, kind in columns.items()})

    def write(self, place: Path, form: str = "parquet") -> Path:
        """Write all tables: `parquet` or `csv` make a folder, `duckdb` a file."""
        if form == "duckdb":
            with duckdb.connect(str(place)) as connection:
                for name in self.rows:
                    connection.register("arriving", self.arrow(name))
                    connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM arriving')
                    connection.unregister("arriving")
            return place
        place.mkdir(parents=True, exist_ok=True)
        for name, rows in self.rows.items():
            if form == "parquet":
                pq.write_table(self.arrow(name), place / f"{name}.parquet")
                continue
            with (place / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(TABLES[name]), restval="")
                writer.writeheader()
                writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
        return place


def _array(values: list[Any], kind: str) -> pa.Array:
    if kind != DATE:
        return pa.array(values, ARROW[kind])
    return pa.array([None if value is None else str(value) for value in values], pa.string()).cast(pa.date32())
