"""Linear association against full least squares, one variant and one trait at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.kernels.association import Missing, Model, ScanOptions, Status
from allscan.kernels.linear import LINEAR
from tests import naive
from tests.kernels.linear_runs import assert_least_squares, null_data, run

# In units of the standard error, and relative. Both sides are float64; the reference's covariates have means far
# from zero, which costs it a few digits.
TOLERANCE = 1e-9


def cohort(seed: int, n: int = 200, v: int = 12, t: int = 4) -> tuple[NDArray[np.float64], ...]:
    """Dosages with rare, common, imputed and nearly fixed variants; traits with gaps; covariates."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.02, 0.98, v)
    frequency[:3] = (0.006, 0.99, 0.5)
    dosage = rng.binomial(2, frequency[:, None], (v, n)).astype(np.float64)
    imputed = rng.integers(0, 2001, (2, n)) / 1000
    dosage[-2:] = imputed
    dosage[rng.random((v, n)) < 0.04] = np.nan
    traits = rng.normal(10.0, 3.0, (n, t))
    traits[:, 0] += np.nan_to_num(dosage[4])
    traits[rng.random(n) < 0.1, 1] = np.nan
    traits[rng.random(n) < 0.3, 2] = np.nan
    covariates = np.column_stack([np.ones(n), rng.normal(1960.0, 12.0, n), rng.integers(0, 2, n)])
    return dosage, traits, covariates


@pytest.mark.parametrize("model", Model)
@pytest.mark.parametrize("missing", Missing)
@pytest.mark.parametrize("scaled", [False, True])
def test_every_result_is_that_of_full_least_squares(model: Model, missing: Missing, scaled: bool) -> None:
    dosage, traits, covariates = cohort(31)
    scale = np.where(covariates[:, 2] == 1, 0.5, 1.0) if scaled else np.ones(len(traits))
    options = ScanOptions(int(model), int(missing))
    out = run(dosage, traits, covariates, options, scale)
    compared = assert_least_squares(out, dosage, traits, covariates, options, scale, tolerance=TOLERANCE)
    assert compared > 30


