"""Diagnoses of records: which code a row has, of which vocabulary, in every form; what is none is counted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from allscan.errors import InputError
from allscan.phenotypes.phecodes.events import SHOWN_FROM, find_diagnoses, unmapped
from allscan.phenotypes.phecodes.map_files import read_map
from allscan.phenotypes.phecodes.maps import PhecodeMap
from allscan.phenotypes.phecodes.spec import PhecodesSection
from allscan.phenotypes.records.opening import open_records
from allscan.phenotypes.records.records import Records
from tests.phenotypes import toy_phecodes as toy
from tests.phenotypes.cdr import Cdr
from tests.phenotypes.records.test_records import BigQuery

NINE, TEN, SNOMED, CPT = 9, 10, 5, 4  # hundreds of the concepts below
PERSON = 987654321
PROCEDURE, OBSERVATION, MEASUREMENT = "procedure_occurrence", "observation", "measurement"


@pytest.fixture
def toy_map(tmp_path: Path) -> PhecodeMap:
    return read_map(None, [toy.r_package(tmp_path / "map")])


def cohort() -> Cdr:
    """One person, and concepts: codes of both ICDs (V10.3 and E85.0 are in both), SNOMED, CPT."""
    cdr = Cdr().person(PERSON, "F", 1960).observed(PERSON, "1990-01-01", "2021-12-31")
    cdr.concept(901, "ICD9CM", "250.00").concept(902, "ICD9CM", "V10.3").concept(903, "ICD9CM", "E850")
    cdr.concept(1001, "ICD10CM", "E11.9").concept(1002, "ICD10CM", "V10.3").concept(1003, "ICD10CM", "E85.0")
    cdr.concept(1004, "ICD10CM", "T36.0X1A").concept(1005, "ICD10CM", "Z99.9").concept(1006, "ICD10", "E11.9")
    cdr.concept(501, "SNOMED", "44054006", standard="S").concept(502, "SNOMED", "1", standard="S")
    cdr.concept(401, "CPT4", "25000", standard="S")
    return cdr


def section(**keys: object) -> PhecodesSection:
    return PhecodesSection.model_validate({"map": "toy", **keys})


def diagnosed(records: Records, toy_map: PhecodeMap, **keys: object) -> list[tuple[str, str, str]]:
    """(vocabulary, code, day) of every diagnosis, in order."""
    found = find_diagnoses(records, section(**keys), toy_map)
    rows = []
    for person, code, day in found.batches(0, len(records.people)):
        assert person.tolist() == [0] * len(person)
        rows += [
            (*found.codes[c], str(dt.date(1970, 1, 1) + dt.timedelta(d)))
            for c, d in zip(code.tolist(), day.tolist(), strict=True)
        ]
    assert sum(found.rows) == len(rows)
    return sorted(rows)


def told(records: Records) -> dict[str, int]:
    lines = records.quality()
    assert str(PERSON) not in repr(lines)
    return {line.what: line.rows for line in lines}


def in_all_tables() -> Cdr:
    cdr = cohort()
    cdr.condition(PERSON, "whatever", "2016-01-01", source_concept=1001)
    cdr.condition(PERSON, "250.00", "2010-01-01", source_concept=0)
    cdr.condition(PERSON, "25000", "2010-01-02", source_concept=None)
    cdr.condition(PERSON, " t360x1a ", "2017-01-02")
    cdr.condition(PERSON, "44054006", "2010-01-03", source_concept=501)
    cdr.condition(PERSON, "diabetes", "2010-01-04")
    cdr.condition(PERSON, None, "2010-01-04")
    # What is written in the source value is not looked up where the source concept is of another vocabulary.
    cdr.condition(PERSON, "E11.9", "2010-01-05", source_concept=501)
    for table, day in ((OBSERVATION, "observation_date"), (PROCEDURE, "procedure_date")):
        name = table.partition("_")[0]
        for concept, value, date in (
            (1005, "Z99.9", "2018-01-01"),
            (0, "250.00", "2011-01-01"),
            (0, "25000", "2012-02-02"),
        ):
            cdr.add(
                table,
                person_id=PERSON,
                **{day: date, f"{name}_source_value": value, f"{name}_source_concept_id": concept},
            )
    return cdr


EXPECTED = [
    ("ICD10CM", "E11.9", "2016-01-01"),
    ("ICD10CM", "T36.0X1A", "2017-01-02"),
    ("ICD10CM", "Z99.9", "2018-01-01"),
    ("ICD10CM", "Z99.9", "2018-01-01"),
    ("ICD9CM", "250.00", "2010-01-01"),
    ("ICD9CM", "250.00", "2010-01-02"),
    ("ICD9CM", "250.00", "2011-01-01"),
    ("ICD9CM", "250.00", "2011-01-01"),
]


@pytest.mark.parametrize("form", ["parquet", "csv", "duckdb", "bigquery"])
def test_codes_come_of_source_concepts_and_of_source_values_where_there_is_none(
    form: str, tmp_path: Path, toy_map: PhecodeMap
) -> None:
    cdr = in_all_tables()
    client = BigQuery(cdr) if form == "bigquery" else None
    place = "bigquery://my-project.cdr" if client else cdr.write(tmp_path / "cdr", form)
    with open_records(place, client=client) as records:
        assert diagnosed(records, toy_map) == EXPECTED
        assert told(records) == {
            "diagnoses known by their source value alone": 5,
            "rows without a code of ICD9CM, ICD10CM": 4,
        }
    if client is not None:
        # Other tables hold much else: only what may be a diagnosis is asked for.
        asked = [text for text in client.asked if "observation_date" in text]
        assert asked
        assert all("IN (SELECT concept_id FROM `my-project`.cdr.concept" in text for text in asked)


def test_the_source_concept_tells_the_vocabulary_of_a_v_code(tmp_path: Path, toy_map: PhecodeMap) -> None:
    cdr = cohort().condition(PERSON, "V10.3", "2018-01-01", source_concept=902)
    cdr.condition(PERSON, "V10.3", "2010-01-01", source_concept=1002)
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        assert diagnosed(records, toy_map) == [("ICD10CM", "V10.3", "2010-01-01"), ("ICD9CM", "V10.3", "2018-01-01")]
        assert told(records) == {}


def test_an_ambiguous_code_is_told_by_what_it_maps_to_or_by_its_day_and_never_both(
    tmp_path: Path, toy_map: PhecodeMap
) -> None:
    cdr = cohort()
    for one, other in ((902, 501), (1002, 502)):
        cdr.add("concept_relationship", concept_id_1=one, concept_id_2=other, relationship_id="Maps to")
    cdr.add("concept_relationship", concept_id_1=902, concept_id_2=502, relationship_id="Mapped from")
    cdr.condition(PERSON, "V10.3", "2018-01-01", concept=501)  # as late as it is, it is ICD-9
    cdr.condition(PERSON, "V10.3", "2018-01-02", concept=502)
    cdr.condition(PERSON, "V10.3", "2015-09-30").condition(PERSON, "V103", "2015-10-01")
    cdr.condition(PERSON, "E850", "2015-09-29").condition(PERSON, "E850", "2015-10-02")
    place = cdr.write(tmp_path / "cdr")
    with open_records(place) as records:
        assert diagnosed(records, toy_map) == [
            ("ICD10CM", "E85.0", "2015-10-02"),
            ("ICD10CM", "V10.3", "2015-10-01"),
            ("ICD10CM", "V10.3", "2018-01-02"),
            ("ICD9CM", "E850", "2015-09-29"),
            ("ICD9CM", "V10.3", "2015-09-30"),
            ("ICD9CM", "V10.3", "2018-01-01"),
        ]
        what = "source values that are codes of several vocabularies, told apart by the"
        assert told(records)[f"{what} standard concept"] == 2
        assert told(records)[f"{what} day"] == 4
    with open_records(place) as records:
        moved = diagnosed(records, toy_map, icd10_from="2016-01-01")
        assert ("ICD9CM", "V10.3", "2015-10-01") in moved


def test_without_concepts_source_values_are_looked_up_in_the_map(tmp_path: Path, toy_map: PhecodeMap) -> None:
    cdr = in_all_tables()
    del cdr.rows["concept"]
    cdr.condition(PERSON, "E11.9", "2019-01-01")
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        assert diagnosed(records, toy_map) == [
            ("ICD10CM", "E11.9", "2019-01-01"),
            ("ICD10CM", "T36.0X1A", "2017-01-02"),
            *[row for row in EXPECTED if row[0] == "ICD9CM"],
        ]


def test_concepts_of_other_vocabularies_alone_are_as_good_as_none(tmp_path: Path, toy_map: PhecodeMap) -> None:
    cdr = in_all_tables()
    cdr.rows["concept"] = [row for row in cdr.rows["concept"] if row["vocabulary_id"] == "SNOMED"]
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        assert [row for row in EXPECTED if row[0] == "ICD9CM"] == [
            row for row in diagnosed(records, toy_map) if row[0] == "ICD9CM"
        ]


def test_vocabularies_are_chosen_and_may_be_read_as_others(tmp_path: Path, toy_map: PhecodeMap) -> None:
    cdr = cohort().condition(PERSON, "E11.9", "2018-01-01", source_concept=1006)
    cdr.condition(PERSON, "250.00", "2010-01-01", source_concept=901)
    place = cdr.write(tmp_path / "cdr")
    with open_records(place) as records:
        assert diagnosed(records, toy_map) == [("ICD9CM", "250.00", "2010-01-01")]
        assert told(records) == {"rows without a code of ICD9CM, ICD10CM": 1}
    with open_records(place) as records:
        assert diagnosed(records, toy_map, vocabularies="ICD10CM", read_as={"ICD10": "ICD10CM"}) == [
            ("ICD10CM", "E11.9", "2018-01-01")
        ]
    with open_records(place) as records, pytest.raises(InputError, match="no codes of ICD10, only of ICD10CM, ICD9CM"):
        find_diagnoses(records, section(vocabularies="ICD10"), toy_map)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"first_day": "2001-01-01"}, ["2001-01-01", "2005-06-30", "2011-01-01"]),
        ({"last_day": "2001-01-01"}, ["2000-12-31", "2001-01-01"]),
        ({"first_day": "2001-01-02", "last_day": "2010-12-31"}, ["2005-06-30"]),
        ({"min_age": 45}, ["2011-01-01"]),  # born on 1 July 1960, as far as is known
        ({"max_age": 40.6}, ["2000-12-31", "2001-01-01"]),
        ({"min_age": 40.55, "max_age": 45, "last_day": "2004-12-31"}, []),
    ],
)
def test_diagnoses_outside_of_days_and_ages_do_not_count(
    keys: dict[str, object], expected: list[str], tmp_path: Path, toy_map: PhecodeMap
) -> None:
    cdr = cohort()
    for day in ("2000-12-31", "2001-01-01", "2005-06-30", "2011-01-01"):
        cdr.condition(PERSON, "250.00", day, source_concept=901)
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        assert [day for _, _, day in diagnosed(records, toy_map, **keys)] == expected


def test_records_need_a_table_of_diagnoses(tmp_path: Path, toy_map: PhecodeMap) -> None:
    with (
        open_records(Cdr().person(1).write(tmp_path / "cdr")) as records,
        pytest.raises(InputError, match="no table of diagnoses: condition_occurrence, observation"),
    ):
        find_diagnoses(records, section(), toy_map)


def test_codes_without_a_phecode_are_counted_and_named_only_where_many_have_them(
    tmp_path: Path, toy_map: PhecodeMap
) -> None:
    cdr = cohort()
    for person in range(1, SHOWN_FROM + 1):
        cdr.person(person).condition(person, "Z99.9", "2018-01-01", source_concept=1005)
    cdr.condition(PERSON, "E85.0", "2018-01-01", source_concept=1003).condition(
        PERSON, "E11.9", "2018-01-01", source_concept=1001
    )
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        found = find_diagnoses(records, section(), toy_map)
        counts = toy_map.table(found.codes, roll_up=True).counts.tolist()
        assert unmapped(found, counts) == (SHOWN_FROM + 1, f"Z99.9 ({SHOWN_FROM})")
    cdr.rows["condition_occurrence"].pop(0)
    with open_records(cdr.write(tmp_path / "other")) as records:
        found = find_diagnoses(records, section(), toy_map)
        counts = toy_map.table(found.codes, roll_up=True).counts.tolist()
        assert unmapped(found, counts) == (SHOWN_FROM, "")


def test_batches_are_of_a_range_of_people(tmp_path: Path, toy_map: PhecodeMap) -> None:
    cdr = cohort()
    for person in range(1, 6):
        cdr.person(person).condition(person, "E11.9", "2018-01-01", source_concept=1001)
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        found = find_diagnoses(records, section(), toy_map)
        people = [p for batch in found.batches(1, 4) for p in batch[0].tolist()]
        assert sorted(people) == [1, 2, 3]
