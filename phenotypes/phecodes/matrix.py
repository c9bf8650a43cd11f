"""From diagnoses and their dates to phecodes: on how many days everybody had each, and who is case and control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from allscan.phenotypes.phecodes.maps import CodeTable

CASE, CONTROL, MISSING = 1, 0, -1

MOST_DATES = 255
"""Dates are counted up to here."""
KEY_BYTES = 40
"""Memory for each date of a phecode of a person, while a range of people is counted."""

Events = tuple["NDArray[np.int32]", "NDArray[np.int32]", "NDArray[np.int32]"]
"""Arrays (events,): the person, the code (a row of the table of codes), the day as a number."""


@dataclass(frozen=True)
class PhecodeDates:
    """Who has which phecode, and on how many days. Those of phecode ``p`` stand at ``ends[p]`` to ``ends[p + 1]``."""

    people: int
    ends: NDArray[np.int64]  # (phecodes + 1,)
    person: NDArray[np.int32]  # (pairs,) increasing within a phecode
    dates: NDArray[np.uint8]  # (pairs,) at least 1; MOST_DATES: so many, or more

    def of(self, phecode: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """The people who have a phecode, and on how many days."""
        here = slice(self.ends[phecode], self.ends[phecode + 1])
        return self.person[here], self.dates[here]


@dataclass(frozen=True)
class CaseControl:
    """Who is case and control of one phecode, and what became of the others."""

    values: NDArray[np.int8]  # (people,) CASE, CONTROL or MISSING
    cases: int
    controls: int
    other_sex: int  # or unknown sex, where a phecode is of one
    too_few_dates: int  # of the remaining
    excluded: int  # of the remaining


def count_dates(
    events: Callable[[int, int], Iterable[Events]], codes: CodeTable, *, people: int, phecodes: int, memory: int
) -> PhecodeDates:
    """Count the days on which everybody had each phecode.

    Several codes of one phecode on one day count once, as does a code that is there twice.

    Parameters
    ----------
    events
        Gives the events of the people from one row to another, in batches of any size and order. Called once for
        everybody, and again for each range of people.
    codes
        The phecodes of the codes.
    people, phecodes
        How many there are.
    memory
        Bytes that the counting may take beside the result: people are taken in ranges as large as that allows.
    """
    load, days = _survey(events, codes, people)
    blocks = [
        _count_range(events, codes, first, last, int(load[first:last].sum()), days, phecodes)
        for first, last in _ranges(load, max(1, memory // KEY_BYTES))
    ]
    return _joined(blocks, people, phecodes)


def case_control(
    dates: PhecodeDates,
    phecode: int,
    *,
    min_dates: int,
    excluded: Sequence[int] = (),
    sex: NDArray[np.int8] | None = None,
    only_sex: int = 0,
) -> CaseControl:
    """Who is case and control of a phecode.

    Cases have it on ``min_dates`` days or more. Neither case nor control are people who have it on fewer days, who have
    one of the ``excluded`` phecodes on any day without being cases, or are not of the sex that the phecode is of.

    Parameters
    ----------
    dates
        On how many days people have phecodes.
    phecode
        Which one.
    min_dates
        Days that make a case.
    excluded
        Phecodes that controls may not have.
    sex
        (people,) 1 men, 2 women, 0 unknown; only for ``only_sex``.
    only_sex
        1 or 2 for a phecode of men or women; 0 for others.
    """
    values = np.zeros(dates.people, np.int8)
    for other in excluded:
        values[dates.of(other)[0]] = MISSING
    person, count = dates.of(phecode)
    is_case = count >= min_dates
    values[person] = np.where(is_case, CASE, MISSING)
    if only_sex and sex is not None:
        wrong = sex != only_sex
        values[wrong] = MISSING
        other_sex = int(np.count_nonzero(wrong))
        too_few = int(np.count_nonzero(~is_case & ~wrong[person]))
    else:
        other_sex, too_few = 0, int(np.count_nonzero(~is_case))
    cases = int(np.count_nonzero(values == CASE))
    controls = int(np.count_nonzero(values == CONTROL))
    return CaseControl(
        values, cases, controls, other_sex, too_few, dates.people - cases - controls - other_sex - too_few
    )


@dataclass(frozen=True)
class _Days:
    first: int
    bits: int


def _survey(
    events: Callable[[int, int], Iterable[Events]], codes: CodeTable, people: int
) -> tuple[NDArray[np.int64], _Days]:
    """Dates of phecodes of each person, repeated ones with them, and the days that there are."""
    load = np.zeros(people, np.int64)
    links = codes.counts
    first, last = np.iinfo(np.int32).max, np.iinfo(np.int32).min
    for person, code, day in events(0, people):
        if len(person):
            load += np.bincount(person, links[code], minlength=people).astype(np.int64)
            first, last = min(first, int(day.min())), max(last, int(day.max()))
    return load, _Days(first, max(0, last - first).bit_length())


def _ranges(load: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of people that have ``most`` dates at most, or are one person."""
    total = np.cumsum(load)
    first = 0
    while first < len(load):
        done = int(total[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(total, done + most, side="right")))
        yield first, last
        first = last


