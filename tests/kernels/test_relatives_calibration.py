"""The experiment of ``benchmarks/science/relatives.py``, small: it runs, and says what it says in full."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.science import relatives


def test_pedigrees() -> None:
    matrix = relatives.pedigree_relatedness()
    assert matrix[0, 1] == 0.0  # grandparents
    assert matrix[2, 3] == 0.5  # siblings
    assert matrix[0, 2] == 0.5  # parent and child
    assert matrix[0, 6] == 0.25  # grandparent
    assert matrix[3, 6] == 0.25  # uncle
    assert matrix[6, 8] == 0.125  # cousins
    calls = relatives.drop_genotypes(np.random.default_rng(1), 2000, 50, 0).astype(float)
    calls -= calls.mean(axis=1, keepdims=True)
    shared = (calls.T @ calls).reshape(50, 10, 50, 10)
    within = np.einsum("fifj->ij", shared)
    size = np.sqrt(np.diag(within))
    np.testing.assert_allclose(within / np.outer(size, size), matrix, atol=0.05)


def test_plain_regression_calls_too_much_unless_relatives_are_named() -> None:
    plain, named, mixed = relatives.compare(families=100, singles=200, variants=2000, traits=20, h2=0.8, seed=1)
    assert plain.tests == named.tests == mixed.tests == 40_000
    assert plain.genomic_control > 1.1
    for heeded in (named, mixed):
        assert heeded.genomic_control == pytest.approx(1.0, abs=0.05)
        assert heeded.rates[1] == pytest.approx(0.01, rel=0.2)
    assert plain.rates[1] > 1.4 * 0.01
    assert mixed.heritability == pytest.approx(0.8, abs=0.1)
