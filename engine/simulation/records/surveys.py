"""What people say and wear: answers to the survey at enrolment, and days of a wearable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.simulation.records.catalogue import (
    QUESTIONS,
    SKIPPED,
    STEPS_MEAN,
    STEPS_NOISE,
    STEPS_SD,
    STEPS_TRAIT,
)
from allscan.engine.simulation.records.people import day
from allscan.engine.simulation.records.tables import Coded, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.simulation.records.people import Histories, People

_FEWEST_DAYS, _MOST_DAYS = 10, 90  # of a wearable
_DEVICES_FROM = day("2015-01-01")
_NOT_WORN = 0.08  # share of days
_NAPS = 0.05  # share of days with a second sleep
_ZONES = (("Out of Range", 30, 0), ("Fat Burn", 0, 50), ("Cardio", 0, 70), ("Peak", 0, 85))
_ZONE_SHARES = (0.80, 0.15, 0.04, 0.01)


def survey_rows(rng: np.random.Generator, histories: Histories, first_id: int) -> Rows:
    """Rows of ``observation``: each question with one answer, or with none that counts."""
    person = np.flatnonzero(histories.surveyed)
    n = len(person)
    answers = [*((concept, code) for concept, code, _ in SKIPPED)]
    skipping = np.cumsum([share for _, _, share in SKIPPED])
    chosen = []
    for question in QUESTIONS:
        shares = np.cumsum([share for _, _, share in question.answers])
        rank = np.minimum(np.searchsorted(shares, rng.random(n)), len(shares) - 1)
        skipped = np.searchsorted(skipping, rng.random(n))
        chosen.append(np.where(skipped < len(SKIPPED), skipped, len(answers) + rank))
        answers += [(concept, code) for concept, code, _ in question.answers]
    answer = np.column_stack(chosen).ravel().astype(np.int32)
    row = np.repeat(person, len(QUESTIONS))
    asked = np.tile(np.arange(len(QUESTIONS), dtype=np.int32), n)
    concept = np.array([question.concept for question in QUESTIONS])[asked]
    answered = np.array([concept for concept, _ in answers])[answer]
    return Rows(
        len(row),
        {
            "observation_id": first_id + np.arange(len(row)),
            "person_id": histories.people.person_id[row],
            "observation_concept_id": concept,
            "observation_date": histories.enrolment[row],
            "observation_type_concept_id": 45905771,
            "value_as_concept_id": answered,
            "observation_source_value": Coded(asked, tuple(question.code for question in QUESTIONS)),
            "observation_source_concept_id": concept,
            "value_source_value": Coded(answer, tuple(code for _, code in answers)),
            "value_source_concept_id": answered,
            "questionnaire_response_id": first_id + row,
        },
    )


def draw_true_steps(rng: np.random.Generator, people: People) -> NDArray[np.float64]:
    """Everybody's mean steps per day while a device is worn, before the day's deviation."""
    score = people.trait(STEPS_TRAIT)
    return STEPS_MEAN + STEPS_SD * (rng.standard_normal(len(people)) if score is None else score)


def wearable_rows(rng: np.random.Generator, histories: Histories, steps: NDArray[np.float64]) -> dict[str, Rows]:
    """Rows of the wearables' tables: consecutive days on record, some of them with the device in a drawer."""
    number = rng.integers(_FEWEST_DAYS, _MOST_DAYS + 1, len(histories.people)) * histories.device
    number = np.minimum(number, histories.length)
    first = ((histories.length - number) * rng.uniform(0.5, 1.0, len(number))).astype(np.int32)
    person = np.repeat(np.arange(len(number)), number)
    rank = np.arange(len(person)) - np.repeat(np.cumsum(number) - number, number)
    date = histories.date(person, (first[person] + rank).astype(np.int32))
    kept = date >= _DEVICES_FROM
    person, date = person[kept], date[kept]
    n = len(person)
    ids = histories.people.person_id[person]

    worn = rng.random(n) >= _NOT_WORN
    # A device lies in a drawer, and is moved now and then.
    minutes = np.where(worn, np.clip(rng.normal(1250, 120, n), 650, 1440), rng.uniform(0, 300, n)).astype(np.int32)
    walked = np.where(worn, steps[person] + STEPS_NOISE * rng.standard_normal(n), rng.uniform(0, 150, n))
    walked = np.maximum(walked, 0.0).astype(np.int32)
    very = np.round(walked / 400 * rng.random(n))
    fairly = np.round(walked / 400 * rng.random(n))
    lightly = np.round(np.minimum(walked / 40, 600))
    at_rest = np.full(n, 1500.0)
    activity = Rows(
        n,
        {
            "person_id": ids,
            "date": date,
            "activity_calories": np.round(walked * 0.05),
            "calories_bmr": at_rest,
            "calories_out": at_rest + np.round(walked * 0.05),
            "elevation": np.round(walked / 500),
            "fairly_active_minutes": fairly,
            "floors": walked // 800,
            "lightly_active_minutes": lightly,
            "marginal_calories": np.round(walked * 0.03),
            "sedentary_minutes": 1440 - very - fairly - lightly,
            "steps": walked,
            "very_active_minutes": very,
        },
    )
    return {
        "activity_summary": activity,
        "heart_rate_summary": _heart_rate(ids, histories.age_at(person, date), date, minutes),
        "sleep_daily_summary": _sleep(rng, ids[worn], date[worn]),
    }


