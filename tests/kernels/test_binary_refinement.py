"""Pairs below the threshold: tails, effects and standard errors against slow references, pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from allscan.kernels.association import Coding, Missing, Precision, ScanOptions, Status
from tests import naive_scores
from tests.kernels import score_laws
from tests.kernels.test_binary_score import FLOAT64, Case, code

OF_ERROR = 1e-3
"""Of a standard error, in effects: people who carry nothing enter by three cumulants."""
EVERY_PAIR = {"p_threshold": 1.0, "exact_carriers": 0}


def unbalanced(seed: int, samples: int = 1500) -> Case:
    """Traits of few cases, variants from common to rare."""
    case = Case(seed, samples=samples, missing=0.01)
    rng = np.random.default_rng(seed)
    for t, log_odds in enumerate((-3.5, -2.0, -5.0)):
        chance = 1 / (1 + np.exp(-(log_odds + 0.04 * (case.covariates[:, 1] - 50))))
        case.traits[:, t] = rng.random(samples) < chance
    case.traits[:50, 1] = np.nan
    # One common and one rare variant with an effect.
    case.traits[:, 0] = np.where(rng.random(samples) < 0.05 * np.nan_to_num(case.genotypes[6]), 1, case.traits[:, 0])
    case.traits[:, 1] = np.where(rng.random(samples) < 0.6 * np.nan_to_num(case.genotypes[5]), 1, case.traits[:, 1])
    return case


def firth(score: float, adjusted: np.ndarray, mu: np.ndarray) -> tuple[float, float, float]:
    """Effect, its information, and the penalised likelihood ratio, by a search."""

    def gain(t: float) -> float:
        penalty = 0.5 * math.log(score_laws.k2(t, adjusted, mu) / score_laws.k2(0.0, adjusted, mu))
        return t * score - score_laws.k_of_real(t, adjusted, mu) + penalty

    best = optimize.minimize_scalar(lambda t: -gain(t), bracket=(-0.1, 0.1), tol=1e-12).x
    return best, score_laws.k2(best, adjusted, mu), 2 * gain(best)


def expected_pair(case: Case, v: int, t: int, *, exclude: bool = False) -> naive_scores.Score:
    return naive_scores.pair(case.genotypes[v], case.traits[:, t], case.covariates, exclude=exclude)


@pytest.mark.parametrize("exclude", [False, True], ids=["impute", "exclude"])
def test_saddlepoint_p_and_penalised_effects(exclude: bool) -> None:
    case = unbalanced(1)
    options = FLOAT64._replace(missing=int(Missing.EXCLUDE if exclude else Missing.IMPUTE_MEAN))
    out = case.run(options, **EVERY_PAIR)
    found = 0
    for v, t in np.argwhere(out["status"] == Status.SADDLEPOINT):
        expected = expected_pair(case, v, t, exclude=exclude)
        p = max(0.0, score_laws.naive_saddlepoint(expected.score, expected.adjusted, expected.mu))
        # 1e-6, and what rounding of dosages to float32 adds. People who carry nothing enter by three cumulants: with
        # the lattice of few expected cases that shows near p = 1, where no job asks for it.
        assert out["neg_log10_p"][v, t] == pytest.approx(p, abs=2e-6 if p > 1.3 else 3e-4, rel=2e-6)
        beta, information, _ = firth(expected.score, expected.adjusted, expected.mu)
        assert out["beta"][v, t] == pytest.approx(beta, abs=OF_ERROR * information**-0.5)
        z = stats.norm.isf(0.5 * 10 ** -out["neg_log10_p"][v, t])
        if z >= 1:
            assert abs(out["beta"][v, t]) / out["standard_error"][v, t] == pytest.approx(z, rel=1e-6)
        else:
            assert out["standard_error"][v, t] == pytest.approx(information**-0.5, rel=OF_ERROR)
        found += 1
    assert found >= 25
    assert (out["neg_log10_p"] > 8).any()


def test_firth_p_is_that_of_the_penalised_likelihood_ratio() -> None:
    case = unbalanced(2)
    out = case.run(FLOAT64, correction="firth", **EVERY_PAIR)
    tested = np.argwhere(out["status"] == Status.FIRTH)
    assert len(tested) >= 25
    for v, t in tested:
        own = ~np.isnan(case.traits[:, t])
        y, x = case.traits[own, t], case.covariates[own]
        adjusted = expected_pair(case, v, t).adjusted
        mu = naive_scores.fit_firth_null(y, x)
        beta, information, ratio = firth(float(adjusted @ (y - mu)), adjusted, mu)
        assert out["beta"][v, t] == pytest.approx(beta, abs=OF_ERROR * information**-0.5)
        assert out["neg_log10_p"][v, t] == pytest.approx(-stats.chi2.logsf(ratio, 1) / math.log(10), abs=1e-4)


def test_few_cases_among_few_carriers_have_the_exact_p() -> None:
    case = unbalanced(3)
    out = case.run(FLOAT64, p_threshold=1.0)
    exact = [(v, t) for v, t in np.argwhere(out["status"] == Status.EXACT) if v < 8]  # the others are dosages
    assert len(exact) >= 3
    for v, t in exact:
        g = code(case.genotypes[v], Coding.ADDITIVE)
        own = ~np.isnan(case.traits[:, t])
        minor = g if np.nanmean(g) < 1 else 2 - g
        carries = own & (minor > 0)
        y, mu = case.traits[carries, t], expected_pair(case, v, t).mu[(minor > 0)[own]]
        copies = minor[carries].astype(int)
        assert min(y.sum(), (1 - y).sum()) <= 4
        total = np.ones(1)
        for copy, chance in zip(copies, mu, strict=True):
            step = np.zeros(copy + 1)
            step[0], step[copy] = 1 - chance, chance
            total = np.convolve(total, step)
        mean, observed = copies @ mu, copies @ y
        outcomes = np.arange(len(total))
        p = total[np.abs(outcomes - mean) >= abs(observed - mean) - 1e-9].sum()
        assert out["neg_log10_p"][v, t] == pytest.approx(-math.log10(p), abs=1e-6)


def test_only_pairs_below_the_threshold_are_corrected() -> None:
    case = unbalanced(4)
    plain = case.run(FLOAT64, correction="none")
    out = case.run(FLOAT64, exact_carriers=0)
    below = plain["neg_log10_p"] >= -math.log10(0.05)
    tested = np.isfinite(plain["neg_log10_p"])
    assert (out["status"][tested & below] == Status.SADDLEPOINT).all()
    assert (out["status"][tested & ~below] == Status.OK).all()
    for name in ("beta", "standard_error", "neg_log10_p"):
        assert np.array_equal(out[name][~below], plain[name][~below], equal_nan=True)


def test_single_precision_gives_the_same_corrected_pairs() -> None:
    case = unbalanced(5, samples=4000)
    double = case.run(FLOAT64, **EVERY_PAIR)
    single = case.run(ScanOptions(precision=int(Precision.FLOAT32)), **EVERY_PAIR)
    assert np.array_equal(double["status"], single["status"])
    gap = np.abs(double["neg_log10_p"] - single["neg_log10_p"])
    # What is left is the covariates' slope in single precision, which enters the exact sums in second order.
    assert np.nanmax(gap / np.maximum(1, double["neg_log10_p"])) < 1e-6


def test_a_predictor_that_the_covariates_explain_is_collinear() -> None:
    case = Case(6)
    case.genotypes[0] = case.covariates[:, 2]
    case.genotypes[4] = 2 - case.covariates[:, 2]
    out = case.run(ScanOptions(precision=int(Precision.FLOAT32)))
    assert (out["status"][[0, 4]] == Status.COLLINEAR).all()
    assert np.isnan(out["beta"][[0, 4]]).all()
