"""BGEN 1.2 and 1.3 files: genotype probabilities become expected allele counts."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from allscan.engine.ingest.alleles import as_objects, usable_alternates
from allscan.engine.ingest.batch import Partition, SourceHeader
from allscan.engine.ingest.bgen_blocks import ProbabilityBlock, decompress, expected_copies
from allscan.engine.ingest.bgen_index import (
    STRIDE,
    BgenOutline,
    Identity,
    SampleTable,
    read_identity,
    read_outline,
    read_sample_file,
    variant_offsets,
)
from allscan.engine.ingest.records import BatchBuilder, Row, index_partitions
from allscan.engine.ingest.sample_tables import unique_samples
from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import ReadCounts, VariantBatch


class BgenSource:
    """A BGEN file. Dosages and the imputation quality come from the probabilities; phase is dropped.

    Parameters
    ----------
    path
        The ``.bgen`` file; a ``.bgen.bgi`` index beside it saves walking through the file.
    ref_first
        Whether the first allele is REF; otherwise the last one is.
    sample_file
        Where the ``.sample`` file is, if not beside the file under its name.

    Raises
    ------
    InputError, FileFormatError
        If a file is missing, damaged, unsorted, of an older version, or sample ids are nowhere to be found.
    """

    def __init__(self, path: str | Path, *, ref_first: bool = True, sample_file: str | Path | None = None) -> None:
        self._path = Path(path)
        self._ref_first = ref_first
        outline = read_outline(self._path)
        ids, families, sex, notes = _samples(self._path, outline, sample_file)
        self._n_variants = outline.n_variants
        self._compression = outline.compression
        self._offsets, indexed = variant_offsets(self._path, outline)
        if not indexed and self._path.with_name(self._path.name + ".bgi").is_file():
            notes += (f"{self._path.name}.bgi does not describe this file and was not used",)
        self._header = SourceHeader(
            path=str(self._path),
            kind="bgen",
            sample_ids=unique_samples(ids, str(self._path)),
            family_ids=families,
            sample_sex=sex,
            contigs=(),
            contig_lengths=(),
            n_records=outline.n_variants,
            reference_build=None,
            notes=notes,
        )

    @property
    def header(self) -> SourceHeader:
        """Samples, contigs and notes."""
        return self._header

    def partitions(self, target_variants: int) -> list[Partition]:
        """Ranges of about ``target_variants`` records, in file order."""
        # Ranges begin where the offset is known.
        return index_partitions(self._n_variants, -(-target_variants // STRIDE) * STRIDE)

    def read(self, partition: Partition, max_variants: int, counts: ReadCounts) -> Iterator[VariantBatch]:
        """Batches of at most ``max_variants`` split variants of one partition, in file order.

        Raises
        ------
        FileFormatError
            If a variant cannot be decoded.
        """
        builder = BatchBuilder(len(self._header.sample_ids), max_variants)
        for row, dosage, step in self._rows(partition, counts):
            builder.add_dosages(row, dosage, step)
            if builder.full:
                yield builder.take()
        if len(builder):
            yield builder.take()

    def _rows(self, partition: Partition, counts: ReadCounts) -> Iterator[tuple[Row, NDArray[np.float32], float]]:
        """Biallelic rows of a partition: the variant, its dosages, and the step between dosages."""
        checkpoint = partition.start // STRIDE
        offset = int(self._offsets[checkpoint])
        with self._path.open("rb") as file:
            for number in range(checkpoint * STRIDE, partition.stop):
                with self._refusing(number):
                    variant = read_identity(file, offset)
                offset = variant.stop
                if number >= partition.start:
                    yield from self._split(file, number, variant, counts)

    @contextmanager
    def _refusing(self, number: int) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:
            raise FileFormatError(
                f"{self._path.name} cannot be read: {error}",
                where=f"{self._path}, variant {number + 1}",
                fix="the file is damaged: copy or create it again",
            ) from error

    def _split(
        self, file: BinaryIO, number: int, variant: Identity, counts: ReadCounts
    ) -> Iterator[tuple[Row, NDArray[np.float32], float]]:
        names = variant.alleles
        if not variant.contig:
            raise FileFormatError(
                f"a variant has no chromosome: {variant.variant_id}",
                where=f"{self._path}, variant {number + 1}",
                fix="name it: plink2 --bgen FILE ref-first --oxford-single-chr CHROMOSOME --make-pgen",
            )
        reference = 0 if self._ref_first else len(names) - 1
        others = [allele for allele in range(len(names)) if allele != reference]
        usable = usable_alternates([names[allele] for allele in others], counts)
        if not usable:
            return
        with self._refusing(number):
            file.seek(variant.start)
            block = decompress(file.read(variant.stop - variant.start), self._compression)
            probabilities = ProbabilityBlock.parse(block, len(self._header.sample_ids), len(names))
        copies = expected_copies(probabilities, counts)
        for allele in (others[alternate - 1] for alternate in usable):
            dosage, info = copies.dosage(allele)
            row = Row(
                variant.contig,
                variant.position,
                variant.variant_id,
                names[reference],
                names[allele],
                info,
                len(others),
                copies.n_haploid,
            )
            yield row, dosage, 1 / probabilities.whole


def _samples(
    path: Path, outline: BgenOutline, sample_file: str | Path | None
) -> tuple[tuple[str, ...], NDArray[np.object_] | None, NDArray[np.int8], tuple[str, ...]]:
    """Sample ids, family ids, sex and notes.

    A given .sample file has the say; one beside the file adds families and sex to embedded ids, if it
    lists the same samples.
    """
    beside = path.with_suffix(".sample")
    found = Path(sample_file) if sample_file is not None else beside
    unknown_sex = np.zeros(outline.n_samples, dtype=np.int8)
    if sample_file is None and not beside.is_file():
        if outline.sample_ids is None:
            raise InputError(
                f"{path.name} holds no sample ids, and there is no {beside.name}",
                where=str(path),
                fix="name the .sample file that belongs to this BGEN file",
            )
        return outline.sample_ids, None, unknown_sex, ()
    table = read_sample_file(found)
    if len(table.sample_ids) != outline.n_samples:
        raise FileFormatError(
            f"{path.name} holds {outline.n_samples} samples, but {found.name} lists {len(table.sample_ids)}",
            where=f"{path} and {found}",
            fix="give the .sample file that belongs to this BGEN file",
        )
    families = None if table.family_ids is None else as_objects(table.family_ids)
    if sample_file is not None or outline.sample_ids is None:
        return table.sample_ids, families, table.sex, table.notes
    if _same_people(outline.sample_ids, table):
        return outline.sample_ids, families, table.sex, table.notes
    note = f"{found.name} lists other samples than {path.name} itself and was not used"
    return outline.sample_ids, None, unknown_sex, (note,)


def _same_people(embedded: tuple[str, ...], table: SampleTable) -> bool:
    if embedded in (table.sample_ids, table.family_ids):
        return True
    if table.family_ids is None:
        return False
    # PLINK 2 can write FID_IID.
    pairs = zip(table.family_ids, table.sample_ids, strict=True)
    return embedded == tuple(f"{family}_{sample}" for family, sample in pairs)
