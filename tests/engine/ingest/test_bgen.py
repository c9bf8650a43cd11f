"""BGEN: every bit depth and ploidy, imputation quality, samples, indexes, and files that are refused."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from bgen import BgenReader, BgenWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.engine.ingest.batch import ReadCounts
from allscan.engine.ingest.bgen_blocks import DiploidCopies, ExpectedCopies, ProbabilityBlock
from allscan.engine.ingest.calls import impute_info
from allscan.engine.ingest.sources import open_source
from allscan.errors import FileFormatError, InputError
from tests.engine.ingest.reading import read_all, read_file, run, write_vcf

EXAMPLE = "bgen_format_tests/bgen"
THREE = np.array([[1, 0, 0], [0.2, 0.5, 0.3], [0, 0, 1]])


def write(path, variants, samples=("a", "b", "c"), **options):
    """Write variants: dictionaries of the arguments of ``BgenWriter.add_variant``, with defaults."""
    with BgenWriter(str(path), len(samples), samples=list(samples), **options) as file:
        for number, variant in enumerate(variants, start=1):
            values = {
                "varid": f"v{number}",
                "rsid": f"rs{number}",
                "chrom": "1",
                "pos": 100 * number,
                "alleles": ["A", "G"],
                "genotypes": THREE,
                "bit_depth": 16,
            } | variant
            file.add_variant(**values)
    # The package makes an index; most tests are about files without.
    path.with_name(path.name + ".bgi").unlink(missing_ok=True)
    return path


@pytest.fixture
def sorted_copy(tmp_path):
    """Copy of a BGEN file in the order of positions, its genotype data untouched, and the order."""

    def copy(path):
        out = tmp_path / path.name
        reader = BgenReader(str(path))
        variants = list(reader)
        order = sorted(range(len(variants)), key=lambda number: variants[number].pos)
        header = reader.header
        with BgenWriter(str(out), header.nsamples, samples=reader.samples, compression=header.compression) as writer:
            for number in order:
                writer.add_variant_direct(variants[number])
        return out, order

    return copy


@pytest.mark.reference
@pytest.mark.parametrize(("bits", "tolerance"), [(3, 0.3), (8, 0.01), (16, 6e-5), (32, 6e-5)])
def test_bit_depths_agree_with_the_probabilities_of_the_vcf(reference, sorted_copy, tmp_path, bits, tolerance):
    path, _ = sorted_copy(reference(f"{EXAMPLE}/example.{bits}bits.bgen"))
    contents = read_file(path)
    lines = gzip.decompress(reference(f"{EXAMPLE}/example.16bits.vcf.gz").read_bytes()).decode().splitlines()
    lines.sort(key=lambda line: 0 if line.startswith("#") else int(line.split("\t")[1]))
    (tmp_path / "x.vcf").write_text("\n".join([*lines, ""]))
    expected = read_file(tmp_path / "x.vcf", field="GP")
    assert contents.keys == expected.keys
    assert len(contents.keys) == 199
    assert contents.is_dosage.all() or bits == 3
    np.testing.assert_array_equal(np.isnan(contents.dosage), np.isnan(expected.dosage))
    np.testing.assert_allclose(contents.dosage, expected.dosage, atol=tolerance)


@pytest.mark.reference
def test_unsorted_variants_are_refused(reference):
    _refusal(reference(f"{EXAMPLE}/example.8bits.bgen"), "not sorted", "01:10000 comes after 01:99000", "--sort-vars")


@pytest.mark.reference
def test_mixed_ploidies_phased_and_multiallelic(reference):
    """The expected copies are read off the VCF that comes with the file (complex.16bits.vcf.gz)."""
    contents = read_file(reference(f"{EXAMPLE}/complex.16bits.bgen"))
    rows = {(key[1], name, key[3]): row for key, name, row in zip(
        contents.keys, contents.variant_id, contents.dosage, strict=True
    )}  # fmt: skip
    nan = np.nan
    for key, expected in {
        (1, "V1", "G"): [0, 0, 0, 1],
        (2, "V2", "G"): [0, 0, 0, 2],  # all haploid
        (3, "V3", "G"): [0, 2, 0, 1],  # phased
        (4, "M4", "G"): [0, 0, 1, 0],
        (4, "M4", "T"): [0, 0, 0, 1],  # 1,1: copies of G and T in the fourth
        (5, "M5", "G"): [0, nan, nan, 1],  # two triploid samples
        (7, "M6", "GTT"): [0, 0, 0, 2],
        (7, "M7", "GTTTT"): [0, 0, 0, 2],
        (9, "M9", "G"): [0, 0, 0, 1],
        (9, "M9", "GTTTT"): [0, 0, 0, 1],
        (10, "M10", "G"): [nan, nan, nan, nan],  # tetraploid
    }.items():
        np.testing.assert_array_equal(rows[key], expected, err_msg=str(key))
    assert contents.n_haploid[[0, 1, 2]].tolist() == [1, 4, 1]
    assert contents.counts["calls set missing: ploidy above 2"] == 6
    assert contents.counts["multiallelic sites split"] == 5
    assert not contents.is_dosage.any()


@pytest.mark.reference
def test_phased_probabilities_of_2504_people(reference, tmp_path):
    shutil.copy(reference(f"{EXAMPLE}/phased.16bits.bgen"), tmp_path / "x.bgen")
    lines = ["ID_1 ID_2 missing sex", "0 0 0 D", *(f"0 s{i} 0 NA" for i in range(2504))]
    (tmp_path / "x.sample").write_text("\n".join(lines) + "\n")
    contents = read_file(tmp_path / "x.bgen")
    values = run("bcftools", "query", "-f", "[%GP\n]", reference(f"{EXAMPLE}/phased.16bits.vcf.gz"))
    haplotypes = np.array([[np.nan if p == "." else float(p) for p in line.split(",")] for line in values.split()])
    np.testing.assert_allclose(contents.dosage[0], haplotypes[:, 1] + haplotypes[:, 3], atol=1e-4)
    assert np.isfinite(contents.dosage).sum() == np.isfinite(haplotypes[:, 0]).sum()


@pytest.mark.reference
@pytest.mark.parametrize("bits", [3, 8, 16, 32])
def test_probabilities_are_those_of_the_bgen_package(reference, sorted_copy, bits):
    path, _ = sorted_copy(reference(f"{EXAMPLE}/example.{bits}bits.bgen"))
    contents = read_file(path)
    reader = BgenReader(str(path))
    for dosage, variant in zip(contents.dosage, reader, strict=True):
        np.testing.assert_allclose(dosage, variant.probabilities @ [0, 1, 2], atol=5e-7)


@settings(max_examples=60)
@given(
    bits=st.integers(1, 32),
    phased=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    compression=st.sampled_from([None, "zlib", "zstd"]),
)
def test_any_bit_depth_gives_the_expected_copies(tmp_path_factory, bits, phased, seed, compression):
    random = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("bgen") / "x.bgen"
    if phased:
        haplotypes = random.random((3, 2))
        genotypes = np.stack([haplotypes[:, 0], 1 - haplotypes[:, 0], haplotypes[:, 1], 1 - haplotypes[:, 1]], axis=1)
        expected = genotypes[:, 1] + genotypes[:, 3]
    else:
        genotypes = random.dirichlet([1, 1, 1], size=3)
        expected = genotypes[:, 1] + 2 * genotypes[:, 2]
    genotypes[1] = np.nan
    expected[1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns of coarse depths
        write(path, [{"genotypes": genotypes, "bit_depth": bits, "phased": phased}], compression=compression)
    contents = read_file(path)
    np.testing.assert_allclose(contents.dosage[0], expected, atol=2.5 / (2**bits - 1) + 1e-6)


def test_whole_numbers_are_hard_calls_and_others_are_not(tmp_path):
    calls = np.eye(3)
    path = write(
        tmp_path / "x.bgen",
        [{"genotypes": calls, "bit_depth": 8}, {"genotypes": THREE}, {"genotypes": calls[::-1].copy()}],
    )
    contents = read_file(path)
    assert contents.is_dosage.tolist() == [False, True, False]
    np.testing.assert_allclose(contents.dosage, [[0, 1, 2], [0, 1.1, 2], [2, 1, 0]], atol=1e-4)
    assert np.isnan(contents.info[[0, 2]]).all()
    assert np.isfinite(contents.info[1])


def test_info_is_that_of_bcftools(tmp_path):
    """The plug-in impute-info computes IMPUTE2's measure from GP."""
    random = np.random.default_rng(11)
    samples = tuple(f"s{i}" for i in range(40))
    variants = []
    records = []
    for number in range(1, 21):
        probabilities = np.round(random.dirichlet(random.uniform(0.05, 2, 3), len(samples)), 6)
        probabilities[:, 2] = np.round(1 - probabilities[:, 0] - probabilities[:, 1], 6)
        variants.append({"genotypes": probabilities, "bit_depth": 32})
        values = " ".join(",".join(f"{p:.6f}" for p in row) for row in probabilities)
        records.append(f"1 {100 * number} . A G . . . GP {values}")
    vcf = write_vcf(tmp_path / "x.vcf", records, formats=("GP",), samples=samples)
    run("bcftools", "+impute-info", vcf, "-o", tmp_path / "info.vcf")
    expected = run("bcftools", "query", "-f", "%INFO/INFO\n", tmp_path / "info.vcf").split()
    contents = read_file(write(tmp_path / "x.bgen", variants, samples))
    np.testing.assert_allclose(contents.info, np.array(expected, dtype=float), atol=2e-5)
    assert np.ptp(contents.info) > 0.3


