"""The effect of a genotype on a binary trait, all else as the null model has it: one parameter.

The log odds of the null model are the offset and the genotype the one predictor, so that the log likelihood of an
effect ``t`` is ``t s − K(t)`` with ``K`` of :mod:`allscan.kernels.cumulants`. With the genotype less its projection on
the covariates (with the null model's weights) the estimate is that of the full regression to first order.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from allscan.kernels.cumulants import Law, derivatives, origin
from allscan.kernels.jit import jit
from allscan.kernels.saddlepoint import FOUND, NOT_CONVERGED, OUT_OF_REACH, TINY, first_guess, solve

_MAX_STEPS = 100
_LAST_STEP = 1e-8  # relative; steps are quadratic


class OneParameterFit(NamedTuple):
    """An estimated effect; NaN unless the state is FOUND."""

    effect: float  # log odds ratio
    information: float  # its inverse is the square of the standard error
    likelihood_ratio: float  # twice the gain in (penalised) log likelihood over no effect
    state: int  # FOUND; AT_EDGE without a maximum; NOT_CONVERGED; OUT_OF_REACH


@jit
def _no_fit(state: int) -> OneParameterFit:
    return OneParameterFit(math.nan, math.nan, math.nan, state)


@jit
def fit_maximum_likelihood(s: float, law: Law) -> OneParameterFit:
    """Effect by maximum likelihood, from the score ``s`` and its law; none (AT_EDGE) where all carriers are cases."""
    root = solve(s, law, origin(law), -math.inf)
    if root.state != FOUND:
        return _no_fit(root.state)
    return OneParameterFit(root.t, root.k2, 2.0 * (root.t * s - root.k), FOUND)


@jit
def fit_firth(s: float, law: Law) -> OneParameterFit:
    """Effect by Firth's penalised likelihood (10.1093/biomet/80.1.27), which always has a maximum.

    Maximises ``t s − K(t) + ½ ln K''(t)`` by Newton's method within a bracket.

    Parameters
    ----------
    s
        The score, about its mean of zero.
    law
        Its distribution under the null.
    """
    start = origin(law)
    if not start.variance > TINY:
        return _no_fit(NOT_CONVERGED)
    slope = s + 0.5 * start.skewness / start.variance
    if slope == 0.0:
        return OneParameterFit(0.0, start.variance, 0.0, FOUND)
    sign = 1.0 if slope > 0.0 else -1.0
    inside = 0.0
    outside = math.inf
    t = min(abs(first_guess(slope, start)), law.reach)
    for _ in range(_MAX_STEPS):
        at = derivatives(sign * t, law)
        if not at.k2 > 0.0:
            break
        skew = sign * at.k3 / at.k2
        slope = sign * s - sign * at.k1 + 0.5 * skew
        if slope < 0.0:
            outside = t
        else:
            inside = t
            if t >= law.reach:
                return _no_fit(OUT_OF_REACH)
        curvature = at.k2 - 0.5 * (at.k4 / at.k2 - skew * skew)
        # Where the penalised likelihood is not concave, or hardly: the curvature of the likelihood.
        step = slope / (curvature if curvature > 0.25 * at.k2 else at.k2)
        if abs(step) <= _LAST_STEP * t or slope == 0.0:
            gain = sign * t * s - at.k + 0.5 * math.log(at.k2 / start.variance)
            return OneParameterFit(sign * (t + step), at.k2 + sign * step * at.k3, 2.0 * max(gain, 0.0), FOUND)
        new = t + step
        if new >= outside or new <= inside:
            new = 0.5 * (inside + outside) if outside < math.inf else 2.0 * inside
        t = min(new, law.reach)
    return _no_fit(NOT_CONVERGED)
