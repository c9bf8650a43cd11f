"""Linear rows of Hail's assertions: eight people and ten variants, values that R's ``lm`` gave."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from peers import design, make_store, plink2, results, scan

from allscan.kernels.association import Missing, Status

pytestmark = pytest.mark.reference

TOLERANCE = 1e-6  # Hail's own, absolute
# The store holds a dosage that is no multiple of a common step to within 1/65534: 1.5e-5 of a copy, and so of beta.
ROUNDED_DOSAGES = 2e-5


@pytest.fixture(scope="module")
def expected(reference):
    table = pd.read_csv(reference("hail_resources") / "EXPECTED_asserted.tsv", sep="\t", dtype=str)
    return table[table.test.str.startswith("linreg")]


@pytest.fixture(scope="module")
def tables(reference):
    folder = reference("hail_resources")
    traits = pd.read_csv(folder / "regressionLinear.pheno", sep=r"\s+", index_col="Sample", dtype={"Sample": str})
    covariates = pd.read_csv(folder / "regressionLinear.cov", sep=r"\s+", index_col="Sample", dtype={"Sample": str})
    return traits, covariates


def assert_rows(ours, rows, tolerance: float) -> int:
    """Compare the rows with results, to an absolute tolerance; returns how many there were."""
    compared = 0
    for row in rows.itertuples():
        if row.locus_or_case == "6,7,8,9,10":
            continue
        mine = ours.loc[f"1:{row.locus_or_case}:C:T"]
        values = {
            "beta": mine.beta,
            "se": mine.standard_error,
            "t": mine.beta / mine.standard_error,
            "p": 10.0 ** -float(mine.neg_log10_p),
        }
        assert values[row.statistic] == pytest.approx(float(row.expected), abs=tolerance, rel=0), row
        compared += 1
    return compared


def test_without_covariates_and_intercept(reference, expected, tables, tmp_path):
    """Hail's case reads the trait's 0 as missing, and replaces the missing genotypes by the mean."""
    traits, covariates = tables
    store = make_store([reference("hail_resources") / "regressionLinear.vcf"], tmp_path / "store.zarr")
    aligned = design(store, traits.replace(0, np.nan).astype(float), covariates[[]], intercept=False)
    assert aligned.n_samples == 6
    ours = results(scan(store, aligned, tmp_path / "run"), "Pheno")
    assert assert_rows(ours, expected[expected.test == "linreg_nocov_nointercept"], TOLERANCE) == 4


def test_with_covariates(reference, expected, tables, tmp_path):
    traits, covariates = tables
    store = make_store([reference("hail_resources") / "regressionLinear.vcf"], tmp_path / "store.zarr")
    aligned = design(store, traits.replace(0, np.nan).astype(float), covariates)
    rows = expected[expected.test == "linreg_cov"]
    ours = results(scan(store, aligned, tmp_path / "run"), "Pheno")
    assert assert_rows(ours, rows, TOLERANCE) == 12
    constant = ours[ours.position >= 6]
    assert len(constant) == 5
    assert constant[["beta", "standard_error", "neg_log10_p"]].isna().all(axis=None)
    assert (constant.status == Status.MONOMORPHIC).all()
    # With the missing genotypes left out, the same five cannot be tested either.
    excluded = results(scan(store, aligned, tmp_path / "excluded", missing=Missing.EXCLUDE), "Pheno")
    assert (excluded.status[excluded.position >= 6] != Status.OK).all()


def test_dosages_from_genotype_likelihoods(reference, expected, tables, tmp_path):
    traits, covariates = tables
    store = make_store(
        [reference("hail_resources") / "regressionLinear.vcf"],
        tmp_path / "store.zarr",
        reader_options={"field": "PL"},
    )
    aligned = design(store, traits.replace(0, np.nan).astype(float), covariates)
    ours = results(scan(store, aligned, tmp_path / "run"), "Pheno")
    rows = expected[expected.test == "linreg_PL_or_GP_dosage"]
    assert assert_rows(ours, rows, ROUNDED_DOSAGES) == 6


def test_dosages_from_genotype_probabilities(reference, expected, tables, tmp_path):
    """The .gen file prints four decimals, for which Hail allows 1e-4; PLINK 2 makes BGEN of it."""
    folder = reference("hail_resources")
    lines = [line.split() for line in (folder / "regressionLinear.gen").read_text().splitlines()]
    five_columns = "".join(" ".join([*line[:1], *line[2:]]) + "\n" for line in lines)  # PLINK 2 wants one id
    (tmp_path / "study.gen").write_text(five_columns)
    gen = ("--gen", tmp_path / "study.gen", "ref-first", "--sample", folder / "regressionLinear.sample")
    plink2(*gen, "--export", "bgen-1.2", "bits=16", "ref-first", "id-paste=iid", out=tmp_path / "probabilities")
    store = make_store([tmp_path / "probabilities.bgen"], tmp_path / "store.zarr")
    traits, covariates = tables
    aligned = design(store, traits.replace(0, np.nan).astype(float), covariates)
    ours = results(scan(store, aligned, tmp_path / "run"), "Pheno")
    rows = expected[expected.test == "linreg_PL_or_GP_dosage"]
    assert assert_rows(ours, rows, 1e-4) == 6
