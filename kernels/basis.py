"""Orthonormal bases of covariates, with the dependent columns named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A column is dropped when less than this fraction of its spread is left after the columns before it. It is far
# below anything a study can estimate (a variance inflation of 1e14), and far above rounding.
DEPENDENT = 1e-7


def orthonormal_basis(covariates: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Orthonormal basis of the columns, earlier columns first.

    Parameters
    ----------
    covariates : (samples, covariates) float64, finite

    Returns
    -------
    basis : (samples, rank) float64
        Orthonormal columns that span the covariates.
    dropped : tuple of int
        Columns that are linear combinations of earlier ones (among them, columns of zeros).
    """
    n = len(covariates)
    columns = covariates.astype(np.float64, copy=True)
    constant = np.ptp(columns, axis=0) == 0 if n else np.ones(columns.shape[1], bool)
    nonzero = np.abs(columns).max(axis=0, initial=0.0) > 0
    intercept = np.flatnonzero(constant & nonzero)
    if len(intercept):
        # Beside an intercept only deviations from the mean matter; taking them first keeps a covariate like
        # year of birth, whose mean is a hundred times its spread, well conditioned.
        others = ~constant
        columns[:, others] -= columns[:, others].mean(axis=0)
    norms = np.linalg.norm(columns, axis=0)
    kept: list[int] = []
    rows = np.empty((min(n, columns.shape[1]), n))
    for j in range(columns.shape[1]):
        rank = len(kept)
        if norms[j] == 0 or rank >= n:
            continue
        column = columns[:, j] / norms[j]
        for _ in range(2):  # once more: the first pass leaves rounding of the order of the overlap
            column -= (rows[:rank] @ column) @ rows[:rank]
        left = np.linalg.norm(column)
        if left > DEPENDENT:
            rows[rank] = column / left
            kept.append(j)
    dropped = tuple(j for j in range(columns.shape[1]) if j not in kept)
    return np.ascontiguousarray(rows[: len(kept)].T), dropped
