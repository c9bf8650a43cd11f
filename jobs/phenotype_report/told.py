"""From counts of a trait's people to what may be told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.disclosure import FEW, HIDDEN, SMALL, ToldCounts, is_small, merged_neighbours, suppressed_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.jobs.phenotype_report.people import Cohort

CASES, CONTROLS, WITHOUT = 0, 1, 2
PRESENT, ABSENT = 0, 1

Parts = tuple[tuple[int, ...], ...]

BINARY_PARTS: tuple[Parts, ...] = (
    ((CASES,), (CONTROLS,), (WITHOUT,)),
    ((CASES,), (CONTROLS, WITHOUT)),
    ((CASES, CONTROLS), (WITHOUT,)),
)
QUANTITATIVE_PARTS: tuple[Parts, ...] = (((PRESENT,), (ABSENT,)),)
"""How the columns of a trait's tables may be told, the finest first; ones that stand together are told as one."""

_BINS = 24
_PEOPLE_OF_A_BIN = 40
_WHOLE = 30
"""Whole numbers that span at most this have a bin each."""


@dataclass(frozen=True)
class Told:
    """What is told of a trait's people: the columns that stand alone, and the rows of each class that are not told."""

    parts: Parts
    hidden: tuple[NDArray[np.bool_], ...]  # for each of the cohort's classes: (classes,)

    def tells(self, *columns: int) -> bool:
        """Whether the sum of these columns is told."""
        return columns in self.parts or all((column,) in self.parts for column in columns)


def finest(
    cells: Sequence[NDArray[np.int64]], choices: Sequence[Parts], around: Sequence[Sequence[NDArray[np.int64]]] = ()
) -> Told:
    """The most that may be told.

    Parameters
    ----------
    cells
        For each way of classing everybody: (classes, columns) people. The totals of the rows are known.
    choices
        Which columns are told as one, the finest first.
    around
        For each trait that contains this one, for each of the ways: (classes,) its cases.

    Returns
    -------
    The first choice that does not give a small cell away; one without parts if there is none.
    """
    inside = [[_inside(table[:, CASES], outer) for table, outer in zip(cells, one, strict=True)] for one in around]
    for parts in choices:
        tables = [np.stack([table[:, list(part)].sum(axis=1) for part in parts], axis=1) for table in cells]
        rows = [suppressed_rows(table) for table in tables]
        hidden = [[mine, *others] for mine, *others in zip(rows, *inside, strict=True)]
        if all(one is not None for ones in hidden for one in ones):
            return Told(parts, tuple(np.logical_or.reduce(ones) for ones in hidden))
    return Told((), tuple(np.ones(len(table), dtype=np.bool_) for table in cells))


