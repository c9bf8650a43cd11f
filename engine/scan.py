"""The scan: null models once, then every task through the executor, each committed atomically."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from allscan import errors
from allscan.engine.arrays import read_group_attributes
from allscan.engine.association_tests import find_test
from allscan.engine.columns import cube_columns
from allscan.engine.hits import HIT_PARTS, compact_hits, write_hits
from allscan.engine.manifest import MANIFEST, changes
from allscan.engine.plan import ScanTask
from allscan.engine.ploidy import CLASSES, ClassNull, fit_class_null, offset_chromosomes
from allscan.engine.results import CUBE, ResultsCube, create_cube, write_block
from allscan.engine.reuse import (
    COMMITS,
    Earlier,
    forget_previous,
    has_previous,
    is_being_set_aside,
    read_commits,
    read_manifest,
    set_aside,
)
from allscan.engine.scoring import ScanShared, score_rows
from allscan.engine.tally import Tally, TaskReport
from allscan.errors import JobChangedError, OutputError
from allscan.kernels.association import Status
from allscan.storage import remove_tree, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.plan import ScanPlan, ScanSpec
    from allscan.engine.store import GenotypeStore
    from allscan.kernels.association import TraitNote
    from allscan.storage import Place

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


class TaskRunner(Protocol):
    """What the scan asks of an executor (see ``allscan.cluster.executor.Executor``)."""

    def run(
        self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T], *, memory_bytes: int = 0
    ) -> Iterator[tuple[T, R]]:
        """Yield ``(task, function(shared, task))`` as tasks finish; ``memory_bytes`` is what one of them takes."""
        ...


class Stage:
    """What a scan is at."""

    NULL_MODELS = "null models"
    SCAN = "scan"
    HITS = "hits"


@dataclass(frozen=True)
class FinishedTask:
    """A task that has just been committed."""

    name: str
    seconds: float  # on its worker
    node: str  # name of the machine
    variants: int
    hits: int


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan is."""

    tasks_done: int  # resumed ones among them
    tasks_total: int
    tasks_resumed: int
    variants_done: int  # variants × strata × trait batches
    variants_total: int
    stage: str = Stage.SCAN
    task: FinishedTask | None = None  # the one that this progress comes from


@dataclass(frozen=True)
class ScanSummary:
    """What a scan did."""

    n_variants: int
    n_tests: int  # variant × trait × stratum
    status_counts: dict[str, int]
    variant_accounting: dict[str, int]  # reason: variants, or male heterozygous calls
    trait_notes: tuple[tuple[str, str, str], ...]  # (trait, stratum, message)
    n_hits: int
    tasks_resumed: int
    results_kept: int  # taken from an earlier scan in the same folder


@dataclass(frozen=True)
class TimedReport:
    """What a task says of itself, and where and for how long it ran."""

    report: TaskReport
    seconds: float
    node: str


def run_timed_task(shared: ScanShared, task: ScanTask) -> TimedReport:
    """Run a task, timed. Times and places stay out of its commit, whose bytes depend on the data alone."""
    began = time.perf_counter()
    report = run_task(shared, task)
    return TimedReport(report, time.perf_counter() - began, socket.gethostname())


def run_task(shared: ScanShared, task: ScanTask) -> TaskReport:
    """Compute one task, write its blocks and hits, and commit it.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written.
    """
    plan, output = shared.plan, shared.output
    columns, hidden = _task_columns(shared, task)
    try:
        write_block(output / CUBE, plan, task, columns)
        hits = write_hits(output, plan, task, columns, shared.spec.hits_neg_log10_p)
        counts = np.bincount(columns["status"].ravel())
        statuses = {Status(code).name.lower(): int(count) for code, count in enumerate(counts) if count}
        variants = columns["status"].shape[1]
        report = TaskReport(statuses, variants, hidden, hits, variants * len(shared.kept))
        commit = {"digest": plan.made_of.of_task(task), **report.__dict__}
        write_atomically(output / COMMITS / f"{task.name}.json", json.dumps(commit).encode())
    except OSError as error:
        raise output_error(error, output) from error
    return report


