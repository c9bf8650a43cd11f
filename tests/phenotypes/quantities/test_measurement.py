"""Measurements: units, limits, bounds, days, windows, exclusions, drugs and summaries, each policy by itself."""

from __future__ import annotations

import datetime as dt
import itertools
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allscan.errors import InputError, JobError
from allscan.phenotypes.definitions.loading import load_definition
from tests.phenotypes.cdr import Cdr
from tests.phenotypes.quantities import naive
from tests.phenotypes.quantities.making import (
    INFARCTION,
    LDL,
    MG_DL,
    MMOL_L,
    PREGNANT,
    STATIN,
    ldl,
    made,
    made_with_quality,
    people,
    steps,
)

NAN = float("nan")
LESS, MORE = 4171756, 4172704


def values(trait) -> list[float]:
    return trait.values.tolist()


@pytest.mark.parametrize("form", ["parquet", "csv", "duckdb"])
def test_a_median_with_its_steps(tmp_path, form):
    cdr = people(5)
    for day, value in (("2010-01-01", 100), ("2011-01-01", 120), ("2012-01-01", 200)):
        cdr.measurement(1, LDL, value, day, MG_DL)
    cdr.measurement(2, LDL, 3.0, "2010-01-01", MMOL_L).measurement(3, LDL, None, "2010-01-01", MG_DL)
    cdr.measurement(4, LDL, 5, "2010-01-01", MG_DL).measurement(4, 999, 70, "2010-01-01", MG_DL)
    trait, quality = made_with_quality(
        tmp_path, cdr, ldl(molar_mass=386.65, plausible=[10, 1000], transform="rank_inverse_normal"), form
    )
    np.testing.assert_allclose(trait.values, [120, 3 * 38.665, NAN, NAN, NAN], rtol=1e-15)
    assert (trait.name, trait.kind, trait.units) == ("ldl", "quantitative", "mg/dL")
    assert trait.transform == "rank_inverse_normal"
    assert steps(trait) == [
        ("in the records", 5),
        ("measured", 4),
        ("with a number", 3),
        ("with a unit", 3),
        ("in a unit that is known", 3),
        ("from 10 to 1000 mg/dL", 2),
        ("with a median", 2),
    ]
    assert trait.notes == ("mg/dL: ≤20 values, as they are", "mmol/L: ≤20 values, converted to mg/dL")
    assert quality == {"ldl: rows without a number": 1, "ldl: rows outside of 10 to 1000 mg/dL": 1}
    assert trait.recipe["definition"]["id"] == "ldl"
    assert trait.recipe["codes"]["codes"]["concepts"] == 1


SERIES = (("2010-01-01", 100.0), ("2010-07-02", 110.0), ("2012-01-01", 90.0), ("2013-01-01", 160.0))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ({"summary": "first"}, 100),
        ({"summary": "last"}, 160),
        ({"summary": "median"}, 105),
        ({"summary": "mean"}, 115),
        ({"summary": "min"}, 90),
        ({"summary": "max"}, 160),
        ({"summary": "sd"}, np.std([100, 110, 90, 160], ddof=1)),
        ({"summary": "nearest", "index": {"date": "2011-04-02"}}, 110),  # 274 days after one, 274 before the other
        ({"summary": "nearest", "index": {"date": "2011-04-03"}}, 90),
        ({"summary": "nearest", "index": {"age": 52}}, 90),  # 1 July 2012: 182 days after, 184 before the next
        ({"summary": "median", "index": {"date": "2012-01-01", "before": 0}}, 125),
        ({"summary": "median", "index": {"date": "2012-01-01", "before": 600, "after": 0}}, 100),
        ({"summary": "median", "min_values": 5}, NAN),
        ({"summary": "median", "min_span": 1096}, 105),
        ({"summary": "median", "min_span": 1097}, NAN),
        ({"summary": "median", "min_span": "3y"}, 105),
        ({"summary": "median", "ages": {"at_least": 50}}, 110),  # from 1 July 2010
        ({"summary": "median", "ages": {"below": 50}}, 100),
        ({"summary": "median", "dates": {"since": "2010-07-02", "until": "2012-01-01"}}, 100),
    ],
)
def test_summaries_and_windows(tmp_path, keys, value):
    cdr = people(1)
    for day, amount in SERIES:
        cdr.measurement(1, LDL, amount, day, MG_DL)
    np.testing.assert_allclose(made(tmp_path, cdr, ldl(**keys)).values, [value], rtol=1e-13)


