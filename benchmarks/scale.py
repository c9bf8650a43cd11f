"""What a scan of any size costs, from what its parts cost here: ``python -m benchmarks.scale``.

A task costs what its genotypes, carriers and results cost. Small scans of one kind each are measured on this machine
and solved for the cost of each part; a scan of another kind and size tells how far the sums are off. Everything else
follows from the layout, by the engine's own functions where it has one.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from allscan.engine.columns import cube_columns
from allscan.engine.design import Design, pooled
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.reuse import COMMITS
from allscan.engine.scan import run_scan
from allscan.engine.simulation.spectrum import simulate_calls_block
from allscan.engine.store import GenotypeStore
from allscan.engine.store_writing import default_block_variants
from allscan.engine.tally import Tally
from allscan.jobs.report import write_report
from allscan.kernels.block import CARRIER_DENSITY, GenotypeBlock, encode_block
from benchmarks.scale_model import COVARIATES, Case, Mix, Rates, Settings, markdown, table
from benchmarks.stores import write_store

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Inline:
    """An executor of one thread that adds up the CPU time of its tasks."""

    seconds: float = 0.0
    tasks: int = 0

    def run(
        self,
        function: Callable[[S, T], R],
        shared: S,
        tasks: Iterable[T],
        *,
        memory_bytes: int | None = None,  # noqa: ARG002 - one task at a time needs no account
    ) -> Iterator[tuple[T, R]]:
        """See ``allscan.cluster.executor.Executor``."""
        for task in tasks:
            start = time.thread_time()
            result = function(shared, task)
            self.seconds += time.thread_time() - start
            self.tasks += 1
            yield task, result


@dataclass(frozen=True)
class Measured:
    """A scan that ran here."""

    case: Case
    seconds: float  # in tasks
    fitting: float
    tasks: int
    files: int  # of results
    result_bytes: int
    commit_bytes: int


def make_store(path: Path, samples: int, variants: int, kind: str) -> tuple[GenotypeStore, Mix]:
    """A store of common variants, of rare ones, of single carriers, or of whole genomes."""
    rng = np.random.default_rng(variants)
    block = default_block_variants(samples)
    lists: list[float] = []

    def parts() -> Iterator[NDArray[np.int8]]:
        for start in range(0, variants, block):
            size = min(block, variants - start)
            if kind in ("array", "wgs"):
                calls = simulate_calls_block(rng, samples, size, "array" if kind == "array" else "wgs")
            else:
                calls = np.zeros((size, samples), np.int8)
                if kind == "few":
                    calls[::64] = simulate_calls_block(rng, samples, len(calls[::64]), "array")
                number = samples // (2 * CARRIER_DENSITY) if kind == "rare" else 1
                for row in (row for row in calls if not row.any()):
                    row[rng.choice(samples, number, replace=False)] = 1
            lists.extend((calls != 0).sum(axis=1).tolist())
            yield calls

    write_store(path, parts(), variants, samples)
    carriers = np.array(lists)
    rare = carriers * CARRIER_DENSITY <= samples
    return GenotypeStore(path), Mix(float(1 - rare.mean()), float(carriers[rare].mean()) if rare.any() else 0.0)


def make_design(samples: int, traits: int, absent: float = 0.0) -> Design:
    """People with random traits and covariates; every trait lacks other people, a share ``absent`` of them."""
    rng = np.random.default_rng(traits)
    values = rng.normal(size=(samples, traits))
    if absent:
        values[rng.random(values.shape, np.float32) < absent] = np.nan
    covariates = np.column_stack([np.ones(samples), rng.normal(size=(samples, COVARIATES - 1))])
    return Design(
        store_rows=np.arange(samples),
        traits=values,
        trait_names=tuple(f"t{t}" for t in range(traits)),
        covariates=covariates,
        covariate_names=tuple(f"c{c}" for c in range(COVARIATES)),
        sex=np.zeros(samples, np.int8),
    )


def measure_scan(
    store: GenotypeStore, mix: Mix, traits: int, folder: Path, *, absent: float = 0.0, repeats: int = 2
) -> Measured:
    """Run a scan, the last time of several that counts: the first one compiles."""
    design, spec = make_design(store.n_samples, traits, absent), ScanSpec()
    for _ in range(repeats):
        shutil.rmtree(folder, ignore_errors=True)
        executor = Inline()
        plan = plan_scan(store, pooled(design), spec, workers=1, memory_bytes=1 << 40)
        stages: dict[str, float] = {}

        def note(progress: Any, stages: dict[str, float] = stages) -> None:
            stages.setdefault(str(progress.stage), time.process_time())

        run_scan(plan, store, pooled(design), spec, executor, folder, note)
    times = list(stages.values())
    cube = folder / "results.zarr"
    columns = [column.name for column in cube_columns(spec)]
    files = [file for name in columns for file in (cube / name / "c").rglob("*") if file.is_file()]
    commits = list((folder / COMMITS).iterdir())
    return Measured(
        case=Case(store.n_samples, store.n_variants, traits, 1, mix, executor.tasks),
        seconds=executor.seconds,
        fitting=times[1] - times[0],
        tasks=executor.tasks,
        files=len(files),
        result_bytes=sum(file.stat().st_size for file in files),
        commit_bytes=sum(file.stat().st_size for file in commits) // len(commits),
    )


def measure(
    folder: Path, *, samples: int, variants: int, traits: tuple[int, ...], absent: float = 0.0
) -> tuple[Rates, list[Measured]]:
    """Measure the rates of this machine."""
    runs, bytes_of = [], {}
    for kind in ("array", "rare", "few", "single"):
        count = variants if kind == "array" else 8 * variants
        store, mix = make_store(folder / f"{kind}.zarr", samples, count, kind)
        bytes_of[kind] = int(store.block_checksums[:, 0].sum()) / count
        columns = [path for path in store.path.glob("variant_*") if path.is_dir()]
        names = sum(file.stat().st_size for path in columns for file in path.rglob("*") if file.is_file())
        bytes_of[f"{kind} names"] = names / count
        runs += [measure_scan(store, mix, number, folder / "run", absent=absent) for number in traits]
    parts = np.array([run.case.parts() for run in runs])
    seconds = np.array([run.seconds for run in runs])
    # Errors that count are those relative to the time of a run.
    costs, _ = nnls(parts / seconds[:, None], np.ones(len(runs)))
    largest = runs[-1]
    cells = largest.case.variants * largest.case.traits
    start = time.process_time()
    write_report(folder / "run")
    report = time.process_time() - start
    naming, name_bytes = measure_names(folder, 20 * variants)
    return (
        Rates(
            *costs.tolist(),
            fitting=largest.fitting / (samples * largest.case.traits),
            naming=naming,
            report=report / cells,
            result_bytes=_bytes_of_row(runs[len(traits) - 1]),
            rare_result_bytes=_bytes_of_row(runs[2 * len(traits) - 1]),
            name_bytes=name_bytes,
            commit_bytes=largest.commit_bytes,
            dense_bits=8 * bytes_of["array"] / samples,
            carrier_bytes=max(0.0, bytes_of["rare"] - bytes_of["single"]) / (samples // (2 * CARRIER_DENSITY) - 1),
            variant_bytes=bytes_of["single"] + bytes_of["single names"],
        ),
        runs,
    )


def _bytes_of_row(run: Measured) -> float:
    return run.result_bytes / (run.case.variants * run.case.traits)


def measure_names(folder: Path, variants: int) -> tuple[float, float]:
    """Seconds and bytes of a variant's names on their way into a cube."""
    from allscan.engine.results import create_cube

    store, _ = make_store(folder / "names.zarr", 16, variants, "single")
    design, spec = make_design(16, 1), ScanSpec()
    plan = plan_scan(store, pooled(design), spec, workers=1, memory_bytes=1 << 40)
    start = time.process_time()
    create_cube(folder / "cube", plan, store, design.trait_names, spec)
    elapsed = time.process_time() - start
    size = sum(file.stat().st_size for path in (folder / "cube").glob("variant_*") for file in path.rglob("c/*"))
    return elapsed / variants, size / variants


