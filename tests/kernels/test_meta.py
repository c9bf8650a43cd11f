"""Fixed and random effects, leaving one out, weighted deviates: against loops, and what must not matter."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from allscan.kernels.meta import (
    fixed_effects,
    leave_one_out,
    random_effects,
    signed_deviates,
    upper_deviates,
    weighted_deviates,
)
from allscan.kernels.meta_studies import MetaStatus
from tests import naive_meta
from tests.kernels.meta_cases import Case, cases, random_case

CASE = random_case(1, 6, 300)


def test_fixed_effects_naive() -> None:
    ours = fixed_effects(*CASE)
    for t in range(300):
        studies = naive_meta.present(*CASE, t)
        assert ours.n_studies[t] == len(studies)
        if not studies:
            assert ours.status[t] == MetaStatus.NO_STUDY
            assert all(math.isnan(column[t]) for column in ours[1:-1])
            continue
        mean, variance = naive_meta.pooled(studies)
        assert ours.beta[t] == pytest.approx(mean, rel=1e-12, abs=1e-13 * math.sqrt(variance))
        assert ours.standard_error[t] == pytest.approx(math.sqrt(variance), rel=1e-13)
        assert ours.neg_log10_p[t] == pytest.approx(naive_meta.two_sided(mean / math.sqrt(variance)), rel=1e-11)
        if len(studies) == 1:
            assert ours.status[t] == MetaStatus.ONE_STUDY
            assert math.isnan(ours.q[t])
            assert math.isnan(ours.q_neg_log10_p[t])
            assert math.isnan(ours.i_squared[t])
            continue
        assert ours.status[t] == MetaStatus.OK
        q, p = naive_meta.cochran(studies)
        assert ours.q[t] == pytest.approx(q, rel=1e-11)
        assert ours.q_neg_log10_p[t] == pytest.approx(p, rel=1e-10)
        assert ours.i_squared[t] == pytest.approx(max(0.0, 1.0 - (len(studies) - 1) / q), rel=1e-10, abs=1e-11)
    assert {0, 1, 2} <= set(ours.status)


def test_random_effects_naive() -> None:
    ours = random_effects(*CASE)
    for t in range(300):
        studies = naive_meta.present(*CASE, t)
        if len(studies) < 2:
            assert ours.status[t] == (MetaStatus.ONE_STUDY if studies else MetaStatus.NO_STUDY)
            assert all(math.isnan(column[t]) for column in ours[:-1])
            continue
        assert ours.status[t] == MetaStatus.OK
        between = naive_meta.der_simonian_laird(studies)
        mean, variance = naive_meta.pooled(studies, between)
        assert ours.tau_squared[t] == pytest.approx(between, rel=1e-9)
        assert ours.beta[t] == pytest.approx(mean, rel=1e-9)
        assert ours.standard_error[t] == pytest.approx(math.sqrt(variance), rel=1e-9)
        assert ours.neg_log10_p[t] == pytest.approx(naive_meta.two_sided(mean / math.sqrt(variance)), rel=1e-9)


def test_leave_one_out_is_fixed_effects_of_the_others() -> None:
    """To the rounding of another order of the sum."""
    beta, error = CASE
    ours = leave_one_out(beta, error)
    for s in range(len(beta)):
        others = fixed_effects(np.delete(beta, s, axis=0), np.delete(error, s, axis=0))
        has = np.isfinite(beta[s]) & np.isfinite(error[s])
        for name in ("beta", "standard_error", "neg_log10_p", "q_neg_log10_p"):
            expected = np.where(has, getattr(others, name), np.nan)
            np.testing.assert_allclose(getattr(ours, name)[s], expected, rtol=1e-9, atol=1e-12)


def test_one_study_may_outweigh_all_others() -> None:
    """In Σw − Σw²/Σw, taken as written, nothing would be left of the small studies."""
    beta, error = np.array([[0.0], [5.0], [9.0]]), np.array([[1e-9], [1.0], [1.0]])
    # To leading order: Q = 25 + 81, and Σw − Σw²/Σw = 2 (w₂ + w₃) w₁ / Σw = 4.
    assert random_effects(beta, error).tau_squared[0] == pytest.approx((106.0 - 2.0) / 4.0, rel=1e-12)


def test_nothing_underflows() -> None:
    beta, error = np.array([[1.0], [1.0]]), np.array([[1e-4], [1e-4]])
    ours = fixed_effects(beta, error).neg_log10_p[0]
    assert ours == pytest.approx(naive_meta.two_sided(math.sqrt(2.0) * 1e4), rel=1e-12)
    assert ours > 4e7
    assert fixed_effects(beta * [[1.0], [-1.0]], error).q_neg_log10_p[0] == pytest.approx(ours, rel=1e-12)


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_what_must_not_matter(case: Case, random: object) -> None:
    """Order of the studies (to rounding); sign, units and absent studies (to the last bit)."""
    beta, error = case
    for method in (fixed_effects, random_effects):
        ours = method(beta, error)
        flipped, scaled = method(-beta, error), method(8.0 * beta, 8.0 * error)
        absent = method(
            np.vstack([beta, np.full_like(beta[:1], np.nan), beta[:1]]),
            np.vstack([error, error[:1], np.zeros_like(error[:1])]),
        )
        order = np.random.default_rng(random.randrange(2**32)).permutation(len(beta))
        shuffled = method(beta[order], error[order])
        for name, one in ours._asdict().items():
            np.testing.assert_array_equal(getattr(flipped, name), -one if name == "beta" else one)
            unit = {"beta": 8.0, "standard_error": 8.0, "tau_squared": 64.0}.get(name, 1)
            np.testing.assert_array_equal(getattr(scaled, name), unit * one)
            np.testing.assert_array_equal(getattr(absent, name), one)
            np.testing.assert_allclose(getattr(shuffled, name), one, rtol=1e-8, atol=1e-9)


@given(cases())
@settings(max_examples=40, deadline=None)
def test_a_study_in_two_halves(case: Case) -> None:
    """Fixed effects of two halves that agree are those of the whole; Q too, with a degree of freedom more."""
    beta, error = case
    halves = np.vstack([beta, beta[:1]]), np.vstack([math.sqrt(2.0) * error[:1], error[1:], math.sqrt(2.0) * error[:1]])
    whole, split = fixed_effects(beta, error), fixed_effects(*halves)
    for name in ("beta", "standard_error", "neg_log10_p"):
        np.testing.assert_allclose(getattr(split, name), getattr(whole, name), rtol=1e-10, atol=1e-12)
    several = whole.n_studies > 1
    np.testing.assert_allclose(split.q[several], whole.q[several], rtol=1e-9, atol=1e-9)


@given(cases(2))
@settings(max_examples=40, deadline=None)
def test_random_effects_widen(case: Case) -> None:
    fixed, random = fixed_effects(*case), random_effects(*case)
    ok = random.status == MetaStatus.OK
    assert (random.standard_error[ok] >= fixed.standard_error[ok]).all()
    none = ok & (fixed.i_squared == 0.0)
    np.testing.assert_array_equal(random.tau_squared[none], 0.0)
    np.testing.assert_array_equal(random.beta[none], fixed.beta[none])


def test_each_test_by_itself_in_any_layout() -> None:
    """The bits of a test do not depend on its neighbours, nor on strides; inputs are not written to."""
    beta, error = CASE
    whole = fixed_effects(beta, error)
    beta.setflags(write=False)
    columns = np.asfortranarray(beta), np.asfortranarray(error)
    part = fixed_effects(columns[0][:, 100:200:3], columns[1][:, 100:200:3])
    for one, other in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one, other[100:200:3])
    np.testing.assert_array_equal(fixed_effects(beta, error).beta, whole.beta)


def test_float32() -> None:
    """As the results cube keeps them: as if they had been float64."""
    beta, error = (x.astype(np.float32) for x in CASE)
    for one, other in zip(
        fixed_effects(beta, error), fixed_effects(beta.astype(float), error.astype(float)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_weighted_deviates_naive() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(0.0, 4.0, (5, 200))
    z[rng.random(z.shape) < 0.3] = np.nan
    z[:, 0], z[1:, 1] = np.nan, np.nan
    z[0, 1] = 2.0
    size = rng.integers(0, 5000, z.shape).astype(float)
    size[0, 1] = 10.0
    ours, upper = weighted_deviates(z, size), weighted_deviates(z, size, two_sided=False)
    for t in range(1, 200):
        used = ~np.isnan(z[:, t]) & (size[:, t] > 0)
        assert ours.n_studies[t] == used.sum()
        if not used.any():
            assert ours.status[t] == MetaStatus.NO_STUDY
            continue
        expected = naive_meta.stouffer(list(z[:, t]), list(size[:, t]))
        assert ours.size[t] == size[used, t].sum()
        assert ours.z[t] == upper.z[t] == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert ours.neg_log10_p[t] == pytest.approx(naive_meta.two_sided(expected), rel=1e-9, abs=1e-12)
        assert upper.neg_log10_p[t] == pytest.approx(-stats.norm.logsf(expected) / math.log(10), rel=1e-9, abs=1e-12)
    assert ours.status[0] == MetaStatus.NO_STUDY
    assert ours.status[1] == MetaStatus.ONE_STUDY
    assert ours.z[1] == pytest.approx(2.0)
    shared = weighted_deviates(z, size[:, 5:6])
    np.testing.assert_array_equal(shared.z, weighted_deviates(z, np.repeat(size[:, 5:6], 200, axis=1)).z)


def test_weighted_deviates_as_scipy_combines() -> None:
    p, size = np.array([0.01, 0.2, 0.7, 1e-5]), np.array([100.0, 50.0, 400.0, 3.0])
    z = upper_deviates(-np.log10(p))[:, None]
    theirs = stats.combine_pvalues(p, method="stouffer", weights=np.sqrt(size))
    ours = weighted_deviates(z, size[:, None], two_sided=False)
    assert ours.z[0] == pytest.approx(theirs.statistic, rel=1e-12)
    assert 10.0 ** -ours.neg_log10_p[0] == pytest.approx(theirs.pvalue, rel=1e-11)


def test_equal_effects_and_errors_by_size_are_fixed_effects() -> None:
    """Where 1 / SE² is the sample size, the two are one."""
    rng = np.random.default_rng(6)
    size = rng.integers(10, 1000, (4, 50)).astype(float)
    beta = rng.normal(size=size.shape)
    error = 1.0 / np.sqrt(size)
    np.testing.assert_allclose(
        weighted_deviates(beta / error, size).neg_log10_p, fixed_effects(beta, error).neg_log10_p, rtol=1e-10
    )


def test_deviates_and_back() -> None:
    z = np.concatenate([[0.0, 1e-9, 1e-3, 0.1, 0.6744, 1.0, 5.0, 37.0], np.geomspace(40.0, 1e5, 20)])
    p = np.array([naive_meta.two_sided(x) for x in z])
    np.testing.assert_allclose(signed_deviates(p, np.full_like(z, -2.0)), -z, rtol=1e-10, atol=1e-14)
    upper = -stats.norm.logsf(np.concatenate([-z[z < 6.0], z])) / math.log(10)
    np.testing.assert_allclose(upper_deviates(upper), np.concatenate([-z[z < 6.0], z]), rtol=1e-9, atol=1e-14)


def test_deviates_at_the_ends() -> None:
    ends = upper_deviates(np.array([[math.nan, math.inf, 0.0]]))
    assert ends.shape == (1, 3)
    assert math.isnan(ends[0, 0])
    assert ends[0, 1] == math.inf
    assert ends[0, 2] == pytest.approx(stats.norm.ppf(2.0**-54), rel=1e-12)
    around = upper_deviates(np.log10(2.0) + np.linspace(-1e-3, 1e-3, 41))
    assert all(one < other for one, other in pairwise(around))
    assert np.isposinf(weighted_deviates(np.array([[math.inf], [1.0]]), np.ones((2, 1))).neg_log10_p[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fixed_effects(np.zeros((2, 3)), np.ones((3, 2))), r"effects \(2, 3\) and standard errors \(3, 2\)"),
        (lambda: random_effects(np.zeros(3), np.ones(3)), "must both be"),
        (lambda: weighted_deviates(np.zeros((2, 3)), np.ones((2, 2))), r"sizes that|and sizes \(2, 2\)"),
        (lambda: signed_deviates(np.zeros(2), np.ones(3)), "must have one shape"),
    ],
)
def test_shapes(call, words) -> None:
    with pytest.raises(ValueError, match=words):
        call()
