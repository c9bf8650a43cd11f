"""Formulas are arithmetic of columns: no text of theirs runs, and none makes more than it may."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from allscan.phenotypes.covariates import MOST_COLUMNS, design_matrix
from allscan.phenotypes.formula import parse_formula
from allscan.phenotypes.model import CovariateColumn, CovariateTable
from tests.security.conftest import Refusal, soon

N = 50
PEOPLE = np.array([f"s{k}" for k in range(N)], object)


def _table(numbers: tuple[str, ...], categories: tuple[tuple[str, int], ...] = ()) -> CovariateTable:
    rng = np.random.default_rng(1)
    columns = {name: CovariateColumn(name, rng.normal(size=N)) for name in numbers}
    for name, levels in categories:
        codes = np.arange(N, dtype=np.int32) % levels
        columns[name] = CovariateColumn(name, None, codes, tuple(f"l{k}" for k in range(levels)))
    return CovariateTable(PEOPLE, columns, "covariates.tsv")


TABLE = _table(("age", "x", "__class__", "os.system", "age.__class__", "a b", "eval", "column_0_", "column_1_"))


_watched: list[str] | None = None


def _hear(event: str, _: tuple[object, ...]) -> None:
    if _watched is not None and event in ("exec", "import", "open", "os.system", "subprocess.Popen", "socket.connect"):
        _watched.append(event)


sys.addaudithook(_hear)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Whatever the interpreter executes, imports or opens meanwhile."""
    global _watched
    _watched = []
    try:
        yield _watched
    finally:
        _watched = None


def test_execution_would_be_heard() -> None:
    with heard() as events:
        eval("1 + 1")
    assert "exec" in events


@pytest.mark.parametrize(
    "formula",
    [
        '__import__("os").system("id")',
        "os.system(age)",
        'os.system("id")',
        "eval(age)",
        "ｅｖａｌ(age)",
        "exec(age)",
        "{().__class__.__bases__[0]}",
        "{age.__class__.__mro__}",
        "{age.real}",
        "{[x for x in age]}",
        "{(lambda: age)()}",
        "{lambda x: x}",
        '{f"{age}"}',
        "{age if x else age}",
        "{age := 3}",
        "{age; x}",
        "{age\nimport os}",
        "{age, x}",
        "{age[0]}",
        "{*age}",
        "{age @ x}",
        "{not age}",
        "{age < 3}",
        "{~age}",
        "{age << 999999999}",
        '{"a" * 999999999 * age}',
        "{1j * age}",
        "{await age}",
        "{yield}",
        "log(*age)",
        "log(**age)",
        "log(age, out=x)",
        "log(age)(x)",
        "`os.system`(age)",
        "column_9_(age)",
        "poly(age, 10**9)",
        "poly(age, 999999999)",
        "bs(age, df=__import__)",
        "bs(age, __class__=3)",
        "poly(poly(age, 3), 3)",
        "age # x",
        "age\u200b",
        "age ; x",
    ],
)
def test_code_is_no_formula(formula: str, refusal: Refusal) -> None:
    with heard() as events:
        refusal(lambda: parse_formula(formula, TABLE))
    assert events == []


@pytest.mark.parametrize("name", ["__class__", "os.system", "age.__class__", "a b", "eval", "column_0_"])
def test_names_that_look_like_code_are_names_of_columns(name: str) -> None:
    formula = parse_formula(f"`{name}` + {{2 * `{name}` + column_1_}}", TABLE)
    design = design_matrix(formula, TABLE.columns, np.arange(N))
    values = TABLE.columns[name].values
    other = TABLE.columns["column_1_"].values
    assert values is not None
    assert other is not None
    np.testing.assert_array_equal(design.values[:, 1], values)
    np.testing.assert_array_equal(design.values[:, 2], 2 * values + other)


@pytest.mark.parametrize(
    "formula",
    ["{9**9**9**9 * age}", "age**99999999999", "{age**9**9**9}", "exp(exp(exp(exp(age))))"],
)
def test_huge_powers_are_floats(formula: str, refusal: Refusal) -> None:
    """They overflow, are refused for the people for whom they do, and take no time."""
    error = refusal(lambda: design_matrix(parse_formula(formula, TABLE), TABLE.columns, np.arange(N)))
    assert "finite" in error.what


@pytest.mark.parametrize(
    "formula",
    [
        "+".join(["age"] * 6000),
        "age" + "+age" * 10**6,
        "+" * 20_000,
        "`" * 19_999,
        "{" * 20_000,
        "(" * 20_000,
        '("' * 9_999,
        "(" * 60 + "age" + ")" * 60,
        "{" + "(" * 60 + "age" + ")" * 60 + "}",
        "{" + "9" * 5000 + " * age}",
        "age**" + "9" * 5000,
        "{1e400 * age}",
        "pc[1:999999]",
        "pc[1:" + "9" * 5000 + "]",
        "*".join(f"c{k}" for k in range(30)),
        ":".join(["(" + "+".join(f"c{k}" for k in range(40)) + ")"] * 40),
    ],
    ids=lambda formula: f"{formula[:20]}…{len(formula)}",
)
def test_huge_formulas_are_refused_soon(formula: str, refusal: Refusal) -> None:
    table = _table(("age", *(f"c{k}" for k in range(40))))
    assert len(str(refusal(lambda: parse_formula(formula, table)))) < 1000


def test_interactions_of_categories_are_counted_before_they_are_made(refusal: Refusal) -> None:
    table = _table((), tuple((f"k{k}", 30) for k in range(30)))
    formula = parse_formula(":".join(table.columns), table)
    error = refusal(lambda: design_matrix(formula, table.columns, np.arange(N)))
    assert f"stay below {MOST_COLUMNS:,}" in str(error.fix)
    assert f"{30**30:,}" in error.what


def test_a_name_of_many_zeros_takes_no_time_to_pass_over(refusal: Refusal) -> None:
    """``pc[1:2]`` is looked for among all columns; a name like this one made the search quadratic."""
    table = _table(("pc1", "pc2", "pc" + "0" * 200_000 + "x", "pc" + "1" * 200_000))
    with soon():
        assert len(parse_formula("pc[1:2]", table).terms) == 2
