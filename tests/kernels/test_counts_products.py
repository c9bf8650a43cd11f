"""Counts and products equal the sums they stand for, in every encoding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.kernels.association import Coding
from allscan.kernels.block import Encoding, GenotypeBlock, encode_block
from allscan.kernels.counts import count_genotypes, hide_heterozygotes, sample_sets
from allscan.kernels.entries import missing_entries
from allscan.kernels.products import Term, genotype_products, missing_products
from tests import naive


def mixed_block(seed: int, samples: int = 700) -> tuple[GenotypeBlock, NDArray[np.float64]]:
    """A block with all four encodings (flipped carriers too), and its dosages in float64, NaN missing."""
    rng = np.random.default_rng(seed)
    frequency = np.array([0.3, 0.5, 0.7, 0.002, 0.005, 0.995, 0.999, 0.0, 1.0, 0.2, 0.3, 0.4, 0.1])
    calls = rng.binomial(2, frequency[:, None], (len(frequency), samples)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.004] = -1
    calls[2] = -1
    exact = np.where(calls < 0, np.nan, calls).astype(np.float64)
    is_dosage = np.zeros(len(calls), np.bool_)
    for row, steps in ((9, 100), (10, 127), (11, 1000), (12, 16384)):
        codes = rng.integers(0, 2 * steps + 1, samples)
        exact[row] = np.where(rng.random(samples) < 0.01, np.nan, codes / steps)
        is_dosage[row] = True
    block = encode_block(calls, exact.astype(np.float32), is_dosage)
    assert set(block.encoding.tolist()) == set(Encoding)
    # A stored dosage is code / steps, not its float32 image.
    return block, exact


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


@pytest.mark.parametrize("coding", Coding)
@pytest.mark.parametrize("term", Term)
def test_products_are_sums(coding: Coding, term: Term) -> None:
    block, exact = mixed_block(17, samples=5000)
    panel = np.random.default_rng(1).normal(size=(block.n_samples, 7))
    panel[::3] = 0.0
    model = {0: "additive", 1: "dominant", 2: "recessive"}
    coded = np.empty_like(exact)
    for index, dosage in np.ndenumerate(exact):
        value = min(dosage, 2 - dosage) if coding == Coding.HETEROZYGOUS else naive.code(dosage, model[coding])[0]
        value = {Term.VALUE: value, Term.SQUARE: value**2, Term.CROSS: value * dosage}[term]
        coded[index] = 0.0 if np.isnan(dosage) else value
    expected = coded @ panel
    np.testing.assert_allclose(genotype_products(block, panel, coding, term), expected, rtol=1e-11, atol=1e-9)


def test_missing_genotypes_are_listed_and_summed() -> None:
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