def _inside(cases: NDArray[np.int64], outer: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Rows to hide so that how many more cases a trait has, which contains these, is not known where it is small."""
    untold = (outer >= 1) & (outer <= SMALL)  # hidden there, and here
    rows = suppressed_rows(np.stack([cases, outer - cases], axis=1)[~untold])
    if rows is not None:
        untold[~untold] = rows
    return None if rows is None else untold


def told_binary(
    cohort: Cohort,
    cells: Sequence[NDArray[np.int64]],
    totals: NDArray[np.int64],
    around: Sequence[Sequence[NDArray[np.int64]]] = (),
) -> dict[str, Any]:
    """Counts of a binary trait, and by class; what is not told is None or a text that says so.

    Parameters
    ----------
    cohort
        Everybody.
    cells
        For each of its classes: (classes, 3) cases, controls, people with neither.
    totals
        (3,) the same of everybody.
    around
        For each trait that contains this one, and is told: its cases, (1,) of everybody and (classes,) for each of
        the cohort's classes.
    """
    tables = [totals[None, :], *cells]
    told = finest(tables, BINARY_PARTS, around)
    cases, controls, _ = totals.tolist()
    n = cases + controls
    tells_n, tells_cases = told.tells(CASES, CONTROLS), told.tells(CASES)
    base = _told_or(n, told, tables, (CASES, CONTROLS), cohort.n)
    both = tells_n and tells_cases
    return {
        **base,
        "cases": f"{cases:,}" if tells_cases else FEW if few(told, tables, (CASES,)) else HIDDEN,
        "controls": f"{controls:,}" if both else FEW if few(told, tables, (CONTROLS,)) else HIDDEN,
        "tells_cases": tells_cases,
        "tells_controls": both,
        "prevalence": _share(cases, n) if both else _share(cases, cohort.n) if tells_cases and base["nearly"] else None,
        "known": [n, cases, controls] if both else [n] if tells_n else [cases] if tells_cases else [],
        "open": both,
        "classes": [
            [
                None if hide or not told.parts else [case + control if tells_n else None, case if tells_cases else None]
                for hide, (case, control, _) in zip(hidden.tolist(), table.tolist(), strict=True)
            ]
            for hidden, table in zip(told.hidden[1:], cells, strict=True)
        ],
    }


def told_quantitative(cohort: Cohort, cells: Sequence[NDArray[np.int64]], totals: NDArray[np.int64]) -> dict[str, Any]:
    """Counts of a quantitative trait, and by class: as :func:`told_binary`, with the columns present and absent."""
    tables = [totals[None, :], *cells]
    told = finest(tables, QUANTITATIVE_PARTS)
    n = int(totals[PRESENT])
    tells_n = told.tells(PRESENT)
    return {
        **_told_or(n, told, tables, (PRESENT,), cohort.n),
        "known": [n] if tells_n else [],
        "open": tells_n,
        "classes": [
            [None if hide else [int(n)] for hide, n in zip(hidden.tolist(), table[:, PRESENT], strict=True)]
            for hidden, table in zip(told.hidden[1:], cells, strict=True)
        ],
    }


def few(told: Told, tables: Sequence[NDArray[np.int64]], columns: tuple[int, ...]) -> bool:
    """Whether it may be told that all of these columns together are a small count.

    Others that are told as one with them then have all but 20 of each row; that must say nothing of a small one.
    """
    if not is_small(int(tables[0][:, list(columns)].sum())):
        return False
    everything = tuple(range(tables[0].shape[1]))
    part = next((part for part in told.parts if set(columns) <= set(part)), everything)
    others = [column for column in part if column not in columns]
    return not any(is_small(count) for table in tables for count in table[:, others].ravel().tolist())


def _told_or(
    n: int, told: Told, tables: Sequence[NDArray[np.int64]], present: tuple[int, ...], people: int
) -> dict[str, Any]:
    """How many have a value; where all but a few have, that."""
    tells = told.tells(*present)
    nearly = not tells and few(told, tables, (max(present) + 1,))
    return {
        "n": f"{n:,}" if tells else f"≥{people - SMALL:,}" if nearly else FEW if few(told, tables, present) else HIDDEN,
        "missing": _share(people - n, people) if tells else None,
        "nearly": nearly,
    }


def _share(part: int, whole: int) -> float | None:
    return significant(part / whole) if whole else None


def told_steps(steps: Sequence[Mapping[str, Any]], counts: ToldCounts) -> list[list[str]]:
    """The steps of a selection: what, people, and whether it is a remark about some of them."""
    return [[str(step["what"]), counts.tell(int(step["people"])), str(step["kind"])] for step in steps]


def counts_of(cohort: Cohort, told: Mapping[str, Any]) -> ToldCounts:
    """What the page says of a trait's people, for whatever else it says of them."""
    known = told["known"]
    beside = [n for classes in cohort.classes for n in classes.people.tolist()]
    return ToldCounts([cohort.n, *known], beside, wholes=[cohort.n, *known[:1]], closed=not told["open"])


def significant(value: float, digits: int = 4) -> float:
    """A number with as many digits as are told."""
    return float(f"{value:.{digits}g}")


def quartiles(ordered: NDArray[np.float64]) -> list[float] | None:
    """Quartiles of more than a few people's values, which are in order."""
    if len(ordered) <= SMALL:
        return None
    return [significant(at) for at in _quantiles(ordered, (0.25, 0.5, 0.75))]


def summary(ordered: NDArray[np.float64]) -> dict[str, Any] | None:
    """Mean, deviation and quantiles; the outer ones where more than a few people are beyond them."""
    n = len(ordered)
    if n <= SMALL:
        return None
    tails = [0.05, 0.95] if 0.05 * n > SMALL else []
    shares = sorted([0.25, 0.5, 0.75, *tails])
    return {
        "mean": significant(float(ordered.mean())),
        "sd": significant(float(ordered.std(ddof=1))),
        "quantiles": [[share, significant(at)] for share, at in zip(shares, _quantiles(ordered, shares), strict=True)],
    }


def _quantiles(ordered: NDArray[np.float64], shares: Sequence[float]) -> list[float]:
    at = np.asarray(shares) * (len(ordered) - 1)
    below = at.astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)
    found: list[float] = (ordered[below] + (at - below) * (ordered[above] - ordered[below])).tolist()
    return found


def histogram(ordered: NDArray[np.float64], people: int, *, tells_n: bool) -> dict[str, Any] | None:
    """Counts of values in bins, none of them small; the outer bins are open.

    Parameters
    ----------
    ordered
        (n,) the values, in order.
    people
        Everybody, with a value or without.
    tells_n
        Whether n is told. If not, counts are rounded down to multiples of 20, and told only if n does not follow.

    Returns
    -------
    ``edges`` between the bins (one fewer than ``counts``), ``counts``, and whether the edges stand between whole
    numbers; None where there is nothing to tell.
    """
    n = len(ordered)
    if n <= SMALL:
        return None
    edges = _edges(ordered)
    if edges is None:
        return None
    counts = np.diff(np.searchsorted(ordered, edges), prepend=0, append=n)
    merged = merged_neighbours(counts)
    shown = [int(counts[stretch].sum()) for stretch in merged]
    inner = [significant(float(edges[stretch.start - 1]), 10) for stretch in merged[1:]]
    while shown and shown[0] == 0:
        shown, inner = shown[1:], inner[1:]
    while shown and shown[-1] == 0:
        shown, inner = shown[:-1], inner[:-1]
    if len(shown) < 2:
        return None
    if not tells_n:
        shown = [count // SMALL * SMALL for count in shown]
        least, most = sum(shown), sum(count + SMALL - 1 for count in shown if count)
        if least > people - SMALL or most < people - 1:
            return None
    return {"edges": inner, "counts": shown, "whole": _is_whole(edges), "rounded": not tells_n}


def _is_whole(edges: NDArray[np.float64]) -> bool:
    return bool((edges - np.floor(edges) == 0.5).all())


def _edges(ordered: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Round numbers, chosen so that no value shows: they depend on where most people are."""
    n = len(ordered)
    tail = min(0.1, max(0.01, (SMALL + 1) / n))
    low, high = _quantiles(ordered, (tail, 1 - tail))
    if np.all(ordered == np.rint(ordered)) and 1 <= high - low <= _WHOLE:
        return np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
    if not low < high:
        return None
    rough = (high - low) / min(_BINS, max(4, n // _PEOPLE_OF_A_BIN))
    power = 10.0 ** np.floor(np.log10(rough))
    width = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * (1 - 1e-9))
    edges: NDArray[np.float64] = width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)
    return edges
