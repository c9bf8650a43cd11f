"""Traits that miss the same samples share work: find the patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def missingness_patterns(traits: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Distinct patterns of present samples, in order of first appearance.

    Parameters
    ----------
    traits : (samples, traits) float64
        NaN is missing.

    Returns
    -------
    member : (patterns, samples) bool
    set_of_trait : (traits,) int64
    """
    patterns: dict[bytes, int] = {}
    members: list[NDArray[np.bool_]] = []
    set_of_trait = np.empty(traits.shape[1], np.int64)
    for t in range(traits.shape[1]):
        present = ~np.isnan(traits[:, t])
        key = np.packbits(present).tobytes()
        if key not in patterns:
            patterns[key] = len(members)
            members.append(present)
        set_of_trait[t] = patterns[key]
    member = np.array(members, dtype=np.bool_).reshape(len(members), len(traits))
    return member, set_of_trait
