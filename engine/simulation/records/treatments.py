"""Who takes which drug from when to when, what the prescriptions look like, and procedures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.simulation.records.catalogue import DISEASES, DRUGS, MEASURES, PROCEDURES
from allscan.engine.simulation.records.people import DAYS_PER_YEAR
from allscan.engine.simulation.records.tables import NO_DATE, Coded, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.simulation.records.conditions import Illness
    from allscan.engine.simulation.records.people import Histories, Visits
    from allscan.engine.simulation.records.vocabulary import Concepts

_SUPPLY = 90  # days
_STATIN_ABOVE, _STATIN_SPREAD = 145.0, 10.0  # mg/dL of LDL, as the doctor sees it
_STOPPED = 0.3  # share of courses that end before the record does


@dataclass(frozen=True)
class Courses:
    """At most one course of each group of drugs for each person; dates, ``NO_DATE`` where there is none."""

    drug: dict[str, NDArray[np.int32]]  # index in DRUGS
    start: dict[str, NDArray[np.int32]]
    stop: dict[str, NDArray[np.int32]]  # last day

    def exposed(self, group: str, person: NDArray[np.intp], date: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether people take a drug of the group on these dates."""
        return np.asarray((date >= self.start[group][person]) & (date <= self.stop[group][person]))


def draw_courses(
    rng: np.random.Generator, histories: Histories, illness: Illness, true: NDArray[np.float64]
) -> Courses:
    """Prescribe: statins to who has high LDL (which confounds them with it), the others by disease."""
    people = histories.people
    n = len(people)
    onset = {disease.name: illness.onset[:, number] for number, disease in enumerate(DISEASES)}
    names = [measure.name for measure in MEASURES]
    ldl, systolic = true[:, names.index("ldl")], true[:, names.index("systolic")]
    forty = histories.birth + round(40 * DAYS_PER_YEAR)
    high = (ldl + _STATIN_SPREAD * rng.standard_normal(n) > _STATIN_ABOVE) & (rng.random(n) < 0.85)
    tense = (systolic + 8 * rng.standard_normal(n) > 142) & (rng.random(n) < 0.7)
    breathless = np.minimum(onset["Asthma"], onset["Chronic obstructive pulmonary disease"])
    begins = {
        "statin": np.minimum(np.where(high, forty, NO_DATE), _some(rng, onset["Type 2 diabetes"], 0.4)),
        "metformin": _some(rng, onset["Type 2 diabetes"], 0.7),
        "insulin": np.minimum(_some(rng, onset["Type 2 diabetes"], 0.15), _some(rng, onset["Type 1 diabetes"], 0.95)),
        "bronchodilator": _some(rng, breathless, 0.75),
        "antihypertensive": np.minimum(np.where(tense, forty, NO_DATE), _some(rng, onset["Hypertension"], 0.7)),
    }
    courses = Courses({}, {}, {})
    for group in dict.fromkeys(drug.group for drug in DRUGS):
        members = np.array([number for number, drug in enumerate(DRUGS) if drug.group == group], np.int32)
        courses.drug[group] = members[rng.integers(0, len(members), n)]
        # What was indicated before the record begins may be prescribed at any time of it.
        earliest = np.maximum(begins[group], histories.start)
        left = np.maximum(histories.end - earliest, 0)
        start = earliest + (left * rng.random(n) ** 2).astype(np.int32)
        lasting = np.where(rng.random(n) < _STOPPED, rng.exponential(2 * DAYS_PER_YEAR, n) + 30, 100 * DAYS_PER_YEAR)
        none = (begins[group] > histories.end) | (histories.length == 0)
        courses.start[group] = np.where(none, NO_DATE, start).astype(np.int32)
        courses.stop[group] = np.where(none, 0, np.minimum(start + lasting, histories.end)).astype(np.int32)
    return courses


def _some(rng: np.random.Generator, onset: NDArray[np.int32], share: float) -> NDArray[np.int32]:
    """Onsets of a share of the people, ``NO_DATE`` for the others."""
    return np.where(rng.random(len(onset)) < share, onset, NO_DATE)


def exposure_rows(
    histories: Histories, courses: Courses, concepts: Concepts, first_id: int
) -> tuple[Rows, dict[str, int]]:
    """Rows of ``drug_exposure``, one for each supply and none in a gap of the record; people by group of drugs."""
    person, drug, date, stop = (
        np.concatenate(parts) for parts in zip(*(_supplies(courses, group) for group in courses.drug), strict=True)
    )
    kept = np.flatnonzero(histories.recorded(person, date))
    kept = kept[np.lexsort((date[kept], person[kept]))]
    person, drug, date, stop = person[kept], drug[kept], date[kept], stop[kept]
    days = np.minimum(_SUPPLY, stop - date + 1)
    treated = {group: len(np.unique(person[np.isin(drug, np.unique(drugs))])) for group, drugs in courses.drug.items()}
    rows = Rows(
        len(kept),
        {
            "drug_exposure_id": first_id + np.arange(len(kept)),
            "person_id": histories.people.person_id[person],
            "drug_concept_id": np.array(concepts.of_product)[drug],
            "drug_exposure_start_date": date,
            "drug_exposure_end_date": date + days - 1,
            "drug_type_concept_id": 32817,
            "refills": 0,
            "quantity": days.astype(np.float64),
            "days_supply": days,
            "drug_source_value": Coded(drug.astype(np.int32), tuple(drug.product for drug in DRUGS)),
            "drug_source_concept_id": 0,
        },
    )
    return rows, treated


def _supplies(courses: Courses, group: str) -> tuple[NDArray[Any], ...]:
    """Person, drug, first day and end of the course, of every supply."""
    start, stop = courses.start[group], courses.stop[group]
    taking = np.flatnonzero(start <= stop)
    number = (stop - start)[taking] // _SUPPLY + 1
    person = np.repeat(taking, number)
    rank = np.arange(len(person)) - np.repeat(np.cumsum(number) - number, number)
    return person, courses.drug[group][person], start[person] + _SUPPLY * rank, stop[person]


def procedure_rows(
    rng: np.random.Generator, histories: Histories, visits: Visits, concepts: Concepts, first_id: int
) -> Rows:
    """Rows of ``procedure_occurrence``: what some visits have, whoever comes."""
    sex = histories.people.sex[visits.person]
    parts = []
    for number, procedure in enumerate(PROCEDURES):
        can = (procedure.sex == 0) | (sex == procedure.sex)
        visit = np.flatnonzero(can & (rng.random(len(visits)) < procedure.per_visit))
        parts.append((visit, np.full(len(visit), number, np.int32)))
    visit, kind = (np.concatenate([part[index] for part in parts]) for index in range(2))
    order = np.argsort(visit, kind="stable")
    visit, kind = visit[order], kind[order]
    return Rows(
        len(visit),
        {
            "procedure_occurrence_id": first_id + np.arange(len(visit)),
            "person_id": histories.people.person_id[visits.person[visit]],
            "procedure_concept_id": np.array(concepts.of_procedure)[kind],
            "procedure_date": visits.date[visit],
            "procedure_type_concept_id": 32817,
            "visit_occurrence_id": visits.visit_id[visit],
            "procedure_source_value": Coded(kind, tuple(procedure.snomed for procedure in PROCEDURES)),
            "procedure_source_concept_id": np.array(concepts.of_procedure)[kind],
        },
    )
