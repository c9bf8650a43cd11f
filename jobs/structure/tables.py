"""What was computed, as the tables and the provenance of a structure's folder."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import allscan
from allscan.arrow import string_array
from allscan.engine.structure.axes_file import write_axes
from allscan.engine.structure.kinship import THIRD_DEGREE
from allscan.jobs.structure.folder import (
    AXES,
    EXCLUDED,
    GROUP,
    GROUP_COMPONENTS,
    ID,
    RELATED,
    RELATIVES,
    SAMPLES,
    SHOWN_COMPONENTS,
    UMAP,
    component_names,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.quality.judging import Judgement
    from allscan.jobs.structure.groups import Groups
    from allscan.jobs.structure.inputs import Prepared
    from allscan.jobs.structure.quality import Quality
    from allscan.jobs.structure.relatives import Related
    from allscan.jobs.structure.stages import Chosen, GroupComponents, Placed
    from allscan.storage import Place

_CONSTANT = ("n_variants",)
"""Metrics that are the same for everybody."""


class Structure(NamedTuple):
    """Everything that was computed."""

    excluded: NDArray[np.object_]  # (samples,) why somebody is left out; None: not at all
    groups: Groups | None
    quality: Quality | None
    judgement: Judgement | None  # of those whom the quality is of
    chosen: Chosen
    related: Related
    placed: Placed
    within: tuple[GroupComponents, ...]
    plane: NDArray[np.float64] | None  # (people, 2) UMAP of those who are placed


def tables(prepared: Prepared, found: Structure) -> dict[str, pa.Table | Callable[[Place], None]]:
    """The tables, by file name."""
    return {
        SAMPLES: _samples(prepared, found),
        GROUP_COMPONENTS: _within_groups(prepared, found),
        RELATIVES: found.related.table(prepared.store),
        AXES: partial(write_axes, store=prepared.store, axes=found.placed.axes),
    }


def _samples(prepared: Prepared, found: Structure) -> pa.Table:
    import pyarrow as pa

    n, placed = prepared.store.n_samples, found.placed
    out = np.ones(n, np.bool_)
    out[placed.people] = False
    related = np.zeros(n, np.bool_)
    related[placed.people] = placed.related
    columns: dict[str, Any] = {
        ID: _ids(prepared, np.arange(n)),
        EXCLUDED: pa.array(found.excluded.tolist(), pa.string()),
        RELATED: pa.array(related, mask=out),
    }
    scores = placed.of_samples(n)
    for name, values in zip(component_names(scores.shape[1]), scores.T, strict=True):
        columns[name] = _known(values)
    if found.plane is not None:
        plane = np.full((n, len(UMAP)), np.nan)
        plane[placed.people] = found.plane
        columns |= {name: _known(values) for name, values in zip(UMAP, plane.T, strict=True)}
    columns[GROUP] = pa.nulls(n, pa.string())
    if found.groups is not None:
        names = np.array([*found.groups.names, None], dtype=object)
        columns[GROUP] = pa.array(names[found.groups.code].tolist(), pa.string())
        if found.groups.probabilities is not None:
            for name, values in zip(found.groups.classes, found.groups.probabilities.T, strict=True):
                columns[f"probability_{name}"] = _known(values)
    for name, column in prepared.admixture.columns.items() if prepared.admixture is not None else ():
        columns[name] = _known(np.asarray(column.values, np.float64))
    return pa.table({**columns, **_quality(found, n)})


def _quality(found: Structure, n: int) -> Mapping[str, Any]:
    """Metrics of those who were counted, and how far they are from others."""
    import pyarrow as pa

    if found.quality is None or found.judgement is None:
        return {}
    row = np.zeros(n, np.int64)
    counted = np.zeros(n, np.bool_)
    row[found.quality.people], counted[found.quality.people] = np.arange(len(found.quality.people)), True
    take = pa.array(row, mask=~counted)
    metrics, judged = found.quality.metrics.to_arrow(), found.judgement.to_arrow()
    columns = {name: metrics[name] for name in metrics.column_names if name not in _CONSTANT}
    columns |= {name: judged[name] for name in judged.column_names if name.startswith("deviation_")}
    return {name: column.take(take) for name, column in columns.items()}


def _known(values: NDArray[np.float64]) -> pa.Array:
    """Numbers, null where they are NaN."""
    import pyarrow as pa

    return pa.array(np.ascontiguousarray(values), mask=np.isnan(values))


def _within_groups(prepared: Prepared, found: Structure) -> pa.Table:
    import pyarrow as pa

    count = found.placed.scores.shape[1]
    names = component_names(count)
    schema = pa.schema(
        [(ID, pa.string()), (GROUP, pa.string()), (RELATED, pa.bool_()), *((name, pa.float64()) for name in names)]
    )
    parts = []
    for group in found.within:
        placed = group.placed
        if placed is None:
            continue
        scores = np.zeros((len(placed.people), count))  # a component that a group does not have is constant
        scores[:, : placed.scores.shape[1]] = placed.scores[:, :count]
        columns = [
            _ids(prepared, placed.people),
            pa.array([group.name] * len(placed.people), pa.string()),
            pa.array(placed.related),
            *(pa.array(np.ascontiguousarray(column)) for column in scores.T),
        ]
        parts.append(pa.Table.from_arrays(columns, schema=schema))
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _ids(prepared: Prepared, rows: NDArray[np.int64]) -> pa.Array:
    return string_array(str(person) for person in prepared.store.sample_ids[rows])


def provenance(prepared: Prepared, found: Structure, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What the structure was made of, and counts; nothing of a single person."""
    reasons = [reason for reason in found.excluded.tolist() if reason is not None]
    groups, related, placed = found.groups, found.related, found.placed
    return {
        "digest": prepared.digest,
        "name": prepared.job.spec.name,
        "allscan": allscan.__version__,
        "built": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "made_of": prepared.made_of,
        "people": {
            "in_store": prepared.store.n_samples,
            "excluded": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
            "left": prepared.store.n_samples - len(reasons),
            "placed": len(placed.people),
            "related": int(placed.related.sum()),
        },
        "quality": _quality_told(found),
        "markers": {"count": len(found.chosen.rows), "accounting": dict(found.chosen.accounting)},
        "relatives": {
            "pairs": int((related.kinship > related.least).sum()),
            "max_kinship": related.least,
        },
        "components": _components_told(placed),
        "umap": None if found.plane is None else {"components": min(SHOWN_COMPONENTS, placed.scores.shape[1])},
        "covariates": [] if prepared.admixture is None else list(prepared.admixture.columns),
        "groups": [_group_told(group) for group in found.within],
        "groups_accounting": {} if groups is None else {one.reason: one.count for one in groups.counts},
        "confusion": None if groups is None or groups.confusion is None else groups.confusion.tolist(),
        "notes": [*prepared.notes, *_notes(prepared, found)],
        "warnings": list(prepared.warnings),
        "seconds": dict(seconds),
    }


