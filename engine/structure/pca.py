"""Principal components of genotypes, by passes over the markers; the matrix of genotypes is never held.

``A = Xᵀ X / m`` is the relationship matrix of people, for ``m`` markers less twice their frequency ``p`` and divided by
``√(2p(1 − p))``, missing calls taken for the mean. Its leading eigenvectors are the principal components; they are
found by products of ``A`` with a few vectors (:mod:`allscan.engine.structure.krylov`), each of which is one pass over
the markers in tasks of the executor. The calls of the people analysed are packed once, into a folder that is removed in
the end, so that a pass reads two bits for a call of a marker and nothing else of the store. What a pass gave is kept
there too: whoever goes on after a kill reads the passes that are done, and repeats only what lies between them.

What decides the result are calls, order of people, and :class:`PcaSpec`: tasks follow from the numbers of markers and
people, and their sums are added in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import google_crc32c
import numpy as np

from allscan.engine.structure.krylov import leading_eigenpairs, most_columns
from allscan.errors import CorruptChunkError, InputError, writing
from allscan.kernels.block import hard_calls, take
from allscan.kernels.packing import pack_rows, row_bytes
from allscan.kernels.standardised import TILE_VALUES, gram_products, marker_products
from allscan.storage import remove_tree, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place

CALLS = "pca_calls.partial"
"""Folder of packed calls."""
PART_MARKERS = 4096
PART_BYTES = 32 << 20
"""Packed calls of a part, about; parts are files."""
MOST_TASKS = 64
"""Of a pass: each sends vectors of everybody back."""
DECODED_BYTES = 16 << 20
"""Calls of the store that are decoded at a time."""


@dataclass(frozen=True)
class PcaSpec:
    """How principal components are computed."""

    components: int = 10
    oversampling: int = 10  # vectors of a pass beyond the components
    accuracy: float = 0.02  # largest sine of the angle between a component and the exact one
    most_passes: int = 100
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Axes:
    """What it takes to place other people among the components."""

    rows: NDArray[np.int64]  # (markers,) of the store, ascending
    frequency: NDArray[np.float64]  # (markers,) of ALT among the people analysed; NaN without a call
    loadings: NDArray[np.float64]  # (markers, components) orthonormal; 0 for markers that do not vary
    eigenvalues: NDArray[np.float64]  # (components,) of the relationship matrix, descending

    @property
    def varies(self) -> NDArray[np.bool_]:
        """Which markers count, shape (markers,)."""
        return (self.frequency > 0) & (self.frequency < 1)

    def standardisation(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What is taken off each marker's dosage, and what the rest is multiplied by, shape (markers,) each."""
        return _standardisation(self.frequency)


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Components of the people analysed."""

    axes: Axes
    people: NDArray[np.int64]  # (people,) rows of the store
    scores: NDArray[np.float64]  # (people, components) orthonormal; the largest value of each is positive
    error: NDArray[np.float64]  # (components,) see :attr:`allscan.engine.structure.krylov.Eigenpairs.error`
    passes: int  # over the markers


class _Part(NamedTuple):
    """Packed calls of some markers, in a file."""

    start: int
    stop: int
    checksum: int


class _Extraction(NamedTuple):
    """What the tasks that pack calls share."""

    store: GenotypeStore
    rows: NDArray[np.int64]
    people: NDArray[np.int64]
    folder: Place


class _Pass(NamedTuple):
    """What the tasks of a pass share."""

    folder: Place
    parts: tuple[_Part, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    vectors: NDArray[np.float32]


def principal_components(
    store: GenotypeStore,
    rows: NDArray[np.int64],
    people: NDArray[np.int64],
    spec: PcaSpec,
    executor: TaskRunner,
    work: Place,
    *,
    keep: bool = False,
    on_progress: Callable[[int, float], None] | None = None,
) -> PrincipalComponents:
    """Principal components of the genotypes of some people, who should be unrelated.

    Relatives make components of their own: leave them out, and place them with
    :func:`allscan.engine.structure.projection.project`.

    Parameters
    ----------
    store
        Genotypes; dosages are rounded to the nearest call.
    rows : (markers,) int64
        Store rows, ascending: common markers that are not in linkage disequilibrium.
    people : (people,) int64
        Store rows, ascending.
    work
        A folder that every worker reaches, in which packed calls have one of their own: a quarter of a byte for each
        person and marker.
    keep
        Whether what is done stays in ``work`` where this is stopped, and is gone on with. The folder must then be for
        these calls, markers, people and ``spec`` alone.
    on_progress
        Called after each pass with passes done and the largest error of a component.

    Raises
    ------
    InputError
        There are fewer people or varying markers than components.
    OutputError
        The folder cannot be written.

    Notes
    -----
    Where people are so alike that the genotypes have fewer dimensions than asked for, there are fewer components.
    Each component ends as exact as ``spec.accuracy`` says; where ``spec.most_passes`` do not suffice,
    :attr:`PrincipalComponents.error` says how far each came.
    """
    if min(len(people) - 1, len(rows)) < spec.components:
        raise InputError(
            f"{len(people):,} people and {len(rows):,} markers have no {spec.components} principal components",
            where=str(store.path),
            fix="ask for fewer components, or take more markers",
        )
    calls = work / CALLS
    with writing(work, again="run the same command again", elsewhere="choose another folder"):
        if not keep:
            remove_tree(calls)  # of a run that was killed
        try:
            found = _components(store, rows, people, spec, executor, calls, on_progress or (lambda _done, _error: None))
        except BaseException as error:
            if not keep or isinstance(error, CorruptChunkError):
                remove_tree(calls)
            raise
        remove_tree(calls)
        return found


def _components(
    store: GenotypeStore,
    rows: NDArray[np.int64],
    people: NDArray[np.int64],
    spec: PcaSpec,
    executor: TaskRunner,
    work: Place,
    tell: Callable[[int, float], None],
) -> PrincipalComponents:
    parts, frequency = _extract(store, rows, people, executor, work)
    mean, scale = _standardisation(frequency)
    n_markers = int((scale > 0).sum())
    if n_markers < spec.components:
        raise InputError(
            f"only {n_markers:,} markers vary among the people, fewer than {spec.components} components",
            where=str(store.path),
            fix="ask for fewer components, or take more markers",
        )
    groups = _groups(len(parts))
    passing = _Passing(executor, _Pass(work, parts, mean, scale, np.empty((0, 0), np.float32)), groups)

    number = count()

    def product(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = _KeptPass(work / f"{next(number):03d}.pass", vectors)
        total = kept.read()
        if total is None:
            total = np.zeros(vectors.shape)
            for of_task in passing.over(_gram_task, vectors):
                total += of_task
            kept.write(total)
        return total / n_markers

    found = leading_eigenpairs(
        product,
        len(people),
        spec.components,
        block=spec.components + spec.oversampling,
        accuracy=spec.accuracy,
        most_passes=spec.most_passes,
        seed=spec.seed,
        on_pass=tell,
    )
    vectors = found.vectors
    # A component has no sign of its own; this one does not depend on which allele is counted.
    farthest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[farthest, np.arange(vectors.shape[1])])
    images = np.concatenate(list(passing.over(_marker_task, vectors)))
    loadings = images / np.sqrt(n_markers * found.values)
    return PrincipalComponents(
        Axes(rows, frequency, loadings, found.values), people, vectors, found.error, found.passes
    )


def memory_bytes(n_people: int, spec: PcaSpec) -> int:
    """What the caller holds: the basis, twice while it grows, vectors of a pass, and sums of tasks that ended early."""
    block = spec.components + spec.oversampling
    return n_people * (2 * 8 * most_columns(spec.components, block) + 4 * 8 * block + 4 * MOST_TASKS * block)


def part_markers(n_people: int) -> int:
    """Markers of a part."""
    return max(1, min(PART_MARKERS, PART_BYTES // max(row_bytes(n_people), 1)))


def read_packed(
    store: GenotypeStore, rows: NDArray[np.int64], people: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Calls of some people, packed; how many have one, and their copies of ALT.

    Parameters
    ----------
    rows : (markers,)
        Store rows, ascending.
    people : (people,)
        Store rows.

    Returns
    -------
    (markers, row_bytes(people)), (markers,) and (markers,)
    """
    packed = np.empty((len(rows), row_bytes(len(people))), np.uint8)
    called, copies = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    most = max(1, DECODED_BYTES // store.n_samples)
    done = 0
    for index in np.unique(rows // store.block_variants):
        first, last = store.block_range(int(index))
        here = rows[slice(*np.searchsorted(rows, [first, last]))] - first
        block = take(store.read_block(int(index)), here)
        for start in range(0, block.n_variants, most):
            stop = min(start + most, block.n_variants)
            calls = np.empty((stop - start, store.n_samples), np.int8)
            hard_calls(block, start, stop, calls)
            calls = np.ascontiguousarray(calls[:, people])
            some = slice(done + start, done + stop)
            pack_rows(calls, packed[some])
            called[some] = (calls >= 0).sum(axis=1)
            copies[some] = np.maximum(calls, 0).sum(axis=1, dtype=np.int64)
        done += block.n_variants
    return packed, called, copies


def reading_memory(store: GenotypeStore, n_people: int) -> int:
    """Bytes of a task that packs calls: a block of the store twice, what is decoded of it, and the part."""
    of_block = 4 * store.block_variants * row_bytes(store.n_samples)
    return (
        of_block + 3 * DECODED_BYTES + 4 * store.n_samples + part_markers(n_people) * row_bytes(n_people) + (32 << 20)
    )


def in_order(
    executor: TaskRunner, function: Callable[[Any, Any], Any], shared: Any, tasks: Sequence[Any], memory: int
) -> Iterator[Any]:
    """Results in the order of the tasks, so that sums of them are the same each time."""
    number = {task: k for k, task in enumerate(tasks)}
    early: dict[int, Any] = {}
    following = 0
    for task, found in executor.run(function, shared, tasks, memory_bytes=memory):
        early[number[task]] = found
        while following in early:
            yield early.pop(following)
            following += 1


class _Passing(NamedTuple):
    """Passes over the packed calls."""

    executor: TaskRunner
    shared: _Pass
    groups: tuple[tuple[int, int], ...]  # parts of each task

    def over(self, task: Callable[[_Pass, tuple[int, int]], Any], vectors: NDArray[np.float64]) -> Iterator[Any]:
        """What each task gives for these vectors, in order."""
        n, k = vectors.shape
        memory = part_markers(n) * (row_bytes(n) + 8 * k) + 4 * max(TILE_VALUES, 8 * n) + 5 * 8 * n * k + (32 << 20)
        shared = self.shared._replace(vectors=np.ascontiguousarray(vectors, np.float32))
        yield from in_order(self.executor, task, shared, self.groups, memory)


def _groups(n_parts: int) -> tuple[tuple[int, int], ...]:
    """Consecutive parts (first, one past the last) of each task, as even as can be."""
    ends = [k * n_parts // min(MOST_TASKS, n_parts) for k in range(min(MOST_TASKS, n_parts) + 1)]
    return tuple(pairwise(ends))


def _standardisation(frequency: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    variance = 2 * frequency * (1 - frequency)
    varies = variance > 0
    return 2 * np.nan_to_num(frequency), np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)


def _extract(
    store: GenotypeStore, rows: NDArray[np.int64], people: NDArray[np.int64], executor: TaskRunner, folder: Place
) -> tuple[tuple[_Part, ...], NDArray[np.float64]]:
    """Pack the calls of people, part by part, and learn the frequencies of ALT."""
    size = part_markers(len(people))
    tasks = [(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    found = in_order(
        executor, _extract_part, _Extraction(store, rows, people, folder), tasks, reading_memory(store, len(people))
    )
    parts, frequencies = zip(*found, strict=True)
    return parts, np.concatenate(frequencies)


def _extract_part(shared: _Extraction, task: tuple[int, int]) -> tuple[_Part, NDArray[np.float64]]:
    file = _part_file(shared.folder, task[0])
    done = file.with_suffix(".frequencies")
    try:
        known = done.read_bytes()
    except FileNotFoundError:
        packed, called, copies = read_packed(shared.store, shared.rows[slice(*task)], shared.people)
        content = packed.tobytes()
        with np.errstate(invalid="ignore"):
            known = _checked(_checksum(content) + (copies / (2 * called)).tobytes())
        write_atomically(file, content)
        write_atomically(done, known)
    content = _unchecked(known, done)
    return _Part(*task, int.from_bytes(content[:4], "little")), np.frombuffer(content[4:])


class _KeptPass(NamedTuple):
    """What a pass gave, in a file that says of which vectors."""

    file: Place
    vectors: NDArray[np.float64]

    def read(self) -> NDArray[np.float64] | None:
        """It, if it is there: on another machine the last digits of the vectors may differ, and it is not."""
        try:
            known = _unchecked(self.file.read_bytes(), self.file)
        except FileNotFoundError:
            return None
        if known[:4] != self._of():
            return None
        return np.frombuffer(known[4:]).reshape(self.vectors.shape).copy()

    def write(self, total: NDArray[np.float64]) -> None:
        write_atomically(self.file, _checked(self._of() + total.tobytes()))

    def _of(self) -> bytes:
        return _checksum(np.ascontiguousarray(self.vectors).tobytes())


def _checksum(content: bytes) -> bytes:
    return int(google_crc32c.value(content)).to_bytes(4, "little")


def _checked(content: bytes) -> bytes:
    return _checksum(content) + content


def _unchecked(content: bytes, file: Place) -> bytes:
    if _checksum(content[4:]) != content[:4]:
        raise _damaged(file)
    return content[4:]


def _damaged(file: Place) -> CorruptChunkError:
    return CorruptChunkError(
        "what was kept of principal components is not what was written",
        where=str(file),
        fix="run the same command again",
    )


def _part_file(folder: Place, start: int) -> Place:
    return folder / f"{start:09d}.calls"


def _read_part(shared: _Pass, part: _Part) -> NDArray[np.uint8]:
    file = _part_file(shared.folder, part.start)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        content = b""
    if google_crc32c.value(content) != part.checksum:
        raise _damaged(file)
    return np.frombuffer(content, np.uint8).reshape(part.stop - part.start, -1)


def _gram_task(shared: _Pass, group: tuple[int, int]) -> NDArray[np.float32]:
    total = np.zeros(shared.vectors.shape)
    for part in shared.parts[slice(*group)]:
        some = slice(part.start, part.stop)
        total += gram_products(_read_part(shared, part), shared.mean[some], shared.scale[some], shared.vectors)
    return total.astype(np.float32)


def _marker_task(shared: _Pass, group: tuple[int, int]) -> NDArray[np.float64]:
    return np.concatenate(
        [
            marker_products(
                _read_part(shared, part),
                shared.mean[part.start : part.stop],
                shared.scale[part.start : part.stop],
                shared.vectors,
            )
            for part in shared.parts[slice(*group)]
        ]
    )
