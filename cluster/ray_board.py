"""The board of a Ray cluster: which drivers are at work, what share each has, and which of their tasks have begun.

One small actor for all drivers of a cluster. It holds nothing that the drivers do not tell it every second, so it may
be lost and made again at any time, and drivers work without it too.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NAMESPACE = "allscan"
NAME = "allscan-board-1"
"""The number is that of what drivers, workers and the board say to each other; others have a board of their own."""

SILENCE_SECONDS = 10.0
"""A driver that says nothing for so long is gone."""


class Begun(NamedTuple):
    """A task that a worker has begun."""

    run: str
    attempt: int
    node: str  # Ray's id of it
    age: float  # seconds


class Beat(NamedTuple):
    """What the board answers to a driver."""

    share: float  # of the cluster, 0 to 1
    drivers: int
    begun: list[Begun]


@dataclass
class _Driver:
    heard: float
    demand: float
    begun: list[tuple[str, int, str, float]] = field(default_factory=list)


class Board:
    """Takes note of drivers and of tasks that have begun."""

    def __init__(self) -> None:
        self._drivers: dict[str, _Driver] = {}

    def begun(self, driver: str, run: str, attempt: int, node: str) -> None:
        """A worker has begun a task of a driver."""
        known = self._drivers.get(driver)
        if known is not None:
            known.begun.append((run, attempt, node, time.monotonic()))

    def beat(self, driver: str, demand: float) -> Beat:
        """A driver is alive.

        Parameters
        ----------
        driver
            Its id.
        demand
            Share of the cluster that it could use: 1 while tasks wait.
        """
        now = time.monotonic()
        known = self._drivers.setdefault(driver, _Driver(now, demand))
        known.heard, known.demand = now, demand
        self._drivers = {name: other for name, other in self._drivers.items() if now - other.heard < SILENCE_SECONDS}
        begun = [Begun(run, attempt, node, now - when) for run, attempt, node, when in known.begun]
        known.begun.clear()
        shares = fair_shares({name: other.demand for name, other in self._drivers.items()})
        return Beat(shares[driver], len(self._drivers), begun)

    def leave(self, driver: str) -> int:
        """A driver has no more tasks; returns how many others have."""
        self._drivers.pop(driver, None)
        return len(self._drivers)


def fair_shares(demands: dict[str, float]) -> dict[str, float]:
    """Shares of 1: nobody gets less than an equal part, unless it can do with less; what one leaves others use."""
    shares: dict[str, float] = {}
    left = 1.0
    waiting = sorted(demands, key=lambda name: demands[name])
    for place, name in enumerate(waiting):
        shares[name] = min(demands[name], left / (len(waiting) - place))
        left -= shares[name]
    return shares


def find_board(*, anew: bool = False) -> Any:
    """The cluster's board, which is made if there is none.

    Parameters
    ----------
    anew
        Whether one that does not answer is replaced.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if anew:
        with suppress(ValueError, ray.exceptions.RayError):
            ray.kill(ray.get_actor(NAME, namespace=NAMESPACE))
    actor: Any = ray.remote(Board).options(
        name=NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        # Beside a driver, not on a node that comes and goes.
        scheduling_strategy=NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True),
    )
    return actor.remote()
