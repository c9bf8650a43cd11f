"""How traits go together: correlations of pairs, of the people who have both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.disclosure import SMALL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.jobs.phenotype_report.reading import TraitReader

MOST = 100
"""Traits in the picture."""
_ROWS = 1 << 15
FEW, NONE = 101, 102
"""In the place of a correlation × 100: not told, and not defined."""


@dataclass(frozen=True)
class Correlations:
    """Correlations of some traits."""

    traits: tuple[int, ...]  # their places in the table
    hundredths: NDArray[np.int16]  # (traits, traits) r × 100; FEW or NONE
    order: tuple[int, ...]  # similar ones side by side: places in `traits`


def correlations(reader: TraitReader, names: list[str], weight: NDArray[np.int64]) -> Correlations | None:
    """Correlate the traits of which most is known.

    Of two binary traits it is φ, of one the point-biserial correlation, else Pearson's. With counts that are known,
    the correlation of binary traits says how many have both: it is told if none of the four cells is small.

    Parameters
    ----------
    reader
        The values.
    names
        All traits.
    weight
        (traits,) cases or controls of each, whichever are fewer; of quantitative ones, people with a value.
    """
    enough = [at for at in np.argsort(-weight, kind="stable").tolist() if weight[at] > SMALL][:MOST]
    chosen = sorted(enough)
    if len(chosen) < 2:
        return None
    place = {names[at]: k for k, at in enumerate(chosen)}
    t, n = len(chosen), reader.people
    values = np.zeros((t, n), dtype=np.float32)
    present = np.zeros((t, n), dtype=np.bool_)
    binary = np.zeros(t, dtype=np.bool_)
    for batch in reader.batches(list(place)):
        for row, name in enumerate(batch.names):
            here = place[name]
            present[here] = batch.present[row]
            binary[here] = batch.binary
            column = batch.values[row].astype(np.float64)
            if not batch.binary:
                known = column[batch.present[row]]
                spread = float(known.std())
                column = (column - known.mean()) / (spread or 1.0)
            values[here] = np.where(batch.present[row], column, 0.0)
    sums = _products(values, present)
    r = _pearson(sums)
    hundredths = np.where(np.isnan(r), NONE, np.rint(np.nan_to_num(r) * 100)).astype(np.int16)
    hundredths[_gives_away(sums, binary)] = FEW
    np.fill_diagonal(hundredths, 100)
    return Correlations(tuple(chosen), hundredths, _similar(hundredths))


@dataclass(frozen=True)
class _Sums:
    """Over the people who have both, (traits, traits): of row trait x and column trait y."""

    n: NDArray[np.float64]
    x: NDArray[np.float64]
    xx: NDArray[np.float64]
    xy: NDArray[np.float64]


def _products(values: NDArray[np.float32], present: NDArray[np.bool_]) -> _Sums:
    t, people = values.shape
    sums = _Sums(*(np.zeros((t, t)) for _ in range(4)))
    for start in range(0, people, _ROWS):
        # Sums of at most 32,768 zeros and ones are exact in float32; of others, to more digits than are told.
        x = values[:, start : start + _ROWS]
        m = present[:, start : start + _ROWS].astype(np.float32)
        for out, left, right in ((sums.n, m, m), (sums.x, x, m), (sums.xx, x * x, m), (sums.xy, x, x)):
            out += left @ right.T
    return sums


def _pearson(sums: _Sums) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = sums.xy - sums.x * sums.x.T / sums.n
        spread = sums.xx - sums.x * sums.x / sums.n
        # A trait that is constant among them leaves rounding errors.
        spread = np.where(spread > 1e-6 * sums.n, spread, np.nan)
        r: NDArray[np.float64] = centred / np.sqrt(spread * spread.T)
    return np.clip(r, -1.0, 1.0)


def _gives_away(sums: _Sums, binary: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pairs with a small cell, (traits, traits)."""
    both, cases, others = sums.xy, sums.x, sums.x.T
    four = (both, cases - both, others - both, sums.n - cases - others + both)
    of_two = np.any([_small(cell) for cell in four], axis=0)
    of_one = _small(cases) | _small(sums.n - cases)  # of the row's trait, among those with a number
    rows, columns = binary[:, None], binary[None, :]
    of_one = (of_one & rows & ~columns) | (of_one.T & ~rows & columns)
    found: NDArray[np.bool_] = _small(sums.n) | (of_two & rows & columns) | of_one
    return found


def _small(counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (counts > 0.5) & (counts < SMALL + 0.5)


def _similar(hundredths: NDArray[np.int16]) -> tuple[int, ...]:
    """An order with similar traits side by side, by what is told."""
    if len(hundredths) < 3:
        return tuple(range(len(hundredths)))
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    r = np.where(hundredths > 100, 0, hundredths) / 100.0
    distance = squareform(1.0 - np.abs(r), checks=False)
    tree = optimal_leaf_ordering(linkage(distance, "average"), distance)
    return tuple(int(leaf) for leaf in leaves_list(tree))
