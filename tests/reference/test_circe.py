"""Cohorts of OHDSI: the library's own execution on the same tables, and a definition of ours of the same rule."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from allscan.errors import FileFormatError, InputError
from allscan.phenotypes.definitions.circe import _checked, import_circe
from allscan.phenotypes.definitions.loading import cohort, derive, load_definition
from allscan.phenotypes.model import SampleList
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr

COHORT = Path(__file__).parent / "circe" / "type_2_diabetes.json"
T2D, T1D, METFORMIN, HBA1C = 201826, 201254, 1503297, 3004410
BELOW = {T2D: [4193704, 443731], T1D: [40484648], METFORMIN: [40164929]}
N = 400

OURS = {
    "kind": "case_control",
    "id": "t2d",
    "codes": {
        "t2d": {"concepts": [T2D], "descendants": True},
        "t1d": {"concepts": [T1D], "descendants": True},
        "metformin": {"concepts": [METFORMIN], "descendants": True},
        "hba1c": {"concepts": [HBA1C]},
    },
    "index": {"codes": "t2d", "tables": "conditions"},
    "cases": {
        "all": [
            {"codes": "t2d", "tables": "conditions", "min_dates": 2},
            {"none": [{"codes": "t1d", "tables": "conditions"}]},
            {
                "any": [
                    {"codes": "metformin", "tables": "drugs", "within": {"before": "0d", "after": "1y"}},
                    {
                        "codes": "hba1c",
                        "tables": "measurements",
                        "value": {"unit": "any", "at_least": 6.5},
                        "within": {"before": "1y", "after": "1y"},
                    },
                ]
            },
        ]
    },
}


@pytest.fixture(scope="module", name="cdr")
def fixture_cdr() -> Cdr:
    return patients()


def patients() -> Cdr:
    """People with diabetes of both types, drugs and HbA1c, all within the years in which they are observed."""
    rng = np.random.default_rng(11)
    out = Cdr()
    for concept in (T2D, T1D, METFORMIN, HBA1C):
        out.concept(concept, "SNOMED", str(concept), standard="S").below(concept, *BELOW.get(concept, []))
        for descendant in BELOW.get(concept, []):
            out.concept(descendant, "SNOMED", str(descendant), standard="S")
    first = dt.date(2010, 1, 1)

    def day() -> dt.date:
        return first + dt.timedelta(int(rng.integers(0, 1500)))

    def number() -> int:
        return int(rng.integers(1 << 40))

    for person in range(7, 7 * N + 1, 7):
        out.person(person, "MF"[person % 2], 1950 + person % 40)
        out.observed(person, first, first + dt.timedelta(1500))
        for concept, rate in ((T2D, 1.2), (T1D, 0.15)):
            for _ in range(rng.poisson(rate)):
                chosen = int(rng.choice([concept, *BELOW[concept]]))
                out.condition(person, "E1", day(), chosen, condition_occurrence_id=number())
        for _ in range(rng.poisson(0.7)):
            chosen = int(rng.choice([METFORMIN, *BELOW[METFORMIN]]))
            out.drug(person, chosen, day(), day(), drug_exposure_id=number())
        for _ in range(rng.poisson(1.0)):
            value = float(np.round(rng.uniform(4, 9), 1))
            out.measurement(person, HBA1C, value, day(), measurement_id=number())
    return out


def members(place: Path, definition, exclude=()) -> tuple[dict[int, dt.date], object]:
    """Who is in the cohort, by person_id, and the trait."""
    with open_records(place, exclude=exclude) as records:
        (trait,) = derive(records, definition)
        rows = records.connection.execute(f"SELECT person, date FROM {cohort(records, definition)}").fetchall()
        found = {int(records.people.person_id[person]): day for person, day in rows}
        assert sorted(found) == records.people.person_id[trait.values == 1].tolist()
        return found, trait


def by_the_library(cdr: Cdr) -> dict[int, dt.date]:
    """What the library's second engine finds, which shares no SQL with the first (see circe/by_the_library.py)."""
    stored = json.loads((COHORT.parent / "members.json").read_text())
    assert stored["tables"] == digest(cdr), "the tables are others than the library was given"
    return {int(person): dt.date.fromisoformat(day) for person, day in stored["members"].items()}


def digest(cdr: Cdr) -> str:
    return hashlib.sha256(json.dumps(cdr.rows, sort_keys=True, default=str).encode()).hexdigest()


