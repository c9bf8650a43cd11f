"""Sums over calls, carriers and dosages, over everybody and over subsets: equal to plain sums, and to themselves.

A column's sums depend neither on the columns beside it nor on the other variants, to the last bit; dosages, which
are multiplied by BLAS, to rounding.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.kernels.association import Coding
from allscan.kernels.block import Encoding, GenotypeBlock, concatenate, encode_block, take
from allscan.kernels.entries import MOST_ROWS, missing_entries
from allscan.kernels.lookup import PASS_VARIANTS, STRIP_ROWS, STRIP_WORDS, _transpose
from allscan.kernels.packing import row_bytes
from allscan.kernels.panel import Panel, make_panel
from allscan.kernels.products import (
    Products,
    Term,
    called_and_missing_products,
    missing_products,
    shifts,
    subset_products,
)
from allscan.kernels.subsets import Subsets, make_subsets, no_subsets
from tests.kernels.blocks import call_block, coded, mixed_block

TYPES = (np.float32, np.float64)
# Of the sum of absolute terms. One sample more or less would be a few 1e-4.
ROUNDING = {np.float32: 1e-6, np.float64: 1e-14}


def chosen_samples(n: int) -> list[NDArray[np.int64]]:
    """Nobody, everybody, one, the last few, every third, and half of the people."""
    half = np.sort(np.random.default_rng(n).permutation(n)[: n // 2])
    lists = [np.arange(0), np.arange(n), np.array([n - 1]), np.arange(max(0, n - 10), n), np.arange(0, n, 3), half]
    return [samples.astype(np.int64) for samples in lists]


def check_sums(found: Products, values: NDArray[np.float64], panel: Panel, columns: int, dtype: type) -> None:
    """Against plain sums of ``values``, shape (variants, samples)."""
    everything = panel.matrix(0, panel.n_samples).astype(np.float64)
    cases = [(found.total, np.arange(panel.n_samples), everything)]
    cases += [
        (part, samples, everything[:, :columns])
        for part, samples in zip(found.of_subset, chosen_samples(panel.n_samples), strict=True)
    ]
    for sums, samples, weights in cases:
        bound = ROUNDING[dtype] * (np.abs(values[:, samples]) @ np.abs(weights[samples])) + 1e-300
        assert sums.shape == bound.shape
        assert (np.abs(sums - values[:, samples] @ weights[samples]) <= bound).all()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("coding", Coding)
@pytest.mark.parametrize("shifted", [False, True])
def test_sums_of_all_encodings(dtype: type, coding: Coding, shifted: bool) -> None:
    n, columns = 2 * STRIP_ROWS + 333, 18
    block, exact = mixed_block(int(coding), n)
    panel = make_panel(np.random.default_rng(1).normal(size=(n, 21)), dtype)
    values = coded(exact, coding)
    if shifted:
        shift = shifts(block, coding)
        carriers = block.encoding == Encoding.CARRIERS
        common = coded(np.array([2.0]), coding)[0]
        np.testing.assert_array_equal(shift[carriers], np.where(block.carrier_flipped, common, 0.0))
        assert not shift[block.encoding == Encoding.CALLS].any()
        values = values - shift[:, None]
    subsets = make_subsets(chosen_samples(n), n, columns)
    found = subset_products(block, panel, subsets, coding, shifted=shifted)
    check_sums(found, np.nan_to_num(values), panel, columns, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("coding", Coding)
@pytest.mark.parametrize("columns", [3, 18])
def test_sums_over_calls_and_missing_calls_together(dtype: type, coding: Coding, columns: int) -> None:
    n = MOST_ROWS + 333
    block, exact = mixed_block(int(coding), n)
    assert {True, False} == set(block.carrier_flipped.tolist())
    panel = make_panel(np.random.default_rng(1).normal(size=(n, columns + 3)), dtype)
    subsets = make_subsets(chosen_samples(n), n, columns)
    missing = missing_entries(block, of_carriers=False)
    listed = np.diff(missing.offset) > 0
    assert listed.any()
    assert not listed[block.encoding == Encoding.CARRIERS].any()
    found, absent = called_and_missing_products(block, missing, panel, subsets, coding)
    values = coded(exact, coding) - shifts(block, coding)[:, None]
    check_sums(found, np.nan_to_num(values), panel, columns, dtype)
    check_sums(absent, np.isnan(exact).astype(np.float64), panel, columns, dtype)


@pytest.mark.parametrize("steps", [100, 1000])
@pytest.mark.parametrize("coding", Coding)
@pytest.mark.parametrize("missing", [0.0, 0.9])
def test_two_copies_are_taken_off_dosages_of_which_most_people_have_two(
    steps: int, coding: Coding, missing: float
) -> None:
    rng = np.random.default_rng(steps)
    exact = np.rint(steps * rng.uniform([[0.0], [1.8], [0.0], [1.1]], [[0.2], [2.0], [0.9], [2.0]], (4, 5000))) / steps
    exact[rng.random(exact.shape) < missing] = np.nan
    block = encode_block(np.zeros((4, 5000), np.int8), exact.astype(np.float32), np.ones(4, np.bool_))
    common = coded(np.array([2.0]), coding)[0]
    np.testing.assert_array_equal(shifts(block, coding), [0.0, common, 0.0, common])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("coding", Coding)
@pytest.mark.parametrize("term", [Term.SQUARE, Term.CROSS])
def test_sums_of_squares_and_of_both_predictors(dtype: type, coding: Coding, term: Term) -> None:
    n = 900
    block, exact = mixed_block(3, n)
    panel = make_panel(np.random.default_rng(2).normal(size=(n, 3)), dtype)
    found = subset_products(block, panel, make_subsets(chosen_samples(n), n, 2), coding, term)
    check_sums(found, np.nan_to_num(coded(exact, coding, term)), panel, 2, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [1, 11, 12, 13, 255, 256, 257, STRIP_ROWS, STRIP_ROWS + 1, 3 * STRIP_ROWS])
def test_any_number_of_samples(dtype: type, n: int) -> None:
    calls = call_block(n, 9, n, missing=0.1)
    panel = make_panel(np.random.default_rng(n).normal(size=(n, 2)), dtype)
    found = subset_products(calls.block, panel, make_subsets(chosen_samples(n), n, 1))
    check_sums(found, np.nan_to_num(calls.exact), panel, 1, dtype)


@pytest.mark.parametrize("variants", [1, PASS_VARIANTS, PASS_VARIANTS + 1, 3 * PASS_VARIANTS + 5])
def test_any_number_of_variants(variants: int) -> None:
    n = STRIP_ROWS + 300
    calls = call_block(variants, variants, n)
    panel = make_panel(np.random.default_rng(0).normal(size=(n, 4)), np.float32)
    found = subset_products(calls.block, panel, make_subsets(chosen_samples(n), n, 4))
    check_sums(found, np.nan_to_num(calls.exact), panel, 4, np.float32)


def test_rounding_does_not_grow_with_the_number_of_samples() -> None:
    """Single precision is for one strip; in a sum over forty, rounding would be ten times the bound."""
    n = 40 * STRIP_ROWS
    calls = call_block(1, 6, n, missing=0.0)
    column = np.full((n, 1), 0.1, np.float32)
    found = subset_products(calls.block, make_panel(column, np.float32), make_subsets([np.arange(n)], n, 1))
    exact = calls.exact @ column.astype(np.float64)
    np.testing.assert_allclose(found.total, exact, rtol=4e-7)
    np.testing.assert_allclose(found.of_subset[0], exact, rtol=4e-7)


@pytest.mark.parametrize("dtype", TYPES)
def test_sums_over_missing_genotypes(dtype: type) -> None:
    n = 2 * STRIP_ROWS + 5
    block, exact = mixed_block(8, n)
    panel = make_panel(np.random.default_rng(3).normal(size=(n, 17)), dtype)
    found = missing_products(missing_entries(block), panel, make_subsets(chosen_samples(n), n, 17))
    check_sums(found, np.isnan(exact).astype(np.float64), panel, 17, dtype)


@pytest.mark.parametrize("columns", [0, 3])
def test_nothing_to_sum(columns: int) -> None:
    block, _ = mixed_block(1)
    nobody = take(block, np.arange(0))
    panel = make_panel(np.ones((700, columns)), np.float32)
    subsets = make_subsets([np.arange(5)], 700, columns)
    assert subset_products(nobody, panel, subsets).of_subset.shape == (1, 0, columns)
    missing = missing_entries(nobody)
    assert missing_products(missing, panel, subsets).of_subset.shape == (1, 0, columns)
    for found in called_and_missing_products(nobody, missing, panel, subsets, Coding.ADDITIVE):
        assert (found.total.shape, found.of_subset.shape) == ((0, columns), (1, 0, columns))
    found = subset_products(block, panel, subsets)
    assert (found.total.shape, found.of_subset.shape) == ((13, columns), (1, 13, columns))


def freeze(arrays: object) -> None:
    for value in arrays:  # type: ignore[attr-defined]
        if isinstance(value, np.ndarray):
            value.flags.writeable = False


def test_read_only_inputs_are_taken_and_left_alone() -> None:
    block, _ = mixed_block(2)
    panel = make_panel(np.random.default_rng(4).normal(size=(700, 5)), np.float32)
    subsets = make_subsets(chosen_samples(700), 700, 5)
    missing = missing_entries(block)
    before = both(block, panel, subsets, Coding.ADDITIVE, shifted=True)
    for arrays in (block, panel, subsets, missing):
        freeze(arrays)
    np.testing.assert_array_equal(missing_products(missing, panel, subsets).total, before[1].total)
    after = both(block, panel, subsets, Coding.ADDITIVE, shifted=True)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.total, other.total)
        np.testing.assert_array_equal(one.of_subset, other.of_subset)


def both(block: GenotypeBlock, panel: Panel, subsets: Subsets, coding: Coding, shifted: bool) -> list[Products]:
    """Sums over genotypes, and over the samples that have none, one after the other and together."""
    return [
        subset_products(block, panel, subsets, coding, shifted=shifted),
        missing_products(missing_entries(block), panel, subsets),
        *called_and_missing_products(block, missing_entries(block, of_carriers=False), panel, subsets, coding),
    ]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(TYPES), st.sampled_from(list(Coding)), st.booleans(), st.data())
def test_a_variant_does_not_depend_on_the_others(
    seed: int, dtype: type, coding: Coding, shifted: bool, data: st.DataObject
) -> None:
    n = data.draw(st.sampled_from([1, 12, 255, 700, STRIP_ROWS + 100]))
    calls = call_block(seed, data.draw(st.integers(1, 20)), n)
    rng = np.random.default_rng(seed)
    panel = make_panel(rng.normal(size=(n, 17)), dtype)
    subsets = make_subsets(chosen_samples(n), n, 3)
    whole = both(calls.block, panel, subsets, coding, shifted)
    # Any of them, in any order, some of them twice, behind a pass of others.
    rows = rng.integers(0, calls.block.n_variants, data.draw(st.integers(1, 25)))
    others = take(calls.block, np.zeros(data.draw(st.sampled_from([0, PASS_VARIANTS - 3])), np.int64))
    part = concatenate([others, take(calls.block, rows)])
    for one, other in zip(whole, both(part, panel, subsets, coding, shifted), strict=True):
        np.testing.assert_array_equal(other.total[others.n_variants :], one.total[rows])
        np.testing.assert_array_equal(other.of_subset[:, others.n_variants :], one.of_subset[:, rows])


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(TYPES), st.sampled_from(list(Coding)), st.booleans(), st.data())
def test_a_column_does_not_depend_on_the_others(
    seed: int, dtype: type, coding: Coding, shifted: bool, data: st.DataObject
) -> None:
    n = data.draw(st.sampled_from([1, 12, 255, 700, STRIP_ROWS + 100]))
    calls = call_block(seed, 6, n)
    columns = np.random.default_rng(seed).normal(size=(n, 35))
    chosen = np.array(data.draw(st.lists(st.integers(0, 34), min_size=1, max_size=35)))
    lists = chosen_samples(n)
    some = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=4))
    whole = both(calls.block, make_panel(columns, dtype), make_subsets(lists, n, 35), coding, shifted)
    subsets = make_subsets([lists[s] for s in some], n, len(chosen)) if some else no_subsets(n)
    part = both(calls.block, make_panel(columns[:, chosen], dtype), subsets, coding, shifted)
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(other.total, one.total[:, chosen])
        for k, s in enumerate(some):
            np.testing.assert_array_equal(other.of_subset[k], one.of_subset[s][:, chosen])


@pytest.mark.parametrize("dtype", TYPES)
def test_dosages_do_not_depend_on_the_others_but_for_rounding(dtype: type) -> None:
    block, exact = mixed_block(6)
    panel = make_panel(np.random.default_rng(5).normal(size=(700, 20)), dtype)
    subsets = make_subsets(chosen_samples(700), 700, 20)
    whole = subset_products(block, panel, subsets)
    rows = np.array([11, 9, 3, 12, 0, 10, 9])
    mixed = subset_products(take(block, rows), panel, subsets)
    check_sums(mixed, np.nan_to_num(exact[rows]), panel, 20, dtype)
    np.testing.assert_allclose(mixed.total, whole.total[rows], rtol=0, atol=1e4 * ROUNDING[dtype])


@pytest.mark.parametrize("people", [1, 300, 1_100, 4 * STRIP_ROWS + 700])
@pytest.mark.parametrize("variants", [1, 15, 16, 50])
def test_words_of_calls_are_laid_out_by_word(people: int, variants: int) -> None:
    packed = np.random.default_rng(people).integers(0, 256, (variants + 3, row_bytes(people))).astype(np.uint8)
    n_words = -(-packed.shape[1] // 3)
    padded = np.pad(packed, ((0, 0), (0, 3 * n_words - packed.shape[1]))).reshape(len(packed), n_words, 3)
    expected = (padded.astype(np.uint32) << np.array([0, 8, 16], np.uint32)).sum(axis=2).T
    for first in range(0, n_words, STRIP_WORDS):
        here = min(STRIP_WORDS, n_words - first)
        out = np.full((STRIP_WORDS, PASS_VARIANTS), 0xDEADBEEF, np.uint32)
        _transpose(packed, 2, variants, first, here, out)
        np.testing.assert_array_equal(out[:here, :variants], expected[first : first + here, 2 : 2 + variants])
        assert (out[:here, variants:] == 0xDEADBEEF).all()
        assert (out[here:] == 0xDEADBEEF).all()
