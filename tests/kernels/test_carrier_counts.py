"""The exact distribution of carriers among cases, against all outcomes and against scipy's binomial."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from allscan.kernels.carrier_counts import MOST_STEPS, carrier_count_tail, lattice
from tests.kernels.score_laws import LN10, enumerated_tails


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(1e-5, 0.999), st.integers(1, 5))
@settings(max_examples=60)
def test_equals_all_outcomes(seed, carriers, prevalence, most):
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, most + 1, carriers)
    mu = np.clip(prevalence * np.exp(rng.normal(0, 0.5, carriers)), 1e-6, 1 - 1e-6)
    for observed in np.unique(rng.integers(0, weights.sum() + 1, 5)):
        p, mid = enumerated_tails(weights, mu, observed)
        found = carrier_count_tail(weights, mu, int(observed))
        assert found.neg_log10_p == pytest.approx(max(0, -math.log10(p)), abs=1e-10)
        assert found.neg_log10_mid_p == pytest.approx(max(0, -math.log10(mid)), abs=1e-10)


def test_outcomes_as_far_below_the_mean_count_too():
    mu = np.full(8, 0.5)
    found = carrier_count_tail(np.ones(8, np.int64), mu, 7)
    assert 10**-found.neg_log10_p == pytest.approx(2 * 9 / 256)
    assert 10**-found.neg_log10_mid_p == pytest.approx(2 * (1 + 4) / 256)
    # Rounding of the mean may not tell ties apart.
    tenth = np.full(30, 0.1)
    ties = carrier_count_tail(np.ones(30, np.int64), tenth, 0)
    assert 10**-ties.neg_log10_p == pytest.approx(stats.binom.cdf(0, 30, 0.1) + stats.binom.sf(5, 30, 0.1))


@pytest.mark.parametrize("carriers", [30, 300, 3000])
@pytest.mark.parametrize("prevalence", [1e-4, 0.003, 0.2])
@pytest.mark.parametrize("above", [0, 1, 3, 10, 30])
def test_equals_the_binomial(carriers, prevalence, above):
    observed = min(carriers, round(carriers * prevalence) + above)
    mean = carriers * prevalence
    distance = abs(observed - mean) * (1 - 1e-12)
    upper = stats.binom.logsf(math.ceil(mean + distance) - 1, carriers, prevalence)
    lower = stats.binom.logcdf(math.floor(mean - distance), carriers, prevalence)
    found = carrier_count_tail(np.ones(carriers, np.int64), np.full(carriers, prevalence), observed)
    expected = max(0.0, -np.logaddexp(upper, lower) / LN10)
    assert found.neg_log10_p == pytest.approx(expected, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("carriers", [60, 400, 4000])
def test_nothing_underflows(carriers):
    """Everybody a case, of a disease of one in a million; nobody, of one that nearly everybody has."""
    ones = np.ones(carriers, np.int64)
    rare = np.full(carriers, 1e-6)
    assert carrier_count_tail(ones, rare, carriers).neg_log10_p == pytest.approx(6 * carriers, rel=1e-9)
    assert carrier_count_tail(ones, 1 - rare, 0).neg_log10_p == pytest.approx(6 * carriers, rel=1e-9)
    outcomes = np.arange(carriers * 9 // 10, carriers + 1)
    log_p = np.logaddexp.reduce(stats.binom.logpmf(outcomes, carriers, 1e-6)) / LN10
    found = carrier_count_tail(ones, rare, carriers * 9 // 10)
    assert found.neg_log10_p == pytest.approx(-log_p, rel=1e-7)
    assert found.neg_log10_p < found.neg_log10_mid_p < found.neg_log10_p + 0.302


def test_dosages_on_the_lattice():
    steps = np.empty(4, np.int64)
    assert lattice(np.array([1.0, 2.0, 1.0, 0.0]), steps) == 1
    assert steps.tolist() == [1, 2, 1, 0]
    assert lattice(np.array([1.0, 1.5, 0.75, 2.0]), steps) == 4
    assert steps.tolist() == [4, 6, 3, 8]
    dosages = np.random.default_rng(0).uniform(0.5, 2, 200)
    steps = np.empty(200, np.int64)
    assert lattice(dosages, steps) == MOST_STEPS
    assert np.abs(steps / MOST_STEPS - dosages).max() <= 0.5 / MOST_STEPS
    # p hardly depends on the fineness of a lattice.
    mu = np.full(200, 0.01)
    cases = np.zeros(200, bool)
    cases[:6] = True
    coarse = carrier_count_tail(steps, mu, int(steps[cases].sum()))
    fine = np.rint(dosages * 4096).astype(np.int64)
    finer = carrier_count_tail(fine, mu, int(fine[cases].sum()))
    assert coarse.neg_log10_p == pytest.approx(finer.neg_log10_p, abs=0.02)


def test_nobody_carries_the_allele():
    """The one outcome that there is."""
    nobody = carrier_count_tail(np.zeros(0, np.int64), np.zeros(0), 0)
    assert nobody.neg_log10_p == 0.0
    assert carrier_count_tail(np.zeros(3, np.int64), np.full(3, 0.1), 0).neg_log10_p == 0.0


@given(st.lists(st.tuples(st.integers(0, 128), st.floats(1e-300, 1 - 1e-15)), min_size=1, max_size=20), st.floats(0, 1))
@settings(max_examples=200)
def test_any_carriers_give_a_p(people, part):
    steps = np.array([x for x, _ in people])
    mu = np.array([x for _, x in people])
    observed = int(part * steps.sum())
    found = carrier_count_tail(steps, mu, observed)
    # The observed sum of steps may be no outcome.
    assert found.neg_log10_p >= 0.0
    assert found.neg_log10_mid_p >= found.neg_log10_p
