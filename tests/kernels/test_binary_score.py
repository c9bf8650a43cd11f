"""Score tests of binary traits against a naive twin: every encoding, pattern of missing values and model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from allscan.kernels.association import Coding, Missing, Model, NullData, Precision, ScanOptions, Status
from allscan.kernels.binary import LOGISTIC
from allscan.kernels.block import encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.missingness import missingness_patterns
from allscan.kernels.relatedness import Relatedness, make_relatedness
from tests import naive_scores

FLOAT64 = ScanOptions(precision=int(Precision.FLOAT64))


class Case:
    """People, traits and variants of every kind."""

    def __init__(self, seed: int, *, samples: int = 400, traits: int = 3, missing: float = 0.03) -> None:
        rng = np.random.default_rng(seed)
        frequency = np.array([0.3, 0.9, 0.02, 0.985, 0.5, 0.004, 0.15, 0.97])
        genotypes = rng.binomial(2, frequency[:, None], (len(frequency), samples)).astype(np.float64)
        genotypes[rng.random(genotypes.shape) < missing] = np.nan
        dosage = np.clip(genotypes[:4] + rng.normal(0, 0.1, (4, samples)), 0, 2)
        self.genotypes = np.concatenate([genotypes, np.round(dosage * 100) / 100])
        self.covariates = np.column_stack(
            [np.ones(samples), rng.normal(50, 10, samples), rng.integers(0, 2, samples), rng.normal(size=samples)]
        )
        eta = -1.5 + 0.03 * (self.covariates[:, 1] - 50) + 0.5 * self.covariates[:, 2]
        self.traits = (rng.random((samples, traits)) < 1 / (1 + np.exp(-eta[:, None]))).astype(np.float64)
        self.traits[rng.random((samples, traits)) < 0.1] = np.nan
        self.traits[:, 0] = rng.random(samples) < 0.2
        self.scale = np.ones(samples)
        self.offset: NDArray[np.float64] | None = None
        self.relatedness: Relatedness | None = None

    def run(self, options: ScanOptions = FLOAT64, test: Any = LOGISTIC, **own: Any) -> dict[str, NDArray[Any]]:
        """Results of every variant × trait, beta and z by the first pass unless corrected."""
        called = np.where(np.isnan(self.genotypes), -1, np.rint(self.genotypes)).astype(np.int8)
        whole = np.array([bool((g[~np.isnan(g)] == np.rint(g[~np.isnan(g)])).all()) for g in self.genotypes])
        block = encode_block(called, self.genotypes.astype(np.float32), ~whole)
        member, of_trait = missingness_patterns(self.traits)
        names = tuple(f"c{j}" for j in range(self.covariates.shape[1]))
        data = NullData(
            self.traits, self.covariates, names, self.scale, member, of_trait, self.relatedness, self.offset
        )
        null, _ = test.fit_null(data, options, {**LOGISTIC.options, "min_cases": 1, **own})
        shape = (block.n_variants, self.traits.shape[1])
        out: dict[str, NDArray[Any]] = {c.name: np.empty(shape) for c in test.columns(options)}
        out["status"] = np.empty(shape, np.uint8)
        test.score_block(block, count_genotypes(block, sample_sets(member)), null, options, out)
        return out


def code(genotypes: NDArray[np.float64], coding: Coding) -> NDArray[np.float64]:
    """The predictor of a model."""
    return {
        Coding.ADDITIVE: genotypes,
        Coding.DOMINANT: np.minimum(genotypes, 1),
        Coding.RECESSIVE: np.maximum(genotypes - 1, 0),
    }[coding]


def check(case: Case, out: dict[str, NDArray[Any]], coding: Coding, tolerance: float, *, exclude: bool) -> int:
    tested = 0
    for v, genotypes in enumerate(case.genotypes):
        for t in range(case.traits.shape[1]):
            g = code(genotypes, coding)
            used = g[~np.isnan(case.traits[:, t]) & ~np.isnan(g)]
            if np.ptp(used) == 0:
                assert out["status"][v, t] == Status.MONOMORPHIC
                continue
            expected = naive_scores.pair(
                g, case.traits[:, t], case.covariates, exclude=exclude, scale=case.scale, offset=case.offset
            )
            z = expected.score / np.sqrt(expected.variance)
            assert out["status"][v, t] == Status.OK
            assert out["beta"][v, t] / out["standard_error"][v, t] == pytest.approx(z, abs=tolerance)
            assert out["standard_error"][v, t] == pytest.approx(expected.variance**-0.5, rel=tolerance)
            tested += 1
    return tested


@pytest.mark.parametrize("coding", [Coding.ADDITIVE, Coding.DOMINANT, Coding.RECESSIVE], ids=lambda c: c.name.lower())
def test_scores_are_those_of_the_naive_twin(coding: Coding) -> None:
    case = Case(1)
    model = {Coding.ADDITIVE: Model.ADDITIVE, Coding.DOMINANT: Model.DOMINANT, Coding.RECESSIVE: Model.RECESSIVE}[
        coding
    ]
    out = case.run(FLOAT64._replace(model=int(model)), correction="none")
    # Float64 throughout; the dosages are held as float32 in the naive twin's input.
    assert check(case, out, coding, 1e-6, exclude=False) > 20


def test_males_on_x_and_offsets() -> None:
    case = Case(2)
    rng = np.random.default_rng(2)
    case.scale = np.where(case.covariates[:, 2] == 1, 0.5, 1.0)
    case.offset = rng.normal(0, 0.5, case.traits.shape)
    for v in range(len(case.genotypes)):
        for t in range(case.traits.shape[1]):
            one = Case(2)
            one.genotypes, one.traits = case.genotypes[[v]], case.traits[:, [t]]
            one.scale, one.offset = case.scale, case.offset[:, [t]]
            if v in (0, 4, 8):
                expected = naive_scores.pair(
                    one.genotypes[0], one.traits[:, 0], one.covariates, scale=one.scale, offset=one.offset[:, 0]
                )
                out = one.run(correction="none")
                z = expected.score / np.sqrt(expected.variance)
                assert out["beta"][0, 0] / out["standard_error"][0, 0] == pytest.approx(z, abs=1e-6)


def test_people_without_a_call_are_left_out() -> None:
    """One Newton step of the covariates stands for their refit: its error is of the square of the few left out."""
    case = Case(3)
    out = case.run(FLOAT64._replace(missing=int(Missing.EXCLUDE)), correction="none")
    assert check(case, out, Coding.ADDITIVE, 1e-3, exclude=True) > 20


def test_single_precision_keeps_its_bound() -> None:
    case = Case(4, samples=3000)
    double = case.run(FLOAT64, correction="none")
    single = case.run(FLOAT64._replace(precision=int(Precision.FLOAT32)), correction="none")
    gap = np.abs(double["neg_log10_p"] - single["neg_log10_p"])
    assert (gap <= 1e-4 * np.maximum(1, double["neg_log10_p"])).all()


def test_relatives_widen_standard_errors_by_the_factor_of_their_residuals() -> None:
    case = Case(5)
    n = len(case.covariates)
    first = np.arange(0, n - 1, 2)
    phi = np.eye(n)
    phi[first, first + 1] = phi[first + 1, first] = 0.5
    # Twins in status, as far as they go: pairs agree.
    case.traits[first + 1] = case.traits[first]
    plain = case.run(p_threshold=1.0)
    case.relatedness = make_relatedness(first, first + 1, np.full(len(first), 0.5), n)
    heeded = case.run(p_threshold=1.0)
    for t in range(case.traits.shape[1]):
        own = ~np.isnan(case.traits[:, t])
        x, of_own = case.covariates[own], phi[np.ix_(own, own)]
        mu = naive_scores.fit_null(case.traits[own, t], x)
        r, w = case.traits[own, t] - mu, mu * (1 - mu)
        hat = np.diag(w) - (x * w[:, None]) @ np.linalg.solve((x * w[:, None]).T @ x, (x * w[:, None]).T)
        factor = (r @ of_own @ r / (r @ r)) / (np.trace(hat @ of_own) / np.trace(hat))
        assert factor > 1.2
        found = np.isfinite(plain["beta"][:, t])
        assert heeded["beta"][found, t] == pytest.approx(plain["beta"][found, t], rel=1e-12)
        ratio = heeded["standard_error"][found, t] / plain["standard_error"][found, t]
        assert ratio == pytest.approx(np.sqrt(factor), rel=1e-9)
        found &= plain["neg_log10_p"][:, t] > 0.01  # where p is 1 the deviates are zero
        z = [stats.norm.isf(0.5 * 10 ** -out["neg_log10_p"][found, t]) for out in (plain, heeded)]
        assert z[0] / z[1] == pytest.approx(np.sqrt(factor), rel=1e-6)
