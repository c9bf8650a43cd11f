"""What a scan will do: the tasks, the memory, the time, and what decides the results."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.chromosomes import Region, same_contig
from allscan.engine.costs import (
    HELD_NULL_BYTES,
    core_seconds,
    seconds_per_variant,
    shared_memory,
    task_memory,
    trait_batches,
)
from allscan.engine.design import check_strata, n_people
from allscan.engine.local_ancestry.scoring import check_people
from allscan.engine.manifest import Manifest, manifest_of
from allscan.engine.null_groups import NullGroup, null_groups
from allscan.engine.ploidy import offset_chromosomes
from allscan.engine.trait_parts import TraitBatch, TraitLayout, TraitPart, one_part, traits_by_kind
from allscan.errors import InputError
from allscan.kernels.association import Missing, Model, Precision, ScanOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from allscan.engine.costs import BatchPlan
    from allscan.engine.design import Strata
    from allscan.engine.local_ancestry.store import LocalAncestryStore
    from allscan.engine.store import GenotypeStore

# Layout follows the data alone, never workers or memory: a run resumed on another machine writes the same bytes.
TASK_SECONDS = 2.0  # of one core, about: handing out a task, and committing it, takes milliseconds
MAX_TASK_VARIANTS = 65536
MAX_TASK_CELLS = 1 << 21
"""Results of a task, variants × traits × strata, above ``MANY_VARIANTS``: they are in memory together."""
MANY_VARIANTS = 16384
MIN_TASKS = 8
RESULT_BYTES = 19
"""Of a variant and trait in the cube: measured, 12 where all traits have the same samples, 18 where none have."""
CASE_BYTES = 9
"""What cases and controls add to it: measured, 8.3 where every trait has other cases."""


@dataclass(frozen=True)
class VariantFilter:
    """Which variants are tested. Counts are those of the samples analysed for a trait."""

    min_mac: float = 0.0  # minor allele count
    min_maf: float = 0.0
    max_missing_rate: float = 1.0
    min_info: float = 0.0  # variants without an imputation quality pass
    regions: tuple[Region, ...] = ()
    rows: tuple[int, ...] | None = None  # of the store, increasing: the variants that are named; None: all


@dataclass(frozen=True)
class ScanSpec:
    """What to compute: the scientific part of a job, apart from its tables."""

    test: str = "linear"
    test_options: Mapping[str, Any] = field(default_factory=dict)
    # Test and options by kind of trait, in place of these two where the scan has several kinds.
    tests: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    model: Model = Model.ADDITIVE
    missing: Missing = Missing.IMPUTE_MEAN
    precision: Precision = Precision.AUTO
    filter: VariantFilter = field(default_factory=VariantFilter)
    hits_neg_log10_p: float = 5.0
    x_male_dosage: int = 2  # a male's allele on X counts 2 (as a homozygous female) or 1
    x_sex_covariate: bool = True
    local_ancestry: LocalAncestryStore | None = None  # of everybody who is scanned; its tests are for it alone

    @property
    def options(self) -> ScanOptions:
        """What every test is told."""
        ancestries = () if self.local_ancestry is None else self.local_ancestry.ancestries
        return ScanOptions(int(self.model), int(self.missing), int(self.precision), ancestries)

    def of_kind(self, kind: str) -> ScanSpec:
        """The same for the traits of one kind."""
        if not self.tests:
            return self
        test, options = self.tests[kind]
        return replace(self, test=test, test_options=options, tests={})


@dataclass(frozen=True)
class ScanTask:
    """One unit of work: a run of variants × a batch of traits, in every stratum."""

    batch: int
    index: int  # number of the variant run

    @property
    def name(self) -> str:
        """File name of the task's commit."""
        return f"b{self.batch}-v{self.index:06d}"

    @classmethod
    def of_name(cls, name: str) -> ScanTask:
        """The task of a name."""
        batch, index = (int(part[1:]) for part in name.split("-"))
        return cls(batch, index)


