"""Rows of one trait on their way out, read by blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.variant_names import VariantNames
from allscan.jobs.export_cells import Cells, Integers, Words, joined
from allscan.kernels.association import HAS_RESULT, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from allscan.jobs.result_source import ResultSource

_DOT = ord(".")

REFINED = HAS_RESULT - {Status.OK}
"""Statuses that name the method of a result."""


@dataclass(frozen=True)
class Selection:
    """One trait in one stratum of the results of its kind."""

    source: ResultSource
    stratum: int
    trait: int

    @property
    def trait_name(self) -> str:
        """Name of the trait."""
        return self.source.traits[self.trait]

    @property
    def stratum_name(self) -> str:
        """Name of the stratum."""
        return self.source.strata[self.stratum]

    def read(self, variants: slice, columns: Collection[str]) -> Rows:
        """Names and results of some variants; those of ``columns`` that there are."""
        traits = slice(self.trait, self.trait + 1)
        values = {
            column.name: self.source.block(column.name, self.stratum, traits, variants)[0]
            for column in self.source.columns
            if column.name in columns
        }
        return Rows(self.source.variant_names(variants.start, variants.stop), values)


@dataclass(frozen=True)
class Rows:
    """Some variants of one trait: every array has shape (rows,)."""

    table: VariantNames
    values: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.table)

    def pieces(self, size: int) -> Iterator[Rows]:
        """The rows, so many at a time."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield Rows(
                self.table.slice(start, stop), {name: values[start:stop] for name, values in self.values.items()}
            )

    def take(self, rows: NDArray[Any]) -> Rows:
        """Rows by mask or by index."""
        if rows.dtype == np.bool_ and rows.all():
            return self
        return Rows(self.table.take(rows), {name: values[rows] for name, values in self.values.items()})

    @classmethod
    def concatenate(cls, parts: Sequence[Rows]) -> Rows:
        """Rows of several parts, one after another."""
        names = parts[0].values
        return cls(
            VariantNames.concatenate([part.table for part in parts]),
            {name: np.concatenate([part.values[name] for part in parts]) for name in names},
        )

    def column(self, name: str) -> NDArray[Any]:
        """A result column; NaN where the test has none of this name."""
        found = self.values.get(name)
        return np.full(len(self), np.nan, np.float32) if found is None else found

    @property
    def names(self) -> Cells:
        """Variant identifiers; ``contig:position:ref:alt`` where the source has none."""
        ids = self.variant_ids
        unnamed = ids.lengths == 0
        short = np.flatnonzero(ids.lengths == 1)
        unnamed[short] = ids.data[ids.starts[short]] == _DOT
        if not unnamed.any():
            return ids
        keys = joined([self.contigs, self.positions, self.refs, self.alts], ":", unnamed)
        return ids.where(~unnamed, keys)

    @property
    def contigs(self) -> Words:
        """Contig names."""
        return Words(self.table.contig, self.table.contigs)

    @property
    def positions(self) -> Integers:
        """Positions."""
        return Integers(self.table.position)

    @property
    def variant_ids(self) -> Cells:
        """Identifiers as the source has them."""
        return Cells.of_strings(self.table.variant_id)

    @property
    def refs(self) -> Cells:
        """Reference alleles."""
        return Cells.of_strings(self.table.ref)

    @property
    def alts(self) -> Cells:
        """Alternate alleles."""
        return Cells.of_strings(self.table.alt)

    @property
    def controls(self) -> NDArray[np.int32]:
        """Controls among those tested, of a binary trait."""
        controls: NDArray[np.int32] = self.values["n"] - self.values["cases"]
        return controls

    @property
    def faults(self) -> Words:
        """Why a row has no result, or lacks a part of it; missing where there is nothing to say."""
        return self._names([None if status in HAS_RESULT else status.name for status in Status])

    @property
    def error_codes(self) -> Words:
        """The same with ``.`` where there is nothing to say."""
        return self._names(["." if status in HAS_RESULT else status.name for status in Status])

    @property
    def methods(self) -> Words:
        """Which method gave a result, where it is not the test's first one; else missing."""
        return self._names([status.name if status in REFINED else None for status in Status])

    @property
    def by_firth(self) -> Words:
        """Y where the result is that of Firth's penalised likelihood, else N, as in PLINK 2."""
        return self._names(["Y" if status == Status.FIRTH else "N" for status in Status])

    def _names(self, words: Sequence[str | None]) -> Words:
        return Words(self.values["status"], tuple(words))
