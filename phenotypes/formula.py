"""Covariate formulas: ``age + age**2 + sex + age:sex + pc[1:20]``.

The names, ranges, powers and functions are resolved here, and sums and products of terms multiplied out. No text
of the user is ever executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allscan.errors import InputError
from allscan.phenotypes import expression
from allscan.phenotypes.names import did_you_mean, listed
from allscan.phenotypes.tokens import closing, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from allscan.phenotypes.expression import Expression
    from allscan.phenotypes.model import CovariateColumn, CovariateTable
    from allscan.phenotypes.tokens import Token

LONGEST_FORMULA = 20_000
"""Characters."""
MOST_TERMS = 2_000
"""Terms after ``*`` is multiplied out."""
DEEPEST_NESTING = 50
"""Brackets within brackets."""
LONGEST_EXPRESSION = 100
"""Words and marks within one arithmetic expression."""


@dataclass(frozen=True)
class Factor:
    """One column, or one set of indicators, that terms are made of."""

    text: str  # how it is named in the results
    variables: tuple[str, ...]  # columns of the covariate table
    expression: Expression | None = None  # arithmetic; None for a column as it is
    part: int | None = None  # which column of a basis, from 0
    categorical: bool = False
    reference: str | None = None  # the level without an indicator, when the formula names it


@dataclass(frozen=True)
class CovariateFormula:
    """A formula that is resolved against a table's columns."""

    text: str
    intercept: bool
    terms: tuple[tuple[int, ...], ...]  # products of factors, by number; those of fewer factors first
    factors: tuple[Factor, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns that must not be missing, in order of appearance."""
        return tuple(dict.fromkeys(name for factor in self.factors for name in factor.variables))


def parse_formula(formula: str | None, table: CovariateTable | None) -> CovariateFormula:
    """Resolve a formula against a covariate table.

    Parameters
    ----------
    formula
        Terms joined by ``+``; ``a:b`` is an interaction, ``a*b`` is ``a + b + a:b``, ``- a:b`` takes a term
        away, ``0 +`` or ``- 1`` the intercept. ``a**2`` is the square of a. ``pc[1:20]`` stands for the
        columns pc1 … pc20, whatever their case, underscore and leading zeros. ``C(a)`` makes categories of
        numbers, ``C(a, "level")`` sets the reference. ``{a / b}`` is arithmetic. None or an empty text:
        the intercept alone.
    table
        Where the columns are; None when the job has no covariate table.

    Raises
    ------
    InputError
        If the formula is no formula, or uses columns that are not there or cannot be used.
    """
    text = (formula or "").strip()
    if text.startswith("~"):
        text = text[1:].strip()
    if not text:
        return CovariateFormula("", intercept=True, terms=(), factors=())
    return _Parser(text, {} if table is None else table.columns, "" if table is None else table.source).parse()


@dataclass(frozen=True)
class _Part:
    """A piece of the formula: its terms, an upper bound of their number, its factor if it is just one."""

    terms: tuple[tuple[int, ...], ...]
    n_terms: int
    factor: int | None = None


class _Parser:
    def __init__(self, formula: str, columns: Mapping[str, CovariateColumn], source: str) -> None:
        self._formula = formula
        self._columns = columns
        self._source = source
        self._factors: list[Factor] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._intercept = True
        self._at = 0
        if len(formula) > LONGEST_FORMULA:
            raise InputError(
                f"the formula has {len(formula):,} characters",
                where="covariate formula",
                fix=f"stay below {LONGEST_FORMULA:,}; write ranges as pc[1:20]",
            )
        self._tokens = scan(formula)

    def parse(self) -> CovariateFormula:
        part = self._sum(depth=0)
        if self._at < len(self._tokens):
            raise self._unexpected()
        # Main effects before interactions: what an indicator is measured against stands before it.
        terms = tuple(sorted(part.terms, key=len))
        return CovariateFormula(self._formula, self._intercept, terms, tuple(self._factors))

    # The grammar: sum of products of interactions of factors.

    def _sum(self, depth: int) -> _Part:
        if depth > DEEPEST_NESTING:
            raise self._error("brackets are nested too deeply", "take some away")
        terms: dict[frozenset[int], tuple[int, ...]] = {}
        n_terms = 0
        sign = "+"
        if self._peek() in ("+", "-"):
            sign = self._take().text
        while True:
            if not self._is_intercept(sign, depth):
                part = self._product(depth)
                if not n_terms and sign == "-":
                    raise self._error("the formula begins by taking a term away", "begin with a term to add")
                n_terms = self._limited(n_terms + part.n_terms)
                for term in part.terms:
                    if sign == "+":
                        terms.setdefault(frozenset(term), term)
                    else:
                        terms.pop(frozenset(term), None)
            if self._peek() not in ("+", "-"):
                return _Part(tuple(terms.values()), n_terms)
            sign = self._take().text

    def _is_intercept(self, sign: str, depth: int) -> bool:
        if self._at >= len(self._tokens) or self._tokens[self._at].kind != "number":
            return False
        following = self._tokens[self._at + 1].text if self._at + 1 < len(self._tokens) else "+"
        number = self._tokens[self._at].text
        if depth or number not in ("0", "1") or following not in "+-" or (number == "0" and sign == "-"):
            raise self._error(
                f"the number {number!r} is no term here",
                "begin with '0 +' to drop the intercept; write arithmetic as {2 * age}, and names that are "
                "not plain words in `backticks`",
            )
        self._take()
        self._intercept = number == "1" and sign == "+"
        return True

    def _product(self, depth: int) -> _Part:
        parts = [self._interaction(depth)]
        while self._peek() == "*":
            self._take()
            parts.append(self._interaction(depth))
            self._refuse_repeat(parts)
        product = parts[0]
        for part in parts[1:]:
            n_terms = self._limited((product.n_terms + 1) * (part.n_terms + 1)) - 1
            both = product.terms + part.terms + _multiplied(product.terms, part.terms)
            product = _Part(_distinct(both), n_terms)
        return product

    def _interaction(self, depth: int) -> _Part:
        parts = [self._atom(depth)]
        while self._peek() == ":":
            self._take()
            parts.append(self._atom(depth))
            self._refuse_repeat(parts)
        product = parts[0]
        for part in parts[1:]:
            n_terms = self._limited(product.n_terms * part.n_terms)
            product = _Part(_distinct(_multiplied(product.terms, part.terms)), n_terms)
        return product

    def _atom(self, depth: int) -> _Part:
        if self._peek() == "(":
            opening = self._take()
            part = self._sum(depth + 1)
            if self._peek() != ")":
                raise self._unexpected()
            self._take()
            if self._peek() in ("**", "^"):
                raise self._error(
                    "a power of brackets can be read in two ways",
                    "write {(a + b)**2} for the square of the sum, a*b for both and their interaction",
                    start=opening.start,
                )
            return _Part(part.terms, part.n_terms)
        if self._at >= len(self._tokens):
            raise self._error("the formula ends where a term should follow", "add the term or remove the sign")
        token = self._tokens[self._at]
        following = self._tokens[self._at + 1].text if self._at + 1 < len(self._tokens) else ""
        if token.text == "{":
            return self._arithmetic(self._at + 1, self._closing(self._at))
        if token.kind == "name" and following == "(":
            if token.text == "C":
                return self._categories()
            return self._arithmetic(self._at, self._closing(self._at + 1) + 1)
        if token.kind == "name" and following == "[":
            return self._range()
        if token.kind in ("name", "quoted"):
            return self._arithmetic(self._at, self._at + 1)
        raise self._unexpected()

    # Factors.

    def _arithmetic(self, start: int, stop: int) -> _Part:
        """The tokens from start to stop as one factor, raised to the power that may follow."""
        braces = start > self._at
        tokens = self._tokens[start:stop]
        self._at = stop + braces
        power = self._power()
        if len(tokens) == 1 and tokens[0].kind in ("name", "quoted") and not power:
            return self._plain(self._column(tokens[0]))
        if len(tokens) > LONGEST_EXPRESSION:
            raise self._error("an expression is too long", "compute it beforehand and add it to the table")
        names: dict[str, str] = {}
        pieces: list[str] = []
        for number, token in enumerate(tokens):
            follows = tokens[number + 1].text if number + 1 < len(tokens) else ""
            is_option = follows == "=" and bool(pieces)
            if token.kind == "quoted" or (token.kind == "name" and follows != "(" and not is_option):
                key = expression.placeholder(number)
                names[key] = self._numeric(token)
                pieces.append(key)
            else:
                pieces.append(token.text)
        source = " ".join(pieces)
        shown = _shortened(self._formula[tokens[0].start : tokens[-1].end]) if tokens else "{}"
        parsed = expression.parse(f"({source}){power}" if power else source, names, where=self._where(), shown=shown)
        if not parsed.variables:
            raise self._error(f"{shown!r} uses no column", "use at least one column in every term")
        if parsed.width is None:
            return self._factor(Factor(parsed.text, parsed.variables, parsed))
        parts = [
            self._factor(Factor(f"{parsed.text}[{k + 1}]", parsed.variables, parsed, part=k))
            for k in range(parsed.width)
        ]
        return _joined(parts)

    def _range(self) -> _Part:
        """``pc[1:20]`` as the columns it stands for."""
        base = self._tokens[self._at]
        stop = self._closing(self._at + 1)
        inside = [token.text for token in self._tokens[self._at + 2 : stop]]
        shown = _shortened(self._formula[base.start : self._tokens[stop].end])
        if not re.fullmatch(r"\d{1,6}(:\d{1,6})?", "".join(inside)):
            raise self._error(f"{shown!r} is no range of columns", f"write {base.text}[1:20]", base.start)
        first, last = int(inside[0]), int(inside[-1])
        if last < first:
            raise self._error(f"the range {shown!r} runs backwards", f"write {base.text}[{last}:{first}]")
        self._at = stop + 1
        power = self._power()
        self._limited(last - first + 1)
        pattern = re.compile(rf"{re.escape(base.text)}[_.-]?(\d{{1,18}})", re.IGNORECASE)
        found: dict[int, list[str]] = {}
        for name in self._columns:
            if match := pattern.fullmatch(name):
                found.setdefault(int(match[1]), []).append(name)
        absent = [f"{base.text}{k}" for k in range(first, last + 1) if k not in found]
        if absent:
            there = listed(names[0] for _, names in sorted(found.items()))
            raise self._error(
                f"{shown!r} asks for columns that are not there: {listed(absent)}",
                f"the table has {there}" if there else self._nearest(base.text),
                base.start,
            )
        parts = []
        for k in range(first, last + 1):
            if len(found[k]) > 1:
                raise self._error(
                    f"{shown!r} could mean more than one column: {listed(found[k])}", "rename one of them"
                )
            name = found[k][0]
            if power:
                key = expression.placeholder(0)
                self._usable(name, numeric=True)
                parsed = expression.parse(f"{key}{power}", {key: name}, where=self._where(), shown=shown)
                parts.append(self._factor(Factor(parsed.text, (name,), parsed)))
            else:
                parts.append(self._plain(name))
        return _joined(parts)

    def _categories(self) -> _Part:
        """``C(site)`` or ``C(site, "A")``."""
        stop = self._closing(self._at + 1)
        inside = self._tokens[self._at + 2 : stop]
        shown = _shortened(self._formula[self._tokens[self._at].start : self._tokens[stop].end])
        self._at = stop + 1
        named = inside[2:3] and inside[1].text == "," and inside[2].kind in ("text", "number", "name")
        if (
            not inside
            or inside[0].kind not in ("name", "quoted")
            or not (len(inside) == 1 or named)
            or (len(inside) > 3)
        ):
            raise self._error(f"{shown!r} is not understood", 'write C(column), or C(column, "reference level")')
        if self._peek() in ("**", "^"):
            raise self._error("categories have no power", f"write {shown}")
        name = self._column(inside[0])
        self._usable(name, numeric=False)
        reference = inside[2].text.strip("\"'") if len(inside) == 3 else None
        return self._factor(Factor(name, (name,), categorical=True, reference=reference))

    def _plain(self, name: str) -> _Part:
        self._usable(name)
        return self._factor(Factor(name, (name,), categorical=not self._columns[name].is_numeric))

    def _factor(self, factor: Factor) -> _Part:
        key = (factor.text, factor.expression is None, factor.categorical, factor.reference)
        if key not in self._numbers:
            self._numbers[key] = len(self._factors)
            self._factors.append(factor)
        number = self._numbers[key]
        return _Part(((number,),), 1, None if factor.categorical else number)

    def _numeric(self, token: Token) -> str:
        name = self._column(token)
        self._usable(name, numeric=True)
        return name

    def _column(self, token: Token) -> str:
        name = token.text.strip("`") if token.kind == "quoted" else token.text
        if name not in self._columns:
            if not self._columns:
                raise self._error(f"the formula uses {name!r}, but there is no covariate table", "name its file")
            raise self._error(f"there is no covariate {name!r}", self._nearest(name), token.start)
        return name

    def _usable(self, name: str, numeric: bool | None = None) -> None:
        column = self._columns[name]
        if column.problem and not (numeric is False and column.codes is not None):
            as_text = f"; if it holds categories, write C({name})" if column.codes is not None else ""
            raise InputError(
                f"the covariate {name!r} {column.problem}",
                where=column.problem_where,
                fix=f"correct the cells or mark them as missing (NA){as_text}",
            )
        if numeric and not column.is_numeric:
            raise self._error(f"the covariate {name!r} holds categories, not numbers", f"use it as it is: {name}")

    def _power(self) -> str:
        if self._peek() not in ("**", "^"):
            return ""
        self._take()
        if self._at >= len(self._tokens) or self._tokens[self._at].kind != "number":
            raise self._error("the power is not a positive number", "write age**2, or {1 / age}")
        return f"**{self._take().text}"

    # Tokens and errors.

    def _closing(self, opening: int) -> int:
        index = closing(self._tokens, opening)
        if index is None:
            raise self._error("a bracket is not closed", "close it", self._tokens[opening].start)
        return index

    def _peek(self) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at].kind != "mark":
            return ""
        return self._tokens[self._at].text

    def _take(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _limited(self, n_terms: int) -> int:
        if n_terms > MOST_TERMS:
            raise self._error(f"the formula has more than {MOST_TERMS:,} terms", "use + instead of *")
        return n_terms

    def _refuse_repeat(self, parts: list[_Part]) -> None:
        if parts[-1].factor is not None and parts[-1].factor == parts[-2].factor:
            name = self._factors[parts[-1].factor].text
            raise self._error(f"{name!r} is multiplied by itself", f"write {name}**2 for the square")

    def _nearest(self, name: str) -> str:
        return did_you_mean(name, self._columns, otherwise=f"the table has {listed(self._columns)}")

    def _unexpected(self) -> InputError:
        if self._at >= len(self._tokens):
            return self._error("the formula ends too early", "close its brackets")
        mark = self._tokens[self._at].text
        fixes = {
            "/": "write {weight / height} for a ratio",
            "~": "write the covariates only",
            "=": "write the covariates only",
            ")": "open the bracket",
            "**": "powers follow a column: age**2",
        }
        return self._error(
            f"{mark!r} does not belong here",
            fixes.get(mark, "join terms by +"),
            self._tokens[self._at].start,
        )

    def _error(self, what: str, fix: str, start: int | None = None) -> InputError:
        return InputError(what, where=self._where(start), fix=fix)

    def _where(self, start: int | None = None) -> str:
        source = f" (columns of {self._source})" if self._source else ""
        near = self._formula if start is None else self._formula[start:]
        return f"covariate formula, at {_shortened(near)!r}{source}"


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _joined(parts: list[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    return _Part(_distinct(tuple(term for part in parts for term in part.terms)), len(parts))


def _distinct(terms: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """The terms without those of the same factors as an earlier one, in whatever order."""
    first: dict[frozenset[int], tuple[int, ...]] = {}
    for term in terms:
        first.setdefault(frozenset(term), term)
    return tuple(first.values())


def _multiplied(left: Iterable[tuple[int, ...]], right: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Every term of one times every term of the other; a factor counts once."""
    return tuple(tuple(dict.fromkeys(one + other)) for one in left for other in right)
