"""Rows of measurements in one unit: how records call it, and what becomes of limits and of the unknown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, Self

import pyarrow as pa
from pydantic import AfterValidator, Field, model_validator

from allscan.documents.sections import Section, Text
from allscan.errors import InputError
from allscan.phenotypes.names import listed
from allscan.phenotypes.quantities.arithmetic import check_formula, formula_sql, number
from allscan.phenotypes.quantities.near import codes_of
from allscan.phenotypes.quantities.spec import TABLES, Bounds, Unit
from allscan.phenotypes.quantities.units import UnknownUnitError, conversion, spelled, units_of_concepts
from allscan.phenotypes.quantities.values import FEW, LARGEST, Gate, Values, told
from allscan.phenotypes.records.codes import CodeSet, matching_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.records.codes import ResolvedCodes
    from allscan.phenotypes.records.records import Records

BELOW = (4171756, 4171754)
"""Operators of OMOP: <, ≤."""
ABOVE = (4172704, 4171755)
"""Operators of OMOP: >, ≥."""

MOST_SHOWN = 12


def _formula(text: str) -> str:
    return check_formula(text, ("x",))


class Reading(Section):
    """Which rows are the measurement, and how their values come to be in one unit."""

    codes: CodeSet | None = Field(default=None, description="Of the measurement.")
    tables: list[Literal["measurements", "observations"]] = Field(
        default=["measurements"], min_length=1, description="Where they are looked for."
    )
    unit: Unit = Field(description="Of the trait, as in UCUM.", examples=["mg/dL", "%", "kg/m2"])
    molar_mass: float | None = Field(
        default=None, gt=0, description="g/mol, to go between mg/dL and mmol/L.", examples=[386.65]
    )
    conversions: dict[Text, Annotated[Text, AfterValidator(_formula)]] = Field(
        default={},
        description="From a unit that is no multiple of the trait's: a formula of its value `x`. Units are in UCUM, or "
        "as the records write them, or concept ids.",
        examples=[{"mmol/mol": "0.09148 * x + 2.152"}],
    )
    assume: Unit | None = Field(
        default=None, description="Unit of values that have none; without, they are left out and counted."
    )
    drop_units: list[Text] = Field(default=[], description="Units whose values are left out and counted.")
    unknown_units: Literal["refuse", "drop"] = Field(
        default="refuse",
        description=f"What to do about other units that cannot be converted: `refuse` (those of up to {FEW} values are "
        "left out and counted), or `drop`.",
    )
    beyond_limit: Literal["limit", "half", "drop"] = Field(
        default="limit",
        description="Values with < or >: the limit itself, half of it where the value is below (above, it stays), or "
        "left out.",
    )
    plausible: Bounds | None = Field(
        default=None, description="Smallest and largest value, in `unit`, that is believed.", examples=[[10, 1000]]
    )
    same_day: Literal["median", "mean", "min", "max"] = Field(
        default="median", description="Several values of a day become this."
    )

    @model_validator(mode="after")
    def _assumes_what_it_can_convert(self) -> Self:
        if self.assume is not None and self.way(self.assume) is None:
            raise InputError(
                f"values assumed to be in {self.assume} cannot be converted to {self.unit}",
                fix="give `molar_mass`, or a formula in `conversions`",
            )
        return self

    def way(self, *names: str) -> str | None:
        """SQL that brings an ``amount`` to the unit, from one known by any of some names; None if there is none."""
        for name in names:
            for key, formula in self.conversions.items():
                if _same(key, name):
                    return formula_sql(formula, {"x": "amount"})
        for name in names:
            unit = spelled(name)
            if unit is None:
                continue
            try:
                found = conversion(unit, self.unit, self.molar_mass)
            except UnknownUnitError:
                continue
            if found.factor == 1 and found.offset == 0:
                return "amount"
            return f"({number(found.factor)} * amount + {number(found.offset)})"
        return None

    def drops(self, *names: str) -> bool:
        """Whether values in a unit are to be left out."""
        return any(_same(key, name) for key in self.drop_units for name in names)


def _same(key: str, name: str) -> bool:
    known = spelled(key)
    return key.strip().lower() == name.strip().lower() or (known is not None and known == spelled(name))


@dataclass
class _Unit:
    """One way in which rows say their unit."""

    concept: int | None
    text: str | None
    rows: int
    names: list[str] = field(default_factory=list)  # what it is known by; none: no unit
    from_concept: bool = False
    way: int = -1

    @property
    def shown(self) -> str:
        return self.names[0] if self.names else "no unit"


NO_UNIT, NOT_KNOWN = -1, -2


def read(
    values: Values,
    definition: Definition,
    reading: Reading,
    windows: Sequence[Gate],
    *,
    key_path: tuple[str | int, ...] = (),
    prefix: str = "",
) -> ResolvedCodes:
    """Fill values with those of a measurement, one for each person and day.

    Raises
    ------
    InputError
        If many rows have a unit that cannot be converted.
    """
    records = values.records
    assert reading.codes is not None
    codes = codes_of(definition, reading.codes, records, (*key_path, "codes"))
    rows = _rows(records, codes, [TABLES[name] for name in reading.tables])
    mapped, ways = _unit_ways(values, definition, reading, rows, key_path, prefix)
    cases = " ".join(f"WHEN {i} THEN {way}" for i, way in enumerate(ways))
    limits = f"operator IN {BELOW + ABOVE}"
    halved = f"CASE WHEN operator IN {BELOW} THEN amount / 2 ELSE amount END"
    amount = halved if reading.beyond_limit == "half" else "amount"
    converted = f"CASE way {cases} END" if ways else "NULL"
    query = (
        f"SELECT r.person, r.date, r.amount, r.operator, u.way, p.birth, {converted} AS value "
        f"FROM (SELECT * REPLACE ({amount} AS amount) FROM {rows}) AS r "
        f"JOIN people AS p USING (person) LEFT JOIN {mapped} AS u "
        "ON u.concept IS NOT DISTINCT FROM r.concept AND u.unit_text IS NOT DISTINCT FROM r.unit_text"
    )
    gates = [
        Gate(f"isfinite(amount) AND abs(amount) <= {number(LARGEST)}", "with a number", "rows without a number"),
        Gate(f"way <> {NO_UNIT}", "with a unit", "rows without a unit"),
        Gate("way >= 0 AND isfinite(value)", "in a unit that is known", "rows in other units"),
    ]
    if reading.beyond_limit == "drop":
        gates.append(Gate(f"NOT coalesce({limits}, FALSE)", "not beyond a limit", "rows with < or >"))
    if reading.plausible is not None:
        low, high = reading.plausible
        told_bounds = f"{low:g} to {high:g} {reading.unit}"
        gates.append(
            Gate(
                f"value BETWEEN {number(low)} AND {number(high)}",
                f"from {told_bounds}",
                f"rows outside of {told_bounds}",
            )
        )
    gates += windows
    named = [Gate(gate.condition, prefix + gate.left, prefix + gate.lost) for gate in gates]
    values.read(query, named, reading.same_day, first=f"{prefix}measured")
    return codes


def _rows(records: Records, codes: ResolvedCodes, tables: Sequence[str]) -> str:
    """SQL of the rows with one of the codes."""
    parts = []
    for table in tables:
        have = [c for c in ("unit_concept_id", "unit_source_value", "operator_concept_id") if records.has(table, c)]
        events = matching_events(records, table, codes, ["value_as_number", *have])
        concept = "nullif(unit_concept_id, 0)" if "unit_concept_id" in have else "CAST(NULL AS BIGINT)"
        text = "nullif(trim(unit_source_value), '')" if "unit_source_value" in have else "CAST(NULL AS VARCHAR)"
        operator = "operator_concept_id" if "operator_concept_id" in have else "CAST(NULL AS BIGINT)"
        parts.append(
            f"SELECT person, date, value_as_number AS amount, {concept} AS concept, {text} AS unit_text, "
            f"{operator} AS operator FROM {events}"
        )
    return f"({' UNION ALL '.join(parts)})"


def _unit_ways(
    values: Values,
    definition: Definition,
    reading: Reading,
    rows: str,
    key_path: tuple[str | int, ...],
    prefix: str,
) -> tuple[str, list[str]]:
    """A relation of units (``concept``, ``unit_text``, ``way``), and the SQL of the ways."""
    records = values.records
    found = records.connection.execute(
        f"SELECT concept, unit_text, count(*), count(*) FILTER (operator IN {BELOW + ABOVE}) FROM {rows} "
        "WHERE isfinite(amount) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    units = [_Unit(concept, text, n) for concept, text, n, _ in found]
    _name(records, units)
    ways: dict[str, int] = {}
    unknown = []
    for unit in units:
        names = unit.names or ([reading.assume] if reading.assume is not None else [])
        if not names:
            unit.way = NO_UNIT
            continue
        way = None if reading.drops(*names) else reading.way(*names)
        unit.way = NOT_KNOWN if way is None else ways.setdefault(way, len(ways))
        if way is None and not reading.drops(*names):
            unknown.append(unit)
    if unknown:
        _hide_rare_texts(records, rows, unknown)
        _refuse_many(definition, reading, unknown, key_path)
    values.notes += _told_units(units, reading, prefix)
    limited = sum(n for *_, n in found)
    if limited:
        does = {"limit": "are taken as the limit", "half": "are halved if below", "drop": "are left out"}
        values.notes.append(f"{prefix}{told(limited)} values with < or > {does[reading.beyond_limit]}")
    table = pa.table(
        {
            "concept": pa.array([unit.concept for unit in units], pa.int64()),
            "unit_text": pa.array([unit.text for unit in units], pa.string()),
            "way": pa.array([unit.way for unit in units], pa.int32()),
        }
    )
    records.connection.register("arriving", table)
    mapped = values.side_table("SELECT * FROM arriving")
    records.connection.unregister("arriving")
    return mapped, list(ways)


def _name(records: Records, units: Sequence[_Unit]) -> None:
    """Say by what a unit is known: its concept's code, or the words of the records."""
    known = units_of_concepts(records, {unit.concept for unit in units if unit.concept is not None})
    for unit in units:
        if unit.concept is not None and unit.concept in known:
            unit.names, unit.from_concept = [known[unit.concept], str(unit.concept)], True
            continue
        if unit.text is not None:
            unit.names.append(unit.text)
        if unit.concept is not None:
            unit.names.append(str(unit.concept))
            unit.from_concept = unit.text is None


