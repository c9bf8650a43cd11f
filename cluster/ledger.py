"""Which tasks are where: attempts, what became of them, who is late, and what is tried again.

Plain bookkeeping, without Ray and without a clock: whoever keeps it says what time it is.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from allscan.errors import WorkerDiedError, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

MEDIAN_OF = 500
"""Tasks, the last ones, whose times say what is usual."""

LEAST_MEMORY = 1 << 30
"""What a task asks for that ran out of memory and had declared none, before it is doubled."""


@dataclass(frozen=True)
class Patience:
    """When a task is given out again, and when the driver gives up.

    Parameters
    ----------
    lease_seconds, lease_factor
        A task that takes longer than the seconds and than so many times the median is given to another node too: its
        node may be frozen or cut off. The next time it may take twice as long.
    straggler_seconds, straggler_factor
        The same when nothing else is left to do.
    worker_deaths
        How often the worker of one task may die while its node lives.
    grace_seconds
        How long tasks that run may go on when the run is stopped.
    head_seconds
        How long the head of the cluster may be silent. Ray itself ends the program after 60 s.
    room_seconds
        How long there may be no node that could take a task; an autoscaler has this time to start one.
    """

    lease_seconds: float = 60.0
    lease_factor: float = 5.0
    straggler_seconds: float = 5.0
    straggler_factor: float = 2.0
    worker_deaths: int = 4
    grace_seconds: float = 60.0
    head_seconds: float = 30.0
    room_seconds: float = 900.0


@dataclass(eq=False)
class Entry:
    """A task that has no result yet."""

    task: Any
    memory: int  # declared, bytes; 0: nothing
    deaths: int = 0
    copies: int = 0  # made because an attempt took long
    attempts: list[Attempt] = field(default_factory=list)
    done: bool = False

    @property
    def name(self) -> str:
        """The task's own name, or what it looks like."""
        return task_name(self.task)


@dataclass(eq=False)
class Attempt:
    """One handing out of a task."""

    number: int
    entry: Entry
    memory: int  # declared
    given: float  # when
    node_asked: str | None  # None: any
    lane: int
    is_copy: bool
    begun: float | None = None
    node: str | None = None
    late: bool = False  # it is no longer counted on

    @property
    def queue(self) -> tuple[int, str | None, int]:
        """Attempts of one queue begin in the order in which they were submitted."""
        return self.memory, self.node_asked, self.lane


def task_name(task: Any) -> str:
    """A task's own name, or what it looks like."""
    name = getattr(task, "name", None)
    return name if isinstance(name, str) else repr(task)[:100]


