"""Tails of the score of a binary trait by saddlepoint approximation.

Barndorff-Nielsen's form of the formula of Lugannani and Rice (10.2307/1426607), each tail with its own saddlepoint, as
SPAtest (10.1016/j.ajhg.2017.05.014), SAIGE and REGENIE have it:

    P(S >= s) = Φ(−z),   z = r + ln(v / r) / r,   r = √(2 (t s − K(t))),   v = t √K''(t),   K'(t) = s

All is in log space: no tail underflows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from allscan.kernels.cumulants import TOLERANCE, Law, Origin, derivatives, farthest, log_error, origin
from allscan.kernels.elementary import log_of_fraction
from allscan.kernels.jit import jit
from allscan.kernels.student import LOG10_E, log_erfcx

FOUND = 0
NOT_CONVERGED = 1
"""No solution: a score that cannot be, no variance, or too many steps."""
OUT_OF_REACH = 2
"""The solution lies where the cumulants of a law do not suffice: take its people one by one."""
AT_EDGE = 3
"""The score is the most extreme one that can be: the solution is infinite."""
NEGLIGIBLE = 4
"""The other tail does not matter beside the observed one."""

_MAX_STEPS = 100
# Of the last step, times the largest genotype. Steps are cubic, K and K'' follow by Taylor: what is left is some 1e-9.
_LAST_STEP = 2e-3
_EDGE = 1e-9
_IGNORED = -18.4  # ln 1e-8, of the other tail beside the observed one
_AT_MEAN = 1e-16  # square of r, below which its limit is taken
TINY = 1e-150  # a variance of which the square is no longer a number
# Saddlepoint × genotype below which t s − K(t) would lose digits.
_NEAR_MEAN = 0.05
_SQRT_HALF = math.sqrt(0.5)


class Root(NamedTuple):
    """The solution of ``K'(t) = s``, with ``K`` and its derivatives there."""

    t: float
    k: float
    k2: float
    k3: float
    state: int


class Saddlepoint(NamedTuple):
    """Two-sided p, and the observed score's saddlepoint, which is also its maximum-likelihood effect."""

    neg_log10_p: float
    t: float
    state: int  # FOUND, NOT_CONVERGED or OUT_OF_REACH


@jit
def first_guess(s: float, start: Origin) -> float:
    """A saddlepoint of the Poisson law that has the same variance and skewness, scaled."""
    t = s / start.variance
    x = t * start.skewness / start.variance
    if abs(x) < 1e-3:
        return t
    return t * math.log1p(max(x, -0.9)) / x


@jit
def solve(s: float, law: Law, start: Origin, floor: float) -> Root:
    """Solve ``K'(t) = s`` by Halley's method within a bracket.

    Parameters
    ----------
    s
        The score.
    law, start
        Its distribution, and what :func:`allscan.kernels.cumulants.origin` tells of it.
    floor
        Give up, with state NEGLIGIBLE, once ``ln P`` of the tail is seen to be below (Chernoff's bound).
    """
    if not start.variance > TINY:
        return Root(math.nan, math.nan, math.nan, math.nan, NOT_CONVERGED)
    if s == 0.0:
        return Root(0.0, 0.0, start.variance, start.skewness, FOUND)
    edge = start.highest if s > 0.0 else start.lowest
    if abs(s) >= abs(edge) * (1.0 - _EDGE):
        impossible = abs(s) > abs(edge) * (1.0 + _EDGE)
        return Root(math.copysign(math.inf, s), math.nan, math.nan, math.nan, NOT_CONVERGED if impossible else AT_EDGE)
    sign = 1.0 if s > 0.0 else -1.0
    inside = 0.0  # of |t|: the solution lies beyond
    outside = math.inf  # … and before
    t = min(abs(first_guess(s, start)), law.reach)
    for step_number in range(_MAX_STEPS):
        at = derivatives(sign * t, law)
        k1 = sign * at.k1
        k3 = sign * at.k3
        if at.k - t * abs(s) < floor:
            return Root(sign * t, at.k, at.k2, at.k3, NEGLIGIBLE)
        excess = k1 - abs(s)
        if excess > 0.0:
            outside = t
        else:
            inside = t
            if t >= law.reach:
                return Root(sign * t, at.k, at.k2, at.k3, OUT_OF_REACH)
        halley = at.k2 * at.k2 - 0.5 * excess * k3
        step = -excess * at.k2 / halley if halley > 0.25 * at.k2 * at.k2 else -excess / max(at.k2, TINY)
        if abs(step) * start.scale <= _LAST_STEP and abs(step) <= 0.02 * t:
            k = at.k + step * (k1 + step * (0.5 * at.k2 + step * k3 / 6.0))
            k2 = at.k2 + step * (k3 + 0.5 * step * at.k4)
            return Root(sign * (t + step), k, k2, at.k3 + sign * step * at.k4, FOUND)
        new = t + step
        if new >= outside or new <= inside or step_number % 8 == 7:
            new = 0.5 * (inside + outside) if outside < math.inf else 2.0 * inside
        t = min(new, law.reach)
    return Root(sign * t, math.nan, math.nan, math.nan, NOT_CONVERGED)


