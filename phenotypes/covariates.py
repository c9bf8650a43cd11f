"""The covariate matrix of a formula, for the people who have every covariate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.errors import InputError
from allscan.phenotypes.cells import natural_key
from allscan.phenotypes.names import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.phenotypes.formula import CovariateFormula, Factor
    from allscan.phenotypes.model import CovariateColumn, CovariateTable

MOST_LEVELS = 500
"""Categories of one covariate: more are ids, dates or free text."""

MOST_COLUMNS = 2_000
"""Columns of the matrix: the indicators of an interaction of categories are as many as their levels multiplied."""

INTERCEPT = "intercept"

_CODED = re.compile(r"f(\d+)(?:\[(?:T\.)?L(\d+)\])?")


@dataclass(frozen=True)
class CovariateDesign:
    """Covariates as numbers."""

    values: NDArray[np.float64]  # (samples, covariates), finite
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def missing_cells(table: CovariateTable, formula: CovariateFormula) -> dict[str, NDArray[np.bool_]]:
    """For every column that a formula uses, where it is missing: (samples,) each.

    Raises
    ------
    InputError
        If a column has no value at all.
    """
    missing = {}
    for name in formula.variables:
        column = table.columns[name]
        if column.values is not None:
            missing[name] = np.isnan(column.values)
        else:
            missing[name] = _codes(column) < 0
        if missing[name].all():
            raise InputError(
                f"every cell of the covariate {name!r} is missing",
                where=f"{table.source}, column {name!r}",
                fix="take it out of the formula, or check how the file was written",
            )
    return missing


def design_matrix(
    formula: CovariateFormula, columns: Mapping[str, CovariateColumn], rows: NDArray[np.int64]
) -> CovariateDesign:
    """Evaluate a formula.

    Categories become indicators against the most frequent level among ``rows`` (the first in natural order
    of several), or the level that ``C()`` names; where the formula has no intercept, the first categorical
    term gets an indicator for every level. Functions of whole columns (``scale``, ``poly``, ``bs``) see all
    of ``rows``.

    Parameters
    ----------
    formula
        Resolved against ``columns``.
    columns
        The covariate table's columns.
    rows
        (samples,) rows of the table, all of them without missing values in ``formula.variables``.

    Raises
    ------
    InputError
        If a function gives no finite number for somebody, or a covariate has too many categories.
    """
    n = len(rows)
    if not formula.factors:
        width = int(formula.intercept)
        return CovariateDesign(np.ones((n, width)), (INTERCEPT,) * width)
    labels: list[tuple[str, ...]] = []
    notes: list[str] = []
    warnings: list[str] = []
    columns_of: list[NDArray[Any]] = []  # of every factor: its values, or the codes of its levels
    evaluated: dict[str, NDArray[np.float64]] = {}
    for factor in formula.factors:
        if factor.categorical:
            codes, levels = _levels(factor, columns[factor.variables[0]], rows)
            labels.append(levels)
            columns_of.append(codes)
            if len(levels) == 1:
                warnings.append(f"the covariate {factor.text} has only one level among the analysed people")
            elif formula.intercept:
                why = "as the formula says" if factor.reference is not None else "the most frequent level"
                notes.append(f"covariate {factor.text}: indicators against {levels[0]!r}, {why}")
        else:
            labels.append(())
            columns_of.append(_evaluated(factor, columns, rows, evaluated))
    warnings.extend(columns[name].warning for name in formula.variables if columns[name].warning)

    _refuse_columns(formula, labels)
    coded = _coded(formula, labels)
    if coded is None:
        values, names = _by_formulaic(formula, columns_of, labels)
    else:
        values, names = _multiplied(coded, columns_of), tuple(_named(column, formula, labels) for column in coded)
    return CovariateDesign(values, names, tuple(notes), tuple(warnings))


def _refuse_columns(formula: CovariateFormula, labels: Sequence[Sequence[str]]) -> None:
    """Refuse a matrix that would be too wide, before it is made."""
    widths = [prod(max(1, len(labels[number])) for number in term) for term in formula.terms]
    if sum(widths) <= MOST_COLUMNS:
        return
    widest = formula.terms[widths.index(max(widths))]
    term = ":".join(formula.factors[number].text for number in widest)
    raise InputError(
        f"the covariates take {sum(widths):,} columns, {max(widths):,} of them for {term[:80]!r}",
        where="covariate formula",
        fix=f"stay below {MOST_COLUMNS:,}: leave out interactions of categories, or join rare levels",
    )


Coded = tuple[tuple[int, int | None], ...]
"""One column of the matrix: its factors, each with the level that it indicates (None: its values). (): intercept."""


def _coded(formula: CovariateFormula, labels: Sequence[Sequence[str]]) -> tuple[Coded, ...] | None:
    """The columns of a formula whose indicators all stand against a reference level, else None.

    That is so where every term holds at most one set of categories, and the term without them is there too.
    """
    there = {frozenset(term) for term in ((),) * formula.intercept + formula.terms}
    coded: list[Coded] = [()] if formula.intercept else []
    for term in formula.terms:
        categorical = [number for number in term if formula.factors[number].categorical]
        if not categorical:
            coded.append(tuple((number, None) for number in term))
            continue
        if len(categorical) > 1 or frozenset(term) - {categorical[0]} not in there:
            return None
        coded.extend(
            tuple((number, level if number == categorical[0] else None) for number in term)
            for level in range(1, len(labels[categorical[0]]))
        )
    return tuple(coded)


def _multiplied(coded: Sequence[Coded], columns_of: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    values = np.ones((len(columns_of[0]), len(coded)), order="F")
    for at, column in enumerate(coded):
        for number, level in column:
            values[:, at] *= columns_of[number] if level is None else columns_of[number] == level
    return values


def _by_formulaic(
    formula: CovariateFormula, columns_of: Sequence[NDArray[Any]], labels: Sequence[Sequence[str]]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Values and names of the columns, with as many indicators as keep them independent.

    ``formulaic`` sees only generated names. It comes with pandas, and takes longer to import than most checks take.
    """
    import pandas as pd
    from formulaic import model_matrix

    data = {
        f"f{number}": pd.Categorical.from_codes(
            columns_of[number], categories=pd.Index([f"L{k}" for k in range(len(labels[number]))])
        )
        if factor.categorical
        else columns_of[number]
        for number, factor in enumerate(formula.factors)
    }
    products = [":".join(f"f{number}" for number in term) for term in formula.terms]
    matrix = model_matrix(
        " + ".join(["1" if formula.intercept else "0", *products]),
        pd.DataFrame(data, index=pd.RangeIndex(len(columns_of[0]))),
        output="numpy",
    )
    coded = [_parsed(name) for name in matrix.model_spec.column_names]
    values = np.asfortranarray(np.asarray(matrix, dtype=np.float64).reshape(len(columns_of[0]), len(coded)))
    return values, tuple(_named(column, formula, labels) for column in coded)


