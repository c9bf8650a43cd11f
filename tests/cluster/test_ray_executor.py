"""What the Ray executor promises, on a real cluster that nothing befalls (tests/faults has the rest)."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allscan.cluster.ray_cluster import private_environment, write_token
from allscan.cluster.ray_executor import RayExecutor
from allscan.errors import ClusterError, InputError
from tests.cluster.ray_nodes import Machines
from tests.ports import free_port

sys.path.append(str(Path(__file__).parent))  # as workers have it

import embedded_tasks as tasks

pytestmark = pytest.mark.timeout(180)


def test_every_task_comes_back_once_with_its_result(machines: Machines) -> None:
    with RayExecutor(machines.address) as executor:
        assert sorted(executor.run(tasks.add, 100, range(25))) == [(i, 100 + i) for i in range(25)]
        assert list(executor.run(tasks.add, 1, [])) == []
        assert executor.workers == 2
        assert executor.activity().running == ()


def test_through_the_head_from_outside(machines: Machines) -> None:
    with RayExecutor(machines.client_address) as executor:
        assert sorted(executor.run(tasks.add, 100, range(8))) == [(i, 100 + i) for i in range(8)]


def test_the_exception_of_a_task_is_raised_as_it_was(machines: Machines) -> None:
    with RayExecutor(machines.address) as executor:
        with pytest.raises(InputError, match="task 3 is bad") as caught:
            list(executor.run(tasks.fail_at, 3, range(1000)))
        assert (caught.value.where, caught.value.fix) == ("here", "do not")
        assert "fail_at" in str(caught.value.__cause__)
        # The executor is as good as new.
        assert len(list(executor.run(tasks.add, 1, range(5)))) == 5


def test_an_exception_that_cannot_travel_is_told_in_words(machines: Machines) -> None:
    with RayExecutor(machines.address) as executor, pytest.raises(RuntimeError, match="HeldError: a lock"):
        list(executor.run(tasks.fail_with_a_lock, None, [1]))


def test_tasks_are_taken_only_a_few_ahead(machines: Machines) -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with RayExecutor(machines.address, workers=1) as executor:
        results = executor.run(tasks.add, 0, endless())
        for number, _ in enumerate(results, start=1):
            assert taken <= number + 1
            if number == 20:
                break
        results.close()


def test_no_thread_calls_ray_when_the_cluster_is_left(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray ends a program without a word if one does."""
    import ray

    cancel, joined = ray.cancel, []

    def slow_cancel(*arguments: Any, **options: Any) -> None:
        time.sleep(0.3)
        joined.append(ray.is_initialized())
        cancel(*arguments, **options)

    monkeypatch.setattr(ray, "cancel", slow_cancel)
    with RayExecutor(machines.address) as executor:
        results = executor.run(tasks.span, 0.05, range(1000))
        next(results)
        results.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("allscan-ray")]
    assert joined
    assert all(joined)


def test_no_more_tasks_run_at_a_time_than_workers(machines: Machines, tmp_path: Path) -> None:
    with RayExecutor(machines.address, workers=1) as executor:
        spans = [span for _, span in executor.run(tasks.span, 0.1, range(5))]
    spans.sort()
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


def test_a_task_has_one_blas_and_one_numba_thread(machines: Machines) -> None:
    with RayExecutor(machines.address) as executor:
        for _, (blas, numba_threads) in executor.run(tasks.thread_counts, None, range(4)):
            assert blas
            assert set(blas) == {1}
            assert numba_threads == 1


def test_shared_arrays_are_one_copy_and_look_as_they_did(machines: Machines) -> None:
    fixed = np.arange(300_000)
    fixed.flags.writeable = False
    shared = {
        "square": np.ones((1000, 1000)),
        "byte": np.ones(1, np.uint8),
        "fixed": fixed,
        "fortran": np.ones((4, 3)).T,
    }
    with RayExecutor(machines.address) as executor:
        told = [seen for _, seen in executor.run(tasks.describe_arrays, shared, range(30))]
    for seen in told:
        for name, array in shared.items():
            # Numba compiles a kernel anew for arrays that differ in any of these.
            expected = (array.flags.writeable, array.flags.c_contiguous, array.flags.f_contiguous, True)
            assert seen["flags"][name] == expected
        assert seen["mapped"]["square"]
        assert seen["mapped"]["fixed"]
    # Unpickled once by each worker, whatever the number of tasks.
    assert 1 <= len({(seen["pid"], seen["identity"]) for seen in told}) == len({seen["pid"] for seen in told})


