"""Ingest: from genotype files to a genotype store, in parallel, in bounded memory, resumable.

Two phases, both through the executor. Reading turns each partition of each source into a staged part;
assembly puts the staged variants in order and writes them as the blocks of the store. The finished store
is renamed to its place last.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import zarr

from allscan import __version__
from allscan.engine.ingest.assembly import AssemblySettings, assemble, assembly_tasks
from allscan.engine.ingest.fingerprints import content_checksum, describe_source
from allscan.engine.ingest.interrupted import discard_outdated
from allscan.engine.ingest.outputs import check_output, check_space, translated
from allscan.engine.ingest.publishing import publish, staging_folder
from allscan.engine.ingest.reading import ReadSettings, read_memory, read_part, read_tasks
from allscan.engine.ingest.request import IngestRequest, open_request
from allscan.engine.ingest.staging import PartSummary, exclusive, load_summary, sweep
from allscan.engine.ingest.variants import (
    DUPLICATES_KEPT,
    DUPLICATES_LEFT_OUT,
    OnDuplicate,
    OrderedGroup,
    OrderSettings,
    OrderTask,
    SegmentTable,
    Spans,
    check_complete,
    check_sorted,
    contig_lengths,
    join_spans,
    order_group,
    order_tasks,
    refuse_duplicates,
    sort_segments,
    store_contigs,
)
from allscan.engine.store import BLOCK_CHECKSUMS, open_store
from allscan.engine.store_writing import create_store, write_block_checksums
from allscan.errors import AllscanError, InputError, StorageError
from allscan.storage import files_below, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from allscan.engine.chromosomes import Region
    from allscan.engine.ingest.batch import Source
    from allscan.engine.scan import TaskRunner
    from allscan.storage import Place

KEPT = "variants kept"
FEW_ORDER_TASKS = 8


@dataclass(frozen=True)
class IngestProgress:
    """How far an ingest is."""

    phase: Literal["read", "order", "write"]
    tasks_done: int  # resumed ones among them
    tasks_total: int
    tasks_resumed: int  # finished by an earlier, interrupted run
    variants_done: int  # kept or written so far in this phase
    message: str = ""  # something to tell the user, e.g. that finished work was discarded


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did. Every variant and sample of the sources is in one of the counts."""

    path: Place
    n_variants: int
    n_samples: int
    n_sources: int
    contigs: tuple[str, ...]
    reference_build: str | None
    variant_counts: dict[str, int]  # reason: variants, sites or calls
    sample_counts: dict[str, int]  # reason: samples
    notes: tuple[str, ...]
    bytes_on_disk: int
    tasks_resumed: int
    already_complete: bool  # the store was there, made of the same files with the same parameters
    elapsed_seconds: float


def ingest(
    sources: Sequence[str | Path | Source],
    out: str | Place,
    *,
    executor: TaskRunner,
    assembler: TaskRunner | None = None,
    regions: Iterable[str | Region] | None = None,
    keep_samples: Iterable[str] | None = None,
    exclude_samples: Iterable[str] | None = None,
    min_allele_count: float | None = None,
    max_allele_count: float | None = None,
    build: str | None = None,
    contigs: Literal["human", "any"] = "human",
    on_duplicate: OnDuplicate = "error",
    block_variants: int | None = None,
    reader_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    staging: Path | None = None,
    on_progress: Callable[[IngestProgress], None] | None = None,
) -> IngestReport:
    """Make a genotype store of one or several genotype files of the same people.

    An interrupted ingest goes on where it stopped when it is called again: finished work is kept in
    ``OUT.partial`` (for object storage, in a folder of this machine), and what no longer holds (a file changed, a
    parameter too) is done again. Called with the same files and parameters for a store that is finished, it returns
    that store's report.

    Parameters
    ----------
    sources
        Genotype files, or opened sources; usually one for each chromosome.
    out
        The store: a folder, or a place in object storage. Appears only when it is whole.
    executor
        Runs the tasks that read, and the others when there is no ``assembler``.
    assembler
        Runs the tasks that order and write. These are compiled code and file output: threads serve them
        without the seconds that processes take to start.
    regions
        ``"22"``, ``"chr22:16000000-17000000"`` or :class:`Region`; variants whose position is in any of
        them are kept. None: all.
    keep_samples, exclude_samples
        Sample ids.
    min_allele_count, max_allele_count
        Bounds on the number of copies of the rarer allele among the kept samples, both included.
    build
        Reference build, where the sources do not tell.
    contigs
        ``"human"`` translates PLINK's codes 23 to 26 and refuses unknown names that no header declares;
        ``"any"`` takes every name as it is.
    on_duplicate
        For variants of the same contig, position, REF and ALT: ``"error"``, ``"first"`` keeps the first (in
        the order of the sources), ``"keep"`` keeps them all.
    block_variants
        Variants of a block of the store; None: by the number of samples.
    reader_options
        Options of :func:`allscan.engine.ingest.sources.open_source`, e.g. ``{"field": "DS"}``.
    overwrite
        Replace a store that is there.
    staging
        Where a store for object storage is made, on this machine, before it is put there; None: the working
        directory.
    on_progress
        Called after each task.

    Raises
    ------
    InputError, FileFormatError
        If the sources are refused: damaged, unsorted, different samples, contigs or builds, duplicates, or
        nothing left after the filters.
    OutputError
        If the store cannot be written, exists already, or is being written by another process.

    Notes
    -----
    Memory: a worker holds about 64 MiB for the batch that it reads (and at least one variant of all
    samples), the reader's own, and 32 MiB of encoded genotypes; in the second phase the staged segments
    that a block of the store is made of, about four times the encoded block. The caller holds some hundred
    bytes for each segment of up to ``block_variants`` variants.
    """
    started = time.monotonic()
    target = place_of(out)
    partial = staging_folder(target, staging)
    request = open_request(
        sources,
        dict(reader_options or {}),
        regions=regions,
        keep_samples=keep_samples,
        exclude_samples=exclude_samples,
        allele_counts=(min_allele_count, max_allele_count),
        build=build,
        any_contig=contigs == "any",
        on_duplicate=on_duplicate,
        block_variants=block_variants,
    )
    # A kill between the last rename and the removal of the staging folder leaves a finished store.
    if (partial.exists() or not overwrite) and _is_finished(target, request):
        shutil.rmtree(partial, ignore_errors=True)
        return _report(target, tasks_resumed=0, already_complete=True, elapsed=time.monotonic() - started)
    check_output(target, partial, [Path(header.path) for header in request.headers], overwrite)
    with exclusive(partial, target), translated(target):
        run = _Run(request, target, partial, executor, assembler or executor, on_progress or (lambda _: None))
        try:
            resumed = run.all()
        except AllscanError:
            # A refused input leaves nothing behind, unless there is finished work to go on from.
            if not any(partial.glob("parts/*/*.json")):
                shutil.rmtree(partial, ignore_errors=True)
            raise
    return _report(target, tasks_resumed=resumed, already_complete=False, elapsed=time.monotonic() - started)


