"""Workers and nodes that are killed, freeze or run out of memory while a run goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from allscan.cluster.ledger import Patience
from allscan.cluster.ray_executor import RayExecutor
from allscan.errors import WorkerDiedError
from tests.cluster.ray_nodes import Machines
from tests.faults import fault_tasks as tasks

pytestmark = pytest.mark.timeout(240)


def test_workers_that_are_killed_cost_time_and_nothing_else(machines: Machines, tmp_path: Path) -> None:
    with RayExecutor(machines.address) as executor:
        results = list(executor.run(tasks.killed_once, tmp_path, range(20)))
        assert sorted(results) == [(task, task * task) for task in range(20)]
        assert executor.activity().retried == 4


def test_a_task_that_ran_out_of_memory_is_run_again_with_more(machines: Machines, tmp_path: Path) -> None:
    with RayExecutor(machines.address) as executor:
        assert sorted(executor.run(tasks.no_memory_once, tmp_path, range(2), memory_bytes=1 << 30)) == [(0, 0), (1, 1)]
        assert executor.activity().retried == 2


def test_a_task_that_takes_what_no_node_has_is_told(start: Callable[..., Machines]) -> None:
    """Ray ends tasks when the machine runs short; here, at 300 MiB more than it uses now."""
    import psutil

    memory = psutil.virtual_memory()
    threshold = 1 - (memory.available - (300 << 20)) / memory.total
    machines = start(
        cpus=1,
        env={"RAY_memory_usage_threshold": f"{threshold:.4f}", "RAY_memory_monitor_refresh_ms": "100"},
    )
    with (
        RayExecutor(machines.address) as executor,
        pytest.raises(
            WorkerDiedError, match=r"task 0 runs out of memory .* are set aside for it, and no node has more"
        ),
    ):
        list(executor.run(tasks.hoard, 1 << 30, [0], memory_bytes=3 << 30))


def begun_on(folder: Path, node: str, *, seconds: float = 90) -> list[int]:
    """Tasks that a node has begun, once there are any."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        begun = [int(file.stem) for file in folder.glob("*.begun") if node in file.read_text()]
        if begun:
            return begun
        time.sleep(0.05)
    raise TimeoutError(node)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_node_that_is_lost_or_frozen_costs_time_and_nothing_else(
    start: Callable[..., Machines], tmp_path: Path, how: signal.Signals
) -> None:
    machines = start(cpus=1)
    node = machines.add(cpus=1)
    with RayExecutor(machines.address, patience=Patience(lease_seconds=6, straggler_seconds=30)) as executor:
        results = executor.run(tasks.where, tmp_path, range(20))
        found = [next(results)]
        head = _node_of(machines.head.pid_of("raylet"))
        deadline = time.monotonic() + 90
        while not (others := {found_on for _, found_on in found} - {head}):
            assert time.monotonic() < deadline
            found.append(next(results))
        (other,) = others
        # While it has a task: one of those that have begun there has no result yet.
        while not set(begun_on(tmp_path, other)) - {task for task, _ in found}:
            found.append(next(results))
        node.signal(how)
        found += list(results)
        activity = executor.activity()
    assert sorted(task for task, _ in found) == list(range(20))
    if how == signal.SIGKILL:
        assert activity.retried >= 1
    else:
        assert activity.duplicated >= 1


def _node_of(raylet: int) -> str:
    """Ray's id of the node of a raylet."""
    import psutil
    import ray

    words = psutil.Process(raylet).cmdline()
    name = next(word.split("=", 1)[1] for word in words if word.startswith("--raylet_socket_name"))
    return str(next(node["NodeID"] for node in ray.nodes() if node["RayletSocketName"] == name))


def test_a_task_that_hangs_on_the_only_node_is_run_beside_itself(machines: Machines, tmp_path: Path) -> None:
    with RayExecutor(machines.address, patience=Patience(lease_seconds=3, grace_seconds=1)) as executor:
        begun = time.monotonic()
        assert sorted(executor.run(tasks.slow_unless_second, tmp_path, range(8))) == [(t, t) for t in range(8)]
        assert executor.activity().duplicated >= 1
    assert time.monotonic() - begun < 60
