"""Meta-analysis against GWAMA's example and R's metafor, both stored."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from allscan.kernels.meta import fixed_effects, random_effects
from allscan.kernels.meta_re2 import re2

pytestmark = pytest.mark.reference

HALF_A_DIGIT = 0.5000001e-6
"""GWAMA prints six decimals."""


@pytest.fixture(scope="module")
def gwama(reference):
    """Effects and standard errors (studies, variants) of the allele that the output names, and the two outputs."""
    folder = reference("gwama_sample")
    outputs = {name: pd.read_table(folder / f"{name}.out").set_index("rs_number") for name in ("fixed", "random")}
    variants = outputs["fixed"]
    beta, error = [], []
    for name in (folder / "gwama.in").read_text().split():
        study = pd.read_table(folder / name).set_index("SNP").reindex(variants.index)
        swapped = variants.other_allele == study.EFFECT_ALLELE
        # Another variant of that name in one study (T/A), which GWAMA left out.
        same = swapped | (variants.reference_allele == study.EFFECT_ALLELE)
        beta.append(np.where(swapped, -study.BETA, study.BETA.where(same)))
        error.append(study.SE.to_numpy())
    return np.array(beta), np.array(error), outputs


def compare_deviates(z, neg_log10_p, theirs):
    """Its normal tail is an approximation: 1e-3 of −log10 p; from its own z SciPy gets what we do."""
    np.testing.assert_allclose(z, theirs.z, rtol=0, atol=1e-5)
    np.testing.assert_allclose(neg_log10_p, theirs["_-log10_p-value"], rtol=1.1e-3)


def test_gwama_fixed(gwama):
    beta, error, outputs = gwama
    theirs, ours = outputs["fixed"], fixed_effects(beta, error)
    assert len(theirs) == 12
    np.testing.assert_array_equal(ours.n_studies, theirs.n_studies)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=0, atol=HALF_A_DIGIT)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=0, atol=HALF_A_DIGIT)
    compare_deviates(ours.beta / ours.standard_error, ours.neg_log10_p, theirs)
    np.testing.assert_allclose(ours.q, theirs.q_statistic, rtol=0, atol=HALF_A_DIGIT)
    np.testing.assert_allclose(10.0**-ours.q_neg_log10_p, theirs["q_p-value"], rtol=0, atol=HALF_A_DIGIT)
    np.testing.assert_allclose(ours.i_squared, theirs.i2, rtol=0, atol=HALF_A_DIGIT)


def test_gwama_random(gwama):
    beta, error, outputs = gwama
    theirs, ours = outputs["random"], random_effects(beta, error)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=0, atol=HALF_A_DIGIT)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=0, atol=HALF_A_DIGIT)
    compare_deviates(ours.beta / ours.standard_error, ours.neg_log10_p, theirs)


@pytest.fixture(scope="module")
def metafor(reference):
    folder = reference("peer_results") / "rtests"
    studies = pd.read_table(folder / "metafor_input.tsv")
    order = list(dict.fromkeys(studies.variant))
    wide = studies.pivot_table(index="study", columns="variant", values=["beta", "se"])
    results = pd.read_table(folder / "metafor_results.tsv").query("test == 'z'").set_index(["method", "variant"])
    return wide["beta"][order].to_numpy(), wide["se"][order].to_numpy(), results, order


def test_metafor_fixed(metafor):
    """Twelve variants of two to twenty studies; twelve digits are printed."""
    beta, error, results, order = metafor
    theirs, ours = results.loc["FE"].loc[order], fixed_effects(beta, error)
    assert len(theirs) == 12
    np.testing.assert_array_equal(ours.n_studies, theirs.k)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-10)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=1e-10)
    np.testing.assert_allclose(10.0**-ours.neg_log10_p, theirs.p, rtol=1e-9)
    np.testing.assert_allclose(ours.q, theirs.Q, rtol=1e-10)
    np.testing.assert_allclose(10.0**-ours.q_neg_log10_p, theirs.Q_p, rtol=1e-9)
    # It is a percentage there.
    np.testing.assert_allclose(100.0 * ours.i_squared, theirs.I2, rtol=1e-9)


def test_metafor_random(metafor):
    beta, error, results, order = metafor
    theirs, ours = results.loc["DL"].loc[order], random_effects(beta, error)
    assert (theirs.tau2 > 0).sum() >= 6
    np.testing.assert_allclose(ours.tau_squared, theirs.tau2, rtol=1e-9)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-10)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=1e-10)
    np.testing.assert_allclose(10.0**-ours.neg_log10_p, theirs.p, rtol=1e-9)


def test_metafor_maximum_likelihood(metafor):
    """RE2's alternative is its method ML, found there by scoring to 1e-10 of τ²."""
    beta, error, results, order = metafor
    theirs, ours = results.loc["ML"].loc[order], re2(beta, error)
    np.testing.assert_allclose(ours.tau_squared, theirs.tau2, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.beta, theirs.beta, rtol=1e-7)
    np.testing.assert_allclose(ours.standard_error, theirs.se, rtol=1e-7)
