"""Tail probabilities in log space, against 60-digit arithmetic and scipy."""

from __future__ import annotations

import math

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from allscan.kernels.student import f2_neg_log10_p, log_gamma_ratio, t_neg_log10_p

# Relative; the continued fraction stops at 1e-15 and the logs of the powers lose about df × 1e-17.
TOLERANCE = 1e-11


def exact(t: float, df: float) -> float:
    with mpmath.workdps(60):
        x = mpmath.mpf(df) / (df + mpmath.mpf(t) ** 2)
        p = mpmath.betainc(mpmath.mpf(df) / 2, mpmath.mpf(1) / 2, 0, x, regularized=True)
        return float(-mpmath.log10(p))


@pytest.mark.parametrize("df", [1, 2, 3, 10, 100, 488, 999, 1000, 5000, 49_988])
@pytest.mark.parametrize("t", [1e-6, 0.01, 0.2499, 0.2501, 0.5, 1.2, 1.5, 1.7, 2.0, 3.0, 8.0, 20.0])
def test_t_matches_high_precision(t: float, df: int) -> None:
    assert t_neg_log10_p(t, float(df)) == pytest.approx(exact(t, df), rel=TOLERANCE)
    assert t_neg_log10_p(-t, float(df)) == t_neg_log10_p(t, float(df))


@given(st.floats(0, 30), st.floats(1, 1e6))
def test_t_matches_scipy_where_scipy_does_not_underflow(t: float, df: float) -> None:
    # scipy's own tail is good to about 1e-9 relative at a million degrees of freedom.
    assert 10 ** -t_neg_log10_p(t, df) == pytest.approx(2 * stats.t.sf(t, df), rel=1e-7, abs=1e-280)


@given(st.floats(0.01, 1e3), st.floats(1, 1e6))
def test_t_grows_with_the_statistic(t: float, df: float) -> None:
    assert t_neg_log10_p(t * 1.001, df) > t_neg_log10_p(t, df)


def test_p_values_below_the_smallest_double() -> None:
    assert t_neg_log10_p(120.0, 49_988.0) == pytest.approx(2749.94202465, rel=1e-9)  # mpmath, 60 digits
    assert t_neg_log10_p(1000.0, 499_988.0) > 100_000


def test_edges() -> None:
    assert t_neg_log10_p(0.0, 10.0) == 0.0
    assert math.isnan(t_neg_log10_p(math.nan, 10.0))
    assert math.isnan(t_neg_log10_p(1.0, 0.0))
    assert math.isinf(t_neg_log10_p(math.inf, 10.0))


@given(st.floats(0.5, 1e7))
def test_gamma_ratio(a: float) -> None:
    with mpmath.workdps(40):
        ratio = float(mpmath.loggamma(mpmath.mpf(a) + 0.5) - mpmath.loggamma(a))
    assert log_gamma_ratio(a) == pytest.approx(ratio, abs=1e-13 * max(1.0, abs(ratio)))


@given(st.floats(0, 50), st.floats(1, 1e5))
def test_f_on_two_degrees(f: float, df: float) -> None:
    assert 10 ** -f2_neg_log10_p(f, df) == pytest.approx(special.fdtrc(2, df, f), rel=1e-8, abs=1e-290)
