"""What a structure gives a job: people who are left out, and components as covariates, of everybody or of a group."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.jobs.strata_spec import ANCESTRY
from allscan.phenotypes.matching import rows_of
from allscan.phenotypes.model import CovariateColumn, CovariateTable, SampleList

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.jobs.structure.use import JobStructure


ENOUGH_MARKERS = 5_000
"""Measured (`benchmarks.science.strata`): with 500 markers λ of a confounded pooled scan was 1.5, with 1,746 it was
1.09, with true shares of ancestry 1.00."""


class GroupComponents(NamedTuple):
    """What a structure has for the scan of a group."""

    covariates: CovariateTable
    others: SampleList | None = None  # who has components, and none of the group; None: they are those of everybody


@dataclass(frozen=True)
class StructureInJob:
    """A structure, for the people of a store."""

    structure: JobStructure
    sample_ids: NDArray[np.object_]  # (samples,) of the store

    @property
    def is_built(self) -> bool:
        """Whether its numbers are known; where they are not, stand-ins take their place in a check."""
        return self.structure.folder is not None

    def warnings(self) -> tuple[str, ...]:
        """What is to be said of its components, which are adjusted for."""
        folder = self.structure.folder
        markers = 0 if folder is None else int(folder.provenance["markers"]["count"])
        if folder is None or markers >= ENOUGH_MARKERS:
            return ()
        return (
            f"{self.structure.path}: components of {markers:,} markers tell ancestry roughly, and what they leave of "
            "it may raise false positives among people of several ancestries together; groups are touched less",
        )

    def excluded(self) -> tuple[SampleList, ...]:
        """Whom its quality control leaves out, by reason."""
        if not self.is_built:
            return ()
        path = self.structure.path
        return tuple(
            SampleList(one.sample_ids, path, f"left out by the structure: {one.reason}")
            for one in self.structure.excluded()
        )

    @cached_property
    def covariates(self) -> CovariateTable:
        """Components of everybody, read once for all groups."""
        return self.structure.covariates() if self.is_built else self._stand_ins()

    def of_group(self, stratification: str, group: str) -> GroupComponents:
        """Components for the scan of a group: its own, where it is one of the structure's groups that has some.

        Other numbers, such as shares of ancestry, are those of everybody.
        """
        of_all = self.covariates
        own = self.structure.covariates_of(group) if self.is_built and stratification == ANCESTRY else None
        if own is None:
            return GroupComponents(of_all)
        rows = rows_of(own.sample_ids, of_all.sample_ids)
        others = {
            name: CovariateColumn(name, np.where(rows < 0, np.nan, column.values[rows]))
            for name, column in of_all.columns.items()
            if name not in own.columns and column.values is not None
        }
        table = CovariateTable(own.sample_ids, {**own.columns, **others}, own.source, id_column=own.id_column)
        others_ids = of_all.sample_ids[rows_of(of_all.sample_ids, own.sample_ids) < 0]
        why = f"without components of the structure's group {group!r}"
        return GroupComponents(table, SampleList(others_ids, self.structure.path, why))

    def _stand_ins(self) -> CovariateTable:
        """Numbers in the place of components that are not computed yet: they tell whether a formula can be used."""
        n = len(self.sample_ids)
        numbers = np.random.default_rng(0).standard_normal((n, len(self.structure.columns)))
        columns = {name: CovariateColumn(name, numbers[:, k]) for k, name in enumerate(self.structure.columns)}
        return CovariateTable(self.sample_ids, columns, self.structure.path)
