"""Saddlepoint tails against the formula in plain numpy, and against the distribution itself by numerical inversion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.kernels.carrier_counts import carrier_count_tail
from allscan.kernels.cumulants import N_CUMULANTS, Law, origin, reach_of_three, series_reach
from allscan.kernels.cumulants import TOLERANCE as SERIES_TOLERANCE
from allscan.kernels.normal import normal_neg_log10_p
from allscan.kernels.one_parameter import fit_firth, fit_maximum_likelihood
from allscan.kernels.saddlepoint import (
    AT_EDGE,
    FOUND,
    NEGLIGIBLE,
    NOT_CONVERGED,
    OUT_OF_REACH,
    saddlepoint,
    solve,
)
from tests.kernels.score_laws import (
    LN10,
    law_of,
    log_inverted_tail,
    log_saddlepoint_tail,
    naive_root,
    naive_saddlepoint,
    people,
    series_of,
    sums_of,
)

TOLERANCE = 1e-7  # in −log10 p


def deviation(g, mu):
    return math.sqrt((g * g * mu * (1 - mu)).sum())


@pytest.mark.parametrize("z", [0.3, -1.0, 2.0, -2.5, 4.0, 8.0, 15.0, 22.0])
@pytest.mark.parametrize("count", [5, 20, 200, 2400])
@pytest.mark.parametrize("prevalence", [1e-3, 0.02, 0.5])
def test_equals_the_formula(z, count, prevalence):
    rng = np.random.default_rng(count)
    _, g, mu = people(rng, 4000, prevalence, count / 8000)
    s = z * deviation(g, mu)
    highest, lowest = g[g > 0].sum() - g @ mu, g[g < 0].sum() - g @ mu
    if not 0.99 * lowest < s < 0.99 * highest:
        return
    found = saddlepoint(s, law_of(g, mu))
    assert found.state == FOUND
    assert found.neg_log10_p == pytest.approx(naive_saddlepoint(s, g, mu), abs=TOLERANCE)
    assert found.t == pytest.approx(naive_root(s, g, mu), rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(10, 500), st.floats(1e-3, 0.999), st.floats(-0.98, 0.98))
@settings(max_examples=200)
def test_equals_the_formula_anywhere_between_the_edges(seed, n, prevalence, part):
    rng = np.random.default_rng(seed)
    _, g, mu = people(rng, n, prevalence, 0.1)
    edge = g[g * part > 0].sum() - g @ mu
    s = abs(part) * edge
    if abs(s) < 1e-3 * deviation(g, mu):  # the plain formula loses digits
        return
    found = saddlepoint(s, law_of(g, mu))
    assert found.state == FOUND
    assert found.neg_log10_p == pytest.approx(max(0.0, naive_saddlepoint(s, g, mu)), abs=TOLERANCE, rel=1e-9)


@pytest.mark.parametrize("prevalence", [0.01, 0.1, 0.5])
def test_cumulants_give_the_same_where_they_reach(prevalence):
    rng = np.random.default_rng(3)
    _, g, mu = people(rng, 5000, prevalence, 0.3)
    law, series = law_of(g, mu), series_of(g, mu)
    reached = 0
    for z in (0.01, -1.0, 2.0, -3.0, 4.5, -6.0, 9.0, 14.0):
        s = z * deviation(g, mu)
        found = saddlepoint(s, series)
        if found.state == FOUND:
            reached += 1
            assert found.neg_log10_p == pytest.approx(saddlepoint(s, law).neg_log10_p, abs=1e-8)
        else:
            assert found.state == OUT_OF_REACH
            assert math.isnan(found.neg_log10_p)
            assert abs(naive_root(s, g, mu)) > 0.999 * series.reach or abs(naive_root(-s, g, mu)) > series.reach
    assert reached >= {0.01: 1, 0.1: 3, 0.5: 5}[prevalence]


@pytest.mark.parametrize("copies", [5, 20, 60])
@pytest.mark.parametrize("z", [2.0, 4.0, 8.0, -1.0])
def test_two_cumulants_of_everybody_who_does_not_carry_the_allele(copies, z):
    """Carriers one by one: what the others add is small, and a tail that only they could make is negligible."""
    rng = np.random.default_rng(copies)
    plain, g, mu = people(rng, 20_000, 0.02, copies / 40_000)
    carry = plain > 0
    rest = np.zeros(N_CUMULANTS)
    rest[:2] = sums_of(g[~carry], mu[~carry])[:2]
    variance = deviation(g, mu) ** 2
    fourth = float((mu * (1 - mu) * g**4)[~carry].sum())
    law = Law(g[carry], mu[carry], rest, reach_of_three(fourth, variance, SERIES_TOLERANCE))
    s = z * deviation(g, mu)
    if s < 0.9 * -(mu[carry] * g[carry]).sum():
        return
    found, exact = saddlepoint(s, law), saddlepoint(s, law_of(g, mu))
    if found.state == OUT_OF_REACH:
        assert abs(exact.t) > law.reach or abs(solve(-s, law_of(g, mu), origin(law_of(g, mu)), -math.inf).t) > law.reach
    else:
        assert found.neg_log10_p == pytest.approx(exact.neg_log10_p, abs=1e-6)
    assert found.state == FOUND or copies == 60


def test_the_other_tail_may_lie_beyond_the_reach_where_it_hardly_matters():
    """Two cases are expected among carriers: as far below as seven are above, only non-carriers can bring the score."""
    rng = np.random.default_rng(0)
    plain, g, mu = people(rng, 10_000, 0.01, 0.01)
    carry = plain > 0
    sums = sums_of(g[~carry], mu[~carry])
    law = Law(g[carry], mu[carry], sums, series_reach(sums, SERIES_TOLERANCE))
    s = 7 - float(mu[carry] @ plain[carry])
    lower = solve(-s, law_of(g, mu), origin(law_of(g, mu)), -math.inf)
    found = saddlepoint(s, law)
    assert abs(lower.t) > law.reach
    assert found.state == FOUND
    assert found.neg_log10_p == pytest.approx(naive_saddlepoint(s, g, mu), abs=TOLERANCE)


@pytest.mark.parametrize("z", [1e-12, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_near_the_mean(z, sign):
    """The formula is a difference of two large numbers there; its limit is a skewness."""
    rng = np.random.default_rng(4)
    _, g, mu = people(rng, 400, 0.02, 0.1)
    s = sign * z * deviation(g, mu)
    # Both tails from the mean: they need not add up to one, p is cut at it.
    found = saddlepoint(s, law_of(g, mu)).neg_log10_p
    beyond = saddlepoint(sign * 0.2 * deviation(g, mu), law_of(g, mu)).neg_log10_p
    assert 0.0 <= found <= beyond
    if z >= 1e-3:
        assert found == pytest.approx(max(0.0, naive_saddlepoint(s, g, mu)), abs=1e-6)


@pytest.mark.parametrize("prevalence", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("z", [2.0, 4.0, 7.0, 15.0, -2.0, -4.0])
def test_against_the_distribution_itself(prevalence, z):
    """How good the approximation is, where no outcome has much probability of its own: p within half a per cent."""
    rng = np.random.default_rng(5)
    n = 2000
    mu = np.clip(prevalence * np.exp(rng.normal(0, 0.3, n)), 1e-4, 0.9)
    g = rng.beta(1, 4, n) * 2
    g -= (g * mu * (1 - mu)).sum() / (mu * (1 - mu)).sum()
    s = z * deviation(g, mu)
    if s < 0.9 * (g[g < 0].sum() - g @ mu):
        return
    start = origin(law_of(g, mu))
    exact = np.logaddexp(log_inverted_tail(s, g, mu), log_inverted_tail(-s, g, mu)) / -LN10
    assert saddlepoint(s, law_of(g, mu)).neg_log10_p == pytest.approx(exact, abs=0.002)
    assert start.variance > 0


def test_on_a_lattice_it_is_the_mid_p():
    """Of whole copies: the approximation lies near the p to which the observed outcome counts half."""
    rng = np.random.default_rng(6)
    mu = np.clip(0.05 * np.exp(rng.normal(0, 0.5, 400)), 0, 0.5)
    copies = np.ones(400, np.int64)
    law = law_of(copies, mu)
    for observed in range(int(mu.sum()) + 5, 80, 7):
        exact = carrier_count_tail(copies, mu, observed)
        found = saddlepoint(observed - mu.sum(), law).neg_log10_p
        assert exact.neg_log10_p < found
        assert found == pytest.approx(exact.neg_log10_mid_p, abs=0.1)


def test_a_tail_that_cannot_be_adds_nothing():
    """As far below the mean as three cases are above it there is no number of cases."""
    mu = np.full(30, 0.01)
    g = np.ones(30)
    s = 3 - 0.3
    upper = log_saddlepoint_tail(s, g, mu)
    assert saddlepoint(s, law_of(g, mu)).neg_log10_p == pytest.approx(-upper / LN10, abs=TOLERANCE)


def test_the_most_extreme_score_has_the_probability_of_its_outcome():
    mu = np.array([0.1, 0.02, 0.3])
    g = np.array([1.0, 2.0, 1.0])
    found = saddlepoint(float(g.sum() - g @ mu), law_of(g, mu))
    assert found.state == FOUND
    assert found.t == math.inf
    assert found.neg_log10_p == pytest.approx(-np.log10(mu.prod()), rel=1e-12)
    # Nobody is a case: that outcome, and all at least as far above the mean.
    none = saddlepoint(float(-(g @ mu)), law_of(g, mu))
    assert none.t == -math.inf
    assert 0.0 <= none.neg_log10_p < -math.log10(np.prod(1 - mu)) + 1e-12


def test_states():
    g, mu = np.ones(5), np.full(5, 0.2)
    law = law_of(g, mu)
    start = origin(law)
    assert saddlepoint(9.0, law).state == NOT_CONVERGED  # more cases than people
    assert math.isnan(saddlepoint(9.0, law).neg_log10_p)
    assert saddlepoint(1.0, law_of(np.zeros(3), np.full(3, 0.2))).state == NOT_CONVERGED  # no variance
    assert saddlepoint(0.0, law).neg_log10_p >= 0.0
    assert solve(4.0, law, start, -math.inf).state == AT_EDGE
    assert solve(3.9, law, start, -0.1).state == NEGLIGIBLE
    assert solve(2.0, law._replace(reach=0.01), start, -math.inf).state == OUT_OF_REACH
    assert math.isnan(saddlepoint(math.nan, law).neg_log10_p)


def test_nothing_underflows():
    """p = 1e-400 and below, and people beside the carriers who are normally distributed."""
    rng = np.random.default_rng(12)
    _, g, mu = people(rng, 20_000, 0.1, 0.3)
    s = 42.0 * deviation(g, mu)
    found = saddlepoint(s, law_of(g, mu)).neg_log10_p
    assert found > 300
    assert found == pytest.approx(naive_saddlepoint(s, g, mu), rel=1e-9)
    normal = np.zeros(N_CUMULANTS)
    normal[0] = 1.0
    found = saddlepoint(60.0, Law(np.zeros(0), np.zeros(0), normal, math.inf)).neg_log10_p
    assert found == pytest.approx(normal_neg_log10_p(60.0), rel=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(-6, 6))
@settings(max_examples=100)
def test_effect_allele_and_cases_may_change_places(seed, z):
    rng = np.random.default_rng(seed)
    _, g, mu = people(rng, 100, 0.1, 0.1)
    s = z * deviation(g, mu)
    one = saddlepoint(s, law_of(g, mu))
    for other in (saddlepoint(-s, law_of(-g, mu)), saddlepoint(-s, law_of(g, 1 - mu))):
        assert other.state == one.state
        # Near the mean p is 1 but for what the root is found to.
        assert other.neg_log10_p == pytest.approx(one.neg_log10_p, abs=1e-8, nan_ok=True)


def finite(low, high):
    return st.floats(low, high, allow_nan=False)


@given(
    st.lists(st.tuples(finite(-1e6, 1e6), finite(1e-300, 1 - 1e-15)), max_size=8),
    finite(0, 1e4),
    finite(-1e4, 1e4),
    st.sampled_from([math.inf, 1e-3, 1.0, 50.0]),
    st.one_of(st.floats(), finite(-10, 10)),
)
@settings(max_examples=300)
def test_any_law_and_score_end_in_a_state(people_one_by_one, second, third, reach, s):
    g = np.array([x for x, _ in people_one_by_one], float)
    mu = np.array([x for _, x in people_one_by_one], float)
    cumulants = np.zeros(N_CUMULANTS)
    cumulants[:2] = second, third
    law = Law(g, mu, cumulants, reach)
    for result in (saddlepoint(s, law), fit_firth(s, law), fit_maximum_likelihood(s, law)):
        assert result.state in (FOUND, NOT_CONVERGED, OUT_OF_REACH, AT_EDGE)
        assert math.isfinite(result[0]) == (result.state == FOUND)
