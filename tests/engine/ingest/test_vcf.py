"""VCF and BCF: fields, filters, odd alleles and ploidies, regions, and files that are refused."""

from __future__ import annotations

import gzip
import subprocess

import numpy as np
import pytest

from allscan.engine.ingest.batch import ReadCounts
from allscan.engine.ingest.sources import open_source
from allscan.errors import FileFormatError, InputError
from tests.engine.ingest.reading import HEADER, plink_counts, read_all, read_file, run, write_vcf

NAN = np.nan


def check(path, expected, counts=None, **options):
    contents = read_file(path, **options)
    np.testing.assert_allclose(contents.dosage, expected, atol=1e-6)
    if counts is not None:
        counts = {name: number for name, number in counts.items() if number}
        assert {k: v for k, v in contents.counts.items() if k != "records read"} == counts
    return contents


@pytest.fixture
def vcf(tmp_path):
    def write(*records, formats=("GT",), **options):
        return write_vcf(tmp_path / "x.vcf", list(records), formats=formats, **options)

    return write


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_text_compressed_and_binary(vcf, tmp_path, suffix):
    path = vcf("1 10 rs1 A G . . . GT 0/0 0|1 1/1", "2 5 . C T . . . GT ./. 1|0 .|.")
    if suffix != ".vcf":
        run("bcftools", "view", "-O", "b" if suffix == ".bcf" else "z", "-o", tmp_path / f"y{suffix}", path)
        path = tmp_path / f"y{suffix}"
    contents = check(path, [[0, 1, 2], [NAN, 1, NAN]], {})
    assert contents.keys == [("1", 10, "A", "G"), ("2", 5, "C", "T")]
    assert contents.variant_id == ["rs1", "."]
    assert contents.n_haploid.tolist() == [0, 0]
    assert not contents.is_dosage.any()


def test_header_with_reference_build(vcf):
    header = open_source(vcf("1 10 . A G . . . GT 0/0 0/1 1/1")).header
    assert (header.kind, header.contigs, header.contig_lengths) == ("vcf", ("1", "2"), (249250621, 243199373))
    assert header.reference_build == "GRCh37"
    assert header.sample_ids.tolist() == ["a", "b", "c"]
    assert "bcftools view -Oz" in header.notes[0]
    assert "tabix" in header.notes[0]


@pytest.mark.parametrize(("length", "build"), [(248956422, "GRCh38"), (249250621, "GRCh37"), (1000, None)])
def test_the_length_of_chromosome_1_tells_the_build(vcf, length, build):
    text = f'##fileformat=VCFv4.2\n##contig=<ID=chr1,assembly="x,y",length={length}>\n'
    assert open_source(vcf("chr1 1 . A G . . . GT 0/0 0/0 0/1", header=text)).header.reference_build == build


def test_multiallelic_sites_are_split(vcf):
    contents = check(
        vcf("1 10 rs1 A G,T,* . . R2=0.5,0.9,0.1 GT 0/1 1/2 3/2"),
        [[1, 1, 0], [0, 1, 1]],
        {"multiallelic sites split": 1, "alternate alleles left out: *, <*> or <NON_REF>": 1},
    )
    assert [key[3] for key in contents.keys] == ["G", "T"]
    assert contents.n_alt.tolist() == [3, 3]
    np.testing.assert_array_equal(contents.info, np.float32([0.5, 0.9]))


def test_more_alternate_alleles_than_a_batch_holds(vcf):
    alternates = [f"A{'C' * n}" for n in range(1, 33)]
    contents = read_all(open_source(vcf(f"1 10 . A {','.join(alternates)} . . . GT 0/32 31/31 7/9")), 10, 5)
    assert [key[3] for key in contents.keys] == alternates
    np.testing.assert_array_equal(contents.dosage.sum(axis=0), [1, 2, 2])
    assert contents.dosage[31, 0] == 1
    assert contents.dosage[30, 1] == 2


