"""One logistic regression, by maximum likelihood or with Firth's penalty: the compiled fit.

Predictors are rows, orthonormal over the samples of the fit, so that every coefficient has the same scale.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.jit import jit, jit_fast
from allscan.kernels.linear_common import factor_in_place, solve_in_place, solve_transposed_in_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILE = 512
"""Samples whose sums are taken together: a strip of every predictor fits the first-level cache, and the product of so
many factors between one and two is a float64."""
MOST_EVALUATIONS = 200
CONVERGED = 1e-20
"""Squared distance from the maximum, in standard errors."""
SINGULAR = 1e-14
"""Information of a direction (of a unit predictor) below which it has none."""
PAIRS = 4
"""Last steps of which Firth's next one learns."""
SMALLEST_STEP = 1e-8
"""Of the whole step."""
ROUNDING = 1e-11
"""Of a log likelihood, relative: what a step may lose without being halved."""
FIRST_STEPS = 5
"""After so many steps a fit with a maximum is close to it."""
SEPARATES = 1e-6
"""Largest log odds in the wrong direction, of those in the right one, that a direction may have to separate."""


class Work(NamedTuple):
    """Memory of a fit, made once."""

    weight: NDArray[np.float64]  # (samples,) p (1 − p)
    fitted: NDArray[np.float64]  # (samples,) p
    residual: NDArray[np.float64]  # (samples,) y − p
    tile: NDArray[np.float64]  # (predictors + 1, TILE)
    score: NDArray[np.float64]  # (predictors,)
    step: NDArray[np.float64]  # (predictors,)
    trial: NDArray[np.float64]  # (predictors,)
    factor: NDArray[np.float64]  # (predictors, predictors) Cholesky factor of the information
    inner: NDArray[np.float64]  # (predictors, predictors) that of the matrix of Firth's steps
    moved: NDArray[np.float64]  # (PAIRS, predictors) last steps
    fell: NDArray[np.float64]  # (PAIRS, predictors) by how much the score fell in each
    along: NDArray[np.float64]  # (PAIRS,) product of these two
    learnt: NDArray[np.float64]  # (PAIRS,) what each says of the next step


@jit
def make_work(n: int, k: int) -> Work:
    """Memory for fits of up to ``n`` samples and ``k`` predictors."""
    return Work(
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty((k + 1, TILE)),
        np.empty(k),
        np.empty(k),
        np.empty(k),
        np.empty((k, k)),
        np.empty((k, k)),
        np.empty((PAIRS, k)),
        np.empty((PAIRS, k)),
        np.empty(PAIRS),
        np.empty(PAIRS),
    )


@jit_fast
def _evaluate(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    offset: NDArray[np.float64],
    n: int,
    k: int,
    b: NDArray[np.float64],
    work: Work,
) -> float:
    """Log likelihood at ``b``, with the score and, in ``work.factor``, the information of the ``k`` predictors.

    A loop sums or stores, never both: one that does both is compiled twice, for arrays that may overlap and for others,
    with sums in another order, and where the arrays happen to lie would decide the last digit.
    """
    gram, score, tile = work.factor, work.score, work.tile
    for j in range(k):
        score[j] = 0.0
        for m in range(k):
            gram[j, m] = 0.0
    value = 0.0
    eta = tile[0]
    for begin in range(0, n, TILE):
        size = min(TILE, n - begin)
        for i in range(size):
            eta[i] = offset[begin + i]
        for j in range(k):
            for i in range(size):
                eta[i] += b[j] * x[j, begin + i]
        linear = 0.0
        for i in range(size):
            linear += min(eta[i], 0.0) if y[begin + i] > 0.5 else -max(eta[i], 0.0)
        for i in range(size):
            eta[i] = math.copysign(math.exp(-abs(eta[i])), eta[i])
        for i in range(size):
            e = abs(eta[i])
            larger = 1.0 / (1.0 + e)
            smaller = e * larger
            positive = math.copysign(1.0, eta[i]) > 0.0
            work.fitted[begin + i] = larger if positive else smaller
            other = smaller if positive else larger
            work.residual[begin + i] = other if y[begin + i] > 0.5 else -work.fitted[begin + i]
            work.weight[begin + i] = larger * smaller
        product = 1.0
        for i in range(size):
            product *= 1.0 + abs(eta[i])
        value += linear - math.log(product)
        for j in range(k):
            total = 0.0
            for i in range(size):
                total += work.residual[begin + i] * x[j, begin + i]
            score[j] += total
            weighted = eta  # no longer needed
            for i in range(size):
                weighted[i] = work.weight[begin + i] * x[j, begin + i]
            for m in range(j + 1):
                total = 0.0
                for i in range(size):
                    total += weighted[i] * x[m, begin + i]
                gram[j, m] += total
    return value


