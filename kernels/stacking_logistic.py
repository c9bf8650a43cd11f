"""Level 1 of binary traits: logistic ridge regression on the columns of level 0, beside what the covariates predict.

The covariates' log odds are an offset and are not fitted again (Mbatchou 2021, 10.1038/s41588-021-00870-7).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from allscan.kernels.accuracy import area_under_curve
from allscan.kernels.logistic import expit
from allscan.kernels.logistic_ridge import Fits, LogisticData, minimise, negative_log_likelihood
from allscan.kernels.stacking import (
    MINIMUM_CASES,
    MINIMUM_SAMPLES,
    Features,
    Stack,
    StackStatus,
    best,
    check_inputs,
    compact_folds,
    no_stack,
    penalties,
)
from allscan.kernels.stacking_columns import STRIP, Predictions, fold_products, membership, predict_by_fold, strips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class LogisticFolds:
    """Logistic ridge regression, each fold predicted by the fit to the others.

    All folds and penalties are fitted side by side (:mod:`allscan.kernels.logistic_ridge`): one pass for the products,
    some ten for the fits, one for the predictions.

    Parameters
    ----------
    strip
        Rows that are read at a time. Changes results by rounding only.
    tolerance
        Of log odds, root mean square.
    max_passes
        Over the features; a fit that takes more has not converged.
    """

    strip: int = STRIP
    tolerance: float = 1e-5
    max_passes: int = 200

    name = "logistic_folds"
    trait_kind = "binary"

    def memory_bytes(self, n: int, p: int, chromosomes: int, grid: int, folds: int) -> int:
        """Products by fold, factors of each fit; strips; steps of each fit; predictions."""
        squares = (folds * (1 + grid) + 3) * 8 * (p + 1) ** 2
        fits = folds * grid
        in_strip = 4 * self.strip * (4 * (p + 1) + 8 * fits)
        return squares + in_strip + n * (4 * chromosomes + 64) + 8 * p * (24 * fits + folds * chromosomes)

    def fit(
        self,
        features: Features,
        y: NDArray[np.float64],
        chromosome_of_column: NDArray[np.int64],
        heritabilities: Sequence[float],
        folds: NDArray[np.int64],
        offset: NDArray[np.float64],
    ) -> Stack:
        """See :meth:`allscan.kernels.stacking.Learner.fit`."""
        check_inputs(features, y, chromosome_of_column, heritabilities, folds, offset)
        compact, n_folds = compact_folds(folds)
        refusal = _refusal(y, offset, compact, n_folds)
        if refusal is not None:
            return _no_stack(*refusal, features, chromosome_of_column, heritabilities)
        weights = _weights(offset)
        nothing = np.empty((features.n, 0))
        columns, products = fold_products(features, nothing, weights, compact, n_folds, np.float32, self.strip)
        if not columns.varying:
            return _no_stack(*_NO_VARIATION, features, chromosome_of_column, heritabilities)
        penalty = penalties(heritabilities, columns.varying, binary=True)
        grid = len(penalty)
        total = products.sum(axis=0)
        of_fold = np.bincount(compact, weights, n_folds)
        fits = minimise(
            LogisticData(features, columns, y, offset, compact, np.float32, self.strip),
            np.repeat(np.arange(n_folds), grid),
            np.tile(penalty, n_folds),
            [_preconditioner(total - own, value) for own in products for value in penalty],
            np.repeat(of_fold.sum() - of_fold, grid),
            tolerance=self.tolerance,
            max_passes=self.max_passes,
        )
        del products, total
        scores = fits.held_out.reshape(n_folds, grid).sum(axis=0) / features.n
        converged = np.asarray(fits.converged.reshape(n_folds, grid).all(axis=0))
        chosen = best(np.where(converged, scores, np.nan) if converged.any() else scores)
        coefficients = fits.coefficients.reshape(n_folds, grid, -1)[:, chosen]
        predictions = predict_by_fold(features, columns, coefficients, compact, chromosome_of_column, self.strip)
        return _stack(predictions, y, offset, chosen, scores, converged)


@dataclass(frozen=True)
class LogisticLeaveOneOut:
    """Logistic ridge regression, each person predicted by a step of Newton's from the fit to all people.

    With ``H = XᵀWX + λ`` at the fit to all, person i has the weights ``b − H⁻¹xᵢ (yᵢ − μᵢ) / (1 − wᵢ xᵢᵀH⁻¹xᵢ)``
    (Pregibon, 10.1214/aos/1176345513), as in REGENIE. In float64 throughout, and with products for each penalty: for
    some thousands of people.

    Parameters
    ----------
    strip
        Rows that are read at a time. Changes results by rounding only.
    tolerance
        Of log odds, root mean square.
    max_passes
        Over the features; a fit that takes more has not converged.
    """

    strip: int = STRIP
    tolerance: float = 1e-7
    max_passes: int = 200

    name = "logistic_leave_one_out"
    trait_kind = "binary"

    def memory_bytes(self, n: int, p: int, chromosomes: int, grid: int, folds: int) -> int:  # noqa: ARG002 - it has none
        """Products and factors of each penalty, or their inverses; strips in float64; predictions."""
        squares = (grid + 4) * 8 * (p + 1) ** 2
        return (
            squares + 8 * self.strip * (5 * (p + 1) + 8 * grid) + n * (4 * chromosomes + 64 + 8 * grid) + 192 * grid * p
        )

    def fit(
        self,
        features: Features,
        y: NDArray[np.float64],
        chromosome_of_column: NDArray[np.int64],
        heritabilities: Sequence[float],
        folds: NDArray[np.int64],
        offset: NDArray[np.float64],
    ) -> Stack:
        """See :meth:`allscan.kernels.stacking.Learner.fit`."""
        check_inputs(features, y, chromosome_of_column, heritabilities, folds, offset)
        refusal = _refusal(y, offset, np.arange(features.n), features.n)
        if refusal is not None:
            return _no_stack(*refusal, features, chromosome_of_column, heritabilities)
        everybody = np.zeros(features.n, np.int64)
        weights = _weights(offset)
        nothing = np.empty((features.n, 0))
        columns, products = fold_products(features, nothing, weights, everybody, 1, np.float64, self.strip)
        if not columns.varying:
            return _no_stack(*_NO_VARIATION, features, chromosome_of_column, heritabilities)
        penalty = penalties(heritabilities, columns.varying, binary=True)
        grid = len(penalty)
        data = LogisticData(features, columns, y, offset, everybody, np.float64, self.strip)
        fits = minimise(
            data,
            np.full(grid, -1),
            penalty,
            [_preconditioner(products[0], value) for value in penalty],
            np.full(grid, weights.sum()),
            tolerance=self.tolerance,
            max_passes=self.max_passes,
        )
        del products
        inverses = _inverse_hessians(data, fits, penalty)
        scores = np.zeros(grid)
        everything = np.ones((features.p, 1))
        for rows, strip in strips(features, self.strip):
            x = columns.apply(strip, np.float64)
            for g in range(grid):
                without = _without_each_person(data, x, rows, fits.coefficients[g], inverses[g], everything)
                scores[g] += negative_log_likelihood(y[rows], offset[rows] + without[:, 0]).sum()
        scores /= features.n
        chosen = best(np.where(fits.converged, scores, np.nan) if fits.converged.any() else scores)
        of_chromosome = membership(chromosome_of_column)
        predictions = Predictions.empty(of_chromosome.shape[1], features.n)
        for rows, strip in strips(features, self.strip):
            x = columns.apply(strip, np.float64)
            predictions.put(
                rows,
                _without_each_person(data, x, rows, fits.coefficients[chosen], inverses[chosen], of_chromosome),
            )
        return _stack(predictions, y, offset, chosen, scores, fits.converged)


LOGISTIC_FOLDS = LogisticFolds()
LOGISTIC_LEAVE_ONE_OUT = LogisticLeaveOneOut()

_NO_VARIATION = (StackStatus.NO_VARIATION, "no block of markers predicts anything that differs between people")


def _refusal(
    y: NDArray[np.float64], offset: NDArray[np.float64], folds: NDArray[np.int64], n_folds: int
) -> tuple[StackStatus, str] | None:
    """Why nothing can be fitted, if that is so."""
    case = y == 1.0
    if not np.array_equal(case, y):
        raise ValueError("a binary trait must be 0 and 1")
    cases, controls = int(case.sum()), int((~case).sum())
    if len(y) < MINIMUM_SAMPLES or n_folds < 2:
        message = f"{len(y)} people in {n_folds} folds; {MINIMUM_SAMPLES} people and 2 folds are needed"
        return StackStatus.TOO_FEW_SAMPLES, message
    if min(cases, controls) < MINIMUM_CASES:
        message = f"{cases} cases and {controls} controls; {MINIMUM_CASES} of each are needed"
        return StackStatus.TOO_FEW_CASES, message
    for name, here in (("cases", case), ("controls", ~case)):
        if np.count_nonzero(np.bincount(folds[here], minlength=n_folds)) < 2:
            message = f"all {name} are in one fold: the fit to the other folds has none"
            return StackStatus.TOO_FEW_CASES, message
    if area_under_curve(case, offset) == 1.0:
        return (
            StackStatus.SEPARATED,
            "the covariates tell cases from controls without error: nothing is left to predict",
        )
    return None


def _no_stack(
    status: StackStatus,
    message: str,
    features: Features,
    chromosome_of_column: NDArray[np.int64],
    heritabilities: Sequence[float],
) -> Stack:
    chromosomes = int(chromosome_of_column.max()) + 1
    return no_stack(status, message, features.n, chromosomes, len(heritabilities))


def _weights(eta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of a binary trait with these log odds."""
    mu = expit(eta)
    return np.asarray(mu * (1.0 - mu), np.float64)


