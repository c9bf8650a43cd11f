"""The people: groups, families, sex, age and each founder's shares of the ancestral populations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.design import FEMALE, MALE
from allscan.engine.simulation.demography import ANCESTRIES, GROUPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class _Family(NamedTuple):
    parents: int  # how many of the two are in the cohort
    children: int
    weight: float  # share of the families


_FAMILIES = (
    _Family(parents=2, children=2, weight=0.2),
    _Family(parents=2, children=1, weight=0.3),
    _Family(parents=1, children=1, weight=0.2),
    _Family(parents=0, children=2, weight=0.3),
)


@dataclass(frozen=True)
class Pedigree:
    """Everybody whose genome is simulated: members of the cohort, and parents who are not in it.

    Founders come first, then children. Haplotype ``2 * i`` of individual ``i`` comes from the mother,
    ``2 * i + 1`` from the father.
    """

    n_founders: int
    mother: NDArray[np.int32]  # (children,) individual
    father: NDArray[np.int32]  # (children,) individual
    group: NDArray[np.int8]  # (individuals,) index in group_names
    group_names: tuple[str, ...]
    sex: NDArray[np.int8]  # (individuals,) 1 male, 2 female
    age: NDArray[np.float64]  # (individuals,) years
    family: NDArray[np.int32]  # (individuals,) family number from 1, 0 for people without relatives
    shares: NDArray[np.float64]  # (founders, ancestries) shares of the ancestral populations
    member: NDArray[np.int32]  # (samples,) individual of each row of the cohort
    member_id: NDArray[np.object_]  # (samples,) str
    individual_id: NDArray[np.object_]  # (individuals,) str; of non-members too

    @property
    def n_individuals(self) -> int:
        """Founders and children."""
        return self.n_founders + len(self.mother)

    @property
    def n_samples(self) -> int:
        """Members of the cohort."""
        return len(self.member)

    def parents_of_members(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Father and mother (individuals) of each member, -1 for founders; shapes (samples,)."""
        father = np.full(self.n_individuals, -1, dtype=np.int32)
        mother = np.full(self.n_individuals, -1, dtype=np.int32)
        father[self.n_founders :] = self.father
        mother[self.n_founders :] = self.mother
        return father[self.member], mother[self.member]

    def unrelated_members(self) -> NDArray[np.int64]:
        """Rows of the cohort without two of one family: founders of no family, and one member of each."""
        family = self.family[self.member]
        alone = np.flatnonzero(family == 0)
        _, first = np.unique(family, return_index=True)
        one_each = first[family[first] > 0]
        return np.sort(np.concatenate([alone, one_each]))


def draw_pedigree(rng: np.random.Generator, samples: int, groups: Mapping[str, float], relatedness: float) -> Pedigree:
    """Draw the people of a cohort, in random order.

    Parents and children belong to one group. Nuclear families only: both parents and two children, both
    parents and one child, one parent and one child, or two children whose parents are not in the cohort.

    Parameters
    ----------
    samples
        Members of the cohort.
    groups
        Share of each group.
    relatedness
        Share of the members with a parent, child or sibling among the members.
    """
    names = tuple(groups)
    counts = largest_remainder(np.array([groups[name] for name in names]), samples)
    builder = _Builder()
    for group, count in enumerate(counts):
        related = round(relatedness * int(count))
        while related >= 2:
            kind = _FAMILIES[rng.choice(len(_FAMILIES), p=[family.weight for family in _FAMILIES])]
            if kind.parents + kind.children > related:
                kind = _Family(parents=0, children=2, weight=0)
            builder.add_family(group, kind, rng)
            related -= kind.parents + kind.children
        builder.add_unrelated(group, int(count) - builder.members_of(group))
    return builder.finish(rng, names)


