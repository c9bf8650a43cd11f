"""Traits after their covariates, at unit length: what a variant's products are taken with.

Traits are rows here, a few at a time, so that every loop runs along people.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.kernels.jit import jit_fast
from allscan.kernels.panel import row_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIP = 2048
"""People that are gone through at a time: their covariates stay in the second-level cache."""


def residuals(
    traits: NDArray[np.float64],
    chosen: NDArray[np.int64],
    member: NDArray[np.bool_],
    set_of_trait: NDArray[np.int64],
    basis: NDArray[np.float64],
    roots: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Traits after the covariates of their patterns, at unit length, zero outside; squared lengths after and before.

    Parameters
    ----------
    traits : (samples, all traits)
        NaN where a trait is missing.
    chosen : (traits,)
        Columns that are wanted.
    member : (sets, samples)
        Who has the traits of a pattern.
    set_of_trait : (traits,)
        Pattern of each of the chosen.
    basis : (covariates, samples)
        Orthonormal over all samples of the group, zero outside, each of mean zero.
    roots : (sets, covariates, covariates)
        ``R`` with ``R Rᵀ`` the inverse of the Gram matrix of a pattern.

    Returns
    -------
    residuals : (traits, samples)
    left, spread : (traits,)
    """
    values = np.empty((len(chosen), len(traits)))
    left, spread = np.empty(len(chosen)), np.empty(len(chosen))
    size = np.maximum(member.sum(axis=1), 1)
    _gather(traits, chosen, values)
    _project_off(values, member, set_of_trait, size, basis, roots, left, spread)
    return values, left, spread


@jit_fast
def _gather(traits: NDArray[np.float64], chosen: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    for i in range(traits.shape[0]):
        for t in range(chosen.shape[0]):
            values[t, i] = traits[i, chosen[t]]


@jit_fast
def _centre(row: NDArray[np.float64], member: NDArray[np.bool_], size: int) -> float:
    """Take the mean of a row's members off, set the others to zero; the sum of squares."""
    total = 0.0
    for i in range(row.shape[0]):
        total += row[i] if member[i] else 0.0
    mean = total / size
    squares = 0.0
    for i in range(row.shape[0]):
        value = row[i] - mean if member[i] else 0.0
        row[i] = value
        squares += value * value
    return squares


@jit_fast
def _add_products(
    row: NDArray[np.float64], basis: NDArray[np.float64], begin: int, end: int, products: NDArray[np.float64]
) -> None:
    """Add the products of a row with the rows of a basis, ``begin:end``; two at a time, which halves the reading."""
    c = basis.shape[0]
    for j in range(0, c - 1, 2):
        first, second = basis[j, begin:end], basis[j + 1, begin:end]
        one = two = 0.0
        for i in range(row.shape[0]):
            one += row[i] * first[i]
            two += row[i] * second[i]
        products[j] += one
        products[j + 1] += two
    if c % 2:
        last = basis[c - 1, begin:end]
        one = 0.0
        for i in range(row.shape[0]):
            one += row[i] * last[i]
        products[c - 1] += one


@jit_fast
def _take_off(
    row: NDArray[np.float64], basis: NDArray[np.float64], begin: int, end: int, products: NDArray[np.float64]
) -> None:
    """Take a combination of the rows of a basis off a row; two at a time, as before."""
    c = basis.shape[0]
    for j in range(0, c - 1, 2):
        first, second = basis[j, begin:end], basis[j + 1, begin:end]
        one, two = products[j], products[j + 1]
        for i in range(row.shape[0]):
            row[i] -= one * first[i] + two * second[i]
    if c % 2:
        last, one = basis[c - 1, begin:end], products[c - 1]
        for i in range(row.shape[0]):
            row[i] -= one * last[i]


@jit_fast
def _project_off(
    values: NDArray[np.float64],
    member: NDArray[np.bool_],
    set_of_trait: NDArray[np.int64],
    size: NDArray[np.int64],
    basis: NDArray[np.float64],
    roots: NDArray[np.float64],
    left: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> None:
    n_traits, n = values.shape
    c = basis.shape[0]
    products = np.zeros((n_traits, c))
    along = np.empty(c)
    for t in range(n_traits):
        s = set_of_trait[t]
        spread[t] = left[t] = _centre(values[t], member[s], size[s])
    for _ in range(2):  # once more: the first pass leaves rounding of the order of what it took off
        products[:] = 0.0
        for first in range(0, n, STRIP):
            stop = min(first + STRIP, n)
            for t in range(n_traits):
                _add_products(values[t, first:stop], basis, first, stop, products[t])
        for t in range(n_traits):
            root = roots[set_of_trait[t]]
            for k in range(c):
                along[k] = 0.0
                for j in range(c):
                    along[k] += root[j, k] * products[t, j]
            for j in range(c):
                products[t, j] = 0.0
                for k in range(c):
                    products[t, j] += root[j, k] * along[k]
        for first in range(0, n, STRIP):
            stop = min(first + STRIP, n)
            for t in range(n_traits):
                _take_off(values[t, first:stop], basis, first, stop, products[t])
        for t in range(n_traits):
            s = set_of_trait[t]
            left[t] = _centre(values[t], member[s], size[s])
    for t in range(n_traits):
        if left[t] > 0.0:
            scale = 1.0 / math.sqrt(left[t])
            for i in range(n):
                values[t, i] *= scale


@jit_fast
def write_rows(data: NDArray[Any], first: int, rows: NDArray[np.float64]) -> None:
    """Write rows, shape (columns, samples), as columns of a panel's data from column ``first``."""
    lanes = data.shape[2]
    stop = first + rows.shape[0]
    for chunk in range(first // lanes, (stop + lanes - 1) // lanes):
        low, high = max(first, chunk * lanes), min(stop, (chunk + 1) * lanes)
        for i in range(rows.shape[1]):
            to = row_of(i)
            for column in range(low, high):
                data[chunk, to, column - chunk * lanes] = rows[column - first, i]