def test_activity_tells_the_tasks_that_run_now(machines: Machines) -> None:
    with RayExecutor(machines.address) as executor:
        results: list[Any] = []
        runner = threading.Thread(target=lambda: results.extend(executor.run(tasks.span, 3, ["a", "b"])))
        runner.start()
        deadline = time.monotonic() + 60
        while not (running := executor.activity().running) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert {task.task for task in running} <= {"a", "b"}
        assert {task.node for task in running} == {socket.gethostname()}
        assert all(-1 < time.time() - task.since < 30 for task in running)
        runner.join(60)
        assert len(results) == 2
        activity = executor.activity()
        assert (activity.retried, activity.duplicated, sum(activity.nodes.values())) == (0, 0, 1)


def test_two_drivers_share_the_cluster_and_what_one_leaves_the_other_uses(machines: Machines, tmp_path: Path) -> None:
    """Two slots: each driver has one while both work, and the one that is left has both after a few seconds."""
    script = f"""
import embedded_tasks
from allscan.cluster.ray_executor import RayExecutor
with RayExecutor({machines.address!r}) as executor:
    for task, span in executor.run(embedded_tasks.span, 0.25, range(40)):
        print(*span, flush=True)
"""

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", script], env=machines.env, stdout=subprocess.PIPE, text=True)

    first, second = start(), start()
    of_first = [tuple(map(float, line.split())) for line in first.communicate(timeout=120)[0].splitlines()]
    of_second = [tuple(map(float, line.split())) for line in second.communicate(timeout=120)[0].splitlines()]
    assert len(of_first) == len(of_second) == 40
    begin = max(of_first[0][0], of_second[0][0]) + 4  # both have heard of each other
    end = min(of_first[-1][1], of_second[-1][1]) - 0.5
    shares = [sum(begin < start < end for start, _ in spans) for spans in (of_first, of_second)]
    assert min(shares) > 0.7 * max(shares) > 3, (shares, end - begin)


METRICS = """
import json, sys, time, urllib.request
from allscan.cluster.ray_executor import RayExecutor
import embedded_tasks
with RayExecutor(sys.argv[1]) as executor:
    assert len(list(executor.run(embedded_tasks.span, 0.05, range(12)))) == 12
    import ray
    port = ray.nodes()[0]["MetricsExportPort"]
    deadline, found = time.monotonic() + 60, {}
    while time.monotonic() < deadline and len(found) < 4:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        lines = [line for line in text.splitlines() if f'driver="{executor._session.driver}"' in line]
        found = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines}
        time.sleep(0.5)
print(json.dumps(found))
"""


