"""Running a job: check, plan, scan, provenance, report; a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.reuse import COMMITS
from allscan.engine.scan import ScanProgress, ScanSummary, run_scan
from allscan.errors import AllscanError, FileFormatError
from allscan.jobs.check import CheckedJob, check_job
from allscan.jobs.plan import PlannedJob, plan_job, refuse_full_disk
from allscan.jobs.provenance import Session, provenance_document
from allscan.jobs.run_folder import (
    COMPLETE,
    FAILED,
    RUNNING,
    STOPPED,
    RunFolder,
    now,
    open_complete_run,
    refuse_changes,
    write_text,
    writing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import xarray as xr

    from allscan.jobs.job import Job

STATE_SECONDS = 2.0
"""How often the state of a run is written while it works."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A complete run."""

    folder: RunFolder
    n_tests: int
    n_hits: int
    already_complete: bool  # nothing had to be computed

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r}: {self.n_tests:,} tests, {self.n_hits:,} hits)"

    @property
    def report_path(self) -> Path:
        """The report, one HTML file."""
        return self.folder.report

    @property
    def provenance_path(self) -> Path:
        """The provenance document."""
        return self.folder.provenance

    def results(self) -> xr.Dataset:
        """The results, opened lazily; dimensions (stratum, trait, variant)."""
        from allscan.engine.results import open_results

        return open_results(self.folder.path)


def run_job(
    job: Job,
    *,
    update: bool = False,
    on_checked: Callable[[CheckedJob], None] | None = None,
    on_planned: Callable[[PlannedJob], None] | None = None,
    on_progress: Callable[[ScanProgress], None] | None = None,
) -> Run:
    """Run a job in its output folder.

    Parameters
    ----------
    job
        The job.
    update
        Where the output folder holds results of a job that has changed since, keep those that still hold and
        compute the others.
    on_checked, on_planned
        Called when the inputs are aligned and when the scan is laid out, before it begins.
    on_progress
        Called when the scan begins and after every finished task.

    Raises
    ------
    InputError
        The job or its data are refused.
    JobChangedError
        The output folder holds results of another job.
    OutputError
        The output cannot be written, or another run is writing there.
    """
    session = Session()
    checked = check_job(job)
    if on_checked is not None:
        on_checked(checked)
    folder = RunFolder(job.output)
    folder.create()
    with folder.locked(), _logged(folder):
        before = folder.read_state()
        if before is not None:
            same = before["science"] == checked.science
            if not update:
                refuse_changes(before["science"], checked.science, folder.path, job.locate())
            if same and before["state"] == COMPLETE and folder.provenance.exists() and _has_all_commits(folder, before):
                return _finish_again(job, folder, before)
        planned = plan_job(job, checked)
        done = (before or {}).get("tasks_done", 0) / max(1, planned.scan.n_tasks)
        refuse_full_disk(planned.report, done, job.locate("output"))
        if on_planned is not None:
            on_planned(planned)
        return _Worker(job, folder, checked, planned, session, before, update=update).work(on_progress)


def _has_all_commits(folder: RunFolder, state: dict[str, Any]) -> bool:
    """Whether every task is committed: commits are deleted to have damaged results computed again."""
    commits = sum(1 for _ in (folder.path / COMMITS).glob("*.json"))
    return commits >= int(state["tasks_total"])


def _finish_again(job: Job, folder: RunFolder, state: dict[str, Any]) -> Run:
    """A complete run needs no work; the report follows its settings, which may have changed."""
    settings = report_settings(job)
    if state["report"] != settings or not folder.report.exists():
        _write_report(folder, settings)
    return Run(folder, state["n_tests"], state["n_hits"], already_complete=True)


def rewrite_report(path: Path, *, significance: float | None = None, lead_window_kb: float | None = None) -> Path:
    """Write the report of a complete run again; None leaves a setting as the job has it.

    Raises
    ------
    InputError
        There is no complete run in ``path``.
    OutputError
        The report cannot be written.
    """
    folder = open_complete_run(path)
    try:
        settings = json.loads(folder.provenance.read_bytes())["job"]["report"]
    except (OSError, ValueError, KeyError) as error:
        raise FileFormatError(
            f"the provenance of the run cannot be read: {error}",
            where=str(folder.provenance),
            fix="remove it and run the job again: finished tasks are kept, and it is written anew",
        ) from error
    given = {"significance": significance, "lead_window_kb": lead_window_kb}
    settings.update({key: value for key, value in given.items() if value is not None})
    with folder.locked(), _logged(folder):
        _write_report(folder, settings)
    return folder.report


def report_settings(job: Job) -> dict[str, Any]:
    """What the report is told, as kept in the state of the run."""
    return job.spec.report.model_dump()


def _write_report(folder: RunFolder, settings: dict[str, Any]) -> None:
    from allscan.jobs.report import write_report

    write_report(folder.path, **settings)
    folder.write_state({**(folder.read_state() or {}), "report": settings})
    logger.info("report written")


