"""Compiled definitions find the people that loops over people find."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allscan.phenotypes.definitions.loading import cohort, derive, load_definition
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr
from tests.phenotypes.definitions import naive
from tests.phenotypes.definitions.naive import Person

TABLES = ("conditions", "observations", "drugs", "measurements")
UNITS = {"mg/dL": 8840, "mmol/L": 8753, "%": 8554, None: 0}
CODES = {"a": {"vocabulary": "ICD10CM", "codes": ["A1", "A2"]}, "b": {"vocabulary": "ICD10CM", "codes": ["B1"]}}
LAST = dt.date(2012, 12, 31)

# Days that are as far apart as the durations are long, or a day more or less.
OFFSETS = sorted({a + b for a in (0, 14, 30, 200, 365, 600) for b in (-1, 0, 1, 14, 30)})
day = st.sampled_from([dt.date(2011, 1, 1) + dt.timedelta(offset) for offset in OFFSETS])
birth = st.one_of(
    st.none(),
    st.dates(dt.date(1960, 1, 1), dt.date(1980, 12, 31)),
    st.builds(dt.date, st.integers(1965, 1980), st.just(1), st.integers(1, 3)),  # birthdays among the days
    st.just(dt.date(1972, 2, 29)),
)
event = st.tuples(
    day,
    st.sampled_from(["A1", "A2", "B1", "C1"]),
    st.one_of(st.none(), st.integers(1, 12).map(float)),
    st.sampled_from(list(UNITS)),
    st.integers(1, 90),
)
person = st.builds(
    Person,
    st.sampled_from("MFU"),
    birth,
    st.dictionaries(st.sampled_from(TABLES), st.lists(event, max_size=6), max_size=4),
    st.lists(st.tuples(day, day).map(sorted).map(tuple), max_size=2),
    st.lists(day, max_size=3),
    st.one_of(st.none(), st.dates(dt.date(2012, 6, 1), LAST)),
)
people = st.lists(person, min_size=8, max_size=30)

durations = st.sampled_from(["0d", "1d", "2w", "30d", "200d", "1y"])
ages = st.one_of(
    st.builds(dict, at_least=st.integers(30, 45)),
    st.builds(dict, at_least=st.just(30), below=st.integers(35, 50)),
    st.builds(dict, below=st.integers(35, 50)),
)
dates = st.one_of(st.just({"since": "2011-01-15"}), st.just({"since": "2010-06-01", "until": "2011-06-30"}))
values = st.one_of(
    st.builds(dict, unit=st.just("mg/dL"), at_least=st.integers(2, 6).map(float)),
    st.builds(dict, unit=st.just("mg/dL"), molar_mass=st.just(180.16), above=st.integers(2, 90).map(float)),
    st.builds(dict, unit=st.just("any"), at_most=st.integers(5, 9).map(float), above=st.just(2.0)),
)
window = st.one_of(
    st.builds(dict, before=st.one_of(durations, st.just("any"))),
    st.builds(dict, after=st.one_of(durations, st.just("any"))),
    st.just({"before": "200d", "after": "-1d"}),
    st.just({"before": "30d", "after": "2w"}),
)


@st.composite
def atom(draw, *, windows: bool) -> dict:
    if draw(st.integers(0, 9)) == 0:
        return {"death": True}
    out: dict = {"codes": draw(st.sampled_from(["a", "b"]))}
    kind = draw(st.sampled_from(["usual", "measured", "supplied", "anywhere"]))
    if kind == "measured":
        out |= {"tables": draw(st.sampled_from([["measurements"], ["measurements", "observations"]]))}
        out["value"] = draw(values)
    elif kind == "supplied":
        out |= {"tables": ["drugs"], "min_supply": draw(durations)}
    elif kind == "anywhere":
        out["tables"] = list(TABLES)
    for key, choice in (("ages", ages), ("dates", dates), ("within", window), ("span", durations)):
        if (key != "within" or windows) and draw(st.integers(0, 3)) == 0:
            out[key] = draw(choice)
    for key in ("min_dates", "min_events"):
        if draw(st.integers(0, 2)) == 0:
            out[key] = draw(st.integers(1, 3))
    confirmed = ["confirmed"] if max(out.get("min_dates", 1), out.get("min_events", 1)) > 1 or "span" in out else []
    out["dated"] = draw(st.sampled_from(["first", "last", *confirmed]))
    return out


def criterion(*, windows: bool, dated: bool = False, depth: int = 2):
    one = atom(windows=windows)
    if depth == 0:
        return one
    inner = st.lists(criterion(windows=windows, dated=dated, depth=depth - 1), min_size=1, max_size=2)
    groups = [st.builds(dict, all=inner), st.builds(dict, any=inner)]
    if not dated:
        groups.append(st.builds(dict, none=inner))
    return st.one_of(one, one, *groups)


people_asked = st.fixed_dictionaries(
    {}, optional={"min_record": durations, "min_visits": st.integers(1, 2), "ages": ages}
)


@st.composite
def case_control(draw) -> dict:
    indexed = draw(st.booleans())
    anything = criterion(windows=indexed)
    out: dict = {
        "kind": "case_control",
        "id": "it",
        "codes": CODES,
        "cases": draw(criterion(windows=indexed, dated=True)),
    }
    if indexed:
        out["index"] = draw(criterion(windows=False, dated=True, depth=1))
    optional = {
        "people": people_asked,
        "exclude": st.lists(anything, max_size=1),
        "case_ages": ages,
        "exclude_cases": st.lists(criterion(windows=True), max_size=1),
        "washout": durations,
        "sex": st.sampled_from(["both", "female", "male"]),
    }
    for key, choice in optional.items():
        if draw(st.integers(0, 3)) == 0:
            out[key] = draw(choice)
    controls = draw(people_asked)
    if draw(st.booleans()):
        controls["without"] = draw(st.lists(anything, max_size=2))
    if draw(st.integers(0, 3)) == 0:
        controls["require"] = draw(anything)
    return out | ({"controls": controls} if controls else {})


@st.composite
def time_to_event(draw) -> dict:
    entry = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "at": st.sampled_from(["record", "birth"]),
                "delay": durations,
                "age": st.integers(30, 45),
                "after": criterion(windows=False, dated=True, depth=1),
            },
        )
    )
    windows = "after" in entry
    happening = criterion(windows=windows, dated=True, depth=1)
    censoring = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "death": st.booleans(),
                "age": st.integers(46, 60),
                "follow_up": durations,
                "events": st.lists(happening, max_size=2),
            },
        )
    )
    out: dict = {"kind": "time_to_event", "id": "it", "codes": CODES, "event": draw(happening)}
    out["exclude"] = draw(st.lists(criterion(windows=windows), max_size=1))
    out |= {"entry": entry, "censoring": censoring, "scale": draw(st.sampled_from(["age", "follow_up"]))}
    return out | {"people": draw(people_asked)}


def records_of(everybody: list[Person]) -> Cdr:
    """OMOP rows of the people, with every table of the tests."""
    cdr = Cdr()
    domains = {"conditions": "condition", "observations": "observation", "drugs": "drug", "measurements": "measurement"}
    starts = {"conditions": "condition_start_date", "drugs": "drug_exposure_start_date"}
    tables = {"conditions": "condition_occurrence", "drugs": "drug_exposure"}
    for table in (*TABLES, "death", "observation_period", "visit_occurrence"):
        cdr.rows[tables.get(table, table.removesuffix("s") if table in TABLES else table)] = []
    for number, one in enumerate(everybody):
        born = one.birth
        parts = {"month_of_birth": born.month, "day_of_birth": born.day} if born else {}
        cdr.person(number + 100, one.sex, born.year if born else None, **parts)
        for table, events in one.events.items():
            domain = domains[table]
            for when, code, value, unit, supply in events:
                row = {"person_id": number + 100, f"{domain}_source_value": code, f"{domain}_source_concept_id": 0}
                row[starts.get(table, f"{domain}_date")] = when
                if table == "drugs":
                    row["days_supply"] = float(supply)
                if table in ("measurements", "observations"):
                    row |= {"value_as_number": value, "unit_concept_id": UNITS[unit]}
                cdr.add(tables.get(table, domain), **row)
        for start, end in one.periods:
            cdr.observed(number + 100, start, end)
        for when in one.visits:
            cdr.add("visit_occurrence", person_id=number + 100, visit_start_date=when)
        if one.death is not None:
            cdr.add("death", person_id=number + 100, death_date=one.death)
    return cdr.add("cdm_source", cdm_release_date=LAST)


def found(everybody: list[Person], spec: dict):
    definition = load_definition(spec)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_records(records_of(everybody).write(Path(folder)), threads=1) as records,
    ):
        traits = list(derive(records, definition))
        cases = records.connection.execute(f"SELECT person FROM {cohort(records, definition)} ORDER BY ALL").fetchall()
    assert [case for (case,) in cases] == np.flatnonzero(traits[0].values == 1).tolist()
    assert traits[0].steps[0].people == len(everybody)
    return traits


SETTINGS = settings(
    max_examples=18,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@SETTINGS
@given(everybody=people, spec=case_control())
def test_case_control(everybody, spec):
    (trait,) = found(everybody, spec)
    assert trait.values.tolist() == [naive.case_control(one, spec) for one in everybody]
    assert trait.steps[-1].people == trait.n


@SETTINGS
@given(everybody=people, spec=time_to_event())
def test_time_to_event(everybody, spec):
    event, entry, end = found(everybody, spec)
    expected = [naive.time_to_event(one, spec) or (-1, np.nan, np.nan) for one in everybody]
    assert event.values.tolist() == [one[0] for one in expected]
    np.testing.assert_allclose(entry.values, [one[1] for one in expected], rtol=1e-14)
    np.testing.assert_allclose(end.values, [one[2] for one in expected], rtol=1e-14)


@pytest.mark.slow
@settings(SETTINGS, max_examples=2000)
@given(everybody=people, spec=st.one_of(case_control(), time_to_event()))
def test_many(everybody, spec):
    traits = found(everybody, spec)
    if spec["kind"] == "case_control":
        assert traits[0].values.tolist() == [naive.case_control(one, spec) for one in everybody]
    else:
        expected = [naive.time_to_event(one, spec) or (-1, np.nan, np.nan) for one in everybody]
        assert traits[0].values.tolist() == [one[0] for one in expected]
        np.testing.assert_allclose(traits[2].values, [one[2] for one in expected], rtol=1e-14)
