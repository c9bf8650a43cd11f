"""OMOP tables: their columns, rows as NumPy arrays, and Parquet files that grow by chunks of people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from allscan.arrow import string_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

ID, CONCEPT, FLOAT, TEXT = pa.int64(), pa.int32(), pa.float64(), pa.string()
DATE, TIME, YES = pa.date32(), pa.timestamp("us"), pa.bool_()


def _columns(text: str) -> dict[str, Any]:
    """Columns by name; types by how OMOP names its columns, or as said after a colon."""
    types = {"id": ID, "concept": CONCEPT, "float": FLOAT, "text": TEXT, "date": DATE, "time": TIME, "yes": YES}
    types["int"] = CONCEPT
    endings = (
        ("concept_id", CONCEPT),
        ("concept_id_1", CONCEPT),
        ("concept_id_2", CONCEPT),
        ("_id", ID),
        ("_date", DATE),
        ("_datetime", TIME),
    )
    out = {}
    for word in text.split():
        name, _, said = word.partition(":")
        out[name] = types[said] if said else next((kind for end, kind in endings if name.endswith(end)), TEXT)
    return out


TABLES = {
    name: _columns(text)
    for name, text in {
        "person": """person_id gender_concept_id year_of_birth:int month_of_birth:int day_of_birth:int birth_datetime
            race_concept_id ethnicity_concept_id location_id provider_id care_site_id person_source_value
            gender_source_value gender_source_concept_id race_source_value race_source_concept_id
            ethnicity_source_value ethnicity_source_concept_id
            sex_at_birth_concept_id sex_at_birth_source_concept_id sex_at_birth_source_value""",
        "observation_period": """observation_period_id person_id observation_period_start_date
            observation_period_end_date period_type_concept_id""",
        "visit_occurrence": """visit_occurrence_id person_id visit_concept_id visit_start_date visit_start_datetime
            visit_end_date visit_end_datetime visit_type_concept_id provider_id care_site_id visit_source_value
            visit_source_concept_id admitted_from_concept_id admitted_from_source_value discharged_to_concept_id
            discharged_to_source_value preceding_visit_occurrence_id""",
        "condition_occurrence": """condition_occurrence_id person_id condition_concept_id condition_start_date
            condition_start_datetime condition_end_date condition_end_datetime condition_type_concept_id
            condition_status_concept_id stop_reason provider_id visit_occurrence_id visit_detail_id
            condition_source_value condition_source_concept_id condition_status_source_value""",
        "procedure_occurrence": """procedure_occurrence_id person_id procedure_concept_id procedure_date
            procedure_datetime procedure_end_date procedure_end_datetime procedure_type_concept_id
            modifier_concept_id quantity:int provider_id visit_occurrence_id visit_detail_id procedure_source_value
            procedure_source_concept_id modifier_source_value""",
        "drug_exposure": """drug_exposure_id person_id drug_concept_id drug_exposure_start_date
            drug_exposure_start_datetime drug_exposure_end_date drug_exposure_end_datetime verbatim_end_date
            drug_type_concept_id stop_reason refills:int quantity:float days_supply:int sig route_concept_id
            lot_number provider_id visit_occurrence_id visit_detail_id drug_source_value drug_source_concept_id
            route_source_value dose_unit_source_value""",
        "measurement": """measurement_id person_id measurement_concept_id measurement_date measurement_datetime
            measurement_time measurement_type_concept_id operator_concept_id value_as_number:float
            value_as_concept_id unit_concept_id range_low:float range_high:float provider_id visit_occurrence_id
            visit_detail_id measurement_source_value measurement_source_concept_id unit_source_value
            unit_source_concept_id value_source_value measurement_event_id meas_event_field_concept_id""",
        "observation": """observation_id person_id observation_concept_id observation_date observation_datetime
            observation_type_concept_id value_as_number:float value_as_string value_as_concept_id
            qualifier_concept_id unit_concept_id provider_id visit_occurrence_id visit_detail_id
            observation_source_value observation_source_concept_id unit_source_value qualifier_source_value
            value_source_value observation_event_id obs_event_field_concept_id
            value_source_concept_id questionnaire_response_id""",
        "death": """person_id death_date death_datetime death_type_concept_id cause_concept_id cause_source_value
            cause_source_concept_id""",
        "cdm_source": """cdm_source_name cdm_source_abbreviation cdm_holder source_description
            source_documentation_reference cdm_etl_reference source_release_date cdm_release_date cdm_version
            cdm_version_concept_id vocabulary_version""",
        "concept": """concept_id concept_name domain_id:text vocabulary_id:text concept_class_id:text
            standard_concept concept_code valid_start_date valid_end_date invalid_reason""",
        "concept_ancestor": """ancestor_concept_id descendant_concept_id min_levels_of_separation:int
            max_levels_of_separation:int""",
        "concept_relationship": """concept_id_1 concept_id_2 relationship_id:text valid_start_date valid_end_date
            invalid_reason""",
        "activity_summary": """person_id date:date activity_calories:float calories_bmr:float calories_out:float
            elevation:float fairly_active_minutes:float floors:int lightly_active_minutes:float
            marginal_calories:float sedentary_minutes:float steps:int very_active_minutes:float""",
        "heart_rate_summary": """person_id date:date zone_name min_heart_rate:int max_heart_rate:int
            minute_in_zone:int calorie_count:float""",
        "sleep_daily_summary": """person_id sleep_date is_main_sleep:yes minute_in_bed:int minute_asleep:int
            minute_after_wakeup:int minute_awake:int minute_restless:int minute_deep:int minute_light:int
            minute_rem:int minute_wake:int""",
    }.items()
}
"""Columns and types of each table: those of OMOP 5.4, after them what All of Us adds, and its wearables."""

IN_PARTS = frozenset(
    {
        "visit_occurrence",
        "condition_occurrence",
        "drug_exposure",
        "measurement",
        "observation",
        "activity_summary",
        "heart_rate_summary",
        "sleep_daily_summary",
    }
)
"""Tables that are folders with part-1.parquet, part-2.parquet and so on; the others are files."""

ROWS_PER_PART = 2_000_000

NO_DATE = np.int32(2**31 - 1)
"""A date that is missing; later than any other."""


class Coded(NamedTuple):
    """A column of texts: which of few (-1: missing)."""

    which: NDArray[np.int32]
    texts: tuple[str, ...]


Column = Any  # an array, a Coded, or one value for all rows


@dataclass(frozen=True)
class Rows:
    """Rows of a table. Columns that are not here are missing, and so are NaN, and ids below 0."""

    n: int
    columns: dict[str, Column]

    def take(self, rows: NDArray[np.intp]) -> Rows:
        """Some of the rows."""
        return Rows(len(rows), {name: _take(column, rows) for name, column in self.columns.items()})

    def but(self, **columns: Column) -> Rows:
        """The same with other columns."""
        return Rows(self.n, {**self.columns, **columns})


def _take(column: Column, rows: NDArray[np.intp]) -> Column:
    if isinstance(column, Coded):
        return Coded(column.which[rows], column.texts)
    return column[rows] if isinstance(column, np.ndarray) else column


def joined(parts: Sequence[Rows]) -> Rows:
    """One after the other. Their columns are the same ones; texts may be of different sets."""
    return Rows(
        sum(part.n for part in parts),
        {name: _joined([(part.columns[name], part.n) for part in parts]) for name in parts[0].columns},
    )


def _joined(parts: list[tuple[Column, int]]) -> Column:
    first = parts[0][0]
    if any(isinstance(column, Coded | str) for column, _ in parts):
        coded = [_as_coded(column, n) for column, n in parts]
        texts = tuple(dict.fromkeys(text for column in coded for text in column.texts))
        number = {text: index for index, text in enumerate(texts)}
        index = [np.array([*(number[text] for text in column.texts), -1], np.int32)[column.which] for column in coded]
        return Coded(np.concatenate(index), texts)
    if not isinstance(first, np.ndarray) and all(not isinstance(c, np.ndarray) and c == first for c, _ in parts):
        return first
    return np.concatenate([column if isinstance(column, np.ndarray) else np.full(n, column) for column, n in parts])


def _as_coded(column: Column, n: int) -> Coded:
    return column if isinstance(column, Coded) else Coded(np.zeros(n, np.int32), (column,))


def _schema(columns: Mapping[str, Any]) -> Any:
    return pa.schema([(name, _CODED if kind == TEXT else kind) for name, kind in columns.items()])


def _arrow(rows: Rows, schema: Any) -> Any:
    unknown = set(rows.columns) - set(schema.names)
    assert not unknown, unknown
    return pa.table([_array(rows.columns.get(field.name), field.type, rows.n) for field in schema], schema=schema)


def _array(column: Column, kind: Any, n: int) -> Any:
    if column is None:
        return pa.nulls(n, kind)
    if kind == _CODED:
        coded = _as_coded(column, n)
        index = _numbers(coded.which, pa.int32(), coded.which >= 0)
        return pa.DictionaryArray.from_arrays(index, string_array(coded.texts))
    if not isinstance(column, np.ndarray):
        column = np.full(n, column)
    if kind == YES:
        return pa.Array.from_buffers(kind, n, [None, pa.py_buffer(np.packbits(column, bitorder="little"))])
    valid = None
    if kind == FLOAT:
        valid = ~np.isnan(column)
    elif kind in (ID, CONCEPT):
        valid = column >= 0
    elif kind == DATE:
        valid = column != NO_DATE
    return _numbers(np.ascontiguousarray(column, _DTYPES[kind]), kind, valid)


_CODED = pa.dictionary(pa.int32(), TEXT)
_DTYPES = {ID: np.int64, CONCEPT: np.int32, FLOAT: np.float64, DATE: np.int32, TIME: np.int64}


def _numbers(values: NDArray[Any], kind: Any, valid: NDArray[np.bool_] | None) -> Any:
    mask = None
    if valid is not None and not valid.all():
        mask = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [mask, pa.py_buffer(values)])


class TableWriter:
    """Writes one table, chunk after chunk."""

    def __init__(self, folder: Path, name: str, columns: Mapping[str, Any], *, in_parts: bool) -> None:
        self._path = folder / (name if in_parts else f"{name}.parquet")
        if in_parts:
            self._path.mkdir()
        self._schema = _schema(columns)
        self._in_parts = in_parts
        self._parts = 0
        self._rows_in_part = 0
        self._file: Any = None
        self.rows = 0

    def append(self, rows: Rows) -> None:
        """Add rows, as one row group."""
        if self._file is None or (self._in_parts and self._rows_in_part >= ROWS_PER_PART):
            self.close()
            self._parts += 1
            self._rows_in_part = 0
            path = self._path / f"part-{self._parts}.parquet" if self._in_parts else self._path
            self._file = pq.ParquetWriter(
                path, self._schema, compression="zstd", compression_level=1, store_schema=False
            )
        self._rows_in_part += rows.n
        self.rows += rows.n
        if rows.n:
            self._file.write_table(_arrow(rows, self._schema))

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
