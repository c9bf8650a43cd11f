"""The codes of a definition as some records know them, for other people's eyes and programs."""

from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING

from allscan.errors import InputError
from allscan.phenotypes.records.codes import resolve
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.records.codes import CodeEntry
    from allscan.phenotypes.records.records import Records

COLUMNS = ("set", "vocabulary", "code", "name", "concept_id", "standard")


def export_codes(definition: Definition, records: Records, path: Path) -> str:
    """Write every code of a definition, with what the records' vocabulary says of it, as CSV.

    Every row is a code or a concept that events are found by: descendants and codes with ``*`` are written out. A
    definition may name the file as its ``file``; it has the columns that sets of codes are read from.

    Parameters
    ----------
    definition
        With sets of codes.
    records
        Whose vocabulary knows the codes.
    path
        Of the file to write.

    Returns
    -------
    SHA-256 of the file.

    Raises
    ------
    InputError
        If the definition has no codes.
    """
    sets = _code_sets(definition)
    if not sets:
        raise InputError(
            f"a definition of kind {definition.spec.kind!r} has no codes of its own",
            where=definition.source,
            fix="name a definition that has the key 'codes'",
        )
    rows = []
    for name, entries in sorted(sets.items()):
        with definition.at("codes", *([name] if name else [])):
            table = resolve(records, entries, definition.path).table
        rows += [(name, *(row[column] for column in COLUMNS[1:])) for row in table.to_pylist()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted([_cell(value) for value in row] for row in rows))
    content = text.getvalue().encode()
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def _code_sets(definition: Definition) -> dict[str, Sequence[CodeEntry]]:
    codes = getattr(definition.spec, "codes", None) or {}
    return codes if isinstance(codes, dict) else {"": codes}


def _cell(value: object) -> str:
    return "" if value is None else str(value)
