"""The compiled half of tests of local ancestry: sums by ancestry, and from them every test of a variant and trait.

See :mod:`allscan.kernels.local_ancestry` for the model. A variant has ``2 k`` predictors: for each ancestry the number
of a person's haplotypes of that ancestry, and how many of these carry the listed allele.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.chi_squared import chi2_neg_log10_p
from allscan.kernels.f_distribution import f_neg_log10_p
from allscan.kernels.jit import jit
from allscan.kernels.linear_common import COLLINEAR, PERFECT_FIT, factor_in_place, solve_in_place
from allscan.kernels.local_ancestry_sums import (
    LocalNull,
    begin_sums,
    change_sums,
    count_alleles,
    gram_matrix,
    list_sums,
    make_sums,
)
from allscan.kernels.normal import normal_neg_log10_p
from allscan.kernels.student import t_neg_log10_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.haplotypes import HaplotypeBlock

BETA, ERROR, P_JOINT, P_SHARED, P_DIFFERENCE, P_ANCESTRY, OF_ANCESTRY = range(7)
"""Cells of a result, four tests side by side; from OF_ANCESTRY on what each ancestry has: effect, error, −log10 p."""


class Solution(NamedTuple):
    """What the traits of a group share."""

    factor: NDArray[np.float64]  # (2 k, 2 k) Cholesky factor of the predictors' products, without the covariates
    inner: NDArray[np.float64]  # (rank, rank) factor of those of the covariates among the called
    products: NDArray[np.float64]  # (2 k, rank) predictors × basis
    z: NDArray[np.float64]  # (2 k,)
    along: NDArray[np.float64]  # (2 k,) the sum of the alleles of all ancestries with a term
    unit: NDArray[np.float64]  # (2 k,)
    loss: NDArray[np.float64]  # (rank,)


@jit
def make_solution(k: int, rank: int) -> Solution:
    """Room for a solution."""
    return Solution(
        np.empty((2 * k, 2 * k)),
        np.empty((rank, rank)),
        np.empty((2 * k, rank)),
        np.empty(2 * k),
        np.empty(2 * k),
        np.empty(2 * k),
        np.empty(rank),
    )


@jit
def factor_predictors(gram: NDArray[np.float64], tested: NDArray[np.bool_], k: int, rank: int, work: Solution) -> int:
    """Factor the predictors' products beside the covariates; returns the rank of the haplotypes' part.

    ``tested`` says of each ancestry whether its alleles have a term, and loses those that others determine.
    ``gram`` is overwritten.
    """
    factor = work.factor
    for p in range(2 * k):
        solve_in_place(work.inner, work.products[p], rank)
    for p in range(2 * k):
        for q in range(p + 1):
            value = gram[p, q]
            for j in range(rank):
                value -= work.products[p, j] * work.products[q, j]
            factor[p, q] = value
    kept = 0
    for p in range(2 * k):
        dosage = p >= k
        least = COLLINEAR * gram[p, p]
        pivot = factor[p, p]
        for q in range(p):
            pivot -= factor[p, q] * factor[p, q]
        use = gram[p, p] > 0.0 and pivot > least and (not dosage or tested[p - k])
        if dosage:
            tested[p - k] = use
        elif use:
            kept += 1
        if not use:
            factor[p, p] = 0.0
            for q in range(p + 1, 2 * k):
                factor[q, p] = 0.0
            continue
        root = math.sqrt(pivot)
        factor[p, p] = root
        for q in range(p + 1, 2 * k):
            value = factor[q, p]
            for j in range(p):
                value -= factor[q, j] * factor[p, j]
            factor[q, p] = value / root
    along = work.along
    along[:] = 0.0
    for p in range(k, 2 * k):
        if tested[p - k]:
            for q in range(k, p + 1):
                along[q] += factor[p, q]
    return kept


@jit
def _tail(statistic: float, above: int, below: float, is_score: bool) -> float:
    """−log10 p of a sum of squares over the variance, on ``above`` degrees of freedom."""
    if above == 0:
        return math.nan
    return chi2_neg_log10_p(statistic, float(above)) if is_score else f_neg_log10_p(statistic / above, above, below)


@jit
def finish_trait(
    z: NDArray[np.float64],
    yy: float,
    df: float,
    factor: float,
    sign: float,
    kept: int,
    tested: NDArray[np.bool_],
    work: Solution,
    is_score: bool,
    cells: NDArray[np.float64],
) -> int:
    """All tests of a trait from ``z``, its products with the predictors made orthonormal; returns a status.

    Parameters
    ----------
    yy, df
        Sum of squares of the residuals, and its degrees of freedom without any predictor.
    factor
        Of variances, for relatives.
    sign
        Of the effect of ALT, by that of the listed allele.
    kept
        Rank of the haplotypes' part.
    """
    k = tested.shape[0]
    of_ancestry = of_alleles = 0.0
    n_tested = 0
    for p in range(k):
        of_ancestry += z[p] * z[p]
        of_alleles += z[k + p] * z[k + p]
        n_tested += tested[p]
    variance = variance_shared = variance_ancestry = 1.0
    length = shared = 0.0
    for p in range(k, 2 * k):
        length += work.along[p] * work.along[p]
        shared += work.along[p] * z[p]
    of_shared = shared * shared / length
    if not is_score:
        rest = yy - of_ancestry - of_alleles
        if rest <= PERFECT_FIT * yy:
            return codes.PERFECT_FIT
        variance = rest / (df - kept - n_tested)
        variance_shared = (yy - of_ancestry - of_shared) / (df - kept - 1)
        variance_ancestry = (yy - of_ancestry) / (df - kept)
    variance *= factor
    variance_shared *= factor
    variance_ancestry *= factor
    below = df - kept - n_tested
    of_rest = max(0.0, of_alleles - of_shared)
    cells[BETA] = sign * shared / length
    cells[ERROR] = math.sqrt(variance_shared / length)
    # In a loop, and not one by one: a tail is long code, and every place that calls it takes seconds to compile.
    statistic = (
        of_alleles / variance,
        of_shared / variance_shared,
        of_rest / variance,
        of_ancestry / variance_ancestry,
    )
    above = (n_tested, 1, n_tested - 1, kept)
    below_of = (below, df - kept - 1, below, df - kept)
    for test in range(4):
        cells[P_JOINT + test] = _tail(statistic[test], above[test], below_of[test], is_score)
    # Effects: the factor's transpose solved backwards; of their variances, the factor's inverse.
    unit = work.unit
    for p in range(2 * k - 1, k - 1, -1):
        if not tested[p - k]:
            continue
        place = OF_ANCESTRY + 3 * (p - k)
        for q in range(k, 2 * k):
            unit[q] = 1.0 if q == p else 0.0
        effect = squares = 0.0
        for q in range(p, 2 * k):
            if not tested[q - k]:
                continue
            value = unit[q]
            for j in range(p, q):
                if tested[j - k]:
                    value -= work.factor[q, j] * unit[j]
            unit[q] = value / work.factor[q, q]
            effect += unit[q] * z[q]
            squares += unit[q] * unit[q]
        error = math.sqrt(variance * squares)
        cells[place] = sign * effect
        cells[place + 1] = error
        cells[place + 2] = normal_neg_log10_p(effect / error) if is_score else t_neg_log10_p(effect / error, below)
    return codes.OK


@jit
def score_haplotypes(
    block: HaplotypeBlock,
    null: LocalNull,
    exclude: bool,
    cells: NDArray[np.float64],
    status: NDArray[np.uint8],
    haplotypes: NDArray[np.float64],
    alleles: NDArray[np.float64],
    terms: NDArray[np.uint8],
) -> None:
    """Test every variant of a block against every trait.

    Parameters
    ----------
    exclude
        Whether people without a call are left out, or have what their haplotypes' ancestries have on average.
    cells : (variants, traits, cells)
        Overwritten; of a score test without what leaving people out would do to the null model.
    status : (variants, traits)
        Overwritten.
    haplotypes, alleles : (variants, groups, ancestries)
        Overwritten: called haplotypes of each ancestry, and those with ALT.
    terms : (variants, groups, ancestries)
        Overwritten: status of each ancestry's term.
    """
    k, n_groups = block.n_ancestries, null.rank.shape[0]
    sums = make_sums(k, null.panel.shape[1], null.tally.shape[1])
    ancestry = block.ancestry.copy()
    begin_sums(ancestry, null, k, sums)
    gram = np.empty((2 * k, 2 * k))
    rate, listed = np.empty(k), np.empty(k)
    tested = np.empty(k, np.bool_)
    cells[:] = math.nan
    most = 0
    for g in range(n_groups):
        most = max(most, null.rank[g])
    work = make_solution(k, most)
    for v in range(cells.shape[0]):
        some = slice(block.change_offset[v], block.change_offset[v + 1])
        change_sums(block.change_haplotype[some], block.change_ancestry[some], ancestry, null, k, sums)
        if not block.usable[v]:
            status[v] = codes.NOT_TESTED
            haplotypes[v] = math.nan
            alleles[v] = math.nan
            terms[v] = codes.NOT_TESTED
            continue
        entries = slice(block.offset[v], block.offset[v + 1])
        person, state = block.person[entries], block.state[entries]
        n_missing = list_sums(person, state, null, k, sums)
        sign = -1.0 if block.flipped[v] else 1.0
        for g in range(n_groups):
            rank, first = null.rank[g], null.start[g]
            s = n_groups + null.set_of_group[g]
            people, uncalled = count_alleles(sums, s, k, haplotypes[v, g], listed)
            fault = _terms(haplotypes[v, g], listed, null.least_count, people, tested, terms[v, g])
            for a in range(k):
                rate[a] = listed[a] / haplotypes[v, g, a] if haplotypes[v, g, a] > 0.0 else 0.0
                alleles[v, g, a] = haplotypes[v, g, a] - listed[a] if block.flipped[v] else listed[a]
            leave_out = exclude and uncalled > 0.0 and not null.is_score
            kept = 0
            if fault == codes.OK:
                gram_matrix(sums, g, k, rate, leave_out, gram)
                for p in range(k):
                    for j in range(rank):
                        work.products[p, j] = sums.haplotypes[p, first + j]
                        work.products[k + p, j] = sums.listed[p, first + j]
                        if n_missing > 0:
                            if leave_out:
                                work.products[p, j] -= sums.missing[p, first + j]
                            else:
                                work.products[k + p, j] += rate[p] * sums.missing[p, first + j]
                _inner(null, g, person, state, leave_out, rank, work.inner)
                kept = factor_predictors(gram, tested, k, rank, work)
                fault = codes.COLLINEAR
                for a in range(k):
                    if tested[a]:
                        fault = codes.OK
                    elif terms[v, g, a] == codes.OK:
                        terms[v, g, a] = codes.COLLINEAR
            n_tested = 0
            for a in range(k):
                n_tested += tested[a]
            for t in range(null.column.shape[0]):
                if null.group_of_trait[t] != g:
                    continue
                if null.status[t] != codes.OK or fault != codes.OK:
                    status[v, t] = null.status[t] if null.status[t] != codes.OK else fault
                    continue
                yy = null.residual_ss[t]
                column = null.column[t]
                size = float(null.size[null.set_of_group[g]])
                z = work.z
                for p in range(k):
                    z[p] = sums.haplotypes[p, column]
                    z[k + p] = sums.listed[p, column]
                    if n_missing > 0:
                        if leave_out:
                            z[p] -= sums.missing[p, column]
                        else:
                            z[k + p] += rate[p] * sums.missing[p, column]
                if leave_out:
                    size = people
                    yy = _leave_out(null, g, column, yy, person, state, rank, work)
                df = size - rank
                if not null.is_score and df - kept - n_tested <= 0.0:
                    status[v, t] = codes.TOO_FEW_SAMPLES
                    continue
                solve_in_place(work.factor, z, 2 * k)
                status[v, t] = finish_trait(
                    z, yy, df, null.variance_factor[t], sign, kept, tested, work, null.is_score, cells[v, t]
                )


@jit
def _terms(
    haplotypes: NDArray[np.float64],
    listed: NDArray[np.float64],
    least: float,
    people: float,
    tested: NDArray[np.bool_],
    terms: NDArray[np.uint8],
) -> int:
    """Which ancestries' alleles have a term; returns a status of the variant."""
    total = called = 0.0
    any_tested = False
    for a in range(tested.shape[0]):
        total += listed[a]
        called += haplotypes[a]
        rarer = min(listed[a], haplotypes[a] - listed[a])
        # An allele that never varies has no term, however few copies are asked for.
        tested[a] = rarer >= least and rarer > 0.0
        terms[a] = codes.OK if tested[a] else (codes.MONOMORPHIC if rarer <= 0.0 else codes.TOO_FEW_ALLELES)
        any_tested |= tested[a]
    if people <= 0.0:
        return codes.ALL_MISSING
    if min(total, called - total) <= 0.0:
        return codes.MONOMORPHIC
    return codes.OK if any_tested else codes.TOO_FEW_ALLELES


