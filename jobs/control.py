"""What can be done to a run from outside: cancel it, resume it, read its log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allscan.documents.yaml_source import read_yaml
from allscan.errors import AllscanError, ClusterError, InputError
from allscan.jobs.job import Job
from allscan.jobs.run_cluster import cluster_of
from allscan.jobs.run_folder import RUNNING, STOPPED, SUBMITTED, RunFolder, now, open_run_folder
from allscan.jobs.run_state import ask_to_stop
from allscan.jobs.spec import validate_job
from allscan.jobs.status import RunStatus, run_status
from allscan.storage import place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from allscan.storage import Place

NOTICE_SECONDS = 15.0
"""How long a process has to notice that it shall stop, before its cluster is asked to stop it."""
CLUSTER_SECONDS = 30.0
"""How long a cluster has to stop a process; Ray kills it three seconds after it has asked it to end."""
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Cancelled:
    """What became of a run that was to be stopped."""

    was: str  # its state before
    status: RunStatus


def job_of_run(path: Place, **runtime: Any) -> tuple[Job, dict[str, Any]]:
    """The job that a run folder holds, as it was given, and the state of the run.

    Parameters
    ----------
    path
        The run folder.
    runtime
        Run-time settings that replace those that the run was given; None leaves one as it was.

    Raises
    ------
    InputError
        There is no run, or it does not say where the paths of its job lead from.
    """
    folder, state = open_run_folder(path)
    base = state.get("base")
    if base is None or not folder.job_file.exists():
        raise InputError(
            "the run folder does not hold all that it takes to resume from it",
            where=str(path),
            fix="give `allscan run` the job file: it goes on where the run was stopped",
        )
    document = read_yaml(folder.job_file)
    keys = validate_job(document.data, document).model_dump(exclude_unset=True)
    keys["output"] = str(folder.path.resolve())
    keys["runtime"] = keys.get("runtime", {}) | state.get("runtime", {})
    return Job(validate_job(keys), place_of(base), document).with_runtime(**runtime), state


def refuse_active(status: RunStatus) -> None:
    """Refuse to start a run that is at work.

    Raises
    ------
    InputError
        It is.
    """
    if status.is_active:
        raise InputError(
            f"the run is {status.state} already ({status.process})",
            where=str(status.folder.path),
            fix=f"`allscan status {status.folder.path}` shows how far it is",
        )


def cancel_run(path: Place, on_wait: Callable[[str], None] | None = None) -> Cancelled:
    """Have the process that works on a run stop, wherever it works. Finished tasks are kept.

    Parameters
    ----------
    path
        The run folder.
    on_wait
        Told, in words, what is waited for.

    Raises
    ------
    InputError
        There is no run.
    ClusterError
        The run does not react, and its cluster cannot be asked.
    """
    tell = on_wait or (lambda _: None)
    folder, state = open_run_folder(path)
    status = run_status(path)
    if not status.is_active:
        return Cancelled(status.state, status)
    was = status.state
    cluster = state.get("cluster")
    session = (state.get("session") or {}).get("id") or (cluster or {})["submission_id"]
    ask_to_stop(folder, session)
    if was == RUNNING:
        tell("asked the run to stop")
        status = _wait(path, lambda now_: not now_.is_active or now_.stopping, NOTICE_SECONDS)
        if status.stopping and status.is_active:
            tell("it is stopping: tasks that run are waited for")
            status = _wait(path, lambda now_: not now_.is_active or bool(now_.remarks), None)
    if status.is_active and cluster:
        tell("asking the cluster to stop it")
        status = _stop_on_cluster(folder, state)
    if status.is_active:
        raise InputError(
            f"the run does not react ({status.process})",
            where=str(path),
            fix="end that process (`kill`); finished tasks are kept",
        )
    return Cancelled(was, status)


def _wait(path: Place, until: Callable[[RunStatus], bool], seconds: float | None) -> RunStatus:
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        status = run_status(path)
        if until(status) or (deadline is not None and time.monotonic() > deadline):
            return status
        time.sleep(POLL_SECONDS)


def _stop_on_cluster(folder: RunFolder, before: dict[str, Any]) -> RunStatus:
    cluster = cluster_of(folder, before)
    assert cluster is not None
    submission = before["cluster"]["submission_id"]
    cluster.stop(submission)
    deadline = time.monotonic() + CLUSTER_SECONDS
    while not cluster.look(submission).is_over:
        if time.monotonic() > deadline:
            raise ClusterError(
                "the cluster has not stopped the run yet",
                where=f"{cluster.address}, submission {submission}",
                fix="look at it with `allscan status`, and cancel it again",
            )
        time.sleep(POLL_SECONDS)
    with folder.locked():
        state = folder.read_state() or {}
        if state.get("state") in (RUNNING, SUBMITTED):
            # The process was killed before it could say so.
            folder.write_state({**state, "state": STOPPED, "updated": now(), "running": [], "n_running": 0})
    return run_status(folder.path)


def driver_output(path: Place) -> str | None:
    """What the process that a cluster drives a run with has printed; None where no cluster does.

    Raises
    ------
    ClusterError
        The cluster cannot be asked.
    """
    folder, state = open_run_folder(path)
    cluster = cluster_of(folder, state)
    return None if cluster is None else cluster.output(state["cluster"]["submission_id"])


def is_over(path: Place) -> bool:
    """Whether nobody works on a run any more."""
    try:
        # The report of a complete run is written, and logged, while its process still holds the folder.
        return not run_status(path).is_active and not RunFolder(path).is_locked()
    except AllscanError:
        return True
