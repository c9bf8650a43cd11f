"""The exact treatment of pairs that deserve it: tails, effects, and scores for which float32 does not do.

A pair comes here when its p by the score test is below the job's threshold, or when its products lost digits. Its score
and variance are taken again in float64, and if p is still below the threshold:

- where few carriers hold few cases, p is that of the exact distribution of what cases carry;
- otherwise it is the saddlepoint approximation's, or that of Firth's penalised likelihood ratio, as the job says;
- the effect is Firth's penalised estimate beside the null model (REGENIE's approximate Firth), and the standard error
  the one with which effect and p agree.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.binary_corrections import (
    Outcomes,
    Rules,
    finish_corrected,
    refine_carriers,
    score_again,
)
from allscan.kernels.binary_null import FIRTH, METHODS, NORMAL
from allscan.kernels.binary_pairs import adjust_pairs, refit, sum_people
from allscan.kernels.block import Encoding, dosages
from allscan.kernels.cumulants import N_SUMS
from allscan.kernels.products import code_dosages, code_values
from allscan.kernels.summary import chi_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.association import Coding
    from allscan.kernels.binary_null import BinaryNull, Weights
    from allscan.kernels.binary_score import Scores, Sums
    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.entries import Entries
    from allscan.kernels.linear_shared import PredictorMoments

DECODED_BYTES = 1 << 25
"""Decoded genotypes that are held together."""
MARGIN = 1e-3
"""Of −log10 p, by which a pair may miss the threshold and still have its p taken again in float64."""
ONE_STEP = 1e-4
"""Times the samples to the power of 1.5, people without a call for whom one Newton step of the covariates does: it
leaves an error of some 1e-4 in z."""
LEAST_Z = 1.0
"""From here on a standard error is the effect over the deviate of p; below, where that is a ratio of small numbers, it
is the likelihood's."""


