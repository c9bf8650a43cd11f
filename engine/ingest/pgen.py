"""PLINK 2 binary files: .pgen with .pvar (or .bim, or either as .zst) and .psam (or .fam)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.ingest.alleles import NEGATIVE_POSITION, as_objects, info_score, usable_alternates
from allscan.engine.ingest.batch import MISSING_CALL, Partition, SourceHeader
from allscan.engine.ingest.bed import bim_columns, read_fam
from allscan.engine.ingest.contigs import contig_line, reference_build
from allscan.engine.ingest.optional import optional_import
from allscan.engine.ingest.records import BatchBuilder, Row, file_size, index_partitions
from allscan.engine.ingest.sample_tables import sex_codes, sex_note, split_table, unique_samples
from allscan.engine.ingest.tables import OrderCheck, VariantText, check_positions, open_bytes, read_lines, sibling
from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import ReadCounts, VariantBatch

_MAGIC = b"\x6c\x1b"
_PHASE_BIT = 0x10
_DOSAGE_BITS = 0x60
_BLOCK_VARIANTS = 1 << 16
_DOSAGE_STEP = 1 / 16384
_PGENLIB_MISSING = -9
_PVAR_NAMES = {
    "#CHROM": "contig",
    "POS": "position",
    "ID": "variant_id",
    "REF": "ref",
    "ALT": "alt",
    "INFO": "info",
}


@dataclass(frozen=True)
class PgenHeader:
    """What the first bytes of a .pgen file say of its records.

    The layout is that of the PGEN specification (github.com/chrchang/plink-ng, pgen_spec), section 2.
    """

    n_variants: int
    n_samples: int
    has_dosage: NDArray[np.bool_]  # (variants,)
    has_phase: bool
    provisional_ref: bool  # every REF allele is only a guess


class PgenSource:
    """A PLINK 2 fileset. Multiallelic sites are split; phase is dropped.

    The format has no ploidy (a haploid call is stored as homozygous), so ``n_haploid`` of its batches is 0.

    Parameters
    ----------
    path
        The ``.pgen`` file; the others have the same stem.

    Raises
    ------
    InputError, FileFormatError
        If a file is missing, damaged, unsorted, or the three do not agree.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        optional_import("pgenlib", "pgenlib", self._path)
        records = read_pgen_header(self._path)
        pvar = sibling(self._path, ".pvar", ".pvar.zst", ".bim", ".bim.zst")
        psam = sibling(self._path, ".psam", ".fam")
        ids, families, sex, notes = read_psam(psam)
        if len(ids) != records.n_samples:
            raise _disagreement(self._path, psam, "samples", records.n_samples, len(ids))
        layout = _read_pvar_header(pvar)
        sites = _SiteCollector(pvar, self._path.stem)
        wanted = [c for c in ("contig", "position", "variant_id", "ref", "alt", "info") if c in layout.columns]
        self._variants = VariantText.scan(
            pvar, layout.columns, wanted, skip_lines=layout.n_lines, inspect=sites.inspect
        )
        if self._variants.n_rows != records.n_variants:
            raise _disagreement(self._path, pvar, "variants", records.n_variants, self._variants.n_rows)
        # Sites with more than one alternate allele are few: their numbers travel, not an offset per variant.
        self._multiallelic, self._n_alleles = sites.multiallelic()
        self._has_dosage = records.has_dosage if records.has_dosage.any() else None
        if records.has_phase:
            notes += ("phase dropped: only allele counts are used",)
        if records.provisional_ref:
            notes += ("REF alleles are marked provisional: they may not be those of the reference genome",)
        self._header = SourceHeader(
            path=str(self._path),
            kind="pgen",
            sample_ids=unique_samples(ids, str(psam)),
            family_ids=None if families is None else as_objects(families),
            sample_sex=sex,
            contigs=layout.contigs,
            contig_lengths=layout.contig_lengths,
            n_records=records.n_variants,
            reference_build=reference_build(layout.contigs, layout.contig_lengths),
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
        """Batches of at most ``max_variants`` split variants of one partition, in file order.

        Raises
        ------
        FileFormatError
            If the .pgen file cannot be read.
        """
        import pgenlib

        table = self._variants.rows(partition.start, partition.stop)
        n_samples = len(self._header.sample_ids)
        calls = np.empty(n_samples, dtype=np.int8)
        dosage = np.empty(n_samples, dtype=np.float32)
        builder = BatchBuilder(n_samples, max_variants)
        with pgenlib.PgenReader(
            bytes(self._path),
            raw_sample_ct=n_samples,
            variant_ct=self._variants.n_rows,
            allele_idx_offsets=self._allele_offsets(),
        ) as reader:
            for record, row, allele in _split_rows(table, partition.start, counts):
                try:
                    if self._has_dosage is not None and self._has_dosage[record]:
                        reader.read_dosages(record, dosage, allele_idx=allele)
                        dosage[dosage == _PGENLIB_MISSING] = np.nan
                        builder.add_dosages(row, dosage, _DOSAGE_STEP)
                    else:
                        reader.read(record, calls, allele_idx=allele)
                        calls[calls == _PGENLIB_MISSING] = MISSING_CALL
                        builder.add_calls(row, calls)
                except (OSError, RuntimeError, ValueError) as error:
                    raise FileFormatError(
                        f"{self._path.name} cannot be read: {error}",
                        where=f"{self._path}, variant {record + 1} ({row.contig}:{row.position})",
                        fix="the file is damaged: copy or create it again (plink2 --validate checks it)",
                    ) from error
                if builder.full:
                    yield builder.take()
        if len(builder):
            yield builder.take()

    def _allele_offsets(self) -> NDArray[np.uintp] | None:
        if not self._multiallelic.size:
            return None
        alleles = np.full(self._variants.n_rows, 2, dtype=np.uintp)
        alleles[self._multiallelic] = self._n_alleles
        return np.concatenate([np.zeros(1, dtype=np.uintp), np.cumsum(alleles, dtype=np.uintp)])


def read_pgen_header(path: Path) -> PgenHeader:
    """Read and check a .pgen header against the size of the file.

    Raises
    ------
    InputError
        If the file cannot be opened.
    FileFormatError
        If it is not a .pgen file, is stored in a way that is not read here, or was cut off.
    """
    size = file_size(path)
    with path.open("rb") as file:
        head = file.read(12)
        if head[:2] != _MAGIC:
            raise FileFormatError(
                f"{path.name} does not begin with the bytes of a .pgen file (6c 1b), but with "
                f"{head[:2].hex(' ') or 'nothing'}",
                where=str(path),
                fix="check that this is the right file",
            )
        if len(head) < 12:
            raise _cut_off(path, size, 12)
        mode = head[2]
        if mode not in (0x02, 0x10, 0x11):
            raise FileFormatError(
                f"{path.name} is stored in mode 0x{mode:02x}; modes 0x02, 0x10 and 0x11 are read",
                where=str(path),
                fix=f"plink2 --pfile {path.stem} --make-pgen --out standard"
                + (f" (or name it {path.stem}.bed: mode 0x01 is PLINK 1)" if mode == 1 else ""),
            )
        n_variants = int.from_bytes(head[3:7], "little")
        n_samples = int.from_bytes(head[7:11], "little")
        provisional = head[11] >> 6 == 2
        if mode == 0x02:
            expected = 12 + n_variants * ((n_samples + 3) // 4)
            if size != expected:
                raise _cut_off(path, size, expected)
            return PgenHeader(n_variants, n_samples, np.zeros(n_variants, dtype=bool), False, provisional)
        types, end = _record_types(file.read, head[11], n_variants)
        if size < end or (mode == 0x10 and end and size != end):
            raise _cut_off(path, size, end)
    return PgenHeader(
        n_variants,
        n_samples,
        has_dosage=(types & _DOSAGE_BITS) != 0,
        has_phase=bool((types & _PHASE_BIT).any()),
        provisional_ref=provisional,
    )


def _record_types(read: Callable[[int], bytes], control: int, n_variants: int) -> tuple[NDArray[np.uint8], int]:
    """Type byte of every record, and where the last record ends."""
    storage = control & 15
    length_bytes = storage % 4 + 1
    allele_bytes = (control >> 4) & 3
    n_blocks = -(-n_variants // _BLOCK_VARIANTS)
    raw_offsets = read(8 * n_blocks)
    if len(raw_offsets) < 8 * n_blocks:
        return np.zeros(0, dtype=np.uint8), 12 + 8 * n_blocks
    offsets = np.frombuffer(raw_offsets, dtype="<u8")
    types = np.zeros(n_variants, dtype=np.uint8)
    end = 0
    if storage >= 8:
        # Types packed in one or two bits, which plink2 does not write at present: take the general way.
        return types | np.uint8(_DOSAGE_BITS), end
    for block, offset in enumerate(offsets.tolist()):
        first = block * _BLOCK_VARIANTS
        n = min(_BLOCK_VARIANTS, n_variants - first)
        if storage < 4:
            packed = np.frombuffer(read((n + 1) // 2), dtype=np.uint8)
            block_types = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)
        else:
            block_types = np.frombuffer(read(n), dtype=np.uint8)
        raw = np.frombuffer(read(n * length_bytes), dtype=np.uint8)
        if len(block_types) < n or len(raw) < n * length_bytes:
            return types, int(offset)  # the header itself is cut off: the records begin past the end
        types[first : first + n] = block_types[:n]
        lengths = np.zeros((n, 8), dtype=np.uint8)
        lengths[:, :length_bytes] = raw.reshape(n, length_bytes)
        end = offset + int(lengths.view("<u8").sum())
        read(n * allele_bytes)
        if control >> 6 == 3:
            read((n + 7) // 8)
    return types, end


def read_psam(path: Path) -> tuple[list[str], list[str] | None, NDArray[np.int8], tuple[str, ...]]:
    """Individual ids, family ids (None if there are none), sex codes and notes of a .psam or .fam file.

    Raises
    ------
    InputError, FileFormatError
        If it is empty, has no IID column, or rows with another number of columns.
    """
    lines = read_lines(path)
    header = next((n for n, line in enumerate(lines) if line.startswith(("#FID", "#IID"))), None)
    if header is None:
        if any(line.startswith("#") for line in lines):
            raise FileFormatError(
                f"{path.name} has no header line that begins with #FID or #IID",
                where=str(path),
                fix="give the columns their names, for example: #IID SEX",
            )
        return read_fam(path)
    table = split_table(lines[header:], path, first_line=header + 1)
    names = [name.lstrip("#").upper() for name in table[0]]
    rows = table[1:]
    if not rows:
        raise InputError(f"{path.name} lists no samples", where=str(path), fix="give a file with at least one sample")
    if "IID" not in names:
        raise FileFormatError(
            f"{path.name} has no IID column",
            where=f"{path}, line {header + 1}",
            fix="name the column of sample ids IID",
        )
    ids = [row[names.index("IID")] for row in rows]
    families = [row[names.index("FID")] for row in rows] if "FID" in names else None
    if "SEX" in names:
        sex, unknown = sex_codes([row[names.index("SEX")] for row in rows])
        return ids, families, sex, sex_note(unknown, path)
    return ids, families, np.zeros(len(ids), dtype=np.int8), ()


@dataclass(frozen=True)
class _PvarLayout:
    columns: tuple[str, ...]
    n_lines: int  # of the header
    contigs: tuple[str, ...] = ()
    contig_lengths: tuple[int, ...] = ()


def _read_pvar_header(path: Path) -> _PvarLayout:
    contigs: dict[str, int] = {}
    with open_bytes(path) as stream:
        text = b""
        # Header lines end at the first line that does not begin with a number sign.
        while more := stream.read(1 << 16):
            text += more
            if re.search(rb"(?m)^[^#\n][^\n]*\n", text):
                break
    n_lines = 0
    for line in text.decode("utf-8-sig", errors="replace").splitlines():
        if not line.startswith("#"):
            break
        n_lines += 1
        if line.startswith("##"):
            if found := contig_line(line):
                contigs[found[0]] = found[1]
            continue
        names = line.split()
        columns = tuple(_PVAR_NAMES.get(name, name) for name in names)
        missing = [name for name, ours in _PVAR_NAMES.items() if ours not in columns and name != "INFO"]
        if missing:
            raise FileFormatError(
                f"{path.name} has no column {', '.join(missing)}",
                where=f"{path}, line {n_lines}",
                fix="the header line of a .pvar file begins: #CHROM POS ID REF ALT",
            )
        return _PvarLayout(columns, n_lines, tuple(contigs), tuple(contigs.values()))
    if n_lines:
        raise FileFormatError(
            f"{path.name} has no header line that begins with #CHROM",
            where=f"{path}, line {n_lines + 1}",
            fix="give the columns their names: #CHROM POS ID REF ALT",
        )
    return _PvarLayout(bim_columns(path), 0)


class _SiteCollector:
    """Notes, while the .pvar is scanned, which sites have several alternate alleles; checks the order."""

    def __init__(self, path: Path, stem: str) -> None:
        self._path = str(path)
        self._order = OrderCheck(self._path, f"plink2 --pfile {stem} --make-pgen --sort-vars --out sorted")
        self._seen = 0
        self._rows: list[NDArray[np.int64]] = []
        self._alleles: list[NDArray[np.int64]] = []

    def inspect(self, rows: pa.Table, where: Callable[[int], str]) -> None:
        import pyarrow.compute as pc

        position = rows.column("position").to_numpy()
        check_positions(position, self._path, where)
        numbers = np.flatnonzero(position >= 0)
        self._order.check(
            rows.column("contig").to_numpy()[numbers],
            position[numbers],
            lambda row: where(int(numbers[row])),
        )
        commas = pc.count_substring(rows.column("alt"), ",").to_numpy()
        several = np.flatnonzero(commas)
        self._rows.append(several + self._seen)
        self._alleles.append(commas[several].astype(np.int64) + 2)
        self._seen += len(position)

    def multiallelic(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the multiallelic records, and their numbers of alleles."""
        return np.concatenate(self._rows), np.concatenate(self._alleles)


def _split_rows(
    table: dict[str, NDArray[np.object_]], first: int, counts: ReadCounts
) -> Iterator[tuple[int, Row, int]]:
    """Record number, biallelic row and allele number of every variant of a piece of a .pvar."""
    n = len(table["position"])
    info = table.get("info", np.full(n, ".", dtype=object))
    columns = [table[name].tolist() for name in ("contig", "position", "variant_id", "ref", "alt")]
    for record, (contig, position, name, ref, alt, quality) in enumerate(
        zip(*columns, info.tolist(), strict=True), start=first
    ):
        if position < 0:
            counts.add(NEGATIVE_POSITION)
            continue
        alternates = alt.split(",")
        score = info_score(quality)
        for allele in usable_alternates(alternates, counts):
            row = Row(contig, position, name, ref, alternates[allele - 1], score, len(alternates))
            yield record, row, allele


def _disagreement(path: Path, other: Path, things: str, here: int, there: int) -> FileFormatError:
    return FileFormatError(
        f"{path.name} holds {here} {things}, but {other.name} lists {there}",
        where=f"{path} and {other}",
        fix=f"give the {other.suffix} file that belongs to this .pgen",
    )


def _cut_off(path: Path, size: int, expected: int) -> FileFormatError:
    return FileFormatError(
        f"{path.name} has {size} bytes, but its header says {expected}",
        where=str(path),
        fix="the file was cut off or damaged: copy or create it again",
    )
