"""Kinship as the papers write it, pair by pair and marker by marker."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class NaivePair(NamedTuple):
    """What two people share."""

    het_het: int
    het_hom: int
    hom_het: int
    opposite: int
    called: int
    kinship: float


def king(first: NDArray[np.int8], second: NDArray[np.int8]) -> NaivePair:
    """KING-robust of two people's calls, by its definition with the fewer heterozygous calls."""
    het_het = het_hom = hom_het = opposite = called = squares = 0
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        if a < 0 or b < 0:
            continue
        called += 1
        squares += (a - b) ** 2
        het_het += a == 1 and b == 1
        het_hom += a == 1 and b != 1
        hom_het += a != 1 and b == 1
        opposite += abs(a - b) == 2
    fewer = min(het_het + het_hom, het_het + hom_het)
    return NaivePair(het_het, het_hom, hom_het, opposite, called, 0.5 - squares / (4 * fewer) if fewer else np.nan)


def individual_frequencies(
    calls: NDArray[np.int8], scores: NDArray[np.float64], defining: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """``μ``, shape (markers, people): ordinary least squares on components, missing calls at the marker's mean."""
    design = np.column_stack([np.ones(len(scores)), scores])
    out = np.empty(calls.shape)
    for v, row in enumerate(calls):
        mean = row[row >= 0].mean()
        g = np.where(row < 0, mean, row)
        coefficient = np.linalg.lstsq(design[defining], g[defining], rcond=None)[0]
        out[v] = design @ coefficient / 2
    return out


def pc_relate(
    calls: NDArray[np.int8], frequency: NDArray[np.float64], i: int, j: int, least: float
) -> tuple[float, float, float]:
    """Kinship, ``k0`` and ``k2`` of one pair (equations 4 to 7 of the paper)."""

    def valid(*people: int) -> NDArray[np.bool_]:
        ok = np.ones(len(calls), np.bool_)
        for person in people:
            mu = frequency[:, person]
            ok &= (calls[:, person] >= 0) & (mu > least) & (mu < 1 - least)
        return ok

    def kinship(a: int, b: int) -> float:
        ok = valid(a, b)
        ga, gb, ma, mb = calls[ok, a], calls[ok, b], frequency[ok, a], frequency[ok, b]
        return float(((ga - 2 * ma) * (gb - 2 * mb)).sum() / (4 * np.sqrt(ma * (1 - ma) * mb * (1 - mb)).sum()))

    ok = valid(i, j)
    dominance = []
    for person in (i, j):
        g, mu = calls[ok, person], frequency[ok, person]
        coded = np.select([g == 0, g == 1], [mu, 0.0], 1 - mu)
        dominance.append(coded - mu * (1 - mu) * 2 * kinship(person, person))
    mi, mj = frequency[ok, i], frequency[ok, j]
    k2 = (dominance[0] * dominance[1]).sum() / (mi * (1 - mi) * mj * (1 - mj)).sum()
    phi = kinship(i, j)
    if phi > 2**-2.5:
        opposite = (np.abs(calls[ok, i] - calls[ok, j]) == 2).sum()
        k0 = opposite / (mi**2 * (1 - mj) ** 2 + (1 - mi) ** 2 * mj**2).sum()
    else:
        k0 = 1 - 4 * phi + k2
    return phi, float(k0), float(k2)
