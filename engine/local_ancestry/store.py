"""A store of local ancestry: phase and ancestries of the people of a genotype store, read by runs of variants."""

from __future__ import annotations

import json
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.arrays import StoredArray, read_group_attributes
from allscan.engine.hashing import content_hash
from allscan.errors import CorruptChunkError, FileFormatError, InputError, StorageError
from allscan.kernels.haplotypes import Changes, Phase
from allscan.storage import place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place

FORMAT = "allscan-local-ancestry"
FORMAT_VERSION = 1
CONTIG_ARRAYS = (
    "phase_start",
    "has_phase",
    "phase_bits",
    "unphased",
    "change_position",
    "change_haplotype",
    "change_ancestry",
    "anchor_change",
    "anchor_position",
    "anchor_ancestry",
)
"""Arrays of a contig's group; docs/reference/store.md says what they hold."""


class LocalRows(NamedTuple):
    """Phase and ancestries at some variants of one contig."""

    phase: Phase
    changes: Changes
    usable: NDArray[np.bool_]  # (variants,)


class LocalAncestryStore:
    """An opened store of local ancestry. Picklable; safe to read from many threads."""

    def __init__(self, path: str | Place) -> None:
        self.path = place_of(path)
        try:
            self.attrs = read_group_attributes(self.path)
        except (OSError, ValueError) as error:
            if isinstance(error, StorageError):
                raise
            raise InputError(
                "there is no store of local ancestry",
                where=str(path),
                fix="make one: allscan local-ancestry build GENOTYPES.zarr OUT.zarr FILE…",
            ) from error
        if self.attrs.get("format") != FORMAT or self.attrs.get("format_version") != FORMAT_VERSION:
            raise FileFormatError(
                f"this is not a store of local ancestry that this program reads (format: {self.attrs.get('format')!r}, "
                f"version {self.attrs.get('format_version')!r})",
                where=str(path),
                fix="make it again: allscan local-ancestry build GENOTYPES.zarr OUT.zarr FILE…",
            )

    def __reduce__(self) -> tuple[type[LocalAncestryStore], tuple[Place]]:
        return (LocalAncestryStore, (self.path,))

    @property
    def ancestries(self) -> tuple[str, ...]:
        """Names of the ancestries."""
        return tuple(self.attrs["ancestries"])

    @cached_property
    def store_rows(self) -> NDArray[np.int64]:
        """Samples of the genotype store that have local ancestry, increasing, shape (people,)."""
        return self._read(self.path / "sample_row").astype(np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of the content."""
        return content_hash(json.dumps([self.attrs[key] for key in ("ancestries", "genotypes", "contents")]))

    def check(self, store: GenotypeStore) -> None:
        """Refuse a genotype store that this one was not made for.

        Raises
        ------
        InputError
            If it is another one.
        """
        if self.attrs["genotypes"] != store.fingerprint():
            raise InputError(
                f"the local ancestry was made for other genotypes than those of {store.path.name}",
                where=str(self.path),
                fix="make it for these: allscan local-ancestry build GENOTYPES.zarr OUT.zarr FILE…",
            )

    def contig(self, contig: int) -> _Contig | None:
        """What is known of a contig of the genotype store, by its number there; None: nothing."""
        key = str(contig)
        return _contig(self.path, key) if key in self.attrs["contigs"] else None

    def rows(self, contig: int, rows: NDArray[np.int64], position: NDArray[np.int32]) -> LocalRows | None:
        """Phase and ancestries at variants of one contig; None where nothing is known of the contig.

        Parameters
        ----------
        contig
            Its number in the genotype store.
        rows, position
            Rows of the genotype store, increasing, and positions of the variants.

        Raises
        ------
        CorruptChunkError
            If an array is damaged.
        """
        known = self.contig(contig)
        if known is None:
            return None
        local = rows - known.first_row
        first, last = int(local[0]), int(local[-1]) + 1
        start = known.read("phase_start", first, last + 1)
        has_phase = known.read("has_phase", first, last)[local - first].astype(bool)
        low, high = int(start[0]), int(start[-1])
        bits = known.read("phase_bits", low, high)
        silent = known.unphased
        silent = silent[slice(*np.searchsorted(silent, [8 * low, 8 * high]))] - 8 * low
        usable = has_phase & known.covers(position)
        of_variant = np.where(has_phase, 8 * (start[local - first] - low), -1)
        return LocalRows(Phase(bits, of_variant, silent), known.changes(position), usable)

    def _read(self, place: Place) -> NDArray[Any]:
        return read_checked(place, 0, None)

    def verify(self, on_progress: Callable[[int, int], None] | None = None) -> tuple[str, ...]:
        """Read every chunk, and name the arrays that are damaged.

        Parameters
        ----------
        on_progress
            Called with arrays done and arrays in all.
        """
        places = [self.path / "sample_row"]
        places += [self.path / key / name for key in self.attrs["contigs"] for name in CONTIG_ARRAYS]
        damaged = []
        for done, place in enumerate(places, start=1):
            try:
                array = StoredArray(place)
                for start in range(0, array.shape[0], max(1, array.chunks[0])):
                    array.read(start, start + array.chunks[0])
            except StorageError:
                raise
            except (OSError, ValueError, RuntimeError) as error:
                damaged.append(f"{place}: {error}")
            if on_progress:
                on_progress(done, len(places))
        return tuple(damaged)


def read_checked(place: Place, start: int, stop: int | None) -> NDArray[Any]:
    """Rows of an array.

    Raises
    ------
    CorruptChunkError
        If it cannot be read.
    """
    try:
        return _array(place).read(start, stop)
    except StorageError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise CorruptChunkError(
            f"an array of the local ancestry cannot be read: {error}",
            where=str(place),
            fix="make the store of local ancestry again: allscan local-ancestry build",
        ) from error


@lru_cache(maxsize=512)
def _array(place: Place) -> StoredArray:
    return StoredArray(place)


class _Contig:
    """Local ancestry of one contig."""

    def __init__(self, path: Place) -> None:
        self._path = path
        attrs = read_group_attributes(path)
        self.first_row = int(attrs["first_row"])
        self._covered = np.array(attrs["covered"], np.int64).reshape(-1, 2)
        self._anchor_change = self.read("anchor_change")
        self._anchor_position = self.read("anchor_position")
        self._n_changes = int(attrs["changes"])
        self.unphased = self.read("unphased")

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows of one of its arrays."""
        return read_checked(self._path / name, start, stop)

    def covers(self, position: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether ancestries are known at some positions."""
        of_interval = np.searchsorted(self._covered[:, 0], position, side="right") - 1
        covered: NDArray[np.bool_] = (of_interval >= 0) & (position <= self._covered[of_interval, 1])
        return covered

    def changes(self, position: NDArray[np.int32]) -> Changes:
        """Ancestries at positions that do not fall: at the first, and where they change."""
        anchor = max(0, int(np.searchsorted(self._anchor_position, position[0], side="right")) - 1)
        after = int(np.searchsorted(self._anchor_position, position[-1], side="right"))
        begin = int(self._anchor_change[anchor])
        end = int(self._anchor_change[after]) if after < len(self._anchor_change) else self._n_changes
        ancestry, at, haplotype, value = self._between(anchor, begin, max(begin, end))
        # A change holds from its position on.
        count = np.searchsorted(at, position, side="right")
        offset = np.concatenate([[0], count]).astype(np.int64)
        return Changes(ancestry.copy(), offset, haplotype[: offset[-1]], value[: offset[-1]])

    def _between(self, anchor: int, begin: int, end: int) -> tuple[NDArray[Any], ...]:
        return _changes_between(self._path, anchor, begin, end)


@lru_cache(maxsize=32)
def _contig(path: Place, key: str) -> _Contig:
    return _Contig(path / key)


@lru_cache(maxsize=4)
def _changes_between(path: Place, anchor: int, begin: int, end: int) -> tuple[NDArray[Any], ...]:
    names = ("change_position", "change_haplotype", "change_ancestry")
    changes = [read_checked(path / name, begin, end) for name in names]
    return (read_checked(path / "anchor_ancestry", anchor, anchor + 1)[0], *changes)