def _evaluated(
    factor: Factor,
    columns: Mapping[str, CovariateColumn],
    rows: NDArray[np.int64],
    evaluated: dict[str, NDArray[np.float64]],
) -> NDArray[np.float64]:
    inputs = {name: _values(columns[name])[rows] for name in factor.variables}
    if factor.expression is None:
        return inputs[factor.variables[0]]
    key = factor.expression.text
    if key not in evaluated:
        evaluated[key] = factor.expression.evaluate(inputs)
    result = evaluated[key] if factor.part is None else evaluated[key][:, factor.part]
    refused = int((~np.isfinite(result)).sum())
    if refused:
        raise InputError(
            f"{factor.text} is not a finite number for {refused} of {len(rows)} people",
            where=f"covariate formula, {factor.text}",
            fix="mark the values it does not exist for as missing, or leave the function out "
            "(a logarithm needs positive values, scale() needs values that differ)",
        )
    return result


def _levels(
    factor: Factor, column: CovariateColumn, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Codes of the rows, and the levels that occur among them, the reference first."""
    if column.codes is not None:
        codes, every = column.codes[rows].astype(np.int64), column.levels
        counts = np.bincount(codes, minlength=len(every))
    else:
        found, codes, counts = np.unique(_values(column)[rows], return_inverse=True, return_counts=True)
        every = tuple(format(value, ".15g") for value in found)
    present = sorted(np.flatnonzero(counts).tolist(), key=lambda k: natural_key(every[k]))
    if len(present) > MOST_LEVELS:
        raise InputError(
            f"the covariate {column.name!r} has {len(present):,} different texts or categories",
            where=f"covariate formula, {factor.text}",
            fix=f"at most {MOST_LEVELS} categories can be used; ids, dates and free text cannot",
        )
    if factor.reference is None:
        reference = max(present, key=lambda k: counts[k])
    else:
        named = [k for k in present if every[k] == factor.reference]
        if not named:
            raise InputError(
                f"the reference level {factor.reference!r} of {column.name!r} does not occur",
                where=f"covariate formula, C({column.name}, …)",
                fix=f"there are {listed(every[k] for k in present)}",
            )
        reference = named[0]
    order = [reference, *(k for k in present if k != reference)]
    rank = np.full(len(every), -1)
    rank[order] = np.arange(len(order))
    return rank[codes], tuple(every[k] for k in order)


def _parsed(name: str) -> Coded:
    """A column's name of formulaic's: ``f0:f1[T.L1]``."""
    if name == "Intercept":
        return ()
    matches = [_CODED.fullmatch(piece) for piece in name.split(":")]
    return tuple((int(match[1]), None if match[2] is None else int(match[2])) for match in matches if match is not None)


def _named(column: Coded, formula: CovariateFormula, labels: Sequence[Sequence[str]]) -> str:
    """A column's name as a person would write it: ``age:sex[male]``."""
    pieces = [
        formula.factors[number].text + ("" if level is None else f"[{labels[number][level]}]")
        for number, level in column
    ]
    return ":".join(pieces) or INTERCEPT


def _values(column: CovariateColumn) -> NDArray[np.float64]:
    assert column.values is not None  # the parser admits numeric columns only
    return column.values


def _codes(column: CovariateColumn) -> NDArray[np.int32]:
    assert column.codes is not None  # a column has values or codes
    return column.codes
