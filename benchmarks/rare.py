"""What do carriers save? Scans of whole genomes, of which rare variants are held as carriers, against two bits for all.

Run by hand (minutes; the calls of 250 million people × variants are in memory at a time)::

    python -m benchmarks.rare --people 50000 --variants 524288 --traits 1 16 128

CPU seconds are those of the tasks (reading, arithmetic, writing of results), medians over alternating scans of the same
calls. ``tests/benchmarks/test_rare.py`` runs it small.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from allscan.cluster.allocator import keep_freed_memory
from allscan.engine.design import Design, pooled
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.results import ResultsCube
from allscan.engine.scan import run_scan
from allscan.engine.simulation.spectrum import simulate_calls_block
from allscan.engine.store import GenotypeStore
from benchmarks.stores import dense_block, write_store

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

COVARIATES = 10  # beside the intercept
MISSING_RATE = 0.0005
PART_BYTES = 1 << 28
MEMORY = 16 << 30
KINDS = "dense", "carriers"
EQUAL = 1e-4
"""Of −log10 p: the bound of sums in single precision."""


class Row(NamedTuple):
    """CPU microseconds of one variant in a scan, medians."""

    people: int
    traits: int
    dense: float
    carriers: float


class ClockedExecutor:
    """Runs tasks one after the other, and adds up their CPU time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def run(
        self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T], *, memory_bytes: int = 0
    ) -> Iterator[tuple[T, R]]:
        """As of the scan's executors."""
        del memory_bytes
        keep_freed_memory()
        for task in tasks:
            start = time.process_time()
            report = function(shared, task)
            self.seconds += time.process_time() - start
            yield task, report


def make_stores(folder: Path, people: int, variants: int) -> tuple[GenotypeStore, GenotypeStore]:
    """The same calls with every variant in two bits, and with carriers."""

    def parts() -> Iterator[NDArray[np.int8]]:
        rng = np.random.default_rng(11)
        size = max(64, PART_BYTES // people)
        for start in range(0, variants, size):
            number = min(size, variants - start)
            yield simulate_calls_block(rng, people, number, "wgs", missing_rate=MISSING_RATE)

    write_store(folder / "dense.zarr", parts(), variants, people, encode=dense_block)
    write_store(folder / "carriers.zarr", parts(), variants, people)
    return GenotypeStore(folder / "dense.zarr"), GenotypeStore(folder / "carriers.zarr")


def make_design(people: int, traits: int) -> Design:
    """Traits without effects."""
    rng = np.random.default_rng(traits)
    covariates = np.column_stack([np.ones(people), rng.normal(size=(people, COVARIATES))])
    values = rng.normal(size=(people, traits))
    names = tuple(f"c{j}" for j in range(COVARIATES + 1))
    trait_names = tuple(f"t{t}" for t in range(traits))
    return Design(np.arange(people), values, trait_names, covariates, names, np.zeros(people, np.int8))


def scan(store: GenotypeStore, design: Design, out: Path) -> float:
    """CPU microseconds of the tasks, for one variant."""
    spec, executor = ScanSpec(), ClockedExecutor()
    plan = plan_scan(store, pooled(design), spec, workers=1, memory_bytes=MEMORY)
    with threadpool_limits(limits=1):
        run_scan(plan, store, pooled(design), spec, executor, out)
    return executor.seconds / store.n_variants * 1e6


def check_equal(one: Path, other: Path) -> None:
    """Compare −log10 p of two runs, trait by trait.

    Raises
    ------
    AssertionError
        If they differ by more than sums in single precision may.
    """
    cubes = ResultsCube.open(one), ResultsCube.open(other)
    for trait in range(len(cubes[0].traits)):
        rows, variants = slice(trait, trait + 1), slice(0, cubes[0].n_variants)
        values = [cube.block("neg_log10_p", 0, rows, variants) for cube in cubes]
        np.testing.assert_allclose(values[0], values[1], rtol=EQUAL, atol=EQUAL)


def empty_files(folder: Path) -> None:
    """Give memory and disk of a folder's files to those that are written next.

    They are not deleted, for in the next five seconds ext4 would be slow to make files; nor kept, for a virtual machine
    has to ask its host for memory that it has not used for a while, which takes longer than some scans do.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def compare(folder: Path, people: int, variants: int, traits: Sequence[int], repeats: int) -> Iterator[Row]:
    """Time both, after a first scan that compiles and whose results are compared."""
    stores = make_stores(folder, people, variants)
    for number in traits:
        design = make_design(people, number)
        times = []
        for each in range(repeats + 1):
            times.append([])
            for kind, store in zip(KINDS, stores, strict=True):
                empty_files(folder / f"{kind}-{number}-{each - 1}")
                times[-1].append(scan(store, design, folder / f"{kind}-{number}-{each}"))
            if not each:
                check_equal(*(folder / f"{kind}-{number}-0" for kind in KINDS))
        dense, carriers = np.median(times[1:], axis=0)
        yield Row(people, number, float(dense), float(carriers))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[50_000])
    parser.add_argument("--variants", type=int, default=131_072)
    parser.add_argument("--traits", type=int, nargs="+", default=[1, 16, 128])
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    print(f"{'people':>8}{'traits':>8}{'two bits, µs':>14}{'carriers, µs':>14}{'ratio':>8}")
    for people in chosen.people:
        with tempfile.TemporaryDirectory() as folder:
            for row in compare(Path(folder), people, chosen.variants, chosen.traits, chosen.repeats):
                ratio = row.dense / row.carriers
                print(f"{row.people:8,}{row.traits:8}{row.dense:14.2f}{row.carriers:14.2f}{ratio:8.1f}", flush=True)


if __name__ == "__main__":
    main()
