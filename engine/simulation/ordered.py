"""Work done side by side by threads, whose results come in order, with few of them in memory."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

_WAITING_PER_WORKER = 1  # results that are finished and wait to be taken, beside those being made

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Yield ``function(task)`` of every task, in order.

    Threads: what is done here releases the interpreter lock.

    Parameters
    ----------
    function
        Run by ``workers`` threads.
    tasks
        Taken when a thread will soon be free for them.
    workers
        Threads.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="allscan-simulate")
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= workers * (1 + _WAITING_PER_WORKER):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
