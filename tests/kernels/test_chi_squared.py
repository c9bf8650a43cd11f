"""The tail of chi-squared against SciPy's, and beyond where SciPy's ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from allscan.kernels.chi_squared import chi2_neg_log10_p

LN_10 = math.log(10.0)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 6, 11, 50, 333, 1000])
def test_scipy(df: int) -> None:
    """To 1e-12 of p, and of −log10 p where that is the smaller."""
    x = np.concatenate([df * np.geomspace(1e-3, 1.0, 60), df + math.sqrt(df) * np.geomspace(1e-2, 30.0, 60)])
    log_p = -LN_10 * np.array([chi2_neg_log10_p(float(value), float(df)) for value in x])
    seen = stats.chi2.sf(x, df) > 1e-290
    np.testing.assert_allclose(np.exp(log_p[seen]), stats.chi2.sf(x, df)[seen], rtol=1e-12)
    # Near one, p is what it lacks to one.
    near = (x < df) & (stats.chi2.cdf(x, df) > 1e-290)
    np.testing.assert_allclose(-np.expm1(log_p[near]), stats.chi2.cdf(x, df)[near], rtol=1e-12)


@pytest.mark.parametrize("df", [3, 4, 7, 20, 21])
@pytest.mark.parametrize("x", [1e3, 1e5, 1e9])
def test_nothing_underflows(df: int, x: float) -> None:
    """Against the finite sums that whole degrees of freedom have (Abramowitz and Stegun 26.4.4 and 26.4.5)."""
    h = x / 2
    powers = np.arange(df // 2) if df % 2 == 0 else np.arange(df // 2) + 0.5
    terms = [p * math.log(h) - math.lgamma(p + 1.0) for p in powers]
    if df % 2:
        terms.append(math.log(special.erfcx(math.sqrt(h))))
    expected = (h - special.logsumexp(terms)) / LN_10
    assert chi2_neg_log10_p(x, float(df)) == pytest.approx(expected, rel=1e-13)


def test_the_ends() -> None:
    assert math.isnan(chi2_neg_log10_p(math.nan, 3.0))
    assert math.isnan(chi2_neg_log10_p(1.0, 0.0))
    for df in (1.0, 2.0, 3.0, 40.0):
        assert chi2_neg_log10_p(math.inf, df) == math.inf
        assert chi2_neg_log10_p(0.0, df) == chi2_neg_log10_p(-1e-17, df) == 0.0
