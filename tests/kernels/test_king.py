"""KING-robust by counting bits: against loops over markers, and what a screen may and may not do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.kernels.king import (
    PairCounts,
    count_differences,
    count_heterozygous,
    count_pairs,
    fill_planes,
    words_of,
)
from allscan.kernels.kinship_screen import DIVERGENT, Stage, Standing, likely_pairs
from allscan.kernels.packing import pack_rows, row_bytes
from tests.naive_kinship import NaivePair, king


def planes_of(calls: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Bits of calls (markers, people)."""
    packed = np.empty((len(calls), row_bytes(calls.shape[1])), np.uint8)
    pack_rows(calls, packed)
    out = np.full((calls.shape[1], 2, words_of(len(calls))), 123456789, np.uint64)
    fill_planes(packed, out)
    return out


def random_calls(seed: int, markers: int, people: int, missing: float = 0.05) -> NDArray[np.int8]:
    rng = np.random.default_rng(seed)
    calls = rng.binomial(2, rng.uniform(0.05, 0.95, (markers, 1)), (markers, people)).astype(np.int8)
    calls[rng.random(calls.shape) < missing] = -1
    return calls


def counted(calls: NDArray[np.int8], i: NDArray[np.int64], j: NDArray[np.int64]) -> PairCounts:
    planes = planes_of(calls)
    return count_pairs([(planes, planes)], i, j)


