"""One pass over the results of a few traits: all that a report shows of them, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.jobs.result_source import blocks, of_binary_traits
from allscan.kernels import summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.jobs.report.genome import Genome
    from allscan.jobs.result_source import ResultSource

FREQUENCY_EDGES = (0.001, 0.01, 0.05)
FREQUENCY_LABELS = ("< 0.1 %", "0.1–1 %", "1–5 %", "≥ 5 %")
UNKNOWN_FREQUENCY = len(FREQUENCY_LABELS)

# Above this −log10 p the vertical axis goes on by the logarithm, so that 1e-400 does not flatten the rest.
LINEAR_LIMIT = 10.0
HIGHEST = 40.0
"""Top of the scaled axis: −log10 p = 10,000."""

_TALLIED = ("neg_log10_p", "status", "effect_allele_frequency", "n")
"""Columns of results that the pass reads."""

MAX_SIGNIFICANT = 1_000_000
"""Significant variants of one trait that are all candidates for a lead; of more, the best of every
thousandth of a clumping window are."""


def scaled(neg_log10_p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Height on the report's axis, any shape: −log10 p up to 10, logarithmic above."""
    y = np.array(neg_log10_p, dtype=np.float64)
    above = y > LINEAR_LIMIT
    y[above] = LINEAR_LIMIT * (1.0 + np.log10(y[above] / LINEAR_LIMIT))
    return y


def frequency_bin(frequency: NDArray[np.floating]) -> NDArray[np.int64]:
    """Bin of the minor-allele frequency, any shape; ``UNKNOWN_FREQUENCY`` where it is NaN."""
    minor = np.minimum(frequency, 1.0 - frequency)
    bins = np.zeros(minor.shape, np.int64)
    for edge in np.array(FREQUENCY_EDGES):
        bins += minor >= edge
    bins[np.isnan(minor)] = UNKNOWN_FREQUENCY
    return bins


@dataclass(frozen=True)
class Resolution:
    """How finely the pictures are held, and what counts as significant."""

    columns: int  # cells of the horizontal axis
    rows_per_unit: int  # cells of one unit of −log10 p
    points: int  # most significant variants of a trait that are drawn one by one
    significance: float  # −log10 p from which a variant can be a lead
    window: int  # clumping window, base pairs to either side

    @property
    def rows(self) -> int:
        """Cells of the whole vertical axis."""
        return int(HIGHEST * self.rows_per_unit) + 1


@dataclass
class Best:
    """The most significant variants seen so far, at most about ``2 × capacity`` of them."""

    capacity: int
    threshold: float = -1.0  # every variant above it is held
    index: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    value: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    frequency: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))

    def add(self, index: NDArray[np.int64], value: NDArray[np.float32], frequency: NDArray[np.integer]) -> None:
        """Take in variants of later store order."""
        keep = value > self.threshold
        self.index = np.concatenate([self.index, index[keep]])
        self.value = np.concatenate([self.value, value[keep]])
        self.frequency = np.concatenate([self.frequency, frequency[keep].astype(np.uint8)])
        if len(self.index) > 2 * self.capacity:
            self.trim()

    def trim(self) -> None:
        """Keep the ``capacity`` best, or fewer: those as significant as the first one left out go too."""
        if len(self.index) <= self.capacity:
            return
        self.threshold = float(np.partition(self.value, -self.capacity - 1)[-self.capacity - 1])
        keep = self.value > self.threshold
        self.index, self.value, self.frequency = self.index[keep], self.value[keep], self.frequency[keep]


