"""Phecodes of health records: from diagnoses in Parquet files to cases and controls of the whole phenome (map X)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from allscan.jobs.machine import available_cpus
from allscan.phenotypes.phecodes.map_files import read_map
from allscan.phenotypes.phecodes.maps import PhecodeMap
from allscan.phenotypes.phecodes.matrix import Events, count_dates
from allscan.phenotypes.phecodes.spec import PhecodesSection
from allscan.phenotypes.phecodes.traits import MEMORY, phecode_phenotypes
from allscan.phenotypes.records.opening import open_records
from benchmarks.timing import SIZE, Timed, Work

PEOPLE, EVENTS = {"tiny": (2_000, 40_000), "quick": (20_000, 1_000_000), "full": (100_000, 10_000_000)}[SIZE]
BATCH = 1 << 20
FIRST_DAY, LAST_DAY = 13_000, 19_000  # 2005 to 2022
WITHOUT_CONCEPT = 0.1  # of the rows: their code is found by the source value


@dataclass(frozen=True)
class Cohort:
    """Diagnoses of people, as arrays and as OMOP tables."""

    phecode_map: PhecodeMap
    codes: list[tuple[str, str]]
    person: NDArray[np.int32]
    code: NDArray[np.int32]
    day: NDArray[np.int32]
    folder: Path

    def batches(self, first: int, last: int) -> Iterator[Events]:
        for start in range(0, EVENTS, BATCH):
            here = slice(start, start + BATCH)
            person, code, day = self.person[here], self.code[here], self.day[here]
            if (first, last) != (0, PEOPLE):
                kept = (person >= first) & (person < last)
                person, code, day = person[kept], code[kept], day[kept]
            yield person, code, day


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Codes as unequally frequent as words are: the most frequent ones make up most of the rows."""
    rng = np.random.default_rng(5)
    phecode_map = read_map("X")
    codes = sorted(key for key in phecode_map.codes if key[0] != "ICD10")
    drawn = rng.zipf(1.1, 4 * EVENTS) - 1
    code = rng.permutation(len(codes))[drawn[drawn < len(codes)][:EVENTS]].astype(np.int32)
    person = rng.integers(0, PEOPLE, EVENTS, dtype=np.int32)
    day = rng.integers(FIRST_DAY, LAST_DAY, EVENTS, dtype=np.int32)
    folder = tmp_path_factory.mktemp("records")
    concepts = np.arange(1, len(codes) + 1)
    names = pa.array([name for _, name in codes])
    tables = {
        "person": {
            "person_id": np.arange(PEOPLE),
            "year_of_birth": rng.integers(1930, 2000, PEOPLE),
            "gender_concept_id": np.where(rng.random(PEOPLE) < 0.5, 8507, 8532),
        },
        "concept": {"concept_id": concepts, "vocabulary_id": [system for system, _ in codes], "concept_code": names},
        "condition_occurrence": {
            "person_id": person,
            "condition_start_date": pa.array(day).cast(pa.date32()),
            "condition_concept_id": concepts[code] % 40_000,
            "condition_source_value": names.take(pa.array(code)).dictionary_encode(),
            "condition_source_concept_id": np.where(rng.random(EVENTS) < WITHOUT_CONCEPT, 0, concepts[code]),
        },
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return Cohort(phecode_map, codes, person, code, day, folder)


def test_count_dates(timed: Timed, cohort: Cohort) -> None:
    table = cohort.phecode_map.table(cohort.codes, roll_up=True)
    phecodes = len(cohort.phecode_map.phecodes)
    found = timed(
        lambda: count_dates(cohort.batches, table, people=PEOPLE, phecodes=phecodes, memory=MEMORY),
        Work("dgemm", EVENTS),
    )
    assert found.ends[-1] == len(np.unique(_pairs(cohort, table.ends, table.phecodes)))


def _pairs(cohort: Cohort, ends: NDArray[np.int64], phecodes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Person and phecode of every link, as one number."""
    links = np.diff(ends)[cohort.code]
    first = np.repeat(ends[cohort.code] - (np.cumsum(links) - links), links)
    return np.repeat(cohort.person.astype(np.int64), links) << 12 | phecodes[first + np.arange(len(first))]


def test_phecodes_of_records(timed: Timed, cohort: Cohort) -> None:
    section = PhecodesSection(map="X", min_cases=1, min_controls=1)

    def derive() -> int:
        with open_records(cohort.folder) as records:
            return sum(trait.cases for trait in phecode_phenotypes(records, section, cohort.phecode_map))

    cases = timed(derive, Work("dgemm", EVENTS, threads=available_cpus(), judged="wall"))
    assert cases > 0
