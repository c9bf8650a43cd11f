"""The genome of a simulated cohort: GRCh38 chromosomes, and the regions that are simulated on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.simulation.demography import HISTORICAL_RECOMBINATION_RATE, RECOMBINATION_RATE
from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHROMOSOMES = (*(str(number) for number in range(1, 23)), "X")

REFERENCE_BUILD = "GRCh38"

CHROMOSOME_LENGTH = {
    "1": 248956422, "2": 242193529, "3": 198295559, "4": 190214555, "5": 181538259, "6": 170805979,
    "7": 159345973, "8": 145138636, "9": 138394717, "10": 133797422, "11": 135086622, "12": 133275309,
    "13": 114364328, "14": 107043718, "15": 101991189, "16": 90338345, "17": 83257441, "18": 80373285,
    "19": 58617616, "20": 64444167, "21": 46709983, "22": 50818468, "X": 156040895,
}  # fmt: skip
"""Bases, GRCh38."""

_CENTROMERE = {
    "1": (121_700_000, 125_100_000), "2": (91_800_000, 96_000_000), "3": (87_800_000, 94_000_000),
    "4": (48_200_000, 51_800_000), "5": (46_100_000, 51_400_000), "6": (58_500_000, 62_600_000),
    "7": (58_100_000, 62_100_000), "8": (43_200_000, 47_200_000), "9": (42_200_000, 61_500_000),
    "10": (38_000_000, 41_600_000), "11": (51_000_000, 55_800_000), "12": (33_200_000, 37_800_000),
    "13": (0, 18_900_000), "14": (0, 18_200_000), "15": (0, 20_500_000), "16": (35_300_000, 38_400_000),
    "17": (22_700_000, 27_400_000), "18": (15_400_000, 21_500_000), "19": (24_200_000, 28_100_000),
    "20": (25_700_000, 30_400_000), "21": (0, 13_000_000), "22": (0, 17_400_000),
    "X": (58_100_000, 63_800_000),
}  # fmt: skip
"""Without variants: centromeres of the GRCh38 cytobands, short arms of the acrocentric chromosomes."""

_TELOMERE = 1_000_000  # bases left out at both ends
PAR1 = (10_001, 2_781_479)
_PAR2_START = 155_701_383

_ARRAY_SPACING = 1000  # bases per variant
_SHORTEST_REGION = 100_000  # bases: LD can be seen to decay within it
_HOTSPOT_WINDOW = 5000  # bases
# Four fifths of the recombination in about a seventh of the sequence, as observed
# (Myers et al. 2005, doi:10.1126/science.1117196).
_HOTSPOT_SHAPE = 0.12


@dataclass(frozen=True)
class Region:
    """A stretch of a chromosome with its own genealogies, independent of other regions.

    Attributes
    ----------
    linkage
        Index of the linkage group: regions of one group are inherited together as their distance
        allows. The pseudoautosomal region is a group of its own, inherited like an autosome.
    start
        Position of its first base, 1-based.
    length
        In bases.
    variants
        Variants that it contributes to the cohort.
    """

    index: int
    chromosome: str
    linkage: int
    start: int
    length: int
    room: int  # bases until the next region could begin
    variants: int
    sex_linked: bool

    @property
    def genetic_length(self) -> float:
        """Morgans."""
        return self.length * RECOMBINATION_RATE


def expected_density(spectrum: str, haplotypes: int) -> float:
    """Variants per base that a region is expected to offer, at least.

    Segregating sites grow with about the square root of the number of haplotypes. East Asians, who have
    the fewest, have 3 per 1,000 bases in 100 haplotypes, 19 in 4,000 and 48 in 20,000.
    """
    if spectrum == "array":
        return 1 / _ARRAY_SPACING
    return 0.018 * math.sqrt(haplotypes / 4000)


def plan_regions(
    rng: np.random.Generator,
    chromosomes: Sequence[str],
    variants: int,
    *,
    par: bool,
    spectrum: str,
    haplotypes: int,
) -> tuple[Region, ...]:
    """Spread regions over the chromosomes, in genomic order.

    Few long regions would make relatives differ too much in what they share and leave no long-range
    structure; many short ones would cost time and hide LD: four per chromosome, more above 1,100
    variants each, long chromosomes having more.

    Raises
    ------
    InputError
        If the chromosomes have no room for so many variants.
    """
    arms = [(name, start, stop) for name in chromosomes for start, stop in _arms(name)]
    arm_length = np.array([stop - start for _, start, stop in arms], dtype=np.float64)
    wanted = max(4 * len(chromosomes), -(-variants // 1100))
    wanted = max(len(chromosomes), min(wanted, variants // 20))
    per_arm = _share_regions(arms, arm_length, wanted)
    slots: list[tuple[str, int, int]] = []
    for (name, start, stop), number in zip(arms, per_arm, strict=True):
        edges = np.linspace(start, stop, number + 1).astype(np.int64)
        slots += [(name, int(low), int(high)) for low, high in pairwise(edges)]
    if par:
        slots.append(("PAR1", *PAR1))
    order = {name: rank for rank, name in enumerate(CHROMOSOMES)}
    slots.sort(key=lambda slot: (order["X" if slot[0] == "PAR1" else slot[0]], slot[1]))

    counts = np.full(len(slots), variants // len(slots))
    counts[: variants % len(slots)] += 1
    linkage: dict[str, int] = {}
    regions = []
    for index, ((name, low, high), count) in enumerate(zip(slots, counts, strict=True)):
        length = max(int(count / expected_density(spectrum, haplotypes)), _SHORTEST_REGION)
        if length > high - low:
            raise InputError(
                f"{variants:,} variants have no room on {len(chromosomes)} chromosome(s): a region of {name} "
                f"would need {length:,} bases and has {high - low:,}",
                where="options variants and chromosomes of the simulation",
                fix="ask for fewer variants or more chromosomes",
            )
        # The first half of the free room: a region that turns out poor in variants can still be extended.
        start = low + int(rng.integers(0, (high - low - length) // 2 + 1))
        regions.append(
            Region(
                index=index,
                chromosome="X" if name == "PAR1" else name,
                linkage=linkage.setdefault(name, len(linkage)),
                start=start,
                length=length,
                room=high - start,
                variants=int(count),
                sex_linked=name == "X",
            )
        )
    return tuple(regions)


def recombination_map(rng: np.random.Generator, length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Window edges (windows + 1,) in bases and rates (windows,) per base and generation, with hotspots."""
    edges = np.append(np.arange(0.0, length, _HOTSPOT_WINDOW), float(length))
    rates = rng.gamma(_HOTSPOT_SHAPE, 1 / _HOTSPOT_SHAPE, len(edges) - 1)
    # A window without any recombination at all would be no window of a chromosome.
    return edges, HISTORICAL_RECOMBINATION_RATE * (0.05 + 0.95 * rates)


def _arms(chromosome: str) -> list[tuple[int, int]]:
    """First and last usable base of each arm."""
    gap_start, gap_stop = _CENTROMERE[chromosome]
    first = PAR1[1] + 1 if chromosome == "X" else _TELOMERE
    last = _PAR2_START - 1 if chromosome == "X" else CHROMOSOME_LENGTH[chromosome] - _TELOMERE
    arms = [(first, gap_start), (gap_stop, last)]
    return [(start, stop) for start, stop in arms if stop > start]


def _share_regions(arms: list[tuple[str, int, int]], arm_length: NDArray[np.float64], wanted: int) -> NDArray[np.int64]:
    """Regions of each arm: at least one per chromosome, the rest by length."""
    longest: dict[str, int] = {}
    for number, (name, _, _) in enumerate(arms):
        if name not in longest or arm_length[number] > arm_length[longest[name]]:
            longest[name] = number
    counts = np.zeros(len(arms), dtype=np.int64)
    counts[list(longest.values())] = 1
    while counts.sum() < wanted:
        # Highest averages (Sainte-Laguë): proportional to length, and never more than `wanted`.
        counts[np.argmax(arm_length / (2 * counts + 1))] += 1
    return counts
