"""Genomic inflation of every trait with and without the whole-genome model, on the model's own markers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.whole_genome.level0 import MarkerBlock, read_markers
from allscan.kernels.ridge import marginal_block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.kernels.ridge import People

MEDIAN = 0.454936423119572
"""Of χ² on one degree of freedom."""
BINS = 8192
TOP = 4.0
"""χ² beyond which the bins end: the median is far below."""


@dataclass(frozen=True)
class Inflation:
    """What the tasks of one chromosome share: traits less their predictions beside them as they are."""

    store: GenotypeStore
    blocks: tuple[MarkerBlock, ...]
    people: People


def count_statistics(shared: Inflation, number: int) -> NDArray[np.int64]:
    """χ² of a block's markers in bins, shape (traits, bins)."""
    block, mean = read_markers(shared.store, shared.blocks[number].rows)
    statistics = marginal_block(block, mean, shared.people)
    counts = np.zeros((statistics.shape[1], BINS), np.int64)
    for t, column in enumerate(statistics.T):
        known = column[np.isfinite(column)]
        counts[t] = np.bincount(np.minimum(known * (BINS / TOP), BINS - 1).astype(np.int64), minlength=BINS)
    return counts


def inflation(counts: NDArray[np.int64]) -> float | None:
    """λ of binned statistics (BINS,): their median over that of χ². None without any."""
    total = int(counts.sum())
    if not total:
        return None
    below = np.cumsum(counts)
    bin_ = int(np.searchsorted(below, total / 2))
    inside = (total / 2 - (below[bin_] - counts[bin_])) / max(int(counts[bin_]), 1)
    return float((bin_ + inside) * TOP / BINS / MEDIAN)
