"""Many tests at once: which of them still count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def benjamini_hochberg(neg_log10_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """−log10 of the smallest false discovery rate at which each test is a discovery.

    In log space: neither p nor q underflows.

    Parameters
    ----------
    neg_log10_p : (tests,)
        NaN where there was no test, which then does not count.

    References
    ----------
    Benjamini Y, Hochberg Y. Controlling the false discovery rate. J R Stat Soc B 1995;57:289–300.
    https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
    """
    out = np.full(neg_log10_p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(neg_log10_p))
    m = len(tested)
    if not m:
        return out
    order = tested[np.argsort(-neg_log10_p[tested], kind="stable")]
    raw = neg_log10_p[order] - np.log10(m / np.arange(1.0, m + 1.0))
    # Of the tests that are no more significant, the best.
    out[order] = np.maximum(np.maximum.accumulate(raw[::-1])[::-1], 0.0)
    return out


def bonferroni(n_tests: int, level: float) -> float:
    """−log10 p at which one of so many tests is significant while the chance of any false one is below ``level``."""
    return float(np.log10(max(n_tests, 1)) - np.log10(level))
