"""The scan: null models once, then every task through the executor, each committed atomically."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from allscan import errors
from allscan.engine.arrays import read_group_attributes
from allscan.engine.association_tests import find_test
from allscan.engine.hits import HIT_PARTS, compact_hits, write_hits
from allscan.engine.manifest import MANIFEST, changes
from allscan.engine.plan import ScanTask
from allscan.engine.ploidy import CLASSES, ClassNull, all_males, fit_class_null, offset_chromosomes
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
from allscan.engine.scoring import ScanShared, StratumShared, blank_results, score_rows
from allscan.engine.tally import Tally, TaskReport
from allscan.errors import JobChangedError, OutputError
from allscan.kernels.association import Status
from allscan.kernels.narrowing import choose_people
from allscan.storage import remove_tree, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from allscan.engine.design import Strata, Stratum
    from allscan.engine.plan import ScanPlan, ScanSpec
    from allscan.engine.store import GenotypeStore
    from allscan.kernels.association import TraitNote
    from allscan.storage import Place

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")
Kept = tuple[tuple[int, ...], ...]
"""Of each stratum the traits of a batch, counted from its first, that are taken from earlier results."""
NOBODY = "not tested: nobody has a value"


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
    variants_done: int  # variants × trait batches
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
        status = columns["status"]
        statuses = _status_counts(status)
        variants = status.shape[2]
        kept = sum(len(stratum.kept) for stratum in shared.strata)
        report = TaskReport(statuses, variants, hidden, hits, variants * kept)
        commit = {"digest": plan.made_of.of_task(task), **report.__dict__}
        write_atomically(output / COMMITS / f"{task.name}.json", json.dumps(commit).encode())
    except OSError as error:
        raise output_error(error, output) from error
    return report


def _status_counts(status: NDArray[np.uint8]) -> dict[str, int]:
    """How many results have each status, by its name."""
    counts: dict[str, int] = {}
    left = status.size
    for code in Status:  # as bytes: bincount would make large integers of them first
        if left and (count := int(np.count_nonzero(status == code))):
            counts[code.name.lower()] = count
            left -= count
    assert not left, "a status is none of Status"
    return counts


def _task_columns(shared: ScanShared, task: ScanTask) -> tuple[dict[str, NDArray[Any]], int]:
    """Every column of a task, (strata, traits of the batch, variants), and the heterozygous calls that were hidden."""
    rows = shared.plan.run_rows(task.index)
    earlier = shared.earlier
    counted = shared.computes or earlier is None or not earlier.same_males
    result = score_rows(shared, rows) if counted else blank_results(shared, len(rows))
    hidden = result.hidden
    for number, stratum in enumerate(shared.strata):
        if earlier is not None and stratum.kept:
            of_stratum = {name: array[number] for name, array in result.columns.items()}
            then = earlier.take(task, number, stratum.kept, of_stratum)
            hidden = hidden if counted else then
    return result.columns, hidden


def output_error(error: OSError, output: Place) -> OutputError:
    """Say what a failed write means."""
    return errors.output_error(
        error,
        output,
        again="run the same command again: finished blocks are kept",
        elsewhere="check the folder and its rights",
    )


def prepare_output(
    output: Place,
    plan: ScanPlan,
    store: GenotypeStore,
    trait_names: Sequence[str],
    spec: ScanSpec,
    *,
    update: bool = False,
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
            create_cube(cube, plan, store, trait_names, spec)
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

    stratum: Stratum
    spec: ScanSpec  # of the batch's kind of traits
    traits: NDArray[np.int64]  # of the batch, as indices in the design
    chromosomes: tuple[str, ...]  # that have null models of their own
    without: tuple[int, ...] = ()  # traits, counted from the batch's first, whose results are known
    held: dict[int, ClassNull | None] = field(default_factory=dict)
    notes: dict[TraitNote, None] = field(default_factory=dict)  # each once, in order
    classes: set[int] = field(default_factory=set)  # PloidyClass of those that were made

    @cached_property
    def nobody(self) -> NDArray[np.int64]:
        """Traits that nobody of the stratum has, counted from the batch's first."""
        return np.flatnonzero(~self.stratum.design.has_anybody[self.traits])

    @cached_property
    def computed(self) -> NDArray[np.int64]:
        """Traits that null models are made of, counted from the batch's first."""
        return np.setdiff1d(np.arange(len(self.traits)), [*self.nobody, *self.without])

    def hold(self, codes: Iterable[int]) -> dict[int, ClassNull | None]:
        """Make the null models of some variants (codes of ``null_codes``), and forget the others."""
        from threadpoolctl import threadpool_limits

        if not len(self.computed):
            return {}
        test, design = find_test(self.spec.test), self.stratum.design
        self.held = {code: self.held[code] for code in codes if code in self.held}
        for code in codes:
            if code in self.held:
                continue
            # With several threads of BLAS, the last digits follow the number of CPUs (and small products take longer).
            with threadpool_limits(limits=1, user_api="blas"):
                made = fit_class_null(code, test, design, self.spec, self.traits[self.computed], self.chromosomes)
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

    def told(self) -> Iterator[tuple[str, str, str]]:
        """What is to be said: (trait, stratum, message)."""
        name, design = self.stratum
        for trait in self.nobody:
            yield design.trait_names[self.traits[trait]], name, NOBODY
        for note in self.notes:
            yield design.trait_names[self.traits[self.computed[note.trait]]], name, note.message


