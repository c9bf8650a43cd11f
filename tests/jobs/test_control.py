"""Runs seen and steered from outside: status, logs, cancel, resume; what is told of failures, and what is not."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from allscan.errors import CorruptChunkError, InputError, RunStoppedError
from allscan.jobs import run_folder as run_folder_module
from allscan.jobs import status as status_module
from allscan.jobs.control import cancel_run, job_of_run
from allscan.jobs.job import Job
from allscan.jobs.run import run_job
from allscan.jobs.run_folder import COMPLETE, FAILED, RUNNING, STOPPED, SUBMITTED, RunFolder, now
from allscan.jobs.run_log import read_log, told_entry
from allscan.jobs.run_state import ask_to_stop
from allscan.jobs.status import KILLED, RunStatus, run_status
from tests.jobs.test_run import content

if TYPE_CHECKING:
    from conftest import Cohort, CommandLine

WAIT_SECONDS = 120.0

GATED_RUN = """
import sys, time
from pathlib import Path
from allscan.engine import scan
from allscan.jobs.cli import main

whole, count, gate = scan.run_task, 0, Path(sys.argv.pop())

def gated(shared, task):
    global count
    count += 1
    if count > 4:
        gate.with_name("reached").touch()
        while not gate.exists():
            time.sleep(0.05)
    return whole(shared, task)

scan.run_task = gated
main()
"""
"""A command whose tasks, from the fifth on, wait until a file is there."""


def wait_for(what: Callable[[], Any]) -> Any:
    """Poll until something is true; a hang is a failure."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@contextmanager
