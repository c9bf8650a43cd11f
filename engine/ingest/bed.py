"""PLINK 1 binary files: .bed, .bim and .fam. ALT is the .bim's column 5 (A1), REF its column 6 (A2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.ingest.alleles import NEGATIVE_POSITION, as_objects, usable_alternates
from allscan.engine.ingest.batch import MISSING_CALL, Partition, SourceHeader, VariantBatch
from allscan.engine.ingest.optional import optional_import
from allscan.engine.ingest.records import file_size, index_partitions
from allscan.engine.ingest.sample_tables import sex_codes, sex_note, split_table, unique_samples
from allscan.engine.ingest.tables import OrderCheck, VariantText, check_positions, open_bytes, read_lines, sibling
from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import ReadCounts

_MAGIC = b"\x6c\x1b"
_BED_READER_MISSING = -127
BIM_COLUMNS = ("contig", "variant_id", "centimorgan", "position", "alt", "ref")
_WANTED = ("contig", "position", "variant_id", "ref", "alt")


class BedSource:
    """A PLINK 1 fileset.

    The format has no ploidy (a haploid call is stored as homozygous), so ``n_haploid`` of its batches is 0.

    Parameters
    ----------
    path
        The ``.bed`` file; ``.bim`` and ``.fam`` have the same stem.

    Raises
    ------
    InputError, FileFormatError
        If a file is missing, damaged, unsorted, or the three do not agree.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        optional_import("bed_reader", "bed-reader", self._path)
        bim = sibling(self._path, ".bim")
        fam = sibling(self._path, ".fam")
        size = _check_magic(self._path)
        samples = read_fam(fam)
        order = OrderCheck(str(bim), f"plink2 --bfile {self._path.stem} --make-pgen --sort-vars --out sorted")
        self._variants = VariantText.scan(bim, bim_columns(bim), _WANTED, inspect=_inspector(order, bim))
        self._n_samples = len(samples[0])
        self._check_size(size)
        ids, families, sex, notes = samples
        self._header = SourceHeader(
            path=str(self._path),
            kind="bed",
            sample_ids=unique_samples(ids, str(fam)),
            family_ids=as_objects(families),
            sample_sex=sex,
            contigs=(),
            contig_lengths=(),
            n_records=self._variants.n_rows,
            reference_build=None,
            notes=notes,
        )

    @property
    def header(self) -> SourceHeader:
        """Samples, contigs and notes."""
        return self._header

    def partitions(self, target_variants: int) -> list[Partition]:
        """Ranges of ``target_variants`` records, in file order."""
        return index_partitions(self._variants.n_rows, target_variants)

    def read(self, partition: Partition, max_variants: int, counts: ReadCounts) -> Iterator[VariantBatch]:
        """Batches of at most ``max_variants`` variants of one partition, in file order.

        Raises
        ------
        FileFormatError
            If the .bed file cannot be read.
        """
        from bed_reader import open_bed

        table = self._variants.rows(partition.start, partition.stop)
        kept = _kept_rows(table, counts)
        with open_bed(
            self._path,
            iid_count=self._n_samples,
            sid_count=self._variants.n_rows,
            skip_format_check=True,
            num_threads=1,
        ) as bed:
            for start in range(0, len(kept), max_variants):
                rows = kept[start : start + max_variants]
                try:
                    calls = bed.read(index=np.s_[:, partition.start + rows], dtype="int8", order="F").T
                except (OSError, ValueError) as error:
                    raise FileFormatError(
                        f"{self._path.name} cannot be read: {error}",
                        where=f"{self._path}, variants {partition.start + 1} to {partition.stop}",
                        fix="the file changed or is damaged: copy or create it again",
                    ) from error
                calls[calls == _BED_READER_MISSING] = MISSING_CALL
                yield _call_batch({name: column[rows] for name, column in table.items()}, calls)

    def _check_size(self, size: int) -> None:
        record = (self._n_samples + 3) // 4
        n_variants = self._variants.n_rows
        expected = 3 + record * n_variants
        if size == expected:
            return
        holds, left = divmod(size - 3, record)
        state = f"{holds} variants" + (f" and {left} bytes" if left else "")
        raise FileFormatError(
            f"{self._path.name} has {size} bytes, but {n_variants} variants (.bim) of {self._n_samples} "
            f"samples (.fam) take {expected}; with these samples it holds {state}",
            where=str(self._path),
            fix="give the .bim and .fam that belong to this .bed, or copy it again if it was cut off",
        )


