"""Formulas of values, as SQL: conversions of units that no factor says, and quantities made of others."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from allscan.errors import InputError
from allscan.phenotypes.expression import ELEMENTWISE, parse
from allscan.phenotypes.names import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_FUNCTIONS = {
    "log": "CASE WHEN {x} > 0 THEN ln({x}) END",
    "log2": "CASE WHEN {x} > 0 THEN log2({x}) END",
    "log10": "CASE WHEN {x} > 0 THEN log10({x}) END",
    "log1p": "CASE WHEN {x} > -1 THEN ln(1 + {x}) END",
    "sqrt": "CASE WHEN {x} >= 0 THEN sqrt({x}) END",
    "exp": "CASE WHEN {x} < 700 THEN exp({x}) END",
    "abs": "abs({x})",
    "I": "{x}",
}
assert set(_FUNCTIONS) == set(ELEMENTWISE)
_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def check_formula(text: str, names: Collection[str]) -> str:
    """A formula that is arithmetic of some names.

    Raises
    ------
    InputError
        If it is something else, or has none of the names in it.
    """
    formula_sql(text, {name: name for name in names})
    return text


def formula_sql(text: str, columns: Mapping[str, str]) -> str:
    """SQL of a formula; NULL where it has no value.

    Parameters
    ----------
    text
        Numbers, names, ``+ - * / **`` and ``log``, ``sqrt``, … as in a formula of covariates.
    columns
        What its names are in SQL.

    Raises
    ------
    InputError
        If it is no such formula, or has none of the names in it.
    """
    body = parse(text.strip(), {}, where=f"formula {text!r}", shown=text).body
    used = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)} - _called(body)
    unknown = sorted(used - set(columns))
    if unknown:
        raise InputError(
            f"{unknown[0]!r} in {text!r} means nothing",
            where=f"formula {text!r}",
            fix=did_you_mean(unknown[0], columns, otherwise=f"its names are {listed(columns)}"),
        )
    if not used:
        raise InputError(
            f"{text!r} is the same for everybody", where=f"formula {text!r}", fix=f"use {listed(columns)} in it"
        )
    return _sql(body, columns, text)


def number(value: float) -> str:
    """A number as SQL, to the last bit."""
    return f"CAST('{float(value)!r}' AS DOUBLE)"


def _called(body: ast.expr) -> set[str]:
    return {node.func.id for node in ast.walk(body) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def _sql(node: ast.expr, columns: Mapping[str, str], text: str) -> str:
    match node:
        case ast.Name(id=name):
            return columns[name]
        case ast.Constant(value=int() | float() as value):
            return number(value)
        case ast.UnaryOp(op=op, operand=operand):
            sign = "-" if isinstance(op, ast.USub) else "+"
            return f"({sign}{_sql(operand, columns, text)})"
        case ast.BinOp(left=left, op=ast.Pow() | ast.BitXor(), right=right):
            return f"pow({_sql(left, columns, text)}, {_sql(right, columns, text)})"
        case ast.BinOp(left=left, op=op, right=right):
            return f"({_sql(left, columns, text)} {_OPERATORS[type(op)]} {_sql(right, columns, text)})"
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _FUNCTIONS:
            return f"({_FUNCTIONS[name].format(x=_sql(arguments[0], columns, text))})"
    raise InputError(
        f"a formula of values has something else in it: {text!r}",
        where=f"formula {text!r}",
        fix=f"use numbers, names, + - * / ** and {listed(_FUNCTIONS)}",
    )
