"""The people whose genotypes are judged, with sex and group."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.person_counts import NOT_COUNTED, Partition, partition

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore

UNKNOWN, MALE, FEMALE = 0, 1, 2
SEXES = 3


@dataclass(frozen=True, eq=False)
class People:
    """Who is counted, of a store."""

    rows: NDArray[np.int64]  # (people,) of the store, ascending
    sex: NDArray[np.int8]  # (people,) as reported: 1 male, 2 female, 0 unknown
    groups: tuple[str, ...]  # names; empty: nobody's group is known
    group: NDArray[np.int64]  # (people,) index into ``groups``; -1: of none
    n_samples: int  # of the store

    def __post_init__(self) -> None:
        assert len(self.rows) == len(self.sex) == len(self.group)
        assert SEXES * (len(self.groups) + 1) <= NOT_COUNTED, "too many groups"

    @property
    def size(self) -> NDArray[np.int64]:
        """People of each group, and last those of none, shape (groups + 1,)."""
        return np.bincount(self._number, minlength=len(self.groups) + 1)

    @property
    def _number(self) -> NDArray[np.int64]:
        return np.where(self.group < 0, len(self.groups), self.group)

    @cached_property
    def by_group(self) -> Partition:
        """The groups, and last the people of none."""
        return self._partition(self._number, len(self.groups) + 1)

    @cached_property
    def by_cell(self) -> Partition:
        """Each group's people of unknown sex, men, and women."""
        return self._partition(SEXES * self._number + self.sex, SEXES * (len(self.groups) + 1))

    def _partition(self, number: NDArray[np.int64], n: int) -> Partition:
        of_sample = np.full(self.n_samples, -1, np.int64)
        of_sample[self.rows] = number
        return partition(of_sample, n)


def people_of(
    store: GenotypeStore,
    rows: NDArray[np.int64] | None = None,
    *,
    sex: NDArray[np.integer] | None = None,
    groups: tuple[str, ...] = (),
    group: NDArray[np.integer] | None = None,
) -> People:
    """Some people of a store.

    Parameters
    ----------
    rows : (people,) int64, optional
        Store rows, ascending; None: everybody.
    sex : (people,), optional
        As reported: 1 male, 2 female, 0 unknown; None: what the store says.
    groups, group
        Names of ancestry groups, and the index of each person's, shape (people,), -1 for none; left out, nobody's is
        known. A cohort of one ancestry is one group.
    """
    rows = np.arange(store.n_samples) if rows is None else rows
    sex = store.sample_sex[rows] if sex is None else sex
    group = np.full(len(rows), -1) if group is None else group
    return People(rows, sex.astype(np.int8), groups, group.astype(np.int64), store.n_samples)
