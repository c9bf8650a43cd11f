"""The traits of a trait table, some columns at a time; ids are not read."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from allscan.arrow import booleans, numbers
from allscan.phenotypes.phenotype import BINARY
from allscan.storage import open_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.phenotypes.build.artefact import TraitTableFolder

BYTES = 64 << 20
"""What the columns that are read together take."""


@dataclass(frozen=True)
class Batch:
    """Some traits of one kind."""

    names: tuple[str, ...]
    binary: bool
    values: NDArray[Any]  # (traits, people) cases, or numbers with NaN missing
    present: NDArray[np.bool_]  # (traits, people)


class TraitReader:
    """Traits of a trait table by name."""

    def __init__(self, file: Any, kinds: dict[str, str]) -> None:
        self._file = file
        self._kinds = kinds
        self.people = int(file.metadata.num_rows)

    def batches(self, names: list[str]) -> Iterator[Batch]:
        """The traits of these names, those of a kind together."""
        for binary in (True, False):
            chosen = [name for name in names if (self._kinds[name] == BINARY) is binary]
            bytes_of_one = self.people * (2 if binary else 9)
            for some in _batched(chosen, max(1, BYTES // max(1, bytes_of_one))):
                yield self._read(some, binary)

    def _read(self, names: tuple[str, ...], binary: bool) -> Batch:
        table = self._file.read(columns=list(names))
        present = np.empty((len(names), self.people), dtype=np.bool_)
        values: NDArray[Any] = np.empty(present.shape, dtype=np.bool_ if binary else np.float64)
        for row, name in enumerate(names):
            column = table[name]
            if binary:
                values[row] = booleans(column)
                present[row] = booleans(column.is_valid())
            else:
                values[row] = numbers(column.cast(pa.float64()), np.float64, np.nan)
                np.isnan(values[row], out=present[row])
                np.logical_not(present[row], out=present[row])
        return Batch(names, binary, values, present)


@contextmanager
def open_traits(folder: TraitTableFolder) -> Iterator[TraitReader]:
    """Open the traits of a trait table."""
    with open_stream(folder.traits_file) as source:
        kinds = {str(trait["name"]): str(trait["kind"]) for trait in folder.traits}
        yield TraitReader(pq.ParquetFile(source), kinds)


def _batched(names: list[str], size: int) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(names), size):
        yield tuple(names[start : start + size])
