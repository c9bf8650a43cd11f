"""The exact Hardy-Weinberg test against exact arithmetic and against PLINK 2."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from math import comb, factorial, log10

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.kernels.hwe import hwe_neg_log10_p


def neg_log10_p(n_hom_ref, n_het, n_hom_alt):
    out = np.empty(1)
    hwe_neg_log10_p(*(np.array([n], dtype=np.int64) for n in (n_hom_ref, n_het, n_hom_alt)), out)
    return out[0]


def log10_of_fraction(fraction):
    """log10 also where the fraction is far below the smallest float."""
    digits = len(str(fraction.numerator)) - len(str(fraction.denominator))
    scaled = fraction / Fraction(10) ** digits
    return digits + log10(scaled)


def naive_neg_log10_p(n_hom_ref, n_het, n_hom_alt):
    """By its definition, in whole numbers: every ordered assignment of the alleles to people counts once."""
    n, n_alt = n_hom_ref + n_het + n_hom_alt, 2 * n_hom_alt + n_het
    ways = {}
    for het in range(n_alt % 2, min(n_alt, 2 * n - n_alt) + 1, 2):
        hom_alt = (n_alt - het) // 2
        people = factorial(n) // factorial(het) // factorial(hom_alt) // factorial(n - het - hom_alt)
        ways[het] = people * 2**het
    assert sum(ways.values()) == comb(2 * n, n_alt)
    p = Fraction(sum(w for w in ways.values() if w <= ways[n_het]), sum(ways.values()))
    return -log10_of_fraction(p)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_equals_exact_arithmetic(n_hom_ref, n_het, n_hom_alt):
    if n_hom_ref + n_het + n_hom_alt == 0:
        return
    expected = naive_neg_log10_p(n_hom_ref, n_het, n_hom_alt)
    assert neg_log10_p(n_hom_ref, n_het, n_hom_alt) == pytest.approx(expected, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize(
    "counts", [(1000, 0, 1000), (2000, 0, 1), (0, 1500, 0), (500, 1000, 500), (900, 40, 60), (1990, 5, 5)]
)
def test_equals_exact_arithmetic_far_out(counts):
    assert neg_log10_p(*counts) == pytest.approx(naive_neg_log10_p(*counts), rel=1e-9, abs=1e-11)


def test_nothing_underflows_with_a_million_people():
    # P(no heterozygote) = C(n, n/2) / C(2n, n), by lgamma of scipy.
    from scipy.special import gammaln

    n = 1_000_000
    log_p = (gammaln(n + 1) - 2 * gammaln(n / 2 + 1)) - (gammaln(2 * n + 1) - 2 * gammaln(n + 1))
    assert neg_log10_p(n // 2, 0, n // 2) == pytest.approx(-log_p / np.log(10), rel=1e-9)


@given(st.integers(0, 400_000), st.integers(0, 400_000), st.integers(0, 400_000))
@settings(max_examples=100, deadline=None)
def test_alleles_may_change_places(n_hom_ref, n_het, n_hom_alt):
    one, other = neg_log10_p(n_hom_ref, n_het, n_hom_alt), neg_log10_p(n_hom_alt, n_het, n_hom_ref)
    np.testing.assert_array_equal(one, other)
    assert np.isnan(one) if n_hom_ref + n_het + n_hom_alt == 0 else one >= 0


@pytest.mark.parametrize("counts", [(10, 0, 0), (0, 0, 7), (9, 1, 0), (0, 1, 0)])
def test_one_possible_outcome_has_p_1(counts):
    assert neg_log10_p(*counts) == 0.0


def test_nobody_genotyped_is_nan():
    assert np.isnan(neg_log10_p(0, 0, 0))


@pytest.mark.reference
def test_equals_plink2(reference, tmp_path):
    prefix = reference("regenie_example") / "example"
    assert prefix.with_suffix(".bed").exists()
    subprocess.run(
        ["plink2", "--bfile", prefix, "--hardy", "--nonfounders", "--out", tmp_path / "out"],
        check=True,
        capture_output=True,
    )
    table = [line.split() for line in (tmp_path / "out.hardy").read_text().splitlines()]
    column = {name: np.array([row[i] for row in table[1:]]) for i, name in enumerate(table[0])}
    # PLINK names A1 and AX; the test does not care which homozygote is which.
    counts = [column[name].astype(np.int64) for name in ("HOM_A1_CT", "HET_A1_CT", "TWO_AX_CT")]
    out = np.empty(len(counts[0]))
    hwe_neg_log10_p(*counts, out)
    assert len(out) == 1000
    np.testing.assert_allclose(10**-out, column["P"].astype(float), rtol=1e-5)  # PLINK writes six digits
