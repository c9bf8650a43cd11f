"""Time to an event: who is under observation, from when to when, and what happens on the days at its ends."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from allscan.errors import InputError, JobError
from allscan.phenotypes.definitions.loading import derive, load_definition
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr

START, END, BIRTH = "2010-01-01", "2019-12-31", dt.date(1960, 3, 2)
KEYS = {
    "kind": "time_to_event",
    "id": "onset",
    "codes": {
        "event": {"vocabulary": "ICD10CM", "codes": "I50"},
        "move": {"vocabulary": "ICD10CM", "codes": "Z99"},
    },
    "event": {"codes": "event"},
}


def traits(tmp_path, cdr: Cdr, **keys):
    with open_records(cdr.write(tmp_path / "cdr"), until=dt.date(2020, 6, 30)) as records:
        return list(derive(records, load_definition({**KEYS, **keys})))


def one(event: str | None = None, move: str | None = None, death: str | None = None) -> Cdr:
    cdr = Cdr().person(1, born=1960, month_of_birth=3, day_of_birth=2).observed(1, START, END)
    cdr.rows["condition_occurrence"] = []
    for code, date in (("I50", event), ("Z99", move)):
        if date is not None:
            cdr.condition(1, code, date)
    return cdr if death is None else cdr.add("death", person_id=1, death_date=death)


@pytest.mark.parametrize(
    ("person", "keys", "expected"),
    [
        (one(), {}, (0, START, END)),
        (one("2015-01-01"), {}, (1, START, "2015-01-01")),
        (one("2010-01-02"), {}, (1, START, "2010-01-02")),
        (one(START), {}, None),  # an old one
        (one("2009-06-01"), {}, None),
        (one(END), {}, (1, START, END)),
        (one("2020-01-01"), {}, (0, START, END)),  # after the record
        (one("2010-12-31"), {"entry": {"delay": "1y"}}, None),
        (one("2011-01-02"), {"entry": {"delay": "1y"}}, (1, "2011-01-01", "2011-01-02")),
        (one("2015-01-01"), {"entry": {"age": 52}}, (1, "2012-03-02", "2015-01-01")),
        (one("2012-03-02"), {"entry": {"age": 52}}, None),
        (one("2015-01-01"), {"entry": {"age": 40}}, (1, START, "2015-01-01")),
        (one("2015-01-01"), {"entry": {"at": "birth"}}, (1, str(BIRTH), "2015-01-01")),
        (one("2015-01-01", death="2014-01-01"), {}, (0, START, "2014-01-01")),
        (one("2015-01-01", death="2015-01-01"), {}, (1, START, "2015-01-01")),
        (one("2015-01-01", death="2014-01-01"), {"censoring": {"death": False}}, (1, START, "2015-01-01")),
        (one("2015-01-01"), {"censoring": {"age": 54}}, (0, START, "2014-03-02")),
        (one("2010-12-31"), {"censoring": {"follow_up": "1y"}}, (1, START, "2010-12-31")),
        (one("2011-01-01"), {"censoring": {"follow_up": "1y"}}, (1, START, "2011-01-01")),
        (one("2011-01-02"), {"censoring": {"follow_up": "1y"}}, (0, START, "2011-01-01")),
        (one("2015-01-01", "2014-01-01"), {"censoring": {"events": [{"codes": "move"}]}}, (0, START, "2014-01-01")),
        (one("2015-01-01", "2016-01-01"), {"censoring": {"events": [{"codes": "move"}]}}, (1, START, "2015-01-01")),
        (one(move=START), {"censoring": {"events": [{"codes": "move"}]}}, None),  # leaves on the day of coming
        (one("2015-01-01", "2012-01-01"), {"entry": {"after": {"codes": "move"}}}, (1, "2012-01-01", "2015-01-01")),
        (one("2015-01-01"), {"entry": {"after": {"codes": "move"}}}, None),
        (one("2015-01-01", "2012-01-01"), {"exclude": [{"codes": "move"}]}, None),
        (one(death="2015-01-01"), {"event": {"death": True}}, (1, START, "2015-01-01")),
    ],
)
def test_days_at_the_ends(tmp_path, person, keys, expected):
    event, entry, end = traits(tmp_path, person, **keys)
    assert (event.name, entry.name, end.name) == ("onset", "onset.entry", "onset.exit")
    if expected is None:
        assert event.values.tolist() == [-1]
        assert np.isnan([entry.values[0], end.values[0]]).all()
        return
    status, came, left = expected
    assert event.values.tolist() == [status]
    years = [(dt.date.fromisoformat(day) - BIRTH).days / 365.25 for day in (came, left)]
    np.testing.assert_allclose([entry.values[0], end.values[0]], years, rtol=1e-14)


def test_follow_up_counts_from_entry(tmp_path):
    event, entry, end = traits(tmp_path, one("2015-01-01"), scale="follow_up", entry={"delay": "1y"})
    assert (event.values.tolist(), entry.values.tolist()) == ([1], [0.0])
    assert end.values[0] == (dt.date(2015, 1, 1) - dt.date(2011, 1, 1)).days / 365.25
    assert not any("left truncation" in note for note in event.notes)


def test_late_entry_and_empty_events_are_told(tmp_path):
    event, entry, _ = traits(tmp_path, one())
    assert any("left truncation" in note for note in event.notes)
    assert event.warnings == ("the event happens to nobody",)
    assert (entry.steps, entry.notes, entry.warnings) == ((), (), ())


def test_several_periods_are_one_record(tmp_path):
    cdr = one("2015-01-01").observed(1, "2005-01-01", "2006-01-01")
    event, entry, _ = traits(tmp_path, cdr)
    assert event.values.tolist() == [1]
    assert entry.values[0] == (dt.date(2005, 1, 1) - BIRTH).days / 365.25


def test_who_has_no_birth_or_no_record_is_missing(tmp_path):
    cdr = one("2015-01-01").person(2, born=None).observed(2, START, END).person(3)
    event, *_ = traits(tmp_path, cdr)
    assert event.values.tolist() == [1, -1, -1]
    event, *_ = traits(tmp_path, cdr, scale="follow_up")
    assert event.values.tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("keys", "what", "where"),
    [
        ({"event": {"codes": "evnt"}}, "no set of codes 'evnt'", "key event.codes"),
        ({"event": {"none": [{"codes": "event"}]}}, "happens on no day", "key event"),
        ({"entry": {"age": 60}, "censoring": {"age": 60}}, "people leave at 60, and come at 60", "censoring.age"),
        ({"event": {"codes": "event", "within": {"after": "any"}}}, "no index date", "event.within"),
        ({"entry": {"after": {"codes": "move", "within": {"after": "1d"}}}}, "no index date", "entry.after.within"),
    ],
)
def test_refused_with_place(keys, what, where):
    with pytest.raises(JobError) as refusal:
        load_definition({**KEYS, **keys})
    assert what in refusal.value.what
    assert where in str(refusal.value.where)


def test_records_without_periods_are_refused(tmp_path):
    cdr = Cdr().person(1).condition(1, "I50", "2015-01-01")
    with pytest.raises(InputError, match="no table 'observation_period'"):
        traits(tmp_path, cdr)
