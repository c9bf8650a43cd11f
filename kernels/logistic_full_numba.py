"""The compiled half of full logistic regression: all fits of a tile of variants and a batch of traits.

See :mod:`allscan.kernels.logistic_full` for the model. Predictors of a fit are those of the covariates, orthonormal
over its samples, and then those of the genotype, projected off them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.jit import jit
from allscan.kernels.linear_common import COLLINEAR, MONOMORPHIC
from allscan.kernels.logistic_fit import Work, dot, fit, make_work, subtract
from allscan.kernels.normal import chi2_1_neg_log10_p, chi2_2_neg_log10_p, normal_neg_log10_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

WALD, LIKELIHOOD_RATIO, FIRTH = 0, 1, 2


@jit
def orthonormal_rows(
    covariates: NDArray[np.float64], rows: NDArray[np.int64], n: int, x: NDArray[np.float64], kept: NDArray[np.int64]
) -> int:
    """Covariates of the listed samples as orthonormal rows of ``x``; returns how many are independent.

    Parameters
    ----------
    covariates : (covariates, samples)
    rows : (n or more,)
        Samples.
    x : (covariates or more, n or more)
        Overwritten.
    kept : (covariates,)
        Overwritten with the covariates that are independent of those before.
    """
    rank = 0
    for c in range(covariates.shape[0]):
        row = x[rank]
        for i in range(n):
            row[i] = covariates[c, rows[i]]
        whole = dot(row, row, n)
        for _ in range(2):  # once more: the first pass leaves rounding of the order of the overlap
            for j in range(rank):
                subtract(row, dot(row, x[j], n), x[j], n)
        left = dot(row, row, n)
        if whole <= 0.0 or left <= COLLINEAR * whole or rank >= n:
            continue
        scale = 1.0 / math.sqrt(left)
        for i in range(n):
            row[i] *= scale
        kept[rank] = c
        rank += 1
    return rank


@jit
def _coded(dosage: float, coding: int) -> float:
    if coding == 1:
        return min(dosage, 1.0)
    if coding == 2:
        return max(dosage - 1.0, 0.0)
    if coding == 3:
        return min(dosage, 2.0 - dosage)
    return dosage


@jit
def predictor_rows(
    dosage: NDArray[np.float64],
    scale: NDArray[np.float64],
    rows: NDArray[np.int64],
    n: int,
    codings: NDArray[np.int64],
    x: NDArray[np.float64],
    rank: int,
    triangle: NDArray[np.float64],
) -> int:
    """Coded genotypes as orthonormal rows of ``x`` after the covariates, missing ones at the mean; returns a status.

    ``triangle`` takes coefficients of these rows to those of the genotypes: ``genotypes = rows · triangle`` (beyond
    the covariates).
    """
    p = codings.shape[0]
    for j in range(p):
        row = x[rank + j]
        called = 0
        total = 0.0
        squares = 0.0
        for i in range(n):
            value = _coded(dosage[rows[i]], codings[j])
            row[i] = value
            if not math.isnan(value):
                called += 1
                total += value
                squares += value * value
        if called == 0:
            return codes.ALL_MISSING
        mean = total / called
        centred = 0.0
        for i in range(n):
            if math.isnan(row[i]):
                row[i] = mean
            else:
                centred += (row[i] - mean) ** 2
        if centred <= MONOMORPHIC * squares:
            return codes.MONOMORPHIC if j == 0 else codes.PARTLY_COLLINEAR
        for i in range(n):
            row[i] *= scale[rows[i]]
        least = COLLINEAR * centred / squares * dot(row, row, n)
        for m in range(p):
            triangle[m, j] = 0.0
        for _ in range(2):
            for m in range(rank + j):
                overlap = dot(row, x[m], n)
                subtract(row, overlap, x[m], n)
                if m >= rank:
                    triangle[m - rank, j] += overlap
        left = dot(row, row, n)
        if left <= least:
            return codes.COLLINEAR if p == 1 else codes.PARTLY_COLLINEAR
        length = math.sqrt(left)
        triangle[j, j] = length
        for i in range(n):
            row[i] /= length
    return codes.OK


@jit
def _write(
    method: int,
    statistic: float,
    b: NDArray[np.float64],
    rank: int,
    triangle: NDArray[np.float64],
    factor: NDArray[np.float64],
    cells: NDArray[np.float64],
) -> None:
    """Effects, standard errors and −log10 p of a fit; ``statistic`` is that of the likelihood ratio.

    The last rows of the information's factor are that of the genotype given the covariates.
    """
    first = factor[rank, rank]
    if triangle.shape[0] == 1:
        cells[0] = b[rank] / triangle[0, 0]
        cells[1] = 1.0 / (first * triangle[0, 0])
        cells[2] = normal_neg_log10_p(b[rank] * first) if method == WALD else chi2_1_neg_log10_p(statistic)
        return
    across, second = factor[rank + 1, rank], factor[rank + 1, rank + 1]
    # The factor in the genotypes' own units: information = mᵀ m.
    m00 = first * triangle[0, 0]
    m01 = first * triangle[0, 1] + across * triangle[1, 1]
    m11 = second * triangle[1, 1]
    z0 = first * b[rank] + across * b[rank + 1]
    z1 = second * b[rank + 1]
    cells[3] = b[rank + 1] / triangle[1, 1]
    cells[0] = (b[rank] - triangle[0, 1] * cells[3]) / triangle[0, 0]
    cells[4] = 1.0 / m11
    cells[1] = math.hypot(1.0, m01 / m11) / m00
    cells[2] = chi2_2_neg_log10_p(z0 * z0 + z1 * z1 if method == WALD else statistic)


class Fits(NamedTuple):
    """The null models of a batch of traits."""

    covariates: NDArray[np.float64]  # (covariates, samples) zero where nobody is analysed
    scale: NDArray[np.float64]  # (samples,) of the dosage
    member: NDArray[np.bool_]  # (sets, samples)
    set_of_trait: NDArray[np.int64]  # (traits,)
    case: NDArray[np.uint8]  # (traits, samples)
    offset: NDArray[np.float64]  # (traits or 1, samples)
    start: NDArray[np.float64]  # (traits, covariates) coefficients of the covariates, made orthonormal
    value: NDArray[np.float64]  # (traits,) log likelihood
    status: NDArray[np.uint8]  # (traits,)
    min_cases: int


@jit
def score_variants(
    dosage: NDArray[np.float64],
    codings: NDArray[np.int64],
    exclude: bool,
    method: int,
    null: Fits,
    cells: NDArray[np.float64],
    status: NDArray[np.uint8],
) -> None:
    """Fit every variant × trait.

    Parameters
    ----------
    dosage : (variants, samples)
        Copies of ALT; NaN is missing.
    codings : (predictors,)
        Of the genotype.
    exclude
        Whether samples without a call are left out, or have the mean.
    method
        WALD, LIKELIHOOD_RATIO or FIRTH.
    cells : (variants, traits, columns)
        Overwritten.
    status : (variants, traits)
        Overwritten.
    """
    n_samples = dosage.shape[1]
    n_sets = null.member.shape[0]
    n_traits = null.case.shape[0]
    c, p = null.covariates.shape[0], codings.shape[0]
    whole = np.empty((c + p, n_samples))
    part = np.empty((c + p if exclude else 0, n_samples))
    rows, called = np.empty(n_samples, np.int64), np.empty(n_samples, np.int64)
    y, offset = np.empty(n_samples), np.empty(n_samples)
    kept = np.empty(c, np.int64)
    triangle = np.empty((p, p))
    b = np.empty(c + p)
    work = make_work(n_samples, c + p)
    for s in range(n_sets):
        size = 0
        for i in range(n_samples):
            if null.member[s, i]:
                rows[size] = i
                size += 1
        rank_of_set = orthonormal_rows(null.covariates, rows, size, whole, kept)
        for v in range(dosage.shape[0]):
            n = _used(dosage[v], rows, size, exclude, called)
            again = n < size
            x, rank = whole, rank_of_set
            if again:
                x = part
                rank = orthonormal_rows(null.covariates, called, n, x, kept)
            fault = predictor_rows(dosage[v], null.scale, called, n, codings, x, rank, triangle)
            for t in range(n_traits):
                if null.set_of_trait[t] != s:
                    continue
                for j in range(cells.shape[2]):
                    cells[v, t, j] = math.nan
                status[v, t] = null.status[t] if null.status[t] != codes.OK else fault
                if status[v, t] != codes.OK:
                    continue
                cases = _trait(null, t, called, n, y, offset)
                if n - rank - p <= 0:
                    status[v, t] = codes.TOO_FEW_SAMPLES
                    continue
                if min(cases, n - cases) < null.min_cases:
                    status[v, t] = codes.TOO_FEW_CASES
                    continue
                for j in range(rank):
                    b[j] = null.start[t, j]
                if again:
                    _start_again(null.start[t], whole, rank_of_set, rows, size, called, n, x, rank, work, b)
                for j in range(p):
                    b[rank + j] = 0.0
                # Without the genotype, where that is not known (its maximum depends on the penalty); then with it.
                known = method == WALD or (method == LIKELIHOOD_RATIO and not again)
                value = null.value[t]
                for free in (rank, rank + p):
                    if free == rank and known:
                        continue
                    k = rank + p if method == FIRTH else free
                    status[v, t], found = fit(x, y, offset, n, k, free, method == FIRTH, b, work)
                    if status[v, t] != codes.OK:
                        break
                    if free == rank:
                        value = found
                if status[v, t] == codes.OK:
                    _write(method, 2.0 * (found - value), b, rank, triangle, work.factor, cells[v, t])


@jit
def _used(
    dosage: NDArray[np.float64], rows: NDArray[np.int64], size: int, exclude: bool, used: NDArray[np.int64]
) -> int:
    """Those of the listed samples that a variant is tested in."""
    n = 0
    for i in range(size):
        if not exclude or not math.isnan(dosage[rows[i]]):
            used[n] = rows[i]
            n += 1
    return n


@jit
def _trait(
    null: Fits, t: int, rows: NDArray[np.int64], n: int, y: NDArray[np.float64], offset: NDArray[np.float64]
) -> int:
    """A trait and its offset in the listed samples; returns the number of cases."""
    known = null.offset[t if null.offset.shape[0] > 1 else 0]
    cases = 0
    for i in range(n):
        cases += null.case[t, rows[i]]
        y[i] = null.case[t, rows[i]]
        offset[i] = known[rows[i]]
    return cases


@jit
def _start_again(
    coefficients: NDArray[np.float64],
    whole: NDArray[np.float64],
    rank_of_set: int,
    rows: NDArray[np.int64],
    size: int,
    called: NDArray[np.int64],
    n: int,
    x: NDArray[np.float64],
    rank: int,
    work: Work,
    start: NDArray[np.float64],
) -> None:
    """The null model's log odds, in the predictors of the called samples alone."""
    eta = work.fitted
    at = 0
    for i in range(size):
        if at < n and rows[i] == called[at]:
            eta[at] = 0.0
            for j in range(rank_of_set):
                eta[at] += coefficients[j] * whole[j, i]
            at += 1
    for j in range(rank):
        start[j] = dot(eta, x[j], n)
