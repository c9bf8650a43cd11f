"""Passes over the features of level 1: standardised strips, sums of products by fold, predictions by chromosome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

    from allscan.kernels.stacking import Features

    Array = NDArray[Any]

STRIP = 8192  # rows at a time
# A column whose standard deviation is below this part of its mean holds rounding of float32, and nothing else.
_CONSTANT = 1e-6


class Columns(NamedTuple):
    """What brings columns to mean 0 and variance 1, or to 0 if they do not vary. Shapes (p,)."""

    mean: NDArray[np.float64]
    inverse_sd: NDArray[np.float64]

    @property
    def varying(self) -> int:
        """Columns that are not constant."""
        return int(np.count_nonzero(self.inverse_sd))

    def apply(self, strip: NDArray[np.float32], dtype: DTypeLike) -> Array:
        """A standardised copy, shape (rows, p)."""
        mean = self.mean.astype(dtype)
        out: Array = np.subtract(strip, mean, dtype=dtype)
        out *= self.inverse_sd.astype(dtype)
        out -= ((self.mean - mean) * self.inverse_sd).astype(dtype)  # what rounding left of the mean
        return out


def strips(features: Features, size: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """The features from the first row to the last, ``size`` rows at a time."""
    for start in range(0, features.n, size):
        stop = min(start + size, features.n)
        strip = features.strip(start, stop)
        assert strip.shape == (stop - start, features.p)
        yield slice(start, stop), strip


def _first_guess(strip: NDArray[np.float32]) -> Columns:
    """Near enough to the mean and scale of whole columns that nothing cancels in float32."""
    mean = strip.mean(axis=0, dtype=np.float64)
    sd = strip.std(axis=0, dtype=np.float64)
    return Columns(mean, 1.0 / np.where(sd > _CONSTANT * np.abs(mean), sd, 1.0))


def _columns(
    guess: Columns, total: NDArray[np.float64], squares: NDArray[np.float64], n: int
) -> tuple[Columns, Columns]:
    """True mean and scale, and the same of columns that were standardised by ``guess``."""
    if not np.isfinite(squares).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(squares))} columns of the features are not finite")
    mean = total / n
    sd = np.sqrt(np.maximum(squares - n * mean * mean, 0.0) / (n - 1))
    true_mean = guess.mean + mean / guess.inverse_sd
    true_sd = sd / guess.inverse_sd
    varies = true_sd > _CONSTANT * np.abs(true_mean)
    inverse = np.divide(1.0, sd, out=np.zeros_like(sd), where=varies)
    return Columns(true_mean, inverse * guess.inverse_sd), Columns(mean, inverse)


def rows_by_fold(folds: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The folds there are, and the rows of each."""
    for fold in np.unique(folds):
        yield int(fold), np.flatnonzero(folds == fold)


def fold_products(
    features: Features,
    beside: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    folds: NDArray[np.int64],
    n_folds: int,
    dtype: DTypeLike,
    size: int,
) -> tuple[Columns, NDArray[np.float64]]:
    """Sums of products of the standardised columns, by fold, in one pass.

    A strip is multiplied in ``dtype`` and added up in float64. Columns are standardised by the mean and standard
    deviation over all rows, without weights, which are known only at the end; until then by those of the first strip.

    Parameters
    ----------
    features
        Level 0.
    beside
        Further columns, shape (n, k), taken as they are.
    weights
        Of the rows in the products, shape (n,).
    folds
        Shape (n,), from 0 to ``n_folds``.
    dtype
        Of the products within a strip: float32 takes half the time.
    size
        Rows of a strip.

    Returns
    -------
    columns
        Mean and scale.
    products
        Shape (folds, p + k, p + k).

    Raises
    ------
    ValueError
        If the features are not finite.
    """
    n, p, k = features.n, features.p, beside.shape[1]
    sums = np.zeros((n_folds, p + k + 1, p + k + 1))
    total, squares = np.zeros(p), np.zeros(p)
    guess: Columns | None = None
    for rows, strip in strips(features, size):
        guess = guess or _first_guess(strip)
        block = np.empty((len(strip), p + k + 1), dtype)
        block[:, :p] = guess.apply(strip, dtype)
        block[:, p : p + k] = beside[rows]
        block[:, p + k] = 1.0
        total += block[:, :p].sum(axis=0, dtype=np.float64)
        squares += np.einsum("ij,ij->j", block[:, :p], block[:, :p])
        if weights is not None:
            block *= np.sqrt(weights[rows, None]).astype(dtype)
        for fold, here in rows_by_fold(folds[rows]):
            part = block[here]
            sums[fold] += part.T @ part
    assert guess is not None
    columns, again = _columns(guess, total, squares, n)
    for fold_sums in sums:
        # The last row and column hold the sums of the columns.
        fold_sums[:p] -= again.mean[:, None] * fold_sums[p + k]
        fold_sums[:, :p] -= fold_sums[:, p + k, None] * again.mean
        fold_sums[:p] *= again.inverse_sd[:, None]
        fold_sums[:, :p] *= again.inverse_sd
    return columns, sums[:, : p + k, : p + k]


def membership(chromosome_of_column: NDArray[np.int64], dtype: DTypeLike = np.float64) -> Array:
    """1 where a column is of a chromosome, shape (p, chromosomes)."""
    chromosomes = int(chromosome_of_column.max()) + 1
    out: Array = (chromosome_of_column[:, None] == np.arange(chromosomes)).astype(dtype)
    return out


class Predictions(NamedTuple):
    """Where predictions are put together from what each chromosome brings."""

    loco: NDArray[np.float32]  # (chromosomes, samples)
    total: NDArray[np.float64]  # (samples,)

    @classmethod
    def empty(cls, chromosomes: int, n: int) -> Predictions:
        """Room for ``n`` samples."""
        return cls(np.empty((chromosomes, n), np.float32), np.empty(n))

    def put(self, rows: slice | NDArray[np.int64], brought: Array) -> None:
        """Predictions of some rows; ``brought`` has shape (rows, chromosomes)."""
        whole = brought.sum(axis=1, dtype=np.float64)
        self.total[rows] = whole
        self.loco[:, rows] = (whole[:, None] - brought).T


def predict_by_fold(
    features: Features,
    columns: Columns,
    coefficients: NDArray[np.float64],
    folds: NDArray[np.int64],
    chromosome_of_column: NDArray[np.int64],
    size: int,
) -> Predictions:
    """Predictions of each row by the coefficients that belong to its fold, shape (folds, p), in one pass."""
    of_chromosome = membership(chromosome_of_column, np.float32)
    weights = coefficients.astype(np.float32)[:, :, None] * of_chromosome
    out = Predictions.empty(of_chromosome.shape[1], features.n)
    for rows, strip in strips(features, size):
        x = columns.apply(strip, np.float32)
        for fold, here in rows_by_fold(folds[rows]):
            out.put(rows.start + here, x[here] @ weights[fold])
    return out