class _Pairs(NamedTuple):
    """Pairs of variant and trait, ordered by variant."""

    variant: NDArray[np.int64]
    trait: NDArray[np.int64]
    slope: NDArray[np.float64]  # (pairs, columns) what the covariates explain of the predictor
    step: NDArray[np.float64]  # (pairs, columns) of their coefficients, where people are left out
    missing_value: NDArray[np.float64]  # what stands for a missing call; NaN: people are left out
    common: NDArray[np.float64]  # the predictor of people without the rarer allele
    refit: NDArray[np.bool_]  # so many are left out that one Newton step of the covariates does not do

    def some(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> _Pairs:
        return _Pairs(
            self.variant[chosen],
            self.trait[chosen],
            self.slope[chosen],
            self.step[chosen],
            self.missing_value[chosen],
            self.common[chosen],
            self.refit[chosen],
        )


def refine(
    block: GenotypeBlock,
    coding: Coding,
    shift: NDArray[np.float64],
    null: BinaryNull,
    sums: Sums,
    predictor: PredictorMoments,
    missing: Entries,
    size: NDArray[np.int64],
    exclude: bool,
    scores: Scores,
    cells: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Overwrite results of the pairs that deserve it.

    Parameters
    ----------
    shift : (variants,)
        What was taken off the predictor.
    size : (sets,)
        Samples of each pattern.
    scores
        Of all pairs; the statuses are overwritten.
    cells
        beta, standard error and −log10 p, each of shape (traits, variants).
    """
    rules = Rules(
        METHODS[null.options.correction],
        -math.log10(max(null.options.p_threshold, 1e-300)),
        null.options.exact_carriers,
    )
    chosen = scores.doubtful.copy()
    if rules.method != NORMAL:
        with np.errstate(invalid="ignore"):
            chosen |= cells[2] >= rules.least - MARGIN
    variant, trait = (index.astype(np.int64) for index in np.nonzero(chosen.T))
    if not len(variant):
        return
    shape = (len(variant), len(null.people.basis))
    of_set = (variant, null.set_of_trait[trait])
    missing_value = np.full(len(variant), np.nan) if exclude else predictor.mean[of_set]
    common = common_values(coding, predictor.mean[of_set], shift[variant])
    again = exclude & (predictor.n_missing[of_set] > ONE_STEP * size[null.set_of_trait[trait]] ** 1.5)
    pairs = _Pairs(variant, trait, np.empty(shape), np.empty(shape), missing_value, common, again)
    adjust_pairs(
        variant,
        trait,
        sums,
        predictor,
        missing,
        exclude,
        null.set_of_trait,
        null.people,
        null.weights,
        null.root,
        pairs.slope,
        pairs.step,
    )
    empty = np.full(len(variant), np.nan)
    outcomes = Outcomes(empty, empty.copy(), empty.copy(), np.zeros(len(variant), np.uint8))
    by_carrier = _held_as_carriers(block, null.shifted)[variant] & ~again
    held = by_carrier.copy()
    if by_carrier.any():
        found = outcomes.some(by_carrier)
        by_carrier[by_carrier] = ~_refine_carriers(block, coding, shift, null, rules, pairs.some(by_carrier), found)
        outcomes.put(np.flatnonzero(held), found)
    if not by_carrier.all():
        rest = outcomes.some(~by_carrier)
        _refine_dense(block, coding, shift, null, rules, pairs.some(~by_carrier), rest)
        outcomes.put(~by_carrier, rest)
    to = (trait, variant)
    cells[0][to], cells[2][to] = outcomes.beta, outcomes.neg_log10_p
    cells[1][to] = standard_errors(outcomes)
    scores.status[to] = outcomes.status


def standard_errors(outcomes: Outcomes) -> NDArray[np.float64]:
    """With which the effect has the deviate of its p."""
    z = np.sqrt(chi_square(outcomes.neg_log10_p))
    with np.errstate(divide="ignore", invalid="ignore"):
        matched = (outcomes.status != codes.OK) & (z >= LEAST_Z) & (outcomes.beta != 0.0)
        return np.where(matched, np.abs(outcomes.beta) / z, 1.0 / np.sqrt(outcomes.information))


def common_values(coding: Coding, mean: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shifted predictor of people without the rarer allele, from its mean."""
    highest = code_values(coding)[2]
    return np.where(mean + shift > 0.5 * highest, highest, 0.0) - shift


def _held_as_carriers(block: GenotypeBlock, shifted: bool) -> NDArray[np.bool_]:
    """Variants whose predictor is zero but for listed people, shape (variants,)."""
    listed: NDArray[np.bool_] = block.encoding == Encoding.CARRIERS
    if not shifted:
        listed[listed] = ~block.carrier_flipped[block.slot[listed]]
    return listed


def _refine_carriers(
    block: GenotypeBlock,
    coding: Coding,
    shift: NDArray[np.float64],
    null: BinaryNull,
    rules: Rules,
    pairs: _Pairs,
    outcomes: Outcomes,
) -> NDArray[np.bool_]:
    """Pairs by the people who carry the rarer allele; those for which everybody must be gone through are returned."""
    copies = code_values(coding)
    copies[3] = np.nan
    slot = block.slot[pairs.variant].astype(np.int64)
    beyond = np.zeros(len(slot), np.bool_)
    refine_carriers(
        slot,
        pairs.trait,
        pairs.missing_value,
        shift[pairs.variant],
        block.carrier_offset,
        block.carrier_sample,
        block.carrier_call,
        block.carrier_flipped,
        copies,
        null.people,
        null.weights,
        null.penalised,
        pairs.slope,
        pairs.step,
        rules,
        outcomes,
        beyond,
    )
    return beyond


def _refine_dense(
    block: GenotypeBlock,
    coding: Coding,
    shift: NDArray[np.float64],
    null: BinaryNull,
    rules: Rules,
    pairs: _Pairs,
    outcomes: Outcomes,
) -> None:
    """Pairs whose variants are decoded, some at a time."""
    variants, row = np.unique(pairs.variant, return_inverse=True)
    rows = max(1, DECODED_BYTES // (4 * block.n_samples))
    genotypes = np.empty((min(rows, len(variants)), block.n_samples), np.float32)
    for first in range(0, len(variants), rows):
        decoded = genotypes[: min(rows, len(variants) - first)]
        for k, v in enumerate(variants[first : first + rows]):
            dosages(block, int(v), int(v) + 1, decoded[k : k + 1])
            code_dosages(decoded[k], coding, shift[v])
        here = np.flatnonzero((row >= first) & (row < first + rows))
        some = outcomes.some(here)
        _refine_decoded(decoded, row[here] - first, null, rules, pairs.some(here), some)
        outcomes.put(here, some)


def _refine_decoded(
    genotypes: NDArray[np.float32],
    row: NDArray[np.int64],
    null: BinaryNull,
    rules: Rules,
    pairs: _Pairs,
    outcomes: Outcomes,
) -> None:
    for p in np.flatnonzero(pairs.refit):
        refit(genotypes[row[p]], pairs.trait[p], null.people, null.weights, pairs.slope[p], pairs.step[p])
    score, sums = _summed(genotypes, row, null, null.weights, pairs)
    corrected = np.zeros(len(row), np.bool_)
    score_again(score, sums, pairs.trait, pairs.slope, null.weights, rules, outcomes, corrected)
    again = np.flatnonzero(corrected)
    if not len(again):
        return
    few, weights = pairs.some(again), null.weights
    score, sums = score[again], sums[again]
    if rules.method == FIRTH:
        weights = null.penalised
        score, sums = _summed(genotypes, row[again], null, weights, few)
    some = outcomes.some(again)
    finish_corrected(
        genotypes,
        row[again],
        few.trait,
        few.missing_value,
        few.common,
        null.people,
        weights,
        few.slope,
        few.step,
        score,
        sums,
        rules,
        some,
    )
    outcomes.put(again, some)


def _summed(
    genotypes: NDArray[np.float32], row: NDArray[np.int64], null: BinaryNull, weights: Weights, pairs: _Pairs
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores and sums of cumulants over all people."""
    score, sums = np.zeros(len(row)), np.zeros((len(row), N_SUMS))
    sum_people(
        genotypes, row, pairs.trait, pairs.missing_value, null.people, weights, pairs.slope, pairs.step, score, sums
    )
    return score, sums
