"""Definitions by loops over people and dictionaries of their events: what the compiled ones are compared with."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

DAYS = {"d": 1, "w": 7, "y": 365}
MGDL_OF_MMOLL = 18.016


@dataclass
class Person:
    """What the records have of somebody: events by table, (date, code, value, unit, supply)."""

    sex: str = "F"
    birth: dt.date | None = None
    events: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    periods: list[tuple[dt.date, dt.date]] = field(default_factory=list)
    visits: list[dt.date] = field(default_factory=list)
    death: dt.date | None = None

    @property
    def start(self) -> dt.date | None:
        return min((a for a, _ in self.periods), default=None)

    @property
    def stop(self) -> dt.date | None:
        return max((b for _, b in self.periods), default=None)


def days(text: str) -> int:
    return int(text[:-1]) * DAYS[text[-1]]


def birthday(birth: dt.date, years: int) -> dt.date:
    try:
        return birth.replace(year=birth.year + years)
    except ValueError:
        return dt.date(birth.year + years, 2, 28)


def aged(birth: dt.date | None, day: dt.date, ages: dict[str, int]) -> bool:
    if birth is None:
        return False
    return birthday(birth, ages.get("at_least", 0)) <= day < birthday(birth, ages.get("below", 200))


def uses_ages(value: Any) -> bool:
    if isinstance(value, dict):
        return any(key in ("ages", "case_ages") or uses_ages(inner) for key, inner in value.items())
    return isinstance(value, list) and any(map(uses_ages, value))


class UnfulfilledError(Exception):
    """The criterion is not fulfilled."""


def fulfilled(person: Person, criterion: dict[str, Any], spec: dict[str, Any], index: dt.date | None) -> dt.date | None:
    """Since when somebody fulfils a criterion (None: no date)."""
    if "all" in criterion:
        found = [fulfilled(person, part, spec, index) for part in criterion["all"]]
        return max((day for day in found if day is not None), default=None)
    if "any" in criterion:
        found, some = [], False
        for part in criterion["any"]:
            try:
                found.append(fulfilled(person, part, spec, index))
                some = True
            except UnfulfilledError:
                continue
        if not some:
            raise UnfulfilledError
        return min((day for day in found if day is not None), default=None)
    if "none" in criterion:
        for part in criterion["none"]:
            try:
                fulfilled(person, part, spec, index)
            except UnfulfilledError:
                continue
            raise UnfulfilledError
        return None
    return _of_events(person, criterion, spec, index)


def _of_events(person: Person, criterion: dict[str, Any], spec: dict[str, Any], index: dt.date | None) -> dt.date:
    kept = []
    if "death" in criterion:
        events = [(person.death, None, None, None, 0)] if person.death else []
    else:
        wanted = spec["codes"][criterion["codes"]]["codes"]
        tables = criterion.get("tables", ["conditions", "observations"])
        events = [event for table in tables for event in person.events.get(table, []) if event[1] in wanted]
    for day, _, value, unit, supply in events:
        if "ages" in criterion and not aged(person.birth, day, criterion["ages"]):
            continue
        dates = criterion.get("dates", {})
        if not dates.get("since", "0000") <= day.isoformat() <= dates.get("until", "9999"):
            continue
        if "value" in criterion and not _value_counts(value, unit, criterion["value"]):
            continue
        if "within" in criterion:
            if index is None:
                continue
            before, after = (criterion["within"].get(key, "0d") for key in ("before", "after"))
            if before != "any" and day < index - dt.timedelta(days(before)):
                continue
            if after != "any" and day > index + dt.timedelta(days(after)):
                continue
        kept.append((day, supply))
    kept.sort()
    distinct = sorted({day for day, _ in kept})
    n, m, span = criterion.get("min_dates", 1), criterion.get("min_events", 1), days(criterion.get("span", "0d"))
    if len(distinct) < n or len(kept) < m or (distinct[-1] - distinct[0]).days < span:
        raise UnfulfilledError
    if "min_supply" in criterion and sum(supply for _, supply in kept) < days(criterion["min_supply"]):
        raise UnfulfilledError
    if criterion.get("dated") == "last":
        return distinct[-1]
    if criterion.get("dated") == "confirmed":
        apart = next(day for day in distinct if (day - distinct[0]).days >= span)
        return max(distinct[n - 1], kept[m - 1][0], apart)
    return distinct[0]


def _value_counts(value: float | None, unit: str | None, wanted: dict[str, Any]) -> bool:
    if value is None:
        return False
    if wanted["unit"] == "mg/dL":
        if unit == "mmol/L" and "molar_mass" in wanted:
            value *= MGDL_OF_MMOLL
        elif unit != "mg/dL":
            return False
    return (
        value > wanted.get("above", -1e99)
        and value >= wanted.get("at_least", -1e99)
        and value < wanted.get("below", 1e99)
        and value <= wanted.get("at_most", 1e99)
    )


def true_of(person: Person, criterion: dict[str, Any], spec: dict[str, Any], index: dt.date | None) -> bool:
    try:
        fulfilled(person, criterion, spec, index)
    except UnfulfilledError:
        return False
    return True


def _as_asked(person: Person, wanted: dict[str, Any]) -> bool:
    start, stop = person.start, person.stop
    if "min_record" in wanted and (start is None or (stop - start).days < days(wanted["min_record"])):
        return False
    if "min_visits" in wanted and len(set(person.visits)) < wanted["min_visits"]:
        return False
    return "ages" not in wanted or (stop is not None and aged(person.birth, stop, wanted["ages"]))


def _of_all(person: Person, spec: dict[str, Any], needs_birth: bool = False) -> bool:
    if spec.get("sex", "both") != "both" and person.sex != {"male": "M", "female": "F"}[spec["sex"]]:
        return False
    if (needs_birth or uses_ages(spec)) and person.birth is None:
        return False
    return _as_asked(person, spec.get("people", {}))


def case_control(person: Person, spec: dict[str, Any]) -> int:
    """1 case, 0 control, -1 missing."""
    if not _of_all(person, spec):
        return -1
    index = None
    if "index" in spec:
        try:
            index = fulfilled(person, spec["index"], spec, None)
        except UnfulfilledError:
            return -1
    if any(true_of(person, criterion, spec, index) for criterion in spec.get("exclude", [])):
        return -1
    try:
        since = fulfilled(person, spec["cases"], spec, index)
    except UnfulfilledError:
        return _control(person, spec, index)
    day = index if "index" in spec else since
    if "case_ages" in spec and (day is None or not aged(person.birth, day, spec["case_ages"])):
        return -1
    if "washout" in spec and (day is None or person.start is None or (day - person.start).days < days(spec["washout"])):
        return -1
    return -1 if any(true_of(person, one, spec, day) for one in spec.get("exclude_cases", [])) else 1


def _control(person: Person, spec: dict[str, Any], index: dt.date | None) -> int:
    controls = spec.get("controls", {})
    without = controls["without"] if "without" in controls else list(_evidence(spec["cases"]))
    if any(true_of(person, criterion, spec, index) for criterion in without):
        return -1
    if "require" in controls and not true_of(person, controls["require"], spec, index):
        return -1
    return 0 if _as_asked(person, controls) else -1


def _evidence(criterion: dict[str, Any]) -> Any:
    if "none" in criterion:
        return
    parts = criterion.get("all", criterion.get("any"))
    if parts is None:
        yield {key: criterion[key] for key in ("codes", "death", "tables", "value") if key in criterion}
    for part in parts or []:
        yield from _evidence(part)


def time_to_event(person: Person, spec: dict[str, Any]) -> tuple[int, float, float] | None:
    """Event, years at entry, years at exit; None: missing."""
    entry, censoring = spec.get("entry", {}), spec.get("censoring", {})
    by_age = spec.get("scale", "age") == "age"
    needs = by_age or "age" in entry or "age" in censoring or entry.get("at") == "birth"
    if not _of_all(person, spec, needs) or person.start is None:
        return None
    index = None
    if "after" in entry:
        try:
            index = fulfilled(person, entry["after"], spec, None)
        except UnfulfilledError:
            return None
    if any(true_of(person, criterion, spec, index) for criterion in spec.get("exclude", [])):
        return None
    came = person.birth if entry.get("at") == "birth" else person.start
    came += dt.timedelta(days(entry.get("delay", "0d")))
    if "age" in entry:
        came = max(came, birthday(person.birth, entry["age"]))
    if index is not None:
        came = max(came, index)
    left = [person.stop]
    if censoring.get("death", True) and person.death is not None:
        left.append(person.death)
    if "age" in censoring:
        left.append(birthday(person.birth, censoring["age"]))
    if "follow_up" in censoring:
        left.append(came + dt.timedelta(days(censoring["follow_up"])))
    events = [one for one in censoring.get("events", []) if true_of(person, one, spec, index)]
    left += [fulfilled(person, one, spec, index) for one in events]
    last = min(left)
    event = fulfilled(person, spec["event"], spec, index) if true_of(person, spec["event"], spec, index) else None
    if event is not None and event <= came:
        return None
    happened = event is not None and event <= last
    stop = event if happened else last
    if stop <= came:
        return None
    origin = person.birth if by_age else came
    return int(happened), (came - origin).days / 365.25, (stop - origin).days / 365.25