def test_cohort_is_the_librarys_and_that_of_our_words(cdr, tmp_path):
    place = cdr.write(tmp_path / "cdr.duckdb", "duckdb")
    found, trait = members(place, import_circe(COHORT))
    assert 30 < len(found) < N / 2
    # Who has a diagnosis, and does not fulfil the rules, is neither.
    conditions = cdr.rows["condition_occurrence"]
    diagnosed = {row["person_id"] for row in conditions if row["condition_concept_id"] in (T2D, *BELOW[T2D])}
    assert np.count_nonzero(trait.values == 0) == N - len(diagnosed)
    assert [step.people for step in trait.steps[:2]] == [N, len(diagnosed)]
    ours, _ = members(place, load_definition(OURS))
    assert found == ours
    assert found == by_the_library(cdr)


def test_who_is_withdrawn_is_in_no_cohort(cdr, tmp_path):
    place = cdr.write(tmp_path / "cdr")
    found, _ = members(place, import_circe(COHORT))
    leaver = sorted(found)[3]
    left = SampleList(np.array([str(leaver)], dtype=object), "withdrawn.txt")
    without, trait = members(place, import_circe(COHORT), [left])
    assert without == {person: day for person, day in found.items() if person != leaver}
    assert trait.steps[0].people == N - 1


def test_rules_and_warnings_are_told(cdr, tmp_path):
    _, trait = members(cdr.write(tmp_path / "cdr"), import_circe(COHORT))
    told = [step.what for step in trait.steps]
    assert told[1:5] == [
        "with an entry event",
        "  of them, with one that fulfils: two dates",
        "  of them, with one that fulfils: no type 1",
        "  of them, with one that fulfils: metformin within a year",
    ]
    assert any("duplicates condition occurrence criteria" in warning for warning in trait.warnings)


def test_cohort_in_an_envelope_is_read(tmp_path):
    content = json.loads(COHORT.read_text())
    for number, expression in enumerate([content, json.dumps(content)]):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({"id": 77, "name": "Type 2 diabetes", "expression": expression}))
        assert import_circe(path).spec.id == f"cohort_{number}"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "is no JSON"),
        ("[1]", "it is no cohort"),
        ('{"ConceptSets": []}', "no primary criteria"),
        ('{"PrimaryCriteria": {"CriteriaList": 3}}', "the cohort is refused"),
    ],
)
def test_what_is_no_cohort_is_refused_when_it_is_named(tmp_path, content, what):
    (tmp_path / "it.json").write_text(content)
    (tmp_path / "it.yaml").write_text("kind: circe\nid: it\nfile: it.json\n")
    with pytest.raises(FileFormatError, match=what):
        import_circe(tmp_path / "it.json")
    with pytest.raises(InputError, match=what) as refusal:
        load_definition("it.yaml", tmp_path)
    assert "it.json" in str(refusal.value.where)


def test_missing_table_is_named(cdr, tmp_path):
    without = Cdr({name: rows for name, rows in cdr.rows.items() if name != "drug_exposure"})
    place = without.write(tmp_path / "cdr")
    with open_records(place) as records, pytest.raises(InputError, match="no table 'drug_exposure'"):
        list(derive(records, import_circe(COHORT)))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMP TABLE x AS SELECT * FROM read_text('secret.txt')",
        "CREATE TEMP TABLE x AS SELECT * FROM 'secret.csv'",
        "CREATE TEMP TABLE x AS SELECT * FROM people",
        "INSERT INTO people SELECT 1",
        "SELECT 1; ATTACH 'x'",
        "COPY known TO 'x.csv'",
        "ATTACH 'x'",
        "SELECT 'unfinished",
    ],
)
def test_queries_that_do_more_than_cohorts_do_are_refused(statement):
    with pytest.raises(InputError, match="does what no cohort does"):
        _checked(statement, {"known"}, import_circe(COHORT))


def test_queries_of_cohorts_pass():
    definition = import_circe(COHORT)
    inner = "WITH one AS (SELECT * FROM circe_cdm.person) SELECT * FROM one JOIN known USING (person_id)"
    assert _checked(f"CREATE TEMP TABLE Made AS {inner}", {"known"}, definition) == ("made", "")
    assert _checked("DELETE FROM Known", {"known"}, definition) == ("", "known")
