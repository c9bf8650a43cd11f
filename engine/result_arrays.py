"""Arrays of a results cube, opened for reading: checked, and by parts."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from allscan import arrow
from allscan.engine.arrays import StoredArray
from allscan.engine.chunk_files import INNER_VALUES, ChunkLayout, Codec
from allscan.engine.columns import COUNT_COLUMNS, STATUS_COLUMN
from allscan.engine.store import VariantTable
from allscan.engine.variant_names import VariantNames, VariantPlaces, read_strings, take_strings
from allscan.errors import AllscanError, CorruptChunkError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.storage import Place

R = TypeVar("R")

COUNT_TRAITS = 8
"""Traits of a shard's inner chunks of counts: as many as Blosc compresses together."""

# A few distinct values, or one: zstd finds what repeats along variants and traits.
_REPETITIVE = frozenset({"missing_rate", "status"})
_COUNTED = frozenset(column.name for column in (*COUNT_COLUMNS, STATUS_COLUMN))


def column_layout(name: str, dtype: np.dtype[Any], traits: int, variants: int) -> ChunkLayout:
    """How a column is held, in files of so many traits and variants.

    The test's own columns are shards, of which one trait can be read alone. Counts are the same for all traits of one
    pattern of missing samples: their shards hold a few traits together, so that what repeats is compressed.
    """
    inner, least = 1, COUNT_TRAITS if name in _COUNTED else 1
    while (inner < least or inner * variants < INNER_VALUES) and traits % (2 * inner) == 0:
        inner *= 2
    # In one trait nothing repeats that would pay for zstd's search.
    repetitive = dtype.itemsize < 4 or (traits > 1 and name in _REPETITIVE)
    return ChunkLayout(dtype, traits, variants, inner, Codec.ZSTD if repetitive else Codec.BITSHUFFLE)


class ResultArrays:
    """The arrays of one Zarr group.

    Parameters
    ----------
    path
        The group.
    fix
        What to do about a chunk that is damaged.
    """

    def __init__(
        self,
        path: Place,
        fix: str = "delete the run's commits/ folder and run the job again: it recomputes its blocks",
    ) -> None:
        self.path = path
        self._fix = fix
        self._arrays: dict[str, StoredArray] = {}
        self._layouts: dict[str, ChunkLayout] = {}

    def array(self, name: str) -> StoredArray:
        """One array, opened once."""
        if name not in self._arrays:
            self._arrays[name] = self._checked(name, lambda: StoredArray(self.path / name))
        return self._arrays[name]

    def read(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """Numbers or strings of some rows."""
        array = self.array(name)
        return self._checked(name, lambda: array.read(rows.start or 0, rows.stop))

    def strings(self, name: str, rows: slice) -> pa.StringArray:
        """Strings of some rows, without copies."""
        array = self.array(name)
        return self._checked(
            name, lambda: read_strings(self.path / name, array.shape, array.chunks[0], rows.start, rows.stop)
        )

    @cached_property
    def contigs(self) -> tuple[str, ...]:
        """Contig names."""
        return tuple(str(name) for name in self.read("contig_id"))

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        """Names and places of variants ``start:stop``."""
        rows = self._rows(start, stop)
        ids, alleles = (self.strings(name, rows) for name in ("variant_id", "variant_allele"))
        ref = np.arange(0, len(alleles), 2)
        return VariantNames(
            self.contigs,
            self.read("variant_contig", rows),
            self.read("variant_position", rows),
            ids,
            take_strings(alleles, ref),
            take_strings(alleles, ref + 1),
            self.read("variant_info", rows),
        )

    def variant_places(self, start: int = 0, stop: int | None = None) -> VariantPlaces:
        """Places of variants ``start:stop``."""
        rows = self._rows(start, stop)
        return VariantPlaces(self.contigs, self.read("variant_contig", rows), self.read("variant_position", rows))

    def _rows(self, start: int, stop: int | None) -> slice:
        n_variants = self.array("variant_position").shape[0]
        return slice(start, n_variants if stop is None else min(stop, n_variants))

    def variant_table(self, start: int = 0, stop: int | None = None) -> VariantTable:
        """As :meth:`variant_names`, with Python's strings."""
        names = self.variant_names(start, stop)
        return VariantTable(
            np.array(self.contigs, object)[names.contig],
            names.position,
            arrow.objects(names.variant_id),
            arrow.objects(names.ref),
            arrow.objects(names.alt),
            names.info,
        )

    def block(self, column: str, stratum: int, traits: slice, variants: slice) -> NDArray[Any]:
        """One result column of some traits and variants, shape (traits, variants)."""
        layout = self._layout(column)
        out = np.empty((traits.stop - traits.start, variants.stop - variants.start), layout.dtype)
        for t in range(traits.start // layout.traits, -(-traits.stop // layout.traits)):
            inside, target = _overlap(traits, t * layout.traits, layout.traits)
            for v in range(variants.start // layout.variants, -(-variants.stop // layout.variants)):
                part, columns = _overlap(variants, v * layout.variants, layout.variants)
                path = self.path / f"{column}/c/{stratum}/{t}/{v}"
                self._checked(column, partial(layout.read, path, inside, part, out[target, columns]))
        return out

    def _layout(self, column: str) -> ChunkLayout:
        if column not in self._layouts:
            array = self.array(column)
            _, traits, variants = array.chunks
            self._layouts[column] = column_layout(column, np.dtype(array.data_type), traits, variants)
        return self._layouts[column]

    def _checked(self, name: str, read: Callable[[], R]) -> R:
        try:
            return read()
        except AllscanError:
            raise
        except Exception as error:
            raise CorruptChunkError(
                f"a chunk of the results cannot be read: {error}",
                where=f"{self.path}, {name}",
                fix=self._fix,
            ) from error


def _overlap(wanted: slice, first: int, size: int) -> tuple[slice, slice]:
    """The part of a chunk that is wanted, and where in the result it goes."""
    low, high = max(wanted.start, first), min(wanted.stop, first + size)
    return slice(low - first, high - first), slice(low - wanted.start, high - wanted.start)
