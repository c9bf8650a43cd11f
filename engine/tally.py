"""What the finished tasks of a scan say, added up: a scan may have millions of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allscan.engine.plan import ScanTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allscan.engine.plan import ScanPlan


@dataclass(frozen=True)
class TaskReport:
    """What a task says of itself; its commit file holds the same."""

    status_counts: dict[str, int]
    variants: int
    hidden_heterozygotes: int
    hits: int
    kept: int  # results that were taken from an earlier scan


class Tally:
    """Which tasks of a plan are done, and the sums of their reports."""

    def __init__(self, plan: ScanPlan) -> None:
        # A bit or two of each task; names and reports of all would take gigabytes.
        self._done = [bytearray(plan.n_runs) for _ in range(plan.n_batches)]
        self._hits: list[ScanTask] = []
        self._statuses: Counter[str] = Counter()
        self.tasks = 0
        self.variants = 0  # × trait batches
        self.kept = 0
        self.hidden_heterozygotes = 0  # of one batch of traits: the others see the same calls

    def add(self, task: ScanTask, report: TaskReport) -> None:
        """Count a finished task; a task that is counted already is not counted again."""
        done = self._done[task.batch]
        if done[task.index]:
            return
        done[task.index] = 1
        self.tasks += 1
        self.variants += report.variants
        self.kept += report.kept
        self._statuses.update(report.status_counts)
        if task.batch == 0:
            self.hidden_heterozygotes += report.hidden_heterozygotes
        if report.hits:
            self._hits.append(task)

    def waiting(self, batch: int, runs: range) -> Iterator[ScanTask]:
        """Tasks of some runs that are not done, in order."""
        done = self._done[batch]
        return (ScanTask(batch, index) for index in runs if not done[index])

    def is_done(self, batch: int, runs: range) -> bool:
        """Whether all tasks of some runs are done."""
        return next(self.waiting(batch, runs), None) is None

    @property
    def status_counts(self) -> dict[str, int]:
        """Results (stratum, trait, variant) by status."""
        return {name: self._statuses[name] for name in sorted(self._statuses)}

    def with_hits(self) -> list[str]:
        """Names of tasks that have hits, in order."""
        return [task.name for task in sorted(self._hits, key=lambda task: (task.batch, task.index))]
