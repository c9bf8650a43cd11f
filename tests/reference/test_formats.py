"""The same calls, read from different formats, make the same store: chunk for chunk, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peers import make_store, plink2, read_bed

from allscan.engine.store import GenotypeStore

pytestmark = pytest.mark.reference


def genotype_bytes(store: GenotypeStore) -> list[bytes]:
    folder = store.path / "call_dosage" / "c"
    return [(folder / str(index) / "0").read_bytes() for index in range(store.n_blocks)]


def assert_same_calls(one: GenotypeStore, other: GenotypeStore, *, names: bool = True) -> None:
    """Same variants in the same order, same people, and the same bytes in every chunk of genotypes."""
    a, b = one.variants(), other.variants()
    for column in ("position", "ref", "alt") + (("variant_id",) if names else ()):
        np.testing.assert_array_equal(getattr(a, column), getattr(b, column), err_msg=column)
    np.testing.assert_array_equal(
        [name.removeprefix("chr") for name in a.contig], [name.removeprefix("chr") for name in b.contig]
    )
    np.testing.assert_array_equal(one.sample_ids, other.sample_ids)
    for column in ("allele_count", "allele_frequency", "n_called", "missing_rate", "n_het", "hwe_neg_log10_p"):
        np.testing.assert_array_equal(
            one.column(f"variant_{column}"), other.column(f"variant_{column}"), err_msg=column
        )
    assert one.block_variants == other.block_variants
    assert genotype_bytes(one) == genotype_bytes(other)


@pytest.fixture(scope="module")
def tiny(reference, tmp_path_factory):
    """3,202 people × 1,004 variants, and what PLINK 2 makes of the VCF."""
    folder = tmp_path_factory.mktemp("tiny")
    vcf = reference("kg3202_tiny1000G") / "tiny1000G.vcf.gz"
    plink2("--vcf", vcf, "--make-bed", out=folder / "tiny")
    plink2("--vcf", vcf, "--make-pgen", out=folder / "tiny")
    plink2("--vcf", vcf, "--export", "vcf-4.2", "bgz", out=folder / "unphased_again")
    plink2("--vcf", vcf, "--export", "bgen-1.3", "bits=8", "ref-first", "id-paste=iid", out=folder / "zstd")
    return folder, make_store([vcf], folder / "vcf.zarr")


@pytest.mark.parametrize("name", ["tiny.bed", "tiny.pgen", "zstd.bgen", "unphased_again.vcf.gz"])
def test_calls_that_plink2_wrote_in_another_format(tiny, name):
    folder, of_vcf = tiny
    assert of_vcf.n_variants == 1004
    assert_same_calls(of_vcf, make_store([folder / name], folder / f"{name}.zarr"))


@pytest.mark.parametrize("name", ["tiny1000G.unphased.bgen", "tiny1000G.phased.bgen"])
def test_calls_published_as_bgen(reference, tmp_path, name):
    """They hold REF as the second allele, and one person's chromosome X as all REF.

    That the 21 calls of NA21144 are lost in the files, and not by our reader, PLINK 2 confirms.
    """
    folder = reference("kg3202_tiny1000G")
    damaged, others = "NA21144", {"exclude_samples": ["NA21144"]}
    bgen_options = {"reader_options": {"ref_first": False}}
    of_vcf = make_store([folder / "tiny1000G.vcf.gz"], tmp_path / "vcf.zarr", **others)
    of_bgen = make_store([folder / name], tmp_path / "bgen.zarr", **bgen_options, **others)
    assert of_vcf.n_samples == 3201
    assert_same_calls(of_vcf, of_bgen, names=False)

    person = {"keep_samples": [damaged]}
    calls = [
        make_store([folder / file], tmp_path / f"person{k}.zarr", **options, **person).dosages(0, 1004)[:, 0]
        for k, (file, options) in enumerate([("tiny1000G.vcf.gz", {}), (name, bgen_options)])
    ]
    of_x = of_vcf.variants().contig == "X"
    lost = calls[0] != calls[1]
    assert lost.sum() == 21
    assert (calls[1][of_x] == 0).all()
    assert not lost[~of_x].any()
    sample_file = folder / "tiny1000G.sample"
    plink2(
        *("--bgen", folder / name, "ref-last", "--sample", sample_file, "--chr", "X", "--make-bed"), out=tmp_path / "x"
    )
    assert (read_bed(tmp_path / "x")[-1] == 0).all()


def test_one_store_of_several_files(tiny, tmp_path):
    """Split by chromosome, and put together again."""
    folder, of_vcf = tiny
    parts: list[Path] = []
    for contig in of_vcf.contigs:
        if (of_vcf.variants().contig == contig).any():
            parts.append(tmp_path / f"part{contig}.pgen")
            plink2("--pfile", folder / "tiny", "--chr", contig, "--make-pgen", out=parts[-1].with_suffix(""))
    assert len(parts) > 1
    assert_same_calls(of_vcf, make_store(parts, tmp_path / "joined.zarr"))


@pytest.mark.parametrize("name", ["plink_sim_10s_100v_10pmiss", "example_with_fam"])
def test_bed_and_its_vcf(reference, tmp_path, name):
    folder = reference("vcf_format_tests") / "plink"
    of_bed = make_store([folder / f"{name}.bed"], tmp_path / "bed.zarr")
    of_vcf = make_store([folder / f"{name}.vcf"], tmp_path / "vcf.zarr")
    assert_same_calls(of_bed, of_vcf)


def test_bcf_and_its_vcf(reference, tmp_path):
    folder = reference("vcf_format_tests") / "vcf"
    stores = [
        make_store([folder / f"sample.{kind}"], tmp_path / f"{kind}.zarr", contigs="any", on_duplicate="keep")
        for kind in ("vcf.gz", "bcf", "vcz.zip")
    ]
    assert_same_calls(stores[0], stores[1])
    assert_same_calls(stores[0], stores[2])


def test_split_multiallelic_sites_of_vcf_and_pgen(reference, tmp_path):
    """PLINK 2 keeps a site of several alleles whole in its fileset; this VCF has 356 of them."""
    vcf = reference("hail_resources") / "sample2.vcf"
    plink2("--vcf", vcf, "--vcf-half-call", "missing", "--make-pgen", out=tmp_path / "study")
    of_vcf = make_store([vcf], tmp_path / "vcf.zarr")
    of_pgen = make_store([tmp_path / "study.pgen"], tmp_path / "pgen.zarr")
    assert (of_vcf.column("variant_n_alt") > 1).sum() > 1
    np.testing.assert_array_equal(of_vcf.column("variant_n_alt"), of_pgen.column("variant_n_alt"))
    assert_same_calls(of_vcf, of_pgen)


def test_phased_calls_of_vcf_and_pgen(reference, tmp_path):
    """1000 Genomes phase 3, start of chromosome 21: 2,504 people; phase is dropped by both readers."""
    vcf = reference("plinkng_tests") / "TEST_PHASED_VCF" / "1kg_phase3_chr21_start.vcf.gz"
    plink2("--vcf", vcf, "--make-pgen", out=tmp_path / "study")
    of_vcf = make_store([vcf], tmp_path / "vcf.zarr", on_duplicate="keep")
    assert_same_calls(of_vcf, make_store([tmp_path / "study.pgen"], tmp_path / "pgen.zarr", on_duplicate="keep"))