def largest_remainder(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers that sum to ``total`` and are as near to ``shares * total`` as can be."""
    exact = shares / shares.sum() * total
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    missing = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts


class _Builder:
    """Collects founders and children; turns them into a Pedigree."""

    def __init__(self) -> None:
        self.founders: list[tuple[int, int, int, bool]] = []  # group, family, sex (0: either), in cohort
        self.children: list[tuple[int, int, int, int]] = []  # group, family, mother, father
        self.families = 0
        self.members: dict[int, int] = {}

    def members_of(self, group: int) -> int:
        return self.members.get(group, 0)

    def add_unrelated(self, group: int, number: int) -> None:
        self.founders += [(group, 0, 0, True)] * number
        self.members[group] = self.members_of(group) + number

    def add_family(self, group: int, kind: _Family, rng: np.random.Generator) -> None:
        self.families += 1
        mother_in = kind.parents == 2 or (kind.parents == 1 and rng.random() < 0.5)
        father_in = kind.parents == 2 or (kind.parents == 1 and not mother_in)
        mother = len(self.founders)
        self.founders.append((group, self.families, FEMALE, mother_in))
        self.founders.append((group, self.families, MALE, father_in))
        self.children += [(group, self.families, mother, mother + 1)] * kind.children
        self.members[group] = self.members_of(group) + kind.parents + kind.children

    def finish(self, rng: np.random.Generator, names: tuple[str, ...]) -> Pedigree:
        n_founders = len(self.founders)
        founders = np.array(self.founders, dtype=np.int32).reshape(-1, 4)
        children = np.array(self.children, dtype=np.int32).reshape(-1, 4)
        n_children = len(children)
        mother, father = children[:, 2], children[:, 3]

        either = rng.integers(MALE, FEMALE + 1, n_founders + n_children)
        sex = np.concatenate([founders[:, 2], np.zeros(n_children, dtype=np.int32)])
        sex = np.where(sex == 0, either, sex).astype(np.int8)

        parent = founders[:, 2] != 0
        age = np.clip(rng.normal(55, 14, n_founders), 18, 90)
        # Old enough for grown children.
        age[parent] = rng.uniform(45, 90, int(parent.sum()))
        age[father] = np.clip(age[mother] + rng.normal(2, 3, n_children), 42, 90)
        child_age = np.clip(age[mother] - rng.normal(27, 5, n_children), 18, None)

        group = np.concatenate([founders[:, 0], children[:, 0]]).astype(np.int8)
        in_cohort = np.flatnonzero(np.concatenate([founders[:, 3] == 1, np.ones(n_children, dtype=bool)]))
        member = rng.permutation(in_cohort).astype(np.int32)
        width = max(len(str(len(member))), 5)
        member_id = np.array([f"S{row + 1:0{width}d}" for row in range(len(member))], dtype=object)
        # A parent who is not in the cohort has an id all the same: the pedigree is then complete.
        individual_id = np.array([f"P{row + 1:0{width}d}" for row in range(len(group))], dtype=object)
        individual_id[member] = member_id
        return Pedigree(
            n_founders=n_founders,
            mother=mother,
            father=father,
            group=group,
            group_names=names,
            sex=sex,
            age=np.round(np.concatenate([age, child_age]), 1),
            family=np.concatenate([founders[:, 1], children[:, 1]]),
            shares=_draw_shares(rng, group[:n_founders], names),
            member=member,
            member_id=member_id,
            individual_id=individual_id,
        )


def _draw_shares(rng: np.random.Generator, group: NDArray[np.int8], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Each founder's shares of the ancestral populations, shape (founders, ancestries)."""
    shares = np.zeros((len(group), len(ANCESTRIES)))
    for number, name in enumerate(names):
        rows = np.flatnonzero(group == number)
        definition = GROUPS[name]
        sources = [ANCESTRIES.index(source) for source in definition.shares]
        alpha = definition.concentration * np.array(list(definition.shares.values()))
        shares[rows[:, None], sources] = rng.dirichlet(alpha, len(rows))
    return shares
