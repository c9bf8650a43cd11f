"""Building a structure: stage after stage, each kept until the folder is whole."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.costs import BASE_MEMORY
from allscan.engine.structure import pca, umap
from allscan.engine.structure.kinship import THIRD_DEGREE
from allscan.engine.structure.pca import PcaSpec
from allscan.errors import InputError, OutputError
from allscan.jobs import run_folder
from allscan.jobs.executors import stages_executor
from allscan.jobs.machine import available_memory
from allscan.jobs.plan import MEMORY_SHARE
from allscan.jobs.run_folder import RunFolder
from allscan.jobs.run_log import log_event, logged
from allscan.jobs.run_state import stopped_by_signals
from allscan.jobs.runtime_spec import parse_memory
from allscan.jobs.structure.checkpoints import WORK, Checkpoints
from allscan.jobs.structure.folder import PROVENANCE, REPORT, TABLES, VARIANTS, StructureFolder, write_structure
from allscan.jobs.structure.groups import learn_groups
from allscan.jobs.structure.quality import OUTLIER, assess, judge_calls, judge_outliers
from allscan.jobs.structure.relatives import (
    Related,
    find_relatives,
    given_pairs,
    least_kinship,
    nobody,
    unrelated_people,
)
from allscan.jobs.structure.stages import COMPONENTS, Stages
from allscan.jobs.structure.tables import Structure, provenance, tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from allscan.jobs.structure.inputs import Prepared
    from allscan.jobs.structure.stages import GroupComponents, Placed
    from allscan.storage import Place


@dataclass(frozen=True)
class Built:
    """What a build made."""

    folder: StructureFolder
    already: bool = False  # it was there, and still holds


def build_structure(prepared: Prepared, *, on_progress: Callable[[str, int, int], None] | None = None) -> Built:
    """Make the structure of a structure file, unless it is there and made of the same; goes on where it was stopped.

    Parameters
    ----------
    prepared
        The structure file with what it names.
    on_progress
        Called with stage, tasks done and tasks in all.

    Raises
    ------
    InputError
        No marker is left, or too few to compute the components.
    OutputError
        The folder cannot be written, holds something else, or another process works in it.
    """
    from threadpoolctl import threadpool_limits

    found = prepared.built()
    if found is not None:
        return Built(found, already=True)
    output = prepared.job.output
    folder = RunFolder(output)
    with ExitStack() as closing:
        closing.enter_context(run_folder.writing(output))
        output.mkdir(parents=True, exist_ok=True)
        _refuse_strangers(output, folder)
        closing.enter_context(folder.locked())
        closing.enter_context(logged(folder))
        closing.enter_context(stopped_by_signals())
        log_event("structure_begun", "structure begun", digest=prepared.digest)
        executor = closing.enter_context(stages_executor(prepared.job.spec.runtime, _task_memory(prepared)))
        # No digit may follow the number of CPUs.
        closing.enter_context(threadpool_limits(limits=1, user_api="blas"))
        for of_another in (PROVENANCE, REPORT):
            (output / of_another).unlink(missing_ok=True)
        checkpoints = Checkpoints(output, prepared.digest)
        stages = Stages(prepared, executor, checkpoints, on_progress or (lambda _stage, _done, _total: None))
        structure = _compute(stages)
        if structure.quality is None:
            (output / VARIANTS).unlink(missing_ok=True)
        built = write_structure(output, tables(prepared, structure), provenance(prepared, structure, stages.seconds))
        checkpoints.remove()
        log_event("structure_complete", "structure complete", seconds=stages.seconds)
    return Built(built)


def _compute(stages: Stages) -> Structure:
    prepared = stages.prepared
    spec, n = prepared.job.spec, prepared.store.n_samples
    groups = prepared.groups
    if prepared.reference is not None:
        assert spec.groups is not None
        groups = learn_groups(stages, spec.groups, prepared.reference)
    excluded = prepared.excluded.copy()
    quality = None
    if spec.quality is not None:
        quality = assess(stages, spec.quality, groups)
        excluded[quality.people] = judge_calls(quality, spec.quality.samples)
    people = _left(prepared, excluded)
    among = None if quality is None else quality.passing
    chosen = stages.chosen("markers", people, among)
    related, placed = _among_relatives(stages, chosen.rows, people)
    judgement = None
    if quality is not None and spec.quality is not None:
        judgement = judge_outliers(quality, spec.quality.samples, placed.of_samples(n), groups)
        strange = quality.people[judgement.outliers.any(axis=1)]
        excluded[[row for row in strange.tolist() if excluded[row] is None]] = OUTLIER
    within: tuple[GroupComponents, ...] = ()
    if groups is not None:
        inside = np.array([reason is None for reason in excluded[people].tolist()])
        within = stages.within_groups(groups, people[inside], ~placed.related[inside], among)
    plane = stages.laid_out(placed) if spec.components.umap else None
    return Structure(excluded, groups, quality, judgement, chosen, related, placed, within, plane)


def _left(prepared: Prepared, excluded: NDArray[np.object_]) -> NDArray[np.int64]:
    people = np.array([row for row, reason in enumerate(excluded.tolist()) if reason is None], np.int64)
    wanted = prepared.job.spec.components.count
    if len(people) <= wanted:
        raise InputError(
            f"{len(people):,} people pass quality control, who have no {wanted} principal components",
            where=prepared.job.locate("quality"),
            fix="loosen the rules of `quality`, or check the genotypes",
        )
    return people


def _among_relatives(stages: Stages, rows: NDArray[np.int64], people: NDArray[np.int64]) -> tuple[Related, Placed]:
    """Relatives, and the components of those of whom no two are."""
    spec = stages.prepared.job.spec

    def components(name: str, related: Related) -> Placed:
        unrelated = unrelated_people(related, people).kept
        return stages.placed(name, COMPONENTS, rows, people, unrelated, spec.components.count)

    if spec.relatives.file is not None:
        related = given_pairs(stages.prepared)
    elif spec.relatives.method == "none":
        related = nobody(spec.relatives.max_kinship or THIRD_DEGREE)
    else:
        least = least_kinship(stages.prepared, rows, people)
        related = find_relatives(stages, rows, people, least)
        if spec.relatives.method == "pc_relate":
            first = components("components_first", related)
            related = find_relatives(stages, rows, people, least, first)
    return related, components("components", related)


def _refuse_strangers(output: Place, folder: RunFolder) -> None:
    own = {*TABLES, PROVENANCE, REPORT, WORK, folder.log.name, folder.lock.name}
    strangers = sorted(p.name for p in output.iterdir() if p.name not in own and not p.name.startswith("."))
    if strangers:
        raise OutputError(
            f"the output folder holds other files ({', '.join(strangers[:3])})",
            where=str(output),
            fix="name a new folder under `output`",
        )


def memory_limit(prepared: Prepared) -> int:
    """Bytes that the build may use on this machine."""
    told = prepared.job.spec.runtime.memory
    return parse_memory(told) if told else int(MEMORY_SHARE * available_memory())


def held_memory(prepared: Prepared) -> int:
    """Bytes that the build holds beside its tasks."""
    spec = PcaSpec(prepared.job.spec.components.count)
    laid_out = umap.memory_bytes(len(prepared.people)) if prepared.job.spec.components.umap else 0
    return BASE_MEMORY + max(pca.memory_bytes(len(prepared.people), spec), laid_out)


def _task_memory(prepared: Prepared) -> int:
    return max(0, memory_limit(prepared) - held_memory(prepared))
