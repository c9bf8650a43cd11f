"""VCF and BCF files, read by htslib through cyvcf2."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.ingest import alleles
from allscan.engine.ingest.batch import Partition, SourceHeader
from allscan.engine.ingest.contigs import contig_line, reference_build
from allscan.engine.ingest.htslib import (
    IndexedContig,
    check_end,
    complaints,
    errors_among,
    is_bgzf,
    read_index,
)
from allscan.engine.ingest.optional import optional_import
from allscan.engine.ingest.records import BatchBuilder, Row, file_size
from allscan.engine.ingest.sample_tables import unique_samples
from allscan.engine.ingest.sites import DECIMALS, SiteReader, choose_fields, fields_note
from allscan.engine.ingest.tables import OrderCheck
from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import ReadCounts, VariantBatch
    from allscan.engine.ingest.sources import DosageField

_WHOLE_FILE = 2**62  # "one past the last" record of a file whose number of records is not known
_FIX_SORT = "bcftools sort -Oz -o sorted.vcf.gz FILE && tabix -p vcf sorted.vcf.gz"


@dataclass(frozen=True)
class _Declared:
    """What the header of a VCF file declares."""

    samples: tuple[str, ...]
    contigs: tuple[str, ...]
    lengths: tuple[int, ...]
    formats: frozenset[str]
    infos: frozenset[str]


class _HtslibError(Exception):
    """cyvcf2 raised a bare Exception: htslib could not read on."""


_BCF_MISSING = -(2**31) + 8  # integers up to here: missing, end of vector, and codes that BCF reserves


class _Record:
    """A record of cyvcf2 as a :class:`~allscan.engine.ingest.sites.Site`."""

    def __init__(self, record: Any, declared: frozenset[str]) -> None:
        self._record = record
        self.contig: str = record.CHROM
        self.position: int = record.POS
        self.variant_id: str = record.ID or "."
        self.ref: str = record.REF
        self.alternates: Sequence[str] = record.ALT
        self.passed: bool = record.FILTER is None
        # A field that the header does not declare has no type.
        self.fields: Collection[str] = declared.intersection(record.FORMAT)

    def genotypes(self) -> NDArray[np.integer]:
        alleles_and_phase: NDArray[np.integer] = self._record.genotype.array()
        return alleles_and_phase[:, :-1]

    def values(self, field: str) -> NDArray[np.floating] | None:
        values: NDArray[Any] | None = self._record.format(field)
        if values is None or values.dtype.kind not in "if":
            return None
        if values.dtype.kind == "f":
            return values
        return np.where(values <= _BCF_MISSING, np.nan, values)

    def filters(self) -> NDArray[np.str_]:
        return np.asarray(self._record.format("FT"), dtype=np.str_)

    def quality(self, key: str) -> float | Sequence[float] | None:
        value = self._record.INFO.get(key)
        if isinstance(value, tuple):
            return [float("nan") if one is None else float(one) for one in value]
        return float(value) if isinstance(value, (int, float)) else None


class VcfSource:
    """A VCF or BCF file.

    Parameters
    ----------
    path
        ``.vcf``, ``.vcf.gz`` or ``.bcf``. With a ``.csi`` or ``.tbi`` index beside it, pieces of it are
        read in parallel.
    field
        FORMAT field that allele counts come from; ``auto``: of each record the first of DS, HDS and GT.
    pass_only
        Leave out sites whose FILTER is neither ``PASS`` nor missing.

    Raises
    ------
    InputError, FileFormatError
        If the file cannot be opened, is not VCF, was cut off, has no samples, or its index is not its own.
    """

    def __init__(self, path: str | Path, *, field: DosageField = "auto", pass_only: bool = False) -> None:
        self._path = Path(path)
        self._pass_only = pass_only
        optional_import("cyvcf2", "cyvcf2", self._path)
        size = file_size(self._path)
        with self._path.open("rb") as file:
            compressed = is_bgzf(file.read(18))
        if compressed:
            check_end(self._path, size)
        index = _find_index(self._path) if compressed else None
        declared = self._read_header()
        ids = unique_samples(declared.samples, str(self._path))
        self._fields = choose_fields(field, declared.formats, self._path)
        self._formats = declared.formats
        self._info_keys = tuple(key for key in alleles.INFO_KEYS if key in declared.infos)
        self._declared_contigs = frozenset(declared.contigs)
        self._index = None if index is None else str(index)
        self._contigs = () if index is None else _indexed_contigs(self._path, index, declared, size)
        known = [contig.n_records for contig in self._contigs if contig.n_records is not None]
        notes = fields_note(self._fields)
        if index is None:
            notes += (_no_index_note(self._path, compressed=compressed),)
        self._header = SourceHeader(
            path=str(self._path),
            kind="vcf",
            sample_ids=ids,
            family_ids=None,
            sample_sex=np.zeros(len(ids), dtype=np.int8),
            contigs=declared.contigs,
            contig_lengths=declared.lengths,
            n_records=sum(known) if known and len(known) == len(self._contigs) else None,
            reference_build=reference_build(declared.contigs, declared.lengths),
            notes=notes,
        )

    @property
    def header(self) -> SourceHeader:
        """Samples, contigs and notes."""
        return self._header

    def partitions(self, target_variants: int) -> list[Partition]:
        """Regions of about ``target_variants`` records in file order; without an index, the whole file."""
        if not self._contigs:
            return [Partition(source=0, start=0, stop=_WHOLE_FILE)]
        return [
            Partition(source=0, start=start, stop=stop, contig=contig.name)
            for contig in self._contigs
            for start, stop in contig.regions(target_variants)
        ]

    def read(self, partition: Partition, max_variants: int, counts: ReadCounts) -> Iterator[VariantBatch]:
        """Batches of at most ``max_variants`` split variants of one partition, in file order.

        A record belongs to the region that holds its POS, however far it reaches.

        Raises
        ------
        FileFormatError
            If the file is damaged, not sorted, or a record contradicts the header.
        """
        builder = BatchBuilder(len(self._header.sample_ids), max_variants)
        order = OrderCheck(str(self._path), _FIX_SORT)
        rows = self._rows(partition, counts, order)
        more = True
        while more:
            # One batch at a time: between batches, standard error belongs to the caller.
            with self._refusing(order, partition):
                while not builder.full and more:
                    found = next(rows, None)
                    if found is None:
                        more = False
                    elif found[2]:
                        builder.add_dosages(found[0], found[1], DECIMALS)
                    else:
                        builder.add_calls(found[0], found[1])
            if len(builder):
                yield builder.take()

    def _rows(
        self, partition: Partition, counts: ReadCounts, order: OrderCheck
    ) -> Iterator[tuple[Row, NDArray[Any], bool]]:
        reader = SiteReader(str(self._path), self._fields, self._info_keys, self._pass_only, counts)
        for record in self._records(partition):
            if partition.contig is not None and not partition.start <= record.POS < partition.stop:
                continue
            if self._declared_contigs and record.CHROM not in self._declared_contigs:
                raise FileFormatError(
                    f"contig {record.CHROM!r} is not declared in the header",
                    where=f"{self._path}, record {record.CHROM}:{record.POS}",
                    fix="declare it: bcftools reheader --fai REFERENCE.fa.fai FILE",
                )
            order.check_next(record.CHROM, record.POS)
            yield from reader.rows(_Record(record, self._formats))

    def _records(self, partition: Partition) -> Iterator[Any]:
        """Records that overlap a partition."""
        from cyvcf2 import VCF

        try:
            vcf = VCF(str(self._path))
            if partition.contig is None:
                records = iter(vcf)
            else:
                vcf.set_index(self._index)
                # Braces keep colons of a contig's name apart from the range (HLA*01:01).
                records = vcf(f"{{{partition.contig}}}:{max(partition.start, 1)}-{partition.stop - 1}")
        except Exception as error:
            raise _HtslibError(str(error)) from error
        while True:
            try:
                record = next(records, None)
            except Exception as error:
                raise _HtslibError(str(error)) from error
            if record is None:
                break
            yield record
        vcf.close()

    @contextmanager
    def _refusing(self, order: OrderCheck | None = None, partition: Partition | None = None) -> Iterator[None]:
        """Turn what htslib says of a damaged file, by exception or on standard error, into a refusal."""
        failure: _HtslibError | None = None
        with complaints() as messages:
            try:
                yield
            except _HtslibError as error:
                failure = error
        problems = errors_among(messages)
        if failure is None and not problems:
            return
        if any("Duplicated sample name" in problem for problem in problems):
            raise InputError(
                "a sample id occurs more than once",
                where=f"{self._path}, the #CHROM line",
                fix="give every sample its own id (bcftools reheader --samples), or remove the duplicate",
            )
        if order is None or order.contig is None:
            after = "" if partition is None or partition.contig is None else f", region {partition.contig}"
        else:
            after = f", after {order.contig}:{order.position}"
        raise FileFormatError(
            f"{self._path.name} cannot be read: {problems[-1] if problems else failure}",
            where=f"{self._path}{after}",
            fix="repair that record, or copy or create the file again (bcftools view shows the same error)",
        ) from failure

    def _read_header(self) -> _Declared:
        from cyvcf2 import VCF

        with self._refusing():
            try:
                vcf = VCF(str(self._path))
                raw = vcf.raw_header
                samples = tuple(vcf.samples)
                vcf.close()
            except Exception as error:
                raise _HtslibError(str(error)) from error
        contigs: dict[str, int] = {}
        ids: dict[str, set[str]] = {"FORMAT": set(), "INFO": set()}
        for line in raw.splitlines():
            if found := contig_line(line):
                contigs[found[0]] = found[1]
            elif match := re.match(r"##(FORMAT|INFO)=<ID=([^,>]+)", line):
                ids[match[1]].add(match[2])
        return _Declared(
            samples, tuple(contigs), tuple(contigs.values()), frozenset(ids["FORMAT"]), frozenset(ids["INFO"])
        )


def _find_index(path: Path) -> Path | None:
    # htslib's own order of preference.
    for suffix in (".csi", ".tbi"):
        index = path.with_name(path.name + suffix)
        if index.is_file():
            return index
    return None


def _no_index_note(path: Path, *, compressed: bool) -> str:
    if compressed and path.name.lower().endswith(".bcf"):
        how = f"bcftools index {path.name}"
    elif compressed:
        how = f"tabix -p vcf {path.name}"
    else:
        how = f"bcftools view -Oz -o indexed.vcf.gz {path.name} && tabix -p vcf indexed.vcf.gz"
    return f"{path.name} has no index and is read in one piece; to read it in parallel: {how}"


def _indexed_contigs(path: Path, index: Path, declared: _Declared, size: int) -> tuple[IndexedContig, ...]:
    """Contigs of an index, under their names.

    Raises
    ------
    FileFormatError
        If the index is damaged or belongs to another file.
    """
    stale = FileFormatError(
        f"{index.name} does not belong to {path.name}: it points past the end of the file, or to a contig "
        "that the file does not declare",
        where=str(index),
        fix=f"make it again: bcftools index -f {path.name} (or tabix -f -p vcf {path.name})",
    )
    contigs = []
    for contig in read_index(index):
        name = contig.name
        if name is None:
            if contig.number >= len(declared.contigs):
                raise stale
            name = declared.contigs[contig.number]
        # A virtual offset is the byte of a block, times 65536, plus the byte within the block.
        if int(contig.offsets[-1]) >> 16 >= size or (declared.contigs and name not in declared.contigs):
            raise stale
        contigs.append(replace(contig, name=name))
    return tuple(contigs)
