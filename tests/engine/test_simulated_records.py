"""Simulated health records: OMOP tables that hold what the truth says, and faults that are counted."""

from __future__ import annotations

from itertools import pairwise

import duckdb
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from allscan.engine.simulation.records.catalogue import DISEASES, MEASURES, N_GENETIC, codes
from allscan.engine.simulation.records.people import RELEASE
from allscan.engine.simulation.records.tables import TABLES
from allscan.engine.simulation.traits import of_cases
from tests.engine.simulated_records import EFFECT, OPTIONS, Records, make_records

N = 12_000

EVENTS = {
    "visit_occurrence": "visit_start_date",
    "condition_occurrence": "condition_start_date",
    "procedure_occurrence": "procedure_date",
    "drug_exposure": "drug_exposure_start_date",
    "measurement": "measurement_date",
    "observation": "observation_date",
    "death": "death_date",
    "activity_summary": "date",
    "heart_rate_summary": "date",
    "sleep_daily_summary": "sleep_date",
}
FAULTY = {
    "condition_occurrence": "condition_occurrence_id",
    "drug_exposure": "drug_exposure_id",
    "measurement": "measurement_id",
    "observation": "observation_id",
}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return make_records(tmp_path_factory.mktemp("records"), N)


def test_tables_have_omop_types_and_as_many_rows_as_the_truth_says(records: Records) -> None:
    kinds = {"int64": "BIGINT", "int32": "INTEGER", "double": "DOUBLE", "string": "VARCHAR", "bool": "BOOLEAN"}
    kinds |= {"date32[day]": "DATE", "timestamp[us]": "TIMESTAMP"}
    of_table = records.of("table")["count"]
    assert set(of_table.index) == set(TABLES)
    for name, columns in TABLES.items():
        described = records.db.execute(f"DESCRIBE {name}").fetchall()
        assert [(row[0], row[1]) for row in described] == [(c, kinds[str(kind)]) for c, kind in columns.items()]
        assert records.number(f"SELECT count(*) FROM {name}") == of_table[name] > 0
    for name, key in {**FAULTY, "visit_occurrence": "visit_occurrence_id", "person": "person_id"}.items():
        assert records.number(f"SELECT count(*) - count(DISTINCT {key}) FROM {name}") == 0, name


def test_people_are_who_the_cohort_has(records: Records) -> None:
    rows = records.db.execute(
        "SELECT gender_concept_id, year_of_birth, month_of_birth, day_of_birth, birth_datetime FROM person"
    ).df()
    assert (np.where(rows["gender_concept_id"] == 8507, 1, 2) == records.sex).all()
    born = pd.to_datetime({"year": rows.year_of_birth, "month": rows.month_of_birth, "day": rows.day_of_birth})
    assert (born == rows["birth_datetime"]).all()
    ids = records.people["person_id"].to_numpy()
    assert len(set(ids)) == N
    assert ids.min() >= 1_000_000
    assert 0.4 < (np.diff(ids) > 0).mean() < 0.6


CODED = """
    SELECT c.person_id, c.date, k.disease FROM (
        SELECT person_id, condition_start_date AS date, condition_source_value AS code,
               condition_source_concept_id AS concept FROM condition_occurrence
        UNION ALL SELECT person_id, observation_date, observation_source_value, observation_source_concept_id
        FROM observation) c
    JOIN person p USING (person_id)
    JOIN codes k ON c.concept = k.concept_id OR (c.concept = 0 AND c.code = k.code AND k.code[1] != 'V')
    WHERE c.date >= p.birth_datetime AND c.date <= DATE '2023-10-01'
"""


@pytest.fixture(scope="module")
def coded(records: Records) -> duckdb.DuckDBPyConnection:
    """A view of (person_id, date, disease): every code that counts."""
    number = {(code.vocabulary, code.text): code.disease for code in codes()}
    assert len(number) == len(codes())
    rows = records.db.execute(
        "SELECT concept_id, vocabulary_id, concept_code FROM concept WHERE vocabulary_id[:3] = 'ICD'"
    )
    known = rows.df()
    known["disease"] = [number.pop(pair) for pair in zip(known.vocabulary_id, known.concept_code, strict=True)]
    assert not number
    known = known.rename(columns={"concept_code": "code"})
    records.db.execute("CREATE TABLE codes AS SELECT * FROM known")
    records.db.execute(f"CREATE TABLE coded AS {CODED}")
    return records.db


