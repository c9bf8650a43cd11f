"""Leading eigenvectors of a symmetric matrix that is known by its products alone, each of them a pass over the data.

Randomised block Krylov iteration (Musco & Musco 2015, arXiv 1504.05477; Halko et al. 2011, 10.1137/100804139): a random
block ``W`` and the matrix ``A`` span ``W, AW, A²W …``, and the eigenvectors are looked for in all of that, not in the
last block alone as by power iterations, so that far fewer passes do. The basis is kept orthonormal (block Lanczos,
everything orthogonalised twice), what is left over by it tells how far each eigenvector is off, and when the basis
becomes large it starts again from the best of itself (thick restart; Wu & Simon 2000, 10.1137/S0895479898334605).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MOST_COLUMNS = 240
"""Of the basis, if that is enough for a few blocks."""
NOISE = 3e-7
"""Relative to the largest eigenvalue: below it, products in single precision hold nothing but rounding."""


@dataclass(frozen=True)
class Eigenpairs:
    """Leading eigenvalues and eigenvectors."""

    values: NDArray[np.float64]  # (k,) descending
    vectors: NDArray[np.float64]  # (rows, k) orthonormal
    error: NDArray[np.float64]  # (k,) bound, to first order, of the sine of the angle to the exact vector; at most 1
    passes: int  # products that were asked for


def leading_eigenpairs(
    product: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    rows: int,
    count: int,
    *,
    block: int,
    accuracy: float,
    most_passes: int,
    seed: int,
    on_pass: Callable[[int, float], None],
) -> Eigenpairs:
    """Leading eigenpairs of a positive semidefinite matrix ``A``.

    Parameters
    ----------
    product
        ``A w``, for ``w`` of shape (rows, vectors).
    rows
        Of the matrix.
    count
        How many; fewer are found where the matrix has a lower rank.
    block
        Vectors of a product.
    accuracy
        It ends when :attr:`Eigenpairs.error` of each is at most this.
    most_passes
        Products after which it ends in any case.
    seed
        Of the first block.
    on_pass
        Called with products done and the largest error of a vector.

    Notes
    -----
    The error of a vector is its residual over the gap between its eigenvalue and the nearest other one (Davis & Kahan
    1970): it is large where two eigenvalues are so close that the data hardly tell their vectors apart.
    """
    start = np.random.default_rng(seed).standard_normal((rows, min(block, rows)))
    with _same_everywhere():
        following, _ = np.linalg.qr(start)
    basis = np.empty((rows, 0))
    inner = np.empty((0, 0))
    most = most_columns(count, block)
    passes = 0
    while True:
        width = following.shape[1]
        if basis.shape[1] + width > most:
            with _same_everywhere():
                values, rotation = _descending(inner)
                kept = min(count + block, len(values))
                basis, inner = basis @ rotation[:, :kept], np.diag(values[:kept])
        image = product(following)
        passes += 1
        with _same_everywhere():
            basis = np.concatenate([basis, following], axis=1)
            inside = basis.T @ image
            old = len(inner)
            square = inside[old:]
            inner = np.block([[inner, inside[:old]], [inside[:old].T, (square + square.T) / 2]])
            image -= basis @ inside
            image -= basis @ (basis.T @ image)
            values, rotation = _descending(inner)
            room = rows - basis.shape[1]
            following, coupling = _independent(image, NOISE * max(values[0], 0.0), room)
            following -= basis @ (basis.T @ following)
            following, turn = np.linalg.qr(following)
            coupling = turn @ coupling
            found = min(count, int((values > NOISE * max(values[0], 0.0)).sum()))
            residual = np.linalg.norm(coupling @ rotation[-width:, :found], axis=0)
            error = _angles(values, residual, whole=not following.shape[1])
        on_pass(passes, float(error.max(initial=0.0)) if found == count else 1.0)
        exact = found == count and bool((error <= accuracy).all())
        if exact or not following.shape[1] or passes == most_passes:
            break
    with _same_everywhere():
        return Eigenpairs(values[:found], basis @ rotation[:, :found], error, passes)


def most_columns(count: int, block: int) -> int:
    """Columns that the basis has at most."""
    return max(MOST_COLUMNS, count + 4 * block)


def _same_everywhere() -> threadpool_limits:
    """One thread, so that the last digits do not depend on the cores of the machine."""
    return threadpool_limits(limits=1, user_api="blas")


def _descending(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, vectors = np.linalg.eigh(matrix)
    return values[::-1], vectors[:, ::-1]


def _independent(
    block: NDArray[np.float64], noise: float, room: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most ``room`` orthonormal columns that span what of a block is above the noise, and it in terms of them."""
    left, size, right = np.linalg.svd(block, full_matrices=False)
    kept = min(int((size > noise).sum()), room)
    return left[:, :kept], size[:kept, None] * right[:kept]


def _angles(values: NDArray[np.float64], residual: NDArray[np.float64], *, whole: bool) -> NDArray[np.float64]:
    """Sine of the angle between each vector that was found and the exact one; 0 where the basis holds them all."""
    if whole:
        return np.zeros(len(residual))
    below = np.append(values, 0.0)[: len(residual) + 1]
    steps = below[:-1] - below[1:]
    gap = np.minimum(steps, np.concatenate([[np.inf], steps[:-1]]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(np.where(residual > 0, residual / gap, 0.0), 1.0)
