"""Features in memory, and naive twins of the learners: explicit fits without each fold, or each person, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

GRID = (0.01, 0.25, 0.5, 0.75, 0.99)

Array = NDArray[np.float64]


class InMemory:
    """Features that count how often they are read, and cannot be written to."""

    def __init__(self, x: Array) -> None:
        self.x = np.asarray(x, np.float32)
        self.x.flags.writeable = False
        self.n, self.p = self.x.shape
        self.rows_read = 0

    def strip(self, start: int, stop: int) -> NDArray[np.float32]:
        self.rows_read += stop - start
        return self.x[start:stop]


@dataclass
class Case:
    """A trait and its level 0."""

    x: Array
    y: Array
    chromosome: NDArray[np.int64]
    folds: NDArray[np.int64]
    offset: Array

    def fit(self, learner, grid=GRID):
        return learner.fit(InMemory(self.x), self.y, self.chromosome, grid, self.folds, self.offset)

    def standardised(self) -> Array:
        x = self.x.astype(np.float32).astype(float)
        sd = x.std(axis=0, ddof=1)
        return (x - x.mean(axis=0)) / np.where(sd > 1e-6 * np.abs(x.mean(axis=0)), sd, np.inf)

    def penalty(self, h2: float, *, binary: bool = False) -> float:
        p = np.count_nonzero(self.standardised().std(axis=0))
        return p * (1 - h2) / h2 * (3 / np.pi**2 if binary else 1)


def level_0_like(rng: np.random.Generator, n: int, blocks: int, penalties: int = 5) -> Array:
    """Columns as level 0 makes them: near copies of each other within a block, of differing scale."""
    base = rng.normal(size=(n, blocks)).repeat(penalties, axis=1)
    return (base + 0.15 * rng.normal(size=base.shape)) * np.tile(0.4 ** np.arange(penalties), blocks)


def quantitative(seed: int = 0, n: int = 120, blocks: int = 8) -> Case:
    """Columns of all blocks predict a trait on a scale of its own; one column is constant."""
    rng = np.random.default_rng(seed)
    x = level_0_like(rng, n, blocks)
    y = 30.0 * (x[:, ::5] @ rng.normal(0, 0.3, blocks) + rng.normal(size=n))
    x[:, 7] = 0.3
    return Case(x, y, np.arange(5 * blocks) // 10, rng.integers(0, 5, n), np.zeros(n))


def binary(seed: int = 0, n: int = 200, blocks: int = 8) -> Case:
    """The same for a binary trait, with a strong covariate in the offset."""
    rng = np.random.default_rng(seed)
    case = quantitative(seed, n, blocks)
    case.offset = rng.normal(size=n) - 0.7
    case.y = (rng.random(n) < special.expit(case.offset + case.y / 30.0)).astype(float)
    return case


def ridge(x: Array, y: Array, penalty: float) -> Array:
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def logistic_ridge(x: Array, y: Array, offset: Array, penalty: float) -> Array:
    def loss(b: Array) -> tuple[float, Array]:
        eta = offset + x @ b
        gradient = x.T @ (special.expit(eta) - y) + penalty * b
        return float(np.logaddexp(0, eta).sum() - y @ eta + penalty * b @ b / 2), gradient

    def hessian(b: Array) -> Array:
        mu = special.expit(offset + x @ b)
        return (x.T * (mu * (1 - mu))) @ x + penalty * np.eye(len(b))

    start = np.zeros(x.shape[1])
    return optimize.minimize(loss, start, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-9}).x


def by_chromosome(x: Array, weights: Array, chromosome: NDArray[np.int64]) -> tuple[Array, Array]:
    """Predictions of rows by their own weights, shape (rows, p): without each chromosome, and with all."""
    loco = [(x * weights)[:, chromosome != c].sum(axis=1) for c in range(chromosome.max() + 1)]
    return np.array(loco), (x * weights).sum(axis=1)


def naive_linear(case: Case, groups: NDArray[np.int64], h2: float) -> tuple[float, Array, Array]:
    """Mean squared error, LOCO predictions and whole predictions, each group predicted by a fit to the others."""
    x, y = case.standardised(), case.y - case.offset
    y = y - y.mean()
    weights = np.empty_like(x)
    for group in np.unique(groups):
        weights[groups == group] = ridge(x[groups != group], y[groups != group], case.penalty(h2))
    loco, total = by_chromosome(x, weights, case.chromosome)
    return float(np.mean((y - total) ** 2)), loco, total


def naive_logistic(case: Case, h2: float) -> tuple[float, Array, Array]:
    """The same of a binary trait, with −log likelihood a person."""
    x, penalty = case.standardised(), case.penalty(h2, binary=True)
    weights = np.empty_like(x)
    for fold in np.unique(case.folds):
        others = case.folds != fold
        weights[~others] = logistic_ridge(x[others], case.y[others], case.offset[others], penalty)
    loco, total = by_chromosome(x, weights, case.chromosome)
    return log_loss(case, total), loco, total


def naive_logistic_step(case: Case, h2: float) -> tuple[float, Array, Array]:
    """Each person by one step of Newton's without them, from the fit to all."""
    x, penalty = case.standardised(), case.penalty(h2, binary=True)
    fitted = logistic_ridge(x, case.y, case.offset, penalty)
    mu = special.expit(case.offset + x @ fitted)
    weights = np.empty_like(x)
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        gradient = x[others].T @ (mu - case.y)[others] + penalty * fitted
        hessian = (x[others].T * (mu * (1 - mu))[others]) @ x[others] + penalty * np.eye(x.shape[1])
        weights[i] = fitted - np.linalg.solve(hessian, gradient)
    loco, total = by_chromosome(x, weights, case.chromosome)
    return log_loss(case, total), loco, total


def log_loss(case: Case, total: Array) -> float:
    eta = case.offset + total
    return float(np.mean(np.logaddexp(0, eta) - case.y * eta))
