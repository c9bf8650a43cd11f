"""The aligned samples of a scan: who is analysed, with which traits and covariates, in which strata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.offsets import Offsets
    from allscan.kernels.relatedness import Relatedness

MALE = 1
FEMALE = 2
UNKNOWN_SEX = 0


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
    strata: tuple[str, ...] = ("all",)
    stratum_members: NDArray[np.bool_] | None = None  # (strata, samples); None: everybody in the only stratum
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

    def members(self, stratum: int) -> NDArray[np.bool_]:
        """Which samples belong to a stratum, shape (samples,)."""
        if self.stratum_members is None:
            return np.ones(self.n_samples, dtype=bool)
        members: NDArray[np.bool_] = self.stratum_members[stratum]
        return members
