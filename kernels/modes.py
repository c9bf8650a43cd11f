"""Inverse covariances of many traits as combinations of a few matrices.

Traits of the same samples have ``V⁻¹ = U diag(1 / (1 + h² (d − 1))) Uᵀ`` with the same ``U`` and eigenvalues ``d``, and
differ in ``h²`` alone. As functions of ``d`` these are smooth and much alike: hundreds are combinations of about twenty
to within rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.kernels.relatedness import Families

EXACT = 1e-8
"""Relative error that an eigenvalue of a combination may have, and about what is had of a variance where there are
relatives as close as twins; 1e-12 elsewhere."""
LOOKED_AT = 256  # eigenvalues from which the combinations are learnt
AT_ONCE = 8192


class Modes(NamedTuple):
    """Matrices with the eigenvectors of a relationship matrix, and how each trait's ``V⁻¹`` is made of them."""

    values: NDArray[np.float64]  # (eigenvalues, modes) their eigenvalues
    unrelated: NDArray[np.float64]  # (modes,) their diagonal at the unrelated, whose eigenvalue is one
    mix: NDArray[np.float64]  # (modes, traits)

    def columns(self, families: Families, basis: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """Each mode times the columns of ``basis``, shape (samples, columns), zero outside the families' samples."""
        rotated = families.to_eigenvectors(basis)
        for r, unrelated in enumerate(self.unrelated):
            out = np.zeros_like(basis)
            out[families.unrelated] = unrelated * basis[families.unrelated]
            out[families.samples] = families.from_eigenvectors(self.values[:, [r]] * rotated)
            yield out


def inverse_eigenvalues(values: NDArray[np.float64], heritability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eigenvalues of ``V⁻¹``, shape (eigenvalues, traits), by those of the relationship matrix."""
    inverse: NDArray[np.float64] = 1.0 / (1.0 + np.multiply.outer(values - 1.0, heritability))
    return inverse


def modes_of(values: NDArray[np.float64], heritability: NDArray[np.float64]) -> Modes:
    """Modes of some traits: no more than there are traits.

    Parameters
    ----------
    values : (eigenvalues,)
        Of the relationship matrix.
    heritability : (traits,)
    """
    distinct, which = np.unique(heritability, return_inverse=True)
    with_one = np.append(values, 1.0)
    # Of many equal ones one is looked at: the one of the unrelated may be a value that no relatives have.
    different = np.unique(with_one)
    places = np.unique(np.linspace(0, len(different) - 1, LOOKED_AT).astype(np.int64))
    some = inverse_eigenvalues(different[places], distinct)
    size = some.max(axis=0)
    _, strength, vectors = np.linalg.svd(some / size, full_matrices=False)
    kept = vectors[strength > 10.0 * np.finfo(float).eps * strength[0]]
    mix = kept * size
    if len(kept) == len(distinct) or _error(with_one, distinct, size, kept) > EXACT:
        kept, mix, size = np.eye(len(distinct)), np.eye(len(distinct)), np.ones(len(distinct))
    found = np.empty((len(with_one), len(kept)))
    for first in range(0, len(with_one), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        found[part] = (inverse_eigenvalues(with_one[part], distinct) / size) @ kept.T
    return Modes(found[:-1], found[-1], np.ascontiguousarray(mix[:, which]))


def _error(
    values: NDArray[np.float64],
    heritability: NDArray[np.float64],
    size: NDArray[np.float64],
    kept: NDArray[np.float64],
) -> float:
    """Largest relative error of the combinations of ``kept``, over all eigenvalues and traits."""
    worst = 0.0
    for first in range(0, len(values), AT_ONCE):
        exact = inverse_eigenvalues(values[first : first + AT_ONCE], heritability)
        combined = (exact / size) @ kept.T @ (kept * size)
        worst = max(worst, float(np.abs(combined / exact - 1.0).max()))
    return worst
