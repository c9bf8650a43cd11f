"""UMAP, against its definitions and the package umap-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.engine.structure.umap import UmapSpec, neighbour_graph, umap
from allscan.kernels.umap import NEGATIVE, layout_epoch, memberships


def curve() -> NDArray[np.float64]:
    k = np.arange(12)
    return np.column_stack([np.sin(k * k), np.cos(3 * k), k / 6])


def clouds(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    centres, code = 3 * rng.normal(size=(5, 8)), rng.integers(5, size=n)
    return centres[code] + rng.normal(size=(n, 8)), code


def test_the_graph_is_that_of_umap_learn() -> None:
    # umap-learn 0.5.12: fuzzy_simplicial_set(curve(), 5, …) of exact neighbours.
    graph = neighbour_graph(curve(), 5).toarray()
    assert np.array_equal(graph, graph.T)
    expected = [0, 0, 0.9395, 0, 1, 0, 0.2855, 0, 0.1767, 0, 0, 0]
    np.testing.assert_allclose(graph[0], expected, atol=1e-4)
    expected = [0, 0, 0, 0.2335, 0, 0.7872, 0.3152, 0, 0, 1, 0.7353, 0]
    np.testing.assert_allclose(graph[7], expected, atol=1e-4)
    assert graph.sum() == pytest.approx(37.624, abs=1e-3)


def test_neighbours_are_as_sure_as_they_should_be() -> None:
    distances = np.sort(np.random.default_rng(1).exponential(size=(50, 9)), axis=1)
    distances[:, 0] = 0
    out = np.full_like(distances, np.nan)
    memberships(distances, out)
    np.testing.assert_allclose(out.sum(axis=1), np.log2(9), atol=1e-4)
    assert (out[:, 1] == 1).all()
    assert (np.diff(out[:, 1:], axis=1) < 0).all()


@pytest.mark.parametrize("same", [3, 20])
def test_duplicates_are_neighbours(same: int) -> None:
    points, _ = clouds(40)
    points[:same] = points[0]
    graph = neighbour_graph(points, 5)
    assert np.isfinite(graph.data).all()
    assert graph.diagonal().max() == 0
    assert (graph.toarray()[:3, :3][~np.eye(3, dtype=bool)] > 0).any()
    assert np.isfinite(umap(points)).all()


def naive_epoch(
    graph: NDArray[np.float64], epoch: int, rate: float, spec: UmapSpec, places: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One epoch by gradients of the cross-entropy, with integers in the place of wrapping ones."""
    state, mask = spec.seed, 2**64 - 1
    out = places.copy()

    def clipped(gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        return rate * np.clip(gradient, -4, 4)

    for i, j in np.argwhere(graph > 0).tolist():
        if int((epoch + 1) * graph[i, j]) == int(epoch * graph[i, j]):
            continue
        away = out[i] - out[j]
        d = np.linalg.norm(away)
        # Of log(1 + a d^2b).
        step = clipped(-2 * spec.a * spec.b * d ** (2 * spec.b - 1) / (1 + spec.a * d ** (2 * spec.b)) * away / d)
        out[i] += step
        out[j] -= step
        for _ in range(NEGATIVE):
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            k = (z ^ (z >> 31)) % len(out)
            away = out[i] - out[k]
            apart = away @ away
            if apart > 0:
                out[i] += clipped(2 * spec.b / ((0.001 + apart) * (1 + spec.a * apart**spec.b)) * away)
    return out


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_is_that_of_the_definition(epoch: int) -> None:
    spec = UmapSpec()
    graph = neighbour_graph(curve(), 5)
    weights = (graph.data / graph.data.max()).astype(np.float32)
    dense = np.zeros(graph.shape)
    dense[graph.nonzero()] = weights
    places = np.random.default_rng(2).uniform(0, 10, (12, 2))
    out = places.copy()
    state = np.array([spec.seed], np.uint64)
    starts, others = graph.indptr.astype(np.int64), graph.indices.astype(np.int32)
    layout_epoch(starts, others, weights, epoch, 0.7, spec.a, spec.b, state, out)
    np.testing.assert_allclose(out, naive_epoch(dense, epoch, 0.7, spec, places), rtol=1e-9)
    assert np.abs(out - places).max() > 0.1


def test_who_is_near_stays_near() -> None:
    points, code = clouds(400)
    before = points.copy()
    epochs: list[tuple[int, int]] = []
    plane = umap(points, on_progress=lambda done, total: epochs.append((done, total)))
    assert np.array_equal(points, before)
    assert epochs[-1] == (500, 500)

    def of_the_same(places: NDArray[np.float64]) -> float:
        apart = np.linalg.norm(places[:, None] - places, axis=2)
        return float((code[np.argsort(apart, axis=1)[:, 1:6]] == code[:, None]).mean())

    assert of_the_same(points[:, :2]) < 0.9
    assert of_the_same(plane) > of_the_same(points) - 0.02
    assert np.array_equal(plane, umap(points))
    assert not np.array_equal(plane, umap(points, UmapSpec(seed=2)))
