"""From founder haplotypes to the calls of the cohort: copying along the pedigree, counts, missing calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.simulation.inheritance import RegionInheritance


class CopyPlan(NamedTuple):
    """Which simulated haplotype every founder haplotype shows, and which haplotypes are copies of others."""

    leaf: NDArray[np.int32]  # (haplotypes,) simulated haplotype; -1 where it is a copy
    switch_haplotype: NDArray[np.int32]  # (switches,)
    switch_break: NDArray[np.int32]  # (switches,)
    switch_leaf: NDArray[np.int32]  # (switches,)
    copy_target: NDArray[np.int32]  # (copies,)
    first_source: NDArray[np.int32]  # (copies,)
    second_source: NDArray[np.int32]  # (copies,)
    copy_break: NDArray[np.int32]  # (copies,)


def haplotypes_needed(inheritance: RegionInheritance, n_ancestries: int) -> NDArray[np.int64]:
    """Simulated haplotypes of each ancestry that give every founder stretch one of its own."""
    own = inheritance.ancestry[inheritance.ancestry >= 0]
    return np.bincount(own, minlength=n_ancestries) + np.bincount(inheritance.switch_ancestry, minlength=n_ancestries)


def plan_copies(
    rng: np.random.Generator,
    inheritance: RegionInheritance,
    n_haplotypes: int,
    first_of: NDArray[np.int64],
) -> CopyPlan:
    """Give every founder stretch a simulated haplotype of its ancestry.

    Each one its own while there are enough of an ancestry; drawn with replacement otherwise.
    """
    stretch_ancestry = np.concatenate([inheritance.ancestry, inheritance.switch_ancestry])
    stretch_leaf = np.full(len(stretch_ancestry), -1, dtype=np.int32)
    for ancestry in range(len(first_of) - 1):
        stretches = np.flatnonzero(stretch_ancestry == ancestry)
        available = int(first_of[ancestry + 1] - first_of[ancestry])
        if len(stretches) <= available:
            chosen = np.arange(len(stretches))
        else:
            chosen = rng.integers(0, available, len(stretches))
        stretch_leaf[stretches] = first_of[ancestry] + chosen
    leaf = np.full(n_haplotypes, -1, dtype=np.int32)
    n_founder_haplotypes = len(inheritance.ancestry)
    leaf[:n_founder_haplotypes] = stretch_leaf[:n_founder_haplotypes]
    return CopyPlan(
        leaf=leaf,
        switch_haplotype=inheritance.switch_haplotype,
        switch_break=inheritance.switch_break,
        switch_leaf=stretch_leaf[n_founder_haplotypes:],
        copy_target=inheritance.copy_target,
        first_source=inheritance.first_source,
        second_source=inheritance.second_source,
        copy_break=inheritance.copy_break,
    )


@jit
def assemble_calls(
    allele: NDArray[np.int8],
    offset: NDArray[np.int32],
    plan: CopyPlan,
    member: NDArray[np.int32],
    out: NDArray[np.int8],
) -> None:
    """Copies of ALT of every member, 0, 1 or 2.

    Parameters
    ----------
    allele
        1 where a simulated haplotype carries ALT, shape (variants, simulated haplotypes).
    offset
        Base of each variant in the region, shape (variants,).
    member
        Individual of each row of the cohort, shape (samples,).
    out
        Written, shape (variants, samples).
    """
    n_haplotypes = len(plan.leaf)
    haplotype = np.zeros(n_haplotypes, dtype=np.int8)
    for v in range(allele.shape[0]):
        row = allele[v]
        for h in range(n_haplotypes):
            if plan.leaf[h] >= 0:
                haplotype[h] = row[plan.leaf[h]]
        for s in range(len(plan.switch_haplotype)):
            if offset[v] >= plan.switch_break[s]:
                haplotype[plan.switch_haplotype[s]] = row[plan.switch_leaf[s]]
        for c in range(len(plan.copy_target)):
            source = plan.first_source[c] if offset[v] < plan.copy_break[c] else plan.second_source[c]
            haplotype[plan.copy_target[c]] = haplotype[source]
        for m in range(len(member)):
            out[v, m] = haplotype[2 * member[m]] + haplotype[2 * member[m] + 1]


@jit
def count_by_group(
    calls: NDArray[np.int8], group: NDArray[np.int8], haploid: NDArray[np.bool_], out: NDArray[np.int64]
) -> None:
    """Copies of ALT in each group, a haploid sample's calls counted once.

    Parameters
    ----------
    calls
        0, 1 or 2, shape (variants, samples); 0 or 2 for haploid samples.
    group
        Shape (samples,).
    haploid
        Shape (samples,).
    out
        Written, shape (variants, groups).
    """
    out[:] = 0
    for v in range(calls.shape[0]):
        for n in range(calls.shape[1]):
            out[v, group[n]] += calls[v, n] >> 1 if haploid[n] else calls[v, n]


def drop_calls(rng: np.random.Generator, calls: NDArray[np.int8], mean_rate: float, missing_code: int) -> None:
    """Make calls missing, in place: variants differ in quality, people do not.

    A variant's rate is gamma distributed (shape 0.5) around ``mean_rate`` and at most 0.5.
    """
    if mean_rate == 0:
        return
    n_variants, n_samples = calls.shape
    rates = np.minimum(rng.gamma(0.5, mean_rate / 0.5, n_variants), 0.5)
    for row, number in enumerate(np.atleast_1d(rng.binomial(n_samples, rates))):
        calls[row, rng.integers(0, n_samples, number)] = missing_code
