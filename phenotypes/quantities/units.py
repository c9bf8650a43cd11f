"""Units of measurements: what records call them, and how values come from one to another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from allscan.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from allscan.phenotypes.records.records import Records

CONCEPTS = {
    8482: "[pH]",
    8483: "{counts}/min",
    8523: "{ratio}",
    8554: "%",
    8582: "cm",
    8636: "g/L",
    8645: "U/L",
    8713: "g/dL",
    8739: "[lb_av]",
    8749: "umol/L",
    8751: "mg/L",
    8752: "mm/h",
    8753: "mmol/L",
    8784: "{cells}/uL",
    8840: "mg/dL",
    8842: "ng/mL",
    8845: "pg/mL",
    8848: "10*3/uL",
    8876: "mm[Hg]",
    8923: "[iU]/L",
    9330: "[in_i]",
    9529: "kg",
    9531: "kg/m2",
    9546: "m",
    586323: "Cel",
}
"""Usual unit concepts of OMOP in UCUM, for records without the table ``concept``, which knows the others."""


def units_of_concepts(records: Records, ids: Iterable[int]) -> dict[int, str]:
    """UCUM's spelling of those unit concepts that are usual, or known to the records' table ``concept``."""
    wanted = set(ids)
    known = {one: CONCEPTS[one] for one in wanted if one in CONCEPTS}
    others = sorted(wanted - set(known))
    if others and records.has("concept", "concept_id", "concept_code", "vocabulary_id"):
        among = f"vocabulary_id = 'UCUM' AND concept_id IN ({', '.join(map(str, others))})"
        rows = records.vocabulary("concept", ["concept_id", "concept_code"], among)
        known |= dict(records.connection.execute(f"SELECT concept_id, concept_code FROM {rows}").fetchall())
    return known


# What UCUM has in brackets, and what is a word of its own, in the words of pint. pint's own are U (of an enzyme), mmHg.
_ATOMS = {
    "[in_i]": "inch",
    "[in_us]": "inch",
    "[ft_i]": "foot",
    "[ft_us]": "foot",
    "[lb_av]": "pound",
    "[lb_us]": "pound",
    "[oz_av]": "ounce",
    "[degF]": "degF",
    "Cel": "degC",
    "mm[Hg]": "mmHg",
    "[pH]": "pH_unit",
    "a": "year",
    "wk": "week",
    "mo": "month",
    "d": "day",
    "h": "hour",
    "min": "minute",
    "s": "second",
    "%": "percent",
    "kat": "katal",
    "cal": "calorie",
    "[cal]": "calorie",
}
_PREFIXED = {
    "[iU]": "international_unit",
    "[IU]": "international_unit",
    "eq": "equivalent_unit",
    "osm": "osmole_unit",
    "U": "enzyme_unit",
    "g": "gram",
    "m": "meter",
    "L": "liter",
    "l": "liter",
    "mol": "mole",
    "kat": "katal",
    "Pa": "pascal",
    "Hz": "hertz",
    "cal": "calorie",
    "J": "joule",
    "W": "watt",
    "V": "volt",
    "s": "second",
}
_PREFIXES = {
    "": "",
    "k": "kilo",
    "d": "deci",
    "c": "centi",
    "m": "milli",
    "u": "micro",
    "n": "nano",
    "p": "pico",
    "f": "femto",
}
_SYNONYMS = {
    "lb": "[lb_av]",
    "lbs": "[lb_av]",
    "pound": "[lb_av]",
    "pounds": "[lb_av]",
    "oz": "[oz_av]",
    "in": "[in_i]",
    "inch": "[in_i]",
    "inches": "[in_i]",
    "ft": "[ft_i]",
    "feet": "[ft_i]",
    "kilogram": "kg",
    "kilograms": "kg",
    "kgs": "kg",
    "gram": "g",
    "grams": "g",
    "centimeter": "cm",
    "centimeters": "cm",
    "meter": "m",
    "meters": "m",
    "mmhg": "mm[Hg]",
    "mm hg": "mm[Hg]",
    "percent": "%",
    "iu/l": "[iU]/L",
    "miu/l": "m[iU]/L",
    "miu/ml": "m[iU]/mL",
    "uiu/ml": "u[iU]/mL",
    "units/l": "U/L",
    "unit/l": "U/L",
    "bpm": "/min",
    "beats/min": "/min",
    "beats per minute": "/min",
    "k/ul": "10*3/uL",
    "thou/ul": "10*3/uL",
    "x10e3/ul": "10*3/uL",
    "10e3/ul": "10*3/uL",
    "10^3/ul": "10*3/uL",
    "x10^3/ul": "10*3/uL",
    "10^9/l": "10*9/L",
    "x10e9/l": "10*9/L",
    "10e9/l": "10*9/L",
    "m/ul": "10*6/uL",
    "10^6/ul": "10*6/uL",
    "10^12/l": "10*12/L",
    "ml/min/1.73m2": "mL/min/{1.73_m2}",
    "ml/min/1.73 m2": "mL/min/{1.73_m2}",
    "degc": "Cel",
    "deg c": "Cel",
    "°c": "Cel",
    "c": "Cel",
    "celsius": "Cel",
    "degf": "[degF]",
    "deg f": "[degF]",
    "°f": "[degF]",
    "f": "[degF]",
    "fahrenheit": "[degF]",
    "ratio": "{ratio}",
    "score": "{score}",
}
_USUAL = (
    *CONCEPTS.values(),
    *("ug/dL", "ug/L", "ug/mL", "mg/mL", "ng/dL", "ng/L", "g/mL", "mg", "g", "kg", "ug"),
    *("mol/L", "nmol/L", "pmol/L", "umol/mL", "mmol/mol", "meq/L", "mosm/kg", "mg/g", "mg/mmol", "ug/mg"),
    *("10*9/L", "10*12/L", "10*6/uL", "/uL", "/L", "/mL", "fL", "pg", "mL", "dL", "L", "mL/min", "mL/min/{1.73_m2}"),
    *("mm", "cm", "m", "kPa", "Pa", "min", "h", "d", "s", "ms", "/min", "kat/L", "ukat/L", "nkat/L", "kU/L", "mU/L"),
    *("m[iU]/L", "u[iU]/mL", "m[iU]/mL", "[iU]/mL", "k[iU]/L", "U/mL", "Hz", "kcal"),
)
_BY_TEXT = {**{unit.lower(): unit for unit in _USUAL}, **_SYNONYMS}
_BODY_SURFACE = "{1.73_m2}"
"""An annotation, which changes nothing in UCUM; but a clearance by body surface is not one without."""

_TOKEN = re.compile(
    r"(?P<annotation>\{[^{}]*\})|(?P<mark>[./])"
    r"|(?P<number>\d{1,6}(?:\.\d{1,6})?)(?:[*^](?P<exponent>[+-]?\d{1,2}))?"
    r"|(?P<atom>(?:\[[^\]]*\]|[^\s\[\]{}()./*^+\-\d])+)(?:\^?(?P<power>[+-]?\d))?"
)


class UnknownUnitError(ValueError):
    """A text is no unit, or two units have nothing to do with each other."""


@dataclass(frozen=True)
class Conversion:
    """From one unit to another: ``factor`` × value + ``offset``."""

    factor: float = 1.0
    offset: float = 0.0


def spelled(text: str) -> str | None:
    """The UCUM spelling of what somebody wrote as a unit; None if it is not known.

    The units in use are known whatever their case (``MG/DL``), others only as UCUM has them: case makes a difference
    there (``mg`` and ``Mg``), and no guess is made.
    """
    plain = " ".join(text.replace("µ", "u").replace("μ", "u").split())
    found = _BY_TEXT.get(plain.lower())
    if found is not None:
        return found
    try:
        _parsed(plain)
    except UnknownUnitError:
        return None
    return plain


def check_unit(text: str) -> str:
    """The UCUM spelling of a unit in a definition.

    Raises
    ------
    InputError
        If it is none.
    """
    found = spelled(text)
    if found is None:
        raise InputError(
            f"{text!r} is no unit that is known", fix="write it as in UCUM: mg/dL, mmol/L, %, kg/m2, mm[Hg], 10*3/uL"
        )
    return found


def conversion(source: str, target: str, molar_mass: float | None = None) -> Conversion:
    """How values come from a unit to another one.

    Parameters
    ----------
    source, target
        In UCUM.
    molar_mass
        In g/mol, of what is measured: between masses and amounts of substance.

    Raises
    ------
    UnknownUnitError
        If one is not known, or they measure different things. Ratios of different things (mmol/mol and %) do, although
        both are numbers: for HbA1c one is not a multiple of the other.
    """
    start, end = _parsed(source), _parsed(target)
    if source == target:
        return Conversion()
    if start.unit.dimensionless and end.unit.dimensionless and _makeup(start.unit) != _makeup(end.unit):
        raise UnknownUnitError(f"{source} and {target} are ratios of different things")
    zero, one = (_converted(value, start, end, molar_mass) for value in (0, 1))
    return Conversion(float(one - zero), float(zero))


@dataclass(frozen=True)
class _Unit:
    """A multiple of a unit of pint's."""

    times: Decimal
    unit: Any


