"""The stages of a structure: each takes what the ones before gave, and is kept when it is done."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.markers import choose_markers
from allscan.engine.structure.pca import Axes, PcaSpec, principal_components
from allscan.engine.structure.projection import project
from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.jobs.structure.checkpoints import Arrays, Checkpoints
    from allscan.jobs.structure.inputs import Prepared
    from allscan.storage import Place

Tell = "Callable[[str, int, int], None]"

COUNTING, PRUNING, UNRELATED, COMPONENTS = "counting variants", "pruning markers", "unrelated people", "components"


class Chosen(NamedTuple):
    """Markers, and what became of the other variants."""

    rows: NDArray[np.int64]
    accounting: tuple[tuple[str, int], ...]


class Placed(NamedTuple):
    """People among principal components."""

    axes: Axes
    people: NDArray[np.int64]  # (people,) rows of the store, ascending
    scores: NDArray[np.float64]  # (people, components) of variance 1 among the unrelated
    related: NDArray[np.bool_]  # (people,) placed among the components, which they do not define
    error: NDArray[np.float64]  # (components,)
    passes: int


class GroupComponents(NamedTuple):
    """Components of a group, or why it has none."""

    name: str
    people: int
    unrelated: int
    markers: int
    placed: Placed | None
    why: str = ""


@dataclass
class Stages:
    """What computes, of what, where it is kept, and who is told."""

    prepared: Prepared
    executor: TaskRunner
    checkpoints: Checkpoints
    tell: Callable[[str, int, int], None]
    seconds: dict[str, float] = field(default_factory=dict)  # by stage, of those that were computed

    def markers(self) -> Chosen:
        """The variants that relatives and components are computed from."""
        prepared = self.prepared
        return self._chosen("markers", prepared.people)

    def unrelated(self) -> NDArray[np.bool_]:
        """Who defines the components, shape (people,)."""
        people, pairs = self.prepared.people, self.prepared.pairs
        if pairs is None:
            return np.ones(len(people), np.bool_)
        close = pairs.value > 2 * self.prepared.job.spec.relatives.max_kinship
        return _greedily(len(people), pairs.first[close], pairs.second[close])

    def components(self, chosen: Chosen, unrelated: NDArray[np.bool_]) -> Placed:
        """Components of the unrelated people, with the others among them."""
        section = self.prepared.job.spec.components
        return self._placed("components", COMPONENTS, chosen.rows, self.prepared.people, unrelated, section.count)

    def within_groups(self, unrelated: NDArray[np.bool_]) -> tuple[GroupComponents, ...]:
        """Components of each group alone, from markers that are chosen in it."""
        groups = self.prepared.groups
        if groups is None:
            return ()
        return tuple(self._within(code, name, groups.code, unrelated) for code, name in enumerate(groups.names))

    def _within(self, number: int, name: str, code: NDArray[np.int16], unrelated: NDArray[np.bool_]) -> GroupComponents:
        everybody, section = self.prepared.people, self.prepared.job.spec.components
        inside = code[everybody] == number
        people, own = everybody[inside], unrelated[inside]
        count = section.count if section.within_groups.count is None else section.within_groups.count
        least = max(section.within_groups.min_people, 2 * count)
        n, n_unrelated = len(people), int(own.sum())

        def without(why: str) -> GroupComponents:
            return GroupComponents(name, n, n_unrelated, 0, None, why)

        if count == 0:
            return without("none are asked for")
        if n_unrelated < least:
            return without(f"fewer than {least:,} unrelated people")
        try:
            chosen = self._chosen(f"group{number:03d}_markers", people)
            title = f"{COMPONENTS} of {name}"
            placed = self._placed(f"group{number:03d}_components", title, chosen.rows, people, own, count)
        except InputError as error:
            # Too few markers vary in the group; every other group has its own.
            return without(error.what)
        return GroupComponents(name, n, n_unrelated, len(chosen.rows), placed)

    def _chosen(self, name: str, people: NDArray[np.int64]) -> Chosen:
        prepared = self.prepared

        def compute(_work: Place) -> Arrays:
            def tell(what: str, done: int, total: int) -> None:
                self.tell(COUNTING if what == "count" else PRUNING, done, total)

            found = choose_markers(prepared.store, people, prepared.rules, self.executor, on_progress=tell)
            (_, count), *others = found.accounting
            reasons, numbers = zip(("markers", count), *others, strict=True)
            return {"rows": found.rows, "reasons": np.array(reasons), "numbers": np.array(numbers)}

        kept = self._stage(name, compute)
        return Chosen(kept["rows"], tuple(zip(kept["reasons"].tolist(), kept["numbers"].tolist(), strict=True)))

    def _placed(
        self,
        name: str,
        title: str,
        rows: NDArray[np.int64],
        people: NDArray[np.int64],
        unrelated: NDArray[np.bool_],
        count: int,
    ) -> Placed:
        prepared, section = self.prepared, self.prepared.job.spec.components

        def compute(work: Place) -> Arrays:
            def tell(passes: int, error: float) -> None:
                self.tell(title, passes, passes + (error > section.accuracy))

            spec = PcaSpec(count, accuracy=section.accuracy, seed=section.seed)
            found = principal_components(
                prepared.store, rows, people[unrelated], spec, self.executor, work, keep=True, on_progress=tell
            )
            # Orthonormal scores get smaller the more people there are; covariates should not.
            unit = np.sqrt(unrelated.sum())
            scores = np.empty((len(people), found.scores.shape[1]))
            scores[unrelated] = found.scores * unit
            relatives = people[~unrelated]
            if len(relatives):
                scores[~unrelated] = project(prepared.store, found.axes, relatives, self.executor).scores * unit
            return {
                "frequency": found.axes.frequency,
                "loadings": found.axes.loadings,
                "eigenvalues": found.axes.eigenvalues,
                "scores": scores,
                "error": found.error,
                "passes": np.array(found.passes),
            }

        kept = self._stage(name, compute)
        axes = Axes(rows, kept["frequency"], kept["loadings"], kept["eigenvalues"])
        return Placed(axes, people, kept["scores"], ~unrelated, kept["error"], int(kept["passes"]))

    def _stage(self, name: str, compute: Callable[[Place], Arrays]) -> Arrays:
        def timed(work: Place) -> Arrays:
            began = time.monotonic()
            found = compute(work)
            self.seconds[name] = round(time.monotonic() - began, 3)
            return found

        return self.checkpoints.stage(name, timed)


def _greedily(n: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Leave out whoever has most relatives until nobody has one."""
    kept = np.ones(n, np.bool_)
    while len(first):
        degree = np.bincount(np.concatenate([first, second]), minlength=n)
        out = int(degree.argmax())
        kept[out] = False
        left = (first != out) & (second != out)
        first, second = first[left], second[left]
    return kept
