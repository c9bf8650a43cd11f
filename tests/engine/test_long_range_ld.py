"""Regions of long-range LD: their names in lists of regions, and where they lie."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from allscan.engine.chromosomes import Region, canonical_name
from allscan.engine.long_range_ld import LONG_RANGE_LD, excluded_regions, long_range_ld
from allscan.engine.store import GenotypeStore
from allscan.errors import InputError
from tests.engine.cohorts import write_calls

# Genes that the regions are known for: UCSC, first base.
LANDMARKS = {
    "LCT": ("2", 136_545_410, 135_787_840),
    "HLA-DRB1": ("6", 32_546_546, 32_578_769),
    "BLK (8p23.1)": ("8", 11_351_510, 11_494_001),
    "MAPT (17q21.31)": ("17", 43_971_748, 45_894_382),
}


def store_of(path: Path, contigs: tuple[str, ...], build: str | None) -> GenotypeStore:
    calls = np.ones((2, 3), np.int8)
    return write_calls(path, calls, np.zeros(2, np.int16), np.array([1, 2], np.int32), contigs, build=build).store


@pytest.mark.parametrize(("build", "column"), [("GRCh37", 1), ("hg19", 1), ("GRCh38", 2), ("hg38", 2)])
@pytest.mark.parametrize("gene", LANDMARKS)
def test_landmarks_lie_inside(build, column, gene):
    contig, position = LANDMARKS[gene][0], LANDMARKS[gene][column]
    inside = [r for r in long_range_ld(build) if r.contig == contig and r.start + 100_000 < position < r.end - 100_000]
    assert len(inside) == 1


@pytest.mark.parametrize("build", ["GRCh37", "GRCh38"])
def test_they_are_apart_and_of_a_few_megabases(build):
    regions = long_range_ld(build)
    assert len(regions) == 25
    assert all(canonical_name(region.contig) in map(str, range(1, 23)) for region in regions)
    for one, other in pairwise(regions):
        assert (int(one.contig), one.end) < (int(other.contig), other.start)
    assert all(1e6 < region.end - region.start < 15e6 for region in regions)
    assert sum(region.end - region.start for region in regions) < 0.06 * 3.1e9


@pytest.mark.parametrize("build", [None, "CHM13"])
def test_another_build_is_refused(tmp_path, build):
    store = store_of(tmp_path / "store.zarr", ("1",), build)
    with pytest.raises(InputError, match=r"long-range LD .*(not for CHM13|not known)"):
        excluded_regions([LONG_RANGE_LD], store)


def test_the_name_among_regions(tmp_path):
    store = store_of(tmp_path / "store.zarr", ("chr1", "chr6"), "hg38")
    found = excluded_regions(["1:5-9", " long_range_ld ", "chr6"], store)
    assert found == (Region("1", 5, 9), *long_range_ld("GRCh38"), Region("chr6"))
    assert excluded_regions([], store) == ()
    with pytest.raises(InputError, match="no contig '7'"):
        excluded_regions(["7:1-2"], store)
    with pytest.raises(InputError, match="not a region"):
        excluded_regions(["1:2-x"], store)