@pytest.mark.parametrize(
    ("alternate", "expected", "counts"),
    [
        (".", None, {"sites left out: no alternate allele": 1}),
        ("*", None, {"alternate alleles left out: *, <*> or <NON_REF>": 1}),
        ("<NON_REF>", None, {"alternate alleles left out: *, <*> or <NON_REF>": 1}),
        ("<*>", None, {"alternate alleles left out: *, <*> or <NON_REF>": 1}),
        ("<DEL>", [1, 0, 2], {"variants kept with a symbolic alternate allele": 1}),
        ("N[2:321[", [1, 0, 2], {"variants kept with a symbolic alternate allele": 1}),
    ],
)
def test_alleles_that_are_not_sequences(vcf, alternate, expected, counts):
    genotypes = "0/0 0/0 ./." if alternate == "." else "0/1 0/0 1/1"
    path = vcf("1 5 . A C . . . GT 0/0 0/1 1/1", f"1 10 . A {alternate} . . . GT {genotypes}")
    check(path, [[0, 1, 2]] if expected is None else [[0, 1, 2], expected], counts)


def test_haploid_calls_count_0_or_2(vcf):
    contents = check(
        vcf("1 10 . A G,T . . . GT 0 1 1/2", "1 20 . A G . . . GT . ./. 1"), [[0, 2, 1], [0, 0, 1], [NAN, NAN, 2]]
    )
    assert contents.n_haploid.tolist() == [2, 2, 1]


def test_all_haploid(vcf):
    contents = check(vcf("1 10 . A G . . . GT 0 1 ."), [[0, 2, NAN]], {})
    assert contents.n_haploid.tolist() == [2]


def test_half_calls_and_more_than_two_alleles_are_missing_and_counted(vcf):
    check(
        vcf("1 10 . A G . . . GT ./1 0|. 1/1", "1 20 . A G . . . GT 0/1/1 0/1 0", "1 30 . A G . . . GT ./././. 0 1/1"),
        [[NAN, NAN, 2], [NAN, 1, 0], [NAN, 0, 2]],
        {"calls set missing: half-call": 2, "calls set missing: ploidy above 2": 1},
    )


def test_an_allele_that_the_site_does_not_have_is_missing_and_counted(vcf):
    check(
        vcf("1 10 . A G . . . GT 0/1 0/2 7|1"),
        [[1, NAN, NAN]],
        {"calls set missing: allele number that the site does not have": 2},
    )


def test_calls_that_failed_the_genotype_filter_are_missing_and_counted(vcf):
    formats = ("GT", "FT", "DS")
    path = vcf(
        "1 10 . A G . . . GT:FT 0/1:PASS 1/1:q10 0/0:.",
        "1 20 . A G . . . GT 0/1 1/1 0/0",
        "1 30 . A G . . . GT:FT 0/1:q10;q20 ./.:q10 1/1:PASS",
        "1 40 . A G,T . . . DS:FT 0.5,0.1:PASS 1.5,0.2:q10 .,.:q10",
        formats=formats,
    )
    check(
        path,
        [[1, NAN, 0], [1, 2, 0], [NAN, NAN, 2], [0.5, NAN, NAN], [0.1, NAN, NAN]],
        {"calls set missing: genotype filter FT failed": 4, "multiallelic sites split": 1},
    )


def test_the_site_filter_is_used_on_request(vcf):
    path = vcf(
        "1 10 . A G . PASS . GT 0/1 1/1 0/0", "1 20 . A G . q10 . GT 1/1 1/1 0/0", "1 30 . A G . . . GT 0/0 1/1 0/0"
    )
    check(path, [[1, 2, 0], [2, 2, 0], [0, 2, 0]], {})
    check(path, [[1, 2, 0], [0, 2, 0]], {"sites left out: FILTER is not PASS": 1}, pass_only=True)


FIELDS = ("GT", "DS", "HDS", "GP", "PL")
EVERY_FIELD = (
    "1 10 . A G . . . GT:DS:HDS:GP:PL 0/0:0.1:0.05,0.15:0.7,0.2,0.1:0,10,20 0/1:1.2:0.5,0.5:.,.,.:0,0,0"
    " 1|1:.:1,0.9:0,0.1,0.9:.,.,."
)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("auto", [0.1, 1.2, NAN]),
        ("DS", [0.1, 1.2, NAN]),
        ("HDS", [0.2, 1, 1.9]),
        ("GT", [0, 1, 2]),
        ("GP", [0.4, NAN, 1.9]),
        ("PL", [(0.1 + 2 * 0.01) / 1.11, NAN, NAN]),
    ],
)
def test_the_field_that_counts_the_alleles(vcf, field, expected):
    contents = check(vcf(EVERY_FIELD, formats=FIELDS), [expected], {}, field=field)
    assert contents.is_dosage.tolist() == [field != "GT"]


