"""Cubes filled with made-up results of the linear test, without a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from allscan.engine.manifest import Manifest
from allscan.engine.plan import ScanPlan, ScanSpec, ScanTask
from allscan.engine.results import CUBE, create_cube, write_block
from allscan.engine.store import GenotypeStore
from allscan.kernels.association import Status
from benchmarks.stores import write_store

PEOPLE = 50_000
SAMPLES = 8  # of the stores, which nobody scans


def make_plan(
    traits: int, variants: int, task_variants: int, *, task_traits: int = 256, strata: tuple[str, ...] = ("all",)
) -> ScanPlan:
    """A plan of which only the layout counts."""
    return ScanPlan(
        n_variants=variants,
        n_samples=PEOPLE,
        n_traits=traits,
        strata=strata,
        variants_per_task=task_variants,
        traits_per_task=min(task_traits, traits),
        task_memory_bytes=0,
        shared_memory_bytes=0,
        workers=1,
        expected_seconds=0.0,
        output_bytes=0,
        rows=None,
        manifest=Manifest(
            {},
            (("",) * traits,) * len(strata),
            ("",) * -(-variants // task_variants),
            min(task_traits, traits),
            task_variants,
        ),
    )


def make_values(rng: np.random.Generator, traits: int, variants: int, patterns: int = 1) -> dict[str, NDArray[Any]]:
    """Null results of variants half of which are rare, in traits with so many patterns of missing people."""
    rare = rng.random(variants) < 0.5
    frequency = np.where(rare, 0.5 * rng.beta(0.3, 3.0, variants), rng.uniform(0.005, 0.5, variants))
    missing = rng.binomial(PEOPLE, 0.002, (patterns, variants))
    n = PEOPLE - missing
    copies = rng.binomial(2 * n, frequency)
    of_trait = np.arange(traits) % patterns
    z = rng.standard_normal((traits, variants))
    scale = rng.uniform(0.5, 20.0, (traits, 1))
    share = (copies / (2 * n))[of_trait]
    with np.errstate(divide="ignore"):
        error = scale / np.sqrt(2 * n[of_trait] * share * (1 - share)) * np.sqrt(1 - z * z / PEOPLE)
    monomorphic = (copies == 0)[of_trait]
    test = {
        "beta": z * np.where(monomorphic, np.nan, error),
        "standard_error": np.where(monomorphic, np.nan, error),
        "neg_log10_p": np.where(monomorphic, np.nan, -(special.log_ndtr(-np.abs(z)) + np.log(2)) / np.log(10)),
    }
    counts = {
        "effect_allele_count": copies[of_trait],
        "effect_allele_frequency": share,
        "missing_rate": (missing / PEOPLE)[of_trait],
    }
    return {
        **{name: values.astype(np.float32) for name, values in {**test, **counts}.items()},
        "n": n[of_trait].astype(np.int32),
        "status": np.where(monomorphic, Status.MONOMORPHIC, Status.OK).astype(np.uint8),
    }


def lay_out(run: Path, plan: ScanPlan) -> None:
    """An empty run folder with a cube for ``plan``."""
    store = run.with_name(f"{run.name}.store")
    write_store(store, [np.zeros((plan.n_variants, SAMPLES), np.int8)], plan.n_variants, SAMPLES)
    run.mkdir()
    (run / "hits.parts").mkdir()
    names = tuple(f"trait{t}" for t in range(plan.n_traits))
    create_cube(run / CUBE, plan, GenotypeStore(store), names, ScanSpec())


def all_tasks(plan: ScanPlan) -> list[ScanTask]:
    """Tasks of all batches."""
    return list(plan.all_tasks())


def values_of_task(plan: ScanPlan, task: ScanTask, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What of values, each of shape (traits, variants), a task has, the same in every stratum."""
    start = task.index * plan.variants_per_task
    part = (plan.batch_traits(task.batch), slice(start, start + plan.variants_per_task))
    return {name: np.stack([rows[part]] * len(plan.strata)) for name, rows in values.items()}


def fill(run: Path, plan: ScanPlan, values: dict[str, NDArray[Any]]) -> None:
    """Write values, each of shape (traits, variants), to every stratum."""
    for task in all_tasks(plan):
        write_block(run / CUBE, plan, task, values_of_task(plan, task, values))
