"""Meta-regression on axes of ancestry: against least squares of three models, and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings

from allscan.kernels.meta import fixed_effects
from allscan.kernels.meta_regression import meta_regression
from allscan.kernels.meta_studies import MetaStatus
from tests import naive_meta
from tests.kernels.meta_cases import Case, cases, random_case

STATISTICS = ("association", "ancestry", "residual")


def places(studies: int, axes: int = 2) -> np.ndarray:
    return np.random.default_rng(studies).normal(0.3, 0.2, (studies, axes))


def test_naive() -> None:
    case, axes = random_case(21, 8, 200), places(8)
    ours = meta_regression(*case, axes)
    for t in range(200):
        studies = naive_meta.present(*case, t)
        assert ours.n_studies[t] == len(studies)
        if len(studies) < 4:
            assert ours.status[t] == (MetaStatus.TOO_FEW_STUDIES if studies else MetaStatus.NO_STUDY)
            assert math.isnan(ours.association[t])
            assert np.isnan(ours.coefficient[:, t]).all()
            continue
        assert ours.status[t] == MetaStatus.OK
        coefficient, error, *chi = naive_meta.regression(studies, axes)
        np.testing.assert_allclose(
            ours.coefficient[:, t], coefficient, rtol=1e-7, atol=1e-8 * np.abs(coefficient).max()
        )
        np.testing.assert_allclose(ours.standard_error[:, t], error, rtol=1e-8)
        scale = sum(chi)
        for name, value, df in zip(STATISTICS, chi, (3, 2, len(studies) - 3), strict=True):
            assert getattr(ours, name)[t] == pytest.approx(value, rel=1e-9, abs=1e-11 * scale)
            p = naive_meta.chi_squared(float(getattr(ours, name)[t]), df)
            assert getattr(ours, f"{name}_neg_log10_p")[t] == pytest.approx(p, rel=1e-8)
        assert ours.log_bayes_factor[t] == pytest.approx(
            0.5 * (ours.association[t] - 3 * math.log(len(studies))), rel=1e-12
        )
    assert (ours.status == MetaStatus.OK).sum() > 100


def test_statsmodels() -> None:
    """Weighted least squares with the studies' variances as they are (``cov_type='fixed scale'``)."""
    (beta, error), axes = random_case(22, 7, 20, missing=0.0), places(7, 3)
    ours = meta_regression(beta, error, axes)
    for t in range(2, 20):
        fit = sm.WLS(beta[:, t], sm.add_constant(axes), weights=error[:, t] ** -2).fit(cov_type="fixed scale")
        np.testing.assert_allclose(ours.coefficient[:, t], fit.params, rtol=1e-7)
        np.testing.assert_allclose(ours.standard_error[:, t], fit.bse, rtol=1e-8)
        assert ours.residual[t] == pytest.approx(fit.ssr, rel=1e-7)
        assert ours.ancestry[t] == pytest.approx(fit.centered_tss - fit.ssr, rel=1e-7)
        # The Wald test of all coefficients is the association.
        wald = fit.wald_test(np.eye(4), use_f=False, scalar=True)
        assert ours.association[t] == pytest.approx(float(wald.statistic), rel=1e-7)


@given(cases(4))
@settings(max_examples=50, deadline=None)
def test_parts_of_the_whole(case: Case) -> None:
    """Ancestry and residual are Cochran's Q, and the association is that of fixed effects and ancestry."""
    ours, fixed = meta_regression(*case, places(len(case[0]))), fixed_effects(*case)
    ok = ours.status == MetaStatus.OK
    z = (fixed.beta / fixed.standard_error)[ok]
    np.testing.assert_allclose(ours.ancestry[ok] + ours.residual[ok], fixed.q[ok], rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.association[ok], z**2 + ours.ancestry[ok], rtol=1e-8, atol=1e-9)


@given(cases(4))
@settings(max_examples=50, deadline=None)
def test_what_must_not_matter(case: Case) -> None:
    """Where the axes begin, in which units and which way they run; the effects' sign and units; absent studies."""
    beta, error = case
    axes = places(len(beta))
    ours = meta_regression(beta, error, axes)
    turned = meta_regression(beta, error, (axes - 0.7) @ np.array([[0.6, -0.8], [0.8, 0.6]]) * 3.0)
    flipped, scaled = meta_regression(-beta, error, axes), meta_regression(8.0 * beta, 8.0 * error, axes)
    absent = meta_regression(
        np.vstack([np.full_like(beta[:1], np.nan), beta]), np.vstack([error[:1], error]), np.vstack([[9.0, 9.0], axes])
    )
    for name, one in ours._asdict().items():
        np.testing.assert_array_equal(getattr(absent, name), one)
        unit = 8.0 if name in {"coefficient", "standard_error"} else 1
        np.testing.assert_array_equal(getattr(scaled, name), unit * one)
        np.testing.assert_array_equal(getattr(flipped, name), -one if name == "coefficient" else one)
    for name in STATISTICS:
        np.testing.assert_allclose(getattr(turned, name), getattr(ours, name), rtol=1e-6, atol=1e-7)


def test_effects_on_a_line_leave_no_residual() -> None:
    axes = np.array([[0.0], [1.0], [2.0], [4.0]])
    beta, error = 0.3 + 0.1 * axes, np.full((4, 1), 0.01)
    ours = meta_regression(beta, error, axes)
    np.testing.assert_allclose(ours.coefficient[:, 0], [0.3, 0.1], rtol=1e-13)
    assert ours.residual[0] == pytest.approx(0.0, abs=1e-20)
    assert ours.residual_neg_log10_p[0] == pytest.approx(0.0, abs=1e-15)
    assert ours.ancestry_neg_log10_p[0] > 100.0


def test_collinear_axes_are_a_status() -> None:
    """Of the studies that have the test: the second test lacks the only study that stands elsewhere."""
    axes = np.array([[1.0], [1.0], [1.0], [3.0]])
    beta, error = np.tile([[0.1], [0.3], [0.2], [0.5]], 2), np.full((4, 2), 0.1)
    beta[3, 1] = np.nan
    ours = meta_regression(beta, error, axes)
    assert list(ours.status) == [MetaStatus.OK, MetaStatus.COLLINEAR]
    assert ours.n_studies[1] == 3
    assert math.isnan(ours.residual[1])
    assert np.isnan(ours.coefficient[:, 1]).all()


def test_calibration() -> None:
    """100,000 nulls of six studies, each of the three chi-squared within four standard deviations."""
    rng = np.random.default_rng(3)
    error = np.exp(rng.normal(size=(6, 100_000)))
    ours = meta_regression(error * rng.normal(size=error.shape), error, places(6))
    for name in STATISTICS:
        for level in (0.5, 0.05, 0.01):
            share = np.mean(getattr(ours, f"{name}_neg_log10_p") >= -math.log10(level))
            assert abs(share - level) < 4.0 * math.sqrt(level * (1.0 - level) / 100_000)


@pytest.mark.parametrize("axes", [np.zeros((3, 1)), np.zeros((4, 0)), np.zeros(4)])
def test_shapes(axes: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be \(studies, axes\), of 4 studies"):
        meta_regression(np.zeros((4, 2)), np.ones((4, 2)), axes)


def test_axes_must_be_known() -> None:
    axes = np.ones((4, 2))
    axes[1] = np.nan
    with pytest.raises(ValueError, match="1 studies have an axis that is not finite"):
        meta_regression(np.zeros((4, 2)), np.ones((4, 2)), axes)