def all_pairs(people: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    i, j = np.triu_indices(people, 1)
    return i, j


def heterozygous(planes: NDArray[np.uint64]) -> NDArray[np.int64]:
    out = np.empty(len(planes), np.int64)
    count_heterozygous(planes, out)
    return out


@given(markers=st.integers(1, 200), people=st.integers(2, 20), seed=st.integers(0, 1000), missing=st.floats(0, 0.6))
def test_counts_are_those_of_a_loop(markers: int, people: int, seed: int, missing: float) -> None:
    calls = random_calls(seed, markers, people, missing)
    i, j = all_pairs(people)
    found = counted(calls, i, j)
    for k, (a, b) in enumerate(zip(i, j, strict=True)):
        naive = king(calls[:, a], calls[:, b])
        assert NaivePair(*(int(column[k]) for column in found), kinship=0.0) == naive._replace(kinship=0.0)
        np.testing.assert_allclose(found.kinship[k], naive.kinship, atol=1e-12)


@pytest.mark.parametrize("people", [1, 3, 4, 255, 256, 257, 300])
def test_bits_and_differences_of_any_number_of_people(people: int) -> None:
    calls = random_calls(people, 130, people)
    planes = planes_of(calls)
    np.testing.assert_array_equal(heterozygous(planes), (calls == 1).sum(axis=0))
    some = planes[: min(people, 9)]
    out = np.empty((2, len(some), people), np.int32)
    count_differences(some, planes, out)
    a, b = calls[:, : len(some), None].astype(int), calls[:, None].astype(int)
    both = (a >= 0) & (b >= 0)
    np.testing.assert_array_equal(out[0], (both & (np.abs(a - b) == 1)).sum(axis=0))
    np.testing.assert_array_equal(out[1], (both & (np.abs(a - b) == 2)).sum(axis=0))


@given(seed=st.integers(0, 1000))
def test_neither_order_of_markers_nor_counted_allele_matter(seed: int) -> None:
    calls = random_calls(seed, 150, 8)
    rng = np.random.default_rng(seed)
    swapped = calls.copy()
    swapped[::2] = np.where(swapped[::2] < 0, -1, 2 - swapped[::2])
    i, j = all_pairs(8)
    found = counted(calls, i, j)
    for other in (counted(swapped, i, j), counted(calls[rng.permutation(150)], i, j)):
        for one, again in zip(found, other, strict=True):
            np.testing.assert_array_equal(one, again)
    turned = counted(calls, j, i)
    np.testing.assert_array_equal(turned.kinship, found.kinship)
    np.testing.assert_array_equal(turned.het_hom, found.hom_het)


def test_nobody_heterozygous_has_no_kinship() -> None:
    calls = np.array([[0, 2, 1], [2, 0, 1]], np.int8)
    found = counted(calls, *all_pairs(3))
    assert np.isnan(found.kinship).all()


def standing(calls: NDArray[np.int8]) -> Standing:
    """Where people stand by KING-robust."""
    het = (calls == 1).sum(axis=0).astype(float)
    return Standing(het, np.ones(len(het)), np.ones(len(het)), np.empty((len(het), 0)), np.empty((len(het), 0)))


def predicted(
    calls: NDArray[np.int8],
    mean: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    basis: NDArray[np.float64],
    least: float,
) -> Standing:
    """Where people stand by PC-Relate, for coefficients (markers, components) and a basis (people, components)."""
    fit = coefficients @ basis.T
    centred = np.where(calls < 0, 0.0, calls - mean[:, None])
    residual = np.where(calls < 0, 0.0, centred - fit)
    variance = np.where(calls < 0, 0.0, (mean[:, None] + fit) * (1 - (mean[:, None] + fit) / 2))
    share = (calls >= 0).mean(axis=0)
    onto, seen = centred.T @ coefficients, basis * share[:, None]
    products = coefficients.T @ coefficients
    return Standing(
        (centred**2).sum(axis=0) - 2 * least * variance.sum(axis=0),
        share,
        (residual**4).sum(axis=0),
        np.column_stack([2 * seen @ products - 2 * onto, -2 * seen]),
        np.column_stack([seen, onto]),
    )


def one_stage(calls: NDArray[np.int8], spread: float, of: Standing) -> Stage:
    planes = planes_of(calls)
    return Stage(planes, planes, of, of, spread)


def screened(
    stages: list[Stage], calls: NDArray[np.int8], least: float
) -> tuple[set[tuple[int, int]], NDArray[np.int64]]:
    het = (calls == 1).sum(axis=0)
    divergent = np.zeros(calls.shape[1], np.int64)
    i, j = likely_pairs(stages, (het, het), least, (divergent, divergent), same=True)
    return set(zip(i.tolist(), j.tolist(), strict=True)), divergent


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("people", [40, 530])
def test_without_deviates_no_pair_above_the_bound_is_left_out(people: int, missing: float) -> None:
    calls = random_calls(7, 120, people, missing)
    i, j = all_pairs(people)
    kinship = counted(calls, i, j).kinship
    chosen, divergent = screened([one_stage(calls, 0.0, standing(calls))], calls, 0.1011)
    above = {(a, b) for a, b, value in zip(i.tolist(), j.tolist(), kinship, strict=True) if value >= 0.1011}
    assert above <= chosen
    assert all(a < b for a, b in chosen)
    if not missing:
        assert above == chosen
        bounds = []
        for rounding in (-1e-9, 1e-9):
            pairs = np.column_stack([i, j])[kinship < DIVERGENT + rounding]
            bounds.append(np.bincount(pairs.ravel(), minlength=people))
        assert ((bounds[0] <= divergent) & (divergent <= bounds[1])).all()


def test_two_blocks_are_compared_whole() -> None:
    calls = random_calls(8, 200, 340)
    planes, of = planes_of(calls), standing(calls)
    chosen, _ = screened([one_stage(calls, 1.0, of)], calls, 0.02)
    first, second = np.zeros(40, np.int64), np.zeros(300, np.int64)
    few, many = (Standing(*(column[some] for column in of)) for some in (slice(40), slice(40, 340)))
    het = (calls == 1).sum(axis=0)
    stage = Stage(planes[:40], planes[40:], few, many, 1.0)
    i, j = likely_pairs([stage], (het[:40], het[40:]), 0.02, (first, second), same=False)
    found = set(zip(i.tolist(), (j + 40).tolist(), strict=True))
    assert found == {pair for pair in chosen if pair[0] < 40 <= pair[1]}
    assert first.sum() == second.sum()


def test_stages_come_to_what_all_markers_say() -> None:
    calls = random_calls(11, 300, 120, 0.0)
    whole, _ = screened([one_stage(calls, 0.0, standing(calls))], calls, 0.1011)
    cuts = (100, 230, 300)
    stages = [
        one_stage(calls[begin:end], spread, standing(calls[:end]))
        for begin, end, spread in zip((0, *cuts), cuts, (4.0, 4.0, 0.0), strict=False)
    ]
    chosen, _ = screened(stages, calls[:100], 0.1011)
    assert chosen == whole
    assert len(screened(stages[:1], calls[:100], 0.1011)[0]) > len(whole)


@pytest.mark.parametrize("missing", [0.0, 0.03])
def test_pc_relate_by_counts(missing: float) -> None:
    """Without deviates those are left whose sum of products of residuals says so, up to what missing calls blur."""
    rng = np.random.default_rng(12)
    markers, people, least = 900, 60, 0.03
    calls = random_calls(12, markers, people, missing)
    called = np.maximum((calls >= 0).sum(axis=1), 1)
    mean = np.maximum(calls, 0).sum(axis=1) / called
    coefficients = 0.15 * rng.normal(size=(markers, 2)) * (mean * (1 - mean / 2))[:, None]
    basis = rng.normal(size=(people, 2))
    expected = mean[:, None] + coefficients @ basis.T
    residual = np.where(calls < 0, 0.0, calls - expected)
    i, j = all_pairs(people)
    both = (calls[:, i] >= 0) & (calls[:, j] >= 0)
    variance = expected * (1 - expected / 2)
    kinship = (residual[:, i] * residual[:, j]).sum(axis=0) / (both * (variance[:, i] + variance[:, j])).sum(axis=0)
    chosen, _ = screened([one_stage(calls, 0.0, predicted(calls, mean, coefficients, basis, least))], calls, least)
    blur = 0.01 if missing else 1e-9
    for a, b, value in zip(i.tolist(), j.tolist(), kinship, strict=True):
        if abs(value - least) > blur:
            assert ((a, b) in chosen) == (value > least)
    assert 10 < len(chosen) < 0.5 * len(i)


@pytest.mark.parametrize("adjusted", [False, True])
def test_a_sample_misses_as_seldom_as_it_is_told(adjusted: bool) -> None:
    """Pairs exactly at the bound, by one marker of each four in a row: with d deviates at most Φ(−d) are missed."""
    rng = np.random.default_rng(9)
    n_pairs, markers, deviates = 400, 4000, 1.5
    calls = random_calls(10, markers, 2 * n_pairs, 0.0)
    shared = rng.random((markers, n_pairs)) < 0.3
    calls[:, n_pairs:] = np.where(shared, calls[:, :n_pairs], calls[:, n_pairs:])
    i = np.arange(n_pairs)
    mean = calls.mean(axis=1)
    nothing, nowhere = np.zeros((markers // 4, 1)), np.zeros((2, 1))
    value = counted(calls, i, i + n_pairs).kinship
    if adjusted:
        residual = calls - mean[:, None]
        both = 2 * (mean * (1 - mean / 2)).sum()
        value = (residual[:, :n_pairs] * residual[:, n_pairs:]).sum(axis=0) / both
    missed = tries = 0
    for _ in range(12):
        drawn = np.arange(0, markers, 4) + rng.integers(0, 4, markers // 4)
        some = np.ascontiguousarray(calls[drawn])
        planes, het = planes_of(some), (some == 1).sum(axis=0)
        for k in range(0, n_pairs, 10):
            least, (a, b) = float(value[k]) - 1e-9, (slice(k, k + 1), slice(n_pairs + k, n_pairs + k + 1))
            two = some[:, [k, n_pairs + k]]
            of = predicted(two, mean[drawn], nothing, nowhere, least) if adjusted else standing(two)
            sides = (Standing(*(column[who : who + 1] for column in of)) for who in (0, 1))
            pair = Stage(planes[a], planes[b], *sides, deviates)
            room = np.zeros(1, np.int64)
            missed += len(likely_pairs([pair], (het[a], het[b]), least, (room, room.copy()), same=False)[0]) == 0
            tries += 1
    expected = 0.0668 * tries
    assert missed <= expected + 3 * np.sqrt(expected), "more than the bound"
    assert missed >= 0.1 * expected, "so cautious that it hardly screens"
