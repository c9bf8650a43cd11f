"""Normal quantiles, against SciPy, and against mpmath where a probability does not fit a float64."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import special, stats

from allscan.quantiles import normal_quantile, normal_score_of_log


def test_normal_quantiles_equal_scipy_from_the_median_to_the_far_tails() -> None:
    tails = 10.0 ** np.arange(-300, -1, 0.5)
    p = np.concatenate([tails, np.linspace(0.001, 0.999, 1999), 1 - 10.0 ** np.arange(-15, -1, 0.5)])
    np.testing.assert_allclose(normal_quantile(p), stats.norm.ppf(p), rtol=2e-14, atol=1e-15)


def test_scores_of_logarithms_equal_scipy() -> None:
    log_p = np.concatenate([np.log(0.5) - np.linspace(0, 5, 200), -np.geomspace(5, 1e12, 2000), [-699.9, -700, -700.1]])
    np.testing.assert_allclose(normal_score_of_log(log_p), special.ndtri_exp(log_p), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("z", [37.0, 38.0, 60.0, 1e4])
def test_scores_are_those_of_the_tail_with_fifty_digits(z: float) -> None:
    with mpmath.workdps(50):
        log_p = float(mpmath.log(mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2)) / 2))
    assert normal_score_of_log(np.array([log_p]))[0] == pytest.approx(-z, rel=1e-15)


def test_scores_of_the_ends() -> None:
    np.testing.assert_array_equal(normal_score_of_log(np.array([-np.inf, np.nan])), [-np.inf, np.nan])
    assert abs(normal_score_of_log(np.array([np.log(0.5)]))[0]) < 1e-15
    assert normal_score_of_log(np.empty(0)).shape == (0,)
