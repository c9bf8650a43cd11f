"""The compiled half of linear association in shared bases: from products and moments to estimates.

See :mod:`allscan.kernels.linear_shared` for the algebra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.jit import intrinsic, jit
from allscan.kernels.linear_common import (
    COLLINEAR,
    MONOMORPHIC,
    factor_in_place,
    solve_in_place,
)
from allscan.kernels.linear_lanes import LANES, finish_trait, take_set, write_trait
from allscan.kernels.lookup import STRIP_ROWS
from allscan.kernels.panel import row_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.linear_lanes import Lanes

# What is left of a predictor, or of a trait, below which sums in float32 would show in the result: an
# inflation of 20 times turns their relative error of 1e-6 into 2e-5.
DOUBTFUL = 0.05
# Pivot of a direction of the covariates, once samples without a call are left out, below which the same holds.
DOUBTFUL_PIVOT = 1e-4

OUTER_ROWS = 4  # sums that are taken together, each in a register
WIDTH = 16  # columns that are down-dated together, whatever the panel's type

add_outer = intrinsic("add_outer")
add_scaled = intrinsic("add_scaled")
prefetch_rows = intrinsic("prefetch_rows")
add_squares = intrinsic("add_squares")


@jit
def _absent_products(
    samples: NDArray[np.int32],
    data: NDArray[np.floating[Any]],
    c: int,
    rows: NDArray[np.int64],
    weights: NDArray[np.floating[Any]],
    basis_products: NDArray[np.float64],
    column_ss: NDArray[np.float64],
) -> None:
    """Over listed samples: ``basis_products[k, column] = Σ q_k w``, and the columns' sums of squares.

    Shapes: basis products (as many rows as weights has columns, columns), sums of squares (columns,), of whole chunks;
    ``rows`` (listed,) and ``weights`` (listed, a multiple of ``OUTER_ROWS``) are scratch. Sums run in the panel's type
    over some thousand samples, as all products do.
    """
    n_chunks, n_rows, lanes = data.shape
    n, width = samples.shape[0], weights.shape[1]
    flat, products, flat_weights = data.reshape(-1), basis_products.reshape(-1), weights.reshape(-1)
    columns = column_ss.shape[0]
    basis_products[:] = 0.0
    column_ss[:] = 0.0
    for m in range(n):
        row = row_of(samples[m])
        rows[m] = row * lanes
        for k in range(width):
            weights[m, k] = data[k // lanes, row, k % lanes] if k < c else 0.0
    for chunk in range(n_chunks):
        base = chunk * n_rows * lanes
        if chunk + 1 < n_chunks:
            prefetch_rows(flat, base + n_rows * lanes, rows, 0, n)
        add_squares(column_ss, chunk * lanes, flat, base, samples, 0, n)
        for begin in range(0, n, STRIP_ROWS):
            end = min(begin + STRIP_ROWS, n)
            for k in range(0, c, OUTER_ROWS):
                place = k * columns + chunk * lanes
                add_outer(products, place, columns, flat, base, rows, flat_weights, k, width, begin, end)


@jit
def _absent_gram(
    samples: NDArray[np.int32],
    data: NDArray[np.floating[Any]],
    c: int,
    of_sample_start: NDArray[np.int64],
    of_sample: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """``out[subset] = Σ q qᵀ`` over the listed samples that are in each subset."""
    lanes = data.shape[2]
    q = np.empty(c)
    for m in range(samples.shape[0]):
        i = samples[m]
        if of_sample_start[i] == of_sample_start[i + 1]:
            continue
        row = row_of(i)
        for k in range(c):
            q[k] = data[k // lanes, row, k % lanes]
        for at in range(of_sample_start[i], of_sample_start[i + 1]):
            target = out[of_sample[at]]
            for j in range(c):
                for k in range(c):
                    target[j, k] += q[j] * q[k]


@jit
def _solve_chunk(
    absent: NDArray[np.float64],
    first: int,
    c: int,
    called: int,
    centre: NDArray[np.float64],
    away: NDArray[np.float64],
    basis_products: NDArray[np.float64],
    factor: NDArray[np.float64],
    z: NDArray[np.float64],
    u: NDArray[np.float64],
) -> None:
    """Down-dates of 16 columns from ``first``: what their ``yᵀy`` and ``gᵀy`` lose, into the rows ``c`` and ``c + 1``.

    ``u`` ((c + 2) × 16,) is overwritten.
    """
    columns = absent.shape[0]
    products = basis_products.reshape(-1)
    explained, shared = c * WIDTH, (c + 1) * WIDTH
    for lane in range((c + 2) * WIDTH):
        u[lane] = 0.0
    for j in range(c):
        if factor[j, j] == 0.0:  # a direction that is gone
            continue
        row = j * WIDTH
        add_scaled(u, row, centre[j] - away[j] / called, absent, first)
        add_scaled(u, row, -1.0, products, j * columns + first)
        for k in range(j):
            add_scaled(u, row, -factor[j, k], u, k * WIDTH)
        inverse = 1.0 / factor[j, j]
        for lane in range(WIDTH):
            u[row + lane] *= inverse
        add_scaled(u, shared, z[j], u, row)
    for j in range(c):
        for lane in range(WIDTH):
            u[explained + lane] += u[j * WIDTH + lane] * u[j * WIDTH + lane]
    for lane in range(WIDTH):
        u[explained + lane] += absent[first + lane] * (absent[first + lane] / called)


@jit
def score_variants(
    products: NDArray[np.float64],
    subset_products: NDArray[np.float64],
    absent: NDArray[np.float64],
    subset_absent: NDArray[np.float64],
    n_missing: NDArray[np.int64],
    mean: NDArray[np.float64],
    centred_ss: NDArray[np.float64],
    spread: NDArray[np.float64],
    missing_offset: NDArray[np.int64],
    missing_sample: NDArray[np.int32],
    exclude: bool,
    data: NDArray[np.floating[Any]],
    c: int,
    subset: NDArray[np.int64],
    inside: NDArray[np.bool_],
    of_sample_start: NDArray[np.int64],
    of_sample: NDArray[np.int32],
    size: NDArray[np.int64],
    rank: NDArray[np.int64],
    gram: NDArray[np.float64],
    root: NDArray[np.float64],
    basis_sum: NDArray[np.float64],
    trait_start: NDArray[np.int64],
    traits: NDArray[np.int64],
    norm: NDArray[np.float64],
    variance_factor: NDArray[np.float64],
    trait_status: NDArray[np.uint8],
    dosage_scale: float,
    variants: NDArray[np.int64],
    doubtful: NDArray[np.bool_],
    lanes: Lanes,
    beta: NDArray[np.floating[Any]],
    standard_error: NDArray[np.floating[Any]],
    neg_log10_p: NDArray[np.floating[Any]],
    status: NDArray[np.uint8],
) -> None:
    """Results of every variant × trait of a group.

    Shapes: products and absent (variants, columns); those of subsets (subsets, variants, basis); moments
    (variants, sets); data as a panel's; results (traits of the batch, variants of the block), of which the columns
    ``variants`` and the rows ``traits`` are written.
    """
    n_variants = products.shape[0]
    n_sets = size.shape[0]
    n_chunks, _, lanes_of_panel = data.shape
    h = np.empty(c)
    absent_sum = np.empty(c)
    centre = np.empty(c)
    away = np.empty(c)
    z = np.empty(c)
    u = np.empty((c + 2) * WIDTH)
    factor = np.empty((c, c))
    padded = (c + OUTER_ROWS - 1) // OUTER_ROWS * OUTER_ROWS
    columns = (n_chunks * lanes_of_panel + WIDTH - 1) // WIDTH * WIDTH
    basis_products = np.empty((padded, columns))
    column_ss = np.empty(columns)
    absent_row = np.zeros(columns)
    n_subsets = subset_products.shape[0]
    subset_gram = np.zeros((n_subsets if exclude else 0, c, c))
    most = 0
    for v in range(n_variants):
        most = max(most, missing_offset[v + 1] - missing_offset[v])
    rows, weights = np.empty(most, np.int64), np.empty((most, padded), data.dtype)
    for v in range(n_variants):
        at = v % LANES
        some_missing = missing_offset[v + 1] > missing_offset[v]
        if exclude and some_missing:
            samples = missing_sample[missing_offset[v] : missing_offset[v + 1]]
            _absent_products(samples, data, c, rows, weights, basis_products, column_ss)
            for k in range(absent.shape[1]):
                absent_row[k] = absent[v, k]
            if n_subsets > 0:
                subset_gram[:] = 0.0
                _absent_gram(samples, data, c, of_sample_start, of_sample, subset_gram)
        for s in range(n_sets):
            called = size[s] - n_missing[v, s]
            fault = codes.OK
            if called == 0:
                fault = codes.ALL_MISSING
            elif spread[v, s] <= MONOMORPHIC:
                fault = codes.MONOMORPHIC
            kept_rank = rank[s]
            downdate = exclude and n_missing[v, s] > 0
            x = 0.0
            m = mean[v, s]
            if fault == codes.OK:
                own = subset[s]
                for k in range(c):
                    gone = absent[v, k]
                    total = products[v, k]
                    if own >= 0:
                        gone = subset_absent[own, v, k] if inside[s] else gone - subset_absent[own, v, k]
                        total = subset_products[own, v, k] if inside[s] else total - subset_products[own, v, k]
                    absent_sum[k] = gone
                    h[k] = total - m * (basis_sum[s, k] - gone)
                x = centred_ss[v, s]
                if downdate:
                    largest = 0.0
                    left_out = float(n_missing[v, s])
                    for k in range(c):
                        centre[k] = basis_sum[s, k] / size[s]
                        away[k] = absent_sum[k] - left_out * centre[k]
                        largest = max(largest, gram[s, k, k])
                    for j in range(c):
                        for k in range(j + 1):
                            value = basis_products[j, k]
                            if own >= 0:
                                value = subset_gram[own, j, k] if inside[s] else value - subset_gram[own, j, k]
                            # The scatter of the samples left out about the mean of all, and the shift
                            # of the mean that leaving them out brings.
                            value -= centre[j] * absent_sum[k] + centre[k] * away[j]
                            factor[j, k] = gram[s, j, k] - value - away[j] * away[k] / called
                    kept_rank = 1 + factor_in_place(factor, c, COLLINEAR * largest)
                    if kept_rank != rank[s]:
                        doubtful[v] = True
                    for k in range(c):
                        if 0.0 < factor[k, k] * factor[k, k] <= DOUBTFUL_PIVOT * largest:
                            doubtful[v] = True
                    for k in range(c):
                        z[k] = h[k]
                    solve_in_place(factor, z, c)
                else:
                    for k in range(c):
                        total = 0.0
                        for j in range(c):
                            total += root[s, j, k] * h[j]
                        z[k] = total
                for k in range(c):
                    x -= z[k] * z[k]
                if x <= DOUBTFUL * centred_ss[v, s]:
                    doubtful[v] = True
                if x <= COLLINEAR * centred_ss[v, s]:
                    fault = codes.COLLINEAR
            df = (called if exclude else size[s]) - kept_rank - 1
            lanes.x[s, at] = x if fault == codes.OK else 1.0
            lanes.df[s, at] = max(df, 1)
            done = -1  # first of the columns whose down-dates are at hand
            for k in range(trait_start[s], trait_start[s + 1]):
                code = fault
                if trait_status[k] != codes.OK:
                    code = int(trait_status[k])
                elif code == codes.OK and df <= 0:
                    code = codes.TOO_FEW_SAMPLES
                b, yy = 0.0, 1.0
                if code == codes.OK:
                    column = c + k
                    b = products[v, column] + m * absent[v, column]
                    if downdate:
                        # Over the called samples the basis and the residuals are no longer orthogonal: their
                        # product is minus that over the missing ones.
                        first, lane = column // WIDTH * WIDTH, column % WIDTH
                        if first != done:
                            _solve_chunk(absent_row, first, c, called, centre, away, basis_products, factor, z, u)
                            done = first
                        yy -= column_ss[column] + u[c * WIDTH + lane]
                        b -= u[(c + 1) * WIDTH + lane]
                        if yy <= DOUBTFUL:
                            doubtful[v] = True
                        if yy <= COLLINEAR:
                            code = codes.TRAIT_CONSTANT
                lanes.product[k, at] = b
                lanes.left[k, at] = yy
                lanes.status[k, at] = code
        if at == LANES - 1 or v == n_variants - 1:
            places = variants[v - at : v + 1]
            lanes.strong[:] = False
            for s in range(n_sets):
                take_set(lanes, s)
                for k in range(trait_start[s], trait_start[s + 1]):
                    t = traits[k]
                    finish_trait(lanes, k, variance_factor[k], norm[k] / dosage_scale, DOUBTFUL)
                    write_trait(lanes, k, places, beta[t], standard_error[t], neg_log10_p[t], status[t])
            for i in range(at + 1):
                doubtful[v - at + i] |= lanes.strong[i]
