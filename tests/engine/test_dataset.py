"""The store as an xarray.Dataset: sgkit's own functions run on it and agree with our counts."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import allscan
from tests import naive
from tests.engine.cohorts import write_cohort


def test_sgkit_runs_on_the_dataset(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort.zarr")
    dataset = allscan.open_dataset(cohort.store.path)
    rng = np.random.default_rng(0)
    dataset["trait"] = ("samples", rng.normal(size=dataset.sizes["samples"]))
    dataset["age"] = ("samples", rng.normal(size=dataset.sizes["samples"]))
    # sgkit's regression knows no missing call: give it variants that have none, and vary.
    chosen = np.flatnonzero((cohort.calls >= 0).all(axis=1) & (np.ptp(cohort.calls, axis=1) > 0))
    with warnings.catch_warnings():
        # sgkit and what it imports warn of their own future.
        warnings.simplefilter("ignore")
        import sgkit

        counted = sgkit.count_variant_alleles(dataset).compute()
        hwe = sgkit.hardy_weinberg_test(dataset).compute()
        fitted = sgkit.gwas_linear_regression(
            dataset.isel(variants=chosen), dosage="call_dosage", covariates="age", traits="trait", add_intercept=True
        ).compute()
    copies = np.where(cohort.calls < 0, 0, cohort.calls).sum(axis=1)
    np.testing.assert_array_equal(counted["variant_allele_count"][:, 1], copies)
    assert np.isfinite(hwe["variant_hwe_p_value"]).all()
    covariates = np.column_stack([np.ones(300), dataset["age"].values])
    assert len(chosen) > 5
    for k, v in enumerate(chosen):
        fit = naive.linear(cohort.calls[v].astype(float), dataset["trait"].values, covariates)
        assert fit is not None
        assert fitted["variant_linreg_beta"][k, 0] == pytest.approx(fit.beta[0], rel=1e-5)
        assert fitted["variant_linreg_p_value"][k, 0] == pytest.approx(10**-fit.neg_log10_p, rel=1e-4)


def test_the_dataset_is_lazy_and_decodes_on_access(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort.zarr")
    dataset = allscan.open_dataset(cohort.store.path)
    (cohort.store.path / "call_dosage" / "c" / "3" / "0").unlink()
    np.testing.assert_array_equal(
        dataset["call_dosage"][:64].values, np.where(cohort.calls < 0, np.nan, cohort.calls)[:64]
    )
    calls = dataset["call_genotype"][:64].values
    np.testing.assert_array_equal(calls.sum(axis=2), np.where(cohort.calls < 0, -2, cohort.calls)[:64])
    np.testing.assert_array_equal(dataset["call_genotype_mask"][:64].values, calls < 0)
    assert dataset.sizes == {"variants": 210, "samples": 300, "ploidy": 2, "alleles": 2, "contigs": 2}
