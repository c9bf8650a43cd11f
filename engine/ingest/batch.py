"""What every reader hands to the ingest: a batch of biallelic variants, and where to find more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

MISSING_CALL = -1
"""Code of a missing hard call in ``VariantBatch.genotypes``."""


@dataclass(frozen=True)
class VariantBatch:
    """``v`` biallelic variants of all ``n`` samples of a source, in file order.

    Multiallelic sites are already split: a site with alternate alleles A, C gives two rows, and a call
    that carries another alternate allele counts as not carrying this row's one (as ``bcftools norm -m-``
    does with ``--multi-overlaps 0`` and as PLINK 2 counts A1).
    """

    contig: NDArray[np.object_]  # (variants,) str, as the source spells it
    position: NDArray[np.int32]  # (variants,) 1-based
    variant_id: NDArray[np.object_]  # (variants,) str, "." when the source has none
    ref: NDArray[np.object_]  # (variants,) str
    alt: NDArray[np.object_]  # (variants,) str; the counted (effect) allele
    genotypes: NDArray[np.int8]  # (variants, samples) copies of ALT 0/1/2, -1 missing; haploid calls are 0 or 2
    dosage: NDArray[np.float32] | None  # (variants, samples) expected copies of ALT 0..2, NaN missing
    is_dosage: NDArray[np.bool_]  # (variants,) True where `dosage` holds this row's values
    info: NDArray[np.float32]  # (variants,) imputation quality, NaN where the source has none
    n_alt: NDArray[np.int16]  # (variants,) alternate alleles of the site this row was split from (1: not split)
    n_haploid: NDArray[np.int32]  # (variants,) samples with a haploid call

    @property
    def n_variants(self) -> int:
        """Number of variants."""
        return len(self.position)


@dataclass(frozen=True)
class Partition:
    """A piece of one source that one task reads: an index range of its records, or a genomic region."""

    source: int  # index of the source in the ingest's list
    start: int  # first record (0-based), or first base of the region (1-based)
    stop: int  # one past the last
    contig: str | None = None  # set when start and stop are base pairs of this contig


@dataclass(frozen=True)
class SourceHeader:
    """What a source says of itself before its variants are read."""

    path: str
    kind: str  # "bed", "pgen", "bgen", "vcf", "vcz"
    sample_ids: NDArray[np.object_]  # (samples,) str
    family_ids: NDArray[np.object_] | None  # (samples,) str, where the format has them
    sample_sex: NDArray[np.int8]  # (samples,) 1 male, 2 female, 0 unknown
    contigs: tuple[str, ...]  # declared contigs in declared order; empty when the format declares none
    contig_lengths: tuple[int, ...]  # 0 where unknown
    n_records: int | None  # records in the file where known without reading it
    reference_build: str | None  # "GRCh37", "GRCh38" where the file tells
    notes: tuple[str, ...] = ()  # to be shown and recorded, e.g. "phase dropped"


@dataclass
class ReadCounts:
    """What a reader saw and left out, by reason. Nothing is dropped without a count."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, number: int = 1) -> None:
        """Add ``number`` to ``reason``."""
        if number:
            self.counts[reason] = self.counts.get(reason, 0) + int(number)


class Source(Protocol):
    """A genotype file opened by its reader. Instances are picklable: workers re-open the file themselves."""

    @property
    def header(self) -> SourceHeader:
        """Samples, contigs and notes."""
        ...

    def partitions(self, target_variants: int) -> list[Partition]:
        """Pieces of about ``target_variants`` records, in file order, that can be read independently."""
        ...

    def read(self, partition: Partition, max_variants: int, counts: ReadCounts) -> Iterator[VariantBatch]:
        """Batches of at most ``max_variants`` split variants of one partition, in file order."""
        ...
