"""Meta-regression of effects on axes of genetic variation, as MR-MEGA does.

Mägi R et al. Hum Mol Genet 2017;26:3639–3650, doi:10.1093/hmg/ddx280. The effect of study ``i`` is
``α₀ + Σ αⱼ axis_ij`` with the error of its standard error. The weighted sum of squared effects falls apart into

    association         all of α, on axes + 1 degrees of freedom
      of which ancestry α₁, α₂, …: heterogeneity that follows the axes, on as many as there are axes
    residual            heterogeneity that does not, on studies − axes − 1

each chi-squared where there is nothing of its kind.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.chi_squared import chi2_neg_log10_p
from allscan.kernels.jit import jit
from allscan.kernels.meta_studies import COLLINEAR, NO_STUDY, OK, TOO_FEW_STUDIES, gather, matrices

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INDEPENDENT = 1e-8
"""An axis of which the others leave less than this, of its length, is collinear."""


class MetaRegression(NamedTuple):
    """(tests,), where nothing else is said; NaN where the status is not OK."""

    n_studies: NDArray[np.int32]
    coefficient: NDArray[np.float64]
    """(axes + 1, tests): the effect where all axes are zero, and the change by one unit of each axis."""
    standard_error: NDArray[np.float64]
    """(axes + 1, tests), given the studies' standard errors; residual heterogeneity does not widen them."""
    association: NDArray[np.float64]
    """Chi-squared on axes + 1 degrees of freedom."""
    association_neg_log10_p: NDArray[np.float64]
    ancestry: NDArray[np.float64]
    """Chi-squared on as many degrees of freedom as there are axes."""
    ancestry_neg_log10_p: NDArray[np.float64]
    residual: NDArray[np.float64]
    """Chi-squared on ``n_studies − axes − 1`` degrees of freedom."""
    residual_neg_log10_p: NDArray[np.float64]
    log_bayes_factor: NDArray[np.float64]
    """Natural logarithm, of association against none: ``(association − (axes + 1) ln n_studies) / 2``."""
    status: NDArray[np.uint8]
    """:class:`~allscan.kernels.meta_studies.MetaStatus`."""


def meta_regression(
    beta: NDArray[np.floating], standard_error: NDArray[np.floating], axes: NDArray[np.floating]
) -> MetaRegression:
    """Weighted regression of the studies' effects on their places on axes of genetic variation.

    Parameters
    ----------
    beta, standard_error : (studies, tests)
        NaN where a study has no test.
    axes : (studies, axes)
        Such as principal coordinates of the studies' allele frequencies; at least one.

    Raises
    ------
    ValueError
        The shapes do not fit, or an axis is not finite.

    Notes
    -----
    A test needs two studies more than there are axes, so that something is left for the residual; the MR-MEGA program
    asks for three.
    """
    beta, standard_error = matrices(beta, standard_error)
    n_studies, n = beta.shape
    if axes.ndim != 2 or axes.shape[0] != n_studies or not axes.shape[1]:
        raise ValueError(f"axes {axes.shape} must be (studies, axes), of {n_studies} studies and at least one axis")
    if not np.isfinite(axes).all():
        raise ValueError(f"{int((~np.isfinite(axes)).any(axis=1).sum())} studies have an axis that is not finite")
    parameters = axes.shape[1] + 1
    coefficients, statistics = np.full((2, parameters, n), np.nan), np.full((7, n), np.nan)
    out = MetaRegression._make([np.zeros(n, np.int32), *coefficients, *statistics, np.zeros(n, np.uint8)])
    design = np.column_stack([np.ones(n_studies), axes.astype(np.float64)])
    _meta_regression(beta, standard_error, design, out)
    return out


@jit
def _meta_regression(
    beta: NDArray[np.floating],
    standard_error: NDArray[np.floating],
    design: NDArray[np.float64],
    out: MetaRegression,
) -> None:
    n_studies, n_tests = beta.shape
    p = design.shape[1]
    who, x, v = np.empty(n_studies, np.int64), np.empty(n_studies), np.empty(n_studies)
    columns = np.empty((p, n_studies))
    triangle = np.empty((p, p))
    projection, coefficient, row = np.empty(p), np.empty(p), np.empty(p)
    for t in range(n_tests):
        k, unit = gather(beta, standard_error, t, who, x, v)
        out.n_studies[t] = k
        if k < p + 1:
            out.status[t] = TOO_FEW_STUDIES if k else NO_STUDY
            continue
        for i in range(k):
            root = 1.0 / math.sqrt(v[i])
            x[i] *= root
            for j in range(p):
                columns[j, i] = root * design[who[i], j]
        if not _project(columns, x, k, triangle, projection):
            out.status[t] = COLLINEAR
            continue
        ancestry = residual = 0.0
        for j in range(1, p):
            ancestry += projection[j] * projection[j]
        for i in range(k):
            residual += x[i] * x[i]
        association = projection[0] * projection[0] + ancestry
        _solve(triangle, projection, coefficient)
        for j in range(p):
            # Row j of the inverse of the triangle: its square sum is the coefficient's variance.
            for i in range(p):
                row[i] = 0.0
            variance = 0.0
            for i in range(j, p):
                value = 1.0 if i == j else 0.0
                for m in range(j, i):
                    value -= row[m] * triangle[m, i]
                row[i] = value / triangle[i, i]
                variance += row[i] * row[i]
            out.coefficient[j, t] = coefficient[j] * unit
            out.standard_error[j, t] = math.sqrt(variance) * unit
        out.association[t] = association
        out.association_neg_log10_p[t] = chi2_neg_log10_p(association, float(p))
        out.ancestry[t] = ancestry
        out.ancestry_neg_log10_p[t] = chi2_neg_log10_p(ancestry, p - 1.0)
        out.residual[t] = residual
        out.residual_neg_log10_p[t] = chi2_neg_log10_p(residual, float(k - p))
        out.log_bayes_factor[t] = 0.5 * (association - p * math.log(k))
        out.status[t] = OK


@jit
def _project(
    columns: NDArray[np.float64],
    x: NDArray[np.float64],
    k: int,
    triangle: NDArray[np.float64],
    projection: NDArray[np.float64],
) -> bool:
    """Modified Gram-Schmidt, of effects together with columns; ``x`` becomes the residual. False if collinear."""
    p = len(projection)
    for j in range(p):
        before = after = 0.0
        for i in range(k):
            after += columns[j, i] * columns[j, i]
        before = after
        for m in range(j):
            before += triangle[m, j] * triangle[m, j]
        length = math.sqrt(after)
        if not length > _INDEPENDENT * math.sqrt(before):
            return False
        triangle[j, j] = length
        for i in range(k):
            columns[j, i] /= length
        for m in range(j + 1, p):
            inner = 0.0
            for i in range(k):
                inner += columns[j, i] * columns[m, i]
            triangle[j, m] = inner
            for i in range(k):
                columns[m, i] -= inner * columns[j, i]
        inner = 0.0
        for i in range(k):
            inner += columns[j, i] * x[i]
        projection[j] = inner
        for i in range(k):
            x[i] -= inner * columns[j, i]
    return True


@jit
def _solve(triangle: NDArray[np.float64], projection: NDArray[np.float64], coefficient: NDArray[np.float64]) -> None:
    """Back substitution."""
    for j in range(len(projection) - 1, -1, -1):
        value = projection[j]
        for m in range(j + 1, len(projection)):
            value -= triangle[j, m] * coefficient[m]
        coefficient[j] = value / triangle[j, j]
