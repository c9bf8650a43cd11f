"""Regions where markers correlate over megabases: a principal component, left to itself, describes one of them.

The table beside this module holds the 24 regions of Price et al. 2008 (10.1016/j.ajhg.2008.06.005), among them the
MHC, the lactase gene, centromeres, and the inversion 8p23.1, as they are listed for GRCh37 by the Center for
Statistical Genetics of the University of Michigan ("Regions of high linkage disequilibrium"; rounded outwards to half
megabases), and the inversion 17q21.31 (Stefansson et al. 2005, 10.1038/ng1508) with half a megabase on either side.
Their ends on GRCh38 are those on GRCh37, lifted by the chain ``hg19ToHg38`` of UCSC. They are on autosomes.
"""

from __future__ import annotations

import csv
from importlib import resources
from typing import TYPE_CHECKING

from allscan.engine.chromosomes import Region, normalise_build, parse_region, same_contig
from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from allscan.engine.store import GenotypeStore

LONG_RANGE_LD = "long_range_ld"
"""What a list of regions calls all of these."""
BUILDS = ("GRCh37", "GRCh38")


def long_range_ld(build: str | None) -> tuple[Region, ...]:
    """The regions on a reference build.

    Raises
    ------
    InputError
        It is not known where they lie on this build, or the build is not known.
    """
    name = None if build is None else normalise_build(build)
    if name not in BUILDS:
        raise InputError(
            f"where the regions of long-range LD lie is known for {' and '.join(BUILDS)}, "
            + ("and the reference build of the store is not known" if name is None else f"not for {name}"),
            fix="ingest the genotypes with --build, or write the regions as CONTIG:START-END",
        )
    start, end = f"start_{name.lower()}", f"end_{name.lower()}"
    with resources.files("allscan.engine").joinpath("long_range_ld.csv").open(encoding="utf-8") as lines:
        return tuple(Region(row["contig"], int(row[start]), int(row[end])) for row in csv.DictReader(lines))


def excluded_regions(texts: Iterable[str], store: GenotypeStore) -> tuple[Region, ...]:
    """Regions of a store as people write them; ``long_range_ld`` is all of those above.

    Raises
    ------
    InputError
        A text is no region, the store does not have its contig, or the regions of long-range LD are not known for its
        reference build.
    """
    regions: list[Region] = []
    for text in texts:
        if text.strip() == LONG_RANGE_LD:
            regions += long_range_ld(store.reference_build)
            continue
        region = parse_region(text)
        if not any(same_contig(name, region.contig) for name in store.contigs):
            raise InputError(
                f"region {region}: the store of the markers has no contig {region.contig!r}",
                fix=f"its contigs are {', '.join(store.contigs[:30])}",
            )
        regions.append(region)
    return tuple(regions)
