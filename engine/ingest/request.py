"""What an ingest is asked to do: sources opened and checked against each other, parameters made plain."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan import __version__
from allscan.engine.chromosomes import Region, normalise_build, parse_region, same_contig
from allscan.engine.ingest.fingerprints import digest, source_identity
from allscan.engine.ingest.samples import SampleSelection, select_samples
from allscan.engine.ingest.sources import open_source
from allscan.engine.store_writing import default_block_variants
from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from allscan.engine.ingest.batch import Source, SourceHeader
    from allscan.engine.ingest.variants import OnDuplicate

STAGING_VERSION = 1
"""Raised when staged parts of an older version cannot be used any more."""

TASK_GENOTYPES = 1 << 28
MIN_TASK_VARIANTS, MAX_TASK_VARIANTS = 1024, 16384


@dataclass(frozen=True)
class IngestRequest:
    """An ingest, opened and checked."""

    sources: tuple[Source, ...]
    headers: tuple[SourceHeader, ...]
    samples: SampleSelection
    regions: tuple[Region, ...]
    any_contig: bool
    min_allele_count: float | None
    max_allele_count: float | None
    build: str | None
    on_duplicate: OnDuplicate
    block_variants: int
    identities: tuple[dict[str, Any], ...]

    @property
    def task_variants(self) -> int:
        """Records of a read task."""
        wanted = TASK_GENOTYPES // max(1, max(len(header.sample_ids) for header in self.headers))
        return min(max(wanted, MIN_TASK_VARIANTS), MAX_TASK_VARIANTS)

    @cached_property
    def reading(self) -> dict[str, Any]:
        """All that decides, beside a source itself, what its parts hold."""
        return {
            "version of allscan": f"{__version__}, staging {STAGING_VERSION}",
            "samples": digest([list(self.samples.sample_ids), self.samples.sample_sex.tolist()]),
            "regions": [str(region) for region in self.regions],
            "contigs": "any" if self.any_contig else "human",
            "min_allele_count": self.min_allele_count,
            "max_allele_count": self.max_allele_count,
            "build": self.build,
            "block_variants": self.block_variants,
            "task_variants": self.task_variants,
        }

    def source_key(self, index: int) -> str:
        """Name of the folder of a source's parts."""
        return digest([self.identities[index], self.reading])

    @cached_property
    def key(self) -> str:
        """Fingerprint of the whole ingest."""
        return digest([[self.source_key(i) for i in range(len(self.sources))], self.on_duplicate])


def open_request(
    sources: Sequence[str | Path | Source],
    reader_options: dict[str, Any],
    *,
    regions: Iterable[str | Region] | None,
    keep_samples: Iterable[str] | None,
    exclude_samples: Iterable[str] | None,
    allele_counts: tuple[float | None, float | None],
    build: str | None,
    any_contig: bool,
    on_duplicate: OnDuplicate,
    block_variants: int | None,
) -> IngestRequest:
    """Open the sources and check that they go together, before anything is written.

    Parameters are those of :func:`allscan.engine.ingest.pipeline.ingest`; ``allele_counts`` are the two
    bounds.

    Raises
    ------
    InputError, FileFormatError
        If a source is refused, or the sources or parameters contradict each other.
    """
    if not sources:
        raise InputError("there is nothing to ingest", fix="name at least one genotype file")
    low, high = allele_counts
    if low is not None and high is not None and low > high:
        raise InputError(
            f"the minimum allele count {low} is above the maximum {high}: no variant can pass",
            fix="exchange them, or leave one out",
        )
    if block_variants is not None and block_variants < 1:
        raise InputError(f"a block of {block_variants} variants is not possible", fix="give 1 or more")
    if on_duplicate not in ("error", "first", "keep"):
        raise InputError(f"on_duplicate is {on_duplicate!r}", fix="give 'error', 'first' or 'keep'")
    opened = tuple(
        open_source(source, **reader_options) if isinstance(source, (str, Path)) else source for source in sources
    )
    headers = tuple(source.header for source in opened)
    paths = Counter(str(Path(header.path).absolute()) for header in headers)
    twice = [path for path, number in paths.items() if number > 1]
    if twice:
        raise InputError("a source is named twice", where=twice[0], fix="name every file once")
    samples = select_samples(headers, keep_samples, exclude_samples)
    return IngestRequest(
        opened,
        headers,
        samples,
        _merge_regions(regions or ()),
        any_contig,
        low,
        high,
        _common_build(headers, build),
        on_duplicate,
        block_variants or default_block_variants(len(samples.sample_ids)),
        tuple(source_identity(header, reader_options) for header in headers),
    )


def _merge_regions(regions: Iterable[str | Region]) -> tuple[Region, ...]:
    """Regions without overlaps, so that nothing is read twice."""
    parsed = [parse_region(region) if isinstance(region, str) else Region(*region) for region in regions]
    merged: list[Region] = []
    for region in sorted(parsed, key=lambda region: region.start):
        for index, other in enumerate(merged):
            if same_contig(region.contig, other.contig) and region.start <= other.end + 1:
                merged[index] = other._replace(end=max(other.end, region.end))
                break
        else:
            merged.append(region)
    return tuple(merged)


def _common_build(headers: Sequence[SourceHeader], build: str | None) -> str | None:
    known = normalise_build(build) if build else None
    told_by = "the build that was given"
    for header in headers:
        if header.reference_build is None:
            continue
        found = normalise_build(header.reference_build)
        if known is not None and found != known:
            raise InputError(
                f"the reference builds differ: {found} here, {known} by {told_by}",
                where=header.path,
                fix="bring all files to one build, or correct the build that was given",
            )
        known, told_by = found, header.path
    return known
