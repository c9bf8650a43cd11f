"""The pass over all genotypes: variants are counted and judged, and people over the variants that pass.

Each task reads a run of blocks once. It counts the block's variants in every group, judges them, and adds the calls of
the variants that pass to the counts of each person. What it found goes to a file, so that a pass which was killed goes
on where it was, and memory holds what one task needs. Tasks follow from the store's blocks; their sums are added in
their order: executor and workers change no bit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.chromosomes import ploidy_classes
from allscan.engine.committed import claim, read_committed, run_committed
from allscan.engine.quality.people import SEXES
from allscan.engine.quality.tables import AUTOSOMAL, CATEGORIES, ON_X, categories, read_alleles, variant_table
from allscan.engine.quality.variants import (
    Fate,
    VariantRules,
    judge_variants,
    variant_reasons,
    variant_statistics,
)
from allscan.errors import InputError, writing
from allscan.kernels.block import take
from allscan.kernels.entries import missing_entries
from allscan.kernels.packing import row_bytes
from allscan.kernels.person_counts import NOT_COUNTED, add_heterozygotes, add_persons, add_weights
from allscan.storage import ObjectPlace, flush, remove_tree, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.quality.people import People
    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place

FOLDER = "quality_counts.partial"
"""Of the files of tasks."""
FORMAT = "allscan-quality-1"
TASK_VARIANTS = 1 << 14
MOST_TASKS = 512
"""Each writes counts of everybody."""

_NAME, _TABLE = "counts", "table"


@dataclass(frozen=True, eq=False)
class PersonCounts:
    """Counts of each person over the variants that pass."""

    calls: NDArray[np.int64]  # (categories, 3, people) heterozygous, homozygous for ALT, missing
    singletons: NDArray[np.int64]  # (people,) autosomal, of which nobody else has the allele
    expected_het: NDArray[np.float64]  # (2, people) of called variants: autosomes, X
    variants: NDArray[np.int64]  # (categories,)


@dataclass(frozen=True, eq=False)
class QualityCounts:
    """What a pass found."""

    people: People
    rules: VariantRules
    fate: NDArray[np.uint8]  # (variants,) of the store: Fate
    persons: PersonCounts
    tasks: tuple[tuple[int, int], ...]  # whose tables hold the variants, in order, and the folder
    folder: Place  # in which they stand
    task_bytes: int

    @property
    def passing(self) -> NDArray[np.int64]:
        """Store rows of the variants that pass, ascending."""
        return np.flatnonzero(self.fate == Fate.PASSES)

    @property
    def accounting(self) -> tuple[tuple[str, int], ...]:
        """(reason, variants); adds up to the store's variants."""
        counts = np.bincount(self.fate, minlength=len(Fate))
        return tuple((text, int(counts[fate])) for fate, text in variant_reasons(self.rules).items() if counts[fate])

    def variant_tables(self) -> Iterator[pa.Table]:
        """Every variant of the store with what was computed of it, in order, some at a time.

        Raises
        ------
        CorruptChunkError
            A file is not what was written, or has been removed.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        for task in self.tasks:
            table = read_committed(self.folder, _NAME, task, self.task_bytes)[_TABLE]
            yield pq.read_table(pa.BufferReader(table))

    def write_variants(self, place: Place) -> None:
        """Write the tables as one Parquet file.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        # An object is put when it is whole.
        target: Any = (
            pa.BufferOutputStream() if isinstance(place, ObjectPlace) else place.with_name(f".{place.name}.partial")
        )
        tables = self.variant_tables()
        first = next(tables)
        with writing(place, again="run the same command again", elsewhere="choose another folder"):
            if not isinstance(place, ObjectPlace):
                place.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)  # whatever it is: a link would be written through
            with pq.ParquetWriter(target, first.schema, compression="zstd") as writer:
                for table in chain([first], tables):
                    writer.write_table(table)
            if isinstance(place, ObjectPlace):
                write_atomically(place, target.getvalue().to_pybytes())
            else:
                flush(target)
                target.replace(place)

    def remove(self) -> None:
        """Remove the files of the tasks."""
        remove_tree(self.folder.parent)


