"""Runs that a Ray cluster is given through its job server, seen and steered from outside: a real head on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from allscan.cluster.ray_cluster import private_environment, write_token
from allscan.cluster.ray_jobs import checked_address
from allscan.errors import JobError
from allscan.jobs import control
from allscan.jobs.job import Job
from allscan.jobs.run_folder import COMPLETE, FAILED, RUNNING, STOPPED, SUBMITTED, RunFolder
from allscan.jobs.run_log import read_log
from allscan.jobs.status import KILLED, RunStatus, run_status
from tests.jobs.test_control import wait_for
from tests.jobs.test_run import content
from tests.ports import free_port

if TYPE_CHECKING:
    from conftest import Cohort

ROOT = Path(__file__).parents[2]

HOLD = '''
"""Imported by every Python of the cluster at its start: tasks from the fifth on wait while a file is there."""
import importlib.abc, importlib.util, sys, time

class Hold(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "allscan.engine.scan":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_hold(module):
            load(module)
            whole = module.run_task

            def held(shared, task):
                while task.index >= 4 and (shared.output.parent / "hold").exists():
                    time.sleep(0.05)
                return whole(shared, task)

            module.run_task = held

        spec.loader.exec_module = load_and_hold
        return spec

sys.meta_path.insert(0, Hold())
'''


@dataclass(frozen=True)
class Head:
    """A head node with its job server."""

    address: str
    token: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a client of the cluster has in its environment: the token, and nothing of where the cluster is."""
        return {**os.environ, "RAY_AUTH_TOKEN_PATH": str(self.token)}


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    (folder / "sitecustomize.py").write_text(HOLD)
    token = write_token(folder / "token")
    gcs, dashboard, agent, metrics = (free_port() for _ in range(4))
    environment = {
        **os.environ,
        **private_environment(token),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}:{ROOT / 'src'}:{ROOT}",
    }
    environment.pop("RAY_ADDRESS", None)
    # Sockets need short paths.
    temporary = Path("/tmp") / f"allscan-head-{os.getpid()}"
    words = ["start", "--head", "--block", "--num-cpus=2", f"--port={gcs}", "--include-dashboard=true"]
    words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    words += [f"--metrics-export-port={metrics}", f"--temp-dir={temporary}", "--object-store-memory=200000000"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *words],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{dashboard}"

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        headers = {"Authorization": f"Bearer {token.read_text()}"}
        try:
            urllib.request.urlopen(urllib.request.Request(f"{address}/api/version", headers=headers), timeout=5)
        except OSError:
            return False
        return True

    try:
        wait_for(answers)
        yield Head(address, token)
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=20)
        process.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def allscan(head: Head, *words: object, token: str | None = None) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which is gone when this returns."""
    environment = head.environment
    if token is not None:
        del environment["RAY_AUTH_TOKEN_PATH"]
        environment |= {"HOME": "/nonexistent", "RAY_AUTH_TOKEN": token}
    return subprocess.run(
        [sys.executable, "-m", "allscan.jobs.cli", *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def reached_the_hold(folder: Path) -> RunStatus:
    """Status of a run whose first four tasks are done and whose others are held."""

    def seen() -> RunStatus | None:
        status = run_status(folder)
        assert status.state in (SUBMITTED, RUNNING), status
        return status if status.state == RUNNING and status.tasks_done == 4 and status.n_running else None

    found = wait_for(seen)
    assert isinstance(found, RunStatus)
    return found


def test_a_run_is_submitted_cancelled_killed_and_resumed(
    head: Head, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = content(Job.from_yaml(cohort.job("whole.yaml", output="whole")).run().folder.path)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token))
    folder, hold = cohort.folder / "run", cohort.folder / "hold"
    job = cohort.job(runtime={"memory": "2GB"})

    # Without the right token nothing is begun, and none is written anywhere.
    for token in ("", "0" * 64):
        refused = allscan(head, "submit", job, "--cluster", head.address, token=token)
        assert refused.returncode == 2, refused
        assert "refuses the token" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not folder.exists()

    hold.touch()
    given = allscan(head, "submit", job, "--cluster", head.address)
    assert given.returncode == 0, given
    assert "submitted   allscan-" in given.stdout
    assert str(cohort.store) in given.stderr
    again = allscan(head, "submit", job, "--cluster", head.address)
    assert again.returncode == 2
    assert "already" in again.stderr
    seen = reached_the_hold(folder)
    assert seen.executor == {"name": "ray", "workers": 2}
    assert {task["node"] for task in seen.running} == {socket.gethostname()}
    assert seen.cluster is not None
    assert seen.cluster["address"] == head.address
    assert "running already" in allscan(head, "submit", job, "--cluster", head.address).stderr
    assert "session begun" in allscan(head, "logs", folder).stdout

    stopped = control.cancel_run(
        folder, lambda message: hold.unlink(missing_ok=True) if "stopping" in message else None
    )
    assert stopped.status.state == STOPPED
    done = stopped.status.tasks_done
    assert 4 <= done < 10

    hold.touch()
    resumed = allscan(head, "resume", folder)
    assert resumed.returncode == 0, resumed
    seen = wait_for(lambda: (s := run_status(folder)).state == RUNNING and s.n_running and s)
    process = int(seen.process.split()[1])
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(process))
    status = allscan(head, "status", folder)
    assert "killed" in status.stdout
    assert run_status(folder).state == KILLED

    # A process that does not react is stopped by the cluster.
    assert allscan(head, "resume", folder).returncode == 0
    seen = wait_for(lambda: (s := run_status(folder)).state == RUNNING and s.n_running and s)
    os.kill(int(seen.process.split()[1]), signal.SIGSTOP)
    monkeypatch.setattr(control, "NOTICE_SECONDS", 1.0)
    waited: list[str] = []
    stopped = control.cancel_run(folder, waited.append)
    assert waited == ["asked the run to stop", "asking the cluster to stop it"]
    assert stopped.status.state == STOPPED

    hold.unlink()
    assert allscan(head, "resume", folder).returncode == 0
    followed = allscan(head, "logs", folder, "--follow", "--json")
    assert run_status(folder).state == COMPLETE, followed
    assert content(folder) == whole
    entries = [json.loads(line) for line in followed.stdout.splitlines()]
    assert entries == read_log(RunFolder(folder))
    assert [entry["event"] for entry in entries].count("session_begun") == 4
    document = json.loads((folder / "provenance.json").read_text())["run"]
    assert document["executor"]["name"] == "ray"
    assert sum(document["executor"]["nodes"].values()) == 1
    assert len(document["earlier_sessions"]) == 3
    complete = allscan(head, "submit", job, "--cluster", head.address)
    assert complete.returncode == 2
    assert "complete already" in complete.stderr
    secret = head.token.read_text().encode()
    assert not [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_a_process_that_cannot_begin_is_told(head: Head, cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token))
    # The table is not seen from here: the cluster is to check it.
    job = cohort.job(traits={"file": "elsewhere.tsv", "columns": ["ldl"]}, runtime={})
    given = allscan(head, "submit", job, "--cluster", head.address, "--python", "no-such-python")
    assert given.returncode == 0, given
    assert "not seen from here, so that the cluster will check it: traits.file: " in given.stderr
    folder = cohort.folder / "run"
    wait_for(lambda: run_status(folder).state != SUBMITTED)
    status = run_status(folder)
    assert status.state == FAILED
    assert "ended before it began to work" in status.text()
    assert "no-such-python" in allscan(head, "logs", folder).stdout
    assert control.cancel_run(folder).was == FAILED
    # A process that does begin finds that the table is not there.
    assert allscan(head, "resume", folder).returncode == 0
    wait_for(lambda: not run_status(folder).is_active)
    assert "JobError: there is no file 'elsewhere.tsv'" in run_status(folder).text()


def test_addresses_of_job_servers() -> None:
    assert checked_address("http://head") == "http://head:8265"
    assert checked_address("https://ray.example.org/") == "https://ray.example.org"
    assert checked_address("http://127.0.0.1:8265/") == "http://127.0.0.1:8265"
    for bad in ("auto", "head:8265", "ray://head:10001", "http://", "http://head:x", "http://head/jobs"):
        with pytest.raises(JobError, match="is not the address of a job server"):
            checked_address(bad)
    for secret in ("http://me:word@head:8265", "http://head:8265?token=word"):
        with pytest.raises(JobError, match="holds a password or a token") as error:
            checked_address(secret)
        assert "word" not in str(error.value).replace("password", "")
