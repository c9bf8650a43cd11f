"""Rows of one trait on their way out: read by blocks, and their numbers as text."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allscan.engine.store import VariantTable
from allscan.kernels.association import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.jobs.result_source import ResultSource

SMALLEST_PLAIN_P = 300.0
"""−log10 p above which p is below what every reader of a float64 can hold."""

P_DIGITS = 7
NO_VALUE = "NA"


@dataclass(frozen=True)
class Selection:
    """One trait in one stratum of a results cube."""

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

    def read(self, variants: slice) -> Rows:
        """Names and results of some variants."""
        traits = slice(self.trait, self.trait + 1)
        values = {
            column.name: self.source.block(column.name, self.stratum, traits, variants)[0]
            for column in self.source.columns
        }
        return Rows(self.source.variant_table(variants.start, variants.stop), values)


@dataclass(frozen=True)
class Rows:
    """Some variants of one trait: every array has shape (rows,)."""

    table: VariantTable
    values: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: NDArray[Any]) -> Rows:
        """Rows by mask or by index."""
        columns = (getattr(self.table, column.name)[rows] for column in fields(VariantTable))
        return Rows(VariantTable(*columns), {name: values[rows] for name, values in self.values.items()})

    @classmethod
    def concatenate(cls, parts: Sequence[Rows]) -> Rows:
        """Rows of several parts, one after another."""
        columns = (
            np.concatenate([getattr(part.table, column.name) for part in parts]) for column in fields(VariantTable)
        )
        names = parts[0].values
        return cls(
            VariantTable(*columns),
            {name: np.concatenate([part.values[name] for part in parts]) for name in names},
        )

    def column(self, name: str) -> NDArray[Any]:
        """A result column; NaN where the test has none of this name."""
        found = self.values.get(name)
        return np.full(len(self), np.nan, np.float32) if found is None else found

    @property
    def names(self) -> pa.StringArray:
        """Variant identifiers; ``contig:position:ref:alt`` where the source has none."""
        ids = pa.array(self.table.variant_id, pa.string())
        keys = pc.binary_join_element_wise(
            pa.array(self.table.contig, pa.string()),
            text(self.table.position),
            pa.array(self.table.ref, pa.string()),
            pa.array(self.table.alt, pa.string()),
            ":",
        )
        unnamed = pc.or_(pc.equal(ids, "."), pc.equal(ids, ""))
        return pc.if_else(unnamed, keys, ids)

    @property
    def status(self) -> pa.StringArray:
        """Names of the status codes; null where the result is plainly OK."""
        code = self.values["status"]
        names = np.array([status.name for status in Status], dtype=object)
        return pa.array(names[code], pa.string(), mask=code == Status.OK)


def text(values: NDArray[Any]) -> pa.StringArray:
    """Numbers as text: the shortest decimal that reads back as the same float; null where not finite.

    Independent of the locale.
    """
    mask = None if np.issubdtype(values.dtype, np.integer) else ~np.isfinite(values)
    return pc.cast(pa.array(values, mask=mask), pa.string())


def p_value_text(neg_log10_p: NDArray[np.floating]) -> pa.StringArray:
    """p-values as text with 7 significant digits, from −log10 p; null where that is NaN.

    p-values below the smallest float64 are as exact as others: ``1.234567e-412``.
    """
    y = np.asarray(neg_log10_p, dtype=np.float64)
    known = np.where(np.isfinite(y), y, 0.0)
    exponent = np.floor(-known)
    unit = 10.0 ** (P_DIGITS - 1)
    mantissa = np.rint(10.0 ** (-known - exponent) * unit)
    over = mantissa >= 10 * unit
    mantissa[over] = unit
    exponent += over
    scientific = pc.binary_join_element_wise(text(mantissa / unit), text(exponent.astype(np.int64)), "e")
    # Where p is not small it is written as people write it. Both powers are exact: the quotient is the
    # float64 next to the decimal.
    places = np.clip(P_DIGITS - 1 - exponent, 0, 22)
    plain = text(mantissa / 10.0**places)
    shown = pc.if_else(pa.array(exponent >= -4), plain, scientific)
    return pc.if_else(pa.array(np.isfinite(y)), shown, pa.scalar(None, pa.string()))


def lines(columns: Sequence[pa.StringArray], separator: str, missing: str = NO_VALUE) -> memoryview:
    """Join columns of text into lines, each ended by a newline; nulls become ``missing``."""
    joined = pc.binary_join_element_wise(*(pc.fill_null(column, missing) for column in columns), separator)
    ended = pc.binary_join_element_wise(joined, "", "\n")
    size = pc.sum(pc.binary_length(ended)).as_py() or 0
    return memoryview(ended.buffers()[2])[:size] if size else memoryview(b"")


def constant(value: str, length: int) -> pa.StringArray:
    """The same text in every row."""
    return pa.repeat(pa.scalar(value, pa.string()), length)
