"""Tail probabilities in log space: nothing underflows, nothing is rounded to zero."""

from __future__ import annotations

import math

from allscan.kernels.jit import jit

LOG10_E = math.log10(math.e)
_TINY = 1e-300
_EPSILON = 1e-15
_MAX_TERMS = 20000


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
def t_neg_log10_p(t: float, df: float) -> float:
    """−log10 of the two-sided p of Student's t.

    ``p = I_x(df/2, 1/2)`` with ``x = df / (df + t²)`` (DLMF 8.17.1; Abramowitz & Stegun 26.7.1), by the
    continued fraction of the side that converges, with the powers taken in logs.

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
