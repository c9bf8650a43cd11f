"""What relatives make of the variance of a score, given who is related: one factor for each trait.

Let ``r`` be residuals that are orthogonal to the covariates ``Q`` (orthonormal). Regression takes the ``n`` people as
independent: it takes ``gᵀMg / (n − c)``, ``M = I − QQᵀ``, as the variance of a genotype, and that times ``rᵀr`` as the
variance of ``gᵀr``. But where a variant has no effect, its genotypes are a draw beside the residuals: beyond what is
linear in the covariates they have the covariance ``ψ Φ``, with the relationship matrix ``Φ``. Given ``r``::

    Var(gᵀr) = ψ rᵀΦr        E gᵀMg = ψ tr(MΦ)        factor = (rᵀΦr / rᵀr) / (tr(MΦ) / (n − c))

This is the variance of retrospective tests (MASTOR, Jakobsdottir and McPeek, Am J Hum Genet 92:652; SPAGRM,
10.1038/s41467-025-56669-1). It asks nothing of the trait, and holds for residuals of any model: predictions may have
been taken off that make relatives more alike than strangers (a factor above 1) or less (below 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.association import Model, Status, TraitNote

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.kernels.relatedness import Relatedness

PAIRS_AT_ONCE = 1 << 14
"""Bounds the memory of their products."""


def quadratic_forms(relatedness: Relatedness, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """``xᵀΦx`` of each column of (samples, columns)."""
    out: NDArray[np.float64] = np.einsum("n,nt,nt->t", relatedness.diagonal, columns, columns)
    for start in range(0, len(relatedness.first), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        one, other = columns[relatedness.first[some]], columns[relatedness.second[some]]
        out += 2.0 * np.einsum("p,pt,pt->t", relatedness.value[some], one, other)
    return out


def expected_variance(relatedness: Relatedness, member: NDArray[np.bool_], basis: NDArray[np.float64]) -> float:
    """``tr(MΦ) / (n − c)`` of some samples, and 1 where no degrees of freedom are left.

    Parameters
    ----------
    member : (samples,) bool
    basis : (samples, covariates)
        Orthonormal among these samples, zero outside.
    """
    df = int(member.sum()) - basis.shape[1]
    trace = float(relatedness.diagonal[member].sum() - quadratic_forms(relatedness, basis).sum())
    return trace / df if df > 0 else 1.0


def heed(
    factor: NDArray[np.float64], model: int, status: NDArray[np.uint8], traits: NDArray[np.int64]
) -> list[TraitNote]:
    """Notes of what relatives do to some traits; a factor that is none is their status.

    Relatives are less alike in dominance and other codings than in copies of an allele, so that the factor of such a
    predictor is nearer to 1: above 1 it is an upper bound, and one below 1 is not made use of.

    Parameters
    ----------
    factor, status : (traits,)
        Changed in place.
    model
        Of the job.
    traits
        Their indices in the batch.
    """
    if model != Model.ADDITIVE:
        np.maximum(factor, 1.0, out=factor)
    notes = []
    for k in np.flatnonzero(status == Status.OK):
        text = f"standard errors times {np.sqrt(max(factor[k], 0.0)):.4g}, for relatives"
        if not factor[k] > 0.0:
            status[k] = Status.NOT_CONVERGED
            text = "the relationship matrix is not one of a covariance: it leaves the residuals no variance"
        notes.append(TraitNote(int(traits[k]), int(status[k]), text))
    return notes
