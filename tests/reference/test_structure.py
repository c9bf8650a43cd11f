"""The structure of 1000 Genomes, chromosome 22, from a structure file: beside PLINK 2 and the known populations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from peers import make_store, plink2

from allscan.arrow import booleans, numbers, objects
from allscan.jobs.structure.build import build_structure
from allscan.jobs.structure.file import StructureJob
from allscan.jobs.structure.inputs import prepare

pytestmark = pytest.mark.reference
COMPONENTS = 8
CONTINENT = {
    **dict.fromkeys(("ASW", "LWK", "YRI"), "AFR"),
    **dict.fromkeys(("CEU", "FIN", "GBR", "IBS", "TSI"), "EUR"),
    **dict.fromkeys(("CHB", "CHS", "JPT"), "EAS"),
    **dict.fromkeys(("CLM", "MXL", "PUR"), "AMR"),
}


@pytest.fixture(scope="module")
def structure(reference, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kg")
    source = reference("kg_phase1_chr22")
    plink2(
        "--vcf", source / "1KG_phase1_release_v3_chr22.vcf.gz", "--max-alleles", 2, "--snps-only",
        "--set-all-var-ids", "@:#:$r:$a", "--make-bed", out=folder / "kg",
    )  # fmt: skip
    make_store([folder / "kg.bed"], folder / "kg.zarr")
    people = pd.read_csv(source / "samples.tsv", sep="\t")
    people["group"] = people.population.map(CONTINENT)
    people[["sample", "group"]].to_csv(folder / "groups.tsv", sep="\t", index=False)
    keys = {
        "name": "1000 Genomes",
        "genotypes": "kg.zarr",
        "components": {"count": COMPONENTS},
        "groups": {"file": "groups.tsv", "id_column": "sample"},
        "output": "structure",
    }
    return folder, build_structure(prepare(StructureJob.from_dict(keys, base=folder))).folder


def test_plink2(structure):
    """PLINK 2 takes the exact eigenvectors of the same people, at the same markers."""
    folder, found = structure
    axes = pd.read_parquet(found.axes)
    ids = axes.contig.astype(str) + ":" + axes.position.astype(str) + ":" + axes.ref + ":" + axes.alt
    (folder / "markers.txt").write_text("\n".join(ids) + "\n")
    table = found.samples()
    unrelated = ~booleans(table["related"])
    (folder / "keep.txt").write_text("\n".join(objects(table["person_id"])[unrelated]) + "\n")
    plink2(
        "--bfile", folder / "kg", "--extract", folder / "markers.txt", "--keep", folder / "keep.txt",
        "--pca", COMPONENTS, out=folder / "plink",
    )  # fmt: skip
    theirs = pd.read_csv(folder / "plink.eigenvec", sep="\t").filter(like="PC").to_numpy()
    ours = np.column_stack([numbers(table[name], np.float64, np.nan)[unrelated] for name in found.components])
    assert theirs.shape == ours.shape
    left, _ = np.linalg.qr(theirs)
    right, _ = np.linalg.qr(ours)
    assert np.linalg.svd(left.T @ right, compute_uv=False).min() > 0.999
    values = np.loadtxt(folder / "plink.eigenval")
    np.testing.assert_allclose(found.provenance["components"]["eigenvalues"], values, rtol=1e-3)


def test_continents_are_apart_and_have_components_of_their_own(structure):
    _, found = structure
    table = found.samples()
    group = objects(table["group"])
    first = np.column_stack([numbers(table[f"pc{k}"], np.float64, np.nan) for k in (1, 2)])
    middle = {name: first[group == name].mean(axis=0) for name in ("AFR", "EUR", "EAS")}
    nearest = np.array(list(middle))[
        np.stack([np.linalg.norm(first - place, axis=1) for place in middle.values()]).argmin(axis=0)
    ]
    unmixed = np.isin(group, list(middle))
    assert (nearest == group)[unmixed].mean() > 0.97
    assert found.groups_with_components == ("AFR", "AMR", "EAS", "EUR")
    within = found.group_components().to_pandas()
    # What is left within a group does not tell the continents apart, and is not that of everybody.
    europe = within[within.group == "EUR"]
    assert abs(europe.pc1.mean()) < 0.2


def test_known_relatives_do_not_define_components(structure):
    """Phase 1 holds families that its pedigree does not tell, among the Luhya most of all."""
    _, found = structure
    people = found.provenance["people"]
    assert 10 < people["related"] < 120
    table = found.relatives_table()
    assert (numbers(table["kinship"], np.float64, np.nan) > found.provenance["relatives"]["max_kinship"]).all()
