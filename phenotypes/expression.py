"""Arithmetic inside a covariate formula, evaluated without ``eval``: only what is listed here runs."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.errors import InputError
from allscan.phenotypes.names import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

LARGEST_BASIS = 20
"""Most columns that ``poly`` or ``bs`` may make."""

LARGEST_NUMBER = 1e100

ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "abs": np.abs,
    "I": lambda x: x,
}
WHOLE_COLUMN = ("center", "centre", "scale", "standardize", "standardise")
BASES = {"poly": ("degree",), "bs": ("df", "degree")}
"""Functions that make several columns, and their options; the first may be given by position."""

FUNCTIONS = (*ELEMENTWISE, *WHOLE_COLUMN, *BASES, "C")
"""Every function that a formula may call."""

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
    ast.BitXor: np.power,  # R's way of writing a power
}


@dataclass(frozen=True)
class Expression:
    """An arithmetic expression of numeric columns: ``log(age)``, ``age**2``, ``poly(age, 3)``."""

    text: str  # canonical; equal expressions have equal texts
    body: ast.expr
    names: Mapping[str, str]  # placeholder in the tree -> column of the table

    @property
    def width(self) -> int | None:
        """Number of columns of a basis (``poly``, ``bs``); None for a single column."""
        if isinstance(self.body, ast.Call) and _function(self.body) in BASES:
            options = _basis_options(self.body)
            return options[BASES[_function(self.body)][0]]
        return None

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns it uses, in order of appearance."""
        return tuple(dict.fromkeys(self.names.values()))

    def evaluate(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Values for columns (samples,) without missing values: (samples,), or (samples, k) for a basis."""
        size = len(next(iter(columns.values())))
        environment = {key: columns[name] for key, name in self.names.items()}
        with np.errstate(all="ignore"):
            values = np.asarray(_evaluate(self.body, environment), dtype=np.float64)
        return values if values.ndim == 2 else np.broadcast_to(values, (size,))


def parse(source: str, names: Mapping[str, str], *, where: str, shown: str) -> Expression:
    """Parse and check an expression.

    Parameters
    ----------
    source
        Python syntax, with placeholders for column names.
    names
        Placeholder -> column name.
    where, shown
        The formula, and the user's spelling of this part of it, for messages.

    Raises
    ------
    InputError
        If it is no arithmetic of numbers, columns and the functions of ``FUNCTIONS``.
    """
    try:
        body = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"{shown!r} is not a valid expression", where=where, fix="check its brackets") from None
    _check(body, where, shown, outermost=True)
    text = _spelled(body, names)
    if isinstance(body, ast.Call) and _function(body) == "I":
        body = body.args[0]
        text = _spelled(body, names)
    return Expression(text, body, names)


def _spelled(body: ast.expr, names: Mapping[str, str]) -> str:
    text = ast.unparse(body).replace(" ** ", "**").replace(" ^ ", "**").replace(", ", ",")
    return re.sub(r"\bcolumn_\d+_\b", lambda match: names[match[0]], text)


def placeholder(number: int) -> str:
    """The identifier that stands for a column whose name may be none."""
    return f"column_{number}_"


def _check(node: ast.expr, where: str, shown: str, *, outermost: bool = False) -> None:
    def refuse(what: str, fix: str) -> InputError:
        return InputError(f"{what} in {shown!r}", where=where, fix=fix)

    match node:
        case ast.Name():
            return
        case ast.Constant(value=int() | float() as value):
            if abs(value) > LARGEST_NUMBER:
                raise refuse("a number is too large", "use smaller numbers")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            _check(left, where, shown)
            _check(right, where, shown)
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            _check(operand, where, shown)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=options):
            if name not in FUNCTIONS:
                raise refuse(
                    f"the function {name!r} is not available",
                    did_you_mean(name, FUNCTIONS, otherwise=f"there are {listed(FUNCTIONS, limit=20)}"),
                )
            if name in BASES and outermost:
                _check_basis(name, node, refuse)
                _check(arguments[0], where, shown)
            elif name in BASES or name == "C":
                raise refuse(f"{name}() stands inside another expression", f"use {name}() as a term of its own")
            elif len(arguments) != 1 or options or isinstance(arguments[0], ast.Starred):
                raise refuse(f"{name}() takes one argument", f"write {name}(column)")
            else:
                _check(arguments[0], where, shown)
        case _:
            raise refuse(
                "something other than arithmetic stands",
                f"use numbers, columns, + - * / ** and the functions {listed(FUNCTIONS, limit=20)}",
            )


def _check_basis(name: str, call: ast.Call, refuse: Callable[[str, str], InputError]) -> None:
    allowed = BASES[name]
    usage = {"poly": "write poly(column, 3)", "bs": "write bs(column, df=5) or bs(column, df=5, degree=3)"}[name]
    values = [*call.args[1:2], *(option.value for option in call.keywords)]
    known = all(option.arg in allowed for option in call.keywords)
    whole = all(isinstance(value, ast.Constant) and type(value.value) is int for value in values)
    if not (1 <= len(call.args) <= 2 and known and whole and values) or len(values) > len(allowed):
        raise refuse(f"{name}() is not called as it should be", usage)
    sizes = [int(ast.literal_eval(value)) for value in values]
    smallest, largest = min(sizes), max(sizes)
    if not 1 <= smallest <= largest <= LARGEST_BASIS:
        raise refuse(f"{name}() asks for {largest} columns or degrees", f"use 1 to {LARGEST_BASIS}")
    if name == "bs":
        options = _basis_options(call)
        if options.get("df", 0) < options.get("degree", 3):
            raise refuse("the spline has fewer degrees of freedom than its degree", usage)


def _basis_options(call: ast.Call) -> dict[str, int]:
    first = BASES[_function(call)][0]
    options = {first: call.args[1]} if len(call.args) > 1 else {}
    options.update({str(option.arg): option.value for option in call.keywords})
    return {name: int(ast.literal_eval(value)) for name, value in options.items()}


def _function(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Name)  # _check has seen to it
    return call.func.id


def _evaluate(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return columns[name]
        case ast.Constant(value=int() | float() as value):
            return np.float64(value)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_evaluate(left, columns), _evaluate(right, columns))
        case ast.UnaryOp(op=op, operand=operand):
            value = _evaluate(operand, columns)
            return -value if isinstance(op, ast.USub) else value
        case ast.Call():
            return _call(node, columns)
    raise AssertionError("unreachable: _check admits nothing else")


def _call(call: ast.Call, columns: Mapping[str, Any]) -> Any:
    name = _function(call)
    values = _evaluate(call.args[0], columns)
    if name in ELEMENTWISE:
        return ELEMENTWISE[name](values)
    if name in ("center", "centre"):
        return values - np.mean(values)
    if name in WHOLE_COLUMN:
        return (values - np.mean(values)) / np.std(values, ddof=1)
    from formulaic.transforms import basis_spline, poly

    if name == "poly":
        return np.asarray(poly(values, **_basis_options(call)))
    splines = basis_spline(values, **_basis_options(call))
    return np.column_stack([splines[key] for key in sorted(splines)])
