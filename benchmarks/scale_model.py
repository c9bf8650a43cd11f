"""The model of what a scan costs: sums of parts, and what follows from the layout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from allscan.engine.columns import cube_columns
from allscan.engine.costs import MAX_BATCH_TRAITS, MAX_PANEL_BYTES, Batches, null_bytes
from allscan.engine.plan import TASK_SECONDS, ScanSpec, most_task_variants
from allscan.engine.results import CUBE_TRAITS
from allscan.engine.scoring import SCORED_VARIANTS, most_variants
from allscan.engine.simulation.spectrum import minor_allele_counts
from allscan.engine.store_writing import default_block_variants
from allscan.kernels.block import CARRIER_DENSITY
from allscan.kernels.packing import row_bytes
from allscan.kernels.panel import lanes_of, panel_bytes

COVARIATES = 21  # the intercept and twenty others
FILE_COLUMNS = len(cube_columns(ScanSpec()))


@dataclass(frozen=True)
class Mix:
    """What the variants of a store are."""

    dense: float  # share that is held as a row of all people
    carriers: float  # of each of the others, in the mean

    @classmethod
    def of_genomes(cls, samples: int, missing_rate: float) -> Mix:
        """Variants of whole genomes of so many people, by the spectrum of the simulation."""
        copies = minor_allele_counts(np.random.default_rng(1), samples, 400_000, "wgs")
        listed = copies + missing_rate * samples
        rare = listed * CARRIER_DENSITY <= samples
        return cls(float(1 - rare.mean()), float(listed[rare].mean()) if rare.any() else 0.0)


@dataclass(frozen=True)
class Case:
    """A scan."""

    samples: int = 500_000
    variants: int = 100_000_000
    traits: int = 3_500
    cores: int = 1_000
    mix: Mix = Mix(0.1, 500.0)
    tasks: int = 0  # of a batch, where they are known to be small

    @property
    def batches(self) -> int:
        """Batches of traits; each reads all genotypes."""
        return -(-self.traits // self.batch_traits)

    @property
    def batch_traits(self) -> int:
        """Traits of a batch, as plans bound them."""
        size = MAX_BATCH_TRAITS
        while null_bytes(Batches(self.samples, size, size + COVARIATES, 1, 0)) > MAX_PANEL_BYTES:
            size //= 2
        return min(size, self.traits)

    @property
    def columns(self) -> int:
        """Columns of a batch's panel, filled up to whole vector registers."""
        lanes = lanes_of(np.float32)
        return -(-(self.batch_traits + COVARIATES) // lanes) * lanes

    def parts(self) -> NDArray[np.float64]:
        """How much there is of what :class:`Rates` has a cost of, for one batch.

        Rows of one product share its tables, which are made of the whole panel, for however few rows.
        """
        joined = most_variants(self.batch_traits, 1)
        products = max(self.variants * self.mix.dense / SCORED_VARIANTS, self.variants / joined, self.tasks)
        tables = products * self.samples * self.columns * (self.mix.dense > 0)
        dense = self.variants * self.mix.dense * self.samples
        carriers = self.variants * (1 - self.mix.dense) * self.mix.carriers
        rows = self.variants * self.batch_traits
        return np.array([dense, dense * self.columns, carriers, carriers * self.columns, tables, rows], float)


@dataclass(frozen=True)
class Rates:
    """Seconds of one core, and bytes."""

    genotype: float  # of a dense variant: to read and count it
    genotype_column: float  # to multiply it with a column of the panel
    carrier: float
    carrier_column: float
    table: float  # of a person and column: tables of sums, for each product
    result: float  # from products to bytes on the disk
    fitting: float  # of a person and trait: null models
    naming: float  # of a variant: its names from the store to the cube
    report: float  # of a result: to read it and draw the page
    result_bytes: float  # of a dense variant and trait, in the cube
    rare_result_bytes: float
    name_bytes: float  # of a variant, in the cube
    commit_bytes: float
    dense_bits: float  # of a genotype in the store
    carrier_bytes: float  # in the store
    variant_bytes: float  # names and counts in the store

    def bytes(self, case: Case) -> float:
        """Bytes of results, without names."""
        of_row = case.mix.dense * self.result_bytes + (1 - case.mix.dense) * self.rare_result_bytes
        return case.variants * case.traits * of_row

    def seconds(self, case: Case) -> float:
        """Seconds of one core in tasks, all batches."""
        costs = (self.genotype, self.genotype_column, self.carrier, self.carrier_column, self.table, self.result)
        return float(case.parts() @ np.array(costs)) * case.batches


@dataclass(frozen=True)
class Settings:
    """What is not measured here: the table says so."""

    task_overhead: float = 5e-4  # seconds of the driver for each task
    price_core_hour: float = 0.01
    price_gb_month: float = 0.02
    price_reads: float = 0.004  # of 10,000
    price_writes: float = 0.05


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    what: str
    value: str
    how: str


def task_variants(case: Case, rates: Rates) -> int:
    """Variants of a task, as :func:`allscan.engine.plan.plan_scan` cuts them, at the measured rates."""
    block = default_block_variants(case.samples)
    seconds = rates.seconds(case) / (case.variants * case.batches)
    wanted = min(TASK_SECONDS / seconds, most_task_variants(-(-case.traits // case.batches)))
    blocks = 1
    while blocks * 2 * block <= wanted:
        blocks *= 2
    return blocks * block


def table(case: Case, rates: Rates, settings: Settings) -> list[Line]:
    """What a case costs."""
    seconds = rates.seconds(case)
    size = task_variants(case, rates)
    runs = -(-case.variants // size)
    tasks = runs * case.batches
    block = default_block_variants(case.samples)
    blocks = -(-case.variants // block)
    cells = case.variants * case.traits
    fitting = rates.fitting * case.samples * case.traits
    naming = rates.naming * case.variants
    # A task of the report takes the traits of one file, over all variants.
    report_tasks = -(-case.traits // CUBE_TRAITS)
    report = rates.report * cells / min(case.cores, report_tasks)
    # A batch waits for its last task: half a task of every core in the mean, and the longest at the end.
    per_task = seconds / tasks
    barrier = case.batches * 1.5 * per_task
    wall = seconds / case.cores + barrier + fitting + naming
    dense = case.variants * case.mix.dense
    lists = case.variants * (1 - case.mix.dense) * case.mix.carriers
    store = dense * case.samples * rates.dense_bits / 8 + lists * rates.carrier_bytes
    store += case.variants * rates.variant_bytes
    results = rates.bytes(case) + case.variants * rates.name_bytes
    puts = tasks * (FILE_COLUMNS * -(-case.batch_traits // CUBE_TRAITS) + 2)
    gets = blocks * case.batches
    panel = sum(panel_bytes(case.samples, case.columns, kind) for kind in (np.float32, np.float64))
    per_block = 3 * block * row_bytes(case.samples) + size * case.batch_traits * (4 * 3 + 17) * 2
    cost = (
        seconds / 3600 * settings.price_core_hour,
        (store + results) / 1e9 * settings.price_gb_month,
        gets / 1e4 * settings.price_reads + puts / 1e4 * settings.price_writes,
    )
    mib = 2**20
    traits_bytes = 2 * case.samples * case.traits * 8
    planned = tasks + runs * 90 + blocks * 16
    return [
        Line("CPU time of tasks", f"{seconds / 3600:,.0f} h", "sum of parts × measured rates × batches"),
        Line("of it reading and counting", _share(case, rates, (0, 2)), ""),
        Line("of it products", _share(case, rates, (1, 3, 4)), ""),
        Line("of it results", _share(case, rates, (5,)), ""),
        Line("Wall time", f"{wall / 3600:,.1f} h", "CPU time / cores + barriers + null models + names"),
        Line("waiting at barriers", f"{barrier:,.0f} s", f"{case.batches} batches × 1.5 tasks of {per_task:.1f} s"),
        Line("null models, on the driver", f"{fitting:,.0f} s", "people × traits × measured rate, one core"),
        Line("names into the cube, on the driver", f"{naming:,.0f} s", "variants × measured rate, one core"),
        Line("report, afterwards", f"{report / 3600:,.1f} h", f"results × measured rate / {report_tasks} tasks"),
        Line("Tasks", f"{tasks:,}", f"{runs:,} runs of {size:,} variants × {case.batches} batches"),
        Line("handing out tasks", f"{tasks * settings.task_overhead:,.0f} s", "tasks × overhead (assumed), meanwhile"),
        Line("tasks a second", f"{tasks / wall:,.0f}", f"the driver's limit is {1 / settings.task_overhead:,.0f}"),
        Line("Memory that tasks of a machine share", f"{panel / mib:,.0f} MiB", "panels of one batch"),
        Line("Memory of a task", f"{per_block / mib:,.0f} MiB", "three blocks of genotypes, results twice"),
        Line("Memory of the driver: traits", f"{traits_bytes / 2**30:,.1f} GiB", "float64, twice"),
        Line("Memory of the driver: plan", f"{planned / mib:,.0f} MiB", "marks, hashes, checksums"),
        Line("Store", f"{store / 1e12:,.2f} TB", f"{blocks:,} chunks of {block} variants"),
        Line("Results", f"{results / 1e12:,.2f} TB", f"{cells:,} rows × {rates.bytes(case) / cells:.1f} bytes"),
        Line("Commits", f"{tasks * rates.commit_bytes / mib:,.0f} MiB", f"{tasks:,} files, read at a resume"),
        Line("Reads of objects", f"{gets:,}", "chunks × batches"),
        Line("Writes of objects", f"{puts:,}", "tasks × (columns × groups of traits + hits + commit)"),
        Line("Writes of objects a second", f"{puts / wall:,.0f}", "writes / wall time"),
        Line("Bytes read", f"{store * case.batches / 1e12:,.1f} TB", f"{store * case.batches / wall / 1e9:,.2f} GB/s"),
        Line("Bytes written", f"{results / 1e12:,.2f} TB", f"{results / wall / 1e9:,.2f} GB/s"),
        Line("Price: computing", f"{cost[0]:,.0f}", f"{settings.price_core_hour:g} a core and hour (assumed)"),
        Line("Price: a month of storage", f"{cost[1]:,.0f}", f"{settings.price_gb_month:g} a GB (assumed)"),
        Line("Price: requests", f"{cost[2]:,.0f}", "per 10,000 (assumed)"),
    ]


def _share(case: Case, rates: Rates, which: tuple[int, ...]) -> str:
    costs = np.array(list(asdict(rates).values())[:6]) * case.parts()
    return f"{costs[list(which)].sum() / costs.sum():.0%}"


def markdown(lines: Iterable[Line]) -> str:
    """The table as a page has it."""
    return "\n".join(["| | | how |", "|---|--:|---|", *(f"| {x.what} | {x.value} | {x.how} |" for x in lines)])
