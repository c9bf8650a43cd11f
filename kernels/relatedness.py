"""Relationship matrices of relatives: sparse, cut into families, each with its eigenvectors.

A kinship table names the pairs that are related. Pairs above a cut-off, and chains of them, make families; between
families the relationship is taken as zero, so that everything that follows is a matter of small dense matrices. That is
the sparse relationship matrix of fastGWA (10.1038/s41588-019-0530-8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CUTOFF = 0.05
"""Pairs that are less related count as unrelated: fourth-degree relatives have 0.06, fifth-degree ones 0.03."""
LARGEST_FAMILY = 2_000
"""Above this the matrix of a family, and the work that grows with its square, would be felt."""
# An eigenvalue this far below zero is no rounding.
ROUNDING = 1e-9


class Relatedness(NamedTuple):
    """A sparse relationship matrix: its diagonal, and each pair of relatives once."""

    first: NDArray[np.int64]  # (pairs,) sample
    second: NDArray[np.int64]  # (pairs,) sample, larger than the first
    value: NDArray[np.float64]  # (pairs,) twice the kinship coefficient
    diagonal: NDArray[np.float64]  # (samples,)


class FamilyGroup(NamedTuple):
    """Families of the same size; those of size one are single people whose diagonal is not one."""

    samples: NDArray[np.int64]  # (families, size)
    vectors: NDArray[np.float64]  # (families, size, size) eigenvectors in columns
    values: NDArray[np.float64]  # (families, size) eigenvalues

    def matrices(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The matrices with these eigenvectors and other eigenvalues, shape (families, size, size)."""
        scaled: NDArray[np.float64] = self.vectors * values[:, None, :]
        return scaled @ self.vectors.transpose(0, 2, 1)


