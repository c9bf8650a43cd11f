"""How large an effect a test of so many people finds, and how often: the noncentral chi-squared distribution.

The statistic of a test whose noncentrality is Λ is chi-squared with that noncentrality; a test finds the effect where
the statistic exceeds the threshold of p. Λ is the squared expected deviate. Of a quantitative trait of which a variant
explains the share R², it is ``n R² / (1 − R²)``; of a binary one, ``(n_eff / 4) 2 f (1 − f) β²``, the score test's at a
small log odds ratio β per allele, where ``n_eff = 4 / (1 / cases + 1 / controls)`` and f is the frequency among the
people analysed. An allele's effect β, in standard deviations of the trait, explains ``R² = 2 f (1 − f) β²``.

References
----------
Sham PC, Purcell SM. Nat Rev Genet 2014;15:335–346, doi:10.1038/nrg3706. Visscher PM, et al. Am J Hum Genet
2017;101:5–22, doi:10.1016/j.ajhg.2017.06.005 (effective size of case-control studies).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from allscan.kernels.summary import chi_square

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def power(noncentrality: ArrayLike, neg_log10_alpha: float, df: int = 1) -> NDArray[np.float64]:
    """Chance that p reaches a threshold, of the shape of the noncentralities; NaN of NaN.

    Parameters
    ----------
    noncentrality
        Of the statistic, zero or above.
    neg_log10_alpha
        The threshold, as −log10 p.
    df
        Degrees of freedom, 1 or 2.
    """
    ncp = np.asarray(noncentrality, np.float64)
    threshold = float(chi_square(neg_log10_alpha, df))
    if df == 1:
        # Two tails of a normal deviate: the same distribution, without a series.
        z, mean = np.sqrt(threshold), np.sqrt(ncp)
        return np.asarray(special.ndtr(mean - z) + special.ndtr(-mean - z))
    return np.asarray(1.0 - special.chndtr(threshold, df, ncp))


def noncentrality_of_power(wanted: float, neg_log10_alpha: float, df: int = 1) -> float:
    """The noncentrality at which p reaches a threshold with a wanted chance, above that threshold's own p.

    Parameters
    ----------
    wanted
        Power, between the threshold's p and 1.
    neg_log10_alpha, df
        As for :func:`power`.
    """
    return float(special.chndtrinc(float(chi_square(neg_log10_alpha, df)), df, 1.0 - wanted))


def quantitative_noncentrality(n: ArrayLike, variance_explained: float) -> NDArray[np.float64]:
    """Noncentrality where a variant explains this share of a trait's variance (after covariates) in ``n`` people."""
    return np.asarray(n, np.float64) * variance_explained / (1.0 - variance_explained)


def binary_noncentrality(effective_n: ArrayLike, frequency: ArrayLike, log_odds: float) -> NDArray[np.float64]:
    """Noncentrality where an allele of this frequency changes the log odds by so much."""
    return np.asarray(effective_n, np.float64) / 4.0 * _variance(frequency) * log_odds**2


def quantitative_effect(n: ArrayLike, frequency: ArrayLike, noncentrality: float) -> NDArray[np.float64]:
    """Effect per allele, in standard deviations of the trait, that has this noncentrality."""
    explained = noncentrality / (np.asarray(n, np.float64) + noncentrality)
    return np.asarray(np.sqrt(explained / _variance(frequency)))


def binary_effect(effective_n: ArrayLike, frequency: ArrayLike, noncentrality: float) -> NDArray[np.float64]:
    """Log odds ratio per allele that has this noncentrality."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.sqrt(4.0 * noncentrality / (np.asarray(effective_n, np.float64) * _variance(frequency))))


def _variance(frequency: ArrayLike) -> NDArray[np.float64]:
    f = np.asarray(frequency, np.float64)
    return np.asarray(2.0 * f * (1.0 - f))
