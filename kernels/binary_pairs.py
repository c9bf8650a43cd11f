"""What a pair of variant and trait needs beyond its products: its people, one by one, in float64.

A pair's score, variance and cumulants are sums over people of the predictor less what the covariates explain of it,
``g − xᵀb`` with ``b = A⁻¹ h``. Where few people carry the rarer allele, they are gone through one by one, and what
everybody else adds to the second and third cumulant, ``Σ w (xᵀb)²`` and ``−Σ w (1 − 2μ) (xᵀb)³``, comes from moments of
the covariates.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.binary_score import covariate_sums, factor_without
from allscan.kernels.cumulants import add_cumulants
from allscan.kernels.jit import jit, jit_fast
from allscan.kernels.linear_common import factor_in_place, solve_in_place, solve_transposed_in_place
from allscan.kernels.logistic import GONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.binary_null import People, Weights
    from allscan.kernels.binary_score import Sums
    from allscan.kernels.entries import Entries
    from allscan.kernels.linear_shared import PredictorMoments

MAX_STEPS = 20
REFITTED = 1e-16
"""Square of the Newton step, in standard errors, at which a refit ends."""


class Carriers(NamedTuple):
    """Room for the people who carry an allele, and the cumulants of all others."""

    adjusted: NDArray[np.float64]  # (entries,) predictor less what the covariates explain
    plain: NDArray[np.float64]  # 0 without a call
    probability: NDArray[np.float64]
    case: NDArray[np.bool_]
    rest: NDArray[np.float64]  # (N_CUMULANTS,)


STRIP = 512
"""People whose values stay in the first-level cache while a pair's sums are taken."""


@jit
def adjust_pairs(
    variant: NDArray[np.int64],
    trait: NDArray[np.int64],
    sums: Sums,
    predictor: PredictorMoments,
    missing: Entries,
    exclude: bool,
    set_of_trait: NDArray[np.int64],
    people: People,
    weights: Weights,
    root: NDArray[np.float64],
    slope: NDArray[np.float64],
    step: NDArray[np.float64],
) -> None:
    """What the covariates explain of each pair's predictor, and how their coefficients move where people are left out.

    ``slope`` and ``step``, shape (pairs, columns), are overwritten; ``step`` is zero where nobody is left out.
    """
    c = people.basis.shape[0]
    h = np.empty(c)
    away = np.empty(c)
    factor = np.empty((c, c))
    for p in range(variant.shape[0]):
        v, t = variant[p], trait[p]
        s = set_of_trait[t]
        slope[p] = 0.0
        step[p] = 0.0
        covariate_sums(sums, v, t, 0.0 if exclude else predictor.mean[v, s], h)
        if exclude and predictor.n_missing[v, s] > 0:
            factor_without(missing, v, t, people, weights, away, factor)
            for values in (h, away):
                solve_in_place(factor, values, c)
                solve_transposed_in_place(factor, values, c)
            slope[p] = h
            step[p] = -away
            continue
        for k in range(c):
            total = 0.0
            for j in range(c):
                total += root[t, j, k] * h[j]
            for j in range(c):
                slope[p, j] += root[t, j, k] * total