def _hide_rare_texts(records: Records, rows: str, unknown: Sequence[_Unit]) -> None:
    """Words that few people's rows have are not shown: who knows what was written there."""
    texts = pa.table({"unit_text": pa.array([u.text for u in unknown if not u.from_concept], pa.string())})
    records.connection.register("arriving", texts)
    often = {
        text
        for (text,) in records.connection.execute(
            f"SELECT unit_text FROM {rows} SEMI JOIN arriving USING (unit_text) GROUP BY unit_text "
            f"HAVING count(DISTINCT person) > {FEW}"
        ).fetchall()
    }
    records.connection.unregister("arriving")
    for unit in unknown:
        if not unit.from_concept and unit.text not in often:
            unit.names = ["a unit of few people's"]


def _refuse_many(
    definition: Definition, reading: Reading, unknown: Sequence[_Unit], key_path: tuple[str | int, ...]
) -> None:
    many = sorted((unit for unit in unknown if unit.rows > FEW), key=lambda unit: (-unit.rows, unit.shown))
    if reading.unknown_units == "drop" or not many:
        return
    shown = listed([f"{_told_unit(unit)} ({unit.rows:,} values)" for unit in many], limit=MOST_SHOWN)
    raise InputError(
        f"values are in units that cannot be converted to {reading.unit}: {shown}",
        where=definition.where(*key_path, "unit"),
        fix=f"give `molar_mass`, write a formula (`conversions: {{{many[0].shown!r}: x}}`), leave them out by "
        f"`drop_units: [{many[0].shown!r}]`, or all of their kind by `unknown_units: drop`",
    )


def _told_unit(unit: _Unit) -> str:
    return f"concept {unit.shown}" if unit.shown.isdecimal() else unit.shown


def _told_units(units: Sequence[_Unit], reading: Reading, prefix: str) -> list[str]:
    """How many values there were in which unit, and what became of them."""
    rows: dict[tuple[str, str], int] = {}
    for unit in units:
        if unit.way == NO_UNIT:
            key = ("without a unit", "left out")
        elif unit.way == NOT_KNOWN:
            key = (_told_unit(unit), "left out")
        elif not unit.names:
            key = ("without a unit", f"taken as {reading.assume}")
        else:
            name = spelled(unit.shown) or unit.shown
            key = (name, "as they are" if name == reading.unit else f"converted to {reading.unit}")
        rows[key] = rows.get(key, 0) + unit.rows
    ranked = sorted(rows.items(), key=lambda item: (-item[1], item[0]))
    notes = [f"{prefix}{name}: {told(n)} values, {done}" for (name, done), n in ranked[:MOST_SHOWN]]
    rest = sum(n for _, n in ranked[MOST_SHOWN:])
    if rest:
        notes.append(f"{prefix}other units: {told(rest)} values")
    return notes
