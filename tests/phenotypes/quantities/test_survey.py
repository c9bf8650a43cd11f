"""Surveys: answers by concept, code and words; skips are missing; what is not known is refused, and not quoted."""

from __future__ import annotations

import numpy as np
import pytest

from allscan.errors import InputError, JobError
from allscan.phenotypes.definitions.loading import cohort, load_definition
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr
from tests.phenotypes.quantities.making import made, made_with_quality, people, steps

NAN = float("nan")
QUESTION = 1585857


def survey(**keys) -> dict:
    first = {
        "kind": "survey",
        "id": "smoker",
        "question": {"concepts": [QUESTION]},
        "answers": {"Cigs_Yes": "case", "Cigs_No": "control"},
    }
    return {**first, **keys}


def answered(cdr: Cdr, person: int, answer: str | None = None, day: str = "2018-01-01", **more) -> Cdr:
    return cdr.add(
        "observation",
        person_id=person,
        observation_concept_id=QUESTION,
        observation_date=day,
        value_source_value=answer,
        **more,
    )


def test_cases_controls_and_skips(tmp_path):
    cdr = people(7)
    for person, answer in enumerate(
        ["Cigs_Yes", "Cigs_No", "PMI_Skip", "pmi_dontknow", "PMI_PreferNotToAnswer", None], 1
    ):
        answered(cdr, person, answer)
    trait, quality = made_with_quality(tmp_path, cdr, survey())
    assert trait.kind == "binary"
    assert trait.values.dtype == np.int8
    assert trait.values.tolist() == [1, 0, -1, -1, -1, -1, -1]
    assert (trait.cases, trait.n) == (1, 2)
    assert steps(trait) == [
        ("in the records", 7),
        ("asked", 6),
        ("who answered", 2),
        ("with an answer that is known", 2),
        ("last answer", 2),
    ]
    assert quality == {"smoker: questions without an answer": 4}
    assert trait.recipe["codes"]["question"]["concepts"] == 1


def test_answers_by_concept_by_words_and_by_number(tmp_path):
    cdr = people(8)
    answered(cdr, 1, value_source_concept_id=901)
    answered(cdr, 2, value_as_concept_id=902)
    answered(cdr, 3, value_as_string="  very   GOOD ")
    answered(cdr, 4, "ignored words", value_as_concept_id=903)
    answered(cdr, 5, value_as_concept_id=904)
    answered(cdr, 6, value_as_number=10.0)
    answered(cdr, 7, value_as_concept_id=903096)
    answered(cdr, 8, value_as_concept_id=45, value_source_concept_id=903079)
    cdr.concept(903, "PPI", "Health_Good", "Good").concept(904, "PPI", "Health_Fair", "Fair health")
    answers = {"901": 5.0, "902": 4.0, "Very Good": 3.5, "health_good": 3.0, "Fair health": 2.0, "10": 1.0}
    trait = made(tmp_path, cdr, survey(answers=answers, transform="standardise"))
    assert (trait.kind, trait.transform) == ("quantitative", "standardise")
    np.testing.assert_equal(trait.values, [5, 4, 3.5, 3, 2, 1, NAN, NAN])


@pytest.mark.parametrize(
    ("several", "found"), [("first", [0, 1, 1]), ("last", [1, 1, 0]), ("min", [0, 1, 0]), ("max", [1, 1, 1])]
)
def test_several_answers(tmp_path, several, found):
    cdr = people(3)
    answered(cdr, 1, "Cigs_No", "2018-01-01")
    answered(cdr, 1, "Cigs_Yes", "2019-01-01")
    answered(cdr, 1, "PMI_Skip", "2020-01-01")
    answered(cdr, 2, "Cigs_No", "2018-01-01")
    answered(cdr, 2, "Cigs_Yes", "2018-01-01")  # of one day: a case before a control
    answered(cdr, 3, "Cigs_Yes", "2018-01-01")
    answered(cdr, 3, "Cigs_No", "2018-01-02")
    assert made(tmp_path, cdr, survey(several=several)).values.tolist() == found


def test_windows_and_sex(tmp_path):
    cdr = people(4)
    for person, day in ((1, "2018-01-01"), (2, "2018-01-01"), (3, "2010-06-30"), (4, "2020-01-01")):
        answered(cdr, person, "Cigs_Yes", day)
    trait = made(tmp_path, cdr, survey(ages={"at_least": 50}, dates={"until": "2019-12-31"}))
    assert trait.values.tolist() == [1, 1, -1, -1]
    trait = made(tmp_path, cdr, survey(sex="male"))
    assert trait.values.tolist() == [-1, 1, -1, 1]
    assert (trait.only_sex, steps(trait)[-1]) == (1, ("male only", 2))