def test_dates_per_person_and_disease_are_those_of_the_truth(
    records: Records, coded: duckdb.DuckDBPyConnection
) -> None:
    of_disease = records.of("disease")
    dates = coded.execute("SELECT person_id, disease, count(DISTINCT date) AS n FROM coded GROUP BY ALL").df()
    for number, disease in enumerate(DISEASES):
        n = dates[dates["disease"] == number].set_index("person_id")["n"]
        n = n.reindex(records.people["person_id"]).fillna(0).to_numpy()
        case = records.people[f"case_{disease.key}"].to_numpy()
        can = (records.sex == disease.sex) | (disease.sex == 0)
        row = of_disease.loc[disease.name]
        assert case.sum() == row["count"]
        expected = [row["cases_on_0_dates"], row["cases_on_1_date"], row["cases_on_more"]]
        assert [(n[case] == 0).sum(), (n[case] == 1).sum(), (n[case] > 1).sum()] == expected
        others = n[~case & can]
        assert [(others == 1).sum(), (others > 1).sum()] == [row["others_on_1_date"], row["others_on_more"]]


def test_cases_are_the_liabilitys_but_for_sex(records: Records) -> None:
    for number, disease in enumerate(DISEASES[:N_GENETIC]):
        can = (records.sex == disease.sex) | (disease.sex == 0)
        assert (records.people[f"case_{disease.key}"] == records.case[:, number] & can).all()
        row = records.of("disease").loc[disease.name]
        assert row["simulated_as"] == f"disease_{number + 1}"
        assert row["prevalence"] == pytest.approx(row["count"] / N, rel=1e-5)


def test_background_diseases_are_as_frequent_as_said_and_not_genetic(records: Records) -> None:
    for disease in DISEASES[N_GENETIC:-1]:
        case = records.people[f"case_{disease.key}"].to_numpy()
        can = (records.sex == disease.sex) | (disease.sex == 0)
        assert not case[~can].any()
        # Ages are but about normal: within a quarter, and four standard errors.
        error = np.sqrt(disease.prevalence / can.sum())
        assert abs(case[can].mean() - disease.prevalence) < 0.25 * disease.prevalence + 4 * error, disease.name
        z = np.corrcoef(case[can], records.allele[can])[0, 1] * np.sqrt(can.sum())
        assert abs(z) < 4, disease.name


def test_the_effect_on_the_liability_is_found_in_coded_cases(
    records: Records, coded: duckdb.DuckDBPyConnection
) -> None:
    dates = coded.execute("SELECT person_id, disease, count(DISTINCT date) AS n FROM coded GROUP BY ALL").df()
    for number in (0, 2, 6, 8, 10):
        n = dates[dates["disease"] == number].set_index("person_id")["n"]
        n = n.reindex(records.people["person_id"]).fillna(0).to_numpy()
        known = (n != 1) & (records.people["recorded_days"].to_numpy() > 0)
        fit = sm.Logit((n > 1)[known].astype(float), sm.add_constant(records.allele[known])).fit(disp=0)
        log_odds = of_cases(np.array([OPTIONS.prevalence_of(number)])).log_odds[0]
        assert records.of("disease").iloc[number]["log_odds_per_sd"] == pytest.approx(log_odds, rel=1e-5)
        # Cases without codes among the controls lower it a little; early onset of the liable raises it.
        assert abs(fit.params[1] - EFFECT * log_odds) < 3 * fit.bse[1] + 0.1 * EFFECT * log_odds
        assert fit.params[1] > 5 * fit.bse[1]


def test_greater_liability_means_earlier_onset(records: Records) -> None:
    onset = records.people["onset_type_2_diabetes"].notna().to_numpy()
    birth = records.db.execute("SELECT birth_datetime FROM person").df()["birth_datetime"]
    age = (pd.to_datetime(records.people["onset_type_2_diabetes"]) - birth).dt.days[onset] / 365.25
    assert (records.people["case_type_2_diabetes"][onset]).all()
    fit = sm.OLS(age.to_numpy(), sm.add_constant(records.allele[onset].astype(float))).fit()
    assert fit.params[1] < 0.5
    assert age.between(0, 90).all()


