"""The order of a store's variants: contigs, positions, duplicates, over the parts of all sources.

Segments of the parts are sorted by contig and position. Where they do not overlap, as in files that follow
each other, that is all; where they do, as in a file of SNVs and one of indels, their variants are merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from allscan.engine.chromosomes import canonical_name, sort_contigs
from allscan.engine.ingest.alleles import RECORDS
from allscan.engine.ingest.staging import PartReader
from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import SourceHeader
    from allscan.engine.ingest.staging import PartSummary

OnDuplicate = Literal["error", "first", "keep"]
DUPLICATES_LEFT_OUT = "variants left out: duplicates of an earlier one"
DUPLICATES_KEPT = "variants kept that duplicate an earlier one"
MAX_EXAMPLES = 5
GROUP_VARIANTS = 200_000


class SegmentTable(NamedTuple):
    """All segments in the order of contig, first position, source, part; every array (segments,)."""

    source: NDArray[np.int32]
    part: NDArray[np.int32]
    within: NDArray[np.int32]  # number within its part
    contig: NDArray[np.int16]  # number of its contig in the store
    first: NDArray[np.int32]
    last: NDArray[np.int32]
    n_variants: NDArray[np.int64]
    has_ties: NDArray[np.bool_]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]


class Spans(NamedTuple):
    """The variants of a store in order, as runs of rows of segments; every array has shape (spans,)."""

    segment: NDArray[np.int32]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]


@dataclass(frozen=True)
class OrderSettings:
    """What every ordering task needs to know."""

    segments: SegmentTable
    folders: tuple[Path, ...]  # of the parts of each source
    contigs: tuple[str, ...]
    on_duplicate: OnDuplicate


@dataclass(frozen=True)
class OrderTask:
    """Consecutive segments ``start:stop`` of one contig that no segment outside overlaps."""

    start: int
    stop: int


@dataclass(frozen=True)
class OrderedGroup:
    """The spans of one task, and the duplicates in it."""

    spans: Spans
    n_duplicates: int
    examples: tuple[str, ...]


def check_sorted(header: SourceHeader, parts: Sequence[PartSummary]) -> None:
    """Check that the parts of a source, each sorted in itself, follow each other.

    Raises
    ------
    FileFormatError
        If positions fall, or a contig comes back, from one part to the next.
    """
    contig, position = "", 0
    finished: set[str] = set()
    for stretch in (stretch for part in parts for stretch in part.stretches):
        if stretch.contig in finished or (stretch.contig == contig and stretch.first < position):
            problem = (
                f"contig {stretch.contig!r} comes again after {contig!r}"
                if stretch.contig in finished
                else f"{stretch.contig}:{stretch.first} comes after {contig}:{position}"
            )
            raise FileFormatError(
                f"variants are not sorted: {problem}",
                where=f"{header.path}, variant {stretch.first_key}",
                fix="sort the file: plink2 --sort-vars for PLINK files and BGEN, bcftools sort for VCF",
            )
        if stretch.contig != contig:
            finished.add(contig)
        contig, position = stretch.contig, stretch.last


def check_complete(header: SourceHeader, parts: Sequence[PartSummary]) -> None:
    """Check that as many records were read as an index counts: htslib can end a damaged region without a word.

    Raises
    ------
    FileFormatError
        If some are missing, or there are more.
    """
    read = sum(part.counts.get(RECORDS, 0) for part in parts)
    if header.n_records is not None and read and read != header.n_records:
        raise FileFormatError(
            f"{read:,} records were read of the {header.n_records:,} that the index counts",
            where=header.path,
            fix="the file is damaged, or the index is of another file: copy both again, or make the index anew",
        )


def store_contigs(
    headers: Sequence[SourceHeader], parts: Sequence[PartSummary], any_contig: bool
) -> tuple[tuple[str, ...], dict[str, int], tuple[str, ...]]:
    """Contigs of a store in order, the number of each name that occurs in the parts, and notes.

    Human chromosomes come in natural order, then other contigs as the headers declare them, then as they
    appear. A chromosome that the sources spell in two ways gets the first spelling.
    """
    spelling: dict[str, str] = {}
    notes = []
    present = [segment.contig for part in parts for segment in part.segments]
    for name in dict.fromkeys(present):
        chromosome = (None if any_contig else canonical_name(name)) or name
        stored = spelling.setdefault(chromosome, name)
        if stored != name:
            notes.append(f"chromosome {chromosome} is spelt {stored!r} and {name!r}; it is stored as {stored!r}")
    declared = [name for header in headers for name in header.contigs]
    kept = set(spelling.values())
    in_order = [name for name in dict.fromkeys(declared) if name in kept]
    in_order += [name for name in spelling.values() if name not in in_order]
    contigs = tuple(sort_contigs(in_order))
    number = {name: index for index, name in enumerate(contigs)}
    codes = {
        name: number[spelling[(None if any_contig else canonical_name(name)) or name]]
        for name in dict.fromkeys(present)
    }
    return contigs, codes, tuple(notes)


def contig_lengths(headers: Sequence[SourceHeader], contigs: Sequence[str]) -> tuple[int, ...]:
    """Lengths of contigs as the headers declare them, 0 where none does.

    Raises
    ------
    InputError
        If two sources declare different lengths: they are of different reference genomes.
    """
    lengths: dict[str, tuple[int, str]] = {}
    for header in headers:
        for name, length in zip(header.contigs, header.contig_lengths, strict=True):
            chromosome = canonical_name(name) or name
            known, path = lengths.get(chromosome, (0, ""))
            if known and length and known != length:
                raise InputError(
                    f"contig {name!r} has {known} bases in one source and {length} in another: they are of "
                    "different reference genomes",
                    where=f"{path} and {header.path}",
                    fix="bring the files to one reference genome first (bcftools +liftover, CrossMap)",
                )
            if length:
                lengths[chromosome] = (length, header.path)
    return tuple(lengths.get(canonical_name(name) or name, (0, ""))[0] for name in contigs)


def sort_segments(parts: Sequence[PartSummary], codes: dict[str, int]) -> SegmentTable:
    """Segments of all parts, in the order of contig, first position, source and place in it."""
    rows = [
        (part.source, part.number, index, codes[s.contig], *s[1:])
        for part in parts
        for index, s in enumerate(part.segments)
    ]
    columns = [np.array(values) for values in zip(*rows, strict=True)]
    source, number, index, contig, first = columns[:5]
    order = np.lexsort((index, number, source, first, contig))
    types = (
        np.int32,
        np.int32,
        np.int32,
        np.int16,
        np.int32,
        np.int32,
        np.int64,
        np.bool_,
        np.int64,
        np.int64,
    )
    return SegmentTable(*(values[order].astype(kind) for values, kind in zip(columns, types, strict=True)))


def order_tasks(segments: SegmentTable) -> list[OrderTask]:
    """Groups of segments whose variants must be looked at: those that touch each other or hold ties.

    A segment that stands alone and has no two variants at one position is in none of them.
    """
    n = len(segments.first)
    contig = segments.contig
    # A cluster begins where the contig changes or the position is beyond everything before it.
    same = np.concatenate([[False], contig[1:] == contig[:-1]])
    begins = np.ones(n, dtype=bool)
    reach = 0
    for i, (first, last, continues) in enumerate(
        zip(segments.first.tolist(), segments.last.tolist(), same.tolist(), strict=True)
    ):
        begins[i] = not continues or first > reach
        reach = last if begins[i] else max(reach, last)
    starts = np.flatnonzero(begins)
    stops = np.append(starts[1:], n)
    plain = (stops - starts == 1) & ~segments.has_ties[starts]
    tasks: list[OrderTask] = []
    variants = 0
    for start, stop in zip(starts[~plain].tolist(), stops[~plain].tolist(), strict=True):
        number = int(segments.n_variants[start:stop].sum())
        joins = (
            bool(tasks)
            and tasks[-1].stop == start
            and contig[tasks[-1].start] == contig[start]
            and variants + number <= GROUP_VARIANTS
        )
        if joins:
            tasks[-1] = OrderTask(tasks[-1].start, stop)
            variants += number
        else:
            tasks.append(OrderTask(start, stop))
            variants = number
    return tasks


def order_group(settings: OrderSettings, task: OrderTask) -> OrderedGroup:
    """Merge the variants of a group of segments by position, and find duplicates.

    Variants at one position keep the order of the sources, and within one source that of the file.
    """
    table = settings.segments
    numbers = np.arange(task.start, task.stop)
    # Ties are broken by source and file order, not by where a segment begins.
    numbers = numbers[np.lexsort((table.within[numbers], table.part[numbers], table.source[numbers]))]
    readers: dict[tuple[int, int], PartReader] = {}

    def columns(segment: int, *names: str) -> dict[str, NDArray[np.generic]]:
        source, part = int(table.source[segment]), int(table.part[segment])
        if (source, part) not in readers:
            readers[source, part] = PartReader(settings.folders[source], part)
        return readers[source, part].columns(int(table.within[segment]), *names)

    lengths = table.n_variants[numbers]
    position = np.concatenate([columns(n, "position")["position"] for n in numbers.tolist()]).astype(np.int64)
    segment = np.repeat(numbers, lengths).astype(np.int32)
    row = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths.tolist()])
    order = np.argsort(position, kind="stable")
    position, segment, row = position[order], segment[order], row[order]

    tied = np.concatenate([[False], position[1:] == position[:-1]])
    tied[:-1] |= tied[1:]
    alleles: dict[int, dict[str, NDArray[np.generic]]] = {}
    seen: set[tuple[str, str]] = set()
    at = -1
    duplicates = []
    for i in np.flatnonzero(tied).tolist():
        s = int(segment[i])
        if s not in alleles:
            alleles[s] = columns(s, "ref", "alt")
        if position[i] != at:
            at = int(position[i])
            seen = set()
        pair = (str(alleles[s]["ref"][row[i]]), str(alleles[s]["alt"][row[i]]))
        if pair in seen:
            duplicates.append((i, pair))
        seen.add(pair)
    contig = settings.contigs[table.contig[task.start]]
    examples = tuple(f"{contig}:{position[i]}:{ref}:{alt}" for i, (ref, alt) in duplicates[:MAX_EXAMPLES])
    if settings.on_duplicate == "first" and duplicates:
        kept = np.ones(len(position), dtype=bool)
        kept[[i for i, _ in duplicates]] = False
        segment, row = segment[kept], row[kept]
    return OrderedGroup(_spans(segment, row), len(duplicates), examples)


def _spans(segment: NDArray[np.int32], row: NDArray[np.int32]) -> Spans:
    breaks = np.flatnonzero((segment[1:] != segment[:-1]) | (row[1:] != row[:-1] + 1)) + 1
    starts = np.concatenate([[0], breaks]).astype(np.int64)
    stops = np.append(breaks, len(segment)).astype(np.int64)
    return Spans(segment[starts], row[starts], row[stops - 1] + np.int32(1))


def join_spans(segments: SegmentTable, tasks: Sequence[OrderTask], groups: Sequence[OrderedGroup]) -> Spans:
    """Spans of the whole store: those of the groups, and whole segments in between."""
    pieces = []
    at = 0

    def plain(start: int, stop: int) -> Spans:
        numbers = np.arange(start, stop, dtype=np.int32)
        return Spans(numbers, np.zeros_like(numbers), segments.n_variants[start:stop].astype(np.int32))

    for task, group in zip(tasks, groups, strict=True):
        pieces += [plain(at, task.start), group.spans]
        at = task.stop
    pieces.append(plain(at, len(segments.first)))
    return Spans(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def refuse_duplicates(groups: Sequence[OrderedGroup], headers: Sequence[SourceHeader]) -> None:
    """Raise if any group holds duplicates.

    Raises
    ------
    InputError
        Naming the first few.
    """
    total = sum(group.n_duplicates for group in groups)
    if total:
        examples = [example for group in groups for example in group.examples][:MAX_EXAMPLES]
        more = ", …" if total > len(examples) else ""
        raise InputError(
            f"{total} variants occur more than once (same contig, position, REF and ALT): {', '.join(examples)}{more}",
            where=" and ".join(header.path for header in headers[:3]) + (" and others" if headers[3:] else ""),
            fix="keep the first of each: --on-duplicate first; or keep them all: --on-duplicate keep",
        )
