"""The compiled half of general linear association: from products and moments to estimates.

See :mod:`allscan.kernels.linear_general` for the algebra.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.jit import jit
from allscan.kernels.linear_common import (
    COLLINEAR,
    MONOMORPHIC,
    PERFECT_FIT,
    factor_in_place,
    finish_one,
    solve_in_place,
)
from allscan.kernels.student import f2_neg_log10_p

if TYPE_CHECKING:
    from numpy.typing import NDArray


@jit
def _finish_two(
    x0: float,
    x1: float,
    x01: float,
    b0: float,
    b1: float,
    yy: float,
    df: float,
    factor: float,
    cells: NDArray[np.float64],
) -> int:
    """``cells`` = beta, SE, −log10 p of both (F on 2 df), second beta, second SE; returns a status."""
    determinant = x0 * x1 - x01 * x01
    if determinant <= COLLINEAR * x0 * x1:
        return codes.PARTLY_COLLINEAR
    beta0 = (x1 * b0 - x01 * b1) / determinant
    beta1 = (x0 * b1 - x01 * b0) / determinant
    explained = beta0 * b0 + beta1 * b1
    rss = yy - explained
    if rss <= PERFECT_FIT * yy:
        return codes.PERFECT_FIT
    variance = factor * (rss / df)
    cells[0] = beta0
    cells[1] = math.sqrt(variance * x1 / determinant)
    cells[2] = f2_neg_log10_p(0.5 * explained / variance, df)
    cells[3] = beta1
    cells[4] = math.sqrt(variance * x0 / determinant)
    return codes.OK


@jit
def score_variants(
    products: NDArray[np.float64],
    missing_sums: NDArray[np.float64],
    mean: NDArray[np.float64],
    spread: NDArray[np.float64],
    gram: NDArray[np.float64],
    missing_weight: NDArray[np.float64],
    n_missing: NDArray[np.int64],
    missing_offset: NDArray[np.int64],
    missing_sample: NDArray[np.int32],
    exclude: bool,
    panel: NDArray[np.float64],
    start: NDArray[np.int64],
    rank: NDArray[np.int64],
    size: NDArray[np.int64],
    set_of_trait: NDArray[np.int64],
    column: NDArray[np.int64],
    residual_ss: NDArray[np.float64],
    variance_factor: NDArray[np.float64],
    trait_status: NDArray[np.uint8],
    cells: NDArray[np.float64],
    status: NDArray[np.uint8],
) -> None:
    """Results of every variant × trait.

    Shapes: products (predictors, variants, columns); missing_sums (variants, columns); moments as
    ``_Moments``; cells (variants, traits, 3 or 5) and status (variants, traits), overwritten.
    """
    p, n_variants, n_columns = products.shape
    n_sets = size.shape[0]
    n_traits = column.shape[0]
    max_rank = 1
    for s in range(n_sets):
        max_rank = max(max_rank, rank[s])
    factor = np.empty((max_rank, max_rank))
    left_out_ss = np.empty(n_columns)
    a = np.empty((p, max_rank))
    w = np.empty(max_rank)
    x = np.empty((p, p))
    b = np.empty(p)
    for v in range(n_variants):
        for s in range(n_sets):
            first = start[s]
            c = rank[s]
            called = size[s] - n_missing[v, s]
            fault = codes.OK
            if called == 0:
                fault = codes.ALL_MISSING
            elif spread[0, v, s] <= MONOMORPHIC:
                fault = codes.MONOMORPHIC
            elif p == 2 and spread[1, v, s] <= MONOMORPHIC:
                fault = codes.PARTLY_COLLINEAR
            kept_rank = c
            downdate = exclude and n_missing[v, s] > 0
            if fault == codes.OK:
                for j in range(p):
                    for k in range(c):
                        a[j, k] = products[j, v, first + k]
                        if not exclude:
                            a[j, k] += mean[j, v, s] * missing_sums[v, first + k]
                if downdate:
                    kept_rank = _downdate(
                        missing_sample[missing_offset[v] : missing_offset[v + 1]],
                        panel,
                        first,
                        c,
                        start[s + 1],
                        factor,
                        left_out_ss,
                    )
                    for j in range(p):
                        solve_in_place(factor, a[j], c)
                n_used = called if exclude else size[s]
                for j in range(p):
                    for i in range(p):
                        x[j, i] = gram[j, i, v, s]
                        if not exclude:
                            x[j, i] += mean[j, v, s] * mean[i, v, s] * missing_weight[v, s]
                    whole = x[j, j]
                    for i in range(p):
                        for k in range(c):
                            x[j, i] -= a[j, k] * a[i, k]
                    if x[j, j] <= COLLINEAR * spread[j, v, s] * whole:
                        fault = codes.COLLINEAR if p == 1 else codes.PARTLY_COLLINEAR
            for trait in range(n_traits):
                if set_of_trait[trait] != s:
                    continue
                for k in range(cells.shape[2]):
                    cells[v, trait, k] = np.nan
                if trait_status[trait] != codes.OK:
                    status[v, trait] = trait_status[trait]
                    continue
                if fault != codes.OK:
                    status[v, trait] = fault
                    continue
                df = n_used - kept_rank - p
                if df <= 0:
                    status[v, trait] = codes.TOO_FEW_SAMPLES
                    continue
                t = column[trait]
                yy = residual_ss[trait]
                for j in range(p):
                    b[j] = products[j, v, t]
                    if not exclude:
                        b[j] += mean[j, v, s] * missing_sums[v, t]
                if downdate:
                    # Over the called samples the basis and the residuals are no longer orthogonal: their
                    # product is minus that over the missing ones.
                    for k in range(c):
                        total = 0.0
                        for m in range(missing_offset[v], missing_offset[v + 1]):
                            row = panel[missing_sample[m]]
                            total += row[first + k] * row[t]
                        w[k] = -total
                    solve_in_place(factor, w, c)
                    yy -= left_out_ss[t]
                    for k in range(c):
                        yy -= w[k] * w[k]
                        for j in range(p):
                            b[j] -= a[j, k] * w[k]
                    if yy <= COLLINEAR * residual_ss[trait]:
                        status[v, trait] = codes.TRAIT_CONSTANT
                        continue
                into, relatives = cells[v, trait], variance_factor[trait]
                if p == 1:
                    status[v, trait] = finish_one(x[0, 0], b[0], yy, df, relatives, into)
                else:
                    status[v, trait] = _finish_two(x[0, 0], x[1, 1], x[0, 1], b[0], b[1], yy, df, relatives, into)


@jit
def _downdate(
    missing: NDArray[np.int32],
    panel: NDArray[np.float64],
    first: int,
    c: int,
    stop: int,
    factor: NDArray[np.float64],
    left_out_ss: NDArray[np.float64],
) -> int:
    """Cholesky factor of ``I − QₘᵀQₘ``, the covariates' Gram matrix over the called samples.

    A direction that only the missing samples carried is left out, and the returned rank is one less.
    ``left_out_ss`` gets the traits' sums of squares over the missing samples.
    """
    for k in range(first, stop):
        left_out_ss[k] = 0.0
    for j in range(c):
        for k in range(c):
            factor[j, k] = 1.0 if j == k else 0.0
    for m in range(missing.shape[0]):
        row = panel[missing[m]]
        for j in range(c):
            value = row[first + j]
            if value != 0.0:
                for k in range(j + 1):
                    factor[j, k] -= value * row[first + k]
        for k in range(first + c, stop):
            left_out_ss[k] += row[k] * row[k]
    return factor_in_place(factor, c, COLLINEAR)
