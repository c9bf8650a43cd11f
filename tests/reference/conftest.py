"""Real data that several comparisons share: prepared once, from seeds, by PLINK 2 and plain arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from allscan.engine.store import GenotypeStore

sys.path.append(str(Path(__file__).parent))

from peers import (
    make_store,
    plink2,
    read_bed,
    read_bim,
    read_people,
    write_bed,
    write_people,
)

Reference = Callable[[str], Path]


@dataclass(frozen=True)
class Study:
    """A fileset, its tables as PLINK 2 reads them, and its store."""

    prefix: Path  # of .bed, .bim, .fam
    calls: NDArray[np.int8]  # (samples, variants), -1 missing
    store: GenotypeStore
    traits: pd.DataFrame
    covariates: pd.DataFrame
    trait_file: Path
    covariate_file: Path


def components(calls: NDArray[np.int8], number: int) -> NDArray[np.float64]:
    """Principal components of the common variants: covariates that are correlated with the genotypes."""
    common = calls[:, (calls >= 0).all(axis=0)].astype(float)
    common = common[:, common.mean(axis=0) > 0.2][:, :1000]
    left, _, _ = np.linalg.svd(common - common.mean(axis=0), full_matrices=False)
    return left[:, :number] * np.sqrt(len(common))


def simulated_traits(
    people: pd.Index, calls: NDArray[np.int8], rng: np.random.Generator, *, europeans: NDArray[np.bool_]
) -> pd.DataFrame:
    """Twelve traits with planted effects, of different scales, in seven patterns of missing values."""
    n = len(people)
    causal = np.maximum(calls[:, rng.choice(calls.shape[1], 12, replace=False)], 0)
    y = rng.normal(size=(n, 12)) + causal * rng.normal(0, 0.5, 12)
    y[:, 1] = np.exp(y[:, 1])
    y[:, 2] = y[:, 2] * 1e6 + 1e7
    y[:, 3] = y[:, 3] * 1e-6
    y[:, 4] += 1000
    missing = rng.random((n, 12)) < np.array([0, 0, 0, 0, 0.05, 0.05, 0.2, 0.2, 0.5, 0, 0, 0.8])
    missing[:, 5] = missing[:, 4]
    missing[:, 9] = ~europeans
    missing[:, 10] = europeans
    y[missing] = np.nan
    return pd.DataFrame(y, index=people, columns=[f"t{k}" for k in range(12)])


@pytest.fixture(scope="session")
def chr22(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """1000 Genomes phase 1, chromosome 22: 1,092 people, every variant, with genotypes removed at random.

    A third of the variants keep every call; the others lose 2 % or, one in six, 20 %. Twelve traits.
    """
    folder = tmp_path_factory.mktemp("chr22")
    source = reference("kg_phase1_chr22")
    plink2("--vcf", source / "1KG_phase1_release_v3_chr22.vcf.gz", "--make-bed", out=folder / "whole")
    calls = read_bed(folder / "whole")
    bim = read_bim(folder / "whole")
    people = pd.read_csv(source / "samples.tsv", sep="\t", index_col="sample")
    order = pd.read_csv(folder / "whole.fam", sep="\t", header=None, dtype=str)[1]
    people = people.loc[order]
    rng = np.random.default_rng(20260101)
    rate = rng.choice([0.0, 0.02, 0.2], calls.shape[1], p=[1 / 3, 1 / 2, 1 / 6])
    calls[rng.random(calls.shape) < rate] = -1
    sex = pd.DataFrame({"sex": np.where(people.sex == "male", 1, 2)}, index=people.index)
    prefix = folder / "study"
    write_bed(prefix, calls, bim, sex)
    europeans = people.population.isin(["CEU", "FIN", "GBR", "IBS", "TSI"]).to_numpy()
    traits = simulated_traits(people.index, calls, rng, europeans=europeans)
    covariates = pd.DataFrame({"age": people.age.astype(float), "sex": sex.sex.astype(float)})
    covariates[["pc1", "pc2", "pc3"]] = components(read_bed(folder / "whole"), 3)
    return Study(
        prefix,
        calls,
        make_store([prefix.with_suffix(".bed")], folder / "study.zarr"),
        traits,
        covariates,
        write_people(folder / "traits.tsv", traits),
        write_people(folder / "covariates.tsv", covariates),
    )


@pytest.fixture(scope="session")
def kg489(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """489 Europeans, chromosomes 1, 2 and 22, minor allele count at least 5: what ``peer_results`` tested."""
    folder = tmp_path_factory.mktemp("kg489")
    source = reference("kg_eur489_polypred")
    parts = []
    for chromosome in (1, 2, 22):
        original = source / f"1000G.subset.{chromosome}"
        parts.append(folder / f"chr{chromosome}.bed")
        plink2("--bfile", original, "--mac", 5, "--make-bed", out=parts[-1].with_suffix(""))
    peers = reference("peer_results") / "kg_eur489"
    return Study(
        parts[0].with_suffix(""),
        np.hstack([read_bed(part.with_suffix("")) for part in parts]),
        make_store(parts, folder / "kg489.zarr"),
        read_people(peers / "pheno_qt.tsv"),
        read_people(peers / "covar.tsv"),
        peers / "pheno_qt.tsv",
        peers / "covar.tsv",
    )


@pytest.fixture(scope="session")
def families(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """2,000 simulated people in families, 4,392 variants, 0.2 % of common genotypes missing."""
    folder = tmp_path_factory.mktemp("families")
    source = reference("peer_results") / "saige"
    people = read_people(source / "pheno.txt")
    return Study(
        source / "fam2000",
        read_bed(source / "fam2000"),
        make_store([source / "fam2000.bed"], folder / "fam2000.zarr"),
        people[["QT"]],
        people[["x1", "sex"]],
        source / "pheno.txt",
        source / "pheno.txt",
    )