def test_a_slope_is_a_change_per_year(tmp_path):
    cdr = people(3)
    for years in range(5):
        cdr.measurement(1, LDL, 100 + 3 * years, dt.date(2001, 1, 1) + dt.timedelta(days=365.25 * years), MG_DL)
    cdr.measurement(2, LDL, 100, "2001-01-01", MG_DL).measurement(2, LDL, 130, "2001-01-01", MG_DL)
    trait = made(tmp_path, cdr, ldl(summary="slope"))
    np.testing.assert_allclose(trait.values, [3, NAN, NAN], rtol=1e-3)
    assert trait.units == "mg/dL per year"


@pytest.mark.parametrize(("same_day", "value"), [("median", 110), ("mean", 120), ("min", 100), ("max", 150)])
def test_values_of_one_day(tmp_path, same_day, value):
    cdr = people(1)
    for amount in (150, 100, 110):
        cdr.measurement(1, LDL, amount, "2010-01-01", MG_DL)
    assert values(made(tmp_path, cdr, ldl(same_day=same_day, min_values=1))) == [value]
    assert np.isnan(made(tmp_path, cdr, ldl(same_day=same_day, min_values=2)).values).all()


@pytest.mark.parametrize(
    ("policy", "found", "told"),
    [
        ("limit", [40, 400], "are taken as the limit"),
        ("half", [20, 400], "are halved if below"),
        ("drop", [NAN, NAN], "are left out"),
    ],
)
def test_values_beyond_a_limit(tmp_path, policy, found, told):
    cdr = people(2)
    cdr.measurement(1, LDL, 40, "2010-01-01", MG_DL, operator_concept_id=LESS)
    cdr.measurement(2, LDL, 400, "2010-01-01", MG_DL, operator_concept_id=MORE)
    trait = made(tmp_path, cdr, ldl(beyond_limit=policy))
    np.testing.assert_equal(trait.values, found)
    assert trait.notes[-1] == f"≤20 values with < or > {told}"


def test_values_without_a_unit(tmp_path):
    cdr = people(2).measurement(1, LDL, 100, "2010-01-01", 0).measurement(2, LDL, 3, "2010-01-01", MMOL_L)
    trait, quality = made_with_quality(tmp_path, cdr, ldl(molar_mass=386.65))
    np.testing.assert_allclose(trait.values, [NAN, 3 * 38.665])
    assert quality == {"ldl: rows without a unit": 1}
    assert "without a unit: ≤20 values, left out" in trait.notes
    trait, quality = made_with_quality(tmp_path, cdr, ldl(molar_mass=386.65, assume="mg/dL"))
    np.testing.assert_allclose(trait.values, [100, 3 * 38.665])
    assert quality == {}
    assert "without a unit: ≤20 values, taken as mg/dL" in trait.notes


def test_units_in_the_words_of_the_records(tmp_path):
    cdr = people(6)
    for person, text in enumerate(["MG/DL", " mg/dl ", "mmol/l", "mg%", "", "mg/dL"], 1):
        cdr.measurement(person, LDL, 4, "2010-01-01", 0, unit_source_value=text)
    cdr.measurement(6, LDL, 4, "2010-02-01", 8554, unit_source_value="mg/dL")  # the concept goes first
    trait = made(tmp_path, cdr, ldl(molar_mass=386.65, conversions={"MG%": "x"}))
    np.testing.assert_allclose(trait.values, [4, 4, 4 * 38.665, 4, NAN, 4])


def test_unit_concepts_that_the_vocabulary_knows(tmp_path):
    cdr = people(3).measurement(1, LDL, 1, "2010-01-01", 555).measurement(2, LDL, 2, "2010-01-01", 556)
    cdr.concept(555, "UCUM", "g/L").concept(556, "SNOMED", "g/L")
    trait, quality = made_with_quality(tmp_path, cdr, ldl())
    np.testing.assert_equal(trait.values, [100, NAN, NAN])
    assert quality == {"ldl: rows in other units": 1}
    assert "concept 556: ≤20 values, left out" in trait.notes
    assert values(made(tmp_path, cdr, ldl(conversions={"556": "100 * x"})))[:2] == [100, 200]


