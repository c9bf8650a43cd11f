"""Reading traits, covariates and lists of people from the user's files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.errors import InputError
from allscan.phenotypes import cells
from allscan.phenotypes.admixture import is_admixture, read_admixture
from allscan.phenotypes.ancestry import COMPONENTS
from allscan.phenotypes.binary import binary_values
from allscan.phenotypes.files import RawTable, delimiter_of, first_line, open_table, split_cells
from allscan.phenotypes.lines import first_bytes, rows_with_lines
from allscan.phenotypes.matching import rows_of
from allscan.phenotypes.model import CovariateColumn, CovariateTable, SampleList, TraitSpec, TraitTable
from allscan.phenotypes.names import ID_KEYS, bare, did_you_mean, family_column, fits, id_column, listed
from allscan.storage import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from allscan.storage import Place

MOSTLY_NUMBERS = 0.5
"""Text columns with at least this share of numbers are taken for damaged numbers, not for categories."""


def read_trait_table(
    path: str | Place,
    columns: Sequence[str] | Mapping[str, TraitSpec],
    *,
    missing_values: Iterable[object] | None = None,
    id_column: str | None = None,
    what: str = "trait",
) -> TraitTable:
    """Read traits of people from delimited text or Parquet.

    Parameters
    ----------
    path
        Text (tab, comma, semicolon or white space between columns; UTF-8; plain, gzip, bzip2 or zstd) or
        Parquet, by its first bytes. A folder of Parquet part files is one table.
    columns
        Which columns are traits: names, in which ``*`` stands for any text (``phe_*``), or a mapping from
        column name to ``TraitSpec``.
    missing_values
        Cells that mean missing beside the usual words (``MISSING_WORDS``), for example ``-9``.
    id_column
        The column of people's ids, when its name is none of the known keys.
    what
        What the columns are, in a word, for messages.

    Returns
    -------
    TraitTable
        Values (samples, traits), column-major float64, NaN = missing, in file order. Binary traits are 0 and 1; their
        specs say which cells were cases.

    Raises
    ------
    InputError
        If a column is missing, a cell is not a finite number (of a binary trait: does not say case or control), an
        id is missing or repeated, or no trait has any value.
    FileFormatError
        If the file is damaged, ragged or not a table.
    """
    table = open_table(path)
    key = _id_column(table, id_column)
    available = _beside_ids(table, key)
    specs = _specs(table, columns, available, what)
    missing = cells.MissingValues.with_extra(missing_values or ())

    names = [spec.name for spec in specs]
    stream = table.columns([key, *names], numeric=names, missing=missing)
    sample_ids = cells.ids(table, key, next(stream)[1])
    values = np.empty((len(sample_ids), len(specs)), dtype=np.float64, order="F")
    sentinels: dict[float, list[str]] = {}
    empty: list[str] = []
    known = list(specs)
    for t, (name, column) in enumerate(stream):
        if specs[t].kind == "binary":
            values[:, t], coding, bad = binary_values(column, missing)
            if not np.isnan(values[:, t]).all():
                known[t] = replace(specs[t], case=coding.case)
        else:
            values[:, t], bad = cells.numbers(column, missing)
        if bad is not None:
            more = f" (and {bad.count - 1} more in this column)" if bad.count > 1 else ""
            raise InputError(bad.what + more, where=table.where(bad.row, name), fix=bad.fix)
        sentinel = cells.likely_sentinel(values[:, t])
        if sentinel is not None:
            sentinels.setdefault(sentinel[0], []).append(f"{name} ({sentinel[1]} cells)")
        elif np.isnan(cells.extremes(values[:, t])[0]):
            empty.append(name)
    if len(empty) == len(specs):
        raise InputError(
            f"every cell of the {what} columns is missing: {listed(empty)}",
            where=table.source,
            fix="check the column names and how the file was written",
        )
    warnings = [_sentinel_warning(code, names, table.source) for code, names in sentinels.items()]
    if empty:
        warnings.append(f"{table.source}: no value at all in {len(empty)} {what} columns: {listed(empty)}")
    return TraitTable(
        sample_ids,
        values,
        tuple(known),
        table.source,
        id_column=bare(key),
        notes=(*_key_notes(table, key), *_coding_notes(table, known)),
        warnings=tuple(warnings),
    )


def read_covariate_table(
    path: str | Place, *, missing_values: Iterable[object] | None = None, id_column: str | None = None
) -> CovariateTable:
    """Read a covariate table: every column, as numbers where all its cells are, else as categories.

    Lists of components (``pca_features`` of All of Us) become columns ``pc1``, ``pc2`` …, and shares of ancestry
    (``.Q``) columns ``admixture_NAME``. What cannot be used (an infinite value, a stray word among numbers, dates) is
    kept with its problem, which is an error only once a formula uses the column.

    Parameters
    ----------
    path, missing_values, id_column
        As for ``read_trait_table``.

    Raises
    ------
    InputError
        If an id is missing or repeated, or there is no column beside the ids.
    FileFormatError
        If the file is damaged, ragged or not a table.
    """
    path = place_of(path)
    if is_admixture(path):
        return read_admixture(path, id_key=id_column)
    table = open_table(path)
    key = _id_column(table, id_column)
    names = _beside_ids(table, key)
    if not names:
        raise InputError("the table holds ids and nothing else", where=table.source, fix="add covariates")
    missing = cells.MissingValues.with_extra(missing_values or ())
    stream = table.columns([key, *names], numeric=names, missing=missing)
    sample_ids = cells.ids(table, key, next(stream)[1])
    columns: dict[str, CovariateColumn] = {}
    notes = list(_key_notes(table, key))
    for name, column in stream:
        components = _listed_components(table, name, column, missing)
        if components:
            notes.append(f"{table.source}: the {len(components)} numbers of {name} are pc1 to pc{len(components)}")
        for one in components or [_covariate(table, name, column, missing)]:
            columns.setdefault(one.name, one)
    return CovariateTable(sample_ids, columns, table.source, id_column=bare(key), notes=tuple(notes))


def merged_covariates(tables: Sequence[CovariateTable]) -> CovariateTable:
    """Several covariate tables as one: everybody who is in any of them, with what each says of them.

    A column of the same name in two tables cannot be used: it is not told which one is meant.
    """
    if len(tables) == 1:
        return tables[0]
    homes: dict[str, list[str]] = {}
    for table in tables:
        for name in table.columns:
            homes.setdefault(name, []).append(table.source)
    ids = np.array(list(dict.fromkeys(person for table in tables for person in table.sample_ids)), dtype=object)
    columns = {}
    for table in tables:
        rows = rows_of(ids, table.sample_ids)
        for name, column in table.columns.items():
            if len(homes[name]) > 1:
                columns[name] = CovariateColumn(
                    name,
                    np.full(len(ids), np.nan),
                    problem="stands in two tables; rename or remove it in one of them",
                    problem_where=" and ".join(homes[name]),
                )
                continue
            columns[name] = replace(
                column,
                values=None if column.values is None else np.where(rows < 0, np.nan, column.values[rows]),
                codes=None if column.codes is None else np.where(rows < 0, -1, column.codes[rows]).astype(np.int32),
            )
    notes = tuple(note for table in tables for note in table.notes)
    sources = " and ".join(table.source for table in tables)
    return CovariateTable(ids, columns, sources, id_column=tables[0].id_column, notes=notes)


def read_sample_list(path: str | Place) -> SampleList:
    """Read a list of people to keep or exclude.

    One column of ids, or two (family and individual id, the second counts), with or without a header; or a
    table with an id column, text or Parquet. A file without any line is an empty list. Ids may be repeated.

    Raises
    ------
    InputError
        If it is not clear which column holds the ids, or an id is missing.
    FileFormatError
        If the file is damaged or ragged.
    """
    path = place_of(path)
    if path.is_dir() or first_bytes(path).startswith(b"PAR1"):
        table = open_table(path)
        return _listed_people(table, _id_column(table, None))
    try:
        line, number = first_line(path)
    except InputError as error:
        if error.what == "the file is empty":
            return SampleList(np.empty(0, dtype=object), str(path))
        raise
    names = split_cells(line, delimiter_of(line))
    known = {key.lower() for key in (*ID_KEYS, "FID")}
    if line.startswith("#") or any(bare(name).lower() in known for name in names):
        # A header and no row is an empty list, too.
        if next(rows_with_lines(path, number, delimiter_of(line)), None) is None:
            return SampleList(np.empty(0, dtype=object), str(path))
        table = open_table(path)
        return _listed_people(table, _id_column(table, None))
    return _without_header(path, line, number)


def _without_header(path: Place, line: str, number: int) -> SampleList:
    delimiter = delimiter_of(line)
    width = len(split_cells(line, delimiter))
    if width > 2:
        raise InputError(
            f"the list has {width} columns and no header, so that it is not clear which one holds the ids",
            where=f"{path}, line {number}",
            fix="give one column of ids, or FID and IID, or a header line that names the id column",
        )
    people: dict[str, None] = {}
    for at, row in rows_with_lines(path, number - 1, delimiter):
        person = row[-1].strip()
        if len(row) != width or not person:
            raise InputError(
                f"the line has {len(row)} cells, the first one has {width}" if person else "the id is empty",
                where=f"{path}, line {at}",
                fix="give one id (or FID and IID) on every line",
            )
        people[person] = None
    return SampleList(np.array(list(people), dtype=object), str(path))


def _listed_people(table: RawTable, key: str) -> SampleList:
    _, column = next(iter(table.columns([key])))
    found = cells.ids(table, key, column, unique=False)
    return SampleList(np.array(list(dict.fromkeys(found)), dtype=object), table.source)


def _id_column(table: RawTable, wanted: str | None) -> str:
    return id_column(table.names, source=table.source, wanted=wanted)


def _beside_ids(table: RawTable, key: str) -> list[str]:
    ids = {key, family_column(table.names)}
    return [name for name in table.names if name not in ids]


def _key_notes(table: RawTable, key: str) -> tuple[str, ...]:
    family = family_column(table.names)
    if family is None or family == key:
        return ()
    return (f"{table.source}: people are matched by {bare(key)}; {bare(family)} is not used",)


def _coding_notes(table: RawTable, specs: Sequence[TraitSpec]) -> tuple[str, ...]:
    """What was taken for a case, a line for each coding that there is."""
    by_case: dict[str, list[str]] = {}
    for spec in specs:
        if spec.case:
            by_case.setdefault(spec.case, []).append(spec.name)
    return tuple(f"{table.source}: cases are {case} in {listed(names)}" for case, names in by_case.items())


def _specs(
    table: RawTable, columns: Sequence[str] | Mapping[str, TraitSpec], available: list[str], what: str
) -> tuple[TraitSpec, ...]:
    wanted = columns if isinstance(columns, Mapping) else {name: TraitSpec(name) for name in _distinct(columns, table)}
    present = set(available)
    specs: dict[str, TraitSpec] = {}
    for name, spec in wanted.items():
        if name in present:
            matched = [name]
        elif "*" in name:
            matched = [column for column in available if fits(column, name)]
        else:
            matched = []
        if not matched:
            raise InputError(
                f"there is no {what} column {name!r}",
                where=f"{table.source}, header: {listed(available)}",
                fix=did_you_mean(name, available, otherwise="name columns of the table"),
            )
        for column in matched:
            specs.setdefault(column, replace(spec, name=column))
    if not specs:
        raise InputError(f"no {what} is asked for", where=table.source, fix=f"name at least one {what} column")
    return tuple(specs.values())


def _distinct(columns: Sequence[str], table: RawTable) -> list[str]:
    names = [columns] if isinstance(columns, str) else list(columns)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"traits are asked for twice: {listed(twice)}", where=table.source, fix="name every trait once"
        )
    return names


def _sentinel_warning(code: float, names: list[str], source: str) -> str:
    kind = "is the only negative value" if code < 0 else "lies far above every other value"
    return (
        f"{source}: {code:g} {kind} in {listed(names, limit=5)}; it is analysed as a number. "
        f'If it means missing, add missing_values: ["{code:g}"]'
    )


def _covariate(table: RawTable, name: str, column: Any, missing: cells.MissingValues) -> CovariateColumn:
    values, bad = cells.numbers(column, missing)
    if not cells.is_text(column):
        if not cells.is_number(column):
            what = f"has the type {column.type}, which is neither number nor text"
            return CovariateColumn(name, values, problem=what, problem_where=f"{table.source}, column {name!r}")
        return _numeric(table, name, values, bad)
    if bad is None or bad.infinite:
        return _numeric(table, name, values, bad)
    codes, levels = cells.categories(column, missing)
    n_numbers = int((~np.isnan(values)).sum())
    if n_numbers >= MOSTLY_NUMBERS * max(1, int((codes >= 0).sum())):
        problem = f"is numeric but for {bad.count} cells: {bad.what}"
        return CovariateColumn(name, None, codes, levels, problem=problem, problem_where=table.where(bad.row, name))
    return CovariateColumn(name, None, codes, levels)


def _listed_components(table: RawTable, name: str, column: Any, missing: cells.MissingValues) -> list[CovariateColumn]:
    """Components that a column holds as lists; none if it does not."""
    if bare(name).lower() not in COMPONENTS:
        return []
    from allscan.phenotypes import list_cells

    if not list_cells.holds_lists(column, missing):
        return []
    values = list_cells.numbers(table, name, column, missing)
    return [CovariateColumn(f"pc{k + 1}", np.ascontiguousarray(values[:, k])) for k in range(values.shape[1])]


def _numeric(table: RawTable, name: str, values: NDArray[np.float64], bad: cells.BadCell | None) -> CovariateColumn:
    if bad is not None:
        return CovariateColumn(
            name,
            values,
            problem=f"cannot be used in {bad.count} cells: {bad.what}",
            problem_where=table.where(bad.row, name),
        )
    sentinel = cells.likely_sentinel(values)
    warning = (
        "" if sentinel is None else _sentinel_warning(sentinel[0], [f"{name} ({sentinel[1]} cells)"], table.source)
    )
    return CovariateColumn(name, values, warning=warning)