def _task_columns(shared: ScanShared, task: ScanTask) -> tuple[dict[str, NDArray[Any]], int]:
    """Every column of a task, (traits of the batch, variants), and the heterozygous calls that were hidden."""
    rows = shared.plan.run_rows(task.index)
    if shared.earlier is None or not shared.kept:
        result = score_rows(shared, rows)
        return result.columns, result.hidden
    n_traits = len(shared.kept) + len(shared.traits)
    columns: dict[str, NDArray[Any]] = {
        column.name: np.empty((n_traits, len(rows)), column.dtype) for column in cube_columns(shared.spec)
    }
    hidden = shared.earlier.take(task, shared.kept, columns)
    if shared.traits:
        result = score_rows(shared, rows)
        computed = [trait for trait in range(n_traits) if trait not in shared.kept]
        for name, values in result.columns.items():
            columns[name][computed] = values
        hidden = result.hidden
    return columns, hidden


def output_error(error: OSError, output: Place) -> OutputError:
    """Say what a failed write means."""
    return errors.output_error(
        error,
        output,
        again="run the same command again: finished blocks are kept",
        elsewhere="check the folder and its rights",
    )


def prepare_output(
    output: Place, plan: ScanPlan, store: GenotypeStore, design: Design, spec: ScanSpec, *, update: bool = False
) -> Earlier | None:
    """Create the results cube, or accept the one of the same scan.

    Parameters
    ----------
    update
        Whether results of another scan are set aside, and those that still hold are taken over.

    Returns
    -------
    Earlier results to take from, if there are any.

    Raises
    ------
    JobChangedError
        If the folder holds results of another scan, and ``update`` is not set.
    OutputError
        If the folder cannot be written.
    """
    cube = output / CUBE
    try:
        output.mkdir(parents=True, exist_ok=True)
        if is_being_set_aside(output):
            set_aside(output)
        before = read_manifest(output)
        if before is not None and before.digest != plan.made_of.digest:
            if not update:
                raise JobChangedError(
                    "the output folder holds results of other inputs or settings: "
                    + "; ".join(changes(before, plan.made_of)),
                    where=str(output),
                    fix="give another output folder, or `--update` to keep the results that still hold",
                )
            set_aside(output)
        if _cube_digest(cube) != plan.made_of.digest:
            # Its creation was interrupted, or there is none: nothing was committed.
            for folder in (cube, output / COMMITS, output / HIT_PARTS):
                remove_tree(folder)
            (output / COMMITS).mkdir()
            (output / HIT_PARTS).mkdir()
            write_atomically(output / MANIFEST, plan.made_of.to_json().encode())
            create_cube(cube, plan, store, design, spec)
    except OSError as error:
        raise output_error(error, output) from error
    return Earlier(output, plan.made_of) if has_previous(output) else None


def _cube_digest(cube: Place) -> str | None:
    """Which scan a cube is of; None where there is none, or its creation was interrupted."""
    try:
        digest = read_group_attributes(cube).get("digest")
    except (OSError, ValueError):
        return None
    return None if digest is None else str(digest)


@dataclass
class _BatchNulls:
    """Null models of a stratum's trait batch: those that a group of tasks needs, made when it comes to them."""

    store: GenotypeStore
    design: Design
    spec: ScanSpec  # of the batch's kind of traits
    stratum: int
    traits: NDArray[np.int64]  # indices in the design
    held: dict[int, ClassNull | None] = field(default_factory=dict)
    notes: dict[TraitNote, None] = field(default_factory=dict)  # each once, in order
    classes: set[int] = field(default_factory=set)  # PloidyClass of those that were made

    def hold(self, codes: Iterable[int]) -> dict[int, ClassNull | None]:
        """Make the null models of some variants (codes of ``null_codes``), and forget the others."""
        from threadpoolctl import threadpool_limits

        test = find_test(self.spec.test)
        self.held = {code: self.held[code] for code in codes if code in self.held}
        for code in codes:
            if code in self.held:
                continue
            # With several threads of BLAS, the last digits follow the number of CPUs (and small products take longer).
            with threadpool_limits(limits=1, user_api="blas"):
                made = fit_class_null(code, test, self.store, self.design, self.spec, self.stratum, self.traits)
            self.held[code], notes = made
            # Remarks differ in digits from chromosome to chromosome: those of the first stand for all of its class.
            again = code % CLASSES in self.classes
            self.notes.update(dict.fromkeys(note for note in notes if not again or note.status != Status.OK))
            self.classes.add(code % CLASSES)
        return self.held

    def note(self, codes: Iterable[int]) -> None:
        """Find out what is to be noted, where all tasks were done before: once for each chromosome class."""
        for code in codes:
            if code % CLASSES not in self.classes:
                self.hold((code,))


