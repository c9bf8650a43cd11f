"""The worked definitions: each finds the people that it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from allscan.phenotypes.definitions.loading import derive, load_definition
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr

FOLDER = Path(__file__).parents[3] / "examples" / "phenotypes"
KINDS = ("case_control", "time_to_event")
BLOOD_GLUCOSE_LOWERING, METFORMIN, AIRWAYS, SALBUTAMOL, HBA1C, EGFR, RATE, PERCENT = 1, 2, 3, 4, 5, 6, 7, 8554
CASE, CONTROL, MISSING = 1, 0, -1


def people(n: int, sex: str = "F") -> Cdr:
    """People born in 1960, observed and seen from 2014 to 2022, and the vocabulary of the definitions."""
    cdr = Cdr()
    for person in range(1, n + 1):
        cdr.person(person, sex).observed(person, "2014-01-01", "2022-12-31")
        for year in (2014, 2018, 2022):
            cdr.add("visit_occurrence", person_id=person, visit_start_date=f"{year}-05-01")
    cdr.concept(BLOOD_GLUCOSE_LOWERING, "ATC", "A10B").concept(METFORMIN, "RxNorm", "6809", standard="S")
    cdr.concept(AIRWAYS, "ATC", "R03").concept(SALBUTAMOL, "RxNorm", "435", standard="S")
    cdr.below(BLOOD_GLUCOSE_LOWERING, METFORMIN).below(AIRWAYS, SALBUTAMOL)
    cdr.concept(HBA1C, "LOINC", "4548-4", standard="S").concept(EGFR, "LOINC", "98979-8", standard="S")
    cdr.concept(RATE, "UCUM", "mL/min/{1.73_m2}", standard="S")
    for table in (
        "condition_occurrence",
        "observation",
        "procedure_occurrence",
        "drug_exposure",
        "measurement",
        "death",
    ):
        cdr.rows.setdefault(table, [])
    return cdr


def coded(cdr: Cdr, person: int, code: str, *dates: str, concept: int) -> None:
    """Diagnoses whose source concept the vocabulary has."""
    if concept not in {row["concept_id"] for row in cdr.rows["concept"]}:
        cdr.concept(concept, "ICD10CM", code)
    for date in dates:
        cdr.condition(person, code, date, source_concept=concept)


def type_2_diabetes() -> tuple[Cdr, list[int]]:
    cdr = people(6)
    coded(cdr, 1, "E11.9", "2015-01-01", "2016-01-01", concept=101)
    coded(cdr, 2, "E11.9", "2015-01-01", concept=101)
    cdr.drug(2, METFORMIN, "2015-02-01")
    coded(cdr, 3, "E11.9", "2015-01-01", concept=101)
    cdr.measurement(3, HBA1C, 7.1, "2015-01-01", PERCENT)
    coded(cdr, 4, "E11.9", "2015-01-01", concept=101)  # a single code
    cdr.measurement(5, HBA1C, 6.0, "2015-01-01", PERCENT)  # prediabetes
    cdr.measurement(6, HBA1C, 5.0, "2015-01-01", PERCENT)
    return cdr, [CASE, CASE, CASE, MISSING, MISSING, CONTROL]


def type_2_diabetes_onset() -> tuple[Cdr, list[int]]:
    cdr = people(3)
    coded(cdr, 1, "E11.9", "2016-01-01", "2017-01-01", concept=101)
    coded(cdr, 2, "E11.9", "2014-06-01", "2017-01-01", concept=101)  # within the first year: an old one
    return cdr, [CASE, MISSING, CONTROL]


def asthma() -> tuple[Cdr, list[int]]:
    cdr = people(5)
    coded(cdr, 1, "J45.909", "2015-01-01", "2016-01-01", concept=102)
    coded(cdr, 2, "J45.909", "2015-01-01", concept=102)
    cdr.drug(2, SALBUTAMOL, "2015-02-01").drug(2, SALBUTAMOL, "2015-03-01")
    coded(cdr, 3, "J45.909", "2015-01-01", "2016-01-01", concept=102)
    coded(cdr, 3, "J44.9", "2015-01-01", "2016-01-01", concept=103)
    coded(cdr, 4, "E84.0", "2015-01-01", concept=104)
    return cdr, [CASE, CASE, MISSING, MISSING, CONTROL]


def breast_cancer() -> tuple[Cdr, list[int]]:
    cdr = people(4)
    coded(cdr, 1, "C50.911", "2015-01-01", "2015-03-01", concept=105)
    coded(cdr, 2, "C50.911", "2015-01-01", "2015-01-08", concept=105)
    coded(cdr, 3, "Z85.3", "2015-01-01", concept=106)
    return cdr, [CASE, MISSING, MISSING, CONTROL]


def pregnancy_hypertension() -> tuple[Cdr, list[int]]:
    cdr = people(5)
    for row in cdr.rows["person"]:
        row["year_of_birth"] = 1988
    for person in (1, 2, 3, 4):
        coded(cdr, person, "Z37.0", "2018-06-01", concept=107)
    coded(cdr, 1, "O14.03", "2018-05-01", concept=108)
    coded(cdr, 2, "O14.03", "2018-09-01", concept=108)  # too late for this delivery
    coded(cdr, 3, "I10", "2016-01-01", concept=109)
    coded(cdr, 3, "O14.03", "2018-05-01", concept=108)
    return cdr, [CASE, MISSING, MISSING, CONTROL, MISSING]


def long_covid() -> tuple[Cdr, list[int]]:
    cdr = people(4)
    coded(cdr, 1, "U09.9", "2022-01-01", concept=110)
    coded(cdr, 2, "U07.1", "2020-12-01", concept=111)
    coded(cdr, 2, "B94.8", "2021-03-01", concept=112)
    coded(cdr, 3, "U07.1", "2021-12-01", concept=111)
    return cdr, [CASE, CASE, CONTROL, MISSING]


def atrial_fibrillation() -> tuple[Cdr, list[int]]:
    cdr = people(4)
    coded(cdr, 1, "I48.91", "2016-01-01", "2017-01-01", concept=113)
    coded(cdr, 2, "I48.91", "2014-02-01", "2014-03-01", concept=113)  # prevalent
    coded(cdr, 3, "I48.91", "2016-01-01", "2017-01-01", concept=113)
    cdr.concept(114, "CPT4", "33533").add(
        "procedure_occurrence", person_id=3, procedure_date="2016-12-20", procedure_source_concept_id=114
    )
    return cdr, [CASE, MISSING, MISSING, CONTROL]


def chronic_kidney_disease() -> tuple[Cdr, list[int]]:
    cdr = people(4)
    for date, value in (("2016-01-01", 50.0), ("2016-06-01", 45.0)):
        cdr.measurement(1, EGFR, value, date, RATE)
    for date, value in (("2016-01-01", 50.0), ("2016-01-20", 80.0)):  # an acute injury
        cdr.measurement(2, EGFR, value, date, RATE)
    cdr.measurement(3, EGFR, 95.0, "2016-01-01", RATE)
    return cdr, [CASE, MISSING, CONTROL, MISSING]


EXAMPLES = (
    type_2_diabetes,
    type_2_diabetes_onset,
    asthma,
    breast_cancer,
    pregnancy_hypertension,
    long_covid,
    atrial_fibrillation,
    chronic_kidney_disease,
)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.__name__)
def test_example_finds_its_people(example, tmp_path):
    cdr, expected = example()
    definition = load_definition(FOLDER / f"{example.__name__}.yaml")
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        trait = next(iter(derive(records, definition)))
    assert trait.values.tolist() == expected
    assert trait.name == example.__name__
    assert "not validated" in definition.spec.description.lower()


def test_every_example_of_these_kinds_is_tested():
    found = {path.stem for path in FOLDER.glob("*.yaml") if load_definition(path).spec.kind in KINDS}
    assert found == {example.__name__ for example in EXAMPLES}
