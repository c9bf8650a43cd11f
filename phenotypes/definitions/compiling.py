"""Criteria as relations of the local database: who fulfils one, and since when."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from allscan.arrow import number_array
from allscan.phenotypes.definitions.criteria import ANY, USUAL_TABLES
from allscan.phenotypes.definitions.loading import cohort
from allscan.phenotypes.definitions.spec import days
from allscan.phenotypes.definitions.telling import told_ages
from allscan.phenotypes.quantities.spec import TABLES
from allscan.phenotypes.quantities.units import UnknownUnitError, conversion, spelled, units_of_concepts
from allscan.phenotypes.records.codes import matching_events, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.documents.yaml_source import KeyPath
    from allscan.phenotypes.definitions.criteria import Criterion, People, Value, Window
    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.quantities.spec import Ages
    from allscan.phenotypes.records.codes import CodeEntry, ResolvedCodes
    from allscan.phenotypes.records.records import Records


def birthday_sql(birth: str, age: float) -> str:
    """SQL of the day on which somebody reaches an age; of 29 February, it is the 28th in other years."""
    return f"CAST({birth} + to_months({round(12 * age)}) AS DATE)"


def ages_sql(ages: Ages, birth: str, day: str) -> str:
    """SQL condition: somebody is of these ages on a day."""
    bounds = [f"{birth} IS NOT NULL"]
    bounds += [f"{day} >= {birthday_sql(birth, ages.at_least)}"] if ages.at_least is not None else []
    bounds += [f"{day} < {birthday_sql(birth, ages.below)}"] if ages.below is not None else []
    return " AND ".join(bounds)


@dataclass
class Compiler:
    """Compiles the criteria of one definition for some records.

    Every relation that it makes has one row for each person of whom a criterion is true: ``person`` and ``date``,
    which is missing where there is none.
    """

    records: Records
    definition: Definition
    codes: Mapping[str, Sequence[CodeEntry]]
    index: str | None = None  # relation of index dates, once there is one
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    resolved: dict[str, ResolvedCodes] = field(default_factory=dict)  # sets of codes that were asked for
    _events: dict[tuple[str, ...], str] = field(default_factory=dict)
    _made: dict[tuple[str, str | None], str] = field(default_factory=dict)
    _span: str = ""

    def relation(self, criterion: Criterion, key_path: KeyPath = ()) -> str:
        """Who fulfils a criterion, and since when.

        Parameters
        ----------
        criterion
            What is asked.
        key_path
            Where it stands, for refusals.

        Raises
        ------
        InputError
            If the records do not have what it needs.
        """
        key = (criterion.model_dump_json(), self.index)
        if key not in self._made:
            found = [self.relation(part, (*key_path, criterion.head, i)) for i, part in enumerate(criterion.parts)]
            parts = list(dict.fromkeys(found))  # one that is said twice is one relation
            if criterion.codes is not None:
                with self.definition.at(*key_path):
                    sql = self._of_events(criterion)
            elif criterion.definition is not None:
                with self.definition.at(*key_path, "definition"):
                    base = cohort(self.records, self.definition.others[criterion.definition])
                sql = self._narrowed(base, criterion)
            elif criterion.death is not None:
                with self.definition.at(*key_path):
                    deaths = f"(SELECT person, min(date) AS date FROM {self.records.events('death')} GROUP BY person)"
                sql = self._narrowed(deaths, criterion)
            elif criterion.all is not None:
                joined = " ".join(f"JOIN {part} USING (person)" for part in parts[1:])
                latest = ", ".join(f"{part}.date" for part in parts)
                sql = f"SELECT person, greatest({latest}) AS date FROM {parts[0]} {joined}"
            elif criterion.any is not None:
                together = " UNION ALL ".join(f"SELECT person, date FROM {part}" for part in parts)
                sql = f"SELECT person, min(date) AS date FROM ({together}) GROUP BY person"
            else:
                without = " ".join(f"ANTI JOIN {part} USING (person)" for part in parts)
                sql = f"SELECT person, NULL::DATE AS date FROM people {without}"
            self._made[key] = self.keep(sql)
        return self._made[key]

    def keep(self, sql: str) -> str:
        """A relation of what a query finds, worked out once."""
        name = self.records.fresh_name("criterion")
        self.records.connection.execute(f"CREATE TEMP TABLE {name} AS {sql}")
        return name

    def mask(self, relation: str) -> NDArray[np.bool_]:
        """Who is in a relation, as an array over everybody."""
        out = np.zeros(len(self.records.people), dtype=np.bool_)
        found = self.records.connection.execute(f"SELECT person FROM {relation}").fetchnumpy()["person"]
        out[np.asarray(found)] = True
        return out

    def dates(self, relation: str, column: str = "date") -> NDArray[np.datetime64]:
        """Dates of a relation as an array over everybody; NaT for who is not in it."""
        out = np.full(len(self.records.people), np.datetime64("NaT"), dtype="datetime64[D]")
        rows = self.records.connection.execute(f"SELECT person, {column} AS day FROM {relation}")
        found: dict[str, Any] = rows.fetchnumpy()
        out[np.asarray(found["person"])] = np.ma.filled(found["day"].astype("datetime64[D]"), np.datetime64("NaT"))
        return out

    def listed(self, mask: NDArray[np.bool_]) -> str:
        """A relation of people, of an array over everybody; the other way round of :meth:`mask`."""
        name = self.records.fresh_name("people")
        people = number_array(np.flatnonzero(mask).astype(np.int32))
        self.records.connection.register(name, pa.table({"person": people}))
        return name

    @contextmanager
    def around(self, index: str) -> Iterator[None]:
        """Windows inside are around other index dates."""
        before, self.index = self.index, index
        try:
            yield
        finally:
            self.index = before

    @property
    def recipe(self) -> dict[str, Any]:
        """What a trait's provenance says of the codes."""
        return {"codes": {name: codes.digest for name, codes in sorted(self.resolved.items())}}

    def record_span(self) -> str:
        """A relation of people's records: ``person``, ``start``, ``stop``; who has no period is not in it."""
        if not self._span:
            columns = ("observation_period_start_date", "observation_period_end_date")
            rows = self.records.table("observation_period", columns)
            until = f"DATE '{self.records.until}'"
            self._span = self.keep(
                f"SELECT person, min({columns[0]}) AS start, least(max({columns[1]}), {until}) AS stop FROM {rows} "
                f"WHERE {columns[0]} <= {columns[1]} AND {columns[0]} <= {until} GROUP BY person"
            )
        return self._span

    def visit_days(self) -> str:
        """A relation of people who had visits: ``person``, ``visits``, the days on which one began."""
        rows = self.records.events("visit_occurrence")
        return self.keep(f"SELECT person, count(DISTINCT date) AS visits FROM {rows} GROUP BY person")

    def asked_of_people(self, people: People) -> list[tuple[str, NDArray[np.bool_]]]:
        """What is asked of people, in words, and who fulfils it."""
        out = []
        if people.min_record is not None:
            long = f"SELECT person FROM {self.record_span()} WHERE stop - start >= {days(people.min_record)}"
            out.append((f"with a record of {people.min_record} or longer", self.mask(f"({long})")))
        if people.min_visits is not None:
            often = f"SELECT person FROM {self.visit_days()} WHERE visits >= {people.min_visits}"
            out.append((f"with visits on {people.min_visits} days or more", self.mask(f"({often})")))
        if people.ages is not None:
            rows = f"{self.record_span()} JOIN people USING (person)"
            within = f"SELECT person FROM {rows} WHERE {ages_sql(people.ages, 'birth', 'stop')}"
            out.append((f"{told_ages(people.ages)} on the last day of the record", self.mask(f"({within})")))
        return out

    def _of_events(self, criterion: Criterion) -> str:
        """SQL of an atom: events that count, by person, if there are enough of them."""
        kept = self._narrowed(self._all_events(criterion), criterion)
        span = days(criterion.span) if criterion.span is not None else 0
        having = [f"count(DISTINCT date) >= {criterion.min_dates}", f"count(*) >= {criterion.min_events}"]
        if span:
            having.append(f"max(date) - min(date) >= {span}")
        if criterion.min_supply is not None:
            having.append(f"sum(supply) >= {days(criterion.min_supply)}")
        if criterion.dated == "confirmed":
            day = (
                f"greatest(list_sort(list(DISTINCT date))[{criterion.min_dates}], "
                f"list_sort(list(date))[{criterion.min_events}], min(date) FILTER (date >= first + {span}))"
            )
            kept = f"SELECT *, min(date) OVER (PARTITION BY person) AS first FROM ({kept})"
        else:
            day = {"first": "min(date)", "last": "max(date)"}[criterion.dated]
        return f"SELECT person, {day} AS date FROM ({kept}) GROUP BY person HAVING {' AND '.join(having)}"

    def _narrowed(self, events: str, criterion: Criterion) -> str:
        """SQL of the events that are in a criterion's ages, dates and window."""
        joins, conditions = "", ["TRUE"]
        if criterion.ages is not None:
            joins += " JOIN people AS p USING (person)"
            conditions.append(ages_sql(criterion.ages, "p.birth", "e.date"))
        if criterion.dates is not None and criterion.dates.since is not None:
            conditions.append(f"e.date >= DATE '{criterion.dates.since}'")
        if criterion.dates is not None and criterion.dates.until is not None:
            conditions.append(f"e.date <= DATE '{criterion.dates.until}'")
        if criterion.within is not None:
            assert self.index is not None, "refused by the kind's checks"
            joins += f" JOIN {self.index} AS i USING (person)"
            conditions += _window_sql(criterion.within)
        return f"SELECT e.* FROM {events} AS e{joins} WHERE {' AND '.join(conditions)}"

    def _all_events(self, criterion: Criterion) -> str:
        """A relation of all events that have one of a criterion's codes, and its value."""
        assert criterion.codes is not None
        value = criterion.value.model_dump_json() if criterion.value is not None else ""
        supply = "supply" if criterion.min_supply is not None else ""
        key = (criterion.codes, *(criterion.tables or ()), value, supply)
        if key not in self._events:
            codes = self._codes(criterion.codes)
            found = [self._in_table(table, codes, criterion) for table in self._tables(criterion)]
            self._events[key] = self.keep(" UNION ALL ".join(found))
        return self._events[key]

    def _tables(self, criterion: Criterion) -> list[str]:
        if criterion.tables is not None:
            return [TABLES[name] for name in dict.fromkeys(criterion.tables)]
        found = [TABLES[name] for name in USUAL_TABLES if self.records.has(TABLES[name])]
        if not found:
            self.records.require(TABLES[USUAL_TABLES[0]])
        return found

    def _codes(self, name: str) -> ResolvedCodes:
        if name not in self.resolved:
            with self.definition.at("codes", name):
                found = resolve(self.records, self.codes[name], self.definition.path)
            self.resolved[name] = found
            # A shared definition may name more codes than these records know; but it may be a slip of the pen, too.
            if not found.table.num_rows:
                self.warnings.append(f"codes {name}: nobody can have one, the records' vocabulary has none of them")
            self.notes += [f"codes {name}: {note}" for note in self.resolved[name].notes]
        return self.resolved[name]

    def _in_table(self, table: str, codes: ResolvedCodes, criterion: Criterion) -> str:
        if criterion.value is not None:
            return self._with_value(table, codes, criterion.value)
        if criterion.min_supply is not None:
            ends = [c for c in ("days_supply", "drug_exposure_end_date") if self.records.has(table, c)]
            if not ends:
                self.records.require(table, "days_supply")
            told = "CASE WHEN days_supply > 0 THEN days_supply END" if "days_supply" in ends else "NULL"
            lasted = (
                "CASE WHEN drug_exposure_end_date >= date THEN drug_exposure_end_date - date + 1 END"
                if "drug_exposure_end_date" in ends
                else "NULL"
            )
            return (
                f"SELECT person, date, coalesce({told}, {lasted}, 0) AS supply "
                f"FROM {matching_events(self.records, table, codes, ends)}"
            )
        return f"SELECT person, date FROM {matching_events(self.records, table, codes)}"

    def _with_value(self, table: str, codes: ResolvedCodes, value: Value) -> str:
        """SQL of the events whose value is within its bounds; those that are not known are counted."""
        units = [c for c in ("unit_concept_id", "unit_source_value") if self.records.has(table, c)]
        events = matching_events(self.records, table, codes, ["value_as_number", *units])
        if value.unit == ANY:
            rows = self.keep(f"SELECT person, date, value_as_number AS raw, raw AS value FROM {events}")
        else:
            rows = self.keep(converted_sql(self.records, events, units, value.unit, value.molar_mass))
        counted = "SELECT count(*) FILTER (raw IS NOT NULL AND value IS NULL), count(*) FILTER (raw IS NULL) FROM"
        other_unit, no_number = self.records.connection.execute(f"{counted} {rows}").fetchall()[0]
        of = f"values that {self.definition.spec.id} leaves out"
        self.records.note_quality(table, f"{of}: of an unknown unit, or one that is not converted", other_unit)
        self.records.note_quality(table, f"{of}: no number", no_number)
        bounds = [
            f"value {sign} {bound!r}"
            for sign, bound in ((">", value.above), (">=", value.at_least), ("<", value.below), ("<=", value.at_most))
            if bound is not None
        ]
        return f"SELECT person, date FROM {rows} WHERE isfinite(value) AND {' AND '.join(bounds)}"


