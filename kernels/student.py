"""Tail probabilities in log space: nothing underflows, nothing is rounded to zero."""

from __future__ import annotations

import math

import numpy as np

from allscan.kernels.elementary import log_of_fraction
from allscan.kernels.jit import jit

LOG10_E = math.log10(math.e)
_TINY = 1e-300
_EPSILON = 1e-15
_MAX_TERMS = 20000
_SQRT_HALF = math.sqrt(0.5)
_EVEN = (
    *(1.4212425539749192e-07, -1.670838889597775e-06, 8.896022996163178e-06, -3.037364189719407e-05),
    *(7.146976794250743e-05, -9.375152341352955e-05, -0.00014624443024541866, 0.001758933357310285),
    *(-0.009872689358730183, 0.04734330684181755, -0.6717940840566923),
)
_ODD = (
    *(8.5443286557448e-07, -2.351808487631655e-06, -4.077828569509823e-07, 3.2066655258079446e-05),
    *(-0.00017442647429112993, 0.0006737092008641839, -0.0023458170668852092, 0.008824938937818345),
    *(-0.046895610245823345, 0.6726432239778232),
)
# −ln p over the deviate where p is near one, of which the difference to one matters: its interpolant of degree 8 on
# [0, 1/4], to 1e-16.
_NEAR_ONE = (
    *(2.063021188603998e-06, -5.2271292909334484e-05, 0.00021204200669937447, -3.698213762159906e-05),
    *(-0.00478211168440643, 0.03633560235584949, 0.3183098861838061, 0.7978845608028653),
)
MANY_DF = 1000.0
MOST_EXPLAINED = 1.0 / 21.0  # t² is a tenth of the degrees of freedom


@jit
def log_gamma_ratio(a: float) -> float:
    """``log Γ(a + 1/2) − log Γ(a)``, without the cancellation of two large log-gammas.

    Asymptotic series of the ratio (DLMF 5.11.13) above 25, where its next term is below 1e-15.
    """
    if a < 25.0:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    r = 1.0 / a
    r2 = r * r
    return 0.5 * math.log(a) + r * (
        -1.0 / 8.0 + r2 * (1.0 / 192.0 + r2 * (-1.0 / 640.0 + r2 * (17.0 / 14336.0 - r2 * 31.0 / 18432.0)))
    )


@jit
def beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method."""
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    if abs(d) < _TINY:
        d = _TINY
    d = 1.0 / d
    h = d
    for m in range(1, _MAX_TERMS):
        m2 = 2.0 * m
        for half in range(2):
            if half == 0:
                term = m * (b - m) * x / ((a + m2 - 1.0) * (a + m2))
            else:
                term = -(a + m) * (a + b + m) * x / ((a + m2) * (a + m2 + 1.0))
            d = 1.0 + term * d
            if abs(d) < _TINY:
                d = _TINY
            c = 1.0 + term / c
            if abs(c) < _TINY:
                c = _TINY
            d = 1.0 / d
            step = d * c
            h *= step
        if abs(step - 1.0) < _EPSILON:
            break
    return h


@jit
def log_erfcx(x: float) -> float:
    """``ln(exp(x²) erfc(x))`` for ``x >= 0``, to 1e-14.

    With ``t = 2 / (2 + x)``, ``ln(erfcx(x) / t)`` is smooth on [0, 1]: its Chebyshev interpolant of degree 22, as
    powers of ``2 t - 1``, even and odd apart (two short chains instead of a long one).
    """
    t = np.divide(2.0, 2.0 + x)  # unlike an operator without a check for zero, which would not vectorise
    y = 2.0 * t - 1.0
    w = y * y
    even = 3.99322639651523e-09
    for a in _EVEN:
        even = even * w + a
    odd = -1.1808396926565442e-07
    for a in _ODD:
        odd = odd * w + a
    out: float = log_of_fraction(t) + even + y * odd
    return out


@jit
def deviate_bend(df: float) -> float:
    """What Hill's expansion of the deviate needs of the degrees of freedom."""
    a = df - 0.5
    return 1.0 / (48.0 * a * a)


@jit
def near_normal_neg_log10_p(s: float, df: float, bend: float) -> float:
    """−log10 p of ``t²`` from the normal tail, by Hill's (10.1145/355598.355600) expansion of the deviate.

    For ``df >= MANY_DF`` and ``s <= MOST_EXPLAINED`` its relative error is below 1e-12; see the tests. It has no
    branches: a loop over it vectorises.

    Parameters
    ----------
    s
        ``t² / (2 df + t²)``.
    df, bend
        Degrees of freedom, and their :func:`deviate_bend`.
    """
    w = s * s
    # ln(1 + t²/df), by the series of atanh: six terms reach 1e-16 here.
    log_ratio = 2.0 * s * (1.0 + w * (1 / 3 + w * (1 / 5 + w * (1 / 7 + w * (1 / 9 + w * (1 / 11 + w * (1 / 13)))))))
    v = (df - 0.5) * log_ratio
    z = math.sqrt(v)
    z += z * bend * (v + 3.0 - 0.1 * bend * (855.0 + v * (240.0 + v * (33.0 + 4.0 * v))))
    near_one = 1.874501305706779e-06
    for c in _NEAR_ONE:
        near_one = near_one * z + c
    tail = 0.5 * z * z - log_erfcx(z * _SQRT_HALF)
    return (z * near_one if z < 0.25 else tail) * LOG10_E


@jit
def t_neg_log10_p(t: float, df: float) -> float:
    """−log10 of the two-sided p of Student's t.

    ``p = I_x(df/2, 1/2)`` with ``x = df / (df + t²)`` (DLMF 8.17.1; Abramowitz & Stegun 26.7.1), by the
    continued fraction of the side that converges, with the powers taken in logs. With many degrees of freedom and
    few of them in the statistic, by an expansion about the normal tail, which takes a tenth of the time.

    Parameters
    ----------
    t, df
        Statistic and degrees of freedom (> 0, not necessarily whole).

    Returns
    -------
    float
        NaN for a NaN statistic, infinity for an infinite one.
    """
    if math.isnan(t) or not df > 0.0:
        return math.nan
    if math.isinf(t):
        return math.inf
    a = 0.5 * df
    square = t * t
    s = square / (2.0 * df + square)
    if df >= MANY_DF and s <= MOST_EXPLAINED:
        out: float = near_normal_neg_log10_p(s, df, deviate_bend(df))
        return out
    y = square / (df + square)
    if y == 0.0:
        return 0.0
    log_x = -math.log1p(square / df)
    # x^a (1-x)^(1/2) / B(a, 1/2), with B(a, 1/2) = Γ(a) Γ(1/2) / Γ(a + 1/2)
    log_front = a * log_x + 0.5 * math.log(y) + log_gamma_ratio(a) - 0.5 * math.log(math.pi)
    if y > 1.5 / (a + 2.5):
        log_p = log_front - math.log(a) + math.log(beta_fraction(a, 0.5, 1.0 - y))
        return -log_p * LOG10_E
    body = math.exp(log_front) * 2.0 * beta_fraction(0.5, a, y)
    return -math.log1p(-body) * LOG10_E


@jit
def f2_neg_log10_p(f: float, df: float) -> float:
    """−log10 p of an F statistic on 2 and ``df`` degrees of freedom: ``p = (1 + 2 f / df)^(−df/2)``."""
    if math.isnan(f) or not df > 0.0:
        return math.nan
    return 0.5 * df * math.log1p(2.0 * f / df) * LOG10_E
