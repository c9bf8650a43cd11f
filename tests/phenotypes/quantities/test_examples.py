"""The worked definitions: each finds, in records made for it, what it says."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from allscan.phenotypes.definitions.loading import Definition, derive, load_definition
from allscan.phenotypes.definitions.spec import sections
from allscan.phenotypes.records.codes import CodeEntry
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.quantities.making import MG_DL, MMOL_L, people

EXAMPLES = Path(__file__).parents[3] / "examples" / "phenotypes"
NAN = float("nan")
MMHG, KG, CM, PERCENT = 8876, 9529, 8582, 8554


class Coded:
    """Records with a vocabulary that has the codes of a definition."""

    def __init__(self, definition: Definition) -> None:
        self.cdr = people(4).drug(4, 1, "2001-01-01").condition(4, "", "2001-01-01").measurement(4, 1, 1, "2001-01-01")
        self._ids: dict[str, int] = {}
        for _, section in sections(definition.spec):
            if isinstance(section, CodeEntry):
                for code in section.codes:
                    self._add(section.vocabulary, code.removesuffix("*"))

    def _add(self, vocabulary: str, code: str) -> None:
        concept = 2_000_000 + 2 * len(self._ids)
        self._ids[code] = concept
        # Below a code of ATC stand the ingredients.
        self.cdr.concept(concept, vocabulary, code).below(concept, concept + 1)

    def lab(self, person: int, code: str, value: float, day: str = "2015-01-01", unit: int = 0, **more) -> Coded:
        self.cdr.measurement(person, self._ids[code], value, day, unit, **more)
        return self

    def drug(self, person: int, code: str, start: str, end: str) -> Coded:
        self.cdr.drug(person, self._ids[code] + 1, start, end)
        return self

    def diagnosis(self, person: int, code: str, day: str) -> Coded:
        self.cdr.condition(person, code, day, concept=0, source_concept=self._ids[code])
        return self

    def answer(self, person: int, question: str, answer: str, day: str = "2018-01-01") -> Coded:
        self.cdr.add(
            "observation",
            person_id=person,
            observation_concept_id=0,
            observation_source_concept_id=self._ids[question],
            observation_date=day,
            value_source_value=answer,
        )
        return self


def days(n: int) -> list[dt.date]:
    return [dt.date(2018, 1, 1) + dt.timedelta(days=i) for i in range(n)]


def ldl_cholesterol(one: Coded) -> list[float]:
    one.lab(1, "13457-7", 140, "2015-01-01", MG_DL).lab(1, "18262-6", 70, "2016-01-10", MG_DL)
    one.drug(1, "C10AA", "2016-01-01", "2016-02-01")
    one.lab(2, "22748-8", 3, unit=MMOL_L)
    one.lab(3, "2089-1", 100, "1975-01-01", MG_DL)  # a child
    return [(140 + 70 / 0.7) / 2, 3 * 38.665, NAN, NAN]


def hba1c(one: Coded) -> list[float]:
    one.cdr.concept(3, "UCUM", "mmol/mol")
    one.lab(1, "4548-4", 5.5, unit=PERCENT).lab(2, "59261-8", 37, unit=3)
    one.lab(3, "4548-4", 8, unit=PERCENT).diagnosis(3, "E11", "2019-01-01")
    one.lab(4, "4548-4", 7, unit=PERCENT).drug(4, "A10", "2019-01-01", "2019-01-01")
    return [5.5, 0.09148 * 37 + 2.152, NAN, NAN]


def body_mass_index(one: Coded) -> list[float]:
    one.lab(1, "29463-7", 80, unit=KG).lab(1, "8302-2", 200, unit=CM)
    for day, weight in (("2015-01-01", 60), ("2016-01-01", 80)):
        one.lab(3, "29463-7", weight, day, KG).lab(3, "8302-2", 160, day, CM)
    one.diagnosis(3, "O", "2016-03-01")
    return [20, NAN, 60 / 1.6**2, NAN]


def systolic_blood_pressure(one: Coded) -> list[float]:
    one.lab(1, "8480-6", 130, unit=MMHG).lab(1, "8480-6", 120, unit=MMHG).lab(2, "8480-6", 140, "2015-01-01")
    one.drug(2, "C09", "2014-12-20", "2015-01-20")
    one.cdr.measurement(3, 903118, 118, "2018-01-01")
    return [125, 155, 118, NAN]


def height(one: Coded) -> list[float]:
    one.lab(1, "8302-2", 180, unit=CM).lab(1, "3137-7", 70, "2015-02-01", 9330).lab(2, "8302-2", 70, unit=9330)
    return [(180 + 177.8) / 2, 177.8, NAN, NAN]


def daily_steps(one: Coded) -> list[float]:
    for i, day in enumerate(days(31)):
        for person, hours in ((1, 10), (2, 9)):
            one.cdr.add("activity_summary", person_id=person, date=day, steps=5000 + i)
            one.cdr.add(
                "heart_rate_summary", person_id=person, date=day, zone_name="Out of Range", minute_in_zone=60 * hours
            )
    return [5015, NAN, NAN, NAN]


def resting_heart_rate(one: Coded) -> list[float]:
    for i, day in enumerate(days(30)):
        for person in (1, 2):
            for rate in (*[50 + i] * 31, *[80] * 570):
                one.cdr.add("heart_rate_minute_level", person_id=person, datetime=day, heart_rate_value=rate)
    one.drug(2, "C07", "2018-01-10", "2018-01-10")
    return [64.5, NAN, NAN, NAN]


def sleep_duration(one: Coded) -> list[float]:
    for person, nights in ((1, 30), (2, 29)):
        for i, day in enumerate(days(nights)):
            one.cdr.add(
                "sleep_daily_summary", person_id=person, sleep_date=day, is_main_sleep="true", minute_asleep=420 + i % 2
            )
    return [420.5 / 60, NAN, NAN, NAN]


def smoking(one: Coded) -> list[float]:
    for person, answer in ((1, "100CigsLifetime_Yes"), (2, "100CigsLifetime_No"), (3, "PMI_Skip")):
        one.answer(person, "Smoking_100CigsLifetime", answer)
    return [1, 0, -1, -1]


def self_rated_health(one: Coded) -> list[float]:
    for person, answer in ((1, "Excellent"), (2, "Fair"), (3, "Poor")):
        one.answer(person, "OverallHealth_GeneralHealth", f"GeneralHealth_{answer}")
    one.answer(3, "OverallHealth_GeneralHealth", "GeneralHealth_Good", "2019-01-01")
    return [5, 2, 3, NAN]


CASES = [
    ldl_cholesterol,
    hba1c,
    body_mass_index,
    systolic_blood_pressure,
    height,
    daily_steps,
    resting_heart_rate,
    sleep_duration,
    smoking,
    self_rated_health,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_worked_definition(tmp_path, case):
    definition = load_definition(EXAMPLES / f"{case.__name__}.yaml")
    assert definition.spec.id == case.__name__
    one = Coded(definition)
    wanted = case(one)
    with open_records(one.cdr.write(tmp_path / "cdr")) as records:
        (trait,) = derive(records, definition)
    np.testing.assert_allclose(trait.values, wanted, rtol=1e-12)
    assert trait.label == definition.spec.title
    assert trait.category


def test_every_worked_definition_of_these_kinds_is_here():
    kinds = ("kind: measurement", "kind: wearable", "kind: survey")
    written = {path.stem for path in EXAMPLES.glob("*.yaml") if path.read_text().startswith(kinds)}
    assert written == {case.__name__ for case in CASES}
