"""Wearables: days that count, minutes and nights, and one number for each person."""

from __future__ import annotations

import datetime as dt
import math
import random
import statistics
from typing import get_args

import numpy as np
import pytest

from allscan.errors import InputError, JobError
from allscan.phenotypes.definitions.loading import load_definition
from allscan.phenotypes.quantities.wearable import MEASURES, MeasureName
from tests.phenotypes.cdr import Cdr
from tests.phenotypes.quantities.making import made, made_with_quality, people, steps

NAN = float("nan")
START = dt.date(2019, 1, 1)


def wearable(**keys) -> dict:
    return {"kind": "wearable", "id": "w", "measure": "steps", "summary": "median", "min_days": 1, **keys}


def day(n: int) -> dt.date:
    return START + dt.timedelta(days=n)


def walked(cdr: Cdr, person: int, steps: list[float | None]) -> Cdr:
    for n, count in enumerate(steps):
        cdr.add("activity_summary", person_id=person, date=day(n), steps=count)
    return cdr


def test_the_model_knows_every_measure():
    assert get_args(MeasureName) == tuple(MEASURES)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({}, [6000, 3000, 50]),
        ({"valid": [100, 45000]}, [7000, 3000, NAN]),
        ({"valid": [100, 45000], "min_days": 3}, [7000, NAN, NAN]),
        ({"summary": "mean"}, [(6000 + 7000 + 8000 + 50 + 0) / 5, 3000, 50]),
        ({"summary": "max", "dates": {"until": "2019-01-02"}}, [7000, 4000, 50]),
        ({"summary": "first", "ages": {"at_least": 58.5}}, [6000, 2000, 50]),  # 1 January 2019
        ({"summary": "first", "ages": {"below": 58.5}}, [NAN, NAN, NAN]),
        ({"summary": "last"}, [0, 4000, 50]),
    ],
)
def test_days_of_steps(tmp_path, keys, found):
    cdr = people(3)
    walked(cdr, 1, [6000, 7000, 8000, 50, 0])
    walked(cdr, 2, [2000, 4000, None])
    walked(cdr, 3, [50])
    trait = made(tmp_path, cdr, wearable(**keys))
    np.testing.assert_allclose(trait.values, found)
    assert trait.units == "steps/d"


def test_steps_are_counted_step_by_step(tmp_path):
    cdr = people(4)
    walked(cdr, 1, [6000] * 12)
    walked(cdr, 2, [6000] * 9)
    walked(cdr, 3, [50] * 20)
    trait, quality = made_with_quality(tmp_path, cdr, wearable(valid=[100, 45000], min_days=10))
    assert steps(trait) == [
        ("in the records", 4),
        ("with a device", 3),
        ("with a number", 3),
        ("with 100 to 45000 steps/d", 2),
        ("10 days that count or more", 1),
    ]
    assert quality == {"w: days outside of 100 to 45000 steps/d": 20}


@pytest.mark.parametrize("source", ["heart_rate_summary", "heart_rate_minute_level"])
def test_days_on_which_it_was_worn(tmp_path, source):
    cdr = people(2)
    walked(cdr, 1, [1000, 2000, 9000])
    walked(cdr, 2, [1000])
    for n, hours in ((0, 10), (1, 9), (2, 24)):
        if source == "heart_rate_summary":
            for zone, share in (("Out of Range", 0.75), ("Fat Burn", 0.25)):
                minutes = 60 * hours * share
                for _ in range(2):  # there twice, as after a second export
                    cdr.add(source, person_id=1, date=day(n), zone_name=zone, minute_in_zone=minutes)
        else:
            for minute in range(60 * hours):
                cdr.add(source, person_id=1, datetime=day(n), heart_rate_value=60 + minute % 7)
            cdr.add(source, person_id=1, datetime=day(n), heart_rate_value=999)
    trait, quality = made_with_quality(tmp_path, cdr, wearable(worn_hours=10, summary="min"))
    np.testing.assert_equal(trait.values, [1000, NAN])
    assert quality["w: days worn for less than 10 hours"] == 2
    np.testing.assert_equal(made(tmp_path, cdr, wearable(worn_hours=10, summary="mean")).values, [5000, NAN])


