"""Regressions of traits on columns: against formulas, statsmodels, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from allscan.kernels.association import Status
from allscan.kernels.column_tests import ColumnCells, ColumnOptions, fit_trait, make_columns
from allscan.kernels.logistic_fit import Work, make_work
from allscan.kernels.logistic_fit import fit as fit_logistic
from allscan.kernels.multiple_testing import benjamini_hochberg, bonferroni
from tests import naive_logistic

Floats = NDArray[np.float64]

NEVER = ColumnOptions(penalise_below=0.0, cases_per_coefficient=0.0)
ALWAYS = ColumnOptions(penalise_below=1.0, cases_per_coefficient=np.inf)


def example(seed: int, n: int = 400, *, missing: float = 0.1) -> tuple[Floats, Floats, Floats, Floats]:
    """Predictors, covariates, a binary and a quantitative trait."""
    rng = np.random.default_rng(seed)
    covariates = np.column_stack([np.ones(n), rng.integers(0, 2, n), rng.normal(50, 10, n)])
    predictors = np.column_stack([rng.normal(size=n), rng.normal(300, 5, n), rng.random(n) < 0.1])
    eta = -1.5 + 0.6 * predictors[:, 0] + 0.02 * (covariates[:, 2] - 50)
    binary = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    quantitative = 100 + 0.3 * predictors[:, 0] + 0.1 * covariates[:, 2] + rng.normal(size=n)
    for values in (predictors[:, :2], binary, quantitative):
        values[rng.random(values.shape) < missing] = np.nan
    return predictors, covariates, binary, quantitative


def fit(
    predictors: Floats, covariates: Floats, trait: Floats, *, binary: bool, options: ColumnOptions = NEVER
) -> ColumnCells:
    columns = make_columns(predictors, covariates)
    return fit_trait(columns, trait, binary=binary, n_covariates=covariates.shape[1], options=options)


def people(predictors: Floats, trait: Floats, k: int) -> NDArray[np.bool_]:
    return ~np.isnan(trait) & ~np.isnan(predictors[:, k])


def test_quantitative_traits_are_least_squares_in_their_own_people() -> None:
    predictors, covariates, _, trait = example(1)
    cells = fit(predictors, covariates, trait, binary=False)
    for k in range(3):
        m = people(predictors, trait, k)
        reference = sm.OLS(trait[m], np.column_stack([covariates[m], predictors[m, k]])).fit()
        assert cells.n[k] == m.sum()
        np.testing.assert_allclose(cells.beta[k], reference.params[-1], rtol=1e-9)
        np.testing.assert_allclose(cells.standard_error[k], reference.bse[-1], rtol=1e-9)
        np.testing.assert_allclose(cells.neg_log10_p[k], -np.log10(reference.pvalues[-1]), rtol=1e-9)


def test_binary_traits_are_the_likelihood_ratio_in_their_own_people() -> None:
    predictors, covariates, trait, _ = example(2)
    cells = fit(predictors, covariates, trait, binary=True)
    for k in range(3):
        m = people(predictors, trait, k)
        x = np.column_stack([covariates[m], predictors[m, k]])
        whole, null = (sm.GLM(trait[m], x[:, :c], family=sm.families.Binomial()).fit(tol=1e-14) for c in (4, 3))
        assert (cells.n[k], cells.cases[k]) == (m.sum(), trait[m].sum())
        assert cells.status[k] == Status.OK
        np.testing.assert_allclose(cells.beta[k], whole.params[-1], rtol=1e-7)
        np.testing.assert_allclose(cells.standard_error[k], whole.bse[-1], rtol=1e-7)
        expected = -np.log10(stats.chi2.sf(2 * (whole.llf - null.llf), 1))
        np.testing.assert_allclose(cells.neg_log10_p[k], expected, rtol=1e-7)


def test_the_penalised_likelihood_is_that_of_its_formulas() -> None:
    predictors, covariates, trait, _ = example(3, 150)
    covariates[:, 2] = (covariates[:, 2] - 50) / 10  # for the reference's own sake
    predictors[:, 1] -= 300
    cells = fit(predictors, covariates, trait, binary=True, options=ALWAYS)
    for k in range(3):
        m = people(predictors, trait, k)
        reference = naive_logistic.regression(
            covariates[m], predictors[m, k : k + 1], trait[m], np.zeros(m.sum()), "firth"
        )
        assert cells.status[k] == Status.FIRTH
        np.testing.assert_allclose(cells.beta[k], reference.beta[0], rtol=1e-6)
        np.testing.assert_allclose(cells.standard_error[k], reference.standard_error[0], rtol=1e-6)
        expected = -np.log10(stats.chi2.sf(reference.statistic, 1))
        np.testing.assert_allclose(cells.neg_log10_p[k], expected, rtol=1e-6)


def test_penalised_where_p_is_small_or_cases_are_few_or_separated() -> None:
    predictors, covariates, trait, _ = example(4, 2000)
    cells = fit(predictors, covariates, trait, binary=True, options=ColumnOptions())
    assert [Status(code) for code in cells.status[:2]] == [Status.FIRTH, Status.OK]
    few = np.where(np.cumsum(trait == 1) > 25, 0.0, trait)
    assert (fit(predictors, covariates, few, binary=True, options=ColumnOptions()).status == Status.FIRTH).all()
    # All carriers are cases: there is no maximum, but there is one of the penalised likelihood.
    trait[predictors[:, 2] == 1] = 1.0
    cells = fit(predictors[:, 2:], covariates, trait, binary=True)
    assert cells.status[0] == Status.FIRTH
    assert np.isfinite(cells.beta[0])
    assert cells.beta[0] > 3


@pytest.mark.parametrize("binary", [False, True])
def test_a_covariate_that_does_not_vary_among_the_people_drops_out(binary: bool) -> None:
    predictors, covariates, case, value = example(5)
    trait = case if binary else value
    trait[covariates[:, 1] == 1] = np.nan  # only one sex can have it
    cells = fit(predictors, covariates, trait, binary=binary)
    assert cells.estimated.tolist() == [[True, False, True]] * 3
    without = fit(predictors, covariates[:, [0, 2]], trait, binary=binary)
    np.testing.assert_allclose(cells.neg_log10_p, without.neg_log10_p, rtol=1e-9)
    np.testing.assert_allclose(cells.standard_error, without.standard_error, rtol=1e-9)


def test_what_cannot_be_tested_has_a_status() -> None:
    predictors, covariates, case, value = example(6, missing=0.0)
    n = len(case)
    predictors = np.column_stack([predictors[:, 0], covariates[:, 2] * 3, np.where(np.arange(n) < n // 2, 7.0, 8.0)])
    half = np.where(np.arange(n) < n // 2, value, np.nan)
    statuses = [Status(code) for code in fit(predictors, covariates, half, binary=False).status]
    assert statuses == [Status.OK, Status.COLLINEAR, Status.MONOMORPHIC]
    cases = np.where(np.arange(n) < n // 2, case, np.nan)
    statuses = [Status(code) for code in fit(predictors, covariates, cases, binary=True).status]
    assert statuses == [Status.OK, Status.COLLINEAR, Status.MONOMORPHIC]

    def only(trait: Floats, *, binary: bool, options: ColumnOptions = NEVER) -> Status:
        cells = fit(predictors[:, :1], covariates, trait, binary=binary, options=options)
        if cells.status[0] not in (Status.OK, Status.FIRTH):
            assert np.isnan([cells.beta[0], cells.standard_error[0], cells.neg_log10_p[0]]).all()
        return Status(cells.status[0])

    assert only(np.full(n, np.nan), binary=False) == Status.ALL_MISSING
    assert only(np.full(n, 3.0), binary=False) == Status.TRAIT_CONSTANT
    assert only(covariates @ [1.0, 2.0, 3.0], binary=False) == Status.TRAIT_CONSTANT
    assert only(2 * predictors[:, 0] + 5, binary=False) == Status.PERFECT_FIT
    assert only(np.where(np.arange(n) < 4, value, np.nan), binary=False) == Status.TOO_FEW_SAMPLES
    assert only(np.zeros(n), binary=True) == Status.TOO_FEW_CASES
    assert only(np.ones(n), binary=True) == Status.TOO_FEW_CASES
    assert only(case, binary=True, options=ColumnOptions(min_cases=int(case.sum()) + 1)) == Status.TOO_FEW_CASES
    assert only(case, binary=True, options=ColumnOptions(min_cases=int(case.sum()))) == Status.FIRTH
    nearly = np.where(np.arange(n) < 4, np.arange(n) % 2, np.nan)
    assert only(nearly, binary=True) == Status.TOO_FEW_SAMPLES


@given(
    seed=st.integers(0, 10_000),
    factor=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
    binary=st.booleans(),
    penalised=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_signs_units_and_the_order_of_people_do_not_matter(
    seed: int, factor: float, shift: float, binary: bool, penalised: bool
) -> None:
    predictors, covariates, case, value = example(seed, 200)
    trait, options = (case if binary else value), (ALWAYS if penalised else NEVER)
    cells = fit(predictors, covariates, trait, binary=binary, options=options)
    order = np.random.default_rng(seed).permutation(len(trait))
    other = fit(-factor * predictors[order] + shift, covariates[order], trait[order], binary=binary, options=options)
    assert (other.status == cells.status).all()
    np.testing.assert_allclose(other.neg_log10_p, cells.neg_log10_p, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(-factor * other.beta, cells.beta, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(factor * other.standard_error, cells.standard_error, rtol=1e-6)


def test_predictors_do_not_depend_on_those_beside_them() -> None:
    predictors, covariates, case, value = example(7)
    for trait, binary in ((case, True), (value, False)):
        together = fit(predictors, covariates, trait, binary=binary, options=ColumnOptions())
        for k in range(3):
            alone = fit(predictors[:, [k]], covariates, trait, binary=binary, options=ColumnOptions())
            assert [values[0] for values in alone[:6]] == [values[k] for values in together[:6]]


@given(st.lists(st.floats(0.0, 1.0, exclude_min=True), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_q_is_that_of_scipy(p: list[float]) -> None:
    expected = stats.false_discovery_control(p)
    np.testing.assert_allclose(10 ** -benjamini_hochberg(-np.log10(p)), expected, rtol=1e-9)


def test_q_neither_underflows_nor_counts_what_was_not_tested() -> None:
    q = benjamini_hochberg(np.array([np.nan, 5000.0, 1.0, np.nan]))
    np.testing.assert_allclose(q, [np.nan, 5000.0 - np.log10(2), 1.0, np.nan])
    assert np.isnan(benjamini_hochberg(np.full(3, np.nan))).all()
    np.testing.assert_allclose(bonferroni(100, 0.05), -np.log10(0.05 / 100))


@pytest.mark.parametrize("penalised", [False, True])
def test_where_arrays_lie_in_memory_decides_no_digit(penalised: bool) -> None:
    rng = np.random.default_rng(8)
    n, k = 226, 4
    x = np.linalg.qr(rng.normal(size=(n, k)))[0].T
    inputs = {
        "x": x,
        "y": (rng.random(n) < 0.3).astype(float),
        "offset": np.zeros(n),
        "b": np.array([-8.0, 0.3, 0.2, 0.1]),
    }
    shapes = {name: values.shape for name, values in make_work(n, k)._asdict().items()}
    found = set()
    for _ in range(60):
        # In another order and at other distances in one stretch of memory.
        memory, at, placed = np.empty(1 << 15), 0, {}
        for name in rng.permutation([*inputs, *shapes]):
            shape = shapes.get(name) or inputs[name].shape
            at += int(rng.integers(0, 8))
            size = int(np.prod(shape))
            placed[name] = memory[at : at + size].reshape(shape)
            at += size
        for name, values in inputs.items():
            placed[name][...] = values
        work = Work(*(placed[name] for name in shapes))
        status, value = fit_logistic(placed["x"], placed["y"], placed["offset"], n, k, k, penalised, placed["b"], work)
        assert status == Status.OK
        found.add((value, placed["b"].tobytes(), work.factor.tobytes()))
    assert len(found) == 1
