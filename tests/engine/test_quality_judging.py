"""Who passes: call rate, outliers given ancestry, and sex; with people made for each case."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from allscan.engine.quality.counting import PersonCounts, QualityCounts
from allscan.engine.quality.judging import OUTLIER_BOUNDS, Bounds, Reason, SampleRules, judge_samples
from allscan.engine.quality.people import FEMALE, MALE, UNKNOWN, People
from allscan.engine.quality.samples import SampleMetrics, SexCheck, sample_metrics
from allscan.engine.quality.tables import CATEGORIES, ON_X, ON_Y
from allscan.engine.quality.variants import VariantRules


def metrics(n: int, seed: int = 0, **given: Any) -> SampleMetrics:
    """People like each other, but for what is given."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {field.name: rng.normal(1000, 10, n) for field in fields(SampleMetrics)}
    columns |= {"call_rate": np.full(n, 0.99), "sex_check": np.zeros(n, np.uint8)}
    return SampleMetrics(**(columns | given))


def counts_of(sex, x_het, y_called, *, x_expected=400.0, y_variants=50) -> QualityCounts:
    """People with heterozygous calls on X, and calls on Y."""
    n = len(sex)
    calls = np.zeros((len(CATEGORIES), 3, n), np.int64)
    calls[ON_X, 0] = x_het
    calls[ON_Y, 2] = y_variants - np.asarray(y_called)
    variants = np.array([100, 50, 5, 5, 1, 1000, y_variants])
    persons = PersonCounts(calls, np.zeros(n, np.int64), np.stack([np.full(n, 60.0), np.full(n, x_expected)]), variants)
    people = People(np.arange(n), np.array(sex, np.int8), (), np.full(n, -1), n)
    return QualityCounts(people, VariantRules(), np.zeros(1, np.uint8), persons, (), None, 0)  # type: ignore[arg-type]


SEXES = [  # reported, heterozygous on X of 400 expected, calls on Y of 50; inferred, verdict
    (FEMALE, 400, 0, FEMALE, SexCheck.OK),
    (FEMALE, 390, 2, FEMALE, SexCheck.OK),
    (FEMALE, 405, 1, FEMALE, SexCheck.OK),
    (MALE, 2, 49, MALE, SexCheck.OK),
    (MALE, 400, 0, FEMALE, SexCheck.MISMATCH),
    (FEMALE, 0, 50, MALE, SexCheck.MISMATCH),
    (UNKNOWN, 0, 50, MALE, SexCheck.NOT_REPORTED),
    (FEMALE, 0, 0, UNKNOWN, SexCheck.POSSIBLE_X0),
    (MALE, 400, 48, UNKNOWN, SexCheck.POSSIBLE_XXY),
    (FEMALE, 140, 0, UNKNOWN, SexCheck.AMBIGUOUS),
    (MALE, 0, 18, UNKNOWN, SexCheck.AMBIGUOUS),
]


def test_sexes():
    reported, x_het, y_called, inferred, verdict = zip(*SEXES, strict=True)
    found = sample_metrics(counts_of(reported, x_het, y_called))
    assert found.sex_inferred.tolist() == list(inferred)
    assert [SexCheck(code) for code in found.sex_check] == list(verdict)


@pytest.mark.parametrize("y", [{"y_variants": 9}, {}])
def test_where_y_tells_nothing(y):
    """Too few variants, or calls of women as of men (sequences aligned without regard to sex)."""
    n_y = y.get("y_variants", 50)
    found = sample_metrics(counts_of([2, 2, 2, 1, 1], [400, 390, 410, 0, 400], [n_y] * 5, **y))
    assert found.sex_inferred.tolist() == [2, 2, 2, 1, 2]
    assert found.sex_check.tolist() == [0, 0, 0, 0, SexCheck.MISMATCH]


def test_too_few_variants_on_x():
    found = sample_metrics(counts_of([1, 2], [0, 10], [50, 0], x_expected=10.0))
    assert (found.sex_check == SexCheck.NOT_CHECKED).all()
    assert (found.sex_inferred == UNKNOWN).all()
    assert np.isnan(found.f_x).all()


def naive_outliers(values, group, components, least, bounds):
    """All of Us: residuals on components and their squares, 8 MAD within the group."""
    n = len(values)
    design = np.column_stack([np.ones(n), components, components**2])
    residual = values - design @ np.linalg.pinv(design) @ values
    flagged = []
    for i in range(n):
        same = group == group[i]
        like = residual[same] if group[i] >= 0 and same.sum() >= least else residual
        median = np.median(like)
        deviation = (residual[i] - median) / (1.4826 * np.median(np.abs(like - median)))
        flagged.append(
            (bounds.below is not None and deviation < -bounds.below)
            or (bounds.above is not None and deviation > bounds.above)
        )
    return np.array(flagged)