@pytest.mark.parametrize("table", EVENTS)
def test_nothing_is_recorded_outside_the_observation_periods_but_the_faults(records: Records, table: str) -> None:
    date = EVENTS[table]
    outside = records.number(
        f"SELECT count(*) FROM {table} e WHERE NOT EXISTS (FROM observation_period o WHERE o.person_id = e.person_id "
        f"AND e.{date} BETWEEN observation_period_start_date AND observation_period_end_date)"
    )
    kinds = ("before_birth", "in_future", "unknown_person") if table in FAULTY else ()
    assert outside == sum(records.count(f"{table}.{kind}") for kind in kinds)


@pytest.mark.parametrize("table", FAULTY)
def test_faults_are_as_many_as_counted(records: Records, table: str) -> None:
    date = EVENTS[table]
    unknown = f"SELECT count(*) FROM {table} ANTI JOIN person USING (person_id)"
    assert records.number(unknown) == records.count(f"{table}.unknown_person") > 0
    known = f"FROM {table} JOIN person USING (person_id) WHERE"
    early = records.number(f"SELECT count(*) {known} {date} < birth_datetime")
    assert early == records.count(f"{table}.before_birth") > 0
    late = records.number(f"SELECT count(*) {known} {date} > DATE '2023-10-01'")
    assert late == records.count(f"{table}.in_future") > 0
    columns = ", ".join(name for name in TABLES[table] if name != FAULTY[table])
    twice = records.number(f"SELECT count(*) FROM (SELECT {columns} FROM {table} GROUP BY ALL HAVING count(*) = 2)")
    # The two dates of somebody without a disease may fall on one visit, and its codes be equal.
    by_chance = 0 if table in ("drug_exposure", "measurement") else 0.05 * twice
    assert 0 < records.count(f"{table}.duplicate") <= twice <= records.count(f"{table}.duplicate") + by_chance


def test_faulty_values_are_as_many_as_counted(records: Records) -> None:
    for kind, condition in {
        "zero": "value_as_number = 0",
        "nines": "value_as_number = 99999",
        "bound_as_text": "value_as_number IS NULL AND value_source_value[1] IN ('<', '>')",
    }.items():
        found = records.number(f"SELECT count(*) FROM measurement WHERE {condition}")
        # Faulty rows have no faults of other kinds.
        assert found == records.count(f"measurement.{kind}") > 0, kind
    without = records.number("SELECT count(*) FROM measurement WHERE unit_concept_id = 0 AND unit_source_value IS NULL")
    assert without == pytest.approx(records.count("measurement.no_unit"), rel=0.02)
    malformed = records.number(
        "SELECT count(*) FROM condition_occurrence "
        "WHERE condition_source_concept_id = 0 AND condition_source_value NOT IN (SELECT concept_code FROM concept)"
    )
    assert malformed == records.count("condition_occurrence.malformed_code") > 0
    empty = records.number("SELECT count(*) FROM person ANTI JOIN observation_period USING (person_id)")
    assert empty == records.count("person.empty_record") == (records.people["recorded_days"] == 0).sum() > 0
    high = records.number(  # LDL of people in mmol/L called mg/dL
        "SELECT count(*) FROM measurement WHERE measurement_concept_id = 3028437 AND unit_concept_id = 8840 "
        "AND value_as_number BETWEEN 0.01 AND 15"
    )
    assert 0 < high < records.count("measurement.unconverted")


def test_codes_of_the_wrong_sex_are_counted(records: Records, coded: duckdb.DuckDBPyConnection) -> None:
    found = 0
    for number, disease in enumerate(DISEASES):
        if disease.sex:
            concept = (8507, 8532)[disease.sex - 1]
            found += records.number(
                f"SELECT count(*) FROM (SELECT DISTINCT c.* FROM coded c JOIN person USING (person_id) "
                f"WHERE disease = {number} AND gender_concept_id != {concept})"
            )
    assert found == records.count("code.wrong_sex") > 0


