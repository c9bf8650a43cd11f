"""Who is in a structure, by groups that are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from allscan.arrow import booleans, numbers, objects
from allscan.disclosure import merged_levels
from allscan.jobs.structure.folder import EXCLUDED, GROUP, RELATED, UMAP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.jobs.structure.folder import StructureFolder

NO_GROUP = "in no group"
EVERYBODY = "everybody"


class People(NamedTuple):
    """Everybody in the store; groups that are too small to be told are put together."""

    left: NDArray[np.bool_]  # (samples,) who is not excluded
    scores: NDArray[np.float64]  # (left, components)
    related: NDArray[np.bool_]  # (left,)
    code: NDArray[np.int64]  # (samples,) index into labels
    labels: tuple[str, ...]  # none of whose people are few, neither in all nor of those left
    numbers: dict[str, NDArray[np.float64]]  # (left,) covariates beside the components
    plane: NDArray[np.float64] | None  # (left, 2) UMAP

    @property
    def own_code(self) -> NDArray[np.int64]:
        """Groups of those who are left, (left,)."""
        return self.code[self.left]


def read_people(folder: StructureFolder) -> People:
    """Read them; ids are not read."""
    others = folder.covariates[len(folder.components) :]
    plane = UMAP if folder.has_umap else ()
    table = folder.samples([EXCLUDED, RELATED, GROUP, *folder.covariates, *plane])
    left = np.array([reason is None for reason in objects(table[EXCLUDED])], np.bool_)
    values = {
        name: numbers(table[name].cast(pa.float64()), np.float64, np.nan)[left] for name in (*folder.covariates, *plane)
    }
    labels = [*folder.groups, NO_GROUP] if folder.groups else [EVERYBODY]
    number = {name: k for k, name in enumerate(labels)}
    code = np.array([number[name or labels[-1]] for name in objects(table[GROUP])], np.int64)
    # Of those who are left: a group of whom few are is told with another one, whoever else is in it.
    groups = merged_levels(np.bincount(code[left], minlength=len(labels)))
    missing = [k for k in range(len(labels)) if not any(k in group for group in groups)]
    place = np.zeros(len(labels), np.int64)
    for at, group in enumerate(groups):
        place[list(group)] = at
    place[missing] = max(len(groups) - 1, 0)
    return People(
        left,
        np.column_stack([values[name] for name in folder.components]),
        booleans(table[RELATED])[left],
        place[code],
        tuple(" or ".join(labels[k] for k in group) for group in groups) or (EVERYBODY,),
        {name: values[name] for name in others},
        np.column_stack([values[name] for name in plane]) if plane else None,
    )