def converted_sql(records: Records, events: str, units: Sequence[str], to: str, molar_mass: float | None) -> str:
    """SQL of ``person``, ``date``, ``raw``, and ``value``, which is missing where the unit is not known.

    Parameters
    ----------
    records
        With ``concept``, if units beyond the usual ones are to be known by their concepts.
    events
        Relation with ``value_as_number`` and the units.
    units
        Which of ``unit_concept_id`` and ``unit_source_value`` it has.
    to, molar_mass
        See :func:`~allscan.phenotypes.quantities.units.conversion`.
    """
    named = {"unit_concept_id": "NULL::BIGINT", "unit_source_value": "NULL::VARCHAR", **{name: name for name in units}}
    concept, text = named["unit_concept_id"], named["unit_source_value"]
    found = records.connection.execute(f"SELECT DISTINCT {concept}, {text} FROM {events} ORDER BY ALL").fetchall()
    of_concept = units_of_concepts(records, {concept for concept, _ in found if concept})
    factors = []
    for concept_id, written in found:
        unit = of_concept.get(concept_id) or (spelled(written) if written else None)
        if unit is None:
            continue
        try:
            way = conversion(unit, to, molar_mass)
        except UnknownUnitError:
            continue
        factors.append({"concept": concept_id, "text": written, "factor": way.factor, "shift": way.offset})
    name = records.fresh_name("units")
    kinds = {"concept": pa.int64(), "text": pa.string(), "factor": pa.float64(), "shift": pa.float64()}
    table = pa.table({key: pa.array([row[key] for row in factors], kind) for key, kind in kinds.items()})
    records.connection.register(name, table)
    return (
        f"SELECT person, date, value_as_number AS raw, factor * value_as_number + shift AS value FROM {events} AS e "
        f"LEFT JOIN {name} AS u ON {concept} IS NOT DISTINCT FROM u.concept AND {text} IS NOT DISTINCT FROM u.text"
    )


def _window_sql(window: Window) -> list[str]:
    out = ["i.date IS NOT NULL"]
    if window.before != ANY:
        out.append(f"e.date >= i.date - {days(window.before)}")
    if window.after != ANY:
        out.append(f"e.date <= i.date + {days(window.after)}")
    return out
