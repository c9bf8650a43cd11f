"""Level 1 of quantitative traits: ridge regression on the columns of level 0.

Two ways to predict a person by a fit that has not seen them: a fit without each fold, or one without each person. Both
come from one table of products of the columns (Mbatchou 2021, 10.1038/s41588-021-00870-7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from allscan.kernels.accuracy import r_squared
from allscan.kernels.stacking import (
    MINIMUM_SAMPLES,
    Features,
    Stack,
    StackStatus,
    best,
    check_inputs,
    compact_folds,
    no_stack,
    penalties,
    standardised_trait,
)
from allscan.kernels.stacking_columns import (
    STRIP,
    Columns,
    Predictions,
    fold_products,
    membership,
    predict_by_fold,
    strips,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class LinearFolds:
    """Ridge regression, each fold predicted by the fit to the others.

    The loss of every fit follows from the same products as the fit, so the features are read twice in all: for the
    products, and for the predictions. Products are taken in float32 within a strip.

    Parameters
    ----------
    strip
        Rows that are read at a time. Changes results by rounding only.
    """

    strip: int = STRIP

    name = "linear_folds"
    trait_kind = "quantitative"

    def memory_bytes(self, n: int, p: int, chromosomes: int, grid: int, folds: int) -> int:
        """Products by fold, their sum and what is made of it; strips; predictions."""
        squares = (folds + 4) * 8 * (p + 2) ** 2
        return (
            squares + 4 * 4 * self.strip * (p + 2) + n * (4 * chromosomes + 40) + 8 * folds * p * (grid + chromosomes)
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
        compact, n_folds = compact_folds(folds)
        target, sd = standardised_trait(y, offset)
        refusal = _refusal(features, sd, chromosome_of_column, len(heritabilities), n_folds)
        if refusal is not None:
            return refusal
        columns, products = fold_products(features, target[:, None], None, compact, n_folds, np.float32, self.strip)
        if not columns.varying:
            return _no_variation(features, chromosome_of_column, len(heritabilities))
        coefficients = _without_each_fold(products, penalties(heritabilities, columns.varying))
        scores = _held_out_loss(products, coefficients) / features.n
        if np.isnan(scores).all():
            message = "no penalty of the grid is large enough for these columns"
            chromosomes = int(chromosome_of_column.max()) + 1
            return no_stack(StackStatus.NOT_CONVERGED, message, features.n, chromosomes, len(scores))
        chosen = best(scores)
        of_fold = coefficients[:, chosen]
        predictions = predict_by_fold(features, columns, of_fold, compact, chromosome_of_column, self.strip)
        return _stack(predictions, y - offset, sd, chosen, scores)


@dataclass(frozen=True)
class LinearLeaveOneOut:
    """Ridge regression, each person predicted by the fit to all others, exactly.

    With ``A = XᵀX + λ``, the residual of the fit without person i is ``eᵢ / (1 − hᵢ)``, where ``hᵢ = xᵢᵀA⁻¹xᵢ`` and
    ``eᵢ`` is the residual of the fit to all; the sum of their squares is PRESS (Allen, 10.1080/00401706.1974.10489157).
    The weights without person i are ``b − A⁻¹xᵢ eᵢ / (1 − hᵢ)`` (Sherman & Morrison), of which the part of each
    chromosome is taken. In float64 throughout, with two more products of the size of the first: for some thousands of
    people, where folds cost power.

    Parameters
    ----------
    strip
        Rows that are read at a time. Changes results by rounding only.
    """

    strip: int = STRIP

    name = "linear_leave_one_out"
    trait_kind = "quantitative"

    def memory_bytes(self, n: int, p: int, chromosomes: int, grid: int, folds: int) -> int:  # noqa: ARG002 - it has none
        """Products, eigenvectors and their workspace; strips in float64; predictions."""
        return 6 * 8 * (p + 2) ** 2 + 4 * 8 * self.strip * (p + 2) + n * (4 * chromosomes + 40 + 16 * grid)

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
        target, sd = standardised_trait(y, offset)
        refusal = _refusal(features, sd, chromosome_of_column, len(heritabilities), features.n)
        if refusal is not None:
            return refusal
        everybody = np.zeros(features.n, np.int64)
        columns, products = fold_products(features, target[:, None], None, everybody, 1, np.float64, self.strip)
        if not columns.varying:
            return _no_variation(features, chromosome_of_column, len(heritabilities))
        p = features.p
        eigenvalues, vectors = scipy.linalg.eigh(products[0, :p, :p], check_finite=False)
        inverse = 1.0 / (np.maximum(eigenvalues, 0.0)[:, None] + penalties(heritabilities, columns.varying))
        rotated = inverse * (vectors.T @ products[0, :p, p])[:, None]
        press = np.zeros(len(heritabilities))
        for rows, strip in strips(features, self.strip):
            z = columns.apply(strip, np.float64) @ vectors
            left = target[rows, None] - z @ rotated
            np.square(z, out=z)
            press += np.square(left / (1.0 - z @ inverse)).sum(axis=0)
        scores = press / features.n
        chosen = best(scores)
        inverse_products = (vectors * inverse[:, chosen]) @ vectors.T
        predictions = self._predict(
            features, columns, inverse_products, vectors @ rotated[:, chosen], target, chromosome_of_column
        )
        return _stack(predictions, y - offset, sd, chosen, scores)

    def _predict(
        self,
        features: Features,
        columns: Columns,
        inverse: NDArray[np.float64],
        coefficients: NDArray[np.float64],
        target: NDArray[np.float64],
        chromosome_of_column: NDArray[np.int64],
    ) -> Predictions:
        of_chromosome = membership(chromosome_of_column)
        out = Predictions.empty(of_chromosome.shape[1], features.n)
        for rows, strip in strips(features, self.strip):
            x = columns.apply(strip, np.float64)
            left = target[rows] - x @ coefficients
            brought = x @ (coefficients[:, None] * of_chromosome)
            leverage = ((x @ inverse) * x) @ of_chromosome
            out.put(rows, brought - leverage * (left / (1.0 - leverage.sum(axis=1)))[:, None])
        return out


LINEAR_FOLDS = LinearFolds()
LINEAR_LEAVE_ONE_OUT = LinearLeaveOneOut()


def _refusal(
    features: Features, sd: float, chromosome_of_column: NDArray[np.int64], grid: int, n_folds: int
) -> Stack | None:
    """Why nothing can be fitted, if that is so."""
    chromosomes = int(chromosome_of_column.max()) + 1
    if features.n < MINIMUM_SAMPLES:
        message = f"{features.n} people have the trait; {MINIMUM_SAMPLES} are needed"
        return no_stack(StackStatus.TOO_FEW_SAMPLES, message, features.n, chromosomes, grid)
    if n_folds < 2:
        message = "everybody with the trait is in one fold: nobody is left to fit to"
        return no_stack(StackStatus.TOO_FEW_SAMPLES, message, features.n, chromosomes, grid)
    if sd == 0.0:
        message = "the trait does not vary once the covariates are taken off"
        return no_stack(StackStatus.TRAIT_CONSTANT, message, features.n, chromosomes, grid)
    return None


def _no_variation(features: Features, chromosome_of_column: NDArray[np.int64], grid: int) -> Stack:
    message = "no block of markers predicts anything that differs between people"
    chromosomes = int(chromosome_of_column.max()) + 1
    return no_stack(StackStatus.NO_VARIATION, message, features.n, chromosomes, grid)


def _without_each_fold(products: NDArray[np.float64], penalty: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the columns by the other folds, shape (folds, grid, p); NaN where products are not definite."""
    folds, p = len(products), products.shape[1] - 1
    total = products.sum(axis=0)
    out = np.full((folds, len(penalty), p), np.nan)
    for fold in range(folds):
        rest = total - products[fold]
        for g, value in enumerate(penalty):
            matrix = np.array(rest[:p, :p], order="F")
            matrix[np.diag_indices(p)] += value
            try:
                factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
            except np.linalg.LinAlgError:  # a penalty below the rounding of the products
                continue
            out[fold, g] = scipy.linalg.cho_solve(factor, rest[:p, p], check_finite=False)
    return out


def _held_out_loss(products: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of squared errors of each fold's people, shape (grid,), from their own products."""
    p = products.shape[1] - 1
    loss = np.zeros(coefficients.shape[1])
    for own, weights in zip(products, coefficients, strict=True):
        loss += own[p, p] - 2.0 * weights @ own[:p, p] + np.einsum("gi,gi->g", weights @ own[:p, :p], weights)
    return loss


def _stack(
    predictions: Predictions, y: NDArray[np.float64], sd: float, chosen: int, scores: NDArray[np.float64]
) -> Stack:
    """Back to the units of the trait, in which the scores are then too."""
    total = predictions.total * sd
    np.multiply(predictions.loco, np.float32(sd), out=predictions.loco)
    failed = np.isnan(scores)
    message = ""
    if failed.any():
        message = f"{np.count_nonzero(failed)} of {len(scores)} penalties are too small for these columns"
    return Stack(
        predictions.loco, total.astype(np.float32), chosen, scores * sd**2, r_squared(y, total), StackStatus.OK, message
    )
