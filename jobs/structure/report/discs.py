"""Where people lie in a plane, told so that nobody is singled out: discs that stand for more than 20 people each.

The people of a group are cut in halves across the component in which they are spread most, and the halves again, while
more than 20 are on either side. Of each part mean and spread are told, not how many it holds: everybody counts, who
lies apart too (micro-aggregation; Domingo-Ferrer & Mateo-Sanz 2002, 10.1109/69.979982).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.disclosure import SMALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MOST = 1500
"""Discs of a plot, about."""
DIGITS = 3


class Disc(NamedTuple):
    """Some people of a group: their mean, and their standard deviations."""

    x: float
    y: float
    dx: float
    dy: float


def least_people(n: int) -> int:
    """People of a disc at least, in a plot of ``n``."""
    return max(SMALL + 1, -(-n // MOST))


def discs(x: NDArray[np.float64], y: NDArray[np.float64], least: int) -> list[Disc]:
    """Discs for the people of a group, each of ``least`` to ``2 least − 1``.

    Parameters
    ----------
    x, y : (people,)
        No fewer than ``least``.
    """
    found: list[Disc] = []
    waiting = [np.column_stack([x, y])]
    while waiting:
        part = waiting.pop()
        spread = part.std(axis=0)
        if len(part) < 2 * least:
            found.append(Disc(*(float(f"{value:.{DIGITS}g}") for value in (*part.mean(axis=0), *spread))))
            continue
        order = np.argsort(part[:, int(spread.argmax())], kind="stable")
        half = len(part) // 2
        waiting += [part[order[half:]], part[order[:half]]]
    return found


class Frame(NamedTuple):
    """What of the plane is shown."""

    low: tuple[float, float]
    high: tuple[float, float]

    def ticks(self, axis: int) -> list[float]:
        """Round numbers, about four."""
        rough = (self.high[axis] - self.low[axis]) / 4
        unit = 10.0 ** np.floor(np.log10(rough))
        step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough)
        first, last = np.ceil(self.low[axis] / step), np.floor(self.high[axis] / step)
        return [float(step * k) + 0.0 for k in np.arange(first, last + 1)]  # no −0

    def share(self, axis: int, value: float) -> float:
        """Where a value lies between low (0) and high (1)."""
        return (value - self.low[axis]) / (self.high[axis] - self.low[axis])


def frame(shown: Sequence[Disc]) -> Frame:
    """What holds all discs, with some room."""
    centres = np.array([one[:2] for one in shown])
    radii = np.array([one[2:] for one in shown])
    low, high = (centres - radii).min(axis=0), (centres + radii).max(axis=0)
    room = np.maximum(0.05 * (high - low), 1e-9)
    return Frame(tuple((low - room).tolist()), tuple((high + room).tolist()))
