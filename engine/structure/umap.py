"""UMAP: people in a plane, near whom they are near among the components. A picture, and nothing to compute with.

McInnes, Healy & Melville 2018, arXiv:1802.03426. As the package umap-learn does it, but for three things that make it
the same each time: neighbours are exact, the layout begins with the first two components (Kobak & Linderman 2021,
10.1038/s41587-020-00809-z), and one thread moves people one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.umap import layout_epoch, memberships

if TYPE_CHECKING:
    from collections.abc import Callable

    import scipy.sparse as sp
    from numpy.typing import NDArray

MANY_PEOPLE = 10_000
"""From here on fewer epochs do (the package's rule)."""
WIDTH = 10.0
NOISE = 1e-4


@dataclass(frozen=True)
class UmapSpec:
    """How people are laid out.

    Parameters
    ----------
    neighbours
        Of each person, who is counted among them.
    a, b
        Of the curve 1 / (1 + a d^2b): the defaults are of a least distance of 0.5, as is usual for cohorts
        (Diaz-Papkovich et al. 2019, 10.1371/journal.pgen.1008432).
    seed
        Of the people who are pushed apart.
    """

    neighbours: int = 15
    a: float = 0.583030
    b: float = 1.334167
    seed: int = 1


def umap(
    scores: NDArray[np.float64], spec: UmapSpec | None = None, *, on_progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float64]:
    """Lay people out in a plane.

    Parameters
    ----------
    scores : (people, components)
        In units in which distances mean something: with the variance of each component its eigenvalue. At least two
        components of at least three people.
    spec
        Left out: the usual numbers.
    on_progress
        Called with epochs done and in all.

    Returns
    -------
    (people, 2), in no unit.

    Warnings
    --------
    Distances between groups, their sizes and their shapes tell next to nothing, and differ with the seed. No covariate.
    """
    spec = spec or UmapSpec()
    n = len(scores)
    assert n > 2
    assert scores.shape[1] > 1
    graph = neighbour_graph(scores, min(spec.neighbours, n))
    epochs = 200 if n > MANY_PEOPLE else 500
    weights = (graph.data / graph.data.max()).astype(np.float32)
    starts, others = graph.indptr.astype(np.int64), graph.indices.astype(np.int32)
    plane: NDArray[np.float64] = scores[:, :2] * (WIDTH / max(np.abs(scores[:, :2]).max(), 1e-300))
    plane += np.random.default_rng(spec.seed).normal(scale=NOISE, size=plane.shape)
    low = plane.min(axis=0)
    plane = WIDTH * (plane - low) / (plane.max(axis=0) - low)
    state = np.array([spec.seed], np.uint64)
    for epoch in range(epochs):
        layout_epoch(starts, others, weights, epoch, 1.0 - epoch / epochs, spec.a, spec.b, state, plane)
        if on_progress is not None:
            on_progress(epoch + 1, epochs)
    return plane


def neighbour_graph(scores: NDArray[np.float64], neighbours: int) -> sp.csr_array:
    """How sure people are that they are neighbours, (people, people), symmetric: one of the two is enough."""
    import scipy.sparse as sp
    from scipy.spatial import KDTree

    n = len(scores)
    found = KDTree(scores).query(scores, neighbours)
    distance, other = np.asarray(found[0]), np.asarray(found[1])
    sure = np.empty_like(distance)
    memberships(distance, sure)
    # Of duplicates, somebody else may be nearest.
    sure[other == np.arange(n)[:, None]] = 0.0
    starts = np.arange(0, other.size + 1, neighbours)
    one_way = sp.csr_array((sure.ravel(), other.ravel().astype(np.int32), starts), shape=(n, n))
    back = one_way.T.tocsr()
    graph: sp.csr_array = one_way + back - one_way * back
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def memory_bytes(people: int, neighbours: int = UmapSpec.neighbours) -> int:
    """Bytes that it takes: the graph, the other way too, their sum and product."""
    return 160 * people * neighbours
