"""BGEN 1.2 and 1.3 files: genotype probabilities become expected allele counts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.ingest.alleles import BAD_DOSAGE, NO_PLOIDY, PLOIDY, as_objects, usable_alternates
from allscan.engine.ingest.batch import Partition, SourceHeader
from allscan.engine.ingest.bgen_index import (
    STRIDE,
    BgenOutline,
    SampleTable,
    read_outline,
    read_sample_file,
    variant_offsets,
)
from allscan.engine.ingest.calls import diploid_copies, impute_info
from allscan.engine.ingest.optional import optional_import
from allscan.engine.ingest.records import BatchBuilder, Row, index_partitions
from allscan.engine.ingest.tables import unique_samples
from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import ReadCounts, VariantBatch

_SLACK = 1e-3  # 3-bit files cannot say 1 more exactly


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

    def __init__(
        self, path: str | Path, *, ref_first: bool = True, sample_file: str | Path | None = None
    ) -> None:
        self._path = Path(path)
        self._ref_first = ref_first
        optional_import("bgen", "bgen", self._path)
        outline = read_outline(self._path)
        ids, families, sex, notes = _samples(self._path, outline, sample_file)
        self._n_variants = outline.n_variants
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
        for number, variant in self._variants(partition):
            for row, dosage in self._rows(variant, number, counts):
                builder.add_dosages(row, dosage, 0.0)
                if builder.full:
                    yield builder.take()
        if len(builder):
            yield builder.take()

    def _variants(self, partition: Partition) -> Iterator[tuple[int, Any]]:
        """Variants of a partition as the bgen package gives them."""
        from bgen import BgenReader

        with BgenReader(str(self._path)) as reader:
            at = _variant_opener(reader)
            checkpoint = partition.start // STRIDE
            offset = int(self._offsets[checkpoint])
            for number in range(checkpoint * STRIDE, partition.stop):
                try:
                    variant = at(offset)
                except (ValueError, IndexError, RuntimeError) as error:
                    raise self._damaged(number, error) from error
                offset = variant.next_variant_offset
                if number >= partition.start:
                    yield number, variant

    def _rows(
        self, variant: Any, number: int, counts: ReadCounts
    ) -> Iterator[tuple[Row, NDArray[np.float32]]]:
        try:
            names = variant.alleles
            contig, position = variant.chrom, variant.pos
            variant_id = variant.rsid or variant.varid or "."
        except (ValueError, RuntimeError) as error:
            raise self._damaged(number, error) from error
        if not contig:
            raise FileFormatError(
                "a variant has no chromosome",
                where=f"{self._path}, variant {number + 1}",
                fix="name it: plink2 --bgen FILE ref-first --oxford-single-chr CHROMOSOME --make-pgen",
            )
        reference = 0 if self._ref_first else len(names) - 1
        others = [allele for allele in range(len(names)) if allele != reference]
        usable = usable_alternates([names[allele] for allele in others], counts)
        if not usable:
            return
        try:
            ploidy = variant.ploidy
            probabilities = variant.probabilities
            phased = variant.is_phased
        except (ValueError, RuntimeError, IndexError, MemoryError) as error:
            raise self._damaged(number, error) from error
        site = _Site(probabilities, ploidy, len(names), phased=phased, counts=counts)
        for allele in (others[alternate - 1] for alternate in usable):
            dosage, info = site.dosage(allele)
            row = Row(
                contig,
                position,
                variant_id,
                names[reference],
                names[allele],
                info,
                len(others),
                site.n_haploid,
            )
            yield row, dosage

    def _damaged(self, number: int, error: Exception) -> FileFormatError:
        return FileFormatError(
            f"{self._path.name} cannot be read: {error}",
            where=f"{self._path}, variant {number + 1}",
            fix="the file is damaged: copy or create it again",
        )


class _Site:
    """Probabilities of one variant, in whatever form the file has them."""

    def __init__(
        self,
        probabilities: NDArray[np.float32],
        ploidy: NDArray[np.uint8],
        n_alleles: int,
        *,
        phased: bool,
        counts: ReadCounts,
    ) -> None:
        self._n_alleles = n_alleles
        self._phased = phased
        values = probabilities.astype(np.float64)
        missing = np.isnan(values[:, 0])
        counts.add(PLOIDY, int(((ploidy > 2) & ~missing).sum()))
        counts.add(NO_PLOIDY, int((ploidy == 0).sum()))
        missing |= (ploidy > 2) | (ploidy == 0)
        with np.errstate(invalid="ignore"):
            total = np.nansum(values, axis=1) / (np.maximum(ploidy, 1) if phased else 1)
            wrong = ~missing & ((np.nanmin(np.nan_to_num(values), axis=1) < -_SLACK) | (total > 1 + _SLACK))
        counts.add(BAD_DOSAGE, int(wrong.sum()))
        self._called = ~(missing | wrong)
        self._haploid = self._called & (ploidy == 1)
        self._diploid = self._called & (ploidy == 2)
        self._all_diploid = bool(self._diploid.all())
        self._values = values
        self.n_haploid = int(self._haploid.sum())

    def dosage(self, allele: int) -> tuple[NDArray[np.float32], float]:
        """Expected copies of an allele on the scale 0..2, (samples,), NaN missing; and IMPUTE's info."""
        expected = np.full(len(self._values), np.nan)
        variance = np.zeros(len(self._values))
        if self._haploid.any():
            single = self._values[self._haploid, allele]
            expected[self._haploid] = single
            variance[self._haploid] = single * (1 - single)
        # A copy of the rows is saved where nobody is missing.
        both = self._values if self._all_diploid else self._values[self._diploid]
        if self._phased:
            one, two = (
                both[:, allele],
                both[:, self._n_alleles + allele] if both.shape[1] > self._n_alleles else 0,
            )
            mean, spread = one + two, one * (1 - one) + two * (1 - two)
        else:
            copies = diploid_copies(self._n_alleles, allele)
            both = both[:, : len(copies)]
            if len(both):
                mean = both @ copies
                spread = both @ copies**2 - mean**2
            else:
                mean = spread = np.zeros(0)
        expected[self._diploid] = mean
        variance[self._diploid] = spread
        ploidy = np.where(self._haploid, 1, 2)[self._called]
        info = impute_info(expected[self._called], variance[self._called], ploidy)
        expected[self._haploid] *= 2
        return np.clip(expected, 0, 2).astype(np.float32), info


def _variant_opener(reader: Any) -> Callable[[int], Any]:
    """A function that gives the variant at a byte offset.

    The package finds variants by number only, and for that reads a .bgi beside the file unchecked, or all
    variants of the file. A variant's own pickling arguments are the stream, an offset and constants.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "pickling BgenVar": the reader does stay open
        build, (stream, _, *constants) = next(reader).__reduce__()

    def at(offset: int) -> Any:
        return build(stream, offset, *constants)

    return at


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