def test_auto_takes_of_each_record_the_first_of_ds_hds_and_gt(vcf):
    path = vcf(
        "1 10 . A G . . . GT:DS 0/0:0.25 0/1:1 1/1:2",
        "1 20 . A G . . . GT:HDS 0/0:0.5,0.25 0/1:0,1 1/1:1,1",
        "1 30 . A G . . . GT 0/0 0/1 1/1",
        "1 40 . A G . . . GP 1,0,0 1,0,0 1,0,0",
        formats=FIELDS,
    )
    contents = check(path, [[0.25, 1, 2], [0.75, 1, 2], [0, 1, 2]], {"sites left out: no genotype field": 1})
    assert contents.is_dosage.tolist() == [True, True, False]
    assert "DS, HDS, GT" in open_source(path).header.notes[0]


def test_dosages_that_are_whole_numbers_are_hard_calls(vcf):
    contents = check(vcf("1 10 . A G . . . DS 0 1.000 2", formats=("DS",)), [[0, 1, 2]])
    assert not contents.is_dosage.any()


def test_haploid_dosages_are_doubled(vcf):
    path = vcf(
        "1 10 . A G . . . GT:DS 1:0.75 0/1:0.75 0:1.25",
        "1 20 . A G . . . HDS 0.75 0.5,0.25 0.125",
        "1 30 . A G . . . GT:GP 1:0.25,0.75 0/1:0.25,0.5,0.25 0:1,0",
        formats=FIELDS,
    )
    contents = read_file(path)
    np.testing.assert_allclose(contents.dosage[:2], [[1.5, 0.75, NAN], [1.5, 0.75, 0.25]])
    assert contents.n_haploid.tolist()[:2] == [1, 2]
    assert contents.counts["calls set missing: dosage or probability out of range"] == 1
    probabilities = read_file(path, field="GP")
    np.testing.assert_allclose(probabilities.dosage, [[1.5, 1, 0]])
    assert probabilities.n_haploid.tolist() == [2]


def test_dosages_out_of_range_are_missing_and_counted(vcf):
    check(
        vcf("1 10 . A G . . . DS 2.5 -0.1 2.003", "1 20 . A G . . . DS 0.5 0.5 1.5", formats=("DS",)),
        [[NAN, NAN, 2], [0.5, 0.5, 1.5]],
        {"calls set missing: dosage or probability out of range": 2},
    )


def test_phred_scaled_or_negative_probabilities_are_missing_and_counted(vcf):
    check(
        vcf("1 10 . A G . . . GP 0,10,20 -0.5,1,0.5 0.25,0.5,0.25", formats=("GP",)),
        [[NAN, NAN, 1]],
        {"calls set missing: dosage or probability out of range": 2},
        field="GP",
    )


def test_multiallelic_dosages_and_probabilities(vcf):
    # Genotypes 00 01 11 02 12 22.
    path = vcf(
        "1 10 . A G,T . . . DS:GP 0.2,1.3:0.1,0.2,0.3,0.1,0.1,0.2 0,1:0,0,0,0,1,0 2,0:0,0,0,0,0,1", formats=("DS", "GP")
    )
    check(path, [[0.2, 0, 2], [1.3, 1, 0]])
    check(path, [[0.2 + 0.6 + 0.1, 1, 0], [0.1 + 0.1 + 0.4, 1, 2]], field="GP")


def test_multiallelic_haplotype_dosages_are_left_out_and_counted(vcf):
    path = vcf("1 10 . A G . . . HDS 0,1 1,1 0,0", "1 20 . A G,T . . . HDS 0,1,0,0 1,1,0,0 0,0,0,0", formats=("HDS",))
    check(path, [[1, 2, 0]], {"sites left out: multiallelic, with HDS alone (split it: bcftools norm -m-)": 1})


