"""Products with standardised genotypes, of packed calls that are decoded a tile at a time.

With ``X`` the genotypes of ``v`` markers × ``n`` people, less their mean and divided by a spread, 0 where a call is
missing (so that it counts as the mean), these are ``X w``, ``Xᵀ u`` and ``Xᵀ X w`` for some vectors side by side: all
that principal components of any number of people need. A tile is decoded once for both products and stays in the cache
between them. Tiles depend on the number of people alone, so the sums of a part are the same wherever it is computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TILE_VALUES = 1 << 21
"""Genotypes that are decoded at a time: 8 MB."""
LEAST_TILE = 8  # markers, however many people there are


def tile_markers(n_people: int) -> int:
    """Markers of a tile."""
    return max(LEAST_TILE, TILE_VALUES // max(n_people, 1))


@jit
def _decode(
    packed: NDArray[np.uint8], mean: NDArray[np.float64], scale: NDArray[np.float64], tile: NDArray[np.float32]
) -> None:
    """Calls (see :mod:`allscan.kernels.packing`) as standardised genotypes."""
    n_people = tile.shape[1]
    value = np.empty(4, np.float32)
    for v in range(tile.shape[0]):
        for code in range(3):
            value[code] = np.float32((code - mean[v]) * scale[v])
        value[3] = np.float32(0.0)
        zero, one, two = value[0], value[1], value[2]
        row, out = packed[v], tile[v]
        for group in range(row.shape[0] // 64):
            source = row[group * 64 : group * 64 + 64]
            for plane in range(4):
                first = group * 256 + plane * 64
                shift = np.uint8(2 * plane)
                if first + 64 <= n_people:
                    # Choices between registers vectorise, where a look into a table would not.
                    target = out[first : first + 64]
                    for j in range(64):
                        code = (source[j] >> shift) & np.uint8(3)
                        low = one if code & np.uint8(1) else zero
                        high = np.float32(0.0) if code & np.uint8(1) else two
                        target[j] = high if code & np.uint8(2) else low
                else:
                    for j in range(n_people - first):
                        out[first + j] = value[(source[j] >> shift) & np.uint8(3)]


def _tiles(
    packed: NDArray[np.uint8], mean: NDArray[np.float64], scale: NDArray[np.float64], n_people: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    size = tile_markers(n_people)
    room = np.empty((min(size, len(packed)), n_people), np.float32)
    for start in range(0, len(packed), size):
        some = slice(start, min(start + size, len(packed)))
        tile = room[: some.stop - start]
        _decode(packed[some], mean[some], scale[some], tile)
        yield some, tile


def gram_products(
    packed: NDArray[np.uint8], mean: NDArray[np.float64], scale: NDArray[np.float64], vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """``Xᵀ X w``: what some markers add to the relationship matrix of people, times vectors.

    Parameters
    ----------
    packed : (markers, row_bytes(people)) uint8
        Calls.
    mean, scale : (markers,)
        What is taken off, and what the rest is multiplied by.
    vectors : (people, vectors) float32

    Returns
    -------
    (people, vectors) float64
        Sums in float32 within a tile, and in float64 across tiles.
    """
    out = np.zeros(vectors.shape)
    for _, tile in _tiles(packed, mean, scale, len(vectors)):
        out += tile.T @ (tile @ vectors)
    return out


def marker_products(
    packed: NDArray[np.uint8], mean: NDArray[np.float64], scale: NDArray[np.float64], vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """``X w`` for ``vectors`` of people, shape (people, vectors): (markers, vectors)."""
    out = np.empty((len(packed), vectors.shape[1]))
    for some, tile in _tiles(packed, mean, scale, len(vectors)):
        out[some] = tile @ vectors
    return out


def person_products(
    packed: NDArray[np.uint8],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    loadings: NDArray[np.float64],
    n_people: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``Xᵀ u`` for ``loadings`` of markers, shape (markers, vectors), and the sum of squares of each person.

    Returns
    -------
    (people, vectors) and (people,) float64
    """
    out, squares = np.zeros((n_people, loadings.shape[1])), np.zeros(n_people)
    for some, tile in _tiles(packed, mean, scale, n_people):
        out += tile.T @ loadings[some].astype(np.float32)
        squares += np.einsum("vn,vn->n", tile, tile)
    return out, squares
