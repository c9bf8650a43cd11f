"""A small cohort with everything that a job may meet: missing values, two chromosomes, X, people without traits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from allscan.engine.store_writing import create_store, write_genotypes, write_variants
from allscan.jobs.cli import main
from allscan.kernels.block import encode_block

N_SAMPLES = 240
N_VARIANTS = 600
BLOCK = 64


@dataclass(frozen=True)
class Cohort:
    """A folder with a store, tables, and a job."""

    folder: Path
    calls: np.ndarray  # (variants, samples) int8, -1 missing
    ids: list[str]

    @property
    def store(self) -> Path:
        return self.folder / "cohort.zarr"

    def job(self, name: str = "job.yaml", **changes: Any) -> Path:
        """Write a job file; keys with value None are left out."""
        keys: dict[str, Any] = {
            "name": "small",
            "genotypes": "cohort.zarr",
            "traits": {"file": "traits.tsv", "columns": ["height", "ldl"]},
            "covariates": {"file": "covariates.tsv", "formula": "age + sex"},
            "output": "run",
            "runtime": {"workers": 1, "memory": "2GB"},
        }
        keys.update(changes)
        path = self.folder / name
        # JSON is YAML.
        path.write_text(json.dumps({key: value for key, value in keys.items() if value is not None}, indent=1))
        return path


def write_store(path: Path, calls: np.ndarray, ids: list[str], sex: np.ndarray) -> None:
    n = len(calls)
    create_store(
        path,
        n_variants=n,
        sample_ids=np.array(ids, dtype=object),
        sample_sex=sex,
        contigs=("21", "22", "X"),
        contig_lengths=(46_709_983, 50_818_468, 156_040_895),
        block_variants=BLOCK,
        attributes={"reference_build": "GRCh38"},
    )
    for index in range(-(-n // BLOCK)):
        write_genotypes(path, index, encode_block(calls[index * BLOCK : (index + 1) * BLOCK]))
    contig = np.repeat(np.array([0, 1, 2], np.int16), [n // 2, n // 4, n - n // 2 - n // 4])
    position = np.concatenate([10_000_000 + 1000 * np.arange((contig == c).sum()) for c in range(3)]).astype(np.int32)
    called = (calls >= 0).sum(axis=1)
    copies = np.where(calls >= 0, calls, 0).sum(axis=1).astype(float)
    write_variants(
        path,
        0,
        {
            "variant_contig": contig,
            "variant_position": position,
            "variant_id": np.array([f"rs{i}" for i in range(n)], dtype=object),
            "variant_length": np.ones(n, np.int32),
            "variant_n_called": called.astype(np.int32),
            "variant_allele_count": copies,
            "variant_allele_frequency": copies / (2 * called),
            "variant_missing_rate": (1 - called / calls.shape[1]).astype(np.float32),
            "variant_n_het": (calls == 1).sum(axis=1).astype(np.int32),
            "variant_n_hom_alt": (calls == 2).sum(axis=1).astype(np.int32),
            "variant_hwe_neg_log10_p": np.zeros(n, np.float32),
            "variant_info": np.full(n, np.nan, np.float32),
            "variant_n_alt": np.ones(n, np.int16),
            "variant_n_haploid": np.zeros(n, np.int32),
            "variant_allele": np.array([["A", "G"]] * n, dtype=object),
        },
    )


@pytest.fixture(scope="session")
def _cohort_template(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(7)
    frequency = rng.uniform(0.02, 0.5, N_VARIANTS)
    calls = rng.binomial(2, frequency[:, None], (N_VARIANTS, N_SAMPLES)).astype(np.int8)
    sex = rng.integers(1, 3, N_SAMPLES).astype(np.int8)
    on_x = np.arange(N_VARIANTS) >= N_VARIANTS // 2 + N_VARIANTS // 4
    haploid = on_x[:, None] & (sex == 1)[None, :]
    calls = np.where(haploid, 2 * (calls > 0), calls).astype(np.int8)
    calls[rng.random(calls.shape) < 0.02] = -1
    ids = [f"P{i:04d}" for i in range(N_SAMPLES)]
    write_store(folder / "cohort.zarr", calls, ids, sex)

    age = rng.integers(30, 80, N_SAMPLES)
    effect = np.where(calls[40] < 0, 1, calls[40])
    height = 170 + 0.05 * age + 3 * effect + rng.normal(0, 2, N_SAMPLES)
    ldl = rng.normal(3, 1, N_SAMPLES)
    order = rng.permutation(N_SAMPLES - 10)  # the last ten people have no traits
    rows = ["IID\theight\tldl\tflat"]
    for i in order:
        low = "NA" if i % 9 == 0 else f"{ldl[i]:.6f}"
        rows.append(f"{ids[i]}\t{height[i]:.6f}\t{low}\t1.5")
    rows.append("STRANGER\t160\t3\t1.5")
    (folder / "traits.tsv").write_text("\n".join(rows) + "\n")
    rows = ["IID\tage\tsex\tage_months"]
    rows += [f"{ids[i]}\t{age[i]}\t{'male' if sex[i] == 1 else 'female'}\t{12 * age[i]}" for i in range(N_SAMPLES - 4)]
    (folder / "covariates.tsv").write_text("\n".join(rows) + "\n")
    return Cohort(folder, calls, ids)


@pytest.fixture
def cohort(_cohort_template: Cohort, tmp_path: Path) -> Cohort:
    """A fresh copy of the small cohort, to be spoilt at will."""
    folder = tmp_path / "cohort"
    shutil.copytree(_cohort_template.folder, folder)
    return Cohort(folder, _cohort_template.calls, _cohort_template.ids)


CommandLine = Callable[..., Result]


@pytest.fixture
def allscan_cli() -> CommandLine:
    """Run the real command line in this process; gives exit code, stdout and stderr."""

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    return invoke