def test_a_formula_for_what_no_factor_says(tmp_path):
    cdr = people(2).measurement(1, LDL, 48, "2010-01-01", 555).measurement(2, LDL, 6.5, "2010-01-01", 8554)
    cdr.concept(555, "UCUM", "mmol/mol")
    hba1c = ldl(id="hba1c", unit="%", conversions={"mmol/mol": "0.09148 * x + 2.152"})
    np.testing.assert_allclose(made(tmp_path, cdr, hba1c).values, [0.09148 * 48 + 2.152, 6.5])


def many_units(n: int, text: str, concept: int = 0) -> Cdr:
    cdr = people(30)
    for i in range(n):
        cdr.measurement(1 + i % 30, LDL, 7, dt.date(2010, 1, 1) + dt.timedelta(days=i), concept, unit_source_value=text)
    return cdr


def test_unknown_units_are_refused_if_there_are_many(tmp_path):
    with pytest.raises(InputError) as caught:
        made(tmp_path, many_units(21, "furlongs"), ldl())
    assert str(caught.value) == (
        "values are in units that cannot be converted to mg/dL: furlongs (21 values)\n"
        "  where: definition ldl, key unit\n"
        "  to do: give `molar_mass`, write a formula (`conversions: {'furlongs': x}`), leave them out by "
        "`drop_units: ['furlongs']`, or all of their kind by `unknown_units: drop`"
    )
    trait, quality = made_with_quality(tmp_path, many_units(20, "furlongs"), ldl())
    assert (trait.n, quality) == (0, {"ldl: rows in other units": 20})
    assert trait.notes == ("a unit of few people's: ≤20 values, left out",)
    assert trait.warnings == ("nobody has a value",)


@pytest.mark.parametrize("keys", [{"unknown_units": "drop"}, {"drop_units": ["Furlongs"]}])
def test_units_that_are_dropped_are_counted(tmp_path, keys):
    trait, quality = made_with_quality(tmp_path, many_units(40, "furlongs"), ldl(**keys))
    assert (trait.n, quality) == (0, {"ldl: rows in other units": 40})
    assert trait.notes == ("furlongs: 40 values, left out",)


def test_units_that_measure_something_else_are_refused_by_their_concept(tmp_path):
    with pytest.raises(InputError, match=r"mmol/L \(25 values\)"):
        made(tmp_path, many_units(25, "", MMOL_L), ldl())
    with pytest.raises(InputError, match=r"concept 4711 \(25 values\)"):
        made(tmp_path, many_units(25, "", 4711), ldl())


def test_words_of_one_person_are_not_shown(tmp_path):
    cdr = people(2)
    for i in range(50):
        cdr.measurement(1, LDL, 7, dt.date(2010, 1, 1) + dt.timedelta(days=i), 0, unit_source_value="call Mrs Miller")
    with pytest.raises(InputError) as caught:
        made(tmp_path, cdr, ldl())
    assert "Miller" not in str(caught.value)
    assert "a unit of few people's (50 values)" in str(caught.value)


def test_values_that_are_no_numbers(tmp_path):
    cdr = people(4)
    for person, amount in enumerate([float("inf"), NAN, -50.0, 1e200], 1):
        cdr.measurement(person, LDL, amount, "2010-01-01", MG_DL)
    trait, quality = made_with_quality(tmp_path, cdr, ldl())
    np.testing.assert_equal(trait.values, [NAN, NAN, -50, NAN])
    assert quality == {"ldl: rows without a number": 3}
    assert made(tmp_path, cdr, ldl(plausible=[10, 1000])).n == 0


