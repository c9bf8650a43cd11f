"""Building blocks of the readers: ranges of records, and batches filled one variant at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.ingest.alleles import as_objects, settle_dosages
from allscan.engine.ingest.batch import Partition, VariantBatch
from allscan.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def index_partitions(n_records: int, target_variants: int) -> list[Partition]:
    """Ranges of ``target_variants`` records, in file order."""
    return [
        Partition(source=0, start=start, stop=min(start + target_variants, n_records))
        for start in range(0, n_records, target_variants)
    ]


def file_size(path: Path) -> int:
    """Size of an existing, readable file in bytes.

    Raises
    ------
    InputError
        If it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return file.seek(0, 2)
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be opened: {error.strerror}",
            where=str(path),
            fix="check the path and the permissions",
        ) from error


class Row(NamedTuple):
    """One biallelic variant, but for its calls."""

    contig: str
    position: int
    variant_id: str
    ref: str
    alt: str
    info: float = float("nan")
    n_alt: int = 1
    n_haploid: int = 0


@dataclass
class BatchBuilder:
    """Collects variants of a source into a :class:`VariantBatch` of at most ``max_variants``."""

    n_samples: int
    max_variants: int

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._rows: list[Row] = []
        self._genotypes = np.empty((self.max_variants, self.n_samples), dtype=np.int8)
        self._dosage: NDArray[np.float32] | None = None
        self._is_dosage = np.zeros(self.max_variants, dtype=bool)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def full(self) -> bool:
        """Whether no further variant fits."""
        return len(self._rows) == self.max_variants

    def add_calls(self, row: Row, genotypes: NDArray[np.int8]) -> None:
        """Add a variant of hard calls, shape (samples,)."""
        self._genotypes[len(self._rows)] = genotypes
        self._rows.append(row)

    def add_dosages(self, row: Row, dosage: NDArray[np.float32], step: float) -> None:
        """Add a variant of dosages, shape (samples,), NaN missing; as calls if they are whole numbers."""
        number = len(self._rows)
        if settle_dosages(dosage, self._genotypes[number], step):
            if self._dosage is None:
                self._dosage = np.zeros((self.max_variants, self.n_samples), dtype=np.float32)
            self._dosage[number] = dosage
            self._is_dosage[number] = True
        self._rows.append(row)

    def take(self) -> VariantBatch:
        """The batch collected so far; the builder starts anew."""
        n = len(self._rows)
        batch = VariantBatch(
            contig=as_objects(row.contig for row in self._rows),
            position=np.array([row.position for row in self._rows], dtype=np.int32),
            variant_id=as_objects(row.variant_id for row in self._rows),
            ref=as_objects(row.ref for row in self._rows),
            alt=as_objects(row.alt for row in self._rows),
            genotypes=self._genotypes[:n],
            dosage=None if self._dosage is None else self._dosage[:n],
            is_dosage=self._is_dosage[:n],
            info=np.array([row.info for row in self._rows], dtype=np.float32),
            n_alt=np.array([row.n_alt for row in self._rows], dtype=np.int16),
            n_haploid=np.array([row.n_haploid for row in self._rows], dtype=np.int32),
        )
        self._start()
        return batch
