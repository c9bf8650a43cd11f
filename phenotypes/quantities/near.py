"""Days that matter to values: windows of age and time, an index date, events around, exposures to a drug."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.phenotypes.definitions.compiling import ages_sql, birthday_sql
from allscan.phenotypes.definitions.loading import cohort
from allscan.phenotypes.definitions.telling import told_ages
from allscan.phenotypes.quantities.arithmetic import number
from allscan.phenotypes.quantities.spec import TABLES
from allscan.phenotypes.quantities.values import Gate
from allscan.phenotypes.records.codes import matching_events, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.quantities.spec import Adjustment, Ages, Dates, Exclusion, Index
    from allscan.phenotypes.quantities.values import Values
    from allscan.phenotypes.records.codes import CodeEntry, ResolvedCodes
    from allscan.phenotypes.records.records import Records


def window_gates(ages: Ages | None, dates: Dates | None) -> list[Gate]:
    """Gates of rows that have a ``date`` and the person's ``birth``."""
    gates = []
    if ages is not None:
        gates.append(Gate(ages_sql(ages, "birth", "date"), told_ages(ages), "rows of another age, or without one"))
    if dates is not None:
        conditions = []
        if dates.since is not None:
            conditions.append(f"date >= DATE '{dates.since}'")
        if dates.until is not None:
            conditions.append(f"date <= DATE '{dates.until}'")
        told = " ".join(
            f"{word} {day}" for word, day in (("since", dates.since), ("until", dates.until)) if day is not None
        )
        gates.append(Gate(" AND ".join(conditions) or "TRUE", told or "of any day", "rows of another time"))
    return gates


def codes_of(
    definition: Definition, codes: Sequence[CodeEntry], records: Records, key_path: tuple[str | int, ...]
) -> ResolvedCodes:
    """The codes of a key of a definition."""
    with definition.at(*key_path):
        return resolve(records, codes, definition.path)


def leave_out(values: Values, definition: Definition, exclusions: Sequence[Exclusion]) -> list[ResolvedCodes]:
    """Leave out values around events."""
    used = []
    for i, exclusion in enumerate(exclusions):
        codes = codes_of(definition, exclusion.codes, values.records, ("exclude", i, "codes"))
        used.append(codes)
        events = _events(values.records, codes, exclusion.tables)
        if exclusion.ever:
            condition = f"person IN (SELECT person FROM {events})"
        else:
            first = f"date - {exclusion.before or 0}"
            last = f"date + {exclusion.after or 0}"
            condition = (
                f"EXISTS (SELECT 1 FROM (SELECT person AS whose, {first} AS first, {last} AS last FROM {events}) "
                "WHERE whose = v.person AND v.date BETWEEN first AND last)"
            )
        values.take(f"SELECT * FROM {{values}} AS v WHERE NOT ({condition})", _numbered("not excluded", i, exclusions))
    return used


def adjust(values: Values, definition: Definition, adjustments: Sequence[Adjustment]) -> list[ResolvedCodes]:
    """Change values of people under a drug."""
    used = []
    for i, adjustment in enumerate(adjustments):
        codes = codes_of(definition, adjustment.codes, values.records, ("adjust", i, "codes"))
        used.append(codes)
        periods = values.side_table(_exposures(values.records, codes, adjustment))
        joins = f"LEFT JOIN {periods} AS x ON x.person = v.person AND v.date BETWEEN x.first AND x.last"
        if adjustment.divide is not None:
            changed = f"v.value / {number(adjustment.divide)}"
        elif adjustment.multiply is not None:
            changed = f"v.value * {number(adjustment.multiply)}"
        else:
            assert adjustment.add is not None
            changed = f"v.value + {number(adjustment.add)}"
        values.take(
            f"SELECT v.person, v.date, CASE WHEN x.person IS NULL THEN v.value ELSE {changed} END AS value, "
            f"x.person IS NOT NULL AS adjusted FROM {{values}} AS v {joins}"
        )
        values.remark(_numbered("with adjusted values", i, adjustments), "adjusted")
    return used


def around(values: Values, definition: Definition, index: Index) -> list[ResolvedCodes]:
    """Keep values near the index date, with it as ``origin``."""
    used = []
    records = values.records
    if index.date is not None:
        days = f"SELECT person, DATE '{index.date}' AS origin FROM people"
    elif index.age is not None:
        days = f"SELECT person, {birthday_sql('birth', index.age)} AS origin FROM people"
    elif index.definition is not None:
        with definition.at("index", "definition"):
            cases = cohort(records, definition.others[index.definition])
        days = f"SELECT person, min(date) AS origin FROM {cases} GROUP BY person"
    else:
        assert index.codes is not None
        used.append(codes_of(definition, index.codes, records, ("index", "codes")))
        days = f"SELECT person, min(date) AS origin FROM {_events(records, used[0], index.tables)} GROUP BY person"
    conditions = ["i.origin IS NOT NULL"]
    if index.before is not None:
        conditions.append(f"v.date >= i.origin - {index.before}")
    if index.after is not None:
        conditions.append(f"v.date <= i.origin + {index.after}")
    values.take(
        f"SELECT v.person, v.date, v.value, i.origin FROM {{values}} AS v JOIN ({days}) AS i USING (person) "
        f"WHERE {' AND '.join(conditions)}",
        "near the index date",
    )
    return used


def _numbered(what: str, i: int, among: Sequence[object]) -> str:
    return what if len(among) == 1 else f"{what} ({i + 1})"


def _events(records: Records, codes: ResolvedCodes, tables: Sequence[str]) -> str:
    parts = [f"SELECT person, date FROM {matching_events(records, TABLES[table], codes)}" for table in tables]
    return f"({' UNION ALL '.join(parts)})"


def _exposures(records: Records, codes: ResolvedCodes, adjustment: Adjustment) -> str:
    """SQL of when people were under a drug: ``person``, ``first``, ``last``, periods that do not overlap."""
    until = f"DATE '{records.until}'"
    parts = []
    for table in (TABLES[name] for name in adjustment.tables):
        ends = [c for c in ("drug_exposure_end_date", "days_supply") if records.has(table, c)]
        events = matching_events(records, table, codes, ends)
        last = ["date"]
        if "drug_exposure_end_date" in ends:
            last.append("drug_exposure_end_date")
        if "days_supply" in ends:
            # Thousands of days are a slip of somebody's; a year is the longest prescription.
            last.append(
                "date + CASE WHEN days_supply BETWEEN 1 AND 366 THEN CAST(floor(days_supply) AS INTEGER) - 1 END"
            )
        parts.append(f"SELECT person, date AS first, CAST(greatest({', '.join(last)}) AS DATE) AS last FROM {events}")
    exposures = " UNION ALL ".join(parts)
    if adjustment.when == "ever":
        return f"SELECT person, DATE '0001-01-01' AS first, {until} AS last FROM ({exposures}) GROUP BY person"
    if adjustment.when == "since_first":
        return f"SELECT person, min(first) AS first, {until} AS last FROM ({exposures}) GROUP BY person"
    reaching = f"SELECT person, first, least(last, {until}) + {adjustment.grace} AS last FROM ({exposures})"
    before = "OVER (PARTITION BY person ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    opened = f"SELECT *, CAST(coalesce(first > max(last) {before} + 1, TRUE) AS INTEGER) AS opens FROM ({reaching})"
    numbered = f"SELECT *, sum(opens) OVER (PARTITION BY person ORDER BY first, last) AS period FROM ({opened})"
    return f"SELECT person, min(first) AS first, max(last) AS last FROM ({numbered}) GROUP BY person, period"
