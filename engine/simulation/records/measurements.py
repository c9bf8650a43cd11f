"""What is measured at visits: laboratory values, blood pressure, weight and height, in mixed units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.simulation.records.catalogue import (
    ANTIHYPERTENSIVE_FACTOR,
    DIABETES_SHIFT,
    DISEASES,
    MEASURES,
    PANELS,
    STATIN_FACTOR,
)
from allscan.engine.simulation.records.tables import Coded, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.simulation.records.conditions import Illness
    from allscan.engine.simulation.records.people import Histories, People, Visits
    from allscan.engine.simulation.records.treatments import Courses

NAMES = tuple(measure.name for measure in MEASURES)

_MEN_TALLER, _WITHIN_SEX = 14.0, 0.93  # cm; and spread within a sex, of that between people
_DIABETICS_HBA1C = 0.4  # chance that a diabetic's visit has HbA1c
_OTHER_UNIT = 0.02  # chance that a value is in the units that the site does not use
_NO_UNIT = 0.01
_AT_ENROLMENT = ("height", "bmi", "weight", "systolic", "diastolic")
_EHR, _EXAMINATION = 32817, 44818701
_DIABETES = next(number for number, disease in enumerate(DISEASES) if disease.name == "Type 2 diabetes")


@dataclass(frozen=True)
class Drawn:
    """Values, each of a measurement, a person and a date, in the measurement's first unit."""

    measure: NDArray[np.int32]
    person: NDArray[np.intp]
    date: NDArray[np.int32]
    value: NDArray[np.float64]
    visit_id: NDArray[np.int64]  # -1 at enrolment


def draw_true_values(rng: np.random.Generator, people: People) -> NDArray[np.float64]:
    """What everybody's value is at 50 years, untreated and but for noise, shape (people, measurements)."""
    out = np.empty((len(people), len(MEASURES)))
    for number, measure in enumerate(MEASURES):
        score = people.trait(measure.trait)
        out[:, number] = measure.mean + measure.sd * (rng.standard_normal(len(people)) if score is None else score)
    height, systolic, bmi = (out[:, NAMES.index(name)] for name in ("height", "systolic", "bmi"))
    height[:] = 169 + _WITHIN_SEX * (height - 169) + np.where(people.sex == 1, 0.5, -0.5) * _MEN_TALLER
    # Diastolic pressure goes with systolic.
    of_systolic = next(measure for measure in MEASURES if measure.name == "systolic")
    diastolic = out[:, NAMES.index("diastolic")]
    diastolic[:] = 77 + 0.8 * (diastolic - 77) + 0.6 * 8 * (systolic - of_systolic.mean) / of_systolic.sd
    out[:, NAMES.index("weight")] = bmi * (height / 100) ** 2
    return out


def draw_values(
    rng: np.random.Generator,
    histories: Histories,
    visits: Visits,
    illness: Illness,
    courses: Courses,
    true: NDArray[np.float64],
) -> Drawn:
    """Measure at visits, and everybody who answers the survey at enrolment too."""
    surveyed = np.flatnonzero(histories.surveyed)
    onset = illness.onset[:, _DIABETES]
    parts = []
    for panel, chance in PANELS.items():
        likely = np.full(len(visits), chance)
        if panel == "hba1c":
            likely[visits.date >= onset[visits.person]] = _DIABETICS_HBA1C
        chosen = np.flatnonzero(rng.random(len(visits)) < likely)
        members = [number for number, measure in enumerate(MEASURES) if measure.panel == panel]
        at_enrolment = surveyed[: len(surveyed) if NAMES[members[0]] in _AT_ENROLMENT else 0]
        person = np.concatenate([visits.person[chosen], at_enrolment])
        date = np.concatenate([visits.date[chosen], histories.enrolment[at_enrolment]])
        visit_id = np.concatenate([visits.visit_id[chosen], np.full(len(at_enrolment), -1)])
        for number in members:
            value = _value(rng, number, histories, onset, courses, true, person, date)
            parts.append((np.full(len(person), number, np.int32), person, date, value, visit_id))
    drawn = Drawn(*(np.concatenate([part[index] for part in parts]) for index in range(5)))
    order = np.lexsort((drawn.date, drawn.person))
    return Drawn(
        drawn.measure[order], drawn.person[order], drawn.date[order], drawn.value[order], drawn.visit_id[order]
    )


