"""Cohorts of OHDSI as ATLAS writes them (Circe, JSON): their people are cases, from the day they enter the cohort.

The query is that of ``ohdsi-circepy``; it runs on the local database, over the people and tables of the records. So
people who are left out are in no cohort, and ids of people are in no table that it sees.

References
----------
https://github.com/OHDSI/circe-be, https://github.com/OHDSI/Circepy
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import sqlglot
from pydantic import Field
from sqlglot import expressions as exp
from sqlglot.errors import SqlglotError

from allscan.documents.sections import FilePath
from allscan.errors import FileFormatError, InputError, MissingDependencyError
from allscan.phenotypes.definitions.attrition import Attrition
from allscan.phenotypes.definitions.compiling import Compiler
from allscan.phenotypes.definitions.criteria import People
from allscan.phenotypes.definitions.loading import Definition, load_definition
from allscan.phenotypes.definitions.spec import Header
from allscan.phenotypes.phenotype import BINARY, CASE, CONTROL, MISSING, Phenotype, Step
from allscan.phenotypes.records.dialect import quoted
from allscan.phenotypes.records.omop import DATE_OF, TABLES, VOCABULARY_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.phenotypes.records.records import Records

SCHEMA = "circe_cdm"
TARGET, COHORT_ID = "cohort_members", 1

_TABLE = re.compile(rf"\b{SCHEMA}\.(\w+)", re.IGNORECASE)
_STATEMENTS = (exp.Create, exp.Insert, exp.Delete, exp.Drop)
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


class CirceControls(People):
    """Who is a control."""

    entry_event: Literal["missing", "control"] = Field(
        default="missing",
        description="Who is not in the cohort, and has an entry event (the cohort's primary criteria) all the same.",
    )


class Circe(Header):
    """A cohort of OHDSI: its people are cases."""

    kind: Literal["circe"] = Field(description="A cohort of OHDSI in Circe's JSON.")
    file: FilePath = Field(description="The cohort, as ATLAS exports it.")
    people: People = Field(default=People(), description="What is asked of cases and controls alike.")
    controls: CirceControls = Field(default=CirceControls(), description="Who of the others is a control.")


SPEC = Circe


def import_circe(path: str | Path, name: str | None = None) -> Definition:
    """A definition of a cohort as ATLAS exports it.

    Parameters
    ----------
    path
        JSON file.
    name
        Of the trait; without: the file's.

    Raises
    ------
    InputError
        If the file is no cohort.
    MissingDependencyError
        If ``ohdsi-circepy`` is not installed.
    """
    path = Path(path)
    plain = name or _NAME.sub("_", path.stem)
    if not plain[:1].isalpha():
        plain = f"cohort_{plain}"
    return load_definition({"kind": "circe", "id": plain, "file": path.name}, path.parent)


def check(definition: Definition) -> None:
    """Refuse what is no cohort."""
    with definition.at("file"):
        _read(definition)


def derive(records: Records, definition: Definition) -> Iterator[Phenotype]:
    """The one trait: in the cohort or not.

    Raises
    ------
    InputError
        If the records do not have what the cohort's query reads.
    """
    spec = cast("Circe", definition.spec)
    cohort_of = _read(definition)
    compiler = Compiler(records, definition, {})
    attrition = Attrition.of_everybody(compiler)
    found = _run(records, definition, cohort_of.expression)
    entered = compiler.mask(_run(records, definition, cohort_of.entry).relation)
    members = compiler.mask(found.relation)
    attrition.count("with an entry event", attrition.left & entered)
    for rule, people in found.rules.items():
        attrition.count(f"  of them, with one that fulfils: {rule}", attrition.left & people)
    cases = attrition.fork("cases: in the cohort", members).left
    others = attrition.fork("others", ~members)
    if spec.controls.entry_event == "missing":
        others.drop("an entry event", entered, "controls, ")
    others.ask(spec.controls, "controls, ")
    values = np.full(len(records.people), MISSING, dtype=np.int8)
    values[others.left] = CONTROL
    values[cases] = CASE
    steps = (*attrition.steps, Step("cases or controls", int((cases | others.left).sum())))
    yield Phenotype(spec.id, BINARY, values, steps=steps, warnings=cohort_of.warnings)


def cohort(records: Records, definition: Definition) -> str:
    """The people of the cohort who are as the definition asks (see :class:`KindModule`)."""
    compiler = Compiler(records, definition, {})
    people = compiler.listed(Attrition.of_everybody(compiler).left)
    found = _run(records, definition, _read(definition).expression).relation
    return compiler.keep(f"SELECT person, date FROM {found} SEMI JOIN {people} USING (person)")


@dataclass(frozen=True)
class _Cohort:
    """A cohort as the library has it."""

    expression: Any
    entry: Any  # the same, of entry events alone
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Members:
    """Who is in a cohort."""

    relation: str  # person, date of entry
    rules: dict[str, NDArray[np.bool_]]  # inclusion rule: who has an entry event that fulfils it


def _read(definition: Definition) -> _Cohort:
    library = _load_library()
    spec = cast("Circe", definition.spec)
    path = definition.path(spec.file)
    fix = "export the cohort from ATLAS as JSON"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise FileFormatError(f"the file is no JSON: {error}", where=str(path), fix=fix) from error
    # With the cohort's name and number around it, as WebAPI and the phenotype library give it; there it may be a text.
    if isinstance(content, dict) and "expression" in content:
        inner = content["expression"]
        content = json.loads(inner) if isinstance(inner, str) else inner
    if not isinstance(content, dict) or not {"PrimaryCriteria", "primaryCriteria"} & set(content):
        raise FileFormatError("the file has no primary criteria: it is no cohort", where=str(path), fix=fix)
    try:
        expression = library.api.cohort_expression_from_json(json.dumps(content))
    except ValueError as error:
        told = " ".join(str(error).split())[:300]
        raise FileFormatError(f"the cohort is refused: {told}", where=str(path), fix=fix) from error
    entry = expression.model_copy(
        deep=True, update={"inclusion_rules": [], "additional_criteria": None, "censoring_criteria": []}
    )
    told_of = [one.to_message() for one in library.checker.Checker().check(expression)]
    return _Cohort(expression, entry, tuple(dict.fromkeys(told_of)))


@dataclass(frozen=True)
class _Library:
    """The parts of ``ohdsi-circepy`` that are used."""

    api: Any
    checker: Any
    sqlrender: Any
    options: Any


def _load_library() -> _Library:
    try:
        from circe import api, sqlrender
        from circe.check import checker
        from circe.cohortdefinition import BuildExpressionQueryOptions
    except ImportError as error:
        raise MissingDependencyError(
            "cohorts of OHDSI need the package ohdsi-circepy", fix="pip install 'allscan[circe]'"
        ) from error
    return _Library(api, checker, sqlrender, BuildExpressionQueryOptions)


def _run(records: Records, definition: Definition, expression: Any) -> _Members:
    """Work out who is in a cohort, with the library's query."""
    import duckdb

    library = _load_library()
    connection = records.connection
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {TARGET} "
        "(cohort_definition_id INTEGER, subject_id INTEGER, cohort_start_date DATE, cohort_end_date DATE)"
    )
    options = library.options()
    options.cdm_schema = options.vocabulary_schema = SCHEMA
    options.target_table, options.cohort_id = TARGET, COHORT_ID
    query = library.api.build_cohort_query(expression, options)
    with definition.at("file"):
        for table in sorted({name.lower() for name in _TABLE.findall(query)}):
            _show(records, table)
    known = {TARGET}
    rules: dict[str, NDArray[np.bool_]] = {}
    names = [rule.name or f"rule {number}" for number, rule in enumerate(expression.inclusion_rules or [], 1)]
    try:
        for statement in _statements(query):
            if statement.lstrip().upper().startswith("ANALYZE"):
                continue
            made, emptied = _checked(statement, known, definition)
            known |= {made}
            if emptied == "inclusion_events":
                rules = _rules(records, names)
            connection.execute(statement)
    except duckdb.Error as error:
        # Other errors may quote cells.
        of_names = isinstance(error, (duckdb.BinderException, duckdb.CatalogException))
        told = str(error).strip().splitlines()[0] if of_names else type(error).__name__
        raise InputError(
            f"the cohort's query does not run on these records: {told}",
            where=definition.where("file"),
            fix="add the table or column to the records, or take out of the cohort what asks for it",
        ) from error
    relation = records.fresh_name("members")
    connection.execute(
        f"CREATE TEMP TABLE {relation} AS SELECT subject_id AS person, min(cohort_start_date) AS date FROM {TARGET} "
        f"GROUP BY ALL; DROP TABLE {TARGET}"
    )
    return _Members(relation, rules)


