"""What may be said of numbers of people where anybody may read it.

No count of 1 to 20 is told, and none can be worked out from what is told: the rule of All of Us and of many other
cohorts. Zero may be told. A percentage says what its two counts say, so it is made of counts that are told.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

SMALL = 20
"""Counts from 1 to this are not told."""
FEW = f"≤{SMALL}"
HIDDEN = "–"
"""In the place of a count that would give a small one away."""

_OF_PEOPLE = re.compile(r"(?<![\w.,])(\d[\d,]*)(?= (?:people|persons?|participants?|men|women|cases?|controls?)\b)")


def is_small(count: int) -> bool:
    """Whether a count may not be told."""
    return 1 <= count <= SMALL


def told_count(count: int) -> str:
    """A count that stands alone: ``0``, ``≤20`` or ``1,234``."""
    return FEW if is_small(count) else f"{count:,}"


def told_parts(counts: Sequence[int]) -> list[str]:
    """Counts of parts that hold everybody once, as texts, where the reader knows the whole.

    A small count is ``≤20``, and as many others are ``–`` as it takes that the whole leaves it any value from 1 to 20:
    the smallest that are enough.

    Parameters
    ----------
    counts
        People of each part.
    """
    small = [count for count in counts if is_small(count)]
    hidden: list[int] = []
    # What is hidden, other small ones at 1 and the rest just above a small count, leaves room for a small one of 20.
    spare = sorted((place for place, count in enumerate(counts) if count > SMALL), key=lambda place: counts[place])

    def is_enough(places: list[int]) -> bool:
        least = len(small) - 1 + (SMALL + 1) * len(places)
        return bool(places) and sum(small) + sum(counts[place] for place in places) - least >= SMALL

    while small and spare and not is_enough(hidden):
        chosen = next((place for place in spare if is_enough([*hidden, place])), spare[0])
        spare.remove(chosen)
        hidden.append(chosen)
    return [HIDDEN if place in hidden else told_count(count) for place, count in enumerate(counts)]


def merged_neighbours(counts: NDArray[np.integer]) -> list[slice]:
    """Neighbours to be told as one, so that each count is 0 or not small.

    Parameters
    ----------
    counts
        (bins,) people in bins that stand in order, and hold everybody once.

    Returns
    -------
    Stretches of bins, from first to last. If everybody together is a small count, that is the only stretch.
    """
    found: list[slice] = []
    start, held = 0, 0
    for place, count in enumerate(counts.tolist()):
        held += count
        if held == 0 or held > SMALL:
            found.append(slice(start, place + 1))
            start, held = place + 1, 0
    if held:
        # The rest is too few: it goes to the last stretch that has people, and takes the empty ones between along.
        while found and not counts[found[-1]].sum():
            start = found.pop().start
        if found:
            start = found.pop().start
        found.append(slice(start, len(counts)))
    return found


def merged_levels(counts: NDArray[np.integer]) -> list[tuple[int, ...]]:
    """Levels without an order, to be told as one where they are small: the smallest with the next one.

    Parameters
    ----------
    counts
        (levels,) people of each; levels without people are left out.

    Returns
    -------
    Levels that are told together, in order of their first one.
    """
    by_size = sorted(np.flatnonzero(counts).tolist(), key=lambda level: (counts[level], level))
    small: list[int] = []
    while by_size and (is_small(int(counts[by_size[0]])) or (small and counts[small].sum() <= SMALL)):
        small.append(by_size.pop(0))
    groups = [(level,) for level in by_size]
    return sorted([*groups, tuple(sorted(small))] if small else groups)


def suppressed_rows(cells: NDArray[np.integer]) -> NDArray[np.bool_] | None:
    """Rows of a table to hide, whole, where its reader knows the total of every row and of every column.

    Hidden are the rows with a small cell, and as many others as it takes that the rest tells no more of a small cell
    than that it is one: from the totals it can be anything from 1 to 20.

    Parameters
    ----------
    cells
        (rows, columns) numbers of people; everybody is in one cell.

    Returns
    -------
    (rows,) which to hide; None where the totals alone say too much, or are small themselves.

    Notes
    -----
    What is known of the hidden rows is their totals, and what is left of those of the columns. The bounds of a cell
    of such a table are Fréchet's: min(row, column) above, row + column − everybody below, and each value between them
    occurs. Both conditions on the bounds stay true when a further row is hidden.
    """
    rows, columns = cells.sum(axis=1), cells.sum(axis=0)
    if _any_small(rows) or _any_small(columns):
        return None
    small = (cells >= 1) & (cells <= SMALL)
    hidden: NDArray[np.bool_] = np.any(small, axis=1)
    spare = [row for row in np.argsort(rows, kind="stable").tolist() if not hidden[row]]
    while hidden.any() and not _protected(cells, small, hidden):
        if not spare:
            return None
        # The smallest row that is enough; if none is, the smallest, and on.
        chosen = next((row for row in spare if _protected(cells, small, _with(hidden, row))), spare[0])
        spare.remove(chosen)
        hidden = _with(hidden, chosen)
    return hidden


def _with(rows: NDArray[np.bool_], row: int) -> NDArray[np.bool_]:
    more = rows.copy()
    more[row] = True
    return more


def _protected(cells: NDArray[np.integer], small: NDArray[np.bool_], hidden: NDArray[np.bool_]) -> bool:
    rows = cells[hidden].sum(axis=1)[:, None]
    columns = cells[hidden].sum(axis=0)
    least = rows + columns - rows.sum()
    most = np.broadcast_to(columns, least.shape)
    return bool(((least <= 1) & (most > SMALL))[small[hidden]].all())


def _any_small(counts: NDArray[np.integer]) -> bool:
    return bool(((counts >= 1) & (counts <= SMALL)).any())


class ToldCounts:
    """Counts of overlapping groups of the same people, told one after the other, such as the steps of a selection.

    One is told if neither it, nor its difference from another, nor what it and another leave of a whole is small.

    Parameters
    ----------
    told
        What the reader knows of the same groups.
    beside
        What the reader knows of other groups that one of them may lie in.
    wholes
        Counts of those that the groups are parts of.
    closed
        Whether nothing that the reader does not know is told.
    """

    def __init__(
        self,
        told: Iterable[int] = (),
        beside: Iterable[int] = (),
        *,
        wholes: Iterable[int] = (),
        closed: bool = False,
    ) -> None:
        self._told = set(told)
        self._beside = set(beside)
        self._wholes = set(wholes)
        self._closed = closed

    def tell(self, count: int) -> str:
        """The count as text; ``≤20`` or ``–`` where it is not told."""
        if is_small(count):
            return FEW
        if count not in {0, *self._told, *self._beside}:
            if self._closed or self._gives_away(count):
                return HIDDEN
            self._told.add(count)
        return f"{count:,}"

    def _gives_away(self, count: int) -> bool:
        rests = {whole - other for whole in self._wholes for other in self._told if other < whole}
        return any(is_small(abs(count - other)) for other in self._told | self._beside | rests)

    def tell_text(self, text: str) -> str:
        """A sentence with its numbers of people told."""
        return _OF_PEOPLE.sub(lambda found: self.tell(int(found[1].replace(",", ""))), text)
