"""Traits that miss the same samples share work: find the patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAITS_AT_ONCE = 64
"""Neighbours in memory, which are looked at together."""


def trait_patterns(
    traits: NDArray[np.float64], members: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the distinct patterns of present samples, in order of first appearance.

    Parameters
    ----------
    traits : (samples, traits) float64
        NaN is missing.
    members : (samples,) bool, optional
        Only these samples count.

    Returns
    -------
    set_of_trait : (traits,) int64
    first : (patterns,) int64
        The first trait of each pattern.
    """
    patterns: dict[bytes, int] = {}
    first: list[int] = []
    set_of_trait = np.empty(traits.shape[1], np.int64)
    for start in range(0, traits.shape[1], TRAITS_AT_ONCE):
        present = ~np.isnan(traits[:, start : start + TRAITS_AT_ONCE])
        if members is not None:
            present &= members[:, None]
        # Mostly all people have all traits: one pattern.
        distinct = present[:, :1] if present.all() else present
        keys = [bits.tobytes() for bits in np.packbits(distinct, axis=0).T]
        for t in range(start, start + present.shape[1]):
            key = keys[min(t - start, len(keys) - 1)]
            if key not in patterns:
                patterns[key] = len(first)
                first.append(t)
            set_of_trait[t] = patterns[key]
    return set_of_trait, np.array(first, np.int64)


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
    set_of_trait, first = trait_patterns(traits)
    member = np.ascontiguousarray(~np.isnan(traits[:, first]).T)
    return member, set_of_trait
