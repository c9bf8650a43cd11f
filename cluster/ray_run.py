"""One run of tasks on Ray: what is given out, what is heard of it, and what is done about it."""

from __future__ import annotations

import logging
import math
import queue
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from allscan.cluster.executor import RunningTask
from allscan.cluster.ray_board import Beat, find_board
from allscan.cluster.ray_cluster import Connection, import_ray
from allscan.cluster.ray_nodes import NodeWatch
from allscan.cluster.ray_threads import RayThreads
from allscan.cluster.ray_worker import Answer, Assignment, execute
from allscan.errors import AllscanError, ClusterError, size_text

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from allscan.cluster.ledger import Attempt, Entry, Ledger, Patience
    from allscan.cluster.parcel import Parcel
    from allscan.cluster.ray_metrics import RunMetrics

WORKER_BYTES = 400 << 20
"""What a worker's process takes before it has a task: interpreter, libraries, compiled kernels. Rounded up."""

IN_FLIGHT_PER_SLOT = 2
"""One task runs and one waits, so that a worker never idles."""

WAITING = 16
"""At least so many tasks wait where nothing limits them: an autoscaler adds nodes for those that wait."""

TICK_SECONDS = 1.0
"""How often the driver looks for what is late, and tells the board that it is alive."""

SILENT_BEATS = 10
"""Ticks without an answer after which the board is made again."""

SETTLE_SECONDS = 2.0
"""How long a run that has ended waits for tasks that it dropped."""

BOARD_SECONDS = 5.0
"""How long a run waits for the board before it gives out tasks; it takes a second to start."""

logger = logging.getLogger(__name__)


@dataclass
class Session:
    """What the runs of one executor have in common."""

    driver: str  # id
    workers: int | None
    patience: Patience
    metrics: RunMetrics
    nodes: NodeWatch = field(default_factory=NodeWatch)
    threads: RayThreads = field(default_factory=RayThreads)
    connection: Connection | None = None
    board: Any = None


