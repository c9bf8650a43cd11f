"""Offsets of a model that the run itself fits: what they are made of is known before they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.null_model_files import NullModelFiles
from allscan.engine.offsets import OK, StoredOffsets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.storage import Place


class WholeGenomeOffsets:
    """Predictions of a whole-genome model, zero for a trait whose model could not be fitted.

    Parameters
    ----------
    place
        Where the model will be.
    chromosomes
        Those that it will have markers of, or fewer of them.
    digests : (traits,)
        What each trait's model is made of.
    design
        The samples and traits of the scan.
    ids : (samples,)
        Of the design's samples.
    """

    def __init__(
        self,
        place: Place,
        chromosomes: Sequence[str],
        digests: Sequence[str],
        design: Design,
        ids: NDArray[np.object_],
    ) -> None:
        self.chromosomes = tuple(chromosomes)
        self._place = place
        self._digests = tuple(digests)
        self._design = design
        self._ids = ids
        self._opened: tuple[StoredOffsets, NDArray[np.int64]] | None = None

    def digest(self, trait: int) -> str:
        """Hash of what a trait's model is made of."""
        return self._digests[trait]

    def of(self, chromosome: str, traits: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predictions of the samples of the design, (samples, traits).

        Raises
        ------
        InputError
            The model has not been fitted.
        """
        stored, number = self._open()
        out = np.zeros((self._design.n_samples, len(traits)))
        fitted = np.flatnonzero(number[traits] >= 0)
        if len(fitted):
            out[:, fitted] = stored.of(chromosome, number[traits[fitted]])
        return out

    def _open(self) -> tuple[StoredOffsets, NDArray[np.int64]]:
        if self._opened is None:
            files = NullModelFiles(self._place)
            design = self._design
            known = {model.name for model in files.traits if model.status == OK}
            fitted = [t for t, name in enumerate(design.trait_names) if name in known]
            number = np.full(len(design.trait_names), -1, np.int64)
            number[fitted] = np.arange(len(fitted))
            of_fitted = replace(
                design, traits=design.traits[:, fitted], trait_names=tuple(design.trait_names[t] for t in fitted)
            )
            self._opened = StoredOffsets(files, of_fitted, self._ids), number
        return self._opened
