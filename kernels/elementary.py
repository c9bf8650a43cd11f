"""Exponential and logarithm that LLVM can vectorise: a loop that calls the C library's takes four times as long."""

from __future__ import annotations

import math

import numpy as np

from allscan.kernels.jit import jit_fast

_LOG2_E = 1.4426950408889634
# ln 2 in two parts; the first has 33 bits, so that its product with an exponent is exact (fdlibm).
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_SQRT_HALF = math.sqrt(0.5)
_MANTISSA = (1 << 52) - 1
_EXPONENT_OF_HALF = 1022 << 52
LOWEST = -708.0
"""Below it the exponential is no normal number."""


@jit_fast
def exp_of_negative(x: float) -> float:
    """Exponential of ``-708 <= x <= 0``, to 5e-16 and 5e-17 |x| of itself: ``2^k`` times a Taylor polynomial."""
    k = np.floor(x * _LOG2_E + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    s = r * r
    q = s * s
    # Terms up to r^12 / 12!, in groups of four: short chains.
    a = (1.0 + r) + s * (1 / 2 + r * (1 / 6))
    b = (1 / 24 + r * (1 / 120)) + s * (1 / 720 + r * (1 / 5040))
    c = (1 / 40320 + r * (1 / 362880)) + s * (1 / 3628800 + r * (1 / 39916800)) + q * (1 / 479001600)
    scale = np.int64((np.int64(np.int32(k)) + 1023) << 52).view(np.float64)
    out: float = scale * (a + q * (b + q * c))
    return out


@jit_fast
def log_of_fraction(x: float) -> float:
    """Natural logarithm of ``1e-307 <= x <= 1``, to 4 units in the last place of the result or of one half."""
    bits = np.float64(x).view(np.int64)
    k = np.float64(np.int32(((bits >> 52) & 2047) - 1022))
    m = np.int64((bits & _MANTISSA) | _EXPONENT_OF_HALF).view(np.float64)
    low = m < _SQRT_HALF
    k = k - 1.0 if low else k
    m = m + m if low else m
    # ln m = 2 atanh((m - 1) / (m + 1)), of an argument below 0.172
    s = np.divide(m - 1.0, m + 1.0)  # unlike an operator without a check for zero, which would not vectorise
    z = s * s
    q = z * z
    a = (1.0 + z * (1 / 3)) + q * (1 / 5 + z * (1 / 7))
    b = (1 / 9 + z * (1 / 11)) + q * (1 / 13 + z * (1 / 15)) + q * q * (1 / 17 + z * (1 / 19))
    out: float = k * _LN2_HIGH + (2.0 * s * (a + q * q * b) + k * _LN2_LOW)
    return out
