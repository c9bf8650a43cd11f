"""Haplotypes of one region from the coalescent, and the choice of its variants."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.simulation.demography import (
    ANCESTRIES,
    MUTATION_RATE,
    X_SIZE,
    demography,
    load_msprime,
)
from allscan.engine.simulation.genome import recombination_map
from allscan.engine.simulation.pedigree import largest_remainder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.simulation.genome import Region

ARRAY_LEAST_FREQUENCY = 0.01
_DISCOVERY_HAPLOTYPES = 4  # per ancestral population, of the panel in which an array's variants were found


@dataclass(frozen=True)
class FounderHaplotypes:
    """Alleles of the variants of a region on the haplotypes that the coalescent made.

    Variants are in random order: the first ``k`` of them are a fair choice of ``k``.
    """

    offset: NDArray[np.int32]  # (variants,) base in the region, from 0
    allele: NDArray[np.int8]  # (variants, haplotypes) 1: ALT
    first_of: NDArray[np.int64]  # (ancestries + 1,) haplotypes of ancestry a: first_of[a] to first_of[a + 1]


def allot_haplotypes(needed: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Haplotypes to simulate of each ancestry: as many as needed, or ``limit`` in all.

    An ancestry that is needed at all gets at least two.
    """
    if needed.sum() <= limit:
        return needed
    allotted = largest_remainder(needed.astype(np.float64), limit)
    return np.minimum(needed, np.maximum(allotted, np.where(needed > 0, 2, 0)))


def simulate_haplotypes(
    seed: np.random.SeedSequence,
    region: Region,
    length: int,
    counts: NDArray[np.int64],
    *,
    spectrum: str,
    wanted: int,
) -> FounderHaplotypes:
    """Genealogies with recombination and mutations of ``counts`` haplotypes per ancestry.

    Biallelic sites hit by one mutation only. The reference genome is one of the haplotypes: where it
    carries the derived allele, ALT is the ancestral one. With the spectrum ``array``, sites have a
    frequency of at least 1 % over all haplotypes and are drawn by their chance of having been found in
    a small panel of every population, as the variants of genotyping arrays were; with ``wgs``, every
    site has the same chance.

    Parameters
    ----------
    length
        Bases to simulate, from the region's start.
    counts
        Haplotypes of each ancestral population, shape (ancestries,).
    wanted
        Return at most this many variants.
    """
    msprime = load_msprime()
    rng = np.random.default_rng(seed)
    edges, rates = recombination_map(rng, length)
    ancestry_seed, mutation_seed = (int(number) for number in rng.integers(1, 2**31, 2))
    present = [number for number in range(len(ANCESTRIES)) if counts[number]]
    trees = msprime.sim_ancestry(
        samples=[msprime.SampleSet(int(counts[number]), population=ANCESTRIES[number], ploidy=1) for number in present],
        demography=demography(X_SIZE if region.sex_linked else 1.0),
        recombination_rate=msprime.RateMap(position=edges, rate=rates),
        random_seed=ancestry_seed,
    )
    mutated = msprime.sim_mutations(
        trees, rate=MUTATION_RATE, random_seed=mutation_seed, model=msprime.BinaryMutationModel()
    )
    site, derived = _single_mutations(mutated)
    if spectrum == "array":
        share = derived / mutated.num_samples
        site = site[np.minimum(share, 1 - share) >= ARRAY_LEAST_FREQUENCY]
    first_of = np.concatenate([[0], np.cumsum(counts)])
    if spectrum == "wgs":
        site = rng.permutation(site)[:wanted]
    allele = _decode(mutated, site)
    if spectrum == "array":
        order = _by_discovery(rng, allele, first_of)[:wanted]
        site, allele = site[order], allele[order]
    reference = int(rng.integers(mutated.num_samples))
    allele ^= allele[:, reference : reference + 1].copy()
    return FounderHaplotypes(
        offset=mutated.tables.sites.position[site].astype(np.int32),
        allele=allele,
        first_of=first_of,
    )


def _single_mutations(trees: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sites with one mutation, and how many haplotypes carry it; those that all carry are left out."""
    tables = trees.tables
    mutations_of_site = np.bincount(tables.mutations.site, minlength=trees.num_sites)
    node_of_site = np.empty(trees.num_sites, dtype=np.int64)
    node_of_site[tables.mutations.site] = tables.mutations.node
    position = tables.sites.position
    derived = np.zeros(trees.num_sites, dtype=np.int64)
    for tree in trees.trees():
        low, high = np.searchsorted(position, tree.interval)
        for row in range(low, high):
            derived[row] = tree.num_samples(node_of_site[row])
    polymorphic = (mutations_of_site == 1) & (derived > 0) & (derived < trees.num_samples)
    site = np.flatnonzero(polymorphic)
    return site, derived[site]


def _decode(trees: Any, site: NDArray[np.int64]) -> NDArray[np.int8]:
    """Which haplotypes carry the derived allele at some sites, shape (sites, haplotypes)."""
    import tskit

    variant = tskit.Variant(trees)
    allele = np.empty((len(site), trees.num_samples), dtype=np.int8)
    # In genomic order, because the decoder walks along the trees.
    for row in np.argsort(site, kind="stable"):
        variant.decode(int(site[row]))
        allele[row] = variant.genotypes
    return allele


def _by_discovery(rng: np.random.Generator, allele: NDArray[np.int8], first_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order drawn with each site's chance of varying in the discovery panel."""
    absent = np.ones(len(allele))
    fixed = np.ones(len(allele))
    for start, stop in pairwise(first_of):
        if stop > start:
            frequency = allele[:, start:stop].mean(axis=1, dtype=np.float64)
            absent *= (1 - frequency) ** _DISCOVERY_HAPLOTYPES
            fixed *= frequency**_DISCOVERY_HAPLOTYPES
    chance = np.maximum(1 - absent - fixed, 1e-12)
    # Weighted order without replacement (Efraimidis and Spirakis 2006, doi:10.1016/j.ipl.2005.11.003).
    return np.argsort(rng.standard_exponential(len(allele)) / chance, kind="stable")
