"""PLINK 2 filesets: multiallelic calls, dosages, phase, and files that are refused."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from allscan.engine.ingest.sources import open_source
from allscan.errors import FileFormatError, InputError
from tests.engine.ingest.reading import HEADER, plink_counts, read_all, read_file, run, write_vcf

RECORDS = [
    "1 100 rs1 A G . . R2=0.9 GT 0/0 0/1 1/1",
    "1 200 rs2 C T,G . . R2=0.5 GT 0|1 1|2 ./.",
    "1 300 rs3 C * . . . GT 0/0 0/1 0/1",
    "2 50 rs4 G <DEL> . . . GT 0/1 0/0 1/1",
]
SAMPLE_LINES = ["#FID\tIID\tSEX", "f1\ta\tM", "f2\tb\t2", "f3\tc\tNA"]


@pytest.fixture
def fileset(tmp_path):
    vcf = write_vcf(tmp_path / "x.vcf", RECORDS)
    run("plink2", "--vcf", vcf, "--make-pgen", "--out", tmp_path / "x")
    (tmp_path / "x.psam").write_text("\n".join([*SAMPLE_LINES, ""]))
    return tmp_path / "x.pgen"


def test_multiallelic_sites_are_split_and_every_allele_counted(fileset):
    contents = read_file(fileset)
    assert contents.keys == [
        ("1", 100, "A", "G"),
        ("1", 200, "C", "T"),
        ("1", 200, "C", "G"),
        ("2", 50, "G", "<DEL>"),
    ]
    nan = np.nan
    np.testing.assert_array_equal(contents.dosage, [[0, 1, 2], [1, 1, nan], [0, 1, nan], [1, 0, 2]])
    assert contents.n_alt.tolist() == [1, 2, 2, 1]
    np.testing.assert_array_equal(contents.info, np.float32([0.9, 0.5, 0.5, nan]))
    assert contents.counts == {
        "multiallelic sites split": 1,
        "alternate alleles left out: *, <*> or <NON_REF>": 1,
        "variants kept with a symbolic alternate allele": 1,
    }


def test_header(fileset):
    header = open_source(fileset).header
    assert header.kind == "pgen"
    assert header.sample_ids.tolist() == ["a", "b", "c"]
    assert header.family_ids.tolist() == ["f1", "f2", "f3"]
    assert header.sample_sex.tolist() == [1, 2, 0]
    assert header.contigs == ("1", "2")
    assert header.contig_lengths == (249250621, 243199373)
    assert header.reference_build == "GRCh37"
    assert header.n_records == 4
    assert any("phase dropped" in note for note in header.notes)


@pytest.mark.parametrize(("target", "batch"), [(1, 1), (2, 1), (3, 2), (100, 3)])
def test_partitions_and_batches_change_nothing(fileset, target, batch):
    whole = read_file(fileset)
    pieces = read_all(open_source(fileset), target, batch)
    assert pieces.keys == whole.keys
    np.testing.assert_array_equal(pieces.dosage, whole.dosage)


@pytest.mark.parametrize("form", ["--make-pgen", "--make-bpgen"])
@pytest.mark.parametrize("options", [(), ("vzs",)])
def test_companions_may_be_compressed_or_those_of_plink_1(fileset, form, options):
    out = fileset.with_name("y")
    run("plink2", "--pfile", fileset.with_suffix(""), "--max-alleles", 2, form, *options, "--out", out)
    expected = read_file(fileset)
    contents = read_file(out.with_suffix(".pgen"))
    biallelic = expected.n_alt == 1
    assert contents.keys == [key for key, kept in zip(expected.keys, biallelic, strict=True) if kept]
    np.testing.assert_array_equal(contents.dosage, expected.dosage[biallelic])


def test_records_of_fixed_width(fileset):
    out = fileset.with_name("y")
    run("plink2", "--pfile", fileset.with_suffix(""), "--max-alleles", 2, "--make-pgen", "format=2", "--out", out)
    contents = read_file(out.with_suffix(".pgen"))
    np.testing.assert_array_equal(contents.dosage, [[0, 1, 2], [1, 0, 2]])


def test_dosages_are_those_of_plink2(tmp_path):
    out = tmp_path / "d"
    run("plink2", "--dummy", 60, 80, 0.05, "dosage-freq=0.4", "--seed", 7, "--out", out)
    contents = read_file(out.with_suffix(".pgen"))
    expected = plink_counts(tmp_path / "raw", "--pfile", out)
    assert contents.is_dosage.all()
    np.testing.assert_allclose(contents.dosage, expected, atol=6e-5)  # plink2 writes four decimals


def test_a_file_of_several_header_blocks_with_and_without_dosages(tmp_path):
    """Each 65,536 variants have a header block of their own; only some records here have dosages."""
    out, mixed = tmp_path / "d", tmp_path / "mixed"
    run("plink2", "--dummy", 3, 66_000, "--seed", 1, "--out", out)
    run("plink2", "--dummy", 3, 66_000, "dosage-freq=0.001", "--seed", 1, "--out", mixed)
    plain = read_all(open_source(out), 70_000, 4096)
    dosed = read_all(open_source(mixed), 20_000, 4096)
    np.testing.assert_array_equal(plain.dosage, plink_counts(tmp_path / "raw", "--pfile", out))
    np.testing.assert_allclose(dosed.dosage, plink_counts(tmp_path / "raw2", "--pfile", mixed), atol=6e-5)
    assert not plain.is_dosage.any()
    assert 0 < dosed.is_dosage.sum() < 1000


@pytest.mark.reference
def test_mixed_phase_and_multiallelic_calls_are_those_of_the_exported_vcf(reference, tmp_path):
    path = reference("plinkng_tests/TEST_PHASED_VCF/mt_mixed_phase.pgen")
    contents = read_file(path)
    run(
        "plink2", "--pgen", path, "--pvar", path.with_suffix(".pvar.zst"), "--psam", path.with_suffix(".psam"),
        "--export", "vcf", "bgz", "--out", tmp_path / "out",
    )  # fmt: skip
    exported = read_file(tmp_path / "out.vcf.gz")
    assert contents.counts["multiallelic sites split"] == 400
    assert contents.keys == exported.keys
    # PLINK 2 writes the haploid calls of males on X as such; both count them 0 or 2.
    np.testing.assert_array_equal(contents.dosage, exported.dosage)


@pytest.mark.reference
def test_all_ploidies_add_up_to_the_counts_of_the_authors(reference):
    """Copies of REF that PLINK 2's own tests expect: 0 or 2 in males on X and in everybody on MT."""
    folder = reference("plinkng_tests/TEST_ONE_WAY_EXPORT")
    contents = read_file(folder / "all_ploidy.pgen")
    command = ["zstd", "-dc", folder / "plink2_test.raw.want.zst"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    rows = [line.split("\t")[6:] for line in text.splitlines()[1:]]
    wanted = np.array([[np.nan if cell == "NA" else float(cell) for cell in row] for row in rows]).T
    new_site = [a[:3] != b[:3] for a, b in zip(contents.keys, contents.keys[1:], strict=False)]
    copies = np.zeros(wanted.shape)
    np.add.at(copies, np.cumsum([0, *new_site]), contents.dosage)
    seen = ~np.isnan(wanted)  # not seen: females on Y, which PLINK 2 leaves out
    assert seen.mean() > 0.98
    np.testing.assert_array_equal((2 - copies)[seen], wanted[seen])


def _refusal(path, *words, error=FileFormatError):
    with pytest.raises(error) as caught:
        read_file(path)
    for word in (*words, "where:", "to do:"):
        assert word in str(caught.value), str(caught.value)


def test_wrong_magic(fileset):
    fileset.write_bytes(b"PK\x03\x04" + bytes(50))
    _refusal(fileset, "6c 1b", "50 4b")


@pytest.mark.parametrize("content", [b"", b"\x6c", b"\x6c\x1b\x10\x04\x00"])
def test_a_file_that_ends_in_its_first_bytes(fileset, content):
    fileset.write_bytes(content)
    _refusal(fileset, "x.pgen")


def test_every_truncation_is_refused_before_reading(fileset):
    whole = fileset.read_bytes()
    for size in range(12, len(whole)):
        fileset.write_bytes(whole[:size])
        _refusal(fileset, f"has {size} bytes", "cut off")


def test_extra_bytes_are_refused(fileset):
    fileset.write_bytes(fileset.read_bytes() + b"\0")
    _refusal(fileset, "but its header says")


def test_plink_1_under_the_wrong_name(fileset):
    fileset.write_bytes(bytes([0x6C, 0x1B, 1]) + bytes(20))
    _refusal(fileset, "mode 0x01", "name it x.bed")


@pytest.mark.reference
def test_damaged_records_are_an_error(reference, tmp_path):
    bed = reference("kg_eur489_polypred/1000G.subset.22.bed").with_suffix("")
    run("plink2", "--bfile", bed, "--make-pgen", "--out", tmp_path / "x")
    path = tmp_path / "x.pgen"
    data = bytearray(path.read_bytes())
    data[-2000:] = b"\xff" * 2000
    path.write_bytes(data)
    _refusal(path, "cannot be read", "variant", "plink2 --validate")


def test_pvar_with_a_variant_too_few(fileset):
    pvar = fileset.with_suffix(".pvar")
    pvar.write_text("".join(pvar.read_text().splitlines(keepends=True)[:-1]))
    _refusal(fileset, "holds 4 variants, but x.pvar lists 3")


def test_psam_with_a_sample_too_many(fileset):
    fileset.with_suffix(".psam").write_text("\n".join([*SAMPLE_LINES, "f4\td\t1", ""]))
    _refusal(fileset, "holds 3 samples, but x.psam lists 4")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["#FID\tSEX", "a\t1", "b\t1", "c\t2"], ["no IID column", "line 1"]),
        (["#IID\tSEX", "a\t1", "b", "c\t2"], ["1 columns where the first row has 2", "line 3"]),
        (["# people", "a", "b", "c"], ["no header line"]),
    ],
)
def test_psam_that_is_refused(fileset, lines, words):
    fileset.with_suffix(".psam").write_text("\n".join([*lines, ""]))
    _refusal(fileset, *words)


