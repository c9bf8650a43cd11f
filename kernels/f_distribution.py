"""The tail of the F distribution with a whole number of degrees of freedom above, in log space."""

from __future__ import annotations

import math

from allscan.kernels.jit import jit
from allscan.kernels.student import LOG10_E, f2_neg_log10_p, log_gamma_ratio, t_neg_log10_p


@jit
def f_neg_log10_p(f: float, above: int, below: float) -> float:
    """−log10 of the upper tail of F on ``above`` and ``below`` degrees of freedom; nothing underflows.

    ``p = I_x(below/2, above/2)``, ``x = below / (below + above f)`` (DLMF 8.17). One and two degrees of freedom have
    forms of their own, and two more add a positive term (DLMF 8.17.20): ``I_x(a, b + 1) = I_x(a, b) +
    x^a (1 − x)^b / (b B(a, b))``.

    Parameters
    ----------
    f
        Statistic, of which a negative value (rounding) counts as zero.
    above, below
        Degrees of freedom: 1, 2, 3, …, and any number above zero.

    Returns
    -------
    float
        NaN for a NaN statistic or no degrees of freedom, infinity for an infinite statistic.
    """
    if math.isnan(f) or not below > 0.0 or above < 1:
        return math.nan
    if math.isinf(f):
        return math.inf
    f = max(f, 0.0)
    odd = above % 2 == 1
    # What one or two degrees of freedom would make of the same x.
    tail = t_neg_log10_p(math.sqrt(above * f), below) if odd else f2_neg_log10_p(0.5 * above * f, below)
    if above <= 2:
        return tail
    a, y = 0.5 * below, above * f / (below + above * f)
    if y == 0.0:
        return 0.0
    b = 0.5 if odd else 1.0
    log_x = -math.log1p(above * f / below)
    # The first term: x^a y^b Γ(a + b) / (Γ(a) Γ(b + 1)).
    term = a * log_x + b * math.log(y)
    term += log_gamma_ratio(a) - math.log(0.5 * math.sqrt(math.pi)) if odd else math.log(a)
    highest = max(term, -tail / LOG10_E)
    total = math.exp(-tail / LOG10_E - highest) + math.exp(term - highest)
    while b + 1.0 < 0.5 * above:
        term += math.log(y * (a + b) / (b + 1.0))
        b += 1.0
        if term > highest:
            total *= math.exp(highest - term)
            highest = term
        total += math.exp(term - highest)
    return max(0.0, -(highest + math.log(total)) * LOG10_E)