class Ledger:
    """The tasks of one run.

    Parameters
    ----------
    tasks
        Taken one by one as they are given out.
    memory_bytes
        What each declares at first.
    patience
        When tasks are given out again.
    """

    def __init__(self, tasks: Iterable[Any], memory_bytes: int, patience: Patience) -> None:
        self._tasks = iter(tasks)
        self.memory = memory_bytes
        self._patience = patience
        self._again: deque[Entry] = deque()
        self._attempts: dict[int, Attempt] = {}
        self._number = 0
        self._seconds: deque[float] = deque(maxlen=MEDIAN_OF)
        self._begun_to: dict[tuple[int, str | None, int], int] = {}
        self._heard = -math.inf  # when anything began or ended
        self._answered: dict[str, float] = {}  # node → when it last did
        self._exhausted = False
        self._late = 0
        self.lane = 0
        self._open = 0  # tasks given out that have no result
        self.retried = 0
        self.duplicated = 0
        self.finished = 0

    @property
    def attempts(self) -> list[Attempt]:
        """Attempts without an answer that are counted on."""
        # Copied in one step: other threads ask too.
        return [attempt for attempt in list(self._attempts.values()) if not attempt.late]

    @property
    def in_flight(self) -> int:
        """How many attempts are counted on."""
        return len(self._attempts) - self._late

    @property
    def nothing_waits(self) -> bool:
        """Whether every task has been given out."""
        return self._exhausted and not self._again

    @property
    def is_complete(self) -> bool:
        """Whether every task has a result."""
        return self.nothing_waits and not self._open

    def next_entry(self) -> Entry | None:
        """The next task to give out: first those that were lost."""
        while self._again:
            entry = self._again.popleft()
            if not entry.done:
                return entry
        for task in self._tasks:
            self._open += 1
            return Entry(task, self.memory)
        self._exhausted = True
        return None

    def give_out(self, entry: Entry, now: float, node: str | None = None) -> Attempt:
        """Note that a task is handed to the cluster, or to one node of it."""
        self._number += 1
        attempt = Attempt(self._number, entry, entry.memory, now, node, self.lane, is_copy=bool(entry.attempts))
        entry.attempts.append(attempt)
        self._attempts[attempt.number] = attempt
        return attempt

    def begin(self, number: int, node: str, when: float) -> None:
        """Note that a worker has begun an attempt."""
        attempt = self._attempts.get(number)
        self._heard = max(self._heard, when)
        if attempt is not None:
            attempt.begun, attempt.node = when, node
            self._overtake(attempt)

    def finish(self, attempt: Attempt, seconds: float, node: str, now: float) -> bool:
        """Note an answer; returns whether it is the task's first."""
        self._close(attempt)
        self._answered[node] = self._heard = now
        self._overtake(attempt)
        entry = attempt.entry
        if entry.done:
            return False
        entry.done = True
        self._open -= 1
        self.finished += 1
        self._seconds.append(seconds)
        return True

    def drop(self, attempt: Attempt) -> None:
        """Forget an attempt that nobody needs."""
        self._close(attempt)

    def is_wanted(self, attempt: Attempt) -> bool:
        """Whether an answer is waited for."""
        return attempt.number in self._attempts and not attempt.late and not attempt.entry.done

    def withdraw(self) -> list[Attempt]:
        """Take back what no worker has begun; it is given out again, in order, in another lane.

        Ray asks nodes where tasks shall run, and keeps to the first that it has asked for a kind of task: behind one
        that does not answer, all tasks of this kind wait. Another lane is another kind.
        """
        waiting = [attempt for attempt in self.attempts if attempt.begun is None]
        for attempt in reversed(waiting):
            self._close(attempt)
            if not attempt.entry.done and all(other.late for other in attempt.entry.attempts):
                self._again.appendleft(attempt.entry)
        self.lane += 1
        return waiting

    def suspects(self, came: Mapping[str, float]) -> frozenset[str]:
        """Nodes that may be frozen or cut off: a task is late there, and they have not answered since it began.

        Parameters
        ----------
        came
            Nodes that are there, and when they came.
        """
        found: set[str] = set()
        for attempt in self._attempts.values():
            if attempt.late:
                since = attempt.given if attempt.begun is None else attempt.begun
                known = attempt.node or attempt.node_asked
                found |= {
                    node
                    for node in ([known] if known else came)
                    if came.get(node, math.inf) < since and self._answered.get(node, -math.inf) < since
                }
        return frozenset(found)

    def lose_node(self, attempt: Attempt) -> None:
        """A node died with an attempt: it is made again, however often."""
        self._close(attempt)
        self._try_again(attempt.entry)

    def lose_worker(self, attempt: Attempt) -> None:
        """A worker died with an attempt, and its node did not.

        Raises
        ------
        WorkerDiedError
            That happened too often with this task.
        """
        self._close(attempt)
        entry = attempt.entry
        entry.deaths += 1
        if entry.deaths >= self._patience.worker_deaths and not entry.done:
            raise WorkerDiedError(
                f"the worker of task {entry.name} died {entry.deaths} times without an answer",
                where=attempt.node and f"last on node {attempt.node[:12]}",
                fix="this is usually want of memory: look for `oom` in the kernel's log of the node, and run again on "
                "nodes with more memory per CPU or with fewer workers; finished tasks are kept",
            )
        self._try_again(entry)

    def lose_memory(self, attempt: Attempt, largest_node: int, said: str) -> None:
        """An attempt ran out of memory: the next declares twice as much, at most what the largest node has.

        Raises
        ------
        WorkerDiedError
            It had declared as much as that.
        """
        self._close(attempt)
        entry = attempt.entry
        if entry.memory >= largest_node and not entry.done:
            raise WorkerDiedError(
                f"task {entry.name} runs out of memory ({said}) where {size_text(entry.memory)} are set aside for it, "
                "and no node has more",
                fix="use nodes with more memory, or scan fewer traits in one job; finished tasks are kept",
            )
        entry.memory = min(max(2 * entry.memory, LEAST_MEMORY), largest_node)
        self._try_again(entry)

    def take_late(self, now: float, idle: int) -> Iterator[Entry]:
        """Tasks to give out once more, because they take too long or because there is nothing else to do.

        Parameters
        ----------
        now
            The time.
        idle
            Slots that nothing waits for.
        """
        for attempt in self.attempts:
            # Where a copy waits for a node that does not answer either, nobody hears of it.
            since = attempt.given if attempt.is_copy and attempt.begun is None else attempt.begun
            if since is not None and now - since > self._lease(attempt.entry.copies):
                attempt.late = True
                self._late += 1
        waiting = next((attempt for attempt in self.attempts if attempt.begun is None), None)
        if waiting is not None and now - max(self._heard, waiting.given) > self._lease(waiting.entry.copies):
            # Nothing happens at all.
            waiting.late = True
            self._late += 1
        for entry in self._running():
            if all(attempt.late for attempt in entry.attempts):
                entry.copies += 1
                self.duplicated += 1
                yield entry
        if not self.nothing_waits or idle < 1:
            return
        longest = [a for a in self.attempts if a.begun is not None and len(a.entry.attempts) == 1]
        longest.sort(key=lambda attempt: attempt.begun or 0.0)
        usual = max(self._patience.straggler_seconds, self._patience.straggler_factor * self.median)
        for attempt in longest[:idle]:
            if now - (attempt.begun or 0.0) > usual:
                attempt.entry.copies += 1
                self.duplicated += 1
                yield attempt.entry

    def node_for_copy(self, entry: Entry, alive: AbstractSet[str]) -> str | None:
        """The node that answered last, of those that do not have the task; None: any, as there is no other."""
        others = alive - {attempt.node for attempt in entry.attempts} - {a.node_asked for a in entry.attempts}
        return max(sorted(others), key=lambda node: self._answered.get(node, -math.inf), default=None)

    @property
    def median(self) -> float:
        """Seconds that a task usually takes; 0 before one has finished."""
        return statistics.median(self._seconds) if self._seconds else 0.0

    def note_overtaken(self, now: float) -> None:
        """Attempts that others have overtaken have begun, or are lost where nobody hears of them."""
        for attempt in self.attempts:
            if attempt.begun is None and attempt.number < self._begun_to.get(attempt.queue, 0):
                attempt.begun = now

    def _overtake(self, attempt: Attempt) -> None:
        self._begun_to[attempt.queue] = max(self._begun_to.get(attempt.queue, 0), attempt.number)

    def _lease(self, copies: int) -> float:
        return max(self._patience.lease_seconds, self._patience.lease_factor * self.median) * 2.0**copies

    def _running(self) -> list[Entry]:
        """Tasks that have attempts without an answer."""
        return list({id(a.entry): a.entry for a in self._attempts.values() if not a.entry.done}.values())

    def _close(self, attempt: Attempt) -> None:
        if self._attempts.pop(attempt.number, None) is not None:
            attempt.entry.attempts.remove(attempt)
            self._late -= attempt.late

    def _try_again(self, entry: Entry) -> None:
        # A copy that still runs may well answer.
        if not entry.done and all(attempt.late for attempt in entry.attempts):
            self.retried += 1
            self._again.append(entry)
