"""From products to estimates, of 64 variants beside each other.

One after the other, the divisions, roots and tails of tests wait for each other; beside each other, vector registers
hold four or eight of them, several registers at a time, and whole lines of a trait's results are written.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.jit import jit
from allscan.kernels.linear_common import PERFECT_FIT
from allscan.kernels.student import MANY_DF, MOST_EXPLAINED, deviate_bend, near_normal_neg_log10_p, t_neg_log10_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

LANES = 64
"""Variants that are finished together: enough that no vector unit waits for a division, and few enough for caches."""

# Where the numbers of a trait and its variants are in one array, so that LLVM sees at once that they do not overlap.
_PRODUCT = 0
_LEFT = LANES
_X = 2 * LANES
_INVERSE_X = 3 * LANES
_DF = 4 * LANES
_PER_REST = 5 * LANES  # of the squared standard error
_BEND = 6 * LANES
_BETA = 7 * LANES
_STANDARD_ERROR = 8 * LANES
_NEG_LOG10_P = 9 * LANES
_REST = 10 * LANES
_EXPLAINED = 11 * LANES  # t² / (2 df + t²)
_SIZE = 12 * LANES


class Lanes(NamedTuple):
    """Sums of some variants, ready for the last step, and room for it."""

    x: NDArray[np.float64]  # (sets, LANES) length² of the predictor beyond the covariates
    df: NDArray[np.float64]  # (sets, LANES)
    product: NDArray[np.float64]  # (traits, LANES) of the predictor and the trait
    left: NDArray[np.float64]  # (traits, LANES) length² of the trait beyond the covariates
    status: NDArray[np.uint8]  # (traits, LANES)
    strong: NDArray[np.bool_]  # (LANES,) the variant leaves so little of a trait that sums in float32 would show
    work: NDArray[np.float64]


def make_lanes(n_sets: int, n_traits: int) -> Lanes:
    """Room for the sums of some variants."""
    of_sets, of_traits = (n_sets, LANES), (n_traits, LANES)
    return Lanes(
        np.ones(of_sets),
        np.ones(of_sets),
        np.zeros(of_traits),
        np.ones(of_traits),
        np.full(of_traits, codes.MONOMORPHIC, np.uint8),
        np.zeros(LANES, np.bool_),
        np.empty(_SIZE),
    )


@jit
def take_set(lanes: Lanes, s: int) -> None:
    """What the traits of set ``s`` share."""
    work = lanes.work
    for i in range(LANES):
        x, df = lanes.x[s, i], lanes.df[s, i]
        work[_X + i] = x
        work[_INVERSE_X + i] = 1.0 / x
        work[_DF + i] = df
        work[_PER_REST + i] = 1.0 / (df * x)
        work[_BEND + i] = deviate_bend(df)


@jit
def finish_trait(lanes: Lanes, k: int, factor: float, unit: float, strong: float) -> None:
    """Estimates of trait ``k``, of the set that was taken, and its statuses.

    Parameters
    ----------
    factor
        Of the variance, for relatives.
    unit
        Of the trait, in the units in which results are told.
    strong
        Share of the trait that is left, up to which a variant counts as strong.
    """
    work, status = lanes.work, lanes.status[k]
    for i in range(LANES):
        work[_PRODUCT + i] = lanes.product[k, i]
        work[_LEFT + i] = lanes.left[k, i]
    _estimate(work, factor, unit)
    odd = False
    for i in range(LANES):
        fits = work[_REST + i] <= strong * work[_LEFT + i]
        usual = (work[_EXPLAINED + i] <= MOST_EXPLAINED) & (work[_DF + i] >= MANY_DF)
        odd |= fits | (not usual) | (status[i] != codes.OK)
    if not odd:
        return
    for i in range(LANES):
        if status[i] == codes.OK:
            left = work[_LEFT + i]
            if work[_REST + i] <= strong * left:
                lanes.strong[i] = True
            if work[_REST + i] <= PERFECT_FIT * left:
                status[i] = codes.PERFECT_FIT
            elif not (work[_EXPLAINED + i] <= MOST_EXPLAINED and work[_DF + i] >= MANY_DF):
                t = work[_BETA + i] / work[_STANDARD_ERROR + i]
                work[_NEG_LOG10_P + i] = t_neg_log10_p(t, work[_DF + i])
        if status[i] != codes.OK:
            work[_BETA + i] = work[_STANDARD_ERROR + i] = work[_NEG_LOG10_P + i] = math.nan


@jit
def _estimate(work: NDArray[np.float64], factor: float, unit: float) -> None:
    # Division without a check for zero: with one, the loop would not vectorise.
    for i in range(LANES):
        estimate = work[_PRODUCT + i] * work[_INVERSE_X + i]
        explained = work[_PRODUCT + i] * estimate
        rest = work[_LEFT + i] - explained
        of_both = np.divide(explained, 2.0 * factor * rest + explained)
        work[_BETA + i] = estimate * unit
        work[_STANDARD_ERROR + i] = math.sqrt(factor * rest * work[_PER_REST + i]) * unit
        work[_NEG_LOG10_P + i] = near_normal_neg_log10_p(of_both, work[_DF + i], work[_BEND + i])
        work[_REST + i] = rest
        work[_EXPLAINED + i] = of_both


@jit
def write_trait(
    lanes: Lanes,
    k: int,
    places: NDArray[np.int64],
    beta: NDArray[np.floating[Any]],
    standard_error: NDArray[np.floating[Any]],
    neg_log10_p: NDArray[np.floating[Any]],
    status: NDArray[np.uint8],
) -> None:
    """Write what was found of trait ``k`` to its rows of results, as many variants as there are places."""
    work, of_trait = lanes.work, lanes.status[k]
    for i in range(places.shape[0]):
        to = places[i]
        beta[to] = work[_BETA + i]
        standard_error[to] = work[_STANDARD_ERROR + i]
        neg_log10_p[to] = work[_NEG_LOG10_P + i]
        status[to] = of_trait[i]
