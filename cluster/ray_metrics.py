"""Numbers of a run for Prometheus, at the endpoint that every Ray node has."""

from __future__ import annotations

from collections import deque
from typing import Any

RATE_SECONDS = 30.0

_COUNTERS = {
    "finished": ("allscan_tasks_finished", "Tasks that have a result."),
    "failed": ("allscan_tasks_failed", "Tasks that ended their run with an error."),
    "retried": ("allscan_tasks_retried", "Tasks given out again because their worker or node was lost."),
    "duplicated": ("allscan_tasks_duplicated", "Tasks given out a second time because they took long."),
    "seconds": ("allscan_task_seconds", "Seconds that finished tasks took, summed over workers."),
}
_GAUGES = {
    "in_flight": ("allscan_tasks_in_flight", "Tasks that the cluster has now."),
    "rate": ("allscan_tasks_per_second", f"Tasks that finished per second, over the last {RATE_SECONDS:.0f} s."),
}


class RunMetrics:
    """Counters of one driver; does nothing until it is started.

    Parameters
    ----------
    driver
        Value of the label ``driver`` of every number.
    """

    def __init__(self, driver: str) -> None:
        self._driver = driver
        self._metrics: dict[str, Any] = {}
        self._done = 0
        self._history: deque[tuple[float, int]] = deque()

    def start(self) -> None:
        """Tell Ray of the numbers; the driver must be connected to a cluster."""
        from ray.util.metrics import Counter, Gauge

        for kind, table in ((Counter, _COUNTERS), (Gauge, _GAUGES)):
            for key, (name, description) in table.items():
                metric = kind(name, description, tag_keys=("driver",))
                self._metrics[key] = metric.set_default_tags({"driver": self._driver})

    def finished(self, seconds: float) -> None:
        """A task has a result."""
        self._done += 1
        self._add("finished", 1)
        self._add("seconds", max(seconds, 1e-9))

    def failed(self) -> None:
        """A task raised an error."""
        self._add("failed", 1)

    def retried(self) -> None:
        """A task is given out again."""
        self._add("retried", 1)

    def duplicated(self) -> None:
        """A task is given out a second time."""
        self._add("duplicated", 1)

    def tick(self, in_flight: int, now: float) -> None:
        """Update what changes with time."""
        self._history.append((now, self._done))
        while now - self._history[0][0] > RATE_SECONDS:
            self._history.popleft()
        since, done = self._history[0]
        self._set("in_flight", in_flight)
        self._set("rate", (self._done - done) / max(now - since, 1e-9) if now > since else 0.0)

    def _add(self, key: str, number: float) -> None:
        if key in self._metrics:
            self._metrics[key].inc(number)

    def _set(self, key: str, number: float) -> None:
        if key in self._metrics:
            self._metrics[key].set(number)
