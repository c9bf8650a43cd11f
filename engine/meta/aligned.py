"""Studies of other programs, aligned: kept by region of the genome, read as one list of variants."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from allscan.arrow import string_array
from allscan.engine.meta.block import mean_over_studies
from allscan.engine.meta.joining import VALUES, Sequences
from allscan.engine.meta.studies import StudyBlock, study_block
from allscan.engine.variant_names import VariantNames
from allscan.kernels.alleles import PALINDROME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.meta.joining import JoinedRegion

Palindromes = Literal["infer", "keep", "drop"]
READ_VARIANTS = 1 << 16
_NAMES = ("position", "rs", "kind", "info")
_TEXTS = ("ref", "alt")


@dataclass(frozen=True)
class Region:
    """A part of the list of variants."""

    name: str
    contig: int  # index of the contig's name
    variants: int


class Resolved(NamedTuple):
    """What becomes of palindromes, (studies, variants)."""

    dropped: NDArray[np.bool_]
    turned: NDArray[np.bool_]
    """Told on the other strand: effects change their sign."""


@dataclass(frozen=True)
class AlignedStudies:
    """Studies of one trait, of :func:`allscan.engine.meta.aligning.align`; see there for what decides what is read."""

    folder: Path
    names: tuple[str, ...]
    trait: str
    is_binary: bool
    contigs: tuple[str, ...]
    regions: tuple[Region, ...]
    digest: str
    reference_build: str | None
    same_strand: tuple[bool, ...]
    """Of each study: whether its other variants stand on the strand of the others, and palindromes may be believed."""
    palindromes: Palindromes = "infer"
    window: float = 0.1
    """An allele frequency this near to one half does not tell a strand."""

    @property
    def traits(self) -> tuple[str, ...]:
        """The one trait."""
        return (self.trait,)

    @property
    def binary(self) -> NDArray[np.bool_]:
        """(1,) whether it is binary."""
        return np.array([self.is_binary])

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum([region.variants for region in self.regions], dtype=np.int64)])

    @property
    def n_variants(self) -> int:
        """Variants that any study has."""
        return int(self._starts[-1])

    @property
    def chunk_variants(self) -> int:
        """Any number: files are mapped."""
        return READ_VARIANTS

    def _parts(self, start: int, stop: int) -> list[tuple[Region, slice]]:
        """Regions that hold some variants, and which of each."""
        starts = self._starts
        first = int(np.searchsorted(starts, start, side="right")) - 1
        found = []
        for k in range(max(first, 0), len(self.regions)):
            if starts[k] >= stop:
                break
            low, high = max(start, int(starts[k])), min(stop, int(starts[k + 1]))
            if low < high:
                found.append((self.regions[k], slice(low - int(starts[k]), high - int(starts[k]))))
        return found

    def _load(self, region: Region, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(array_path(self.folder, region.name, name), mmap_mode="r", allow_pickle=False)
        return array

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        """Names and places of variants ``start:stop``."""
        stop = self.n_variants if stop is None else min(stop, self.n_variants)
        parts = [self._names(region, rows) for region, rows in self._parts(start, stop)]
        return VariantNames.concatenate([self._nothing(), *parts])

    def _nothing(self) -> VariantNames:
        none = string_array([])
        places = np.empty(0, np.int16), np.empty(0, np.int32)
        return VariantNames(self.contigs, *places, none, none, none, np.empty(0, np.float32))

    def _names(self, region: Region, rows: slice) -> VariantNames:
        count = rows.stop - rows.start
        numbers = np.array(self._load(region, "rs")[rows])
        ids = string_array([f"rs{number}" if number else "." for number in numbers.tolist()])
        return VariantNames(
            self.contigs,
            np.full(count, region.contig, np.int16),
            np.array(self._load(region, "position")[rows]),
            ids,
            self._alleles(region, rows, "ref"),
            self._alleles(region, rows, "alt"),
            np.array(self._load(region, "info")[rows]),
        )

    def _alleles(self, region: Region, rows: slice, name: str) -> pa.StringArray:
        ends = np.array(self._load(region, f"{name}_ends")[rows.start : rows.stop + 1])
        letters = np.array(self._load(region, f"{name}_letters")[ends[0] : ends[-1]])
        return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends - ends[0]), pa.py_buffer(letters))

    def read(self, members: Sequence[int], traits: slice, variants: slice) -> list[StudyBlock]:  # noqa: ARG002 - the one trait
        """Some studies at some variants, palindromes resolved."""
        held, kind = self.values(variants)
        resolved = self.resolve(held, kind)
        beta = np.where(resolved.turned, -held["beta"], held["beta"])
        frequency = np.where(resolved.turned, 1.0 - held["frequency"], held["frequency"])
        which = list(members)

        def left(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.where(resolved.dropped[which], np.nan, values[which])

        cases = left(held["cases"]) if self.is_binary else None
        nowhere = None if cases is None else np.full(cases.shape, np.nan)
        return [
            study_block(
                left(beta),
                left(held["standard_error"]),
                left(held["neg_log10_p"]),
                left(held["n"]),
                left(frequency),
                cases,
                nowhere,
                nowhere,
            )
        ]

    def values(self, variants: slice) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.uint8]]:
        """Every value of all studies as they were aligned, each (studies, variants), and kinds of variants."""
        parts = self._parts(variants.start, variants.stop)
        held = {
            name: np.concatenate([self._load(region, name)[:, rows] for region, rows in parts], axis=1).astype(
                np.float64
            )
            for name in VALUES
        }
        return held, np.concatenate([self._load(region, "kind")[rows] for region, rows in parts])

    def resolve(self, held: dict[str, NDArray[np.float64]], kind: NDArray[np.uint8]) -> Resolved:
        """Decide about palindromes.

        Those of a study on the common strand are believed. Of another study, one is believed or turned where its
        frequency and that of the believed studies are both away from one half, believed where no other study has the
        variant, and else dropped.
        """
        present = np.isfinite(held["beta"])
        is_palindrome = (kind == PALINDROME)[None] & present
        nothing = np.zeros(present.shape, np.bool_)
        if self.palindromes == "keep":
            return Resolved(nothing, nothing)
        if self.palindromes == "drop":
            return Resolved(is_palindrome, nothing)
        believed = np.array(self.same_strand)[:, None]
        asked = is_palindrome & ~believed & (present.sum(axis=0) > 1)
        if not asked.any():
            return Resolved(nothing, nothing)
        frequency = held["frequency"]
        common = mean_over_studies(frequency, held["n"], present & believed)
        with np.errstate(invalid="ignore"):
            told = (np.abs(frequency - 0.5) > self.window) & (np.abs(common - 0.5) > self.window)[None]
            opposite = (frequency > 0.5) != (common > 0.5)[None]
        return Resolved(asked & ~told, asked & told & opposite)


def array_path(folder: Path, region: str, name: str) -> Path:
    """File of an array of a region."""
    from allscan.engine.meta.reading import file_name

    return folder / f"{file_name(region)}.{name}.npy"


def write_region(folder: Path, region: str, joined: JoinedRegion) -> None:
    """Write what :class:`AlignedStudies` reads of a region."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(joined, name) for name in _NAMES}
    for name in _TEXTS:
        alleles: Sequences = getattr(joined, name)
        arrays |= {f"{name}_ends": alleles.ends, f"{name}_letters": alleles.letters}
    for name, array in {**arrays, **joined.values}.items():
        np.save(array_path(folder, region, name), array)