@pytest.mark.parametrize("key", ["R2", "INFO", "DR2"])
def test_imputation_quality(vcf, key):
    header = HEADER.replace("ID=R2", f"ID={key}")
    contents = read_file(vcf(f"1 10 . A G . . {key}=0.875 GT 0/0 0/1 1/1", header=header))
    assert contents.info[0] == np.float32(0.875)


def _indexed(path, records, *, kind="-t", window=None):
    """bgzip and index records that span many index windows."""
    out = path.with_name("i.vcf.gz")
    run("bcftools", "view", "-Oz", "-o", out, write_vcf(path, records))
    run("bcftools", "index", kind, *(() if window is None else ("-m", window)), out)
    return out


def _records(n=600, contigs=("1", "2")):
    random = np.random.default_rng(2)
    lines = []
    for contig in contigs:
        positions = np.sort(random.integers(1, 3_000_000, n))
        for position in positions:
            calls = " ".join(random.choice(["0/0", "0/1", "1/1", "./."], 3))
            reference = "A" * int(random.choice([1, 1, 1, 40_000]) if n <= 60 else 1 + position % 200)
            lines.append(f"{contig} {position} . {reference} G . . . GT {calls}")
    return lines


@pytest.mark.parametrize(("kind", "window"), [("-t", None), ("-c", None), ("-c", 10)])
@pytest.mark.parametrize("n", [600, 60])
@pytest.mark.parametrize("target", [1, 50, 100_000])
def test_regions_hold_every_record_once_and_in_order(tmp_path, kind, window, n, target):
    """With deletions that reach over the borders of regions."""
    path = _indexed(tmp_path / "x.vcf", _records(n), kind=kind, window=window)
    source = open_source(path)
    assert source.header.n_records == 2 * n
    assert source.header.notes == ()
    contents = read_all(source, target, 17)
    whole = read_file(tmp_path / "x.vcf")
    assert contents.keys == whole.keys
    np.testing.assert_array_equal(contents.dosage, whole.dosage)
    assert contents.counts["records read"] == 2 * n
    if target == 50 and n == 600:
        assert 16 <= len(source.partitions(target)) <= 48


def test_bcf_regions(tmp_path):
    run("bcftools", "view", "-Ob", "-o", tmp_path / "x.bcf", write_vcf(tmp_path / "x.vcf", _records()))
    run("bcftools", "index", tmp_path / "x.bcf")
    contents = read_all(open_source(tmp_path / "x.bcf"), 100, 33)
    whole = read_file(tmp_path / "x.vcf")
    assert contents.keys == whole.keys
    np.testing.assert_array_equal(contents.dosage, whole.dosage)


def test_contig_names_with_colons(tmp_path):
    header = "##fileformat=VCFv4.2\n##contig=<ID=HLA-A*01:01:01:01>\n##contig=<ID=1>\n"
    records = ["HLA-A*01:01:01:01 10 . A G . . . GT 0/0 0/1 1/1", "1 10 . A G . . . GT 1/1 0/1 1/1"]
    out = tmp_path / "i.vcf.gz"
    run("bcftools", "view", "-Oz", "-o", out, write_vcf(tmp_path / "x.vcf", records, header=header))
    run("tabix", "-p", "vcf", out)
    assert [key[0] for key in read_file(out).keys] == ["HLA-A*01:01:01:01", "1"]


@pytest.mark.reference
@pytest.mark.parametrize(
    "name",
    [
        "kg3202_tiny1000G/tiny1000G.vcf.gz",
        "hail_resources/small-gt.vcf",
        "hail_resources/sample.vcf",
        "hail_resources/x-chromosome.vcf",
        "hail_resources/regressionLogisticEpacts.vcf",
    ],
)
def test_calls_are_those_of_plink2(reference, tmp_path, name):
    """plink2 --vcf-half-call missing; X without sex as diploid: sexes are made female."""
    path = reference(name)
    contents = read_file(path)
    samples = open_source(path).header.sample_ids
    (tmp_path / "sex").write_text("".join(["#IID\tSEX\n", *(f"{sample}\t2\n" for sample in samples)]))
    run(
        "plink2", "--vcf", path, "--vcf-half-call", "missing", "--update-sex", tmp_path / "sex", "--make-pgen",
        "--allow-extra-chr", "--split-par", "b37", "--out", tmp_path / "p",
    )  # fmt: skip
    expected = plink_counts(tmp_path / "out", "--pfile", tmp_path / "p")
    biallelic = contents.n_alt == 1
    assert biallelic.all()
    np.testing.assert_array_equal(contents.dosage, expected)


