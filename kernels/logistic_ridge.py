"""Ridge-penalised logistic regression of many fits at once, each pass over the features serving all of them.

Newton's method needs the weighted products of all columns at every step of every fit. Here they are taken once, where
the covariates alone predict: level-0 predictions change the weights of people little. From there L-BFGS (Nocedal &
Wright, *Numerical Optimization*, algorithm 7.4), preconditioned by those products, needs gradients only: two thin
products a pass, for all folds and penalties together. It ends at the same optimum, of which there is one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.logistic import expit
from allscan.kernels.stacking_columns import Columns, strips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike, NDArray

    from allscan.kernels.stacking import Features

    Array = NDArray[Any]

_MEMORY = 20  # steps that L-BFGS remembers
_ARMIJO = 1e-4
_SMALLEST_STEP = 2.0**-20


def negative_log_likelihood(y: Array, eta: Array) -> Array:
    """``log(1 + exp(η)) − y η``, without overflow."""
    out: Array = np.maximum(eta, 0.0) + np.log1p(np.exp(-np.abs(eta))) - y * eta
    return out


@dataclass(frozen=True)
class LogisticData:
    """What all fits share.

    Parameters
    ----------
    features, columns
        Level 0, and what standardises it.
    y
        0 and 1, shape (n,).
    offset
        Log odds by the covariates, shape (n,).
    folds
        Fold of each sample, shape (n,).
    dtype
        In which a strip is multiplied.
    strip
        Rows of a strip.
    """

    features: Features
    columns: Columns
    y: NDArray[np.float64]
    offset: NDArray[np.float64]
    folds: NDArray[np.int64]
    dtype: DTypeLike
    strip: int


class Evaluation(NamedTuple):
    """Some fits at some coefficients."""

    loss: NDArray[np.float64]  # (fits,) −log likelihood of the people who are fitted to, and penalty
    gradient: NDArray[np.float64]  # (fits, p) of the loss
    held_out: NDArray[np.float64]  # (fits,) −log likelihood of the other people


class Fits(NamedTuple):
    """Where the fits ended."""

    coefficients: NDArray[np.float64]  # (fits, p)
    held_out: NDArray[np.float64]  # (fits,) −log likelihood of the people who were left out
    converged: NDArray[np.bool_]  # (fits,)
    passes: int


def evaluate(
    data: LogisticData,
    left_out: NDArray[np.int64],
    penalty: NDArray[np.float64],
    coefficients: NDArray[np.float64],
) -> Evaluation:
    """Losses and gradients of several fits in one pass.

    Parameters
    ----------
    data
        The samples.
    left_out
        The fold that a fit does not see, shape (fits,); −1 for none.
    penalty
        Ridge penalty, shape (fits,).
    coefficients
        Shape (fits, p).
    """
    loss, held_out = 0.5 * penalty * np.square(coefficients).sum(axis=1), np.zeros(len(penalty))
    gradient = penalty[:, None] * coefficients
    weights = coefficients.T.astype(data.dtype)
    for rows, strip in strips(data.features, data.strip):
        x = data.columns.apply(strip, data.dtype)
        eta = x @ weights
        eta += data.offset[rows, None].astype(data.dtype)
        y = data.y[rows, None].astype(data.dtype)
        unseen = data.folds[rows, None] == left_out
        error = negative_log_likelihood(y, eta)
        held_out += error.sum(axis=0, dtype=np.float64, where=unseen)
        loss += error.sum(axis=0, dtype=np.float64, where=~unseen)
        residual = expit(eta) - y
        residual[unseen] = 0.0
        gradient += (x.T @ residual).T
    return Evaluation(loss, gradient, held_out)


class _Descent:
    """One fit on its way down. Proposes ``trial``, and is told what it evaluates to."""

    def __init__(
        self,
        p: int,
        precondition: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        weight: float,
        tolerance: float,
        rounding: float,
    ) -> None:
        self._precondition = precondition
        self._weight, self._tolerance, self._rounding = weight, tolerance, rounding
        self._steps: deque[tuple[NDArray[np.float64], NDArray[np.float64]]] = deque(maxlen=_MEMORY)
        self._loss, self._slope, self._step = np.inf, 0.0, 1.0
        self._gradient = self._direction = np.zeros(p)
        self.accepted = self.trial = np.zeros(p)
        self.held_out = np.nan
        self.converged = self.failed = False

    @property
    def open(self) -> bool:
        return not (self.converged or self.failed)

    def told(self, loss: float, gradient: NDArray[np.float64], held_out: float) -> None:
        """Take the trial or halve the step towards it, and propose the next."""
        allowed = self._loss + _ARMIJO * self._step * self._slope + self._rounding * abs(loss)
        if loss > allowed:
            self._step /= 2.0
            self.failed = self._step < _SMALLEST_STEP
            self.trial = self.accepted + self._step * self._direction
            return
        moved, turned = self.trial - self.accepted, gradient - self._gradient
        if moved @ turned > 0.0:
            self._steps.append((moved, turned))
        self.accepted, self._loss, self._gradient, self.held_out = self.trial, loss, gradient, held_out
        # What is left of Newton's step changes predictions by this much, root mean square, as people weigh.
        self.converged = float(gradient @ self._precondition(gradient)) <= self._tolerance**2 * self._weight
        self._direction = -self._inverse_hessian(gradient)
        self._slope, self._step = float(gradient @ self._direction), 1.0
        self.trial = self.accepted + self._direction

    def _inverse_hessian(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Two-loop recursion."""
        out = vector
        parts = []
        for moved, turned in reversed(self._steps):
            part = (moved @ out) / (moved @ turned)
            parts.append(part)
            out = out - part * turned
        out = self._precondition(out)
        for (moved, turned), part in zip(self._steps, reversed(parts), strict=True):
            out = out + (part - (turned @ out) / (moved @ turned)) * moved
        return out


def minimise(
    data: LogisticData,
    left_out: NDArray[np.int64],
    penalty: NDArray[np.float64],
    preconditioners: Sequence[Callable[[NDArray[np.float64]], NDArray[np.float64]]],
    weight: NDArray[np.float64],
    *,
    tolerance: float,
    max_passes: int,
) -> Fits:
    """Fit all, from zero.

    Parameters
    ----------
    data
        The samples.
    left_out
        The fold that a fit does not see, shape (fits,); −1 for none.
    penalty
        Ridge penalty, shape (fits,).
    preconditioners
        For each fit, the product of the inverse of its weighted products and penalty with a vector.
    weight
        Sum of the weights of the people who are fitted to, shape (fits,).
    tolerance
        A fit has converged when the step that is left changes log odds by less than this, root mean square.
    max_passes
        Over the features.
    """
    p = data.features.p
    rounding = max(float(np.finfo(data.dtype).eps), 1e-13)
    descents = [
        _Descent(p, precondition, float(sum_), tolerance, rounding)
        for precondition, sum_ in zip(preconditioners, weight, strict=True)
    ]
    passes = 0
    while passes < max_passes:
        going = np.flatnonzero([descent.open for descent in descents])
        if not len(going):
            break
        trials = np.array([descents[i].trial for i in going])
        now = evaluate(data, left_out[going], penalty[going], trials)
        passes += 1
        for j, i in enumerate(going):
            descents[i].told(float(now.loss[j]), now.gradient[j], float(now.held_out[j]))
    return Fits(
        np.array([descent.accepted for descent in descents]),
        np.array([descent.held_out for descent in descents]),
        np.array([descent.converged for descent in descents]),
        passes,
    )