class Run:
    """The tasks of one call of :meth:`~allscan.cluster.ray_executor.RayExecutor.run`.

    Parameters
    ----------
    session
        The connection, which outlives the run.
    parcel
        What every task needs.
    ledger
        The tasks.
    """

    _numbers = count()

    def __init__(self, session: Session, parcel: Parcel, ledger: Ledger) -> None:
        self.ledger = ledger
        self._ray = import_ray()
        self._session = session
        self._patience = session.patience
        self._nodes = session.nodes
        self._metrics = session.metrics
        self._name = f"{session.driver}-{next(self._numbers)}"
        self._parcel = parcel
        self._shared = self._ray.put(parcel)
        # Ray's own retries would be blind to what the driver knows.
        self._execute = self._ray.remote(max_retries=0)(execute)
        self._refs: dict[int, Any] = {}
        self._heard: queue.SimpleQueue[Callable[[], Iterator[tuple[Any, Any]]]] = queue.SimpleQueue()
        self._suspects: frozenset[str] = frozenset()
        self._share, self._drivers = 1.0, 1
        self._unanswered = 0
        self._board_is_lost = False
        self._finder: threading.Thread | None = None
        self._next_tick = 0.0
        self._no_room_since: float | None = None
        self._told_no_room = False

    def running(self) -> tuple[RunningTask, ...]:
        """Tasks that workers have begun."""
        ahead = time.time() - time.monotonic()
        return tuple(
            RunningTask(attempt.entry.task, ahead + attempt.begun, self._nodes.host(attempt.node))
            for attempt in self.ledger.attempts
            if attempt.begun is not None and attempt.node is not None
        )

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Give out tasks and yield their results as they come."""
        try:
            self._tick()
            self._fill()
            while not self.ledger.is_complete:
                with suppress(queue.Empty):
                    happening = self._heard.get(timeout=max(0.0, self._next_tick - time.monotonic()))
                    for done in happening():
                        # Refilled before the yield: the workers go on while the caller uses the result.
                        self._fill()
                        yield done
                if time.monotonic() >= self._next_tick:
                    self._tick()
                self._fill()
        except AllscanError:
            raise
        except self._ray.exceptions.RayError as error:
            raise _cluster_error(error) from error
        except ConnectionError as error:  # of ray://
            raise _cluster_error(error) from error
        finally:
            self._stop()

    def _memory(self, declared: int) -> int:
        return WORKER_BYTES + declared

    @property
    def _limit(self) -> int:
        """How many attempts may be in flight."""
        slots = self._slots()
        limit = max(IN_FLIGHT_PER_SLOT * slots, 0 if self._suspects else slots + WAITING)
        if self._drivers > 1:
            # Others are at work: what waits in Ray's queue would be taken in the order in which it came.
            limit = max(1, math.floor(self._share * slots))
        return limit if self._session.workers is None else min(limit, self._session.workers)

    def _slots(self) -> int:
        """How many tasks the nodes have room for that are not suspected of having gone."""
        slots = self._nodes.slots_of_nodes(self._memory(self.ledger.memory))
        return sum(number for node, number in slots.items() if node not in self._suspects)

    def _fill(self) -> None:
        limit = self._limit
        while self.ledger.in_flight < limit:
            entry = self.ledger.next_entry()
            if entry is None:
                return
            self._give_out(entry)

    def _node_with_room(self) -> str | None:
        """Where to send a task while a node is suspected, which Ray might ask and wait for; None: Ray decides."""
        if not self._suspects:
            return None
        slots = self._nodes.slots_of_nodes(self._memory(self.ledger.memory))
        load = Counter(attempt.node or attempt.node_asked for attempt in self.ledger.attempts)
        others = [node for node, number in slots.items() if number and node not in self._suspects]
        return min(others, key=lambda node: load[node] / slots[node], default=None)

    def _give_out(self, entry: Entry, node: str | None = None) -> None:
        node = node or self._node_with_room()
        attempt = self.ledger.give_out(entry, time.monotonic(), node)
        options: dict[str, Any] = {
            "num_cpus": 1,
            "memory": self._memory(entry.memory) + attempt.lane,
            "name": "allscan",
        }
        if node is not None:
            # Other ways of naming nodes may ask one that does not answer where to run the task.
            strategies = self._ray.util.scheduling_strategies
            options["scheduling_strategy"] = strategies.NodeAffinitySchedulingStrategy(node, soft=True)
        board = self._session.board
        which = board._actor_id.hex() if board is not None else ""
        assignment = Assignment(self._name, attempt.number, self._session.driver, which)
        ref = self._execute.options(**options).remote(self._shared, assignment, entry.task)
        self._refs[attempt.number] = ref
        ref.future().add_done_callback(lambda future: self._heard.put(lambda: self._settle(attempt, future)))

    def _settle(self, attempt: Attempt, future: Any) -> Iterator[tuple[Any, Any]]:
        """Take note of what became of an attempt."""
        errors = self._ray.exceptions
        self._refs.pop(attempt.number, None)
        ledger = self.ledger
        try:
            answer: Answer = future.result()
        except errors.NodeDiedError:
            ledger.lose_node(attempt)
            self._tell_lost(attempt, "node died")
        except errors.OutOfMemoryError:
            self._lose_memory(attempt, "a node ran short of memory, and Ray ended the task")
        except errors.TaskCancelledError:
            if not ledger.is_wanted(attempt):
                ledger.drop(attempt)
            else:
                ledger.lose_worker(attempt)
                self._tell_lost(attempt, "cancelled from outside")
        except errors.ObjectLostError:
            # What the tasks share went with a node that held it.
            self._shared = self._ray.put(self._parcel)
            ledger.lose_worker(attempt)
            self._tell_lost(attempt, "shared data lost")
        except errors.RayTaskError as error:
            raise ClusterError(
                f"the workers of the cluster cannot run allscan: {str(error).strip().splitlines()[-1]}",
                fix="install the same versions of Python, Ray and allscan on every machine of the cluster",
            ) from error
        except errors.WorkerCrashedError:
            ledger.lose_worker(attempt)
            self._tell_lost(attempt, "worker died")
        else:
            yield from self._take(attempt, answer)

    def _take(self, attempt: Attempt, answer: Answer) -> Iterator[tuple[Any, Any]]:
        entry = attempt.entry
        if isinstance(answer.error, MemoryError):
            self._lose_memory(attempt, "there was no memory to be had")
            return
        if answer.error is not None:
            if entry.done:
                self.ledger.drop(attempt)
                return
            self._metrics.failed()
            raise answer.error from _RemoteTraceback(answer.trace)
        if self.ledger.finish(attempt, answer.seconds, answer.node, time.monotonic()):
            self._cancel([self._refs[other.number] for other in entry.attempts])
            self._metrics.finished(answer.seconds)
            yield entry.task, answer.value

    def _lose_memory(self, attempt: Attempt, said: str) -> None:
        self.ledger.lose_memory(attempt, self._nodes.largest_memory() - WORKER_BYTES, said)
        self._tell_lost(attempt, "out of memory")

    def _tell_lost(self, attempt: Attempt, why: str) -> None:
        if attempt.entry.done or attempt.late:
            return
        self._metrics.retried()
        fields = {"task": attempt.entry.name, "node": self._nodes.host(attempt.node), "reason": why}
        logger.warning(
            "%s: task %s is given out again", why, attempt.entry.name, extra={"event": "task_retried", "fields": fields}
        )

    def _cancel(self, refs: list[Any], *, force: bool = True) -> None:
        """Have attempts dropped. A task commits its result in one step, so it may be killed at any moment."""

        threads = self._session.threads

        def cancel() -> None:
            # Held nowhere else: the last of a reference goes where Ray may still be called.
            while refs and not threads.is_over():
                with suppress(Exception):  # whatever it was, it is over
                    self._ray.cancel(refs.pop(), force=force)

        if refs:
            # Ray waits for the node to answer.
            threads.start("allscan-ray-cancel", cancel)

    def _tick(self) -> None:
        """What is done every second: look at the nodes, at the board and for what is late."""
        now = time.monotonic()
        self._next_tick = now + TICK_SECONDS
        self._check_cluster(now)
        self._beat()
        self.ledger.note_overtaken(now)
        slots = self._slots()
        most = slots if self._session.workers is None else min(slots, self._session.workers)
        late = list(self.ledger.take_late(now, most - self.ledger.in_flight)) if slots else []
        self._suspect()
        for entry in late:
            self._duplicate(entry)
        self._metrics.tick(self.ledger.in_flight, now)

    def _suspect(self) -> None:
        """See which nodes may have gone; what waits, maybe for them, is given out to others."""
        came = self._nodes.came()
        suspects = self.ledger.suspects(came)
        if suspects >= came.keys():
            suspects = frozenset()  # of all of them: that helps nobody
        if suspects == self._suspects:
            return
        for node in suspects - self._suspects:
            host = self._nodes.host(node)
            extra = {"event": "node_silent", "fields": {"node": host}}
            logger.warning("node %s does not answer; tasks go to others", host, extra=extra)
        self._suspects = suspects
        self._cancel([self._refs[attempt.number] for attempt in self.ledger.withdraw()])

    def _duplicate(self, entry: Entry) -> None:
        node = self.ledger.node_for_copy(entry, self._nodes.came().keys() - self._suspects)
        self._metrics.duplicated()
        fields = {"task": entry.name, "nodes": [self._nodes.host(attempt.node) for attempt in entry.attempts]}
        logger.warning(
            "task %s takes long and is given out once more",
            entry.name,
            extra={"event": "task_duplicated", "fields": fields},
        )
        self._give_out(entry, node)

    def _check_cluster(self, now: float) -> None:
        silent = self._nodes.silent_seconds()
        if silent > self._patience.head_seconds:
            raise ClusterError(
                f"the head of the Ray cluster has not answered for {silent:.0f} s",
                fix="start the cluster again and run the same command: finished tasks are kept",
            )
        need = self._memory(self.ledger.memory)
        if self._nodes.slots(need):
            self._no_room_since, self._told_no_room = None, False
            return
        self._no_room_since = self._no_room_since or now
        waited = now - self._no_room_since
        what = f"no node of the cluster has room for a task, which needs 1 CPU and {size_text(need)} of memory"
        fix = "add nodes, or nodes with more memory"
        connection = self._session.connection
        if waited > self._patience.room_seconds or (connection and connection.is_private and waited > TICK_SECONDS):
            raise ClusterError(what, fix=fix)
        if waited > 10 and not self._told_no_room:
            self._told_no_room = True
            logger.warning("%s; waiting for one", what, extra={"event": "waiting_for_nodes", "fields": {"bytes": need}})

    def _beat(self) -> None:
        """Tell the board that this driver is at work; what it answers comes later, or never."""
        session = self._session
        if self._unanswered >= SILENT_BEATS:
            session.board, self._unanswered, self._board_is_lost = None, 0, True
            self._share, self._drivers = 1.0, 1
        if session.board is None:
            self._find_board()
        if session.board is None:
            return
        slots = max(1, self._nodes.slots(self._memory(self.ledger.memory)))
        demand = min(1.0, self.ledger.in_flight / slots) if self.ledger.nothing_waits else 1.0
        if session.workers is not None:
            demand = min(demand, session.workers / slots)
        self._unanswered += 1
        try:
            answer = session.board.beat.remote(session.driver, demand)
        except self._ray.exceptions.RayError:
            return
        answer.future().add_done_callback(lambda future: self._heard.put(lambda: self._hear(future)))

    def _find_board(self) -> None:
        """Look for the board, in a thread: where the head does not answer, Ray does not either."""
        if self._finder is not None and self._finder.is_alive():
            return
        anew, self._board_is_lost = self._board_is_lost, False

        def find() -> None:
            with suppress(Exception):  # work goes on without one
                self._session.board = find_board(anew=anew)

        self._finder = self._session.threads.start("allscan-ray-board", find)
        if not anew:
            # The first tasks shall know it.
            self._finder.join(BOARD_SECONDS)

    def _hear(self, future: Any) -> Iterator[tuple[Any, Any]]:
        try:
            beat: Beat = future.result()
        except self._ray.exceptions.RayError:
            self._unanswered = SILENT_BEATS
            return
        self._unanswered = 0
        self._share, self._drivers = beat.share, beat.drivers
        now = time.monotonic()
        for begun in beat.begun:
            if begun.run == self._name:
                self.ledger.begin(begun.attempt, begun.node, now - begun.age)
        yield from ()

    def _stop(self) -> None:
        """Drop what waits and wait for what runs; nobody wants the answers."""
        counted_on = [self._refs[attempt.number] for attempt in self.ledger.attempts if attempt.number in self._refs]
        others = [ref for ref in self._refs.values() if ref not in counted_on]
        self._refs.clear()
        self._metrics.tick(0, time.monotonic())
        if self._nodes.is_silent:
            return
        self._cancel(list(others))
        self._cancel(list(counted_on), force=False)
        with suppress(self._ray.exceptions.RayError, ConnectionError):
            self._cancel(self._wait(counted_on, self._patience.grace_seconds))
            # An answer that comes while the program leaves the cluster would have Ray end it.
            self._wait(others, SETTLE_SECONDS)

    def _wait(self, refs: list[Any], seconds: float) -> list[Any]:
        """Wait for attempts to end, and which of them have not."""
        if not refs:
            return []
        _, left = self._ray.wait(refs, num_returns=len(refs), timeout=seconds, fetch_local=False)
        return list(left)


class _RemoteTraceback(Exception):  # noqa: N818 - shown as the cause of the error itself
    """Where an error arose in a worker."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _cluster_error(error: Exception) -> ClusterError:
    return ClusterError(
        f"the Ray cluster failed: {type(error).__name__}: {str(error).strip().splitlines()[0]}",
        fix="look at the cluster's logs, then run the same command again: finished tasks are kept",
    )