def test_psam_without_samples(fileset):
    fileset.with_suffix(".psam").write_text("#IID\tSEX\n")
    _refusal(fileset, "lists no samples", error=InputError)


def test_duplicate_samples(fileset):
    fileset.with_suffix(".psam").write_text("#IID\na\nb\na\n")
    _refusal(fileset, "samples 1 and 3", error=InputError)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("#CHROM\tPOS", "#CHROM\tBP", ["no column POS"]),
        ("#CHROM", "#CHR", ["no column #CHROM"]),
        ("\t200\t", "\t2OO\t", ["position '2OO'", "column 2"]),
        ("\t200\t", "\t20\t", ["not sorted", "1:20 comes after 1:100", "--sort-vars"]),
        ("rs2\tC\tT,G\t", "rs2\tC\t", ["columns where"]),
    ],
)
def test_pvar_that_is_refused(fileset, old, new, words):
    pvar = fileset.with_suffix(".pvar")
    text = pvar.read_text()
    assert old in text
    pvar.write_text(text.replace(old, new, 1))
    _refusal(fileset, *words)


def test_the_line_of_a_pvar_error_counts_the_header(fileset):
    pvar = fileset.with_suffix(".pvar")
    text = pvar.read_text().replace("\t200\t", "\tx\t")
    pvar.write_text(text)
    number = next(n for n, line in enumerate(text.splitlines(), 1) if "\tx\t" in line)
    assert number > HEADER.count("##contig")
    _refusal(fileset, f"line {number}, column 2")


def test_damaged_compression_of_the_pvar(fileset):
    out = fileset.with_name("y")
    run("plink2", "--pfile", fileset.with_suffix(""), "--make-pgen", "vzs", "--out", out)
    pvar = out.with_suffix(".pvar.zst")
    pvar.write_bytes(pvar.read_bytes()[:-20])
    _refusal(out.with_suffix(".pgen"), "y.pvar.zst")
