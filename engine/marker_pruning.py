"""Pruning of correlated markers: along each chromosome, in memory that its window bounds."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.block import hard_calls, take
from allscan.kernels.ld import LdMarkers, join, ld_markers, no_ld_markers, plane_words, prune_windows
from allscan.kernels.packing import row_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore

LD_PEOPLE = 10_000
"""Whose calls tell how markers correlate: r² of 0.9 then has a standard error of 0.002."""
TASK_MARKERS = 4096
"""A chromosome is cut where a gap leaves at least so many markers together."""
READ_MARKERS = 1024
"""Markers that are read before windows are pruned, about."""
CALLS_BYTES = 16 << 20


class Pruning(NamedTuple):
    """Markers to prune: what the tasks share."""

    store: GenotypeStore
    people: NDArray[np.int64]  # store rows
    row: NDArray[np.int64]  # of the store, ascending
    contig: NDArray[np.int16]
    position: NDArray[np.int32]
    frequency: NDArray[np.float64]  # of the minor allele
    most_r2: float
    window_bp: int  # markers that lie no further apart than this are in one window
    window: int | None  # markers of a window, where it is not to be by distance

    def windows(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Windows of markers ``start:stop`` of one chromosome, from ``start``: first marker, and one past the last."""
        if self.window is None:
            places = self.position[start:stop].astype(np.int64)
            ends = np.searchsorted(places, places + self.window_bp, side="right")
        else:
            ends = np.minimum(np.arange(stop - start) + self.window, stop - start)
        # A window that ends where the one before it ends holds no new pair.
        starts = np.flatnonzero(np.diff(ends, prepend=-1))
        return starts, ends[starts]


class Stretch(NamedTuple):
    """Markers ``start:stop`` of one chromosome, in no window with others."""

    start: int
    stop: int


def ld_people(store: GenotypeStore, sample_rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Store rows of at most :data:`LD_PEOPLE` of the people, ascending: those whose ids have the lowest hashes."""
    if len(sample_rows) <= LD_PEOPLE:
        return sample_rows
    ids = [str(store.sample_ids[row]).encode() for row in sample_rows]
    order = sorted(range(len(ids)), key=lambda k: (hashlib.blake2b(ids[k], digest_size=8).digest(), ids[k]))
    return np.sort(sample_rows[order[:LD_PEOPLE]])


def prune_markers(pruning: Pruning, executor: TaskRunner, tell: Callable[[str, int, int], None]) -> NDArray[np.uint8]:
    """What becomes of each marker (see :func:`allscan.kernels.ld.prune_windows`).

    Parameters
    ----------
    tell
        Called with ``"prune"``, tasks done and tasks in all.
    """
    fate = np.zeros(len(pruning.row), np.uint8)
    stretches, widest = find_stretches(pruning)
    finished = executor.run(prune_stretch, pruning, stretches, memory_bytes=_memory(pruning, widest))
    for done, (stretch, of_stretch) in enumerate(finished, start=1):
        fate[stretch.start : stretch.stop] = of_stretch
        tell("prune", done, len(stretches))
    return fate


def _memory(pruning: Pruning, widest: int) -> int:
    """Bytes of a task: the widest window and the markers read after it, twice while they are joined, and a block."""
    store = pruning.store
    held = widest + READ_MARKERS + store.block_variants
    of_block = 4 * store.block_variants * row_bytes(store.n_samples) + CALLS_BYTES + store.n_samples
    return 2 * held * (16 * plane_words(len(pruning.people)) + 32) + of_block + (32 << 20)


def find_stretches(pruning: Pruning) -> tuple[list[Stretch], int]:
    """Cut markers where no window spans the cut, so that pruning the parts is pruning the whole.

    Returns
    -------
    The stretches, and the markers of the widest window.
    """
    stretches = []
    widest = 0
    borders = np.flatnonzero(np.diff(pruning.contig, prepend=-1, append=-1))
    for first, last in pairwise(borders.tolist()):
        starts, ends = pruning.windows(first, last)
        widest = max(widest, int((ends - starts).max()))
        cuts = first + ends[:-1][starts[1:] == ends[:-1]]
        start = first
        for cut in cuts.tolist():
            if cut - start >= TASK_MARKERS:
                stretches.append(Stretch(start, cut))
                start = cut
        stretches.append(Stretch(start, last))
    return stretches, widest


def prune_stretch(pruning: Pruning, stretch: Stretch) -> NDArray[np.uint8]:
    """Prune a stretch as its markers are read, and forget those that all windows have passed."""
    n_people = len(pruning.people)
    window_start, window_end = pruning.windows(*stretch)
    frequency = pruning.frequency[stretch.start : stretch.stop]
    fates: list[NDArray[np.uint8]] = []
    # Markers of the stretch from number ``first`` on.
    first, held = 0, no_ld_markers(n_people)
    fate, unchecked = np.zeros(0, np.uint8), np.zeros(0, np.int64)
    window = 0
    for read in _read_markers(pruning, stretch):
        held = join([held, *read])
        new = held.n_markers - len(fate)
        fate, unchecked = np.append(fate, np.zeros(new, np.uint8)), np.append(unchecked, np.zeros(new, np.int64))
        there = first + held.n_markers
        ready = int(np.searchsorted(window_end, there, side="right"))
        starts, ends = window_start[window:ready] - first, window_end[window:ready] - first
        prune_windows(held, n_people, frequency[first:there], starts, ends, pruning.most_r2, unchecked, fate)
        window = ready
        passed = int(window_start[ready]) - first if ready < len(window_start) else held.n_markers
        fates.append(fate[:passed])
        held = LdMarkers(held.planes[passed:], held.totals[passed:])
        fate, unchecked = fate[passed:], np.maximum(unchecked[passed:] - passed, 0)
        first += passed
    return np.concatenate(fates)


def _read_markers(pruning: Pruning, stretch: Stretch) -> Iterator[list[LdMarkers]]:
    """Calls of the markers of a stretch, about :data:`READ_MARKERS` at a time."""
    store = pruning.store
    rows = pruning.row[stretch.start : stretch.stop]
    most = max(1, CALLS_BYTES // store.n_samples)
    read: list[LdMarkers] = []
    waiting = 0
    blocks = np.unique(rows // store.block_variants)
    for index in blocks:
        block = take(
            store.read_block(int(index)), rows[rows // store.block_variants == index] - index * store.block_variants
        )
        for start in range(0, block.n_variants, most):
            stop = min(start + most, block.n_variants)
            calls = np.empty((stop - start, store.n_samples), np.int8)
            hard_calls(block, start, stop, calls)
            read.append(ld_markers(calls, pruning.people))
        waiting += block.n_variants
        if waiting >= READ_MARKERS or index == blocks[-1]:
            yield read
            read, waiting = [], 0
