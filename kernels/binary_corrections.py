"""The p and the effect of a pair below the threshold, from its people: compiled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.binary_null import FIRTH, NORMAL, SADDLEPOINT
from allscan.kernels.binary_pairs import Carriers, gather_carriers, gather_people, moved_probability, quadratic_form
from allscan.kernels.carrier_counts import carrier_count_tail, lattice
from allscan.kernels.cumulants import (
    N_CUMULANTS,
    N_SUMS,
    TOLERANCE,
    Law,
    Origin,
    add_cumulants,
    collect,
    origin,
    reach_of_three,
    series_limit,
    series_reach,
)
from allscan.kernels.jit import jit
from allscan.kernels.linear_common import COLLINEAR
from allscan.kernels.normal import normal_neg_log10_p
from allscan.kernels.one_parameter import fit_firth
from allscan.kernels.saddlepoint import FOUND, OUT_OF_REACH, first_guess, saddlepoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.binary_null import People, Weights

OWN = 0.5
"""Share of a predictor's variance that the covariates must leave for carriers' exact distribution to stand for it."""
MOST_CARRIERS = 5000
ROOM = 1.25
"""Times the effect that is expected: how far the cumulants of people who are not gone through are to reach."""


class Outcomes(NamedTuple):
    """What becomes of each pair; each of shape (pairs,)."""

    neg_log10_p: NDArray[np.float64]
    beta: NDArray[np.float64]
    information: NDArray[np.float64]
    status: NDArray[np.uint8]

    def some(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Outcomes:
        """Copies of some."""
        return Outcomes(self.neg_log10_p[chosen], self.beta[chosen], self.information[chosen], self.status[chosen])

    def put(self, chosen: NDArray[np.bool_] | NDArray[np.int64], found: Outcomes) -> None:
        """Write some back."""
        self.neg_log10_p[chosen] = found.neg_log10_p
        self.beta[chosen] = found.beta
        self.information[chosen] = found.information
        self.status[chosen] = found.status


class Rules(NamedTuple):
    """How pairs are treated."""

    method: int
    least: float  # −log10 p from which pairs are corrected
    exact_carriers: int


@jit
def refine_carriers(
    slot: NDArray[np.int64],
    trait: NDArray[np.int64],
    missing_value: NDArray[np.float64],
    shift: NDArray[np.float64],
    offset: NDArray[np.int64],
    sample: NDArray[np.int32],
    call: NDArray[np.uint8],
    flipped: NDArray[np.bool_],
    copies: NDArray[np.float64],
    people: People,
    weights: Weights,
    penalised: Weights,
    slope: NDArray[np.float64],
    step: NDArray[np.float64],
    rules: Rules,
    outcomes: Outcomes,
    beyond: NDArray[np.bool_],
) -> None:
    """Pairs whose variants are held as carriers; ``beyond`` those for which everybody must be gone through."""
    most = 1
    for p in range(slot.shape[0]):
        most = max(most, offset[slot[p] + 1] - offset[slot[p]])
    values = np.empty(most)
    carriers = Carriers(np.empty(most), np.empty(most), np.empty(most), np.empty(most, np.bool_), np.empty(N_CUMULANTS))
    for p in range(slot.shape[0]):
        begin, end = offset[slot[p]], offset[slot[p] + 1]
        for j in range(begin, end):
            copy = call[j]
            if flipped[slot[p]] and copy < 3:
                copy = 2 - copy
            values[j - begin] = copies[copy] - shift[p]
        samples, listed, t = sample[begin:end], values[: end - begin], trait[p]
        n, score = gather_carriers(samples, listed, missing_value[p], t, people, weights, slope[p], step[p], carriers)
        law = _law_of_carriers(carriers, n, t, weights, slope[p])
        squares = 0.0
        for j in range(n):
            mu = carriers.probability[j]
            squares += mu * (1.0 - mu) * carriers.plain[j] * carriers.plain[j]
        variance = origin(law).variance
        if not finish_normal(p, score, variance, squares, rules, outcomes):
            continue
        plain, chances, case = carriers.plain[:n], carriers.probability[:n], carriers.case[:n]
        if variance >= OWN * squares and _is_few(plain, 0.0, chances, case, rules.exact_carriers):
            finish_exact(p, plain, chances, case, outcomes)
        if rules.method == FIRTH:
            n, score = gather_carriers(
                samples, listed, missing_value[p], t, people, penalised, slope[p], step[p], carriers
            )
            law = _law_of_carriers(carriers, n, t, penalised, slope[p])
        beyond[p] = _finish(p, score, law, rules, outcomes) == OUT_OF_REACH


@jit
def _law_of_carriers(carriers: Carriers, n: int, t: int, weights: Weights, slope: NDArray[np.float64]) -> Law:
    """Carriers one by one, everybody else by two cumulants and how far these reach."""
    explained = quadratic_form(weights.information[t], slope)
    # (xᵀb)² is at most the leverage times bᵀAb, and a few times its mean where the covariates have no long tails.
    largest = min(weights.leverage[t] * explained, 4.0 * explained / weights.total[t])
    law = Law(carriers.adjusted[:n], carriers.probability[:n], carriers.rest, math.inf)
    fourth = carriers.rest[0] * largest
    reach = reach_of_three(fourth, origin(law).variance, TOLERANCE)
    return Law(carriers.adjusted[:n], carriers.probability[:n], carriers.rest, reach)


@jit
def _is_few(
    predictor: NDArray[np.floating[Any]],
    common: float,
    probability: NDArray[np.float64],
    case: NDArray[np.bool_],
    most: int,
) -> bool:
    """Whether few cases, or few controls, carry the allele (half a copy at least); never where ``most`` is 0.

    ``common`` is the predictor of who does not carry it. People without a call, and those who are not analysed, whose
    probability is 0, do not count.
    """
    cases, controls = 0, 0
    for i in range(predictor.shape[0]):
        if abs(predictor[i] - common) >= 0.5 and probability[i] > 0.0:
            cases += case[i]
            controls += not case[i]
            if cases > most and controls > most:
                return False
    return most > 0


@jit
def finish_exact(
    p: int,
    copies: NDArray[np.float64],
    probability: NDArray[np.float64],
    case: NDArray[np.bool_],
    outcomes: Outcomes,
) -> None:
    """p by the exact distribution of the copies that cases carry; people with none may be among them."""
    n = copies.shape[0]
    size = np.empty(n)
    steps = np.empty(n, np.int64)
    for i in range(n):
        size[i] = abs(copies[i])
    lattice(size, steps)
    kept = np.flatnonzero(steps)
    if len(kept) > MOST_CARRIERS:
        return
    observed = 0
    for i in range(n):
        if case[i]:
            observed += steps[i]
    outcomes.neg_log10_p[p] = carrier_count_tail(steps[kept], probability[kept], observed).neg_log10_p
    outcomes.status[p] = codes.EXACT


@jit
def finish_normal(p: int, score: float, variance: float, squares: float, rules: Rules, outcomes: Outcomes) -> bool:
    """The score test in float64; whether the pair is to be corrected."""
    if not variance > COLLINEAR * squares:
        outcomes.status[p] = codes.COLLINEAR
        return False
    outcomes.status[p] = codes.OK
    outcomes.beta[p] = score / variance
    outcomes.information[p] = variance
    outcomes.neg_log10_p[p] = normal_neg_log10_p(score / math.sqrt(variance))
    return rules.method != NORMAL and outcomes.neg_log10_p[p] >= rules.least


@jit
def finish_saddlepoint(p: int, score: float, law: Law, outcomes: Outcomes) -> int:
    """p by the saddlepoint approximation; the state of the solution."""
    found = saddlepoint(score, law)
    if found.state == FOUND:
        outcomes.neg_log10_p[p] = found.neg_log10_p
        outcomes.status[p] = codes.SADDLEPOINT
    return found.state


@jit
def finish_effect(p: int, score: float, law: Law, outcomes: Outcomes) -> int:
    """The penalised estimate, and p where no other method gave it; the state of the solution."""
    fit = fit_firth(score, law)
    if fit.state == FOUND:
        outcomes.beta[p] = fit.effect
        outcomes.information[p] = fit.information
        if outcomes.status[p] == codes.OK:
            outcomes.neg_log10_p[p] = normal_neg_log10_p(math.sqrt(fit.likelihood_ratio))
            outcomes.status[p] = codes.FIRTH
    elif fit.state != OUT_OF_REACH:
        outcomes.status[p] = codes.NOT_CONVERGED
        outcomes.beta[p] = math.nan
        outcomes.information[p] = math.nan
        outcomes.neg_log10_p[p] = math.nan
    return fit.state


@jit
def score_again(
    score: NDArray[np.float64],
    sums: NDArray[np.float64],
    trait: NDArray[np.int64],
    slope: NDArray[np.float64],
    weights: Weights,
    rules: Rules,
    outcomes: Outcomes,
    corrected: NDArray[np.bool_],
) -> None:
    """Score tests in float64, and which pairs are to be corrected."""
    for p in range(score.shape[0]):
        variance = sums[p, 0]
        # What the covariates explain and what they leave are orthogonal.
        squares = variance + quadratic_form(weights.information[trait[p]], slope[p])
        corrected[p] = finish_normal(p, score[p], variance, squares, rules, outcomes)


@jit
def finish_corrected(
    genotypes: NDArray[np.float32],
    row: NDArray[np.int64],
    trait: NDArray[np.int64],
    missing_value: NDArray[np.float64],
    common: NDArray[np.float64],
    people: People,
    weights: Weights,
    slope: NDArray[np.float64],
    step: NDArray[np.float64],
    score: NDArray[np.float64],
    sums: NDArray[np.float64],
    rules: Rules,
    outcomes: Outcomes,
) -> None:
    """Tails and effects: by cumulants where these suffice, else person by person.

    ``common`` is the predictor of people without the rarer allele.
    """
    none = np.empty(0)
    people_held = Law(none, none, none, 0.0)
    adjusted, mu = none, none
    for p in range(row.shape[0]):
        try_exact(p, genotypes[row[p]], common[p], trait[p], people, weights, step[p], sums[p, 0], rules, outcomes)
        law = Law(none, none, sums[p], series_reach(sums[p], TOLERANCE))
        n = 0
        for attempt in range(3):
            if attempt == 1:
                if people_held.genotype.shape[0] == 0:
                    everybody = genotypes.shape[1]
                    adjusted, mu = np.empty(everybody), np.empty(everybody)
                    people_held = Law(np.empty(everybody), np.empty(everybody), none, 0.0)
                n = gather_people(
                    genotypes[row[p]], missing_value[p], trait[p], people, weights, slope[p], step[p], adjusted, mu
                )
                # Those whose predictor is small still enter by their cumulants.
                law = _law_beyond(score[p], sums[p], adjusted[:n], mu[:n], people_held)
            elif attempt == 2:
                law = Law(adjusted[:n], mu[:n], np.zeros(N_CUMULANTS), math.inf)
            if _finish(p, score[p], law, rules, outcomes) != OUT_OF_REACH:
                break


@jit
def try_exact(
    p: int,
    genotypes: NDArray[np.float32],
    common: float,
    t: int,
    people: People,
    weights: Weights,
    step: NDArray[np.float64],
    variance: float,
    rules: Rules,
    outcomes: Outcomes,
) -> None:
    """The exact p where few cases, or few controls, carry the rarer allele."""
    if not _is_few(genotypes, common, weights.probability[t], people.case[t], rules.exact_carriers):
        return
    n = genotypes.shape[0]
    copies, mu, case = np.empty(n), np.empty(n), np.empty(n, np.bool_)
    n = 0
    squares = 0.0
    for i in range(genotypes.shape[0]):
        if genotypes[i] != common and weights.probability[t, i] > 0.0 and not math.isnan(genotypes[i]):
            copies[n] = (genotypes[i] - common) * people.scale[i]
            mu[n] = moved_probability(weights.probability[t, i], people.basis, i, step)
            case[n] = people.case[t, i]
            squares += mu[n] * (1.0 - mu[n]) * copies[n] * copies[n]
            n += 1
    if variance >= OWN * squares:
        finish_exact(p, copies[:n], mu[:n], case[:n], outcomes)


@jit
def _law_beyond(
    score: float,
    sums: NDArray[np.float64],
    adjusted: NDArray[np.float64],
    mu: NDArray[np.float64],
    held: Law,
) -> Law:
    """Of a score beyond the reach of all cumulants: one by one the people whose predictor asks for it."""
    start = Origin(sums[0], sums[1], -math.inf, math.inf, 1.0)
    near, far = abs(first_guess(score, start)), abs(first_guess(-score, start))
    limit = series_limit(ROOM * max(near, min(far, 2.0 * near)), sums[0], TOLERANCE)
    few = np.zeros(N_SUMS)
    add_cumulants(adjusted, mu, limit, few)
    found = collect(adjusted, mu, limit, held, 0)
    return Law(held.genotype[:found], held.probability[:found], few, series_reach(few, TOLERANCE))


@jit
def _finish(p: int, score: float, law: Law, rules: Rules, outcomes: Outcomes) -> int:
    """Tail and effect of a pair; OUT_OF_REACH where the law's cumulants do not suffice."""
    state = FOUND
    if rules.method == SADDLEPOINT and outcomes.status[p] == codes.OK:
        state = finish_saddlepoint(p, score, law, outcomes)
    return state if state == OUT_OF_REACH else finish_effect(p, score, law, outcomes)