def _heart_rate(
    ids: NDArray[np.int64], age: NDArray[np.float64], date: NDArray[np.int32], minutes: NDArray[np.int32]
) -> Rows:
    """Minutes in each zone; together they are the minutes that the device was worn."""
    zones = len(_ZONES)
    parts = [np.floor(minutes * share).astype(np.int32) for share in _ZONE_SHARES[1:]]
    in_zone = np.column_stack([minutes - sum(parts), *parts])
    most = np.round(220 - age)
    bounds = np.column_stack([*(np.where(part, most * part / 100, least) for _, least, part in _ZONES), most]).astype(
        np.int32
    )
    n = len(ids) * zones
    return Rows(
        n,
        {
            "person_id": np.repeat(ids, zones),
            "date": np.repeat(date, zones),
            "zone_name": Coded(np.tile(np.arange(zones, dtype=np.int32), len(ids)), tuple(name for name, *_ in _ZONES)),
            "min_heart_rate": bounds[:, :-1].ravel(),
            "max_heart_rate": bounds[:, 1:].ravel(),
            "minute_in_zone": in_zone.ravel(),
            "calorie_count": in_zone.ravel() * 1.2,
        },
    )


def _sleep(rng: np.random.Generator, ids: NDArray[np.int64], date: NDArray[np.int32]) -> Rows:
    """Nights, and naps after some of them."""
    nap = np.flatnonzero(rng.random(len(ids)) < _NAPS)
    row = np.concatenate([np.arange(len(ids)), nap])
    main = np.arange(len(row)) < len(ids)
    asleep = np.where(main, np.clip(rng.normal(410, 55, len(row)), 120, 700), rng.uniform(20, 90, len(row)))
    asleep = asleep.astype(np.int32)
    awake = np.round(asleep * rng.uniform(0.05, 0.15, len(row))).astype(np.int32)
    deep = np.round(asleep * rng.uniform(0.12, 0.2, len(row))).astype(np.int32)
    rem = np.round(asleep * rng.uniform(0.15, 0.25, len(row))).astype(np.int32)
    order = np.argsort(row, kind="stable")
    columns = {
        "person_id": ids[row],
        "sleep_date": date[row],
        "is_main_sleep": main,
        "minute_in_bed": asleep + awake,
        "minute_asleep": asleep,
        "minute_after_wakeup": awake // 8,
        "minute_awake": awake // 2,
        "minute_restless": awake - awake // 2,
        "minute_deep": deep,
        "minute_light": asleep - deep - rem,
        "minute_rem": rem,
        "minute_wake": awake,
    }
    return Rows(len(row), columns).take(order)
