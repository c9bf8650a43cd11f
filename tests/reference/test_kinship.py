"""Kinship beside KING's and R's tables (from Hail's tests), and PLINK 2 on 1000 Genomes, chromosome 22."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pandas as pd
import pytest
from peers import make_store, plink2

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.structure.kinship import Ancestry, KingSpec, king_pairs
from allscan.engine.structure.pc_relate import pc_relate
from allscan.engine.structure.pca import PcaSpec, principal_components

pytestmark = pytest.mark.reference
EXECUTOR = EmbeddedExecutor(1)


def all_pairs(store, work, **spec):
    rows, people = np.arange(store.n_variants), np.arange(store.n_samples)
    return king_pairs(store, rows, people, KingSpec(**spec), EXECUTOR, work)


@pytest.mark.parametrize("name", ["fastlmmTest", "balding-nichols-1024-variants-4-samples-3-populations"])
def test_king(reference, tmp_path, name):
    """KING 2.2.5: 31,125 pairs, and 6 of three populations; four decimals."""
    folder = reference("hail_resources")
    store = make_store([folder / f"{name}.bed"], tmp_path / "store.zarr")
    found = all_pairs(store, tmp_path / "work", min_kinship=None).pairs
    table = folder / f"{name}.kin0"
    if table.exists():
        theirs = pd.read_csv(table, sep="\t", dtype={"ID1": str, "ID2": str})
    else:
        with gzip.open(table.with_name(table.name + ".bgz")) as content:
            theirs = pd.read_csv(content, sep="\t", dtype={"ID1": str, "ID2": str})
    row = {str(person): k for k, person in enumerate(store.sample_ids)}
    place = {pair: k for k, pair in enumerate(zip(found.first.tolist(), found.second.tolist(), strict=True))}
    at = np.array([place[tuple(sorted((row[a], row[b])))] for a, b in zip(theirs.ID1, theirs.ID2, strict=True)])
    assert len(at) == len(found) == len(set(at))
    np.testing.assert_allclose(found.kinship[at], theirs.Kinship, atol=6e-5)
    np.testing.assert_allclose(found.ibs0[at], theirs.IBS0, atol=6e-5)
    np.testing.assert_allclose(found.het_het[at], theirs.HetHet, atol=6e-5)
    np.testing.assert_array_equal(found.n_markers[at], theirs.N_SNP)


def test_pc_relate(reference, tmp_path):
    """GENESIS in R: 4,950 pairs of 100 people, two components; tolerances are those of Hail's own test."""
    folder = reference("hail_resources")
    store = make_store([folder / "pc_relate_bn_input.vcf.bgz"], tmp_path / "store.zarr")
    rows, people = np.arange(store.n_variants), np.arange(store.n_samples)
    fit = principal_components(store, rows, people, PcaSpec(components=2, accuracy=1e-4), EXECUTOR, tmp_path)
    ancestry = Ancestry(fit.scores, np.ones(len(people), np.bool_))
    first, second = np.triu_indices(len(people), 1)
    found = pc_relate(store, rows, people, ancestry, first, second, EXECUTOR, tmp_path, least_frequency=0.0).sharing
    with gzip.open(folder / "pc_relate_r_truth.tsv.bgz", "rt") as content:
        table = list(csv.DictReader(content, delimiter="\t", quoting=csv.QUOTE_NONE))
    row = {str(person): k for k, person in enumerate(store.sample_ids)}
    names = [tuple(sorted(row[json.loads(line[end])["s"]] for end in "ij")) for line in table]
    place = {pair: k for k, pair in enumerate(zip(first.tolist(), second.tolist(), strict=True))}
    at = np.array([place[pair] for pair in names])
    assert len(set(at.tolist())) == 4950
    for name, ours, tolerance in (
        ("kin", found.kinship, 1e-3),
        ("ibd0", found.k0, 1.3e-2),
        ("ibd1", found.k1, 2.6e-2),
        ("ibd2", found.k2, 1.3e-2),
    ):
        np.testing.assert_allclose(ours[at], [float(line[name]) for line in table], atol=tolerance, err_msg=name)


def test_plink2(reference, tmp_path):
    """All pairs of 1,092 people of 14 populations: the same counts, so the same kinship to PLINK 2's last digit."""
    source = reference("kg_phase1_chr22") / "1KG_phase1_release_v3_chr22.vcf.gz"
    common = ("--vcf", source, "--maf", 0.05, "--max-alleles", 2, "--snps-only", "--set-all-var-ids", "@:#:$r:$a")
    plink2(*common, "--thin-count", 20_000, "--seed", 1, "--make-bed", out=tmp_path / "common")
    plink2("--bfile", tmp_path / "common", "--make-king-table", "counts", out=tmp_path / "plink")
    theirs = pd.read_csv(tmp_path / "plink.kin0", sep="\t")
    store = make_store([tmp_path / "common.bed"], tmp_path / "store.zarr")
    found = all_pairs(store, tmp_path / "work", min_kinship=None)
    row = {str(person): k for k, person in enumerate(store.sample_ids)}
    pairs, n = found.pairs, store.n_samples
    a = theirs.IID1.map(row).to_numpy()
    b = theirs.IID2.map(row).to_numpy()
    low, high = np.minimum(a, b), np.maximum(a, b)
    at = low * n - low * (low + 1) // 2 + high - low - 1
    np.testing.assert_array_equal(np.sort(at), np.arange(n * (n - 1) // 2))
    np.testing.assert_array_equal(pairs.n_markers[at], theirs.NSNP)
    np.testing.assert_array_equal(np.round(pairs.het_het[at] * theirs.NSNP), theirs.HETHET)
    np.testing.assert_array_equal(np.round(pairs.ibs0[at] * theirs.NSNP), theirs.IBS0)
    np.testing.assert_allclose(pairs.kinship[at], theirs.KINSHIP, rtol=1e-5, atol=1e-6)
    screened = all_pairs(store, tmp_path / "work", screen_markers=4000, min_kinship=0.0884)
    assert set(zip(screened.pairs.first, screened.pairs.second, strict=True)) == {
        (x, y) for x, y, value in zip(low, high, theirs.KINSHIP, strict=True) if value >= 0.0884
    }
    assert screened.n_counted < 0.05 * screened.n_compared