def test_texts_in_the_place_of_numbers(tmp_path):
    place = people(2).measurement(1, LDL, 100, "2010-01-01", MG_DL).write(tmp_path / "texts", "csv")
    text = (place / "measurement.csv").read_text()
    row = text.splitlines()[1]
    (place / "measurement.csv").write_text(f"{text}{row.replace('100', 'see note')}\n")
    from allscan.phenotypes.definitions.loading import derive
    from allscan.phenotypes.records.opening import open_records

    with open_records(place) as records:
        (trait,) = derive(records, load_definition(ldl()))
        assert values(trait)[0] == 100
        assert ("ldl: rows without a number", 1) in [(line.what, line.rows) for line in records.quality()]


def test_an_empty_table_and_a_missing_one(tmp_path):
    cdr = people(2).measurement(1, LDL, 100, "2010-01-01", MG_DL)
    cdr.rows["measurement"].clear()
    trait = made(tmp_path, cdr, ldl())
    assert trait.n == 0
    assert trait.warnings == ("nobody has a value",)
    del cdr.rows["measurement"]
    with pytest.raises(InputError, match="no table 'measurement'"):
        made(tmp_path, cdr, ldl())


def test_observations_may_be_measured(tmp_path):
    cdr = people(1).add(
        "observation", person_id=1, observation_concept_id=LDL, observation_date="2010-01-01", value_as_number=7
    )
    assert values(made(tmp_path, cdr, ldl(tables=["observations"], unit="1", assume="1"))) == [7]


def test_one_sex(tmp_path):
    cdr = people(3)
    for person in (1, 2, 3):
        cdr.measurement(person, LDL, 100 + person, "2010-01-01", MG_DL)
    trait = made(tmp_path, cdr, ldl(sex="female"))
    np.testing.assert_equal(trait.values, [101, NAN, 103])
    assert (trait.only_sex, steps(trait)[-1]) == (2, ("female only", 2))


def test_values_near_events_are_left_out(tmp_path):
    cdr = people(3)
    for person, day in itertools.product((1, 2), ("2010-01-01", "2010-06-01", "2011-06-01")):
        cdr.measurement(person, LDL, 100 + int(day[2:4]) + int(day[6]), day, MG_DL)
    cdr.condition(1, "Z33", "2010-04-01", concept=PREGNANT).condition(3, "Z33", "2010-04-01", concept=PREGNANT)
    around = [{"codes": {"concepts": [PREGNANT]}, "before": 30, "after": 61}]
    trait = made(tmp_path, cdr, ldl(exclude=around, summary="max"))
    np.testing.assert_equal(trait.values, [117, 117, NAN])
    np.testing.assert_equal(made(tmp_path, cdr, ldl(exclude=around, summary="median")).values, [114, 116, NAN])
    ever = [{"codes": {"concepts": [PREGNANT]}, "ever": True}]
    trait = made(tmp_path, cdr, ldl(exclude=ever, summary="max"))
    np.testing.assert_equal(trait.values, [NAN, 117, NAN])
    assert ("not excluded", 1) in steps(trait)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"divide": 0.5}, [100, 200, 200, 100, 100]),  # exposed on days 31 to 60, and 30 of grace
        ({"divide": 0.5, "grace": 0}, [100, 200, 100, 100, 100]),
        ({"divide": 0.5, "grace": 400}, [100, 200, 200, 200, 200]),
        ({"divide": 0.5, "when": "since_first"}, [100, 200, 200, 200, 200]),
        ({"divide": 0.5, "when": "ever"}, [200, 200, 200, 200, 200]),
        ({"multiply": 3}, [100, 300, 300, 100, 100]),
        ({"add": 15}, [100, 115, 115, 100, 100]),
    ],
)
@pytest.mark.parametrize("end", ["end", "supply", "both"])
def test_values_under_a_drug(tmp_path, keys, found, end):
    start = dt.date(2010, 2, 1)
    days = [start + dt.timedelta(days=n) for n in (-1, 29, 59, 60, 300)]
    last = {"end": {"end": "2010-03-02"}, "supply": {"days_supply": 30}, "both": {"end": start, "days_supply": 30}}[end]
    cdr = people(6).measurement(6, LDL, 77, start, MG_DL)
    for person, day in enumerate(days, 1):
        cdr.drug(person, STATIN, start, **last).measurement(person, LDL, 100, day, MG_DL)
    trait = made(tmp_path, cdr, ldl(adjust=[{"codes": {"concepts": [STATIN]}, **keys}]))
    np.testing.assert_allclose(trait.values, [*found, 77])
    assert ("with adjusted values", sum(value != 100 for value in found)) in steps(trait)