@dataclass(frozen=True)
class ScanPlan:
    """The tasks of a scan and what they will cost."""

    n_variants: int
    n_samples: int  # in any stratum
    n_traits: int
    strata: tuple[str, ...]
    variants_per_task: int
    traits_per_task: int  # at most
    task_memory_bytes: int  # of one task in flight
    shared_memory_bytes: int  # null models and the interpreter, once
    workers: int
    expected_seconds: float
    output_bytes: int
    rows: NDArray[np.int64] | None  # store rows to test; None: all
    groups: tuple[NullGroup, ...] = ()  # of variant runs: their null models are held at the same time
    manifest: Manifest | None = None  # what the tasks are made of; a plan that is to run has one
    kinds: tuple[TraitPart, ...] = ()  # of a scan of several kinds of traits

    @property
    def made_of(self) -> Manifest:
        """What the tasks are made of."""
        assert self.manifest is not None
        return self.manifest

    @cached_property
    def layout(self) -> TraitLayout:
        """The traits, cut into batches."""
        return TraitLayout(self.kinds or one_part(self.n_traits, self.traits_per_task))

    @property
    def n_batches(self) -> int:
        """Trait batches."""
        return len(self.layout.batches)

    @property
    def n_runs(self) -> int:
        """Variant runs."""
        return -(-self.n_variants // self.variants_per_task)

    @property
    def n_tasks(self) -> int:
        """Tasks in all."""
        return self.n_batches * self.n_runs

    @property
    def nulls_held(self) -> int:
        """Null models of a batch that are held at a time, in each stratum."""
        return max(len(group.codes) for group in self.groups)

    @property
    def peak_memory_bytes(self) -> int:
        """Planned peak of the process."""
        return self.shared_memory_bytes + self.workers * self.task_memory_bytes

    def batch(self, number: int) -> TraitBatch:
        """A batch of traits."""
        return self.layout.batches[number]

    def batch_traits(self, batch: int) -> NDArray[np.int64]:
        """Traits of a batch, as indices in the design."""
        return self.batch(batch).traits

    def run_rows(self, index: int) -> NDArray[np.int64]:
        """Store rows of variant run ``index``."""
        start = index * self.variants_per_task
        stop = min(start + self.variants_per_task, self.n_variants)
        return np.arange(start, stop) if self.rows is None else self.rows[start:stop]

    def tasks(self, batch: int) -> list[ScanTask]:
        """Tasks of one batch."""
        return [ScanTask(batch, index) for index in range(self.n_runs)]

    def all_tasks(self) -> Iterator[ScanTask]:
        """Every task, batch by batch."""
        for batch in range(self.n_batches):
            yield from self.tasks(batch)


def select_rows(store: GenotypeStore, filter_: VariantFilter) -> NDArray[np.int64] | None:
    """Store rows that are named and lie inside any of the regions, or None for all.

    Raises
    ------
    InputError
        If a region names a contig that the store does not have, or no variant (that is named) lies in any region.
    """
    regions = filter_.regions
    if not regions and filter_.rows is None:
        return None
    keep = np.zeros(store.n_variants, np.bool_)
    for region in regions:
        contigs = [i for i, name in enumerate(store.contigs) if same_contig(name, region.contig)]
        if not contigs:
            raise InputError(
                f"region {region}: the store has no contig {region.contig!r}",
                where=str(store.path),
                fix=f"its contigs are {', '.join(store.contigs[:30])}",
            )
        position = store.variant_position
        keep |= np.isin(store.variant_contig, contigs) & (position >= region.start) & (position <= region.end)
    if filter_.rows is not None:
        named = np.zeros(store.n_variants, np.bool_)
        named[list(filter_.rows)] = True
        keep = named & keep if regions else named
    if not keep.any():
        which = "no variant lies in" if filter_.rows is None else "none of the variants named lies in"
        raise InputError(
            f"{which} {', '.join(str(region) for region in regions)}",
            where=str(store.path),
            fix="check the regions and the reference build",
        )
    return np.flatnonzero(keep)


def most_task_variants(cells: int) -> int:
    """Variants of a task, at most, of which each has so many results."""
    return max(MANY_VARIANTS, min(MAX_TASK_VARIANTS, MAX_TASK_CELLS // cells))


def _task_variants(store: GenotypeStore, n_variants: int, batches: BatchPlan) -> int:
    """Variants of a task, from the bytes that they are stored in: what a rare variant costs is in its carriers."""
    block = int(store.block_variants)
    wanted = min(
        TASK_SECONDS / seconds_per_variant(store, batches),
        most_task_variants(batches.size * len(batches.strata)),
        n_variants // MIN_TASKS,
    )
    blocks = 1
    while blocks * 2 * block <= wanted:
        blocks *= 2
    return blocks * block


def fitting_workers(workers: int, shared: int, task: int, memory_bytes: int) -> int:
    """How many of some workers fit into memory, each with bytes of a task, beside the bytes that they share.

    Raises
    ------
    InputError
        Not one fits.
    """
    fitting = (memory_bytes - shared) // task
    if fitting < 1:
        need = (shared + task) / 2**30
        raise InputError(
            f"the scan needs {need:.1f} GiB of memory and may use {memory_bytes / 2**30:.1f} GiB",
            fix="allow more with --memory, or scan fewer traits in one job",
        )
    return int(min(workers, fitting))


def plan_scan(store: GenotypeStore, strata: Strata, spec: ScanSpec, *, workers: int, memory_bytes: int) -> ScanPlan:
    """Lay out a scan.

    Parameters
    ----------
    strata
        The people, as one stratum or several, which are scanned together.
    workers
        Tasks that may run at the same time; fewer do when memory does not suffice.
    memory_bytes
        What the whole process may use.

    Raises
    ------
    ValueError
        If the strata do not have the same traits.
    InputError
        If not even one task fits in ``memory_bytes``, the spec selects nothing, or the local ancestry is not that of
        all people.
    """
    check_strata(strata)
    if spec.local_ancestry is not None:
        check_people(spec.local_ancestry, store, strata)
    rows = select_rows(store, spec.filter)
    n_variants = store.n_variants if rows is None else len(rows)
    design = strata[0].design
    n_traits = len(design.trait_names)
    kinds = traits_by_kind(design.is_binary) if spec.tests else {"": np.arange(n_traits)}
    # Batches of traits, each of one kind, are scanned one after the other: what the largest of any needs is planned.
    specs = [spec.of_kind(kind) for kind in kinds]
    batches = [trait_batches(strata, *part) for part in zip(specs, kinds.values(), strict=True)]
    variants = min(_task_variants(store, n_variants, part) for part in batches)
    task = max(task_memory(store, strata, *part, variants) for part in zip(specs, batches, strict=True))
    most_held = HELD_NULL_BYTES // max(1, *(part.null_bytes for part in batches))
    groups = null_groups(store, rows, variants, offset_chromosomes(strata), most_held)
    held = max(len(group.codes) for group in groups)
    shared = max(shared_memory(store, strata, part, rows, held) for part in batches)
    workers = fitting_workers(workers, shared, task, memory_bytes)
    seconds, output_bytes = 0.0, n_variants * 30
    for part, traits in zip(batches, kinds.values(), strict=True):
        seconds += core_seconds(store, part, n_variants, len(traits))
        # What nobody of a stratum has takes no space.
        cells = n_variants * sum(int(of_stratum.has_anybody[traits].sum()) for _, of_stratum in strata)
        binary = any(of_stratum.cases is not None for of_stratum in part.strata)
        output_bytes += cells * (RESULT_BYTES + (CASE_BYTES if binary else 0))
    parts = (TraitPart(kind, kinds[kind], part.size) for kind, part in zip(kinds, batches, strict=True))
    plan = ScanPlan(
        n_variants=n_variants,
        n_samples=n_people(strata),
        n_traits=n_traits,
        strata=tuple(name for name, _ in strata),
        variants_per_task=variants,
        traits_per_task=max(part.size for part in batches),
        task_memory_bytes=task,
        shared_memory_bytes=shared,
        workers=workers,
        expected_seconds=seconds / workers,
        output_bytes=output_bytes,
        rows=rows,
        groups=groups,
        kinds=tuple(parts) if spec.tests else (),
    )
    return replace(plan, manifest=manifest_of(store, strata, spec, plan))
