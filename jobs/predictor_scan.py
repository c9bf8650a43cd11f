"""The scan of columns of a table: tasks of some traits each, committed one by one, gone on with where they stopped."""

from __future__ import annotations

import json
import math
import socket
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.costs import BASE_MEMORY
from allscan.engine.hashing import content_hash
from allscan.engine.manifest import program_digest
from allscan.engine.plan import fitting_workers
from allscan.engine.reuse import COMMITS
from allscan.engine.scan import FinishedTask, ScanProgress, ScanSummary, Stage
from allscan.errors import CorruptChunkError
from allscan.jobs.run_folder import writing
from allscan.kernels.association import Status, has_result
from allscan.kernels.column_tests import ColumnOptions, Columns, fit_trait, make_columns
from allscan.kernels.multiple_testing import bonferroni
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from allscan.cluster.executor import Executor
    from allscan.jobs.predictors import CheckedPredictors
    from allscan.storage import Place

# Layout follows the data alone, never workers or memory: a run resumed on another machine writes the same bytes.
TASK_SECONDS = 2.0  # of one core, about
MOST_TRAITS = 64
"""Of a task."""
SECONDS = {True: 1.1e-7, False: 1.5e-8}
"""Of a pair of a binary trait, and of another, for each person and coefficient: measured."""
LEVEL = 0.05
"""Of what counts as a hit."""
CELL_BYTES = 150
"""Of a pair in a commit and in the table, about."""

NUMBERS = ("n", "cases", "carriers", "beta", "standard_error", "neg_log10_p", "status")


class PredictorTask(NamedTuple):
    """Some traits, each with all predictors."""

    first: int
    stop: int

    @property
    def name(self) -> str:
        """File name of the task's commit."""
        return f"t{self.first:06d}"


@dataclass(frozen=True)
class PredictorPlan:
    """The tasks of a scan of columns and what they will cost."""

    n_predictors: int
    n_traits: int
    n_samples: int
    traits_per_task: int
    task_memory_bytes: int
    shared_memory_bytes: int
    workers: int
    cpu_seconds: float

    @cached_property
    def tasks(self) -> tuple[PredictorTask, ...]:
        """All of them."""
        firsts = range(0, self.n_traits, self.traits_per_task)
        return tuple(PredictorTask(first, min(first + self.traits_per_task, self.n_traits)) for first in firsts)

    @property
    def n_tasks(self) -> int:
        """Tasks in all."""
        return len(self.tasks)

    @property
    def peak_memory_bytes(self) -> int:
        """Planned peak of the process."""
        return self.shared_memory_bytes + self.workers * self.task_memory_bytes

    @property
    def output_bytes(self) -> int:
        """What the results take on the disk, about."""
        return 2 * CELL_BYTES * self.n_predictors * self.n_traits


def plan_predictors(checked: CheckedPredictors, *, workers: int, memory_bytes: int) -> PredictorPlan:
    """Lay out a scan.

    Parameters
    ----------
    checked
        The job.
    workers
        Tasks that may run at the same time; fewer do when memory does not suffice.
    memory_bytes
        What the whole process may use.

    Raises
    ------
    InputError
        Not even one task fits in ``memory_bytes``.
    """
    n, n_predictors = checked.values.shape
    n_traits = len(checked.table.trait_names)
    coefficients = checked.table.covariates.shape[1] + 1
    binary = np.array(checked.binary)
    of_trait = np.where(binary, SECONDS[True], SECONDS[False]) * n_predictors * n * coefficients
    traits = int(min(MOST_TRAITS, max(1.0, TASK_SECONDS / of_trait.mean())))
    task = 8 * n * (coefficients + 10)
    # Traits as read and as aligned; covariates and predictors as they are, and as the tests take them.
    tables = (checked.table.traits, checked.table.covariates, checked.values)
    shared = BASE_MEMORY + 2 * sum(table.nbytes for table in tables)
    workers = fitting_workers(workers, shared, task, memory_bytes)
    return PredictorPlan(n_predictors, n_traits, n, traits, task, shared, workers, float(of_trait.sum()))


