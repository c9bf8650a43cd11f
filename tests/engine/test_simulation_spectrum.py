"""The fast generator of independent variants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from allscan.engine.simulation.spectrum import minor_allele_counts, simulate_calls_block


def test_whole_genomes_are_mostly_rare() -> None:
    calls = simulate_calls_block(np.random.default_rng(1), 20_000, 500)
    copies = calls.sum(axis=1, dtype=np.int64)
    assert calls.dtype == np.int8
    assert copies.min() == 1
    assert (copies <= 20).mean() > 0.8
    assert 0.4 < (copies == 1).mean() < 0.6
    assert (copies > 2000).mean() > 0.005


@pytest.mark.parametrize(
    ("count", "share"), [(1, 0.473), (2, 0.633), (5, 0.785), (20, 0.897), (50, 0.930), (1000, 0.977)]
)
def test_counts_follow_the_coalescent_cohort(count: int, share: float) -> None:
    # Observed in 50,000 people x 100,000 variants of simulate_cohort(spectrum="wgs").
    counts = minor_allele_counts(np.random.default_rng(2), 50_000, 200_000, "wgs")
    assert (counts <= count).mean() == pytest.approx(share, abs=0.03)


def test_array_variants_are_common_and_in_hardy_weinberg_proportions() -> None:
    n = 4000
    calls = simulate_calls_block(np.random.default_rng(3), n, 600, "array")
    p = calls.mean(axis=1) / 2
    assert p.min() > 0.005
    assert np.quantile(p, [0.25, 0.5, 0.75]) == pytest.approx([0.13, 0.255, 0.38], abs=0.03)
    common = p > 0.05
    excess = 1 - (calls == 1).mean(axis=1)[common] / (2 * p * (1 - p))[common]
    assert excess.mean() == pytest.approx(0, abs=0.003)
    assert 0.02 < (chi2.sf(n * excess**2, 1) < 0.05).mean() < 0.09


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.sampled_from(["array", "wgs"]), st.integers(0, 100))
def test_calls_are_calls_and_a_seed_repeats_them(n_samples: int, n_variants: int, spectrum: str, seed: int) -> None:
    one = simulate_calls_block(np.random.default_rng(seed), n_samples, n_variants, spectrum, missing_rate=0.1)  # type: ignore[arg-type]
    two = simulate_calls_block(np.random.default_rng(seed), n_samples, n_variants, spectrum, missing_rate=0.1)  # type: ignore[arg-type]
    assert one.shape == (n_variants, n_samples)
    assert set(np.unique(one)) <= {-1, 0, 1, 2}
    np.testing.assert_array_equal(one, two)


def test_missing_calls_come_at_the_rate_asked_for() -> None:
    calls = simulate_calls_block(np.random.default_rng(4), 5000, 400, missing_rate=0.02)
    assert (calls == -1).mean() == pytest.approx(0.02, rel=0.2)
    assert not (simulate_calls_block(np.random.default_rng(4), 500, 50) == -1).any()


def test_rare_alleles_are_placed_as_often_as_counted() -> None:
    counts = minor_allele_counts(np.random.default_rng(5), 1000, 300, "wgs")
    calls = simulate_calls_block(np.random.default_rng(5), 1000, 300)
    rare = counts < 40
    np.testing.assert_array_equal(calls.sum(axis=1, dtype=np.int64)[rare], counts[rare])
