"""The Slurm script under a real Slurm: two nodes, both of them this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from allscan.jobs.cli import main
from tests.ports import free_port

SCRIPT = Path(__file__).resolve().parents[2] / "cluster" / "deploy" / "slurm.sh"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue")
SEARCH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2,builtin_interval=2,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
FirstJobId={first_job}
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1 RealMemory=8000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

# The run is short: it waits until the worker's node is there too.
ALLSCAN = """\
#!{python}
import runpy, sys, time
import ray
ray.init(address=sys.argv[-1], logging_level="error", log_to_driver=False)
while len([node for node in ray.nodes() if node["Alive"]]) < 2:
    time.sleep(0.2)
ray.shutdown()
print("two nodes", flush=True)
runpy.run_module("allscan.jobs.cli", run_name="__main__")
"""


def free_job() -> int:
    """A number of a job whose ports nobody uses."""
    for job in range(os.getpid() % 1000 + 1, 3000):
        try:
            for port in (20000 + job % 1200 * 10, 20001 + job % 1200 * 10):
                with closing(socket.socket()) as one:
                    one.bind(("", port))
        except OSError:
            continue
        return job
    raise AssertionError("no ports are free")


def wait_until(ready: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.2)


@dataclass(frozen=True)
class Slurm:
    """A Slurm of two nodes."""

    environment: dict[str, str]

    def call(self, *words: object, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state(self, job: str) -> str:
        return self.call("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCH) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: munge, slurmctld, slurmd, slurm-client)")
    with ExitStack() as stack:
        # Not pytest's folder: its name is too long for a socket's.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp")))
        (folder / "state").mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        tools = folder / "bin"
        tools.mkdir()
        ours = tools / "allscan"
        ours.write_text(ALLSCAN.format(python=sys.executable))
        ours.chmod(0o755)
        configuration = folder / "slurm.conf"
        configuration.write_text(
            CONFIGURATION.format(
                folder=folder,
                host=socket.gethostname().split(".")[0],
                user=psutil.Process().username(),
                control=free_port(),
                first=free_port(),
                second=free_port(),
                first_job=free_job(),
            )
        )
        environment = {**os.environ, "PATH": f"{tools}:{SEARCH}", "SLURM_CONF": str(configuration)}
        environment.pop("RAY_ADDRESS", None)
        for number, words in enumerate(
            (
                ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
                + [f"--{kind}-file={folder}/munge.{kind}" for kind in ("log", "pid", "seed")],
                ["slurmctld", "-D"],
                ["slurmd", "-D", "-N", "n1"],
                ["slurmd", "-D", "-N", "n2"],
            )
        ):
            daemon = subprocess.Popen(
                words,
                env=environment,
                stdout=stack.enter_context((folder / f"{number}.out").open("wb")),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(end, daemon)
        made = Slurm(environment)
        wait_until(lambda: (folder / "munge.socket").exists(), "munge's socket")
        wait_until(lambda: idle_nodes(made) == 2, "Slurm's two nodes")
        yield made


def idle_nodes(slurm: Slurm) -> int:
    shown = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%t"],
        env=slurm.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return shown.stdout.split().count("idle")


def end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def processes_of(text: str) -> list[str]:
    running = psutil.process_iter(["name", "cmdline"])
    return [process.info["name"] for process in running if text in str(process.info["cmdline"])]


def test_a_job_is_queued_again_when_its_time_is_up_and_ends_with_the_same_bytes(slurm: Slurm, tmp_path: Path) -> None:
    for words in (
        ["simulate", "cohort", "--samples", "300", "--variants", "2000", "--traits", "3", "--chromosomes", "21,22"],
        ["ingest", "cohort/genotypes.pgen", "cohort/genotypes.zarr"],
    ):
        words = [str(tmp_path / word) if word.startswith("cohort") else word for word in words]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
    job_file = tmp_path / "cohort" / "job.yaml"
    output = tmp_path / "cohort" / "runs" / "simulated"
    assert CliRunner().invoke(main, ["run", str(job_file), "--workers", "1"]).exit_code == 0
    alone = contents(output / "results.zarr")
    shutil.rmtree(output)

    job = slurm.call(
        "sbatch", "--parsable", "--nodes=2", "--cpus-per-task=1", "--time=10", SCRIPT, job_file, cwd=tmp_path
    ).strip()
    log, token = tmp_path / f"allscan-{job}.log", tmp_path / f".allscan-{job}.token"
    wait_until(lambda: log.exists() and "Ray's head on n1" in log.read_text(), "the head")
    wait_until(token.exists, "the token")
    assert token.stat().st_mode & 0o777 == 0o600
    # What Slurm sends two minutes before the job's time is up.
    slurm.call("scancel", "--signal=USR1", "--batch", job)
    wait_until(lambda: "it is queued again" in log.read_text(), "the end of the first part")
    assert not token.exists()

    wait_until(lambda: slurm.state(job) in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"), "the end of the job", 240)
    told = log.read_text()
    assert slurm.state(job) == "COMPLETED", told
    assert told.count("Ray's head on n1") == 2
    assert contents(output / "results.zarr") == alone
    assert not token.exists()
    assert not Path(f"/tmp/allscan-{job}").exists()
    wait_until(lambda: not processes_of(f"/tmp/allscan-{job}"), "the end of Ray")
    executor = json.loads((output / "provenance.json").read_text())["run"]["executor"]
    assert executor["name"] == "ray"
    assert sum(executor["nodes"].values()) == 2


def test_outside_slurm_it_says_what_to_do(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    for words, told in (([], "usage: sbatch"), (["job.yaml"], "sbatch slurm.sh job.yaml")):
        done = subprocess.run(
            ["bash", SCRIPT, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert told in done.stderr
    assert not list(tmp_path.iterdir())
