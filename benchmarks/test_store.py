"""The store beside PLINK 2's .pgen: the same calls, their size, and the time to decode them.

What bounds reading is decompression and decoding, in one thread: it is held against the core's peak.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.kernels.block import hard_calls
from benchmarks.conftest import Cohort
from benchmarks.timing import Timed, Work


@pytest.fixture(params=["kg_cohort", "wgs_cohort"])
def cohort(request: pytest.FixtureRequest) -> Cohort:
    chosen: Cohort = request.getfixturevalue(request.param)
    return chosen


def decode_store(cohort: Cohort) -> list[NDArray[np.int8]]:
    """Every call of the store as int8, block by block."""
    out = []
    for index in range(cohort.store.n_blocks):
        block = cohort.store.read_block(index)
        calls = np.empty((block.n_variants, block.n_samples), np.int8)
        hard_calls(block, 0, block.n_variants, calls)
        out.append(calls[:: max(1, len(calls) // 8)].copy())
    return out


def read_blocks(cohort: Cohort) -> None:
    """What a scan reads: blocks as they are held, without spreading them over samples × variants."""
    for index in range(cohort.store.n_blocks):
        cohort.store.read_block(index)


def decode_pgen(cohort: Cohort) -> list[NDArray[np.int8]]:
    """The same calls by PLINK 2's own library, in the same blocks."""
    import pgenlib

    store, out = cohort.store, []
    with pgenlib.PgenReader(bytes(cohort.pgen), raw_sample_ct=store.n_samples) as reader:
        for index in range(store.n_blocks):
            start, stop = store.block_range(index)
            calls = np.empty((stop - start, store.n_samples), np.int8)
            reader.read_range(start, stop, calls)
            out.append(calls[:: max(1, len(calls) // 8)].copy())
    return out


def test_same_calls_and_no_larger(cohort: Cohort) -> None:
    for ours, theirs in zip(decode_store(cohort), decode_pgen(cohort), strict=True):
        np.testing.assert_array_equal(ours, np.where(theirs == -9, -1, theirs))
    assert cohort.genotype_bytes <= cohort.pgen.stat().st_size


@pytest.mark.parametrize("decode", [decode_store, decode_pgen, read_blocks])
def test_decode(timed: Timed, cohort: Cohort, decode: Callable[[Cohort], object]) -> None:
    size = cohort.pgen.stat().st_size if decode is decode_pgen else cohort.genotype_bytes
    timed(lambda: decode(cohort), Work("dgemm", cohort.n_genotypes, cohort.n_genotypes, size))