def _notes(prepared: Prepared, found: Structure) -> list[str]:
    asked, least = prepared.job.spec.relatives, found.related.least
    if asked.file is not None or asked.method == "none" or asked.max_kinship is not None or least <= THIRD_DEGREE:
        return []
    return [
        f"relatives are pairs with a kinship above {least:.3f}: {len(found.chosen.rows):,} markers do not tell farther "
        "ones from chance"
    ]


def _quality_told(found: Structure) -> dict[str, Any] | None:
    if found.quality is None or found.judgement is None:
        return None
    outliers = found.judgement.outliers.sum(axis=0).tolist()
    return {
        "variants": dict(found.quality.accounting),
        "outliers": dict(zip(found.judgement.metrics, outliers, strict=True)),
        "not_judged": [list(one) for one in found.judgement.not_judged],
        "sex_check": _sex_checks(found.quality),
    }


def _sex_checks(quality: Quality) -> dict[str, int]:
    from allscan.engine.quality.samples import SexCheck

    return {one.text: int((quality.metrics.sex_check == one).sum()) for one in SexCheck}


def _group_told(group: GroupComponents) -> dict[str, Any]:
    return {
        "name": group.name,
        "people": group.people,
        "unrelated": group.unrelated,
        "markers": group.markers,
        "components": None if group.placed is None else _components_told(group.placed),
        "why": group.why,
    }


def _components_told(placed: Placed) -> dict[str, Any]:
    return {
        "eigenvalues": placed.axes.eigenvalues.tolist(),
        "error": placed.error.tolist(),
        "passes": placed.passes,
    }
