"""Normal and chi-squared tails, against SciPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from allscan.kernels.normal import chi2_1_neg_log10_p, chi2_2_neg_log10_p, normal_neg_log10_p

DEVIATES = np.concatenate([[0.0, 1e-300, 1e-12, 0.3535, 0.3536], np.logspace(-6, 8, 200)])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_normal_tail(sign: float) -> None:
    ours = [normal_neg_log10_p(sign * z) for z in DEVIATES]
    theirs = -(stats.norm.logsf(DEVIATES) + math.log(2)) / math.log(10)
    # logsf of a small deviate has lost the digits of 1 - p; there p is 1 - erf.
    small = DEVIATES < 0.5
    theirs[small] = [-math.log1p(-math.erf(z / math.sqrt(2))) / math.log(10) for z in DEVIATES[small]]
    np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=0)


def test_chi_squared_tails() -> None:
    square = DEVIATES[(DEVIATES > 1e-3) & (DEVIATES < 30)] ** 2  # SciPy's tail is zero soon after
    one = [chi2_1_neg_log10_p(x) for x in square]
    np.testing.assert_allclose(one, -stats.chi2.logsf(square, 1) / math.log(10), rtol=1e-10)
    two = [chi2_2_neg_log10_p(x) for x in square]
    np.testing.assert_allclose(two, square / 2 / math.log(10), rtol=1e-15)


def test_the_ends() -> None:
    assert math.isnan(normal_neg_log10_p(math.nan))
    assert math.isnan(chi2_1_neg_log10_p(math.nan))
    assert math.isnan(chi2_2_neg_log10_p(math.nan))
    assert normal_neg_log10_p(math.inf) == chi2_1_neg_log10_p(math.inf) == chi2_2_neg_log10_p(math.inf) == math.inf
    assert normal_neg_log10_p(0.0) == chi2_1_neg_log10_p(-1e-17) == chi2_2_neg_log10_p(-1e-17) == 0.0
