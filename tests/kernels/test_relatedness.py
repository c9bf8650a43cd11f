"""Relationship matrices: pairs to families to eigenvectors, and the refusal of what cannot be handled."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.errors import InputError
from allscan.kernels import relatedness as module
from allscan.kernels.relatedness import families_of, make_relatedness, no_relatives
from tests import naive


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(0, 60))
def test_families_make_up_the_matrix(seed: int, n: int, n_pairs: int) -> None:
    """``U D Uᵀ`` of the families and ones for the unrelated are the matrix among the members, clipped."""
    rng = np.random.default_rng(seed)
    i, j = np.triu_indices(n, 1)
    chosen = rng.permutation(len(i))[:n_pairs]
    first, second, value = i[chosen], j[chosen], rng.uniform(0.01, 1.0, len(chosen))
    diagonal = np.where(rng.random(n) < 0.5, 1.0, rng.uniform(0.5, 1.5, n))
    found = make_relatedness(second, first, value, n, cutoff=0.2, diagonal=diagonal)
    near = value >= 0.2
    whole = naive.dense(first[near], second[near], value[near], diagonal)
    member = rng.random(n) < 0.8
    families = families_of(found, member)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([families.samples, families.unrelated])), np.flatnonzero(member)
    )
    rows = np.flatnonzero(member)
    values, vectors = np.linalg.eigh(whole[np.ix_(rows, rows)])
    expected = np.zeros((n, n))
    expected[np.ix_(rows, rows)] = (vectors * np.maximum(values, 0.0)) @ vectors.T
    identity = np.eye(n)
    rotated = families.to_eigenvectors(identity)
    made = np.zeros((n, n))
    made[families.samples] = families.from_eigenvectors(families.values[:, None] * rotated)
    made[families.unrelated, families.unrelated] = 1.0
    np.testing.assert_allclose(made, expected, atol=1e-12)
    assert (families.n_clipped > 0) == (values.min(initial=0.0) < -1e-9)
    assert families.lowest == pytest.approx(min(0.0, values.min(initial=0.0)), abs=1e-9)


def test_nobody_related() -> None:
    families = families_of(no_relatives(5), np.array([True, True, False, True, True]))
    assert families.groups == ()
    assert families.unrelated.tolist() == [0, 1, 3, 4]
    assert families.to_eigenvectors(np.ones((5, 2))).shape == (0, 2)


def test_a_pair_listed_twice_counts_once() -> None:
    found = make_relatedness(np.array([0, 3]), np.array([3, 0]), np.array([0.5, 0.5]), 4)
    assert (found.first.tolist(), found.second.tolist(), found.value.tolist()) == ([0], [3], [0.5])


@pytest.mark.parametrize(
    ("first", "second", "value", "options", "message"),
    [
        ([0], [1], [0.5], {"cutoff": 0.0}, "cut-off of relatedness is 0"),
        ([0], [1], [np.nan], {}, "1 pairs of relatives have no number"),
        ([0, 2], [1, 2], [0.5, 1.0], {}, "1 pairs of relatives are a person with itself"),
        ([0, 1], [1, 0], [0.5, 0.4], {}, "1 pairs of relatives are listed twice with different values"),
        ([0], [1], [0.5], {"diagonal": np.array([1.0, 0.0, 1.0])}, "not above zero"),
    ],
)
def test_what_makes_no_matrix_is_refused(first, second, value, options, message) -> None:
    with pytest.raises(InputError, match=message):
        make_relatedness(np.array(first), np.array(second), np.array(value), 3, **options)


def test_a_family_that_is_too_large_is_refused_with_a_cutoff_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of 40 people, whose links weaken, with a cut-off that leaves families of ten at most."""
    monkeypatch.setattr(module, "LARGEST_FAMILY", 10)
    first = np.arange(39)
    value = np.linspace(0.9, 0.1, 39)
    with pytest.raises(InputError, match="40 people are related to each other in one chain") as refused:
        make_relatedness(first, first + 1, value, 40)
    found = re.search(r"cut-off of ([0-9.]+) or more", str(refused.value))
    assert found is not None
    kept = make_relatedness(first, first + 1, value, 40, cutoff=float(found[1]))
    assert len(kept.first) == 9
