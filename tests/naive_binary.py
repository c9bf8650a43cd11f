"""What the test `logistic` says of one variant and trait, the slow way: the score, and what becomes of a small p."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from allscan.kernels.association import Status
from tests import naive_logistic
from tests.kernels import score_laws
from tests.naive_scores import Score, pair

Floats = NDArray[np.float64]
THRESHOLD = 0.05
FEW = 4


class Result(NamedTuple):
    """One cell of a results cube."""

    beta: float
    standard_error: float
    neg_log10_p: float
    status: int


def result(predictor: Floats, y: Floats, covariates: Floats, highest: float, *, exclude: bool = False) -> Result:
    """By the defaults of the test, but for the least number of cases.

    Parameters
    ----------
    predictor : (samples,)
        Coded genotypes, NaN without a call.
    y : (samples,)
        NaN: not analysed.
    covariates : (samples, covariates)
    highest
        The largest value of the predictor.
    exclude
        Whether people without a call are left out; else they count as the mean.
    """
    varies = np.any(covariates[~np.isnan(y)] != 0, axis=0)  # sex in a disease of one sex does not
    score = pair(predictor, y, covariates[:, varies], exclude=exclude)
    z = score.score / math.sqrt(score.variance)
    normal = float(-(stats.norm.logsf(abs(z)) + math.log(2)) / math.log(10))
    if normal < -math.log10(THRESHOLD):
        return Result(score.score / score.variance, score.variance**-0.5, normal, Status.OK)
    own = ~np.isnan(y) & (~np.isnan(predictor) if exclude else True)
    g, cases = predictor[own], y[own] == 1
    common = highest if np.nanmean(g) > highest / 2 else 0.0
    copies = np.nan_to_num(np.abs(g - common))
    carries = copies >= 0.5
    whole = float((score.mu * (1 - score.mu)) @ copies**2)
    few = min((carries & cases).sum(), (carries & ~cases).sum()) <= FEW
    if few and score.variance >= 0.5 * whole:
        p, status = exact_p(copies, score.mu, cases), Status.EXACT
    else:
        p = max(0.0, score_laws.naive_saddlepoint(score.score, score.adjusted, score.mu))
        status = Status.SADDLEPOINT
    beta = effect(score, cases.astype(float))
    return Result(beta, abs(beta) / math.sqrt(stats.chi2.isf(10.0**-p, 1)), p, status)


def effect(score: Score, y: Floats) -> float:
    """Firth's estimate beside the null model."""
    offset = np.log(score.mu / (1 - score.mu))
    return float(naive_logistic.maximum_penalised(score.adjusted[:, None], y, offset, 1)[0])


def exact_p(copies: Floats, mu: Floats, cases: NDArray[np.bool_]) -> float:
    """−log10 p of the copies that cases carry; outcomes as far from the mean as the observed one count whole."""
    steps = np.round(copies * 64).astype(int)
    chance = np.ones(1)
    for size, p in zip(steps[steps > 0], mu[steps > 0], strict=True):
        chance = np.concatenate([chance * (1 - p), np.zeros(size)]) + np.concatenate([np.zeros(size), chance * p])
    mean = float(steps @ mu)
    distance = np.abs(np.arange(len(chance)) - mean)
    return float(-np.log10(chance[distance >= abs(steps[cases].sum() - mean) - 1e-9].sum()))
