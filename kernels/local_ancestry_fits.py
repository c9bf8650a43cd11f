"""Full logistic regressions with effects by local ancestry, by maximum or penalised likelihood: the compiled half.

See :mod:`allscan.kernels.local_ancestry_logistic` for the model and its tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.chi_squared import chi2_neg_log10_p
from allscan.kernels.jit import jit
from allscan.kernels.linear_common import COLLINEAR
from allscan.kernels.local_ancestry_numba import (
    BETA,
    ERROR,
    OF_ANCESTRY,
    P_ANCESTRY,
    P_DIFFERENCE,
    P_JOINT,
    P_SHARED,
)
from allscan.kernels.logistic_fit import Work, dot, fit, make_work, subtract
from allscan.kernels.logistic_full_numba import Fits, orthonormal_rows
from allscan.kernels.normal import normal_neg_log10_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.haplotypes import HaplotypeBlock


@jit
def _predictor_rows(
    ancestry: NDArray[np.uint8],
    person: NDArray[np.int32],
    state: NDArray[np.uint8],
    listed_of: NDArray[np.int64],
    rows: NDArray[np.int64],
    n: int,
    terms: NDArray[np.bool_],
    x: NDArray[np.float64],
    rank: int,
) -> None:
    """Haplotypes of each ancestry, and alleles of those with a term, as rows of ``x`` from ``rank`` on.

    ``listed_of`` is -1 for everybody, and is left so.
    """
    k = terms.shape[0]
    for e in range(person.shape[0]):
        listed_of[person[e]] = state[e]
    called, listed = np.zeros(k), np.zeros(k)
    for p in range(2 * k):
        x[rank + p, :n] = 0.0
    for i in range(n):
        person_here = rows[i]
        first, second = ancestry[2 * person_here], ancestry[2 * person_here + 1]
        x[rank + first, i] += 1.0
        x[rank + second, i] += 1.0
        alleles = listed_of[person_here]
        if alleles >= 0 and alleles & 3 == 0:
            continue
        called[first] += 1.0
        called[second] += 1.0
        if alleles >= 0:
            if alleles & 2:
                x[rank + k + first, i] += 1.0
                listed[first] += 1.0
            if alleles & 1:
                x[rank + k + second, i] += 1.0
                listed[second] += 1.0
    for i in range(n):
        person_here = rows[i]
        alleles = listed_of[person_here]
        if alleles >= 0 and alleles & 3 == 0:
            for h in range(2):
                a = ancestry[2 * person_here + h]
                if called[a] > 0.0:
                    x[rank + k + a, i] += listed[a] / called[a]
    for e in range(person.shape[0]):
        listed_of[person[e]] = -1


@jit
def _make_orthonormal(
    x: NDArray[np.float64], place: int, row: NDArray[np.float64], n: int, overlap: NDArray[np.float64]
) -> bool:
    """Put ``row`` at ``place`` of ``x``, orthonormal to the rows before; whether anything of it was left.

    ``overlap`` takes its products with these rows, and at ``place`` its length beyond them.
    """
    target = x[place]
    for i in range(n):
        target[i] = row[i]
    whole = dot(target, target, n)
    for m in range(place + 1):
        overlap[m] = 0.0
    for _ in range(2):
        for m in range(place):
            product = dot(target, x[m], n)
            subtract(target, product, x[m], n)
            overlap[m] += product
    left = dot(target, target, n)
    if whole <= 0.0 or left <= COLLINEAR * whole:
        return False
    length = math.sqrt(left)
    for i in range(n):
        target[i] /= length
    overlap[place] = length
    return True


@jit
def fit_cells(
    block: HaplotypeBlock,
    fits: Fits,
    exclude: bool,
    wanted: NDArray[np.bool_],
    few: NDArray[np.bool_],
    terms: NDArray[np.bool_],
    cells: NDArray[np.float64],
    status: NDArray[np.uint8],
) -> None:
    """Fit the wanted pairs in full.

    Parameters
    ----------
    wanted : (variants, traits)
        Which pairs; of others nothing changes.
    few : (variants, traits)
        Which of them are to have Firth's likelihood at once.
    terms : (variants, traits, ancestries)
        Ancestries whose alleles have a term.
    cells, status : (variants, traits, cells), (variants, traits)
        Overwritten for the wanted pairs.
    """
    n_samples, k, c = block.n_people, block.n_ancestries, fits.covariates.shape[0]
    ancestry = block.ancestry.copy()
    x, raw = np.empty((c + 2 * k, n_samples)), np.empty((2 * k, n_samples))
    row, kept = np.empty(n_samples), np.empty(c, np.int64)
    rows, listed_of = np.empty(n_samples, np.int64), np.full(n_samples, -1, np.int64)
    y, offset = np.empty(n_samples), np.empty(n_samples)
    overlap, triangle, b = np.empty(c + 2 * k), np.zeros((k, k)), np.empty(c + 2 * k)
    used = np.empty(k, np.int64)
    work = make_work(n_samples, c + 2 * k)
    for v in range(wanted.shape[0]):
        for j in range(block.change_offset[v], block.change_offset[v + 1]):
            ancestry[block.change_haplotype[j]] = block.change_ancestry[j]
        entries = slice(block.offset[v], block.offset[v + 1])
        person, state = block.person[entries], block.state[entries]
        made_for = -1
        n = rank = of_ancestry = n_used = 0
        for t in range(wanted.shape[1]):
            if not wanted[v, t]:
                continue
            s = fits.set_of_trait[t]
            if s != made_for:
                made_for = s
                if exclude:
                    for e in range(person.shape[0]):
                        listed_of[person[e]] = state[e]
                n = 0
                for i in range(n_samples):
                    if fits.member[s, i] and not (exclude and listed_of[i] >= 0 and listed_of[i] & 3 == 0):
                        rows[n] = i
                        n += 1
                for e in range(person.shape[0]):
                    listed_of[person[e]] = -1
                rank = orthonormal_rows(fits.covariates, rows, n, x, kept)
                _predictor_rows(ancestry, person, state, listed_of, rows, n, terms[v, t], raw, 0)
                of_ancestry, n_used = _place_rows(raw, terms[v, t], n, rank, x, row, overlap, triangle, used)
            if n_used == 0:
                status[v, t] = codes.COLLINEAR
                continue
            if n - rank - of_ancestry - n_used <= 0:
                status[v, t] = codes.TOO_FEW_SAMPLES
                continue
            cases = 0
            for i in range(n):
                cases += fits.case[t, rows[i]]
                y[i] = fits.case[t, rows[i]]
                offset[i] = fits.offset[t if fits.offset.shape[0] > 1 else 0, rows[i]]
            if min(cases, n - cases) < fits.min_cases:
                status[v, t] = codes.TOO_FEW_CASES
                for j in range(cells.shape[2]):
                    cells[v, t, j] = math.nan
                continue
            sign = -1.0 if block.flipped[v] else 1.0
            for penalised in (False, True):
                if not penalised and few[v, t]:
                    continue
                status[v, t] = _fit_all(
                    x, y, offset, n, rank, of_ancestry, n_used, penalised, b, work, triangle, used, sign, cells[v, t]
                )
                if status[v, t] not in (codes.SEPARATED, codes.NOT_CONVERGED):
                    if penalised and status[v, t] == codes.OK:
                        status[v, t] = codes.FIRTH
                    break


@jit
def _place_rows(
    raw: NDArray[np.float64],
    terms: NDArray[np.bool_],
    n: int,
    rank: int,
    x: NDArray[np.float64],
    row: NDArray[np.float64],
    overlap: NDArray[np.float64],
    triangle: NDArray[np.float64],
    used: NDArray[np.int64],
) -> tuple[int, int]:
    """Predictors as orthonormal rows after the covariates: haplotypes, the sum of the alleles, alleles of all but one.

    Returns how many there are of haplotypes, and of alleles. ``triangle`` takes coefficients of the alleles' predictors
    (the sum first) to those of their rows, and ``used`` has the ancestries with a term, the one without a row of its
    own last.
    """
    k = terms.shape[0]
    place = rank
    for a in range(k):
        place += _make_orthonormal(x, place, raw[a], n, overlap)
    of_ancestry = place - rank
    n_terms = 0
    for i in range(n):
        row[i] = 0.0
    for a in range(k):
        if terms[a]:
            used[n_terms] = a
            n_terms += 1
            for i in range(n):
                row[i] += raw[k + a, i]
    first = place
    if n_terms == 0 or not _make_orthonormal(x, place, row, n, overlap):
        return of_ancestry, 0
    triangle[0, 0] = overlap[place]
    for m in range(1, n_terms):
        place += 1
        if not _make_orthonormal(x, place, raw[k + used[m - 1]], n, overlap):
            return of_ancestry, 0
        for j in range(m + 1):
            triangle[j, m] = overlap[first + j]
    return of_ancestry, n_terms


@jit
def _fit_all(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    offset: NDArray[np.float64],
    n: int,
    rank: int,
    of_ancestry: int,
    n_used: int,
    penalised: bool,
    b: NDArray[np.float64],
    work: Work,
    triangle: NDArray[np.float64],
    used: NDArray[np.int64],
    sign: float,
    cells: NDArray[np.float64],
) -> int:
    """Nested fits, from the covariates alone to all predictors, and the tests between them; returns a status."""
    whole = rank + of_ancestry + n_used
    for j in range(whole):
        b[j] = 0.0
    for j in range(cells.shape[0]):
        cells[j] = math.nan
    value = np.empty(4)
    for at, free in enumerate((rank, rank + of_ancestry, rank + of_ancestry + 1, whole)):
        if at == 3 and n_used == 1:
            value[3] = value[2]
            break
        status, value[at] = fit(x, y, offset, n, whole if penalised else free, free, penalised, b, work)
        if status != codes.OK:
            return status
        if at == 2:
            last = free - 1
            cells[BETA] = sign * b[last] / triangle[0, 0]
            # A pivot is the information beside the rows before it, whatever rows follow.
            cells[ERROR] = 1.0 / (work.factor[last, last] * triangle[0, 0])
    cells[P_ANCESTRY] = chi2_neg_log10_p(2.0 * (value[1] - value[0]), float(of_ancestry)) if of_ancestry else math.nan
    cells[P_SHARED] = chi2_neg_log10_p(2.0 * (value[2] - value[1]), 1.0)
    cells[P_JOINT] = chi2_neg_log10_p(2.0 * (value[3] - value[1]), float(n_used))
    if n_used > 1:
        cells[P_DIFFERENCE] = chi2_neg_log10_p(2.0 * (value[3] - value[2]), n_used - 1.0)
    first = rank + of_ancestry
    unit, scaled = np.empty(n_used), np.empty(n_used)
    for m in range(n_used):
        # The effect of an ancestry is that of the sum and, but for the last, its own: rows of ones and of the identity.
        for j in range(n_used):
            total = 1.0 if j == 0 or j == m + 1 else 0.0
            for i in range(j):
                total -= triangle[i, j] * unit[i]
            unit[j] = total / triangle[j, j]
        effect = squares = 0.0
        for j in range(n_used):
            effect += unit[j] * b[first + j]
            total = unit[j]
            for i in range(j):
                total -= work.factor[first + j, first + i] * scaled[i]
            scaled[j] = total / work.factor[first + j, first + j]
            squares += scaled[j] * scaled[j]
        place = OF_ANCESTRY + 3 * used[m]
        cells[place] = sign * effect
        cells[place + 1] = math.sqrt(squares)
        cells[place + 2] = normal_neg_log10_p(effect / cells[place + 1])
    return codes.OK
