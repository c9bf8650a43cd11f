"""Wearables: one number for each person, of the days on which the device was worn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from allscan.errors import InputError
from allscan.phenotypes.quantities.arithmetic import number
from allscan.phenotypes.quantities.measurement import finished
from allscan.phenotypes.quantities.near import window_gates
from allscan.phenotypes.quantities.spec import Bounds, Summarised
from allscan.phenotypes.quantities.values import LARGEST, Gate, Values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.phenotype import Phenotype
    from allscan.phenotypes.records.records import Records

ACTIVITY, SLEEP, MINUTES, ZONES = (
    "activity_summary",
    "sleep_daily_summary",
    "heart_rate_minute_level",
    "heart_rate_summary",
)
PLAUSIBLE_RATE = (30, 220)
"""Beats per minute; other minutes count as not worn."""


@dataclass(frozen=True)
class Measure:
    """A number of a day."""

    table: str
    columns: tuple[str, ...]
    value: str  # SQL of the columns
    unit: str
    meaning: str


MEASURES = {
    "steps": Measure(ACTIVITY, ("steps",), "steps", "steps/d", "steps of the day"),
    "sedentary_minutes": Measure(ACTIVITY, ("sedentary_minutes",), "sedentary_minutes", "min/d", "minutes sitting"),
    "lightly_active_minutes": Measure(
        ACTIVITY, ("lightly_active_minutes",), "lightly_active_minutes", "min/d", "minutes of light activity"
    ),
    "active_minutes": Measure(
        ACTIVITY,
        ("fairly_active_minutes", "very_active_minutes"),
        "fairly_active_minutes + very_active_minutes",
        "min/d",
        "minutes of moderate and vigorous activity (fairly and very active)",
    ),
    "calories": Measure(ACTIVITY, ("calories_out",), "calories_out", "kcal/d", "energy used"),
    "sleep_hours": Measure(SLEEP, ("minute_asleep",), "minute_asleep / 60", "h/d", "hours asleep in the main sleep"),
    "deep_sleep_minutes": Measure(SLEEP, ("minute_deep",), "minute_deep", "min/d", "minutes of deep sleep"),
    "rem_sleep_minutes": Measure(SLEEP, ("minute_rem",), "minute_rem", "min/d", "minutes of REM sleep"),
    "sleep_efficiency": Measure(
        SLEEP,
        ("minute_asleep", "minute_in_bed"),
        "CASE WHEN minute_in_bed > 0 THEN minute_asleep / minute_in_bed END",
        "",
        "share of the time in bed that is slept",
    ),
    "resting_heart_rate": Measure(
        MINUTES, ("heart_rate_value",), "heart_rate_value", "/min", "low quantile of the day's minutes"
    ),
}
"""What is known of days, by table and column of All of Us."""

MeasureName = Literal[
    "steps",
    "sedentary_minutes",
    "lightly_active_minutes",
    "active_minutes",
    "calories",
    "sleep_hours",
    "deep_sleep_minutes",
    "rem_sleep_minutes",
    "sleep_efficiency",
    "resting_heart_rate",
]


class Wearable(Summarised):
    """A quantity of a wearable device, of days that count."""

    kind: Literal["wearable"] = Field(description="Kind of the definition.")
    measure: MeasureName = Field(
        description="; ".join(f"`{name}`: {one.meaning}" for name, one in MEASURES.items()) + "."
    )
    valid: Bounds | None = Field(
        default=None, description="Smallest and largest value of a day that counts.", examples=[[100, 45000]]
    )
    worn_hours: float | None = Field(
        default=None,
        gt=0,
        le=24,
        description="Hours with a heart rate that a day that counts has, at least; from `heart_rate_summary`, or else "
        "`heart_rate_minute_level`.",
    )
    min_days: int = Field(default=10, ge=1, description="Days that count, at least.")
    quantile: float = Field(default=0.05, gt=0, lt=1, description="Of the minutes of a day, for `resting_heart_rate`.")

    @model_validator(mode="after")
    def _quantile_of_what(self) -> Self:
        if "quantile" in self.model_fields_set and self.measure != "resting_heart_rate":
            raise InputError(f"{self.measure} is no quantile of minutes", fix="remove the key `quantile`")
        return self


SPEC = Wearable


def derive(records: Records, definition: Definition) -> Iterator[Phenotype]:
    """The trait of a definition.

    Raises
    ------
    InputError
        If the records lack the tables of the device.
    """
    spec = definition.spec
    assert isinstance(spec, Wearable)
    measure = MEASURES[spec.measure]
    values = Values(records, measure.table, spec.id)
    with definition.at("measure"):
        days = _minutes(records, spec) if measure.table == MINUTES else _days(records, measure)
    gates = [
        Gate(f"isfinite(value) AND abs(value) <= {number(LARGEST)}", "with a number", "days without a number"),
    ]
    if spec.valid is not None:
        low, high = spec.valid
        told = f"{low:g} to {high:g} {measure.unit}".rstrip()
        gates.append(Gate(f"value BETWEEN {number(low)} AND {number(high)}", f"with {told}", f"days outside of {told}"))
    if spec.worn_hours is not None:
        if measure.table != MINUTES:
            with definition.at("worn_hours"):
                days = f"SELECT d.*, w.worn FROM ({days}) AS d LEFT JOIN ({_worn(records)}) AS w USING (person, date)"
        gates.append(
            Gate(
                f"worn >= {number(60 * spec.worn_hours)}",
                f"worn {spec.worn_hours:g} hours",
                f"days worn for less than {spec.worn_hours:g} hours",
            )
        )
    gates += window_gates(spec.ages, spec.dates)
    values.read(
        f"SELECT d.*, p.birth FROM ({days}) AS d JOIN people AS p USING (person)",
        gates,
        "median",
        first="with a device",
    )
    yield finished(values, definition, spec, {}, min_values=spec.min_days, units=measure.unit, days="days that count")


def _days(records: Records, measure: Measure) -> str:
    """SQL of the days of a table that has one row for each."""
    if measure.table != SLEEP:
        return f"SELECT person, date, {measure.value} AS value FROM {records.events(measure.table, measure.columns)}"
    nights = records.events(SLEEP, ("is_main_sleep", *measure.columns))
    main = "lower(is_main_sleep) IN ('true', 't', 'yes', '1', '1.0')"
    return f"SELECT person, date, {measure.value} AS value FROM {nights} WHERE {main}"


def _rates(records: Records) -> str:
    """SQL of how many minutes of a day had which heart rate: ``person``, ``date``, ``value``, ``n``."""
    # The minutes of a day are counted where they stand: there are half a million of them in a person's year.
    minutes = records.events(MINUTES, ("heart_rate_value",), counted=True)
    low, high = PLAUSIBLE_RATE
    return (
        f"SELECT person, date, heart_rate_value AS value, sum(n) AS n FROM {minutes} "
        f"WHERE heart_rate_value BETWEEN {low} AND {high} GROUP BY ALL"
    )


def _minutes(records: Records, spec: Wearable) -> str:
    """SQL of the quantile of each day's minutes, and of how many there are."""
    summed = (
        "SELECT *, sum(n) OVER (PARTITION BY person, date ORDER BY value) AS upto, "
        f"sum(n) OVER (PARTITION BY person, date) AS worn FROM ({_rates(records)})"
    )
    return (
        "SELECT person, date, min(value) AS value, any_value(worn) AS worn "
        f"FROM ({summed}) WHERE upto >= {number(spec.quantile)} * worn GROUP BY person, date"
    )


def _worn(records: Records) -> str:
    """SQL of the minutes of a day with a heart rate."""
    if records.has(ZONES, "date", "zone_name", "minute_in_zone") or not records.has(MINUTES):
        zones = records.events(ZONES, ("zone_name", "minute_in_zone"))
        once = f"SELECT person, date, zone_name, max(minute_in_zone) AS n FROM {zones} GROUP BY ALL"
    else:
        once = _rates(records)
    return f"SELECT person, date, sum(n) AS worn FROM ({once}) GROUP BY person, date"
