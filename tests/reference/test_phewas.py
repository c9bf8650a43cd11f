"""Phenome-wide scans of columns against R's `logistf`, statsmodels, and records whose effects are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
from conftest import Reference
from scipy import stats

from allscan.jobs.job import Job
from allscan.kernels.association import Status
from allscan.kernels.column_tests import ColumnOptions, fit_trait, make_columns

pytestmark = pytest.mark.reference

LOG_ODDS = {
    "338.2": 1.5,
    "340": 1.1,
    "1011": 0.7,
    "296.22": 0.6,
    "530.11": 0.3,
    "401": 0.25,
    "041": -0.2,
    "1009": -0.6,
    "495": -1.0,
}
"""As its README has them: effects of the diagnosis."""
BY_SEX, BY_AGE = "174.1", "292.2"
"""Phecodes that the diagnosis seems to have an effect on while sex, or age, is not heeded."""


def test_firth_is_that_of_logistf(reference: Reference) -> None:
    folder = reference("logistf_sex2")
    data = pd.read_csv(folder / "sex2.tsv", sep="\t")
    stored = pd.read_csv(folder / "EXPECTED.tsv", sep="\t")
    terms = ["age", "oc", "vic", "vicl", "vis", "dia"]
    coefficients = stored.iloc[1:7].set_index("term")["coef"].astype(float)
    chi2 = [
        float(value)
        for value in str(stored.loc[stored["model"].str.startswith("profile chi2"), "coef"].iloc[0]).split(";")
    ]
    always = ColumnOptions(penalise_below=1.0, cases_per_coefficient=np.inf)
    for k, term in enumerate(terms):
        others = data[[name for name in terms if name != term]].to_numpy(float)
        columns = make_columns(data[[term]].to_numpy(float), np.column_stack([np.ones(len(data)), others]))
        cells = fit_trait(columns, data["case"].to_numpy(float), binary=True, n_covariates=6, options=always)
        assert cells.status[0] == Status.FIRTH
        # To logistf's criterion of convergence.
        np.testing.assert_allclose(cells.beta[0], coefficients[term], rtol=2e-5)
        np.testing.assert_allclose(cells.neg_log10_p[0], -np.log10(stats.chi2.sf(chi2[k], 1)), rtol=2e-5)


def phenome(folder: Path, out: Path) -> None:
    """Who has any code of a phecode, as pyPheWAS's logistic regression counts; tables for a job."""
    codes = pd.read_csv(folder / "icds.csv.gz", dtype={"ICD_CODE": str})
    maps = []
    for version, name in ((9, "icd9"), (10, "icd10_beta")):
        table = pd.read_csv(folder / f"phecode_map_v1_2_{name}.csv.gz", dtype=str).rename(columns=str.upper)
        maps.append(
            table[[f"ICD{version}", "PHECODE"]].set_axis(["ICD_CODE", "PHECODE"], axis=1).assign(ICD_TYPE=version)
        )
    found = codes.merge(pd.concat(maps), on=["ICD_CODE", "ICD_TYPE"])[["id", "PHECODE"]].dropna().drop_duplicates()
    people = pd.read_csv(folder / "group.csv.gz")
    has = pd.crosstab(found["id"], found["PHECODE"]).reindex(people["id"], fill_value=0).clip(upper=1)
    has.columns = [str(name) for name in has.columns]
    has.rename_axis("person_id").reset_index().to_csv(out / "phenome.csv", index=False)
    people.rename(columns={"id": "person_id"}).to_csv(out / "people.csv", index=False)


def scan(folder: Path, covariates: str | None) -> pd.DataFrame:
    name = "adjusted" if covariates else "crude"
    job: dict[str, Any] = {
        "name": name,
        "mode": "phewas",
        "predictors": {"file": "people.csv", "columns": ["Dx"]},
        "traits": {"file": "phenome.csv", "columns": ["*"], "type": "binary"},
        "output": name,
    }
    if covariates:
        job["covariates"] = {"file": "people.csv", "formula": covariates}
    Job.from_dict(job, base=folder).run()
    return pq.read_table(folder / name / "phewas.parquet").to_pandas().set_index("trait")


def test_known_effects_of_a_diagnosis_on_a_phenome(reference: Reference, tmp_path: Path) -> None:
    phenome(reference("pyphewas_synthetic"), tmp_path)
    crude, adjusted = scan(tmp_path, None), scan(tmp_path, "Sex + MaxAgeAtVisit")
    known = crude.loc[list(LOG_ODDS)]
    distance = (known["beta"] - pd.Series(LOG_ODDS)) / known["standard_error"]
    assert distance.abs().max() < 3
    assert np.square(distance).sum() < stats.chi2.isf(0.001, len(LOG_ODDS))
    assert known["bonferroni"].all()
    background = crude.drop([*LOG_ODDS, BY_SEX, BY_AGE])
    assert len(background) >= 20
    assert not background["bonferroni"].astype(bool).any()
    # What sex and age do is seen without them, and gone with them.
    assert crude.loc[[BY_SEX, BY_AGE], "bonferroni"].all()
    assert not adjusted.loc[[BY_SEX, BY_AGE], "bonferroni"].astype(bool).any()
    # Age tells who has it: only the penalised likelihood has a maximum.
    assert adjusted.loc[BY_AGE, "status"] == "FIRTH"
    assert adjusted.loc[list(LOG_ODDS), "neg_log10_q"].min() > -np.log10(0.05)

    people, has = (pd.read_csv(tmp_path / f"{name}.csv", dtype={"person_id": str}) for name in ("people", "phenome"))
    x = sm.add_constant(people[["Sex", "MaxAgeAtVisit", "Dx"]].to_numpy(float))
    for trait, row in adjusted.drop(BY_AGE).iterrows():
        y = has[str(trait)].to_numpy(float)
        fitted = sm.GLM(y, x, family=sm.families.Binomial()).fit(tol=1e-13)
        assert (row["n"], row["cases"]) == (len(y), y.sum())
        # With hundreds of cases the penalty moves an estimate by a hundredth of its standard error.
        assert abs(row["beta"] - fitted.params[-1]) < 0.02 * fitted.bse[-1]
        np.testing.assert_allclose(row["standard_error"], fitted.bse[-1], rtol=0.005)
        if row["status"] == "OK":
            np.testing.assert_allclose(row["beta"], fitted.params[-1], rtol=1e-6)
