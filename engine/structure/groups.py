"""Groups such as ancestries, learned from people whose group is known.

A random forest on principal components, as gnomAD and All of Us do it: the components are those of a labelled
reference, on which the cohort is projected (:mod:`allscan.engine.structure.projection`), and whoever is not likely
enough to belong to any group is in none. A forest only divides the space between the groups that it knows: somebody
from elsewhere falls into one of them, often with certainty. So whoever stands far from all of the reference is in no
group either, however certain the forest.

What decides the result are scores, labels and :class:`GroupSpec`, and the version of scikit-learn; not the number of
threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PEOPLE_TOGETHER = 20_000
SMALLEST_GROUP = 10
"""People of the reference whom a group is learned from, at least."""
REFERENCE_QUANTILE = 0.99
UNSURE, FAR, NOT_PLACED = range(3)


@dataclass(frozen=True)
class GroupSpec:
    """How groups are inferred. The forest is that of All of Us."""

    min_probability: float = 0.75
    max_distance: float | None = 1.5  # see InferredGroups.distance; None: however far
    trees: int = 100
    neighbours: int = 5
    folds: int = 5
    seed: int = 337337


@dataclass(frozen=True, eq=False)
class InferredGroups:
    """Groups of people, and how sure they are."""

    labels: tuple[str, ...]  # sorted
    codes: NDArray[np.int16]  # (people,) index into labels; -1: in no group
    reason: NDArray[np.int8]  # (people,) why in none: index into reasons; -1: in a group
    reasons: tuple[str, ...]
    probabilities: NDArray[np.float64]  # (people, labels): share of the trees; NaN where a person has no scores
    # (people,) from the reference: to the fifth nearest of it, in units of what 99 % of the reference themselves have.
    distance: NDArray[np.float64]
    confusion: NDArray[np.int64]  # (labels, labels + 1) reference people: own group × group when left out; last: none

    @property
    def counts(self) -> dict[str, int]:
        """People of each group."""
        return {name: int((self.codes == code).sum()) for code, name in enumerate(self.labels)}

    @property
    def outside(self) -> dict[str, int]:
        """People in no group, by reason."""
        found = {name: int((self.reason == code).sum()) for code, name in enumerate(self.reasons)}
        return {name: count for name, count in found.items() if count}


def infer_groups(
    reference: NDArray[np.float64], labels: Sequence[str], people: NDArray[np.float64], spec: GroupSpec | None = None
) -> InferredGroups:
    """Give people the groups of a reference.

    Parameters
    ----------
    reference : (reference people, components)
        Scores. Distances add up the components as they are, so that a component must count as much as it tells: see
        :class:`allscan.engine.structure.reference.Placed`.
    labels : (reference people,)
        Their groups.
    people : (people, components)
        Scores on the same components, in the same units; a row with NaN is somebody who was not placed.
    spec
        Left out: as All of Us.

    Raises
    ------
    InputError
        There are fewer than two groups, or a group has fewer than ten people of the reference.
    MissingDependencyError
        scikit-learn is not installed.

    Notes
    -----
    Probabilities are shares of the trees. They are not calibrated: somebody between two groups is given one of them
    with the certainty that the reference has none like them.
    """
    spec = spec or GroupSpec()
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    _refuse_few(names, np.bincount(codes, minlength=len(names)))
    if not np.isfinite(reference).all():
        raise InputError("people of the reference have no scores", fix="leave them out of the reference")
    placed = np.isfinite(people).all(axis=1)
    probabilities = np.full((len(people), len(names)), np.nan)
    distance = np.full(len(people), np.nan)
    probabilities[placed] = _probabilities(_forest(reference, codes, spec), people[placed])
    distance[placed] = _distances(reference, people[placed], spec.neighbours)
    likeliest, sure = _decided(probabilities, spec.min_probability)
    reason = np.where(sure, -1, UNSURE)
    if spec.max_distance is not None:
        reason[placed & (distance > spec.max_distance)] = FAR
    reason[~placed] = NOT_PLACED
    return InferredGroups(
        labels=tuple(names.tolist()),
        codes=np.where(reason < 0, likeliest, -1).astype(np.int16),
        reason=reason.astype(np.int8),
        reasons=(f"probability below {spec.min_probability:g}", "far from all of the reference", "not placed"),
        probabilities=probabilities,
        distance=distance,
        confusion=_confusion(reference, codes, len(names), spec),
    )


def _refuse_few(names: NDArray[np.str_], counts: NDArray[np.int64]) -> None:
    if len(names) < 2:
        raise InputError(
            f"the reference has {len(names)} group{'s' if len(names) != 1 else ''}: there is nothing to tell apart",
            fix="label the reference with two groups at least",
        )
    small = counts < SMALLEST_GROUP
    if small.any():
        shown = ", ".join(f"{name} ({count})" for name, count in zip(names[small], counts[small], strict=True))
        raise InputError(
            f"groups of the reference have fewer than {SMALLEST_GROUP} people: {shown}",
            fix="leave these groups out of the reference, or put them together with others",
        )


def _forest(scores: NDArray[np.float64], codes: NDArray[np.int64], spec: GroupSpec) -> Any:
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError as error:
        raise MissingDependencyError(
            "inferring groups needs the package scikit-learn, which is not installed",
            fix='pip install "allscan[ancestry]"',
        ) from error
    # Several threads would add up the trees' votes in the order in which they end.
    forest = RandomForestClassifier(n_estimators=spec.trees, random_state=spec.seed, n_jobs=1)
    return forest.fit(scores, codes)


def _probabilities(forest: Any, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty((len(scores), len(forest.classes_)))
    for start in range(0, len(scores), PEOPLE_TOGETHER):
        some = slice(start, start + PEOPLE_TOGETHER)
        out[some] = forest.predict_proba(scores[some])
    return out


def _decided(probabilities: NDArray[np.float64], min_probability: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The likeliest group of each person, and whether it is likely enough."""
    known = np.nan_to_num(probabilities)
    return known.argmax(axis=1), known.max(axis=1) >= min_probability


def _distances(reference: NDArray[np.float64], people: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """How far people stand from the reference, in units of how far most of the reference stand from each other."""
    from scipy.spatial import KDTree

    tree = KDTree(reference)
    # The nearest to somebody of the reference is that person.
    own, _ = tree.query(reference, [neighbours + 1])
    others, _ = tree.query(people, [neighbours])
    return np.asarray(others).ravel() / np.quantile(own, REFERENCE_QUANTILE)


def _confusion(
    scores: NDArray[np.float64], codes: NDArray[np.int64], n_groups: int, spec: GroupSpec
) -> NDArray[np.int64]:
    """What a forest that did not see them says of the reference, part by part."""
    part = _parts(codes, spec)
    counts = np.zeros((n_groups, n_groups + 1), np.int64)
    for k in range(spec.folds):
        left_out = part == k
        forest = _forest(scores[~left_out], codes[~left_out], spec)
        likeliest, sure = _decided(_probabilities(forest, scores[left_out]), spec.min_probability)
        np.add.at(counts, (codes[left_out], np.where(sure, likeliest, n_groups)), 1)
    return counts


def _parts(codes: NDArray[np.int64], spec: GroupSpec) -> NDArray[np.int64]:
    """The part of each person: every group is spread evenly over all parts."""
    order = np.random.default_rng(spec.seed).permutation(len(codes))
    by_group = order[np.argsort(codes[order], kind="stable")]
    part = np.empty(len(codes), np.int64)
    part[by_group] = np.arange(len(codes)) % spec.folds
    return part