@pytest.mark.reference
def test_haploid_file_of_hail(reference):
    contents = read_file(reference("hail_resources/haploid.vcf"))
    np.testing.assert_array_equal(contents.dosage, [[0, 2], [0, 0], [2, 2]])
    assert contents.n_haploid.tolist() == [1, 1, 1]


@pytest.mark.reference
def test_dosage_file_of_hail(reference):
    dosages = read_file(reference("hail_resources/small-ds.vcf"))
    calls = read_file(reference("hail_resources/small-gt.vcf"))
    assert dosages.keys == calls.keys
    np.testing.assert_array_equal(dosages.dosage, calls.dosage)


@pytest.mark.reference
def test_calls_of_bcftools_norm(reference, tmp_path):
    """Splitting agrees with bcftools norm -m- on a file of mostly multiallelic sites."""
    path = tmp_path / "x.vcf"
    text = reference("hail_resources/sample2.vcf").read_text()
    path.write_text(text.replace("#CHROM", "##contig=<ID=22>\n#CHROM", 1))  # bcftools does not do without
    contents = read_file(path)
    run("bcftools", "norm", "-m-", "-N", "-o", tmp_path / "n.vcf", path)
    split = read_file(tmp_path / "n.vcf")
    assert contents.keys == split.keys
    np.testing.assert_array_equal(contents.dosage, split.dosage)
    assert (contents.n_alt > 1).sum() > 300


def _refusal(path, *words, error=FileFormatError, **options):
    with pytest.raises(error) as caught:
        read_file(path, **options)
    for word in (*words, "where:", "to do:"):
        assert word in str(caught.value), str(caught.value)
    return str(caught.value)


GOOD = "1 10 . A G . . . GT 0/0 0/1 1/1"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("1 20 . A G . . . GT 0/0 0/1", ["Number of columns at 1:20", "after 1:10"]),
        ("1 x . A G . . . GT 0/0 0/1 1/1", ["position 'x'", "after 1:10"]),
        ("1 20 . A G . . . GT 0/0 0/z 1/1", ["GT", "1:20", "after 1:10"]),
        ("1 20 . A G", ["cannot be read", "after 1:10"]),
        ("3 20 . A G . . . GT 0/0 0/1 1/1", ["contig '3' is not declared", "record 3:20", "reheader"]),
        ("1 9 . A G . . . GT 0/0 0/1 1/1", ["1:9 comes after 1:10", "record 1:9", "bcftools sort"]),
        ("2 5 . A G . . . GT 0/0 0/1 1/1\n" + GOOD, ["contig '1' comes again after '2'", "record 1:10"]),
    ],
)
def test_records_that_are_refused(vcf, bad, words):
    _refusal(vcf(GOOD, *bad.split("\n"), "2 40 . A G . . . GT 0/0 0/1 1/1"), *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["cannot be read"]),
        (b"hello\tworld\n", ["not valid bcf or vcf"]),
        (b"##fileformat=VCFv4.2\n", ["cannot be read"]),
        (b"BCF\2\2" + bytes(range(200)), ["cannot be read"]),
        (b"\x1f\x8b\x08\x00" + bytes(50), ["cannot be read"]),
    ],
)
def test_files_that_are_not_vcf(tmp_path, content, words):
    (tmp_path / "x.vcf").write_bytes(content)
    _refusal(tmp_path / "x.vcf", "x.vcf", *words)


def test_no_samples(vcf):
    path = vcf("1 10 . A G . . .", samples=())
    path.write_text(path.read_text().replace("INFO\tFORMAT", "INFO"))
    _refusal(path, "no samples", error=InputError)


