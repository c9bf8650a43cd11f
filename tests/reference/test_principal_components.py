"""Principal components of 1000 Genomes, chromosome 22, beside those of PLINK 2."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from peers import make_store, plink2

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.structure.pca import PcaSpec, principal_components
from allscan.engine.structure.projection import project

pytestmark = pytest.mark.reference
COMPONENTS = 10


@pytest.fixture(scope="module")
def pruned(reference, tmp_path_factory):
    """Common variants of 1,092 people that are not in linkage disequilibrium, as a fileset and as a store."""
    folder = tmp_path_factory.mktemp("pruned")
    source = reference("kg_phase1_chr22") / "1KG_phase1_release_v3_chr22.vcf.gz"
    common = ("--vcf", source, "--maf", 0.05, "--max-alleles", 2, "--snps-only", "--set-all-var-ids", "@:#:$r:$a")
    plink2(*common, "--indep-pairwise", 50, 5, 0.2, out=folder / "kept")
    plink2(*common, "--extract", folder / "kept.prune.in", "--make-bed", out=folder / "pruned")
    return folder / "pruned", make_store([folder / "pruned.bed"], folder / "pruned.zarr")


def fit(store, people, work):
    rows = np.arange(store.n_variants)
    return principal_components(store, rows, people, PcaSpec(COMPONENTS), EmbeddedExecutor(1), work)


def test_plink2(pruned, tmp_path):
    """PLINK 2 takes the exact eigenvectors of the same matrix; no call is missing there."""
    prefix, store = pruned
    plink2("--bfile", prefix, "--pca", COMPONENTS, out=tmp_path / "plink")
    table = pd.read_csv(tmp_path / "plink.eigenvec", sep="\t", dtype={"IID": str})
    theirs = table[[f"PC{k + 1}" for k in range(COMPONENTS)]].to_numpy()
    values = np.loadtxt(tmp_path / "plink.eigenval")
    assert table.IID.tolist() == store.sample_ids.tolist()
    found = fit(store, np.arange(store.n_samples), tmp_path / "work")
    assert (np.abs((found.scores * theirs).sum(axis=0)) > 0.999).all()
    np.testing.assert_allclose(found.axes.eigenvalues, values, rtol=1e-4)
    left, _ = np.linalg.qr(theirs)
    assert np.linalg.svd(left.T @ found.scores, compute_uv=False).min() > 0.9999


def test_held_out_people(pruned, tmp_path):
    """People who were left out are placed where they stand when they are not."""
    _, store = pruned
    everybody = np.arange(store.n_samples)
    held_out = everybody[::10]
    whole = fit(store, everybody, tmp_path / "work")
    part = fit(store, np.setdiff1d(everybody, held_out), tmp_path / "work")
    placed = project(store, part.axes, held_out, EmbeddedExecutor(1))
    for k in range(2):  # the continents
        own = whole.scores[held_out, k]
        corrected, plain = placed.scores[:, k], placed.plain[:, k]
        sign = np.sign(own @ corrected)
        assert sign * np.corrcoef(own, corrected)[0, 1] > 0.99
        stretch = np.sqrt(len(part.people) / len(everybody))  # unit vectors of fewer people
        ratio = sign * stretch * (own @ corrected) / (own @ own)
        assert ratio == pytest.approx(1, abs=0.03)
        assert sign * stretch * (own @ plain) / (own @ own) < ratio
