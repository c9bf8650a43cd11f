"""The horizontal axis: contigs side by side, and where each variant stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan import arrow
from allscan.jobs.result_source import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.variant_names import VariantNames
    from allscan.jobs.result_source import ResultSource

BASES = ("A", "C", "G", "T")
INSERTION, DELETION, OTHER_ALLELES = 16, 17, 18
"""Allele codes beside 4 × REF + ALT of single bases, in the order A, C, G, T."""

# Room between contigs, and the least that one gets, as shares of the axis: 22 gaps stay invisible,
# 5,000 scaffolds still fit.
_GAPS = 0.05
_GAP = 0.004
_LEAST = 0.004


@dataclass(frozen=True)
class Genome:
    """Contigs that hold variants, in store order, and the place of every variant on the axis [0, 1]."""

    contigs: tuple[str, ...]
    first: NDArray[np.int64]  # (contigs,) smallest position
    last: NDArray[np.int64]  # (contigs,) largest position
    offset: NDArray[np.float64]  # (contigs,) left edge on the axis
    width: NDArray[np.float64]  # (contigs,)
    contig: NDArray[np.int32]  # (variants,) index into contigs
    position: NDArray[np.int32]  # (variants,) 1-based
    allele: NDArray[np.uint8]  # (variants,) allele codes

    def x(self, variants: slice) -> NDArray[np.float64]:
        """Place of variants on the axis, shape (variants,)."""
        code = self.contig[variants]
        span = np.maximum(self.last - self.first, 1)
        within = (self.position[variants] - self.first[code]) / span[code]
        # A lone position stands in the middle of its contig.
        within = np.where(self.last[code] == self.first[code], 0.5, within)
        return np.asarray(self.offset[code] + self.width[code] * within)


def allele_codes(names: VariantNames) -> NDArray[np.uint8]:
    """One byte for the alleles of each variant, shape (variants,)."""
    bases = arrow.string_array(BASES)
    ref_base, alt_base = (
        arrow.numbers(arrow.compute("index_in", alleles, value_set=bases), np.int32, -1)
        for alleles in (names.ref, names.alt)
    )
    ref_size, alt_size = (
        arrow.numbers(arrow.compute("binary_length", alleles), np.int32, 0) for alleles in (names.ref, names.alt)
    )
    growth = alt_size - ref_size
    spelled = ~arrow.booleans(arrow.compute("starts_with", names.alt, pattern="<"))
    codes = np.full(len(names), OTHER_ALLELES, dtype=np.uint8)
    codes[(growth > 0) & spelled] = INSERTION
    codes[(growth < 0) & spelled] = DELETION
    single = (ref_base >= 0) & (alt_base >= 0)
    codes[single] = 4 * ref_base[single] + alt_base[single]
    return codes


def read_genome(source: ResultSource) -> Genome:
    """Read the variants once and lay the contigs out in proportion to what they span."""
    n = source.n_variants
    contig = np.empty(n, dtype=np.int32)
    position = np.empty(n, dtype=np.int32)
    allele = np.empty(n, dtype=np.uint8)
    code_of: dict[str, int] = {}
    for rows in blocks(n):
        names = source.variant_names(rows.start, rows.stop)
        position[rows] = names.position
        allele[rows] = allele_codes(names)
        # Contigs in order of first appearance, in this block and over all.
        present, first = np.unique(names.contig, return_index=True)
        for index in present[np.argsort(first)]:
            code_of.setdefault(names.contigs[index], len(code_of))
        codes = np.array([code_of.get(name, -1) for name in names.contigs], np.int32)
        contig[rows] = codes[names.contig]
    return lay_out(tuple(code_of), contig, position, allele)


def lay_out(
    contigs: tuple[str, ...],
    contig: NDArray[np.int32],
    position: NDArray[np.int32],
    allele: NDArray[np.uint8],
) -> Genome:
    """Place contigs side by side."""
    count = len(contigs)
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, -1)
    np.minimum.at(first, contig, position)
    np.maximum.at(last, contig, position)
    gap = min(_GAP, _GAPS / max(count - 1, 1))
    room = 1.0 - gap * (count - 1)
    span = (last - first + 1).astype(float)
    width = np.maximum(span / span.sum() if count else span, min(_LEAST, 0.5 / max(count, 1)))
    width *= room / width.sum() if count else 1.0
    offset = np.concatenate([[0.0], np.cumsum(width[:-1] + gap)]) if count else np.empty(0)
    return Genome(contigs, first, last, offset, width, contig, position, allele)
