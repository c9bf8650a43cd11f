"""What definitions of cases and controls mean, by people made for it; what is refused; what is told."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from allscan.errors import InputError, JobError
from allscan.jobs.phenotype_text import told_trait
from allscan.phenotypes.definitions.loading import cohort, derive, load_definition
from allscan.phenotypes.model import SampleList
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr

HEAD = "kind: case_control\nid: t2d\ncodes: {t2d: {vocabulary: ICD10CM, codes: [E11.9]}}\n"


def values(place: Path, definition) -> list[int]:
    with open_records(place) as records:
        (trait,) = derive(records, definition)
        return trait.values.tolist()


def text_definition(folder: Path, text: str, name: str = "it.yaml"):
    (folder / name).write_text(text)
    return load_definition(name, folder)


@pytest.fixture
def place(tmp_path) -> Path:
    """Six people: twice, once on two rows of a day, once, never, twice before withdrawal, never and never observed."""
    cdr = Cdr()
    for person in range(1, 7):
        cdr.person(person, "M" if person == 4 else "F")
        if person != 6:
            cdr.observed(person, "2010-01-01", "2019-12-31")
    cdr.condition(1, "E11.9", "2012-01-01").condition(1, "E11.9", "2013-01-01")
    cdr.condition(2, "E11.9", "2012-01-01").condition(2, "E11.9", "2012-01-01")
    cdr.condition(3, "e119", "2012-06-01")
    cdr.condition(5, "E11.9", "2010-02-01").condition(5, "E11.9", "2012-02-01")
    return cdr.write(tmp_path / "cdr")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("cases: {codes: t2d}", [1, 1, 1, 0, 1, 0]),
        ("cases: {codes: t2d, min_dates: 2}", [1, -1, -1, 0, 1, 0]),
        ("cases: {codes: t2d, min_events: 2}", [1, 1, -1, 0, 1, 0]),
        ("cases: {codes: t2d, span: 30d}", [1, -1, -1, 0, 1, 0]),
        ("cases: {codes: t2d, min_dates: 2}\ncontrols: {without: []}", [1, 0, 0, 0, 1, 0]),
        ("cases: {codes: t2d}\ncontrols: {min_record: 1y}", [1, 1, 1, 0, 1, -1]),
        ("cases: {codes: t2d}\npeople: {min_record: 1y}", [1, 1, 1, 0, 1, -1]),
        ("cases: {codes: t2d}\nwashout: 1y", [1, 1, 1, 0, -1, 0]),
        ("cases: {codes: t2d}\nwashout: 31d", [1, 1, 1, 0, 1, 0]),
        ("cases: {codes: t2d}\nwashout: 32d", [1, 1, 1, 0, -1, 0]),
        ("cases: {codes: t2d, min_dates: 2, dated: confirmed}\nwashout: 1y", [1, -1, -1, 0, 1, 0]),
        ("cases: {codes: t2d}\nsex: female", [1, 1, 1, -1, 1, 0]),
        ("cases: {codes: t2d}\ncase_ages: {below: 51}", [-1, -1, -1, 0, 1, 0]),
        (
            "cases: {codes: t2d}\nexclude_cases: [{codes: t2d, within: {after: any}, min_dates: 2}]",
            [-1, 1, 1, 0, -1, 0],
        ),
        ("cases: {none: [{codes: t2d}]}\ncontrols: {without: []}", [0, 0, 0, 1, 0, 1]),
    ],
)
def test_rules(tmp_path, place, keys, expected):
    assert values(place, text_definition(tmp_path, HEAD + keys)) == expected


def test_who_is_withdrawn_is_nowhere(tmp_path, place):
    definition = text_definition(tmp_path, HEAD + "cases: {codes: t2d}")
    whole = values(place, definition)
    leaver = SampleList(np.array(["3"], dtype=object), "withdrawn.txt")
    with open_records(place, exclude=[leaver]) as records:
        (trait,) = derive(records, definition)
    assert trait.values.tolist() == whole[:2] + whole[3:]
    assert trait.steps[0].people == 5


def test_definitions_build_on_each_other(tmp_path, place):
    text_definition(tmp_path, HEAD + "cases: {codes: t2d, min_dates: 2, dated: confirmed}", "base.yaml")
    text = "kind: case_control\nid: late\ncases: {definition: base.yaml, dates: {since: 2012-06-01}}\n"
    definition = text_definition(tmp_path, text)
    # Person 5 was confirmed earlier, and is a case of the other definition: no control.
    assert values(place, definition) == [1, 0, 0, 0, -1, 0]
    before = definition.digest
    text_definition(tmp_path, HEAD + "cases: {codes: t2d, min_dates: 3}", "base.yaml")
    assert load_definition("it.yaml", tmp_path).digest != before


def test_unknown_births_are_missing_where_ages_count(tmp_path):
    cdr = Cdr().person(1, born=None).person(2).condition(2, "E11.9", "2012-01-01")
    definition = text_definition(tmp_path, HEAD + "cases: {codes: t2d, ages: {at_least: 40}}")
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        (trait,) = derive(records, definition)
    assert trait.values.tolist() == [-1, 1]
    assert [(step.what, step.people) for step in trait.steps[1:2]] == [
        ("with a year of birth, for there are ages in the definition", 1)
    ]


def test_values_are_converted_and_unknown_units_counted(tmp_path):
    cdr = Cdr()
    for person, (value, unit) in enumerate([(126, 8840), (7.0, 8753), (6.9, 8753), (130, 0), (200, 8554)], 1):
        cdr.person(person).measurement(person, 3004501, float(value), "2015-01-01", unit)
    codes = "codes: {glucose: {concepts: [3004501]}}\n"
    value = "value: {unit: mg/dL, at_least: 126, molar_mass: 180.16}"
    text = f"kind: case_control\nid: high\n{codes}cases: {{codes: glucose, tables: measurements, {value}}}\n"
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        (trait,) = derive(records, text_definition(tmp_path, text))
        (line,) = records.quality()
    assert trait.values.tolist() == [1, 1, 0, 0, 0]
    assert (line.table, line.rows) == ("measurement", 2)
    assert "unknown unit" in line.what


def test_steps_are_told(tmp_path, place):
    text = HEAD + (
        "title: Type 2 diabetes\nsex: female\nexclude: [{codes: t2d, dates: {until: 2010-12-31}}]\n"
        "cases: {any: [{codes: t2d, min_dates: 2}, {codes: t2d, min_events: 3}]}\ncontrols: {min_record: 1y}\n"
    )
    with open_records(place) as records:
        (trait,) = derive(records, text_definition(tmp_path, text))
    lines = [line.strip() for line in told_trait(trait).splitlines()]
    assert [line for line in lines if "note:" not in line] == [
        "t2d  Type 2 diabetes",
        "6  in the records",
        "5  women  (−1)",
        "4  without: t2d in conditions or observations, until 2010-12-31  (−1)",
        "1    · 2 dates of t2d in conditions or observations",
        "0    · 3 events of t2d in conditions or observations",
        "1    · cases: any of these",
        "3    · others",
        "1    · controls, without: t2d in conditions or observations",
        "0    · controls, with a record of 1y or longer",
        "1  cases or controls  (−3)",
        "1  cases",
        "0  controls",
        "warning: there are no controls",
    ]


@pytest.mark.parametrize(
    ("keys", "what", "where", "fix"),
    [
        ("cases: {codes: t2dm}", "no set of codes 't2dm'", "it.yaml:4:9, key cases.codes", "did you mean 't2d'?"),
        ("cases: {any: [{code: t2d}]}", "unknown key 'code'", "key cases.any[0].code", "did you mean 'codes'?"),
        (
            "cases: {codes: t2d, ages: {at_least: 50, below: 40}}",
            "nobody is 50 and below 40",
            "key cases.ages",
            "exchange",
        ),
        ("cases: {codes: t2d, dates: {since: 2020-02-30}}", "is no date", "key cases.dates.since", ""),
        ("cases: {codes: t2d, dates: {since: 2021-01-01, until: 2020-01-01}}", "no day is since", "cases.dates", ""),
        ("cases: {codes: t2d, within: {before: 30d}}", "no index date", "key cases.within", "under 'index'"),
        (
            "cases: {codes: t2d}\nexclude: [{codes: t2d, within: {before: 1y}}]",
            "no index date",
            "exclude[0].within",
            "",
        ),
        ("cases: {codes: t2d}\nindex: {none: [{codes: t2d}]}", "by 'none' alone", "it.yaml:5:1, key index", "add a"),
        ("cases: {none: [{codes: t2d}]}\nwashout: 1y", "have no date", "it.yaml:5:1, key washout", "add an 'index'"),
        ("cases: {codes: t2d, all: [{codes: t2d}]}", "'codes' and 'all'", "key cases", "exactly one of"),
        ("cases: {all: [{codes: t2d}], min_dates: 2}", "'min_dates' does not go with 'all'", "key cases", "inside"),
        ("cases: {codes: t2d, span: 2 months}", "no duration", "key cases.span", ""),
        ("cases: {codes: t2d, value: {unit: '%', above: 3}}", "only measurements", "key cases", "tables: measurements"),
        (
            "cases: {codes: t2d, tables: measurements, value: {unit: '%', above: 3, below: 3}}",
            "no value is above 3 and below 3",
            "key cases.value",
            "correct",
        ),
        (
            "cases: {codes: t2d, tables: measurements, value: {unit: furlong, above: 3}}",
            "no unit",
            "value.unit",
            "UCUM",
        ),
        ("cases: {codes: t2d, min_supply: 30d}", "only drugs", "key cases", "tables: drugs"),
        ("cases: {codes: t2d, dated: confirmed}", "one event is not confirmed", "key cases", "min_dates"),
        ("cases: {}", "the criterion is empty", "key cases", "exactly one of"),
        ("cases: {codes: t2d}\ncontrols: {min_visits: 0}", "'min_visits' is 0", "key controls.min_visits", ""),
        ("controls: {min_visits: 1}", "the key 'cases' is missing", "it.yaml", "Who is a case"),
    ],
)
def test_refused_with_place_and_remedy(tmp_path, keys, what, where, fix):
    with pytest.raises(JobError) as refusal:
        text_definition(tmp_path, HEAD + keys)
    assert what in refusal.value.what
    assert where in str(refusal.value.where)
    assert fix in str(refusal.value.fix)


def test_unknown_vocabulary_is_refused_at_once(tmp_path):
    text = "kind: case_control\nid: it\ncodes:\n  a: {vocabulary: ICD10XM, codes: [E11]}\ncases: {codes: a}\n"
    with pytest.raises(JobError, match="'ICD10XM' is no vocabulary") as refusal:
        text_definition(tmp_path, text)
    assert "it.yaml:4" in str(refusal.value.where)
    assert refusal.value.fix == "did you mean 'ICD10CM'?"


def test_missing_table_is_refused_with_the_key(tmp_path, place):
    definition = text_definition(tmp_path, HEAD + "cases: {any: [{codes: t2d, tables: drugs}]}")
    with open_records(place) as records, pytest.raises(InputError, match="no table 'drug_exposure'") as refusal:
        list(derive(records, definition))
    assert "it.yaml:4:15, key cases.any[0]" in str(refusal.value.where)


def test_codes_that_the_records_do_not_know_are_warned_of(tmp_path):
    cdr = Cdr().person(1).person(2).condition(1, "E11.9", "2015-01-01").concept(9, "ICD10CM", "A00")
    text = HEAD.replace("}}", "}, other: {vocabulary: ICD10CM, codes: ['E10*']}}")
    definition = text_definition(tmp_path, text + "cases: {codes: t2d}\nexclude: [{codes: other}]\n")
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        (trait,) = derive(records, definition)
    assert trait.values.tolist() == [1, 0]
    assert trait.warnings == ("codes other: nobody can have one, the records' vocabulary has none of them",)


A, B = "{codes: a}", "{codes: b}"


@pytest.mark.parametrize(
    ("criterion", "day"),
    [
        (A, "2015-01-01"),
        ("{codes: a, dated: last}", "2015-03-02"),
        ("{codes: a, min_dates: 2, dated: confirmed}", "2015-01-31"),
        ("{codes: a, min_events: 2, dated: confirmed}", "2015-01-01"),
        ("{codes: a, min_events: 3, dated: confirmed}", "2015-01-31"),
        ("{codes: a, span: 30d, dated: confirmed}", "2015-01-31"),
        ("{codes: a, span: 31d, dated: confirmed}", "2015-03-02"),
        ("{codes: a, span: 60d}", "2015-01-01"),
        ("{codes: a, span: 61d}", None),
        (f"{{all: [{A}, {B}]}}", "2015-02-01"),
        (f"{{any: [{A}, {B}]}}", "2015-01-01"),
        (f"{{all: [{B}, {B}]}}", "2015-02-01"),
        (f"{{any: [{B}, {B}]}}", "2015-02-01"),
        (f"{{all: [{A}, {{none: [{B}]}}]}}", None),
        (f"{{all: [{A}, {{none: [{{codes: b, min_dates: 2}}, {{codes: b, min_dates: 2}}]}}]}}", "2015-01-01"),
        (f"{{any: [{B}, {{death: true}}]}}", "2015-01-31"),
        ("{codes: a, dates: {since: 2015-01-31}}", "2015-01-31"),
        ("{codes: a, dates: {until: 2015-01-01}, min_dates: 2}", None),
        ("{codes: a, ages: {at_least: 55}}", "2015-03-02"),
        ("{codes: a, ages: {below: 55}, dated: last}", "2015-01-31"),
        ("{codes: a, ages: {below: 54}}", None),
    ],
)
def test_dates_of_criteria(tmp_path, criterion, day):
    cdr = Cdr().person(1, born=1960, month_of_birth=3, day_of_birth=2).condition(1, "B1", "2015-02-01")
    for date in ("2015-01-01", "2015-01-01", "2015-01-31", "2015-03-02"):
        cdr.condition(1, "A1", date)
    cdr.add("death", person_id=1, death_date="2015-01-31")
    codes = "codes: {a: {vocabulary: ICD10CM, codes: [A1]}, b: {vocabulary: ICD10CM, codes: [B1]}}\n"
    definition = text_definition(tmp_path, f"kind: case_control\nid: it\n{codes}cases: {criterion}\n")
    with open_records(cdr.write(tmp_path / "cdr"), until=dt.date(2020, 1, 1)) as records:
        rows = records.connection.execute(f"SELECT date FROM {cohort(records, definition)}").fetchall()
    assert [str(found) for (found,) in rows] == ([] if day is None else [day])


@pytest.mark.parametrize(
    ("window", "cases"),
    [
        ("{before: 10d}", [0, 1, 1, 0, 0]),
        ("{after: 10d}", [0, 0, 1, 1, 0]),
        ("{before: 10d, after: 10d}", [0, 1, 1, 1, 0]),
        ("{before: 11d, after: -10d}", [1, 1, 0, 0, 0]),
        ("{before: -11d, after: any}", [0, 0, 0, 0, 1]),
    ],
)
def test_both_ends_of_a_window_are_within(tmp_path, window, cases):
    cdr = Cdr()
    for person, day in enumerate(("2015-02-18", "2015-02-19", "2015-03-01", "2015-03-11", "2015-03-12"), 1):
        cdr.person(person).condition(person, "I21", "2015-03-01").condition(person, "E11.9", day)
    text = HEAD.replace("}}", "}, heart: {vocabulary: ICD10CM, codes: [I21]}}")
    keys = f"index: {{codes: heart}}\ncases: {{codes: t2d, within: {window}}}\ncontrols: {{without: []}}\n"
    assert values(cdr.write(tmp_path / "cdr"), text_definition(tmp_path, text + keys)) == cases


def test_damaged_list_of_codes_is_refused_with_its_line(tmp_path, place):
    (tmp_path / "codes.csv").write_text("code,vocabulary\nE11.9,ICD10CM\nE11.8,ICD-X\n")
    text = "kind: case_control\nid: it\ncodes: {a: {file: codes.csv}}\ncases: {codes: a}\n"
    definition = text_definition(tmp_path, text)
    with open_records(place) as records, pytest.raises(InputError, match="'ICD-X' is no vocabulary") as refusal:
        list(derive(records, definition))
    assert "codes.csv, line 3" in str(refusal.value.where)
    assert "key codes.a" in str(refusal.value.where)
