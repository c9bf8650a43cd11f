"""Quality of 1000 Genomes, chromosome 22, with calls removed, beside PLINK 2 (missing, freq, hardy, het)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from peers import plink2

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.quality.counting import QualityCounts, count_quality
from allscan.engine.quality.people import people_of
from allscan.engine.quality.samples import SampleMetrics, sample_metrics
from allscan.engine.quality.variants import VariantRules
from allscan.kernels.hwe import hwe_neg_log10_p

pytestmark = pytest.mark.reference

CONTINENTS = {
    "eur": ("CEU", "FIN", "GBR", "IBS", "TSI"),
    "afr": ("YRI", "LWK", "ASW"),
    "asn": ("CHB", "CHS", "JPT"),
}
# Everything that varies passes.
RULES = VariantRules(
    min_call_rate=0, min_info=None, min_hwe_p=None, min_hwe_excess_p=None, max_call_rate_difference=None
)


class Cohort:
    """What is found of the people, and how PLINK 2 is asked the same."""

    def __init__(self, chr22: Any, reference: Any, folder: Path) -> None:
        people = pd.read_csv(reference("kg_phase1_chr22") / "samples.tsv", sep="\t", index_col="sample")
        population = people.population.loc[chr22.store.sample_ids.tolist()]
        self.group = np.full(len(population), -1)
        for k, members in enumerate(CONTINENTS.values()):
            self.group[population.isin(members)] = k
        self.folder, self.prefix, self.store = folder, chr22.prefix, chr22.store
        found = people_of(self.store, groups=tuple(CONTINENTS), group=self.group)
        self.counts: QualityCounts = count_quality(self.store, found, RULES, EmbeddedExecutor(1), folder)
        self.samples: SampleMetrics = sample_metrics(self.counts)
        self.table = pa.concat_tables(self.counts.variant_tables(), promote_options="default").to_pandas()

    def ask(self, *arguments: Any, of: int | None = None) -> Path:
        """Run PLINK 2, for one group or everybody; the prefix of what it wrote."""
        keep: tuple[Any, ...] = ()
        if of is not None:
            lines = self.prefix.with_suffix(".fam").read_text().splitlines()
            file = self.folder / "keep.txt"
            file.write_text("".join(f"{line}\n" for line, k in zip(lines, self.group, strict=True) if k == of))
            keep = ("--keep", file)
        plink2("--bfile", self.prefix, *keep, *arguments, out=self.folder / "plink")
        return self.folder / "plink"


@pytest.fixture(scope="module")
def cohort(chr22, reference, tmp_path_factory):
    return Cohort(chr22, reference, tmp_path_factory.mktemp("quality"))


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype={"#IID": str, "IID": str})


def test_missing_calls_and_frequencies(cohort, chr22):
    prefix = cohort.ask("--missing", "--freq", "counts")
    np.testing.assert_allclose(1 - cohort.table.call_rate, read(f"{prefix}.vmiss").F_MISS, rtol=1e-5, atol=1e-7)
    counts = read(f"{prefix}.acount")
    assert (cohort.table.allele_count == counts.ALT_CTS).all()
    assert (cohort.table.allele_number == counts.OBS_CT).all()
    # PLINK 2 counts variants that do not vary, too.
    constant = chr22.calls[:, cohort.counts.fate > 0]
    missing = cohort.samples.n_variants - cohort.samples.n_called + (constant < 0).sum(axis=1)
    smiss = read(f"{prefix}.smiss")
    assert (missing == smiss.MISSING_CT).all()
    assert (cohort.samples.n_variants + constant.shape[1] == smiss.OBS_CT).all()


@pytest.mark.parametrize("group", range(3))
def test_hardy_weinberg_within_groups(cohort, group):
    theirs = read(f"{cohort.ask('--hardy', of=group)}.hardy")
    ours = cohort.table[f"hwe_neg_log10_p_{tuple(CONTINENTS)[group]}"]
    np.testing.assert_allclose(ours, -np.log10(theirs.P), rtol=1e-5, atol=1e-6)
    assert ours.max() > 5


@pytest.mark.parametrize("group", range(3))
def test_heterozygosity_given_ancestry(cohort, group):
    """Expected calls are those of the group's frequencies."""
    theirs = read(f"{cohort.ask('--het', 'small-sample', of=group)}.het")
    rows = cohort.group == group
    np.testing.assert_allclose(cohort.samples.f_het[rows], theirs.F, atol=2e-6, rtol=1e-4)
    # In everybody's frequencies all groups would lack heterozygotes.
    assert abs(np.median(cohort.samples.f_het[rows])) < 0.02


def test_ancestry_is_no_error(cohort, tmp_path):
    """Together the continents lack heterozygotes at many variants, within themselves at hardly any."""
    names = tuple(f"hwe_neg_log10_p_{name}" for name in CONTINENTS)
    within = (cohort.table[list(names)] > 6).any(axis=1).sum()
    together = people_of(cohort.store, groups=("all",), group=np.zeros(cohort.store.n_samples, np.int64))
    counts = count_quality(cohort.store, together, RULES, EmbeddedExecutor(1), tmp_path)
    table = pa.concat_tables(counts.variant_tables(), promote_options="default")
    assert (table["hwe_neg_log10_p"].to_numpy() > 6).sum() > 10 * within > 0


def test_hardy_weinberg_of_sgkit(reference):
    """p of the program that came with Wigginton et al. 2005."""
    table = pd.read_csv(reference("sgkit_misc") / "test_hwe" / "sim_01.csv")
    ours = np.empty(len(table))
    hwe_neg_log10_p(*(table[name].to_numpy(np.int64) for name in ("n_hom_1", "n_het", "n_hom_2")), ours)
    np.testing.assert_allclose(ours, -np.log10(table.p), rtol=1e-8, atol=1e-12)


def test_counts_of_people(cohort):
    theirs = read(f"{cohort.ask('--mac', 1, '--sample-counts')}.scount")
    persons = cohort.counts.persons
    snp = persons.calls[:2].sum(axis=0)
    assert (snp[0] == theirs.HET_SNP_CT).all()
    assert (snp[1] == theirs.HOM_ALT_SNP_CT).all()
    assert (persons.calls[0, 0] + persons.calls[0, 1] == theirs.DIPLOID_TRANSITION_CT).all()
    assert (persons.calls[1, 0] + persons.calls[1, 1] == theirs.DIPLOID_TRANSVERSION_CT).all()
