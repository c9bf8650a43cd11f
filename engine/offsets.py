"""What the rest of the genome predicts of each trait: taken off before a variant of a chromosome is tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from allscan.engine.hashing import content_hash
from allscan.errors import FileFormatError, InputError
from allscan.kernels.basis import orthonormal_basis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.null_model_files import TraitModel

ALL = "all"
"""In place of a chromosome: the prediction of the markers of all chromosomes."""
OK = "ok"
"""Status of a trait that has predictions."""
SHOWN_NAMES = 10


class Offsets(Protocol):
    """What the rest of the genome predicts of each trait of a design, leaving one chromosome out."""

    chromosomes: tuple[str, ...]  # those that the model has markers of

    def of(self, chromosome: str, traits: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predictions in the unit of the trait; of a binary trait, log odds.

        Parameters
        ----------
        chromosome
            One of ``chromosomes``, which is left out; another name, such as ``ALL``, leaves nothing out.
        traits
            Indices in the design.

        Returns
        -------
        (samples, traits) float64
            Finite for every sample of the design that has the trait.
        """
        ...

    def digest(self, trait: int) -> str:
        """Hash of all that decides the offsets of a trait, beside its values and covariates."""
        ...


class Predictions(Protocol):
    """Predictions as a program has stored them, for its own samples and traits."""

    where: str  # for messages
    chromosomes: tuple[str, ...]  # without ALL
    traits: tuple[TraitModel, ...]
    standardised: bool
    """The unit is the standard deviation of a quantitative trait after the covariates, not that of the trait; that of a
    binary trait is log odds in any case."""

    def rows_of(self, trait: int, ids: NDArray[np.object_]) -> NDArray[np.int64]:
        """Which of the stored samples of a trait these people are, -1 for none; shape of ``ids``."""
        ...

    def has_prediction(self, trait: int) -> NDArray[np.bool_]:
        """Which of the stored samples have predictions of a trait."""
        ...

    def read(self, trait: int, chromosome: str) -> NDArray[np.floating[Any]]:
        """Predictions without one chromosome (or of ``ALL``), of the stored samples of the trait."""
        ...

    def digest(self, trait: int) -> str:
        """Hash of the predictions of a trait."""
        ...


class StoredOffsets:
    """Stored predictions, aligned to a design by name; read when they are asked for.

    Parameters
    ----------
    stored
        The predictions.
    design
        Traits are found by their names.
    ids : (samples,)
        Of the design's samples.

    Raises
    ------
    InputError
        If a trait has no model, its model has failed, or people who have the trait have no prediction of it.
    """

    def __init__(self, stored: Predictions, design: Design, ids: NDArray[np.object_]) -> None:
        self.chromosomes = stored.chromosomes
        self._stored = stored
        self._design = design
        self._index = _traits_by_name(stored, design.trait_names)
        self._rows: list[NDArray[np.int64]] = []
        self._units: dict[int, float] = {}
        lacking = {}
        for trait, index in enumerate(self._index):
            rows = stored.rows_of(index, ids)
            if self._rows and np.array_equal(rows, self._rows[-1]):
                rows = self._rows[-1]  # most traits have the same: one array for all
            self._rows.append(rows)
            predicted = np.append(stored.has_prediction(index), False)[rows]
            missing = int((self._present(trait) & ~predicted).sum())
            if missing:
                lacking[design.trait_names[trait]] = missing
        if lacking:
            told = [f"{count:,} of {name!r}" for name, count in lacking.items()]
            raise InputError(
                f"people who have a trait have no prediction of it in the null model: {_listed(told)}",
                where=stored.where,
                fix="leave them out (samples: keep, exclude), or fit the null model in all people who are analysed",
            )

    def of(self, chromosome: str, traits: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predictions of the samples of the design, (samples, traits); NaN where there is none.

        Raises
        ------
        FileFormatError
            If what is stored is damaged.
        """
        out = np.full((self._design.n_samples, len(traits)), np.nan)
        for k, trait in enumerate(traits):
            values = self._stored.read(self._index[trait], chromosome if chromosome in self.chromosomes else ALL)
            rows = self._rows[trait]
            known = rows >= 0
            out[known, k] = values[rows[known]].astype(np.float64) * self._unit(int(trait))
            if not np.isfinite(out[self._present(int(trait)), k]).all():
                raise FileFormatError(
                    f"predictions of {self._design.trait_names[trait]!r} without chromosome {chromosome} are not "
                    "finite for people who have the trait",
                    where=self._stored.where,
                    fix="make the null model again",
                )
        return out

    def digest(self, trait: int) -> str:
        """Hash of what is stored of a trait, and of who is who."""
        rows = self._rows[trait][self._present(trait)]
        return content_hash(self._stored.digest(self._index[trait]), str(self._stored.standardised), rows)

    def _present(self, trait: int) -> NDArray[np.bool_]:
        present: NDArray[np.bool_] = ~np.isnan(self._design.traits[:, trait])
        return present

    def _unit(self, trait: int) -> float:
        """What a stored prediction is multiplied by."""
        if not self._stored.standardised or self._design.is_binary[trait]:  # log odds have no other unit
            return 1.0
        if trait not in self._units:
            present = self._present(trait)
            self._units[trait] = residual_sd(self._design.traits[present, trait], self._design.covariates[present])
        return self._units[trait]


def without(values: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """What an orthonormal basis (samples, columns) leaves of some values (samples,), to the last digits."""
    left = values - basis @ (basis.T @ values)
    left -= basis @ (basis.T @ left)
    return left


def residual_sd(trait: NDArray[np.float64], covariates: NDArray[np.float64]) -> float:
    """Standard deviation of a trait after its covariates, (samples,) and (samples, covariates), without NaN.

    The divisor is samples less rank of the covariates, as in REGENIE (Pheno.cpp, ``residualize_phenotypes``).
    """
    basis, _ = orthonormal_basis(covariates)
    residuals = without(trait, basis)
    df = len(trait) - basis.shape[1]
    return float(np.sqrt(residuals @ residuals / df)) if df > 0 else 0.0


def _traits_by_name(stored: Predictions, names: Sequence[str]) -> list[int]:
    index = {model.name: k for k, model in enumerate(stored.traits)}
    absent = [name for name in names if name not in index]
    if absent:
        raise InputError(
            f"the null model has no predictions of {_listed([repr(name) for name in absent])}",
            where=stored.where,
            fix=f"it has {_listed([repr(name) for name in index]) or 'none'}; traits are found by name",
        )
    failed = [stored.traits[index[name]] for name in names if stored.traits[index[name]].status != OK]
    if failed:
        told = [f"{model.name!r} ({model.message or model.status})" for model in failed]
        raise InputError(
            f"the null model of {_listed(told)} was not fitted",
            where=stored.where,
            fix="leave these traits out, or scan them in a job without a null model",
        )
    return [index[name] for name in names]


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN_NAMES:,} more" if len(texts) > SHOWN_NAMES else ""
    return ", ".join(texts[:SHOWN_NAMES]) + more