def _value(
    rng: np.random.Generator,
    number: int,
    histories: Histories,
    onset: NDArray[np.int32],
    courses: Courses,
    true: NDArray[np.float64],
    person: NDArray[np.intp],
    date: NDArray[np.int32],
) -> NDArray[np.float64]:
    measure = MEASURES[number]
    if measure.name == "weight":
        bmi = NAMES.index("bmi")
        height = true[person, NAMES.index("height")]
        observed = _value(rng, bmi, histories, onset, courses, true, person, date)
        return np.asarray(observed * (height / 100) ** 2)
    decades = (histories.age_at(person, date) - 50) / 10
    value = true[person, number] + measure.per_decade * decades
    if measure.name in DIABETES_SHIFT:
        value += DIABETES_SHIFT[measure.name] * (date >= onset[person])
    if measure.name == "ldl":
        value *= np.where(courses.exposed("statin", person, date), STATIN_FACTOR, 1.0)
    if measure.panel == "pressure":
        value *= np.where(courses.exposed("antihypertensive", person, date), ANTIHYPERTENSIVE_FACTOR, 1.0)
    return np.asarray(np.maximum(value + measure.noise * rng.standard_normal(len(person)), measure.floor))


def value_rows(rng: np.random.Generator, histories: Histories, drawn: Drawn, first_id: int) -> tuple[Rows, int]:
    """Rows of ``measurement``, and how many of them have no unit (those are in the first one)."""
    n = len(drawn.measure)
    has_other = np.array([measure.other_concept > 0 for measure in MEASURES])[drawn.measure]
    other = has_other & (histories.other_units[drawn.person] ^ (rng.random(n) < _OTHER_UNIT))
    without = ~other & (rng.random(n) < _NO_UNIT)
    value = in_other_unit(drawn.value, drawn.measure, other)
    unit = np.where(other, drawn.measure + len(MEASURES), drawn.measure).astype(np.int32)
    unit[without] = -1
    concepts = [measure.unit_concept for measure in MEASURES] + [measure.other_concept for measure in MEASURES]
    texts = [measure.unit for measure in MEASURES] + [measure.other_unit for measure in MEASURES]
    kinds = tuple(dict.fromkeys(texts))
    text = np.array([kinds.index(name) for name in texts] + [-1], np.int32)[unit]
    low, high = (
        np.array([bounds if measure.high else np.nan for measure, bounds in zip(MEASURES, of, strict=True)])[
            drawn.measure
        ]
        for of in ([measure.low for measure in MEASURES], [measure.high for measure in MEASURES])
    )
    rows = Rows(
        n,
        {
            "measurement_id": first_id + np.arange(n),
            "person_id": histories.people.person_id[drawn.person],
            "measurement_concept_id": np.array([measure.concept for measure in MEASURES])[drawn.measure],
            "measurement_date": drawn.date,
            "measurement_type_concept_id": np.where(drawn.visit_id < 0, _EXAMINATION, _EHR),
            "operator_concept_id": np.full(n, -1),
            "value_as_number": value,
            "unit_concept_id": np.array([*concepts, 0])[unit],
            "range_low": in_other_unit(low, drawn.measure, other),
            "range_high": in_other_unit(high, drawn.measure, other),
            "visit_occurrence_id": drawn.visit_id,
            "measurement_source_value": Coded(drawn.measure, tuple(measure.loinc for measure in MEASURES)),
            "unit_source_value": Coded(text, kinds),
            "value_source_value": Coded(np.full(n, -1, np.int32), ()),
        },
    )
    return rows, int(without.sum())


def in_other_unit(
    value: NDArray[np.float64], measure: NDArray[np.int32], other: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Values as they are written: rounded, in the other unit where told."""
    factor = np.array([measure.other_per_unit for measure in MEASURES])[measure]
    step = 10.0 ** -np.array([measure.decimals for measure in MEASURES])[measure]
    # Two digits after the point in millimoles, and as many as matter in micromoles, pounds and inches.
    fine = np.where(factor < 0.1, 0.01, np.where(factor > 10, 1.0, 0.1))
    step = np.where(other, fine, step)
    scaled = np.where(other, value * factor, value)
    # A number such as 2.84 has many names near it; twelve digits leave one.
    return np.asarray(np.round(np.round(scaled / step) * step, 6))
