"""What the report says of each trait: one pass over the table, some columns at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.disclosure import FEW, HIDDEN, is_small, merged_neighbours
from allscan.jobs.phenotype_report.nested import CaseSets
from allscan.jobs.phenotype_report.told import (
    counts_of,
    histogram,
    quartiles,
    summary,
    told_binary,
    told_quantitative,
    told_steps,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.jobs.phenotype_report.people import Classes, Cohort
    from allscan.jobs.phenotype_report.reading import Batch, TraitReader

_ROWS = 1 << 15
"""People that are counted together: what they take fits a cache."""
LEAST_TRAITS = 20
"""From this many traits on the page says how many of them people lack: of fewer, the counts of people who lack
one, two or three would follow from those of the traits."""
_TENTHS = 10


@dataclass(frozen=True)
class Measured:
    """What is told of the traits."""

    traits: list[dict[str, Any]]  # in order of the table
    lacking: list[tuple[str, int]] | None  # share of the traits that somebody lacks: people
    weight: NDArray[np.int64]  # (traits,) people who tell it from others: cases or controls, whichever are fewer


def measure(reader: TraitReader, cohort: Cohort, facts: Sequence[Mapping[str, Any]]) -> Measured:
    """Count and describe every trait.

    Parameters
    ----------
    reader
        The values.
    cohort
        Everybody.
    facts
        What the trait table's provenance says of each trait.
    """
    place = {str(fact["name"]): at for at, fact in enumerate(facts)}
    described: dict[str, dict[str, Any]] = {}
    counted: dict[str, _Counted] = {}
    sets = CaseSets(cohort.n)
    lacked = np.zeros(cohort.n, dtype=np.int32)
    for batch in reader.batches(list(place)):
        for present in batch.present:
            lacked += ~present
        if batch.binary:
            cases = batch.values & batch.present
            sets.add(cases)
            counted |= zip(batch.names, _count(batch, cases, cohort), strict=True)
        else:
            described |= zip(batch.names, _quantitative(batch, cohort), strict=True)
    every = list(counted.values())
    for (name, one), around in zip(counted.items(), sets.containing(), strict=True):
        described[name] = _binary(one, [every[at] for at in around], cohort)
        close = [list(counted)[at] for at in around if is_small(int(every[at].totals[0] - one.totals[0]))]
        if close and described[name]["cases"] == HIDDEN:
            described[name]["beside"] = close
    found = [described[name] for name in place]
    for told, fact in zip(found, facts, strict=True):
        counts = counts_of(cohort, told)
        told["steps"] = told_steps(fact["steps"], counts)
        told["notes"] = [counts.tell_text(str(note)) for note in (*fact["warnings"], *fact["notes"])]
        told["notes"] += [
            f"The counts are hidden: {other} has all cases of this trait, and {FEW} more."
            for other in told.get("beside", ())
        ]
    return Measured(found, _lacking(lacked, len(facts)), np.array([told.pop("weight") for told in found]))


@dataclass(frozen=True)
class _Counted:
    """The people of a binary trait."""

    totals: NDArray[np.int64]  # (3,) cases, controls, without either
    cells: list[NDArray[np.int64]]  # for each of the cohort's classes: (classes, 3)
    compared: list[list[list[float] | None]]  # for each measure: quartiles of cases and of controls


def _count(batch: Batch, cases: NDArray[np.bool_], cohort: Cohort) -> Iterator[_Counted]:
    n_of, cases_of = _by_class(batch.present, cohort), _by_class(cases, cohort)
    n, n_cases = batch.present.sum(axis=1), cases.sum(axis=1)
    for row in range(len(batch.names)):
        controls = batch.present[row] & ~cases[row]
        yield _Counted(
            _columns(n_cases[row], n[row], cohort.n),
            [
                _columns(of_cases[row], of_all[row], classes.people)
                for of_cases, of_all, classes in zip(cases_of, n_of, cohort.classes, strict=True)
            ],
            [[measure.quartiles_of(mask) for mask in (cases[row], controls)] for measure in cohort.measures],
        )


def _binary(one: _Counted, around: Sequence[_Counted], cohort: Cohort) -> dict[str, Any]:
    cases_around = [[other.totals[:1], *(cells[:, 0] for cells in other.cells)] for other in around]
    told = told_binary(cohort, one.cells, one.totals, cases_around)
    told["compared"] = [
        [cases if told["tells_cases"] else None, controls if told["tells_controls"] else None]
        for cases, controls in one.compared
    ]
    told["weight"] = int(min(one.totals[0], one.totals[1])) if told["tells_cases"] else 0
    return told


def _columns(cases: Any, n: Any, people: Any) -> NDArray[np.int64]:
    return np.stack([cases, n - cases, people - n], axis=-1).astype(np.int64)


def _by_class(mask: NDArray[np.bool_], cohort: Cohort) -> list[NDArray[np.int64]]:
    """For each way of classing: how many are in the mask, (traits, classes)."""
    if not cohort.classes:
        return []
    counts = np.zeros((len(mask), sum(len(classes.labels) for classes in cohort.classes)), dtype=np.int64)
    for start in range(0, cohort.n, _ROWS):
        rows = slice(start, start + _ROWS)
        # Sums of at most 32,768 ones are exact in float32.
        counts += (mask[:, rows].astype(np.float32) @ _indicators(cohort, rows)).astype(np.int64)
    return np.split(counts, np.cumsum([len(classes.labels) for classes in cohort.classes])[:-1], axis=1)


def _indicators(cohort: Cohort, rows: slice) -> NDArray[np.float32]:
    """Classes of some people, all ways of classing side by side: 1 where somebody is in one."""
    found = [classes.code[rows, None] == np.arange(len(classes.labels)) for classes in cohort.classes]
    return np.concatenate(found, axis=1).astype(np.float32)


def _quantitative(batch: Batch, cohort: Cohort) -> Iterator[dict[str, Any]]:
    for values, present in zip(batch.values, batch.present, strict=True):
        by_class = [_ordered_by_class(values, classes) for classes in cohort.classes]
        n = int(present.sum())
        cells = [
            _present_absent(np.array([len(ordered) for ordered in found]), classes.people)
            for found, classes in zip(by_class, cohort.classes, strict=True)
        ]
        told = told_quantitative(cohort, cells, _present_absent(np.array(n), np.array(cohort.n)))
        everybody = np.sort(values[present])
        told["summary"] = summary(everybody)
        told["histogram"] = histogram(everybody, cohort.n, tells_n=told["open"])
        told["spread"] = [
            [
                quartiles(ordered) if row is not None or not told["open"] else None
                for ordered, row in zip(found, rows, strict=True)
            ]
            for found, rows in zip(by_class, told["classes"], strict=True)
        ]
        told["weight"] = n
        yield told


def _ordered_by_class(values: NDArray[np.float64], classes: Classes) -> list[NDArray[np.float64]]:
    ends = np.cumsum(classes.people)[:-1]
    parts = np.split(values[classes.order], ends)
    return [np.sort(part[~np.isnan(part)]) for part in parts]


def _present_absent(present: NDArray[np.int64], people: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack([present, people - present], axis=-1).astype(np.int64)


def _lacking(lacked: NDArray[np.int32], traits: int) -> list[tuple[str, int]] | None:
    """People by the share of the traits that they have no value of."""
    if traits < LEAST_TRAITS:
        return None
    # None, then tenths that leave out their lower end.
    band = np.where(lacked == 0, 0, -(-lacked.astype(np.int64) * _TENTHS // traits))
    counts = np.bincount(band, minlength=_TENTHS + 1)
    merged = merged_neighbours(counts)
    found = []
    for stretch in merged:
        low, high = max(stretch.start - 1, 0) * 10, (stretch.stop - 1) * 10
        label = "none" if high == 0 else f"up to {high} %" if stretch.start <= 1 else f"{low} to {high} %"
        if stretch.start == 1:
            label = f"some, {label}"
        found.append((label, int(counts[stretch].sum())))
    return found if len(found) > 1 else None
