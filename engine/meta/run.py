"""The stage that combines studies: tasks of some traits and a chunk of variants, each committed when it is whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan import errors
from allscan.engine.arrays import read_group_attributes
from allscan.engine.hashing import content_hash
from allscan.engine.meta.axes import ancestry_axes
from allscan.engine.meta.block import combine, counted, meta_columns
from allscan.engine.meta.cube import MetaCube, create_cube, told_inflation, variants_per_task, write_chunks
from allscan.engine.meta.files import META, META_COMMITS, META_HITS, META_PARTS, remove_meta
from allscan.engine.meta.hits import find_hits, join_hits, placed, write_part
from allscan.engine.results import CUBE_TRAITS
from allscan.kernels import summary
from allscan.kernels.association import Status
from allscan.kernels.meta import weighted_deviates
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.meta.spec import MetaSpec, StudySet
    from allscan.engine.meta.studies import Studies
    from allscan.engine.scan import TaskRunner
    from allscan.storage import Place

VERSION = 2
"""Of what the same inputs give."""


class MetaTask(NamedTuple):
    """Some traits at one chunk of variants."""

    batch: int
    chunk: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.batch}.{self.chunk}"


class MetaShared(NamedTuple):
    """What the tasks have in common."""

    studies: Studies
    sets: tuple[StudySet, ...]
    spec: MetaSpec
    axes: tuple[NDArray[np.float64] | None, ...]  # by set
    inflation: NDArray[np.float64] | None  # (studies, traits)
    output: Place
    digest: str
    size: int

    @property
    def traits_per_task(self) -> int:
        """Traits of a chunk of the cube."""
        return min(CUBE_TRAITS, max(1, len(self.studies.traits)))


@dataclass(frozen=True)
class MetaSummary:
    """What a meta-analysis did."""

    sets: dict[str, tuple[str, ...]]  # name: studies
    n_variants: int
    n_tests: int  # with a result
    n_hits: int
    statuses: dict[str, dict[str, int]]  # set: status: tests
    axes: dict[str, list[list[float]]]  # set: places of its studies on the axes of a meta-regression
    inflation: dict[str, dict[str, float]]  # study: trait: λ that its errors were widened by
    tasks: int
    tasks_resumed: int


def run_meta(
    studies: Studies,
    sets: Sequence[StudySet],
    spec: MetaSpec,
    executor: TaskRunner,
    output: Place,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    inflation: NDArray[np.float64] | None = None,
) -> MetaSummary:
    """Combine studies into ``meta.zarr`` and ``meta_hits.parquet``; committed tasks of before are not done again.

    Parameters
    ----------
    studies
        What is combined.
    sets
        Which of them, at least one set.
    spec
        Methods and thresholds.
    executor
        What runs the tasks.
    output
        Folder of the results. A meta-analysis of other inputs or settings that stands there is replaced.
    on_progress
        Told of tasks done, and of all.
    inflation : (studies, traits)
        λ of each study for genomic control; left out, it is the median's where the specification asks for control.

    Raises
    ------
    OutputError
        The output cannot be written.
    CorruptChunkError
        A chunk of the studies is damaged.
    """
    sets = tuple(sets)
    size = variants_per_task(studies)
    batches = -(-len(studies.traits) // CUBE_TRAITS)
    tasks = [MetaTask(b, k) for b in range(batches) for k in range(-(-studies.n_variants // size))]
    if spec.genomic_control and inflation is None:
        inflation = study_inflation(studies, spec, executor, size)
    axes = tuple(
        ancestry_axes(studies, one, spec.n_axes(len(one.members)), executor, size)
        if spec.n_axes(len(one.members))
        else None
        for one in sets
    )
    digest = _digest(studies, sets, spec, inflation)
    shared = MetaShared(studies, sets, spec, axes, inflation, output, digest, size)
    with errors.writing(output, again="run it again: finished blocks are kept", elsewhere="check the folder"):
        _prepare(shared)
        reports = _committed(output, digest)
    waiting = [task for task in tasks if task.name not in reports]
    resumed = len(tasks) - len(waiting)
    if on_progress is not None:
        on_progress(resumed, len(tasks))
    for task, report in executor.run(run_task, shared, waiting, memory_bytes=_memory(shared)):
        reports[task.name] = report
        if on_progress is not None:
            on_progress(len(reports), len(tasks))
    cube = MetaCube(output)
    parts = [output / META_PARTS / f"{task.name}.arrow" for task in tasks if reports[task.name]["hits"]]
    with errors.writing(output, again="run it again: finished blocks are kept", elsewhere="check the folder"):
        n_hits = join_hits(parts, cube, output / META_HITS)
    statuses: dict[str, dict[str, int]] = {one.name: {} for one in sets}
    for task in tasks:
        for name, counts in reports[task.name]["statuses"].items():
            for status, count in counts.items():
                statuses[name][status] = statuses[name].get(status, 0) + count
    return MetaSummary(
        sets={one.name: tuple(studies.names[member] for member in one.members) for one in sets},
        n_variants=studies.n_variants,
        n_tests=sum(counts.get(Status.OK.name, 0) for counts in statuses.values()),
        n_hits=n_hits,
        statuses=statuses,
        axes={one.name: places.tolist() for one, places in zip(sets, axes, strict=True) if places is not None},
        inflation={} if inflation is None else _rounded(told_inflation(studies, inflation)),
        tasks=len(tasks),
        tasks_resumed=resumed,
    )


def _rounded(told: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {study: {trait: round(value, 6) for trait, value in of_study.items()} for study, of_study in told.items()}


def _digest(studies: Studies, sets: Sequence[StudySet], spec: MetaSpec, inflation: NDArray[np.float64] | None) -> str:
    """Of everything that decides the results."""
    made_of = [VERSION, studies.digest, studies.names, studies.traits, [[one.name, one.members] for one in sets]]
    return content_hash(json.dumps(made_of), spec.to_json(), b"" if inflation is None else inflation)


def _prepare(shared: MetaShared) -> None:
    """Lay out the cube, unless it is there and of the same."""
    output = shared.output
    try:
        before = read_group_attributes(output / META).get("digest")
    except (OSError, ValueError):
        before = None
    if before == shared.digest:
        return
    remove_meta(output)
    for folder in (output / META_COMMITS, output / META_PARTS):
        folder.mkdir(parents=True, exist_ok=True)
    create_cube(output / META, shared.studies, shared.sets, shared.spec, shared.digest, shared.inflation)


def _committed(output: Place, digest: str) -> dict[str, dict[str, Any]]:
    """Reports of tasks that are done, by name."""
    found = {}
    for place in (output / META_COMMITS).glob("*.json"):
        report = json.loads(place.read_bytes())
        if report["digest"] == digest:
            found[place.name.removesuffix(".json")] = report
    return found


def _memory(shared: MetaShared) -> int:
    """Bytes of a task: what is read, what is made of it, and one trait in float64."""
    n_studies = len(shared.studies.names)
    columns = len(meta_columns(shared.spec, binary=bool(shared.studies.binary.any())))
    values = shared.size * shared.traits_per_task * (9 * n_studies * 8 + columns * 4)
    return int(values + shared.size * 20 * n_studies * 8)


def run_task(shared: MetaShared, task: MetaTask) -> dict[str, Any]:
    """Combine the studies of one task, write its chunks and hits, and commit it; returns what is committed."""
    studies, spec, output = shared.studies, shared.spec, shared.output
    first = task.batch * CUBE_TRAITS
    traits = slice(first, min(first + CUBE_TRAITS, len(studies.traits)))
    start = task.chunk * shared.size
    variants = slice(start, min(start + shared.size, studies.n_variants))
    found: list[pa.Table] = []
    statuses: dict[str, dict[str, int]] = {}
    binary = bool(studies.binary.any())
    columns = meta_columns(spec, binary=binary)
    with errors.writing(output, again="run it again: finished blocks are kept", elsewhere="check the folder"):
        for number, one in enumerate(shared.sets):
            values = {
                column.name: np.zeros((traits.stop - traits.start, variants.stop - variants.start), column.dtype)
                for column in columns
            }
            for trait, block in enumerate(studies.read(one.members, traits, variants)):
                lambdas = None if shared.inflation is None else shared.inflation[list(one.members), first + trait]
                block = counted(block, spec, lambdas)
                made = combine(block, spec, shared.axes[number])
                names = [studies.names[member] for member in one.members]
                hits = find_hits(made, block, names, spec.hits_neg_log10_p)
                for name, row in values.items():
                    row[trait] = made.get(name, row[trait] if row.dtype.kind != "f" else np.nan)
                if hits is not None:
                    blank = {c.name: c.dtype for c in columns if c.name not in made}
                    found.append(placed(_with_blanks(hits, blank), number, first + trait, start))
            counts = np.bincount(values["status"].ravel())
            statuses[one.name] = {Status(code).name: int(count) for code, count in enumerate(counts) if count}
            write_chunks(output / META, task.chunk, task.batch, number, shared.traits_per_task, shared.size, values)
        if found:
            import pyarrow as pa

            write_part(output / META_PARTS / f"{task.name}.arrow", pa.concat_tables(found))
        report = {
            "digest": shared.digest,
            "statuses": statuses,
            "hits": sum(len(table) for table in found),
        }
        write_atomically(output / META_COMMITS / f"{task.name}.json", json.dumps(report).encode())
    return report


def _with_blanks(hits: pa.Table, blank: dict[str, str]) -> pa.Table:
    """Hits of a quantitative trait with the columns that only binary ones have, before the studies."""
    from allscan.arrow import number_array

    for name, kind in blank.items():
        fill = np.nan if np.dtype(kind).kind == "f" else 0
        at = hits.column_names.index("status")
        hits = hits.add_column(at, name, number_array(np.full(len(hits), fill, kind)))
    return hits


class _InflationShared(NamedTuple):
    studies: Studies
    spec: MetaSpec
    traits: slice


def study_inflation(studies: Studies, spec: MetaSpec, executor: TaskRunner, size: int) -> NDArray[np.float64]:
    """λ of every study and trait, (studies, traits), from its variants that count; NaN without any.

    Parameters
    ----------
    studies, spec
        As for :func:`run_meta`.
    executor
        What reads the studies.
    size
        Variants read at a time.
    """
    out = np.full((len(studies.names), len(studies.traits)), np.nan)
    pieces = [slice(start, min(start + size, studies.n_variants)) for start in range(0, studies.n_variants, size)]
    for first in range(0, len(studies.traits), CUBE_TRAITS):
        traits = slice(first, min(first + CUBE_TRAITS, len(studies.traits)))
        total = np.zeros((len(studies.names), traits.stop - first, summary.N_BINS), np.uint32)
        for _, counts in executor.run(_histogram, _InflationShared(studies, spec, traits), pieces):
            total += counts
        for study, trait in np.ndindex(*total.shape[:2]):
            median = summary.median_of_histogram(total[study, trait])
            out[study, first + trait] = float(summary.inflation_of_median(median))
    return out


def _histogram(shared: _InflationShared, variants: slice) -> NDArray[np.uint32]:
    studies, spec, traits = shared
    blocks = studies.read(range(len(studies.names)), traits, variants)
    return np.stack([z_histogram(counted(block, spec).z) for block in blocks], axis=1)


def z_histogram(z: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Counts of −log10 p of deviates, (studies, bins), of (studies, variants)."""
    out = np.zeros((len(z), summary.N_BINS), np.uint32)
    for counts, row in zip(out, z, strict=True):
        y = weighted_deviates(row[np.isfinite(row)][None], np.ones((1, 1))).neg_log10_p
        counts += np.bincount(summary.histogram_bin(y), minlength=summary.N_BINS).astype(np.uint32)
    return out
