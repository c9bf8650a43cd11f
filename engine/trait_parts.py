"""Traits of a scan by kind. Each kind has a test of its own, its own batches and its own part of the results cube, so
that what is found of a trait does not depend on whether traits of another kind are in the job."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUANTITATIVE = "quantitative"
BINARY = "binary"
KINDS = (QUANTITATIVE, BINARY)
"""In the order in which they are scanned."""


class TraitPart(NamedTuple):
    """Traits that have one test."""

    kind: str  # "" where all traits of the scan are of one kind
    traits: NDArray[np.int64]  # indices in the design, ascending
    per_task: int  # traits of a batch


class TraitBatch(NamedTuple):
    """Traits that are scored together."""

    part: TraitPart
    first: int  # in the part
    traits: NDArray[np.int64]  # indices in the design


@dataclass(frozen=True)
class TraitLayout:
    """Batches of the traits of a scan, part by part."""

    parts: tuple[TraitPart, ...]

    @cached_property
    def batches(self) -> tuple[TraitBatch, ...]:
        """Every batch, in order."""
        return tuple(
            TraitBatch(part, first, part.traits[first : first + part.per_task])
            for part in self.parts
            for first in range(0, len(part.traits), part.per_task)
        )

    @cached_property
    def batch_of_trait(self) -> NDArray[np.int64]:
        """Number of the batch of each trait of the design."""
        out = np.empty(sum(len(part.traits) for part in self.parts), np.int64)
        for number, batch in enumerate(self.batches):
            out[batch.traits] = number
        return out


def one_part(n_traits: int, per_task: int) -> tuple[TraitPart, ...]:
    """All traits of a scan of one kind."""
    return (TraitPart("", np.arange(n_traits), per_task),)


def traits_by_kind(binary: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    """Indices of the traits of each kind that there is."""
    found = {QUANTITATIVE: np.flatnonzero(~binary), BINARY: np.flatnonzero(binary)}
    return {kind: traits for kind, traits in found.items() if len(traits)}
