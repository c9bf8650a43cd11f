"""Counts and products equal the sums they stand for, in every encoding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.kernels.association import Coding
from allscan.kernels.block import Encoding, encode_block
from allscan.kernels.counts import count_genotypes, hide_heterozygotes, sample_sets
from allscan.kernels.entries import missing_entries
from allscan.kernels.products import Term, genotype_products, missing_products
from tests.kernels.blocks import call_block, coded, mixed_block


@given(st.integers(0, 10_000))
def test_counts_are_sums(seed: int) -> None:
    block, exact = mixed_block(seed)
    rng = np.random.default_rng(seed)
    member = rng.random((3, block.n_samples)) < np.array([[1.0], [0.5], [0.0]])
    counts = count_genotypes(block, sample_sets(member))
    nearest = np.floor(exact + 0.5)
    for s in range(3):
        inside = exact[:, member[s]]
        np.testing.assert_array_equal(counts.n_missing[:, s], np.isnan(inside).sum(axis=1))
        np.testing.assert_array_equal(counts.n_het[:, s], (nearest[:, member[s]] == 1).sum(axis=1))
        np.testing.assert_array_equal(counts.n_hom_alt[:, s], (nearest[:, member[s]] == 2).sum(axis=1))
        np.testing.assert_allclose(counts.dosage_sum[:, s], np.nansum(inside, axis=1), rtol=1e-12)
        np.testing.assert_allclose(counts.dosage_sum_sq[:, s], np.nansum(inside**2, axis=1), rtol=1e-12)
    np.testing.assert_array_equal(counts.size, member.sum(axis=1))


@pytest.mark.parametrize("samples", [16 * k + 1 for k in range(20)] + [2000])
def test_carriers_of_any_number_are_counted(samples: int) -> None:
    """Eight at a time, and those that are left."""
    rng = np.random.default_rng(samples)
    calls = np.zeros((40, samples), np.int8)
    for row in calls:
        carriers = rng.choice(samples, samples // 16, replace=False)
        row[carriers] = rng.choice([1, 2, -1], len(carriers))
    calls[::2] = np.where(calls[::2] >= 0, 2 - calls[::2], -1)
    block = encode_block(calls)
    assert (block.encoding == Encoding.CARRIERS).all()
    counts = count_genotypes(block, sample_sets(np.ones((1, samples), np.bool_)))
    np.testing.assert_array_equal(counts.n_het[:, 0], (calls == 1).sum(axis=1))
    np.testing.assert_array_equal(counts.n_hom_alt[:, 0], (calls == 2).sum(axis=1))
    np.testing.assert_array_equal(counts.n_missing[:, 0], (calls == -1).sum(axis=1))


@pytest.mark.parametrize("coding", Coding)
@pytest.mark.parametrize("term", Term)
def test_products_are_sums(coding: Coding, term: Term) -> None:
    block, exact = mixed_block(17, samples=5000)
    panel = np.random.default_rng(1).normal(size=(block.n_samples, 7))
    panel[::3] = 0.0
    expected = np.nan_to_num(coded(exact, coding, term)) @ panel
    np.testing.assert_allclose(genotype_products(block, panel, coding, term), expected, rtol=1e-11, atol=1e-9)


@settings(max_examples=40)
@given(
    st.integers(0, 10**6), st.sampled_from([1, 63, 255, 256, 257, 700, 1500]), st.sampled_from([0.0, 0.01, 0.5, 1.0])
)
def test_missing_calls_are_listed_in_order(seed: int, samples: int, rate: float) -> None:
    calls = call_block(seed, 30, samples, rate)
    entries = missing_entries(calls.block)
    assert entries.sample.dtype == np.int32
    for v in range(30):
        listed = entries.sample[entries.offset[v] : entries.offset[v + 1]]
        np.testing.assert_array_equal(listed, np.flatnonzero(np.isnan(calls.exact[v])))


def test_missing_genotypes_of_all_encodings_are_listed_and_summed() -> None:
    block, exact = mixed_block(4)
    panel = np.random.default_rng(2).normal(size=(block.n_samples, 3))
    entries = missing_entries(block)
    for v in range(block.n_variants):
        listed = entries.sample[entries.offset[v] : entries.offset[v + 1]]
        np.testing.assert_array_equal(listed, np.flatnonzero(np.isnan(exact[v])))
    np.testing.assert_allclose(missing_products(entries, panel).total, np.isnan(exact) @ panel, atol=1e-11)


def test_male_heterozygotes_become_missing() -> None:
    block, exact = mixed_block(5)
    male = np.random.default_rng(3).random(block.n_samples) < 0.5
    hidden, number = hide_heterozygotes(block, sample_sets(male[None, :]))
    hard = block.encoding <= Encoding.CARRIERS
    impossible = (exact == 1) & male & hard[:, None]
    assert number == impossible.sum() > 0
    counts = count_genotypes(hidden, sample_sets(male[None, :]))
    assert not counts.n_het[hard].any()
    np.testing.assert_array_equal(counts.n_missing[:, 0], (np.isnan(exact) | impossible)[:, male].sum(axis=1))
    before = count_genotypes(block, sample_sets(~male[None, :]))
    after = count_genotypes(hidden, sample_sets(~male[None, :]))
    np.testing.assert_array_equal(before.n_het, after.n_het)
