"""Pruning of correlated markers, written from the rule: loops, and fractions in place of floating-point numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Calls = NDArray[np.int8]


def r_squared(one: Calls, other: Calls) -> Fraction | None:
    """Squared correlation over those who have both calls; None where one of the two is constant."""
    pairs = [(int(a), int(b)) for a, b in zip(one, other, strict=True) if a >= 0 and b >= 0]
    n = len(pairs)
    a, b = sum(x for x, _ in pairs), sum(y for _, y in pairs)
    covariance = n * sum(x * y for x, y in pairs) - a * b
    variances = (n * sum(x * x for x, _ in pairs) - a * a) * (n * sum(y * y for _, y in pairs) - b * b)
    return Fraction(covariance**2, variances) if variances else None


def windows(position: list[int], bp: int, count: int | None = None) -> list[tuple[int, int]]:
    """From each marker of a chromosome to the last one that is in its window (one past it), without repetitions."""
    found: list[tuple[int, int]] = []
    for first in range(len(position)):
        end = first
        while end < len(position) and (position[end] - position[first] <= bp if count is None else end - first < count):
            end += 1
        if not found or end > found[-1][1]:
            found.append((first, end))
    return found


def prune(calls: Calls, frequency: NDArray[np.float64], of_windows: list[tuple[int, int]], most_r2: float) -> list[str]:
    """``kept``, ``correlated`` or ``identical`` for each marker of a chromosome."""
    fate = ["kept"] * len(calls)
    compared = set()
    for start, end in of_windows:
        changed = True
        while changed:
            changed = False
            for first in range(start, end):
                for second in range(first + 1, end):
                    if fate[first] != "kept" or fate[second] != "kept" or (first, second) in compared:
                        continue
                    compared.add((first, second))
                    r2 = r_squared(calls[first], calls[second])
                    if r2 is not None and (r2 == 1 or r2 > Fraction(most_r2)):
                        loser = first if frequency[first] < frequency[second] else second
                        fate[loser] = "identical" if r2 == 1 else "correlated"
                        changed = True
                        break
    return fate