@dataclass
class TraitTally:
    """What the pass has seen of one trait in one stratum."""

    status: NDArray[np.int64]  # (256,) variants by status code
    histogram: NDArray[np.uint32]  # (frequency bins and unknown, summary.N_BINS) variants with a p-value
    grid: NDArray[np.bool_]  # (rows, columns) cells of the Manhattan plot that hold a variant
    best: Best
    significant_index: list[NDArray[np.int64]] = field(default_factory=list)
    significant_value: list[NDArray[np.float32]] = field(default_factory=list)
    n_significant: int = 0
    held: int = 0  # of them, held as candidates for leads
    n_most: int = 0  # most samples of any variant, tested or not
    most_cases: int = 0
    most_controls: int = 0
    n_least: int = np.iinfo(np.int64).max  # fewest samples that a variant was tested in

    @property
    def n_tested(self) -> int:
        """Variants with a p-value."""
        return int(self.histogram.sum(dtype=np.int64))

    def candidates(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Significant variants in store order: indices and −log10 p."""
        if not self.significant_index:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        return np.concatenate(self.significant_index), np.concatenate(self.significant_value)

    def thin_candidates(self, genome: Genome, cell: int) -> None:
        """Keep the best significant variant of every ``cell`` base pairs."""
        index, value = self.candidates()
        place = genome.position[index] // cell
        order = np.lexsort((index, -value, place, genome.contig[index]))
        contig, place = genome.contig[index][order], place[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (contig[1:] != contig[:-1]) | (place[1:] != place[:-1])
        kept = np.sort(order[first])
        self.significant_index, self.significant_value = [index[kept]], [value[kept]]
        self.held = len(kept)


def tally_traits(
    source: ResultSource,
    genome: Genome,
    stratum: int,
    traits: slice,
    resolution: Resolution,
    held: dict[str, NDArray[Any]] | None = None,
) -> list[TraitTally]:
    """Pass once over the results of some traits.

    Memory is a block of results plus, per trait, about a megabyte for the picture and the histogram and
    12 bytes per significant variant; it does not grow with the number of variants. Where one block is all, its columns
    are left in ``held``, so that they need not be read again.
    """
    tallies = [
        TraitTally(
            status=np.zeros(256, np.int64),
            histogram=np.zeros((UNKNOWN_FREQUENCY + 1, summary.N_BINS), np.uint32),
            grid=np.zeros((resolution.rows, resolution.columns), np.bool_),
            best=Best(resolution.points),
        )
        for _ in range(traits.start, traits.stop)
    ]
    binary = of_binary_traits(source)
    for rows in blocks(source.n_variants):
        read = {name: source.block(name, stratum, traits, rows) for name in (*_TALLIED, *(["cases"] if binary else []))}
        values, status, frequency, n = (read[name] for name in _TALLIED)
        cases = read.get("cases")
        if held is not None and len(values[0]) == source.n_variants:
            held.update(read)
        column = np.minimum((genome.x(rows) * resolution.columns).astype(np.int64), resolution.columns - 1)
        for t, tally in enumerate(tallies):
            _add(tally, rows.start, column, values[t], status[t], frequency[t], n[t], resolution)
            if cases is not None:
                tally.most_cases = max(tally.most_cases, int(cases[t].max()))
                tally.most_controls = max(tally.most_controls, int((n[t] - cases[t]).max()))
            if tally.held > MAX_SIGNIFICANT:
                tally.thin_candidates(genome, max(resolution.window // 1000, 1))
    for tally in tallies:
        tally.best.trim()
    return tallies


def _add(
    tally: TraitTally,
    start: int,
    column: NDArray[np.int64],
    values: NDArray[np.float32],
    status: NDArray[np.uint8],
    frequency: NDArray[np.floating],
    n: NDArray[np.number],
    resolution: Resolution,
) -> None:
    tally.status += np.bincount(status, minlength=256)
    tally.n_most = max(tally.n_most, int(n.max()))
    row = np.flatnonzero(np.isfinite(values))
    if not len(row):
        return
    y = values[row]
    bins = frequency_bin(frequency[row])
    flat = bins * summary.N_BINS + summary.histogram_bin(y)
    np.add.at(tally.histogram.reshape(-1), flat, np.uint32(1))
    height = np.minimum((scaled(y) * resolution.rows_per_unit).astype(np.int64), resolution.rows - 1)
    tally.grid[height, column[row]] = True
    tally.best.add(start + row, y, bins)
    significant = y >= resolution.significance
    found = int(np.count_nonzero(significant))
    if found:
        tally.significant_index.append(start + row[significant])
        tally.significant_value.append(y[significant])
        tally.n_significant += found
        tally.held += found
    tally.n_least = min(tally.n_least, int(n[row].min()))
