"""The stages of a run that compute, the null model that it fits and the scan, each telling how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allscan.engine.plan import ScanPlan
from allscan.engine.scan import ScanProgress, ScanSummary, run_scan
from allscan.jobs.predictor_scan import PredictorPlan, run_predictors
from allscan.jobs.predictors import CheckedPredictors
from allscan.jobs.progress import format_seconds
from allscan.jobs.run_log import log_event
from allscan.jobs.whole_genome import FittedNullModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from allscan.cluster.executor import Executor
    from allscan.jobs.check import CheckedJob
    from allscan.jobs.meta.spec import MetaSection
    from allscan.jobs.plan import PlannedJob
    from allscan.jobs.run_state import StateKeeper
    from allscan.storage import Place


@dataclass(frozen=True)
class Stages:
    """What computes, on what, and who is told of it."""

    checked: CheckedJob | CheckedPredictors
    planned: PlannedJob
    executor: Executor
    output: Place
    keeper: StateKeeper
    on_progress: Callable[[ScanProgress], None] | None

    def fit_null_model(self) -> tuple[tuple[str, str, str], ...]:
        """Fit the whole-genome model, if the job asks for one; what is to be said of its traits."""
        if isinstance(self.checked, CheckedPredictors):
            return ()
        tasks = self.planned.scan.n_tasks

        def tell(stage: str, done: int, total: int) -> None:
            self._begin(stage)
            self._pass_on(ScanProgress(0, tasks, 0, done, total, stage))

        notes: tuple[tuple[str, str, str], ...] = ()
        for stratum in self.checked.designs:
            if isinstance(stratum.null_model, FittedNullModel):
                limit = self.planned.memory_limit_bytes
                notes += stratum.null_model.fit(stratum.name, self.executor, limit, tell)
        return notes

    def scan(self, *, update: bool) -> ScanSummary:
        """Test every variant; results that still hold are kept where ``update`` is set."""

        def tell(progress: ScanProgress) -> None:
            self.keeper.update(progress)
            self._begin(progress.stage)
            _log_task(progress)
            self._pass_on(progress)

        checked, plan = self.checked, self.planned.scan
        if isinstance(checked, CheckedPredictors):
            assert isinstance(plan, PredictorPlan)
            return run_predictors(checked, plan, self.executor, self.output, tell)
        assert isinstance(plan, ScanPlan)
        return run_scan(
            plan,
            checked.store,
            checked.strata,
            checked.spec,
            self.executor,
            self.output,
            tell,
            update=update,
        )

    def combine(self, section: MetaSection, summary: ScanSummary) -> dict[str, Any] | None:
        """Combine groups by meta-analysis where the job asks for it; what the provenance says of it."""
        if isinstance(self.checked, CheckedPredictors):
            return None
        from allscan.jobs.meta.stage import META_STAGE, clear_meta, meta_of_run, summary_json, why_not

        wanted = {one.name: one.strata for one in self.checked.stratifications if one.has_meta}
        if not wanted:
            clear_meta(self.output)
            return None
        from allscan.jobs.meta.job import meta_spec

        reason = why_not(self.output)
        tasks = self.planned.scan.n_tasks
        self._begin(META_STAGE)

        def tell(done: int, total: int) -> None:
            self._begin(META_STAGE)
            self._pass_on(ScanProgress(tasks, tasks, summary.tasks_resumed, done, total, META_STAGE))

        made = meta_of_run(
            self.output,
            {} if reason else wanted,
            meta_spec(section, genomic_control=section.genomic_control),
            self.executor,
            tell,
            anew=summary.tasks_resumed < tasks,
        )
        if reason:
            log_event("no_meta_analysis", f"groups are not combined: {reason}", reason=reason)
            return {"not_made": reason}
        return None if made is None else summary_json(made)

    def _begin(self, stage: str) -> None:
        if self.keeper.cancelled:
            raise KeyboardInterrupt
        self.keeper.enter(stage)

    def _pass_on(self, progress: ScanProgress) -> None:
        if self.on_progress is not None:
            self.on_progress(progress)


def _log_task(progress: ScanProgress) -> None:
    task = progress.task
    if task is None:
        return
    log_event(
        "task_done",
        f"task {task.name} done in {format_seconds(task.seconds)} on {task.node}",
        task=task.name,
        seconds=round(task.seconds, 3),
        node=task.node,
        variants=task.variants,
        hits=task.hits,
        done=progress.tasks_done,
        total=progress.tasks_total,
    )