class _Pass(NamedTuple):
    """What the tasks share."""

    store: GenotypeStore
    people: People
    rules: VariantRules


class _Persons(NamedTuple):
    """What a task adds up for every sample of the store, and the fates of its variants."""

    calls: NDArray[np.int32]  # (categories, 3, samples)
    singletons: NDArray[np.int32]  # (samples,)
    missed: NDArray[np.float64]  # (2, samples) expected heterozygosity of variants without a call: autosomes, X
    expected: NDArray[np.float64]  # (2, groups + 1) of all variants
    variants: NDArray[np.int64]  # (categories,)
    fate: NDArray[np.uint8]  # (variants of the task,)


def count_quality(
    store: GenotypeStore,
    people: People,
    rules: VariantRules,
    executor: TaskRunner,
    work: Place,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> QualityCounts:
    """Count, test and judge every variant, and count the calls of every person over those that pass.

    Parameters
    ----------
    people
        Who is counted (:func:`allscan.engine.quality.people.people_of`).
    work
        A folder that every worker reaches. What finished tasks found is kept in a folder of its own there, from which a
        pass of the same store, people and rules goes on; :meth:`QualityCounts.remove` removes it.
    on_progress
        Called with tasks done and tasks in all.

    Raises
    ------
    InputError
        There are no people, or no variants.
    OutputError
        The folder cannot be written.
    """
    if not len(people.rows) or not store.n_variants:
        raise InputError(
            "there is nobody to count" if not len(people.rows) else "the store has no variants", where=str(store.path)
        )
    key = _key(store, people, rules)
    folder = work / FOLDER / key
    tasks = _tasks(store)
    shared = _Pass(store, people, rules)
    most = 2 * _bytes_of_persons(store.n_samples) + _bytes_of_table(store, people)
    with writing(work, again="run the same command again", elsewhere="choose another folder"):
        claim(folder, key)
        results = run_committed(
            executor,
            _count_task,
            shared,
            tasks,
            folder,
            _NAME,
            memory_bytes=_task_memory(store, people, rules),
            on_done=on_progress or (lambda _done, _total: None),
            most_bytes=most,
        )
        fate, persons = _collect(people, results)
    return QualityCounts(people, rules, fate, persons, tuple(tasks), folder, most)


def _tasks(store: GenotypeStore) -> list[tuple[int, int]]:
    """Runs of blocks (first, one past the last)."""
    wanted = -(-store.n_variants // TASK_VARIANTS)
    n = max(1, min(wanted, MOST_TASKS, store.n_blocks))
    return list(pairwise([k * store.n_blocks // n for k in range(n + 1)]))


def _key(store: GenotypeStore, people: People, rules: VariantRules) -> str:
    digest = hashlib.sha256(f"{FORMAT} {store.fingerprint()} {store.block_variants}".encode())
    digest.update(json.dumps([asdict(rules), people.groups]).encode())
    for values in (people.rows, people.sex.astype(np.int64), people.group):
        digest.update(np.ascontiguousarray(values, np.int64).tobytes())
    return digest.hexdigest()[:24]


def _bytes_of_persons(n_samples: int) -> int:
    return n_samples * (4 * 3 * len(CATEGORIES) + 4 + 16) + (1 << 16)


def _task_memory(store: GenotypeStore, people: People, rules: VariantRules) -> int:
    """Bytes of a task.

    The block, compressed and not, what is taken of it, and lists of missing calls; groups; counts of people, four times
    while they are written; columns of its variants, twice while they are put together.
    """
    n, n_groups = store.n_samples, len(people.groups) + 1
    of_block = store.block_variants * (6 * row_bytes(n) + int(8 * n * (1 - rules.min_call_rate)))
    of_groups = SEXES * n_groups * row_bytes(n) + 2 * n
    return of_block + of_groups + 4 * _bytes_of_persons(n) + _bytes_of_table(store, people) + (64 << 20)


def _bytes_of_table(store: GenotypeStore, people: People) -> int:
    variants = max(TASK_VARIANTS, -(-store.n_variants // MOST_TASKS)) + store.block_variants
    return variants * (512 + 128 * (len(people.groups) + 1))


def _count_task(shared: _Pass, task: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """What a task finds: fields of :class:`_Persons`, and the table of its variants, as the bytes of a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, people, rules = shared.store, shared.people, shared.rules
    n = store.n_samples
    persons = _Persons(
        np.zeros((len(CATEGORIES), 3, n), np.int32),
        np.zeros(n, np.int32),
        np.zeros((2, n)),
        np.zeros((2, len(people.groups) + 1)),
        np.zeros(len(CATEGORIES), np.int64),
        np.zeros(store.block_range(task[1] - 1)[1] - store.block_range(task[0])[0], np.uint8),
    )
    tables = []
    first = store.block_range(task[0])[0]
    for index in range(*task):
        start, stop = store.block_range(index)
        block = store.read_block(index)
        contig = store.column("variant_contig", start, stop)
        kinds = _kinds(store, contig, store.column("variant_position", start, stop))
        info = store.column("variant_info", start, stop)
        found = variant_statistics(block, kinds, info, people, rules.group_people)
        fate = judge_variants(found, rules)
        persons.fate[start - first : stop - first] = fate
        ref, alt = read_alleles(store, start, stop)
        category = categories(kinds, ref, alt)
        category[fate != Fate.PASSES] = NOT_COUNTED
        add_persons(block, category, persons.calls)
        persons.variants[:] += np.bincount(category, minlength=256)[: len(CATEGORIES)]
        autosomal = category < AUTOSOMAL
        add_heterozygotes(block, autosomal & (found.minor_allele_count == 1), persons.singletons)
        weight = found.expected_heterozygosity(rules.group_people)
        # Only of these, whose calls are nearly all there: of others the list could be as long as the block.
        rows = np.flatnonzero(autosomal | (category == ON_X))
        missing = missing_entries(block if len(rows) == len(category) else take(block, rows))
        for k, which in enumerate((autosomal, category == ON_X)):
            if which.any():
                counted = np.where(which[:, None], weight, 0.0)[rows]
                persons.expected[k] += counted.sum(axis=0)
                add_weights(missing, people.by_group.group, counted, persons.missed[k])
        tables.append(variant_table(store, people, start, stop, contig, ref, alt, found, fate))
    target = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables), target, compression="zstd")
    return {**persons._asdict(), _TABLE: np.frombuffer(target.getvalue(), np.uint8)}


def _kinds(store: GenotypeStore, contig: NDArray[np.int16], position: NDArray[np.int32]) -> NDArray[np.uint8]:
    kinds = np.empty(len(contig), np.uint8)
    for index in np.unique(contig):
        here = contig == index
        kinds[here] = ploidy_classes(store.contigs[index], position[here], store.reference_build)
    return kinds


def _collect(people: People, results: Iterable[dict[str, NDArray[Any]]]) -> tuple[NDArray[np.uint8], PersonCounts]:
    """Fates of all variants, and sums over the tasks."""
    rows, own = people.rows, people.by_group.group[people.rows]
    calls = np.zeros((len(CATEGORIES), 3, len(rows)), np.int64)
    singletons = np.zeros(len(rows), np.int64)
    missed, expected = np.zeros((2, len(rows))), np.zeros((2, len(people.groups) + 1))
    variants = np.zeros(len(CATEGORIES), np.int64)
    fates = []
    for result in results:
        of_task = _Persons(*(result[name] for name in _Persons._fields))
        fates.append(of_task.fate)
        calls += of_task.calls[:, :, rows]
        singletons += of_task.singletons[rows]
        missed += of_task.missed[:, rows]
        expected += of_task.expected
        variants += of_task.variants
    return np.concatenate(fates), PersonCounts(calls, singletons, expected[:, own] - missed, variants)