def many_answers(words: str, n: int) -> Cdr:
    cdr = people(40)
    answered(cdr, 40, "Cigs_Yes")
    for person in range(1, n + 1):
        answered(cdr, person, words)
    return cdr


def test_answers_that_are_not_known_are_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        made(tmp_path, many_answers("Cigs_Sometimes", 21), survey())
    assert str(caught.value) == (
        "answers are not in the definition: 'Cigs_Sometimes' (given 21 times)\n"
        "  where: definition smoker, key answers\n"
        "  to do: add them to `answers` or to `missing`, or write `unknown_answers: missing`"
    )
    cdr = many_answers("Cigs_Sometimes", 21)
    trait, quality = made_with_quality(tmp_path, cdr, survey(unknown_answers="missing"))
    assert (trait.n, quality) == (1, {"smoker: other answers": 21})
    assert trait.notes == ("answers taken as missing: 'Cigs_Sometimes' (21)",)
    assert made(tmp_path, cdr, survey(missing=["cigs_sometimes"])).n == 1


def test_words_of_few_people_are_not_shown(tmp_path):
    with pytest.raises(InputError) as caught:
        made(tmp_path, many_answers("my name is Rumpelstiltskin", 20), survey())
    assert "Rumpel" not in str(caught.value)
    assert "an answer of few people's (given ≤20 times)" in str(caught.value)


def test_concepts_of_few_people_are_shown(tmp_path):
    cdr = answered(answered(people(2), 1, value_as_concept_id=77), 2, value_as_concept_id=78)
    cdr.concept(78, "PPI", "Cigs_Maybe", "Maybe")
    with pytest.raises(InputError, match=r"'Cigs_Maybe' \(given ≤20 times\), concept 77 \(given ≤20 times\)"):
        made(tmp_path, cdr, survey())


def test_free_text_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("allscan.phenotypes.quantities.survey.MOST_ANSWERS", 5)
    cdr = people(6)
    for person in range(1, 7):
        answered(cdr, person, f"words {person}")
    with pytest.raises(InputError, match="more than 5 answers"):
        made(tmp_path, cdr, survey())


def test_empty_and_missing_tables(tmp_path):
    cdr = answered(people(1), 1, "Cigs_Yes")
    cdr.rows["observation"].clear()
    assert made(tmp_path, cdr, survey()).n == 0
    del cdr.rows["observation"]
    with pytest.raises(InputError, match="no table 'observation'"):
        made(tmp_path, cdr, survey())


def test_cases_with_their_day(tmp_path):
    cdr = people(4)
    answered(cdr, 1, "Cigs_Yes", "2018-01-01")
    answered(cdr, 1, "Cigs_Yes", "2019-01-01")
    answered(cdr, 2, "Cigs_Yes", "2018-01-01")
    answered(cdr, 2, "Cigs_No", "2019-01-01")
    answered(cdr, 3, "Cigs_No", "2018-01-01")
    answered(cdr, 4, "Cigs_Yes", "2018-01-03")
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        found = cohort(records, load_definition(survey()))
        rows = records.connection.execute(f"SELECT person + 1, date::VARCHAR FROM {found} ORDER BY ALL").fetchall()
        assert rows == [(1, "2018-01-01"), (4, "2018-01-03")]
        found = cohort(records, load_definition(survey(sex="female")))
        assert records.connection.execute(f"SELECT person + 1 FROM {found}").fetchall() == [(1,)]
        with pytest.raises(InputError, match="has no cases"):
            cohort(records, load_definition(survey(answers={"Cigs_Yes": 1.0})))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"answers": {}}, "'answers' is empty"),
        ({"answers": {"a": "case", "b": 1.0}}, "some answers are numbers"),
        ({"answers": {"a": "case"}}, "every answer is a case"),
        ({"answers": {"a": "case", " A ": "control"}}, "'a' stands twice"),
        ({"missing": ["cigs_no"]}, "'cigs_no' stands twice"),
        ({"answers": {"a": "cse", "b": "control"}}, "answers"),
        ({"transform": "standardise"}, "have no transform"),
        ({"several": "median"}, "none of its values"),
    ],
)
def test_contradictions_are_refused(keys, message):
    with pytest.raises(JobError, match=message):
        load_definition(survey(**keys))
