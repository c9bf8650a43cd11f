"""The tail of the chi-squared distribution on any number of degrees of freedom, in log space."""

from __future__ import annotations

import math

from allscan.kernels.jit import jit
from allscan.kernels.normal import chi2_1_neg_log10_p, chi2_2_neg_log10_p
from allscan.kernels.student import LOG10_E

_TINY = 1e-300
_EPSILON = 1e-16
_MAX_TERMS = 100_000


@jit
def chi2_neg_log10_p(x: float, df: float) -> float:
    """−log10 of the upper tail of chi-squared; nothing underflows.

    The regularised incomplete gamma function of ``a = df / 2`` and ``h = x / 2``: below its mean by the series of
    the lower tail (DLMF 8.7.1), above it by the continued fraction of the upper one (DLMF 8.9.2), with the powers in
    logs. The error of ``p`` is below 1e-12 of it up to ``df`` = 1000.

    Parameters
    ----------
    x, df
        Statistic, of which a negative value (rounding) counts as zero, and degrees of freedom, above zero.

    Returns
    -------
    float
        NaN for a NaN statistic or no degrees of freedom, infinity for an infinite statistic.
    """
    if math.isnan(x) or not df > 0.0:
        return math.nan
    if df == 1.0:
        return chi2_1_neg_log10_p(x)
    if df == 2.0:
        return chi2_2_neg_log10_p(x)
    if x <= 0.0:
        return 0.0
    if math.isinf(x):
        return math.inf
    a, h = 0.5 * df, 0.5 * x
    log_front = a * math.log(h) - h - math.lgamma(a)
    if h < a + 1.0:
        term = total = 1.0 / a
        n = a
        while term > _EPSILON * total:
            n += 1.0
            term *= h / n
            total += term
        return -math.log1p(-math.exp(log_front) * total) * LOG10_E
    # Lentz's method, as modified by Thompson and Barnett.
    b = h + 1.0 - a
    c = 1.0 / _TINY
    d = 1.0 / b
    fraction = d
    for i in range(1, _MAX_TERMS):
        numerator = -i * (i - a)
        b += 2.0
        d = numerator * d + b
        if abs(d) < _TINY:
            d = _TINY
        c = b + numerator / c
        if abs(c) < _TINY:
            c = _TINY
        d = 1.0 / d
        step = c * d
        fraction *= step
        if abs(step - 1.0) <= 2.0 * _EPSILON:
            break
    return -(log_front + math.log(fraction)) * LOG10_E
