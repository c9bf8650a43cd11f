"""Meta-analysis of many tests: fixed effects, random effects, without each study, and of deviates without effects.

Everything is (studies, tests). A study without a finite effect and a standard error above zero is absent from a test
as if it did not exist. A test is computed by itself: its numbers do not depend on which others stand beside it. The
order of the studies matters to rounding only.

References
----------
Cochran WG. The combination of estimates from different experiments. Biometrics 1954;10:101–129.
DerSimonian R, Laird N. Control Clin Trials 1986;7:177–188, doi:10.1016/0197-2456(86)90046-2.
Higgins JPT, Thompson SG. Stat Med 2002;21:1539–1558, doi:10.1002/sim.1186 (I²).
Willer CJ, Li Y, Abecasis GR. METAL. Bioinformatics 2010;26:2190–2191, doi:10.1093/bioinformatics/btq340 (deviates).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.chi_squared import chi2_neg_log10_p
from allscan.kernels.jit import jit
from allscan.kernels.meta_studies import (
    NO_STUDY,
    OK,
    ONE_STUDY,
    gather,
    matrices,
    weighted_mean,
    weighted_squares,
)
from allscan.kernels.normal import normal_neg_log10_p
from allscan.kernels.student import LOG10_E, log_erfcx

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOG_2 = math.log(2.0)
_LOG10_2 = math.log10(2.0)
_SQRT_HALF = math.sqrt(0.5)
_LOG_SQRT_2_PI = 0.5 * math.log(2.0 / math.pi)
_NEAR_CERTAIN = 0.5 * np.finfo(float).epsneg.item()
"""Half the distance of the largest p below 1 to 1: a p of 1 is counted as one that far from it."""


class FixedEffects(NamedTuple):
    """One effect common to all studies, by inverse variance; all (tests,)."""

    n_studies: NDArray[np.int32]
    beta: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    neg_log10_p: NDArray[np.float64]
    q: NDArray[np.float64]
    """Cochran's Q; NaN with one study."""
    q_neg_log10_p: NDArray[np.float64]
    """On ``n_studies − 1`` degrees of freedom."""
    i_squared: NDArray[np.float64]
    """Share of the variance between studies that is no chance, 0 to 1: ``max(0, (Q − df) / Q)``."""
    status: NDArray[np.uint8]
    """:class:`~allscan.kernels.meta_studies.MetaStatus`."""


class RandomEffects(NamedTuple):
    """The mean of effects that differ between studies, by DerSimonian and Laird; all (tests,).

    All are NaN with one study, which says nothing of how studies differ.
    """

    beta: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    neg_log10_p: NDArray[np.float64]
    tau_squared: NDArray[np.float64]
    """Variance between studies."""
    status: NDArray[np.uint8]


class LeaveOneOut(NamedTuple):
    """Fixed effects of all studies but one; (studies, tests), NaN where that study has no test or no other has."""

    beta: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    neg_log10_p: NDArray[np.float64]
    q_neg_log10_p: NDArray[np.float64]
    """Of the heterogeneity that is left; NaN also where one study is."""


class WeightedDeviates(NamedTuple):
    """A combination of normal deviates, weighted by the root of the studies' sizes; all (tests,)."""

    n_studies: NDArray[np.int32]
    size: NDArray[np.float64]
    """Sum over the studies that have the test."""
    z: NDArray[np.float64]
    neg_log10_p: NDArray[np.float64]
    status: NDArray[np.uint8]


def fixed_effects(beta: NDArray[np.floating], standard_error: NDArray[np.floating]) -> FixedEffects:
    """Inverse-variance fixed effects with Cochran's Q and I².

    Parameters
    ----------
    beta, standard_error : (studies, tests)
        In the same units, of the same allele.

    Raises
    ------
    ValueError
        Their shapes differ.

    Warnings
    --------
    The p value is one of "no study has an effect" or of "the common effect is zero". Where effects differ, its standard
    error is not that of the mean over further populations; see :func:`random_effects`.
    """
    beta, standard_error = matrices(beta, standard_error)
    n = beta.shape[1]
    out = FixedEffects._make([np.zeros(n, np.int32), *np.full((6, n), np.nan), np.zeros(n, np.uint8)])
    _fixed_effects(beta, standard_error, out)
    return out


def random_effects(beta: NDArray[np.floating], standard_error: NDArray[np.floating]) -> RandomEffects:
    """Random effects, with the variance between studies by DerSimonian and Laird's moments.

    Parameters
    ----------
    beta, standard_error : (studies, tests)

    Raises
    ------
    ValueError
        Their shapes differ.

    Warnings
    --------
    With few studies the normal reference is too sure of itself, as everywhere with this method. To find variants whose
    effects differ, use :func:`allscan.kernels.meta_re2.re2`: this test has less power than fixed effects by design.
    """
    beta, standard_error = matrices(beta, standard_error)
    n = beta.shape[1]
    out = RandomEffects._make([*np.full((4, n), np.nan), np.zeros(n, np.uint8)])
    _random_effects(beta, standard_error, out)
    return out


