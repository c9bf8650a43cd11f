"""The Ray executor: the same tasks on a cluster whose workers and nodes come and go."""

from __future__ import annotations

import uuid
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self, TypeVar

from allscan.cluster.executor import Activity
from allscan.cluster.ledger import Ledger, Patience
from allscan.cluster.ray_cluster import connect, import_ray
from allscan.cluster.ray_metrics import RunMetrics
from allscan.cluster.ray_run import WORKER_BYTES, Run, Session
from allscan.cluster.ray_worker import make_parcel
from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

LEAVE_SECONDS = 5.0
"""How long leaving a cluster takes at most where a call of Ray hangs, as one about a node that does not answer."""

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")


class RayExecutor:
    """Runs tasks on a Ray cluster.

    Parameters
    ----------
    address
        ``"local"`` starts a private cluster on this machine, which nobody else can reach and which ends with the
        executor; ``"auto"`` joins the one of ``RAY_ADDRESS`` or of this machine; ``"HOST:PORT"`` and
        ``"ray://HOST:PORT"`` join that one.
    workers
        How many tasks run at the same time, at most; None: as many as the cluster has room for.
    shared_bytes
        What tasks will share at a time, for the size of a private cluster's object store.
    patience
        When tasks are given out again, and when the driver gives up.

    Raises
    ------
    InputError
        If ``workers`` is below 1.

    Notes
    -----
    Joins the cluster when it first runs tasks, and leaves it in :meth:`close` or at the end of a ``with`` block.

    The driver decides what is tried again, not Ray: a task whose node died is given out again however often, one whose
    worker died a few times, one that ran out of memory with twice as much set aside, and one that takes long a second
    time on another node. The first answer counts. Tasks are given out in their order; no two of them read the same part
    of a store, so there is nothing to be gained from sending a task where its neighbour was.

    Several drivers share a cluster evenly (:mod:`allscan.cluster.ray_board`).
    """

    def __init__(
        self,
        address: str = "auto",
        *,
        workers: int | None = None,
        shared_bytes: int = 0,
        patience: Patience | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"{workers} workers cannot do any work", fix="give at least 1 worker")
        driver = uuid.uuid4().hex[:12]
        self._address = address
        self._shared_bytes = shared_bytes
        self._session = Session(driver, workers, patience or Patience(), RunMetrics(driver))
        self._open = ExitStack()
        self._run: Run | None = None
        self._retried = self._duplicated = 0

    def __repr__(self) -> str:
        return f"RayExecutor({self._address!r}, workers={self._session.workers})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """``"ray"``."""
        return "ray"

    @property
    def workers(self) -> int:
        """How many tasks run at the same time, as the cluster is now; joins it if need be."""
        self._join()
        slots = self._session.nodes.slots(WORKER_BYTES)
        return slots if self._session.workers is None else min(self._session.workers, slots)

    def activity(self) -> Activity:
        """Tasks that workers have begun, and what has befallen tasks since the executor was made."""
        run = self._run
        running = run.running() if run else ()
        retried, duplicated = (run.ledger.retried, run.ledger.duplicated) if run else (0, 0)
        return Activity(running, self._retried + retried, self._duplicated + duplicated, self._session.nodes.kinds())

    def close(self) -> None:
        """Leave the cluster; one that was started is ended."""
        session = self._session
        connected, session.connection = session.connection, None
        session.threads.end(LEAVE_SECONDS)
        if connected and session.board is not None and not session.nodes.is_silent:
            self._leave_board()
        session.board = None
        self._open.close()

    def run(
        self,
        function: Callable[[Shared, Task], Result],
        shared: Shared,
        tasks: Iterable[Task],
        *,
        memory_bytes: int = 0,
    ) -> Iterator[tuple[Task, Result]]:
        """Yield ``(task, function(shared, task))`` in order of completion.

        Functions, ``shared``, tasks and results are pickled; the arrays of ``shared`` are used by all workers of a
        node without copies. The exception of a task ends the run: tasks that wait are dropped, those that run are
        waited for.

        Raises
        ------
        ClusterError
            The cluster cannot be reached, was lost, or has no room for a task.
        WorkerDiedError
            The worker of one task died several times, or the task needs more memory than any node has.
        """
        parcel = make_parcel(function, shared)
        self._shared_bytes = max(self._shared_bytes, parcel.size)
        self._join()
        run = Run(self._session, parcel, Ledger(tasks, memory_bytes, self._session.patience))
        self._run = run
        try:
            yield from run.results()
        finally:
            self._run = None
            self._retried += run.ledger.retried
            self._duplicated += run.ledger.duplicated

    def _join(self) -> None:
        if self._session.connection is None:
            self._session.connection = self._open.enter_context(
                connect(self._address, workers=self._session.workers, shared_bytes=self._shared_bytes)
            )
            self._session.nodes.start(self._session.threads)
            if not self._session.connection.is_client:
                self._session.metrics.start()

    def _leave_board(self) -> None:
        ray = import_ray()
        with suppress(ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
            if ray.get(self._session.board.leave.remote(self._session.driver), timeout=2) == 0:
                ray.kill(self._session.board)