def test_drugs_that_the_records_do_not_know_are_a_warning(tmp_path):
    cdr = people(1).measurement(1, LDL, 100, "2010-01-01", MG_DL).drug(1, STATIN, "2009-12-31")
    statins = {"vocabulary": "ATC", "codes": ["C10AA"]}
    trait = made(tmp_path, cdr, ldl(adjust=[{"codes": statins, "divide": 0.7}]))
    assert values(trait) == [100]
    assert trait.warnings == (
        "adjust.0.codes: the records know none of these codes as a concept; their source values are looked for",
    )


def test_an_index_of_codes_and_of_a_definition(tmp_path):
    cdr = people(3)
    for person in (1, 2, 3):
        for day, amount in SERIES:
            cdr.measurement(person, LDL, amount + person, day, MG_DL)
    cdr.condition(1, "I21", "2011-12-01", concept=INFARCTION).condition(1, "I21", "2019-12-01", concept=INFARCTION)
    cdr.condition(2, "I21", "2010-02-01", concept=INFARCTION)
    index = {"codes": {"concepts": [INFARCTION]}, "before": 365}
    trait = made(tmp_path, cdr, ldl(summary="nearest", index=index))
    np.testing.assert_equal(trait.values, [91, 102, NAN])
    assert ("near the index date", 2) in steps(trait)
    assert trait.recipe["codes"]["index.0.codes"]["concepts"] == 1
    question = "kind: survey\nid: smoker\nquestion: {concepts: [7]}\nanswers: {yes_: case, no_: control}\n"
    (tmp_path / "smoker.yaml").write_text(question)
    for person, answer, day in ((1, "yes_", "2012-12-01"), (2, "no_", "2012-12-01"), (3, "yes_", "2010-01-02")):
        cdr.add(
            "observation",
            person_id=person,
            observation_concept_id=7,
            observation_date=day,
            value_source_value=answer,
        )
    trait = made(tmp_path, cdr, ldl(summary="nearest", index={"definition": "smoker.yaml"}))
    np.testing.assert_equal(trait.values, [161, NAN, 103])