def _preconditioner(
    products: NDArray[np.float64], penalty: float
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    matrix = np.array(products, order="F")
    matrix[np.diag_indices(len(matrix))] += penalty
    try:
        factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:  # a penalty below the rounding of the products: a slower way down
        diagonal = np.diag(products) + penalty
        return functools.partial(np.multiply, 1.0 / diagonal)
    return functools.partial(scipy.linalg.cho_solve, factor, check_finite=False)


def _inverse_hessians(data: LogisticData, fits: Fits, penalty: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(XᵀWX + λ)⁻¹`` where each fit ended, shape (grid, p, p), in one pass."""
    p = data.features.p
    out = np.zeros((len(penalty), p, p))
    for rows, strip in strips(data.features, data.strip):
        x = data.columns.apply(strip, np.float64)
        root = np.sqrt(_weights(data.offset[rows, None] + x @ fits.coefficients.T))
        for g in range(len(penalty)):
            weighted = x * root[:, g, None]
            out[g] += weighted.T @ weighted
    for matrix, value in zip(out, penalty, strict=True):
        matrix[np.diag_indices(p)] += value
        factor = scipy.linalg.cho_factor(matrix, lower=True, check_finite=False)
        matrix[...] = scipy.linalg.cho_solve(factor, np.eye(p), check_finite=False)
    return out


def _without_each_person(
    data: LogisticData,
    x: NDArray[np.float64],
    rows: slice,
    coefficients: NDArray[np.float64],
    inverse: NDArray[np.float64],
    groups: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What groups of columns bring to the log odds of each person by the weights without them, shape (rows, groups)."""
    brought = x @ (coefficients[:, None] * groups)
    mu = expit(data.offset[rows] + x @ coefficients)
    leverage = ((x @ inverse) * x) @ groups
    step = (data.y[rows] - mu) / (1.0 - mu * (1.0 - mu) * leverage.sum(axis=1))
    return np.asarray(brought - leverage * step[:, None], np.float64)


def _stack(
    predictions: Predictions,
    y: NDArray[np.float64],
    offset: NDArray[np.float64],
    chosen: int,
    scores: NDArray[np.float64],
    converged: NDArray[np.bool_],
) -> Stack:
    case = y == 1.0
    status, message = StackStatus.OK, ""
    if not converged.all():
        message = f"{np.count_nonzero(~converged)} of {len(converged)} penalties did not converge"
    if not converged.any():
        status = StackStatus.NOT_CONVERGED
    elif area_under_curve(case, offset + predictions.total) == 1.0:
        status = StackStatus.SEPARATED
        message = "cases are told from controls without error: is a marker, or what it stands for, the trait itself?"
    accuracy = area_under_curve(case, predictions.total)
    return Stack(predictions.loco, predictions.total.astype(np.float32), chosen, scores, accuracy, status, message)
