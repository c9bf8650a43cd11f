"""One region of the cohort, from genealogies to calls: the task that runs beside others of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.design import MALE
from allscan.engine.ingest.batch import MISSING_CALL
from allscan.engine.simulation.assembly import (
    assemble_calls,
    count_by_group,
    drop_calls,
    haplotypes_needed,
    plan_copies,
)
from allscan.engine.simulation.coalescent import (
    ARRAY_LEAST_FREQUENCY,
    allot_haplotypes,
    simulate_haplotypes,
)
from allscan.engine.simulation.demography import ANCESTRIES
from allscan.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.simulation.genome import Region
    from allscan.engine.simulation.inheritance import RegionInheritance
    from allscan.engine.simulation.options import SimulationOptions
    from allscan.engine.simulation.pedigree import Pedigree

COMMON = 0.05
"""Minor allele frequency from which a variant may carry a large effect or enter the components."""

_PRUNING_R2 = 0.1
_PRUNING_SAMPLES = 1000
_LONGER = 1.7  # a region that offers too few variants is simulated again, this much longer
_BASES = np.array(["A", "C", "G", "T"], dtype=object)
_TRANSITION = np.array([2, 3, 0, 1])  # A-G, C-T
_TRANSVERSIONS = np.array([[1, 3], [0, 2], [1, 3], [0, 2]])
_TRANSITION_SHARE = 2 / 3


class RegionTask(NamedTuple):
    """What one region needs beside the pedigree and the options."""

    region: Region
    inheritance: RegionInheritance
    seed: np.random.SeedSequence
    causal: NDArray[np.int64]  # rows of the region with small effects
    n_large: int  # rows to choose for large effects
    n_components: int  # rows to choose for the principal components


@dataclass(frozen=True)
class RegionCalls:
    """The variants of one region, in genomic order."""

    region: Region
    position: NDArray[np.int32]  # (variants,) 1-based
    ref: NDArray[np.object_]  # (variants,) str
    alt: NDArray[np.object_]  # (variants,) str
    calls: NDArray[np.int8]  # (variants, samples) copies of ALT, -1 missing
    group_copies: NDArray[np.int64]  # (variants, groups) copies of ALT before calls went missing
    group_haplotypes: NDArray[np.int64]  # (groups,)
    causal: NDArray[np.int64]  # (causal,) rows with small effects
    large: NDArray[np.int64]  # (n_large,) rows with large effects
    causal_calls: NDArray[np.int8]  # (causal + n_large, samples) none missing
    component_calls: NDArray[np.int8]  # (up to n_components, samples) common, pruned for LD, none missing

    @property
    def variant_id(self) -> NDArray[np.object_]:
        """chromosome:position:ref:alt, shape (variants,)."""
        return np.array(
            [
                f"{self.region.chromosome}:{position}:{ref}:{alt}"
                for position, ref, alt in zip(self.position, self.ref, self.alt, strict=True)
            ],
            dtype=object,
        )

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Of ALT among all haplotypes of the cohort, shape (variants,)."""
        return np.asarray(self.group_copies.sum(axis=1) / self.group_haplotypes.sum())


def simulate_region(task: RegionTask, pedigree: Pedigree, options: SimulationOptions) -> RegionCalls:
    """Simulate one region for everybody.

    Raises
    ------
    InputError
        If the region cannot offer the variants asked for, at any length that fits.
    """
    region = task.region
    group = pedigree.group[pedigree.member]
    haploid = np.zeros(pedigree.n_samples, dtype=bool)
    if region.sex_linked:
        haploid = pedigree.sex[pedigree.member] == MALE
    group_haplotypes = np.bincount(group, np.where(haploid, 1, 2), len(pedigree.group_names)).astype(np.int64)

    offset, calls, group_copies = _enough_variants(task, pedigree, options, group, haploid, group_haplotypes)
    rng = np.random.default_rng(task.seed.spawn(1)[0])
    frequency = group_copies.sum(axis=1) / group_haplotypes.sum()
    minor = np.minimum(frequency, 1 - frequency)
    large = _choose_large(rng, minor, task.n_large)
    component = _choose_components(rng, calls, minor, task.n_components)
    result = RegionCalls(
        region=region,
        position=(region.start + offset).astype(np.int32),
        **_draw_alleles(rng, len(offset)),
        calls=calls,
        group_copies=group_copies,
        group_haplotypes=group_haplotypes,
        causal=task.causal,
        large=large,
        causal_calls=calls[np.concatenate([task.causal, large])],
        component_calls=calls[component],
    )
    drop_calls(rng, calls, options.missing_calls, MISSING_CALL)
    return result