@dataclass(frozen=True)
class _Block:
    """Of a range of people: as :class:`PhecodeDates`."""

    sizes: NDArray[np.int64]
    person: NDArray[np.int32]
    dates: NDArray[np.uint8]


def _count_range(
    events: Callable[[int, int], Iterable[Events]],
    codes: CodeTable,
    first: int,
    last: int,
    load: int,
    days: _Days,
    phecodes: int,
) -> _Block:
    # Phecode, person and day in one number each: sorted, equal ones stand together, and so do those of a person.
    person_bits = (last - first - 1).bit_length()
    if (phecodes - 1).bit_length() + person_bits + days.bits > 64:
        raise ValueError("too many people, phecodes and days for one range")
    keys = np.empty(load, np.uint64)
    filled = 0
    counts = codes.counts
    for person, code, day in events(first, last):
        links = counts[code]
        total = int(links.sum())
        which = np.repeat(codes.ends[code] - (np.cumsum(links) - links), links) + np.arange(total)
        key = ((person - first).astype(np.uint64) << np.uint64(days.bits)) | (day - days.first).astype(np.uint64)
        here = keys[filled : filled + total]
        np.left_shift(codes.phecodes[which].astype(np.uint64), np.uint64(person_bits + days.bits), out=here)
        here |= np.repeat(key, links)
        filled += total
    if filled != load:
        raise ValueError("the events changed while they were counted")
    keys.sort()
    keys = keys[_begins(keys)]
    keys >>= np.uint64(days.bits)
    starts = np.flatnonzero(_begins(keys))
    dates = np.minimum(np.diff(starts, append=len(keys)), MOST_DATES).astype(np.uint8)
    pairs = keys[starts]
    person = (pairs & np.uint64((1 << person_bits) - 1)).astype(np.int32) + np.int32(first)
    sizes = np.bincount((pairs >> np.uint64(person_bits)).astype(np.int64), minlength=phecodes)
    return _Block(sizes, person, dates)


def _begins(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Where a number differs from the one before it."""
    fresh = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=fresh[1:])
    return fresh


def _joined(blocks: list[_Block], people: int, phecodes: int) -> PhecodeDates:
    sizes = (
        np.sum([block.sizes for block in blocks], axis=0, dtype=np.int64) if blocks else np.zeros(phecodes, np.int64)
    )
    ends = np.concatenate([[0], np.cumsum(sizes)])
    person = np.empty(ends[-1], np.int32)
    dates = np.empty(ends[-1], np.uint8)
    free = ends[:-1].copy()
    while blocks:
        # Taken off the list, so that its memory is free once it is copied.
        block = blocks.pop(0)
        here = np.repeat(free - (np.cumsum(block.sizes) - block.sizes), block.sizes) + np.arange(len(block.person))
        person[here] = block.person
        dates[here] = block.dates
        free += block.sizes
    return PhecodeDates(people, ends, person, dates)
