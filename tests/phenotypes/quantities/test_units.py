"""Units: what records call them, and factors that anybody can look up."""

from __future__ import annotations

import pytest

from allscan.errors import InputError
from allscan.phenotypes.quantities.units import (
    CONCEPTS,
    Conversion,
    UnknownUnitError,
    check_unit,
    conversion,
    spelled,
)

# Factors of the General Conference on Weights and Measures, of NIST SP 811, and by hand.
CONVERSIONS = [
    ("mg/dL", "mg/dL", None, 1.0, 0.0),
    ("[lb_av]", "kg", None, 0.45359237, 0.0),
    ("[oz_av]", "g", None, 28.349523125, 0.0),
    ("[in_i]", "cm", None, 2.54, 0.0),
    ("[ft_i]", "m", None, 0.3048, 0.0),
    ("[degF]", "Cel", None, 5 / 9, -160 / 9),
    ("Cel", "[degF]", None, 1.8, 32.0),
    ("g/L", "mg/dL", None, 100.0, 0.0),
    ("ug/dL", "mg/L", None, 0.01, 0.0),
    ("ng/mL", "ug/L", None, 1.0, 0.0),
    ("10*3/uL", "10*9/L", None, 1.0, 0.0),
    ("10*6/uL", "10*12/L", None, 1.0, 0.0),
    ("{cells}/uL", "10*9/L", None, 0.001, 0.0),
    ("{counts}/min", "/min", None, 1.0, 0.0),
    ("mg/g", "ug/mg", None, 1.0, 0.0),
    ("%", "{ratio}", None, 0.01, 0.0),
    ("kPa", "mm[Hg]", None, 7.5006158, 0.0),
    ("ukat/L", "U/L", None, 60.0, 0.0),
    ("m[iU]/mL", "[iU]/L", None, 1.0, 0.0),
    ("kg/m^2", "kg/m2", None, 1.0, 0.0),
    ("mL/min/{1.73_m2}", "mL/s/{1.73_m2}", None, 1 / 60, 0.0),
    ("mmol/L", "mg/dL", 386.65, 38.665, 0.0),  # cholesterol
    ("mg/dL", "mmol/L", 180.156, 1 / 18.0156, 0.0),  # glucose
    ("umol/L", "mg/dL", 113.12, 0.011312, 0.0),  # creatinine
    ("mg/mmol", "mg/g", 113.12, 1000 / 113.12, 0.0),  # albumin per creatinine
    ("nmol/L", "ng/mL", 400.64, 0.40064, 0.0),  # vitamin D
]


@pytest.mark.parametrize(("source", "target", "molar_mass", "factor", "offset"), CONVERSIONS)
def test_factors(source, target, molar_mass, factor, offset):
    found = conversion(source, target, molar_mass)
    assert found.factor == pytest.approx(factor, rel=1e-7)
    assert found.offset == pytest.approx(offset, rel=1e-12)


def test_exact_factors_are_exact():
    assert conversion("[lb_av]", "kg") == Conversion(0.45359237, 0.0)
    assert conversion("mmol/L", "mg/dL", 386.65) == Conversion(38.665, 0.0)


@pytest.mark.parametrize(
    ("source", "target", "molar_mass"),
    [
        ("mg/dL", "mmol/L", None),
        ("mg/dL", "kg", None),
        ("mg/dL", "/min", 386.65),
        ("[degF]", "mg/dL", 100.0),
        ("mmol/mol", "%", None),  # HbA1c: 48 mmol/mol is 6.5 %, and not 4.8 %
        ("mg/g", "mmol/mol", None),
        ("U/L", "[iU]/L", None),
        ("mL/min/{1.73_m2}", "mL/min", None),
        ("no unit", "mg/dL", None),
    ],
)
def test_what_cannot_be_converted(source, target, molar_mass):
    with pytest.raises(UnknownUnitError):
        conversion(source, target, molar_mass)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("MG/DL", "mg/dL"),
        (" mg/dl ", "mg/dL"),
        ("Lbs", "[lb_av]"),
        ("mm Hg", "mm[Hg]"),
        ("µmol/L", "umol/L"),
        ("μg/L", "ug/L"),
        ("K/uL", "10*3/uL"),
        ("BPM", "/min"),
        ("kg/m2", "kg/m2"),
        ("mg{creat}/L", "mg{creat}/L"),
        ("/min", "/min"),
        ("{score}", "{score}"),
        ("1", "1"),
    ],
)
def test_what_people_write(text, unit):
    assert spelled(text) == unit


@pytest.mark.parametrize(
    "text", ["", "/", "mg/", "mg//dL", ".g", "./g", "mg dl", "{x", "furlongs", "0", "10*999", "12a", "g2m"]
)
def test_what_is_no_unit(text):
    assert spelled(text) is None
    with pytest.raises(InputError, match="is no unit"):
        check_unit(text)


def test_every_concept_is_a_unit():
    for unit in CONCEPTS.values():
        assert spelled(unit) is not None
        assert conversion(unit, unit) == Conversion()
