"""Meta-analysis, study by study and test by test, by exact arithmetic's distributions and least squares."""

from __future__ import annotations

import math

import mpmath
import numpy as np
from numpy.typing import NDArray
from scipy import integrate, optimize, stats

LN_10 = math.log(10.0)


def neg_log10(log_p: float) -> float:
    return -log_p / LN_10


def present(
    beta: NDArray[np.float64], standard_error: NDArray[np.float64], test: int
) -> list[tuple[int, float, float]]:
    """Study, effect and variance of those that have the test."""
    return [
        (s, float(b), float(e) ** 2)
        for s, (b, e) in enumerate(zip(beta[:, test], standard_error[:, test], strict=True))
        if math.isfinite(b) and math.isfinite(e) and e > 0
    ]


def pooled(studies: list[tuple[int, float, float]], between: float = 0.0) -> tuple[float, float]:
    """Inverse-variance mean, and its variance."""
    weights = [1.0 / (v + between) for _, _, v in studies]
    return math.fsum(w * b for w, (_, b, _) in zip(weights, studies, strict=True)) / math.fsum(
        weights
    ), 1.0 / math.fsum(weights)


def two_sided(z: float) -> float:
    return neg_log10(math.log(2.0) + float(stats.norm.logsf(abs(z))))


def chi_squared(x: float, df: int) -> float:
    """−log10 p, with fifty digits: SciPy's tail ends at 1e-300."""
    with mpmath.workdps(50):
        return float(
            -mpmath.log10(mpmath.gammainc(mpmath.mpf(df) / 2, mpmath.mpf(x) / 2, mpmath.inf, regularized=True))
        )


def cochran(studies: list[tuple[int, float, float]]) -> tuple[float, float]:
    """Q, and −log10 of its p."""
    mean, _ = pooled(studies)
    q = math.fsum((b - mean) ** 2 / v for _, b, v in studies)
    return q, chi_squared(q, len(studies) - 1)


def der_simonian_laird(studies: list[tuple[int, float, float]]) -> float:
    """The variance between studies."""
    q, _ = cochran(studies)
    weights = [1.0 / v for _, _, v in studies]
    scale = math.fsum(weights) - math.fsum(w * w for w in weights) / math.fsum(weights)
    return max(0.0, (q - (len(studies) - 1)) / scale)


def log_likelihood(studies: list[tuple[int, float, float]], mean: float, between: float) -> float:
    return math.fsum(
        -0.5 * (math.log(2.0 * math.pi * (v + between)) + (b - mean) ** 2 / (v + between)) for _, b, v in studies
    )


def re2_statistics(studies: list[tuple[int, float, float]]) -> tuple[float, float, float]:
    """Parts of the statistic by mean and heterogeneity, and τ²: by the best of a dense grid, then a bounded search."""

    def loss(between: float) -> float:
        return -log_likelihood(studies, pooled(studies, between)[0], between)

    effects = [b for _, b, _ in studies]
    end = (max(effects) - min(effects)) ** 2
    smallest = min(v for _, _, v in studies)
    grid = np.concatenate([[0.0], smallest * np.geomspace(1e-4, max(end / smallest, 1e-3), 400)])
    losses = [loss(t) for t in grid]
    at = int(np.argmin(losses))
    bounds = (grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12 * bounds[1]})
    between, best = (float(found.x), float(found.fun)) if found.fun < losses[0] else (0.0, losses[0])
    null = log_likelihood(studies, 0.0, 0.0)
    fixed = log_likelihood(studies, pooled(studies)[0], 0.0)
    return 2.0 * (fixed - null), 2.0 * (-best - fixed), between


def re2_p_of_equal_studies(statistic: float, k: int) -> float:
    """Its tail for ``k`` equally precise studies, by adaptive quadrature over Cochran's Q."""

    def part(q: float) -> float:
        return q - k - k * math.log(q / k)

    end = float(optimize.brentq(lambda q: part(q) - statistic, k, k + 100.0 + 10.0 * statistic, xtol=1e-12))
    inner, _ = integrate.quad(
        lambda q: stats.chi2.pdf(q, k - 1) * stats.chi2.sf(statistic - part(q), 1),
        k,
        end,
        epsabs=0.0,
        epsrel=1e-11,
        limit=500,
    )
    none = stats.chi2.cdf(k, k - 1) * stats.chi2.sf(statistic, 1)
    return float(none + inner + stats.chi2.sf(end, k - 1))


def stouffer(z: list[float], size: list[float]) -> float:
    pairs = [(x, n) for x, n in zip(z, size, strict=True) if not math.isnan(x) and n > 0]
    return math.fsum(math.sqrt(n) * x for x, n in pairs) / math.sqrt(math.fsum(n for _, n in pairs))


def regression(
    studies: list[tuple[int, float, float]], axes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float, float]:
    """Coefficients, standard errors, and the chi-squared of association, ancestry and residual; by three fits."""
    who = [s for s, _, _ in studies]
    root = np.array([1.0 / math.sqrt(v) for _, _, v in studies])
    y = root * np.array([b for _, b, _ in studies])
    x = root[:, None] * np.column_stack([np.ones(len(who)), axes[who]])

    def left(columns: NDArray[np.float64]) -> float:
        if not columns.shape[1]:
            return float(y @ y)
        fit = np.linalg.lstsq(columns, y, rcond=None)[0]
        return float(np.sum((y - columns @ fit) ** 2))

    coefficient = np.linalg.lstsq(x, y, rcond=None)[0]
    error = np.sqrt(np.diag(np.linalg.inv(x.T @ x)))
    none, common, full = left(x[:, :0]), left(x[:, :1]), left(x)
    return coefficient, error, none - full, common - full, full
