"""Sizes of the benchmarks: tiny as ordinary tests, real when asked (``python -m benchmarks``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.cluster.allocator import keep_freed_memory
from allscan.engine.simulation.spectrum import simulate_calls_block
from allscan.engine.store import GenotypeStore
from benchmarks.stores import dense_block, write_pgen, write_store
from benchmarks.timing import SIZE, machine_limits, pytest_benchmark_update_json, timed
from tests.conftest import Reference, reference

# Fixtures and hooks that are defined elsewhere.
__all__ = ["machine_limits", "pytest_benchmark_update_json", "reference", "timed"]

MISSING_RATE = 0.002

# As the command line does, before there are threads.
keep_freed_memory()


@dataclass(frozen=True)
class Cohort:
    """The same calls as a store and as a .pgen."""

    name: str
    store: GenotypeStore
    pgen: Path
    genotype_bytes: int  # of the store's call_dosage

    @property
    def n_genotypes(self) -> int:
        """Variants × samples."""
        return self.store.n_variants * self.store.n_samples


def make_cohort(folder: Path, name: str, calls: NDArray[np.int8]) -> Cohort:
    """Write both."""
    size = write_store(folder / f"{name}.zarr", [calls], len(calls), calls.shape[1])
    write_pgen(folder / f"{name}.pgen", [calls], len(calls), calls.shape[1])
    return Cohort(name, GenotypeStore(folder / f"{name}.zarr"), folder / f"{name}.pgen", size)


def wgs_calls() -> NDArray[np.int8]:
    """People with the mostly rare spectrum of whole genomes."""
    samples, variants = {"tiny": (3_000, 600), "quick": (20_000, 4_096), "full": (50_000, 20_480)}[SIZE]
    return simulate_calls_block(np.random.default_rng(11), samples, variants, "wgs", missing_rate=0.0005)


@pytest.fixture(scope="session")
def wgs_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("wgs"), "wgs", wgs_calls())


@pytest.fixture(scope="session")
def wgs_two_bit_store(tmp_path_factory: pytest.TempPathFactory) -> GenotypeStore:
    """The calls of ``wgs_cohort``, none held as a list of carriers."""
    path = tmp_path_factory.mktemp("wgs2bit") / "wgs.zarr"
    calls = wgs_calls()
    write_store(path, [calls], len(calls), calls.shape[1], encode=dense_block)
    return GenotypeStore(path)


@pytest.fixture(scope="session")
def common_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], GenotypeStore]:
    """Common variants of (samples, variants), 0.2 % of calls missing; each size is made once."""
    made: dict[tuple[int, int], GenotypeStore] = {}

    def make(samples: int, variants: int) -> GenotypeStore:
        if (samples, variants) not in made:
            path = tmp_path_factory.mktemp("common") / "common.zarr"
            rng = np.random.default_rng(13)
            parts = (
                simulate_calls_block(rng, samples, min(1024, variants - start), "array", missing_rate=MISSING_RATE)
                for start in range(0, variants, 1024)
            )
            write_store(path, parts, variants, samples)
            made[samples, variants] = GenotypeStore(path)
        return made[samples, variants]

    return make


@pytest.fixture(scope="session")
def kg_cohort(tmp_path_factory: pytest.TempPathFactory, reference: Reference) -> Cohort:
    """Real: 1000 Genomes, chromosome 22."""
    import cyvcf2

    path = reference("kg_phase1_chr22") / "1KG_phase1_release_v3_chr22.vcf.gz"
    vcf = cyvcf2.VCF(str(path), gts012=True)
    calls = np.array([record.gt_types.copy() for record in vcf], dtype=np.int8)
    vcf.close()
    return make_cohort(tmp_path_factory.mktemp("kg"), "kg", np.where(calls == 3, -1, calls).astype(np.int8))
