"""A cohort placed among the principal components of a reference, such as people whose ancestry is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.structure.axes_file import read_axes, shared_markers, write_axes
from allscan.engine.structure.pca import principal_components
from allscan.engine.structure.projection import project
from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.engine.structure.pca import PcaSpec
    from allscan.storage import Place

MARKERS_PER_COMPONENT = 10
"""Of both stores, at least: with fewer, components are noise."""


class Placed(NamedTuple):
    """A reference and a cohort on the components of the reference, in units in which distances mean something.

    A component counts as much as its eigenvalue exceeds what people without any structure would have; one that does
    not is noise, and 0 for everybody.
    """

    reference: NDArray[np.float64]  # (reference people, components)
    people: NDArray[np.float64]  # (people, components)
    n_markers: int
    eigenvalues: NDArray[np.float64]  # (components,) of the reference


def place_among(
    reference: GenotypeStore,
    rows: NDArray[np.int64],
    reference_people: NDArray[np.int64],
    store: GenotypeStore,
    people: NDArray[np.int64],
    spec: PcaSpec,
    executor: TaskRunner,
    work: Place,
    axes_file: Place,
    *,
    on_progress: Callable[[int, float], None] | None = None,
) -> Placed:
    """Compute the components of a reference from the markers that both stores have, and place people among them.

    Parameters
    ----------
    reference : GenotypeStore
        Genotypes of people who are known.
    rows : (markers,) int64
        Of the reference, ascending: common markers that are not in linkage disequilibrium.
    reference_people : (reference people,) int64
        Rows of the reference, ascending: unrelated people.
    store : GenotypeStore
        Genotypes of the cohort.
    people : (people,) int64
        Rows of the store: none who are of the reference, too.
    spec
        As for :func:`allscan.engine.structure.pca.principal_components`; so are ``work`` and ``on_progress``.
    axes_file
        Where the components are written, for whoever comes later.

    Raises
    ------
    InputError
        The stores have different reference builds, share too few markers, or the reference has too few people.
    OutputError
        The components cannot be written.
    """
    shared = shared_markers(reference, rows, store, executor)
    if len(shared) < MARKERS_PER_COMPONENT * spec.components:
        raise InputError(
            f"the reference and the store share {len(shared):,} of {len(rows):,} markers, which are too few for "
            f"{spec.components} components",
            where=str(reference.path),
            fix="take a reference with the same variants, on the same reference build and strand",
        )
    found = principal_components(reference, shared, reference_people, spec, executor, work, on_progress=on_progress)
    write_axes(axes_file, reference, found.axes)
    axes = read_axes(axes_file, store, executor).axes
    weight = signal(found.axes.eigenvalues, len(reference_people), int(found.axes.varies.sum()))
    if not weight.any():
        raise InputError(
            "the reference has no structure: none of its components is larger than that of people who mate at random",
            where=str(reference.path),
            fix="take a reference of several populations, or more markers",
        )
    scores = project(store, axes, people, executor).scores
    return Placed(found.scores * weight, scores * weight, len(axes.rows), found.axes.eigenvalues)


def signal(eigenvalues: NDArray[np.float64], n_people: int, n_markers: int) -> NDArray[np.float64]:
    """How much each component counts (components,): the root of what its eigenvalue exceeds that of noise by.

    The largest eigenvalue of people without structure, at independent markers, is ``(1 + √(people / markers))²``
    (Marchenko and Pastur; Patterson et al. 2006, 10.1371/journal.pgen.0020190).
    """
    of_noise = (1 + np.sqrt(n_people / n_markers)) ** 2
    return np.asarray(np.sqrt(np.maximum(eigenvalues - of_noise, 0.0)))
