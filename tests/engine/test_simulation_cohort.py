"""A simulated cohort on disk: files, genetics as textbooks have it, traits as the truth says."""

from __future__ import annotations

import errno
import hashlib
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import bed_reader
import numpy as np
import pandas as pd
import pgenlib
import pytest
from scipy.stats import chi2, linregress, norm

from allscan.engine.simulation import cohort as cohort_module
from allscan.engine.simulation import genome as genome_module
from allscan.engine.simulation.cohort import SimulationProgress, SimulationReport, simulate_cohort
from allscan.engine.simulation.components import principal_components
from allscan.engine.simulation.genome import CHROMOSOME_LENGTH, PAR1
from allscan.engine.simulation.genotype_files import pack_bed
from allscan.engine.simulation.options import SimulationOptions
from allscan.engine.simulation.traits import expected_neg_log10_p
from allscan.errors import InputError, MissingDependencyError, OutputError

OPTIONS = SimulationOptions(
    samples=900,
    variants=3000,
    groups={"EUR": 0.6, "AFR": 0.2, "EAS": 0.2},
    traits=6,
    seed=11,
    chromosomes=("1", "2", "3", "4", "5", "6", "22", "X"),
    par=True,
    relatedness=0.3,
    heritability=0.5,
    large_effects=1,
    large_effect_variance=0.1,
    components=6,
    missing_calls=0.01,
    formats=("pgen", "bed"),
)

SMALL = SimulationOptions(samples=60, variants=40, chromosomes=("21", "X"), traits=2, components=2)


class Cohort(NamedTuple):
    folder: Path
    report: SimulationReport
    calls: np.ndarray  # (variants, samples) int8, -1 missing
    pvar: pd.DataFrame
    samples: pd.DataFrame
    covariates: pd.DataFrame
    traits: pd.DataFrame
    truth: pd.DataFrame

    @property
    def sex(self) -> np.ndarray:
        return self.covariates["sex"].to_numpy()

    @property
    def par(self) -> np.ndarray:
        position = self.pvar["POS"].to_numpy()
        return (self.pvar["#CHROM"] == "X").to_numpy() & (position <= PAR1[1])

    @property
    def autosomal(self) -> np.ndarray:
        return (self.pvar["#CHROM"] != "X").to_numpy()

    def frequency(self, people: np.ndarray) -> np.ndarray:
        calls = self.calls[:, people]
        return np.where(calls >= 0, calls, 0).sum(axis=1) / (2 * (calls >= 0).sum(axis=1))


def _read_pgen(path: Path, n_variants: int, n_samples: int) -> np.ndarray:
    calls = np.empty((n_variants, n_samples), dtype=np.int8)
    reader = pgenlib.PgenReader(str(path).encode())
    assert (reader.get_variant_ct(), reader.get_raw_sample_ct()) == (n_variants, n_samples)
    reader.read_range(0, n_variants, calls)
    reader.close()
    return np.where(calls == -9, np.int8(-1), calls)


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype={"father": str, "mother": str, "chromosome": str}, keep_default_na=False)