@dataclass(frozen=True)
class SyntheticStore:
    """Sizes of a store, to measure what a plan of that size takes: no genotypes, and columns of zeros."""

    n_variants: int
    n_samples: int
    dense_bytes: float
    contigs: tuple[str, ...] = ("1",)
    reference_build: str = "GRCh38"
    path: Path = Path("synthetic.zarr")

    @property
    def block_variants(self) -> int:
        return default_block_variants(self.n_samples)

    @property
    def n_blocks(self) -> int:
        return -(-self.n_variants // self.block_variants)

    @property
    def block_checksums(self) -> NDArray[np.int64]:
        return np.full((self.n_blocks, 2), int(self.dense_bytes * self.block_variants), np.int64)

    def read_block(self, _: int) -> GenotypeBlock:
        """Genotypes to time a product with; what it takes is the workers' time, and not of interest here."""
        return encode_block(np.zeros((1, self.n_samples), np.int8))

    def column(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Any column: zeros."""
        size = (self.n_variants if stop is None else min(stop, self.n_variants)) - start
        return np.zeros(size, {"variant_info": np.float32, "variant_contig": np.int16}.get(name, np.int32))


def measure_plan(case: Case, rates: Rates) -> tuple[float, int, int]:
    """Seconds and bytes that the plan of a case takes on the driver, and its tasks; with a thousand people's traits."""
    of_variant = case.mix.dense * case.samples * rates.dense_bits / 8 + case.mix.carriers * rates.carrier_bytes
    store: Any = SyntheticStore(case.variants, case.samples, of_variant)
    design, spec = make_design(1_000, case.traits), ScanSpec()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    plan = plan_scan(store, pooled(design), spec, workers=case.cores, memory_bytes=1 << 60)
    tally = Tally(plan)
    waiting = sum(1 for batch in range(plan.n_batches) for _ in tally.waiting(batch, range(plan.n_runs)))
    elapsed = time.process_time() - start
    return elapsed, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10, waiting


@click.command()
@click.option("--samples", default=500_000, show_default=True)
@click.option("--variants", default=100_000_000, show_default=True)
@click.option("--traits", default=3_500, show_default=True)
@click.option("--cores", default=1_000, show_default=True)
@click.option("--missing-rate", default=0.001, show_default=True, help="Share of calls that are missing.")
@click.option("--absent", default=0.05, show_default=True, help="Share of people that a trait lacks, others each.")
@click.option("--core-hour", default=0.01, show_default=True, help="Price of a core and hour.")
@click.option("--gb-month", default=0.02, show_default=True, help="Price of a GB and month.")
@click.option("--reads", default=0.004, show_default=True, help="Price of 10,000 requests that read.")
@click.option("--writes", default=0.05, show_default=True, help="Price of 10,000 requests that write.")
@click.option("--measured-samples", default=50_000, show_default=True, help="People of the scans that are measured.")
@click.option("--measured-variants", default=1_024, show_default=True)
def main(
    samples: int,
    variants: int,
    traits: int,
    cores: int,
    missing_rate: float,
    absent: float,
    core_hour: float,
    gb_month: float,
    reads: float,
    writes: float,
    measured_samples: int,
    measured_variants: int,
) -> None:
    """Measure this machine, check the model on a scan of whole genomes, and print what a case costs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {"samples": measured_samples, "variants": measured_variants}
        rates, runs = measure(folder, **sizes, traits=(8, 64, 256), absent=absent)
        store, mix = make_store(folder / "wgs.zarr", 2 * measured_samples, 4 * measured_variants, "wgs")
        check = measure_scan(store, mix, 128, folder / "run", absent=absent)
    print("rates:", {name: f"{value:.3g}" for name, value in asdict(rates).items()}, "\n")
    for run in (*runs, check):
        told = f"{run.case.samples:,} people × {run.case.variants:,} variants × {run.case.traits} traits"
        predicted = rates.seconds(run.case)
        print(f"{told}: {run.seconds:.2f} s measured, {predicted:.2f} s predicted ({predicted / run.seconds - 1:+.0%})")
    print(f"bytes of results: {check.result_bytes:,} measured, {rates.bytes(check.case):,.0f} predicted\n")
    case = Case(samples, variants, traits, cores, Mix.of_genomes(samples, missing_rate))
    print(
        f"{case.mix.dense:.1%} of the variants in rows, the others with {case.mix.carriers:,.0f} carriers in the mean"
    )
    # In a process of its own, whose peak is the plan's.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        elapsed, size, tasks = pool.submit(measure_plan, case, rates).result()
    print(f"plan of {tasks:,} tasks: {elapsed:.1f} s and {size / 2**20:,.0f} MiB of the driver\n")
    settings = Settings(price_core_hour=core_hour, price_gb_month=gb_month, price_reads=reads, price_writes=writes)
    print(markdown(table(case, rates, settings)))


if __name__ == "__main__":
    main()
