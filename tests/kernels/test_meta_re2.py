"""RE2: its statistic against a search of the likelihood, its distribution against quadrature and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from allscan.kernels.meta import fixed_effects
from allscan.kernels.meta_re2 import re2
from allscan.kernels.meta_studies import MetaStatus
from tests import naive_meta
from tests.kernels.meta_cases import Case, cases, random_case


def test_statistic_naive() -> None:
    """The naive search has the better of a dense grid: no maximum of the likelihood is missed."""
    case = random_case(11, 6, 120)
    ours = re2(*case)
    heterogeneous = 0
    for t in range(120):
        studies = naive_meta.present(*case, t)
        if len(studies) < 2:
            assert ours.status[t] == (MetaStatus.ONE_STUDY if studies else MetaStatus.NO_STUDY)
            assert all(math.isnan(column[t]) for column in ours[:-1])
            continue
        mean, heterogeneity, between = naive_meta.re2_statistics(studies)
        heterogeneous += heterogeneity > 0.0
        assert ours.mean_statistic[t] == pytest.approx(mean, rel=1e-9, abs=1e-9)
        assert ours.heterogeneity_statistic[t] == pytest.approx(heterogeneity, rel=1e-8, abs=1e-8)
        assert ours.tau_squared[t] == pytest.approx(between, rel=1e-4, abs=1e-4 * min(v for _, _, v in studies))
        centre, variance = naive_meta.pooled(studies, ours.tau_squared[t])
        assert ours.beta[t] == pytest.approx(centre, rel=1e-10)
        assert ours.standard_error[t] == pytest.approx(math.sqrt(variance), rel=1e-12)
    assert 40 < heterogeneous < 110


def test_the_higher_of_two_maxima() -> None:
    """A likelihood with two maxima: precise studies that agree but for a little, and one far away."""
    beta = np.array([[0.0, 0.0], [0.03, 0.03], [-0.03, -0.03], [30.0, 8.0]])
    error = np.array([[0.01, 0.01], [0.01, 0.01], [0.01, 0.01], [4.0, 4.0]])
    ours = re2(beta, error)
    for t in range(2):
        _, heterogeneity, between = naive_meta.re2_statistics(naive_meta.present(beta, error, t))
        assert ours.heterogeneity_statistic[t] == pytest.approx(heterogeneity, rel=1e-9)
        assert ours.tau_squared[t] == pytest.approx(between, rel=1e-4)


def equal_studies(statistic: float, k: int) -> Case:
    """Studies of standard error 1 with the statistic, half of it by the mean."""
    mean = math.sqrt(0.5 * statistic / k)
    low, high = 1.0, 1e4
    for _ in range(200):
        q = 0.5 * (low + high)
        if k * (q - 1.0 - math.log(q)) < 0.5 * statistic:
            low = q
        else:
            high = q
    pattern = (
        np.resize([1.0, -1.0], k) if k % 2 == 0 else np.concatenate([[1.0, -1.0, 0.0], np.resize([1.0, -1.0], k - 3)])
    )
    pattern *= math.sqrt(q * k / np.sum(pattern**2))
    return (mean + pattern)[:, None], np.ones((k, 1))


@pytest.mark.parametrize("k", [2, 3, 6, 30])
@pytest.mark.parametrize("statistic", [0.05, 1.0, 4.0, 15.0, 40.0, 150.0])
def test_p_of_equal_studies_is_its_integral(k: int, statistic: float) -> None:
    """To 1e-8 of p; never above the asymptotic one."""
    ours = re2(*equal_studies(statistic, k))
    total = ours.mean_statistic[0] + ours.heterogeneity_statistic[0]
    assert total == pytest.approx(statistic, rel=1e-10)
    expected = naive_meta.re2_p_of_equal_studies(total, k)
    assert 10.0 ** -ours.neg_log10_p[0] == pytest.approx(expected, rel=1e-8)
    mixture = 0.5 * stats.chi2.sf(total, 1) + 0.5 * stats.chi2.sf(total, 2)
    assert 10.0 ** -ours.asymptotic_neg_log10_p[0] == pytest.approx(mixture, rel=1e-11)
    assert expected < mixture


def test_more_studies_come_near_the_asymptotic() -> None:
    """P(χ² of k − 1 is above k) nears one half as the root of k does: the ratio of the two p nears 1."""
    ratio = []
    for k in (4, 30, 120):
        ours = re2(*equal_studies(10.0, k))
        ratio.append(10.0 ** (ours.asymptotic_neg_log10_p[0] - ours.neg_log10_p[0]))
    assert ratio[0] < ratio[1] < ratio[2] < 1.0
    assert ratio[2] > 0.8


@pytest.mark.parametrize("k", [3, 6])
def test_calibration(k: int) -> None:
    """200,000 nulls of equal studies: shares within four standard deviations; of unequal ones: never too many."""
    rng = np.random.default_rng(k)
    n = 200_000
    noise = rng.normal(size=(k, n))
    equal = re2(noise, np.ones_like(noise))
    error = np.repeat(1.0 / np.sqrt(np.geomspace(1.0, 100.0, k))[:, None], n, axis=1)
    unequal = re2(noise * error, error)
    for level in (0.5, 0.1, 0.01, 1e-3):
        sd = math.sqrt(level * (1.0 - level) / n)
        assert abs(np.mean(equal.neg_log10_p >= -math.log10(level)) - level) < 4.0 * sd
        share = np.mean(unequal.neg_log10_p >= -math.log10(level))
        assert 0.7 * level < share < level + 3.0 * sd
        assert np.mean(equal.asymptotic_neg_log10_p >= -math.log10(level)) < level - 4.0 * sd


def test_nothing_underflows() -> None:
    """At ten thousand standard errors; both p are those of the statistic, and finite."""
    ours = re2(np.array([[1e4], [1e4], [-1e4]]), np.ones((3, 1)))
    total = ours.mean_statistic[0] + ours.heterogeneity_statistic[0]
    assert total > 2e8
    assert 0.49 * total < ours.asymptotic_neg_log10_p[0] * math.log(10) < ours.neg_log10_p[0] * math.log(10)
    assert ours.neg_log10_p[0] * math.log(10) < 0.51 * total


@given(cases(2))
@settings(max_examples=40, deadline=None)
def test_what_must_not_matter(case: Case) -> None:
    """Order (to rounding); sign, units and absent studies (to the last bit). One more look than fixed effects."""
    beta, error = case
    ours, fixed = re2(beta, error), fixed_effects(beta, error)
    flipped, scaled, shuffled = re2(-beta, error), re2(beta / 4.0, error / 4.0), re2(beta[::-1], error[::-1])
    absent = re2(np.vstack([np.full_like(beta[:1], np.nan), beta]), np.vstack([error[:1], error]))
    for name, one in ours._asdict().items():
        unit = {"beta": 0.25, "standard_error": 0.25, "tau_squared": 0.0625}.get(name, 1)
        np.testing.assert_array_equal(getattr(scaled, name), unit * one)
        np.testing.assert_array_equal(getattr(absent, name), one)
        np.testing.assert_array_equal(getattr(flipped, name), -one if name == "beta" else one)
    for name in ("mean_statistic", "heterogeneity_statistic", "neg_log10_p"):
        np.testing.assert_allclose(getattr(shuffled, name), getattr(ours, name), rtol=1e-8, atol=1e-8)
    ok = ours.status == MetaStatus.OK
    assert (ours.heterogeneity_statistic[ok] >= 0.0).all()
    assert (ours.neg_log10_p[ok] >= ours.asymptotic_neg_log10_p[ok] - 1e-9).all()
    # A test with one parameter more cannot have the smaller p from the mean alone.
    assert (ours.neg_log10_p[ok] <= fixed.neg_log10_p[ok] + ours.heterogeneity_statistic[ok] + 1e-9).all()


def test_without_heterogeneity_it_is_fixed_effects() -> None:
    """Studies that agree: the same effect and statistic, and the p of one look more."""
    beta, error = np.full((5, 1), 0.2), np.array([[0.1], [0.2], [0.05], [0.3], [0.1]])
    ours, fixed = re2(beta, error), fixed_effects(beta, error)
    assert ours.tau_squared[0] == ours.heterogeneity_statistic[0] == 0.0
    assert ours.beta[0] == fixed.beta[0]
    assert ours.standard_error[0] == fixed.standard_error[0]
    assert 0.3 < 10.0 ** (ours.neg_log10_p[0] - fixed.neg_log10_p[0]) < 1.0


def test_opposite_effects_are_found() -> None:
    """What fixed and random effects of the mean cannot see."""
    beta, error = np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.full((4, 1), 0.1)
    assert fixed_effects(beta, error).neg_log10_p[0] < 1e-9
    assert re2(beta, error).neg_log10_p[0] > 50.0