def _read(report: SimulationReport) -> Cohort:
    folder = report.folder
    lines = (folder / "genotypes.pvar").read_text().splitlines()
    header = next(number for number, line in enumerate(lines) if not line.startswith("##"))
    pvar = pd.read_csv(folder / "genotypes.pvar", sep="\t", skiprows=header, dtype={"#CHROM": str})
    return Cohort(
        folder=folder,
        report=report,
        calls=_read_pgen(folder / "genotypes.pgen", report.n_variants, report.n_samples),
        pvar=pvar,
        samples=_table(folder / "samples.tsv"),
        covariates=_table(folder / "covariates.tsv"),
        traits=pd.read_csv(folder / "traits.tsv", sep="\t"),
        truth=_table(folder / "truth.tsv"),
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return _read(simulate_cohort(tmp_path_factory.mktemp("simulated") / "cohort", OPTIONS))


@pytest.fixture(scope="module")
def whole_genome(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    options = SimulationOptions(
        samples=2000, variants=3000, spectrum="wgs", seed=4, chromosomes=("1", "2", "3"), missing_calls=0, traits=1
    )
    return _read(simulate_cohort(tmp_path_factory.mktemp("simulated") / "wgs", options))


# --- files -----------------------------------------------------------------------------------------------


def test_every_file_is_there_and_nothing_else(cohort: Cohort) -> None:
    expected = {
        "genotypes.pgen", "genotypes.pvar", "genotypes.psam", "genotypes.bed", "genotypes.bim", "genotypes.fam",
        "traits.tsv", "covariates.tsv", "people.tsv", "truth.tsv", "samples.tsv", "simulation.json", "job.yaml",
        "structure.yaml", "ancestry_job.yaml",
    }  # fmt: skip
    assert {path.name for path in cohort.folder.iterdir()} == expected
    assert {path.name for path in cohort.report.files} == expected
    assert cohort.report.genotypes == cohort.folder / "genotypes.pgen"


def test_variants_are_well_formed_and_in_order(cohort: Cohort) -> None:
    pvar = cohort.pvar
    names = pvar["#CHROM"] + ":" + pvar["POS"].astype(str) + ":" + pvar["REF"] + ":" + pvar["ALT"]
    assert (pvar["ID"] == names).all()
    assert pvar["ID"].is_unique
    assert (pvar["REF"] != pvar["ALT"]).all()
    assert set(pvar["REF"]) | set(pvar["ALT"]) == set("ACGT")
    assert tuple(pvar["#CHROM"].unique()) == OPTIONS.chromosomes
    for name, rows in pvar.groupby("#CHROM"):
        assert rows["POS"].is_monotonic_increasing
        assert rows["POS"].between(1, CHROMOSOME_LENGTH[str(name)]).all()
    transitions = {"AG", "GA", "CT", "TC"}
    share = (pvar["REF"] + pvar["ALT"]).isin(transitions).mean()
    assert share == pytest.approx(2 / 3, abs=0.05)
    # REF is not always the ancestral or the common allele.
    assert 0.02 < (cohort.frequency(np.arange(OPTIONS.samples)) > 0.5).mean() < 0.5


def test_bed_and_pgen_hold_the_same_calls(cohort: Cohort) -> None:
    with bed_reader.open_bed(cohort.folder / "genotypes.bed", num_threads=1) as bed:
        calls = bed.read(dtype="int8", num_threads=1).T
        assert bed.iid.tolist() == cohort.samples["IID"].tolist()
        assert bed.sid.tolist() == cohort.pvar["ID"].tolist()
        assert bed.allele_1.tolist() == cohort.pvar["ALT"].tolist()
        assert bed.allele_2.tolist() == cohort.pvar["REF"].tolist()
        assert bed.bp_position.tolist() == cohort.pvar["POS"].tolist()
        assert bed.sex.tolist() == cohort.sex.tolist()
    # bed-reader counts the first allele of the .bim, which is ALT; -127 is missing.
    np.testing.assert_array_equal(np.where(calls == -127, -1, calls), cohort.calls)


def test_bed_rows_are_padded_to_whole_bytes() -> None:
    calls = np.array([[0, 1, 2, -1, 2]], dtype=np.int8)
    # Two bits a call, the first lowest: 11, 10, 00, 01 for 0, 1, 2 copies of the first allele and missing.
    assert pack_bed(calls).tolist() == [[0b01_00_10_11, 0b00]]


def test_tables_have_the_cohorts_people_in_order(cohort: Cohort) -> None:
    people = cohort.samples["IID"].tolist()
    assert len(set(people)) == OPTIONS.samples
    psam = _table(cohort.folder / "genotypes.psam")
    assert psam["#IID"].tolist() == people
    assert psam["SEX"].tolist() == cohort.sex.tolist()
    assert set(psam["PAT"]) - {"0"} <= set(people)
    assert cohort.covariates["IID"].tolist() == people
    assert cohort.traits["IID"].tolist() == people
    assert cohort.covariates.columns.tolist() == ["IID", "age", "sex", *(f"pc{i}" for i in range(1, 7)), "group"]
    assert cohort.samples["group"].tolist() == cohort.covariates["group"].tolist()
    assert cohort.report.group_counts == cohort.samples["group"].value_counts().to_dict()
    assert cohort.report.n_unrelated == cohort.samples["unrelated"].sum()


def test_the_job_file_scans_every_trait(cohort: Cohort) -> None:
    from ruamel.yaml import YAML

    job = YAML(typ="safe").load(cohort.folder / "job.yaml")
    assert job == {
        "name": "simulated",
        "genotypes": "genotypes.zarr",
        "traits": {"file": "traits.tsv", "columns": list(OPTIONS.names)},
        "covariates": {"file": "covariates.tsv", "formula": "age + sex + pc[1:6]"},
        "output": "runs/simulated",
    }


def test_the_record_repeats_options_and_numbers(cohort: Cohort) -> None:
    record = json.loads((cohort.folder / "simulation.json").read_text())
    assert record["options"]["seed"] == OPTIONS.seed
    assert record["options"]["groups"] == OPTIONS.groups
    assert record["numbers"]["variants"] == OPTIONS.variants
    assert record["numbers"]["f_st"] == cohort.report.f_st
    observed = cohort.traits[list(OPTIONS.names)].isna().mean()
    for trait in record["traits"]:
        assert trait["missing_share"] == pytest.approx(observed[trait["name"]], abs=1e-6)
        assert trait["large_effects"] == 1
    assert [trait["missing_pattern"] for trait in record["traits"]].count("panel") == 2


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_a_seed_gives_the_same_bytes_on_any_number_of_workers(tmp_path: Path) -> None:
    simulate_cohort(tmp_path / "one", SMALL, workers=1)
    simulate_cohort(tmp_path / "three", SMALL, workers=3)
    assert _digests(tmp_path / "one") == _digests(tmp_path / "three")
    simulate_cohort(tmp_path / "other", SimulationOptions(**{**vars(SMALL), "seed": 2}))
    other = _digests(tmp_path / "other")
    first = _digests(tmp_path / "one")
    assert all(other[name] != digest for name, digest in first.items() if not name.endswith(".yaml"))


def test_contigs_are_declared_in_the_order_of_the_genome(tmp_path: Path) -> None:
    simulate_cohort(tmp_path / "out", SimulationOptions(**{**vars(SMALL), "chromosomes": ("X", "2")}))
    lines = (tmp_path / "out" / "genotypes.pvar").read_text().splitlines()
    declared = [line for line in lines if line.startswith("##contig")]
    assert declared == ["##contig=<ID=2,length=242193529>", "##contig=<ID=X,length=156040895>"]


def test_a_group_without_people_has_no_f_st(tmp_path: Path) -> None:
    groups = {"EUR": 0.899, "EAS": 0.1, "AFR": 0.001}
    report = simulate_cohort(tmp_path / "out", SimulationOptions(**{**vars(SMALL), "groups": groups}))
    assert report.group_counts == {"EUR": 54, "EAS": 6, "AFR": 0}
    assert list(report.f_st) == ["EUR-EAS"]


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[SimulationProgress] = []
    simulate_cohort(tmp_path / "out", SMALL, on_progress=seen.append)
    done = [progress.variants_done for progress in seen]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == SMALL.variants
    assert list(dict.fromkeys(progress.stage for progress in seen)) == ["genotypes", "components", "traits", "tables"]


# --- what goes wrong --------------------------------------------------------------------------------------


def test_an_existing_folder_is_refused_or_replaced_on_request(tmp_path: Path) -> None:
    simulate_cohort(tmp_path, SMALL)
    (tmp_path / "mine.txt").write_text("keep")
    before = _digests(tmp_path)
    with pytest.raises(OutputError, match="not empty"):
        simulate_cohort(tmp_path, SMALL)
    assert _digests(tmp_path) == before
    simulate_cohort(tmp_path, SimulationOptions(**{**vars(SMALL), "seed": 5}), overwrite=True)
    after = _digests(tmp_path)
    assert after.keys() == before.keys()
    assert after["mine.txt"] == before["mine.txt"]
    assert after["genotypes.pgen"] != before["genotypes.pgen"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="not a folder"):
        simulate_cohort(tmp_path / "file", SMALL, overwrite=True)
    with pytest.raises(OutputError, match="cannot be made"):
        simulate_cohort(tmp_path / "file" / "below", SMALL)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cohort_module, "write_covariates", full)
    with pytest.raises(OutputError, match="No space left"):
        simulate_cohort(tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError):
        simulate_cohort(tmp_path / "mine", SMALL)
    assert list((tmp_path / "mine").iterdir()) == []


def test_too_little_room_for_a_bed_is_seen_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = cohort_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cohort_module.shutil, "disk_usage", lambda _path: usage._replace(free=10))
    options = SimulationOptions(**{**vars(SMALL), "formats": ("bed",)})
    with pytest.raises(OutputError, match="GB free"):
        simulate_cohort(tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["msprime", "pgenlib"])
