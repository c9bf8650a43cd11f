"""Cells that hold a list of numbers, as Python, JSON, NumPy and Hail write them; no cell is ever evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allscan import arrow
from allscan.errors import InputError
from allscan.phenotypes import cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.phenotypes.files import RawTable

_NOTHING = cells.MissingValues((), ())
_LIST = r"^(\[[^\[\](){}]*\]|\([^\[\](){}]*\))$"
_NUMPY_SCALAR = r"(?:np|numpy)\.float(?:16|32|64)\(([^()]*)\)"
"""What a list of NumPy's numbers looks like since NumPy 2: ``[np.float64(0.5), …]``."""


def holds_lists(column: Any, missing: cells.MissingValues) -> bool:
    """Whether a column is one of lists: by its type, or by its first cell that is not missing."""
    if _is_list(column.type):
        return True
    if not cells.is_text(column):
        return False
    first = next((text for text in _trimmed(column).to_pylist() if text is not None and text not in missing.words), "")
    return first.startswith(("[", "("))


def numbers(table: RawTable, name: str, column: Any, missing: cells.MissingValues) -> NDArray[np.float64]:
    """A column of lists as a matrix.

    Parameters
    ----------
    table, name
        Where the column comes from, for messages.
    column
        ``pyarrow.ChunkedArray`` (people,) of lists, or of texts such as ``[0.1, 0.9]``.
    missing
        Cells that mean that there is no list.

    Returns
    -------
    (people, numbers) float64; a row of NaN where there is no list

    Raises
    ------
    InputError
        A cell is no list of finite numbers, or its list is not as long as the first.
    """
    lists = _arrow_lists(column) if _is_list(column.type) else _parsed(table, name, column, missing)
    rows = np.flatnonzero(arrow.booleans(pc.is_valid(lists)))
    if not len(rows):
        raise InputError("every cell is missing", where=f"{table.source}, column {name!r}", fix="check the table")
    lengths = arrow.numbers(pc.cast(pc.list_value_length(lists), pa.int64()), np.int64, -1)[rows]
    k = int(lengths[0])
    wrong = np.flatnonzero((lengths != k) | (lengths == 0))
    if len(wrong):
        raise InputError(
            f"the list has {int(lengths[wrong[0]])} numbers, the first one {k}" if k else "the list is empty",
            where=table.where(int(rows[wrong[0]]), name),
            fix="give everybody a list of the same length, or none (NA)",
        )
    flat = pc.list_flatten(lists)
    values, bad = cells.numbers(flat, _NOTHING)
    if bad is None and np.isnan(values).any():
        bad = cells.BadCell(int(np.argmax(np.isnan(values))), "a number of the list is missing", "", 1)
    if bad is not None:
        raise InputError(
            bad.what, where=table.where(int(rows[bad.row // k]), name), fix="give lists of numbers, like [0.1, 0.9]"
        )
    out = np.full((len(lists), k), np.nan)
    out[rows] = values.reshape(len(rows), k)
    return out


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _arrow_lists(column: Any) -> Any:
    return _whole(pc.cast(column, pa.list_(column.type.value_type)))


def _parsed(table: RawTable, name: str, column: Any, missing: cells.MissingValues) -> Any:
    text = _trimmed(column)
    text = pc.if_else(pc.is_in(text, value_set=arrow.string_array(missing.words)), arrow.null_string(), text)
    if arrow.booleans(pc.match_substring(text, ".float")).any():
        text = pc.replace_substring_regex(text, _NUMPY_SCALAR, r"\1")
    bad = arrow.booleans(pc.and_kleene(pc.is_valid(text), pc.invert(pc.match_substring_regex(text, _LIST))))
    if bad.any():
        raise InputError(
            "the cell is no list of numbers",
            where=table.where(int(np.argmax(bad)), name),
            fix="give lists of numbers, like [0.1, 0.9], or nothing (NA)",
        )
    inner = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(text, 1, -1))
    # NumPy writes white space between the numbers, everybody else commas.
    with_commas = arrow.booleans(pc.match_substring(inner, ",")).any()
    return pc.split_pattern(inner, ",") if with_commas else pc.utf8_split_whitespace(inner)


def _trimmed(column: Any) -> Any:
    return pc.utf8_trim_whitespace(_whole(pc.cast(column, pa.string())))


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
