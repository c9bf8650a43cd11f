"""What is counted while a cohort is simulated, and the record of it."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.simulation.demography import ANCESTRIES
from allscan.engine.simulation.genome import REFERENCE_BUILD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.simulation.inheritance import RegionInheritance
    from allscan.engine.simulation.options import SimulationOptions
    from allscan.engine.simulation.pedigree import Pedigree
    from allscan.engine.simulation.regions import RegionCalls
    from allscan.engine.simulation.traits import CohortTraits


class AncestryShares:
    """Realised shares of the ancestral populations, averaged over the regions."""

    def __init__(self, pedigree: Pedigree) -> None:
        self._pedigree = pedigree
        self._sum = np.zeros((2 * pedigree.n_individuals, len(ANCESTRIES)), dtype=np.float32)

    def add(self, inheritance: RegionInheritance, length: int) -> None:
        """Add one region, weighted by its length."""
        self._sum += length * inheritance.ancestry_shares(len(self._sum), length)

    def of_members(self) -> NDArray[np.float64]:
        """Shares of each member, shape (samples, ancestries)."""
        total = (self._sum[0::2] + self._sum[1::2])[self._pedigree.member].astype(np.float64)
        return np.asarray(total / total.sum(axis=1, keepdims=True))


class CohortSummary:
    """Counts over all variants that the report quotes."""

    def __init__(self, pedigree: Pedigree) -> None:
        self._pedigree = pedigree
        groups = len(pedigree.group_names)
        self._between = np.zeros((groups, groups))
        self._total = np.zeros((groups, groups))
        self._variants = 0
        self._rare = 0
        self.singletons = 0
        self.common = 0

    def add(self, region: RegionCalls) -> None:
        """Count the variants of one region."""
        copies = region.group_copies.sum(axis=1)
        minor = np.minimum(copies, region.group_haplotypes.sum() - copies)
        self._variants += len(minor)
        self._rare += int((minor <= 0.001 * self._pedigree.n_samples).sum())
        self.singletons += int((minor == 1).sum())
        self.common += int((minor >= 0.05 * region.group_haplotypes.sum()).sum())
        if region.region.chromosome == "X":
            return
        # Hudson's F_ST as a ratio of averages (Bhatia et al. 2013, doi:10.1101/gr.154831.113).
        frequency = region.group_copies / np.maximum(region.group_haplotypes, 1)
        noise = frequency * (1 - frequency) / np.maximum(region.group_haplotypes - 1, 1)
        for one in range(frequency.shape[1]):
            p, other = frequency[:, one, None], frequency
            self._between[one] += ((p - other) ** 2 - noise[:, one, None] - noise).sum(axis=0)
            self._total[one] += (p * (1 - other) + other * (1 - p)).sum(axis=0)

    def f_st(self) -> dict[str, float]:
        """Of every pair of groups, over autosomal variants."""
        names = self._pedigree.group_names
        counts = list(self.group_counts().values())
        return {
            f"{names[one]}-{names[other]}": round(float(self._between[one, other] / self._total[one, other]), 5)
            for one in range(len(names))
            for other in range(one + 1, len(names))
            if counts[one] and counts[other] and self._total[one, other] > 0
        }

    def rare_share(self) -> float:
        """Share of variants whose minor allele count is at most 0.1 % of the number of samples."""
        return self._rare / self._variants

    def group_counts(self) -> dict[str, int]:
        """Members of each group."""
        group = self._pedigree.group[self._pedigree.member]
        counts = np.bincount(group, minlength=len(self._pedigree.group_names))
        return {name: int(count) for name, count in zip(self._pedigree.group_names, counts, strict=True)}


def write_record(
    path: Path,
    options: SimulationOptions,
    group_names: Sequence[str],
    traits: CohortTraits,
    numbers: Mapping[str, Any],
) -> None:
    """Options, versions and numbers. Nothing that depends on the machine: equal seeds give equal bytes."""
    missing = np.isnan(traits.values).mean(axis=0)
    large = [line.trait for line in traits.truth if line.kind == "large"]
    small = [line.trait for line in traits.truth if line.kind == "polygenic"]
    names = (*options.names, *options.binary_names)
    given = {**asdict(options), "groups": dict(options.groups)}
    if not options.binary_traits:
        for name in ("binary_traits", "prevalence"):
            del given[name]
    if not options.records:
        del given["records"]
    n_traits = len(names)
    n_large = np.bincount(np.array(large, dtype=np.int64), minlength=n_traits)
    n_small = np.bincount(np.array(small, dtype=np.int64), minlength=n_traits)
    record = {
        "options": given,
        "versions": {
            "allscan": metadata.version("allscan"),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("msprime", "tskit", "numpy", "scipy", "numba")},
        },
        "reference_build": REFERENCE_BUILD,
        "numbers": dict(numbers),
        "traits": [
            {
                "name": name,
                "heritability": round(float(traits.heritability[number]), 6),
                "large_effects": int(n_large[number]),
                "small_effects": int(n_small[number]),
                "missing_pattern": traits.patterns[number],
                "missing_share": round(float(missing[number]), 6),
                **_of_cases(options, number - options.traits, traits.values[:, number]),
                "group_shift": dict(zip(group_names, np.round(traits.group_shift[number], 6).tolist(), strict=True)),
            }
            for number, name in enumerate(names)
        ],
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _of_cases(options: SimulationOptions, binary_trait: int, values: NDArray[np.float64]) -> dict[str, Any]:
    if binary_trait < 0:
        return {}
    return {"prevalence": options.prevalence_of(binary_trait), "cases": int(np.nansum(values))}