@jit_fast
def _penalise(x: NDArray[np.float64], n: int, k: int, free: int, work: Work) -> None:
    """Turn the score into Firth's, and make ``work.inner`` of his steps, of the first ``free`` predictors.

    With ``h`` the diagonal of the hat matrix the score is ``Σ x (y − p + h (1/2 − p))``. Its derivative, were ``h``
    constant, is ``−Σ w (1 + h) x xᵀ``: that makes steps nearly as good as Newton's, where the information alone would
    swing about the maximum for a variant of few carriers.
    """
    factor, inner, score, tile = work.factor, work.inner, work.score, work.tile
    for j in range(free):
        for m in range(free):
            inner[j, m] = 0.0
    h = tile[k]
    for begin in range(0, n, TILE):
        size = min(TILE, n - begin)
        for i in range(size):
            h[i] = 0.0
        for j in range(k):
            for i in range(size):
                tile[j, i] = x[j, begin + i]
            for m in range(j):
                for i in range(size):
                    tile[j, i] -= factor[j, m] * tile[m, i]
            scale = 1.0 / factor[j, j]
            for i in range(size):
                tile[j, i] *= scale
                h[i] += tile[j, i] * tile[j, i]
        for i in range(size):
            h[i] *= work.weight[begin + i]
        weighted = tile[0]
        for j in range(free):
            total = 0.0
            for i in range(size):
                total += h[i] * (0.5 - work.fitted[begin + i]) * x[j, begin + i]
            score[j] += total
        # One operation a loop, as of those that are compiled twice: of several, each version may round another.
        for i in range(size):
            h[i] += 1.0
        for i in range(size):
            h[i] *= work.weight[begin + i]
        for j in range(free):
            for i in range(size):
                weighted[i] = h[i] * x[j, begin + i]
            for m in range(j + 1):
                total = 0.0
                for i in range(size):
                    total += weighted[i] * x[m, begin + i]
                inner[j, m] += total


@jit
def _value(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    offset: NDArray[np.float64],
    n: int,
    k: int,
    free: int,
    penalised: bool,
    b: NDArray[np.float64],
    work: Work,
) -> float:
    """The (penalised) log likelihood at ``b``, with all that the next step needs; NaN without information."""
    value = _evaluate(x, y, offset, n, k, b, work)
    if factor_in_place(work.factor, k, SINGULAR) < k:
        return math.nan
    if not penalised:
        return value
    for j in range(k):
        value += math.log(work.factor[j, j])
    _penalise(x, n, k, free, work)
    if factor_in_place(work.inner, free, SINGULAR) < free:
        return math.nan
    return value


@jit
def _separates(x: NDArray[np.float64], y: NDArray[np.float64], n: int, k: int, direction: NDArray[np.float64]) -> bool:
    """Whether the likelihood grows along a direction without end (Albert & Anderson 1984, 10.1093/biomet/71.1.1).

    That is so if it takes nobody's log odds towards the wrong outcome.
    """
    right, wrong = 0.0, 0.0
    for i in range(n):
        change = 0.0
        for j in range(k):
            change += direction[j] * x[j, i]
        if y[i] < 0.5:
            change = -change
        right = max(right, change)
        wrong = max(wrong, -change)
    return right > 0.1 and wrong <= SEPARATES * right


