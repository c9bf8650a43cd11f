"""What a scan will do: the tasks, the memory, the time, and a hash of everything that decides the result."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.association_tests import find_test
from allscan.engine.chromosomes import Region, same_contig
from allscan.errors import InputError
from allscan.kernels.association import Missing, Model, Precision, ScanOptions
from allscan.kernels.missingness import trait_patterns
from allscan.kernels.packing import row_bytes
from allscan.kernels.products import genotype_products

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.store import GenotypeStore

RESULTS_VERSION = 2

# Layout follows the data alone, never workers or memory: a run resumed on another machine writes the same bytes.
TASK_GENOTYPES = 1 << 28
MAX_TASK_VARIANTS = 16384
MIN_TASKS = 8
MAX_BATCH_TRAITS = 256
MAX_PANEL_BYTES = 1 << 30

BASE_MEMORY = 400 << 20
"""Bytes of the interpreter with its libraries (measured: 230–280 MB), and of compiling the kernels where this machine
has not done so (about 100 MB more, once)."""


@dataclass(frozen=True)
class VariantFilter:
    """Which variants are tested. Counts are those of the samples analysed for a trait."""

    min_mac: float = 0.0  # minor allele count
    min_maf: float = 0.0
    max_missing_rate: float = 1.0
    min_info: float = 0.0  # variants without an imputation quality pass
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class ScanSpec:
    """What to compute: the scientific part of a job, apart from its tables."""

    test: str = "linear"
    test_options: Mapping[str, Any] = field(default_factory=dict)
    model: Model = Model.ADDITIVE
    missing: Missing = Missing.IMPUTE_MEAN
    precision: Precision = Precision.AUTO
    filter: VariantFilter = field(default_factory=VariantFilter)
    hits_neg_log10_p: float = 5.0
    x_male_dosage: int = 2  # a male's allele on X counts 2 (as a homozygous female) or 1
    x_sex_covariate: bool = True

    @property
    def options(self) -> ScanOptions:
        """What every test is told."""
        return ScanOptions(int(self.model), int(self.missing), int(self.precision))


@dataclass(frozen=True)
class ScanTask:
    """One unit of work: a run of variants × a batch of traits × a stratum."""

    stratum: int
    batch: int
    index: int  # number of the variant run

    @property
    def name(self) -> str:
        """File name of the task's commit."""
        return f"s{self.stratum}-b{self.batch}-v{self.index:06d}"