def test_a_quantity_computed_of_two(tmp_path):
    cdr = people(5)
    kg, lb, cm, inch = 9529, 8739, 8582, 9330
    weight, height = 3025315, 3036277
    cdr.measurement(1, weight, 80, "2010-01-01", kg).measurement(1, height, 200, "2010-01-01", cm)
    cdr.measurement(2, weight, 200, "2010-01-01", lb).measurement(2, height, 70, "2010-01-01", inch)
    cdr.measurement(3, weight, 80, "2010-01-01", kg).measurement(3, height, 200, "2010-01-02", cm)
    cdr.measurement(4, weight, 400, "2010-01-01", kg).measurement(4, height, 100, "2010-01-01", cm)
    bmi = {
        "kind": "measurement",
        "id": "bmi",
        "unit": "kg/m2",
        "plausible": [10, 100],
        "summary": "median",
        "formula": "weight / height ** 2",
        "inputs": {
            "weight": {"codes": {"concepts": [weight]}, "unit": "kg", "plausible": [20, 400]},
            "height": {"codes": {"concepts": [height]}, "unit": "m", "plausible": [1, 2.3]},
        },
    }
    trait, quality = made_with_quality(tmp_path, cdr, bmi)
    np.testing.assert_allclose(trait.values, [20, 200 * 0.45359237 / (70 * 0.0254) ** 2, NAN, NAN, NAN])
    assert quality == {"bmi: days without a believable value": 1}
    told = dict(steps(trait))
    assert told["weight: measured"] == told["height: from 1 to 2.3 m"] == 4
    assert told["weight and height on the same day"] == 3
    assert told["from 10 to 100 kg/m2"] == 2
    assert set(trait.recipe["codes"]) == {"inputs.weight.codes", "inputs.height.codes"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"unit": "furlongs"}, "no unit that is known"),
        ({"unit": None}, "'unit' is missing"),
        ({"summary": "average"}, "none of its values"),
        ({"summary": "nearest"}, "nearest to which day"),
        ({"codes": None}, "found by its codes, or is computed"),
        ({"formula": "x"}, "found by its codes, or is computed"),
        ({"codes": None, "formula": "x"}, "belong together"),
        ({"assume": "mmol/L"}, "cannot be converted to mg/dL"),
        ({"conversions": {"mmol/L": "2"}}, "the same for everybody"),
        ({"conversions": {"mmol/L": "y * 2"}}, "'y' in 'y \\* 2' means nothing"),
        ({"plausible": [100, 10]}, "leave nothing between"),
        ({"plausible": [100]}, "plausible"),
        ({"ages": {"at_least": 60, "below": 50}}, "nobody is 60 and below 50"),
        ({"dates": {"since": "2010-13-01"}}, "is no date"),
        ({"dates": {"since": "2011-01-01", "until": "2010-01-01"}}, "no day is since"),
        ({"index": {"date": "2010-01-01", "age": 50}}, "said in one way"),
        ({"exclude": [{"codes": {"concepts": [1]}}]}, "either around events or of people"),
        ({"exclude": [{"codes": {"concepts": [1]}, "before": 1, "ever": True}]}, "either around events or of people"),
        ({"adjust": [{"codes": {"concepts": [1]}}]}, "in one way"),
        ({"adjust": [{"codes": {"concepts": [1]}, "divide": 0.7, "add": 1.0}]}, "in one way"),
        ({"transform": "sqrt"}, "no transform 'sqrt'"),
        ({"inputs": {"2a": {"codes": {"concepts": [1]}, "unit": "kg"}}}, "inputs"),
        ({"codes": None, "formula": "a", "inputs": {"a": {"unit": "kg"}}}, "has no codes"),
        ({"codes": None, "formula": "b", "inputs": {"a": {"codes": {"concepts": [1]}, "unit": "kg"}}}, "means nothing"),
        (
            {
                "codes": None,
                "formula": "a",
                "molar_mass": 3.0,
                "inputs": {"a": {"codes": {"concepts": [1]}, "unit": "kg"}},
            },
            "'molar_mass' belongs to the inputs",
        ),
    ],
)
def test_contradictions_are_refused(keys, message):
    with pytest.raises(JobError, match=message):
        load_definition(ldl(**keys))


BORN = {person: dt.date(1955 + 3 * person, 1 + person, 2 * person) if person != 5 else None for person in range(1, 11)}
DAYS = st.dates(dt.date(2005, 1, 1), dt.date(2008, 12, 31))
PEOPLE = st.integers(1, 10)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "person": PEOPLE,
            "date": DAYS,
            "amount": st.one_of(st.none(), st.floats(0, 400, allow_subnormal=False), st.integers(-5, 400).map(float)),
            "unit": st.sampled_from(["mg/dL", "mg/dL", "mmol/L", "g/L", "furlongs", None]),
            "operator": st.sampled_from(["=", "=", "<", ">", None]),
        }
    ),
    max_size=60,
)
EXPOSURES = st.lists(
    st.tuples(PEOPLE, DAYS, st.one_of(st.none(), DAYS), st.one_of(st.none(), st.integers(1, 366))), max_size=12
)
SPECS = st.fixed_dictionaries(
    {
        "summary": st.sampled_from(["first", "last", "median", "mean", "min", "max", "sd", "slope", "nearest"]),
        "beyond_limit": st.sampled_from(["limit", "half", "drop"]),
        "min_values": st.integers(1, 3),
    },
    optional={
        "assume": st.just("mg/dL"),
        "plausible": st.just([10, 300]),
        "ages": st.just({"at_least": 21, "below": 46}),
        "dates": st.just({"since": "2005-06-01", "until": "2008-06-01"}),
    },
)
OPERATORS = {"=": 4172703, "<": LESS, ">": MORE, None: None}
CONCEPTS = {"mg/dL": MG_DL, "mmol/L": MMOL_L, "g/L": 8636, "furlongs": 4711, None: 0}