def test_codes_are_of_the_vocabulary_in_use(records: Records) -> None:
    rows = records.db.execute(
        "SELECT vocabulary_id, min(condition_start_date) AS first, max(condition_start_date) AS last, "
        "FROM condition_occurrence JOIN concept ON concept_id = condition_source_concept_id "
        "JOIN person USING (person_id) WHERE condition_start_date >= birth_datetime "
        "AND condition_start_date <= DATE '2023-10-01' AND concept_id != 0 GROUP BY ALL ORDER BY ALL"
    ).df()
    assert rows["vocabulary_id"].tolist() == ["ICD10CM", "ICD9CM"]
    assert rows["first"][0] == pd.Timestamp("2015-10-01")
    assert rows["last"][1] == pd.Timestamp("2015-09-30")
    first = records.db.execute(
        "SELECT min(condition_start_date) FROM condition_occurrence JOIN person USING (person_id) "
        "WHERE condition_source_value = 'U09.9' AND condition_start_date >= birth_datetime"
    ).fetchone()
    assert first is not None
    assert first[0] >= pd.Timestamp("2021-10-01").date()
    both = records.db.execute(
        "SELECT concept_code FROM concept WHERE vocabulary_id IN ('ICD9CM', 'ICD10CM') "
        "GROUP BY ALL HAVING count(*) = 2 ORDER BY ALL"
    ).fetchall()
    assert [code for (code,) in both] == ["V10.3", "V22.1", "V70.0"]


def _canonical(records: Records, name: str) -> pd.DataFrame:
    """Values of a measurement in its first unit, but the faulty ones; with the age."""
    measure = next(measure for measure in MEASURES if measure.name == name)
    rows = records.db.execute(
        "SELECT person_id, measurement_date AS date, unit_concept_id AS unit, value_as_number AS value, "
        "date_diff('day', birth_datetime, measurement_date) / 365.25 AS age "
        "FROM measurement JOIN person USING (person_id) WHERE measurement_concept_id = ? "
        "AND measurement_date BETWEEN birth_datetime AND '2023-10-01'",
        [measure.concept],
    ).df()
    if measure.other_concept:
        rows.loc[rows["unit"] == measure.other_concept, "value"] /= measure.other_per_unit
    return rows[rows["value"].between(measure.floor - 0.1, measure.mean + 8 * measure.sd)]


@pytest.mark.parametrize(("name", "trait"), [("hdl", 2), ("bmi", 4)])
def test_measurements_show_their_trait(records: Records, name: str, trait: int) -> None:
    measure = next(measure for measure in MEASURES if measure.name == name)
    assert records.of("measure").loc[name, "simulated_as"] == f"trait_{trait}"
    assert records.of("measure").loc[name, "per_trait_unit"] == pytest.approx(measure.sd / 7, rel=0.03)
    rows = _canonical(records, name)
    rows["value"] -= measure.per_decade * (rows["age"] - 50) / 10
    seen = rows.groupby("person_id")["value"].median().reindex(records.people["person_id"]).to_numpy()
    some = ~np.isnan(seen)
    assert some.mean() > 0.5
    fit = sm.OLS(seen[some], sm.add_constant(records.score[some, trait - 1])).fit()
    assert fit.params == pytest.approx([measure.mean, measure.sd], rel=0.02)
    assert np.corrcoef(seen[some], records.people[f"true_{name}"][some])[0, 1] > 0.95


def test_statins_lower_ldl_and_are_given_to_those_with_high_ldl(records: Records) -> None:
    rows = _canonical(records, "ldl").merge(records.people[["person_id", "true_ldl"]])
    exposures = records.db.execute(
        "SELECT person_id, min(drug_exposure_start_date) AS start, max(drug_exposure_end_date) AS stop "
        "FROM drug_exposure JOIN concept_ancestor ON descendant_concept_id = drug_concept_id "
        "JOIN person USING (person_id) WHERE ancestor_concept_id = 21601855 "
        "AND drug_exposure_start_date BETWEEN birth_datetime AND '2023-10-01' GROUP BY ALL"
    ).df()
    assert len(exposures) == records.of("drug").loc["statin", "count"]
    rows = rows.merge(exposures, how="left")
    on = (rows["date"] >= rows["start"]) & (rows["date"] <= rows["stop"])
    untreated = rows["true_ldl"] + 4 * (rows["age"] - 50) / 10
    ratio = (rows["value"] / untreated)[untreated > 80]
    assert ratio[on].median() == pytest.approx(0.70, abs=0.02)
    assert ratio[~on].median() == pytest.approx(1.0, abs=0.02)
    treated = records.people["person_id"].isin(exposures["person_id"])
    assert records.people["true_ldl"][treated].mean() > records.people["true_ldl"][~treated].mean() + 20
    assert records.of("drug").loc["statin", "factor"] == 0.7


