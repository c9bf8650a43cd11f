"""Groups of real people, whose populations are known, beside what is inferred of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from peers import make_store, plink2

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.structure.groups import FAR, GroupSpec, infer_groups
from allscan.engine.structure.pca import PcaSpec
from allscan.engine.structure.reference import place_among

pytestmark = pytest.mark.reference

# Of the Human Genome Diversity Panel: populations by their numbers (Cann et al. 2002, 10.1126/science.296.5566.261b).
LIKE_THE_REFERENCE = {
    "AFR": [(904, 919), (920, 944)],  # Mandenka, Yoruba
    "AMR": [(854, 877), (1037, 1060), (702, 710)],  # Maya, Pima, Colombian
    "EAS": [(747, 773), (774, 786), (811, 822), (1307, 1316), (1189, 1198), (1095, 1104), (1327, 1336)],
    "EUR": [(511, 539), (794, 810), (1357, 1380), (1147, 1157), (1161, 1169)],  # French, Orcadian, Basque, Italian
    "SAS": [(163, 210), (213, 264)],  # Sindhi, Pathan
}
OCEANIA = [(540, 556), (655, 664)]  # Papuan, Bougainville
MIDDLE_EAST = [(557, 606), (607, 654), (675, 700), (722, 746), (1253, 1282)]  # Druze, Bedouin, Palestinian, Mozabite
NORTH_ASIA = [(945, 969), (1203, 1212), (1297, 1306), (100, 129)]  # Yakut, Oroqen, Uygur, Hazara


@pytest.fixture(scope="module")
def panels(reference) -> tuple[pd.DataFrame, pd.Series, pd.DataFrame]:
    """1000 Genomes and the Diversity Panel on the same ten components, and labels of the former."""
    folder = reference("kg3202_tiny1000G")
    thousand, panel = (
        pd.read_csv(folder / name, sep="\t", dtype={"IID": str}).set_index("IID").drop(columns="FID")
        for name in ("ref.pcs", "target.pcs")
    )
    labels = pd.read_csv(folder / "ref.psam", sep="\t", dtype=str).set_index("#IID").SuperPop
    return thousand, labels[thousand.index], panel


def within(people: pd.Index, ranges: list[tuple[int, int]]) -> np.ndarray:
    number = people.str.removeprefix("HGDP").astype(int)
    return np.logical_or.reduce([(number >= low) & (number <= high) for low, high in ranges])


def test_the_diversity_panel_by_1000_genomes(panels) -> None:
    thousand, labels, panel = panels
    found = infer_groups(thousand.to_numpy(), labels.to_list(), panel.to_numpy())
    # Left out in turn, 1000 Genomes are told apart.
    assert np.trace(found.confusion[:, :5]) >= 0.99 * len(thousand)
    for label, ranges in LIKE_THE_REFERENCE.items():
        code = found.codes[within(panel.index, ranges)]
        assert len(code) >= 36
        own = found.labels.index(label)
        assert (code == own).mean() >= 0.9, label
        assert np.isin(code, [own, -1]).all(), label
    for ranges in (OCEANIA, MIDDLE_EAST, NORTH_ASIA):
        assert (found.codes[within(panel.index, ranges)] == -1).mean() >= 0.97
    # The forest alone takes Oceanians for South Asians, with certainty.
    oceania = within(panel.index, OCEANIA)
    assert (found.probabilities[oceania].max(axis=1) >= 0.75).mean() > 0.9
    assert (found.reason[oceania] == FAR).all()


@pytest.mark.parametrize("absent", ["AFR", "AMR", "EAS", "SAS"])
def test_a_continent_that_the_reference_lacks_is_in_no_group(panels, absent: str) -> None:
    thousand, labels, _ = panels
    held_out = np.arange(len(thousand)) % 5 == 0
    known = (labels != absent).to_numpy() & ~held_out
    found = infer_groups(
        thousand.to_numpy()[known], labels[known].to_list(), thousand.to_numpy()[held_out], GroupSpec(folds=2)
    )
    theirs = (labels[held_out] == absent).to_numpy()
    assert (found.codes[theirs] == -1).mean() >= 0.95
    assert (found.codes[~theirs] >= 0).mean() >= 0.97


def test_held_out_people_at_128_markers_of_ancestry(reference, tmp_path: Path) -> None:
    """1000 Genomes phase 3 at the markers of Seldin, which are too few to tell everybody."""
    folder = reference("kg2504_aims")
    with (folder / "seldin.1kG.csv").open() as file:
        label = {row["sample"]: row["superpopulation"] for row in csv.DictReader(file)}
    plink2(
        "--vcf",
        folder / "seldin.aisnp.1kg.vcf.gz",
        "--max-alleles",
        2,
        "--make-pgen",
        "--sort-vars",
        out=tmp_path / "aims",
    )
    store = make_store([tmp_path / "aims.pgen"], tmp_path / "aims.zarr")
    check_held_out(store, np.array([label[person] for person in store.sample_ids]), tmp_path, sure=0.9, right=0.98)


def test_held_out_people_of_one_chromosome(reference, tmp_path: Path) -> None:
    """1000 Genomes phase 1, chromosome 22."""
    folder = reference("kg_phase1_chr22")
    continent = dict.fromkeys(("CEU", "FIN", "GBR", "IBS", "TSI"), "EUR") | dict.fromkeys(("CHB", "CHS", "JPT"), "EAS")
    continent |= dict.fromkeys(("ASW", "LWK", "YRI"), "AFR") | dict.fromkeys(("CLM", "MXL", "PUR"), "AMR")
    source = folder / "1KG_phase1_release_v3_chr22.vcf.gz"
    common = ("--vcf", source, "--maf", 0.05, "--max-alleles", 2, "--snps-only", "--set-all-var-ids", "@:#:$r:$a")
    plink2(*common, "--indep-pairwise", 50, 5, 0.2, out=tmp_path / "kept")
    plink2(*common, "--extract", tmp_path / "kept.prune.in", "--make-bed", out=tmp_path / "pruned")
    store = make_store([tmp_path / "pruned.bed"], tmp_path / "pruned.zarr")
    people = pd.read_csv(folder / "samples.tsv", sep="\t", index_col="sample").loc[store.sample_ids]
    check_held_out(store, people.population.map(continent).to_numpy(str), tmp_path, sure=0.8, right=0.98)


def check_held_out(store, label: np.ndarray, work: Path, *, sure: float, right: float) -> None:
    """Every fourth person is placed among, and given the group of, the others."""
    everybody = np.arange(store.n_samples)
    held_out = everybody % 4 == 0
    rows, spec = np.arange(store.n_variants), PcaSpec(components=8)
    placed = place_among(
        store, rows, everybody[~held_out], store, everybody[held_out], spec, EmbeddedExecutor(1), work, work / "axes"
    )
    found = infer_groups(placed.reference, label[~held_out].tolist(), placed.people)
    given = found.codes >= 0
    agrees = np.array(found.labels)[found.codes[given]] == label[held_out][given]
    assert given.mean() >= sure
    assert agrees.mean() >= right
