"""The largest set of unrelated people: against trying all sets, and whatever the order of people and pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.engine.structure import unrelated
from allscan.engine.structure.unrelated import unrelated_set
from allscan.errors import InputError

Indices = NDArray[np.int64]


def graph(seed: int, people: int, density: float) -> tuple[Indices, Indices]:
    rng = np.random.default_rng(seed)
    i, j = np.nonzero(np.triu(rng.random((people, people)) < density, 1))
    return i, j


def heaviest(people: int, first: Indices, second: Indices, weight: NDArray[np.float64]) -> float:
    """By trying every set."""
    near = [0] * people
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        near[a] |= 1 << b
        near[b] |= 1 << a

    def best(left: int) -> float:
        if not left:
            return 0.0
        k = left.bit_length() - 1
        taken = float(weight[k]) + best(left & ~(near[k] | 1 << k))
        return max(taken, best(left & ~(1 << k))) if near[k] & left else taken

    return best((1 << people) - 1)


def greedy(people: int, first: Indices, second: Indices) -> int:
    """Take off the person with the most relatives until nobody has one, as Hail does."""
    related = np.zeros((people, people), np.bool_)
    related[first, second] = related[second, first] = True
    size = people
    while related.any():
        worst = related.sum(axis=0).argmax()
        related[worst] = related[:, worst] = False
        size -= 1
    return size


@given(
    seed=st.integers(0, 10_000),
    people=st.integers(1, 14),
    density=st.floats(0.02, 0.7),
    weighted=st.sampled_from([False, True]),
)
def test_no_set_is_heavier(seed: int, people: int, density: float, weighted: bool) -> None:
    first, second = graph(seed, people, density)
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 6, people).astype(float) if weighted else np.ones(people)
    found = unrelated_set(people, first, second, weight=weight if weighted else None)
    assert not (found.kept[first] & found.kept[second]).any()
    assert found.optimal
    assert found.weight == found.bound == pytest.approx(heaviest(people, first, second, weight))
    order = rng.permutation(len(first))
    again = unrelated_set(people, second[order], first[order], weight=weight if weighted else None)
    np.testing.assert_array_equal(again.kept, found.kept)
    place = rng.permutation(people)
    turned = unrelated_set(people, place[first], place[second], weight=weight[np.argsort(place)])
    assert turned.weight == found.weight


@pytest.mark.parametrize("budget", [0, unrelated.MOST_WORK])
def test_a_search_that_stops_is_as_good_as_greedy_and_says_so(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrelated, "MOST_WORK", budget)
    first, second = graph(3, 70, 0.12)
    found = unrelated_set(70, first, second)
    assert not (found.kept[first] & found.kept[second]).any()
    assert found.weight >= greedy(70, first, second)
    assert found.optimal == (found.bound == found.weight) == (budget > 0)
    assert found.n_families == 1


def test_a_family_that_is_too_large_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrelated, "LARGEST_SEARCH", 20)
    chain = np.arange(29)
    found = unrelated_set(30, chain, chain + 1)
    assert found.weight == 15
    assert found.optimal, "the bound tells that nothing is better"
    first, second = graph(1, 60, 0.1)
    assert not unrelated_set(60, first, second).optimal


def test_long_families_and_repeated_pairs() -> None:
    chain = np.arange(1499)
    found = unrelated_set(1500, np.concatenate([chain, chain + 1, [7]]), np.concatenate([chain + 1, chain, [7]]))
    assert (found.weight, found.optimal, found.n_families) == (750, True, 1)


def test_who_is_preferred() -> None:
    first, second = np.array([0, 1, 3]), np.array([1, 2, 4])
    assert unrelated_set(5, first, second).kept.tolist() == [True, False, True, True, False]
    case = np.array([1.0, 2.5, 1, 1, 2])
    assert unrelated_set(5, first, second, weight=case).kept.tolist() == [False, True, False, False, True]
    diverse = np.array([0, 1000, 0, 1, 5])
    assert unrelated_set(5, first, second, divergent=diverse).kept.tolist() == [True, False, True, False, True]


def test_nobody_is_related_to_anybody() -> None:
    none = np.empty(0, np.int64)
    found = unrelated_set(4, none, none, divergent=np.arange(4))
    assert (found.kept.all(), found.n_families, found.weight, found.optimal) == (True, 0, 4, True)


@pytest.mark.parametrize("weight", [0.0, np.nan, -1.0, np.inf])
def test_a_weight_that_is_none(weight: float) -> None:
    with pytest.raises(InputError, match="weight"):
        unrelated_set(2, np.array([0]), np.array([1]), weight=np.array([1.0, weight]))
