"""Exports of binary traits: cases and controls where other programs have them, and methods that are no errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from allscan.jobs.export import export
from allscan.jobs.export_text import PLINK_CASE_COLUMNS, REGENIE_CASE_COLUMNS
from allscan.kernels.association import HAS_RESULT, Status
from tests.jobs.synthetic_results import ArrayResults, make_binary, make_results

NAMES = np.array([status.name for status in Status])


@pytest.fixture
def results() -> ArrayResults:
    return make_binary(make_results(3, 2_000, seed=4))


def table(results: ArrayResults, format_name: str, path: Path, separator: str) -> pd.DataFrame:
    export(path.parent, "trait_002", format_name, path, cube=results)
    return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_values=["NA", "#NA"])


def floats(column: pd.Series) -> np.ndarray:
    return column.astype(np.float32).to_numpy()


def of_trait(results: ArrayResults) -> dict[str, np.ndarray]:
    return {name: array[0, 1] for name, array in results.values.items()}


def assert_people(found: pd.DataFrame, values: dict[str, np.ndarray], names: dict[str, str]) -> None:
    expected = {**values, "controls": values["n"] - values["cases"]}
    for column, name in names.items():
        np.testing.assert_array_equal(floats(found[column]), expected[name].astype(np.float32), err_msg=column)


def test_regenie_has_the_columns_of_af_cc(results: ArrayResults, tmp_path: Path) -> None:
    found, values = table(results, "regenie", tmp_path / "out.regenie", " "), of_trait(results)
    assert tuple(found.columns) == REGENIE_CASE_COLUMNS
    assert_people(
        found,
        values,
        {
            "A1FREQ": "effect_allele_frequency",
            "A1FREQ_CASES": "effect_allele_frequency_cases",
            "A1FREQ_CONTROLS": "effect_allele_frequency_controls",
            "N": "n",
            "N_CASES": "cases",
            "N_CONTROLS": "controls",
            "BETA": "beta",
            "SE": "standard_error",
            "LOG10P": "neg_log10_p",
        },
    )
    for status, extra in zip(values["status"], found["EXTRA"], strict=True):
        if status == Status.OK:
            assert pd.isna(extra)
        else:
            name = Status(int(status)).name
            assert extra == (f"METHOD={name}" if status in HAS_RESULT else name)
    assert {"METHOD=FIRTH", "METHOD=SADDLEPOINT", "METHOD=EXACT", "MONOMORPHIC"} == set(found["EXTRA"].dropna())


def test_plink_has_the_columns_of_a_logistic_regression(results: ArrayResults, tmp_path: Path) -> None:
    found, values = table(results, "plink", tmp_path / "out.glm", "\t"), of_trait(results)
    assert tuple(found.columns) == PLINK_CASE_COLUMNS
    assert_people(
        found,
        values,
        {
            "A1_CASE_FREQ": "effect_allele_frequency_cases",
            "A1_CTRL_FREQ": "effect_allele_frequency_controls",
            "OBS_CT": "n",
            "CASE_CT": "cases",
            "CTRL_CT": "controls",
            "CASE_CARRIER_CT": "carriers_cases",
            "CTRL_CARRIER_CT": "carriers_controls",
            "LOG(OR)_SE": "standard_error",
        },
    )
    np.testing.assert_allclose(np.log(found["OR"].astype(float)), values["beta"], rtol=1e-6, atol=1e-7)
    z = values["beta"].astype(float) / values["standard_error"]
    np.testing.assert_array_equal(floats(found["Z_STAT"]), z.astype(np.float32))
    has_result = np.isin(values["status"], list(HAS_RESULT))
    assert (found["ERRCODE"] == np.where(has_result, ".", NAMES[values["status"]])).all()
    assert (found["FIRTH?"] == np.where(values["status"] == Status.FIRTH, "Y", "N")).all()
    refined = has_result & (values["status"] != Status.OK)
    assert (found["METHOD"][refined] == NAMES[values["status"]][refined]).all()
    assert found["METHOD"][~refined].isna().all()


def test_gwas_ssf_tells_cases_and_controls(results: ArrayResults, tmp_path: Path) -> None:
    found, values = table(results, "gwas-ssf", tmp_path / "out.tsv", "\t"), of_trait(results)
    added = ["n_cases", "n_controls", "effect_allele_frequency_cases", "effect_allele_frequency_controls"]
    assert list(found.columns[-5:]) == ["n", *added]
    assert set(found["n_cases"]) == {str(values["cases"][0])}
    assert set(found["n_controls"]) == {str(values["n"][0] - values["cases"][0])}
    kept = np.isfinite(values["neg_log10_p"])
    assert set(floats(found["effect_allele_frequency_cases"])) <= set(values["effect_allele_frequency_cases"][kept])
    # A result by another method is a result.
    assert len(found) == kept.sum() == (np.isin(values["status"], list(HAS_RESULT))).sum()
    (sample,) = YAML(typ="safe").load(tmp_path / "out.tsv-meta.yaml")["samples"]
    assert sample["case_control_study"] is True
    assert (sample["case_count"], sample["control_count"]) == (400, 19_600)


def test_parquet_names_the_method_of_each_row(results: ArrayResults, tmp_path: Path) -> None:
    export(tmp_path, "trait_002", "parquet", tmp_path / "out.parquet", cube=results)
    found = pq.read_table(tmp_path / "out.parquet")
    assert {"SADDLEPOINT", "FIRTH", "EXACT", "OK", "MONOMORPHIC"} == set(found["status"].to_pylist())
    assert found["cases"].to_pylist() == results.values["cases"][0, 1].tolist()