def _is_finished(out: Place, request: IngestRequest) -> bool:
    try:
        return open_store(out).attrs.get("ingest_fingerprint") == request.key
    except StorageError:
        raise
    except AllscanError:
        return False


def _report(out: Place, *, tasks_resumed: int, already_complete: bool, elapsed: float) -> IngestReport:
    store = open_store(out)
    return IngestReport(
        path=out,
        n_variants=store.n_variants,
        n_samples=store.n_samples,
        n_sources=len(store.attrs["sources"]),
        contigs=store.contigs,
        reference_build=store.reference_build,
        variant_counts=store.attrs["variant_counts"],
        sample_counts=store.attrs["sample_counts"],
        notes=tuple(store.attrs["notes"]),
        bytes_on_disk=sum(size for _, size in files_below(out)),
        tasks_resumed=tasks_resumed,
        already_complete=already_complete,
        elapsed_seconds=elapsed,
    )


class _Run:
    """One ingest at work in its staging folder."""

    def __init__(
        self,
        request: IngestRequest,
        out: Place,
        partial: Path,
        executor: TaskRunner,
        assembler: TaskRunner,
        on_progress: Callable[[IngestProgress], None],
    ) -> None:
        self._request = request
        self._out = out
        self._partial = partial
        self._store = partial / "store"
        self._marks = partial / "marks"
        self._executor = executor
        self._assembler = assembler
        self._tell = on_progress
        self._notes: list[str] = []
        self._resumed = 0
        self._folders = tuple(partial / "parts" / request.source_key(index) for index in range(len(request.sources)))

    def all(self) -> int:
        """Do everything that is not done; returns the number of tasks that were."""
        sweep(self._partial)
        for message in discard_outdated(self._request, self._partial, self._folders, (self._store, self._marks)):
            self._notes.append(message)
            self._tell(IngestProgress("read", 0, 0, 0, 0, message))
        samples = self._request.samples
        check_space(
            self._partial,
            self._request.headers,
            len(samples.sample_ids) / max(1, samples.counts["in the sources"]),
            sum(size for _, size in files_below(self._partial)),
        )
        parts = self._read()
        counts: Counter[str] = Counter()
        for part in parts:
            counts.update(part.counts)
        if not any(part.segments for part in parts):
            shutil.rmtree(self._partial)
            raise InputError(
                "no variant is left: "
                + (", ".join(f"{number} {reason}" for reason, number in counts.items()) or "none was read"),
                where=", ".join(header.path for header in self._request.headers[:3]),
                fix="check the regions and allele counts that were asked for",
            )
        for index, header in enumerate(self._request.headers):
            of_source = [part for part in parts if part.source == index]
            if not self._request.regions:
                check_complete(header, of_source)
            check_sorted(header, of_source)
        contigs, codes, notes = store_contigs(self._request.headers, parts, self._request.any_contig)
        self._notes += notes
        lengths = contig_lengths(self._request.headers, contigs)
        segments = sort_segments(parts, codes)
        spans = self._order(segments, contigs, counts)
        settings = AssemblySettings(
            self._store,
            self._marks,
            self._folders,
            segments,
            spans,
            self._request.block_variants,
            len(samples.sample_ids),
        )
        counts[KEPT] = settings.n_variants
        self._lay_out(settings, contigs, lengths)
        self._write(settings)
        self._finish(counts)
        return self._resumed

    def _read(self) -> list[PartSummary]:
        request = self._request
        settings = ReadSettings(
            request.sources,
            self._folders,
            request.samples.rows,
            request.samples.sample_sex,
            request.regions,
            request.any_contig,
            request.min_allele_count,
            request.max_allele_count,
            request.build,
            request.block_variants,
        )
        done: dict[tuple[int, int], PartSummary] = {}
        waiting = []
        for index, source in enumerate(request.sources):
            for task in read_tasks(source, index, request.task_variants, request.regions):
                summary = load_summary(self._folders[index], index, task.number)
                if summary is None:
                    waiting.append(task)
                else:
                    done[index, task.number] = summary
        resumed, total = len(done), len(done) + len(waiting)
        self._resumed += resumed
        variants = sum(summary.n_variants for summary in done.values())
        self._tell(IngestProgress("read", resumed, total, resumed, variants))
        memory = read_memory(max(len(header.sample_ids) for header in request.headers))
        for task, summary in self._executor.run(read_part, settings, waiting, memory_bytes=memory):
            done[task.source, task.number] = summary
            variants += summary.n_variants
            self._tell(IngestProgress("read", len(done), total, resumed, variants))
        return [done[place] for place in sorted(done)]

    def _order(self, segments: SegmentTable, contigs: tuple[str, ...], counts: Counter[str]) -> Spans:
        request = self._request
        tasks = order_tasks(segments)
        settings = OrderSettings(segments, self._folders, contigs, request.on_duplicate)
        groups: dict[OrderTask, OrderedGroup] = {}
        # Most orders are settled faster than workers start.
        few = len(tasks) <= FEW_ORDER_TASKS
        results = ((task, order_group(settings, task)) for task in tasks)
        for task, group in results if few else self._assembler.run(order_group, settings, tasks):
            groups[task] = group
            self._tell(IngestProgress("order", len(groups), len(tasks), 0, 0))
        in_order = [groups[task] for task in tasks]
        if request.on_duplicate == "error":
            refuse_duplicates(in_order, request.headers)
        duplicates = sum(group.n_duplicates for group in in_order)
        if duplicates:
            reason = DUPLICATES_LEFT_OUT if request.on_duplicate == "first" else DUPLICATES_KEPT
            counts[reason] = duplicates
        return join_spans(segments, tasks, in_order)

    def _lay_out(self, settings: AssemblySettings, contigs: tuple[str, ...], lengths: tuple[int, ...]) -> None:
        if self._store.exists():
            return
        request, layout = self._request, self._partial / "layout"
        create_store(
            layout,
            n_variants=settings.n_variants,
            sample_ids=request.samples.sample_ids,
            sample_sex=request.samples.sample_sex,
            contigs=contigs,
            contig_lengths=lengths,
            block_variants=request.block_variants,
            attributes={"reference_build": request.build},
        )
        layout.rename(self._store)

    def _write(self, settings: AssemblySettings) -> None:
        tasks, resumed = assembly_tasks(settings)
        self._resumed += resumed
        total, done, variants = resumed + len(tasks), resumed, 0
        self._tell(IngestProgress("write", done, total, resumed, variants))
        # About four times the encoded block: its segments, what is decoded of them, and the block.
        memory = settings.block_variants * len(self._request.samples.sample_ids)
        for _, written in self._assembler.run(assemble, settings, tasks, memory_bytes=memory):
            done += 1
            variants += written
            self._tell(IngestProgress("write", done, total, resumed, variants))

    def _finish(self, counts: Counter[str]) -> None:
        request = self._request
        sweep(self._store)
        shutil.rmtree(self._store / BLOCK_CHECKSUMS, ignore_errors=True)  # of a finish that was interrupted
        write_block_checksums(self._store, open_store(self._store).n_blocks)
        notes = [f"{Path(header.path).name}: {note}" for header in request.headers for note in header.notes]
        if request.regions:
            notes.append("of files with an index, only what lies in the regions was read and counted")
        zarr.open_group(self._store, mode="r+").attrs.update(
            {
                "software": {"name": "allscan", "version": __version__},
                "sources": [describe_source(header) for header in request.headers],
                "parameters": {**request.reading, "on_duplicate": request.on_duplicate},
                "notes": [*notes, *request.samples.notes, *self._notes],
                "variant_counts": dict(counts),
                "sample_counts": request.samples.counts,
                "ingest_fingerprint": request.key,
                "content_checksum": content_checksum(self._store),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        publish(self._store, self._out, self._partial, request.key)
