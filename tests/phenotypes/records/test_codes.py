"""Sets of codes: what they mean in some records, and which events have one."""

from __future__ import annotations

import hashlib

import pytest
from pydantic import TypeAdapter

from allscan.errors import InputError
from allscan.phenotypes.records.codes import MOST_WRITTEN, CodeSet, known_vocabulary, matching_events, resolve
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr

CODES = TypeAdapter(CodeSet)


def diabetics() -> Cdr:
    cdr = Cdr().person(1).person(2).person(3).person(4).person(5)
    cdr.concept(100, "ICD10CM", "E11", "Type 2 diabetes").concept(101, "ICD10CM", "E11.9").concept(
        102, "ICD10CM", "E10.9"
    )
    cdr.concept(103, "ICD9CM", "250.00").concept(200, "SNOMED", "44054006", "Type 2 diabetes", "S")
    cdr.concept(201, "SNOMED", "1", "Diabetic foot", "S").below(200, 201)
    cdr.condition(1, "E11.9", "2010-01-01", concept=200, source_concept=101)
    cdr.condition(2, "e119 ", "2010-01-02")  # no concept, as some sites write it
    cdr.condition(3, "E10.9", "2010-01-03", concept=201, source_concept=102)
    cdr.condition(4, "250.00", "2010-01-04", concept=200, source_concept=103)
    cdr.condition(5, "E11.9", "2010-01-05", concept=200, source_concept=102)  # its concept counts
    return cdr


def people_with(tmp_path, cdr: Cdr, codes: object) -> tuple[list[int], object]:
    place = cdr.write(tmp_path / "cdr")
    with open_records(place) as records:
        resolved = resolve(records, CODES.validate_python(codes), lambda name: tmp_path / name)
        events = matching_events(records, "condition_occurrence", resolved)
        rows = records.connection.execute(f"SELECT DISTINCT person + 1 FROM {events} ORDER BY ALL").fetchall()
        return [person for (person,) in rows], resolved


@pytest.mark.parametrize(
    ("codes", "people"),
    [
        ({"vocabulary": "ICD10CM", "codes": "E11.9"}, [1, 2]),
        ({"vocabulary": "icd-10-cm", "codes": ["E11*"]}, [1, 2]),
        ({"concepts": [101]}, [1, 2]),  # by its code, where the records have no concept
        ({"concepts": [200]}, [1, 4, 5]),
        ({"concepts": [200], "descendants": True}, [1, 3, 4, 5]),
        ([{"concepts": [200], "descendants": True}, {"concepts": [201], "exclude": True}], [1, 4, 5]),
        (
            [
                {"vocabulary": "ICD10CM", "codes": ["E1*"]},
                {"vocabulary": "ICD10CM", "codes": ["E10*"], "exclude": True},
            ],
            [1, 2],
        ),
        ([{"vocabulary": "ICD9CM", "codes": ["250.01"]}, {"vocabulary": "ICD9CM", "codes": "250.00"}], [4]),
        ({"concepts": [31337, 200]}, [1, 4, 5]),
    ],
)
@pytest.mark.parametrize("most_written", [MOST_WRITTEN, 0])
def test_which_events_have_a_code(tmp_path, monkeypatch, codes, people, most_written):
    monkeypatch.setattr("allscan.phenotypes.records.codes.MOST_WRITTEN", most_written)
    assert people_with(tmp_path, diabetics(), codes)[0] == people


def test_a_list_of_codes_in_a_file(tmp_path):
    text = "code,description,coding_system\nE11.9,Type 2 diabetes,ICD10CM codes\n250.00,T2D,ICD-9-CM\n"
    (tmp_path / "t2d.csv").write_text(text)
    people, resolved = people_with(tmp_path, diabetics(), {"file": "t2d.csv"})
    assert people == [1, 2, 4]
    assert resolved.files == (("t2d.csv", hashlib.sha256((tmp_path / "t2d.csv").read_bytes()).hexdigest()),)
    assert resolved.table.column("code").to_pylist() == ["E11.9", "250.00"]
    assert resolved.table.column("concept_id").to_pylist() == [101, 103]
    assert resolved.n_concepts == 2
    assert len(resolved.digest) == 64


def test_records_without_a_vocabulary(tmp_path):
    cdr = diabetics()
    del cdr.rows["concept"], cdr.rows["concept_ancestor"]
    assert people_with(tmp_path, cdr, {"vocabulary": "ICD10CM", "codes": ["E11.9"]})[0] == [2]
    with pytest.raises(InputError, match="needs the table 'concept'"):
        people_with(tmp_path, cdr, {"vocabulary": "ICD10CM", "codes": ["E11*"]})
    with pytest.raises(InputError, match="no table 'concept_ancestor'"):
        people_with(tmp_path, cdr, {"concepts": [200], "descendants": True})


def test_what_is_not_found_is_said(tmp_path):
    _, resolved = people_with(tmp_path, diabetics(), [{"vocabulary": "ICD10CM", "codes": ["Q99"]}, {"concepts": [101]}])
    assert resolved.notes == ("none of Q99 is in the vocabulary of the records",)
    nobody, resolved = people_with(tmp_path, diabetics(), {"vocabulary": "ICD10CM", "codes": ["Q99*"]})
    assert nobody == []
    assert resolved.notes == ("none of Q99* is in the vocabulary of the records",)
    again = [{"concepts": [200]}, {"concepts": [200], "exclude": True}]
    with pytest.raises(InputError, match="everything in the set is taken out"):
        people_with(tmp_path, diabetics(), again)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ({"codes": ["E11"]}, "no vocabulary"),
        ({"vocabulary": "ICD10CM"}, "in one way"),
        ({"vocabulary": "ICD10CM", "codes": ["E11"], "concepts": [1]}, "in one way"),
        ([], "at least 1"),
        ({"vocabulary": "ICD9CM", "codes": [250.00]}, "valid string"),
    ],
)
def test_sets_that_say_nothing_are_refused(codes, message):
    with pytest.raises(ValueError, match=message):
        CODES.validate_python(codes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nx\n", "the list has the columns name"),
        ("code\nE11\n", "does not say of which vocabulary"),
        ("code,vocabulary\nE11,ICD11\n", "line 2"),
        ("concept_id\n12a\n", "'12a' is no concept id"),
        ("code,vocabulary\n,ICD10\n", "the line has no code"),
        ("code,vocabulary\n", "is empty"),
        ("\udcff", "cannot be read"),
    ],
)
def test_lists_that_are_no_lists_are_refused(tmp_path, text, message):
    (tmp_path / "codes.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        people_with(tmp_path, diabetics(), {"file": "codes.csv"})


def test_vocabularies_by_what_people_call_them():
    assert known_vocabulary("ICD10 codes") == "ICD10"
    assert known_vocabulary("SNOMED CT codes") == "SNOMED"
    with pytest.raises(InputError, match="known are ATC"):
        known_vocabulary("OXMIS")
