"""Power: against SciPy's noncentral chi-squared, a simulation of the tests, and the inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from allscan.kernels import power


@pytest.mark.parametrize("df", [1, 2])
@pytest.mark.parametrize("level", [1.3, 5.0, -math.log10(5e-8), 30.0])
def test_power_is_the_tail_of_the_noncentral_chi_squared(df: int, level: float) -> None:
    ncp = np.array([0.5, 5.0, 29.7, 39.6, 120.0])
    expected = stats.ncx2.sf(stats.chi2.isf(10.0**-level, df), df, ncp)
    np.testing.assert_allclose(power.power(ncp, level, df), expected, rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize("df", [1, 2])
def test_without_an_effect_power_is_the_level(df: int) -> None:
    assert float(power.power(0.0, 3.0, df)) == pytest.approx(1e-3, rel=1e-9)
    assert np.isnan(power.power(np.nan, 3.0, df))


@pytest.mark.parametrize("df", [1, 2])
@pytest.mark.parametrize("wanted", [0.1, 0.8, 0.99])
def test_the_noncentrality_of_a_power_has_that_power(df: int, wanted: float) -> None:
    level = -math.log10(5e-8)
    ncp = power.noncentrality_of_power(wanted, level, df)
    assert float(power.power(ncp, level, df)) == pytest.approx(wanted, rel=1e-8)


def test_a_known_case() -> None:
    # 80 % at 5e-8: Λ = (5.4513 + 0.8416)², the textbook's.
    assert power.noncentrality_of_power(0.8, -math.log10(5e-8)) == pytest.approx(39.60, abs=0.01)


def test_effects_have_their_noncentrality() -> None:
    n, f, ncp = 5_000, 0.05, 39.6
    beta = float(power.quantitative_effect(n, f, ncp))
    assert float(power.quantitative_noncentrality(n, 2 * f * (1 - f) * beta**2)) == pytest.approx(ncp, rel=1e-12)
    log_odds = float(power.binary_effect(n, f, ncp))
    assert float(power.binary_noncentrality(n, f, log_odds)) == pytest.approx(ncp, rel=1e-12)


def test_regressions_on_simulated_people_find_as_often_as_said() -> None:
    """Least squares of a quantitative trait, and the score test of cases and controls."""
    rng = np.random.default_rng(7)
    n, f, runs, level = 2_000, 0.2, 4_000, 2.0
    g = rng.binomial(2, f, (runs, n)).astype(np.float64)
    beta = 0.12
    y = beta * g + rng.standard_normal((runs, n)) * math.sqrt(1 - 2 * f * (1 - f) * beta**2)
    r = _correlation(g, y)
    found = np.mean(stats.chi2.sf(n * r**2 / (1 - r**2), 1) <= 10.0**-level)
    said = float(power.power(power.quantitative_noncentrality(n, 2 * f * (1 - f) * beta**2), level))
    assert found == pytest.approx(said, abs=0.03)
    log_odds = 0.2
    chance = 1 / (1 + np.exp(1.4 - log_odds * g))
    cases = (rng.random((runs, n)) < chance).astype(np.float64)
    found = np.mean(stats.chi2.sf(n * _correlation(g, cases) ** 2, 1) <= 10.0**-level)
    share = cases.mean()
    effective = 4 * n * share * (1 - share)
    said = float(power.power(power.binary_noncentrality(effective, f, log_odds), level))
    assert found == pytest.approx(said, abs=0.03)


def _correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
    return (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
