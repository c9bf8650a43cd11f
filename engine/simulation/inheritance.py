"""Who carries which stretch: local ancestry of founders, and meiosis along the pedigree, region by region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.design import MALE
from allscan.engine.simulation.demography import ANCESTRIES, GROUPS, RECOMBINATION_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from allscan.engine.simulation.genome import Region
    from allscan.engine.simulation.pedigree import Pedigree

NO_BREAK = np.iinfo(np.int32).max
"""Breakpoint of a haplotype that is copied whole."""


@dataclass(frozen=True)
class RegionInheritance:
    """What every haplotype of the pedigree is made of in one region.

    A founder's haplotype is of one ancestry, or of two with a switch between them. Every other one is
    copied from haplotypes that stand before it: ``first_source`` left of ``copy_break`` (an offset in the
    region), ``second_source`` from there on. Copies are in an order in which sources come first.
    """

    ancestry: NDArray[np.int8]  # (founder haplotypes,) ancestral population; -1 where it is a copy
    switch_haplotype: NDArray[np.int32]  # (switches,) founder haplotypes that change ancestry inside
    switch_break: NDArray[np.int32]  # (switches,) offset in bases where they do
    switch_ancestry: NDArray[np.int8]  # (switches,) what they change to
    copy_target: NDArray[np.int32]  # (copies,) haplotype
    first_source: NDArray[np.int32]  # (copies,)
    second_source: NDArray[np.int32]  # (copies,)
    copy_break: NDArray[np.int32]  # (copies,)

    def ancestry_shares(self, n_haplotypes: int, length: int) -> NDArray[np.float32]:
        """Share of each ancestral population in every haplotype, shape (haplotypes, ancestries)."""
        shares = np.zeros((n_haplotypes, len(ANCESTRIES)), dtype=np.float32)
        own = np.flatnonzero(self.ancestry >= 0)
        shares[own, self.ancestry[own]] = 1
        rest = (1 - self.switch_break / length).astype(np.float32)
        shares[self.switch_haplotype, self.ancestry[self.switch_haplotype]] -= rest
        shares[self.switch_haplotype, self.switch_ancestry] += rest
        first = np.minimum(self.copy_break / length, 1).astype(np.float32)[:, None]
        # Copies of copies (a son's X) refer to earlier rows, so that two passes settle everything.
        for _ in range(2):
            shares[self.copy_target] = first * shares[self.first_source] + (1 - first) * shares[self.second_source]
        return shares


def inherit(
    rng_of_linkage: Sequence[np.random.Generator], pedigree: Pedigree, regions: Sequence[Region]
) -> Iterator[RegionInheritance]:
    """Walk along the chromosomes and say, region by region, what every haplotype is made of.

    A founder of mixed ancestry changes ancestry along a chromosome as a Markov chain: switches come at
    a rate of the group's ``generations`` per Morgan, the new ancestry is drawn from the person's shares.
    Gametes recombine without interference (Haldane). At most one switch and one crossover per haplotype
    are made inside a region. On chromosome X outside the pseudoautosomal region a male's paternal
    haplotype is a copy of his maternal one, so that his calls are 0 or 2.
    """
    males = np.flatnonzero(pedigree.sex == MALE).astype(np.int32)
    generations = np.array([GROUPS[name].generations for name in pedigree.group_names])
    switch_rate = np.repeat(generations[pedigree.group[: pedigree.n_founders]], 2)
    cumulative = np.cumsum(pedigree.shares, axis=1)
    state: _State | None = None
    for region in regions:
        rng = rng_of_linkage[region.linkage]
        if state is None or region.linkage != state.linkage:
            state = _State(
                linkage=region.linkage,
                ancestry=_draw_ancestry(rng, cumulative, np.arange(2 * pedigree.n_founders)),
                phase=rng.random(2 * len(pedigree.mother)) < 0.5,
                end=region.start,
            )
        distance = (region.start - state.end) * RECOMBINATION_RATE
        yield _inherit_region(rng, pedigree, region, state, distance, switch_rate, cumulative, males)
        state.end = region.start + region.length


@dataclass
class _State:
    """Where the walk along a linkage group stands."""

    linkage: int
    ancestry: NDArray[np.int8]  # (founder haplotypes,)
    phase: NDArray[np.bool_]  # (2 * children,) which of the parent's haplotypes is read
    end: int


def _draw_ancestry(
    rng: np.random.Generator, cumulative: NDArray[np.float64], haplotypes: NDArray[np.int64]
) -> NDArray[np.int8]:
    """An ancestral population for each founder haplotype, from its carrier's cumulative shares."""
    draw = rng.random(len(haplotypes))
    chosen = (cumulative[haplotypes // 2, :-1] <= draw[:, None]).sum(axis=1)
    return np.asarray(chosen, dtype=np.int8)


def _inherit_region(
    rng: np.random.Generator,
    pedigree: Pedigree,
    region: Region,
    state: _State,
    distance: float,
    switch_rate: NDArray[np.float64],
    cumulative: NDArray[np.float64],
    males: NDArray[np.int32],
) -> RegionInheritance:
    # On X, recombination happens in mothers only: two thirds of the copies of the past.
    past = 2 / 3 if region.sex_linked else 1.0
    n_founders = pedigree.n_founders

    moved = np.flatnonzero(rng.random(2 * n_founders) < -np.expm1(-distance * past * switch_rate))
    state.ancestry[moved] = _draw_ancestry(rng, cumulative, moved)
    start_ancestry = state.ancestry.copy()
    inside = -np.expm1(-region.genetic_length * past * switch_rate)
    switching = np.flatnonzero(rng.random(2 * n_founders) < inside)
    switch_break = rng.integers(1, region.length, len(switching)).astype(np.int32)
    switch_ancestry = _draw_ancestry(rng, cumulative, switching)
    state.ancestry[switching] = switch_ancestry
    male_founders = males[males < n_founders]
    if region.sex_linked:
        start_ancestry[2 * male_founders + 1] = -1
    real = (switch_ancestry != start_ancestry[switching]) & (start_ancestry[switching] >= 0)
    switching, switch_break, switch_ancestry = switching[real], switch_break[real], switch_ancestry[real]

    state.phase ^= rng.random(len(state.phase)) < -np.expm1(-2 * distance) / 2
    start_phase = state.phase.copy()
    crossing = np.flatnonzero(rng.random(len(state.phase)) < region.genetic_length)
    copy_break = np.full(len(state.phase), NO_BREAK, dtype=np.int32)
    copy_break[crossing] = rng.integers(1, region.length, len(crossing))
    state.phase[crossing] ^= True

    parent = np.empty(len(state.phase), dtype=np.int32)
    parent[0::2] = pedigree.mother
    parent[1::2] = pedigree.father
    target = 2 * n_founders + np.arange(len(parent), dtype=np.int32)
    first = 2 * parent + start_phase
    second = 2 * parent + 1 - start_phase
    if region.sex_linked:
        # A father hands on his one X whole, and to daughters only: a son's second haplotype is his first.
        from_father = np.arange(1, len(parent), 2)
        copy_break[from_father] = NO_BREAK
        sons = pedigree.sex[n_founders:] == MALE
        source = np.where(sons, target[0::2], 2 * pedigree.father)
        first[from_father] = source
        second[from_father] = source
        target = np.concatenate([2 * male_founders + 1, target])
        first = np.concatenate([2 * male_founders, first])
        second = np.concatenate([2 * male_founders, second])
        copy_break = np.concatenate([np.full(len(male_founders), NO_BREAK, dtype=np.int32), copy_break])
    return RegionInheritance(
        ancestry=start_ancestry,
        switch_haplotype=switching.astype(np.int32),
        switch_break=switch_break,
        switch_ancestry=switch_ancestry,
        copy_target=target.astype(np.int32),
        first_source=first.astype(np.int32),
        second_source=second.astype(np.int32),
        copy_break=copy_break,
    )
