"""REGENIE 4.1.2's stored results: the linear test without predictions (with them: test_regenie_loco.py)."""

from __future__ import annotations

import pytest
from peers import compare_regenie, design, make_store, read_people, read_regenie, results, scan

pytestmark = pytest.mark.reference


@pytest.mark.parametrize("trait", ["QT1", "QT4"])
def test_linear_without_predictions(reference, kg489, tmp_path, trait):
    """Traits without missing values: REGENIE fills in others (``kg_QT2``, ``kg_QT3``) before it tests."""
    cube = scan(kg489.store, design(kg489.store, kg489.traits[[trait]], kg489.covariates), tmp_path / "run")
    regenie = read_regenie(reference("peer_results") / "kg_eur489" / f"s2_qt_nopred_{trait}.regenie.gz")
    ours = results(cube, trait)
    assert len(regenie) == len(ours) == 10161
    compare_regenie(ours, regenie, n_covariates=7)


@pytest.mark.parametrize("trait", ["Y1", "Y2"])
def test_single_variants_of_the_gene_example(reference, tmp_path, trait):
    """Three chromosomes of rare variants; six people removed; common alleles counted as ALT."""
    source = reference("regenie_example")
    store = make_store([source / "example_3chr.bed"], tmp_path / "store.zarr")
    removed = {line.split()[1] for line in (source / "fid_iid_to_remove.txt").read_text().splitlines()}
    traits = read_people(source / "phenotype.txt")[[trait]]
    covariates = read_people(source / "covariates.txt")
    aligned = design(store, traits[~traits.index.isin(removed)], covariates)
    assert aligned.n_samples == 494
    ours = results(scan(store, aligned, tmp_path / "run"), trait)
    regenie = read_regenie(reference("peer_results") / "genes" / f"q_single_{trait}.regenie.gz")
    assert len(regenie) == len(ours) == 500
    compare_regenie(ours, regenie, n_covariates=4)
