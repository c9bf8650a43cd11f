"""Association of columns of numbers with traits, one regression for each pair: least squares, or logistic regression.

For few predictors and many traits, where every pair can have its own fit. Predictors need not be genotypes: a score, a
measurement, an exposure. A pair is fitted in the people who have the trait, the predictor and the covariates, and in no
others; covariates that do not vary among them, or that the ones before determine, drop out.

- Quantitative traits: least squares; ``t`` test on ``n − covariates − 1`` degrees of freedom.
- Binary traits: logistic regression by maximum likelihood and its likelihood ratio test. Where that is not to be
  trusted, or matters, the penalised likelihood (Firth 1993, 10.1093/biomet/80.1.27; test: Heinze & Schemper 2002,
  10.1002/sim.1047): with fewer than ``cases_per_coefficient`` cases (or controls) for each coefficient (Peduzzi 1996,
  10.1016/S0895-4356(96)00236-3), where ``p`` is below ``penalise_below``, where predictors separate cases from
  controls, and where the fit does not converge. The status is then FIRTH.

Standard errors are those of the information at the estimate: beside a likelihood ratio they need not agree with p to
the last digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.linear_common import PERFECT_FIT
from allscan.kernels.logistic_fit import Work, fit, make_work
from allscan.kernels.logistic_full_numba import orthonormal_rows, predictor_rows
from allscan.kernels.normal import chi2_1_neg_log10_p
from allscan.kernels.student import t_neg_log10_p

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AS_IT_IS = np.zeros(1, np.int64)
"""The coding of a predictor that is no genotype."""


class ColumnOptions(NamedTuple):
    """When a binary trait is tested, and how."""

    min_cases: int = 1  # fewest cases, and fewest controls
    penalise_below: float = 0.05  # p of the likelihood ratio
    cases_per_coefficient: float = 10.0


class Columns(NamedTuple):
    """Predictors and covariates of the same people."""

    predictors: NDArray[np.float64]  # (predictors, samples) NaN = missing
    covariates: NDArray[np.float64]  # (covariates, samples) orthonormal
    independent: NDArray[np.int64]  # (covariates,) which of the given covariates each stands for
    member: NDArray[np.bool_]  # (patterns, samples) who has the predictors of a pattern of missing values
    pattern: NDArray[np.int64]  # (predictors,)


class ColumnCells(NamedTuple):
    """Results of one trait, one a predictor."""

    n: NDArray[np.int64]  # (predictors,) people
    cases: NDArray[np.int64]  # (predictors,) of them; 0 where the trait is quantitative
    beta: NDArray[np.float64]  # (predictors,) per unit of the predictor; NaN without a result, as are the next two
    standard_error: NDArray[np.float64]  # (predictors,)
    neg_log10_p: NDArray[np.float64]  # (predictors,)
    status: NDArray[np.uint8]  # (predictors,)
    estimated: NDArray[np.bool_]  # (predictors, given covariates) those that did not drop out


def make_columns(predictors: NDArray[np.float64], covariates: NDArray[np.float64]) -> Columns:
    """Lay out what all traits share.

    Parameters
    ----------
    predictors : (samples, predictors)
        NaN is missing.
    covariates : (samples, covariates)
        Finite, with the intercept if there is to be one.
    """
    basis, dropped = orthonormal_basis(covariates)
    independent = np.array([j for j in range(covariates.shape[1]) if j not in dropped], np.int64)
    member, pattern = np.unique(~np.isnan(predictors.T), axis=0, return_inverse=True)
    rows = np.ascontiguousarray(predictors.T, np.float64)
    return Columns(rows, np.ascontiguousarray(basis.T), independent, member, pattern.reshape(-1))


def fit_trait(
    columns: Columns, trait: NDArray[np.float64], *, binary: bool, n_covariates: int, options: ColumnOptions
) -> ColumnCells:
    """Test every predictor against one trait.

    Parameters
    ----------
    columns
        Predictors and covariates.
    trait : (samples,)
        NaN is missing; a binary one is 0 and 1.
    binary
        Whether it is.
    n_covariates
        Covariates that were given to :func:`make_columns`.
    options
        For binary traits.
    """
    size = len(columns.predictors)
    cells = ColumnCells(
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.full(size, np.nan),
        np.full(size, np.nan),
        np.full(size, np.nan),
        np.full(size, codes.ALL_MISSING, np.uint8),
        np.zeros((size, n_covariates), np.bool_),
    )
    present = ~np.isnan(trait)
    for p, member in enumerate(columns.member):
        rows = np.flatnonzero(present & member)
        of_pattern = np.flatnonzero(columns.pattern == p)
        cells.n[of_pattern] = len(rows)
        if not len(rows):
            continue
        people = _People.of(columns, rows)
        cells.estimated[np.ix_(of_pattern, columns.independent[people.kept])] = True
        y = np.ascontiguousarray(trait[rows])
        if binary:
            cells.cases[of_pattern] = int(y.sum())
            _logistic(columns, people, y, of_pattern, options, cells)
        else:
            _linear(columns, people, y, of_pattern, cells)
    return cells


class _People(NamedTuple):
    """Those in whom some pairs are fitted."""

    rows: NDArray[np.int64]
    x: NDArray[np.float64]  # (covariates + 1, people) orthonormal rows, and room for the predictor
    rank: int  # of the covariates
    kept: NDArray[np.int64]  # (rank,)

    @classmethod
    def of(cls, columns: Columns, rows: NDArray[np.int64]) -> _People:
        x = np.empty((len(columns.covariates) + 1, len(rows)))
        kept = np.empty(len(columns.covariates), np.int64)
        rank = orthonormal_rows(columns.covariates, rows, len(rows), x, kept)
        return cls(rows, x, rank, kept[:rank])

    def add(self, predictor: NDArray[np.float64]) -> tuple[int, float]:
        """Put a predictor after the covariates, projected off them: a status, and its length beyond them."""
        length = np.empty((1, 1))
        ones = np.ones(len(predictor))
        status = predictor_rows(predictor, ones, self.rows, len(self.rows), _AS_IT_IS, self.x, self.rank, length)
        return status, float(length[0, 0])


def _linear(
    columns: Columns, people: _People, y: NDArray[np.float64], predictors: NDArray[np.int64], cells: ColumnCells
) -> None:
    n, rank = len(y), people.rank
    df = n - rank - 1
    centred = y - y.mean()
    spread = float(centred @ centred)
    for _ in range(2):  # once more: the first pass leaves rounding of the order of what it takes off
        y = y - people.x[:rank].T @ (people.x[:rank] @ y)
    left = float(y @ y)
    for k in predictors:
        status, length = people.add(columns.predictors[k])
        if df <= 0:
            status = codes.TOO_FEW_SAMPLES
        elif left <= PERFECT_FIT * spread or spread == 0.0:
            status = codes.TRAIT_CONSTANT
        if status == codes.OK:
            along = float(people.x[rank] @ y)
            rest = y - along * people.x[rank]
            variance = float(rest @ rest) / df
            if variance * df <= PERFECT_FIT * left:
                status = codes.PERFECT_FIT
            else:
                error = np.sqrt(variance)
                cells.beta[k], cells.standard_error[k] = along / length, error / length
                cells.neg_log10_p[k] = t_neg_log10_p(along / error, float(df))
        cells.status[k] = status


def _logistic(
    columns: Columns,
    people: _People,
    y: NDArray[np.float64],
    predictors: NDArray[np.int64],
    options: ColumnOptions,
    cells: ColumnCells,
) -> None:
    n, rank = len(y), people.rank
    fewest = min(int(y.sum()), n - int(y.sum()))
    if fewest < options.min_cases or fewest == 0:
        cells.status[predictors] = codes.TOO_FEW_CASES
        return
    if n - rank - 1 <= 0:
        cells.status[predictors] = codes.TOO_FEW_SAMPLES
        return
    work, offset = make_work(n, rank + 1), np.zeros(n)
    b = np.zeros(rank + 1)
    rate = y.mean()
    b[:rank] = people.x[:rank].sum(axis=1) * np.log(rate / (1.0 - rate))
    start = b.copy()
    null_status, null = fit(people.x, y, offset, n, rank, rank, False, b, work)
    if null_status == codes.OK:
        start = b.copy()
    few = fewest < options.cases_per_coefficient * (rank + 1)
    least = -np.log10(options.penalise_below) if options.penalise_below > 0 else np.inf
    for k in predictors:
        status, length = people.add(columns.predictors[k])
        if status == codes.OK and not few and null_status == codes.OK:
            b[:] = start
            status, value = fit(people.x, y, offset, n, rank + 1, rank + 1, False, b, work)
            p = chi2_1_neg_log10_p(2.0 * (value - null)) if status == codes.OK else np.inf
            if p < least:
                cells.neg_log10_p[k] = p
                _estimate(b, rank, length, work, k, cells)
                continue
            status = codes.OK
        cells.status[k] = status
        if status == codes.OK:
            _penalised(people, y, offset, start, length, work, k, cells)


def _penalised(
    people: _People,
    y: NDArray[np.float64],
    offset: NDArray[np.float64],
    start: NDArray[np.float64],
    length: float,
    work: Work,
    k: int,
    cells: ColumnCells,
) -> None:
    n, rank = len(y), people.rank
    b = start.copy()
    # The penalty without the predictor's effect is that of all the same.
    status, without = fit(people.x, y, offset, n, rank + 1, rank, True, b, work)
    value = np.nan
    if status == codes.OK:
        status, value = fit(people.x, y, offset, n, rank + 1, rank + 1, True, b, work)
    if status != codes.OK:
        cells.status[k] = status
        return
    cells.neg_log10_p[k] = chi2_1_neg_log10_p(2.0 * (value - without))
    _estimate(b, rank, length, work, k, cells)
    cells.status[k] = codes.FIRTH


def _estimate(b: NDArray[np.float64], rank: int, length: float, work: Work, k: int, cells: ColumnCells) -> None:
    """Effect and standard error; the last row of the information's factor is that of the predictor."""
    cells.beta[k] = b[rank] / length
    cells.standard_error[k] = 1.0 / (work.factor[rank, rank] * length)
    cells.status[k] = codes.OK
