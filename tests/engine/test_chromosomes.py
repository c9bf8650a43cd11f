"""Names, order, ploidy and regions of chromosomes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allscan.engine.chromosomes import (
    PloidyClass,
    Region,
    canonical_name,
    normalise_build,
    parse_region,
    ploidy_class,
    ploidy_classes,
    same_contig,
    sort_contigs,
    translate_plink_code,
)
from allscan.errors import InputError


@pytest.mark.parametrize(
    ("contig", "name"),
    [
        ("1", "1"),
        ("chr22", "22"),
        ("Chr7", "7"),
        ("CHRx", "X"),
        ("01", "1"),
        ("chrM", "MT"),
        ("m", "MT"),
        ("MT", "MT"),
        ("XY", "XY"),
        ("PAR1", "PAR1"),
        ("23", None),
        ("0", None),
        ("00", None),
        ("chr", None),
        ("", None),
        ("chr1_KI270706v1_random", None),
    ],
)
def test_canonical_name(contig, name):
    assert canonical_name(contig) == name


@pytest.mark.parametrize(
    ("contig", "name"),
    [("23", "X"), ("24", "Y"), ("25", "XY"), ("26", "MT"), ("chr23", "chrX"), ("22", "22"), ("X", "X")],
)
def test_plink_codes(contig, name):
    assert translate_plink_code(contig) == name


def test_same_contig():
    assert same_contig("chr7", "7")
    assert same_contig("chrM", "MT")
    assert same_contig("scaffold", "scaffold")
    assert not same_contig("chr7", "8")
    assert not same_contig("scaffold", "Scaffold")


@given(st.permutations([*map(str, range(1, 23)), "X", "Y", "XY", "PAR1", "PAR2", "MT"]), st.booleans())
def test_chromosomes_sort_the_same_from_any_order(contigs, prefixed):
    expected = [*map(str, range(1, 23)), "X", "Y", "XY", "PAR1", "PAR2", "MT"]
    prefix = "chr" if prefixed else ""
    assert sort_contigs(prefix + contig for contig in contigs) == [prefix + contig for contig in expected]


def test_other_contigs_follow_in_the_order_given():
    assert sort_contigs(["zeta", "chrX", "alpha", "1"]) == ["1", "chrX", "zeta", "alpha"]


@pytest.mark.parametrize(
    ("contig", "position", "build", "expected"),
    [
        ("X", 60_000, "GRCh37", PloidyClass.X),
        ("X", 60_001, "GRCh37", PloidyClass.PAR),
        ("X", 2_699_520, "hg19", PloidyClass.PAR),
        ("X", 2_699_521, "GRCh37", PloidyClass.X),
        ("X", 154_931_043, "b37", PloidyClass.X),
        ("X", 154_931_044, "b37", PloidyClass.PAR),
        ("chrX", 2_781_479, "GRCh38", PloidyClass.PAR),
        ("chrX", 2_781_480, "hg38", PloidyClass.X),
        ("chrX", 155_701_382, "GRCh38", PloidyClass.X),
        ("chrX", 155_701_383, "GRCh38", PloidyClass.PAR),
        ("chrX", 2_781_479, None, PloidyClass.X),
        ("chrX", 2_781_479, "T2T-CHM13", PloidyClass.X),
        ("Y", 2_649_520, "GRCh37", PloidyClass.PAR),
        ("Y", 2_649_521, "GRCh37", PloidyClass.Y),
        ("chrY", 57_000_000, "GRCh38", PloidyClass.PAR),
        ("chrY", 20_000_000, "GRCh38", PloidyClass.Y),
        ("chrM", 100, "GRCh38", PloidyClass.MT),
        ("XY", 5_000_000, None, PloidyClass.PAR),
        ("PAR2", 1, None, PloidyClass.PAR),
        ("22", 2_000_000, "GRCh38", PloidyClass.AUTOSOME),
        ("scaffold_1", 2_000_000, "GRCh38", PloidyClass.AUTOSOME),
    ],
)
def test_ploidy_class(contig, position, build, expected):
    assert ploidy_class(contig, position, build) is expected


def test_ploidy_of_many_positions():
    classes = ploidy_classes("X", np.array([1, 100_000, 3_000_000], dtype=np.int32), "GRCh37")
    assert classes.dtype == np.uint8
    assert list(classes) == [PloidyClass.X, PloidyClass.PAR, PloidyClass.X]


def test_builds_have_many_names():
    assert normalise_build("hg19") == normalise_build(" B37 ") == "GRCh37"
    assert normalise_build("HG38") == "GRCh38"
    assert normalise_build("T2T-CHM13") == "T2T-CHM13"
    with pytest.raises(InputError):
        normalise_build("  ")


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("22", Region("22")),
        ("chr22:16000000-17000000", Region("chr22", 16_000_000, 17_000_000)),
        (" X:1,000,000- ", Region("X", 1_000_000)),
        ("22:16050075", Region("22", 16_050_075, 16_050_075)),
        ("HLA-A*01:01:100-200", Region("HLA-A*01:01", 100, 200)),
    ],
)
def test_regions(text, region):
    assert parse_region(text) == region


@pytest.mark.parametrize("text", ["", "22:200-100", "22:0-5", "22:a-b", "22:1-9999999999", "22:,-5", ":1-2"])
def test_what_is_not_a_region(text):
    with pytest.raises(InputError):
        parse_region(text)


@given(st.sampled_from(["1", "chrX"]), st.integers(1, 10**8), st.integers(0, 10**8))
def test_a_region_reads_back_as_it_is_written(contig, start, length):
    for region in (Region(contig, start, start + length), Region(contig, start), Region(contig)):
        assert parse_region(str(region)) == region
