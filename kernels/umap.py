"""UMAP: how sure neighbours are of each other, and a step of the layout that shows it.

McInnes, Healy & Melville 2018, arXiv:1802.03426, sections 3 and 4 (algorithms 3 and 5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALVINGS = 64
CLOSE = 1e-5
LEAST_SCALE = 1e-3
"""Of the mean distance: keeps the scale of people with many duplicates above 0."""
NEGATIVE = 5
"""People whom a person is pushed away from, for each pull."""
STRONGEST = 4.0
"""Pull or push along an axis."""


@jit
def memberships(distances: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """How sure everybody is of each neighbour: 1 of the nearest, in all log2(neighbours).

    Parameters
    ----------
    distances : (people, neighbours)
        Ascending; the first is of the person, 0.
    out : (people, neighbours)
        Overwritten: in (0, 1]; 0 of the person.
    """
    people, neighbours = distances.shape
    target = np.log2(neighbours)
    mean_of_all = distances.mean()
    for i in range(people):
        nearest = 0.0
        for j in range(1, neighbours):
            if distances[i, j] > 0:
                nearest = distances[i, j]
                break
        low, high, scale = 0.0, np.inf, 1.0
        for _ in range(HALVINGS):
            total = 0.0
            for j in range(1, neighbours):
                total += np.exp(-max(distances[i, j] - nearest, 0.0) / scale)
            if abs(total - target) < CLOSE:
                break
            if total > target:
                high = scale
                scale = (low + high) / 2
            else:
                low = scale
                scale = scale * 2 if high == np.inf else (low + high) / 2
        scale = max(scale, LEAST_SCALE * (distances[i].mean() if nearest > 0 else mean_of_all))
        out[i, 0] = 0.0
        for j in range(1, neighbours):
            away = distances[i, j] - nearest
            out[i, j] = np.exp(-away / scale) if away > 0 and scale > 0 else 1.0


@jit
def layout_epoch(
    starts: NDArray[np.int64],
    others: NDArray[np.int32],
    weights: NDArray[np.float32],
    epoch: int,
    rate: float,
    a: float,
    b: float,
    state: NDArray[np.uint64],
    out: NDArray[np.float64],
) -> None:
    """One pass of stochastic gradient descent: neighbours are pulled together, others pushed away.

    Parameters
    ----------
    starts : (people + 1,)
        Where the neighbours of each person begin among the edges.
    others, weights : (edges,)
        The neighbour, and in how many of the epochs the edge is used, as a share.
    epoch
        From 0.
    rate
        How far people are moved.
    a, b
        Of the curve 1 / (1 + a d^2b) of the similarity of people who are d apart.
    state : (1,)
        Of the random numbers (SplitMix64; Steele, Lea & Flood 2014, 10.1145/2714064.2660195); changed.
    out : (people, 2)
        Where they are; changed.
    """
    people = out.shape[0]
    for i in range(people):
        for e in range(starts[i], starts[i + 1]):
            share = np.float64(weights[e])
            if np.floor((epoch + 1) * share) == np.floor(epoch * share):
                continue
            j = others[e]
            dx, dy = out[i, 0] - out[j, 0], out[i, 1] - out[j, 1]
            apart = dx * dx + dy * dy
            if apart > 0:
                power = apart**b
                pull = -2.0 * a * b * (power / apart) / (a * power + 1.0)
                mx = rate * min(max(pull * dx, -STRONGEST), STRONGEST)
                my = rate * min(max(pull * dy, -STRONGEST), STRONGEST)
                out[i, 0] += mx
                out[i, 1] += my
                out[j, 0] -= mx
                out[j, 1] -= my
            for _ in range(NEGATIVE):
                state[0] += np.uint64(0x9E3779B97F4A7C15)
                z = state[0]
                z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                z = z ^ (z >> np.uint64(31))
                k = np.int64(z % np.uint64(people))
                dx, dy = out[i, 0] - out[k, 0], out[i, 1] - out[k, 1]
                apart = dx * dx + dy * dy
                if apart > 0:
                    push = 2.0 * b / ((0.001 + apart) * (a * apart**b + 1.0))
                    out[i, 0] += rate * min(max(push * dx, -STRONGEST), STRONGEST)
                    out[i, 1] += rate * min(max(push * dy, -STRONGEST), STRONGEST)
