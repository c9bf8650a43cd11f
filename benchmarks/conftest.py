"""Sizes of the benchmarks: tiny as ordinary tests, real when asked (``ALLSCAN_BENCHMARK=full``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.engine.simulation.spectrum import simulate_calls_block
from allscan.engine.store import GenotypeStore
from benchmarks.stores import write_pgen, write_store
from tests.conftest import Reference, reference

__all__ = ["reference"]  # the fixture of the tests serves the benchmarks too

FULL = os.environ.get("ALLSCAN_BENCHMARK") == "full"


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
    size = write_store(folder / f"{name}.zarr", calls)
    write_pgen(folder / f"{name}.pgen", calls)
    return Cohort(name, GenotypeStore(folder / f"{name}.zarr"), folder / f"{name}.pgen", size)


@pytest.fixture(scope="session")
def wgs_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """People with the mostly rare spectrum of whole genomes."""
    samples, variants = (50_000, 20_480) if FULL else (3_000, 600)
    calls = simulate_calls_block(np.random.default_rng(11), samples, variants, "wgs", missing_rate=0.0005)
    return make_cohort(tmp_path_factory.mktemp("wgs"), "wgs", calls)


@pytest.fixture(scope="session")
def kg_cohort(tmp_path_factory: pytest.TempPathFactory, reference: Reference) -> Cohort:
    """Real: 1000 Genomes, chromosome 22."""
    import cyvcf2

    path = reference("kg_phase1_chr22") / "1KG_phase1_release_v3_chr22.vcf.gz"
    vcf = cyvcf2.VCF(str(path), gts012=True)
    calls = np.array([record.gt_types.copy() for record in vcf], dtype=np.int8)
    vcf.close()
    return make_cohort(tmp_path_factory.mktemp("kg"), "kg", np.where(calls == 3, -1, calls).astype(np.int8))
