"""The whole-genome model against REGENIE 4.1.2's step 1, from genotypes to LOCO predictions, on 489 people.

The same markers, blocks and folds are given to both. Complete traits: REGENIE prints six digits, and the predictions
agree to them. Traits with missing values: REGENIE takes them for the mean in level 1 too, where we look at nobody
without a value; with 5 % missing they correlate by 0.996, with 20 % by 0.95, and ours are not the worse ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.ingest.pipeline import ingest
from allscan.engine.null_model_files import FOLDER, NullModelFiles
from allscan.engine.store import GenotypeStore
from allscan.engine.whole_genome.cohort import Cohort
from allscan.engine.whole_genome.level0 import MarkerBlock
from allscan.engine.whole_genome.model import WholeGenomeSpec, fit_whole_genome
from allscan.kernels.basis import orthonormal_basis

pytestmark = pytest.mark.reference

FOLDS = 5
BLOCK = 1000
LEAST_CORRELATION = {"QT1": 0.9999999, "QT2": 0.996, "QT3": 0.95, "QT4": 0.9999999}

Reference = Callable[[str], Path]


@pytest.fixture(scope="module")
def cohort(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> tuple[GenotypeStore, Cohort]:
    folder = tmp_path_factory.mktemp("kg")
    beds = [reference(f"kg_eur489_polypred/1000G.subset.{c}.bed") for c in range(1, 23)]
    ingest(beds, folder / "kg.zarr", executor=EmbeddedExecutor(1))
    store = GenotypeStore(folder / "kg.zarr")
    tables = reference("peer_results/kg_eur489")
    traits, covariates = (
        pd.read_csv(tables / name, sep="\t", dtype={"FID": str, "IID": str}).set_index("IID").drop(columns="FID")
        for name in ("pheno_qt.tsv", "covar.tsv")
    )
    ids = store.sample_ids
    design = np.column_stack([np.ones(len(ids)), covariates.loc[ids].to_numpy(float)])
    names = tuple(traits.columns)
    values = traits.loc[ids].to_numpy(float)
    return store, Cohort(np.arange(len(ids)), ids, design, values, names, ("quantitative",) * len(names))


def regenie_blocks(store: GenotypeStore) -> tuple[MarkerBlock, ...]:
    """Blocks as REGENIE cuts them: a thousand at a time, and the rest of the chromosome."""
    frequency = store.column("variant_allele_frequency")
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= 0.01)
    contig = store.variant_contig[common]
    return tuple(
        MarkerBlock(store.contigs[c], rows[start : start + BLOCK])
        for c in range(len(store.contigs))
        for rows in [common[contig == c]]
        for start in range(0, len(rows), BLOCK)
    )


def regenie_loco(folder: Path, run: str, trait: int, ids: np.ndarray) -> np.ndarray:
    """REGENIE's predictions, (chromosomes, people), in standard deviations of the residual."""
    table = pd.read_csv(folder / f"{run}_{trait + 1}.loco.gz", sep=r"\s+", index_col=0)
    table.columns = [name.split("_")[0] for name in table.columns]
    return table.loc[range(1, 23), list(ids)].to_numpy(float)


@pytest.mark.parametrize(("run", "folds", "which"), [("s1_qt", FOLDS, (0, 1, 2, 3)), ("s1_qt_loocv", 1, (0,))])
def test_step_1(
    cohort: tuple[GenotypeStore, Cohort],
    reference: Reference,
    tmp_path: Path,
    run: str,
    folds: int,
    which: tuple[int, ...],
) -> None:
    store, people = cohort
    n = people.n_people
    # Five runs of people, the last with those who are left.
    fold = np.minimum(np.arange(n) // (n // FOLDS), FOLDS - 1) if folds > 1 else None
    chosen = Cohort(
        people.rows,
        people.sample_ids,
        people.covariates,
        people.traits[:, list(which)],
        tuple(people.trait_names[t] for t in which),
        ("quantitative",) * len(which),
    )
    blocks = regenie_blocks(store)
    assert len(blocks) == 84
    spec = WholeGenomeSpec(folds=folds)
    fit_whole_genome(store, chosen, spec, EmbeddedExecutor(1), tmp_path, fold=fold, blocks=blocks)
    model = NullModelFiles(tmp_path / FOLDER)
    tables = reference("peer_results/kg_eur489")
    for k, t in enumerate(which):
        name = people.trait_names[t]
        expected = regenie_loco(tables, run, t, people.sample_ids)
        values = chosen.traits[:, k]
        own = ~np.isnan(values)
        basis, _ = orthonormal_basis(people.covariates[own])
        residual = values[own] - basis @ (basis.T @ values[own])
        ours, theirs = [], []
        for c in range(22):
            found = model.read(k, store.contigs[c])
            assert (np.isfinite(found) == own).all()
            assert np.corrcoef(found[own], expected[c][own])[0, 1] > LEAST_CORRELATION[name], (name, c)
            ours.append(np.corrcoef(found[own], residual)[0, 1])
            theirs.append(np.corrcoef(expected[c][own], residual)[0, 1])
            if own.all():
                sd = model.traits[k].residual_sd
                assert sd is not None
                np.testing.assert_allclose(found / sd, expected[c], atol=2e-5)
        assert np.mean(ours) > np.mean(theirs) - 0.002, (name, np.mean(ours), np.mean(theirs))
