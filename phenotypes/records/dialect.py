"""SQL, written once in DuckDB's dialect, for where the tables stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlglot
from sqlglot import expressions as exp

if TYPE_CHECKING:
    from collections.abc import Callable


def translated(sql: str, relation: Callable[[str], exp.Table], dialect: str = "duckdb") -> str:
    """A query with its OMOP tables where they stand.

    Parameters
    ----------
    sql
        A ``SELECT`` in DuckDB's dialect, with bare names of tables.
    relation
        What a table is called there.
    dialect
        ``duckdb`` or ``bigquery``.
    """
    tree = sqlglot.parse_one(sql, read="duckdb")
    own = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        if table.db or table.name in own or not table.name:
            continue
        there = relation(table.name)
        there.set("alias", exp.TableAlias(this=exp.to_identifier(table.alias_or_name)))
        table.replace(there)
    return tree.sql(dialect=dialect)


def quoted(name: str) -> str:
    """An identifier of DuckDB's, in quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text of DuckDB's, in quotes."""
    return "'" + text.replace("'", "''") + "'"
