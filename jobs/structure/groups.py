"""Groups of people: from a table, or learned from people whose group is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.markers import MarkerRules, choose_markers
from allscan.engine.structure.groups import GroupSpec, infer_groups
from allscan.engine.structure.pca import PcaSpec
from allscan.engine.structure.reference import place_among
from allscan.phenotypes.model import SampleCount

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.jobs.structure.checkpoints import Arrays
    from allscan.jobs.structure.spec import GroupsSection
    from allscan.jobs.structure.stages import Stages
    from allscan.phenotypes.ancestry import GroupTable
    from allscan.storage import Place

LEARNING = "groups from the reference"
MIN_PROBABILITY = 0.75


class Groups(NamedTuple):
    """Who is in which group."""

    names: tuple[str, ...]
    code: NDArray[np.int16]  # (samples,) index into names; -1: in none
    counts: tuple[SampleCount, ...]
    classes: tuple[str, ...] = ()  # of the probabilities
    probabilities: NDArray[np.float64] | None = None  # (samples, classes) NaN of who has none
    confusion: NDArray[np.int64] | None = None  # (names, names + 1) people of the reference, when left out; last: none


class Reference(NamedTuple):
    """People whose group is known."""

    store: GenotypeStore
    people: NDArray[np.int64]  # rows of its store, ascending
    labels: tuple[str, ...]  # (people,)
    rules: MarkerRules


def groups_of_table(
    table: GroupTable, code: NDArray[np.int16], rows: NDArray[np.int64], counts: tuple[SampleCount, ...]
) -> Groups:
    """Groups of a table that was aligned to the store.

    Parameters
    ----------
    rows : (samples,)
        Of the table; -1 of who is not in it.
    """
    probabilities = None
    if table.classes and table.probabilities is not None:
        probabilities = np.where(rows[:, None] < 0, np.nan, table.probabilities[rows])
    return Groups(table.labels, code, counts, table.classes if probabilities is not None else (), probabilities)


def learn_groups(stages: Stages, section: GroupsSection, reference: Reference) -> Groups:
    """Place people among the components of the reference, and give them its groups."""
    told = section.reference
    assert told is not None
    prepared = stages.prepared
    people, n = prepared.people, prepared.store.n_samples
    least = MIN_PROBABILITY if section.min_probability is None else section.min_probability

    def compute(work: Place) -> Arrays:
        stages.tell(LEARNING, 0, 2)
        rows = choose_markers(reference.store, reference.people, reference.rules, stages.executor).rows
        stages.tell(LEARNING, 1, 2)
        placed = place_among(
            reference.store,
            rows,
            reference.people,
            prepared.store,
            people,
            PcaSpec(told.components, seed=prepared.job.spec.components.seed),
            stages.executor,
            work,
            work / "reference_axes.parquet",
        )
        spec = GroupSpec(least, told.max_distance)
        found = infer_groups(placed.reference, reference.labels, placed.people, spec)
        stages.tell(LEARNING, 2, 2)
        return {
            "labels": np.array(found.labels),
            "codes": found.codes,
            "reason": found.reason,
            "reasons": np.array(found.reasons),
            "probabilities": found.probabilities,
            "confusion": found.confusion,
        }

    kept = stages.kept("groups", compute)
    names = tuple(kept["labels"].tolist())
    code = np.full(n, -1, np.int16)
    code[people] = kept["codes"]
    probabilities = np.full((n, len(names)), np.nan)
    probabilities[people] = kept["probabilities"]
    counts = [
        *((f"in the group {name!r}", int((kept["codes"] == k).sum())) for k, name in enumerate(names)),
        *((f"in no group: {why}", int((kept["reason"] == k).sum())) for k, why in enumerate(kept["reasons"].tolist())),
    ]
    told_counts = tuple(SampleCount(what, count, kept=True) for what, count in counts if count)
    return Groups(names, code, told_counts, names, probabilities, kept["confusion"])
