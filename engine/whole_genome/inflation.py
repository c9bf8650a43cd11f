"""Genomic inflation of every trait with and without the whole-genome model, and heritability, on the model's markers.

λ is the median χ² of the markers over that of the null. Heritability is that of Haseman and Elston, in its randomised
form (doi 10.1038/s41467-020-17576-9): ``h² = (mean χ² − 1) / (tr K² / n − 1)``, where ``K`` is the relationship matrix
of the markers after the covariates, and tr K² comes from its products with random vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.whole_genome.level0 import MarkerBlock, read_markers
from allscan.kernels.ridge import marginal_block, relatedness_products

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.kernels.ridge import People

MEDIAN = 0.454936423119572
"""Of χ² on one degree of freedom."""
VECTORS = 10
BINS = 8192
TOP = 4.0
"""χ² beyond which the bins end: the median is far below."""


@dataclass(frozen=True)
class Inflation:
    """What the tasks of one chromosome share: traits less their predictions beside them as they are."""

    store: GenotypeStore
    blocks: tuple[MarkerBlock, ...]
    people: People


class Statistics(NamedTuple):
    """χ² of some markers."""

    counts: NDArray[np.int64]  # (traits, bins)
    total: NDArray[np.float64]  # (traits,) their sum


def block_statistics(shared: Inflation, number: int) -> Statistics:
    """χ² of a block's markers."""
    block, mean = read_markers(shared.store, shared.blocks[number].rows)
    statistics = marginal_block(block, mean, shared.people)
    counts = np.zeros((statistics.shape[1], BINS), np.int64)
    for t, column in enumerate(statistics.T):
        known = column[np.isfinite(column)]
        counts[t] = np.bincount(np.minimum(known * (BINS / TOP), BINS - 1).astype(np.int64), minlength=BINS)
    return Statistics(counts, np.nansum(statistics, axis=0))


def block_products(shared: Inflation, number: int) -> NDArray[np.float32]:
    """What a block adds to the relationship matrix times random vectors."""
    block, mean = read_markers(shared.store, shared.blocks[number].rows)
    return relatedness_products(block, mean, shared.people)


def random_vectors(basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of −1 and 1, less what the covariates explain of them. Shape (people, VECTORS)."""
    rng = np.random.default_rng(20200911)  # the same for everybody: what is fitted does not depend on chance
    vectors = rng.choice(np.array([-1.0, 1.0], np.float32), (len(basis), VECTORS))
    beside: NDArray[np.float32] = vectors - basis @ (basis.T @ vectors)
    return beside


def inflation(counts: NDArray[np.int64]) -> float | None:
    """λ of binned statistics (BINS,): their median over that of χ². None without any."""
    total = int(counts.sum())
    if not total:
        return None
    below = np.cumsum(counts)
    bin_ = int(np.searchsorted(below, total / 2))
    inside = (total / 2 - (below[bin_] - counts[bin_])) / max(int(counts[bin_]), 1)
    return float((bin_ + inside) * TOP / BINS / MEDIAN)
