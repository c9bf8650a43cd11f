"""What stages of a structure share: each is kept when it is done, timed, and tells how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.markers import choose_markers
from allscan.engine.structure.pca import Axes, PcaSpec, principal_components
from allscan.engine.structure.projection import project
from allscan.engine.structure.umap import UmapSpec, umap
from allscan.errors import InputError
from allscan.jobs.run_log import log_event
from allscan.jobs.structure.folder import SHOWN_COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.jobs.structure.checkpoints import Arrays, Checkpoints
    from allscan.jobs.structure.groups import Groups
    from allscan.jobs.structure.inputs import Prepared
    from allscan.storage import Place

COUNTING, PRUNING, COMPONENTS, LAYOUT = "counting variants", "pruning markers", "components", "UMAP"
MARKERS, FAILED = "markers", "that do not pass quality control"


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

    def of_samples(self, n: int) -> NDArray[np.float64]:
        """Scores of all samples of the store, (samples, components); NaN of who has no place."""
        out = np.full((n, self.scores.shape[1]), np.nan)
        out[self.people] = self.scores
        return out


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

    def kept(self, name: str, compute: Callable[[Place], Arrays]) -> Arrays:
        """What a stage gives, computed or read (:meth:`Checkpoints.stage`)."""

        def timed(work: Place) -> Arrays:
            began = time.monotonic()
            found = compute(work)
            self.seconds[name] = round(time.monotonic() - began, 3)
            log_event("stage_ended", f"{name} done", stage=name, seconds=self.seconds[name])
            return found

        return self.checkpoints.stage(name, timed)

    def chosen(self, name: str, people: NDArray[np.int64], among: NDArray[np.int64] | None) -> Chosen:
        """The variants that relatives and components of some people are computed from.

        Parameters
        ----------
        among
            Store rows of those that pass quality control; None: all.
        """
        prepared = self.prepared

        def compute(_work: Place) -> Arrays:
            def tell(what: str, done: int, total: int) -> None:
                self.tell(COUNTING if what == "count" else PRUNING, done, total)

            found = choose_markers(prepared.store, people, prepared.rules, self.executor, among=among, on_progress=tell)
            (_, count), *others = found.accounting
            told = [(MARKERS, count), *((FAILED if "list of" in why else why, number) for why, number in others)]
            reasons, numbers = zip(*told, strict=True)
            return {"rows": found.rows, "reasons": np.array(reasons), "numbers": np.array(numbers)}

        kept = self.kept(name, compute)
        return Chosen(kept["rows"], tuple(zip(kept["reasons"].tolist(), kept["numbers"].tolist(), strict=True)))

    def placed(
        self,
        name: str,
        title: str,
        rows: NDArray[np.int64],
        people: NDArray[np.int64],
        unrelated: NDArray[np.bool_],
        count: int,
    ) -> Placed:
        """Components of the unrelated among some people, with the others among them.

        Parameters
        ----------
        name, title
            Of the stage, in the folder and for people.
        unrelated : (people,)
            Who defines the components.
        """
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

        kept = self.kept(name, compute)
        axes = Axes(rows, kept["frequency"], kept["loadings"], kept["eigenvalues"])
        return Placed(axes, people, kept["scores"], ~unrelated, kept["error"], int(kept["passes"]))

    def laid_out(self, placed: Placed) -> NDArray[np.float64]:
        """The same people in a plane, (people, 2): UMAP of the leading components."""
        eigenvalues = placed.axes.eigenvalues[:SHOWN_COMPONENTS]
        # Scores have variance 1: noise would count as much as what tells people apart.
        scores = placed.scores[:, : len(eigenvalues)] * np.sqrt(eigenvalues)

        def compute(_work: Place) -> Arrays:
            spec = UmapSpec(seed=self.prepared.job.spec.components.seed)
            return {"plane": umap(scores, spec, on_progress=lambda done, total: self.tell(LAYOUT, done, total))}

        return self.kept("umap", compute)["plane"]

    def within_groups(
        self, groups: Groups, people: NDArray[np.int64], unrelated: NDArray[np.bool_], among: NDArray[np.int64] | None
    ) -> tuple[GroupComponents, ...]:
        """Components of each group alone, from markers that are chosen in it."""
        found = []
        for number, name in enumerate(groups.names):
            inside = groups.code[people] == number
            found.append(self._within(number, name, people[inside], unrelated[inside], among))
        return tuple(found)

    def _within(
        self,
        number: int,
        name: str,
        people: NDArray[np.int64],
        unrelated: NDArray[np.bool_],
        among: NDArray[np.int64] | None,
    ) -> GroupComponents:
        section = self.prepared.job.spec.components
        count = section.count if section.within_groups.count is None else section.within_groups.count
        least = max(section.within_groups.min_people, 2 * count)
        n, n_unrelated = len(people), int(unrelated.sum())

        def without(why: str) -> GroupComponents:
            return GroupComponents(name, n, n_unrelated, 0, None, why)

        if count == 0:
            return without("none are asked for")
        if n_unrelated < least:
            return without(f"fewer than {least:,} unrelated people")
        try:
            rows = self.chosen(f"group{number:03d}_markers", people, among).rows
            title = f"{COMPONENTS} of {name}"
            placed = self.placed(f"group{number:03d}_components", title, rows, people, unrelated, count)
        except InputError as error:
            # Too few markers vary in the group; every other group has its own.
            return without(error.what)
        return GroupComponents(name, n, n_unrelated, len(rows), placed)
