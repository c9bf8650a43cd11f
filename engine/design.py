"""Who is analysed, with which traits and covariates; and strata: people who are analysed apart from others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.offsets import Offsets
    from allscan.kernels.relatedness import Relatedness

MALE = 1
FEMALE = 2
UNKNOWN_SEX = 0

POOLED = "all"
"""Name of the stratum of everybody."""


@dataclass(frozen=True)
class Design:
    """Samples aligned to a store. Rows are the analysed samples in store order.

    Raises
    ------
    ValueError
        If shapes disagree, covariates are not finite, or binary traits have other values.
    """

    store_rows: NDArray[np.int64]  # (samples,) strictly increasing row numbers of the store
    traits: NDArray[np.float64]  # (samples, traits), NaN = missing, already transformed
    trait_names: tuple[str, ...]
    covariates: NDArray[np.float64]  # (samples, covariates), finite; includes the intercept if there is one
    covariate_names: tuple[str, ...]
    sex: NDArray[np.int8]  # (samples,) 1 male, 2 female, 0 unknown
    offsets: Offsets | None = None  # what the rest of the genome predicts of each trait: of these samples and traits
    relatedness: Relatedness | None = None  # of these samples; None where nobody asks
    binary: bool | NDArray[np.bool_] = False  # (traits,) or of all: whether they are 0 (control) and 1 (case)

    def __post_init__(self) -> None:
        n = len(self.store_rows)
        if self.traits.shape != (n, len(self.trait_names)):
            raise ValueError(f"traits has shape {self.traits.shape}, expected {(n, len(self.trait_names))}")
        if self.covariates.shape != (n, len(self.covariate_names)):
            raise ValueError(f"covariates has shape {self.covariates.shape}")
        if self.sex.shape != (n,):
            raise ValueError(f"sex has shape {self.sex.shape}, expected {(n,)}")
        if np.any(np.diff(self.store_rows) <= 0):
            raise ValueError("store_rows must be strictly increasing")
        if not np.isfinite(self.covariates).all():
            raise ValueError("covariates must be finite")
        for trait in np.flatnonzero(self.is_binary):
            values = self.traits[:, trait]
            if not ((values == 0.0) | (values == 1.0) | np.isnan(values)).all():
                raise ValueError("binary traits must be 0 and 1")

    @property
    def is_binary(self) -> NDArray[np.bool_]:
        """Whether each trait is binary, shape (traits,)."""
        return np.broadcast_to(np.asarray(self.binary), len(self.trait_names))

    @property
    def n_samples(self) -> int:
        """Number of analysed samples."""
        return len(self.store_rows)

    @property
    def has_anybody(self) -> NDArray[np.bool_]:
        """Whether anybody has a value of each trait, shape (traits,)."""
        return np.atleast_1d((~np.isnan(self.traits)).any(axis=0))


class Stratum(NamedTuple):
    """People who are analysed together: a design of their own, with traits as transformed among them."""

    name: str
    design: Design


Strata = tuple[Stratum, ...]
"""Strata of a scan, which may have people in common; all have the same traits."""


def pooled(design: Design) -> Strata:
    """Everybody as the only stratum."""
    return (Stratum(POOLED, design),)


def check_strata(strata: Strata) -> None:
    """Check that strata can be scanned together.

    Raises
    ------
    ValueError
        If there are none, two have one name, or their traits are not the same.
    """
    names = [stratum.name for stratum in strata]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"strata need names of their own: {names}")
    first = strata[0].design
    for name, design in strata:
        if design.trait_names != first.trait_names or not np.array_equal(design.is_binary, first.is_binary):
            raise ValueError(f"the traits of stratum {name!r} are not those of {names[0]!r}")


def n_people(strata: Strata) -> int:
    """How many people are in any stratum."""
    return len(np.unique(np.concatenate([design.store_rows for _, design in strata])))