@lru_cache(maxsize=16)
def _statements(query: str) -> tuple[str, ...]:
    """A query of the library's in DuckDB's dialect; its translator takes its time."""
    sqlrender = _load_library().sqlrender
    return tuple(sqlrender.split_sql(sqlrender.translate(sqlrender.render(query), "duckdb")))


def _rules(records: Records, names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Who has an entry event that fulfils an inclusion rule, by the rules' names."""
    out = {}
    for number, name in enumerate(names):
        mask = np.zeros(len(records.people), dtype=np.bool_)
        sql = f"SELECT DISTINCT person_id FROM inclusion_events WHERE inclusion_rule_id = {number}"
        mask[np.asarray(records.connection.execute(sql).fetchnumpy()["person_id"])] = True
        out[name] = mask
    return out


def _show(records: Records, table: str) -> None:
    """Show a table to the query: people by their row in the records, and rows as the records take them."""
    if table not in TABLES:
        raise InputError(f"the cohort asks for the table {table!r}, which is not read", fix="take it out of the cohort")
    records.require(table)
    columns = [c for c in sorted(records.source.columns(table) or ()) if c != "person_id"]
    if table in VOCABULARY_TABLES:
        rows, shown = records.vocabulary(table, columns), [quoted(c) for c in columns]
    else:
        rows = records.events(table, columns) if table in DATE_OF else records.table(table, columns)
        shown = ["person AS person_id", *map(quoted, columns)]
        # No more than a name for an event; not all records have it.
        if f"{table}_id" in TABLES[table] and f"{table}_id" not in columns:
            shown.append(f"NULL::BIGINT AS {table}_id")
    records.connection.execute(
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; "
        f"CREATE OR REPLACE VIEW {SCHEMA}.{table} AS SELECT {', '.join(shown)} FROM {rows}"
    )


def _checked(statement: str, known: set[str], definition: Definition) -> tuple[str, str]:
    """What a statement makes, and what it empties; a cohort may be anybody's, and its texts go into the query.

    Raises
    ------
    InputError
        If the statement does more than reading the tables of the records and making tables of its own.
    """
    try:
        trees = sqlglot.parse(statement, read="duckdb")
    except SqlglotError:
        trees = []
    tree = trees[0] if len(trees) == 1 else None
    made = _first_table(tree) if isinstance(tree, exp.Create) else ""
    own = {*known, made} | {cte.alias_or_name.lower() for cte in (tree.find_all(exp.CTE) if tree else ())}
    foreign = [
        table
        for table in (tree.find_all(exp.Table) if tree else ())
        if not isinstance(table.this, exp.Identifier)
        or (table.db.lower() != SCHEMA and (table.db or table.name.lower() not in own))
    ]
    if not isinstance(tree, _STATEMENTS) or foreign:
        raise InputError(
            "the cohort's query does what no cohort does",
            where=definition.where("file"),
            fix="look for SQL in the texts of the cohort",
        )
    return made, _first_table(tree) if isinstance(tree, exp.Delete) else ""


def _first_table(tree: exp.Expression) -> str:
    found = tree.find(exp.Table)
    return found.name.lower() if found is not None else ""