class _Worker:
    """One session of a run, which keeps the state in the folder up to date."""

    def __init__(
        self,
        job: Job,
        folder: RunFolder,
        checked: CheckedJob,
        planned: PlannedJob,
        session: Session,
        before: dict[str, Any] | None,
        *,
        update: bool,
    ) -> None:
        self._job = job
        self._folder = folder
        self._checked = checked
        self._planned = planned
        self._session = session
        self._update = update
        self._earlier: list[dict[str, Any]] = _sessions(before)
        self._written_at = -float("inf")
        self._progress = ScanProgress(0, planned.scan.n_tasks, 0, 0, 0)

    def work(self, on_progress: Callable[[ScanProgress], None] | None) -> Run:
        """Scan, then write what describes it, then call the run complete."""
        for stale in (self._folder.provenance, self._folder.report):
            # A report of before must not stand beside results that are still being made.
            stale.unlink(missing_ok=True)
        self._write_state(RUNNING)
        write_text(self._folder.job_file, job_text(self._job))
        logger.info("begun: tasks %d, workers %d", self._planned.scan.n_tasks, self._planned.scan.workers)
        try:
            summary = self._scan(on_progress)
            self._describe(summary)
        except KeyboardInterrupt:
            self._write_state(STOPPED)
            logger.info("stopped after %d tasks", self._progress.tasks_done)
            raise
        except Exception as error:
            # Only what kind of error: the words of an error may hold more than a log should.
            logger.error("failed after %d tasks: %s", self._progress.tasks_done, type(error).__name__)
            self._write_failure(error)
            raise
        logger.info("complete: tests %d, hits %d", summary.n_tests, summary.n_hits)
        # The results are whole from here on: what keeps the report from being written does not undo them.
        _write_report(self._folder, report_settings(self._job))
        return Run(self._folder, summary.n_tests, summary.n_hits, already_complete=False)

    def _scan(self, on_progress: Callable[[ScanProgress], None] | None) -> ScanSummary:
        def tell(progress: ScanProgress) -> None:
            self._progress = progress
            if time.monotonic() - self._written_at >= STATE_SECONDS:
                self._write_state(RUNNING)
            if on_progress is not None:
                on_progress(progress)

        plan = self._planned.scan
        executor = EmbeddedExecutor(plan.workers, "threads")
        checked = self._checked
        return run_scan(
            plan,
            checked.store,
            checked.design,
            checked.spec,
            executor,
            self._folder.path,
            tell,
            update=self._update,
        )

    def _describe(self, summary: ScanSummary) -> None:
        document = provenance_document(
            job=self._job,
            checked=self._checked,
            planned=self._planned,
            summary=summary,
            run=self._session.to_json(
                workers=self._planned.scan.workers,
                memory_limit_bytes=self._planned.memory_limit_bytes,
                tasks=self._planned.scan.n_tasks,
                tasks_resumed=summary.tasks_resumed,
                results_kept=summary.results_kept,
                earlier_sessions=self._earlier,
            ),
        )
        write_text(self._folder.provenance, document)
        self._write_state(COMPLETE, n_tests=summary.n_tests, n_hits=summary.n_hits, report=None)

    def _write_failure(self, error: Exception) -> None:
        try:
            self._write_state(FAILED, error=type(error).__name__)
        except AllscanError:
            # On a full disk the state cannot be written either; the error that led here is the one to tell.
            logger.debug("the state could not be written")

    def _write_state(self, state: str, **more: Any) -> None:
        progress = self._progress
        self._folder.write_state(
            {
                "name": self._job.spec.name,
                "state": state,
                "process": os.getpid(),
                "host": socket.gethostname(),
                "updated": now(),
                "tasks_done": progress.tasks_done,
                "tasks_total": progress.tasks_total,
                "tasks_resumed": progress.tasks_resumed,
                "variants_done": progress.variants_done,
                "variants_total": progress.variants_total,
                "science": self._checked.science,
                "session": self._session.to_json(),
                "earlier_sessions": self._earlier,
                **more,
            }
        )
        self._written_at = time.monotonic()


def _sessions(before: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Sessions that worked on this run before, oldest first."""
    return [*before["earlier_sessions"], before["session"]] if before is not None else []


def job_text(job: Job) -> str:
    """The job as it was given, for the run folder."""
    note = "# As given to `allscan run`; paths are relative to the folder of the original file.\n"
    if job.document is not None:
        return note + job.document.text
    # JSON is YAML: a job made in Python is written so that it can be read again.
    return note + json.dumps(job.spec.model_dump(), indent=1, ensure_ascii=False) + "\n"


class _LogFile(logging.FileHandler):
    """A log that gives up quietly: when the disk is full, the run itself says so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        pass


@contextmanager
def _logged(folder: RunFolder) -> Iterator[None]:
    """Append what allscan logs to the run's log while the run works. No ids of people go there."""
    with writing(folder.log):
        handler = _LogFile(folder.log, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    package = logging.getLogger("allscan")
    level = package.level
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()