@pytest.mark.parametrize("phased", [False, True])
def test_info_of_phased_and_unphased_probabilities_is_the_same(tmp_path, phased):
    """Independent haplotypes have the same variance whichever way they are written."""
    one = np.array([0.1, 0.7, 0.4])
    two = np.array([0.9, 0.2, 0.3])
    if phased:
        genotypes = np.stack([1 - one, one, 1 - two, two], axis=1)
    else:
        genotypes = np.stack([(1 - one) * (1 - two), one + two - 2 * one * two, one * two], axis=1)
    contents = read_file(write(tmp_path / "x.bgen", [{"genotypes": genotypes, "phased": phased, "bit_depth": 32}]))
    mean = one + two
    theta = mean.sum() / 6
    variance = one * (1 - one) + two * (1 - two)
    assert contents.info[0] == pytest.approx(1 - variance.sum() / (6 * theta * (1 - theta)), abs=1e-5)


def test_info_of_haploid_samples():
    info = impute_info(2, 0.2 + 0.9, 0.2 * 0.8 + 0.9 * 0.1)
    assert info == pytest.approx(1 - (0.16 + 0.09) / (2 * 0.55 * 0.45))


def test_info_is_nan_where_nothing_is_uncertain_or_the_allele_does_not_vary():
    assert np.isnan(impute_info(4, 1.0, 0.0))
    assert np.isnan(impute_info(4, 0.0, 0.5))
    assert np.isnan(impute_info(0, 0.0, 0.0))