@dataclass(frozen=True)
class ScanPlan:
    """The tasks of a scan and what they will cost."""

    n_variants: int
    n_samples: int
    n_traits: int
    strata: tuple[str, ...]
    variants_per_task: int
    traits_per_task: int
    task_memory_bytes: int  # of one task in flight
    shared_memory_bytes: int  # null models and the interpreter, once
    workers: int
    expected_seconds: float
    output_bytes: int
    digest: str  # hex; inputs and parameters
    rows: NDArray[np.int64] | None  # store rows to test; None: all

    @property
    def n_batches(self) -> int:
        """Trait batches."""
        return -(-self.n_traits // self.traits_per_task)

    @property
    def n_runs(self) -> int:
        """Variant runs."""
        return -(-self.n_variants // self.variants_per_task)

    @property
    def n_tasks(self) -> int:
        """Tasks in all."""
        return len(self.strata) * self.n_batches * self.n_runs

    @property
    def peak_memory_bytes(self) -> int:
        """Planned peak of the process."""
        return self.shared_memory_bytes + self.workers * self.task_memory_bytes

    def batch_traits(self, batch: int) -> slice:
        """Traits of a batch."""
        return slice(batch * self.traits_per_task, min((batch + 1) * self.traits_per_task, self.n_traits))

    def run_rows(self, index: int) -> NDArray[np.int64]:
        """Store rows of variant run ``index``."""
        start = index * self.variants_per_task
        stop = min(start + self.variants_per_task, self.n_variants)
        return np.arange(start, stop) if self.rows is None else self.rows[start:stop]

    def tasks(self, stratum: int, batch: int) -> list[ScanTask]:
        """Tasks of one stratum and batch."""
        return [ScanTask(stratum, batch, index) for index in range(self.n_runs)]


def select_rows(store: GenotypeStore, regions: tuple[Region, ...]) -> NDArray[np.int64] | None:
    """Store rows inside any of the regions, or None for all.

    Raises
    ------
    InputError
        If a region names a contig that the store does not have, or no variant lies in any region.
    """
    if not regions:
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
    if not keep.any():
        raise InputError(
            f"no variant lies in {', '.join(str(region) for region in regions)}",
            where=str(store.path),
            fix="check the regions and the reference build",
        )
    return np.flatnonzero(keep)


def _batch_size(store: GenotypeStore, design: Design) -> tuple[int, int]:
    """Traits of a batch and columns of its panel, so that the panel stays below its bound.

    Every pattern of missing samples needs its own covariates beside the traits.
    """
    n_traits = len(design.trait_names)
    patterns = [trait_patterns(design.traits, design.members(g))[0] for g in range(len(design.strata))]

    def panel_columns(start: int, size: int) -> int:
        sets = max(len(np.unique(of_trait[start : start + size])) for of_trait in patterns)
        return int(sets * design.covariates.shape[1] + min(size, n_traits - start))

    size = MAX_BATCH_TRAITS  # a power of two: batches end where chunks of the cube do
    while True:
        columns = max(panel_columns(start, size) for start in range(0, n_traits, size))
        if size == 1 or columns * store.n_samples * 8 <= MAX_PANEL_BYTES:
            return min(size, n_traits), columns
        size //= 2


def _task_variants(store: GenotypeStore, n_variants: int) -> int:
    block = int(store.block_variants)
    wanted = min(TASK_GENOTYPES // max(1, store.n_samples), MAX_TASK_VARIANTS, n_variants // MIN_TASKS)
    blocks = 1
    while blocks * 2 * block <= wanted:
        blocks *= 2
    return blocks * block


def _seconds_per_variant(store: GenotypeStore, columns: int) -> float:
    """Measure the products of one block on this machine, for one core."""
    sampled = min(columns, 64)
    panel = np.ones((store.n_samples, sampled))
    block = store.read_block(store.n_blocks // 2)
    genotype_products(block, panel[:, :1].copy())  # compile, or load the compiled kernel
    start = time.perf_counter()
    block = store.read_block(store.n_blocks // 2)
    genotype_products(block, panel)
    elapsed = time.perf_counter() - start
    return elapsed * max(1.0, columns / sampled) / block.n_variants


def digest_of(store: GenotypeStore, design: Design, spec: ScanSpec) -> str:
    """Hash of everything that decides the results: store, aligned tables and parameters."""
    digest = hashlib.sha256()
    parameters = asdict(spec) | {
        "model": int(spec.model),
        "missing": int(spec.missing),
        "precision": int(spec.precision),
    }
    digest.update(json.dumps([RESULTS_VERSION, parameters], sort_keys=True, default=str).encode())
    digest.update(store.fingerprint().encode())
    digest.update(repr((design.trait_names, design.covariate_names, design.strata)).encode())
    for array in (design.store_rows, design.traits, design.covariates, design.sex, design.stratum_members):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def plan_scan(store: GenotypeStore, design: Design, spec: ScanSpec, *, workers: int, memory_bytes: int) -> ScanPlan:
    """Lay out a scan.

    Parameters
    ----------
    workers
        Tasks that may run at the same time; fewer do when memory does not suffice.
    memory_bytes
        What the whole process may use.

    Raises
    ------
    InputError
        If not even one task fits in ``memory_bytes``, or the spec selects nothing.
    """
    rows = select_rows(store, spec.filter.regions)
    n_variants = store.n_variants if rows is None else len(rows)
    test = find_test(spec.test)
    outputs = len(test.columns(spec.options))
    traits, columns = _batch_size(store, design)
    variants = _task_variants(store, n_variants)
    n, block = store.n_samples, store.block_variants
    predictors = 2 if spec.model == Model.GENOTYPIC else 1
    # One block: its bytes, compressed and not, and lists of missing samples; its products and cells; then the
    # results of the whole run of variants.
    of_block = 3 * block * row_bytes(n) + block * columns * 8 * (2 * predictors + 1) + block * traits * 8 * outputs
    of_results = variants * traits * (4 * outputs + 13) * 2
    task_memory = int(1.25 * (of_block + of_results)) + (32 << 20)
    shared = BASE_MEMORY + n * columns * 8 * 3 + design.traits.nbytes * 2 + n_variants * 24
    fitting = (memory_bytes - shared) // task_memory
    if fitting < 1:
        need = (shared + task_memory) / 2**30
        raise InputError(
            f"the scan needs {need:.1f} GiB of memory and may use {memory_bytes / 2**30:.1f} GiB",
            fix="allow more with --memory, or scan fewer traits in one job",
        )
    workers = int(min(workers, fitting))
    seconds = _seconds_per_variant(store, columns) * predictors * n_variants
    batches = -(-len(design.trait_names) // traits)
    cells = n_variants * len(design.trait_names) * len(design.strata)
    return ScanPlan(
        n_variants=n_variants,
        n_samples=design.n_samples,
        n_traits=len(design.trait_names),
        strata=design.strata,
        variants_per_task=variants,
        traits_per_task=traits,
        task_memory_bytes=task_memory,
        shared_memory_bytes=shared,
        workers=workers,
        expected_seconds=seconds * batches * len(design.strata) / workers + cells * 1e-6 / workers,
        output_bytes=int(cells * 4 * outputs * 0.95 + cells * 2 + n_variants * 30),
        digest=digest_of(store, design, spec),
        rows=rows,
    )
