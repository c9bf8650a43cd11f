"""The second phase of an ingest: staged variants, in order, become the blocks and columns of the store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.ingest.staging import NUMBER_COLUMNS, STRING_COLUMNS, PartReader
from allscan.engine.store_writing import METADATA_BLOCKS, write_genotypes, write_variants
from allscan.kernels.block import concatenate, take
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.ingest.variants import SegmentTable, Spans
    from allscan.kernels.block import GenotypeBlock


@dataclass(frozen=True)
class AssemblySettings:
    """What every task of the second phase needs to know."""

    store: Path
    marks: Path  # folder of the marks of finished runs of variant columns
    folders: tuple[Path, ...]  # of the parts of each source
    segments: SegmentTable
    spans: Spans
    block_variants: int
    n_samples: int

    @cached_property
    def span_stop(self) -> NDArray[np.int64]:
        """Variants of the store up to the end of each span, shape (spans,)."""
        return np.cumsum(self.spans.stop - self.spans.start, dtype=np.int64)

    @property
    def n_variants(self) -> int:
        """Variants of the store."""
        return int(self.span_stop[-1])

    @property
    def n_blocks(self) -> int:
        """Genotype blocks of the store."""
        return -(-self.n_variants // self.block_variants)

    @property
    def n_runs(self) -> int:
        """Runs of variant columns, of one chunk each."""
        return -(-self.n_blocks // METADATA_BLOCKS)


@dataclass(frozen=True)
class AssemblyTask:
    """A genotype block, or a run of variant columns."""

    kind: str  # "block" or "run"
    index: int


def assembly_tasks(settings: AssemblySettings) -> tuple[list[AssemblyTask], int]:
    """Tasks that are not finished yet, and the number of those that are."""
    done_blocks = {
        int(folder.name) for folder in (settings.store / "call_dosage" / "c").glob("*") if (folder / "0").exists()
    }
    done_runs = {int(mark.name) for mark in settings.marks.glob("*") if mark.name.isdigit()}
    tasks = []
    for run in range(settings.n_runs):
        first = run * METADATA_BLOCKS
        if run not in done_runs:
            tasks.append(AssemblyTask("run", run))
        blocks = range(first, min(first + METADATA_BLOCKS, settings.n_blocks))
        tasks += [AssemblyTask("block", block) for block in blocks if block not in done_blocks]
    return tasks, len(done_blocks) + len(done_runs)


def assemble(settings: AssemblySettings, task: AssemblyTask) -> int:
    """Write one block or run; returns the number of variants of a block, 0 of a run."""
    if task.kind == "run":
        _write_run(settings, task.index)
        return 0
    start = task.index * settings.block_variants
    stop = min(start + settings.block_variants, settings.n_variants)
    write_genotypes(settings.store, task.index, _block(settings, start, stop))
    return stop - start


def _pieces(settings: AssemblySettings, start: int, stop: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Segments and their rows that make up the variants ``start:stop`` of the store, in order."""
    spans, ends = settings.spans, settings.span_stop
    number = int(np.searchsorted(ends, start, side="right"))
    while start < stop:
        begin = int(spans.stop[number]) - (int(ends[number]) - start)
        rows = np.arange(begin, min(begin + stop - start, int(spans.stop[number])))
        yield int(spans.segment[number]), rows
        start += len(rows)
        number += 1


def _gather(
    settings: AssemblySettings, start: int, stop: int
) -> tuple[list[tuple[int, NDArray[np.int64]]], NDArray[np.int64]]:
    """Rows of each segment that is needed, and the order that puts them, one after the other, right."""
    rows: dict[int, list[NDArray[np.int64]]] = {}
    places: dict[int, list[NDArray[np.int64]]] = {}
    at = 0
    for segment, piece in _pieces(settings, start, stop):
        rows.setdefault(segment, []).append(piece)
        places.setdefault(segment, []).append(np.arange(at, at + len(piece)))
        at += len(piece)
    where = np.concatenate([np.concatenate(parts) for parts in places.values()])
    return [(segment, np.concatenate(parts)) for segment, parts in rows.items()], np.argsort(where)


def _reader(settings: AssemblySettings, segment: int) -> PartReader:
    source, part = settings.segments.source[segment], settings.segments.part[segment]
    return PartReader(settings.folders[source], int(part))


def _block(settings: AssemblySettings, start: int, stop: int) -> GenotypeBlock:
    pieces, order = _gather(settings, start, stop)
    blocks = []
    for segment, rows in pieces:
        table = settings.segments
        staged = _reader(settings, segment).genotypes(int(table.offset[segment]), int(table.size[segment]))
        blocks.append(staged if len(rows) == staged.n_variants else take(staged, rows))
    block = blocks[0] if len(blocks) == 1 else concatenate(blocks)
    return block if np.array_equal(order, np.arange(len(order))) else take(block, order)


def _write_run(settings: AssemblySettings, run: int) -> None:
    length = settings.block_variants * METADATA_BLOCKS
    start = run * length
    stop = min(start + length, settings.n_variants)
    pieces, order = _gather(settings, start, stop)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (*NUMBER_COLUMNS, *STRING_COLUMNS, "contig")}
    for segment, rows in pieces:
        values = _reader(settings, segment).columns(
            int(settings.segments.within[segment]), *NUMBER_COLUMNS, *STRING_COLUMNS
        )
        for name, column in values.items():
            parts[name].append(column[rows])
        parts["contig"].append(np.full(len(rows), settings.segments.contig[segment], dtype=np.int16))
    columns = {name: np.concatenate(values)[order] for name, values in parts.items()}
    write_variants(settings.store, start, _store_columns(columns, settings.n_samples))
    write_atomically(settings.marks / str(run), b"")


def _store_columns(columns: dict[str, NDArray[Any]], n_samples: int) -> dict[str, NDArray[Any]]:
    stored = {f"variant_{name}": values for name, values in columns.items() if name not in ("ref", "alt")}
    stored["variant_allele"] = np.stack([columns["ref"], columns["alt"]], axis=1)
    stored["variant_length"] = np.array([len(ref) for ref in columns["ref"]], dtype=np.int32)
    n_called = columns["n_called"].astype(np.float64)
    stored["variant_missing_rate"] = (1.0 - n_called / n_samples).astype(np.float32)
    with np.errstate(invalid="ignore"):
        stored["variant_allele_frequency"] = columns["allele_count"] / (2.0 * n_called)
    return stored