@settings(max_examples=15)
@given(st.integers(0, 100_000), st.sampled_from(list(Missing)), st.floats(0.001, 1000.0))
def test_scaling_a_trait_scales_its_effects_and_nothing_else(seed: int, missing: Missing, factor: float) -> None:
    dosage, traits, covariates = cohort(seed)
    options = ScanOptions(missing=int(missing))
    one, other = (run(dosage, y, covariates, options) for y in (traits, traits * factor))
    np.testing.assert_array_equal(one["status"], other["status"])
    np.testing.assert_allclose(other["beta"] / factor, one["beta"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(other["standard_error"] / factor, one["standard_error"], rtol=1e-7)
    np.testing.assert_allclose(other["neg_log10_p"], one["neg_log10_p"], rtol=1e-6, atol=1e-8)


@settings(max_examples=15)
@given(st.integers(0, 100_000))
def test_excluding_is_dropping_the_people(seed: int) -> None:
    """Exclusion by down-dating equals a run on the called people only, variant by variant."""
    dosage, traits, covariates = cohort(seed)
    out = run(dosage, traits, covariates, ScanOptions(missing=int(Missing.EXCLUDE)))
    for v in range(len(dosage)):
        called = ~np.isnan(dosage[v])
        alone = run(dosage[v : v + 1, called], traits[called], covariates[called])
        np.testing.assert_array_equal(out["status"][v], alone["status"][0])
        np.testing.assert_allclose(out["standard_error"][v], alone["standard_error"][0], rtol=1e-8)
        np.testing.assert_allclose(out["neg_log10_p"][v], alone["neg_log10_p"][0], rtol=1e-7, atol=1e-8)


def test_excluding_the_only_carriers_of_a_covariate_level_costs_no_degree_of_freedom() -> None:
    """A factor level whose people all lack the call is not estimated: the rank falls, as in a separate run."""
    dosage, traits, covariates = cohort(3)
    level = np.zeros(len(traits))
    level[:6] = 1
    dosage[4, :6] = np.nan
    out = run(dosage, traits, np.column_stack([covariates, level]), ScanOptions(missing=int(Missing.EXCLUDE)))
    called = ~np.isnan(dosage[4])
    alone = run(dosage[4:5, called], traits[called], covariates[called])
    np.testing.assert_allclose(out["neg_log10_p"][4], alone["neg_log10_p"][0], rtol=1e-8)


def test_without_intercept() -> None:
    dosage, traits, _ = cohort(9)
    out = run(dosage, traits, np.empty((len(traits), 0)))
    fit = naive.linear(dosage[4], traits[:, 0], np.empty((len(traits), 0)))
    assert fit is not None
    assert out["beta"][4, 0] == pytest.approx(fit.beta[0], rel=1e-9)
    assert out["neg_log10_p"][4, 0] == pytest.approx(fit.neg_log10_p, rel=1e-9)


def test_what_cannot_be_tested_has_a_status() -> None:
    dosage, traits, covariates = cohort(5)
    n = len(traits)
    dosage[0] = 1.0
    dosage[1] = np.nan
    dosage[2] = covariates[:, 2] * 2
    traits = np.column_stack([traits[:, 0], np.full(n, 4.0), covariates[:, 1], np.full(n, np.nan), traits[:, 0]])
    traits[4:, 4] = np.nan
    out = run(dosage, traits, covariates)
    assert out["status"][:3, 0].tolist() == [Status.MONOMORPHIC, Status.ALL_MISSING, Status.COLLINEAR]
    assert set(out["status"][:, 1]) == set(out["status"][:, 2]) == {Status.TRAIT_CONSTANT}
    assert set(out["status"][:, 3]) == set(out["status"][:, 4]) == {Status.TOO_FEW_SAMPLES}
    assert (out["status"][3:, 0] == Status.OK).all()
    for name in ("beta", "standard_error", "neg_log10_p"):
        np.testing.assert_array_equal(np.isnan(out[name]), out["status"] != Status.OK)


def test_a_variant_that_is_the_trait() -> None:
    dosage, _, covariates = cohort(6)
    trait = np.nan_to_num(dosage[4], nan=float(np.nanmean(dosage[4])))[:, None]
    out = run(dosage, trait, covariates)
    assert out["status"][4, 0] == Status.PERFECT_FIT
    assert np.isnan(out["beta"][4, 0])


def test_dependent_covariates_are_named_and_change_nothing() -> None:
    dosage, traits, covariates = cohort(7)
    more = np.column_stack([covariates, covariates[:, 1] * 2 - 5, np.zeros(len(traits))])
    _, notes = LINEAR.fit_null(null_data(traits, more), ScanOptions(), {})
    assert {note.trait for note in notes} == set(range(traits.shape[1]))
    assert all(note.message.endswith(": c3, c4") and note.status == Status.OK for note in notes)
    one, other = run(dosage, traits, covariates), run(dosage, traits, more)
    np.testing.assert_allclose(one["neg_log10_p"], other["neg_log10_p"], rtol=1e-9)


def test_a_singleton_in_a_large_cohort_keeps_its_digits() -> None:
    """Counting the common allele of a singleton leaves the least to compute with."""
    n = 200_000
    rng = np.random.default_rng(0)
    dosage = np.zeros((2, n))
    dosage[0, 77] = 1.0
    dosage[1] = 2.0 - dosage[0]
    trait = rng.normal(size=(n, 1))
    covariates = np.column_stack([np.ones(n), rng.normal(50.0, 8.0, n)])
    out = run(dosage, trait, covariates)
    np.testing.assert_allclose(out["beta"][0], -out["beta"][1], rtol=1e-8)
    np.testing.assert_allclose(out["standard_error"][0], out["standard_error"][1], rtol=1e-8)
    fit = naive.linear(dosage[0], trait[:, 0], covariates)
    assert fit is not None
    assert out["neg_log10_p"][0, 0] == pytest.approx(fit.neg_log10_p, rel=1e-7)
