"""Running a job: check, plan, scan, provenance, report; a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from allscan.engine.reuse import COMMITS
from allscan.engine.scan import ScanProgress
from allscan.errors import AllscanError, FileFormatError, InputError, RunStoppedError
from allscan.jobs.checks import Checked, check
from allscan.jobs.executors import scan_executor
from allscan.jobs.plan import PlannedJob, plan_job, refuse_full_disk
from allscan.jobs.progress import format_bytes, format_seconds
from allscan.jobs.provenance import Session, provenance_document
from allscan.jobs.run_folder import (
    COMPLETE,
    FAILED,
    STOPPED,
    SUBMITTED,
    RunFolder,
    open_complete_run,
    refuse_changes,
    refuse_predictors,
    write_text,
)
from allscan.jobs.run_log import log_event, logged
from allscan.jobs.run_stages import Stages
from allscan.jobs.run_state import (
    CHECKING,
    JOINING,
    PLANNING,
    REPORT,
    StateKeeper,
    failure_of,
    stopped_by_signals,
    this_process,
)
from allscan.jobs.trait_tables import with_trait_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from allscan.cluster.executor import Executor
    from allscan.engine.scan import ScanSummary
    from allscan.jobs.job import Job
    from allscan.storage import Place

JOB_NOTE = "# As given to `allscan run`; paths are relative to the folder of the original file.\n"

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
    def report_path(self) -> Place:
        """The report, one HTML file."""
        return self.folder.report

    @property
    def provenance_path(self) -> Place:
        """The provenance document."""
        return self.folder.provenance

    @property
    def phewas_path(self) -> Place:
        """The table of a phenome-wide scan, Parquet: a row for each predictor and trait."""
        return self.folder.phewas

    def results(self) -> xr.Dataset:
        """The results, opened lazily; dimensions (stratum, trait, variant).

        Raises
        ------
        InputError
            The run scanned columns of a table, and has a table of results only.
        """
        from allscan.engine.result_dataset import open_results

        refuse_predictors(self.folder)
        return open_results(self.folder.path)

    def meta(self) -> xr.Dataset:
        """The meta-analyses of its groups, opened lazily; dimensions (stratification, trait, variant).

        Raises
        ------
        InputError
            The run has none.
        """
        from allscan.engine.meta.dataset import open_meta

        return open_meta(self.folder.path)


def run_job(
    job: Job,
    *,
    update: bool = False,
    submission: str | None = None,
    on_checked: Callable[[Checked], None] | None = None,
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
    submission
        The submission to a cluster that this process was started for; None where there is none.
    on_checked, on_planned
        Called when the inputs are aligned and when the scan is laid out, before it begins.
    on_progress
        Called when a stage of the scan begins and after every finished task.

    Raises
    ------
    InputError
        The job or its data are refused.
    JobChangedError
        The output folder holds results of another job.
    OutputError
        The output cannot be written, or another run is writing there.
    RunStoppedError
        Somebody asked for it (`allscan cancel`).
    """
    session = Session() if submission is None else Session(id=submission)
    folder = RunFolder(job.output)
    with ExitStack() as closing:
        job = closing.enter_context(with_trait_tables(job, write=True))
        # Nothing is written of a new job that is refused.
        checked = _check(job, on_checked, on_progress) if folder.read_state() is None else None
        folder.create()
        closing.enter_context(folder.locked())
        closing.enter_context(logged(folder))
        wake = closing.enter_context(stopped_by_signals())
        before = folder.read_state()
        if submission is not None:
            _refuse_other_submission(folder, before, submission)
        facts = {
            "name": job.spec.name,
            "base": str(job.base.resolve()),
            "runtime": job.spec.runtime.model_dump(),
            "update": update,
            "science": before and before["science"],
            "cluster": before and submission and before.get("cluster"),
        }
        keeper = StateKeeper(folder, session, facts, before)
        if checked is not None:
            keeper.spent(CHECKING, session.elapsed_seconds)
        log_event("session_begun", "session begun", session=session.id, **this_process())
        work = _Work(job, folder, session, keeper, before, update=update)
        return work.do(checked, wake, on_checked, on_planned, on_progress)