class Families(NamedTuple):
    """The relationship matrix of some of the samples as ``U D Uᵀ``, where it is not the identity."""

    groups: tuple[FamilyGroup, ...]
    unrelated: NDArray[np.int64]  # samples with no relative and a diagonal of one
    n_clipped: int  # families with an eigenvalue below zero, which is taken as zero
    lowest: float  # the lowest of these

    @property
    def values(self) -> NDArray[np.float64]:
        """Eigenvalues, group by group."""
        return np.concatenate([group.values.ravel() for group in self.groups] or [np.empty(0)])

    @property
    def samples(self) -> NDArray[np.int64]:
        """The samples that are in families, in the order of :meth:`from_eigenvectors`."""
        return np.concatenate([group.samples.ravel() for group in self.groups] or [np.empty(0, np.int64)])

    def to_eigenvectors(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """``Uᵀ columns``: from (samples, columns) to (eigenvalues, columns)."""
        width = columns.shape[1]
        parts = [
            (group.vectors.transpose(0, 2, 1) @ columns[group.samples]).reshape(group.values.size, width)
            for group in self.groups
        ]
        return np.concatenate([*parts, np.empty((0, width))])

    def from_eigenvectors(self, rotated: NDArray[np.float64]) -> NDArray[np.float64]:
        """``U rotated``: from (eigenvalues, columns) to the rows of :attr:`samples`."""
        width = rotated.shape[1]
        parts = [
            (group.vectors @ part.reshape(*group.values.shape, width)).reshape(group.values.size, width)
            for group, part in zip(self.groups, self.split(rotated), strict=True)
        ]
        return np.concatenate([*parts, np.empty((0, width))])

    def split(self, by_value: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """Rows that belong to eigenvalues, cut into those of each group."""
        ends = np.cumsum([group.values.size for group in self.groups])
        yield from np.split(by_value, ends[:-1]) if len(ends) else ()


def make_relatedness(
    first: NDArray[np.integer[Any]],
    second: NDArray[np.integer[Any]],
    value: NDArray[np.floating[Any]],
    n_samples: int,
    *,
    cutoff: float = CUTOFF,
    diagonal: NDArray[np.float64] | None = None,
) -> Relatedness:
    """A sparse relationship matrix of a list of pairs.

    Parameters
    ----------
    first, second : (pairs,)
        Samples, each pair in either order.
    value : (pairs,)
        Relatedness: twice the kinship coefficient, 0.5 for parent and child.
    n_samples
        Number of samples.
    cutoff
        Pairs below it count as unrelated; above zero.
    diagonal : (samples,), optional
        Relatedness of each sample with itself, one plus the inbreeding coefficient; one for everybody if not given.

    Raises
    ------
    InputError
        For a pair with itself, a pair with two values, a value that is no number, a diagonal that is not positive,
        or a family that is too large to be handled.
    """
    if not cutoff > 0.0:
        raise InputError(f"the cut-off of relatedness is {cutoff:g}", fix="give one above zero; 0.05 is usual")
    if not np.isfinite(value).all():
        raise InputError(f"{int((~np.isfinite(value)).sum())} pairs of relatives have no number as their relatedness")
    if (first == second).any():
        raise InputError(
            f"{int((first == second).sum())} pairs of relatives are a person with itself",
            fix="leave them out of the pairs; where such rows are the diagonal of a relationship matrix, give it apart",
        )
    if diagonal is None:
        diagonal = np.ones(n_samples)
    elif not (np.isfinite(diagonal) & (diagonal > 0.0)).all():
        raise InputError("the diagonal of the relationship matrix has values that are not above zero")
    low, high = np.minimum(first, second).astype(np.int64), np.maximum(first, second).astype(np.int64)
    order = np.lexsort((high, low))
    low, high, related = low[order], high[order], value[order].astype(np.float64)
    again = (np.diff(low) == 0) & (np.diff(high) == 0)
    differ = again & (np.diff(related) != 0.0)
    if differ.any():
        raise InputError(
            f"{int(differ.sum())} pairs of relatives are listed twice with different values",
            fix="list each pair once",
        )
    keep = np.append(True, ~again)[: len(low)] & (related >= cutoff)
    found = Relatedness(low[keep], high[keep], related[keep], diagonal.astype(np.float64))
    largest = _largest_family(found)
    if largest > LARGEST_FAMILY:
        raise InputError(
            f"at a cut-off of {cutoff:g}, {largest:,} people are related to each other in one chain; "
            f"families of up to {LARGEST_FAMILY:,} are handled",
            fix=f"use a cut-off of {_least_cutoff(found):.4g} or more, or `null_model: whole_genome`, "
            "which needs no list of relatives",
        )
    return found


def no_relatives(n_samples: int) -> Relatedness:
    """The identity matrix."""
    nobody = np.empty(0, np.int64)
    return Relatedness(nobody, nobody, np.empty(0), np.ones(n_samples))


def family_numbers(relatedness: Relatedness, keep: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """The family of each sample, shape (samples,), when only some pairs count."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(relatedness.diagonal)
    pairs = (relatedness.first, relatedness.second)
    if keep is not None:
        pairs = (pairs[0][keep], pairs[1][keep])
    graph = coo_array((np.ones(len(pairs[0]), np.int8), pairs), shape=(n, n))
    labels: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _largest_family(relatedness: Relatedness, keep: NDArray[np.bool_] | None = None) -> int:
    return int(np.bincount(family_numbers(relatedness, keep)).max(initial=0))


def _least_cutoff(relatedness: Relatedness) -> float:
    """A cut-off at which no family is too large, rounded up to four digits after the point."""
    tried = np.unique(np.ceil(relatedness.value * 1e4) / 1e4 + 1e-4)
    low, high = 0, len(tried) - 1  # at the highest there are no pairs
    while low < high:
        middle = (low + high) // 2
        if _largest_family(relatedness, relatedness.value >= tried[middle]) <= LARGEST_FAMILY:
            high = middle
        else:
            low = middle + 1
    return float(tried[low])


def families_of(relatedness: Relatedness, member: NDArray[np.bool_]) -> Families:
    """Families among some of the samples, with their eigenvectors.

    Parameters
    ----------
    member : (samples,) bool
        A family that loses somebody may fall into several.
    """
    first, second = relatedness.first, relatedness.second
    keep = member[first] & member[second]
    family = family_numbers(relatedness, keep)
    samples = np.flatnonzero(member)
    size = np.bincount(family[samples], minlength=len(family))[family]
    alone = size[samples] == 1
    plain = alone & (relatedness.diagonal[samples] == 1.0)
    rest = samples[~plain]
    order = rest[np.lexsort((rest, family[rest], size[rest]))]
    first, second, value = first[keep], second[keep], relatedness.value[keep]
    # Where each sample stands: row of its group, and place in the family.
    row, place = np.zeros(len(member), np.int64), np.zeros(len(member), np.int64)
    groups, n_clipped, lowest = [], 0, 0.0
    for m in np.unique(size[order]):
        people = order[size[order] == m].reshape(-1, m)
        row[people] = np.arange(len(people))[:, None]
        place[people] = np.arange(m)
        matrix = np.zeros((len(people), m, m))
        matrix[row[people], place[people], place[people]] = relatedness.diagonal[people]
        here = size[first] == m
        i, j = first[here], second[here]
        matrix[row[i], place[i], place[j]] = matrix[row[j], place[j], place[i]] = value[here]
        values, vectors = np.linalg.eigh(matrix)
        negative = values.min(axis=1) < -ROUNDING
        n_clipped += int(negative.sum())
        lowest = min(lowest, float(values.min()) if negative.any() else 0.0)
        groups.append(FamilyGroup(people, vectors, np.maximum(values, 0.0)))
    return Families(tuple(groups), samples[plain], n_clipped, lowest)
