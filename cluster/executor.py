"""The executor: the one interface through which work runs, here or elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RunningTask:
    """A task that a worker has now."""

    task: Any
    since: float  # seconds since 1970, by the clock of the driver
    node: str  # name of the machine


@dataclass(frozen=True)
class Activity:
    """What an executor is doing at one moment, and what it has met since it was made."""

    running: tuple[RunningTask, ...] = ()
    retried: int = 0  # tasks given out again because their worker or node was lost
    duplicated: int = 0  # tasks given out a second time because they took long
    nodes: Mapping[str, int] = field(default_factory=dict)  # kind of machine → how many have been seen


class Executor(Protocol):
    """Runs independent tasks. It knows nothing of what they compute.

    Tasks are idempotent: an executor may run one twice. Results come in order of completion. What befalls a task or
    a node is logged, for people and for the log of a run: ``logger.warning("…", extra={"event": "task_retried",
    "fields": {"task": …, "node": …}})``, where the values of ``fields`` are JSON.
    """

    @property
    def name(self) -> str:
        """What a job file calls it."""
        ...

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""
        ...

    def run(
        self,
        function: Callable[[Shared, Task], Result],
        shared: Shared,
        tasks: Iterable[Task],
        *,
        memory_bytes: int = 0,
    ) -> Iterator[tuple[Task, Result]]:
        """Yield ``(task, function(shared, task))`` as tasks finish.

        ``shared`` is handed to every worker once. At most a few tasks per worker are in flight, so
        ``tasks`` may be a generator over millions. The first exception of a task stops the run and is
        raised here, after the tasks in flight have ended.

        Parameters
        ----------
        function
            What is done with ``shared`` and a task.
        shared
            What every task needs; tasks do not change it.
        tasks
            One thread each.
        memory_bytes
            What one task takes beside ``shared``, as far as the plan knows; 0: nothing is known.
        """
        ...

    def activity(self) -> Activity:
        """What it is doing now; may be asked from any thread at any time."""
        ...