@pytest.mark.parametrize("quantile", [0.05, 0.5])
def test_a_resting_heart_rate(tmp_path, quantile):
    draws = random.Random(5)
    cdr = people(3)
    wanted: dict[int, list[float]] = {1: [], 2: []}
    for person, n, minutes in ((1, 0, 700), (1, 1, 650), (1, 2, 599), (2, 0, 601)):
        rates = [draws.choice([*range(45, 90), *range(55, 65)]) for _ in range(minutes)]
        for rate in rates:
            cdr.add("heart_rate_minute_level", person_id=person, datetime=day(n), heart_rate_value=rate)
        for rate in (0, 5, 255, None):
            cdr.add("heart_rate_minute_level", person_id=person, datetime=day(n), heart_rate_value=rate)
        if minutes >= 600:
            wanted[person].append(sorted(rates)[math.ceil(quantile * minutes) - 1])
    definition = wearable(measure="resting_heart_rate", worn_hours=10, quantile=quantile)
    trait = made(tmp_path, cdr, definition)
    np.testing.assert_equal(trait.values, [statistics.median(wanted[1]), wanted[2][0], NAN])
    assert trait.units == "/min"


def test_the_main_sleep(tmp_path):
    cdr = people(2)
    for n, main, asleep, bed in ((0, "true", 420, 480), (0, "false", 60, 60), (1, "True", 480, 500), (2, None, 9, 9)):
        cdr.add(
            "sleep_daily_summary",
            person_id=1,
            sleep_date=day(n),
            is_main_sleep=main,
            minute_asleep=asleep,
            minute_in_bed=bed,
            minute_deep=asleep / 4,
        )
    cdr.add(
        "sleep_daily_summary", person_id=2, sleep_date=day(0), is_main_sleep="1", minute_asleep=300, minute_in_bed=0
    )
    np.testing.assert_allclose(made(tmp_path, cdr, wearable(measure="sleep_hours")).values, [7.5, 5])
    np.testing.assert_allclose(made(tmp_path, cdr, wearable(measure="deep_sleep_minutes")).values, [112.5, NAN])
    trait = made(tmp_path, cdr, wearable(measure="sleep_efficiency"))
    np.testing.assert_allclose(trait.values, [(420 / 480 + 480 / 500) / 2, NAN])


def test_minutes_of_activity(tmp_path):
    cdr = people(1).add(
        "activity_summary",
        person_id=1,
        date=day(0),
        fairly_active_minutes=20,
        very_active_minutes=11,
        sedentary_minutes=600,
    )
    assert made(tmp_path, cdr, wearable(measure="active_minutes")).values.tolist() == [31]
    assert made(tmp_path, cdr, wearable(measure="sedentary_minutes")).values.tolist() == [600]
    assert made(tmp_path, cdr, wearable(measure="calories")).n == 0


def test_what_the_device_did_not_write(tmp_path):
    cdr = walked(people(1), 1, [5000])
    with pytest.raises(InputError, match=r"no table 'heart_rate_summary'[\s\S]*key worn_hours"):
        made(tmp_path, cdr, wearable(worn_hours=10))
    with pytest.raises(InputError, match=r"no table 'sleep_daily_summary'[\s\S]*key measure"):
        made(tmp_path, cdr, wearable(measure="sleep_hours"))
    cdr.rows["activity_summary"].clear()
    assert made(tmp_path, cdr, wearable()).n == 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"measure": "stps"}, "did you mean 'steps'"),
        ({"quantile": 0.1}, "steps is no quantile"),
        ({"valid": [45000, 100]}, "leave nothing between"),
        ({"worn_hours": 25.0}, "worn_hours"),
        ({"min_span": "1 year"}, "is no duration"),
        ({"min_span": "-1d"}, "min_span"),
        ({"min_days": 0}, "min_days"),
        ({"unit": "steps"}, "unknown key 'unit'"),
    ],
)
def test_contradictions_are_refused(keys, message):
    with pytest.raises(JobError, match=message):
        load_definition(wearable(**keys))
