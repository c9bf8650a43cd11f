"""Covariates of people's records: age, sex, and how much there is to know about somebody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.errors import InputError
from allscan.phenotypes.names import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from allscan.phenotypes.records.records import Records

DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class Covariate:
    """One column of the covariate table."""

    name: str
    values: NDArray[np.float64] | NDArray[np.object_]  # (people,) numbers, NaN missing; or texts, None missing
    description: str


@dataclass(frozen=True)
class _Kind:
    description: str
    make: Callable[[Records], NDArray[np.float64]]


def covariate_columns(records: Records, names: Sequence[str]) -> list[Covariate]:
    """Covariates of everybody in the records.

    Parameters
    ----------
    records
        Where they come from.
    names
        Of :data:`KINDS`.

    Raises
    ------
    InputError
        If a name is unknown, or the records lack what it needs.
    """
    unknown = next((name for name in names if name not in KINDS), None)
    if unknown is not None:
        raise InputError(
            f"there is no covariate {unknown!r} of records",
            fix=did_you_mean(unknown, KINDS, otherwise=f"there are {listed(KINDS, limit=20)}"),
        )
    return [Covariate(name, KINDS[name].make(records), KINDS[name].description) for name in names]


def ages_on(records: Records, days: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Years from birth to a day of each person, (people,); NaN where either is missing."""
    lived = (days - records.people.birth).astype("timedelta64[D]")
    return np.where(np.isnat(lived), np.nan, lived.astype(np.float64) / DAYS_PER_YEAR)


def of_people(records: Records, sql: str, *, missing: float = np.nan) -> NDArray[np.float64]:
    """One number for each person, from a query with the columns ``person`` and ``value``."""
    found: dict[str, Any] = records.connection.execute(
        f"SELECT person, CAST(value AS DOUBLE) AS value FROM ({sql})"
    ).fetchnumpy()
    values = np.full(len(records.people), missing)
    values[found["person"]] = np.ma.filled(found["value"], np.nan)
    return values


def _days_of_people(records: Records, what: str) -> NDArray[np.datetime64]:
    periods = records.table("observation_period", ["observation_period_start_date", "observation_period_end_date"])
    column = {"first": "min(observation_period_start_date)", "last": "max(observation_period_end_date)"}[what]
    return _dates(records, f"least({column}, DATE '{records.until}')", periods)


def _dates(records: Records, date: str, rows: str) -> NDArray[np.datetime64]:
    """A date of each person, by an aggregate of their rows; NaT of who has none."""
    days = of_people(
        records, f"SELECT person, date_diff('day', DATE '1970-01-01', {date}) AS value FROM {rows} GROUP BY person"
    )
    out = np.full(len(days), np.datetime64("NaT"), dtype="datetime64[D]")
    known = ~np.isnan(days)
    out[known] = days[known].astype(np.int64).astype("datetime64[D]")
    return out


def _age(records: Records) -> NDArray[np.float64]:
    end = np.full(len(records.people), np.datetime64(records.until, "D"))
    if records.has("death", "death_date"):
        died = _dates(records, "min(date)", records.events("death"))
        end = np.where(np.isnat(died), end, died)
    return ages_on(records, end)


def _sex(records: Records) -> NDArray[np.float64]:
    sex = records.people.sex.astype(np.float64)
    sex[sex == 0] = np.nan
    return sex


def _record_years(records: Records) -> NDArray[np.float64]:
    """Periods may overlap: a day counts once."""
    periods = records.table("observation_period", ["observation_period_start_date", "observation_period_end_date"])
    start, end = "observation_period_start_date", f"least(observation_period_end_date, DATE '{records.until}')"
    years = of_people(
        records,
        f"WITH p AS (SELECT person, {start} AS a, {end} AS b FROM {periods} WHERE {end} >= {start}), "
        "m AS (SELECT person, a, b, max(b) OVER (PARTITION BY person ORDER BY a, b ROWS BETWEEN UNBOUNDED PRECEDING "
        "AND 1 PRECEDING) AS reached FROM p) "
        "SELECT person, sum(greatest(0, date_diff('day', CASE WHEN reached IS NULL OR reached < a "
        "THEN a - INTERVAL 1 DAY ELSE reached END, b))) AS value FROM m GROUP BY person",
    )
    return years / DAYS_PER_YEAR


def _days_with(table: str) -> Callable[[Records], NDArray[np.float64]]:
    def count(records: Records) -> NDArray[np.float64]:
        events = records.events(table)
        return of_people(
            records, f"SELECT person, count(DISTINCT date) AS value FROM {events} GROUP BY person", missing=0.0
        )

    return count


def _rows_of(table: str) -> Callable[[Records], NDArray[np.float64]]:
    def count(records: Records) -> NDArray[np.float64]:
        return of_people(
            records, f"SELECT person, count(*) AS value FROM {records.events(table)} GROUP BY person", missing=0.0
        )

    return count


def _birth_year(records: Records) -> NDArray[np.float64]:
    birth = records.people.birth
    return np.where(np.isnat(birth), np.nan, birth.astype("datetime64[Y]").astype(np.float64) + 1970)


KINDS: dict[str, _Kind] = {
    "age": _Kind("age in years at death, else at the end of the records", _age),
    "age_first_record": _Kind(
        "age in years when the record begins", lambda records: ages_on(records, _days_of_people(records, "first"))
    ),
    "age_last_record": _Kind(
        "age in years when the record ends", lambda records: ages_on(records, _days_of_people(records, "last"))
    ),
    "birth_year": _Kind("year of birth", _birth_year),
    "sex": _Kind("1 male, 2 female", _sex),
    "record_years": _Kind("years of record: days inside any observation period, each once, / 365.25", _record_years),
    "visits": _Kind("days with a visit", _days_with("visit_occurrence")),
    "code_days": _Kind("days with a diagnosis: contact with health care", _days_with("condition_occurrence")),
    "diagnoses": _Kind("diagnoses, every row", _rows_of("condition_occurrence")),
    "prescriptions": _Kind("drug exposures, every row", _rows_of("drug_exposure")),
}
"""Covariates of records: name → what it is, and how it is made."""

DEFAULT = ("age", "sex", "record_years", "visits")
