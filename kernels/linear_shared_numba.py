"""The compiled half of linear association in shared bases: from products and moments to estimates.

See :mod:`allscan.kernels.linear_shared` for the algebra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.kernels.association import Status
from allscan.kernels.jit import jit
from allscan.kernels.linear_common import (
    COLLINEAR,
    MONOMORPHIC,
    factor_in_place,
    finish_one,
    solve_in_place,
)
from allscan.kernels.panel import row_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What is left of a predictor, or of a trait, below which sums in float32 would show in the result: an
# inflation of 20 times turns their relative error of 1e-6 into 2e-5.
DOUBTFUL = 0.05

_OK = int(Status.OK)
_MONOMORPHIC = int(Status.MONOMORPHIC)
_ALL_MISSING = int(Status.ALL_MISSING)
_TRAIT_CONSTANT = int(Status.TRAIT_CONSTANT)
_TOO_FEW_SAMPLES = int(Status.TOO_FEW_SAMPLES)
_COLLINEAR = int(Status.COLLINEAR)


@jit
def _absent_products(
    samples: NDArray[np.int32],
    data: NDArray[np.floating[Any]],
    c: int,
    basis_products: NDArray[np.float64],
    column_ss: NDArray[np.float64],
) -> None:
    """Over listed samples: ``basis_products[k, column] = Σ q_k w``, and the columns' sums of squares."""
    n_chunks, _, lanes = data.shape
    basis_products[:] = 0.0
    column_ss[:] = 0.0
    for m in range(samples.shape[0]):
        row = row_of(samples[m])
        for chunk in range(n_chunks):
            values = data[chunk, row]
            ss = column_ss[chunk]
            for lane in range(lanes):
                ss[lane] += np.float64(values[lane]) * np.float64(values[lane])
            for k in range(c):
                q = np.float64(data[k // lanes, row, k % lanes])
                target = basis_products[k, chunk]
                for lane in range(lanes):
                    target[lane] += q * np.float64(values[lane])


@jit
def _absent_gram(
    samples: NDArray[np.int32],
    data: NDArray[np.floating[Any]],
    c: int,
    of_sample_start: NDArray[np.int64],
    of_sample: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """``out[subset] = Σ q qᵀ`` over the listed samples that are in each subset, lower triangle."""
    lanes = data.shape[2]
    for m in range(samples.shape[0]):
        i = samples[m]
        row = row_of(i)
        for at in range(of_sample_start[i], of_sample_start[i + 1]):
            target = out[of_sample[at]]
            for j in range(c):
                q = np.float64(data[j // lanes, row, j % lanes])
                for k in range(j + 1):
                    target[j, k] += q * np.float64(data[k // lanes, row, k % lanes])


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
    trait_status: NDArray[np.uint8],
    dosage_scale: float,
    variants: NDArray[np.int64],
    doubtful: NDArray[np.bool_],
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
    n_chunks, _, lanes = data.shape
    h = np.empty(c)
    absent_sum = np.empty(c)
    z = np.empty(c)
    u = np.empty(c)
    factor = np.empty((c, c))
    basis_products = np.empty((c, n_chunks, lanes))
    column_ss = np.empty((n_chunks, lanes))
    n_subsets = subset_products.shape[0]
    subset_gram = np.zeros((n_subsets if exclude else 0, c, c))
    cells = np.empty(3)
    for v in range(n_variants):
        to = variants[v]
        some_missing = missing_offset[v + 1] > missing_offset[v]
        if exclude and some_missing:
            samples = missing_sample[missing_offset[v] : missing_offset[v + 1]]
            _absent_products(samples, data, c, basis_products, column_ss)
            if n_subsets > 0:
                subset_gram[:] = 0.0
                _absent_gram(samples, data, c, of_sample_start, of_sample, subset_gram)
        for s in range(n_sets):
            called = size[s] - n_missing[v, s]
            fault = _OK
            if called == 0:
                fault = _ALL_MISSING
            elif spread[v, s] <= MONOMORPHIC:
                fault = _MONOMORPHIC
            kept_rank = rank[s]
            downdate = exclude and n_missing[v, s] > 0
            x = 0.0
            m = mean[v, s]
            if fault == _OK:
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
                    for j in range(c):
                        shift_j = basis_sum[s, j] / size[s]
                        for k in range(j + 1):
                            value = basis_products[j, k // lanes, k % lanes]
                            if own >= 0:
                                value = subset_gram[own, j, k] if inside[s] else value - subset_gram[own, j, k]
                            # The scatter of the samples left out about the mean of all, and the shift
                            # of the mean that leaving them out brings.
                            shift_k = basis_sum[s, k] / size[s]
                            away_j = absent_sum[j] - n_missing[v, s] * shift_j
                            away_k = absent_sum[k] - n_missing[v, s] * shift_k
                            value += (
                                n_missing[v, s] * shift_j * shift_k - shift_j * absent_sum[k] - shift_k * absent_sum[j]
                            )
                            factor[j, k] = gram[s, j, k] - value - away_j * away_k / called
                    largest = 0.0
                    for k in range(c):
                        largest = max(largest, gram[s, k, k])
                    kept_rank = 1 + factor_in_place(factor, c, COLLINEAR * largest)
                    z[:] = h
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
                    fault = _COLLINEAR
            df = (called if exclude else size[s]) - kept_rank - 1
            for k in range(trait_start[s], trait_start[s + 1]):
                t = traits[k]
                code = fault
                if trait_status[k] != _OK:
                    code = int(trait_status[k])
                elif code == _OK and df <= 0:
                    code = _TOO_FEW_SAMPLES
                if code == _OK:
                    column = c + k
                    b = products[v, column] + m * absent[v, column]
                    yy = 1.0
                    if downdate:
                        # Over the called samples the basis and the residuals are no longer orthogonal: their
                        # product is minus that over the missing ones.
                        chunk, lane = column // lanes, column % lanes
                        left_out = absent[v, column]
                        for j in range(c):
                            away = absent_sum[j] - n_missing[v, s] * basis_sum[s, j] / size[s]
                            u[j] = -(
                                basis_products[j, chunk, lane]
                                - left_out * basis_sum[s, j] / size[s]
                                + away * left_out / called
                            )
                        solve_in_place(factor, u, c)
                        yy -= column_ss[chunk, lane] + left_out * left_out / called
                        for j in range(c):
                            yy -= u[j] * u[j]
                            b -= z[j] * u[j]
                        if yy <= DOUBTFUL:
                            doubtful[v] = True
                        if yy <= COLLINEAR:
                            code = _TRAIT_CONSTANT
                    if code == _OK:
                        if b * b >= (1.0 - DOUBTFUL) * x * yy:
                            doubtful[v] = True
                        code = finish_one(x, b, yy, df, cells)
                status[t, to] = code
                if code == _OK:
                    unit = norm[k] / dosage_scale
                    beta[t, to] = cells[0] * unit
                    standard_error[t, to] = cells[1] * unit
                    neg_log10_p[t, to] = cells[2]
                else:
                    beta[t, to] = np.nan
                    standard_error[t, to] = np.nan
                    neg_log10_p[t, to] = np.nan
