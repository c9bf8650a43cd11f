"""Whole runs of the command line on a cluster: the driver and the head are killed, and the answer is the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.cluster.ray_nodes import Machines, environment
from tests.faults import slow_scan
from tests.jobs.conftest import Cohort, _cohort_template, cohort

pytestmark = pytest.mark.timeout(300)

__all__ = ["_cohort_template", "cohort"]

# A task waits before it computes and before it commits, so that there is something to interrupt.
DRIVER = """
import random, sys, time
from allscan.jobs.cli import main
from tests.faults import slow_scan
slow_scan.install(float(sys.argv[1]))
main(sys.argv[2:])
"""


def start_run(machines: Machines, job: Path, *, seconds: float = 0.1) -> subprocess.Popen[str]:
    return start_program(machines.env, job, machines.address, seconds)


def start_program(env: dict[str, str], job: Path, address: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(seconds), "run", str(job), "--address", address]
    return subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def results(folder: Path) -> dict[str, bytes]:
    """Every file that holds results."""
    files = [folder / "hits.parquet", *(folder / "results.zarr").rglob("*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}


def commits(folder: Path) -> int:
    return len(list((folder / "commits").glob("*.json")))


def embedded(cohort: Cohort) -> dict[str, bytes]:
    """Results of the undisturbed run on one machine."""
    from allscan.jobs.job import Job

    job = cohort.job("embedded.yaml", output="embedded")
    Job.from_yaml(job).run()
    return results(cohort.folder / "embedded")


def test_a_driver_that_is_killed_at_twenty_moments_ends_with_the_same_bytes(machines: Machines, cohort: Cohort) -> None:
    expected = embedded(cohort)
    choose = random.Random(4)
    kills = runs = 0
    while kills < 20:
        runs += 1
        job = cohort.job(f"job{runs}.yaml", output=f"run{runs}")
        folder = cohort.folder / f"run{runs}"
        while kills < 20 and commits(folder) < 10:
            before = commits(folder)
            program = start_run(machines, job, seconds=0.2)
            with program:
                # From before there is a run folder to after the last commit.
                wait_for(lambda: folder.exists() or program.poll() is not None)  # noqa: B023
                target = before + choose.randrange(0, 4)
                wait_for(lambda: commits(folder) >= min(target, 10) or program.poll() is not None)  # noqa: B023
                time.sleep(choose.uniform(0, 0.3))
                program.send_signal(signal.SIGKILL)
                program.communicate()
            if program.returncode == -signal.SIGKILL:
                kills += 1
        finish(start_run(machines, job, seconds=0))
        assert results(folder) == expected
    assert runs >= 2


def wait_for(happened: Callable[[], bool], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(program: subprocess.Popen[str]) -> str:
    told, errors = program.communicate(timeout=200)
    assert program.returncode == 0, told + errors
    return told


def test_a_run_goes_on_on_another_cluster_when_the_head_is_killed(
    start: Callable[..., Machines], cohort: Cohort
) -> None:
    machines = start(cpus=2)
    folder = cohort.folder / "run"
    program = start_run(machines, cohort.job(), seconds=1.0)
    wait_for(lambda: commits(folder) >= 2)
    machines.kill_head()
    began = time.monotonic()
    told, errors = program.communicate(timeout=120)
    assert program.returncode == 2, told + errors
    assert "Traceback" not in errors
    assert "the Ray cluster" in errors
    assert "finished tasks are kept" in errors
    assert time.monotonic() - began < 60
    assert 2 <= commits(folder) < 10
    machines.start_head()
    finish(start_run(machines, cohort.job(), seconds=0))
    assert results(folder) == embedded(cohort)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_private_cluster_ends_with_its_driver(cohort: Cohort, tmp_path: Path, how: signal.Signals) -> None:
    env = environment(tmp_path / "none")
    env = {name: value for name, value in env.items() if not name.startswith("RAY_")}
    program = start_program(env, cohort.job(), "local", 1.0)
    with program:
        wait_for(lambda: commits(cohort.folder / "run") >= 2 or program.poll() is not None)
        of_cluster = psutil.Process(program.pid).children(recursive=True)
        assert "raylet" in {process.name() for process in of_cluster}
        if how == signal.SIGINT:
            os.killpg(program.pid, how)  # a terminal signals the whole group
        else:
            program.send_signal(how)
        told, errors = program.communicate(timeout=60)
    assert program.returncode == (130 if how == signal.SIGINT else -how), told + errors
    assert "Traceback" not in errors
    assert 2 <= commits(cohort.folder / "run") < 10
    finish(start_program(env, cohort.job(), "local", 0))
    assert not list(Path("/tmp").glob(f"allscan-ray-{program.pid}-*"))
    # Ray's agents try for a minute to tell the head, which is gone, that their raylet is.
    _, left = psutil.wait_procs(of_cluster, timeout=120 if how == signal.SIGKILL else 5)
    assert left == []
    assert results(cohort.folder / "run") == embedded(cohort)


def test_a_damaged_chunk_is_named_and_the_other_tasks_are_kept(machines: Machines, cohort: Cohort) -> None:
    chunk = cohort.store / "call_dosage" / "c" / "8" / "0"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    program = start_run(machines, cohort.job(), seconds=0)
    told, errors = program.communicate(timeout=120)
    assert program.returncode == 2, told + errors
    assert "does not match its checksum" in errors
    assert "call_dosage/c/8/0" in errors
    assert "Traceback" not in errors
    assert 1 <= commits(cohort.folder / "run") < 10
    chunk.write_bytes(content)
    finish(start_run(machines, cohort.job(), seconds=0))
    assert results(cohort.folder / "run") == embedded(cohort)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB, where this user may mount one; else a folder on which the tasks find no room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield disk
    if mounted:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Leave no room. Where the disk is a large one, the name of the file tells the tasks to find none."""
    with suppress(OSError), (disk / slow_scan.FILLER).open("wb", buffering=0) as file:
        for _ in range(8192):
            file.write(bytes(1 << 10))


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    machines: Machines, cohort: Cohort, small_disk: Path
) -> None:
    folder = small_disk / "run"
    job = cohort.job(output=str(folder))
    program = start_run(machines, job, seconds=0.5)
    wait_for(lambda: commits(folder) >= 2)
    fill(small_disk)
    told, errors = program.communicate(timeout=120)
    assert program.returncode == 2, told + errors
    assert "the disk is full" in errors
    assert "finished blocks are kept" in errors
    assert "Traceback" not in errors
    kept = commits(folder)
    assert 2 <= kept < 10
    (small_disk / slow_scan.FILLER).unlink()
    finish(start_run(machines, job, seconds=0))
    assert results(folder) == embedded(cohort)
