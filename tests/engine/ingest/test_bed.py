"""PLINK 1 filesets: the calls PLINK sees, and files that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from allscan.engine.ingest.batch import ReadCounts
from allscan.engine.ingest.sources import open_source
from allscan.errors import FileFormatError, InputError
from tests.engine.ingest.reading import plink_counts, read_all, read_file

BIM = ["1 rs1 0 100 A G", "1 rs2 0 200 C T", "2 rs3 0 50 G GA"]
FAM = ["f1 a 0 0 1 -9", "f2 b 0 0 2 -9", "f3 c 0 0 0 -9"]
# Two bits per sample, the first sample lowest: 00 two A1, 10 one, 11 none, 01 missing.
CALLS = [0b00_11_10_00, 0b00_01_00_11, 0b00_10_10_10]
EXPECTED = np.array([[2, 1, 0], [0, 2, np.nan], [1, 1, 1]])


@pytest.fixture
def fileset(tmp_path):
    def write(bim=BIM, fam=FAM, bed=None, separator="\n"):
        (tmp_path / "x.bim").write_bytes(separator.join([*bim, ""]).encode())
        (tmp_path / "x.fam").write_bytes(separator.join([*fam, ""]).encode())
        (tmp_path / "x.bed").write_bytes(bytes([0x6C, 0x1B, 1, *CALLS]) if bed is None else bed)
        return tmp_path / "x.bed"

    return write


def test_a1_of_the_bim_is_the_counted_alternate_allele(fileset):
    contents = read_file(fileset())
    assert contents.keys == [("1", 100, "G", "A"), ("1", 200, "T", "C"), ("2", 50, "GA", "G")]
    np.testing.assert_array_equal(contents.dosage, EXPECTED)
    assert contents.variant_id == ["rs1", "rs2", "rs3"]
    assert not contents.is_dosage.any()
    assert np.isnan(contents.info).all()


def test_the_header_has_families_and_sex(fileset):
    header = open_source(fileset()).header
    assert header.kind == "bed"
    assert header.sample_ids.tolist() == ["a", "b", "c"]
    assert header.family_ids.tolist() == ["f1", "f2", "f3"]
    assert header.sample_sex.tolist() == [1, 2, 0]
    assert header.n_records == 3
    assert header.notes == ()


def test_sex_codes_that_mean_nothing_are_unknown_and_noted(fileset):
    header = open_source(fileset(fam=["f a 0 0 3 -9", *FAM[1:]])).header
    assert header.sample_sex.tolist() == [0, 2, 0]
    assert "1 sex codes" in header.notes[0]


@pytest.mark.parametrize("name", ["x", "x.bim", "x.fam", "x.bed"])
def test_any_name_of_the_fileset_opens_it(fileset, name):
    assert open_source(fileset().with_name(name)).header.n_records == 3


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize("target", [1, 2, 100])
def test_partitions_and_batches_change_nothing(fileset, target, batch):
    contents = read_all(open_source(fileset()), target, batch)
    np.testing.assert_array_equal(contents.dosage, EXPECTED)


def test_windows_line_ends_blanks_and_a_missing_centimorgan_column(fileset):
    bim = ["  1  rs1 100   A G ", "1\trs2\t200\tC\tT", "", "2 rs3 50 G GA"]
    contents = read_file(fileset(bim=bim, separator="\r\n"))
    assert contents.keys == [("1", 100, "G", "A"), ("1", 200, "T", "C"), ("2", 50, "GA", "G")]
    np.testing.assert_array_equal(contents.dosage, EXPECTED)


def test_a_variant_whose_a1_was_never_seen_is_left_out_and_counted(fileset):
    contents = read_file(fileset(bim=["1 rs1 0 100 0 G", *BIM[1:]]))
    assert contents.variant_id == ["rs2", "rs3"]
    np.testing.assert_array_equal(contents.dosage, EXPECTED[1:])
    assert contents.counts == {"sites left out: no alternate allele": 1}


def test_a_negative_position_is_left_out_and_counted(fileset):
    contents = read_file(fileset(bim=[BIM[0], "1 rs2 0 -200 C T", BIM[2]]))
    assert contents.variant_id == ["rs1", "rs3"]
    np.testing.assert_array_equal(contents.dosage, EXPECTED[[0, 2]])
    assert contents.counts == {"variants left out: negative position": 1}


@pytest.mark.reference
@pytest.mark.parametrize(
    "name",
    [
        "regenie_example/example",
        "vcf_format_tests/plink/plink_sim_10s_100v_10pmiss",
        "hail_resources/fastlmmTest",
        "kg_eur489_polypred/1000G.subset.22",
    ],
)
def test_calls_are_those_of_plink2(reference, tmp_path, name):
    path = reference(f"{name}.bed")
    contents = read_file(path)
    expected = plink_counts(tmp_path / "out", "--bfile", path.with_suffix(""))
    np.testing.assert_array_equal(contents.dosage, expected)
    bim = [line.split() for line in path.with_suffix(".bim").read_text().splitlines()]
    assert contents.keys == [(row[0], int(row[3]), row[5], row[4]) for row in bim]


def _refusal(path, *words, error=FileFormatError):
    with pytest.raises(error) as caught:
        read_file(path)
    text = str(caught.value)
    for word in (*words, "where:", "to do:"):
        assert word in text, text
    return text


def test_wrong_magic(fileset):
    _refusal(fileset(bed=b"chr1\t100\t200\n"), "6c 1b", "63 68", "UCSC")


def test_empty_file(fileset):
    _refusal(fileset(bed=b""), "but with nothing")


def test_sample_major(fileset):
    _refusal(fileset(bed=bytes([0x6C, 0x1B, 0, *CALLS])), "third byte is 00", "--make-bed")


@pytest.mark.parametrize("n_bytes", [3, 4, 5, 7, 9])
def test_bed_size_that_disagrees_with_bim_and_fam(fileset, n_bytes):
    bed = bytes([0x6C, 0x1B, 1, *CALLS, 0, 0, 0])[:n_bytes]
    _refusal(fileset(bed=bed), f"has {n_bytes} bytes", "3 variants (.bim) of 3 samples (.fam) take 6", "x.bed")


def test_bim_with_a_variant_too_few(fileset):
    _refusal(fileset(bim=BIM[:2]), "2 variants (.bim)", "it holds 3 variants")


def test_fam_with_samples_too_many(fileset):
    fam = [f"f {name} 0 0 0 -9" for name in "abcde"]
    _refusal(fileset(fam=fam), "of 5 samples (.fam)", "1 variants and 1 bytes")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 rs2 0 x C T", ["position 'x'", "line 2, column 4"]),
        ("1 rs2 0 1e3 C T", ["position '1e3'", "line 2, column 4"]),
        ("1 rs2 0 2.0 C T", ["position '2.0'", "line 2, column 4"]),
        ("1 rs2 0 200 C", ["5 columns where 6", "line 2"]),
        ("1 rs2 0 200 C T extra", ["7 columns where 6", "line 2"]),
        ("1 rs2 0 2147483648 C T", ["2147483648", "line 2"]),
        ("1 rs2 0 99 C T", ["not sorted", "1:99 comes after 1:100", "line 2", "--sort-vars"]),
        ("3 rs2 0 10 C T\n1 rs4 0 200 C T", ["contig '1' comes again after '3'", "line 3"]),
    ],
)
def test_bim_lines_that_are_refused(fileset, line, words):
    _refusal(fileset(bim=[BIM[0], line, BIM[2]]), *words)


def test_bim_with_a_header_line(fileset):
    _refusal(fileset(bim=["CHR SNP CM BP", *BIM]), "4 columns", "line 1", "header line")


def test_empty_bim(fileset):
    _refusal(fileset(bim=[]), "lists no variants")


def test_empty_fam(fileset):
    _refusal(fileset(fam=[]), "lists no samples", error=InputError)


def test_fam_with_too_few_columns(fileset):
    _refusal(fileset(fam=["f1 a", "f2 b", "f3 c"]), "2 columns where a .fam file has 6", "line 1")


def test_fam_with_uneven_columns(fileset):
    _refusal(fileset(fam=[FAM[0], "f2 b 0 0 2", FAM[2]]), "5 columns where the first row has 6", "x.fam, line 2")


def test_fam_that_is_not_text(fileset):
    path = fileset()
    path.with_suffix(".fam").write_bytes(b"f1 a 0 0 1 -9\nf2 \xff\xfe 0 0 2 -9\n")
    _refusal(path, "not UTF-8", "line 2")


def test_duplicate_samples_are_refused_by_row_and_not_by_name(fileset):
    text = _refusal(
        fileset(fam=["f1 secret 0 0 1 -9", FAM[1], "f3 secret 0 0 2 -9"]), "samples 1 and 3", error=InputError
    )
    assert "secret" not in text


@pytest.mark.parametrize("suffix", [".bim", ".fam"])
def test_a_missing_companion(fileset, suffix):
    path = fileset()
    path.with_suffix(suffix).unlink()
    _refusal(path, f"without x{suffix}", error=InputError)


def test_a_bed_that_shrinks_after_opening(fileset):
    path = fileset()
    source = open_source(path)
    path.write_bytes(b"")
    with pytest.raises(FileFormatError, match="cannot be read"):
        list(source.read(source.partitions(10)[0], 10, ReadCounts()))