@jit
def _inner(
    null: LocalNull, g: int, person: NDArray[np.int32], state: NDArray[np.uint8], leave_out: bool,
    rank: int, inner: NDArray[np.float64],
) -> None:  # fmt: skip
    """Cholesky factor of the products of the basis among the called; the identity where nobody is left out."""
    first = null.start[g]
    for j in range(rank):
        for m in range(rank):
            inner[j, m] = 1.0 if j == m else 0.0
    if not leave_out:
        return
    for e in range(person.shape[0]):
        if state[e] & 3:
            continue
        row = null.panel[person[e]]
        for j in range(rank):
            for m in range(j + 1):
                inner[j, m] -= row[first + j] * row[first + m]
    factor_in_place(inner, rank, COLLINEAR)


@jit
def _leave_out(
    null: LocalNull, g: int, column: int, yy: float, person: NDArray[np.int32], state: NDArray[np.uint8],
    rank: int, work: Solution,
) -> float:  # fmt: skip
    """Sum of squares of a trait's residuals among the called, and in ``work.z`` its products, covariates taken off."""
    first = null.start[g]
    loss = work.loss
    loss[:] = 0.0
    for e in range(person.shape[0]):
        if state[e] & 3:
            continue
        row = null.panel[person[e]]
        yy -= row[column] * row[column]
        for j in range(rank):
            loss[j] -= row[column] * row[first + j]
    solve_in_place(work.inner, loss, rank)
    for j in range(rank):
        yy -= loss[j] * loss[j]
        for p in range(work.products.shape[0]):
            work.z[p] -= work.products[p, j] * loss[j]
    return yy
