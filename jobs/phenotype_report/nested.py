"""Traits that contain others, as a phecode those below it: the difference of their cases is a count of people, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRIED = 48
"""Cases that are looked up in all other traits, before one of those is compared as a whole."""


class CaseSets:
    """Who is a case of which trait, a bit each."""

    def __init__(self, people: int) -> None:
        self._people = people
        self._packed: list[NDArray[np.uint8]] = []

    def add(self, cases: NDArray[np.bool_]) -> None:
        """Take further traits, (traits, people)."""
        self._packed.append(np.packbits(cases, axis=1))

    def containing(self) -> list[list[int]]:
        """For each trait, in order of coming: those that have all its cases, and more."""
        if not self._packed:
            return []
        sets = np.concatenate(self._packed)
        sizes = np.bitwise_count(sets).sum(axis=1, dtype=np.int64)
        by_person = np.ascontiguousarray(sets.T)
        found = []
        for trait, size in enumerate(sizes.tolist()):
            larger = sizes > size
            if size and larger.any():
                cases = np.flatnonzero(np.unpackbits(sets[trait], count=self._people))
                tried = cases[:: -(-len(cases) // _TRIED)]
                bit = (128 >> (tried & 7)).astype(np.uint8)[:, None]
                larger &= ((by_person[tried >> 3] & bit) != 0).all(axis=0)
            else:
                larger[:] = False
            found.append([at for at in np.flatnonzero(larger).tolist() if not (sets[trait] & ~sets[at]).any()])
        return found