@settings(max_examples=40)
@given(bits=st.integers(1, 32), phased=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_the_faster_way_agrees_with_the_general_one(bits, phased, seed):
    """Random bits are also blocks whose probabilities exceed 1: both ways refuse and count the same samples."""
    random = np.random.default_rng(seed)
    n = 50
    flags = np.where(random.random(n) < 0.1, 0x82, 2).astype(np.uint8)
    values = random.integers(0, 256, (2 * n * bits + 7) // 8, dtype=np.uint8)
    head = n.to_bytes(4, "little") + (2).to_bytes(2, "little") + b"\2\2" + flags.tobytes() + bytes([phased, bits])
    block = ProbabilityBlock.parse(head + values.tobytes(), n, 2)
    assert DiploidCopies.fits(block)
    fast_counts, counts = ReadCounts(), ReadCounts()
    fast, general = DiploidCopies(block, fast_counts), ExpectedCopies(block, counts)
    for allele in (0, 1):
        (dosage, info), (expected, expected_info) = fast.dosage(allele), general.dosage(allele)
        np.testing.assert_allclose(dosage, expected, atol=1e-6)
        assert info == pytest.approx(expected_info, abs=1e-9, nan_ok=True)
    assert fast_counts.counts == counts.counts
    assert fast.n_haploid == general.n_haploid


@pytest.mark.reference
def test_random_probabilities_of_hail(reference):
    """random.gen holds the probabilities that random.bgen was made from."""
    contents = read_file(reference("hail_resources/random.bgen"))
    lines = reference("hail_resources/random.gen").read_text().splitlines()
    values = np.array([line.split()[6:] for line in lines], dtype=np.float64).reshape(len(lines), -1, 3)
    total = values.sum(axis=2)
    with np.errstate(invalid="ignore"):
        expected = (values[:, :, 1] + 2 * values[:, :, 2]) / total
    np.testing.assert_allclose(contents.dosage, expected, atol=0.01)


def test_multiallelic_probabilities_are_split(tmp_path):
    # Genotypes 00 01 11 02 12 22.
    genotypes = np.array([[0.5, 0.2, 0.1, 0.1, 0.05, 0.05], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]])
    path = write(tmp_path / "x.bgen", [{"alleles": ["A", "C", "*"], "genotypes": genotypes}, {}])
    contents = read_file(path)
    assert contents.keys == [("1", 100, "A", "C"), ("1", 200, "A", "G")]
    np.testing.assert_allclose(contents.dosage[0], [0.2 + 2 * 0.1 + 0.05, 1, 0], atol=1e-4)
    assert contents.n_alt.tolist() == [2, 1]
    full = read_file(write(tmp_path / "y.bgen", [{"alleles": ["A", "C", "T"], "genotypes": genotypes}]))
    np.testing.assert_allclose(full.dosage[1], [0.1 + 0.05 + 2 * 0.05, 1, 2], atol=1e-4)


def test_ref_first_or_last(tmp_path):
    genotypes = np.array([[0.5, 0.2, 0.1, 0.1, 0.05, 0.05], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]])
    path = write(tmp_path / "x.bgen", [{}, {"alleles": ["A", "C", "T"], "genotypes": genotypes}])
    first = read_file(path)
    last = read_file(path, ref_first=False)
    assert first.keys[0] == ("1", 100, "A", "G")
    assert last.keys == [("1", 100, "G", "A"), ("1", 200, "T", "A"), ("1", 200, "T", "C")]
    np.testing.assert_allclose(last.dosage[0], 2 - first.dosage[0], atol=1e-6)
    np.testing.assert_allclose(last.dosage[1], [1.3, 0, 0], atol=1e-4)


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(("target", "batch"), [(1, 7), (256, 100), (300, 1000), (5000, 64)])
def test_any_piece_can_be_read_with_and_without_an_index(tmp_path, indexed, target, batch):
    """700 variants: the offset of each 256th is kept."""
    random = np.random.default_rng(5)
    variants = [{"genotypes": random.dirichlet([1, 1, 1], 3), "rsid": "r" * (1 + i % 30)} for i in range(700)]
    path = tmp_path / "x.bgen"
    write(path, variants)
    if indexed:
        with BgenWriter(str(tmp_path / "i.bgen"), 3, samples=list("abc")) as writer:
            for variant in BgenReader(str(path)):
                writer.add_variant_direct(variant)
        path = tmp_path / "i.bgen"
        assert path.with_name("i.bgen.bgi").is_file()
    source = open_source(path)
    contents = read_all(source, target, batch)
    assert [key[1] for key in contents.keys] == [100 * n for n in range(1, 701)]
    expected = np.array([v["genotypes"] @ [0, 1, 2] for v in variants])
    np.testing.assert_allclose(contents.dosage, expected, atol=1e-4)
    assert sum(p.stop - p.start for p in source.partitions(target)) == 700
    assert source.header.notes == ()