def test_metrics_are_at_the_endpoint_of_the_node(machines: Machines) -> None:
    # In a process of its own: Ray exports twice what a process counts that has joined a cluster before.
    done = subprocess.run(
        [sys.executable, "-c", METRICS, machines.address], env=machines.env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ray_allscan_tasks_finished_total"] == 12
    assert 12 * 0.05 <= found["ray_allscan_task_seconds_total"] < 60
    assert found["ray_allscan_tasks_in_flight"] == 0
    assert found["ray_allscan_tasks_per_second"] >= 0


def test_no_cluster_is_told_at_once() -> None:
    port = free_port()
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        started = time.monotonic()
        with pytest.raises(ClusterError, match="no Ray cluster answers") as caught, RayExecutor(address) as executor:
            list(executor.run(tasks.add, 1, [1]))
        assert time.monotonic() - started < 30
        assert str(port) in (caught.value.where or "")


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:80", "host:port", "ray://"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="no address"), RayExecutor(address) as executor:
        list(executor.run(tasks.add, 1, [1]))


def test_no_workers_are_refused() -> None:
    with pytest.raises(InputError, match="0 workers"):
        RayExecutor(workers=0)


def test_a_task_for_which_no_node_has_room_is_refused(machines: Machines) -> None:
    from allscan.cluster.ledger import Patience

    with (
        RayExecutor(machines.address, patience=Patience(room_seconds=1)) as executor,
        pytest.raises(ClusterError, match="no node of the cluster has room for a task, which needs 1 CPU and"),
    ):
        list(executor.run(tasks.add, 1, [1], memory_bytes=1 << 44))


JOIN = """
import sys
from allscan.cluster.ray_executor import RayExecutor
from allscan.errors import ClusterError
import embedded_tasks
try:
    with RayExecutor(sys.argv[1]) as executor:
        print(list(executor.run(embedded_tasks.add, 1, [1])))
except ClusterError as error:
    print(error)
"""


@pytest.mark.parametrize("token", ["none", "wrong"])
def test_nobody_joins_without_the_token(machines: Machines, tmp_path: Path, token: str) -> None:
    other = write_token(tmp_path / "other")
    env = {**machines.env, **private_environment(other)}
    if token == "none":
        env = {name: value for name, value in machines.env.items() if "AUTH" not in name}
        env["HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", JOIN, machines.address],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "[(1, 2)]" not in done.stdout
    assert "refuses the connection" in done.stdout, done.stdout + done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stdout


PRIVATE = """
import json, os, stat, sys
import psutil
from allscan.cluster.ray_executor import RayExecutor
import embedded_tasks
before = {name: value for name, value in os.environ.items()}
with RayExecutor("local", workers=1) as executor:
    assert list(executor.run(embedded_tasks.add, 1, [1])) == [(1, 2)]
    token = os.environ["RAY_AUTH_TOKEN_PATH"]
    mine = psutil.Process().children(recursive=True)
    listeners = [
        connection.laddr.ip
        for process in mine
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    import ray
    told = {
        "listeners": sorted(set(listeners)), "number": len(listeners), "processes": [p.pid for p in mine],
        "token": token, "modes": [stat.S_IMODE(os.stat(p).st_mode) for p in (token, os.path.dirname(token))],
        "gcs": ray.get_runtime_context().gcs_address, "store": ray.nodes()[0]["Resources"]["object_store_memory"],
        "usage": [p.environ().get("RAY_USAGE_STATS_ENABLED") for p in mine if p.name() == "raylet"],
    }
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
changed = {name for name in {*os.environ, *before} if os.environ.get(name) != before.get(name)}
assert not [name for name in changed if "AUTH" in name or "ADDRESS" in name or "CLUSTER" in name], changed
"""


def test_a_private_cluster_is_private(tmp_path: Path, machines: Machines) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PRIVATE],
        env={name: value for name, value in machines.env.items() if not name.startswith("RAY_")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    with program:
        told = json.loads(program.stdout.readline())
        _look_at_private_cluster(told, machines, tmp_path)
        program.communicate("\n", timeout=60)
    assert program.returncode == 0
    assert not Path(told["token"]).parent.exists()
    deadline = time.monotonic() + 20
    while left := [pid for pid in told["processes"] if _lives(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _look_at_private_cluster(told: dict[str, Any], machines: Machines, tmp_path: Path) -> None:
    assert set(told["listeners"]) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert told["number"] >= 4
    assert told["modes"] == [0o600, 0o700]
    assert told["usage"] == ["0"]
    assert told["store"] < 1 << 30
    intruder = subprocess.run(
        [sys.executable, "-c", JOIN, told["gcs"]],
        env={**machines.env, **private_environment(write_token(tmp_path / "other"))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "refuses the connection" in intruder.stdout, intruder.stdout + intruder.stderr


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_the_environment_names_the_cluster(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", machines.address)
    with RayExecutor("auto") as executor:
        assert list(executor.run(tasks.add, 1, [1])) == [(1, 2)]
    assert os.environ["RAY_ADDRESS"] == machines.address


def test_a_cluster_that_the_caller_has_joined_is_used_and_not_left(machines: Machines) -> None:
    import ray

    with RayExecutor(machines.address) as outer:
        assert list(outer.run(tasks.add, 1, [1])) == [(1, 2)]
        with RayExecutor("auto") as inner:
            assert list(inner.run(tasks.add, 1, [2])) == [(2, 3)]
        assert ray.is_initialized()
        with pytest.raises(InputError, match="connected to a Ray cluster already"), RayExecutor("local") as other:
            list(other.run(tasks.add, 1, [1]))
