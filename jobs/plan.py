"""The plan of a job: tasks, memory, time and disk space, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allscan.engine.columns import cube_columns
from allscan.engine.costs import BASE_MEMORY
from allscan.engine.plan import ScanPlan, plan_scan
from allscan.engine.results import CUBE_TRAITS
from allscan.errors import InputError, OutputError, free_space
from allscan.jobs.machine import available_cpus, available_memory
from allscan.jobs.predictor_scan import PredictorPlan, plan_predictors
from allscan.jobs.predictors import CheckedPredictors
from allscan.jobs.progress import format_bytes, format_cpu_time, format_seconds
from allscan.jobs.runtime_spec import parse_memory
from allscan.jobs.whole_genome import FittedNullModel
from allscan.storage import ObjectPlace

if TYPE_CHECKING:
    from allscan.engine.plan import ScanSpec
    from allscan.engine.store import GenotypeStore
    from allscan.jobs.check import CheckedJob
    from allscan.jobs.job import Job

MEMORY_SHARE = 0.6
"""Share of the free memory that a job takes when it is not told how much it may."""


UNBOUNDED = 1 << 62
"""Bytes of a cluster's memory: each machine's is counted when a task is given to it, not here."""


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
    executor: str
    workers: int
    workers_asked: int | None  # None: as many as the cluster has
    task_memory_bytes: int
    shared_memory_bytes: int  # of each machine, once
    worker_memory_bytes: int  # of each worker: a task, and on a cluster a process of its own
    memory_limit_bytes: int
    cpu_seconds: float  # of CPUs like this machine's
    output_bytes: int
    objects_read: int  # chunks of genotypes, from disk or object storage
    objects_written: int
    free_disk_bytes: int | None  # None: object storage has no end
    output: str
    null_model: str | None = None  # the one that the job names
    nulls_held: int = 1  # null models of a batch that are held at a time
    null_task_bytes: int = 0  # of a task that fits the null model
    null_work_bytes: int = 0  # that fitting it takes on the disk, for a while
    what: str = "variants"  # that traits are tested against
    rate: str = "from the rate of one block, measured just now"  # where the CPU time comes from
    n_strata: int = 1

    def __repr__(self) -> str:
        return self.text()

    @property
    def on_cluster(self) -> bool:
        """Whether the workers are processes of a cluster."""
        return self.executor != "embedded"

    @property
    def peak_memory_bytes(self) -> int:
        """Planned peak of this machine's process, or of a machine with one worker."""
        return self.shared_memory_bytes + (1 if self.on_cluster else self.workers) * self.worker_memory_bytes

    @property
    def expected_seconds(self) -> float:
        """Wall time of the scan: no worker can be faster than its share of whole tasks."""
        rounds = -(-self.n_tasks // self.workers)
        return self.cpu_seconds * rounds / self.n_tasks

    def text(self) -> str:
        """The plan as lines of text."""
        short = "" if self.fits_disk else "  NOT ENOUGH"
        free = "" if self.free_disk_bytes is None else f"; {format_bytes(self.free_disk_bytes)} free{short}"
        tests = self.n_variants * self.n_traits * self.n_strata
        strata = f" × {self.n_strata:,} strata" if self.n_strata > 1 else ""
        return "\n".join(
            [
                f"tests       {tests:,} ({self.n_variants:,} {self.what} × {self.n_traits:,} traits{strata}) "
                f"in {self.n_samples:,} people",
                f"tasks       {self.n_tasks:,} of up to {self.variants_per_task:,} {self.what} × "
                f"{self.traits_per_task:,} traits",
                *self._null_model_lines(),
                *(self._cluster_lines() if self.on_cluster else self._machine_lines()),
                f"CPU time    {format_cpu_time(self.cpu_seconds)} on CPUs like this one, {self.rate}",
                f"disk        {format_bytes(self.output_bytes)} for the results{free}",
                f"output      {self.output}",
            ]
        )

    def _null_model_lines(self) -> list[str]:
        if self.null_model is None:
            return []
        held = f"; of at most {self.nulls_held} chromosomes in memory at a time" if self.nulls_held > 1 else ""
        lines = [f"null model  {self.null_model}{held}"]
        if self.null_task_bytes:
            task, work = format_bytes(self.null_task_bytes), format_bytes(self.null_work_bytes)
            lines.append(f"            fitting it takes {task} per task, and up to {work} on the disk for a while")
        return lines

    def _machine_lines(self) -> list[str]:
        asked = self.workers_asked or self.workers
        fewer = f" ({asked} asked: memory does not suffice)" if self.workers < asked else ""
        peak, task, limit = map(format_bytes, (self.peak_memory_bytes, self.task_memory_bytes, self.memory_limit_bytes))
        return [
            f"workers     {self.workers}{fewer}",
            f"memory      {peak} at most, {task} per task; {limit} allowed",
            f"time        about {format_seconds(self.expected_seconds)}",
        ]

    def _cluster_lines(self) -> list[str]:
        known = self.workers_asked is not None
        workers = f"{self.workers:,} of the cluster" if known else "all CPUs of the cluster"
        time = f"about {format_seconds(self.expected_seconds)}" if known else "--workers N says it for N CPUs"
        return [
            f"workers     {workers}",
            f"memory      {format_bytes(self.worker_memory_bytes)} for each worker and "
            f"{format_bytes(self.shared_memory_bytes)} for each machine",
            f"time        {time}",
        ]

    @property
    def fits_disk(self) -> bool:
        """Whether the results fit on the disk."""
        return self.free_disk_bytes is None or self.output_bytes + self.null_work_bytes <= self.free_disk_bytes


@dataclass(frozen=True)
class PlannedJob:
    """The engine's plan and its report."""

    scan: ScanPlan | PredictorPlan
    memory_limit_bytes: int
    report: PlanReport


def plan_job(job: Job, checked: CheckedJob | CheckedPredictors) -> PlannedJob:
    """Plan a checked job for this machine.

    Raises
    ------
    InputError
        Not even one task fits in the memory that the job may use.
    """
    runtime = job.spec.runtime
    on_cluster = runtime.executor != "embedded"
    workers = runtime.workers if runtime.workers is not None or on_cluster else available_cpus()
    memory = parse_memory(runtime.memory) if runtime.memory else int(MEMORY_SHARE * available_memory())
    bound = UNBOUNDED if on_cluster else memory
    try:
        if isinstance(checked, CheckedPredictors):
            of_columns = plan_predictors(checked, workers=workers or 1, memory_bytes=bound)
            return PlannedJob(of_columns, memory, _predictors_report(job, of_columns, workers, memory))
        scan = plan_scan(checked.store, checked.strata, checked.spec, workers=workers or 1, memory_bytes=bound)
    except InputError as error:
        raise type(error)(error.what, where=error.where or job.locate("runtime", "memory"), fix=error.fix) from error
    worker_memory = scan.task_memory_bytes + (BASE_MEMORY if on_cluster else 0)
    read, written = task_objects(checked.store, checked.spec, scan)
    # They are fitted one after the other.
    fitted = [one.null_model for one in checked.designs if isinstance(one.null_model, FittedNullModel)]
    report = PlanReport(
        name=job.spec.name,
        n_variants=scan.n_variants,
        n_traits=scan.n_traits,
        n_samples=scan.n_samples,
        n_tasks=scan.n_tasks,
        variants_per_task=scan.variants_per_task,
        traits_per_task=scan.traits_per_task,
        executor=runtime.executor,
        workers=scan.workers,
        workers_asked=workers,
        task_memory_bytes=scan.task_memory_bytes,
        shared_memory_bytes=scan.shared_memory_bytes,
        worker_memory_bytes=worker_memory,
        memory_limit_bytes=memory,
        cpu_seconds=scan.expected_seconds * scan.workers,
        output_bytes=scan.output_bytes,
        objects_read=read * scan.n_tasks,
        objects_written=written * scan.n_tasks,
        free_disk_bytes=_free_disk(job),
        output=job.spec.output,
        null_model=None if checked.null_model is None else checked.null_model.path,
        nulls_held=scan.nulls_held,
        null_task_bytes=max((model.task_bytes() for model in fitted), default=0),
        null_work_bytes=max((model.work_bytes() for model in fitted), default=0),
        n_strata=len(checked.designs),
    )
    return PlannedJob(scan, memory, report)


def _predictors_report(job: Job, scan: PredictorPlan, workers: int | None, memory: int) -> PlanReport:
    executor = job.spec.runtime.executor
    return PlanReport(
        name=job.spec.name,
        n_variants=scan.n_predictors,
        n_traits=scan.n_traits,
        n_samples=scan.n_samples,
        n_tasks=scan.n_tasks,
        variants_per_task=scan.n_predictors,
        traits_per_task=scan.traits_per_task,
        executor=executor,
        workers=scan.workers,
        workers_asked=workers,
        task_memory_bytes=scan.task_memory_bytes,
        shared_memory_bytes=scan.shared_memory_bytes,
        worker_memory_bytes=scan.task_memory_bytes + (0 if executor == "embedded" else BASE_MEMORY),
        memory_limit_bytes=memory,
        cpu_seconds=scan.cpu_seconds,
        output_bytes=scan.output_bytes,
        objects_read=0,
        objects_written=scan.n_tasks,
        free_disk_bytes=_free_disk(job),
        output=job.spec.output,
        what="predictors",
        rate="from a rate measured once",
    )


def _free_disk(job: Job) -> int | None:
    return None if isinstance(job.output, ObjectPlace) else free_space(job.output)


def task_objects(store: GenotypeStore, spec: ScanSpec, scan: ScanPlan) -> tuple[int, int]:
    """Chunks that a task reads and writes: each is a request where they lie on object storage."""
    read = -(-scan.variants_per_task // int(store.block_variants))
    chunks = max(
        len(cube_columns(spec.of_kind(part.kind))) * -(-part.per_task // CUBE_TRAITS) for part in scan.layout.parts
    )
    return read, chunks + 2  # and its hits, and its commit


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
    needed = int(plan.output_bytes * (1 - done_fraction)) + (0 if done_fraction else plan.null_work_bytes)
    if plan.free_disk_bytes is not None and needed > plan.free_disk_bytes:
        free = format_bytes(plan.free_disk_bytes)
        raise OutputError(
            f"the results need about {format_bytes(needed)} and the disk has {free} free",
            where=where,
            fix="make room, or name a folder on another disk under `output`",
        )
