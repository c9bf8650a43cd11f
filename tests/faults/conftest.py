"""Clusters that may be broken, and a cohort whose scan has tasks enough to be interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cluster.conftest import join
from tests.cluster.ray_nodes import Machines


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Machines]]:
    """Start a cluster of one's own: ``start(cpus=…)``."""
    started: list[Machines] = []

    def begin(**settings: object) -> Machines:
        machines = Machines(**settings)  # type: ignore[arg-type]
        started.append(machines)
        join(machines, monkeypatch)
        return machines

    yield begin
    for machines in started:
        machines.close()
