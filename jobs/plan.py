"""The plan of a job: tasks, memory, time and disk space, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allscan.engine.plan import ScanPlan, plan_scan
from allscan.errors import InputError, OutputError, free_space
from allscan.jobs.machine import available_cpus, available_memory
from allscan.jobs.progress import format_bytes, format_seconds
from allscan.jobs.spec import parse_memory

if TYPE_CHECKING:
    from allscan.jobs.check import CheckedJob
    from allscan.jobs.job import Job

MEMORY_SHARE = 0.6
"""Share of the free memory that a job takes when it is not told how much it may."""


@dataclass(frozen=True, repr=False)
class PlanReport:
    """What a run will do and cost."""

    name: str
    n_variants: int
    n_traits: int
    n_samples: int
    n_tasks: int
    variants_per_task: int
    traits_per_task: int
    workers: int
    workers_asked: int
    task_memory_bytes: int
    peak_memory_bytes: int
    memory_limit_bytes: int
    expected_seconds: float
    output_bytes: int
    free_disk_bytes: int
    output: str

    def __repr__(self) -> str:
        return self.text()

    def text(self) -> str:
        """The plan as lines of text."""
        fewer = f" ({self.workers_asked} asked: memory does not suffice)" if self.workers < self.workers_asked else ""
        short = "" if self.fits_disk else "  NOT ENOUGH"
        tests = self.n_variants * self.n_traits
        peak, task, limit, disk, free = (
            format_bytes(number)
            for number in (
                self.peak_memory_bytes,
                self.task_memory_bytes,
                self.memory_limit_bytes,
                self.output_bytes,
                self.free_disk_bytes,
            )
        )
        return "\n".join(
            [
                f"tests       {tests:,} ({self.n_variants:,} variants × {self.n_traits:,} traits) "
                f"in {self.n_samples:,} people",
                f"tasks       {self.n_tasks:,} of up to {self.variants_per_task:,} variants × "
                f"{self.traits_per_task:,} traits",
                f"workers     {self.workers}{fewer}",
                f"memory      {peak} at most, {task} per task; {limit} allowed",
                f"time        about {format_seconds(self.expected_seconds)}, from the rate of one block on "
                "one core, measured just now",
                f"disk        {disk} for the results; {free} free{short}",
                f"output      {self.output}",
            ]
        )

    @property
    def fits_disk(self) -> bool:
        """Whether the results fit on the disk."""
        return self.output_bytes <= self.free_disk_bytes


@dataclass(frozen=True)
class PlannedJob:
    """The engine's plan and its report."""

    scan: ScanPlan
    memory_limit_bytes: int
    report: PlanReport


def plan_job(job: Job, checked: CheckedJob) -> PlannedJob:
    """Plan a checked job for this machine.

    Raises
    ------
    InputError
        Not even one task fits in the memory that the job may use.
    """
    runtime = job.spec.runtime
    workers = runtime.workers if runtime.workers is not None else available_cpus()
    memory = parse_memory(runtime.memory) if runtime.memory else int(MEMORY_SHARE * available_memory())
    try:
        scan = plan_scan(checked.store, checked.design, checked.spec, workers=workers, memory_bytes=memory)
    except InputError as error:
        raise type(error)(error.what, where=error.where or job.locate("runtime", "memory"), fix=error.fix) from error
    report = PlanReport(
        name=job.spec.name,
        n_variants=scan.n_variants,
        n_traits=scan.n_traits,
        n_samples=scan.n_samples,
        n_tasks=scan.n_tasks,
        variants_per_task=scan.variants_per_task,
        traits_per_task=scan.traits_per_task,
        workers=scan.workers,
        workers_asked=workers,
        task_memory_bytes=scan.task_memory_bytes,
        peak_memory_bytes=scan.peak_memory_bytes,
        memory_limit_bytes=memory,
        expected_seconds=scan.expected_seconds,
        output_bytes=scan.output_bytes,
        free_disk_bytes=free_space(job.output),
        output=job.spec.output,
    )
    return PlannedJob(scan, memory, report)


def refuse_full_disk(plan: PlanReport, done_fraction: float, where: str) -> None:
    """Refuse to start a run whose results do not fit on the disk.

    Parameters
    ----------
    plan
        The plan.
    done_fraction
        Share of the results that are on the disk already.
    where
        Where the output folder is named, for the message.

    Raises
    ------
    OutputError
        They do not fit.
    """
    needed = int(plan.output_bytes * (1 - done_fraction))
    if needed > plan.free_disk_bytes:
        free = format_bytes(plan.free_disk_bytes)
        raise OutputError(
            f"the results need about {format_bytes(needed)} and the disk has {free} free",
            where=where,
            fix="make room, or name a folder on another disk under `output`",
        )