@jit
def quadratic_form(matrix: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """``bᵀ M b``."""
    total = 0.0
    for j in range(b.shape[0]):
        for k in range(b.shape[0]):
            total += b[j] * matrix[j, k] * b[k]
    return total


@jit
def _cubic_form(moments: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """``Σ_i m_i (x_iᵀ b)³`` from the moments of each three covariates, ``j <= k <= l``."""
    c = b.shape[0]
    total = 0.0
    at = 0
    for j in range(c):
        for k in range(j, c):
            both = b[j] * b[k]
            for m in range(k, c):
                times = 6.0
                if j == k and k == m:
                    times = 1.0
                elif j == k or k == m:
                    times = 3.0
                total += times * moments[at] * both * b[m]
                at += 1
    return total


@jit
def moved_probability(p: float, basis: NDArray[np.float64], i: int, step: NDArray[np.float64]) -> float:
    """A person's probability after the covariates' coefficients have moved by ``step``."""
    change = 0.0
    for k in range(step.shape[0]):
        change += basis[k, i] * step[k]
    if change == 0.0:
        return p
    odds = p * math.exp(change)
    return odds / (1.0 - p + odds)


@jit
def gather_carriers(
    samples: NDArray[np.int32],
    values: NDArray[np.float64],
    missing_value: float,
    t: int,
    people: People,
    weights: Weights,
    slope: NDArray[np.float64],
    step: NDArray[np.float64],
    carriers: Carriers,
) -> tuple[int, float]:
    """People who carry the rarer allele, and the cumulants of everybody else.

    Parameters
    ----------
    samples, values : (entries,)
        The carriers and their predictors; NaN without a call, which counts as ``missing_value``; where that is NaN the
        person is left out.
    t
        The trait.
    slope, step : (columns,)
        From :func:`adjust_pairs`.
    carriers
        Overwritten.

    Returns
    -------
    How many they are, and the score of everybody.
    """
    c = people.basis.shape[0]
    cubic = weights.cubic[t]
    n = 0
    score = 0.0
    second = quadratic_form(weights.information[t], slope)
    third = -_cubic_form(cubic, slope) if cubic.shape[0] else 0.0
    for k in range(c):
        score -= slope[k] * weights.excess[t, k]
    for j in range(samples.shape[0]):
        i = samples[j]
        p = weights.probability[t, i]
        if p == 0.0:  # not analysed
            continue
        fitted = 0.0
        for k in range(c):
            fitted += people.basis[k, i] * slope[k]
        weight = p * (1.0 - p)
        if cubic.shape[0]:
            third += weight * (1.0 - 2.0 * p) * fitted * fitted * fitted
        second -= weight * fitted * fitted
        value = values[j]
        called = not math.isnan(value)
        if not called:
            value = missing_value
            if math.isnan(value):
                continue
        p = moved_probability(p, people.basis, i, step)
        value *= people.scale[i]
        carriers.adjusted[n] = value - fitted
        carriers.plain[n] = value if called else 0.0
        carriers.probability[n] = p
        carriers.case[n] = people.case[t, i]
        score += value * ((1.0 if people.case[t, i] else 0.0) - p)
        n += 1
    carriers.rest[:] = 0.0
    carriers.rest[0] = max(second, 0.0)
    carriers.rest[1] = third
    return n, score


@jit_fast
def adjust_strip(
    genotypes: NDArray[np.float32],
    missing_value: float,
    scale: NDArray[np.float64],
    basis: NDArray[np.float64],
    first: int,
    slope: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """``scale · g − xᵀb`` of some people; one without a call counts as ``missing_value``.

    ``basis`` is that of all people, of whom these are the ones from ``first``.
    """
    n = out.shape[0]
    stop = first + n
    for i in range(n):
        value = np.float64(genotypes[i])
        out[i] = scale[i] * (value if value == value else missing_value)
    c = basis.shape[0]
    whole = c // 4 * 4
    for k in range(0, whole, 4):
        x0, x1 = basis[k][first:stop], basis[k + 1][first:stop]
        x2, x3 = basis[k + 2][first:stop], basis[k + 3][first:stop]
        b0, b1, b2, b3 = slope[k], slope[k + 1], slope[k + 2], slope[k + 3]
        for i in range(n):
            out[i] -= (x0[i] * b0 + x1[i] * b1) + (x2[i] * b2 + x3[i] * b3)
    for k in range(whole, c):
        x0, b0 = basis[k][first:stop], slope[k]
        for i in range(n):
            out[i] -= x0[i] * b0


@jit
def leave_out(
    genotypes: NDArray[np.float32],
    first: int,
    basis: NDArray[np.float64],
    step: NDArray[np.float64],
    mu: NDArray[np.float64],
    adjusted: NDArray[np.float64],
) -> None:
    """Probabilities after the covariates' coefficients have moved; people without a call get zeros."""
    for i in range(mu.shape[0]):
        if mu[i] == 0.0:
            continue
        if math.isnan(genotypes[first + i]):
            mu[i] = 0.0
            adjusted[i] = 0.0
            continue
        mu[i] = moved_probability(mu[i], basis, first + i, step)


@jit_fast
def strip_score(adjusted: NDArray[np.float64], case: NDArray[np.bool_], mu: NDArray[np.float64]) -> float:
    """``Σ g̃ (y − μ)`` of some people; of those who are not analysed, one of the factors is zero."""
    total = 0.0
    for i in range(adjusted.shape[0]):
        total += adjusted[i] * (np.float64(case[i]) - mu[i])
    return total


@jit
def gather_people(
    genotypes: NDArray[np.float32],
    missing_value: float,
    t: int,
    people: People,
    weights: Weights,
    slope: NDArray[np.float64],
    step: NDArray[np.float64],
    adjusted: NDArray[np.float64],
    mu: NDArray[np.float64],
) -> int:
    """Adjusted predictors and probabilities of the people who are analysed; how many they are."""
    adjust_people(genotypes, 0, missing_value, t, people, weights, slope, step, adjusted, mu)
    n = 0
    for i in range(mu.shape[0]):
        if mu[i] > 0.0:
            adjusted[n] = adjusted[i]
            mu[n] = mu[i]
            n += 1
    return n


@jit
def refit(
    genotypes: NDArray[np.float32],
    t: int,
    people: People,
    weights: Weights,
    slope: NDArray[np.float64],
    step: NDArray[np.float64],
) -> None:
    """Fit the covariates among the people who have a call, by Newton's method from where ``step`` leads.

    ``step`` and ``slope`` are overwritten with those of the fit.
    """
    c = slope.shape[0]
    information, gradient, h = np.empty((c, c)), np.empty(c), np.empty(c)
    for _ in range(MAX_STEPS):
        information[:] = 0.0
        gradient[:] = 0.0
        h[:] = 0.0
        for i in range(genotypes.shape[0]):
            p = weights.probability[t, i]
            if p == 0.0 or math.isnan(genotypes[i]):
                continue
            p = moved_probability(p, people.basis, i, step)
            weight = p * (1.0 - p)
            residual = (1.0 if people.case[t, i] else 0.0) - p
            value = weight * people.scale[i] * genotypes[i]
            for j in range(c):
                x = people.basis[j, i]
                gradient[j] += residual * x
                h[j] += value * x
                for k in range(j + 1):
                    information[j, k] += weight * x * people.basis[k, i]
        largest = 0.0
        for j in range(c):
            largest = max(largest, information[j, j])
        factor_in_place(information, c, GONE * largest)
        solve_in_place(information, h, c)
        solve_transposed_in_place(information, h, c)
        slope[:] = h
        solve_in_place(information, gradient, c)
        decrement = 0.0
        for k in range(c):
            decrement += gradient[k] * gradient[k]
        if decrement <= REFITTED:
            break
        solve_transposed_in_place(information, gradient, c)
        for k in range(c):
            step[k] += gradient[k]


@jit
def sum_people(
    genotypes: NDArray[np.float32],
    row: NDArray[np.int64],
    trait: NDArray[np.int64],
    missing_value: NDArray[np.float64],
    people: People,
    weights: Weights,
    slope: NDArray[np.float64],
    step: NDArray[np.float64],
    score: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Scores and cumulants of pairs over all people, strip by strip.

    Parameters
    ----------
    genotypes : (rows, samples)
        Predictors; NaN without a call.
    row, trait, missing_value : (pairs,)
        Their variants and traits. Where ``missing_value`` is NaN, people without a call are left out.
    score : (pairs,), sums : (pairs, N_SUMS)
        Added to.
    """
    n = genotypes.shape[1]
    adjusted, mu = np.empty(STRIP), np.empty(STRIP)
    for first in range(0, n, STRIP):
        stop = min(first + STRIP, n)
        few, chances = adjusted[: stop - first], mu[: stop - first]
        for p in range(row.shape[0]):
            own, t = genotypes[row[p]], trait[p]
            adjust_people(own, first, missing_value[p], t, people, weights, slope[p], step[p], few, chances)
            score[p] += strip_score(few, people.case[t, first:stop], chances)
            add_cumulants(few, chances, math.inf, sums[p])


@jit
def adjust_people(
    genotypes: NDArray[np.float32],
    first: int,
    missing_value: float,
    t: int,
    people: People,
    weights: Weights,
    slope: NDArray[np.float64],
    step: NDArray[np.float64],
    adjusted: NDArray[np.float64],
    mu: NDArray[np.float64],
) -> None:
    """Adjusted predictors and probabilities of the people from ``first``; zeros for those who are not analysed."""
    left_out = math.isnan(missing_value)
    stop = first + mu.shape[0]
    value = 0.0 if left_out else missing_value
    adjust_strip(genotypes[first:stop], value, people.scale[first:stop], people.basis, first, slope, adjusted)
    mu[:] = weights.probability[t, first:stop]
    if left_out:
        leave_out(genotypes, first, people.basis, step, mu, adjusted)
