"""Covariate formulas: what they mean, against matrices built by hand, and what they refuse."""

from __future__ import annotations

import builtins
import re
from pathlib import Path
from typing import Any

import formulaic
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from allscan.errors import InputError
from allscan.phenotypes.covariates import MOST_LEVELS, CovariateDesign, design_matrix
from allscan.phenotypes.formula import parse_formula
from allscan.phenotypes.model import CovariateColumn, CovariateTable

N = 60
_rng = np.random.default_rng(0)
AGE = _rng.integers(20, 80, N).astype(float)
BMI = _rng.normal(27, 4, N)
PCS = _rng.normal(size=(N, 12))
FEMALE = np.arange(N) % 3 > 0  # 40 of 60
SITE = np.array([["A", "B", "C"][i] for i in (np.arange(N) * 7 % 10 // 4)])  # A 24, B 24, C 12
BATCH = np.arange(N) % 4 + 1.0


def categorical(name: str, texts: Any, levels: tuple[str, ...], problem: str = "") -> CovariateColumn:
    codes = np.array([levels.index(text) for text in texts], dtype=np.int32)
    return CovariateColumn(name, None, codes, levels, problem=problem, problem_where="covs.tsv, line 7")


def table(*more: CovariateColumn) -> CovariateTable:
    columns = [
        CovariateColumn("age", AGE),
        CovariateColumn("BMI", BMI),
        CovariateColumn("weight.kg", BMI * 3),
        CovariateColumn("waist (cm)", BMI * 4),
        categorical("sex", np.where(FEMALE, "female", "male"), ("female", "male")),
        categorical("site", SITE, ("A", "B", "C")),
        CovariateColumn("batch", BATCH),
        *(CovariateColumn(name, PCS[:, k]) for k, name in enumerate(["PC1", "pc_2", "Pc03", "pc.4"])),
        *(CovariateColumn(f"pc{k + 1}", PCS[:, k]) for k in range(4, 12)),
        *more,
    ]
    return CovariateTable(
        np.array([f"p{i}" for i in range(N)], dtype=object), {column.name: column for column in columns}, "covs.tsv"
    )


def design(formula: str | None, *more: CovariateColumn, rows: NDArray[np.int64] | None = None) -> CovariateDesign:
    covariates = table(*more)
    parsed = parse_formula(formula, covariates)
    return design_matrix(parsed, covariates.columns, np.arange(N) if rows is None else rows)


MALE = (~FEMALE).astype(float)
B, C = (SITE == "B").astype(float), (SITE == "C").astype(float)
ONE = np.ones(N)

MEANINGS: dict[str, dict[str, NDArray[np.float64]]] = {
    "age": {"intercept": ONE, "age": AGE},
    "age + age**2": {"intercept": ONE, "age": AGE, "age**2": AGE**2},
    "age + age^2 + I(age**2) + {age ** 2}": {"intercept": ONE, "age": AGE, "age**2": AGE**2},
    "sex": {"intercept": ONE, "sex[male]": MALE},
    "age + sex + age:sex": {"intercept": ONE, "age": AGE, "sex[male]": MALE, "age:sex[male]": AGE * MALE},
    "age*sex": {"intercept": ONE, "age": AGE, "sex[male]": MALE, "age:sex[male]": AGE * MALE},
    "age*sex - age:sex": {"intercept": ONE, "age": AGE, "sex[male]": MALE},
    "age**2:sex + sex": {"intercept": ONE, "sex[male]": MALE, "age**2:sex[female]": AGE**2 * FEMALE,
                         "age**2:sex[male]": AGE**2 * MALE},
    "0 + age": {"age": AGE},
    "age - 1": {"age": AGE},
    "-1 + age": {"age": AGE},
    "1 + age": {"intercept": ONE, "age": AGE},
    "~ age": {"intercept": ONE, "age": AGE},
    "0 + sex": {"sex[female]": FEMALE.astype(float), "sex[male]": MALE},
    "0": {},
    "1": {"intercept": ONE},
    "site": {"intercept": ONE, "site[B]": B, "site[C]": C},
    "C(site)": {"intercept": ONE, "site[B]": B, "site[C]": C},
    'C(site, "C")': {"intercept": ONE, "site[A]": (SITE == "A").astype(float), "site[B]": B},
    "C(site, C)":
        {"intercept": ONE, "site[A]": (SITE == "A").astype(float), "site[B]": B},
    "batch": {"intercept": ONE, "batch": BATCH},
    "C(batch)": {"intercept": ONE, **{f"batch[{k}]": (k == BATCH).astype(float) for k in (2, 3, 4)}},
    "C(batch, 3)": {"intercept": ONE, **{f"batch[{k}]": (k == BATCH).astype(float) for k in (1, 2, 4)}},
    "pc[1:3]": {"intercept": ONE, "PC1": PCS[:, 0], "pc_2": PCS[:, 1], "Pc03": PCS[:, 2]},
    "PC[3:5]": {"intercept": ONE, "Pc03": PCS[:, 2], "pc.4": PCS[:, 3], "pc5": PCS[:, 4]},
    "pc[12]": {"intercept": ONE, "pc12": PCS[:, 11]},
    "pc[1:2]**2": {"intercept": ONE, "PC1**2": PCS[:, 0] ** 2, "pc_2**2": PCS[:, 1] ** 2},
    "0 + pc[1:2]:age": {"PC1:age": PCS[:, 0] * AGE, "pc_2:age": PCS[:, 1] * AGE},
    "0 + (age + BMI):PC1": {"age:PC1": AGE * PCS[:, 0], "BMI:PC1": BMI * PCS[:, 0]},
    "log(age)": {"intercept": ONE, "log(age)": np.log(AGE)},
    "scale(log10(age))": {
        "intercept": ONE,
        "scale(log10(age))": (np.log10(AGE) - np.log10(AGE).mean()) / np.log10(AGE).std(ddof=1),
    },
    "center(BMI)**2": {"intercept": ONE, "center(BMI)**2": (BMI - BMI.mean()) ** 2},
    "{BMI / age}": {"intercept": ONE, "BMI / age": BMI / AGE},
    "{2 * age - BMI}**2": {"intercept": ONE, "(2 * age - BMI)**2": (2 * AGE - BMI) ** 2},
    "I(age^3)": {"intercept": ONE, "age**3": AGE**3},
    "{-age}": {"intercept": ONE, "-age": -AGE},
    "I(age + BMI)": {"intercept": ONE, "age + BMI": AGE + BMI},
    "weight.kg + `waist (cm)`": {"intercept": ONE, "weight.kg": BMI * 3, "waist (cm)": BMI * 4},
    "sqrt(`waist (cm)` / weight.kg)":
        {"intercept": ONE, "sqrt(waist (cm) / weight.kg)": np.full(N, np.sqrt(4 / 3))},
    "age**0.5 + abs(PC1) + exp(PC1)":
        {"intercept": ONE, "age**0.5": AGE**0.5, "abs(PC1)": abs(PCS[:, 0]), "exp(PC1)": np.exp(PCS[:, 0])},
}  # fmt: skip


@pytest.mark.parametrize("formula", MEANINGS)
def test_a_formula_means_the_matrix_written_by_hand(formula: str) -> None:
    expected = MEANINGS[formula]
    result = design(formula)
    assert sorted(result.names) == sorted(expected)
    for k, name in enumerate(result.names):
        np.testing.assert_allclose(result.values[:, k], expected[name], rtol=1e-13, err_msg=name)


@pytest.mark.parametrize("formula", [None, "", "  ", "~"])
def test_no_formula_is_the_intercept_alone(formula: str | None) -> None:
    for covariates in (None, table()):
        parsed = parse_formula(formula, covariates)
        assert parsed.variables == ()
        result = design_matrix(parsed, {}, np.arange(3))
        assert result.names == ("intercept",)
        np.testing.assert_array_equal(result.values, np.ones((3, 1)))


def test_splines_and_polynomials_span_what_they_should() -> None:
    polynomial = design("poly(age, 3)")
    assert polynomial.names == ("intercept", "poly(age,3)[1]", "poly(age,3)[2]", "poly(age,3)[3]")
    gram = polynomial.values.T @ polynomial.values
    np.testing.assert_allclose(gram[1:, 1:], np.eye(3), atol=1e-10)
    powers = np.column_stack([AGE**k for k in range(4)])
    coefficients = np.linalg.lstsq(polynomial.values, powers, rcond=None)[0]
    np.testing.assert_allclose(polynomial.values @ coefficients, powers, rtol=1e-9)

    # Cubic, two inner knots at the thirds; the first function is left to the intercept.
    inner = np.quantile(AGE, [1 / 3, 2 / 3])
    knots = np.concatenate([[AGE.min()] * 4, inner, [AGE.max()] * 4])
    spline = design("bs(age, df=5)")
    assert spline.names[1:] == tuple(f"bs(age,df=5)[{k}]" for k in range(1, 6))
    expected = BSpline.design_matrix(AGE, knots, 3).toarray()[:, 1:]
    np.testing.assert_allclose(spline.values[:, 1:], expected, atol=1e-12)
    assert design("bs(age, df=5, degree=2):sex").values.shape == (N, 11)


def test_variables_are_those_that_must_not_be_missing() -> None:
    parsed = parse_formula("age + log(BMI) + C(batch) + pc[1:2] + age:sex", table())
    assert parsed.variables == ("age", "BMI", "batch", "PC1", "pc_2", "sex")


def test_the_reference_is_the_most_frequent_level_among_the_rows_and_is_told() -> None:
    rows = np.flatnonzero((SITE != "A") | (np.arange(N) < 5))
    result = design("site + sex", rows=rows)
    assert result.names == ("intercept", "site[A]", "site[C]", "sex[male]")
    assert result.notes == (
        "covariate site: indicators against 'B', the most frequent level",
        "covariate sex: indicators against 'female', the most frequent level",
    )
    # A and B are equally frequent among all: the first in order.
    assert design("site").names == ("intercept", "site[B]", "site[C]")


def test_levels_are_those_of_the_rows() -> None:
    result = design("site", rows=np.flatnonzero(SITE != "C"))
    assert result.names == ("intercept", "site[B]")


def test_a_single_level_adds_nothing_and_is_remarked_on() -> None:
    result = design("age + site", rows=np.flatnonzero(SITE == "B"))
    assert result.names == ("intercept", "age")
    assert result.warnings == ("the covariate site has only one level among the analysed people",)


def test_levels_with_marks_of_the_formula_language_keep_their_names() -> None:
    odd = categorical("odd", ["a:b", "T.x]", "[L0]"] * 20, ("T.x]", "[L0]", "a:b"))
    result = design("odd + odd:age", odd)
    assert result.names == (
        "intercept",
        "odd[[L0]]",
        "odd[a:b]",
        "odd[T.x]]:age",
        "odd[[L0]]:age",
        "odd[a:b]:age",
    )
    np.testing.assert_array_equal(result.values[:, 2], [1.0, 0.0, 0.0] * 20)


def test_too_many_levels_are_refused() -> None:
    texts = [f"text {i}" for i in range(MOST_LEVELS + 1)]
    column = CovariateColumn("note", None, np.arange(MOST_LEVELS + 1, dtype=np.int32), tuple(texts))
    parsed = parse_formula("note", table(column))
    with pytest.raises(InputError, match="'note' has 501 different texts"):
        design_matrix(parsed, {"note": column}, np.arange(MOST_LEVELS + 1))


def test_warnings_of_columns_are_given_only_when_they_are_used() -> None:
    suspicious = CovariateColumn("odd", AGE, warning="odd looks odd")
    assert design("age", suspicious).warnings == ()
    assert design("age + odd", suspicious).warnings == ("odd looks odd",)


def test_columns_with_a_problem_are_refused_only_when_they_are_used() -> None:
    mixed = categorical("income", np.where(FEMALE, "10", "1o"), ("1o", "10"), problem="is numeric but for 20 cells")
    dates = CovariateColumn("day", np.full(N, np.nan), problem="has the type date", problem_where="covs, column day")
    assert design("age", mixed, dates).names == ("intercept", "age")
    with pytest.raises(InputError, match="'income' is numeric but for 20 cells") as caught:
        design("income", mixed)
    assert caught.value.where == "covs.tsv, line 7"
    assert "C(income)" in str(caught.value.fix)
    assert design("C(income)", mixed).names == ("intercept", "income[1o]")
    for formula in ("day", "C(day)"):
        with pytest.raises(InputError, match="'day' has the type date"):
            design(formula, dates)


REFUSED = {
    "agee": ("no covariate 'agee'", "did you mean 'age'?"),
    "bmi": ("no covariate 'bmi'", "did you mean 'BMI'?"),
    "age + log(agee)": ("no covariate 'agee'", "did you mean 'age'?"),
    "C(sitee)": ("no covariate 'sitee'", "did you mean 'site'?"),
    "zzz": ("no covariate 'zzz'", "the table has age"),
    "y ~ age": ("no covariate 'y'", ""),
    "age ~ BMI": ("'~' does not belong here", "covariates only"),
    "pc[1:15]": ("pc13, pc14, pc15", "the table has PC1"),
    "xc[1:2]": ("xc1, xc2", "the table has"),
    "pc[3:1]": ("backwards", "pc[1:3]"),
    "pc[1:3:1]": ("no range", "pc[1:20]"),
    "pc[a]": ("no range", "pc[1:20]"),
    "pc[]": ("no range", "pc[1:20]"),
    "pc[0:999999]": ("more than 2,000 terms", ""),
    "sex**2": ("holds categories", "sex"),
    "log(sex)": ("holds categories", "sex"),
    "C(sex)**2": ("no power", "C(sex)"),
    "(age + BMI)**2": ("two ways", "{(a + b)**2}"),
    "age:age": ("multiplied by itself", "age**2"),
    "age*age": ("multiplied by itself", "age**2"),
    "2*age": ("'2' is no term", "{2 * age}"),
    "age + 2": ("'2' is no term", "backticks"),
    "(age - 1)": ("'1' is no term", "'0 +'"),
    "age - 0": ("'0' is no term", ""),
    "age:1": ("'1' does not belong here", ""),
    "age/BMI": ("'/' does not belong here", "{weight / height}"),
    "age + ": ("ends where a term should follow", ""),
    "+": ("ends where a term should follow", ""),
    "- age": ("begins by taking a term away", ""),
    "age BMI": ("'BMI' does not belong here", "join terms by +"),
    "age + + BMI": ("'+' does not belong here", ""),
    "(age": ("ends too early", "close"),
    "age)": ("')' does not belong here", "open"),
    "log(age": ("not closed", ""),
    "log(age]": ("not closed", ""),
    "{age": ("not closed", ""),
    "()": ("')' does not belong here", ""),
    "{}": ("not a valid expression", ""),
    "{1 + 1}": ("uses no column", ""),
    "{age +}": ("not a valid expression", ""),
    "{age BMI}": ("not a valid expression", ""),
    "age**": ("not a positive number", ""),
    "age**-1": ("not a positive number", "{1 / age}"),
    "age**BMI": ("not a positive number", ""),
    "age; BMI": ("';' has no meaning", ""),
    "age | BMI": ("'|' has no meaning", ""),
    "`age": ("'`' has no meaning", ""),
    "'age'": ("does not belong here", ""),
    "log()": ("takes one argument", ""),
    "log(age, 2)": ("takes one argument", ""),
    "log(*age)": ("takes one argument", ""),
    "log(x=age)": ("takes one argument", ""),
    "poly(age)": ("not called as it should be", "poly(column, 3)"),
    "poly(age, BMI)": ("not called as it should be", ""),
    "poly(age, 0)": ("asks for 0", "1 to 20"),
    "poly(age, 21)": ("asks for 21", "1 to 20"),
    "poly(age, 2, raw=1)": ("not called as it should be", ""),
    "bs(age, df=2)": ("fewer degrees of freedom", ""),
    "bs(age, degree=3)": ("fewer degrees of freedom", "df=5"),
    "bs(age, 5, 3)": ("not called as it should be", ""),
    "log(poly(age, 2))": ("stands inside another", ""),
    "poly(age, 2)**2": ("stands inside another", ""),
    "log(C(site))": ("holds categories", ""),
    "log(C(age))": ("stands inside another", ""),
    "C(site, batch, age)": ("not understood", "C(column)"),
    "C(log(age))": ("not understood", "C(column)"),
    "C()": ("not understood", "C(column)"),
    "a" * 30_000: ("30,000 characters", ""),
    "(" * 5000 + "age" + ")" * 5000: ("nested too deeply", ""),
    "{" + "-" * 5000 + "age}": ("too long", ""),
    "{" + "(" * 40 + "age" + ")" * 40: ("not closed", ""),
    "*".join(["pc[1:10]"] * 9): ("more than 2,000 terms", ""),
    ":".join(["(age + BMI)"] * 30): ("more than 2,000 terms", ""),
    " + ".join(["age"] * 3000): ("more than 2,000 terms", ""),
}


@pytest.mark.parametrize("formula", REFUSED, ids=lambda formula: formula[:30])
def test_what_is_no_formula_is_refused_with_place_and_way_out(formula: str) -> None:
    what, fix = REFUSED[formula]
    with pytest.raises(InputError) as caught:
        design(formula)
    assert what in caught.value.what
    assert "covariate formula" in str(caught.value.where)
    assert fix in str(caught.value.fix)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("formula", "count"),
    [("log(PC1)", int((PCS[:, 0] <= 0).sum())), ("scale(constant)", N), ("{age**999}", N), ("{1 / constant}", N)],
)
def test_functions_that_give_no_number_are_refused_with_their_count(formula: str, count: int) -> None:
    with pytest.raises(InputError, match=rf"not a finite number for {count} of {N} people"):
        design(formula, CovariateColumn("constant", np.zeros(N)))


def test_columns_that_a_range_could_mean_twice_are_refused() -> None:
    with pytest.raises(InputError, match="more than one column: PC1, pc_01"):
        design("pc[1:2]", CovariateColumn("pc_01", AGE))


def test_a_reference_level_that_does_not_occur_is_refused() -> None:
    with pytest.raises(InputError, match="'D' of 'site' does not occur") as caught:
        design('C(site, "D")')
    assert caught.value.fix == "there are A, B, C"


def test_a_formula_without_a_covariate_table_is_refused() -> None:
    with pytest.raises(InputError, match="'age', but there is no covariate table"):
        parse_formula("age", None)


@pytest.mark.parametrize(
    "attack",
    [
        "__import__('os').system('true')",
        "open('x')",
        "eval(age)",
        "{age.__class__}",
        "{().__class__}",
        "{[age for age in age]}",
        "{lambda: age}",
        "{age if age else age}",
        "{age == age}",
        "{age[0]}",
        "{'a' * 9}",
        "{age, BMI}",
        "{age := 1}",
        "{f'{age}'}",
        "np.load(age)",
        "log(__import__('os'))",
        "log.__class__(age)",
        "C(__import__('os'))",
        "`age`.__class__",
        "{column_0_}",
        "@age",
        "{age @ age}",
        "{~age}",
        "{age % 2}",
        "{not age}",
        "{9**9**9**9**9}",
    ],
)
def test_nothing_but_arithmetic_is_accepted(attack: str) -> None:
    with pytest.raises(InputError):
        design(attack)


@pytest.mark.parametrize("formula", MEANINGS)
def test_no_formula_is_evaluated_as_python(formula: str, monkeypatch: pytest.MonkeyPatch) -> None:
    design("age + sex")  # imports are done

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a formula was executed")

    monkeypatch.setattr(builtins, "eval", never)
    monkeypatch.setattr(builtins, "exec", never)
    design(formula)


def test_formulaic_sees_generated_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    model_matrix = formulaic.model_matrix

    def spied(terms: str, *arguments: Any, **options: Any) -> Any:
        seen.append(terms)
        return model_matrix(terms, *arguments, **options)

    monkeypatch.setattr("formulaic.model_matrix", spied)
    design("0 + age**2 + log(BMI):sex + C(site, 'B') + pc[1:2]*batch")
    assert len(seen) == 1
    assert set(seen[0]) <= set("f0123456789 +:")


FACTORS = {"age": "a", "BMI": "b", "PC1": "p", "sex": "s", "site": "t"}
"""Factors of the random formulas, and their names in formulaic's frame."""


def sums(terms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(st.sampled_from("+++-"), terms), min_size=1, max_size=4).map(
        lambda parts: " ".join(f"{sign} {term}" for sign, term in parts).removeprefix("+ ").removeprefix("- ")
    )


def products(terms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(terms, min_size=1, max_size=3, unique=True).flatmap(
        lambda factors: st.sampled_from("*:").map(lambda mark: mark.join(factors))
    )


def brackets(terms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(terms, sums(terms).map(lambda text: f"({text})"))


@given(st.sampled_from(["", "0 + "]), sums(products(brackets(st.sampled_from(sorted(FACTORS))))))
def test_terms_multiply_out_and_categories_are_coded_as_formulaic_does_it(start: str, text: str) -> None:
    try:
        ours = design(start + text)
    except InputError as error:
        assert "multiplied by itself" in error.what  # noqa: PT017 - formulaic drops the repetition instead
        return
    # The most frequent level is the first: what formulaic takes for the reference.
    frame = pd.DataFrame({"a": AGE, "b": BMI, "p": PCS[:, 0], "s": np.where(FEMALE, "0", "1"), "t": SITE})
    theirs = formulaic.model_matrix(
        re.sub(r"\w\w+", lambda match: FACTORS[match[0]], start + text), frame, output="numpy"
    )
    spelled = {short: name for name, short in FACTORS.items()} | {"Intercept": "intercept"}
    spelled |= {
        f"s[{mark}{code}]": f"sex[{sex}]" for mark in ("", "T.") for code, sex in (("0", "female"), ("1", "male"))
    }
    spelled |= {f"t[{mark}{site}]": f"site[{site}]" for mark in ("", "T.") for site in "ABC"}
    names = theirs.model_spec.column_names
    expected = [":".join(spelled[piece] for piece in name.split(":")) for name in names]
    assert list(ours.names) == expected
    np.testing.assert_allclose(ours.values, np.asarray(theirs).reshape(N, len(names)), rtol=1e-13)


@given(st.text(alphabet="age BMIsx()[]{}+-*:^1230.,`'\"~/=pc_", max_size=40))
def test_any_text_is_a_formula_or_an_input_error(text: str) -> None:
    try:
        result = design(text)
    except InputError:
        return
    assert np.isfinite(result.values).all()
    assert len(set(result.names)) == len(result.names)


def test_every_formula_of_the_guide_is_one(repository: Path) -> None:
    guide = (repository / "docs/guide/traits.md").read_text(encoding="utf-8")
    section = guide.split("## Covariate formulas")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    formulas = [match[1] or match[2] for row in rows for match in re.finditer(r"`` (.*?) ``|`([^`]+)`", row)]
    assert len(formulas) == 21
    more = [CovariateColumn(name, BMI) for name in ("bmi", "weight", "height")]
    more += [CovariateColumn(f"pc_{k}", PCS[:, k % 12]) for k in range(13, 21)]
    more.append(categorical("site", np.where(FEMALE, "Leeds", "York"), ("Leeds", "York")))
    for formula in formulas:
        assert design(formula, *more).values.shape[1] > 0
    refused = re.search(r"refused, with the alternatives: (.*?)\.", section, re.DOTALL)
    assert refused is not None
    for formula in re.findall(r"`([^`]+)`", refused[1]):
        with pytest.raises(InputError):
            design(formula.replace("a/b", "age/bmi").replace("a + b", "age + bmi"), *more)
