"""The same calls read from different formats are the same."""

from __future__ import annotations

import numpy as np
import pytest

from allscan.engine.ingest.sources import open_source
from tests.engine.ingest.reading import read_file, run, write_vcf


def _assert_same(one, other):
    assert one.keys == other.keys
    np.testing.assert_array_equal(one.dosage, other.dosage)
    np.testing.assert_array_equal(one.is_dosage, other.is_dosage)
    np.testing.assert_array_equal(one.n_alt, other.n_alt)
    np.testing.assert_array_equal(one.n_haploid, other.n_haploid)


@pytest.mark.reference
@pytest.mark.parametrize("phase", ["phased", "unphased"])
def test_vcf_and_bgen_of_3202_people(reference, phase):
    """The BGEN files have ALT first, as PLINK 2 writes them without ref-first.

    In both, 21 calls on X of the last sample are 0 where the VCF file has 1|0 or 1|1: the program that wrote
    them lost these (the bgen package reads the same).
    """
    vcf = reference("kg3202_tiny1000G/tiny1000G.vcf.gz")
    bgen = vcf.with_name(f"tiny1000G.{phase}.bgen")
    one = read_file(vcf)
    other = read_file(bgen, ref_first=False, sample_file=vcf.with_name("tiny1000G.sample"))
    assert one.keys == other.keys
    assert len(one.keys) == 1004
    lost = one.dosage != other.dosage
    assert {one.keys[row][0] for row, _ in np.argwhere(lost)} == {"X"}
    assert np.flatnonzero(lost.any(axis=0)).tolist() == [3201]
    assert lost.sum() == 21
    assert not one.is_dosage.any()
    assert not other.is_dosage.any()
    ids = open_source(vcf).header.sample_ids
    sample_file = vcf.with_name("tiny1000G.sample")
    assert ids.tolist() == open_source(bgen, sample_file=sample_file).header.sample_ids.tolist()


@pytest.mark.reference
def test_bed_pgen_and_bgen_of_regenie(reference):
    bed = reference("regenie_example/example.bed")
    one = read_file(bed)
    assert len(one.keys) == 1000
    _assert_same(one, read_file(bed.with_suffix(".pgen")))
    _assert_same(one, read_file(bed.with_suffix(".bgen"), ref_first=False))
    sex = open_source(bed).header.sample_sex
    ids = open_source(bed).header.sample_ids.tolist()
    assert open_source(bed.with_suffix(".pgen")).header.sample_ids.tolist() == ids
    assert set(sex.tolist()) <= {0, 1, 2}


@pytest.mark.reference
def test_three_chromosomes_in_bed_and_both_compressions_of_bgen(reference):
    bed = reference("regenie_example/example_3chr.bed")
    sample = bed.with_suffix(".sample")
    one = read_file(bed)
    zlib = read_file(bed.with_suffix(".bgen"), ref_first=False, sample_file=sample)
    zstd = read_file(bed.with_name("example_3chr_zstd.bgen"), ref_first=False, sample_file=sample)
    _assert_same(one, zlib)
    _assert_same(one, zstd)


@pytest.mark.reference
def test_every_format_of_real_calls(reference, tmp_path):
    """1000 Genomes: PLINK 2 writes the sites before 18 Mb in each format."""
    vcf = reference("kg_phase1_chr22/1KG_phase1_release_v3_chr22.vcf.gz")
    run(
        "plink2", "--vcf", vcf, "--chr", 22, "--from-bp", 1, "--to-bp", 18_000_000, "--make-pgen",
        "--out", tmp_path / "x",
    )  # fmt: skip
    prefix = ("plink2", "--pfile", tmp_path / "x")
    run(*prefix, "--make-bed", "--out", tmp_path / "x")
    run(*prefix, "--export", "bgen-1.2", "bits=8", "ref-first", "--out", tmp_path / "b12")
    run(*prefix, "--export", "bgen-1.3", "bits=16", "ref-first", "--out", tmp_path / "b13")
    run(*prefix, "--export", "vcf", "bgz", "--out", tmp_path / "x")
    run("bcftools", "view", "-Ob", "-o", tmp_path / "x.bcf", tmp_path / "x.vcf.gz")
    run("bcftools", "index", tmp_path / "x.bcf")
    one = read_file(tmp_path / "x.pgen")
    assert len(one.keys) > 500
    for name in ("x.bed", "b12.bgen", "b13.bgen", "x.vcf.gz", "x.bcf"):
        _assert_same(one, read_file(tmp_path / name))


def test_dosages_survive_every_format(tmp_path):
    """Within the precision of each: 15 bits in PLINK 2, 16 in BGEN, six decimals in VCF."""
    run("plink2", "--dummy", 50, 40, 0.05, "dosage-freq=0.5", "--seed", 3, "--out", tmp_path / "x")
    prefix = ("plink2", "--pfile", tmp_path / "x")
    run(*prefix, "--export", "bgen-1.3", "bits=16", "ref-first", "--out", tmp_path / "x")
    run(*prefix, "--export", "vcf", "vcf-dosage=DS-force", "--out", tmp_path / "x")
    run(*prefix, "--export", "bcf", "vcf-dosage=HDS-force", "--out", tmp_path / "h")
    one = read_file(tmp_path / "x.pgen")
    for name, step in (("x.bgen", 1 / 32768), ("x.vcf", 5e-5), ("h.bcf", 1e-4)):
        other = read_file(tmp_path / name)
        assert other.keys == one.keys
        np.testing.assert_allclose(other.dosage, one.dosage, atol=step, err_msg=name)
        assert other.is_dosage.all()


def test_multiallelic_sites_agree_between_vcf_and_pgen(tmp_path):
    random = np.random.default_rng(1)
    records = []
    for site in range(1, 60):
        n_alt = int(random.integers(1, 6))
        alternates = ",".join("A" + "CGT"[i % 3] * (i + 1) for i in range(n_alt))
        draws = random.integers(-1, n_alt + 1, (30, 2))
        calls = " ".join(
            "./." if pair.min() < 0 else f"{pair[0]}{random.choice(['/', '|'])}{pair[1]}" for pair in draws
        )
        records.append(f"1 {site * 10} s{site} A {alternates} . . . GT {calls}")
    vcf = write_vcf(tmp_path / "x.vcf", records, samples=tuple(f"s{i}" for i in range(30)))
    run("plink2", "--vcf", vcf, "--make-pgen", "--out", tmp_path / "x")
    one, other = read_file(vcf), read_file(tmp_path / "x.pgen")
    _assert_same(one, other)
    assert one.counts["multiallelic sites split"] == other.counts["multiallelic sites split"] > 30
