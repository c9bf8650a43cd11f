"""People placed among principal components that others define, without the shrinkage towards 0 of a plain projection.

The loadings fit the noise of those they were computed from, so that the plain projection of anybody else falls short.
Online augmentation, decomposition and Procrustes transformation (OADP; Zhang, Dey & Lee 2020,
10.1093/bioinformatics/btaa152) adds a person to the decomposition, whose axes then fit that person's noise as well, and
turns the result back onto the components as they were. Each person is placed alone: who else is projected changes
nothing but rounding. It takes each one's products with the loadings and sum of squares: one pass over the markers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.structure.pca import in_order, part_markers, read_packed, reading_memory
from allscan.kernels.standardised import TILE_VALUES, person_products

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.engine.structure.pca import Axes

PEOPLE_TOGETHER = 4096


class Projection(NamedTuple):
    """Scores in units of those of the people who define the components."""

    scores: NDArray[np.float64]  # (people, components) corrected for shrinkage
    plain: NDArray[np.float64]  # (people, components) as they were


class _Projecting(NamedTuple):
    """What the tasks share."""

    store: GenotypeStore
    axes: Axes
    people: NDArray[np.int64]


def project(store: GenotypeStore, axes: Axes, people: NDArray[np.int64], executor: TaskRunner) -> Projection:
    """Place people among components.

    Parameters
    ----------
    store
        Genotypes, with the markers of ``axes`` in the same rows.
    people : (people,) int64
        Store rows, none of those who define the components.

    Notes
    -----
    Missing calls count as the mean, for the correction too: a person with many is placed nearer to 0.
    """
    size = part_markers(len(people))
    tasks = [(start, min(start + size, len(axes.rows))) for start in range(0, len(axes.rows), size)]
    n, k = len(people), len(axes.eigenvalues)
    memory = reading_memory(store, n) + 4 * max(TILE_VALUES, 8 * n) + 3 * 8 * n * (k + 1)
    onto, squares = np.zeros((n, k)), np.zeros(n)
    for of_part, squares_of_part in in_order(executor, _project_part, _Projecting(store, axes, people), tasks, memory):
        onto += of_part
        squares += squares_of_part
    n_markers = int(axes.varies.sum())
    onto /= np.sqrt(n_markers)
    size_of_axis = np.sqrt(axes.eigenvalues)
    corrected = np.empty((n, k))
    for start in range(0, n, PEOPLE_TOGETHER):
        some = slice(start, start + PEOPLE_TOGETHER)
        corrected[some] = _augmented(onto[some], squares[some] / n_markers, size_of_axis)
    return Projection(corrected / size_of_axis, onto / size_of_axis)


def _project_part(shared: _Projecting, task: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    some = slice(*task)
    packed, _, _ = read_packed(shared.store, shared.axes.rows[some], shared.people)
    mean, scale = shared.axes.standardisation()
    return person_products(packed, mean[some], scale[some], shared.axes.loadings[some], len(shared.people))


def _augmented(
    onto: NDArray[np.float64], squares: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sections 2.2 and 2.3 of the paper, for each person alone.

    Parameters
    ----------
    onto : (people, k)
        Genotypes times loadings.
    squares : (people,)
        Sums of squares of the genotypes.
    sizes : (k,)
        Singular values of the genotypes of those who define the components.

    Returns
    -------
    (people, k): what ``onto`` would be without shrinkage.
    """
    n, k = onto.shape
    # Left singular vectors and values of [diag(sizes) 0; onto rest], of which the scores are made.
    gram = np.zeros((n, k + 1, k + 1))
    gram[:, range(k), range(k)] = sizes**2
    gram[:, k, :k] = gram[:, :k, k] = onto * sizes
    gram[:, k, k] = squares
    values, vectors = np.linalg.eigh(gram)
    new = vectors[:, :, :0:-1] * np.sqrt(np.maximum(values[:, None, :0:-1], 0.0))
    # The orthogonal map, and the stretch, that take the others' new scores closest to their old ones.
    left, overlap, right = np.linalg.svd(new[:, :k].transpose(0, 2, 1) * sizes)
    stretch = overlap.sum(axis=1) / (new[:, :k] ** 2).sum(axis=(1, 2))
    turned = np.matmul(np.matmul(new[:, k, None], left), right)[:, 0]
    return np.asarray(stretch[:, None] * turned)
