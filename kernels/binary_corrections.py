"""The p and the effect of a pair below the threshold, from its people: compiled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.binary_pairs import Carriers, gather_carriers, gather_people, quadratic_form
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

ROOM = 1.25
"""Times the effect that is expected: how far the cumulants of people who are not gone through are to reach."""

NORMAL, SADDLEPOINT, FIRTH = range(3)
METHODS = {"none": NORMAL, "saddlepoint": SADDLEPOINT, "firth": FIRTH}


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
) -> None:
    """Pairs whose variants are held as carriers."""
    most = 1
    for p in range(slot.shape[0]):
        most = max(most, offset[slot[p] + 1] - offset[slot[p]])
    values = np.empty(most)
    steps = np.empty(most, np.int64)
    carriers = Carriers(np.empty(most), np.empty(most), np.empty(most), np.empty(most, np.bool_), np.empty(N_CUMULANTS))
    for p in range(slot.shape[0]):
        begin, end = offset[slot[p]], offset[slot[p] + 1]
        for j in range(begin, end):
            copy = call[j]
            if flipped[slot[p]] and copy < 3:
                copy = 2 - copy
            values[j - begin] = copies[copy] - shift[p]
        samples, listed = sample[begin:end], values[: end - begin]
        t = trait[p]
        n, score = gather_carriers(samples, listed, missing_value[p], t, people, weights, slope[p], step[p], carriers)
        law = Law(carriers.adjusted[:n], carriers.probability[:n], carriers.rest, math.inf)
        squares = 0.0
        for j in range(n):
            mu = carriers.probability[j]
            squares += mu * (1.0 - mu) * carriers.plain[j] * carriers.plain[j]
        if not finish_normal(p, score, origin(law).variance, squares, rules, outcomes):
            continue
        if count_cases(carriers, n) <= rules.exact_carriers:
            outcomes.neg_log10_p[p] = exact_p(carriers, n, steps)
            outcomes.status[p] = codes.EXACT
        elif rules.method == SADDLEPOINT:
            finish_saddlepoint(p, score, law, outcomes)
        if rules.method == FIRTH:
            n, score = gather_carriers(
                samples, listed, missing_value[p], t, people, penalised, slope[p], step[p], carriers
            )
            law = Law(carriers.adjusted[:n], carriers.probability[:n], carriers.rest, math.inf)
        finish_effect(p, score, law, outcomes)


@jit
def count_cases(carriers: Carriers, n: int) -> int:
    """Carriers who are cases; or, where most are expected to be, who are not."""
    cases, listed = 0, 0
    expected = 0.0
    for j in range(n):
        if carriers.plain[j] != 0.0:
            listed += 1
            cases += carriers.case[j]
            expected += carriers.probability[j]
    return cases if 2.0 * expected <= listed else listed - cases


@jit
def exact_p(carriers: Carriers, n: int, steps: NDArray[np.int64]) -> float:
    """−log10 p by the exact distribution of what cases carry."""
    for j in range(n):
        carriers.plain[j] = abs(carriers.plain[j])
    lattice(carriers.plain[:n], steps[:n])
    observed = 0
    for j in range(n):
        if carriers.case[j]:
            observed += steps[j]
    return carrier_count_tail(steps[:n], carriers.probability[:n], observed).neg_log10_p


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
def finish_scores(
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
    people: People,
    weights: Weights,
    slope: NDArray[np.float64],
    step: NDArray[np.float64],
    score: NDArray[np.float64],
    sums: NDArray[np.float64],
    rules: Rules,
    outcomes: Outcomes,
) -> None:
    """Tails and effects: by cumulants where these suffice, else person by person."""
    none = np.empty(0)
    people_held = Law(none, none, none, 0.0)
    adjusted, mu = none, none
    for p in range(row.shape[0]):
        law = Law(none, none, sums[p], series_reach(sums[p], TOLERANCE))
        state = _finish(p, score[p], law, rules, outcomes)
        if state != OUT_OF_REACH:
            continue
        if people_held.genotype.shape[0] == 0:
            everybody = genotypes.shape[1]
            adjusted, mu = np.empty(everybody), np.empty(everybody)
            people_held = Law(np.empty(everybody), np.empty(everybody), none, 0.0)
        n = gather_people(
            genotypes[row[p]], missing_value[p], trait[p], people, weights, slope[p], step[p], adjusted, mu
        )
        # Those whose predictor is small still enter by their cumulants.
        law = _law_beyond(score[p], sums[p], adjusted[:n], mu[:n], people_held)
        if _finish(p, score[p], law, rules, outcomes) == OUT_OF_REACH:
            _finish(p, score[p], Law(adjusted[:n], mu[:n], np.zeros(N_CUMULANTS), math.inf), rules, outcomes)


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
