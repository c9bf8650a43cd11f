"""The pass over all genotypes: variants are counted and judged, and people over the variants that pass.

Each task reads a run of blocks once. It counts the block's variants in every group, judges them, and adds the calls of
the variants that pass to the counts of each person. What it found goes to two files of a folder, so that a pass which
was killed goes on where it was, and memory holds what one task needs. Tasks follow from the store's blocks; their sums
are added in their order: executor and workers change no bit.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import google_crc32c
import numcodecs
import numpy as np

from allscan.arrow import number_array
from allscan.engine.chromosomes import PloidyClass, ploidy_classes
from allscan.engine.quality.variants import (
    Fate,
    VariantRules,
    VariantStatistics,
    judge_variants,
    variant_reasons,
    variant_statistics,
)
from allscan.engine.zstd import decompress
from allscan.errors import InputError, writing
from allscan.kernels.entries import missing_entries
from allscan.kernels.packing import row_bytes
from allscan.kernels.person_counts import NOT_COUNTED, add_heterozygotes, add_persons, add_weights
from allscan.storage import ObjectPlace, flush, remove_tree, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

CATEGORIES = ("transition", "transversion", "insertion", "deletion", "other", "x", "y")
"""Of variants, by which people are counted: the first five are autosomal."""
TRANSITION, TRANSVERSION, INSERTION, DELETION, OTHER, ON_X, ON_Y = range(len(CATEGORIES))
AUTOSOMAL = 5


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
    parts: tuple[Place, ...]  # tables of variants, in order
    folder: Place

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
        """Every variant of the store with what was computed of it, in order, some at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for part in self.parts:
            yield pq.read_table(pa.BufferReader(part.read_bytes()), page_checksum_verification=True)

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
        tables = (table.replace_schema_metadata(None) for table in self.variant_tables())
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
        remove_tree(self.folder)


class _Pass(NamedTuple):
    """What the tasks share."""

    store: GenotypeStore
    people: People
    rules: VariantRules
    folder: Place
    key: str


