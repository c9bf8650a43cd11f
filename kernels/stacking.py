"""Level 1 of the whole-genome model: what a learner is given, what it gives back, and how one is written.

Level 0 leaves, for each trait, a matrix of features: each column is what a block of markers of one chromosome predicts
of the trait, in people who were not used to fit it. A *learner* weighs the columns, and predicts the trait of each
person by a fit that has not seen that person, once with all columns and once without those of each chromosome.

A learner of your own is an object with the attributes of :class:`Learner`; see ``docs/developers/adding-a-learner.md``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MINIMUM_SAMPLES = 10
MINIMUM_CASES = 10  # of cases and of controls, as in REGENIE
# Standard deviation of a trait below this part of its largest value: rounding, not variation.
_CONSTANT = 1e-10


class StackStatus(IntEnum):
    """What became of a trait. Without ``OK`` there are predictions only where that is said."""

    OK = 0
    NOT_CONVERGED = 1  # no value of the grid did; the predictions are those that were reached
    SEPARATED = 2  # cases and controls are told apart without error; predictions, if the covariates alone do not do so
    TOO_FEW_CASES = 3  # or controls
    TOO_FEW_SAMPLES = 4  # or all of them in one fold
    TRAIT_CONSTANT = 5  # nothing is left to predict
    NO_VARIATION = 6  # no column of the features varies


class Stack(NamedTuple):
    """Out-of-sample predictions of one trait. Zero where there are none."""

    loco: NDArray[np.float32]  # (chromosomes, samples): without the columns of a chromosome; units of y, or log odds
    total: NDArray[np.float32]  # (samples,): with all columns
    chosen: int  # index into the grid, -1 where nothing was fitted
    scores: NDArray[np.float64]  # (grid,) loss out of sample: mean squared error, or −log likelihood a person
    accuracy: float  # of ``total``, out of sample: R² or area under the ROC curve
    status: StackStatus
    message: str  # for people; empty where all is well


class Features(Protocol):
    """Level-0 predictions of one trait, in its own samples: read in strips, since they need not fit into memory."""

    @property
    def n(self) -> int:
        """Samples."""

    @property
    def p(self) -> int:
        """Columns."""

    def strip(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop``, shape (rows, p), in the order of the trait."""


@runtime_checkable
class Learner(Protocol):
    """A way to weigh the columns of level 0."""

    @property
    def name(self) -> str:
        """What the job file calls it."""

    @property
    def trait_kind(self) -> str:
        """``quantitative`` or ``binary``."""

    def fit(
        self,
        features: Features,
        y: NDArray[np.float64],
        chromosome_of_column: NDArray[np.int64],
        heritabilities: Sequence[float],
        folds: NDArray[np.int64],
        offset: NDArray[np.float64],
    ) -> Stack:
        """Choose among the grid by out-of-sample loss, and predict.

        Parameters
        ----------
        features
            Level 0, ``n`` × ``p``, finite. Columns are brought to mean 0 and variance 1 here.
        y
            The trait, shape (n,): residuals of the covariates, or 0 and 1.
        chromosome_of_column
            Shape (p,), from 0 on.
        heritabilities
            The grid: the share of the trait's variance that is the columns', between 0 and 1; see :func:`penalties`.
        folds
            Fold of each sample, shape (n,). Which labels there are does not matter; who leaves one out ignores them.
        offset
            What the covariates predict, shape (n,): units of y, or log odds.

        Raises
        ------
        ValueError
            If shapes disagree or a value is not finite. Whatever data can cause is a status.
        """

    def memory_bytes(self, n: int, p: int, chromosomes: int, grid: int, folds: int) -> int:
        """The most that :meth:`fit` holds at a time, without what ``features`` itself holds."""


def penalties(heritabilities: Sequence[float], p: int, *, binary: bool = False) -> NDArray[np.float64]:
    """Ridge penalties of a grid of heritabilities.

    With ``p`` standardised columns, whose weights have variance 1/λ in units of the residual's, the columns have the
    share ``h² = (p / λ) / (p / λ + 1)`` of the variance: ``λ = p (1 − h²) / h²`` (Mbatchou 2021,
    10.1038/s41588-021-00870-7). The residual of a logistic model has the variance π²/3.

    Parameters
    ----------
    heritabilities
        Between 0 and 1, both excluded.
    p
        Columns that vary.
    binary
        On the scale of log odds.
    """
    h2 = np.asarray(heritabilities, np.float64)
    return p * (1.0 - h2) / h2 * (3.0 / np.pi**2 if binary else 1.0)


def compact_folds(folds: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Folds numbered from 0 on without gaps, and how many there are."""
    labels, compact = np.unique(folds, return_inverse=True)
    return compact.astype(np.int64), len(labels)


def check_inputs(
    features: Features,
    y: NDArray[np.float64],
    chromosome_of_column: NDArray[np.int64],
    heritabilities: Sequence[float],
    folds: NDArray[np.int64],
    offset: NDArray[np.float64],
) -> None:
    """Refuse what only a mistake of the caller can cause.

    Raises
    ------
    ValueError
        If shapes disagree or a value is not finite.
    """
    for name, array, size in (
        ("y", y, features.n),
        ("folds", folds, features.n),
        ("offset", offset, features.n),
        ("chromosome_of_column", chromosome_of_column, features.p),
    ):
        if array.shape != (size,):
            raise ValueError(f"{name} has shape {array.shape}; the features are {features.n} × {features.p}")
    if features.p == 0 or chromosome_of_column.min() < 0:
        raise ValueError("there must be columns, of chromosomes that are numbered from 0 on")
    if not len(heritabilities) or not all(0.0 < h2 < 1.0 for h2 in heritabilities):
        raise ValueError(f"heritabilities must lie between 0 and 1, not {tuple(heritabilities)}")
    for name, values in (("y", y), ("offset", offset)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has {np.count_nonzero(~np.isfinite(values))} values that are not finite")


def standardised_trait(y: NDArray[np.float64], offset: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """``y − offset`` at mean 0 and variance 1, and its standard deviation; 0 if it does not vary."""
    residual = y - offset
    residual -= residual.mean()
    sd = float(residual.std())
    if sd <= _CONSTANT * max(float(np.abs(y).max()), float(np.abs(offset).max())):
        return np.zeros_like(residual), 0.0
    return residual / sd, sd


def best(scores: NDArray[np.float64]) -> int:
    """The first of the smallest scores; NaN, a fit that failed, is never the smallest unless all are."""
    return int(np.argmin(np.where(np.isnan(scores), np.inf, scores)))


def no_stack(status: StackStatus, message: str, n: int, chromosomes: int, grid: int) -> Stack:
    """A trait that nothing is predicted of."""
    return Stack(
        np.zeros((chromosomes, n), np.float32),
        np.zeros(n, np.float32),
        -1,
        np.full(grid, np.nan),
        float("nan"),
        status,
        message,
    )
