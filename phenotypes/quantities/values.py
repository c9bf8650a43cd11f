"""Values of people on their way to one number: tested, one a day, kept or left out, counted at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.phenotypes.phenotype import Step
from allscan.phenotypes.quantities.arithmetic import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.phenotypes.records.records import Records

FEW = 20
"""Counts from 1 to this are not told (the policy of All of Us)."""

LARGEST = 1e100
"""Values beyond it are none: their squares still have to be numbers."""

SAME_DAY = {"median": "median({v})", "mean": "avg({v} ORDER BY {v})", "min": "min({v})", "max": "max({v})"}
"""From several values of a day to one, whatever their order."""

_YEARS = "((date - DATE '1900-01-01') / 365.25)"
_SUMMARIES = {
    "first": "arg_min(value, date)",
    "last": "arg_max(value, date)",
    "median": "median(value)",
    "mean": "avg(value ORDER BY date)",
    "min": "min(value)",
    "max": "max(value)",
    "sd": "stddev_samp(value ORDER BY date)",
    "slope": f"regr_slope(value, {_YEARS} ORDER BY date)",
    "nearest": "arg_min(value, 2 * abs(date - origin) + CAST(date > origin AS INTEGER))",
}
_SUMS = ("mean", "sd", "slope")
"""What depends, in its last bits, on the order of the values; sorting within groups is fast if the table is sorted."""

_AT_LEAST = {"sd": 2, "slope": 2}


def told(count: int) -> str:
    """A count in words that may leave: none of 1 to 20."""
    return f"{count:,}" if count == 0 or count > FEW else f"≤{FEW}"


@dataclass(frozen=True)
class Gate:
    """What a row has to be to count."""

    condition: str  # SQL of the row's columns; NULL is no
    left: str  # who is left behind it: "with a number"
    lost: str  # what is wrong with those that are not: "rows without a number"


class Values:
    """Values of people: a relation ``person``, ``date``, ``value`` in the records' connection, one row for each day.

    Parameters
    ----------
    records
        Of people.
    table
        Of the records, for what is said of their quality.
    name
        Of the trait, for the same.
    """

    def __init__(self, records: Records, table: str, name: str) -> None:
        self.records = records
        self.relation = ""
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self._table = table
        self._name = name
        self._made: list[str] = []
        self._beside: list[str] = []

    def read(self, rows: str, gates: Sequence[Gate], same_day: str, *, first: str) -> None:
        """Test rows and make one value of each person and day.

        Parameters
        ----------
        rows
            SQL query with ``person``, ``date``, ``value`` and what the gates use.
        gates
            In their order.
        same_day
            Of ``SAME_DAY``.
        first
            Whom the query finds, for the first step.
        """
        connection = self.records.connection
        stages = " ".join(f"WHEN ({gate.condition}) IS NOT TRUE THEN {i}" for i, gate in enumerate(gates))
        tested = self._fresh()
        connection.execute(
            f"CREATE TEMP TABLE {tested} AS SELECT person, date, CAST(value AS DOUBLE) AS value, "
            f"CAST(CASE {stages} ELSE {len(gates)} END AS TINYINT) AS stage FROM ({rows})"
        )
        rows_at = self._counted(f"SELECT stage, count(*) FROM {tested} GROUP BY stage", len(gates))
        people_at = self._counted(
            f"SELECT stage, count(*) FROM (SELECT max(stage) AS stage FROM {tested} GROUP BY person) GROUP BY stage",
            len(gates),
        )
        reached = np.cumsum(people_at[::-1])[::-1]  # people with a row that has come at least so far
        for what, people in zip((first, *(gate.left for gate in gates)), reached.tolist(), strict=True):
            self.steps.append(Step(what, people))
        for gate, lost in zip(gates, rows_at.tolist(), strict=False):
            self.records.note_quality(self._table, f"{self._name}: {gate.lost}", lost)
        self._replace(
            f"SELECT person, date, {SAME_DAY[same_day].format(v='value')} AS value FROM {tested} "
            f"WHERE stage = {len(gates)} GROUP BY person, date"
        )

    def take(self, query: str, what: str = "") -> None:
        """Have the rows of a query in place of the values; its ``{values}`` are these. A step, if it is said what."""
        self._replace(query.format(values=self.relation))
        if what:
            self.steps.append(Step(what, self._people("TRUE")))

    def remark(self, what: str, condition: str) -> None:
        """Count the people with a value of which something is true."""
        self.steps.append(Step(what, self._people(condition), "count"))

    def summarised(self, summary: str, *, min_values: int, min_span: int, what: str) -> NDArray[np.float64]:
        """One number for each person (people,); NaN for those without.

        Parameters
        ----------
        summary
            Of ``SUMMARIES``; ``nearest`` needs a column ``origin``.
        min_values, min_span
            Days with a value, and days from the first to the last, at least.
        what
            Of the last step.
        """
        enough = max(min_values, _AT_LEAST.get(summary, 1))
        if summary in _SUMS:
            self._replace(f"SELECT * FROM {self.relation} ORDER BY person, date")
        columns = self.records.connection.execute(
            f"SELECT person, value FROM (SELECT person, {_SUMMARIES[summary]} AS value "
            f"FROM {self.relation} GROUP BY person "
            f"HAVING count(*) >= {enough} AND max(date) - min(date) >= {min_span}) "
            f"WHERE isfinite(value) AND abs(value) <= {number(LARGEST)}"
        ).fetchnumpy()
        values = np.full(len(self.records.people), np.nan)
        values[np.asarray(columns["person"])] = np.asarray(columns["value"])
        self.steps.append(Step(what, len(columns["person"])))
        return values

    def side_table(self, query: str) -> str:
        """Keep the rows of a query until :meth:`drop`."""
        name = self.records.fresh_name("beside")
        self.records.connection.execute(f"CREATE TEMP TABLE {name} AS {query}")
        self._beside.append(name)
        return name

    def drop(self) -> None:
        """Give the memory back."""
        for relation in (*self._made, *self._beside):
            self.records.connection.execute(f"DROP TABLE IF EXISTS {relation}")
        self._made.clear()
        self._beside.clear()

    def rows(self) -> int:
        """How many values there are."""
        return int(self.records.connection.execute(f"SELECT count(*) FROM {self.relation}").fetchall()[0][0])

    def _fresh(self) -> str:
        name = self.records.fresh_name("values")
        self._made.append(name)
        return name

    def _replace(self, query: str) -> None:
        before, name = [*self._made], self._fresh()
        self.records.connection.execute(f"CREATE TEMP TABLE {name} AS {query}")
        for relation in before:
            self.records.connection.execute(f"DROP TABLE {relation}")
        self._made = [name]
        self.relation = name

    def _people(self, condition: str) -> int:
        counted = f"SELECT count(DISTINCT person) FROM {self.relation} WHERE {condition}"
        return int(self.records.connection.execute(counted).fetchall()[0][0])

    def _counted(self, query: str, highest: int) -> NDArray[np.int64]:
        counts = np.zeros(highest + 1, dtype=np.int64)
        for stage, count in self.records.connection.execute(query).fetchall():
            counts[stage] = count
        return counts
