"""Threads that call Ray, all of which end before the program leaves its cluster."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RayThreads:
    """The threads of one driver that call Ray beside the main one.

    A call that may hang where a node or the head does not answer is made in a thread. But a thread that calls Ray while
    the program leaves the cluster, or thereafter, has Ray end the program without a word, or join another cluster. So
    each asks :meth:`is_over` before every call, and :meth:`end` waits for them.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, function: Callable[[], None]) -> threading.Thread:
        """Have a function called in a thread of its own."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=function, daemon=True, name=name)
        self._threads.append(thread)
        thread.start()
        return thread

    def is_over(self, *, wait: float = 0.0) -> bool:
        """Whether Ray must not be called any more; waits for that so many seconds at most."""
        return self._over.wait(wait)

    def end(self, seconds: float) -> bool:
        """Wait until no thread calls Ray, and whether that is so; for one that hangs in a call only so long."""
        self._over.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        ended = not self._threads
        self._over = threading.Event() if ended else self._over
        return ended
