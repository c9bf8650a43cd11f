"""Quantiles of the beta distribution, in log space; SciPy has them too, and takes longer to import than to use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from allscan.kernels.jit import jit
from allscan.kernels.student import beta_fraction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_STEPS = 200
_PRECISION = 1e-14


@jit
def beta_log_quantiles(a: NDArray[np.float64], b: NDArray[np.float64], level: float, out: NDArray[np.float64]) -> None:
    """Natural logarithm of the values that beta variables fall below with a given probability.

    The regularised incomplete beta function, by the continued fraction of :mod:`allscan.kernels.student`, is inverted
    by Newton's method on the logarithm, within bounds that each step narrows.

    Parameters
    ----------
    a, b
        The distributions' parameters, shape (n,), at least 1. Relative error 1e-10 up to a + b = 1e6, 1e-6 up to 1e9.
    level
        The probability, above 0 and below 1.
    out
        Written, shape (n,).
    """
    for i in range(len(a)):
        log_scale = math.lgamma(a[i] + b[i]) - math.lgamma(a[i]) - math.lgamma(b[i])
        low, high = -800.0, 0.0
        y = math.log(a[i] / (a[i] + b[i]))
        for _ in range(_MAX_STEPS):
            x, rest = math.exp(y), -math.expm1(y)
            front = math.exp(log_scale + a[i] * y + b[i] * math.log(rest))
            if x < (a[i] + 1.0) / (a[i] + b[i] + 2.0):
                below = front * beta_fraction(a[i], b[i], x) / a[i]
            else:
                below = 1.0 - front * beta_fraction(b[i], a[i], rest) / b[i]
            if below < level:
                low = y
            else:
                high = y
            # d I / d log x
            slope = front / rest
            step = y - (below - level) / slope if slope > 0.0 else low
            if not low < step < high:
                step = 0.5 * (low + high)
            done = abs(step - y) <= _PRECISION * abs(step)
            y = step
            if done:
                break
        out[i] = y