def gated(gate: Path, *words: object) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own that has reached its gate."""
    process = subprocess.Popen(
        [sys.executable, "-c", GATED_RUN, *map(str, words), str(gate)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: gate.with_name("reached").exists() or process.poll() is not None)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def whole(cohort: Cohort) -> dict[str, str]:
    """Bytes of a run that nobody disturbs."""
    return content(Job.from_yaml(cohort.job("whole.yaml", output="whole")).run().folder.path)


def test_a_run_is_seen_cancelled_and_resumed_from_outside(
    cohort: Cohort, whole: dict[str, str], allscan_cli: CommandLine
) -> None:
    folder, gate = cohort.folder / "run", cohort.folder / "gate"
    job = cohort.job(runtime={"workers": 2, "memory": "2GB"})
    with gated(gate, "run", job) as process:
        seen: RunStatus = wait_for(lambda: (s := run_status(folder)).n_running == 2 and s.tasks_done == 4 and s)
        assert (seen.state, seen.stage, seen.tasks_total) == (RUNNING, "scan", 10)
        assert [task["task"][:2] for task in seen.running] == ["b0", "b0"]
        assert seen.executor == {"name": "embedded", "workers": 2}
        assert seen.memory is not None
        assert seen.rate is not None
        assert seen.seconds_left is not None
        assert set(seen.stages) == {"checking", "planning", "null models", "scan"}
        told = allscan_cli("status", folder).stdout
        assert f"(process {process.pid} on " in told
        assert "stage       scan" in told
        assert f"\nnow         {seen.running[0]['task']} since " in told
        as_json = json.loads(allscan_cli("status", folder, "--json").stdout)
        assert (as_json["format"], as_json["state"], as_json["tasks_done"]) == ("allscan-status", RUNNING, 4)
        assert "already (process" in allscan_cli("resume", folder).stderr

        follower = subprocess.Popen(
            [sys.executable, "-m", "allscan.jobs.cli", "logs", str(folder), "--follow", "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )

        def on_wait(message: str) -> None:
            if "stopping" in message:
                assert run_status(folder).stopping
                gate.touch()  # tasks in flight are waited for

        done = cancel_run(folder, on_wait)
        assert (done.was, done.status.state) == (RUNNING, STOPPED)
        _, errors = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 130
        assert "as somebody asked" in errors
        assert "Traceback" not in errors
        followed, _ = follower.communicate(timeout=WAIT_SECONDS)
    entries = read_log(RunFolder(folder))
    assert [json.loads(line) for line in followed.splitlines()] == entries
    assert [entry["event"] for entry in entries][-2:] == ["stage_ended", "session_stopped"]
    assert "resume" in allscan_cli("status", folder).stdout
    assert "not at work (stopped)" in allscan_cli("cancel", folder).stdout

    # The wish to stop was that session's: the next one is not stopped by it.
    resumed = allscan_cli("resume", folder, "--workers", 1)
    assert resumed.exit_code == 0, resumed.output
    assert content(folder) == whole
    assert run_status(folder).state == COMPLETE
    assert "complete already" in allscan_cli("resume", folder).stdout
    assert "not at work (complete)" in allscan_cli("cancel", folder).stdout
    events = [entry["event"] for entry in read_log(RunFolder(folder))]
    assert events.count("session_begun") == 2
    assert events.count("task_done") >= 4
    assert events[-1] == "report_written"
    document = json.loads((folder / "provenance.json").read_text())["run"]
    assert document["executor"] == {"name": "embedded", "workers": 1, "nodes": {}, "retried": 0, "duplicated": 0}
    assert set(document["stages"]) == {"checking", "planning", "null models", "scan", "hits"}


def test_cancelling_interrupts_a_task_that_runs_in_the_main_thread(cohort: Cohort) -> None:
    with gated(cohort.folder / "gate", "run", cohort.job()) as process:
        done = cancel_run(cohort.folder / "run")
        assert done.status.state == STOPPED
        assert done.status.tasks_done == 4
        assert process.wait(WAIT_SECONDS) == 130


@pytest.mark.parametrize(("number", "code", "state"), [(signal.SIGTERM, 130, STOPPED), (signal.SIGKILL, -9, KILLED)])
def test_a_killed_run_is_recognised_and_resumed(
    cohort: Cohort, whole: dict[str, str], allscan_cli: CommandLine, number: int, code: int, state: str
) -> None:
    folder = cohort.folder / "run"
    with gated(cohort.folder / "gate", "run", cohort.job()) as process:
        os.kill(process.pid, number)
        assert process.wait(WAIT_SECONDS) == code
    assert run_status(folder).state == state
    assert f"state       {state}" in allscan_cli("status", folder, "--watch").stdout
    # The copy in the folder leads on, wherever the job file has gone.
    (cohort.folder / "job.yaml").unlink()
    assert allscan_cli("resume", folder).exit_code == 0
    assert content(folder) == whole
    # A copy of a copy is the same.
    assert (folder / "job.yaml").read_text().count("# As given") == 1


def test_a_run_in_another_thread_is_cancelled_between_tasks(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    from allscan.engine import scan

    job = Job.from_yaml(cohort.job())
    folder = RunFolder(job.output)
    first = scan.run_task

    def asking(shared: Any, task: Any) -> Any:
        state = folder.read_state()
        assert state is not None
        ask_to_stop(folder, state["session"]["id"])
        wait_for(lambda: run_status(folder.path).stopping)
        return first(shared, task)

    monkeypatch.setattr(scan, "run_task", asking)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            run_job(job)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(WAIT_SECONDS)
    assert [type(error) for error in raised] == [RunStoppedError]
    assert run_status(folder.path).state == STOPPED


def test_a_process_that_gives_no_sign_of_life_is_told(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Job.from_yaml(cohort.job()).run().folder
    state = folder.read_state()
    assert state is not None
    folder.write_state({**state, "state": RUNNING, "updated": "2026-01-01T00:00:00Z"})
    with folder.locked():
        seen = run_status(folder.path)
        assert seen.state == RUNNING
        assert "no sign of life for " in seen.text()
    # Nobody holds the lock, which is seen on this machine.
    assert run_status(folder.path).state == KILLED
    # On another one the lock may not be seen, and a recent sign of life counts.
    monkeypatch.setattr(status_module.socket, "gethostname", lambda: "elsewhere")
    assert run_status(folder.path).state == KILLED
    folder.write_state({**state, "state": RUNNING, "updated": now()})
    assert run_status(folder.path).state == RUNNING


def test_who_looks_does_not_keep_a_run_from_beginning(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(Job.from_yaml(cohort.job()).output)
    folder.create()
    with folder.locked():
        pass
    looker = (folder.path / "run.lock").open()
    fcntl.flock(looker, fcntl.LOCK_SH)  # as one who asks whether the run is locked does, for a moment
    monkeypatch.setattr(run_folder_module.time, "sleep", lambda _: looker.close())
    with folder.locked():
        assert looker.closed
        assert folder.is_locked()


def test_the_reason_of_a_failure_is_told(cohort: Cohort, allscan_cli: CommandLine) -> None:
    chunk = cohort.store / "call_dosage" / "c" / "2" / "0"
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    with pytest.raises(CorruptChunkError):
        Job.from_yaml(cohort.job()).run()
    seen = run_status(cohort.folder / "run")
    assert seen.state == FAILED
    assert seen.failure is not None
    assert seen.failure["kind"] == "CorruptChunkError"
    told = allscan_cli("status", cohort.folder / "run").stdout
    assert "reason      CorruptChunkError: a chunk of the genotype store does not match its checksum" in told
    assert f"where       {chunk}" in told
    assert "failed: CorruptChunkError" in allscan_cli("logs", cohort.folder / "run").stdout


def everything_written(folder: Path) -> str:
    texts = [path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return "\n".join(texts)


def test_the_words_of_a_bug_are_not_written(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    from allscan.engine import scan

    def fail(*_: object) -> None:
        raise ValueError("P0007 weighs 80 kg")

    monkeypatch.setattr(scan, "run_task", fail)
    with pytest.raises(ValueError, match="P0007"):
        Job.from_yaml(cohort.job()).run()
    failure = run_status(cohort.folder / "run").failure
    assert failure is not None
    assert (failure["kind"], failure["what"]) == ("ValueError", None)
    assert failure["where"].startswith("test_control.py:")
    assert "P0007" not in everything_written(cohort.folder / "run")


def submitted(cohort: Cohort, submission: str = "allscan-1") -> RunFolder:
    """The folder of a run that was given to a cluster, which has not begun."""
    from allscan.jobs.run import job_text
    from allscan.jobs.submission import _submitted

    job = Job.from_yaml(cohort.job())
    folder = RunFolder(job.output)
    folder.create()
    folder.write_state(_submitted(job, None, "http://127.0.0.1:1", submission, update=False))
    folder.job_file.write_text(job_text(job))
    return folder


def test_a_refused_table_is_not_quoted_by_a_process_whose_output_is_a_log(
    cohort: Cohort, allscan_cli: CommandLine
) -> None:
    folder = submitted(cohort)
    table = cohort.folder / "traits.tsv"
    table.write_text(table.read_text().replace("P0", "Q0"))
    refused = allscan_cli("resume", folder.path, "--submission", "allscan-1")
    assert refused.exit_code == 2
    assert "may quote the table" in refused.stderr
    seen = run_status(folder.path)
    assert seen.state == FAILED
    assert "may quote the table" in seen.text()
    for text in (refused.output, everything_written(folder.path)):
        assert "Q0" not in text
        assert "P0" not in text
    # Who sits at the screen sees three of each side.
    assert "Q0" in allscan_cli("resume", folder.path, "--here").stderr
    assert "Q0" not in everything_written(folder.path)


def test_a_process_of_a_submission_that_is_no_longer_wanted_does_nothing(
    cohort: Cohort, allscan_cli: CommandLine
) -> None:
    folder = submitted(cohort, "allscan-2")
    before = folder.state_file.read_bytes()
    late = allscan_cli("resume", folder.path, "--submission", "allscan-1")
    assert late.exit_code == 2
    assert "does not wait for the submission allscan-1" in late.stderr
    assert folder.state_file.read_bytes() == before
    seen = run_status(folder.path)
    assert seen.state == SUBMITTED
    assert "the cluster cannot be asked: no Ray cluster answers" in seen.text()


def test_a_wish_to_stop_that_comes_before_the_process_is_heeded(cohort: Cohort, allscan_cli: CommandLine) -> None:
    folder = submitted(cohort)
    with pytest.raises(ConnectionError, match="no Ray cluster answers"):
        cancel_run(folder.path)
    stopped = allscan_cli("resume", folder.path, "--submission", "allscan-1")
    assert stopped.exit_code == 130
    assert run_status(folder.path).state == STOPPED


def test_a_refused_resumption_leaves_the_run_as_it_was(cohort: Cohort, allscan_cli: CommandLine) -> None:
    folder = cohort.folder / "run"
    with gated(cohort.folder / "gate", "run", cohort.job()) as process:
        process.terminate()
        process.wait(WAIT_SECONDS)
    before = run_status(folder)
    table = cohort.folder / "traits.tsv"
    original = table.read_text()
    table.write_text(original.replace("1.5", "1.6"))
    refused = allscan_cli("resume", folder)
    assert refused.exit_code == 2
    assert "the content of the file is not the same" in refused.stderr
    assert run_status(folder) == before
    table.write_text(original)
    assert allscan_cli("resume", folder).exit_code == 0


def test_a_job_comes_back_from_its_run_folder(cohort: Cohort) -> None:
    folder = Job.from_yaml(cohort.job(runtime={"workers": 1})).run().folder.path
    job, _ = job_of_run(folder, workers=None, memory="3GB")
    assert job.output == folder
    assert job.resolve(job.spec.genotypes) == cohort.store
    assert (job.spec.runtime.workers, job.spec.runtime.memory) == (1, "3GB")
    (folder / "job.yaml").unlink()
    with pytest.raises(InputError, match="does not hold all"):
        job_of_run(folder)


def test_half_a_line_of_a_log_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_log(folder) == []
    entry = {
        "v": 1,
        "time": "2026-01-02T03:04:05.678Z",
        "level": "warning",
        "event": "task_retried",
        "message": "again",
    }
    folder.log.write_text(
        f'{json.dumps(entry)}\n{{"v": 1, "ti{json.dumps(entry)}\n"a text"\n{json.dumps(entry)}\n{{"v"'
    )
    assert read_log(folder) == [entry, entry]
    assert told_entry(entry) == "2026-01-02 03:04:05  warning: again"