@dataclass(frozen=True)
class Shared:
    """What every task needs."""

    columns: Columns
    carriers: NDArray[np.bool_]  # (predictors, samples) who has the larger of two values; nobody of other predictors
    two_valued: NDArray[np.bool_]  # (predictors,)
    traits: NDArray[np.float64]  # (samples, traits)
    binary: tuple[bool, ...]
    same: frozenset[tuple[int, int]]
    n_covariates: int
    options: ColumnOptions
    common: str  # hash of all but the traits
    output: Place

    def digest(self, task: PredictorTask) -> str:
        """Hash of all that a task's results follow from."""
        of_task = slice(task.first, task.stop)
        same = sorted((k, t - task.first) for k, t in self.same if task.first <= t < task.stop)
        rest = json.dumps([self.binary[of_task], same])
        return content_hash(self.common, self.traits[:, of_task], rest)


class TaskDone(NamedTuple):
    """What a task says of itself, and where and for how long it ran."""

    seconds: float
    node: str


def run_task(shared: Shared, task: PredictorTask) -> TaskDone:
    """Compute one task, and commit it.

    Raises
    ------
    OutputError
        The disk is full or the folder cannot be written.
    """
    began = time.perf_counter()
    rows: dict[str, list[Any]] = {name: [] for name in (*NUMBERS, "left_out")}
    for t in range(task.first, task.stop):
        trait = np.ascontiguousarray(shared.traits[:, t])
        cells = fit_trait(
            shared.columns, trait, binary=shared.binary[t], n_covariates=shared.n_covariates, options=shared.options
        )
        for k in range(len(shared.columns.predictors)):
            if (k, t) in shared.same:
                cells.status[k] = Status.NOT_TESTED
                for values in (cells.beta, cells.standard_error, cells.neg_log10_p):
                    values[k] = np.nan
        has = ~np.isnan(trait)
        carriers = (shared.carriers & has).sum(axis=1)
        found = {**cells._asdict(), "carriers": np.where(shared.two_valued, carriers, -1)}
        for name in NUMBERS:
            rows[name] += found[name].tolist()
        rows["left_out"] += [np.flatnonzero(~estimated).tolist() for estimated in cells.estimated]
    for name in ("beta", "standard_error", "neg_log10_p"):
        # JSON has no NaN.
        rows[name] = [value if math.isfinite(value) else None for value in rows[name]]
    text = json.dumps({"digest": shared.digest(task), "rows": rows}, separators=(",", ":"))
    path = shared.output / COMMITS / f"{task.name}.json"
    with writing(path):
        write_atomically(path, text.encode())
    return TaskDone(time.perf_counter() - began, socket.gethostname())


def share(checked: CheckedPredictors, output: Place) -> Shared:
    """What the tasks of a job share."""
    from threadpoolctl import threadpool_limits

    table = checked.table
    # With more threads a product is cut otherwise, and its last digits follow the number of CPUs.
    with threadpool_limits(limits=1, user_api="blas"):
        columns = make_columns(checked.values, table.covariates)
    two_valued = np.array([one.two_valued for one in checked.predictors])
    carriers = np.zeros(columns.predictors.shape, np.bool_)
    for k in np.flatnonzero(two_valued):
        carriers[k] = columns.predictors[k] == np.nanmax(columns.predictors[k])
    options = json.dumps(checked.options._asdict())
    common = content_hash(program_digest(), options, checked.values, table.covariates)
    return Shared(
        columns,
        carriers,
        two_valued,
        table.traits,
        checked.binary,
        checked.same,
        table.covariates.shape[1],
        checked.options,
        common,
        output,
    )


