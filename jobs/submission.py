"""Handing a run to a cluster: the process that drives it works there, and this machine may go."""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allscan.cluster.ray_jobs import ClusterJobs
from allscan.errors import InputError
from allscan.jobs import checks
from allscan.jobs.check import named_files
from allscan.jobs.run import job_text
from allscan.jobs.run_folder import COMPLETE, RUNNING, SUBMITTED, RunFolder, now, refuse_changes, write_text
from allscan.jobs.run_state import sessions_of
from allscan.jobs.status import run_status
from allscan.jobs.trait_tables import with_trait_tables

if TYPE_CHECKING:
    from allscan.jobs.check_report import CheckReport
    from allscan.jobs.job import Job
    from allscan.storage import Place

DEFAULT_PYTHON = "python3"


@dataclass(frozen=True)
class Submission:
    """A run that a cluster was given."""

    folder: RunFolder
    address: str
    id: str
    report: CheckReport | None  # of the check here; None where not all of its files are seen from here
    unseen: tuple[str, ...]  # keys and paths that only the cluster can read
    local: tuple[str, ...]  # paths that must be the same there


def submit_job(
    job: Job, address: str, *, update: bool = False, python: str = DEFAULT_PYTHON, check: bool = True
) -> Submission:
    """Have a cluster run a job, or go on with it where it was stopped.

    Parameters
    ----------
    job
        The job. Its paths, made absolute by its own folder, must name the same files on the cluster.
    address
        Job server of the cluster, ``http://HOST:PORT``.
    update
        As for a run.
    python
        Command of the Python on the cluster in which allscan is installed.
    check
        Whether the job is checked here before, if its files are seen from here.

    Raises
    ------
    InputError
        The job is refused, or its run is at work or complete.
    ClusterError
        The cluster cannot be reached, or refuses.
    """
    cluster = ClusterJobs(address)
    folder = RunFolder(job.output.resolve())
    before = _idle_state(folder)
    unseen = tuple(_unseen(job))
    checked = None
    if check and not unseen:
        with with_trait_tables(job, write=False) as resolved:
            checked = checks.check(resolved)
    folder.create()
    submission = f"allscan-{now().replace('-', '').replace(':', '')}-{secrets.token_hex(3)}"
    with folder.locked():
        if folder.read_state() != before:
            raise InputError(
                "somebody else has started the run just now",
                where=str(folder.path),
                fix=f"`allscan status {folder.path}` shows how far it is",
            )
        _refuse_needless(folder, before, checked.science if checked else None, job, update=update)
        folder.write_state(_submitted(job, before, cluster.address, submission, update=update))
        job_before = folder.job_file.read_bytes() if folder.job_file.exists() else None
        write_text(folder.job_file, job_text(job))
    try:
        cluster.start(driver_command(folder.path, submission, python), submission)
    except Exception:
        with folder.locked():
            if before is None:
                folder.state_file.unlink(missing_ok=True)
                folder.job_file.unlink(missing_ok=True)
            else:
                folder.write_state(before)
                if job_before is not None:
                    write_text(folder.job_file, job_before.decode())
        raise
    local = tuple(str(path) for path in _paths(job).values())
    return Submission(folder, cluster.address, submission, checked.report if checked else None, unseen, local)


def driver_command(folder: Place, submission: str, python: str) -> str:
    """What the cluster's shell is told to run."""
    words = ["-m", "allscan.jobs.cli", "resume", str(folder), "--here", "--submission", submission]
    # The Python may be several words, such as `uv run python`.
    return f"{python} {shlex.join([*words, '--executor', 'ray', '--address', 'auto'])}"


def _paths(job: Job) -> dict[str, Place]:
    """Key and place of everything that the job reads or writes."""
    named = {".".join(map(str, key)): spelled for key, spelled in named_files(job)}
    store = {} if job.spec.genotypes is None else {"genotypes": job.spec.genotypes}
    return {
        key: job.resolve(spelled).resolve() for key, spelled in {**store, **named, "output": job.spec.output}.items()
    }


def _unseen(job: Job) -> list[str]:
    return [f"{key}: {path}" for key, path in _paths(job).items() if key != "output" and not path.exists()]


def _idle_state(folder: RunFolder) -> dict[str, Any] | None:
    """State of a run on which nobody works now, or None where there is no run."""
    state = folder.read_state()
    if state is None:
        return None
    status = run_status(folder.path)
    if status.state in (RUNNING, SUBMITTED):
        raise InputError(
            f"the run is {status.state} already ({status.process})",
            where=str(folder.path),
            fix=f"`allscan status {folder.path}` shows how far it is, `allscan cancel {folder.path}` stops it",
        )
    return state


def _refuse_needless(
    folder: RunFolder, before: dict[str, Any] | None, science: dict[str, Any] | None, job: Job, *, update: bool
) -> None:
    if before is None or science is None or before["science"] is None:
        return
    if not update:
        refuse_changes(before["science"], science, folder.path, job.locate())
    if before["state"] == COMPLETE and before["science"] == science:
        raise InputError(
            "the run is complete already",
            where=str(folder.path),
            fix="its results are there; `allscan run` writes the report again if its settings have changed",
        )


def _submitted(
    job: Job,
    before: dict[str, Any] | None,
    address: str,
    submission: str,
    *,
    update: bool,
) -> dict[str, Any]:
    before = before or {}
    counts = ("tasks_done", "tasks_total", "tasks_resumed", "variants_done", "variants_total")
    return {
        "name": job.spec.name,
        "state": SUBMITTED,
        "base": str(job.base.resolve()),
        "runtime": job.spec.runtime.model_dump(),
        "update": update,
        "updated": now(),
        "science": before.get("science"),
        "cluster": {"address": address, "submission_id": submission, "submitted": now()},
        **{key: before.get(key, 0) for key in counts},
        "session": None,
        "earlier_sessions": sessions_of(before),
    }