@pytest.mark.parametrize("seed", range(4))
def test_outliers(seed):
    rng = np.random.default_rng(seed)
    n = 900
    group = rng.choice([0, 1, 2, -1], n, p=[0.5, 0.4, 0.05, 0.05])
    components = rng.normal(size=(n, 3)) * [1, 5, 0.01] + np.array([0, 4, -3, 1])[group][:, None]
    given = {}
    for bounds in OUTLIER_BOUNDS:
        values = 1000 + 30 * components[:, 0] - components[:, 1] ** 2 + rng.normal(0, 3, n) * np.where(group == 1, 4, 1)
        values[rng.choice(n, 12)] += rng.normal(0, 100, 12)
        given[bounds.metric] = values
    found = judge_samples(
        metrics(n, **given), SampleRules(), components=components, groups=("a", "b", "c"), group=group
    )
    for k, bounds in enumerate(OUTLIER_BOUNDS):
        expected = naive_outliers(given[bounds.metric], group, components, 100, bounds)
        assert (found.outliers[:, k] == expected).all()
        assert 0 < expected.sum() < 14
    assert ((found.reasons & Reason.OUTLIER > 0) == found.outliers.any(axis=1)).all()
    assert not found.not_judged


def test_ancestry_is_no_outlier():
    """A group with other counts is one with components, or with groups, and half of its people are without."""
    rng = np.random.default_rng(5)
    group = np.repeat([0, 1], [900, 100])
    snps = np.where(group == 1, 5000.0, 4000.0) + rng.normal(0, 20, 1000)
    snps[3] += 1500
    found = metrics(1000, snp_count=snps)
    rules = SampleRules(outliers=(Bounds("snp_count"),))
    components = (group + rng.normal(0, 0.01, 1000))[:, None]
    for options in ({"components": components}, {"groups": ("a", "b"), "group": group}):
        judged = judge_samples(found, rules, **options)
        assert np.flatnonzero(~judged.passes).tolist() == [3]
        assert judged.counts["outlier_snp_count"] == 1
    assert judge_samples(found, rules).counts["outlier"] == 101


def test_bounds_of_one_side_and_metrics_that_do_not_vary():
    n = 300
    singles = np.random.default_rng(1).normal(50, 5, n)
    singles[:2] = 0, 200
    found = metrics(n, singleton=singles, ti_tv_ratio=np.full(n, 2.1), del_count=np.full(n, np.nan))
    rules = SampleRules(outliers=(Bounds("singleton", below=None), Bounds("ti_tv_ratio"), Bounds("del_count")))
    judged = judge_samples(found, rules)
    assert np.flatnonzero(judged.outliers[:, 0]).tolist() == [1]
    assert judged.not_judged == (("", "ti_tv_ratio"), ("", "del_count"))
    assert np.isnan(judged.deviations[:, 1:]).all()
    assert judged.deviations[0, 0] < -8


def test_reasons_and_counts():
    n = 200
    rate = np.full(n, 0.99)
    rate[:3] = 0.95, 0.9499, np.nan
    check = np.zeros(n, np.uint8)
    check[2:6] = SexCheck.MISMATCH, SexCheck.AMBIGUOUS, SexCheck.POSSIBLE_XXY, SexCheck.NOT_REPORTED
    # Somebody with few calls does not move the others' medians.
    het = np.random.default_rng(2).normal(0, 0.01, n)
    het[1] = -0.9
    found = metrics(n, call_rate=rate, sex_check=check, f_het=het)
    judged = judge_samples(found, SampleRules())
    assert judged.reasons[:6].tolist() == [
        0,
        Reason.CALL_RATE | Reason.OUTLIER,
        Reason.CALL_RATE | Reason.SEX_MISMATCH,
        0,
        0,
        0,
    ]
    assert judged.counts["passes"] == n - 2
    assert (judged.counts["call_rate"], judged.counts["sex_mismatch"], judged.counts["outlier_f_het"]) == (2, 1, 1)
    table = judged.to_arrow()
    assert table["reasons"].to_pylist()[:3] == ["", "call_rate,outlier", "call_rate,sex_mismatch"]
    assert table["passes"].to_pylist() == judged.passes.tolist()
    strict = judge_samples(found, SampleRules(drop_unclear_sex=True))
    assert np.flatnonzero(strict.reasons & Reason.UNCLEAR_SEX).tolist() == [3, 4]
    nothing = judge_samples(found, SampleRules(min_call_rate=None, outliers=(), drop_sex_mismatch=False))
    assert nothing.passes.all()


def test_people_without_components_are_not_outliers():
    components = np.random.default_rng(3).normal(size=(300, 2))
    components[7] = np.nan
    het = np.random.default_rng(4).normal(0, 0.01, 300)
    het[7] = -1
    judged = judge_samples(metrics(300, f_het=het), SampleRules(), components=components)
    assert np.isnan(judged.deviations[7]).all()
    assert judged.reasons[7] == 0
    assert judged.counts["not_judged"] == 1
