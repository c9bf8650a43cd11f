"""The first phase of an ingest: each task reads one partition of a source into a staged part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.chromosomes import (
    UNPLACED,
    Region,
    canonical_name,
    ploidy_classes,
    same_contig,
    translate_plink_code,
)
from allscan.engine.ingest.batch import Partition, ReadCounts, VariantBatch
from allscan.engine.ingest.staging import NUMBER_COLUMNS, STRING_COLUMNS, PartSummary, PartWriter, Stretch
from allscan.engine.ingest.statistics import VariantStatistics, variant_statistics
from allscan.engine.ingest.tables import OrderCheck
from allscan.errors import FileFormatError, InputError
from allscan.kernels.block import concatenate, encode_block, take
from allscan.printable import control_character

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import Source, SourceHeader
    from allscan.kernels.block import GenotypeBlock

READ = "variants read"
OUTSIDE_REGIONS = "variants left out: outside the regions"
UNPLACED_VARIANT = "variants left out: chromosome 0 (unplaced)"
BELOW_COUNT = "variants left out: minor allele count below the minimum"
ABOVE_COUNT = "variants left out: minor allele count above the maximum"

BATCH_BYTES = 64 << 20
BYTES_PER_GENOTYPE = 16
"""What a reader and the encoding hold for each genotype of a batch, at most: call, dosage and copies."""
SEGMENT_BYTES = 16 << 20
UNKNOWN_HAPLOID = -1


@dataclass(frozen=True)
class ReadSettings:
    """What every read task needs to know."""

    sources: tuple[Source, ...]
    folders: tuple[Path, ...]  # where the parts of each source go
    sample_rows: tuple[NDArray[np.int64] | None, ...]  # per source
    sample_sex: NDArray[np.int8]  # (samples,)
    regions: tuple[Region, ...]  # none: everywhere
    any_contig: bool
    min_allele_count: float | None
    max_allele_count: float | None
    build: str | None
    segment_variants: int


@dataclass(frozen=True)
class ReadTask:
    """One part."""

    source: int
    number: int
    partition: Partition


def read_memory(n_samples: int) -> int:
    """Bytes that a task which reads may take: a batch, what the reader holds of its file, and a segment."""
    batch = max(BATCH_BYTES, BYTES_PER_GENOTYPE * n_samples)
    return 2 * batch + 2 * SEGMENT_BYTES


def read_tasks(source: Source, index: int, target_variants: int, regions: Sequence[Region]) -> list[ReadTask]:
    """Tasks of one source. Where partitions are regions of the genome, only what overlaps is read."""
    partitions: list[Partition] = []
    for partition in source.partitions(target_variants):
        if partition.contig is None or not regions:
            partitions.append(partition)
            continue
        contig = translate_plink_code(partition.contig)
        for region in regions:
            start = max(partition.start, region.start)
            stop = min(partition.stop, region.end + 1)
            if same_contig(contig, region.contig) and start < stop:
                partitions.append(replace(partition, start=start, stop=stop))
    return [ReadTask(index, number, replace(partition, source=index)) for number, partition in enumerate(partitions)]


def read_part(settings: ReadSettings, task: ReadTask) -> PartSummary:
    """Read, filter, count and encode one partition, and commit it as a part."""
    source = settings.sources[task.source]
    n_samples = len(source.header.sample_ids)
    per_batch = BATCH_BYTES // (BYTES_PER_GENOTYPE * n_samples)
    counts = ReadCounts()
    summary = PartSummary(task.source, task.number)
    with PartWriter(settings.folders[task.source], summary) as writer:
        collector = _Collector(settings, task.source, counts, writer, summary)
        for batch in source.read(task.partition, max(1, min(per_batch, settings.segment_variants)), counts):
            if batch.n_variants:
                collector.add(batch)
        collector.flush()
        summary.counts = dict(counts.counts)
    return summary


class _Collector:
    """Gathers encoded variants of one contig until they make a segment."""

    def __init__(
        self,
        settings: ReadSettings,
        source: int,
        counts: ReadCounts,
        writer: PartWriter,
        summary: PartSummary,
    ) -> None:
        self._settings = settings
        self._header = settings.sources[source].header
        self._sample_rows = settings.sample_rows[source]
        self._counts = counts
        self._writer = writer
        self._stretches = summary.stretches
        self._order = OrderCheck(
            self._header.path,
            "sort the file: plink2 --sort-vars for PLINK files and BGEN, bcftools sort for VCF",
        )
        self._names = ContigNames(self._header, settings.any_contig)
        self._contig = ""
        self._blocks: list[GenotypeBlock] = []
        self._columns: list[dict[str, NDArray[Any]]] = []
        self._n_variants = 0
        self._bytes = 0

    def _refuse_controls(self, batch: VariantBatch) -> None:
        columns = (batch.contig, batch.variant_id, batch.ref, batch.alt)
        if control_character("".join(chain.from_iterable(columns))) is None:
            return
        for *names, position in zip(*columns, batch.position.tolist(), strict=True):
            found = control_character("".join(names))
            if found is not None:
                raise FileFormatError(
                    f"the names of the variant at position {position} hold a control character ({found})",
                    where=self._header.path,
                    fix="rename it: contigs, ids and alleles are plain text",
                )

    def add(self, batch: VariantBatch) -> None:
        self._counts.add(READ, batch.n_variants)
        self._refuse_controls(batch)
        self._order.check(
            batch.contig, batch.position.astype(np.int64), lambda row: f"variant {variant_key(batch, row)}"
        )
        for start, stop in _runs(batch.contig):
            self._note_stretch(batch, start, stop)
            contig = self._names.stored(batch, start)
            if contig is None:
                self._counts.add(UNPLACED_VARIANT, stop - start)
                continue
            rows = start + np.flatnonzero(self._in_regions(contig, batch.position[start:stop]))
            self._counts.add(OUTSIDE_REGIONS, stop - start - len(rows))
            if len(rows):
                self._add_run(contig, batch, rows)

    def _add_run(self, contig: str, batch: VariantBatch, rows: NDArray[np.int64]) -> None:
        genotypes, dosage = self._select(batch.genotypes, rows), None
        is_dosage = batch.is_dosage[rows]
        if batch.dosage is not None and is_dosage.any():
            dosage = self._select(batch.dosage, rows)
        ploidy = ploidy_classes(contig, batch.position[rows], self._settings.build)
        statistics = variant_statistics(
            genotypes, dosage, is_dosage, batch.info[rows], ploidy, self._settings.sample_sex
        )
        columns: dict[str, NDArray[Any]] = {
            "position": batch.position[rows],
            "id": batch.variant_id[rows],
            "ref": batch.ref[rows],
            "alt": batch.alt[rows],
            "n_alt": batch.n_alt[rows],
            "n_haploid": self._haploid(batch, rows, statistics.n_called),
            **statistics._asdict(),
        }
        block = encode_block(genotypes, dosage, is_dosage)
        kept = self._wanted_counts(statistics)
        if not kept.all():
            chosen = np.flatnonzero(kept)
            if not len(chosen):
                return
            block = take(block, chosen)
            columns = {name: values[chosen] for name, values in columns.items()}
        if contig != self._contig or self._n_variants + block.n_variants > self._settings.segment_variants:
            self.flush()
        self._contig = contig
        self._blocks.append(block)
        self._columns.append(columns)
        self._n_variants += block.n_variants
        self._bytes += sum(array.nbytes for array in block[1:])
        if self._bytes >= SEGMENT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered as a segment."""
        if self._blocks:
            columns = {
                name: np.concatenate([part[name] for part in self._columns])
                for name in (*NUMBER_COLUMNS, *STRING_COLUMNS)
            }
            self._writer.add(self._contig, concatenate(self._blocks), columns)
        self._blocks, self._columns, self._n_variants, self._bytes = [], [], 0, 0

    def _select(self, matrix: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        chosen = matrix if len(rows) == len(matrix) else matrix[rows]
        return np.ascontiguousarray(chosen if self._sample_rows is None else chosen[:, self._sample_rows])

    def _in_regions(self, contig: str, position: NDArray[np.int32]) -> NDArray[np.bool_]:
        inside = np.full(len(position), not self._settings.regions)
        for region in self._settings.regions:
            if same_contig(region.contig, contig):
                inside |= (position >= region.start) & (position <= region.end)
        return inside

    def _wanted_counts(self, statistics: VariantStatistics) -> NDArray[np.bool_]:
        rarer = statistics.minor_allele_count
        low, high = self._settings.min_allele_count, self._settings.max_allele_count
        below = np.zeros(len(rarer), dtype=bool) if low is None else rarer < low
        above = np.zeros(len(rarer), dtype=bool) if high is None else rarer > high
        self._counts.add(BELOW_COUNT, int(below.sum()))
        self._counts.add(ABOVE_COUNT, int(above.sum()))
        return ~(below | above)

    def _haploid(self, batch: VariantBatch, rows: NDArray[np.int64], n_called: NDArray[np.int32]) -> NDArray[np.int32]:
        """Haploid calls among the kept samples, as far as the source's totals tell; else -1."""
        totals = batch.n_haploid[rows]
        if self._sample_rows is None or len(self._sample_rows) == len(self._header.sample_ids):
            return totals
        kept = totals.copy()
        for number in np.flatnonzero(totals):
            row = rows[number]
            if batch.dosage is not None and batch.is_dosage[row]:
                called = int((~np.isnan(batch.dosage[row])).sum())
            else:
                called = int((batch.genotypes[row] >= 0).sum())
            kept[number] = n_called[number] if totals[number] >= called else UNKNOWN_HAPLOID
        return kept

    def _note_stretch(self, batch: VariantBatch, start: int, stop: int) -> None:
        contig, last = str(batch.contig[start]), int(batch.position[stop - 1])
        if self._stretches and self._stretches[-1].contig == contig:
            self._stretches[-1] = self._stretches[-1]._replace(last=last)
        else:
            first = int(batch.position[start])
            self._stretches.append(Stretch(contig, first, last, variant_key(batch, start)))


class ContigNames:
    """The names under which the contigs of a source are stored."""

    def __init__(self, header: SourceHeader, any_contig: bool) -> None:
        self._header = header
        self._any = any_contig
        self._stored: dict[str, str | None] = {}

    def stored(self, batch: VariantBatch, row: int) -> str | None:
        """Name under which a variant's contig is stored; None for PLINK's chromosome 0.

        Raises
        ------
        InputError
            If the contig is neither a human chromosome nor declared by the source.
        """
        name = str(batch.contig[row])
        if name not in self._stored:
            self._stored[name] = self._resolve(name, batch, row)
        return self._stored[name]

    def _resolve(self, name: str, batch: VariantBatch, row: int) -> str | None:
        if self._any:
            return name
        if name == UNPLACED:
            return None
        translated = translate_plink_code(name)
        if canonical_name(translated) is None and name not in self._header.contigs:
            raise InputError(
                f"contig {name!r} is neither a human chromosome nor declared in the file's header",
                where=f"{self._header.path}, variant {variant_key(batch, row)}",
                fix="rename the contig, or accept any name, each kept as it is: --contigs any",
            )
        return translated


def variant_key(batch: VariantBatch, row: int) -> str:
    """``contig:position:ref:alt`` of one variant of a batch."""
    return f"{batch.contig[row]}:{batch.position[row]}:{batch.ref[row]}:{batch.alt[row]}"


def _runs(contig: NDArray[np.object_]) -> list[tuple[int, int]]:
    borders = np.flatnonzero(contig[1:] != contig[:-1]) + 1
    return list(zip([0, *borders.tolist()], [*borders.tolist(), len(contig)], strict=True))
