"""Genomic inflation, quantiles and clumping, against definitions written out in loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from allscan.kernels import summary


def test_chi_square_is_the_inverse_of_the_upper_tail() -> None:
    p = np.array([0.9999, 0.5, 0.05, 5e-8, 1e-100, 1e-300])
    for df in (1, 2):
        np.testing.assert_allclose(summary.chi_square(-np.log10(p), df), stats.chi2.isf(p, df), rtol=1e-9)


def test_chi_square_goes_beyond_the_smallest_float() -> None:
    # log p of a normal at |z| = 60, twice its tail: p is about 1e-784.
    log_p = np.log(2.0) + stats.norm.logsf(60.0)
    assert summary.chi_square(-log_p / np.log(10.0), 1) == pytest.approx(3600.0, rel=1e-10)


def test_chi_square_refuses_unknown_degrees_of_freedom() -> None:
    with pytest.raises(ValueError, match="df is 3"):
        summary.chi_square(1.0, 3)


@pytest.mark.parametrize("df", [1, 2])
def test_inflation_of_scaled_statistics_is_the_scale(df: int) -> None:
    rng = np.random.default_rng(5)
    statistic = 1.25 * stats.chi2.rvs(df, size=20_001, random_state=rng)
    y = -stats.chi2.logsf(statistic, df) / np.log(10.0)
    naive = np.median(statistic) / stats.chi2.median(df)
    assert summary.genomic_inflation(np.append(y, np.nan), df) == pytest.approx(naive, rel=1e-9)


def test_inflation_of_nothing_is_nan() -> None:
    assert np.isnan(summary.genomic_inflation(np.array([np.nan, np.inf])))


values = st.lists(st.floats(0.0, 700.0, width=32), min_size=1, max_size=60)


@given(values)
def test_histogram_bins_hold_their_values(y: list[float]) -> None:
    bins = summary.histogram_bin(np.array(y, dtype=np.float32))
    # A value on an edge may be rounded across it by a few units in the last place.
    assert np.all(summary.BIN_EDGES[bins] <= np.array(y) * (1 + 1e-12))
    assert np.all(np.array(y) <= summary.BIN_EDGES[bins + 1] * (1 + 1e-12))


@given(values)
def test_rank_values_are_within_a_bin_of_the_sorted_values(y: list[float]) -> None:
    sample = np.array(y, dtype=np.float32)
    bins = summary.histogram_bin(sample)
    histogram = np.bincount(bins, minlength=summary.N_BINS)
    width = np.diff(summary.BIN_EDGES)[np.sort(bins)[::-1]]
    got = summary.value_at_rank(histogram, np.arange(1, len(y) + 1))
    assert np.all(np.abs(got - np.sort(sample.astype(float))[::-1]) <= width * (1 + 1e-9))


@pytest.mark.parametrize("n", [1, 2, 10, 11, 5000])
def test_inflation_from_the_histogram_agrees_with_the_exact_one(n: int) -> None:
    y = -np.log10(np.random.default_rng(n).uniform(size=n))
    histogram = np.bincount(summary.histogram_bin(y), minlength=summary.N_BINS)
    approximate = summary.inflation_of_median(summary.median_of_histogram(histogram))
    assert approximate == pytest.approx(summary.genomic_inflation(y), abs=3e-4)


def test_inflation_of_many_medians_is_that_of_each() -> None:
    medians = np.array([0.3, np.nan, 12.0, 400.0])
    together = summary.inflation_of_median(medians)
    assert np.isnan(together[1])
    for k in (0, 2, 3):
        assert together[k] == summary.inflation_of_median(medians[k])


@pytest.mark.parametrize("kind", [np.uint8, np.uint32, np.int64])
def test_values_at_ranks_do_not_depend_on_the_type_of_the_counts(kind: type) -> None:
    # Sums of a uint8 must not wrap around.
    histogram = np.zeros(summary.N_BINS, kind)
    histogram[::50] = 200
    n = int(histogram.sum(dtype=np.int64))
    ranks = np.array([1.0, 1.5, 200.0, 201.0, n / 2, n])
    values = np.repeat(np.flatnonzero(histogram), 200)
    ascending = np.floor(n - ranks + 0.5).astype(int)
    got = summary.value_at_rank(histogram, ranks)
    assert np.all(summary.BIN_EDGES[values[ascending]] <= got)
    assert np.all(got <= summary.BIN_EDGES[values[ascending] + 1])


def test_median_of_an_empty_histogram_is_nan() -> None:
    assert np.isnan(summary.median_of_histogram(np.zeros(summary.N_BINS, dtype=int)))


def test_qq_band_covers_order_statistics_of_uniform_values() -> None:
    n, ranks = 200, np.array([1, 2, 10, 100, 200])
    sorted_p = np.sort(np.random.default_rng(2).uniform(size=(4000, n)), axis=1)
    y = -np.log10(sorted_p[:, ranks - 1])
    low, high = summary.qq_band(ranks, n, 0.9)
    coverage = np.mean((y >= low) & (y <= high), axis=0)
    np.testing.assert_allclose(coverage, 0.9, atol=0.02)
    assert np.all((low < summary.expected_neg_log10_p(ranks, n)) & (high > low))


def naive_clumps(contig: list[int], position: list[int], y: list[float], window: int) -> list[tuple[int, int]]:
    left = set(range(len(y)))
    found = []
    while left:
        lead = min(left, key=lambda i: (-y[i], contig[i], position[i], i))
        near = {i for i in left if contig[i] == contig[lead] and abs(position[i] - position[lead]) <= window}
        found.append((lead, len(near)))
        left -= near
    return found


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.integers(0, 6)), max_size=40),
    st.integers(0, 12),
)
def test_clumping_is_greedy_by_significance(rows: list[tuple[int, int, int]], window: int) -> None:
    contig, position, y = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    got = summary.clump(np.array(contig, dtype=int), np.array(position, dtype=int), np.array(y, dtype=float), window)
    expected = naive_clumps(contig, position, [float(v) for v in y], window)
    assert list(zip(got.lead.tolist(), got.members.tolist(), strict=True)) == expected
