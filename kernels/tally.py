"""Genotype counts of calls and dosages as a reader delivers them, before they are packed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@jit
def tally_calls(
    genotypes: NDArray[np.int8],
    skip: NDArray[np.bool_],
    member: NDArray[np.bool_],
    counts: NDArray[np.int64],
) -> None:
    """Count the calls of the samples in a set.

    Parameters
    ----------
    genotypes : (variants, samples) int8
        Copies of ALT: 0, 1, 2; negative is missing.
    skip : (variants,) bool
        Rows to leave as they are.
    member : (samples,) bool
        The set.
    counts : (variants, 3) int64
        Overwritten in the rows that are not skipped: samples with 0, 1 and 2 copies.
    """
    for v in range(genotypes.shape[0]):
        if skip[v]:
            continue
        row = genotypes[v]
        n_ref = n_het = n_alt = np.int64(0)
        for i in range(row.shape[0]):
            inside = np.int64(member[i])
            n_ref += inside * np.int64(row[i] == 0)
            n_het += inside * np.int64(row[i] == 1)
            n_alt += inside * np.int64(row[i] == 2)
        counts[v, 0] = n_ref
        counts[v, 1] = n_het
        counts[v, 2] = n_alt


@jit
def tally_dosages(
    dosage: NDArray[np.float32],
    use: NDArray[np.bool_],
    member: NDArray[np.bool_],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    """Count the dosages of the samples in a set, rounded to the nearest call, and add them up.

    Parameters
    ----------
    dosage : (variants, samples) float32
        Expected copies of ALT, NaN missing.
    use : (variants,) bool
        Rows to look at.
    member : (samples,) bool
        The set.
    counts : (variants, 3) int64
        Overwritten in the rows that are used: samples nearest to 0, 1 and 2 copies; halves round up.
    sums : (variants, 2) float64
        Overwritten in the rows that are used: sum of the dosages and of their squares.
    """
    for v in range(dosage.shape[0]):
        if not use[v]:
            continue
        n_ref = n_het = n_alt = np.int64(0)
        total = 0.0
        squares = 0.0
        for i in range(dosage.shape[1]):
            value = np.float64(dosage[v, i])
            if member[i] and not np.isnan(value):
                n_ref += value < 0.5
                n_het += value >= 0.5 and value < 1.5
                n_alt += value >= 1.5
                total += value
                squares += value * value
        counts[v, 0] = n_ref
        counts[v, 1] = n_het
        counts[v, 2] = n_alt
        sums[v, 0] = total
        sums[v, 1] = squares
