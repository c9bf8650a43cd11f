"""How well a trait is predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def r_squared(y: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """The part of the variance that a prediction takes away: what a scan gains by it. Below 0 if it does harm.

    ``1 − Σ (y − ŷ)² / Σ (y − ȳ)²``, with ŷ moved to the mean of y. It is at most the squared correlation, which
    forgives a wrong scale.

    Parameters
    ----------
    y, predicted
        Shape (samples,). NaN if ``y`` does not vary.
    """
    centred = y - y.mean()
    variation = float(centred @ centred)
    if variation == 0.0:
        return float("nan")
    left = centred - (predicted - predicted.mean())
    return 1.0 - float(left @ left) / variation


def area_under_curve(case: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Area under the ROC curve: how often a case scores above a control, ties counted as half.

    By ranks (Mann & Whitney, 10.1214/aoms/1177730491).

    Parameters
    ----------
    case
        Shape (samples,).
    score
        Shape (samples,). NaN without cases or without controls.
    """
    cases = int(np.count_nonzero(case))
    controls = len(case) - cases
    if not cases or not controls:
        return float("nan")
    _, value, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2.0
    return float((rank[value[case]].sum() - cases * (cases + 1) / 2.0) / cases / controls)
