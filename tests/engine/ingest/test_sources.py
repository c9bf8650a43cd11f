"""Which reader opens a file, and what is said where none does."""

from __future__ import annotations

import builtins
import shutil

import pytest

from allscan.engine.ingest.sources import open_source
from allscan.errors import FileFormatError, InputError, MissingDependencyError
from tests.engine.ingest.reading import run, write_vcf


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same three calls in every format but VCF Zarr, under the name x."""
    folder = tmp_path_factory.mktemp("sources")
    vcf = write_vcf(folder / "x.vcf", ["1 10 rs1 A G . . . GT 0/0 0/1 1/1"])
    run("plink2", "--vcf", vcf, "--make-pgen", "--out", folder / "x")
    run("plink2", "--vcf", vcf, "--make-bed", "--out", folder / "x")
    run("plink2", "--vcf", vcf, "--export", "bgen-1.3", "--out", folder / "x")
    run("bcftools", "view", "-Oz", "-o", folder / "x.vcf.gz", vcf)
    run("bcftools", "view", "-Ob", "-o", folder / "x.bcf", vcf)
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.bed", "bed"),
        ("x.fam", "bed"),
        ("x.pgen", "pgen"),
        ("x.pvar", "pgen"),
        ("x.psam", "pgen"),
        ("x.bgen", "bgen"),
        ("x.vcf", "vcf"),
        ("x.vcf.gz", "vcf"),
        ("x.bcf", "vcf"),
    ],
)
def test_the_extension_chooses_the_reader(files, name, kind):
    assert open_source(files / name).header.kind == kind
    assert open_source(str(files / name)).header.kind == kind


@pytest.mark.parametrize("name", ["x.bgen", "x.vcf", "x.vcf.gz", "x.bcf"])
def test_an_unknown_extension_leaves_it_to_the_first_bytes(files, tmp_path, name):
    shutil.copy(files / name, tmp_path / "data.bin")
    shutil.copy(files / "x.sample", tmp_path / "data.sample")
    assert open_source(tmp_path / "data.bin").header.n_records in (1, None)


def test_upper_case(files, tmp_path):
    shutil.copy(files / "x.vcf", tmp_path / "X.VCF")
    assert open_source(tmp_path / "X.VCF").header.kind == "vcf"


def test_a_name_without_extension(files, tmp_path):
    for suffix in (".bed", ".bim", ".fam"):
        shutil.copy(files / f"x{suffix}", tmp_path / f"cohort.v1{suffix}")
    assert open_source(tmp_path / "cohort.v1").header.kind == "bed"


def test_a_name_that_means_several_files(files):
    _refusal(files / "x", "x.pgen or x.bed or x.bgen", "with its extension")


def _refusal(path, *words, error=InputError):
    with pytest.raises(error) as caught:
        open_source(path)
    for word in (*words, "where:", "to do:"):
        assert word in str(caught.value), str(caught.value)


def test_no_such_file(tmp_path):
    _refusal(tmp_path / "x.vcf.gz", "x.vcf.gz does not exist")
    _refusal(tmp_path / "nothing", "nothing does not exist")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.ped", ["--file PREFIX --make-bed"]),
        ("x.gen.gz", ["--gen FILE"]),
        ("x.csv", ["PLINK 1 (.bed)", "BGEN 1.2 and 1.3", "VCF Zarr"]),
        ("x", ["is not a genotype file of a kind that is read"]),
    ],
)
def test_a_kind_that_is_not_read(tmp_path, name, words):
    (tmp_path / name).write_text("1,2,3\n")
    _refusal(tmp_path / name, *words)


def test_a_folder_that_is_nothing(tmp_path):
    _refusal(tmp_path, "is not a genotype file")


@pytest.mark.parametrize(
    ("name", "other"), [("x.vcf", "x.bgen"), ("x.bgen", "x.vcf"), ("x.bed", "x.pgen"), ("x.pgen", "x.bed")]
)
def test_an_extension_that_lies(files, tmp_path, name, other):
    for file in files.iterdir():
        shutil.copy(file, tmp_path)
    shutil.copy(files / other, tmp_path / name)
    _refusal(tmp_path / name, name, error=FileFormatError)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("x.bed", "bed_reader", "bed-reader"), ("x.pgen", "pgenlib", "pgenlib"), ("x.vcf", "cyvcf2", "cyvcf2")],
)
def test_a_reader_that_is_not_installed(files, monkeypatch, name, module, package):
    import sys

    real = builtins.__import__

    def without(wanted, *arguments, **keywords):
        if wanted.split(".")[0] == module:
            raise ImportError(f"No module named {wanted!r}")
        return real(wanted, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    _refusal(files / name, package, "pip install 'allscan[formats]'", error=MissingDependencyError)