def run_scan(
    plan: ScanPlan,
    store: GenotypeStore,
    design: Design,
    spec: ScanSpec,
    executor: TaskRunner,
    output: Place,
    on_progress: Callable[[ScanProgress], None] | None = None,
    *,
    update: bool = False,
) -> ScanSummary:
    """Run a planned scan into ``output``; tasks that are committed there already are not run again.

    Parameters
    ----------
    update
        Where ``output`` holds results of another scan, compute only what they do not hold.

    Raises
    ------
    JobChangedError
        If ``output`` holds blocks of another scan.
    OutputError
        If the disk is full or the folder cannot be written.
    CorruptChunkError
        If a chunk of the store is damaged.
    """
    earlier = prepare_output(output, plan, store, design, spec, update=update)
    tally = Tally(plan)
    for name, commit in read_commits(output, plan.made_of).items():
        tally.add(ScanTask.of_name(name), TaskReport(**commit))
    resumed = tally.tasks
    chromosomes = offset_chromosomes(design)
    total = plan.n_variants * len(plan.strata) * plan.n_batches
    notes: list[tuple[str, str, str]] = []

    def tell(stage: str, task: FinishedTask | None = None) -> None:
        if on_progress:
            on_progress(ScanProgress(tally.tasks, plan.n_tasks, resumed, tally.variants, total, stage, task))

    def run_tasks(nulls: _BatchNulls, codes: tuple[int, ...], kept: tuple[int, ...], tasks: Iterable[ScanTask]) -> None:
        if kept:
            nulls.held = {}
            nulls = replace(nulls, traits=np.delete(nulls.traits, kept), held={}, notes={}, classes=set())
        computed = tuple(design.trait_names[trait] for trait in nulls.traits)
        tell(Stage.NULL_MODELS)
        held = nulls.hold(codes) if computed else {}
        tell(Stage.SCAN)
        shared = ScanShared(store, plan, nulls.spec, held, chromosomes, output, plan.strata, computed, kept, earlier)
        for task, timed in executor.run(run_timed_task, shared, tasks, memory_bytes=plan.task_memory_bytes):
            report = timed.report
            tally.add(task, report)
            tell(Stage.SCAN, FinishedTask(task.name, timed.seconds, timed.node, report.variants, report.hits))

    for stratum, stratum_name in enumerate(plan.strata):
        for batch in range(plan.n_batches):
            of_batch = plan.batch(batch)
            nulls = _BatchNulls(store, design, spec.of_kind(of_batch.part.kind), stratum, of_batch.traits)
            for group in plan.groups:
                if tally.is_done(stratum, batch, group.runs):
                    nulls.note(group.codes)
                    continue
                waiting = tally.waiting(stratum, batch, group.runs)
                for kept, tasks in _by_kept(waiting, earlier, len(nulls.traits)).items():
                    if tasks:
                        run_tasks(nulls, group.codes, kept, tasks)
                    else:
                        nulls.note(group.codes)
            notes += [(design.trait_names[nulls.traits[n.trait]], stratum_name, n.message) for n in nulls.notes]
    tell(Stage.HITS)
    try:
        n_hits = compact_hits(output, ResultsCube(output), tally.with_hits())
        forget_previous(output)
    except OSError as error:
        raise output_error(error, output) from error
    accounting = {"variants tested": plan.n_variants}
    if tally.hidden_heterozygotes:
        accounting["heterozygous calls of males on X or Y, set to missing"] = tally.hidden_heterozygotes
    return ScanSummary(
        n_variants=plan.n_variants,
        n_tests=plan.n_variants * plan.n_traits * len(plan.strata),
        status_counts=tally.status_counts,
        variant_accounting=accounting,
        trait_notes=tuple(notes),
        n_hits=n_hits,
        tasks_resumed=resumed,
        results_kept=tally.kept,
    )


def _by_kept(
    tasks: Iterator[ScanTask], earlier: Earlier | None, n_traits: int
) -> dict[tuple[int, ...], Iterable[ScanTask]]:
    """Tasks of a batch by the traits whose results need not be computed; first those that compute all."""
    if earlier is None:
        return {(): tasks}
    groups: dict[tuple[int, ...], list[ScanTask]] = {(): []}
    for task in tasks:
        groups.setdefault(earlier.kept(task, n_traits), []).append(task)
    return dict(groups)