def _note(of_strata: list[_BatchNulls], codes: Iterable[int]) -> None:
    for nulls in of_strata:
        nulls.note(codes)


def _told(of_strata: list[_BatchNulls]) -> list[tuple[str, str, str]]:
    return [note for nulls in of_strata for note in nulls.told()]


def run_scan(
    plan: ScanPlan,
    store: GenotypeStore,
    strata: Strata,
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
    strata
        Those that the scan was planned with.
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
    earlier = prepare_output(output, plan, store, strata[0].design.trait_names, spec, update=update)
    tally = Tally(plan)
    for name, commit in read_commits(output, plan.made_of).items():
        tally.add(ScanTask.of_name(name), TaskReport(**commit))
    resumed = tally.tasks
    chromosomes = offset_chromosomes(strata)
    males = all_males(strata, store.n_samples)
    people = [choose_people(design.store_rows, store.n_samples) for _, design in strata]
    total = plan.n_variants * plan.n_batches
    notes: list[tuple[str, str, str]] = []

    def tell(stage: str, task: FinishedTask | None = None) -> None:
        if on_progress:
            on_progress(ScanProgress(tally.tasks, plan.n_tasks, resumed, tally.variants, total, stage, task))

    def run_tasks(
        of_strata: list[_BatchNulls], codes: tuple[int, ...], kept: Kept, batch: int, tasks: Iterable[ScanTask]
    ) -> None:
        tell(Stage.NULL_MODELS)
        shared_strata = []
        for nulls, who, kept_here in zip(of_strata, people, kept, strict=True):
            used = nulls
            if kept_here:
                nulls.held = {}
                used = replace(nulls, without=kept_here, held={}, notes={}, classes=set())
            held = used.hold(codes)
            shared_strata.append(StratumShared(who, held, used.computed, used.nobody, kept_here))
        tell(Stage.SCAN)
        of_batch = plan.batch(batch)
        of_kind = spec.of_kind(of_batch.part.kind)
        shared = ScanShared(
            store, plan, of_kind, tuple(shared_strata), males, chromosomes, output, len(of_batch.traits), earlier
        )
        for task, timed in executor.run(run_timed_task, shared, tasks, memory_bytes=plan.task_memory_bytes):
            report = timed.report
            tally.add(task, report)
            tell(Stage.SCAN, FinishedTask(task.name, timed.seconds, timed.node, report.variants, report.hits))

    for batch in range(plan.n_batches):
        of_batch = plan.batch(batch)
        of_kind = spec.of_kind(of_batch.part.kind)
        of_strata = [_BatchNulls(stratum, of_kind, of_batch.traits, chromosomes) for stratum in strata]
        for group in plan.groups:
            if not tally.is_done(batch, group.runs):
                waiting = tally.waiting(batch, group.runs)
                for kept, tasks in _by_kept(waiting, earlier, len(strata), len(of_batch.traits)).items():
                    run_tasks(of_strata, group.codes, kept, batch, tasks)
            _note(of_strata, group.codes)
        notes += _told(of_strata)
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
        trait_notes=tuple(sorted(notes, key=lambda note: plan.strata.index(note[1]))),
        n_hits=n_hits,
        tasks_resumed=resumed,
        results_kept=tally.kept,
    )


def _by_kept(
    tasks: Iterator[ScanTask], earlier: Earlier | None, n_strata: int, n_traits: int
) -> dict[Kept, Iterable[ScanTask]]:
    """Tasks of a batch by the traits whose results need not be computed; first those that compute all."""
    nothing: Kept = ((),) * n_strata
    if earlier is None:
        return {nothing: tasks}
    groups: dict[Kept, list[ScanTask]] = {nothing: []}
    for task in tasks:
        groups.setdefault(earlier.kept(task, n_traits), []).append(task)
    return {kept: some for kept, some in groups.items() if some}
