"""Quantiles of the beta distribution, against SciPy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from allscan.kernels.beta import beta_log_quantiles


def quantiles(a: np.ndarray, b: np.ndarray, level: float) -> np.ndarray:
    out = np.full(len(a), np.nan)
    a.flags.writeable = b.flags.writeable = False
    beta_log_quantiles(a, b, level, out)
    return out


@given(
    st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)), min_size=1, max_size=5),
    st.floats(0.001, 0.999),
)
def test_quantiles_equal_scipy(parameters: list[tuple[float, float]], level: float) -> None:
    a, b = (np.array(column) for column in zip(*parameters, strict=True))
    expected = np.log(special.betaincinv(a, b, level))
    np.testing.assert_allclose(quantiles(a, b, level), expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("n", [1.0, 20.0, 1e6, 1e9])
def test_ends_have_closed_forms(n: float) -> None:
    for level in (0.025, 0.5, 0.975):
        smallest, largest = quantiles(np.array([1.0, n]), np.array([n, 1.0]), level)
        assert smallest == pytest.approx(np.log(-np.expm1(np.log1p(-level) / n)), rel=1e-6)
        assert largest == pytest.approx(np.log(level) / n, rel=1e-6)


@pytest.mark.parametrize(("k", "n"), [(3, 1_000_000), (500_000, 1_000_000), (10, 10**9), (10**8, 10**9)])
def test_order_statistics_of_many_values(k: int, n: int) -> None:
    for level in (0.025, 0.975):
        found = quantiles(np.array([float(k)]), np.array([n - k + 1.0]), level)[0]
        spread = np.sqrt((n - k + 1) / (k * (n + 1.0)))  # of log x
        expected = np.log(special.betaincinv(k, n - k + 1, level))
        assert abs(found - expected) < 1e-4 * spread
