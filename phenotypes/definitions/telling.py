"""Criteria in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.phenotypes.definitions.criteria import ANY, USUAL_TABLES

if TYPE_CHECKING:
    from allscan.phenotypes.definitions.criteria import Criterion, Value, Window
    from allscan.phenotypes.quantities.spec import Ages

_GROUPS = {"all": "all of", "any": "any of", "none": "none of"}
_BOUNDS = (("above", ">"), ("at_least", "≥"), ("below", "<"), ("at_most", "≤"))


def words(criterion: Criterion) -> str:
    """A criterion for people: ``2 dates of t2d in conditions, aged 40 or older``."""
    if criterion.parts:
        return f"{_GROUPS[criterion.head]} ({'; '.join(words(part) for part in criterion.parts)})"
    if criterion.definition is not None:
        told = [f"case of {criterion.definition}"]
    elif criterion.death is not None:
        told = ["death"]
    else:
        told = [_events(criterion)]
        if criterion.span is not None:
            told.append(f"{criterion.span} apart")
        if criterion.min_supply is not None:
            told.append(f"{criterion.min_supply} of supply")
    if criterion.ages is not None:
        told.append(told_ages(criterion.ages))
    if criterion.dates is not None:
        since = f"since {criterion.dates.since}" if criterion.dates.since else ""
        until = f"until {criterion.dates.until}" if criterion.dates.until else ""
        told.append(" ".join(filter(None, [since, until])))
    if criterion.within is not None:
        told.append(_window(criterion.within))
    return ", ".join(told)


def told_ages(ages: Ages) -> str:
    """Ages for people: ``aged 40 or older``."""
    if ages.at_least is not None and ages.below is not None:
        return f"aged {ages.at_least:g} to below {ages.below:g}"
    if ages.at_least is not None:
        return f"aged {ages.at_least:g} or older"
    return f"younger than {ages.below:g}" if ages.below is not None else "of a known age"


def _events(criterion: Criterion) -> str:
    counts = []
    if criterion.min_events > 1:
        counts.append(f"{criterion.min_events} events")
    if criterion.min_dates > 1:
        counts.append(f"{criterion.min_dates} dates")
    value = f" {_value(criterion.value)}" if criterion.value is not None else ""
    of = f"{' on '.join(counts)} of " if counts else ""
    return f"{of}{criterion.codes}{value} in {' or '.join(criterion.tables or USUAL_TABLES)}"


def _value(value: Value) -> str:
    bounds = [f"{sign} {getattr(value, name):g}" for name, sign in _BOUNDS if getattr(value, name) is not None]
    return f"{' and '.join(bounds)}{'' if value.unit == ANY else ' ' + value.unit}"


def _window(window: Window) -> str:
    def end(offset: str, side: str, other: str) -> str:
        if offset == ANY:
            return f"any time {side}"
        if offset.lstrip("-0") in ("d", "w", "y"):
            return "the index date"
        return f"{offset.lstrip('-')} {other if offset.startswith('-') else side}"

    return f"from {end(window.before, 'before', 'after')} to {end(window.after, 'after', 'before')}"
