"""Logistic regression the slow way: formulas as they are in papers, one fit at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]


def log_likelihood(x: Floats, y: Floats, offset: Floats, b: Floats, *, penalised: bool) -> float:
    """Of coefficients ``b``; penalised: plus half the log determinant of the information."""
    eta = x @ b + offset
    value = float((y * eta - np.logaddexp(0.0, eta)).sum())
    if not penalised:
        return value
    return value + 0.5 * float(np.linalg.slogdet(information(x, offset, b))[1])


def information(x: Floats, offset: Floats, b: Floats) -> Floats:
    """Fisher information of the coefficients."""
    p = 1.0 / (1.0 + np.exp(-(x @ b + offset)))
    return np.asarray((x * (p * (1.0 - p))[:, None]).T @ x)


def modified_score(x: Floats, y: Floats, offset: Floats, b: Floats) -> Floats:
    """Firth (1993): ``Xᵀ(y − p + h (1/2 − p))``, ``h`` the diagonal of the hat matrix."""
    p = 1.0 / (1.0 + np.exp(-(x @ b + offset)))
    w = p * (1.0 - p)
    root = np.sqrt(w)[:, None] * x
    h = np.einsum("ij,jk,ik->i", root, np.linalg.inv(root.T @ root), root)
    return np.asarray(x.T @ (y - p + h * (0.5 - p)))


def maximum_likelihood(x: Floats, y: Floats, offset: Floats) -> Floats:
    """Newton's method."""
    b = np.zeros(x.shape[1])
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-(x @ b + offset)))
        step = np.linalg.solve(information(x, offset, b), x.T @ (y - p))
        b = b + step
        if np.abs(step).max() < 1e-13 * (1.0 + np.abs(b).max()):
            return b
    message = "Newton's method did not converge"
    raise ArithmeticError(message)


def maximum_penalised(x: Floats, y: Floats, offset: Floats, free: int) -> Floats:
    """Root of the modified score of the first ``free`` coefficients, the others zero."""

    def score(b: Floats) -> Floats:
        return modified_score(x, y, offset, np.append(b, np.zeros(x.shape[1] - free)))[:free]

    def loss(b: Floats) -> float:
        whole = np.append(b, np.zeros(x.shape[1] - free))
        return -log_likelihood(x, y, offset, whole, penalised=True)

    start = optimize.minimize(loss, np.zeros(free), jac=lambda b: -score(b), method="BFGS", options={"gtol": 1e-5})
    found = optimize.root(score, start.x, method="hybr", options={"xtol": 1e-14})
    assert np.abs(score(found.x)).max() < 1e-8
    return np.append(found.x, np.zeros(x.shape[1] - free))


def separated(x: Floats, y: Floats) -> bool:
    """Whether some direction takes nobody towards the wrong outcome, by linear programming (Konis 2007)."""
    signed = x * (2.0 * y - 1.0)[:, None]
    signed = signed[np.abs(signed).max(axis=1) > 0]
    box = [(-1.0, 1.0)] * x.shape[1]
    found = optimize.linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=box, method="highs")
    return bool(-found.fun > 1e-7)


@dataclass(frozen=True)
class Fitted:
    """Results of one variant and trait; of two predictors both effects, and one statistic."""

    beta: Floats
    standard_error: Floats
    statistic: float  # chi squared, on as many degrees of freedom as there are predictors


def regression(covariates: Floats, predictors: Floats, y: Floats, offset: Floats, method: str) -> Fitted:
    """``wald``, ``lrt`` or ``firth``."""
    x = np.column_stack([covariates, predictors])
    c, penalised = covariates.shape[1], method == "firth"
    b = maximum_penalised(x, y, offset, x.shape[1]) if penalised else maximum_likelihood(x, y, offset)
    covariance = np.linalg.inv(information(x, offset, b))[c:, c:]
    beta = b[c:]
    if method == "wald":
        statistic = float(beta @ np.linalg.solve(covariance, beta))
    else:
        null = (
            maximum_penalised(x, y, offset, c)
            if penalised
            else np.append(maximum_likelihood(covariates, y, offset), np.zeros(len(beta)))
        )
        best, least = (log_likelihood(x, y, offset, at, penalised=penalised) for at in (b, null))
        statistic = 2.0 * (best - least)
    return Fitted(beta, np.sqrt(np.diag(covariance)), statistic)
