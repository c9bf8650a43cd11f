"""The rules of a site against the same rules written as a loop over samples."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from allscan.engine.ingest.batch import ReadCounts
from allscan.engine.ingest.calls import diploid_copies, probability_dosage, site_calls


def naive_copies(alleles: list[int], failed: bool, n_alt: int, allele: int) -> int:
    """Copies of one allele in one call, -1 missing. -2 fills the row of a shorter call."""
    present = [a for a in alleles if a != -2]
    if failed or not present or len(present) > 2 or -1 in present or max(present) > n_alt:
        return -1
    copies = sum(a == allele for a in present)
    return 2 * copies if len(present) == 1 else copies


@st.composite
def sites(draw):
    n_alt = draw(st.integers(1, 3))
    width = draw(st.integers(1, 4))
    calls = []
    for _ in range(draw(st.integers(1, 8))):
        ploidy = draw(st.integers(1, width))
        call = draw(st.lists(st.integers(-1, n_alt + 1), min_size=ploidy, max_size=ploidy))
        calls.append(call + [-2] * (width - ploidy))
    failed = draw(st.none() | st.lists(st.booleans(), min_size=len(calls), max_size=len(calls)))
    return n_alt, calls, failed


@given(sites())
def test_copies_are_those_of_a_loop(site):
    n_alt, rows, failed = site
    genotypes = np.array(rows, dtype=np.int16)
    before = genotypes.copy()
    counts = ReadCounts()
    calls = site_calls(genotypes, n_alt, counts, None if failed is None else np.array(failed))
    failures = failed or [False] * len(rows)
    for allele in range(1, n_alt + 1):
        expected = [naive_copies(row, bad, n_alt, allele) for row, bad in zip(rows, failures, strict=True)]
        assert calls.copies(allele).tolist() == expected
    np.testing.assert_array_equal(genotypes, before)
    # Whatever is missing and was not written as missing is counted, once.
    written = sum(all(a == -1 for a in row if a != -2) for row in rows)
    missing = sum(naive_copies(row, bad, n_alt, 1) < 0 for row, bad in zip(rows, failures, strict=True))
    assert sum(counts.counts.values()) == missing - written
    assert calls.n_haploid == sum(
        row[1:] == [-2] * (len(row) - 1) and naive_copies(row, bad, n_alt, 1) >= 0
        for row, bad in zip(rows, failures, strict=True)
    )


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(6)), elements=st.floats(0.01, 1)))
def test_expected_copies_of_all_alleles_add_up_to_two(probabilities):
    total = sum(probability_dosage(probabilities, 3, allele)[0] for allele in range(3))
    np.testing.assert_allclose(total, 2, rtol=1e-6)


def test_the_order_of_genotypes_is_that_of_vcf():
    """00 01 11 02 12 22."""
    assert diploid_copies(3, 0).tolist() == [2, 1, 0, 1, 0, 0]
    assert diploid_copies(3, 1).tolist() == [0, 1, 2, 0, 1, 0]
    assert diploid_copies(3, 2).tolist() == [0, 0, 0, 1, 1, 2]
