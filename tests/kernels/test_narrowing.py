"""Blocks narrowed to some samples: whatever is then asked of them is what it would be of these samples alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.kernels.block import Encoding, GenotypeBlock, concatenate, dosages, encode_block, take
from allscan.kernels.case_counts import case_sets, count_cases
from allscan.kernels.counts import count_genotypes, hide_heterozygotes, sample_sets
from allscan.kernels.narrowing import choose_people, narrow, narrowed
from allscan.kernels.packing import row_bytes
from allscan.kernels.products import Term, genotype_products

VARIANTS = 40


def draw_block(rng: np.random.Generator, n_samples: int, variants: int = VARIANTS) -> GenotypeBlock:
    """Every encoding; rare variants of both alleles, missing calls, and variants that nobody carries."""
    frequency = rng.choice([0.0, 0.01, 0.3, 0.7, 0.99, 1.0], variants)
    calls = rng.binomial(2, frequency[:, None], (variants, n_samples)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.02] = -1
    steps = rng.choice([100, 1000], variants)[:, None]
    dosage = (rng.integers(0, 2 * steps + 1, (variants, n_samples)) / steps).astype(np.float32)
    dosage[rng.random(dosage.shape) < 0.02] = np.nan
    return encode_block(calls, dosage, rng.random(variants) < 0.3)


def values(block: GenotypeBlock) -> NDArray[np.float32]:
    """Copies of ALT, NaN without a call, (variants, samples)."""
    out = np.empty((block.n_variants, block.n_samples), np.float32)
    dosages(block, 0, block.n_variants, out)
    return out


@st.composite
def blocks(draw: st.DrawFn) -> tuple[GenotypeBlock, NDArray[np.int64], np.random.Generator]:
    """A block, and some of its samples: few, most, neighbours, one, none."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    n_samples = draw(st.sampled_from([1, 2, 31, 32, 33, 63, 64, 65, 255, 256, 257, 300, 1024, 1100]))
    share = draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.97]))
    chosen = rng.random(n_samples) < share
    if draw(st.booleans()):
        chosen[: n_samples // 3] = draw(st.booleans())
    chosen[draw(st.integers(0, n_samples - 1))] = draw(st.booleans())
    return draw_block(rng, n_samples, draw(st.sampled_from([1, 31, 32, 33, VARIANTS]))), np.flatnonzero(chosen), rng


@settings(max_examples=120, deadline=None)
@given(blocks())
def test_a_narrowed_block_has_the_genotypes_of_its_people(
    drawn: tuple[GenotypeBlock, NDArray[np.int64], np.random.Generator],
) -> None:
    block, chosen, rng = drawn
    before = [array.copy() for array in block[1:]]
    found = narrow(block, choose_people(chosen, block.n_samples))
    np.testing.assert_array_equal(values(found), values(block)[:, chosen])
    for array, was in zip(block[1:], before, strict=True):
        np.testing.assert_array_equal(array, was)
    assert found.n_samples == len(chosen)
    np.testing.assert_array_equal(found.encoding, block.encoding)
    assert found.calls.shape == (len(block.calls), row_bytes(len(chosen)))
    # Nothing but zeros where there is no sample: whoever counts bits relies on it.
    everybody = sample_sets(np.ones((1, len(chosen)), np.bool_)).packed[0]
    assert not (found.calls & ~everybody).any()
    for a, b in zip(found.carrier_offset, found.carrier_offset[1:], strict=False):
        assert (np.diff(found.carrier_sample[a:b]) > 0).all()
    # In any order with what else is made of blocks.
    some = rng.permutation(block.n_variants)[: max(1, block.n_variants // 2)]
    people = choose_people(chosen, block.n_samples)
    np.testing.assert_array_equal(values(take(found, some)), values(narrow(take(block, some), people)))
    twice = concatenate([block, block])
    np.testing.assert_array_equal(values(narrow(twice, people)), values(concatenate([found, found])))


@settings(max_examples=60, deadline=None)
@given(blocks())
def test_counts_are_those_of_the_people_among_all(
    drawn: tuple[GenotypeBlock, NDArray[np.int64], np.random.Generator],
) -> None:
    block, chosen, rng = drawn
    people = choose_people(chosen, block.n_samples)
    members = rng.random((3, len(chosen))) < 0.5
    among_all = np.zeros((3, block.n_samples), np.bool_)
    among_all[:, chosen] = members
    found, expected = (
        count_genotypes(narrow(block, people), sample_sets(members)),
        count_genotypes(block, sample_sets(among_all)),
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    found_cases, expected_cases = (
        count_cases(narrow(block, people), case_sets(members)),
        count_cases(block, case_sets(among_all)),
    )
    for one, other in zip(found_cases, expected_cases, strict=True):
        np.testing.assert_array_equal(one, other)
    hidden, hidden_before = (
        hide_heterozygotes(narrow(block, people), sample_sets(members[:1])),
        hide_heterozygotes(block, sample_sets(among_all[:1])),
    )
    assert hidden[1] == hidden_before[1]
    np.testing.assert_array_equal(values(hidden[0]), values(narrow(hidden_before[0], people)))


@settings(max_examples=40, deadline=None)
@given(blocks(), st.sampled_from([Term.VALUE, Term.SQUARE]))
def test_products_are_those_of_a_panel_without_the_others(
    drawn: tuple[GenotypeBlock, NDArray[np.int64], np.random.Generator], term: Term
) -> None:
    block, chosen, rng = drawn
    panel = rng.normal(size=(len(chosen), 5))
    wide = np.zeros((block.n_samples, 5))
    wide[chosen] = panel
    found = genotype_products(narrow(block, choose_people(chosen, block.n_samples)), panel, term=term)
    np.testing.assert_allclose(found, genotype_products(block, wide, term=term), rtol=1e-12, atol=1e-9)


def test_several_sets_share_a_block() -> None:
    rng = np.random.default_rng(1)
    block = draw_block(rng, 700)
    label = rng.integers(0, 4, 700)
    sets = [choose_people(np.flatnonzero(label == k), 700) for k in range(3)]
    found = list(narrowed(block, [sets[0], None, *sets[1:]]))
    assert found[1] is block
    for k, part in zip((0, 1, 2), (found[0], *found[2:]), strict=True):
        np.testing.assert_array_equal(values(part), values(block)[:, label == k])


@pytest.mark.parametrize("n_samples", [1, 32, 256, 1000])
def test_all_samples_are_no_choice(n_samples: int) -> None:
    assert choose_people(np.arange(n_samples), n_samples) is None
    block = draw_block(np.random.default_rng(2), n_samples)
    assert narrow(block, None) is block


def test_carriers_stay_carriers_where_they_are_many() -> None:
    """A variant that one in 50 of all people carry, all of them in one group: correct, whatever it costs."""
    calls = np.zeros((2, 1000), np.int8)
    calls[0, :20] = 1
    calls[1, 20:] = 2  # the first 20 carry REF only: a list of carriers of REF
    block = encode_block(calls)
    assert (block.encoding == Encoding.CARRIERS).all()
    assert block.carrier_flipped.tolist() == [False, True]
    found = narrow(block, choose_people(np.arange(22), 1000))
    assert (found.encoding == Encoding.CARRIERS).all()
    np.testing.assert_array_equal(values(found), calls[:, :22])
    counts = count_genotypes(found, sample_sets(np.ones((1, 22), np.bool_)))
    assert counts.dosage_sum.ravel().tolist() == [20.0, 4.0]
