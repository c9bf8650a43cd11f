"""Building a structure: stage after stage, each kept until the folder is whole."""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import allscan
from allscan.engine.costs import BASE_MEMORY
from allscan.engine.structure import pca
from allscan.engine.structure.axes_file import write_axes
from allscan.engine.structure.pca import PcaSpec
from allscan.errors import OutputError
from allscan.jobs import run_folder
from allscan.jobs.executors import stages_executor
from allscan.jobs.machine import available_memory
from allscan.jobs.plan import MEMORY_SHARE
from allscan.jobs.run_folder import RunFolder
from allscan.jobs.run_log import log_event, logged
from allscan.jobs.run_state import stopped_by_signals
from allscan.jobs.runtime_spec import parse_memory
from allscan.jobs.structure.checkpoints import WORK, Checkpoints
from allscan.jobs.structure.folder import (
    AXES,
    EXCLUDED,
    GROUP,
    GROUP_COMPONENTS,
    ID,
    PROVENANCE,
    RELATED,
    RELATIVES,
    REPORT,
    SAMPLES,
    TABLES,
    StructureFolder,
    component_names,
    write_structure,
)
from allscan.jobs.structure.stages import Chosen, GroupComponents, Placed, Stages

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.jobs.structure.inputs import Prepared
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
        checkpoints = Checkpoints(output, prepared.digest)
        stages = Stages(prepared, executor, checkpoints, on_progress or (lambda _stage, _done, _total: None))
        chosen = stages.markers()
        unrelated = stages.unrelated()
        placed = stages.components(chosen, unrelated)
        groups = stages.within_groups(unrelated)
        built = _write(prepared, chosen, placed, groups, stages.seconds)
        checkpoints.remove()
        log_event("structure_complete", "structure complete", seconds=stages.seconds)
    return Built(built)


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
    return BASE_MEMORY + pca.memory_bytes(len(prepared.people), spec)


def _task_memory(prepared: Prepared) -> int:
    return max(0, memory_limit(prepared) - held_memory(prepared))


def _write(
    prepared: Prepared, chosen: Chosen, placed: Placed, groups: tuple[GroupComponents, ...], seconds: dict[str, float]
) -> StructureFolder:
    tables = {
        SAMPLES: _samples_table(prepared, placed),
        GROUP_COMPONENTS: _group_table(prepared, groups, placed.scores.shape[1]),
        RELATIVES: _relatives_table(prepared),
        AXES: partial(write_axes, store=prepared.store, axes=placed.axes),
    }
    return write_structure(prepared.job.output, tables, _provenance(prepared, chosen, placed, groups, seconds))


def _samples_table(prepared: Prepared, placed: Placed) -> pa.Table:
    import pyarrow as pa

    n = prepared.store.n_samples
    out = np.ones(n, np.bool_)
    out[placed.people] = False
    related = np.zeros(n, np.bool_)
    related[placed.people] = placed.related
    columns = {
        ID: _ids(prepared, np.arange(n)),
        EXCLUDED: pa.array(prepared.excluded.tolist(), pa.string()),
        RELATED: pa.array(related, mask=out),
    }
    for name, scores in zip(component_names(placed.scores.shape[1]), placed.scores.T, strict=True):
        whole = np.zeros(n)
        whole[placed.people] = scores
        columns[name] = pa.array(whole, mask=out)
    if prepared.groups is not None:
        names = np.array([*prepared.groups.names, None], dtype=object)
        columns[GROUP] = pa.array(names[np.where(out, -1, prepared.groups.code)].tolist(), pa.string())
    else:
        columns[GROUP] = pa.nulls(n, pa.string())
    for name, column in prepared.admixture.columns.items() if prepared.admixture is not None else ():
        values = np.asarray(column.values, np.float64)
        columns[name] = pa.array(values, mask=np.isnan(values))
    return pa.table(columns)


def _group_table(prepared: Prepared, groups: tuple[GroupComponents, ...], count: int) -> pa.Table:
    import pyarrow as pa

    found = [(group.name, group.placed) for group in groups if group.placed is not None]
    names = component_names(count)
    schema = pa.schema(
        [(ID, pa.string()), (GROUP, pa.string()), (RELATED, pa.bool_()), *((name, pa.float64()) for name in names)]
    )
    parts = []
    for name, placed in found:
        scores = np.zeros((len(placed.people), count))  # a component that a group has not is constant
        scores[:, : placed.scores.shape[1]] = placed.scores[:, :count]
        columns = [
            _ids(prepared, placed.people),
            pa.array([name] * len(placed.people), pa.string()),
            pa.array(placed.related),
            *(pa.array(np.ascontiguousarray(column)) for column in scores.T),
        ]
        parts.append(pa.Table.from_arrays(columns, schema=schema))
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _relatives_table(prepared: Prepared) -> pa.Table:
    import pyarrow as pa

    pairs, people = prepared.pairs, prepared.people
    if pairs is None:
        empty = np.zeros(0, np.int64)
        first, second, kinship = empty, empty, np.zeros(0)
    else:
        first, second, kinship = people[pairs.first], people[pairs.second], pairs.value / 2
    return pa.table({"ID1": _ids(prepared, first), "ID2": _ids(prepared, second), "Kinship": pa.array(kinship)})


def _ids(prepared: Prepared, rows: NDArray[np.int64]) -> pa.Array:
    from allscan.arrow import string_array

    return string_array(str(person) for person in prepared.store.sample_ids[rows])


def _provenance(
    prepared: Prepared, chosen: Chosen, placed: Placed, groups: tuple[GroupComponents, ...], seconds: dict[str, float]
) -> dict[str, Any]:
    reasons = [reason for reason in prepared.excluded.tolist() if reason is not None]
    return {
        "digest": prepared.digest,
        "name": prepared.job.spec.name,
        "allscan": allscan.__version__,
        "built": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "made_of": prepared.made_of,
        "people": {
            "in_store": prepared.store.n_samples,
            "excluded": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
            "placed": len(placed.people),
            "related": int(placed.related.sum()),
        },
        "markers": {"count": len(chosen.rows), "accounting": dict(chosen.accounting)},
        "relatives": {"pairs": 0 if prepared.pairs is None else len(prepared.pairs.first)},
        "components": _components_told(placed),
        "covariates": [] if prepared.admixture is None else list(prepared.admixture.columns),
        "groups": [
            {
                "name": group.name,
                "people": group.people,
                "unrelated": group.unrelated,
                "markers": group.markers,
                "components": None if group.placed is None else _components_told(group.placed),
                "why": group.why,
            }
            for group in groups
        ],
        "groups_accounting": {}
        if prepared.groups is None
        else {one.reason: one.count for one in prepared.groups.counts},
        "notes": list(prepared.notes),
        "warnings": list(prepared.warnings),
        "seconds": seconds,
    }


def _components_told(placed: Placed) -> dict[str, Any]:
    return {
        "eigenvalues": placed.axes.eigenvalues.tolist(),
        "error": placed.error.tolist(),
        "passes": placed.passes,
    }
