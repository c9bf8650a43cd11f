"""PC-Relate's sums: against a loop over pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.kernels.pc_relate import PairSums, add_pairs, make_terms, sharing
from tests.naive_kinship import individual_frequencies, pc_relate


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), least=st.sampled_from([0.0, 0.05]), step=st.integers(30, 200))
def test_estimates_are_those_of_a_loop(seed: int, least: float, step: int) -> None:
    rng = np.random.default_rng(seed)
    markers, people = 150, 12
    calls = rng.binomial(2, rng.uniform(0.1, 0.9, (markers, 1)), (markers, people)).astype(np.int8)
    calls[:, 1] = calls[:, 0]  # one person twice
    calls[rng.random(calls.shape) < 0.05] = -1
    frequency = individual_frequencies(calls, rng.normal(size=(people, 2)), np.arange(people) > 3)
    i, j = np.triu_indices(people)
    sums = np.zeros((len(PairSums._fields), len(i)))
    for start in range(0, markers, step):
        some = slice(start, start + step)
        add_pairs(make_terms(np.ascontiguousarray(calls[some].T), frequency[some].T.copy(), least), i, j, sums)
    totals = PairSums(*sums)
    inbreeding = (totals.product / (2 * totals.spread) - 1)[i == j]
    found = sharing(totals, inbreeding[i], inbreeding[j])
    assert (found.kinship[(i == 0) & (j == 1)] > 0.3).all()
    for k in np.flatnonzero(i != j):
        phi, k0, k2 = pc_relate(calls, frequency, i[k], j[k], least)
        np.testing.assert_allclose([found.kinship[k], found.k0[k], found.k2[k]], [phi, k0, k2], atol=2e-5)
    np.testing.assert_allclose(found.k0 + found.k1 + found.k2, 1.0, atol=1e-12)


def test_people_without_a_call_in_common_have_no_estimate() -> None:
    calls = np.array([[0, 1, -1, -1], [-1, -1, 2, 1]], np.int8)
    sums = np.zeros((len(PairSums._fields), 1))
    add_pairs(make_terms(calls, np.full((2, 4), 0.3), 0.01), np.array([0]), np.array([1]), sums)
    found = sharing(PairSums(*sums), np.zeros(1), np.zeros(1))
    assert np.isnan([found.kinship[0], found.k0[0], found.k2[0]]).all()
