"""What the embedded executor promises, for each way of running."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import psutil
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.errors import InputError, WorkerDiedError

HERE = Path(__file__).parent
sys.path.append(str(HERE))  # workers are given this path

from embedded_tasks import (  # noqa: E402
    CountsPickles,
    add,
    die_at,
    fail_at,
    identity_with_folder,
    sleep_then_touch,
    thread_counts,
)

EXECUTORS = [(1, "threads"), (3, "threads"), (1, "processes"), (2, "processes")]


@pytest.mark.parametrize(("workers", "kind"), EXECUTORS)
def test_every_task_comes_back_once_with_its_result(workers, kind):
    executor = EmbeddedExecutor(workers, kind)
    assert executor.workers == workers
    assert sorted(executor.run(add, 100, range(25))) == [(i, 100 + i) for i in range(25)]


@pytest.mark.parametrize(("workers", "kind"), EXECUTORS)
def test_no_tasks_no_results(workers, kind):
    assert list(EmbeddedExecutor(workers, kind).run(add, 1, [])) == []


@pytest.mark.parametrize(("workers", "kind"), EXECUTORS)
def test_the_exception_of_a_task_is_raised_as_it_was(workers, kind):
    with pytest.raises(InputError, match="task 3 is bad") as caught:
        list(EmbeddedExecutor(workers, kind).run(fail_at, 3, range(1000)))
    assert (caught.value.where, caught.value.fix) == ("here", "do not")


@pytest.mark.parametrize(("workers", "kind"), EXECUTORS)
def test_tasks_are_taken_only_a_few_per_worker_ahead(workers, kind):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = EmbeddedExecutor(workers, kind).run(add, 0, endless())
    for number, _ in enumerate(results, start=1):
        assert taken <= number + 2 * workers
        if number == 20:
            break
    results.close()


def test_results_come_in_order_of_completion(tmp_path):
    results = EmbeddedExecutor(2).run(sleep_then_touch, tmp_path, [0.4, 0.01])
    assert [task for task, _ in results] == [0.01, 0.4]


def test_tasks_in_flight_end_before_an_exception_is_raised(tmp_path):
    def work(shared, task):
        if task == "fail":
            raise ValueError("no")
        return sleep_then_touch(shared, task)

    with pytest.raises(ValueError, match="no"):
        list(EmbeddedExecutor(2).run(work, tmp_path, [0.2, "fail", 0.3, 0.4]))
    assert (tmp_path / "0.2").exists()
    assert not (tmp_path / "0.4").exists()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_closing_early_leaves_nothing_running(kind):
    results = EmbeddedExecutor(2, kind).run(add, 0, range(1000))
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("allscan")]
    assert not [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]


@pytest.mark.parametrize(("workers", "kind"), EXECUTORS)
def test_a_task_has_one_blas_and_one_numba_thread(workers, kind):
    for _, (blas, numba_threads) in EmbeddedExecutor(workers, kind).run(thread_counts, None, range(4)):
        assert blas
        assert set(blas) == {1}
        assert numba_threads == 1 or (workers, kind) == (1, "threads")


def test_a_task_may_begin_while_another_thread_imports_numba(monkeypatch):
    """A module that is being imported is listed, and has few of its names yet."""
    monkeypatch.setitem(sys.modules, "numba", types.ModuleType("numba"))
    assert sorted(result for _, result in EmbeddedExecutor(2, "threads").run(add, 1, [1, 2])) == [2, 3]


def test_the_blas_setting_of_the_caller_comes_back():
    from threadpoolctl import threadpool_info, threadpool_limits

    with threadpool_limits(limits=2):
        before = {entry["filepath"]: entry["num_threads"] for entry in threadpool_info()}
        list(EmbeddedExecutor(2).run(add, 0, range(3)))
        list(EmbeddedExecutor(1).run(add, 0, range(3)))
        after = {entry["filepath"]: entry["num_threads"] for entry in threadpool_info()}
    # What came meanwhile was imported by the tasks.
    assert before
    assert {path: after[path] for path in before} == before


def test_shared_is_sent_once_per_process(tmp_path):
    list(EmbeddedExecutor(2, "processes").run(identity_with_folder, CountsPickles(tmp_path), range(30)))
    assert 1 <= len(list(tmp_path.iterdir())) <= 2


def test_threads_share_without_a_copy():
    shared = object()
    results = list(EmbeddedExecutor(2).run(lambda shared, _: shared, shared, range(3)))
    assert all(result is shared for _, result in results)


def test_a_killed_worker_is_an_error_that_says_what_to_do():
    with pytest.raises(WorkerDiedError, match="fewer workers"):
        list(EmbeddedExecutor(2, "processes").run(die_at, 5, range(50)))


@pytest.mark.parametrize(("workers", "kind"), [(0, "threads"), (-1, "processes"), (1, "fibres")])
def test_impossible_settings_are_refused(workers, kind):
    with pytest.raises(InputError):
        EmbeddedExecutor(workers, kind)


def test_the_executor_itself_is_picklable():
    assert pickle.loads(pickle.dumps(EmbeddedExecutor(3))).workers == 3


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import embedded_tasks
from allscan.cluster.embedded import EmbeddedExecutor

if __name__ == "__main__":
    for task, result in EmbeddedExecutor(2, {kind!r}).run(embedded_tasks.process_id, None, range({tasks})):
        print(result, flush=True)
"""


def start_script(folder, kind, tasks):
    (folder / "main.py").write_text(SCRIPT.format(folder=str(HERE), kind=kind, tasks=tasks))
    return subprocess.Popen(
        [sys.executable, str(folder / "main.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_ctrl_c_ends_the_run_and_its_workers(tmp_path, kind):
    process = start_script(tmp_path, kind, 10_000)
    worker = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)  # a terminal signals the whole group
    _, errors = process.communicate(timeout=30)
    assert errors.count("KeyboardInterrupt") == 1
    assert process.returncode != 0
    assert not psutil.pid_exists(worker) or kind == "threads"


def test_workers_of_a_killed_parent_end_by_themselves(tmp_path):
    process = start_script(tmp_path, "processes", 10_000)
    worker = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.communicate(timeout=30)
    psutil.wait_procs([worker], timeout=20)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_activity_tells_the_tasks_that_run_now() -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def wait(_: None, task: int) -> int:
        begun.release()
        assert go_on.wait(60)
        return task

    for workers in (1, 2):
        go_on.clear()
        executor = EmbeddedExecutor(workers)
        results: list[tuple[int, int]] = []
        # The same task twice: it is the runs that are counted.
        runner = threading.Thread(target=lambda: results.extend(executor.run(wait, None, [7, 7, 7])))  # noqa: B023
        runner.start()
        for _ in range(workers):
            assert begun.acquire(timeout=60)
        running = executor.activity().running
        assert [task.task for task in running] == [7] * workers
        assert {task.node for task in running} == {socket.gethostname()}
        assert all(0 <= time.time() - task.since < 60 for task in running)
        go_on.set()
        runner.join(60)
        assert len(results) == 3
        assert executor.activity().running == ()
        while begun.acquire(blocking=False):
            pass
