"""Counts of calls and dosages against counting one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from allscan.kernels.tally import tally_calls, tally_dosages


def naive(values, member):
    """Counts of 0, 1 and 2 copies, sum and sum of squares of one variant, sample by sample."""
    counts, total, squares = [0, 0, 0], 0.0, 0.0
    for value, inside in zip(values, member, strict=True):
        if inside and not np.isnan(value):
            counts[int(value + 0.5)] += 1
            total += float(value)
            squares += float(value) ** 2
    return counts, (total, squares)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 70))
def test_calls(seed, n_variants, n_samples):
    rng = np.random.default_rng(seed)
    calls = rng.integers(-1, 3, (n_variants, n_samples)).astype(np.int8)
    member, skip = rng.random(n_samples) < 0.7, rng.random(n_variants) < 0.3
    counts = np.full((n_variants, 3), -7, dtype=np.int64)
    tally_calls(calls, skip, member, counts)
    for v in range(n_variants):
        values = np.where(calls[v] < 0, np.nan, calls[v])
        assert counts[v].tolist() == ([-7] * 3 if skip[v] else naive(values, member)[0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 70))
def test_dosages(seed, n_variants, n_samples):
    rng = np.random.default_rng(seed)
    dosage = (rng.integers(0, 201, (n_variants, n_samples)) / 100).astype(np.float32)
    dosage[rng.random(dosage.shape) < 0.2] = np.nan
    member, use = rng.random(n_samples) < 0.7, rng.random(n_variants) < 0.7
    counts = np.full((n_variants, 3), -7, dtype=np.int64)
    sums = np.full((n_variants, 2), -7.0)
    tally_dosages(dosage, use, member, counts, sums)
    for v in range(n_variants):
        expected_counts, expected_sums = naive(dosage[v], member)
        assert counts[v].tolist() == (expected_counts if use[v] else [-7] * 3)
        np.testing.assert_allclose(sums[v], expected_sums if use[v] else [-7.0] * 2, rtol=1e-12, atol=1e-12)


def test_what_is_read_only_can_be_counted():
    calls, dosage = np.ones((1, 4), np.int8), np.ones((1, 4), np.float32)
    flags, member = np.array([False]), np.ones(4, bool)
    for array in (calls, dosage, flags, member):
        array.flags.writeable = False
    counts, sums = np.zeros((1, 3), np.int64), np.zeros((1, 2))
    tally_calls(calls, flags, member, counts)
    assert counts.tolist() == [[0, 4, 0]]
    tally_dosages(dosage, np.array([True]), member, counts, sums)
    assert sums.tolist() == [[4.0, 4.0]]
