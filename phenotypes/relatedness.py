"""Reading who is related to whom: kinship tables of KING, PLINK 2 and All of Us, sparse matrices of GCTA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from allscan import arrow
from allscan.errors import FileFormatError, InputError
from allscan.phenotypes import cells
from allscan.phenotypes.files import delimiter_of, first_line, open_table
from allscan.phenotypes.lines import rows_with_lines
from allscan.phenotypes.matching import guess, no_overlap, rows_of
from allscan.phenotypes.names import bare, listed
from allscan.storage import place_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.storage import Place

ID_COLUMNS = (("ID1", "ID2"), ("IID1", "IID2"), ("i.s", "j.s"), ("i", "j"))
"""Of KING; of PLINK 2; of All of Us; of Hail, whose structs ``{"s":"1000004"}`` are not flattened. Upper and lower case
are the same."""
KINSHIP_COLUMNS = ("Kinship", "kin")
GREATEST_KINSHIP = 0.6
"""Twins have 0.5, and an estimate may be above it by chance."""
GREATEST_RELATEDNESS = 2.0
"""Of two people in a sparse matrix: that of twins whose parents were fully inbred."""
LOW_OVERLAP = 0.5
SPARSE = (".grm.sp", ".grm.sp.gz")
_STRUCT = r'^\s*\{\s*"?s"?\s*[:=]\s*"?([^"{}]*?)"?\s*\}\s*$'


@dataclass(frozen=True)
class RelatednessTable:
    """Pairs of people, as read."""

    first: NDArray[np.object_]  # (pairs,) ids
    second: NDArray[np.object_]
    value: NDArray[np.float64]  # (pairs,) relatedness: twice the kinship
    people: NDArray[np.object_]  # everybody who occurs, once
    diagonal: NDArray[np.float64] | None  # (people,) relatedness with oneself, where the file gives it
    source: str
    unit: str  # what the file gives
    id_column: str


class AlignedPairs(NamedTuple):
    """The pairs of a table among the analysed samples."""

    first: NDArray[np.int64]  # (pairs,) sample
    second: NDArray[np.int64]
    value: NDArray[np.float64]
    diagonal: NDArray[np.float64] | None  # (samples,)
    n_absent: int  # people of the table who are not in the genotypes
    warnings: tuple[str, ...]


def ids_of_sparse(path: Place) -> Place | None:
    """The file that says whom the rows of a sparse matrix are of; None if the path names no sparse matrix."""
    ending = next((ending for ending in SPARSE if path.name.endswith(ending)), None)
    return None if ending is None else path.with_name(path.name.removesuffix(ending) + ".grm.id")


def read_relatedness(path: str | Place) -> RelatednessTable:
    """Read a table of pairs of relatives, or a sparse relationship matrix.

    Parameters
    ----------
    path
        A table with two columns of ids (``ID_COLUMNS``) and the kinship (``KINSHIP_COLUMNS``): text (tab, comma,
        semicolon or white space between columns, plain or compressed) or Parquet. Or ``PREFIX.grm.sp`` of GCTA, whose
        rows are people of ``PREFIX.grm.id``.

    Raises
    ------
    InputError
        If a column is missing, or a number is missing or out of range.
    FileFormatError
        If the file is damaged or of another kind.
    """
    path = place_of(path)
    ids = ids_of_sparse(path)
    return _read_pairs(path) if ids is None else _read_sparse(path, ids)


def _read_pairs(path: Place) -> RelatednessTable:
    table = open_table(path)
    by_name = {bare(name).lower(): name for name in table.names}
    pairs = [tuple(by_name.get(name.lower()) for name in names) for names in ID_COLUMNS]
    found = [names for names in pairs if all(names)]
    kinship = [by_name[name.lower()] for name in KINSHIP_COLUMNS if name.lower() in by_name]
    if len(found) != 1 or len(kinship) != 1:
        raise InputError(
            "it is not clear which columns hold the two ids and the kinship",
            where=f"{table.source}, header: {listed(table.names)}",
            fix="name the ids ID1 and ID2 (or IID1 and IID2, or i.s and j.s) and the kinship Kinship (or kin)",
        )
    one, other = (str(name) for name in found[0])
    missing = cells.MissingValues.with_extra(())
    columns = dict(table.columns([one, other, kinship[0]], numeric=kinship, missing=missing))
    first, second = (cells.ids(table, name, _without_struct(columns[name]), unique=False) for name in (one, other))
    value, bad = cells.numbers(columns[kinship[0]], missing)
    if bad is not None:
        raise InputError(bad.what, where=table.where(bad.row, kinship[0]), fix="give the kinship of every pair")
    wrong = np.flatnonzero(np.isnan(value) | (value > GREATEST_KINSHIP))
    if len(wrong):
        unknown = np.isnan(value[wrong[0]])
        raise InputError(
            "a pair has no kinship" if unknown else f"{value[wrong[0]]:g} is no kinship: twins have 0.5",
            where=table.where(int(wrong[0]), kinship[0]),
            fix="remove the row" if unknown else "give kinship coefficients, which are half the relatedness",
        )
    people = np.array(list(dict.fromkeys([*first, *second])), dtype=object)
    return RelatednessTable(first, second, 2.0 * value, people, None, table.source, "kinship", bare(one))


def _without_struct(column: Any) -> Any:
    """Ids of a column that may hold each as the only field of a struct."""
    kind = column.type
    if pa.types.is_struct(kind) and kind.num_fields == 1:
        return arrow.compute("struct_field", column, indices=[0])
    if not cells.is_text(column):
        return column
    return arrow.compute("replace_substring_regex", column, pattern=_STRUCT, replacement=r"\1")


def _read_sparse(path: Place, ids: Place) -> RelatednessTable:
    if not ids.exists():
        raise InputError(
            f"there is no file {ids.name!r}, which says whom the rows of {path.name!r} are of",
            where=str(path),
            fix="put the file that GCTA wrote beside it there, too",
        )
    people = np.array([row[-1].strip() for _, row in _rows(ids, 2, "FID and IID")], dtype=object)
    if len(set(people)) < len(people):
        raise InputError(
            f"{len(people) - len(set(people))} rows repeat the IID of an earlier row",
            where=str(ids),
            fix="people are told apart by IID alone: give each their own",
        )
    places: list[tuple[int, int]] = []
    values: list[float] = []
    for line, row in _rows(path, 3, "two row numbers and the relatedness"):
        try:
            place, value = (int(row[0]), int(row[1])), float(row[2])
        except ValueError:
            raise FileFormatError(
                "the line is not two row numbers and a number",
                where=f"{path}, line {line}",
                fix="write the matrix again with `gcta64 --make-bK-sparse`",
            ) from None
        if min(place) < 0 or max(place) >= len(people):
            raise InputError(
                f"the line names row {max(place)}, and {ids.name} has {len(people)} people, numbered from 0",
                where=f"{path}, line {line}",
                fix="give the two files of one matrix",
            )
        if not abs(value) <= GREATEST_RELATEDNESS and (place[0] != place[1] or not np.isfinite(value)):
            raise InputError(
                f"{value:g} is no relatedness: twins have 1",
                where=f"{path}, line {line}",
                fix="write the matrix again with `gcta64 --make-bK-sparse`",
            )
        places.append(place)
        values.append(value)
    pairs, value_of = np.array(places, np.int64).reshape(-1, 2), np.array(values)
    itself = pairs[:, 0] == pairs[:, 1]
    diagonal = np.full(len(people), np.nan)
    diagonal[pairs[itself, 0]] = value_of[itself]
    without = int(np.isnan(diagonal).sum())
    if without or itself.sum() != len(people):
        raise InputError(
            f"{without:,} people have no number on the diagonal"
            if without
            else "people have more than one number on the diagonal",
            where=str(path),
            fix="write the matrix again with `gcta64 --make-bK-sparse`",
        )
    first, second = people[pairs[~itself, 0]], people[pairs[~itself, 1]]
    return RelatednessTable(first, second, value_of[~itself], people, diagonal, str(path), "relatedness", "IID")


def _rows(path: Place, width: int, expected: str) -> Sequence[tuple[int, list[str]]]:
    """Lines of a file without a header, with their numbers."""
    line, number = first_line(path)
    rows = [(at, row) for at, row in rows_with_lines(path, number - 1, delimiter_of(line)) if any(row)]
    wrong = next((at for at, row in rows if len(row) != width), None)
    if wrong is not None:
        raise FileFormatError(
            f"the line does not have {width} cells: {expected}",
            where=f"{path}, line {wrong}",
            fix="write the matrix again with `gcta64 --make-bK-sparse`",
        )
    return rows


def align_relatedness(
    table: RelatednessTable, store_sample_ids: NDArray[np.object_], store_rows: NDArray[np.int64]
) -> AlignedPairs:
    """Find the people of a table among the analysed samples.

    Parameters
    ----------
    store_sample_ids
        (store samples,) ids of the genotype store.
    store_rows
        (samples,) rows of the analysed samples, ascending.

    Raises
    ------
    InputError
        If nobody of the table is in the genotypes.
    """
    ids = np.array([str(person) for person in store_sample_ids], dtype=object)
    there = rows_of(table.people, ids) >= 0
    n_absent = int((~there).sum())
    if not there.any():
        raise no_overlap(ids, table.people, what="table of relatives", source=table.source, key=table.id_column)
    warnings = []
    if n_absent > (1.0 - LOW_OVERLAP) * len(table.people):
        reason = guess(table.people, ids)
        warnings.append(
            f"only {int(there.sum()):,} of {len(table.people):,} people in the table of relatives have genotypes"
            + (f"; the ids seem to differ by {reason}" if reason else "")
        )
    analysed = ids[store_rows]
    first, second = rows_of(table.first, analysed), rows_of(table.second, analysed)
    both = (first >= 0) & (second >= 0)
    diagonal = None
    if table.diagonal is not None:
        row = rows_of(analysed, table.people)
        diagonal = np.where(row >= 0, table.diagonal[row], 1.0)
    return AlignedPairs(first[both], second[both], table.value[both], diagonal, n_absent, tuple(warnings))
