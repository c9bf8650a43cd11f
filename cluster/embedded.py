"""The embedded executor: threads or processes of this machine, with nothing to set up."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import socket
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from allscan.cluster.allocator import keep_freed_memory
from allscan.cluster.executor import Activity, RunningTask
from allscan.cluster.threads import limit_libraries_to_come, limit_numba_threads, one_thread
from allscan.errors import InputError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

IN_FLIGHT_PER_WORKER = 2
"""One task runs and one waits, so that a worker never idles and ``tasks`` is never read far ahead."""


class EmbeddedExecutor:
    """Runs tasks on this machine.

    Parameters
    ----------
    workers
        How many tasks run at the same time.
    kind
        ``"threads"`` share memory and start at once: for tasks that spend their time in compiled code
        that releases the interpreter lock. ``"processes"`` run Python code in parallel: functions,
        ``shared``, tasks and results are pickled, and functions must live in an importable module.
        One thread is no thread: with one worker, tasks run in the caller.

    Raises
    ------
    InputError
        If ``workers`` is below 1 or ``kind`` is not one of the two.

    Notes
    -----
    A task has one BLAS thread and one numba thread: parallelism is between tasks. A worker process
    ignores Ctrl-C (its parent stops it) and ends by itself when its parent is gone, however it went.
    """

    def __init__(self, workers: int, kind: Literal["threads", "processes"] = "threads") -> None:
        if workers < 1:
            raise InputError(f"{workers} workers cannot do any work", fix="give at least 1 worker")
        if kind not in ("threads", "processes"):
            raise InputError(f"{kind!r} is no kind of worker", fix="use 'threads' or 'processes'")
        self._workers = workers
        self._kind = kind
        self._running: dict[object, RunningTask] = {}

    def __repr__(self) -> str:
        return f"EmbeddedExecutor(workers={self._workers}, kind={self._kind!r})"

    @property
    def name(self) -> str:
        """``"embedded"``."""
        return "embedded"

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""
        return self._workers

    @property
    def kind(self) -> str:
        """``"threads"`` or ``"processes"``."""
        return self._kind

    def run(
        self,
        function: Callable[[Shared, Task], Result],
        shared: Shared,
        tasks: Iterable[Task],
        *,
        memory_bytes: int = 0,  # noqa: ARG002 - the interface's; a plan for one machine has bounded the workers by it
    ) -> Iterator[tuple[Task, Result]]:
        """Yield ``(task, function(shared, task))`` in order of completion.

        Closing the iterator early, an exception of a task and Ctrl-C all do the same: tasks that wait
        are dropped, tasks that run are waited for.

        Raises
        ------
        WorkerDiedError
            If a worker process ends without an answer.
        """
        if self._kind == "processes":
            return self._run_processes(function, shared, tasks)
        keep_freed_memory()
        if self._workers == 1:
            return self._run_inline(function, shared, tasks)
        return self._run_threads(function, shared, tasks)

    def activity(self) -> Activity:
        """Tasks that threads have now; which ones processes have, only they know."""
        return Activity(running=tuple(self._running.copy().values()))

    @contextmanager
    def _noted(self, task: Any) -> Iterator[None]:
        key = object()
        self._running[key] = RunningTask(task, time.time(), socket.gethostname())
        try:
            yield
        finally:
            del self._running[key]

    def _run_inline(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Result]]:
        from threadpoolctl import threadpool_limits

        for task in tasks:
            with threadpool_limits(limits=1), self._noted(task):
                result = function(shared, task)
            yield task, result

    def _run_threads(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Result]]:
        def call(task: Task) -> Result:
            limit_numba_threads()
            with self._noted(task):
                return function(shared, task)

        from threadpoolctl import threadpool_limits

        # BLAS threads are a setting of the whole process: set once, restored when the run is over.
        with threadpool_limits(limits=1):
            pool = ThreadPoolExecutor(self._workers, thread_name_prefix="allscan")
            try:
                yield from _drain(pool, call, tasks, IN_FLIGHT_PER_WORKER * self._workers)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _run_processes(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Result]]:
        # Not fork: the parent may hold threads (BLAS, numba, zarr's event loop) that a fork would freeze.
        pool = ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(function, shared),
        )
        try:
            yield from _drain(pool, _call_in_worker, tasks, IN_FLIGHT_PER_WORKER * self._workers)
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                f"a worker process ended without an answer ({error})",
                fix="this is usually want of memory: run again with fewer workers or a smaller memory "
                "limit; finished work is kept. A Python script that starts workers must do so under "
                "`if __name__ == '__main__':`",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _drain(
    pool: ThreadPoolExecutor | ProcessPoolExecutor,
    call: Callable[[Task], Result],
    tasks: Iterable[Task],
    in_flight: int,
) -> Iterator[tuple[Task, Result]]:
    """Keep ``in_flight`` tasks submitted and yield their results as they come."""
    waiting = iter(tasks)
    running: dict[Future[Result], Task] = {}
    finished: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()

    def submit(number: int) -> None:
        for task in islice(waiting, number):
            with _holding_ctrl_c():
                future = pool.submit(call, task)
            running[future] = task
            future.add_done_callback(finished.put)

    submit(in_flight)
    while running:
        future = finished.get()
        task = running.pop(future)
        result = future.result()
        # Refilled before the yield: the workers go on while the caller uses the result.
        submit(1)
        yield task, result


@contextmanager
def _holding_ctrl_c() -> Iterator[None]:
    """Block SIGINT while a worker may be started, which inherits the mask: it could die before it ignores Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: tuple[Callable[[Any, Any], Any], Any] | None = None


def _start_worker(function: Callable[[Any, Any], Any], shared: Any) -> None:
    global _worker
    _worker = (function, shared)
    limit_libraries_to_come()
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True, name="allscan-parent").start()


def _end_with_parent() -> None:
    # A parent that was killed cannot tell its workers, and a worker that waits for its next task would
    # wait for ever: it holds both ends of the pool's pipe.
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _call_in_worker(task: Any) -> Any:
    if _worker is None:
        raise RuntimeError("the worker was not started by EmbeddedExecutor")
    function, shared = _worker
    with one_thread():
        return function(shared, task)
