"""Level 0 as tasks: each block of markers is fitted alone, and its predictions go to disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import google_crc32c
import numpy as np

from allscan.errors import CorruptChunkError
from allscan.kernels.block import concatenate, take
from allscan.kernels.ridge import fit_block, predict_block
from allscan.storage import opened, write_atomically, write_files

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.ridge import People
    from allscan.storage import Place

MOST_BYTES = 1 << 30
"""Predictions of one block that a task holds; more traits than that are done in batches."""


@dataclass(frozen=True)
class MarkerBlock:
    """Consecutive markers of one chromosome."""

    chromosome: str
    rows: NDArray[np.int64]  # of the store


class Level0Note(NamedTuple):
    """What a block has to say."""

    markers: int
    dropped: int  # markers that hardly vary among the people once the covariates are taken off


@dataclass(frozen=True)
class Level0:
    """What the tasks of level 0 share."""

    store: GenotypeStore
    blocks: tuple[MarkerBlock, ...]
    people: People
    member: NDArray[np.bool_]  # (people, traits)
    penalties: NDArray[np.float64]
    folder: Place

    @property
    def n_traits(self) -> int:
        """Traits of the batch."""
        return int(self.member.shape[1])


def traits_per_batch(n_people: int, n_penalties: int) -> int:
    """How many traits are predicted together."""
    return max(1, min(128, MOST_BYTES // (4 * n_people * n_penalties)))


def read_markers(store: GenotypeStore, rows: NDArray[np.int64]) -> tuple[GenotypeBlock, NDArray[np.float64]]:
    """Genotypes of markers, and their mean dosages in the store."""
    size = store.block_variants
    parts = []
    for index in np.unique(rows // size):
        here = rows[rows // size == index]
        parts.append(take(store.read_block(int(index)), here - index * size))
    first, last = int(rows[0]), int(rows[-1]) + 1
    mean = 2.0 * store.column("variant_allele_frequency", first, last)[rows - first]
    return parts[0] if len(parts) == 1 else concatenate(parts), np.nan_to_num(mean)


def run_block(shared: Level0, number: int) -> Level0Note:
    """Fit one block and commit its predictions."""
    block, mean = read_markers(shared.store, shared.blocks[number].rows)
    fit = fit_block(block, mean, shared.people, shared.penalties)
    n, n_traits, n_penalties = len(shared.people.rows), shared.n_traits, len(shared.penalties)
    values = np.empty((n_traits, n, n_penalties), np.float32)
    for some, predicted in predict_block(block, mean, shared.people, fit):
        values[:, some] = predicted.reshape(-1, n_traits, n_penalties).transpose(1, 0, 2)
    centre, spread, checksum, pieces = [], [], [], []
    for t in range(n_traits):
        own = values[t][shared.member[:, t]].astype(np.float64)
        centre.append(own.mean(axis=0).tolist() if len(own) else [0.0] * n_penalties)
        spread.append(own.std(axis=0).tolist() if len(own) else [0.0] * n_penalties)
        pieces.append(values[t].tobytes())
        checksum.append(google_crc32c.value(pieces[-1]))
    note = Level0Note(block.n_variants, int((~fit.kept).sum()))
    write_files([(_values_file(shared.folder, number), pieces)])
    commit = {"note": note, "centre": centre, "spread": spread, "checksum": checksum}
    write_atomically(_commit_file(shared.folder, number), json.dumps(commit).encode())
    return note


def finished_blocks(folder: Place, n_blocks: int) -> dict[int, Level0Note]:
    """Blocks that an earlier session has committed."""
    there = {file.name for file in folder.glob("*.json")}
    return {
        number: Level0Note(*json.loads(_commit_file(folder, number).read_bytes())["note"])
        for number in range(n_blocks)
        if _commit_file(folder, number).name in there
    }


def _values_file(folder: Place, number: int) -> Place:
    return folder / f"{number:06d}.f32"


def _commit_file(folder: Place, number: int) -> Place:
    return folder / f"{number:06d}.json"


class StoredFeatures:
    """Predictions of all blocks for one trait, at unit variance, read in strips of the trait's own people.

    Raises
    ------
    CorruptChunkError
        What is read is not what was written.
    """

    def __init__(self, folder: Place, n_blocks: int, trait: int, member: NDArray[np.bool_], n_penalties: int) -> None:
        self._folder, self._trait, self._n_penalties = folder, trait, n_penalties
        self._own = np.flatnonzero(member)
        self._n_people = len(member)
        commits = [json.loads(_commit_file(folder, number).read_bytes()) for number in range(n_blocks)]
        self._checksums = [int(commit["checksum"][trait]) for commit in commits]
        self._seen = [0 for _ in commits]
        self._checked = 0  # people whose bytes are in the checksums
        centre = np.array([commit["centre"][trait] for commit in commits]).ravel()
        spread = np.array([commit["spread"][trait] for commit in commits]).ravel()
        # Rounding of float32 is no variation.
        varies = spread > 1e-6 * max(float(spread.max(initial=0.0)), 1e-30)
        self._centre = centre.astype(np.float32)
        self._scale = np.where(varies, 1.0 / np.where(varies, spread, 1.0), 0.0).astype(np.float32)
        self.n, self.p = len(self._own), n_blocks * n_penalties

    def strip(self, start: int, stop: int) -> NDArray[np.float32]:
        """Columns of some people, shape (stop - start, p)."""
        first, last = int(self._own[start]), int(self._own[stop - 1]) + 1
        # What lies between strips is read too, once, for the checksum.
        follows = self._checked <= first and (start == 0 or self._own[start - 1] < self._checked)
        begin = self._checked if follows else first
        end = self._n_people if stop == self.n else last
        row = 4 * self._n_penalties
        out = np.empty((stop - start, self.p), np.float32)
        for number in range(len(self._checksums)):
            offset = (self._trait * self._n_people + begin) * row
            size = (end - begin) * row
            with opened(_values_file(self._folder, number)) as file:
                file.load([(offset, size)])
                content = file.read(offset, size)
            if len(content) != size:
                raise self._damaged(number)
            if follows:
                self._seen[number] = google_crc32c.extend(self._seen[number], content)
            values = np.frombuffer(content, np.float32).reshape(end - begin, self._n_penalties)
            columns = slice(number * self._n_penalties, (number + 1) * self._n_penalties)
            out[:, columns] = values[self._own[start:stop] - begin]
        if follows:
            self._checked = end
            if end == self._n_people:
                self._check()
        out -= self._centre
        out *= self._scale
        return out

    def _check(self) -> None:
        for number, (seen, checksum) in enumerate(zip(self._seen, self._checksums, strict=True)):
            if seen != checksum:
                raise self._damaged(number)

    def _damaged(self, number: int) -> CorruptChunkError:
        return CorruptChunkError(
            "predictions of a block of markers do not match their checksum",
            where=str(_values_file(self._folder, number)),
            fix="delete the file and the .json beside it, and run the same command again",
        )
