"""Counts of people and of groups against plain sums over the calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from allscan.kernels.block import GenotypeBlock, encode_block
from allscan.kernels.entries import missing_entries
from allscan.kernels.homogeneity import homogeneity_neg_log10_p
from allscan.kernels.person_counts import (
    NOT_COUNTED,
    add_heterozygotes,
    add_persons,
    add_weights,
    count_groups,
    partition,
)


def mixed_block(seed, variants, samples, *, dosages=False):
    """Common and rare variants, of either allele, with missing calls; and what they are, rounded and exactly."""
    rng = np.random.default_rng(seed)
    frequency = np.where(rng.random(variants) < 0.5, rng.uniform(0, 0.03, variants), rng.uniform(0.03, 1, variants))
    frequency[rng.random(variants) < 0.2] **= 1e-3  # the rarer allele is REF
    calls = rng.binomial(2, frequency[:, None], (variants, samples)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.02] = -1
    calls[rng.random(variants) < 0.05] = -1
    exact = np.where(calls < 0, np.nan, calls).astype(np.float32)
    is_dosage = rng.random(variants) < (0.3 if dosages else 0)
    noise = rng.integers(-60, 61, exact.shape) / np.where(rng.random(variants) < 0.5, 100, 10_000)[:, None]
    exact = np.where(is_dosage[:, None], np.clip(exact + noise, 0, 2), exact).astype(np.float32)
    calls = np.where(np.isnan(exact), -1, np.floor(exact + np.float32(0.5))).astype(np.int8)
    return encode_block(calls, exact, is_dosage), calls, exact


@given(st.integers(0, 2**32), st.integers(1, 80), st.integers(1, 700), st.booleans())
@settings(max_examples=40, deadline=None)
def test_persons(seed, variants, samples, dosages):
    block, calls, _ = mixed_block(seed, variants, samples, dosages=dosages)
    category = np.random.default_rng(seed).choice([0, 1, 2, NOT_COUNTED], variants).astype(np.uint8)
    out = np.full((3, 3, samples), 5, np.int32)
    add_persons(block, category, out)
    for k in range(3):
        for what, call in enumerate((1, 2, -1)):
            assert (out[k, what] == 5 + (calls[category == k] == call).sum(axis=0)).all()


@pytest.mark.parametrize("variants", [253, 254, 255, 256, 257, 600])
def test_fields_do_not_overflow(variants):
    """Everybody has the same call at every variant, which fills each field; people fill several strips."""
    samples = 8192 * 2 + 300
    calls = np.repeat(np.array([[1, 2, -1, 0]], np.int8), -(-samples // 4), axis=0).ravel()[:samples]
    out = np.zeros((1, 3, samples), np.int32)
    add_persons(encode_block(np.tile(calls, (variants, 1))), np.zeros(variants, np.uint8), out)
    for what, call in enumerate((1, 2, -1)):
        assert (out[0, what] == variants * (calls == call)).all()


def test_blocks_of_all_people_homozygous_for_alt():
    calls = np.full((3, 300), 2, np.int8)
    calls[:, 7] = (0, 1, -1)
    out = np.zeros((1, 3, 300), np.int32)
    add_persons(encode_block(calls), np.zeros(3, np.uint8), out)
    assert (out[0, 1] == np.where(np.arange(300) == 7, 0, 3)).all()
    assert out[0, :, 7].tolist() == [1, 0, 1]


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 600), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_groups(seed, variants, samples, n_groups):
    block, calls, exact = mixed_block(seed, variants, samples, dosages=True)
    group = np.random.default_rng(seed).integers(-1, n_groups, samples)
    people = partition(group, n_groups)
    found = count_groups(block, people)
    for k in range(n_groups):
        of_group = calls[:, group == k]
        assert people.size[k] == of_group.shape[1]
        assert (found.n_het[:, k] == (of_group == 1).sum(axis=1)).all()
        assert (found.n_hom_alt[:, k] == (of_group == 2).sum(axis=1)).all()
        assert (found.n_missing[:, k] == (of_group < 0).sum(axis=1)).all()
        np.testing.assert_allclose(found.copies[:, k], np.nansum(exact[:, group == k].astype(float), axis=1), atol=1e-3)


def test_weights_and_heterozygotes():
    block, calls, _ = mixed_block(3, 50, 400, dosages=True)
    rng = np.random.default_rng(1)
    group = partition(rng.integers(-1, 2, 400), 2).group
    weight = rng.random((50, 2))
    out = np.zeros(400)
    add_weights(missing_entries(block), group, weight, out)
    expected = [0.0 if g == NOT_COUNTED else weight[calls[:, i] < 0, g].sum() for i, g in enumerate(group)]
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    which = rng.random(50) < 0.5
    found = np.zeros(400, np.int32)
    add_heterozygotes(block, which, found)
    assert (found == (calls[which] == 1).sum(axis=0)).all()


def test_blocks_without_variants():
    nothing = encode_block(np.zeros((0, 40), np.int8))
    out = np.zeros((2, 3, 40), np.int32)
    add_persons(nothing, np.zeros(0, np.uint8), out)
    assert not out.any()
    assert count_groups(nothing, partition(np.zeros(40, np.int64), 2)).n_het.shape == (0, 2)


def test_read_only_inputs():
    block, _, _ = mixed_block(4, 30, 300, dosages=True)
    arrays = [np.array(part) if isinstance(part, np.ndarray) else part for part in block]
    for array in arrays:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    frozen = GenotypeBlock(*arrays)
    category = np.zeros(30, np.uint8)
    outs = [np.zeros((1, 3, 300), np.int32) for _ in range(2)]
    for one, out in zip((block, frozen), outs, strict=True):
        add_persons(one, category, out)
    assert (outs[0] == outs[1]).all()


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_homogeneity(pairs):
    missing, people = (np.array([column]) for column in zip(*((min(p), max(p)) for p in pairs), strict=True))
    out = np.empty(1)
    homogeneity_neg_log10_p(missing, people, out)
    there = people[0] > 0
    if there.sum() < 2:
        assert np.isnan(out[0])
    elif missing.sum() in (0, people.sum()):
        assert out[0] == 0
    else:
        table = np.stack([missing[0], people[0] - missing[0]])[:, there]
        found = stats.chi2_contingency(table, correction=False)
        assert out[0] == pytest.approx(-np.log10(found.pvalue), rel=1e-6, abs=1e-9)
