"""The executor: the one interface through which work runs, here or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs independent tasks. It knows nothing of what they compute.

    Tasks are idempotent: an executor may run one twice. Results come in order of completion.
    """

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""
        ...

    def run(
        self,
        function: Callable[[Shared, Task], Result],
        shared: Shared,
        tasks: Iterable[Task],
    ) -> Iterator[tuple[Task, Result]]:
        """Yield ``(task, function(shared, task))`` as tasks finish.

        ``shared`` is handed to every worker once. At most a few tasks per worker are in flight, so
        ``tasks`` may be a generator over millions. The first exception of a task stops the run and is
        raised here, after the tasks in flight have ended.
        """
        ...
