"""Who the whole-genome model is fitted to: everybody with covariates, in folds that depend on nobody else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.offsets import without
from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.missingness import trait_patterns
from allscan.kernels.ridge import People

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

LEAST_SAMPLES = 20
"""Of a trait beyond its covariates; below it there is nothing to learn from."""


@dataclass(frozen=True)
class Cohort:
    """People and traits of a whole-genome model; rows in the order of the store.

    ``rows`` are all people who could be analysed, with a trait or without: they, their covariates and their ids decide
    markers and folds, which therefore do not change when traits are added.
    """

    rows: NDArray[np.int64]  # (people,) rows of the store, increasing
    sample_ids: NDArray[np.object_]  # (people,)
    covariates: NDArray[np.float64]  # (people, covariates)
    traits: NDArray[np.float64]  # (people, traits) NaN = missing; 0 and 1 where binary
    trait_names: tuple[str, ...]
    kinds: tuple[str, ...]  # (traits,) "quantitative" or "binary"
    transforms: tuple[str, ...] | None = None  # (traits,) of the values, as the job calls them; None: not told
    family: NDArray[np.int64] | None = None  # (people,) a number that relatives share; None: nobody's are known

    def folds(self, count: int) -> NDArray[np.int64]:
        """The fold of each person; relatives are in the same, so that nobody is predicted by them."""
        if count == 1:
            return np.zeros(self.n_people, np.int64)
        if self.family is None:
            return fold_of(self.sample_ids, count)
        first: dict[int, str] = {}
        for person, family in zip(self.sample_ids, self.family.tolist(), strict=True):
            first[family] = min(first.get(family, person), person)
        return fold_of((first[family] for family in self.family.tolist()), count)

    @property
    def n_people(self) -> int:
        """Number of people."""
        return len(self.rows)


def fold_of(sample_ids: Iterable[str], folds: int) -> NDArray[np.int64]:
    """The fold of each person, from the id alone: so that it stays when others come or go."""
    digests = (hashlib.blake2b(f"fold {person}".encode(), digest_size=8).digest() for person in sample_ids)
    return np.array([int.from_bytes(digest, "little") % folds for digest in digests], np.int64)


class Ordered(NamedTuple):
    """A batch of traits in the order of the folds, as level 0 takes them."""

    people: People
    order: NDArray[np.int64]  # (people,) rows of the cohort
    fold: NDArray[np.int64]  # (people,) in that order
    member: NDArray[np.bool_]  # (people, traits) in that order
    scale: NDArray[np.float64]  # (traits,) what one unit of people.traits is
    df: NDArray[np.int64]  # (traits,) people less the rank of their covariates
    problems: tuple[str, ...]  # (traits,) why a trait has no model, or ""


def ordered(cohort: Cohort, traits: slice, folds: int, fold: NDArray[np.int64] | None = None) -> Ordered:
    """Sort people by fold, and take the covariates off the traits, each among its own people.

    Parameters
    ----------
    folds
        Number of folds; 1: everybody is left out alone.
    fold : (people,), optional
        The fold of each; None: :meth:`Cohort.folds`.
    """
    if fold is None:
        fold = cohort.folds(folds)
    order = np.argsort(fold, kind="stable")
    start = np.searchsorted(fold[order], np.arange(folds + 1))
    basis, _ = orthonormal_basis(cohort.covariates)
    values = cohort.traits[:, traits][order]
    member = ~np.isnan(values)
    residuals = np.zeros(values.shape, np.float32)
    scale = np.ones(values.shape[1])
    df = np.zeros(values.shape[1], np.int64)
    problems = [""] * values.shape[1]
    covariates = cohort.covariates[order]
    pattern, first = trait_patterns(values)
    for k, example in enumerate(first):
        own = member[:, example]
        of_own, _ = orthonormal_basis(covariates[own])
        for t in np.flatnonzero(pattern == k):
            df[t] = len(of_own) - of_own.shape[1]
            left, problems[t] = _residuals(values[own, t], of_own)
            if not problems[t]:
                scale[t] = np.sqrt((left**2).mean())
                residuals[own, t] = left / scale[t]
    people = People(cohort.rows[order], start, basis[order].astype(np.float32), residuals)
    return Ordered(people, order, fold[order], member, scale, df, tuple(problems))


def _residuals(values: NDArray[np.float64], basis: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    if len(values) < basis.shape[1] + LEAST_SAMPLES:
        return values, f"{len(values)} people have a value, too few beside {basis.shape[1]} covariates"
    left = without(values, basis)
    if float(left @ left) <= 1e-12 * float(((values - values.mean()) ** 2).sum()) or np.ptp(values) == 0:
        return values, "it does not vary after the covariates"
    return left, ""