@pytest.mark.parametrize("damage", ["other file", "garbage", "empty table"])
def test_an_index_that_is_not_of_this_file_is_not_used(tmp_path, damage):
    path = write(tmp_path / "x.bgen", [{}, {}, {}])
    index = tmp_path / "x.bgen.bgi"
    if damage == "garbage":
        index.write_bytes(b"not a database" * 100)
    else:
        with sqlite3.connect(index) as database:
            database.execute(
                "CREATE TABLE Variant (chromosome TEXT, position INT, file_start_position INT, size_in_bytes INT)"
            )
            if damage == "other file":
                database.executemany("INSERT INTO Variant VALUES ('1', ?, ?, 50)", [(i, 30 + 50 * i) for i in range(3)])
        database.close()
    source = open_source(path)
    assert "x.bgen.bgi does not describe this file" in source.header.notes[0]
    assert [key[1] for key in read_all(source).keys] == [100, 200, 300]


@pytest.mark.reference
def test_nothing_is_written_beside_the_file(reference, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("example.bgen", "example.bgen.bgi"):
        shutil.copy(reference(f"regenie_example/{name}"), folder)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    read_file(folder / "example.bgen")
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


SAMPLE = ["ID_1 ID_2 missing sex", "0 0 0 D", "f1 a 0 1", "f2 b 0 2", "f3 c 0 NA"]


def _without_ids(tmp_path, lines=None):
    path = tmp_path / "x.bgen"
    with BgenWriter(str(path), 3) as file:
        file.add_variant("v", "rs", "1", 5, ["A", "G"], THREE, bit_depth=16)
    if lines is not None:
        path.with_suffix(".sample").write_text("\n".join([*lines, ""]))
    return path


@pytest.mark.parametrize(
    ("lines", "ids", "families"),
    [
        (SAMPLE, ["a", "b", "c"], ["f1", "f2", "f3"]),
        ([*SAMPLE[:2], "0 a 0 1", "0 b 0 2", "0 c 0 NA"], ["a", "b", "c"], None),
        ([*SAMPLE[:2], "a 0 0 1", "b 0 0 2", "c 0 0 NA"], ["a", "b", "c"], None),
        (["ID sex", "0 D", "a 1", "b 2", "c 0"], ["a", "b", "c"], None),
    ],
)
def test_sample_files(tmp_path, lines, ids, families):
    header = open_source(_without_ids(tmp_path, lines)).header
    assert header.sample_ids.tolist() == ids
    assert (None if header.family_ids is None else header.family_ids.tolist()) == families
    assert header.sample_sex.tolist() == [1, 2, 0]


def test_a_given_sample_file_has_the_say(tmp_path):
    path = write(tmp_path / "x.bgen", [{}])
    (tmp_path / "people.txt").write_text("\n".join([*SAMPLE, ""]).replace(" a ", " z "))
    assert open_source(path).header.sample_ids.tolist() == ["a", "b", "c"]
    header = open_source(path, sample_file=tmp_path / "people.txt").header
    assert header.sample_ids.tolist() == ["z", "b", "c"]


def test_a_sample_file_beside_the_file_adds_sex_only_if_it_lists_the_same_people(tmp_path):
    path = write(tmp_path / "x.bgen", [{}])
    path.with_suffix(".sample").write_text("\n".join([*SAMPLE, ""]))
    assert open_source(path).header.sample_sex.tolist() == [1, 2, 0]
    path.with_suffix(".sample").write_text("\n".join([*SAMPLE, ""]).replace(" a ", " z "))
    header = open_source(path).header
    assert header.sample_sex.tolist() == [0, 0, 0]
    assert "other samples" in header.notes[0]


def _refusal(path, *words, error=FileFormatError, **options):
    with pytest.raises(error) as caught:
        read_file(path, **options)
    for word in (*words, "where:", "to do:"):
        assert word in str(caught.value), str(caught.value)


def test_no_ids_anywhere(tmp_path):
    _refusal(_without_ids(tmp_path), "no sample ids", "x.sample", error=InputError)


def test_sample_file_of_other_length(tmp_path):
    _refusal(_without_ids(tmp_path, [*SAMPLE, "f4 d 0 1"]), "holds 3 samples, but x.sample lists 4")


def test_sample_file_without_types(tmp_path):
    _refusal(_without_ids(tmp_path, [SAMPLE[0], *SAMPLE[2:]]), "column types", "line 2")


def test_missing_sample_file(tmp_path):
    path = write(tmp_path / "x.bgen", [{}])
    _refusal(path, "people.sample", error=InputError, sample_file=tmp_path / "people.sample")


def test_duplicate_samples(tmp_path):
    _refusal(write(tmp_path / "x.bgen", [{}], samples=("a", "b", "a")), "samples 1 and 3", error=InputError)


@pytest.mark.parametrize("content", [b"", b"BGEN", b"##fileformat=VCFv4.2\n" * 20])
def test_not_bgen(tmp_path, content):
    (tmp_path / "x.bgen").write_bytes(content)
    _refusal(tmp_path / "x.bgen", "does not begin as a BGEN file does")


def test_older_layout(tmp_path):
    path = write(tmp_path / "x.bgen", [{}])
    data = bytearray(path.read_bytes())
    header_size = struct.unpack_from("<I", data, 4)[0]
    data[header_size] = (data[header_size] & ~0x3C) | (1 << 2)
    path.write_bytes(data)
    _refusal(path, "layout 1", "--export bgen-1.3")


def test_every_truncation_is_refused_at_opening(tmp_path):
    path = write(tmp_path / "x.bgen", [{}, {}])
    whole = path.read_bytes()
    for size in range(24, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError):
            open_source(path)


def test_trailing_bytes_are_refused(tmp_path):
    path = write(tmp_path / "x.bgen", [{}])
    path.write_bytes(path.read_bytes() + b"\0\0")
    _refusal(path, "2 bytes follow the last of the 1 variants")


def test_no_chromosome(tmp_path):
    _refusal(write(tmp_path / "x.bgen", [{"chrom": ""}]), "no chromosome", "variant 1", "--oxford-single-chr")


def test_a_damaged_genotype_block_is_named(tmp_path):
    """zlib blocks carry a checksum: no flipped byte may go unnoticed."""
    path = write(tmp_path / "x.bgen", [{}, {}, {}], compression="zlib")
    whole = path.read_bytes()
    for place in range(1, 15):
        data = bytearray(whole)
        data[-place] ^= 0x40
        path.write_bytes(data)
        _refusal(path, "cannot be read", "variant 3")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [(0, 9, "of 9 samples and 2 alleles"), (4, 3, "of 3 samples and 3 alleles"), (11, 7, "phase flag 7"),
     (12, 33, "33 bits"), (12, 0, "0 bits"), (12, 14, "bytes where"), (8, 3, "bytes where")],
)  # fmt: skip
def test_genotype_blocks_that_contradict_themselves(tmp_path, place, value, words):
    path = write(tmp_path / "x.bgen", [{}], compression=None)
    data = bytearray(path.read_bytes())
    data[len(data) - (10 + 3 + 3 * 2 * 2) + place] = value
    path.write_bytes(data)
    _refusal(path, words, "variant 1")


