"""Whether groups of people differ in how many of their calls are missing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from allscan.kernels.chi_squared import chi2_neg_log10_p
from allscan.kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@jit
def homogeneity_neg_log10_p(
    n_missing: NDArray[np.int64], n_people: NDArray[np.int64], out: NDArray[np.float64]
) -> None:
    """Pearson's chi-squared test that a call is missing as often in every group, −log10 p.

    Parameters
    ----------
    n_missing, n_people : (variants, groups) int64
        People of each group without a call, and all of them; groups without people take no part.
    out : (variants,) float64, overwritten
        0 where no call is missing, or all are; NaN where fewer than two groups have people.
    """
    for v in range(out.shape[0]):
        missing = people = groups = 0
        for k in range(n_people.shape[1]):
            missing += n_missing[v, k]
            people += n_people[v, k]
            groups += n_people[v, k] > 0
        if groups < 2:
            out[v] = math.nan
            continue
        if missing == 0 or missing == people:
            out[v] = 0.0
            continue
        share = missing / people
        statistic = 0.0
        for k in range(n_people.shape[1]):
            if n_people[v, k] > 0:
                difference = n_missing[v, k] - share * n_people[v, k]
                statistic += difference * difference / (n_people[v, k] * share * (1.0 - share))
        out[v] = chi2_neg_log10_p(statistic, float(groups - 1))
