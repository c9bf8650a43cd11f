"""Phecodes as traits: who is case and control of a small cohort, which are left out, and what a section may say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from allscan.documents.validation import validate
from allscan.errors import InputError, JobError
from allscan.phenotypes.build.build import PhenotypeJob, build
from allscan.phenotypes.phecodes.spec import PhecodesSection
from allscan.phenotypes.phecodes.traits import phecode_phenotypes, section_map
from allscan.phenotypes.phenotype import Phenotype
from allscan.phenotypes.records.opening import open_records
from allscan.phenotypes.records.records import Records
from tests.phenotypes import toy_phecodes as toy
from tests.phenotypes.cdr import Cdr

WOMEN = range(100, 110)
MEN = range(200, 210)
UNKNOWN = 300


def cohort() -> Cdr:
    """Ten women, ten men, one of unknown sex: what they have stands below, everything else is a control."""
    cdr = Cdr()
    for sex, people in (("F", WOMEN), ("M", MEN), ("?", [UNKNOWN])):
        for person in people:
            cdr.person(person, sex, 1950)
    two_days = {
        100: ("E11.9", "2016-01-01", "2016-02-01"),  # type 2
        101: ("250.00", "2010-01-01", "2010-01-02"),  # type 2
        102: ("E11.9", "2016-01-01", "2016-01-01"),  # once: neither
        103: ("E10.9", "2016-01-01", "2017-01-01"),  # type 1: no control of type 2
        104: ("R73.01", "2016-01-01", "2017-01-01"),  # no diabetes, and no control of it
        105: ("C50.919", "2016-01-01", "2017-01-01"),  # breast cancer
        106: ("174.9", "2010-01-01", "2010-05-01"),
        200: ("C50.919", "2016-01-01", "2017-01-01"),  # of a man: missing
        201: ("C61", "2016-01-01", "2017-01-01"),  # prostate
        202: ("E11.65", "2016-01-01", "2017-01-01"),  # type 2, and 401
        UNKNOWN: ("C61", "2016-01-01", "2017-01-01"),
    }
    for person, (code, *days) in two_days.items():
        for day in days:
            cdr.condition(person, code, day)
    return cdr


@pytest.fixture
def map_file(tmp_path: Path) -> str:
    return str(toy.r_package(tmp_path / "map"))


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with open_records(cohort().write(tmp_path / "cdr")) as opened:
        yield opened


def found(records: Records, map_file: str, **keys: Any) -> tuple[dict[str, Phenotype], dict[str, str]]:
    """Traits, and those left out, by their names."""
    section = PhecodesSection.model_validate({"files": map_file, "min_cases": 1, **keys})
    left_out: dict[str, str] = {}
    traits = phecode_phenotypes(records, section, section_map(section), on_left_out=left_out.__setitem__)
    return {trait.name: trait for trait in traits}, left_out


def people(records: Records, trait: Phenotype, value: int) -> list[int]:
    return records.people.person_id[trait.values == value].tolist()


def test_cases_and_controls_of_a_cohort(records: Records, map_file: str) -> None:
    traits, left_out = found(records, map_file)
    assert list(traits) == [f"phecode_{p}" for p in ("174.1", "185", "250", "250.1", "250.2", "250.4", "250.41", "401")]
    assert left_out == {"phecode_401.1": "fewer than 1 cases", "phecode_495": "fewer than 1 cases"}
    type_2 = traits["phecode_250.2"]
    assert people(records, type_2, 1) == [100, 101, 202]
    assert people(records, type_2, -1) == [102, 103, 104]
    assert people(records, traits["phecode_250"], 1) == [100, 101, 103, 202]
    assert people(records, traits["phecode_250"], -1) == [102, 104]
    # What 250.41 excludes does not bar from being a control of 401.
    assert people(records, traits["phecode_401"], -1) == []
    # 401 bars from being a control of 250.4, as its range says.
    assert people(records, traits["phecode_250.4"], -1) == [100, 101, 102, 103, 202]
    breast = traits["phecode_174.1"]
    assert people(records, breast, 1) == [105, 106]
    assert people(records, breast, -1) == [*MEN, UNKNOWN]
    assert people(records, traits["phecode_185"], 1) == [201]
    assert people(records, traits["phecode_185"], -1) == [*WOMEN, UNKNOWN]


def test_a_trait_says_what_it_is_and_how_it_was_made(records: Records, map_file: str) -> None:
    traits, _ = found(records, map_file)
    trait = traits["phecode_174.1"]
    assert (trait.kind, trait.label, trait.category) == ("binary", "Breast cancer [female]", "neoplasms")
    assert (trait.only_sex, traits["phecode_250"].only_sex) == (2, 0)
    assert trait.values.dtype == np.int8
    assert trait.recipe["phecode"] == "174.1"
    assert trait.recipe["map"] == "1.2"
    assert len(trait.recipe["map_sha256"]) == 64
    assert trait.recipe["min_dates"] == 2
    assert [(step.what, step.people) for step in trait.steps] == [
        ("in the records", 21),
        ("women", 10),
        ("without a code on fewer than 2 days", 10),
        ("case, or without a phecode that this one excludes", 10),
    ]
    steps = {step.what: step.people for step in traits["phecode_250.2"].steps}
    assert steps["without a code on fewer than 2 days"] == 20
    assert steps["case, or without a phecode that this one excludes"] == 18
    assert (traits["phecode_250.2"].cases, traits["phecode_250.2"].n) == (3, 18)


def test_options_change_who_is_what(records: Records, map_file: str) -> None:
    once, _ = found(records, map_file, min_dates=1)
    assert people(records, once["phecode_250.2"], 1) == [100, 101, 102, 202]
    anyone, _ = found(records, map_file, exclusions=False)
    assert people(records, anyone["phecode_250.2"], -1) == [102]
    both, _ = found(records, map_file, sex_restriction=False)
    assert people(records, both["phecode_174.1"], 1) == [105, 106, 200]
    assert both["phecode_174.1"].only_sex == 0
    flat, left_out = found(records, map_file, roll_up=False)
    assert left_out["phecode_250"] == "fewer than 1 cases"
    assert people(records, flat["phecode_250.41"], 1) == [104]


def test_phecodes_with_too_few_people_are_left_out(records: Records, map_file: str) -> None:
    traits, left_out = found(records, map_file, min_cases=3, min_controls=14)
    assert list(traits) == ["phecode_250", "phecode_250.2"]
    assert left_out["phecode_174.1"] == "fewer than 3 cases"
    traits, left_out = found(records, map_file, min_controls=16)
    assert left_out["phecode_174.1"] == "fewer than 16 controls"
    assert left_out["phecode_250.2"] == "fewer than 16 controls"
    # As many controls as cases, unless it is said.
    assert PhecodesSection(map="X", min_cases=30).least_controls == 30


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"only": "250"}, ["250"]),
        ({"only": ["250.*"]}, ["250.1", "250.2", "250.4", "250.41"]),
        ({"only": ["neoplasms", "401"]}, ["174.1", "185", "401"]),
        ({"only": "250*", "without": "250.4*"}, ["250", "250.1", "250.2"]),
        ({"without": ["*.*"]}, ["185", "250", "401"]),
    ],
)
def test_phecodes_are_chosen(keys: dict[str, Any], names: list[str], records: Records, map_file: str) -> None:
    traits, _ = found(records, map_file, **keys)
    assert list(traits) == [f"phecode_{name}" for name in names]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"only": "999"}, "'999' is no phecode and no category of the map 1.2"),
        ({"without": "Neoplasms"}, "circulatory system, endocrine/metabolic, neoplasms, respiratory"),
        ({"without": "*"}, "no phecode is left"),
    ],
)
def test_a_choice_of_nothing_is_refused(keys: dict[str, Any], message: str, records: Records, map_file: str) -> None:
    with pytest.raises(InputError, match=message):
        found(records, map_file, **keys)


def test_what_the_files_do_not_tell_is_refused_unless_it_is_not_asked_for(tmp_path: Path, records: Records) -> None:
    path = toy.r_package(tmp_path / "map")
    for file, key, what in (
        ("phecode_rollup_map", "roll_up", "roll-up"),
        ("phecode_exclude", "exclusions", "exclusions"),
        ("sex_restriction", "sex_restriction", "sexes"),
    ):
        kept = (path.parent / f"{file}.csv").rename(tmp_path / "away.csv")
        with pytest.raises(InputError, match=f"do not tell its {what}"):
            found(records, str(path))
        assert found(records, str(path), **{key: False})[0]
        kept.rename(path.parent / f"{file}.csv")
    assert found(records, str(path))[0]


def test_traits_do_not_depend_on_the_memory_or_the_form_of_the_records(tmp_path: Path, map_file: str) -> None:
    section = PhecodesSection(files=[map_file], min_cases=1)
    made = []
    for form, memory in (("parquet", 1 << 30), ("csv", 200), ("duckdb", 1)):
        with open_records(cohort().write(tmp_path / form, form)) as records:
            traits = phecode_phenotypes(records, section, section_map(section), memory=memory)
            made.append({trait.name: trait.values.tolist() for trait in traits})
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "nothing says which phecodes"),
        ({"map": "X", "min_dates": 0}, "min_dates"),
        ({"map": "X", "min_case": 5}, "did you mean 'min_cases'"),
        ({"map": "X", "first_day": "2020-13-01"}, "is no day"),
        ({"map": "X", "first_day": "2020-02-01", "last_day": "2020-01-01"}, "the last day is before the first"),
        ({"map": "X", "min_age": 40, "max_age": 40}, "no age is left"),
        ({"map": "X", "tables": ["drug_exposure"]}, "none of its values"),
    ],
)
def test_a_section_that_cannot_be_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        validate(PhecodesSection, keys, None, subject="the section", fix="see the guide")


def test_the_version_may_be_written_as_a_number() -> None:
    assert PhecodesSection.model_validate({"map": 1.2}).map == "1.2"


def phenotype_file(folder: Path, **keys: Any) -> PhenotypeJob:
    section = {"files": "map/phecode_map.csv", "min_cases": 2, **keys}
    return PhenotypeJob.from_dict(
        {"name": "phenome", "records": "cdr", "phecodes": section, "covariates": [], "output": "table"}, base=folder
    )


def test_a_phenotype_file_makes_a_table_of_phecodes(tmp_path: Path) -> None:
    toy.r_package(tmp_path / "map")
    cohort().write(tmp_path / "cdr")
    built = build(phenotype_file(tmp_path))
    table = pq.read_table(tmp_path / "table" / "traits.parquet")
    assert table.column_names == ["person_id", "phecode_174.1", "phecode_250", "phecode_250.2"]
    cases = dict(zip(*(table.column(name).to_pylist() for name in ("person_id", "phecode_250.2")), strict=True))
    assert [person for person, case in cases.items() if case] == [100, 101, 202]
    assert [person for person, case in cases.items() if case is None] == [102, 103, 104]
    left_out = {one["name"]: one["why"] for one in built.provenance["left_out"]}
    assert left_out["phecode_185"] == "fewer than 2 cases"
    made_of = built.provenance["made_of"]["phecodes"]
    assert made_of["map"] == "1.2"
    assert [file["name"] for file in made_of["files"]] == [
        "phecode_map.csv",
        "pheinfo.csv",
        "phecode_exclude.csv",
        "phecode_rollup_map.csv",
        "sex_restriction.csv",
    ]
    assert "987654321" not in (tmp_path / "table" / "provenance.json").read_text()


def test_another_map_or_rule_is_another_table(tmp_path: Path) -> None:
    path = toy.r_package(tmp_path / "map")
    cohort().write(tmp_path / "cdr")
    first = build(phenotype_file(tmp_path)).provenance["digest"]
    assert build(phenotype_file(tmp_path)).already
    assert build(phenotype_file(tmp_path, min_dates=1), write=False).provenance["digest"] != first
    path.write_text(path.read_text().replace("250.9,250\n", "250.9,250.2\n"))
    assert build(phenotype_file(tmp_path), write=False).provenance["digest"] != first
