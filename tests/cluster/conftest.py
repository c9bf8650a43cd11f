"""One Ray cluster for the tests that do it no harm."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.ray_nodes import Machines


@pytest.fixture(scope="session")
def shared_machines() -> Iterator[Machines]:
    """A head with two CPUs."""
    machines = Machines(cpus=2)
    yield machines
    machines.close()


@pytest.fixture
def machines(shared_machines: Machines, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """The shared cluster; this process has its token."""
    join(shared_machines, monkeypatch)
    return shared_machines


def join(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process what it needs to join a cluster."""
    for name, value in machines.env.items():
        if name.startswith("RAY_") and os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
