"""Correlations by counting bits, and pruning by them, against fractions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.kernels.ld import (
    CORRELATED,
    IDENTICAL,
    KEPT,
    MOST_PEOPLE,
    LdMarkers,
    join,
    ld_markers,
    no_ld_markers,
    prune_windows,
)
from tests import naive_ld

NAMES = {KEPT: "kept", CORRELATED: "correlated", IDENTICAL: "identical"}


def linked_calls(seed: int, markers: int, people: int, missing: float = 0.0) -> NDArray[np.int8]:
    """Neighbours that share most of their calls, some all of them, some with the alleles swapped."""
    rng = np.random.default_rng(seed)
    calls = rng.binomial(2, rng.uniform(0.1, 0.9, markers)[:, None], (markers, people)).astype(np.int8)
    for v in range(1, markers):
        kind = rng.random()
        if kind < 0.7:
            changed = rng.random(people) < rng.choice([0.0, 0.01, 0.05, 0.3])
            calls[v] = np.where(changed, calls[v], calls[max(0, v - rng.integers(1, 6))])
        if kind < 0.3:
            calls[v] = 2 - calls[v]
    calls[rng.integers(0, markers)] = rng.integers(0, 3)
    calls[rng.random(calls.shape) < missing] = -1
    return calls


def frequencies(calls: NDArray[np.int8]) -> NDArray[np.float64]:
    called = (calls >= 0).sum(axis=1)
    copies = np.where(calls < 0, 0, calls).sum(axis=1)
    return np.minimum(copies, 2 * called - copies) / np.maximum(2 * called, 1)


def prune(
    calls: NDArray[np.int8], position: list[int], bp: int, most_r2: float, people: NDArray[np.int64] | None = None
) -> list[str]:
    chosen = np.arange(calls.shape[1]) if people is None else people
    starts, ends = np.array(naive_ld.windows(position, bp), np.int64).T.copy()
    fate = np.zeros(len(calls), np.uint8)
    unchecked = np.zeros(len(calls), np.int64)
    markers = ld_markers(calls, chosen)
    prune_windows(markers, len(chosen), frequencies(calls[:, chosen]), starts, ends, most_r2, unchecked, fate)
    return [NAMES[int(code)] for code in fate]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([20, 63, 64, 65, 130]),
    st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    st.sampled_from([0, 40, 200, 10_000]),
)
def test_pruning_is_the_rule(seed: int, people: int, missing: float, most_r2: float, bp: int) -> None:
    calls = linked_calls(seed, 25, people, missing)
    position = np.sort(np.random.default_rng(seed).integers(1, 1000, 25)).tolist()
    expected = naive_ld.prune(calls, frequencies(calls), naive_ld.windows(position, bp), most_r2)
    assert prune(calls, position, bp, most_r2) == expected


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.02]))
def test_order_of_people_and_choice_of_allele_change_nothing(seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    calls = linked_calls(seed, 60, 300, missing)
    position = np.sort(rng.integers(1, 500, 60)).tolist()
    expected = prune(calls, position, 100, 0.8)
    assert prune(calls[:, rng.permutation(300)], position, 100, 0.8) == expected
    swapped = np.where((calls >= 0) & (rng.random(60) < 0.5)[:, None], 2 - calls, calls).astype(np.int8)
    assert prune(swapped, position, 100, 0.8) == expected


def test_only_the_people_asked_for_count() -> None:
    calls = linked_calls(3, 40, 500, 0.01)
    people = np.sort(np.random.default_rng(0).choice(500, 130, replace=False))
    position = list(range(40))
    assert prune(calls, position, 10, 0.7, people) == prune(np.ascontiguousarray(calls[:, people]), position, 10, 0.7)


def test_sums_of_the_largest_cohort_do_not_overflow() -> None:
    """Half of the people 0, half 2: every product is as large as it can be."""
    calls = np.zeros((2, MOST_PEOPLE), np.int8)
    calls[:, ::2] = 2
    calls[1, :3] = 2
    fate = prune(calls, [1, 2], 10, 0.9)
    assert fate == ["kept", "correlated"]
    assert prune(calls, [1, 2], 10, 0.99995) == ["kept", "kept"]


def test_a_bound_is_met_exactly() -> None:
    """r² of these is 1/4, which is not above 1/4."""
    calls = np.array([[0, 0, 0, 0, 2, 2, 2, 2], [0, 0, 0, 2, 0, 2, 2, 2]], np.int8)
    assert naive_ld.r_squared(calls[0], calls[1]) == 0.25
    assert prune(calls, [1, 2], 10, 0.25) == ["kept", "kept"]
    assert prune(calls, [1, 2], 10, 0.2499) == ["kept", "correlated"]


def test_markers_are_joined() -> None:
    calls = linked_calls(1, 30, 100, 0.01)
    people = np.arange(100)
    whole = ld_markers(calls, people)
    parts = join([no_ld_markers(100), ld_markers(calls[:11], people), ld_markers(calls[11:], people)])
    assert isinstance(parts, LdMarkers)
    np.testing.assert_array_equal(parts.planes, whole.planes)
    np.testing.assert_array_equal(parts.totals, whole.totals)
    np.testing.assert_array_equal(whole.totals[:, 0], (calls >= 0).sum(axis=1))
    assert whole.n_markers == 30


def test_too_many_people_are_refused() -> None:
    with pytest.raises(AssertionError):
        ld_markers(np.zeros((1, MOST_PEOPLE + 1), np.int8), np.arange(MOST_PEOPLE + 1))