@jit
def log_upper_tail(z: float) -> float:
    """``ln Φ(−z)``."""
    if z < 0.0:
        return math.log1p(-0.5 * math.erfc(-z * _SQRT_HALF))
    return math.log(0.5) - 0.5 * z * z + log_erfcx(z * _SQRT_HALF)


@jit
def _log_tail(s: float, root: Root, start: Origin) -> float:
    """``ln P`` of the tail from ``s`` outwards."""
    t = root.t
    if abs(t) * start.scale < _NEAR_MEAN:
        # t s − K(t) = ∫ τ K''(τ) dτ, with the cubic that has the values and slopes of K'' at both ends.
        half = 0.15 * start.variance + 0.35 * root.k2 + t * (start.skewness / 30.0 - root.k3 / 20.0)
        square = 2.0 * half * t * t
    else:
        square = 2.0 * (t * s - root.k)
    if not square > _AT_MEAN:
        skewness = start.skewness if s >= 0.0 else -start.skewness
        return log_upper_tail(skewness / (6.0 * start.variance * math.sqrt(start.variance)))
    r = math.sqrt(square)
    return log_upper_tail(r + 0.5 * math.log(t * t * root.k2 / square) / r)


@jit
def _log_edge(s: float, law: Law) -> float:
    """``ln P`` of the most extreme score on the side of ``s``: everybody is what moves it there."""
    log_p = 0.0
    for i in range(law.genotype.shape[0]):
        x = law.genotype[i] if s > 0.0 else -law.genotype[i]
        if x > 0.0:
            log_p += log_of_fraction(law.probability[i])
        elif x < 0.0:
            log_p += log_of_fraction(1.0 - law.probability[i])
    return log_p


@jit
def _solve_other(s: float, law: Law, start: Origin, log_p: float) -> Root:
    """As :func:`solve`, of the tail that adds to one of ``log_p``: the less it adds, the less exact it has to be."""
    floor = log_p + _IGNORED
    root = solve(s, law, start, floor)
    if root.state != OUT_OF_REACH:
        return root
    beyond = solve(s, Law(law.genotype, law.probability, law.cumulants, farthest(law)), start, floor - 1.0)
    if beyond.state == NEGLIGIBLE:
        return beyond
    if beyond.state == FOUND:
        share = _log_tail(s, beyond, start) - log_p
        if share + log_error(beyond.t, law) <= math.log(TOLERANCE):
            return beyond
    return root


@jit
def saddlepoint(s: float, law: Law) -> Saddlepoint:
    """Two-sided p of a score: ``P(S >= |s|) + P(S <= −|s|)``, −log10.

    Parameters
    ----------
    s
        The score, about its mean of zero.
    law
        Its distribution under the null.

    Returns
    -------
    Saddlepoint
        NaN unless the state is FOUND; the effect is infinite where all carriers are cases, or none.
    """
    start = origin(law)
    root = solve(s, law, start, -math.inf)
    if s == 0.0 and root.state == FOUND:
        return Saddlepoint(0.0, 0.0, FOUND)
    if root.state == FOUND:
        log_p = _log_tail(s, root, start)
    elif root.state == AT_EDGE:
        log_p = _log_edge(s, law)
    else:
        return Saddlepoint(math.nan, math.nan, root.state)
    other = _solve_other(-s, law, start, log_p)
    other_edge = start.lowest if s > 0.0 else start.highest
    log_other = -math.inf
    if other.state == FOUND:
        log_other = _log_tail(-s, other, start)
    elif other.state == AT_EDGE:
        log_other = _log_edge(-s, law)
    elif other.state == OUT_OF_REACH or (other.state == NOT_CONVERGED and abs(s) < abs(other_edge)):
        return Saddlepoint(math.nan, root.t, other.state)
    if log_other > -math.inf:
        log_p = max(log_p, log_other) + math.log1p(math.exp(-abs(log_p - log_other)))
    return Saddlepoint(max(0.0, -log_p * LOG10_E), root.t, FOUND)