def _enough_variants(
    task: RegionTask,
    pedigree: Pedigree,
    options: SimulationOptions,
    group: NDArray[np.int8],
    haploid: NDArray[np.bool_],
    group_haplotypes: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.int64]]:
    """Offsets, calls and group counts of exactly ``region.variants`` variants that vary in the cohort."""
    region = task.region
    needed = haplotypes_needed(task.inheritance, len(ANCESTRIES))
    counts = allot_haplotypes(needed, options.haplotype_limit)
    least = ARRAY_LEAST_FREQUENCY if options.spectrum == "array" else 0.0
    total = group_haplotypes.sum()
    length = region.length
    # Parents outside the cohort carry variants that no member has: a few more than wanted.
    wanted = region.variants + region.variants // 10 + 10
    while True:
        seed = task.seed.spawn(1)[0]
        found = simulate_haplotypes(seed, region, length, counts, spectrum=options.spectrum, wanted=wanted)
        rng = np.random.default_rng(seed.spawn(1)[0])
        plan = plan_copies(rng, task.inheritance, 2 * pedigree.n_individuals, found.first_of)
        calls = np.empty((len(found.offset), pedigree.n_samples), dtype=np.int8)
        assemble_calls(found.allele, found.offset, plan, pedigree.member, calls)
        copies = np.empty((len(calls), len(group_haplotypes)), dtype=np.int64)
        count_by_group(calls, group, haploid, copies)
        minor = np.minimum(copies.sum(axis=1), total - copies.sum(axis=1))
        varying = np.flatnonzero((minor > 0) & (minor >= least * total))[: region.variants]
        if len(varying) == region.variants:
            rows = varying[np.argsort(found.offset[varying])]
            return found.offset[rows], calls[rows], copies[rows]
        if length == region.room:
            raise InputError(
                f"a region of chromosome {region.chromosome} has only {len(varying):,} of the "
                f"{region.variants:,} variants that it should contribute",
                where="options variants and chromosomes of the simulation",
                fix="ask for fewer variants, more people or more chromosomes",
            )
        length = min(int(length * _LONGER), region.room)
        wanted *= 2


def _choose_large(rng: np.random.Generator, minor: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """Common variants, different ones where there are enough; the commonest where none is common."""
    common = np.flatnonzero(minor >= COMMON)
    if len(common) == 0:
        common = np.array([minor.argmax()])
    return rng.choice(common, number, replace=number > len(common))


def _choose_components(
    rng: np.random.Generator, calls: NDArray[np.int8], minor: NDArray[np.float64], number: int
) -> NDArray[np.int64]:
    """Common variants of which no two are correlated."""
    candidates = rng.permutation(np.flatnonzero(minor >= COMMON))[: 4 * number]
    if len(candidates) == 0:
        return candidates
    some = calls[candidates][:, :_PRUNING_SAMPLES].astype(np.float64)
    some -= some.mean(axis=1, keepdims=True)
    norm = np.sqrt((some**2).sum(axis=1, keepdims=True))
    some /= np.where(norm > 0, norm, 1)
    r2 = (some @ some.T) ** 2
    kept: list[int] = []
    for row in range(len(candidates)):
        if len(kept) < number and norm[row] > 0 and np.all(r2[row, kept] < _PRUNING_R2):
            kept.append(row)
    return candidates[kept]


def _draw_alleles(rng: np.random.Generator, number: int) -> dict[str, NDArray[np.object_]]:
    ref = rng.integers(0, 4, number)
    transition = rng.random(number) < _TRANSITION_SHARE
    alt = np.where(transition, _TRANSITION[ref], _TRANSVERSIONS[ref, rng.integers(0, 2, number)])
    return {"ref": _BASES[ref], "alt": _BASES[alt]}
