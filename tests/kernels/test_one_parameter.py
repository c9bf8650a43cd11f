"""One-parameter fits against scipy's optimiser."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize

from allscan.kernels.cumulants import derivatives
from allscan.kernels.one_parameter import fit_firth, fit_maximum_likelihood
from allscan.kernels.saddlepoint import AT_EDGE, FOUND, NOT_CONVERGED, OUT_OF_REACH
from tests.kernels.score_laws import k2, k_of_real, law_of, people, series_of


def best(function, width=40.0):
    """Maximum of a function of one number: a grid, then the optimiser between its neighbours."""
    grid = np.linspace(-width, width, 801)
    top = grid[np.argmax([function(x) for x in grid])]
    found = optimize.minimize_scalar(
        lambda x: -function(x), bounds=(top - 0.2, top + 0.2), method="bounded", options={"xatol": 1e-10}
    )
    return found.x, -found.fun


@given(st.integers(0, 2**32 - 1), st.integers(100, 300), st.floats(0.05, 0.95), st.floats(-5, 5))
@settings(max_examples=80)
def test_firth_equals_the_optimiser(seed, n, prevalence, z):
    rng = np.random.default_rng(seed)
    _, g, mu = people(rng, n, prevalence, 0.2)
    edge = g[g * z > 0].sum() - g @ mu
    s = math.copysign(min(abs(z) * math.sqrt(k2(0, g, mu)), 0.9 * abs(edge)), z)

    def penalised(t):
        return t * s - k_of_real(t, g, mu) + 0.5 * math.log(k2(t, g, mu))

    found = fit_firth(s, law_of(g, mu))
    effect, value = best(penalised)
    assert found.state == FOUND
    assert found.effect == pytest.approx(effect, abs=2e-6 / math.sqrt(found.information) + 1e-7)
    assert found.likelihood_ratio == pytest.approx(max(0.0, 2 * (value - penalised(0.0))), abs=1e-8)
    assert found.information == pytest.approx(k2(found.effect, g, mu), rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(5, 300), st.floats(1e-3, 0.999), st.floats(-0.95, 0.95))
@settings(max_examples=200)
def test_firth_finds_a_maximum_whatever_the_score(seed, n, prevalence, part):
    """With hardly a case there may be several."""
    rng = np.random.default_rng(seed)
    _, g, mu = people(rng, n, prevalence, 0.2)
    assume(np.abs(g).max() > 1e-9)  # not where everybody carries as much
    s = abs(part) * (g[g * part > 0].sum() - g @ mu)
    found = fit_firth(s, law_of(g, mu))
    at = derivatives(found.effect, law_of(g, mu))
    assert found.state == FOUND
    slope = s - at.k1 + 0.5 * at.k3 / at.k2
    assert abs(slope) < 1e-6 * math.sqrt(at.k2)
    assert found.likelihood_ratio >= 0.0


@given(st.integers(0, 2**32 - 1), st.integers(5, 300), st.floats(1e-3, 0.999), st.floats(-0.95, 0.95))
@settings(max_examples=80)
def test_maximum_likelihood_equals_the_optimiser(seed, n, prevalence, part):
    rng = np.random.default_rng(seed)
    _, g, mu = people(rng, n, prevalence, 0.2)
    assume(np.abs(g).max() > 1e-9)  # not where everybody carries as much
    s = abs(part) * (g[g * part > 0].sum() - g @ mu)
    found = fit_maximum_likelihood(s, law_of(g, mu))
    effect, value = best(lambda t: t * s - k_of_real(t, g, mu))
    assert found.state == FOUND
    assert found.effect == pytest.approx(effect, abs=2e-6 / math.sqrt(found.information) + 1e-7)
    assert found.likelihood_ratio == pytest.approx(2 * value, abs=1e-8)
    assert found.information == pytest.approx(k2(found.effect, g, mu), rel=1e-9)


@pytest.mark.parametrize("carriers", [1, 2, 7])
@pytest.mark.parametrize("prevalence", [1e-4, 0.01, 0.5])
def test_all_carriers_are_cases(carriers, prevalence):
    """The likelihood has no maximum, the penalised one has, with half a case more and half a control more."""
    g, mu = np.ones(carriers), np.full(carriers, prevalence)
    s = carriers * (1 - prevalence)
    assert fit_maximum_likelihood(s, law_of(g, mu)).state == AT_EDGE
    found = fit_firth(s, law_of(g, mu))
    assert found.state == FOUND
    # Firth of a binomial proportion is (y + 1/2) / (n + 1).
    assert found.effect == pytest.approx(math.log((carriers + 0.5) / 0.5) - math.log(prevalence / (1 - prevalence)))
    none = fit_firth(-carriers * prevalence, law_of(g, mu))
    assert none.effect == pytest.approx(-math.log((carriers + 0.5) / 0.5) - math.log(prevalence / (1 - prevalence)))


def test_cumulants_give_the_same_where_they_reach():
    rng = np.random.default_rng(1)
    _, g, mu = people(rng, 5000, 0.1, 0.3)
    series = series_of(g, mu)
    for fit in (fit_firth, fit_maximum_likelihood):
        for z in (0.1, -1.0, 2.0):
            s = z * math.sqrt(series.cumulants[0])
            have, want = fit(s, series), fit(s, law_of(g, mu))
            assert tuple(have) == pytest.approx(tuple(want), rel=1e-6, abs=1e-8)
        assert fit(60 * math.sqrt(series.cumulants[0]), series).state == OUT_OF_REACH


def test_no_variance_is_no_fit():
    for fit in (fit_firth, fit_maximum_likelihood):
        found = fit(1.0, law_of(np.zeros(3), np.full(3, 0.5)))
        assert found.state == NOT_CONVERGED
        assert math.isnan(found.effect)
