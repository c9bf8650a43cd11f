"""Transforms of one trait, among the people who have a value of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.errors import InputError
from allscan.phenotypes.names import did_you_mean, listed
from allscan.quantiles import normal_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRANSFORMS = {
    "none": "the values as they are",
    "rank_inverse_normal": "normal quantiles of the ranks (Blom), ties averaged",
    "log": "natural logarithm",
    "standardise": "mean 0, standard deviation 1",
    "residualise_standardise": "residuals of the regression on the covariates, then standardised",
    "residualise_rank_inverse_normal": "residuals of the regression on the covariates, then normal quantiles",
}
"""Names of the transforms and what they do."""

BLOM_OFFSET = 3 / 8
RESIDUAL_TOLERANCE = 1e-12
"""Residual sum of squares, as a share of the total one, below which nothing but rounding is left."""
RANK_TOLERANCE = 1e-10
"""Smallest singular value, as a share of the largest, that counts as a dimension."""
GRAM_TOLERANCE = 1e-2
"""Smallest ratio of eigenvalues with which a Gram matrix stands in for a factorisation."""
GONE = 1e-13
"""Ratio of eigenvalues below which a direction (a level that no present sample has) is not there at all."""


def check_transform(name: str, trait: str, kind: str = "quantitative") -> None:
    """Refuse an unknown transform, and any of a binary trait.

    Raises
    ------
    InputError
        If there is no transform of that name, or the trait has two values.
    """
    if name not in TRANSFORMS:
        raise InputError(
            f"there is no transform {name!r}",
            where=f"trait {trait!r}",
            fix=did_you_mean(name, TRANSFORMS, otherwise=f"choose one of {listed(TRANSFORMS)}"),
        )
    if kind == "binary" and name != "none":
        raise InputError(
            f"a binary trait has no transform, and {name!r} is asked for",
            where=f"trait {trait!r}",
            fix="remove the transform, or make the trait quantitative",
        )


def rank_inverse_normal(values: NDArray[np.float64], offset: float = BLOM_OFFSET) -> NDArray[np.float64]:
    """Normal quantiles of the ranks: Φ⁻¹((rank − c) / (n + 1 − 2c)).

    Parameters
    ----------
    values
        (samples,) without missing values. Tied values get the mean of their ranks.
    offset
        c: 3/8 is Blom's (as REGENIE and most of the field), 1/2 Rankit's, 0 van der Waerden's.

    References
    ----------
    Blom G (1958) Statistical Estimates and Transformed Beta-Variables. Wiley.
    Beasley TM, Erickson S, Allison DB (2009) https://doi.org/10.1007/s10519-009-9281-0
    """
    _, tie, count = np.unique(values, return_inverse=True, return_counts=True)
    # Tied values share the mean of their ranks.
    ranks = np.cumsum(count) - 0.5 * (count - 1)
    return normal_quantile((ranks - offset) / (len(values) + 1 - 2 * offset))[tie]


def standardise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean 0 and standard deviation 1 (n − 1 in the denominator).

    Parameters
    ----------
    values
        (samples,), at least two and not all the same.
    """
    centred = values - values.mean()
    return np.asarray(centred / centred.std(ddof=1), dtype=np.float64)


@dataclass(frozen=True)
class CovariateBasis:
    """An orthonormal basis of the covariates of all samples, made once for all traits."""

    columns: NDArray[np.float64]  # (samples, rank)

    @classmethod
    def of(cls, covariates: NDArray[np.float64]) -> CovariateBasis:
        """The basis of covariates (samples, covariates); collinear ones add nothing."""
        if covariates.shape[0] == 0 or covariates.shape[1] == 0:
            return cls(np.empty((covariates.shape[0], 0)))
        # Scaled, because units must not decide what counts as collinear.
        scale = np.sqrt((covariates**2).mean(axis=0))
        scaled = covariates / np.where(scale > 0, scale, 1.0)
        tall, small = np.linalg.qr(scaled)
        rotation, spread, _ = np.linalg.svd(small)
        rank = int((spread > RANK_TOLERANCE * spread[0]).sum())
        return cls(np.ascontiguousarray(tall @ rotation[:, :rank]))

    @property
    def rank(self) -> int:
        """Number of independent covariates."""
        return int(self.columns.shape[1])

    def residuals(self, values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Residuals of the least-squares regression on the covariates, among some of the samples.

        Parameters
        ----------
        values
            (present samples,).
        present
            (samples,) which samples the values belong to.

        Returns
        -------
        residuals
            (present samples,); exactly zero where the covariates explain everything.
        """
        if self.rank == 0:
            return values.copy()
        if present.all():
            basis, whitened = self.columns, np.eye(self.rank)
        else:
            # Orthonormal over all samples, and nearly so over most subsets: then this is the fast way.
            basis = self.columns[present]
            eigenvalues, vectors = np.linalg.eigh(basis.T @ basis)
            useful = eigenvalues > GONE * eigenvalues[-1]
            if eigenvalues[useful][0] > GRAM_TOLERANCE * eigenvalues[-1]:
                whitened = vectors[:, useful] / np.sqrt(eigenvalues[useful])
            else:
                basis = CovariateBasis.of(basis).columns
                whitened = np.eye(basis.shape[1])
        residual = values - basis @ (whitened @ (whitened.T @ (basis.T @ values)))
        centred = values - values.mean()
        rounding = (16 * np.finfo(np.float64).eps) ** 2 * (values @ values)
        if residual @ residual <= RESIDUAL_TOLERANCE * (centred @ centred) + rounding:
            return np.zeros_like(values)
        return np.asarray(residual, dtype=np.float64)


def transformed(
    name: str,
    values: NDArray[np.float64],
    present: NDArray[np.bool_],
    basis: CovariateBasis,
    *,
    trait: str,
) -> NDArray[np.float64]:
    """Apply a transform by name.

    Parameters
    ----------
    name
        One of ``TRANSFORMS``.
    values
        (present samples,) of one trait: finite, at least two, not all the same.
    present
        (samples,) whom the values belong to.
    basis
        The covariates' basis over all samples.
    trait
        The trait's name, for messages.

    Returns
    -------
    values
        (present samples,) transformed; all zero where a regression left nothing.

    Raises
    ------
    InputError
        If ``log`` meets a value that is not positive.
    """
    if name == "log":
        refused = int((values <= 0).sum())
        if refused:
            raise InputError(
                f"{refused} of {len(values)} values have no logarithm: they are zero or negative",
                where=f"trait {trait!r}, transform log",
                fix="use rank_inverse_normal, or mark these values as missing",
            )
        return np.log(values)
    if name.startswith("residualise_"):
        values = basis.residuals(values, present)
        if not values.any():
            return values
    if name.endswith("standardise"):
        return standardise(values)
    if name.endswith("rank_inverse_normal"):
        return rank_inverse_normal(values)
    return values
