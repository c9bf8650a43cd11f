"""Writing a store of local ancestry: arrays that grow, and the group of one contig."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.arrays import encode_numbers_chunk, write_array, write_group
from allscan.engine.hashing import content_hash
from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CHUNK_VALUES = 1 << 18
LEAST_BETWEEN_ANCHORS = 1 << 16
"""Changes after which all ancestries are written again, so that reading can begin there; more, with more haplotypes."""


class GrowingArray:
    """A column whose length is not known beforehand; its description is written last."""

    def __init__(self, path: Path, dtype: str, description: str) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._description = description
        self._waiting: list[NDArray[Any]] = []
        self._n_waiting = self._chunks = self.length = 0
        self.digest = content_hash(description)
        (path / "c").mkdir(parents=True)

    def add(self, values: NDArray[Any]) -> None:
        """Append some values."""
        self._waiting.append(np.asarray(values, self._dtype))
        self._n_waiting += len(values)
        self.length += len(values)
        while self._n_waiting >= CHUNK_VALUES:
            whole = np.concatenate(self._waiting)
            self._write(whole[:CHUNK_VALUES])
            self._waiting = [whole[CHUNK_VALUES:]]
            self._n_waiting = len(self._waiting[0])

    def close(self) -> None:
        """Write what is left, and the description."""
        if self._n_waiting or not self._chunks:
            self._write(np.concatenate([*self._waiting, np.empty(0, self._dtype)]))
        self._describe((self.length,), (CHUNK_VALUES,), ("values",))

    def _write(self, values: NDArray[Any]) -> None:
        self._put(f"{self._chunks}", values, CHUNK_VALUES)

    def _put(self, name: str, values: NDArray[Any], size: int) -> None:
        content = b"".join(encode_numbers_chunk(values, size))
        self.digest = content_hash(self.digest, content)
        file = self._path / "c" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self._chunks += 1

    def _describe(self, shape: tuple[int, ...], chunks: tuple[int, ...], dimensions: tuple[str, ...]) -> None:
        described = self._path.with_name(self._path.name + ".described")
        write_array(
            described,
            dtype=self._dtype,
            shape=shape,
            chunks=chunks,
            dimensions=dimensions,
            attributes={"description": self._description},
        )
        (described / "zarr.json").rename(self._path / "zarr.json")
        described.rmdir()


class GrowingRows(GrowingArray):
    """The same of rows of one length, each a chunk."""

    def add(self, values: NDArray[Any]) -> None:
        """Append a row."""
        self._width = len(values)
        self._put(f"{self.length}/0", np.asarray(values, self._dtype), len(values))
        self.length += 1

    def close(self) -> None:
        """Write the description."""
        self._describe((self.length, self._width), (1, self._width), ("anchors", "haplotypes"))


class VariantPhase(NamedTuple):
    """Phase of one variant: a bit for each heterozygous call of the store, in the order of the people."""

    first: NDArray[np.bool_]  # whether ALT is on the first haplotype
    silent: NDArray[np.int64]  # numbers of those of which the source does not say it


class ContigWriter:
    """Writes the group of one contig, position by position.

    Parameters
    ----------
    path
        The group; made here.
    n_haplotypes
        Twice the people with local ancestry.
    first_row, n_rows
        The contig's variants in the genotype store.
    """

    def __init__(self, path: Path, n_haplotypes: int, first_row: int, n_rows: int) -> None:
        path.mkdir(parents=True)
        self._path = path
        self._first_row, self._n_rows = first_row, n_rows
        self._ancestry = np.zeros(n_haplotypes, np.uint8)
        self._begun = False
        self._bytes = 0
        self._between = max(LEAST_BETWEEN_ANCHORS, n_haplotypes)
        self._anchored = 0
        self._start = np.zeros(n_rows + 1, np.int64)
        self._has_phase = np.zeros(n_rows, np.uint8)
        self._next_row = 0
        self._bits = GrowingArray(path / "phase_bits", "uint8", "Bits of the heterozygous calls; 1: ALT is first")
        self._unphased = GrowingArray(path / "unphased", "int64", "Numbers of bits that say nothing")
        self._change_position = GrowingArray(path / "change_position", "int32", "First position of the new ancestry")
        self._change_haplotype = GrowingArray(path / "change_haplotype", "int32", "Twice the person, plus 0 or 1")
        self._change_ancestry = GrowingArray(path / "change_ancestry", "uint8", "The new ancestry")
        self._anchor_change = GrowingArray(path / "anchor_change", "int64", "Changes before the anchor")
        self._anchor_position = GrowingArray(path / "anchor_position", "int32", "Position of the anchor")
        self._anchor_ancestry = GrowingRows(path / "anchor_ancestry", "uint8", "Ancestries of all haplotypes there")

    def set_ancestry(self, position: int, ancestry: NDArray[np.uint8]) -> None:
        """Ancestries of all haplotypes from a position on; positions do not fall."""
        if not self._begun:
            self._ancestry[:] = ancestry
            self._begun = True
            self._anchor(position)
            return
        changed = np.flatnonzero(self._ancestry != ancestry)
        if len(changed):
            self.change(position, changed.astype(np.int32), ancestry[changed])

    def change(self, position: int, haplotypes: NDArray[np.int32], ancestry: NDArray[np.uint8]) -> None:
        """Ancestries of some haplotypes from a position on."""
        if self._change_position.length - self._anchored >= self._between:
            self._anchor(position)
        self._change_position.add(np.full(len(haplotypes), position, np.int32))
        self._change_haplotype.add(haplotypes)
        self._change_ancestry.add(ancestry)
        self._ancestry[haplotypes] = ancestry

    def _anchor(self, position: int) -> None:
        self._anchored = self._change_position.length
        self._anchor_change.add(np.array([self._anchored]))
        self._anchor_position.add(np.array([position]))
        self._anchor_ancestry.add(self._ancestry)

    def set_phase(self, row: int, phase: VariantPhase) -> None:
        """Phase of a variant; rows increase."""
        local = row - self._first_row
        self._start[self._next_row : local + 1] = self._bytes
        self._next_row = local + 1
        self._has_phase[local] = 1
        if len(phase.silent):
            self._unphased.add(8 * self._bytes + phase.silent)
        packed = np.packbits(phase.first, bitorder="little")
        self._bits.add(packed)
        self._bytes += len(packed)

    def close(self, contig: str, covered: list[tuple[int, int]]) -> str:
        """Finish the group; returns a hash of its content."""
        self._start[self._next_row :] = self._bytes
        start = GrowingArray(self._path / "phase_start", "int64", "First byte of each variant in phase_bits")
        start.add(self._start)
        has_phase = GrowingArray(self._path / "has_phase", "uint8", "1: the variant's phase is known")
        has_phase.add(self._has_phase)
        arrays = [
            start, has_phase, self._bits, self._unphased, self._change_position, self._change_haplotype,
            self._change_ancestry, self._anchor_change, self._anchor_position, self._anchor_ancestry,
        ]  # fmt: skip
        for array in arrays:
            array.close()
        write_group(
            self._path,
            {
                "contig": contig,
                "first_row": self._first_row,
                "variants": self._n_rows,
                "changes": self._change_position.length,
                "covered": covered,
            },
        )
        return content_hash(*(array.digest for array in arrays), repr(covered))


@jit
def phase_of_calls(
    calls: NDArray[np.int8],
    store_rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    alleles: NDArray[np.int8],
    phased: NDArray[np.bool_],
    allele: int,
    first: NDArray[np.bool_],
    silent: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Phase of the heterozygous calls of a variant of the store, from the haplotypes of a source.

    Parameters
    ----------
    calls : (samples,)
        Of the genotype store: copies of ALT; -1 is missing.
    store_rows, columns : (people,)
        Samples of the store with local ancestry, and where the source has them.
    alleles : (2 × samples of the source,)
        Numbers of alleles; -1 is missing.
    phased : (samples of the source,)
    allele
        Number of ALT in the source.
    first, silent : (people,)
        Overwritten: whether ALT is first, and which of these say nothing.

    Returns
    -------
    Heterozygous calls, those that say nothing, and people of whom store and source say different calls.
    """
    n = n_silent = different = 0
    for i in range(store_rows.shape[0]):
        call, j = calls[store_rows[i]], columns[i]
        one, other = alleles[2 * j], alleles[2 * j + 1]
        copies = np.int8(-1)
        if one >= 0 and other >= 0:
            copies = np.int8(one == allele) + np.int8(other == allele)
        if call >= 0 and copies >= 0 and call != copies:
            different += 1
        if call == 1:
            first[n] = one == allele
            if copies != 1 or not phased[j]:
                first[n] = False
                silent[n_silent] = n
                n_silent += 1
            n += 1
    return n, n_silent, different