def test_diabetes_raises_hba1c_from_its_onset(records: Records) -> None:
    rows = _canonical(records, "hba1c").merge(records.people[["person_id", "true_hba1c", "onset_type_2_diabetes"]])
    above = rows["value"] - rows["true_hba1c"] - 0.06 * (rows["age"] - 50) / 10
    after = rows["date"] >= pd.to_datetime(rows["onset_type_2_diabetes"])
    assert above[after].median() == pytest.approx(1.5, abs=0.05)
    assert above[~after].median() == pytest.approx(0, abs=0.05)


def test_steps_show_their_trait_on_days_when_the_device_is_worn(records: Records) -> None:
    rows = records.db.execute(
        "SELECT person_id, avg(steps) FILTER (worn >= 600) AS steps, count(*) FILTER (worn < 600) AS idle, "
        "count(*) AS days FROM activity_summary JOIN (SELECT person_id, date, sum(minute_in_zone) AS worn "
        "FROM heart_rate_summary GROUP BY ALL) USING (person_id, date) GROUP BY ALL"
    ).df()
    assert 0.1 < len(rows) / N < 0.2
    assert rows["idle"].sum() / rows["days"].sum() == pytest.approx(0.08, abs=0.01)
    rows = rows.merge(records.people[["person_id", "true_steps"]])
    assert np.corrcoef(rows["steps"], rows["true_steps"])[0, 1] > 0.97
    assert np.corrcoef(records.people["true_steps"], records.score[:, 5])[0, 1] == pytest.approx(1)
    a_day = "SELECT sum(minute_in_zone) AS m FROM heart_rate_summary GROUP BY person_id, date"
    assert records.number(f"SELECT max(m) FROM ({a_day})") <= 1440
    assert records.number("SELECT min(minute_light) FROM sleep_daily_summary") >= 0


def test_surveys_have_one_answer_to_each_question_and_some_skips(records: Records) -> None:
    rows = records.db.execute(
        "SELECT DISTINCT person_id, observation_date, observation_source_concept_id AS question, "
        "value_source_concept_id AS answer FROM observation JOIN person USING (person_id) "
        "WHERE questionnaire_response_id IS NOT NULL AND observation_date BETWEEN birth_datetime AND '2023-10-01'"
    ).df()
    assert not rows.duplicated(["person_id", "question"]).any()
    assert set(rows["question"]) == {1585857, 1586198, 1585711}
    assert (rows["answer"] == 903096).mean() == pytest.approx(0.03, abs=0.005)
    assert (rows["answer"] == 903079).mean() == pytest.approx(0.01, abs=0.004)


def test_every_concept_that_is_used_is_in_the_vocabulary(records: Records) -> None:
    for table, columns in TABLES.items():
        for column in (name for name in columns if "concept_id" in name and table != "concept"):
            if column == "cdm_version_concept_id" or column.startswith("sex_at_birth"):
                continue
            missing = records.number(
                f"SELECT count(*) FROM {table} ANTI JOIN concept ON concept_id = {column} WHERE {column} IS NOT NULL"
            )
            assert missing == 0, (table, column)


def test_periods_of_a_person_do_not_touch(records: Records) -> None:
    rows = records.db.execute(
        "SELECT person_id, observation_period_start_date AS start, observation_period_end_date AS stop "
        "FROM observation_period ORDER BY ALL"
    ).df()
    assert (rows["start"] <= rows["stop"]).all()
    assert (rows["stop"] <= pd.Timestamp("1970-01-01") + pd.Timedelta(days=RELEASE)).all()
    two = rows[rows.duplicated("person_id", keep=False)]
    assert len(two) > 0.05 * N
    for _, group in list(two.groupby("person_id"))[:50]:
        for one, other in pairwise(group.itertuples()):
            assert (other.start - one.stop).days > 100
