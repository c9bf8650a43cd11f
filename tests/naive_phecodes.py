"""Phecodes person by person and phecode by phecode, with dictionaries: what the fast way must agree with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

CASE, CONTROL, MISSING = 1, 0, -1


def dates(
    events: Iterable[tuple[int, int, int]], phecodes_of: Mapping[int, Sequence[int]]
) -> dict[int, dict[int, set[int]]]:
    """Person → phecode → days, of (person, code, day)."""
    found: dict[int, dict[int, set[int]]] = {}
    for person, code, day in events:
        for phecode in phecodes_of.get(code, ()):
            found.setdefault(person, {}).setdefault(phecode, set()).add(day)
    return found


def status(
    days: Mapping[int, set[int]],
    phecode: int,
    *,
    min_dates: int,
    excluded: Sequence[int] = (),
    sex: int = 0,
    only_sex: int = 0,
) -> int:
    """What one person is of one phecode, from the days on which this person has phecodes."""
    if only_sex and sex != only_sex:
        return MISSING
    n = len(days.get(phecode, ()))
    if n >= min_dates:
        return CASE
    if n or any(other in days for other in excluded):
        return MISSING
    return CONTROL
