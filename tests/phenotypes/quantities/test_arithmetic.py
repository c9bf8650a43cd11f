"""Formulas as SQL: what NumPy finds, and nothing but arithmetic."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from allscan.errors import InputError
from allscan.phenotypes.expression import parse
from allscan.phenotypes.quantities.arithmetic import check_formula, formula_sql, number


@pytest.mark.parametrize(
    "formula",
    [
        "x",
        "0.09148 * x + 2.152",
        "weight / height ** 2",
        "-x + +weight - 3",
        "x ^ 2 / 7",
        "log(x) + log2(height) - log10(weight) + log1p(x)",
        "sqrt(abs(x - 50)) * exp(x / 100)",
        "I(x) * 1e-3",
        "1 / 3 * x",
    ],
)
def test_sql_finds_what_numpy_finds(formula):
    values = {
        "x": np.array([48.0, 0.1, 101.5]),
        "weight": np.array([80.0, 3.3, 61.0]),
        "height": np.array([1.8, 0.5, 1.61]),
    }
    wanted = parse(formula.replace("I(x)", "x"), {name: name for name in values}, where="", shown="").evaluate(values)
    sql = formula_sql(formula, {name: f"v.{name}" for name in values})
    rows = ", ".join(f"({i}, {', '.join(number(column[i]) for column in values.values())})" for i in range(3))
    found = duckdb.sql(f"SELECT {sql} FROM (VALUES {rows}) AS v(i, x, weight, height) ORDER BY i").fetchall()
    np.testing.assert_allclose([value for (value,) in found], wanted, rtol=1e-14)


@pytest.mark.parametrize(
    "formula", ["log(x)", "log2(x)", "log10(x)", "log1p(x)", "sqrt(x)", "1 / (x + 5)", "exp(1000 - x)"]
)
def test_what_has_no_value_is_no_error(formula):
    value = duckdb.sql(f"SELECT {formula_sql(formula, {'x': number(-5)})}").fetchall()[0][0]
    assert value is None or not np.isfinite(value)


def test_numbers_are_told_to_the_last_bit():
    for value in (0.1, 1 / 3, 1e-300, 123456789.123456789, -2.5e99):
        assert duckdb.sql(f"SELECT {number(value)}").fetchall() == [(value,)]


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y + 1", "'y' in 'y \\+ 1' means nothing"),
        ("2 + 3", "the same for everybody"),
        ("x +", "not a valid expression"),
        ("__import__('os')", "not available|other than arithmetic"),
        ("x.real", "other than arithmetic"),
        ("x if x else 1", "other than arithmetic"),
        ("center(x)", "something else"),
        ("poly(x, 2)", "something else"),
        ("x; DROP TABLE people", "not a valid expression"),
    ],
)
def test_other_things_are_refused(formula, message):
    with pytest.raises(InputError, match=message):
        check_formula(formula, ("x",))