def test_a_missing_package_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=package):
        simulate_cohort(tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 worker"):
        simulate_cohort(tmp_path / "out", SMALL, workers=0)


def test_a_region_that_is_too_poor_is_made_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genome_module, "expected_density", lambda _spectrum, _haplotypes: 1 / 100)
    options = SimulationOptions(samples=60, variants=3000, chromosomes=("22",), traits=1)
    report = simulate_cohort(tmp_path / "out", options)
    position = _read(report).pvar["POS"].to_numpy()
    assert len(position) == 3000
    # Four regions: planned with 100,000 bases, which never hold 750 common variants.
    lengths = [part[-1] - part[0] for part in np.split(position, 4)]
    assert min(lengths) > 150_000


def test_a_region_that_cannot_give_its_variants_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genome_module, "expected_density", lambda _spectrum, _haplotypes: 1 / 200)
    options = SimulationOptions(samples=60, variants=130_000, chromosomes=("22",), groups={"EAS": 1.0})
    with pytest.raises(InputError, match="variants that it should contribute"):
        simulate_cohort(tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


# --- genetics --------------------------------------------------------------------------------------------


def test_missing_calls_come_at_the_rate_asked_for(cohort: Cohort) -> None:
    rate = (cohort.calls == -1).mean(axis=1)
    assert rate.mean() == pytest.approx(OPTIONS.missing_calls, rel=0.15)
    assert rate.max() > 3 * OPTIONS.missing_calls  # variants differ


def test_array_variants_are_common_and_genome_variants_rare(cohort: Cohort, whole_genome: Cohort) -> None:
    common = cohort.frequency(np.arange(OPTIONS.samples))
    assert np.minimum(common, 1 - common).min() > 0.008
    n = whole_genome.report.n_samples
    copies = whole_genome.calls.sum(axis=1)
    minor = np.minimum(copies, 2 * n - copies)
    assert minor.min() == 1
    assert 0.3 < (minor == 1).mean() < 0.75
    assert (minor <= 0.001 * n).mean() == pytest.approx(whole_genome.report.rare_share)
    # What is common stays: the tail of a population of constant size.
    assert 0.02 < (minor > 0.1 * n).mean() < 0.2


def test_groups_differ_as_human_populations_do(cohort: Cohort) -> None:
    group = cohort.samples["group"].to_numpy()

    def hudson(one: str, other: str) -> float:
        p, q = (cohort.frequency(np.flatnonzero(group == name))[cohort.autosomal] for name in (one, other))
        n, m = (2 * (group == name).sum() for name in (one, other))
        between = (p - q) ** 2 - p * (1 - p) / (n - 1) - q * (1 - q) / (m - 1)
        return float(between.sum() / (p * (1 - q) + q * (1 - p)).sum())

    assert 0.08 < hudson("EUR", "EAS") < 0.2
    assert 0.06 < hudson("EUR", "AFR") < 0.18
    assert 0.09 < hudson("AFR", "EAS") < 0.22
    # The report's is from the calls before some went missing.
    assert cohort.report.f_st["EUR-EAS"] == pytest.approx(hudson("EUR", "EAS"), abs=4e-4)


def test_unmixed_groups_are_in_hardy_weinberg_proportions(cohort: Cohort) -> None:
    rows = (cohort.samples["group"] == "EUR").to_numpy() & (cohort.samples["unrelated"] == 1).to_numpy()
    people = np.flatnonzero(rows)
    p = cohort.frequency(people)
    keep = cohort.autosomal & (p > 0.1) & (p < 0.9)
    calls = cohort.calls[keep][:, people]
    n = (calls >= 0).sum(axis=1)
    excess = 1 - (calls == 1).sum(axis=1) / n / (2 * p[keep] * (1 - p[keep]))
    assert np.mean(excess) == pytest.approx(0, abs=0.01)
    assert 0.02 < np.mean(chi2.sf(n * excess**2, 1) < 0.05) < 0.09


def test_linkage_disequilibrium_decays_with_distance(cohort: Cohort) -> None:
    people = np.flatnonzero((cohort.samples["group"] == "EUR").to_numpy())
    p = cohort.frequency(people)
    rows = np.flatnonzero((p > 0.1) & (p < 0.9) & (cohort.pvar["#CHROM"] == "1").to_numpy())
    position = cohort.pvar["POS"].to_numpy()[rows]
    calls = cohort.calls[rows][:, people].astype(np.float64)
    calls[calls < 0] = np.nan
    calls = np.where(np.isnan(calls), np.nanmean(calls, axis=1, keepdims=True), calls)
    r2 = np.corrcoef(calls) ** 2
    distance = np.abs(position[:, None] - position)
    upper = np.triu(np.ones_like(r2, dtype=bool), 1)

    def mean(low: float, high: float) -> float:
        return float(r2[upper & (distance >= low) & (distance < high)].mean())

    assert mean(0, 3000) > 0.25
    assert mean(0, 3000) > 1.3 * mean(20_000, 40_000) > 1.3 * 1.3 * mean(70_000, 100_000)
    assert mean(1_000_000, 1e9) < 0.02


def test_relatives_are_as_related_as_they_should_be(cohort: Cohort) -> None:
    # KING-robust (doi:10.1093/bioinformatics/btq559).
    p = cohort.frequency(np.arange(OPTIONS.samples))
    calls = cohort.calls[cohort.autosomal & (p > 0.05) & (p < 0.95)]

    def kinship(one: int, other: int) -> float:
        a, b = calls[:, one], calls[:, other]
        called = (a >= 0) & (b >= 0)
        both = (called & (a == 1) & (b == 1)).sum()
        opposite = (called & (np.abs(a - b) == 2)).sum()
        return float((both - 2 * opposite) / ((called & (a == 1)).sum() + (called & (b == 1)).sum()))

    row = {iid: number for number, iid in enumerate(cohort.samples["IID"])}
    parent_child = [
        (number, row[parent])
        for number, line in enumerate(cohort.samples.itertuples())
        for parent in (line.father, line.mother)
        if parent in row
    ]
    children = cohort.samples[cohort.samples["father"] != "0"]
    siblings = [tuple(rows) for rows in children.groupby("family").groups.values() if len(rows) == 2]
    european = np.flatnonzero(((cohort.samples["group"] == "EUR") & (cohort.samples["unrelated"] == 1)).to_numpy())
    assert len(parent_child) > 30
    assert len(siblings) > 15
    assert np.mean([kinship(*pair) for pair in parent_child]) == pytest.approx(0.25, abs=0.02)
    assert np.mean([kinship(*pair) for pair in siblings]) == pytest.approx(0.25, abs=0.04)
    strangers = [kinship(a, b) for a, b in pairwise(european)]
    assert np.mean(strangers) == pytest.approx(0, abs=0.01)
    # A parent and a child never are opposite homozygotes, on any chromosome but X outside the PAR.
    anywhere = cohort.calls[cohort.autosomal | cohort.par]
    for one, other in parent_child:
        a, b = anywhere[:, one], anywhere[:, other]
        assert not ((a >= 0) & (b >= 0) & (np.abs(a - b) == 2)).any()


def test_chromosome_x_of_males_is_hemizygous_outside_the_par(cohort: Cohort) -> None:
    x = ~cohort.autosomal & ~cohort.par
    male = cohort.sex == 1
    assert x.sum() > 50
    assert not (cohort.calls[x][:, male] == 1).any()
    assert (cohort.calls[x][:, ~male] == 1).mean() > 0.1
    assert cohort.par.sum() > 20
    assert (cohort.calls[cohort.par][:, male] == 1).mean() > 0.1
    # Sons have one of their mother's alleles and nothing of their father's.
    row = {iid: number for number, iid in enumerate(cohort.samples["IID"])}
    fathers_seen = 0
    opposite_fathers = 0
    for number, line in enumerate(cohort.samples.itertuples()):
        child = cohort.calls[x][:, number]
        if line.mother in row:
            mother = cohort.calls[x][:, row[line.mother]]
            assert not ((child >= 0) & (mother >= 0) & (np.abs(child - mother) == 2)).any()
        if line.father in row:
            father = cohort.calls[x][:, row[line.father]]
            opposite = ((child >= 0) & (father >= 0) & (np.abs(child - father) == 2)).any()
            if male[number]:
                fathers_seen += 1
                opposite_fathers += opposite
            else:
                assert not opposite
    assert fathers_seen > 5
    assert opposite_fathers > fathers_seen / 2


def test_components_separate_the_groups(cohort: Cohort) -> None:
    group = cohort.covariates["group"].to_numpy()
    axes = cohort.covariates[["pc1", "pc2"]].to_numpy()
    centre = {name: axes[group == name].mean(axis=0) for name in set(group)}
    spread = {name: axes[group == name].std(axis=0).max() for name in set(group)}
    for one in centre:
        for other in set(centre) - {one}:
            assert np.abs(centre[one] - centre[other]).max() > 2.5 * max(spread[one], spread[other])
    # Along the cline of African Americans, the component is the share of African ancestry.
    african = group == "AFR"
    design = np.column_stack([np.ones(african.sum()), axes[african]])
    share = cohort.samples.loc[african, "ancestry_AFR"].to_numpy()
    left = share - design @ np.linalg.lstsq(design, share, rcond=None)[0]
    assert 1 - left.var() / share.var() > 0.45  # 28 regions do not say more


def test_components_are_those_of_a_full_decomposition() -> None:
    rng = np.random.default_rng(3)
    group = np.repeat([0, 1, 2], 40)
    frequency = rng.uniform(0.1, 0.9, (400, 3))
    calls = rng.binomial(2, frequency[:, group]).astype(np.int8)
    calls[0] = 1  # monomorphic among the unrelated: left out
    unrelated = np.arange(0, 120, 2)
    scores = principal_components(np.random.default_rng(1), calls, unrelated, 2)
    p = calls[1:, unrelated].mean(axis=1) / 2
    calls = calls[1:]
    standard = (calls - 2 * p[:, None]) / np.sqrt(2 * p * (1 - p))[:, None]
    axes = np.linalg.svd(standard[:, unrelated], full_matrices=False)[0][:, :2]
    expected = standard.T @ axes
    expected /= expected[unrelated].std(axis=0)
    for number in range(2):
        sign = np.sign(scores[:, number] @ expected[:, number])
        np.testing.assert_allclose(scores[:, number], sign * expected[:, number], atol=1e-3)


def test_components_that_nothing_supports_are_zero() -> None:
    scores = principal_components(np.random.default_rng(1), np.zeros((3, 10), dtype=np.int8), np.arange(10), 4)
    assert scores.tolist() == [[0.0] * 4] * 10


# --- traits ----------------------------------------------------------------------------------------------


def _genetic_values(cohort: Cohort, trait: str) -> np.ndarray:
    rows = {name: number for number, name in enumerate(cohort.pvar["ID"])}
    lines = cohort.truth[cohort.truth["trait"] == trait]
    calls = cohort.calls[[rows[name] for name in lines["variant_id"]]].astype(np.float64)
    calls[calls < 0] = np.nan
    calls = np.where(np.isnan(calls), np.nanmean(calls, axis=1, keepdims=True), calls)
    return np.asarray(lines["effect"].to_numpy() @ calls)


def test_traits_have_the_heritability_of_their_truth(cohort: Cohort) -> None:
    group = cohort.samples["group"].to_numpy()
    for number, trait in enumerate(OPTIONS.names):
        value = cohort.traits[trait].to_numpy()
        genetic = _genetic_values(cohort, trait)
        for name in set(group):
            genetic[group == name] -= genetic[group == name].mean()
        assert genetic.var() == pytest.approx(OPTIONS.heritability, abs=0.02)
        assert cohort.report.heritability[number] == pytest.approx(OPTIONS.heritability, abs=0.06)
        seen = np.isfinite(value)
        # The genetic value is in the trait once: a regression on it has slope 1.
        fit = linregress(genetic[seen], value[seen])
        assert fit.slope == pytest.approx(1, abs=4 * fit.stderr)
        assert fit.slope > 0.5


def test_truth_says_what_an_effect_explains(cohort: Cohort) -> None:
    truth = cohort.truth
    rows = {name: number for number, name in enumerate(cohort.pvar["ID"])}
    for trait in OPTIONS.names:
        lines = truth[truth["trait"] == trait]
        assert lines["rank"].tolist() == list(range(1, len(lines) + 1))
        assert lines["variance_explained"].is_monotonic_decreasing
        assert lines["variant_id"].is_unique
        (large,) = lines[lines["kind"] == "large"].itertuples()
        value = cohort.traits[trait].to_numpy()
        assert large.variance_explained == pytest.approx(0.1 / np.nanvar(value), rel=1e-3)
        calls = cohort.calls[rows[large.variant_id]].astype(np.float64)
        calls[calls < 0] = np.nan
        # On X a male has one allele, so that twice the frequency is not the mean of the calls.
        if large.chromosome != "X":
            assert np.nanmean(calls) / 2 == pytest.approx(large.alt_frequency, abs=0.01)
        assert min(large.alt_frequency, 1 - large.alt_frequency) >= 0.05
        assert large.alt == cohort.pvar["ALT"][rows[large.variant_id]]
        n = np.isfinite(value).sum()
        expected = expected_neg_log10_p(np.array([large.variance_explained]), np.array([float(n)]))
        assert large.expected_neg_log10_p == pytest.approx(expected[0], rel=1e-3)
        seen = np.isfinite(value) & np.isfinite(calls)
        fit = linregress(calls[seen], value[seen])
        assert fit.slope == pytest.approx(large.effect, abs=5 * fit.stderr)


def test_small_effects_follow_the_frequency() -> None:
    # expected -log10 p of a z score of 5.45 is that of p = 5e-8.
    assert expected_neg_log10_p(np.array([0.5]), np.array([5.4513**2])) == pytest.approx(-np.log10(5e-8), abs=1e-3)


def test_traits_of_a_family_are_correlated_and_others_not(tmp_path: Path) -> None:
    options = SimulationOptions(
        samples=3000, variants=300, chromosomes=("20", "21"), traits=6, residual_correlation=0.6, group_shift=0.0,
        covariate_variance=0.0, heritability=0.1, large_effects=0, missing_traits=0.0, groups={"EUR": 1.0},
    )  # fmt: skip
    simulate_cohort(tmp_path / "out", options)
    values = pd.read_csv(tmp_path / "out" / "traits.tsv", sep="\t").iloc[:, 1:].to_numpy()
    assert np.isfinite(values).all()
    correlation = np.corrcoef(values.T)
    assert correlation[0, 1] == pytest.approx(0.6 * 0.9, abs=0.12)
    assert abs(correlation[0, 3]) < 0.15


def test_missing_values_follow_their_patterns(cohort: Cohort) -> None:
    missing = cohort.traits[list(OPTIONS.names)].isna().to_numpy()
    random, panel, twin, by_group, by_age, complete = missing.T
    assert np.array_equal(panel, twin)
    assert not np.array_equal(random, panel)
    assert random.mean() == pytest.approx(OPTIONS.missing_traits, abs=0.03)
    assert not complete.any()
    rates = [by_group[(cohort.samples["group"] == name).to_numpy()].mean() for name in OPTIONS.groups]
    assert max(rates) > 2 * min(rates)
    age = cohort.covariates["age"].to_numpy()
    assert age[by_age].mean() > age[~by_age].mean() + 5


def test_without_heritability_there_is_no_truth(tmp_path: Path) -> None:
    options = SimulationOptions(**{**vars(SMALL), "heritability": 0.0})
    report = simulate_cohort(tmp_path / "out", options)
    assert len(_table(tmp_path / "out" / "truth.tsv")) == 0
    assert report.heritability == (0.0, 0.0)


def test_mean_differences_between_groups_are_not_genetic_alone(cohort: Cohort) -> None:
    record = json.loads((cohort.folder / "simulation.json").read_text())
    group = cohort.samples["group"].to_numpy()
    age, sex = cohort.covariates["age"].to_numpy(), cohort.sex
    for trait in record["traits"]:
        rest = cohort.traits[trait["name"]].to_numpy() - _genetic_values(cohort, trait["name"])
        seen = np.isfinite(rest)
        labels = [group == name for name in OPTIONS.groups]
        design = np.column_stack([*labels, age - 50, (age - 50) ** 2, sex]).astype(float)
        fit = np.linalg.lstsq(design[seen], rest[seen], rcond=None)[0]
        shift = trait["group_shift"]
        for one, name in enumerate(OPTIONS.groups):
            assert fit[one] - fit[0] == pytest.approx(shift[name] - shift["EUR"], abs=0.3)


# ---- binary traits ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diseased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diseased") / "cohort"
    options = SimulationOptions(
        samples=1500, variants=1200, chromosomes=("21", "22"), traits=1, binary_traits=3, prevalence=(0.3, 0.05), seed=5
    )
    report = simulate_cohort(folder, options, workers=1)
    assert report.traits == ("trait_1", "disease_1", "disease_2", "disease_3")
    assert report.binary_job == folder / "binary_job.yaml"
    return folder


def test_cases_are_as_many_as_asked(diseased: Path) -> None:
    table = pd.read_csv(diseased / "binary_traits.tsv", sep="\t", index_col="IID")
    record = json.loads((diseased / "simulation.json").read_text())
    told = {trait["name"]: trait for trait in record["traits"]}
    for name, prevalence in (("disease_1", 0.3), ("disease_2", 0.05), ("disease_3", 0.3)):
        values = table[name].dropna()
        assert set(values) == {0, 1}
        assert values.sum() == told[name]["cases"] <= round(prevalence * 1500)
        assert abs(values.mean() - prevalence) < 0.02
        assert told[name]["prevalence"] == prevalence
    assert table["disease_1"].isna().any()


def test_the_truth_of_cases_follows_from_that_of_liabilities(diseased: Path) -> None:
    truth = pd.read_csv(diseased / "binary_truth.tsv", sep="\t")
    assert set(truth["trait"]) == {"disease_1", "disease_2", "disease_3"}
    common = truth[truth["trait"] == "disease_1"]
    # A shift of the liability by a hundredth of a standard deviation moves the odds by this much.
    threshold = norm.isf(0.3)
    odds = [norm.logsf(threshold - shift) - norm.logcdf(threshold - shift) for shift in (-0.005, 0.005)]
    per_sd = (odds[1] - odds[0]) / 0.01
    spread = common["log_odds_ratio"] / common["effect"] / per_sd  # one over the liability's standard deviation
    np.testing.assert_allclose(spread, spread.iloc[0], rtol=1e-4)
    frequency = common["alt_frequency"]
    explained = (common["effect"] * spread) ** 2 * 2 * frequency * (1 - frequency)
    # Of people of several groups and families genotypes vary about as much as of one.
    np.testing.assert_allclose(common["variance_explained"], explained, rtol=0.25)
    # Of the 0/1 trait a share is explained that is smaller by what the threshold loses (0.575 at 30 %).
    observed = common["variance_explained"] * (per_sd**2 * 0.3 * 0.7)
    n = pd.read_csv(diseased / "binary_traits.tsv", sep="\t")["disease_1"].notna().sum()
    expected = expected_neg_log10_p(observed.to_numpy(), np.full(len(common), float(n)))
    np.testing.assert_allclose(common["expected_neg_log10_p"], expected, rtol=1e-3)


def test_binary_traits_are_not_in_the_files_of_a_cohort_without_them(tmp_path: Path) -> None:
    options = SimulationOptions(samples=100, variants=60, chromosomes=("22",), traits=1, components=2)
    report = simulate_cohort(tmp_path / "cohort", options, workers=1)
    assert report.binary_job is None
    assert not list((tmp_path / "cohort").glob("binary_*"))
    assert (
        not {"binary_traits", "prevalence"}
        & json.loads((tmp_path / "cohort/simulation.json").read_text())["options"].keys()
    )


def test_the_job_of_the_diseases_is_a_job(diseased: Path) -> None:
    from allscan.jobs.job import Job

    spec = Job.from_yaml(diseased / "binary_job.yaml").spec
    assert (spec.traits.kinds, spec.test.name) == (("binary",), "logistic")
    assert list(spec.traits.columns) == ["disease_1", "disease_2", "disease_3"]
