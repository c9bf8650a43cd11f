"""VCF Zarr: the stores that bio2zarr writes, both Zarr formats, and stores that are refused."""

from __future__ import annotations

import shutil
import sys
import zipfile

import numpy as np
import pytest
import zarr

from allscan.engine.ingest import vcz
from allscan.engine.ingest.sources import open_source
from allscan.errors import FileFormatError, InputError
from tests.engine.ingest.reading import read_all, read_file, run, write_vcf

RECORDS = [
    "1 10 rs1 A G . PASS R2=0.5 GT:DS:FT 0/0:0.25:PASS 0/1:1:PASS 1/1:2:q10",
    "1 20 . C T,G . q10 . GT 0|1 1|2 ./.",
    "1 30 . C * . . . GT 0/0 0/1 0/1",
    "2 5 rs4 G GTT . . R2=0.75 GT:DS 0/1:1.5 ./1:.: 1:0.5",
    "2 9 . G . . . . GT 0/0 0/0 0/0",
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A VCF file, and the stores that bio2zarr makes of it in Zarr formats 2 and 3."""
    folder = tmp_path_factory.mktemp("vcz")
    records = [record.replace(".: ", ". ") for record in RECORDS]
    vcf = write_vcf(folder / "x.vcf", records, formats=("GT", "DS", "FT"))
    run("bcftools", "view", "-Oz", "-o", folder / "x.vcf.gz", vcf)
    run("tabix", "-p", "vcf", folder / "x.vcf.gz")
    for version in (2, 3):
        run(
            sys.executable, "-m", "bio2zarr", "vcf2zarr", "convert",
            "--zarr-format", version, "--variants-chunk-size", 2, "--worker-processes", 0,
            folder / "x.vcf.gz", folder / f"x{version}.vcz",
        )  # fmt: skip
    return folder


@pytest.fixture
def store(template, tmp_path):
    """A copy of the store that a test may damage."""
    shutil.copytree(template / "x2.vcz", tmp_path / "x.vcz")
    return tmp_path / "x.vcz"


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("options", [{}, {"field": "GT"}, {"field": "DS"}, {"pass_only": True}])
def test_a_store_says_what_its_vcf_file_says(template, tmp_path, version, zipped, options):
    path = template / f"x{version}.vcz"
    if zipped:
        shutil.make_archive(str(tmp_path / "x.vcz"), "zip", path)
        path = tmp_path / "x.vcz.zip"
    contents = read_file(path, **options)
    expected = read_file(template / "x.vcf.gz", **options)
    assert contents.keys == expected.keys
    np.testing.assert_array_equal(contents.dosage, expected.dosage)
    np.testing.assert_array_equal(contents.is_dosage, expected.is_dosage)
    np.testing.assert_array_equal(contents.info, expected.info)
    np.testing.assert_array_equal(contents.n_haploid, expected.n_haploid)
    np.testing.assert_array_equal(contents.n_alt, expected.n_alt)
    assert contents.variant_id == expected.variant_id
    if options.get("field") != "DS":  # a store does not say which records lack a field
        assert contents.counts == expected.counts


def test_header(template):
    header = open_source(template / "x2.vcz").header
    assert header.kind == "vcz"
    assert header.sample_ids.tolist() == ["a", "b", "c"]
    assert header.contigs == ("1", "2")
    assert header.reference_build == "GRCh37"
    assert header.n_records == 5


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "suffix"),
    [("1kg_2020_chrM", "vcf.gz"), ("chr22", "vcf.gz"), ("msprime_diploid", "vcf.gz"), ("sample", "bcf")],
)
def test_stores_of_bio2zarr_say_what_their_vcf_files_say(reference, name, suffix):
    folder = reference("vcf_format_tests/vcf")
    contents = read_all(open_source(folder / f"{name}.vcz.zip"), 10, 7)
    expected = read_file(folder / f"{name}.{suffix}")
    assert contents.keys == expected.keys
    np.testing.assert_array_equal(contents.dosage, expected.dosage)
    assert contents.counts == expected.counts


@pytest.mark.reference
def test_likelihoods(reference):
    folder = reference("vcf_format_tests/vcf")
    contents = read_file(folder / "chr22.vcz.zip", field="PL")
    expected = read_file(folder / "chr22.vcf.gz", field="PL")
    np.testing.assert_allclose(contents.dosage, expected.dosage, atol=1e-6)
    assert np.isfinite(contents.dosage).mean() > 0.3


def test_a_small_window_changes_nothing(template, monkeypatch):
    expected = read_file(template / "x2.vcz")
    monkeypatch.setattr(vcz, "_WINDOW_BYTES", 1)
    np.testing.assert_array_equal(read_file(template / "x2.vcz").dosage, expected.dosage)


def test_partitions_begin_where_chunks_do(template):
    assert [(p.start, p.stop) for p in open_source(template / "x2.vcz").partitions(3)] == [(0, 4), (4, 5)]


def _refusal(path, *words, error=FileFormatError, **options):
    with pytest.raises(error) as caught:
        read_file(path, **options)
    for word in (*words, "where:", "to do:"):
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("name", ["variant_contig", "variant_position", "variant_allele", "contig_id", "sample_id"])
def test_a_missing_array(store, name):
    shutil.rmtree(store / name)
    (store / ".zmetadata").unlink(missing_ok=True)
    _refusal(store, "not a VCF Zarr store", name, "bio2zarr")


def test_a_folder_that_is_no_store(tmp_path):
    (tmp_path / "x.vcz").mkdir()
    _refusal(tmp_path / "x.vcz", "cannot be read as Zarr")


def test_no_genotypes(store):
    for name in ("call_genotype", "call_DS"):
        shutil.rmtree(store / name)
    (store / ".zmetadata").unlink(missing_ok=True)
    _refusal(store, "none of the FORMAT fields", error=InputError)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip file"])
def test_a_zip_file_that_is_damaged(tmp_path, content):
    (tmp_path / "x.vcz.zip").write_bytes(content)
    _refusal(tmp_path / "x.vcz.zip", "neither a folder nor a complete .zip file")


def test_a_zip_file_that_was_cut_off(template, tmp_path):
    shutil.make_archive(str(tmp_path / "x.vcz"), "zip", template / "x2.vcz")
    path = tmp_path / "x.vcz.zip"
    path.write_bytes(path.read_bytes()[:-100])
    assert not zipfile.is_zipfile(path)
    _refusal(path, "complete .zip file")


def test_a_damaged_chunk(store):
    chunk = next(
        file for file in sorted((store / "call_genotype").rglob("*")) if file.name[0].isdigit() and file.is_file()
    )
    chunk.write_bytes(b"\x02\x01garbage" * 3)
    _refusal(store, "cannot be read as Zarr", "variants 1 to 2", field="GT")


def test_absent_chunks_are_noted(store):
    """bio2zarr left out the last chunk already: all its calls are 0/0, which is how Zarr fills."""
    assert "1 of 3 chunks of call_genotype" in open_source(store, field="GT").header.notes[0]
    files = [file for file in (store / "call_genotype").rglob("*") if file.name[0].isdigit() and file.is_file()]
    files[0].unlink()
    assert "2 of 3 chunks of call_genotype" in open_source(store, field="GT").header.notes[0]


def test_a_contig_without_a_name(store):
    zarr.open_group(store, mode="r+")["variant_contig"][3] = 7
    _refusal(store, "variant_contig holds 7", "2 contigs", "variant 4")


def test_positions_that_are_not_sorted(store):
    zarr.open_group(store, mode="r+")["variant_position"][1] = 3
    _refusal(store, "1:3 comes after 1:10", "variant 2", "bcftools sort")


def test_duplicate_samples(store):
    zarr.open_group(store, mode="r+")["sample_id"][2] = "a"
    _refusal(store, "samples 1 and 3", error=InputError)


def test_arrays_that_disagree(store):
    zarr.open_group(store, mode="r+")["call_genotype"].resize((4, 3, 2))
    _refusal(store, "call_genotype has shape (4, 3, 2)", "5 variants of 3 samples")


def test_a_store_of_our_own_is_not_ingested_again(tmp_path):
    group = zarr.open_group(tmp_path / "x.zarr", mode="w")
    group.create_array("call_dosage", shape=(2, 2), dtype="f4")
    _refusal(tmp_path / "x.zarr", "a genotype store already", error=InputError)
