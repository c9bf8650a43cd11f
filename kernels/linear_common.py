"""What the forms of linear association share: bounds, statuses, and the step from products to an estimate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.association import Status, TraitNote
from allscan.kernels.jit import jit
from allscan.kernels.student import t_neg_log10_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.association import NullData

# Left of the spread of a genotype (or trait) after the covariates, below which it counts as explained by
# them: a variance inflation of 1e8, past which float64 would give fewer than seven digits.
COLLINEAR = 1e-8
# Spread of a genotype relative to its sum of squares, below which it does not vary. A singleton in a
# million people has 5e-7 when counted by the common allele; rounding leaves about 1e-15.
MONOMORPHIC = 1e-11
# Fraction of the trait's variance left by the genotype, below which nothing is left to test against.
PERFECT_FIT = 1e-13


def trait_notes(
    data: NullData,
    traits: NDArray[np.int64],
    n: int,
    rank: int,
    predictors: int,
    left: NDArray[np.float64],
    spread: NDArray[np.float64],
    dropped: tuple[int, ...],
) -> tuple[NDArray[np.uint8], list[TraitNote]]:
    """Status of traits of one pattern, and what there is to say of them.

    Parameters
    ----------
    traits
        Their indices in the batch.
    n, rank
        Samples, and rank of the covariates among them.
    predictors
        Predictors that a variant brings.
    left, spread : (traits,)
        Sums of squares after and before the covariates.
    dropped
        Covariates that are left out.
    """
    status = np.zeros(len(traits), np.uint8)
    notes: list[TraitNote] = []
    names = ", ".join(data.covariate_names[j] for j in dropped)
    for k, trait in enumerate(traits):
        if n - rank - predictors <= 0:
            status[k] = Status.TOO_FEW_SAMPLES
            text = f"{n} samples for {rank} covariates: no degrees of freedom are left"
        elif left[k] <= COLLINEAR * spread[k] or spread[k] == 0 or not math.isfinite(left[k]):
            status[k] = Status.TRAIT_CONSTANT
            text = "the trait is constant, or the covariates explain it exactly"
        elif dropped:
            text = f"covariates left out because others determine them: {names}"
        else:
            continue
        notes.append(TraitNote(int(trait), int(status[k]), text))
    return status, notes


def centred_moments(
    total: NDArray[np.float64], squares: NDArray[np.float64], shift: NDArray[np.float64], called: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, centred sum of squares and spread of a predictor less its shift, from its plain sums.

    Parameters
    ----------
    total, squares, called : (variants, sets)
        Sums of the predictor and of its squares over the called samples, and their number.
    shift : (variants, 1)
        What is taken off the predictor.

    Returns
    -------
    mean, centred_ss, spread : (variants, sets)
        The spread is the centred sum of squares over that of the shifted predictor; 0: monomorphic.
    """
    shifted_squares = squares - shift * (2.0 * total - shift * called)
    shifted = total - shift * called
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(called > 0, shifted / called, 0.0)
        centred = shifted_squares - shifted * mean
        spread = np.where(centred > MONOMORPHIC * squares, centred / shifted_squares, 0.0)
    return mean, centred, spread


@jit
def finish_one(x: float, b: float, yy: float, df: float, factor: float, cells: NDArray[np.float64]) -> int:
    """``cells`` = beta, standard error, −log10 p; returns a status. ``factor``: of the variance, for relatives."""
    beta = b / x
    rss = yy - b * beta
    if rss <= PERFECT_FIT * yy:
        return codes.PERFECT_FIT
    se = math.sqrt(factor * (rss / df / x))
    cells[0] = beta
    cells[1] = se
    cells[2] = t_neg_log10_p(beta / se, df)
    return codes.OK


@jit
def factor_in_place(matrix: NDArray[np.float64], c: int, least: float) -> int:
    """Cholesky factor of the lower triangle, in place; returns its rank.

    A direction with a pivot up to ``least`` is gone: it is left out, its column and pivot zero.
    """
    kept = 0
    for j in range(c):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= matrix[j, k] * matrix[j, k]
        if pivot <= least:
            matrix[j, j] = 0.0
            for i in range(j + 1, c):
                matrix[i, j] = 0.0
            continue
        kept += 1
        root = math.sqrt(pivot)
        matrix[j, j] = root
        for i in range(j + 1, c):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = value / root
    return kept


@jit
def solve_in_place(factor: NDArray[np.float64], values: NDArray[np.float64], c: int) -> None:
    """Solve ``L z = values`` in place; directions that were left out get zero."""
    for j in range(c):
        if factor[j, j] == 0.0:
            values[j] = 0.0
            continue
        value = values[j]
        for k in range(j):
            value -= factor[j, k] * values[k]
        values[j] = value / factor[j, j]


@jit
def solve_transposed_in_place(factor: NDArray[np.float64], values: NDArray[np.float64], c: int) -> None:
    """Solve ``Lᵀ z = values`` in place; directions that were left out get zero."""
    for j in range(c - 1, -1, -1):
        if factor[j, j] == 0.0:
            values[j] = 0.0
            continue
        value = values[j]
        for k in range(j + 1, c):
            value -= factor[k, j] * values[k]
        values[j] = value / factor[j, j]