def run_predictors(
    checked: CheckedPredictors,
    plan: PredictorPlan,
    executor: Executor,
    output: Place,
    tell: Callable[[ScanProgress], None],
) -> ScanSummary:
    """Run a planned scan into ``output``; tasks that are committed there already are not run again.

    Parameters
    ----------
    checked, plan
        The job.
    executor
        What runs the tasks.
    output
        The run folder.
    tell
        Called as the scan begins and after every task.

    Raises
    ------
    OutputError
        The disk is full or the folder cannot be written.
    """
    shared = share(checked, output)
    with writing(output):
        (output / COMMITS).mkdir(parents=True, exist_ok=True)
        known = {task.name for task in plan.tasks}
        for path in (output / COMMITS).glob("*.json"):
            # Of a job that had other traits, or another number of them in a task.
            if path.stem not in known:
                path.unlink()
    waiting = [task for task in plan.tasks if not _is_done(shared, task)]
    resumed = done = plan.n_tasks - len(waiting)
    pairs = plan.n_predictors * sum(task.stop - task.first for task in plan.tasks if task not in set(waiting))
    total = plan.n_predictors * plan.n_traits

    def progress(finished: FinishedTask | None = None) -> None:
        tell(ScanProgress(done, plan.n_tasks, resumed, pairs, total, Stage.SCAN, finished))

    progress()
    for task, told in executor.run(run_task, shared, waiting, memory_bytes=plan.task_memory_bytes):
        done += 1
        of_task = plan.n_predictors * (task.stop - task.first)
        pairs += of_task
        progress(FinishedTask(task.name, told.seconds, told.node, of_task, 0))
    cells = read_cells(output, plan.n_predictors, plan.n_traits)
    count = np.bincount(cells.status)
    return ScanSummary(
        n_variants=plan.n_predictors,
        n_tests=total,
        status_counts={Status(code).name.lower(): int(of_code) for code, of_code in enumerate(count) if of_code},
        variant_accounting={},
        trait_notes=tuple(_notes(checked, cells)),
        n_hits=_bonferroni_hits(cells, plan.n_traits),
        tasks_resumed=resumed,
        results_kept=0,
    )


def _is_done(shared: Shared, task: PredictorTask) -> bool:
    try:
        commit = json.loads((shared.output / COMMITS / f"{task.name}.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(commit, dict) and commit.get("digest") == shared.digest(task)


class Cells(NamedTuple):
    """All results, trait by trait and in each of them predictor by predictor: (traits × predictors,) each."""

    n: NDArray[np.int64]
    cases: NDArray[np.int64]
    carriers: NDArray[np.int64]  # -1 where the predictor has more than two values
    beta: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    neg_log10_p: NDArray[np.float64]
    status: NDArray[np.int64]
    left_out: list[list[int]]  # covariates


def read_cells(output: Place, n_predictors: int, n_traits: int) -> Cells:
    """The committed results of a scan whose tasks are all done.

    Raises
    ------
    CorruptChunkError
        A commit cannot be read.
    """
    columns: dict[str, list[Any]] = {name: [] for name in (*NUMBERS, "left_out")}
    path = output / COMMITS
    paths: list[Place] = list(path.glob("*.json"))
    try:
        for path in sorted(paths, key=lambda place: place.name):
            rows = json.loads(path.read_bytes())["rows"]
            for name, values in columns.items():
                values += rows[name]
        if {len(values) for values in columns.values()} != {n_predictors * n_traits}:
            path = output / COMMITS
            raise ValueError("there are not as many as predictors × traits")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptChunkError(
            f"the results of the tasks cannot be read: {error}",
            where=str(path),
            fix="delete what is named and run the job again: it is computed anew",
        ) from error
    count = {name: np.array(columns[name], np.int64) for name in ("n", "cases", "carriers", "status")}
    real = {name: np.array(columns[name], np.float64) for name in ("beta", "standard_error", "neg_log10_p")}
    return Cells(
        count["n"],
        count["cases"],
        count["carriers"],
        real["beta"],
        real["standard_error"],
        real["neg_log10_p"],
        count["status"],
        columns["left_out"],
    )


def _notes(checked: CheckedPredictors, cells: Cells) -> Iterator[tuple[str, str, str]]:
    """Covariates that drop out in the people of one trait, beside those that do for all."""
    names = checked.table.covariate_names
    everywhere = {names.index(name) for name, _ in checked.report.dropped_covariates}
    n_predictors = len(checked.predictors)
    for t, trait in enumerate(checked.table.trait_names):
        of_trait = cells.left_out[t * n_predictors : (t + 1) * n_predictors]
        tested = [k for k in range(n_predictors) if cells.n[t * n_predictors + k]]
        lost = sorted({c for k in tested for c in of_trait[k]} - everywhere)
        if lost:
            left_out = ", ".join(names[c] for c in lost)
            yield trait, "all", f"covariates left out because others determine them: {left_out}"


def _bonferroni_hits(cells: Cells, n_traits: int) -> int:
    """Pairs whose p is at most LEVEL over the tests of their predictor."""
    p = cells.neg_log10_p.reshape(n_traits, -1)
    tested = has_result(cells.status).reshape(p.shape)
    least = [bonferroni(int(count), LEVEL) for count in tested.sum(axis=0)]
    return int((np.where(tested, p, -1.0) >= np.array(least)).sum())
