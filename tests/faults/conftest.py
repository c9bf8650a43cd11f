"""Clusters that may be broken, and a cohort whose scan has tasks enough to be interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cluster.conftest import join
from tests.cluster.ray_nodes import Machines


@pytest.fixture(scope="module")
def shared_machines() -> Iterator[Machines]:
    machines = Machines(cpus=2)
    yield machines
    machines.close()


@pytest.fixture
def machines(shared_machines: Machines, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """A head with two CPUs, which outlives what a test does to its workers."""
    join(shared_machines, monkeypatch)
    return shared_machines


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
