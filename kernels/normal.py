"""Tails of the normal and the chi-squared distribution in log space."""

from __future__ import annotations

import math

from allscan.kernels.jit import jit
from allscan.kernels.student import LOG10_E, log_erfcx

_SQRT_HALF = math.sqrt(0.5)
_SMALL = 0.25
"""Deviates below it have p near one, of which the difference to one is what matters."""


@jit
def normal_neg_log10_p(z: float) -> float:
    """−log10 of the two-sided p of a standard normal deviate; NaN for NaN, infinity for infinity."""
    x = abs(z) * _SQRT_HALF
    if x < _SMALL:
        return -math.log1p(-math.erf(x)) * LOG10_E
    if math.isinf(x):
        return math.inf
    return (x * x - log_erfcx(x)) * LOG10_E


@jit
def chi2_1_neg_log10_p(x: float) -> float:
    """−log10 p of a chi-squared statistic on one degree of freedom; one that rounding made negative counts as zero."""
    return normal_neg_log10_p(math.sqrt(max(x, 0.0))) if x == x else math.nan


@jit
def chi2_2_neg_log10_p(x: float) -> float:
    """−log10 p of a chi-squared statistic on two degrees of freedom, of which p is ``exp(−x / 2)``."""
    return 0.5 * max(x, 0.0) * LOG10_E if x == x else math.nan
