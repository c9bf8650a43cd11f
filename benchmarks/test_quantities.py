"""Labs of health records: from measurements in Parquet files to one number for each person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allscan.jobs.machine import available_cpus
from allscan.phenotypes.definitions.loading import derive, load_definition
from allscan.phenotypes.records.opening import open_records
from benchmarks.timing import SIZE, Timed, Work

PEOPLE, ROWS = {"tiny": (2_000, 40_000), "quick": (20_000, 1_000_000), "full": (100_000, 10_000_000)}[SIZE]
FIRST_DAY, LAST_DAY = 13_000, 19_000  # 2005 to 2022
LDL, STATIN = 3028437, 1539403
MG_DL, MMOL_L = 8840, 8753


@pytest.fixture(scope="module")
def records_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fifth of the values in mmol/L, a seventh whose unit is a text, a tenth as many prescriptions."""
    rng = np.random.default_rng(7)
    folder = tmp_path_factory.mktemp("records")
    row = np.arange(ROWS)
    in_mmol = row % 5 == 0
    in_words = (row % 7 == 0) & ~in_mmol
    tables = {
        "person": {
            "person_id": np.arange(PEOPLE),
            "year_of_birth": rng.integers(1930, 2000, PEOPLE),
            "gender_concept_id": np.full(PEOPLE, 8507),
        },
        "measurement": {
            "person_id": rng.integers(0, PEOPLE, ROWS),
            "measurement_date": pa.array(rng.integers(FIRST_DAY, LAST_DAY, ROWS, dtype=np.int32)).cast(pa.date32()),
            "measurement_concept_id": np.full(ROWS, LDL),
            "value_as_number": rng.uniform(50, 200, ROWS) / np.where(in_mmol, 38.665, 1),
            "unit_concept_id": np.where(in_mmol, MMOL_L, np.where(in_words, 0, MG_DL)),
            "unit_source_value": pa.array(["MG/DL"]).take(pa.array(np.zeros(ROWS, np.int8), mask=~in_words)),
            "operator_concept_id": np.where(row % 100 == 0, 4171756, 4172703),
        },
        "drug_exposure": {
            "person_id": rng.integers(0, PEOPLE, ROWS // 10),
            "drug_concept_id": np.full(ROWS // 10, STATIN),
            "drug_exposure_start_date": pa.array(rng.integers(FIRST_DAY, LAST_DAY, ROWS // 10, dtype=np.int32)).cast(
                pa.date32()
            ),
            "days_supply": np.full(ROWS // 10, 90),
        },
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("summary", ["median", "slope"])
def test_ldl_without_statins(timed: Timed, records_folder: Path, summary: str) -> None:
    definition = load_definition(
        {
            "kind": "measurement",
            "id": "ldl",
            "codes": {"concepts": [LDL]},
            "unit": "mg/dL",
            "molar_mass": 386.65,
            "plausible": [10.0, 1000.0],
            "ages": {"at_least": 30.0},
            "adjust": [{"codes": {"concepts": [STATIN]}, "divide": 0.7}],
            "summary": summary,
        }
    )

    def find() -> int:
        with open_records(records_folder) as records:
            (trait,) = derive(records, definition)
            return trait.n

    n = timed(find, Work("dgemm", ROWS, threads=available_cpus(), judged="wall"))
    assert n > PEOPLE / 2
