"""The markers of a whole-genome model: common, well called, not redundant, chosen among the people analysed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.chromosomes import PloidyClass, Region, ploidy_classes, same_contig
from allscan.engine.marker_pruning import Pruning, ld_people, prune_markers
from allscan.engine.store_writing import METADATA_BLOCKS
from allscan.errors import InputError
from allscan.kernels.block import take
from allscan.kernels.counts import SampleSets, count_genotypes, sample_sets
from allscan.kernels.ld import CORRELATED, IDENTICAL
from allscan.kernels.packing import row_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore

MIN_MAC = 100.0
FEWEST_COPIES = 10.0
"""Of the minor allele, in the smallest cohort: with fewer, whole folds of a cross-validation have none."""
COPIES_PER_PERSON = 0.02

TASK_VARIANTS = 1 << 14
"""Variants that one task counts."""

_ROUNDING = 1e-9  # relative, of bounds that are products of numbers people write in decimals
_DOSAGE_ROUNDING = 0.5  # copies: the store's counts are of dosages as they were read, before they were encoded


@dataclass(frozen=True)
class MarkerRules:
    """Which variants become markers. Frequencies, missing rates and variances are those within the people analysed."""

    min_maf: float = 0.01
    min_mac: float | None = None  # None: 100, or 2 % of the people where that is less, but at least 10
    max_missing_rate: float = 0.05
    min_info: float = 0.3  # variance over 2p(1 − p): about 1 for calls, the imputation's r² for dosages
    prune_r2: float | None = 0.9  # None: correlated markers stay; 1: only those with the same calls go
    window_bp: int = 1_000_000
    window: int | None = None  # in markers, instead of window_bp
    max_markers: int | None = 500_000
    biallelic: bool = True  # not variants that a multiallelic site was split into
    chromosome_x: bool = False  # autosomes only
    exclude: tuple[Region, ...] = ()

    def least_copies(self, n_people: int) -> float:
        """Copies of the minor allele that a marker must have."""
        if self.min_mac is not None:
            return self.min_mac
        return min(MIN_MAC, max(FEWEST_COPIES, COPIES_PER_PERSON * n_people))


NAMED_RULES = MarkerRules(
    min_maf=0.0,
    min_mac=0.0,
    max_missing_rate=1.0,
    min_info=0.0,
    prune_r2=None,
    max_markers=None,
    biallelic=False,
    chromosome_x=True,
)
"""For markers that the user names: all but those that carry nothing."""


class Fate(IntEnum):
    """Why a variant is no marker, in the order in which it is asked."""

    MARKER = 0
    NOT_NAMED = 1
    OTHER_CHROMOSOME = 2
    EXCLUDED = 3
    MULTIALLELIC = 4
    RARE = 5
    MISSING = 6
    LOW_VARIANCE = 7
    DUPLICATE = 8
    IDENTICAL = 9
    CORRELATED = 10
    THINNED = 11


@dataclass(frozen=True, eq=False)
class Markers:
    """The markers of a whole-genome model."""

    rows: NDArray[np.int64]  # (markers,) of the store, ascending
    contig: NDArray[np.int16]  # (markers,) index into contigs
    contigs: tuple[str, ...]  # of the store
    accounting: tuple[tuple[str, int], ...]  # (reason, variants); adds up to the store's variants
    unknown: tuple[str, ...] = ()  # names that the user gave and the store does not have
    notes: tuple[str, ...] = ()  # what else there is to say of the user's names

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, size: int = 1000) -> list[tuple[str, NDArray[np.int64]]]:
        """Consecutive markers of one chromosome, in blocks of at most ``size`` that are as even as can be."""
        found = []
        for index in np.unique(self.contig):
            rows = self.rows[self.contig == index]
            parts = np.array_split(rows, -(-len(rows) // size))
            found += [(self.contigs[index], part) for part in parts]
        return found


class Candidates(NamedTuple):
    """Variants that may become markers."""

    row: NDArray[np.int64]  # of the store, ascending
    contig: NDArray[np.int16]
    position: NDArray[np.int32]
    frequency: NDArray[np.float64]  # of the minor allele

    def take(self, which: NDArray[np.int64]) -> Candidates:
        """Some of them, by index."""
        return Candidates(self.row[which], self.contig[which], self.position[which], self.frequency[which])


class _Counting(NamedTuple):
    """What the tasks that count share."""

    store: GenotypeStore
    people: SampleSets  # one set
    rules: MarkerRules
    excluded: tuple[tuple[int, int, int], ...]  # (contig, start, end)
    among: NDArray[np.int64] | None

    @property
    def least_copies(self) -> float:
        """Copies of the minor allele below which a variant is rare, whatever its missing rate."""
        n = int(self.people.size[0])
        of_frequency = self.rules.min_maf * 2 * n * (1 - self.rules.max_missing_rate)
        return max(self.rules.least_copies(n), of_frequency * (1 - _ROUNDING))


def choose_markers(
    store: GenotypeStore,
    sample_rows: NDArray[np.int64],
    rules: MarkerRules,
    executor: TaskRunner,
    *,
    among: NDArray[np.int64] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Markers:
    """Choose the markers of a whole-genome model.

    The choice depends on genotypes, sample ids and rules, and on nothing else: not on the order of samples, the blocks
    of the store, which allele is ALT, or the executor.

    Parameters
    ----------
    sample_rows : (people,) int64
        Store rows of the people analysed, ascending. They do not depend on traits: adding one changes no marker.
    among : (variants,) int64, optional
        Store rows, ascending, that may become markers; None: all.
    on_progress
        Called with ``"count"`` or ``"prune"``, tasks done and tasks in all.

    Raises
    ------
    InputError
        If the store has no variants on the chromosomes asked for, or none is left.

    Notes
    -----
    Copies, of both alleles, are counted within the people; a male's on chromosome X as two. Of variants with the same
    position and alleles the first that passes stays. Correlated markers are pruned as
    :func:`allscan.kernels.ld.prune_windows` says. If more than ``rules.max_markers`` remain, as many are taken, evenly
    along the genome.
    """
    member = np.zeros((1, store.n_samples), np.bool_)
    member[0, sample_rows] = True
    tell = on_progress or (lambda _stage, _done, _total: None)
    counting = _Counting(store, sample_sets(member), rules, _regions(store, rules.exclude), among)
    found, counts = _count(counting, executor, tell)
    if counts[Fate.OTHER_CHROMOSOME] + counts[Fate.NOT_NAMED] == store.n_variants:
        raise InputError(
            f"no variant for the model lies on {'an autosome or X' if rules.chromosome_x else 'an autosome'}: "
            f"the store's contigs are {', '.join(store.contigs[:30])}",
            where=str(store.path),
            fix="take a store of the whole genome, or a null model without markers",
        )
    fate = np.zeros(len(found.row), np.uint8)
    fate[_repeated(store, found)] = Fate.DUPLICATE
    if rules.prune_r2 is not None:
        left = np.flatnonzero(fate == Fate.MARKER)
        people = ld_people(store, sample_rows)
        pruning = Pruning(store, people, *found.take(left), rules.prune_r2, rules.window_bp, rules.window)
        gone = prune_markers(pruning, executor, tell)
        fate[left[gone == IDENTICAL]] = Fate.IDENTICAL
        fate[left[gone == CORRELATED]] = Fate.CORRELATED
    left = np.flatnonzero(fate == Fate.MARKER)
    if rules.max_markers is not None and len(left) > rules.max_markers:
        fate[left] = Fate.THINNED
        fate[left[_evenly(len(left), rules.max_markers)]] = Fate.MARKER
    counts += np.bincount(fate, minlength=len(Fate))
    accounting = _accounting(counts, rules, len(sample_rows))
    chosen = found.take(np.flatnonzero(fate == Fate.MARKER))
    if not len(chosen.row):
        raise InputError(
            "no marker is left for the whole-genome model: "
            + "; ".join(f"{count:,} {reason}" for reason, count in accounting),
            where=str(store.path),
            fix="loosen the rules for markers, name some, or take a null model without them",
        )
    return Markers(chosen.row, chosen.contig, store.contigs, accounting)


def _accounting(counts: NDArray[np.int64], rules: MarkerRules, n_people: int) -> tuple[tuple[str, int], ...]:
    """What became of every variant, in words."""
    reasons = {
        Fate.MARKER: "markers of the model",
        Fate.NOT_NAMED: "not in the list of markers",
        Fate.OTHER_CHROMOSOME: "not on an autosome" + (" or X" if rules.chromosome_x else ""),
        Fate.EXCLUDED: "in excluded regions",
        Fate.MULTIALLELIC: "of sites with several alternate alleles",
        Fate.RARE: (
            f"rare (fewer than {rules.least_copies(n_people):g} copies of the minor allele, or a frequency below "
            f"{rules.min_maf:g})"
        ),
        Fate.MISSING: f"with more than {100 * rules.max_missing_rate:g} % of calls missing",
        Fate.LOW_VARIANCE: "that vary little for their frequency (poorly imputed, or nearly everybody the same)",
        Fate.DUPLICATE: "with position and alleles of another marker",
        Fate.IDENTICAL: "with the calls of another marker",
        Fate.CORRELATED: f"with r² above {rules.prune_r2:g} with another marker" if rules.prune_r2 else "",
        Fate.THINNED: f"thinned out, to keep {rules.max_markers:,}" if rules.max_markers else "",
    }
    return tuple((reasons[fate], int(counts[fate])) for fate in Fate if counts[fate])


def _regions(store: GenotypeStore, regions: tuple[Region, ...]) -> tuple[tuple[int, int, int], ...]:
    """Contig index, start and end; a region of a contig that the store does not have excludes nothing."""
    return tuple(
        (index, region.start, region.end)
        for region in regions
        for index, name in enumerate(store.contigs)
        if same_contig(name, region.contig)
    )


def _count(
    counting: _Counting, executor: TaskRunner, tell: Callable[[str, int, int], None]
) -> tuple[Candidates, NDArray[np.int64]]:
    """Candidates, and what became of the other variants, by :class:`Fate`."""
    store = counting.store
    size = store.block_variants
    step = max(1, TASK_VARIANTS // size)
    tasks = [(first, min(first + step, store.n_blocks)) for first in range(0, store.n_blocks, step)]
    # The block's bytes, compressed and not, what is taken of it, and columns of all variants of the task.
    memory = 4 * size * row_bytes(store.n_samples) + 128 * max(size, TASK_VARIANTS) + (32 << 20)
    parts: dict[tuple[int, int], Candidates] = {}
    counts = np.zeros(len(Fate), np.int64)
    for task, (candidates, of_task) in executor.run(_count_blocks, counting, tasks, memory_bytes=memory):
        parts[task] = candidates
        counts += of_task
        tell("count", len(parts), len(tasks))
    columns = zip(*(parts[task] for task in tasks), strict=True)
    return Candidates(*(np.concatenate(column) for column in columns)), counts


def _count_blocks(counting: _Counting, blocks: tuple[int, int]) -> tuple[Candidates, NDArray[np.int64]]:
    """Candidates among the variants of some blocks (first, one past the last), and what became of the others."""
    store, rules = counting.store, counting.rules
    start, stop = store.block_range(blocks[0])[0], store.block_range(blocks[1] - 1)[1]
    contig = store.column("variant_contig", start, stop)
    position = store.column("variant_position", start, stop)
    fate = _fate_by_columns(counting, start, stop, contig, position)
    frequency = np.full(stop - start, np.nan)
    for index in range(*blocks):
        begin, end = store.block_range(index)
        wanted = np.flatnonzero(fate[begin - start : end - start] == Fate.MARKER)
        if len(wanted):
            here = wanted + begin - start
            counts = count_genotypes(take(store.read_block(index), wanted), counting.people)
            called = (counts.size - counts.n_missing)[:, 0].astype(np.float64)
            copies = counts.dosage_sum[:, 0]
            minor = np.minimum(copies, 2 * called - copies)
            with np.errstate(divide="ignore", invalid="ignore"):
                # Equal frequencies are equal whichever allele is ALT.
                frequency[here] = np.nan_to_num(np.round(minor / (2 * called), 12))
                variance = counts.dosage_sum_sq[:, 0] / called - (copies / called) ** 2
                info = variance / (2 * frequency[here] * (1 - frequency[here]))
                missing_rate = counts.n_missing[:, 0] / counts.size[0]
            rare = ~(minor >= counting.least_copies) | ~(frequency[here] >= rules.min_maf)
            # What is constant carries nothing, whatever the rules allow.
            flat = ~(variance > _ROUNDING) | ~(info >= rules.min_info)
            fate[here] = np.select(
                [rare, ~(missing_rate <= rules.max_missing_rate), flat],
                [Fate.RARE, Fate.MISSING, Fate.LOW_VARIANCE],
                Fate.MARKER,
            )
    kept = np.flatnonzero(fate == Fate.MARKER)
    counts_by_fate = np.bincount(fate, minlength=len(Fate))
    counts_by_fate[Fate.MARKER] = 0  # not yet
    return Candidates(start + kept, contig[kept], position[kept], frequency[kept]), counts_by_fate


def _fate_by_columns(
    counting: _Counting, start: int, stop: int, contig: NDArray[np.int16], position: NDArray[np.int32]
) -> NDArray[np.uint8]:
    """Fates of variants ``start:stop`` as far as they follow without a look at genotypes."""
    store, rules = counting.store, counting.rules
    fate = np.zeros(stop - start, np.uint8)

    def drop(why: Fate, which: NDArray[np.bool_]) -> None:
        fate[which & (fate == Fate.MARKER)] = why

    if counting.among is not None:
        named = np.zeros(stop - start, np.bool_)
        named[counting.among[slice(*np.searchsorted(counting.among, [start, stop]))] - start] = True
        drop(Fate.NOT_NAMED, ~named)
    on_x = (PloidyClass.X, PloidyClass.PAR) if rules.chromosome_x else ()
    for index in np.unique(contig):
        kinds = ploidy_classes(store.contigs[index], position, store.reference_build)
        drop(Fate.OTHER_CHROMOSOME, (contig == index) & ~np.isin(kinds, (PloidyClass.AUTOSOME, *on_x)))
    for index, begin, end in counting.excluded:
        drop(Fate.EXCLUDED, (contig == index) & (position >= begin) & (position <= end))
    if rules.biallelic:
        drop(Fate.MULTIALLELIC, store.column("variant_n_alt", start, stop) > 1)
    # Some of the people never have more copies of an allele than all of them.
    copies = store.column("variant_allele_count", start, stop)
    minor = np.minimum(copies, 2.0 * store.column("variant_n_called", start, stop) - copies)
    drop(Fate.RARE, minor < counting.least_copies - _DOSAGE_ROUNDING)
    return fate


def _repeated(store: GenotypeStore, found: Candidates) -> NDArray[np.int64]:
    """Candidates that have position and alleles of one before them."""
    same = (found.contig[1:] == found.contig[:-1]) & (found.position[1:] == found.position[:-1])
    suspects = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
    seen: set[tuple[int, int, frozenset[str]]] = set()
    repeated = []
    for k, alleles in zip(suspects, read_alleles(store, found.row[suspects]), strict=True):
        site = (int(found.contig[k]), int(found.position[k]), alleles)
        if site in seen:
            repeated.append(k)
        seen.add(site)
    return np.array(repeated, np.int64)


def read_alleles(store: GenotypeStore, rows: NDArray[np.int64]) -> Iterator[frozenset[str]]:
    """REF and ALT, in no order, of ascending rows of the store."""
    chunk = store.block_variants * METADATA_BLOCKS
    for index in np.unique(rows // chunk):
        start = int(index) * chunk
        texts = store.strings("variant_allele", start, min(start + chunk, store.n_variants))
        for row in rows[rows // chunk == index] - start:
            yield frozenset((texts[2 * row].as_py(), texts[2 * row + 1].as_py()))


def _evenly(count: int, wanted: int) -> NDArray[np.int64]:
    """``wanted`` of ``count`` in a row, at even distances."""
    return (2 * np.arange(wanted) + 1) * count // (2 * wanted)