def _check(
    job: Job,
    on_checked: Callable[[Checked], None] | None,
    on_progress: Callable[[ScanProgress], None] | None,
) -> Checked:
    def tell(stage: str, done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(ScanProgress(0, 1, 0, done, total, f"structure, {stage}"))

    checked = check(job, build=True, on_progress=tell)
    if on_checked is not None:
        on_checked(checked)
    return checked


def _refuse_other_submission(folder: RunFolder, before: dict[str, Any] | None, submission: str) -> None:
    """A process that a cluster starts late must not take over a run that has been given to another since."""
    wanted = ((before or {}).get("cluster") or {}).get("submission_id")
    if wanted != submission or (before or {}).get("state") != SUBMITTED:
        raise InputError(
            f"the run does not wait for the submission {submission}",
            where=str(folder.path),
            fix="nothing need be done: it was stopped, or goes on elsewhere; `allscan status` tells",
        )


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


def rewrite_report(path: Place, *, significance: float | None = None, lead_window_kb: float | None = None) -> Place:
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
    with folder.locked(), logged(folder):
        _write_report(folder, settings)
    return folder.report


def report_settings(job: Job) -> dict[str, Any]:
    """What the report is told, as kept in the state of the run."""
    return job.spec.report.model_dump()


def _write_report(folder: RunFolder, settings: dict[str, Any], executor: Executor | None = None) -> None:
    from allscan.jobs.report import write_report

    began = time.monotonic()
    write_report(folder.path, **settings, executor=executor)
    seconds = round(time.monotonic() - began, 3)
    state = folder.read_state() or {}
    folder.write_state({**state, "report": settings, "stages": {**state.get("stages", {}), REPORT: seconds}})
    log_event("report_written", f"report written in {format_seconds(seconds)}", seconds=seconds)


class _Work:
    """One session of a run, from the check to the report."""

    def __init__(
        self,
        job: Job,
        folder: RunFolder,
        session: Session,
        keeper: StateKeeper,
        before: dict[str, Any] | None,
        *,
        update: bool,
    ) -> None:
        self._job = job
        self._folder = folder
        self._session = session
        self._keeper = keeper
        self._before = before
        self._update = update
        self._is_working = False
        self._ran_on: dict[str, Any] = {}

    def do(
        self,
        checked: Checked | None,
        wake: Callable[[], None] | None,
        on_checked: Callable[[Checked], None] | None,
        on_planned: Callable[[PlannedJob], None] | None,
        on_progress: Callable[[ScanProgress], None] | None,
    ) -> Run:
        """Check, plan, scan, then write what describes it, then call the run complete."""
        keeper = self._keeper
        is_complete = self._before is not None and self._before["state"] == COMPLETE
        with ExitStack() as closing:
            try:
                if not is_complete:
                    keeper.begin(wake)
                if checked is None:
                    keeper.enter(CHECKING)
                    checked = _check(self._job, on_checked, on_progress)
                if not self._accepts(checked):
                    keeper.enter("")
                    return _finish_again(self._job, self._folder, self._folder.read_state() or {})
                keeper.enter(PLANNING)
                planned = self._plan(checked)
                if on_planned is not None:
                    on_planned(planned)
                if is_complete:
                    keeper.begin(wake)
                self._is_working = True
                executor = self._prepare(planned, closing)
                stages = Stages(checked, planned, executor, self._folder.path, keeper, on_progress)
                notes = stages.fit_null_model()
                summary = stages.scan(update=self._update)
                meta = stages.combine(self._job.spec.meta, summary)
                self._remember_workers(executor)
                summary = replace(summary, trait_notes=(*notes, *summary.trait_notes))
                self._describe(checked, planned, summary, meta)
            except (KeyboardInterrupt, SystemExit) as stop:
                self._stopped(stop)
            except Exception as error:
                self._failed(error)
                raise
            message = f"complete: tests {summary.n_tests}, hits {summary.n_hits}"
            log_event("run_complete", message, tests=summary.n_tests, hits=summary.n_hits, **self._session.to_json())
            # The results are whole from here on: what keeps the report from being written does not undo them.
            _write_report(self._folder, report_settings(self._job), executor)
        return Run(self._folder, summary.n_tests, summary.n_hits, already_complete=False)

    def _accepts(self, checked: Checked) -> bool:
        """Whether there is something to compute; refuses a job that has changed."""
        before, science = self._before, checked.science
        if before is None or before["science"] is None:
            return True
        same = before["science"] == science
        if not self._update:
            refuse_changes(before["science"], science, self._folder.path, self._job.locate())
        has_results = before["state"] == COMPLETE and self._folder.provenance.exists()
        return not (same and has_results and _has_all_commits(self._folder, before))

    def _plan(self, checked: Checked) -> PlannedJob:
        planned = plan_job(self._job, checked)
        scan = planned.scan
        done = (self._before or {}).get("tasks_done", 0) / max(1, scan.n_tasks)
        refuse_full_disk(planned.report, done, self._job.locate("output"))
        memory = {
            "task_bytes": scan.task_memory_bytes,
            "peak_bytes": scan.peak_memory_bytes,
            "limit_bytes": planned.memory_limit_bytes,
        }
        self._keeper.know(science=checked.science, memory=memory)
        workers = planned.report.workers_asked if planned.report.on_cluster else scan.workers
        told = f"planned: tasks {scan.n_tasks}, memory {format_bytes(scan.peak_memory_bytes)}, "
        told += "all workers of the cluster" if workers is None else f"workers {workers}"
        log_event("planned", told, tasks=scan.n_tasks, workers=workers, memory=memory)
        return planned

    def _prepare(self, planned: PlannedJob, closing: ExitStack) -> Executor:
        """Take away what would not fit the results to be, and start what will make them."""
        for stale in (self._folder.provenance, self._folder.report):
            # A report of before must not stand beside results that are still being made.
            stale.unlink(missing_ok=True)
        write_text(self._folder.job_file, job_text(self._job))
        if planned.report.on_cluster:
            self._keeper.enter(JOINING)
        executor = closing.enter_context(scan_executor(self._job.spec.runtime, planned.scan))
        self._keeper.know(executor={"name": executor.name, "workers": executor.workers})
        self._keeper.watch(executor)
        return executor

    def _remember_workers(self, executor: Executor) -> None:
        """Who did the work, for the provenance."""
        activity = executor.activity()
        self._ran_on = {
            "name": executor.name,
            "workers": executor.workers,
            "nodes": dict(activity.nodes),
            "retried": activity.retried,
            "duplicated": activity.duplicated,
        }

    def _describe(
        self, checked: Checked, planned: PlannedJob, summary: ScanSummary, meta: dict[str, Any] | None
    ) -> None:
        self._keeper.enter("")
        document = provenance_document(
            job=self._job,
            checked=checked,
            planned=planned,
            summary=summary,
            meta=meta,
            run=self._session.to_json(
                workers=self._ran_on["workers"],
                executor=self._ran_on,
                memory_limit_bytes=planned.memory_limit_bytes,
                tasks=planned.scan.n_tasks,
                tasks_resumed=summary.tasks_resumed,
                results_kept=summary.results_kept,
                stages=self._keeper.stage_seconds,
                earlier_sessions=self._keeper.earlier_sessions,
            ),
        )
        write_text(self._folder.provenance, document)
        self._keeper.end(COMPLETE, n_tests=summary.n_tests, n_hits=summary.n_hits, report=None)

    def _stopped(self, stop: BaseException) -> NoReturn:
        """Ctrl-C, SIGTERM, or somebody's wish; Ray turns SIGTERM into the end of the process."""
        if self._keeper.has_begun:
            self._keeper.end(STOPPED)
        log_event("session_stopped", "stopped")
        if self._keeper.cancelled:
            raise RunStoppedError(
                "stopped, as somebody asked with `allscan cancel`; finished tasks are kept",
                where=str(self._folder.path),
                fix="`allscan resume` goes on where it was",
            ) from None
        if isinstance(stop, SystemExit):
            raise KeyboardInterrupt from None
        raise stop

    def _failed(self, error: Exception) -> None:
        self._keeper.enter("")
        failure = failure_of(error)
        words = ": ".join(str(word) for word in (failure["kind"], failure["what"]) if word)
        log_event("session_failed", f"failed: {words}", level=logging.ERROR, error=failure)
        try:
            waited = self._before is not None and self._before["state"] == SUBMITTED
            if self._is_working or waited:
                self._keeper.end(FAILED, failure=failure)
            elif self._keeper.has_begun:
                # Refused before anything was done: the run is what it was.
                self._keeper.quiet()
                if self._before is not None:
                    self._folder.write_state(self._before)
                else:
                    self._folder.state_file.unlink(missing_ok=True)
        except AllscanError:
            # On a full disk the state cannot be written either; the error that led here is the one to tell.
            logger.debug("the state could not be written")


def job_text(job: Job) -> str:
    """The job as it was given, for the run folder."""
    if job.document is None:
        # JSON is YAML: a job made in Python is written so that it can be read again.
        text = json.dumps(job.spec.model_dump(exclude_unset=True), indent=1, ensure_ascii=False)
        return JOB_NOTE + text.replace("${", "$${") + "\n"
    # A run that is resumed reads the copy in its folder, perhaps where variables have other values.
    return JOB_NOTE + job.document.expanded_text().removeprefix(JOB_NOTE)