class _Persons(NamedTuple):
    """What a task adds up for every sample of the store."""

    calls: NDArray[np.int32]  # (categories, 3, samples)
    singletons: NDArray[np.int32]  # (samples,)
    missed: NDArray[np.float64]  # (2, samples) expected heterozygosity of variants without a call: autosomes, X
    expected: NDArray[np.float64]  # (2, groups + 1) of all variants
    variants: NDArray[np.int64]  # (categories,)


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
    tell = on_progress or (lambda _done, _total: None)
    # The block, compressed and not, what is taken of it, counts of everybody, and columns of the variants of a task.
    n_groups = len(people.groups) + 1
    memory = (
        6 * store.block_variants * row_bytes(store.n_samples)
        + _bytes_of_persons(store.n_samples)
        + 3 * n_groups * row_bytes(store.n_samples) * 4
        + max(TASK_VARIANTS, store.n_variants // MOST_TASKS) * (256 + 64 * n_groups)
        + (64 << 20)
    )
    with writing(work, again="run the same command again", elsewhere="choose another folder"):
        shared = _Pass(store, people, rules, folder, key)
        left = [task for task in tasks if not _is_done(shared, task)]
        done = len(tasks) - len(left)
        tell(done, len(tasks))
        for _ in executor.run(_count_task, shared, left, memory_bytes=memory):
            done += 1
            tell(done, len(tasks))
    fates = [_read_fates(shared, task) for task in tasks]
    return QualityCounts(
        people,
        rules,
        np.concatenate(fates),
        _sum_persons(shared, tasks),
        tuple(_table_file(shared, task) for task in tasks),
        work / FOLDER,
    )


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


def _count_task(shared: _Pass, task: tuple[int, int]) -> None:
    store, people, rules = shared.store, shared.people, shared.rules
    n = store.n_samples
    persons = _Persons(
        np.zeros((len(CATEGORIES), 3, n), np.int32),
        np.zeros(n, np.int32),
        np.zeros((2, n)),
        np.zeros((2, len(people.groups) + 1)),
        np.zeros(len(CATEGORIES), np.int64),
    )
    tables = []
    for index in range(*task):
        start, stop = store.block_range(index)
        block = store.read_block(index)
        contig = store.column("variant_contig", start, stop)
        kinds = _kinds(store, contig, store.column("variant_position", start, stop))
        info = store.column("variant_info", start, stop)
        found = variant_statistics(block, kinds, info, people, rules.group_people)
        fate = judge_variants(found, rules)
        ref, alt = _alleles(store, start, stop)
        category = _categories(kinds, ref, alt)
        category[fate != Fate.PASSES] = NOT_COUNTED
        add_persons(block, category, persons.calls)
        persons.variants[:] += np.bincount(category, minlength=256)[: len(CATEGORIES)]
        autosomal = category < AUTOSOMAL
        add_heterozygotes(block, autosomal & (found.minor_allele_count == 1), persons.singletons)
        weight = found.expected_heterozygosity(rules.group_people)
        missing = missing_entries(block)
        for k, which in enumerate((autosomal, category == ON_X)):
            if which.any():
                counted = np.where(which[:, None], weight, 0.0)
                persons.expected[k] += counted.sum(axis=0)
                add_weights(missing, people.by_group.group, counted, persons.missed[k])
        tables.append(_table(store, people, start, stop, contig, ref, alt, found, fate))
    _write(shared, task, persons, tables)


def _kinds(store: GenotypeStore, contig: NDArray[np.int16], position: NDArray[np.int32]) -> NDArray[np.uint8]:
    kinds = np.empty(len(contig), np.uint8)
    for index in np.unique(contig):
        here = contig == index
        kinds[here] = ploidy_classes(store.contigs[index], position[here], store.reference_build)
    return kinds


def _alleles(store: GenotypeStore, start: int, stop: int) -> tuple[pa.StringArray, pa.StringArray]:
    both = store.strings("variant_allele", start, stop)
    return both.take(np.arange(0, len(both), 2)), both.take(np.arange(1, len(both), 2))


_BASES = "ACGT"
_TRANSITIONS = ("A>G", "G>A", "C>T", "T>C")


def _categories(kinds: NDArray[np.uint8], ref: pa.StringArray, alt: pa.StringArray) -> NDArray[np.uint8]:
    """Category of each variant; mtDNA and pseudoautosomal regions have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def flags(values: Any) -> NDArray[np.bool_]:
        return np.asarray(values.to_numpy(zero_copy_only=False), np.bool_)

    change = pc.binary_join_element_wise(pc.utf8_upper(ref), pc.utf8_upper(alt), ">")
    substitutions = [f"{a}>{b}" for a in _BASES for b in _BASES if a != b]
    single = flags(pc.is_in(change, pa.array(substitutions)))
    transition = flags(pc.is_in(change, pa.array(_TRANSITIONS)))
    spelt = flags(pc.match_substring_regex(change, "^[ACGTN]+>[ACGTN]+$"))
    lengths = [pc.utf8_length(column).to_numpy(zero_copy_only=False) for column in (ref, alt)]
    autosomal = np.select(
        [transition, single, spelt & (lengths[1] > lengths[0]), spelt & (lengths[1] < lengths[0])],
        [TRANSITION, TRANSVERSION, INSERTION, DELETION],
        OTHER,
    )
    return np.select(
        [kinds == PloidyClass.AUTOSOME, kinds == PloidyClass.X, kinds == PloidyClass.Y],
        [autosomal, ON_X, ON_Y],
        NOT_COUNTED,
    ).astype(np.uint8)


def _table(
    store: GenotypeStore,
    people: People,
    start: int,
    stop: int,
    contig: NDArray[np.int16],
    ref: pa.StringArray,
    alt: pa.StringArray,
    found: VariantStatistics,
    fate: NDArray[np.uint8],
) -> pa.Table:
    """What is kept of the variants of a block."""
    import pyarrow as pa

    def names(index: NDArray[np.integer], texts: tuple[str, ...]) -> Any:
        return pa.DictionaryArray.from_arrays(number_array(index.astype(np.int16)), pa.array(texts, pa.string()))

    def single(values: NDArray[np.number]) -> Any:
        return number_array(values.astype(np.float32))

    def whole(values: NDArray[np.number]) -> Any:
        return number_array(values.astype(np.int32))

    columns: dict[str, Any] = {
        "contig": names(contig, store.contigs),
        "position": store.column("variant_position", start, stop),
        "id": store.strings("variant_id", start, stop),
        "ref": ref,
        "alt": alt,
        "fate": names(fate, tuple(one.text for one in Fate)),
        "n_people": whole(found.n_people),
        "call_rate": single(found.call_rate),
        "n_het": whole(found.n_het),
        "n_hom_alt": whole(found.n_hom_alt),
        "allele_count": number_array(found.allele_count),
        "allele_number": whole(found.allele_number),
        "allele_frequency": single(found.allele_frequency),
        "info": single(found.info),
        "hwe_neg_log10_p": single(found.hwe_neg_log10_p),
        "hwe_excess_neg_log10_p": single(found.hwe_excess_neg_log10_p),
        "haploid_het_rate": single(found.haploid_het_rate),
    }
    if len(people.groups) > 1:
        columns["call_rate_difference"] = single(found.call_rate_difference)
        columns["call_rate_difference_neg_log10_p"] = single(found.difference_neg_log10_p)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = found.group_n_called / found.group_n_people
            frequency = found.group_allele_count / found.group_allele_number
        for k, name in enumerate(people.groups):
            columns[f"call_rate_{name}"] = single(rate[:, k])
            columns[f"allele_number_{name}"] = whole(found.group_allele_number[:, k])
            columns[f"allele_frequency_{name}"] = single(frequency[:, k])
            columns[f"hwe_neg_log10_p_{name}"] = single(found.group_hwe_neg_log10_p[:, k])
    return pa.table(columns)


def _table_file(shared: _Pass, task: tuple[int, int]) -> Place:
    return shared.folder / f"{task[0]:08d}.parquet"


def _persons_file(shared: _Pass, task: tuple[int, int]) -> Place:
    return shared.folder / f"{task[0]:08d}.persons"


def _write(shared: _Pass, task: tuple[int, int], persons: _Persons, tables: list[pa.Table]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    np.savez(stream, **persons._asdict())
    content = bytes(numcodecs.Zstd(level=1).encode(stream.getvalue()))
    write_atomically(_persons_file(shared, task), content)
    target = pa.BufferOutputStream()
    about = {"blocks": list(task), "persons": google_crc32c.value(content)}
    table = pa.concat_tables(tables).replace_schema_metadata({FORMAT: json.dumps(about)})
    pq.write_table(table, target, compression="zstd", write_page_checksum=True)
    # The last file of a task: where it is, both are.
    write_atomically(_table_file(shared, task), target.getvalue().to_pybytes())


def _is_done(shared: _Pass, task: tuple[int, int]) -> bool:
    """Whether an earlier pass wrote both files of a task, and they are whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(pa.BufferReader(_table_file(shared, task).read_bytes()))
        about = json.loads(schema.metadata[FORMAT.encode()])
        persons = _persons_file(shared, task).read_bytes()
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return False
    return bool(about["blocks"] == list(task) and about["persons"] == google_crc32c.value(persons))


def _read_fates(shared: _Pass, task: tuple[int, int]) -> NDArray[np.uint8]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.BufferReader(_table_file(shared, task).read_bytes())
    column = pq.read_table(content, columns=["fate"])["fate"].combine_chunks()
    return np.asarray(column.indices.to_numpy(), np.uint8)


def _sum_persons(shared: _Pass, tasks: list[tuple[int, int]]) -> PersonCounts:
    people = shared.people
    rows, own = people.rows, people.by_group.group[people.rows]
    calls = np.zeros((len(CATEGORIES), 3, len(rows)), np.int64)
    singletons = np.zeros(len(rows), np.int64)
    missed, expected = np.zeros((2, len(rows))), np.zeros((2, len(people.groups) + 1))
    variants = np.zeros(len(CATEGORIES), np.int64)
    for task in tasks:
        content = decompress(_persons_file(shared, task).read_bytes(), 2 * _bytes_of_persons(shared.store.n_samples))
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            of_task = _Persons(*(stored[name] for name in _Persons._fields))
        calls += of_task.calls[:, :, rows]
        singletons += of_task.singletons[rows]
        missed += of_task.missed[:, rows]
        expected += of_task.expected
        variants += of_task.variants
    return PersonCounts(calls, singletons, expected[:, own] - missed, variants)