def leave_one_out(beta: NDArray[np.floating], standard_error: NDArray[np.floating]) -> LeaveOneOut:
    """Fixed effects without each of the studies in turn, each summed anew: nothing is lost to differences.

    Parameters
    ----------
    beta, standard_error : (studies, tests)

    Raises
    ------
    ValueError
        Their shapes differ.
    """
    beta, standard_error = matrices(beta, standard_error)
    out = LeaveOneOut._make(np.full((4, *beta.shape), np.nan))
    _leave_one_out(beta, standard_error, out)
    return out


def weighted_deviates(
    z: NDArray[np.floating], size: NDArray[np.floating], *, two_sided: bool = True
) -> WeightedDeviates:
    """Stouffer's sum of deviates with weights ``sqrt(size)``: ``Σ sqrt(n) z / sqrt(Σ n)``.

    Parameters
    ----------
    z : (studies, tests)
        Deviates, as :func:`signed_deviates` and :func:`upper_deviates` make them of p. NaN is an absent study; an
        infinite one makes the sum infinite (NaN with one of the other sign).
    size : (studies, tests), or (studies, 1)
        Sample sizes, or effective ones: ``4 / (1 / cases + 1 / controls)``. A study without one above zero is absent.
    two_sided
        False for deviates of tests without a direction: p is then the upper tail.

    Raises
    ------
    ValueError
        The shapes do not fit.
    """
    if z.ndim != 2 or size.ndim != 2 or size.shape[0] != z.shape[0] or size.shape[1] not in (1, z.shape[1]):
        raise ValueError(f"deviates {z.shape} must be (studies, tests), and sizes {size.shape} that or (studies, 1)")
    n = z.shape[1]
    out = WeightedDeviates._make([np.zeros(n, np.int32), *np.full((3, n), np.nan), np.zeros(n, np.uint8)])
    _weighted_deviates(np.ascontiguousarray(z), np.ascontiguousarray(size), two_sided, out)
    return out


def signed_deviates(neg_log10_p: NDArray[np.floating], direction: NDArray[np.floating]) -> NDArray[np.float64]:
    """Normal deviates of two-sided p with the signs of effects, in any shape; NaN of NaN.

    Parameters
    ----------
    neg_log10_p, direction
        −log10 p, and any number with the effect's sign.

    Raises
    ------
    ValueError
        Their shapes differ.
    """
    if neg_log10_p.shape != direction.shape:
        raise ValueError(f"−log10 p {neg_log10_p.shape} and directions {direction.shape} must have one shape")
    out = np.empty(neg_log10_p.size)
    _upper_deviates(np.ravel(neg_log10_p), _LOG10_2, out)
    signed: NDArray[np.float64] = out.reshape(neg_log10_p.shape) * np.sign(direction)
    return signed


