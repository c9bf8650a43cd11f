"""The scan: null models once, then every task through the executor, each committed atomically."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from allscan import errors
from allscan.engine.arrays import read_group_attributes
from allscan.engine.association_tests import find_test
from allscan.engine.chromosomes import PloidyClass
from allscan.engine.hits import HIT_PARTS, compact_hits, write_hits
from allscan.engine.ploidy import ClassNull, fit_class_null, store_classes
from allscan.engine.results import CUBE, ResultsCube, create_cube, write_block
from allscan.engine.scoring import ScanShared, score_rows
from allscan.engine.store import write_atomically
from allscan.errors import JobChangedError, OutputError
from allscan.kernels.association import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from allscan.engine.design import Design
    from allscan.engine.plan import ScanPlan, ScanSpec, ScanTask
    from allscan.engine.store import GenotypeStore
    from allscan.kernels.association import AssociationTest, TraitNote

COMMITS = "commits"

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


class TaskRunner(Protocol):
    """What the scan asks of an executor (see ``allscan.cluster.executor.Executor``)."""

    def run(self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Yield ``(task, function(shared, task))`` as tasks finish."""
        ...


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan is."""

    tasks_done: int  # resumed ones among them
    tasks_total: int
    tasks_resumed: int
    variants_done: int  # variants × strata × trait batches
    variants_total: int


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


@dataclass(frozen=True)
class TaskReport:
    """What a task says of itself; its commit file holds the same."""

    status_counts: dict[str, int]
    variants: int
    hidden_heterozygotes: int
    hits: int


def run_task(shared: ScanShared, task: ScanTask) -> TaskReport:
    """Compute one task, write its blocks and hits, and commit it.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written.
    """
    rows = shared.plan.run_rows(task.index)
    result = score_rows(shared, rows)
    try:
        write_block(shared.output / CUBE, shared.plan, task, result.columns)
        hits = write_hits(shared.output, shared.plan, task, result.columns, shared.spec.hits_neg_log10_p)
        counts = np.bincount(result.columns["status"].ravel())
        report = TaskReport(
            {Status(code).name.lower(): int(count) for code, count in enumerate(counts) if count},
            len(rows),
            result.hidden,
            hits,
        )
        commit = {"digest": shared.plan.digest, **report.__dict__}
        write_atomically(shared.output / COMMITS / f"{task.name}.json", json.dumps(commit).encode())
    except OSError as error:
        raise output_error(error, shared.output) from error
    return report


def output_error(error: OSError, output: Path) -> OutputError:
    """Say what a failed write means."""
    return errors.output_error(
        error,
        output,
        again="run the same command again: finished blocks are kept",
        elsewhere="check the folder and its rights",
    )


def _committed(output: Path, plan: ScanPlan) -> dict[str, TaskReport]:
    """Reports of the tasks that are finished."""
    reports = {}
    for path in (output / COMMITS).glob("s*.json"):
        commit = json.loads(path.read_text())
        if commit.pop("digest") == plan.digest:
            reports[path.stem] = TaskReport(**commit)
    return reports


def prepare_output(output: Path, plan: ScanPlan, store: GenotypeStore, design: Design, spec: ScanSpec) -> None:
    """Create the results cube, or accept the one of the same scan.

    Raises
    ------
    JobChangedError
        If the folder holds blocks of another scan.
    OutputError
        If the folder cannot be written.
    """
    cube = output / CUBE
    try:
        output.mkdir(parents=True, exist_ok=True)
        if cube.exists():
            try:
                digest = read_group_attributes(cube).get("digest")
            except (OSError, ValueError):
                digest = None
            if digest == plan.digest:
                return
            if digest is not None:
                raise JobChangedError(
                    "the output folder holds results of other inputs or settings",
                    where=str(output),
                    fix="give another output folder, or delete this one",
                )
            shutil.rmtree(cube)  # its creation was interrupted: nothing was committed
        shutil.rmtree(output / COMMITS, ignore_errors=True)
        shutil.rmtree(output / HIT_PARTS, ignore_errors=True)
        (output / COMMITS).mkdir()
        (output / HIT_PARTS).mkdir()
        create_cube(cube, plan, store, design, spec)
    except OSError as error:
        raise output_error(error, output) from error


def _batch_nulls(
    test: AssociationTest,
    store: GenotypeStore,
    design: Design,
    spec: ScanSpec,
    stratum: int,
    traits: slice,
    kinds: Iterable[PloidyClass],
) -> tuple[dict[int, ClassNull | None], list[TraitNote]]:
    nulls: dict[int, ClassNull | None] = {}
    notes: list[TraitNote] = []
    for kind in kinds:
        nulls[int(kind)], of_class = fit_class_null(kind, test, store, design, spec, stratum, traits)
        notes += of_class
    return nulls, notes


def run_scan(
    plan: ScanPlan,
    store: GenotypeStore,
    design: Design,
    spec: ScanSpec,
    executor: TaskRunner,
    output: Path,
    on_progress: Callable[[ScanProgress], None] | None = None,
) -> ScanSummary:
    """Run a planned scan into ``output``; tasks that are committed there already are not run again.

    Raises
    ------
    JobChangedError
        If ``output`` holds blocks of another scan.
    OutputError
        If the disk is full or the folder cannot be written.
    CorruptChunkError
        If a chunk of the store is damaged.
    """
    prepare_output(output, plan, store, design, spec)
    done = _committed(output, plan)
    resumed = len(done)
    test = find_test(spec.test)
    rows = np.arange(store.n_variants) if plan.rows is None else plan.rows
    kinds = [PloidyClass(k) for k in np.unique(store_classes(store, rows))]
    repeats = len(plan.strata) * plan.n_batches
    notes: list[tuple[str, str, str]] = []

    def tell() -> None:
        if on_progress:
            variants = sum(report.variants for report in done.values())
            on_progress(ScanProgress(len(done), plan.n_tasks, resumed, variants, plan.n_variants * repeats))

    tell()
    for stratum, stratum_name in enumerate(plan.strata):
        for batch in range(plan.n_batches):
            traits = plan.batch_traits(batch)
            names = design.trait_names[traits]
            nulls, of_batch = _batch_nulls(test, store, design, spec, stratum, traits, kinds)
            notes += [(names[note.trait], stratum_name, note.message) for note in of_batch]
            tasks = [task for task in plan.tasks(stratum, batch) if task.name not in done]
            shared = ScanShared(store, plan, spec, nulls, output, plan.strata, names)
            for task, report in executor.run(run_task, shared, tasks):
                done[task.name] = report
                tell()
    try:
        parts = [task.name for task in _all_tasks(plan) if done[task.name].hits]
        n_hits = compact_hits(output, ResultsCube(output), parts)
    except OSError as error:
        raise output_error(error, output) from error
    return _summary(plan, done, notes, n_hits, resumed)


def _all_tasks(plan: ScanPlan) -> Iterator[ScanTask]:
    for stratum in range(len(plan.strata)):
        for batch in range(plan.n_batches):
            yield from plan.tasks(stratum, batch)


def _summary(
    plan: ScanPlan,
    done: dict[str, TaskReport],
    notes: list[tuple[str, str, str]],
    n_hits: int,
    resumed: int,
) -> ScanSummary:
    status: Counter[str] = Counter()
    hidden = 0
    for task in _all_tasks(plan):
        status.update(done[task.name].status_counts)
        hidden += done[task.name].hidden_heterozygotes if task.batch == 0 else 0
    accounting = {"variants tested": plan.n_variants}
    if hidden:
        accounting["heterozygous calls of males on X or Y, set to missing"] = hidden
    return ScanSummary(
        n_variants=plan.n_variants,
        n_tests=plan.n_variants * plan.n_traits * len(plan.strata),
        status_counts={name: status[name] for name in sorted(status)},
        variant_accounting=accounting,
        trait_notes=tuple(notes),
        n_hits=n_hits,
        tasks_resumed=resumed,
    )
