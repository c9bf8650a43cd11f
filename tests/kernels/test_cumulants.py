"""The cumulant generating function of a score against 40-digit arithmetic; the series errs by no more than it says."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.kernels.cumulants import (
    LARGEST,
    MOMENT,
    N_CUMULANTS,
    N_SUMS,
    TOLERANCE,
    Law,
    add_cumulants,
    collect,
    derivatives,
    origin,
    series_limit,
    series_reach,
    truncation_bound,
)
from allscan.kernels.elementary import exp_of_negative, log_of_fraction
from tests.kernels.score_laws import k_of_real, law_of, people, sums_of


def exact(t, g, mu):
    """K and four derivatives."""
    with mpmath.workdps(40):
        total = [mpmath.mpf(0)] * 5
        for one, probability in zip(map(mpmath.mpf, g), map(mpmath.mpf, mu), strict=True):
            mean = 1 - probability + probability * mpmath.exp(one * t)
            p = probability * mpmath.exp(one * t) / mean
            w = p * (1 - p)
            terms = (
                mpmath.log(mean) - t * one * probability,
                one * (p - probability),
                one**2 * w,
                one**3 * w * (1 - 2 * p),
                one**4 * w * (1 - 6 * w),
            )
            total = [a + b for a, b in zip(total, terms, strict=True)]
        return [float(x) for x in total]


@given(st.floats(-708, 0))
def test_exponential(x):
    assert exp_of_negative(x) == pytest.approx(math.exp(x), rel=4e-16 * (1 - x / 10))


@given(st.floats(1e-307, 1))
def test_logarithm(x):
    assert log_of_fraction(x) == pytest.approx(math.log(x), rel=4e-16, abs=4e-16)


@pytest.mark.parametrize("t", [0.0, 0.01, -0.4, 2.0, -9.0, 60.0, -500.0, 5000.0])
@pytest.mark.parametrize("prevalence", [1e-4, 0.03, 0.5, 0.97])
def test_derivatives_one_by_one(t, prevalence):
    rng = np.random.default_rng(7)
    _, g, mu = people(rng, 60, prevalence, 0.2)
    found = derivatives(t, law_of(g, mu))
    expected = exact(t, g, mu)
    # Sums of terms of either sign: relative to the terms' sizes.
    size = exact(t, np.abs(g), mu)
    for have, want, scale in zip(found, expected, [abs(t) * np.abs(g).sum(), *size[1:3], 1.0, 1.0], strict=True):
        assert have == pytest.approx(want, rel=1e-12, abs=1e-14 * abs(scale) + 1e-30)  # 40 digits


def test_cumulants_are_the_derivatives_at_zero():
    rng = np.random.default_rng(8)
    _, g, mu = people(rng, 500, 0.2, 0.3)
    sums = sums_of(g, mu)
    at_zero = derivatives(0.0, law_of(g, mu))
    np.testing.assert_allclose(sums[:3], [at_zero.k2, at_zero.k3, at_zero.k4], rtol=1e-12, atol=1e-12)
    with mpmath.workdps(60):
        one = mpmath.taylor(lambda t: mpmath.log(1 - 0.2 + mpmath.mpf(0.2) * mpmath.exp(t)), 0, 10)
        expected = [float(one[j] * mpmath.factorial(j)) for j in range(2, 11)]
    np.testing.assert_allclose(sums_of(np.array([1.0]), np.array([0.2]))[:N_CUMULANTS], expected, rtol=1e-10)


def test_cumulants_add_up_over_strips_of_people():
    rng = np.random.default_rng(9)
    _, g, mu = people(rng, 1000, 0.05, 0.3)
    sums = np.zeros(N_SUMS)
    for begin in range(0, 1000, 96):
        add_cumulants(g[begin : begin + 96], mu[begin : begin + 96], math.inf, sums)
    np.testing.assert_allclose(sums, sums_of(g, mu), rtol=1e-13, atol=1e-13)
    assert sums[-1] == np.abs(g).max()
    assert sums[MOMENT] == pytest.approx((mu * (1 - mu) * g**10).sum())


@given(
    st.integers(0, 2**32 - 1),
    st.integers(10, 200),
    st.floats(1e-4, 0.9999),
    st.floats(0.001, 0.6),
    st.floats(1e-3, 1.0),
)
@settings(max_examples=300)
def test_the_series_never_errs_by_more_than_its_bound(seed, n, prevalence, frequency, part):
    rng = np.random.default_rng(seed)
    _, g, mu = people(rng, n, prevalence, frequency)
    sums = sums_of(g, mu)
    t = part * math.pi / np.abs(g).max()
    series = derivatives(t, Law(np.zeros(0), np.zeros(0), sums[:N_CUMULANTS], math.inf))
    one_by_one = derivatives(t, law_of(g, mu))
    bound = truncation_bound(t, sums)
    rounding = 1e-13 * max(1.0, one_by_one.k)
    assert abs(series.k - one_by_one.k) <= bound + rounding
    assert abs(series.k - one_by_one.k) + 0.5 * abs(series.k2 - one_by_one.k2) / sums[0] <= bound + rounding
    reach = series_reach(sums, 1e-8)
    assert truncation_bound(reach, sums) <= 1e-8
    assert truncation_bound(-reach * 1.001, sums) > 1e-8


@pytest.mark.parametrize("t", [0.05, 0.4, 1.5, 6.0])
@pytest.mark.parametrize("frequency", [0.01, 0.2])
def test_those_with_large_genotypes_one_by_one_and_the_others_by_cumulants(t, frequency):
    rng = np.random.default_rng(10)
    _, g, mu = people(rng, 4000, 0.02, frequency)
    everybody = law_of(g, mu)
    limit = series_limit(t, (g * g * mu * (1 - mu)).sum(), TOLERANCE)
    sums = np.zeros(N_SUMS)
    add_cumulants(g, mu, limit, sums)
    room = law_of(np.zeros(4000), np.zeros(4000))
    found = collect(g[:1000], mu[:1000], limit, room, 0)
    found = collect(g[1000:], mu[1000:], limit, room, found)
    reach = series_reach(sums, TOLERANCE)
    assert found == (np.abs(g) > limit).sum()
    assert sums[LARGEST] <= limit
    assert found < 4000 or t > 1  # nobody is left for the series where effects are large and the allele common
    assert reach >= t
    mixed = Law(room.genotype[:found], room.probability[:found], sums[:N_CUMULANTS], reach)
    for effect in (-t, t):
        have, want = derivatives(effect, mixed), derivatives(effect, everybody)
        assert have.k == pytest.approx(want.k, rel=1e-12, abs=TOLERANCE)
        np.testing.assert_allclose(have, want, rtol=1e-6)
    known, expected = origin(mixed), origin(everybody)
    assert known[:2] == pytest.approx(expected[:2])
    if found < 4000:
        assert (known.lowest, known.highest) == (-math.inf, math.inf)
    assert expected.highest == pytest.approx(g[g > 0].sum() - g @ mu)
    assert expected.lowest == pytest.approx(g[g < 0].sum() - g @ mu)


def test_genotypes_of_zero_need_no_cumulant():
    sums = sums_of(np.zeros(5), np.full(5, 0.3))
    assert truncation_bound(3.0, sums) == 0.0
    assert series_reach(sums, 1e-8) == math.inf


def test_naive_twin_agrees():
    rng = np.random.default_rng(11)
    _, g, mu = people(rng, 300, 0.1, 0.2)
    assert derivatives(1.7, law_of(g, mu)).k == pytest.approx(k_of_real(1.7, g, mu), rel=1e-12)
