"""Quantiles of the normal distribution; SciPy has them too, and takes longer to import than most checks take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Coefficients of the algorithm's rational functions, highest power first: near the median, in the tails, far out.
_MIDDLE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080),
    (5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
     5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0),
)  # fmt: skip
_TAIL = (
    (7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258,
     3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.4759380849953449460e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.8976733498510000455e-1, 1.67638483018380384940, 2.05319162663775882187, 1.0),
)  # fmt: skip
_FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580, 5.46378491116411436990, 6.65790464350110377720),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0),
)  # fmt: skip

_LEAST_LOG = -700.0
"""Below it a probability does not fit a float64 with all its digits."""
_LOG_ROOT_2PI = 0.5 * float(np.log(2.0 * np.pi))
_NEWTON_STEPS = 4


def normal_quantile(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Φ⁻¹(p), to about 1e-15 of its value.

    Parameters
    ----------
    p
        (n,) probabilities, above 0 and below 1.

    References
    ----------
    Wichura MJ (1988) Algorithm AS 241, routine PPND16. https://doi.org/10.2307/2347330
    """
    out = np.empty_like(p)
    from_median = p - 0.5
    middle = np.abs(from_median) <= 0.425
    near = from_median[middle]
    out[middle] = near * _ratio(_MIDDLE, 0.180625 - near * near)
    below = from_median[~middle] < 0
    outer = p[~middle]
    depth = np.sqrt(-np.log(np.where(below, outer, 1.0 - outer)))
    size = np.where(depth <= 5.0, _ratio(_TAIL, depth - 1.6), _ratio(_FAR, depth - 5.0))
    out[~middle] = np.where(below, -size, size)
    return out


def normal_score_of_log(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Φ⁻¹ of a probability of which only the logarithm can be held, to about 1e-15 of its value.

    Parameters
    ----------
    log_p
        (n,) natural logarithms of probabilities above 0 and at most 1/2; −inf gives −inf, NaN gives NaN.

    References
    ----------
    Abramowitz M, Stegun IA. Handbook of Mathematical Functions, 26.2.12: the tail's asymptotic series.
    """
    out = np.full_like(log_p, np.nan)
    held = log_p > _LEAST_LOG
    out[held] = normal_quantile(np.exp(log_p[held]))
    far = log_p <= _LEAST_LOG
    target = -log_p[far]
    # Newton's method on −log Φ(−z), whose derivative is z but for the series' own.
    z = np.sqrt(2.0 * target)
    for _ in range(_NEWTON_STEPS):
        inverse = 1.0 / (z * z)
        series = 1.0 - inverse * (1.0 - inverse * (3.0 - inverse * (15.0 - inverse * 105.0)))
        with np.errstate(invalid="ignore"):  # infinite less infinite
            excess = 0.5 * z * z + np.log(z) + _LOG_ROOT_2PI - np.log(series) - target
        z = np.where(np.isinf(z), z, z - excess / (z + 1.0 / z))
    out[far] = -z
    return out


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], r: NDArray[np.float64]) -> NDArray[np.float64]:
    top, bottom = (np.full_like(r, powers[0]) for powers in coefficients)
    for value, powers in zip((top, bottom), coefficients, strict=True):
        for coefficient in powers[1:]:
            value *= r
            value += coefficient
    top /= bottom
    return top