TWINS = given(
    rows=ROWS,
    exposures=EXPOSURES,
    events=st.lists(st.tuples(PEOPLE, DAYS), max_size=6),
    spec=SPECS,
    when=st.sampled_from(["exposed", "since_first", "ever"]),
    grace=st.integers(0, 90),
    shuffle=st.randoms(use_true_random=False),
)
SHARED_FOLDER = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=SHARED_FOLDER)
@TWINS
def test_sql_finds_what_loops_find(tmp_path, rows, exposures, events, spec, when, grace, shuffle):
    compare_with_loops(tmp_path, rows, exposures, events, spec, when, grace, shuffle)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=200, deadline=None, suppress_health_check=SHARED_FOLDER)
@TWINS
def test_sql_finds_what_loops_find_many_times(tmp_path, rows, exposures, events, spec, when, grace, shuffle):
    compare_with_loops(tmp_path, rows, exposures, events, spec, when, grace, shuffle)


def compare_with_loops(folder, rows, exposures, events, spec, when, grace, shuffle):
    origin = dt.date(2007, 1, 1)
    keys = {
        **spec,
        "molar_mass": 386.65,
        "exclude": [{"codes": {"concepts": [PREGNANT]}, "before": 20, "after": 100}],
        "adjust": [{"codes": {"concepts": [STATIN]}, "when": when, "grace": grace, "divide": 0.7}],
    }
    if spec["summary"] == "nearest":
        keys["index"] = {"date": origin.isoformat()}
    found = made(folder, twin_cdr(rows, exposures, events), ldl(**keys)).values

    days = naive.per_day(rows, BORN, spec)
    days = naive.without_events(days, events, 20, 100)
    days = naive.divided(days, exposures, when, grace, 0.7)
    wanted = np.full(len(BORN), np.nan)
    for person, of in days.items():
        if len(of) >= spec["min_values"]:
            value = naive.summary(of, spec["summary"], origin)
            wanted[person - 1] = np.nan if value is None else value
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)

    # The order of the rows changes no bit, and no more do rows that are there twice.
    again = [*rows, *rows]
    shuffle.shuffle(again)
    turned = made(folder, twin_cdr(again, exposures[::-1], [*events, *events]), ldl(**keys)).values
    np.testing.assert_array_equal(found, turned)


def twin_cdr(rows, exposures, events) -> Cdr:
    cdr = Cdr()
    for person, born in BORN.items():
        year, month, day = (born.year, born.month, born.day) if born else (None, None, None)
        cdr.person(person, "F", year, month_of_birth=month, day_of_birth=day)
    cdr.observed(1, "1990-01-01", "2020-12-31")
    cdr.measurement(1, 1, 1, "2001-01-01").drug(1, 1, "2001-01-01").condition(1, "", "2001-01-01")
    for row in rows:
        cdr.measurement(
            row["person"],
            LDL,
            row["amount"],
            row["date"],
            CONCEPTS[row["unit"]],
            operator_concept_id=OPERATORS[row["operator"]],
        )
    for person, start, end, supply in exposures:
        cdr.drug(person, STATIN, start, end, days_supply=supply)
    for person, day in events:
        cdr.condition(person, "Z33", day, concept=PREGNANT)
    return cdr


def test_shifts_and_scales_of_values(tmp_path):
    draws = random.Random(3)
    rows = [(draws.randint(1, 9), draws.uniform(50, 200), draws.randint(0, 3000)) for _ in range(200)]

    def found(summary: str, change) -> np.ndarray:
        cdr = people(10)
        for person, amount, day in rows:
            cdr.measurement(person, LDL, change(amount), dt.date(2001, 1, 1) + dt.timedelta(days=day), MG_DL)
        return made(tmp_path, cdr, ldl(summary=summary)).values

    for summary in ("median", "mean", "first", "max"):
        np.testing.assert_allclose(found(summary, lambda x: x + 10), found(summary, lambda x: x) + 10, rtol=1e-12)
    for summary in ("sd", "slope"):
        base = found(summary, lambda x: x)
        np.testing.assert_allclose(found(summary, lambda x: 2 * x), 2 * base, rtol=1e-9)
        np.testing.assert_allclose(found(summary, lambda x: x + 10), base, rtol=1e-9)
