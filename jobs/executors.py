"""Executors as job files and the command line name them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.jobs.machine import available_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from allscan.cluster.executor import Executor
    from allscan.cluster.ray_executor import RayExecutor
    from allscan.engine.plan import ScanPlan
    from allscan.jobs.predictor_scan import PredictorPlan
    from allscan.jobs.runtime_spec import RuntimeSection

ExecutorName = Literal["embedded", "ray"]

SMALL_INPUT = 4 << 20
"""Bytes of genotype files that one worker reads sooner than two processes start (about a second each)."""


@contextmanager
def scan_executor(runtime: RuntimeSection, plan: ScanPlan | PredictorPlan) -> Iterator[Executor]:
    """What runs the tasks of a scan.

    Raises
    ------
    ClusterError
        The cluster cannot be reached.
    """
    if runtime.executor == "embedded":
        yield EmbeddedExecutor(plan.workers, "threads")
        return
    from allscan.cluster.ray_executor import RayExecutor

    with RayExecutor(
        runtime.address or "auto", workers=runtime.workers, shared_bytes=plan.shared_memory_bytes
    ) as executor:
        yield executor


class FittingExecutor:
    """Runs tasks in threads of this machine, as many at a time as fit in memory.

    For work in stages whose tasks take more and less: each call says what one takes.

    Parameters
    ----------
    workers
        Tasks at the same time, at most.
    memory_bytes
        What all tasks together may take.
    """

    name = "embedded"

    def __init__(self, workers: int, memory_bytes: int) -> None:
        self.workers = workers
        self._memory = memory_bytes

    def run(
        self, function: Callable[[Any, Any], Any], shared: Any, tasks: Iterable[Any], *, memory_bytes: int = 0
    ) -> Iterator[tuple[Any, Any]]:
        """As :meth:`allscan.cluster.executor.Executor.run`."""
        fitting = max(1, self._memory // max(1, memory_bytes))
        return EmbeddedExecutor(min(self.workers, fitting)).run(function, shared, tasks, memory_bytes=memory_bytes)


@contextmanager
def stages_executor(runtime: RuntimeSection, memory_bytes: int) -> Iterator[FittingExecutor | RayExecutor]:
    """What runs the tasks of work in stages that are not planned beforehand.

    Parameters
    ----------
    memory_bytes
        What tasks of this machine may take together; a cluster is told what each task takes.

    Raises
    ------
    ClusterError
        The cluster cannot be reached.
    """
    if runtime.executor == "embedded":
        yield FittingExecutor(runtime.workers or available_cpus(), memory_bytes)
        return
    from allscan.cluster.ray_executor import RayExecutor

    with RayExecutor(runtime.address or "auto", workers=runtime.workers, shared_bytes=memory_bytes) as executor:
        yield executor


class IngestExecutors(NamedTuple):
    """What runs the two kinds of tasks of an ingest."""

    reader: Executor
    assembler: Executor


@contextmanager
def ingest_executors(
    name: ExecutorName, address: str | None, workers: int | None, files: Sequence[str | Path]
) -> Iterator[IngestExecutors]:
    """What runs the tasks of an ingest.

    Parameters
    ----------
    name
        ``"embedded"`` or ``"ray"``.
    address
        Of the Ray cluster; None: ``"auto"``.
    workers
        Tasks at the same time; None: one per CPU of this machine, or the whole cluster.
    files
        What is read.

    Raises
    ------
    ClusterError
        The cluster cannot be reached.
    """
    if name == "ray":
        from allscan.cluster.ray_executor import RayExecutor

        with RayExecutor(address or "auto", workers=workers) as executor:
            yield IngestExecutors(executor, executor)
        return
    workers = workers if workers is not None else available_cpus()
    # Readers spend their time in Python or hold the interpreter lock: one process each. A single worker
    # needs no process of its own, and a small file is read before one has started.
    alone = workers == 1 or _bytes(files) < SMALL_INPUT
    reader = EmbeddedExecutor(1, "threads") if alone else EmbeddedExecutor(workers, "processes")
    yield IngestExecutors(reader, EmbeddedExecutor(workers, "threads"))


def _bytes(files: Sequence[str | Path]) -> int:
    """Size of the files that are files; a folder (VCF Zarr) counts as large."""
    return sum(Path(file).stat().st_size if Path(file).is_file() else SMALL_INPUT for file in files)
