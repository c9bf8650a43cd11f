"""The scan: null models once, then every task through the executor, each committed atomically."""

from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from allscan.engine.association_tests import find_test
from allscan.engine.chromosomes import PloidyClass
from allscan.engine.hits import HIT_PARTS, compact_hits, write_hits
from allscan.engine.ploidy import ClassNull, fit_class_null, store_classes
from allscan.engine.results import CUBE, ResultsCube, create_cube, write_block
from allscan.engine.store import write_atomically
from allscan.errors import JobChangedError, OutputError
from allscan.kernels.association import Model, Status
from allscan.kernels.block import take
from allscan.kernels.counts import count_genotypes, hide_heterozygotes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.plan import ScanPlan, ScanSpec, ScanTask
    from allscan.engine.store import GenotypeStore
    from allscan.kernels.association import AssociationTest, TraitNote
    from allscan.kernels.block import GenotypeBlock

COMMITS = "commits"

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


class TaskRunner(Protocol):
    """What the scan asks of an executor (see ``allscan.cluster.executor.Executor``)."""

    def run(self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Yield ``(task, function(shared, task))`` as tasks finish."""
        ...


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan is."""

    tasks_done: int  # resumed ones among them
    tasks_total: int
    tasks_resumed: int
    variants_done: int  # variants × strata × trait batches
    variants_total: int


@dataclass(frozen=True)
class ScanSummary:
    """What a scan did."""

    n_variants: int
    n_tests: int  # variant × trait × stratum
    status_counts: dict[str, int]
    variant_accounting: dict[str, int]  # reason: variants, or male heterozygous calls
    trait_notes: tuple[tuple[str, str, str], ...]  # (trait, stratum, message)
    n_hits: int
    tasks_resumed: int


class ScanShared(NamedTuple):
    """What every task of a batch needs: handed to each worker once."""

    store: GenotypeStore
    plan: ScanPlan
    spec: ScanSpec
    nulls: dict[int, ClassNull | None]  # by PloidyClass
    output: Path
    strata: tuple[str, ...]
    traits: tuple[str, ...]  # of the batch


@dataclass(frozen=True)
class TaskReport:
    """What a task says of itself; its commit file holds the same."""

    status_counts: dict[str, int]
    variants: int
    hidden_heterozygotes: int
    hits: int


@dataclass
class BlockResult:
    """Arrays of one task under construction, each of shape (variants, traits)."""

    names: tuple[str, ...]  # of the test's own columns
    columns: dict[str, NDArray[Any]]
    hidden: int = 0

    @property
    def status(self) -> NDArray[np.uint8]:
        """Status codes."""
        return self.columns["status"]


def score_rows(shared: ScanShared, rows: NDArray[np.int64]) -> BlockResult:
    """Results of variants of the store, block by block, class by class."""
    test = find_test(shared.spec.test)
    names = tuple(column.name for column in test.columns(shared.spec.options))
    shape = (len(rows), len(shared.traits))
    columns: dict[str, NDArray[Any]] = {name: np.full(shape, np.nan, np.float32) for name in names}
    for name in ("effect_allele_count", "effect_allele_frequency", "missing_rate"):
        columns[name] = np.full(shape, np.nan, np.float32)
    columns["n"] = np.zeros(shape, np.int32)
    columns["status"] = np.zeros(shape, np.uint8)
    result = BlockResult(names, columns)
    classes = store_classes(shared.store, rows)
    size = shared.store.block_variants
    for index in np.unique(rows // size):
        inside = np.flatnonzero(rows // size == index)
        block = shared.store.read_block(int(index))
        for kind in np.unique(classes[inside]):
            here = inside[classes[inside] == kind]
            local = rows[here] - index * size
            part = block if len(local) == block.n_variants else take(block, local)
            state = shared.nulls[int(kind)]
            if state is None:
                result.status[here] = Status.SEX_UNKNOWN
                continue
            _score_part(test, part, state, PloidyClass(kind), shared, here, result)
    if shared.spec.filter.min_info > 0:
        info = shared.store.column("variant_info", int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]]
        low = info < shared.spec.filter.min_info  # NaN, a variant that was not imputed, passes
        for name in names:
            columns[name][low] = np.nan
        result.status[low] = Status.FILTERED
    return result


def _score_part(
    test: AssociationTest,
    part: GenotypeBlock,
    state: ClassNull,
    kind: PloidyClass,
    shared: ScanShared,
    here: NDArray[np.int64],
    result: BlockResult,
) -> None:
    """Score variants of one class and write them into rows ``here`` of the result."""
    spec = shared.spec
    if state.males is not None:
        part, hidden = hide_heterozygotes(part, state.males)
        result.hidden += hidden
    counts = count_genotypes(part, state.sets)
    copies, alleles = counts.dosage_sum, 2.0 * (counts.size - counts.n_missing)
    if state.male_sets is not None:
        of_males = count_genotypes(part, state.male_sets)
        copies = copies - 0.5 * of_males.dosage_sum
        alleles = alleles - (of_males.size - of_males.n_missing)
    elif state.haploid:
        copies, alleles = 0.5 * copies, 0.5 * alleles
    out: dict[str, NDArray[Any]] = {name: np.full((len(here), len(shared.traits)), np.nan) for name in result.names}
    out["status"] = np.zeros((len(here), len(shared.traits)), np.uint8)
    if kind in (PloidyClass.Y, PloidyClass.MT) and spec.model in (Model.RECESSIVE, Model.GENOTYPIC):
        out["status"][:] = Status.NOT_TESTED
    else:
        test.score_block(part, counts, state.null, spec.options, out)
    s = state.set_of_trait
    with np.errstate(divide="ignore", invalid="ignore"):
        frequency = copies / alleles
        missing_rate = counts.n_missing / counts.size
    filtered = _filtered(shared, copies, alleles, frequency, missing_rate)
    for name, values in out.items():
        if name != "status":
            values[filtered[:, s]] = np.nan
        result.columns[name][here] = values
    result.status[here] = np.where(filtered[:, s], np.uint8(Status.FILTERED), out["status"])
    used = counts.size - counts.n_missing if spec.missing else np.broadcast_to(counts.size, counts.n_missing.shape)
    result.columns["n"][here] = used[:, s]
    result.columns["effect_allele_count"][here] = copies[:, s]
    result.columns["effect_allele_frequency"][here] = frequency[:, s]
    result.columns["missing_rate"][here] = missing_rate[:, s]


def _filtered(
    shared: ScanShared,
    copies: NDArray[np.floating[Any]],
    alleles: NDArray[np.floating[Any]],
    frequency: NDArray[np.floating[Any]],
    missing_rate: NDArray[np.floating[Any]],
) -> NDArray[np.bool_]:
    """Which (variant, set) the job's filters leave out, shape (variants, sets)."""
    limits = shared.spec.filter
    out = np.zeros(copies.shape, np.bool_)
    if limits.min_mac > 0:
        out |= np.minimum(copies, alleles - copies) < limits.min_mac
    if limits.min_maf > 0:
        out |= ~(np.minimum(frequency, 1 - frequency) >= limits.min_maf)
    if limits.max_missing_rate < 1:
        out |= ~(missing_rate <= limits.max_missing_rate)
    return out


def run_task(shared: ScanShared, task: ScanTask) -> TaskReport:
    """Compute one task, write its blocks and hits, and commit it.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written.
    """
    rows = shared.plan.run_rows(task.index)
    result = score_rows(shared, rows)
    try:
        values = {name: np.ascontiguousarray(array.T) for name, array in result.columns.items()}
        write_block(shared.output / CUBE, shared.plan, task, values)
        hits = write_hits(shared.output, shared.plan, task, values, shared.spec.hits_neg_log10_p)
        counts = Counter(result.status.ravel().tolist())
        report = TaskReport(
            {Status(code).name.lower(): count for code, count in sorted(counts.items())},
            len(rows),
            result.hidden,
            hits,
        )
        commit = {"digest": shared.plan.digest, **report.__dict__}
        write_atomically(shared.output / COMMITS / f"{task.name}.json", json.dumps(commit).encode())
    except OSError as error:
        raise output_error(error, shared.output) from error
    return report


def output_error(error: OSError, output: Path) -> OutputError:
    """Say what a failed write means."""
    if isinstance(error, OutputError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError(
            "the disk is full",
            where=str(output),
            fix="free some space and run the same command again: finished blocks are kept",
        )
    return OutputError(f"the output folder cannot be written: {error}", where=str(output), fix="check its permissions")


def _committed(output: Path, plan: ScanPlan) -> dict[str, TaskReport]:
    """Reports of the tasks that are finished."""
    reports = {}
    for path in (output / COMMITS).glob("s*.json"):
        commit = json.loads(path.read_text())
        if commit.pop("digest") == plan.digest:
            reports[path.stem] = TaskReport(**commit)
    return reports


def prepare_output(output: Path, plan: ScanPlan, store: GenotypeStore, design: Design, spec: ScanSpec) -> None:
    """Create the results cube, or accept the one of the same scan.

    Raises
    ------
    JobChangedError
        If the folder holds blocks of another scan.
    OutputError
        If the folder cannot be written.
    """
    import zarr

    cube = output / CUBE
    try:
        output.mkdir(parents=True, exist_ok=True)
        if cube.exists():
            try:
                digest = dict(zarr.open_group(cube, mode="r").attrs).get("digest")
            except (OSError, ValueError):
                digest = None
            if digest == plan.digest:
                return
            if digest is not None:
                raise JobChangedError(
                    "the output folder holds results of other inputs or settings",
                    where=str(output),
                    fix="give another output folder, or delete this one",
                )
            shutil.rmtree(cube)  # its creation was interrupted: nothing was committed
        shutil.rmtree(output / COMMITS, ignore_errors=True)
        shutil.rmtree(output / HIT_PARTS, ignore_errors=True)
        (output / COMMITS).mkdir()
        (output / HIT_PARTS).mkdir()
        create_cube(cube, plan, store, design, spec)
    except OSError as error:
        raise output_error(error, output) from error


def _batch_nulls(
    test: AssociationTest,
    store: GenotypeStore,
    design: Design,
    spec: ScanSpec,
    stratum: int,
    traits: slice,
    kinds: Iterable[PloidyClass],
) -> tuple[dict[int, ClassNull | None], list[TraitNote]]:
    nulls: dict[int, ClassNull | None] = {}
    notes: list[TraitNote] = []
    for kind in kinds:
        nulls[int(kind)], of_class = fit_class_null(kind, test, store, design, spec, stratum, traits)
        notes += of_class
    return nulls, notes


def run_scan(
    plan: ScanPlan,
    store: GenotypeStore,
    design: Design,
    spec: ScanSpec,
    executor: TaskRunner,
    output: Path,
    on_progress: Callable[[ScanProgress], None] | None = None,
) -> ScanSummary:
    """Run a planned scan into ``output``; tasks that are committed there already are not run again.

    Raises
    ------
    JobChangedError
        If ``output`` holds blocks of another scan.
    OutputError
        If the disk is full or the folder cannot be written.
    CorruptChunkError
        If a chunk of the store is damaged.
    """
    prepare_output(output, plan, store, design, spec)
    done = _committed(output, plan)
    resumed = len(done)
    test = find_test(spec.test)
    rows = np.arange(store.n_variants) if plan.rows is None else plan.rows
    kinds = [PloidyClass(k) for k in np.unique(store_classes(store, rows))]
    repeats = len(plan.strata) * plan.n_batches
    notes: list[tuple[str, str, str]] = []

    def tell() -> None:
        if on_progress:
            variants = sum(report.variants for report in done.values())
            on_progress(ScanProgress(len(done), plan.n_tasks, resumed, variants, plan.n_variants * repeats))

    tell()
    for stratum, stratum_name in enumerate(plan.strata):
        for batch in range(plan.n_batches):
            traits = plan.batch_traits(batch)
            names = design.trait_names[traits]
            nulls, of_batch = _batch_nulls(test, store, design, spec, stratum, traits, kinds)
            notes += [(names[note.trait], stratum_name, note.message) for note in of_batch]
            tasks = [task for task in plan.tasks(stratum, batch) if task.name not in done]
            shared = ScanShared(store, plan, spec, nulls, output, plan.strata, names)
            for task, report in executor.run(run_task, shared, tasks):
                done[task.name] = report
                tell()
    try:
        parts = [task.name for task in _all_tasks(plan) if done[task.name].hits]
        n_hits = compact_hits(output, ResultsCube(output), parts)
    except OSError as error:
        raise output_error(error, output) from error
    return _summary(plan, done, notes, n_hits, resumed)


def _all_tasks(plan: ScanPlan) -> Iterator[ScanTask]:
    for stratum in range(len(plan.strata)):
        for batch in range(plan.n_batches):
            yield from plan.tasks(stratum, batch)


def _summary(
    plan: ScanPlan,
    done: dict[str, TaskReport],
    notes: list[tuple[str, str, str]],
    n_hits: int,
    resumed: int,
) -> ScanSummary:
    status: Counter[str] = Counter()
    hidden = 0
    for task in _all_tasks(plan):
        status.update(done[task.name].status_counts)
        hidden += done[task.name].hidden_heterozygotes if task.batch == 0 else 0
    accounting = {"variants tested": plan.n_variants}
    if hidden:
        accounting["heterozygous calls of males on X or Y, set to missing"] = hidden
    return ScanSummary(
        n_variants=plan.n_variants,
        n_tests=plan.n_variants * plan.n_traits * len(plan.strata),
        status_counts={name: status[name] for name in sorted(status)},
        variant_accounting=accounting,
        trait_notes=tuple(notes),
        n_hits=n_hits,
        tasks_resumed=resumed,
    )
