"""The structure of an admixed cohort with some relatives: what each stage costs, and PLINK 2's exact components beside.

People have shares of six populations; one of fifty is the child of two others. Markers are independent given ancestry,
as after pruning. Components are compared as subspaces, on the same markers and unrelated people. Run by hand::

    python -m benchmarks.science.structure --people 20000 --markers 50000 --plink2
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allscan.arrow import booleans, numbers, objects
from allscan.jobs.structure.build import build_structure
from allscan.jobs.structure.file import StructureJob
from allscan.jobs.structure.folder import ID, RELATED, StructureFolder
from allscan.jobs.structure.inputs import prepare
from benchmarks.stores import write_pgen, write_store

POPULATIONS, DRIFT = 6, 0.08
PER_CHILD = 50
TOGETHER = 500


@dataclass(frozen=True)
class Size:
    """Of a cohort."""

    people: int
    markers: int
    components: int = 10
    seed: int = 5


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU time of a stage."""

    stage: str
    cpu: float


def calls(size: Size) -> Iterator[NDArray[np.int8]]:
    """Calls of some markers at a time, (markers, people)."""
    rng = np.random.default_rng(size.seed)
    n_children = size.people // PER_CHILD
    n = size.people - n_children
    share = rng.dirichlet(np.full(POPULATIONS, 0.15), n).astype(np.float32)
    for start in range(0, size.markers, TOGETHER):
        m = min(TOGETHER, size.markers - start)
        ancestral = rng.uniform(0.05, 0.95, m)
        shape = (1 - DRIFT) / DRIFT
        own = rng.beta(ancestral * shape, (1 - ancestral) * shape, (POPULATIONS, m)).astype(np.float32)
        chance = (share @ own).T
        first, second = (rng.random((m, n), dtype=np.float32) < chance for _ in range(2))
        passed = np.where(
            rng.random((m, 2 * n_children)) < 0.5, first[:, : 2 * n_children], second[:, : 2 * n_children]
        )
        children = passed[:, ::2].astype(np.int8) + passed[:, 1::2]
        yield np.concatenate([first.astype(np.int8) + second, children], axis=1)


def build(size: Size, folder: Path, workers: int) -> tuple[StructureFolder, list[Cost]]:
    """Make the store and the structure; what each stage costs."""
    write_store(folder / "cohort.zarr", calls(size), size.markers, size.people)
    keys = {
        "name": "benchmark",
        "genotypes": "cohort.zarr",
        "markers": {"min_maf": 0.0, "prune_r2": None, "exclude": []},
        "components": {"count": size.components},
        "output": "structure",
        "runtime": {"workers": workers},
    }
    costs: dict[str, float] = {}
    began = [time.process_time()]
    running = [""]

    def tell(stage: str, _done: int, _total: int) -> None:
        now = time.process_time()
        costs[running[0]] = costs.get(running[0], 0.0) + now - began[0]
        began[0], running[0] = now, stage

    prepared = prepare(StructureJob.from_dict(keys, base=folder))
    found = build_structure(prepared, on_progress=tell).folder
    tell("", 0, 0)
    return found, [Cost(stage or "start and end", cpu) for stage, cpu in costs.items()]


def agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Cosine of the largest angle between two subspaces."""
    return float(np.linalg.svd(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0], compute_uv=False).min())


def plink2_components(size: Size, found: StructureFolder, folder: Path, threads: int) -> tuple[float, float]:
    """CPU seconds of PLINK 2's exact components of the unrelated people, and how far the subspaces agree."""
    write_pgen(folder / "cohort.pgen", calls(size), size.markers, size.people)
    variants = "".join(f"1\t{k + 1}\tv{k}\tA\tC\n" for k in range(size.markers))
    (folder / "cohort.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + variants)
    (folder / "cohort.psam").write_text("#IID\n" + "".join(f"s{k}\n" for k in range(size.people)))
    table = found.samples([ID, RELATED, *found.components])
    unrelated = np.flatnonzero(~booleans(table[RELATED]))
    (folder / "keep.txt").write_text("".join(f"{objects(table[ID])[k]}\n" for k in unrelated))
    program = shutil.which("plink2")
    assert program is not None, "plink2 is not on the path"
    before = os.times()
    computing = ("--pfile", "cohort", "--keep", "keep.txt", "--pca", str(size.components), "--out", "plink")
    subprocess.run(
        [program, *computing, "--threads", str(threads)],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    theirs = np.loadtxt(folder / "plink.eigenvec", skiprows=1, usecols=range(1, size.components + 1))
    scores = np.column_stack([numbers(table[name], np.float64, np.nan)[unrelated] for name in found.components])
    return cpu, agreement(theirs, scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--markers", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--plink2", action="store_true")
    given = parser.parse_args()
    size = Size(given.people, given.markers)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        began = time.monotonic()
        found, costs = build(size, folder, given.workers)
        print(
            f"{size.people:,} people × {size.markers:,} markers, {time.monotonic() - began:.0f} s with making the store"
        )
        for cost in costs:
            print(f"{cost.cpu:8.1f} s of CPU  {cost.stage}")
        print(f"unrelated: {found.provenance['people']['placed'] - found.provenance['people']['related']:,}")
        if given.plink2:
            cpu, agreed = plink2_components(size, found, folder, given.workers)
            print(f"{cpu:8.1f} s of CPU  PLINK 2 --pca; subspaces agree to {agreed:.6f}")


if __name__ == "__main__":
    main()
