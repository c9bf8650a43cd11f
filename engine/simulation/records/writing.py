"""Records of a whole cohort in a folder: made by chunks of people, so that memory does not grow with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.simulation.ordered import in_order
from allscan.engine.simulation.records.catalogue import DISEASES, MEASURES
from allscan.engine.simulation.records.conditions import (
    Tally,
    code_rows,
    draw_codes,
    draw_episodes,
    draw_illness,
    onset_columns,
)
from allscan.engine.simulation.records.faults import implausible_values, malformed_codes, with_faults
from allscan.engine.simulation.records.measurements import draw_true_values, draw_values, value_rows
from allscan.engine.simulation.records.people import (
    RELEASE,
    People,
    death_rows,
    draw_histories,
    draw_visits,
    period_rows,
    person_rows,
    to_chunks,
    visit_rows,
)
from allscan.engine.simulation.records.surveys import draw_true_steps, survey_rows, wearable_rows
from allscan.engine.simulation.records.tables import DATE, FLOAT, ID, IN_PARTS, TABLES, YES, Rows, TableWriter
from allscan.engine.simulation.records.treatments import (
    draw_courses,
    exposure_rows,
    procedure_rows,
)
from allscan.engine.simulation.records.vocabulary import all_concepts, vocabulary_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from allscan.engine.simulation.pedigree import Pedigree
    from allscan.engine.simulation.records.vocabulary import Concepts
    from allscan.engine.simulation.traits import CohortTraits

PEOPLE_TRUTH = "records_people"

_PEOPLE_PER_CHUNK = 5000
_IDS_PER_CHUNK = 10_000_000  # of each table: ids then follow from the chunk alone


@dataclass
class RecordCounts:
    """What was counted on the way."""

    tally: Tally | None = None
    people: int = 0
    empty: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)  # "table.kind"
    treated: dict[str, int] = field(default_factory=dict)  # people, by group of drugs
    trait_sd: tuple[float, ...] = ()  # of the simulated quantitative traits

    def add(self, chunk: _Chunk) -> None:
        """Add the counts of a chunk."""
        self.tally = chunk.tally if self.tally is None else self.tally + chunk.tally
        self.people += chunk.people
        self.empty += chunk.empty
        for into, counts in ((self.faults, chunk.faults), (self.treated, chunk.treated)):
            for name, number in counts.items():
                into[name] = into.get(name, 0) + number


class _Chunk(NamedTuple):
    people: int
    empty: int
    tables: list[tuple[str, Rows]]
    truth: Rows
    tally: Tally
    faults: dict[str, int]
    treated: dict[str, int]


def write_records(
    folder: Path,
    pedigree: Pedigree,
    traits: CohortTraits,
    generator: Callable[[int], np.random.Generator],
    workers: int,
) -> RecordCounts:
    """Write ``records/`` and the truth about each person.

    Parameters
    ----------
    folder
        Where they are written.
    pedigree
        People, with whole numbers as ids.
    generator
        Gives the stream of random numbers of each chunk of people.
    workers
        Chunks made at the same time.
    """
    target = folder / "records"
    target.mkdir()
    people = People.of(pedigree, traits)
    concepts = all_concepts()
    writers = {name: TableWriter(target, name, columns, in_parts=name in IN_PARTS) for name, columns in TABLES.items()}
    truth = TableWriter(folder, PEOPLE_TRUTH, _truth_columns(), in_parts=False)
    counts = RecordCounts(trait_sd=tuple(traits.complete.std(axis=0).tolist()))
    for name, rows in {**vocabulary_rows(concepts), "cdm_source": _source_rows()}.items():
        writers[name].append(rows)

    def make(chunk: tuple[int, tuple[int, int]]) -> _Chunk:
        number, (low, high) = chunk
        return _make_chunk(
            generator(number), people.rows(low, high), concepts, number * _IDS_PER_CHUNK + 1, len(people)
        )

    try:
        for chunk in in_order(make, enumerate(to_chunks(len(people), _PEOPLE_PER_CHUNK)), workers):
            for name, rows in chunk.tables:
                writers[name].append(rows)
            truth.append(chunk.truth)
            counts.add(chunk)
    finally:
        for writer in (*writers.values(), truth):
            writer.close()
    counts.rows = {name: writer.rows for name, writer in writers.items()}
    return counts


def _make_chunk(rng: np.random.Generator, people: People, concepts: Concepts, first_id: int, cohort: int) -> _Chunk:
    histories = draw_histories(rng, people)
    illness = draw_illness(rng, histories)
    visits = draw_visits(rng, histories, draw_episodes(rng, illness), first_id)
    true = draw_true_values(rng, people)
    steps = draw_true_steps(rng, people)
    courses = draw_courses(rng, histories, illness, true)
    coded, tally = draw_codes(rng, histories, visits, illness)
    conditions, circumstances = code_rows(rng, histories, visits, coded, concepts, first_id)
    drawn = draw_values(rng, histories, visits, illness, courses, true)
    values, without_unit = value_rows(rng, histories, drawn, first_id)
    faults = {"code.wrong_sex": tally.wrong_sex, "measurement.no_unit": without_unit}
    tables = [
        ("person", person_rows(histories)),
        ("observation_period", period_rows(histories, first_id)),
        ("visit_occurrence", visit_rows(rng, histories, visits)),
        ("procedure_occurrence", procedure_rows(rng, histories, visits, concepts, first_id)),
        ("death", death_rows(histories)),
        *wearable_rows(rng, histories, steps).items(),
    ]

    def add(table: str, rows: Rows, date: str, extra: dict[str, Rows] | None = None) -> None:
        rows, made = with_faults(rng, rows, f"{table}_id", date, histories, cohort, extra)
        tables.append((table, rows))
        for kind, number in made.items():
            faults[f"{table}.{kind}"] = faults.get(f"{table}.{kind}", 0) + number

    add("condition_occurrence", conditions, "condition_start_date", malformed_codes(rng, conditions))
    exposures, treated = exposure_rows(histories, courses, concepts, first_id)
    add("drug_exposure", exposures, "drug_exposure_start_date")
    add("measurement", values, "measurement_date", implausible_values(rng, drawn, values))
    add("observation", circumstances, "observation_date")
    answers = survey_rows(rng, histories, first_id + _IDS_PER_CHUNK // 2)
    add("observation", answers, "observation_date")
    truth: dict[str, Any] = {
        "person_id": people.person_id,
        "recorded_days": histories.length,
        "visits": np.diff(visits.first),
        **onset_columns(illness),
        **{f"true_{measure.name}": true[:, number] for number, measure in enumerate(MEASURES)},
        "true_steps": steps,
    }
    return _Chunk(
        people=len(people),
        empty=int((histories.length == 0).sum()),
        tables=tables,
        truth=Rows(len(people), truth),
        tally=tally,
        faults=faults,
        treated=treated,
    )


def _truth_columns() -> dict[str, Any]:
    columns = {"person_id": ID, "recorded_days": ID, "visits": ID}
    for disease in DISEASES:
        columns[f"case_{disease.key}"] = YES
        columns[f"onset_{disease.key}"] = DATE
    return {**columns, **{f"true_{measure.name}": FLOAT for measure in MEASURES}, "true_steps": FLOAT}


def _source_rows() -> Rows:
    return Rows(
        1,
        {
            "cdm_source_name": "Simulated records",
            "cdm_source_abbreviation": "simulated",
            "cdm_holder": "allscan simulate",
            "source_description": "No real person is in these records.",
            "source_release_date": RELEASE,
            "cdm_release_date": RELEASE,
            "cdm_version": "5.4",
            "cdm_version_concept_id": 756265,
            "vocabulary_version": "simulated",
        },
    )
