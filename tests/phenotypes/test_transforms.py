"""Transforms against their definitions, scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from allscan.errors import InputError
from allscan.phenotypes.transforms import (
    TRANSFORMS,
    CovariateBasis,
    check_transform,
    rank_inverse_normal,
    standardise,
    transformed,
)

FloatArray = NDArray[np.float64]


def naive_rank_inverse_normal(values: FloatArray, offset: float) -> FloatArray:
    """Straight from the definition: count who is smaller, and half of who is equal."""
    out = []
    for value in values:
        rank = sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        out.append(stats.norm.ppf((rank - offset) / (len(values) - 2 * offset + 1)))
    return np.array(out)


def covariates(n: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 80, n)
    return np.column_stack([np.ones(n), age, age**2, rng.integers(0, 2, n), rng.normal(2000, 3, n)])


@pytest.mark.parametrize("offset", [3 / 8, 1 / 2, 0.0])
@pytest.mark.parametrize("decimals", [0, 10])
def test_rank_inverse_normal_follows_its_definition(offset: float, decimals: int) -> None:
    values = np.random.default_rng(1).normal(size=101).round(decimals)
    expected = naive_rank_inverse_normal(values, offset)
    np.testing.assert_allclose(rank_inverse_normal(values, offset), expected, rtol=1e-12, atol=1e-14)


def test_rank_inverse_normal_is_blom_by_default() -> None:
    # Blom's scores of five values, by hand: Φ⁻¹((r − 0.375) / 5.25).
    expected = stats.norm.ppf([0.625 / 5.25, 1.625 / 5.25, 0.5, 3.625 / 5.25, 4.625 / 5.25])
    np.testing.assert_allclose(rank_inverse_normal(np.array([1.0, 2, 3, 4, 100])), expected, atol=1e-15)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=40), st.randoms())
def test_rank_inverse_normal_depends_on_ranks_alone(values: list[int], random: object) -> None:
    array = np.array(values, dtype=float)
    scores = rank_inverse_normal(array)
    np.testing.assert_array_equal(scores, rank_inverse_normal(np.exp(array / 7)))
    np.testing.assert_allclose(scores, -rank_inverse_normal(-array), atol=1e-12)
    order = np.random.default_rng(len(values)).permutation(len(values))
    np.testing.assert_array_equal(scores[order], rank_inverse_normal(array[order]))


def test_standardise_equals_scipy() -> None:
    values = np.random.default_rng(2).normal(170, 10, 50)
    np.testing.assert_allclose(standardise(values), stats.zscore(values, ddof=1), rtol=1e-12)


@pytest.mark.parametrize("share_present", [1.0, 0.7, 0.1])
def test_residuals_equal_statsmodels(share_present: float) -> None:
    n = 400
    design = covariates(n, 3)
    rng = np.random.default_rng(4)
    values = design @ np.array([5.0, 0.3, -0.002, 1.0, 0.01]) + rng.normal(size=n)
    present = rng.random(n) < share_present
    expected = sm.OLS(values[present], design[present]).fit().resid
    residuals = CovariateBasis.of(design).residuals(values[present], present)
    np.testing.assert_allclose(residuals, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spread", [1e-1, 1e-3, 1e-4, 1e-5])
def test_residuals_stay_exact_where_the_present_samples_hardly_differ_in_a_covariate(spread: float) -> None:
    n = 400
    present = np.arange(n) % 2 == 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        narrow = np.where(present, spread, 1.0) * rng.normal(size=n)
        mixed = rng.normal(size=(n, 3)) + np.outer(narrow, [0.5, -1.0, 2.0])
        design = np.column_stack([np.ones(n), narrow, mixed])
        values = 1e6 + rng.normal(size=int(present.sum()))
        residuals = CovariateBasis.of(design).residuals(values, present)
        scaled = design[present] * [1, 1 / spread, 1, 1, 1]
        expected = values - 1e6 - scaled @ np.linalg.lstsq(scaled, values - 1e6, rcond=None)[0]
        np.testing.assert_allclose(residuals, expected, rtol=0, atol=5e-8)


def test_collinear_covariates_change_no_residual() -> None:
    n = 200
    design = covariates(n, 5)
    doubled = np.column_stack([design, design[:, 1] * 2 - design[:, 3], np.zeros(n)])
    values = np.random.default_rng(6).normal(size=n)
    present = np.arange(n) % 3 > 0
    basis, wide = CovariateBasis.of(design), CovariateBasis.of(doubled)
    assert basis.rank == wide.rank == 5
    np.testing.assert_allclose(
        basis.residuals(values[present], present), wide.residuals(values[present], present), atol=1e-10
    )


def test_a_level_that_no_present_sample_has_changes_no_residual() -> None:
    n = 100
    design = covariates(n, 7)
    rare = np.zeros(n)
    rare[:3] = 1
    present = np.arange(n) >= 3
    values = np.random.default_rng(8).normal(size=n - 3)
    with_rare = CovariateBasis.of(np.column_stack([design, rare])).residuals(values, present)
    np.testing.assert_allclose(with_rare, CovariateBasis.of(design).residuals(values, present), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_what_covariates_explain_completely_is_exactly_zero(offset: float) -> None:
    design = covariates(300, 9)
    present = np.arange(300) % 2 == 0
    values = offset + design[present] @ np.array([1.0, 0.5, 0.01, 2.0, 0.1])
    assert not CovariateBasis.of(design).residuals(values, present).any()


def test_a_small_spread_around_a_large_mean_is_not_taken_for_nothing() -> None:
    rng = np.random.default_rng(10)
    design = covariates(300, 11)
    noise = rng.normal(size=300)
    residuals = CovariateBasis.of(design).residuals(1e8 + noise, np.ones(300, dtype=bool))
    np.testing.assert_allclose(residuals, sm.OLS(noise, design).fit().resid, atol=1e-6)


def test_without_covariates_nothing_is_taken_off() -> None:
    basis = CovariateBasis.of(np.empty((5, 0)))
    np.testing.assert_array_equal(basis.residuals(np.arange(4.0), np.arange(5) < 4), np.arange(4.0))
    assert CovariateBasis.of(np.zeros((5, 2))).rank == 0


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_is_the_composition_its_name_says(name: str) -> None:
    n = 120
    design = covariates(n, 12)
    rng = np.random.default_rng(13)
    present = rng.random(n) < 0.8
    values = np.exp(rng.normal(size=int(present.sum())))
    residuals = sm.OLS(values, design[present]).fit().resid
    expected = {
        "none": values,
        "log": np.log(values),
        "standardise": stats.zscore(values, ddof=1),
        "rank_inverse_normal": naive_rank_inverse_normal(values, 3 / 8),
        "residualise_standardise": stats.zscore(residuals, ddof=1),
        "residualise_rank_inverse_normal": naive_rank_inverse_normal(residuals, 3 / 8),
    }[name]
    before = values.copy()
    result = transformed(name, values, present, CovariateBasis.of(design), trait="y")
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(values, before)


def test_log_refuses_what_has_no_logarithm() -> None:
    basis = CovariateBasis.of(np.ones((4, 1)))
    with pytest.raises(InputError, match="2 of 4 values have no logarithm") as caught:
        transformed("log", np.array([1.0, 0, -1, 2]), np.ones(4, dtype=bool), basis, trait="crp")
    assert "'crp'" in str(caught.value.where)


def test_unknown_transforms_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="no transform 'rank_inverse_norm'") as caught:
        check_transform("rank_inverse_norm", "ldl")
    assert caught.value.fix == "did you mean 'rank_inverse_normal'?"
    check_transform("none", "ldl")
