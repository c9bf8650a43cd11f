"""Measures of prediction, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allscan.kernels.accuracy import area_under_curve, r_squared


def test_r_squared():
    y = np.array([1.0, 2.0, 3.0, 6.0])
    assert r_squared(y, y + 5) == 1.0
    assert r_squared(y, np.zeros(4)) == 0.0
    assert r_squared(y, y / 2) == pytest.approx(0.75)
    assert r_squared(y, -y) == pytest.approx(-3.0)
    assert math.isnan(r_squared(np.ones(4), y))


def test_r_squared_is_at_most_the_squared_correlation():
    rng = np.random.default_rng(0)
    y, predicted = rng.normal(size=(2, 500))
    predicted += y
    correlation = np.corrcoef(y, predicted)[0, 1]
    slope = np.cov(y, predicted)[0, 1] / predicted.var(ddof=1)
    assert r_squared(y, predicted) < correlation**2
    assert r_squared(y, slope * predicted) == pytest.approx(correlation**2)


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=30))
def test_area_under_curve_counts_pairs(people):
    case = np.array([person[0] for person in people])
    score = np.array([float(person[1]) for person in people])
    pairs = [(a > b) + 0.5 * (a == b) for a in score[case] for b in score[~case]]
    found = area_under_curve(case, score)
    if pairs:
        assert found == pytest.approx(np.mean(pairs))
        assert area_under_curve(case, -score) == pytest.approx(1 - found)
    else:
        assert math.isnan(found)