@jit_fast
def dot(a: NDArray[np.float64], b: NDArray[np.float64], n: int) -> float:
    """Sum of products of the first ``n`` entries."""
    total = 0.0
    for i in range(n):
        total += a[i] * b[i]
    return total


@jit_fast
def subtract(a: NDArray[np.float64], factor: float, b: NDArray[np.float64], n: int) -> None:
    """``a -= factor · b`` in the first ``n`` entries."""
    for i in range(n):
        a[i] -= factor * b[i]


@jit
def _direction(factor: NDArray[np.float64], free: int, known: int, work: Work) -> None:
    """Newton's step, or (with pairs) that of limited-memory BFGS from it: Nocedal 1980, 10.2307/2006193.

    The matrix of Firth's steps can be ten times too large where a covariate separates; the last steps tell.
    """
    step = work.step
    weight = work.learnt
    for j in range(free):
        step[j] = work.score[j]
    pairs = min(known, PAIRS)
    for back in range(1, pairs + 1):
        m = (known - back) % PAIRS
        weight[m] = dot(work.moved[m], step, free) / work.along[m]
        subtract(step, weight[m], work.fell[m], free)
    solve_in_place(factor, step, free)
    solve_transposed_in_place(factor, step, free)
    for back in range(pairs, 0, -1):
        m = (known - back) % PAIRS
        subtract(step, dot(work.fell[m], step, free) / work.along[m] - weight[m], work.moved[m], free)


@jit
def fit(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    offset: NDArray[np.float64],
    n: int,
    k: int,
    free: int,
    penalised: bool,
    b: NDArray[np.float64],
    work: Work,
) -> tuple[int, float]:
    """Maximise the (penalised) log likelihood over the first ``free`` of ``k`` coefficients, from ``b``.

    Parameters
    ----------
    x : (k or more, n or more)
        Predictors, orthonormal.
    y, offset : (n or more,)
        0 or 1; log odds that are known.
    n, k, free
        Samples, predictors, and how many of them are estimated; the others keep their coefficients. The penalty is
        that of all ``k``.
    b : (k or more,)
        Start; overwritten with the maximum.
    work
        Its ``factor`` is that of the information at the maximum.

    Returns
    -------
    status, value
        OK, SEPARATED or NOT_CONVERGED; the (penalised) log likelihood.
    """
    for j in range(free):
        work.step[j] = 0.0
    best, least, size = -math.inf, -math.inf, 1.0
    steps = known = 0
    for _ in range(MOST_EVALUATIONS):
        for j in range(k):
            work.trial[j] = b[j]
        for j in range(free):
            work.trial[j] += size * work.step[j]
        value = _value(x, y, offset, n, k, free, penalised, work.trial, work)
        if not value >= least:  # also where there is no information
            size *= 0.5
            if size < SMALLEST_STEP:
                break
            continue
        best = value
        pair = known % PAIRS
        for j in range(free):
            b[j] = work.trial[j]
            work.moved[pair, j] = size * work.step[j]
            work.fell[pair, j] -= work.score[j]
        work.along[pair] = dot(work.moved[pair], work.fell[pair], free)
        if penalised and steps > 0 and work.along[pair] > 0.0:
            known += 1
        _direction(work.inner if penalised else work.factor, free, known, work)
        if dot(work.score, work.step, free) <= CONVERGED:
            return codes.OK, best
        if not penalised and steps >= FIRST_STEPS and _separates(x, y, n, free, work.step):
            return codes.SEPARATED, best
        steps += 1
        size = 1.0
        least = best - ROUNDING * (1.0 + abs(best))
        for j in range(free):
            work.fell[known % PAIRS, j] = work.score[j]
    return codes.NOT_CONVERGED, best