def test_a_header_line_with_blanks_is_refused_without_showing_it(vcf, capfd):
    path = vcf(GOOD)
    path.write_text(path.read_text().replace("FORMAT\ta\tb\tc", "FORMAT secret1 secret2"))
    assert "secret" not in _refusal(path, "spaces are present instead of tabs")
    assert "secret" not in capfd.readouterr().err


def test_duplicate_samples_are_not_named(vcf):
    assert "secret" not in _refusal(
        vcf(GOOD, samples=("secret", "b", "secret")), "sample id occurs more than once", error=InputError
    )


def test_no_genotype_field(vcf):
    _refusal(
        vcf("1 10 . A G . . . GP 1,0,0 1,0,0 1,0,0", formats=("GP",)), "none of the FORMAT fields", error=InputError
    )


def test_a_field_that_is_not_declared(vcf):
    _refusal(vcf(GOOD), "FORMAT field DS is not declared", "GT", error=InputError, field="DS")


def test_a_field_with_the_wrong_number_of_values(vcf):
    _refusal(vcf("1 10 . A G,T . . . DS 0.5 0.5 0.5", formats=("DS",)), "1 values per sample", "2 alternate", "1:10")


def test_a_field_that_is_text(vcf, tmp_path):
    path = vcf("1 10 . A G . . . DS x y z", formats=("DS",))
    path.write_text(path.read_text().replace("Number=A,Type=Float", "Number=1,Type=String"))
    _refusal(path, "DS holds no numbers", "1:10")


@pytest.fixture
def compressed(tmp_path):
    return _indexed(tmp_path / "x.vcf", _records(2000))


def test_a_file_that_was_cut_off_between_blocks(compressed):
    data = compressed.read_bytes()
    compressed.write_bytes(data[:-28])
    _refusal(compressed, "end-of-file block", "cut off")


def test_a_file_that_was_cut_off_in_a_block(compressed):
    compressed.write_bytes(compressed.read_bytes()[:-5000])
    _refusal(compressed, "end-of-file block", "cut off")


@pytest.mark.parametrize("indexed", [True, False])
def test_a_damaged_block_is_an_error_with_and_without_an_index(compressed, indexed):
    """htslib ends the reading of a region as if the file ended; it only tells standard error."""
    data = bytearray(compressed.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20] = bytes(20)
    compressed.write_bytes(data)
    if not indexed:
        compressed.with_name("i.vcf.gz.tbi").unlink()
    _refusal(compressed, "cannot be read", "i.vcf.gz")


def test_plain_gzip_that_was_cut_off(tmp_path):
    text = write_vcf(tmp_path / "x.vcf", _records(500)).read_bytes()
    (tmp_path / "y.vcf.gz").write_bytes(gzip.compress(text))
    assert len(read_file(tmp_path / "y.vcf.gz").keys) == 1000
    (tmp_path / "y.vcf.gz").write_bytes(gzip.compress(text)[:-2000])
    _refusal(tmp_path / "y.vcf.gz", "cannot be read")


def test_an_index_of_another_file(compressed, tmp_path):
    index = compressed.with_name("i.vcf.gz.tbi").read_bytes()
    run("bcftools", "view", "-Oz", "-o", compressed, write_vcf(tmp_path / "x.vcf", [GOOD]))
    compressed.with_name("i.vcf.gz.tbi").write_bytes(index)
    _refusal(compressed, "i.vcf.gz.tbi does not belong to i.vcf.gz", "index -f")


GZIPPED = (gzip.compress(b"TBI\1\2", mtime=0), gzip.compress(b"XXXX" * 50, mtime=0))


@pytest.mark.parametrize("content", [b"", b"garbage", *GZIPPED])
def test_a_damaged_index(compressed, content):
    compressed.with_name("i.vcf.gz.tbi").write_bytes(content)
    _refusal(compressed, "not a readable index", "tabix -f")


def test_what_htslib_says_does_not_reach_the_terminal_and_other_lines_do(vcf, capfd):
    header = "##fileformat=VCFv4.2\n"  # without contigs, htslib warns of each
    source = open_source(vcf(GOOD, header=header))
    for _ in source.read(source.partitions(10)[0], 10, ReadCounts()):
        subprocess.run(["sh", "-c", "echo between batches >&2"], check=True)
    assert capfd.readouterr().err == "between batches\n"