def upper_deviates(neg_log10_p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Deviates whose upper tail is p, in any shape: of tests without a direction. NaN of NaN; of p = 1 it is −8.3."""
    out = np.empty(neg_log10_p.size)
    _upper_deviates(np.ravel(neg_log10_p), 0.0, out)
    return out.reshape(neg_log10_p.shape)


@jit
def _fixed_effects(beta: NDArray[np.floating], standard_error: NDArray[np.floating], out: FixedEffects) -> None:
    n_studies, n_tests = beta.shape
    who, x, v = np.empty(n_studies, np.int64), np.empty(n_studies), np.empty(n_studies)
    for t in range(n_tests):
        k, unit = gather(beta, standard_error, t, who, x, v)
        out.n_studies[t] = k
        if k == 0:
            out.status[t] = NO_STUDY
            continue
        mean, weight = weighted_mean(x, v, k, 0.0)
        out.beta[t] = mean * unit
        out.standard_error[t] = unit / math.sqrt(weight)
        out.neg_log10_p[t] = normal_neg_log10_p(mean * math.sqrt(weight))
        if k == 1:
            out.status[t] = ONE_STUDY
            continue
        q = weighted_squares(x, v, k, 0.0, mean)
        df = k - 1.0
        out.q[t] = q
        out.q_neg_log10_p[t] = chi2_neg_log10_p(q, df)
        out.i_squared[t] = (q - df) / q if q > df else 0.0
        out.status[t] = OK


@jit
def _random_effects(beta: NDArray[np.floating], standard_error: NDArray[np.floating], out: RandomEffects) -> None:
    n_studies, n_tests = beta.shape
    who, x, v = np.empty(n_studies, np.int64), np.empty(n_studies), np.empty(n_studies)
    for t in range(n_tests):
        k, unit = gather(beta, standard_error, t, who, x, v)
        if k < 2:
            out.status[t] = ONE_STUDY if k else NO_STUDY
            continue
        mean, weight = weighted_mean(x, v, k, 0.0)
        q = weighted_squares(x, v, k, 0.0, mean)
        # Σw − Σw²/Σw, as the sum over pairs that it is: one weight may outweigh all the others.
        pairs = before = 0.0
        for i in range(k):
            w = 1.0 / v[i]
            pairs += w * before
            before += w
        between = max(0.0, (q - (k - 1.0)) * weight / (2.0 * pairs))
        mean, weight = weighted_mean(x, v, k, between)
        out.beta[t] = mean * unit
        out.standard_error[t] = unit / math.sqrt(weight)
        out.neg_log10_p[t] = normal_neg_log10_p(mean * math.sqrt(weight))
        out.tau_squared[t] = between * unit * unit
        out.status[t] = OK


@jit
def _leave_one_out(beta: NDArray[np.floating], standard_error: NDArray[np.floating], out: LeaveOneOut) -> None:
    n_studies, n_tests = beta.shape
    who, x, v = np.empty(n_studies, np.int64), np.empty(n_studies), np.empty(n_studies)
    for t in range(n_tests):
        k, unit = gather(beta, standard_error, t, who, x, v)
        if k < 2:
            continue
        last = k - 1
        # The study that is left out stands last; the one that stood there is in its place.
        for i in range(k):
            x[i], x[last] = x[last], x[i]
            v[i], v[last] = v[last], v[i]
            mean, weight = weighted_mean(x, v, last, 0.0)
            s = who[i]
            out.beta[s, t] = mean * unit
            out.standard_error[s, t] = unit / math.sqrt(weight)
            out.neg_log10_p[s, t] = normal_neg_log10_p(mean * math.sqrt(weight))
            if last > 1:
                out.q_neg_log10_p[s, t] = chi2_neg_log10_p(weighted_squares(x, v, last, 0.0, mean), last - 1.0)
            x[i], x[last] = x[last], x[i]
            v[i], v[last] = v[last], v[i]


@jit
def _weighted_deviates(
    z: NDArray[np.floating], size: NDArray[np.floating], two_sided: bool, out: WeightedDeviates
) -> None:
    n_studies, n_tests = z.shape
    shared = size.shape[1] == 1
    for t in range(n_tests):
        k = 0
        numerator = total = 0.0
        for s in range(n_studies):
            deviate = float(z[s, t])
            n = float(size[s, 0 if shared else t])
            if not math.isnan(deviate) and math.isfinite(n) and n > 0.0:
                numerator += math.sqrt(n) * deviate
                total += n
                k += 1
        out.n_studies[t] = k
        if k == 0:
            out.status[t] = NO_STUDY
            continue
        combined = numerator / math.sqrt(total)
        out.size[t] = total
        out.z[t] = combined
        out.neg_log10_p[t] = normal_neg_log10_p(combined) if two_sided else _upper_neg_log10_p(combined)
        out.status[t] = OK if k > 1 else ONE_STUDY


@jit
def _upper_neg_log10_p(z: float) -> float:
    """−log10 of the probability of a larger deviate."""
    two_sided = normal_neg_log10_p(z)
    if z >= 0.0:
        return two_sided + _LOG10_2
    return -math.log1p(-0.5 * math.exp(-two_sided / LOG10_E)) * LOG10_E


@jit
def _upper_deviates(neg_log10_p: NDArray[np.floating], plus: float, out: NDArray[np.float64]) -> None:
    """Deviates whose upper tail is p, ``plus`` added to −log10 p."""
    for i in range(len(out)):
        log_p = (float(neg_log10_p[i]) + plus) / LOG10_E
        if math.isnan(log_p) or math.isinf(log_p):
            out[i] = log_p
        elif log_p < _LOG_2:
            # p above one half: by what it lacks to one
            out[i] = -_deviate(-math.log(max(-math.expm1(-log_p), _NEAR_CERTAIN)))
        else:
            out[i] = _deviate(log_p)


@jit
def _deviate(log_p: float) -> float:
    """Deviate above zero, of −ln of its upper tail.

    −ln of the tail rises and is convex, and is at least ``ln 2 + z² / 2``: Newton's steps come from above.
    """
    z = math.sqrt(max(2.0 * (log_p - _LOG_2), 0.0))
    for _ in range(50):
        bend = log_erfcx(z * _SQRT_HALF)
        step = (0.5 * z * z - bend + _LOG_2 - log_p) / math.exp(_LOG_SQRT_2_PI - bend)
        z = max(z - step, 0.0)
        if abs(step) <= 1e-15 * z:
            break
    return z