def _converted(value: int, start: _Unit, end: _Unit, molar_mass: float | None) -> Decimal:
    registry, pint = _registry()
    quantity = registry.Quantity(value * start.times, start.unit)
    mass = None if molar_mass is None else registry.Quantity(Decimal(repr(molar_mass)), "gram / mole")
    for times in (None, mass, None if mass is None else 1 / mass):
        try:
            magnitude: Decimal = (quantity if times is None else quantity * times).to(end.unit).magnitude
        except (pint.DimensionalityError, pint.OffsetUnitCalculusError):
            continue
        return magnitude / end.times
    raise UnknownUnitError(f"{start.unit} and {end.unit} measure different things")


def _makeup(unit: Any) -> Mapping[tuple[str, str], int]:
    """What is above and below the line of a ratio; nothing of a plain number."""
    registry, _ = _registry()
    parts: dict[tuple[str, str], int] = {}
    for name, power in unit._units.items():
        of = str(registry.Unit(name).dimensionality)
        if of != "dimensionless":
            key = (of, str(power))
            parts[key] = parts.get(key, 0) + 1
    return parts


@cache
def _parsed(text: str) -> _Unit:
    """A unit in UCUM, as pint has it.

    Raises
    ------
    UnknownUnitError
        If it is none.
    """
    registry, _ = _registry()
    times, unit = Decimal(1), registry.Unit("")
    # Products and quotients go from left to right: mL/min/m2 has both below the line.
    below, complete = False, False
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise UnknownUnitError(f"{text!r} is no unit")
        position = token.end()
        kind = next(name for name in ("annotation", "mark", "number", "atom") if token[name] is not None)
        if kind == "mark":
            if not complete and (token["mark"] == "." or token.start() > 0):
                raise UnknownUnitError(f"{text!r} is no unit")
            below, complete = token["mark"] == "/", False
            continue
        if complete and kind != "annotation":
            raise UnknownUnitError(f"{text!r} is no unit")
        complete = True
        if kind == "number":
            factor = Decimal(token["number"]) ** int(token["exponent"] or 1)
            if not factor:
                raise UnknownUnitError(f"{text!r} is no unit")
            times = times / factor if below else times * factor
        elif kind == "atom" or token["annotation"] == _BODY_SURFACE:
            name = _named(token["atom"], text) if kind == "atom" else "body_surface_unit"
            power = int(token["power"] or 1)
            unit = unit * registry.Unit(name) ** (-power if below else power)
    if not complete:
        raise UnknownUnitError(f"{text!r} is no unit")
    return _Unit(times, unit)


def _named(atom: str, text: str) -> str:
    if atom in _ATOMS:
        return _ATOMS[atom]
    for prefix in sorted(_PREFIXES, key=len):
        rest = atom.removeprefix(prefix)
        if atom.startswith(prefix) and rest in _PREFIXED:
            return _PREFIXES[prefix] + _PREFIXED[rest]
    raise UnknownUnitError(f"{text!r} is no unit")


@cache
def _registry() -> tuple[Any, Any]:
    try:
        import pint
    except ImportError as error:
        raise MissingDependencyError("units need the package pint", fix="pip install 'allscan[phenotypes]'") from error
    # Decimal: 0.45359237 kg is a pound, and not 0.4535923700000001.
    registry: Any = pint.UnitRegistry(non_int_type=Decimal, cache_folder=None)
    for name in ("international_unit", "equivalent_unit", "osmole_unit", "pH_unit", "body_surface_unit"):
        registry.define(f"{name} = [{name}]")
    return registry, pint