def test_impossible_probabilities_are_set_missing_and_counted(tmp_path):
    """Uncompressed, the two stored 16-bit probabilities of the last sample are made to add up to 2."""
    path = write(tmp_path / "x.bgen", [{}], compression=None)
    data = bytearray(path.read_bytes())
    data[-4:] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    contents = read_file(path)
    assert np.isnan(contents.dosage[0]).tolist() == [False, False, True]
    assert contents.counts == {"calls set missing: dosage or probability out of range": 1}


_FUZZ = """
import sys, numpy as np
from pathlib import Path
from allscan.engine.ingest.sources import open_source
from allscan.engine.ingest.batch import ReadCounts
from allscan.errors import InputError
whole = Path(sys.argv[1]).read_bytes()
random = np.random.default_rng(3)
refused = 0
for trial in range(300):
    data = bytearray(whole)
    for place in random.integers(0, len(data), 3):
        data[place] = random.integers(0, 256)
    path = Path(sys.argv[1]).with_name("y.bgen")
    path.write_bytes(data)
    try:
        source = open_source(path)
        for part in source.partitions(1000):
            for batch in source.read(part, 10, ReadCounts()):
                assert batch.genotypes.max() <= 2
    except InputError:
        refused += 1
print(refused)
"""


def test_random_damage_never_crashes_the_process(tmp_path):
    path = write(tmp_path / "x.bgen", [{}] * 4, compression="zlib")
    done = subprocess.run([sys.executable, "-c", _FUZZ, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 150
