"""Quantities by loops over rows, with dates counted by hand: what the SQL must find."""

from __future__ import annotations

import datetime as dt
import math
import statistics
from typing import Any

DAY = dt.timedelta(days=1)
TO_MG_DL = {"mg/dL": 1.0, "mmol/L": 38.665, "g/L": 100.0}


def birthday(birth: dt.date, age: int) -> dt.date:
    return birth.replace(year=birth.year + age)


def per_day(rows: list[dict[str, Any]], births: dict[int, dt.date | None], spec: dict[str, Any]) -> dict[int, Any]:
    """Person → date → value: rows are `person, date, amount, unit, operator`."""
    days: dict[int, dict[dt.date, list[float]]] = {}
    for row in rows:
        amount = row["amount"]
        if amount is None or math.isnan(amount) or math.isinf(amount):
            continue
        unit = row["unit"] or spec.get("assume")
        if unit not in TO_MG_DL:
            continue
        if row["operator"] in ("<", ">") and spec.get("beyond_limit") == "drop":
            continue
        if row["operator"] == "<" and spec.get("beyond_limit") == "half":
            amount = amount / 2
        value = TO_MG_DL[unit] * amount
        low, high = spec.get("plausible", (-math.inf, math.inf))
        if not low <= value <= high:
            continue
        ages = spec.get("ages")
        if ages:
            birth = births[row["person"]]
            if birth is None:
                continue
            if row["date"] < birthday(birth, ages["at_least"]) or row["date"] >= birthday(birth, ages["below"]):
                continue
        dates = spec.get("dates")
        if dates and not dates["since"] <= row["date"].isoformat() <= dates["until"]:
            continue
        days.setdefault(row["person"], {}).setdefault(row["date"], []).append(value)
    return {
        person: {day: statistics.median(values) for day, values in sorted(of.items())} for person, of in days.items()
    }


def without_events(
    values: dict[int, Any], events: list[tuple[int, dt.date]], before: int, after: int
) -> dict[int, Any]:
    out: dict[int, Any] = {}
    for person, days in values.items():
        for day, value in days.items():
            if not any(who == person and when - before * DAY <= day <= when + after * DAY for who, when in events):
                out.setdefault(person, {})[day] = value
    return out


def divided(
    values: dict[int, Any],
    exposures: list[tuple[int, dt.date, dt.date | None, int | None]],
    when: str,
    grace: int,
    by: float,
) -> dict[int, Any]:
    out: dict[int, Any] = {}
    for person, days in values.items():
        mine = [one for one in exposures if one[0] == person]
        for day, value in days.items():
            exposed = False
            for _, start, end, supply in mine:
                last = max(start, end or start, start + (supply - 1) * DAY if supply else start)
                if when == "ever" or (when == "since_first" and start <= day):
                    exposed = True
                if when == "exposed" and start <= day <= last + grace * DAY:
                    exposed = True
            out.setdefault(person, {})[day] = value / by if exposed else value
    return out


def summary(days: dict[dt.date, float], kind: str, origin: dt.date | None = None) -> float | None:
    ordered = sorted(days.items())
    values = [value for _, value in ordered]
    if kind == "first":
        return values[0]
    if kind == "last":
        return values[-1]
    if kind == "nearest":
        assert origin is not None
        return min(ordered, key=lambda item: (abs((item[0] - origin).days), item[0] > origin))[1]
    if kind in ("sd", "slope") and len(values) < 2:
        return None
    if kind == "slope":
        years = [(day - dt.date(1900, 1, 1)).days / 365.25 for day, _ in ordered]
        centre, mean = statistics.fmean(years), statistics.fmean(values)
        above = math.fsum((year - centre) * (value - mean) for year, value in zip(years, values, strict=True))
        return above / math.fsum((year - centre) ** 2 for year in years)
    return {
        "median": statistics.median,
        "mean": statistics.fmean,
        "min": min,
        "max": max,
        "sd": statistics.stdev,
    }[kind](values)
