"""What cases carry, against a count person by person."""

from __future__ import annotations

import numpy as np
import pytest

from allscan.kernels.block import take
from allscan.kernels.case_counts import case_set_bytes, case_sets, count_cases
from tests.kernels.blocks import call_block, mixed_block


@pytest.mark.parametrize("seed", [1, 2])
def test_counts_are_those_of_each_person(seed: int) -> None:
    block, exact = mixed_block(seed, samples=701)
    rng = np.random.default_rng(seed)
    case = rng.random((6, 701)) < np.array([0.5, 0.01, 0.012, 0.9, 0.0, 1.0])[:, None]
    counts = count_cases(block, case_sets(case))
    np.testing.assert_array_equal(counts.size, case.sum(axis=1))
    for v in range(len(exact)):
        for t in range(len(case)):
            of_cases = [float(exact[v, i]) for i in range(701) if case[t, i]]
            called = [dosage for dosage in of_cases if dosage == dosage]
            assert counts.n_missing[v, t] == len(of_cases) - len(called)
            assert counts.n_carriers[v, t] == sum(dosage >= 0.5 for dosage in called)
            assert counts.dosage_sum[v, t] == pytest.approx(sum(called), rel=1e-12, abs=1e-12)


def test_neither_other_variants_nor_other_traits_matter() -> None:
    block, _ = mixed_block(3)
    case = np.random.default_rng(3).random((5, 700)) < 0.3
    whole = count_cases(block, case_sets(case))
    some = count_cases(take(block, np.array([9, 1, 4])), case_sets(case[[3]]))
    for name in ("n_missing", "n_carriers", "dosage_sum"):
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[[9, 1, 4]][:, [3]])


def test_memory_is_known_beforehand() -> None:
    case = np.random.default_rng(4).random((7, 333)) < 0.2
    sets = case_sets(case)
    held = sum(array.nbytes for array in sets[:-1])
    assert held == case_set_bytes(333, 7, int(case.sum()))


def test_the_same_where_arrays_are_read_only() -> None:
    block = call_block(5, 40, 300).block
    sets = case_sets(np.random.default_rng(5).random((3, 300)) < 0.2)
    expected = count_cases(block, sets)
    for array in (*sets, *(field for field in block if isinstance(field, np.ndarray))):
        array.flags.writeable = False
    for left, right in zip(expected, count_cases(block, sets), strict=True):
        np.testing.assert_array_equal(left, right)