def bim_columns(path: Path) -> tuple[str, ...]:
    """Names of a .bim file's columns: 6, or 5 without the centimorgan column (as PLINK 2 allows).

    Raises
    ------
    FileFormatError
        If its first line has another number of columns.
    """
    with open_bytes(path) as stream:
        width = len(stream.read(1 << 20).split(b"\n", 1)[0].split())
    if width == len(BIM_COLUMNS):
        return BIM_COLUMNS
    if width == len(BIM_COLUMNS) - 1:
        return tuple(name for name in BIM_COLUMNS if name != "centimorgan")
    if width == 0:
        raise FileFormatError(
            f"{path.name} lists no variants", where=str(path), fix="give a file with at least one variant"
        )
    raise FileFormatError(
        f"{width} columns where a .bim file has 6 (contig, id, centimorgan, position, A1, A2)",
        where=f"{path}, line 1",
        fix="check that this is the right file and that it has no header line",
    )


def read_fam(path: Path) -> tuple[list[str], list[str], NDArray[np.int8], tuple[str, ...]]:
    """Individual ids, family ids, sex codes and notes of a .fam file.

    Raises
    ------
    InputError, FileFormatError
        If it is empty or its rows do not have at least five columns, equally many.
    """
    table = split_table(read_lines(path), path)
    if not table:
        raise InputError(f"{path.name} lists no samples", where=str(path), fix="give a file with at least one sample")
    if len(table[0]) < 5:
        raise FileFormatError(
            f"{len(table[0])} columns where a .fam file has 6 (FID, IID, father, mother, sex, phenotype)",
            where=f"{path}, line 1",
            fix="check that this is the right file",
        )
    sex, unknown = sex_codes([row[4] for row in table])
    return [row[1] for row in table], [row[0] for row in table], sex, sex_note(unknown, path)


def _call_batch(
    rows: dict[str, NDArray[np.object_]],
    calls: NDArray[np.int8],
) -> VariantBatch:
    n = len(rows["position"])
    return VariantBatch(
        contig=rows["contig"],
        position=rows["position"].astype(np.int32),
        variant_id=rows["variant_id"],
        ref=rows["ref"],
        alt=rows["alt"],
        genotypes=calls,
        dosage=None,
        is_dosage=np.zeros(n, dtype=bool),
        info=np.full(n, np.nan, dtype=np.float32),
        n_alt=np.ones(n, dtype=np.int16),
        n_haploid=np.zeros(n, dtype=np.int32),
    )


def _inspector(order: OrderCheck, path: Path) -> Callable[[pa.Table, Callable[[int], str]], None]:
    def inspect(rows: pa.Table, where: Callable[[int], str]) -> None:
        position = rows.column("position").to_numpy()
        check_positions(position, str(path), where)
        placed = position >= 0
        numbers = np.flatnonzero(placed)
        order.check(rows.column("contig").to_numpy()[placed], position[placed], lambda row: where(int(numbers[row])))

    return inspect


def _kept_rows(rows: dict[str, NDArray[np.object_]], counts: ReadCounts) -> NDArray[np.int64]:
    negative = rows["position"].astype(np.int64) < 0
    counts.add(NEGATIVE_POSITION, int(negative.sum()))
    usable = [
        not skipped and bool(usable_alternates((allele,), counts))
        for skipped, allele in zip(negative.tolist(), rows["alt"].tolist(), strict=True)
    ]
    return np.flatnonzero(usable)


def _check_magic(path: Path) -> int:
    size = file_size(path)
    with path.open("rb") as file:
        magic = file.read(3)
    if magic[:2] != _MAGIC:
        raise FileFormatError(
            f"{path.name} does not begin with the bytes of a PLINK 1 .bed file (6c 1b), but with "
            f"{magic[:2].hex(' ') or 'nothing'}",
            where=str(path),
            fix="check that this is the right file; a UCSC BED file of intervals is something else",
        )
    if magic[2:] != b"\x01":
        raise FileFormatError(
            f"{path.name} is not stored variant by variant: its third byte is {magic[2:].hex() or 'missing'}, not 01",
            where=str(path),
            fix=f"plink1.9 --bfile {path.stem} --make-bed --out variant_major",
        )
    return size
