"""The largest set of people of whom no two are related.

Pairs of relatives are the edges of a graph, and the set is an independent one of the largest weight. The graph falls
into families, nearly all of them small. What cannot be wrong is decided first (a person who weighs at least as much as
all of the relatives left is taken; one whose relatives include all of those of a lighter or equal neighbour, and that
neighbour, goes), and what is left of a family is searched, with a bound of one person for each clique of a cover. A
family on which the search was stopped has the best set that was found, at least as heavy as the greedy ones, and the
bound says how much heavier another could be.

The result is the same whatever the order of the pairs, and the weight of it whatever that of the people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MOST_WORK = 200_000
"""Of the search of one family: steps, times its people. It is a matter of seconds."""
LARGEST_SEARCH = 2_000
"""People of a family that is searched: of a larger one the better of two greedy sets is taken."""
_TIE = 1e-6  # what divergent people may weigh more, so that they decide between sets of the same weight only


@dataclass(frozen=True, eq=False)
class UnrelatedSet:
    """People of whom no two are related."""

    kept: NDArray[np.bool_]  # (people,)
    n_families: int  # of two and more
    n_searched_in_part: int  # families whose set may not be the heaviest
    weight: float  # of those kept
    bound: float  # what no set can exceed; the weight itself where the set is known to be the heaviest

    @property
    def optimal(self) -> bool:
        """Whether no set is heavier."""
        return self.n_searched_in_part == 0


def unrelated_set(
    n_people: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    weight: NDArray[np.float64] | None = None,
    divergent: NDArray[np.int64] | None = None,
) -> UnrelatedSet:
    """Choose people of whom no two are related.

    Parameters
    ----------
    first, second : (pairs,) int64
        People, by number, each pair once or more often.
    weight : (people,), optional
        What a person is worth; one for everybody, if not given: the set is then as large as can be. With two for
        cases one of them is kept for two controls.
    divergent : (people,), optional
        With how many others each is of a different ancestry: between sets of the same weight those with more are kept
        (PC-AiR; Conomos et al. 2015, 10.1002/gepi.21896), so that the set has people of every ancestry.

    Raises
    ------
    InputError
        A weight is not a positive number.
    """
    worth = np.ones(n_people) if weight is None else np.asarray(weight, np.float64)
    if not (np.isfinite(worth) & (worth > 0)).all():
        raise InputError("somebody's weight is not a positive number", fix="give weights above 0; 1 is usual")
    told = worth
    if divergent is not None and n_people:
        # All who diverge together weigh less more than the least that weights differ by.
        worth = worth + _TIE * worth.min() * divergent / max(float(divergent.sum()), 1.0)
    neighbours = _neighbours(first, second)
    kept = np.ones(n_people, np.bool_)
    families = partial = 0
    beyond = 0.0
    for family in _families(neighbours):
        families += 1
        search = _Search({person: neighbours[person] for person in family}, worth)
        chosen = search.best()
        kept[family] = False
        kept[sorted(chosen)] = True
        partial += not search.complete
        beyond += search.bound - search.weight
    total = float(told[kept].sum())
    return UnrelatedSet(kept, families, partial, total, total + beyond if partial else total)


def _neighbours(first: NDArray[np.int64], second: NDArray[np.int64]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        if a != b:
            found.setdefault(a, set()).add(b)
            found.setdefault(b, set()).add(a)
    return found


def _families(neighbours: dict[int, set[int]]) -> Iterator[list[int]]:
    """Connected people, ascending within each family, families by their first person."""
    seen: set[int] = set()
    for person in sorted(neighbours):
        if person in seen:
            continue
        family, waiting = [], [person]
        seen.add(person)
        while waiting:
            here = waiting.pop()
            family.append(here)
            new = neighbours[here] - seen
            seen |= new
            waiting += new
        yield sorted(family)


class _Search:
    """The heaviest set of one family."""

    def __init__(self, neighbours: dict[int, set[int]], worth: NDArray[np.float64]) -> None:
        self.complete = True
        self._people = sorted(neighbours)
        self._worth = [float(worth[person]) for person in self._people]
        number = {person: k for k, person in enumerate(self._people)}
        # Sets of people are whole numbers, a bit for each.
        self._near = [sum(1 << number[other] for other in neighbours[person]) for person in self._people]
        self._steps = 0
        self._best = max(self._greedy(), self._pruned(), key=self._weigh)
        self.weight = self._weigh(self._best)
        self.bound = self.weight

    def best(self) -> list[int]:
        """Search, and say who is in the set."""
        everybody = (1 << len(self._people)) - 1
        if len(self._people) > LARGEST_SEARCH:
            self.complete = False
        else:
            self._extend(everybody, 0, 0.0)
        self.bound = self.weight if self.complete else self._cover(everybody)
        if self.bound <= self.weight:
            self.complete = True
        return [self._people[k] for k in _bits(self._best)]

    def _weigh(self, members: int) -> float:
        return sum(self._worth[k] for k in _bits(members))

    def _greedy(self) -> int:
        """Of those left, the one with the heaviest weight for each relative left and oneself; then of the next."""
        left, chosen = (1 << len(self._people)) - 1, 0
        degree = [near.bit_count() for near in self._near]
        while left:
            k = max(_bits(left), key=lambda k: (self._worth[k] / (1 + degree[k]), -k))
            gone = left & (self._near[k] | 1 << k)
            chosen |= 1 << k
            left &= ~gone
            for other in _bits(gone):
                for another in _bits(self._near[other] & left):
                    degree[another] -= 1
        return chosen

    def _pruned(self) -> int:
        """Of those left, the one with the most relatives for its weight goes, until nobody has one."""
        left = (1 << len(self._people)) - 1
        degree = [near.bit_count() for near in self._near]
        while True:
            k = max(_bits(left), key=lambda k: (degree[k] / self._worth[k], -k))
            if not degree[k]:
                return left
            left &= ~(1 << k)
            for other in _bits(self._near[k] & left):
                degree[other] -= 1

    def _extend(self, left: int, chosen: int, weight: float) -> None:
        """Look for the heaviest set that holds ``chosen`` and others of ``left`` only."""
        # Those taken or left out one after the other, as (left, chosen, weight): no recursion, families may be long.
        waiting = [(left, chosen, weight)]
        while waiting:
            left, chosen, weight = self._reduce(*waiting.pop())
            if not left:
                if weight > self.weight * (1 + 1e-12):
                    self._best, self.weight = chosen, weight
                continue
            if weight + self._cover(left) <= self.weight * (1 + 1e-12):
                continue
            self._steps += 1
            if self._steps * len(self._people) > MOST_WORK:
                self.complete = False
                return
            k = max(_bits(left), key=lambda k: ((self._near[k] & left).bit_count(), -k))
            waiting.append((left & ~(1 << k), chosen, weight))
            waiting.append((left & ~(self._near[k] | 1 << k), chosen | 1 << k, weight + self._worth[k]))

    def _reduce(self, left: int, chosen: int, weight: float) -> tuple[int, int, float]:
        """Decide what can be decided without a loss."""
        changed = True
        while changed:
            changed = False
            for k in _bits(left):
                if not left >> k & 1:
                    continue
                near = self._near[k] & left
                if sum(self._worth[other] for other in _bits(near)) <= self._worth[k]:
                    chosen |= 1 << k
                    weight += self._worth[k]
                    left &= ~(near | 1 << k)
                    changed = True
                    continue
                whole = near | 1 << k
                for other in _bits(near):
                    # Whoever is related to a neighbour and to all of its relatives is never better than it.
                    if self._worth[other] >= self._worth[k] and not (self._near[other] & left | 1 << other) & ~whole:
                        left &= ~(1 << k)
                        changed = True
                        break
        return left, chosen, weight

    def _cover(self, left: int) -> float:
        """Bound on the weight of a set: of each clique at most one person is in it."""
        total = 0.0
        while left:
            k = min(_bits(left), key=lambda k: ((self._near[k] & left).bit_count(), k))
            clique, common = 1 << k, self._near[k] & left
            heaviest = self._worth[k]
            while common:
                other = max(_bits(common), key=lambda o: ((self._near[o] & common).bit_count(), -o))
                clique |= 1 << other
                heaviest = max(heaviest, self._worth[other])
                common &= self._near[other]
            total += heaviest
            left &= ~clique
        return total


def _bits(members: int) -> Iterator[int]:
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest
