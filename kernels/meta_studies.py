"""What the kernels of meta-analysis share: statuses, and the studies that have a test.

Effects are counted in units of the smallest standard error of a test: nothing overflows, and results follow any change
of units.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MetaStatus(enum.IntEnum):
    """What became of a test; where it is not OK, what could not be estimated is NaN."""

    OK = 0
    NO_STUDY = 1
    """No study has the test."""
    ONE_STUDY = 2
    """The result is that of the one study; there is no heterogeneity to speak of."""
    TOO_FEW_STUDIES = 3
    """Fewer studies than a meta-regression has coefficients, and one more."""
    COLLINEAR = 4
    """The axes of the studies that have the test are constant or linearly dependent."""


OK = int(MetaStatus.OK)
NO_STUDY = int(MetaStatus.NO_STUDY)
ONE_STUDY = int(MetaStatus.ONE_STUDY)
TOO_FEW_STUDIES = int(MetaStatus.TOO_FEW_STUDIES)
COLLINEAR = int(MetaStatus.COLLINEAR)


def matrices(
    beta: NDArray[np.floating], standard_error: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The two as kernels take them, contiguous.

    Raises
    ------
    ValueError
        They are not matrices of one shape.
    """
    if beta.ndim != 2 or beta.shape != standard_error.shape:
        raise ValueError(
            f"effects {beta.shape} and standard errors {standard_error.shape} must both be (studies, tests)"
        )
    return np.ascontiguousarray(beta), np.ascontiguousarray(standard_error)


@jit
def gather(
    beta: NDArray[np.floating],
    standard_error: NDArray[np.floating],
    test: int,
    who: NDArray[np.int64],
    effect: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> tuple[int, float]:
    """Studies that have a test: a finite effect, and a standard error that is finite and above zero.

    Parameters
    ----------
    beta, standard_error : (studies, tests)
    test
        Index of the test.
    who, effect, variance : (studies,)
        Written: indices of the studies, their effects, and the squares of their standard errors, both in units of the
        smallest standard error.

    Returns
    -------
    n_studies, unit
        How many, and the smallest standard error.
    """
    k = 0
    unit = math.inf
    for s in range(beta.shape[0]):
        b = float(beta[s, test])
        e = float(standard_error[s, test])
        if math.isfinite(b) and math.isfinite(e) and e > 0.0:
            who[k] = s
            effect[k] = b
            variance[k] = e
            unit = min(unit, e)
            k += 1
    for i in range(k):
        effect[i] /= unit
        ratio = variance[i] / unit
        variance[i] = ratio * ratio
    return k, unit


@jit
def weighted_mean(
    effect: NDArray[np.float64], variance: NDArray[np.float64], n_studies: int, between: float
) -> tuple[float, float]:
    """Mean with weights ``1 / (variance + between)``, and the sum of the weights."""
    total = mean = 0.0
    for i in range(n_studies):
        w = 1.0 / (variance[i] + between)
        total += w
        mean += w * effect[i]
    return mean / total, total


@jit
def weighted_squares(
    effect: NDArray[np.float64], variance: NDArray[np.float64], n_studies: int, between: float, mean: float
) -> float:
    """Sum of squared distances to a mean, with weights ``1 / (variance + between)``."""
    total = 0.0
    for i in range(n_studies):
        r = effect[i] - mean
        total += r * r / (variance[i] + between)
    return total
