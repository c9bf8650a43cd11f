"""Score tests of binary traits from products: every variant of a block against every trait of a batch.

See :mod:`allscan.kernels.binary_null` for the algebra. Where a person without a call is left out (``exclude``), the
covariates of the null model are no longer at their optimum among those who stay; the score is then the efficient one
(Neyman's C(α), 10.1111/j.2517-6161.1984.tb01336.x), which takes off what a step towards that optimum would change::

    U = Σ g (y − μ) + hᵀ A⁻¹ Σ_missing x (y − μ)

with ``h`` and ``A`` of the people who stay.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.jit import jit
from allscan.kernels.linear_common import COLLINEAR, factor_in_place, solve_in_place
from allscan.kernels.logistic import GONE
from allscan.kernels.normal import normal_neg_log10_p
from allscan.kernels.summary import chi_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.binary_null import People, Weights
    from allscan.kernels.entries import Entries
    from allscan.kernels.linear_shared import PredictorMoments

DOUBTFUL = 0.01
"""Share of a predictor's weighted sum of squares left after the covariates, below which float32 would lose digits that
matter: such pairs are computed again, person by person, as are those that leave people out."""


class Sums(NamedTuple):
    """Products of a block, over people with a call and over those without."""

    products: NDArray[np.float64]  # (variants, traits × (1 + columns))
    absent: NDArray[np.float64]
    squares: NDArray[np.float64]  # (variants, traits)
    absent_squares: NDArray[np.float64]


class Scores(NamedTuple):
    """What the products say of each variant × trait; each of shape (traits, variants)."""

    score: NDArray[np.float64]  # U
    variance: NDArray[np.float64]  # V
    status: NDArray[np.uint8]
    doubtful: NDArray[np.bool_]


@jit
def score_pairs(
    sums: Sums,
    predictor: PredictorMoments,
    size: NDArray[np.int64],
    missing: Entries,
    exclude: bool,
    set_of_trait: NDArray[np.int64],
    trait_status: NDArray[np.uint8],
    people: People,
    weights: Weights,
    root: NDArray[np.float64],
    scores: Scores,
) -> None:
    """Scores and variances of all variants and traits; arguments as in the null model's fields."""
    n_variants, n_traits = sums.squares.shape
    c = people.basis.shape[0]
    h = np.empty(c)
    away = np.empty(c)
    factor = np.empty((c, c))
    for v in range(n_variants):
        some_missing = missing.offset[v + 1] > missing.offset[v]
        for t in range(n_traits):
            s = set_of_trait[t]
            code = int(trait_status[t])
            if code == codes.OK:
                if size[s] == predictor.n_missing[v, s]:
                    code = codes.ALL_MISSING
                elif predictor.spread[v, s] <= 0.0:
                    code = codes.MONOMORPHIC
            scores.status[t, v] = code
            scores.score[t, v] = math.nan
            scores.variance[t, v] = math.nan
            scores.doubtful[t, v] = False
            if code != codes.OK:
                continue
            first = t * (1 + c)
            leaves_out = exclude and some_missing and predictor.n_missing[v, s] > 0
            m = 0.0 if exclude else predictor.mean[v, s]
            u = sums.products[v, first] + m * sums.absent[v, first]
            q = sums.squares[v, t] + m * m * sums.absent_squares[v, t]
            covariate_sums(sums, v, t, m, h)
            explained = 0.0
            if leaves_out:
                factor_without(missing, v, t, people, weights, away, factor)
                solve_in_place(factor, h, c)
                solve_in_place(factor, away, c)
                for k in range(c):
                    u += h[k] * away[k]
                    explained += h[k] * h[k]
            else:
                for k in range(c):
                    total = 0.0
                    for j in range(c):
                        total += root[t, j, k] * h[j]
                    explained += total * total
            left = q - explained
            scores.score[t, v] = u
            scores.variance[t, v] = left
            # Who is left out changes everybody's weights a little.
            scores.doubtful[t, v] = leaves_out or left <= DOUBTFUL * q
            if left <= COLLINEAR * q:
                scores.status[t, v] = codes.COLLINEAR


@jit
def covariate_sums(sums: Sums, v: int, t: int, m: float, h: NDArray[np.float64]) -> None:
    """``h = Xᵀ W g``, where people without a call count as ``m``."""
    first = t * (1 + h.shape[0]) + 1
    for k in range(h.shape[0]):
        h[k] = sums.products[v, first + k] + m * sums.absent[v, first + k]


@jit
def factor_without(
    missing: Entries,
    v: int,
    t: int,
    people: People,
    weights: Weights,
    away: NDArray[np.float64],
    factor: NDArray[np.float64],
) -> None:
    """Cholesky factor of A without the people who have no call; ``away`` becomes their ``Σ x (y − μ)``."""
    c = away.shape[0]
    largest = 0.0
    for j in range(c):
        away[j] = 0.0
        largest = max(largest, weights.information[t, j, j])
        for k in range(j + 1):
            factor[j, k] = weights.information[t, j, k]
    for i in range(missing.offset[v], missing.offset[v + 1]):
        sample = missing.sample[i]
        mu = weights.probability[t, sample]
        if mu == 0.0:  # not analysed
            continue
        residual = (1.0 if people.case[t, sample] else 0.0) - mu
        weight = mu * (1.0 - mu)
        for j in range(c):
            x = people.basis[j, sample]
            away[j] += residual * x
            for k in range(j + 1):
                factor[j, k] -= weight * x * people.basis[k, sample]
    factor_in_place(factor, c, GONE * largest)


@jit
def finish_scores(
    scores: Scores,
    beta: NDArray[np.float64],
    standard_error: NDArray[np.float64],
    neg_log10_p: NDArray[np.float64],
) -> None:
    """The one-step estimate, its standard error and the normal p; all (traits, variants)."""
    for t in range(beta.shape[0]):
        for v in range(beta.shape[1]):
            if scores.status[t, v] == codes.OK:
                root = math.sqrt(scores.variance[t, v])
                beta[t, v] = scores.score[t, v] / scores.variance[t, v]
                standard_error[t, v] = 1.0 / root
                neg_log10_p[t, v] = normal_neg_log10_p(scores.score[t, v] / root)
            else:
                beta[t, v] = math.nan
                standard_error[t, v] = math.nan
                neg_log10_p[t, v] = math.nan


def heed_relatives(
    variance_factor: NDArray[np.float64], standard_error: NDArray[np.float64], neg_log10_p: NDArray[np.float64]
) -> None:
    """Multiply variances by what relatives make of them: standard errors grow, and the deviate of p shrinks as much.

    ``variance_factor`` has shape (traits,), the others (traits, variants).
    """
    changed = np.flatnonzero(variance_factor != 1.0)
    if not len(changed):
        return
    factor = variance_factor[changed, None]
    deviates = np.sqrt(chi_square(neg_log10_p[changed]) / factor)
    _normal_p(deviates)
    neg_log10_p[changed] = deviates
    standard_error[changed] *= np.sqrt(factor)


@jit
def _normal_p(deviates: NDArray[np.float64]) -> None:
    """Deviates become −log10 p, in place; NaN stays."""
    for t in range(deviates.shape[0]):
        for v in range(deviates.shape[1]):
            if not math.isnan(deviates[t, v]):
                deviates[t, v] = normal_neg_log10_p(deviates[t, v])
