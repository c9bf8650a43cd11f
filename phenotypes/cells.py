"""What the cells of a table mean: missing values, numbers, categories, ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from allscan import arrow
from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from allscan.phenotypes.files import RawTable

MISSING_WORDS = (
    "", ".", "NA", "na", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "NULL", "null", "Null",
)  # fmt: skip
"""Cells that mean missing in every table."""

LARGEST_VALUE = 1e100
"""Sums of squares of anything larger would not fit a float64."""
LARGEST_EXACT_INTEGER = 2**53
SENTINELS = (-9.0, -99.0, -999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0)
"""Numbers that many programs write for missing."""
_NUMBER = r"^(?i:[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf(inity)?|nan))$"


@dataclass(frozen=True)
class MissingValues:
    """Which cells are missing: the usual words, and what the job adds (``-9``; compared as numbers, too)."""

    words: tuple[str, ...]
    numbers: tuple[float, ...]

    @classmethod
    def with_extra(cls, extra: Iterable[object]) -> MissingValues:
        """The usual words and the job's own ``missing_values``."""
        added = [str(value).strip() for value in extra]
        numbers = []
        for word in added:
            try:
                numbers.append(float(word))
            except ValueError:
                continue
        words = (*MISSING_WORDS, *(word for word in added if word not in MISSING_WORDS))
        return cls(words, tuple(number for number in numbers if np.isfinite(number)))


@dataclass(frozen=True)
class BadCell:
    """The first cell of a column that cannot be used, and how many there are."""

    row: int
    what: str
    fix: str
    count: int
    infinite: bool = False  # a number after all


def numbers(column: Any, missing: MissingValues) -> tuple[NDArray[np.float64], BadCell | None]:
    """A column as float64, NaN = missing.

    Parameters
    ----------
    column
        ``pyarrow.ChunkedArray`` of strings, numbers or booleans (samples,).
    missing
        Which cells are missing.

    Returns
    -------
    values
        (samples,) float64; NaN where a cell is missing or bad.
    bad
        The first cell that is neither missing nor a number up to ``LARGEST_VALUE``, or None.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if _is_text(kind):
        values, bad = _parsed(column, missing)
    elif pa.types.is_null(kind):
        return np.full(len(column), np.nan), None
    elif _is_number(kind):
        values = arrow.numbers(arrow.cast(column, pa.float64(), safe=False), np.float64, np.nan)
        bad = None
    else:
        what = f"the column has the type {kind}, which is no number"
        return np.full(len(column), np.nan), BadCell(0, what, "store numbers in it", len(column))
    for number in missing.numbers:
        values[values == number] = np.nan
    low, high = extremes(values)
    if low < -LARGEST_VALUE or high > LARGEST_VALUE:
        infinite = np.abs(values) > LARGEST_VALUE
        row = int(np.argmax(infinite))
        if bad is None or row < bad.row:
            trouble = "infinite" if np.isinf(values[row]) else "too large to compute with"
            what = f"the value {column[row].as_py()!r} is {trouble}"
            fix = "correct the cell, or mark it as missing (NA)"
            bad = BadCell(row, what, fix, int(infinite.sum()), infinite=True)
        values[infinite] = np.nan
    return values, bad


def _parsed(column: Any, missing: MissingValues) -> tuple[NDArray[np.float64], BadCell | None]:
    text = _trimmed(column)
    present = _present(text, missing)
    try:
        return arrow.numbers(arrow.cast(present, pa.float64()), np.float64, np.nan), None
    except pa.ArrowInvalid:
        pass
    good = arrow.compute("match_substring_regex", present, pattern=_NUMBER)
    # Kleene's "and" says no where a missing cell makes "is no number" unknown.
    unusable = arrow.compute("and_kleene", arrow.compute("is_valid", present), arrow.compute("invert", good))
    is_bad = arrow.booleans(unusable)
    values = arrow.cast(arrow.compute("if_else", unusable, arrow.null_string(), present), pa.float64())
    row = int(np.argmax(is_bad))
    shown = str(text[row].as_py())
    bad = BadCell(row, f"the value {shortened(shown)!r} is not a number", _advice(shown), int(is_bad.sum()))
    return arrow.numbers(values, np.float64, np.nan), bad


def _trimmed(column: Any) -> Any:
    """Text of any Arrow type as plain strings, without the white space around them."""
    plain = column if pa.types.is_string(column.type) else arrow.cast(column, pa.string())
    return arrow.compute("utf8_trim_whitespace", plain)


def _present(text: Any, missing: MissingValues) -> Any:
    """Strings, null where the cell is missing."""
    return arrow.compute("if_else", _is_one_of(text, missing.words), arrow.null_string(), text)


def _is_one_of(text: Any, words: tuple[str, ...]) -> Any:
    return arrow.compute("is_in", text, value_set=arrow.string_array(words))


def _advice(text: str) -> str:
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        return "write a decimal point, not a comma"
    if re.fullmatch(r"[+-]?\d{1,3}([,' ]\d{3})+(\.\d+)?", text):
        return "write numbers without thousands separators"
    if text.lower() in {"true", "false", "yes", "no"}:
        return "code it as 1 and 0"
    return f"correct the cell; if {shortened(text)!r} means missing, add it to missing_values"


def categories(column: Any, missing: MissingValues) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """A column as categories.

    Returns
    -------
    codes
        (samples,) int32 index into the levels, -1 = missing.
    levels
        The distinct texts in natural order (2 before 10).
    """
    present = _present(_trimmed(column), missing)
    if isinstance(present, pa.ChunkedArray):
        present = present.combine_chunks()
    encoded = arrow.compute("dictionary_encode", present)
    found = encoded.dictionary.to_pylist()
    order = sorted(range(len(found)), key=lambda i: natural_key(found[i]))
    rank = np.empty(len(found) + 1, dtype=np.int32)
    rank[order] = np.arange(len(found), dtype=np.int32)
    rank[-1] = -1
    codes = rank[arrow.numbers(encoded.indices, np.int32, len(found))]
    return codes, tuple(found[i] for i in order)


def natural_key(text: str) -> tuple[tuple[int, float, str], ...]:
    """Sort key under which numbers inside texts follow their value."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, float(part), part) if part.isdecimal() else (1, 0.0, part) for part in parts if part)


def ids(table: RawTable, name: str, column: Any, *, unique: bool = True) -> NDArray[np.object_]:
    """People's ids as exact strings, without surrounding white space.

    Parameters
    ----------
    table, name
        Where the column comes from, for messages.
    column
        ``pyarrow.ChunkedArray`` (samples,) of strings or integers; floating point only if it is whole.
    unique
        Whether a repeated id is an error.

    Raises
    ------
    InputError
        If an id is missing, appears twice, or is a number that may have lost digits.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_floating(kind):
        column = _integers(table, name, column)
    elif not (_is_text(kind) or pa.types.is_integer(kind) or _is_whole_decimal(kind)):
        raise InputError(
            f"the column has the type {kind}, which cannot hold ids",
            where=f"{table.source}, column {name!r}",
            fix="store ids as strings or integers",
        )
    try:
        text = _trimmed(column)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"the ids are not UTF-8 text: {error}",
            where=f"{table.source}, column {name!r}",
            fix="store strings",
        ) from error
    is_missing = arrow.booleans(arrow.compute("or", arrow.compute("is_null", text), _is_one_of(text, MISSING_WORDS)))
    if is_missing.any():
        raise InputError(
            f"{int(is_missing.sum())} rows have no id",
            where=f"first: {table.where(int(np.argmax(is_missing)), name)}",
            fix="give every row an id, or remove the row",
        )
    found = arrow.objects(text)
    if unique and len(set(found)) < len(found):
        raise _duplicated(table, name, found)
    return found


def _duplicated(table: RawTable, name: str, found: NDArray[np.object_]) -> InputError:
    first: dict[str, int] = {}
    again: list[tuple[int, int]] = []
    for row, person in enumerate(found):
        if person in first:
            again.append((first[person], row))
        else:
            first[person] = row
    # The rows lead there; the id itself is nobody else's business.
    places = "; ".join(f"{table.where(a, name)} and {_line_only(table.where(b, name))}" for a, b in again[:3])
    families = " (people are told apart by IID alone)" if name.lstrip("#").upper() == "IID" else ""
    return InputError(
        f"{len(again)} rows repeat the id of an earlier row{families}",
        where=places,
        fix="keep one row per person; several visits or measurements must be summarised first",
    )


def _line_only(where: str) -> str:
    return where.rsplit(", ", 2)[1]


def _integers(table: RawTable, name: str, column: Any) -> Any:
    values = arrow.numbers(arrow.cast(column, pa.float64()), np.float64, np.nan)
    present = ~np.isnan(values)
    bad = present & ((values != np.trunc(values)) | (np.abs(values) >= LARGEST_EXACT_INTEGER))
    if bad.any():
        raise InputError(
            f"the ids are stored as {column.type}, and {int(bad.sum())} of them are not whole numbers "
            "or too large to be exact",
            where=f"first: {table.where(int(np.argmax(bad)), name)}",
            fix="store ids as strings",
        )
    return pa.chunked_array([pa.array(np.where(present, values, 0).astype(np.int64), mask=~present)])


def extremes(values: NDArray[np.float64]) -> tuple[float, float]:
    """The least and the largest of some values; NaN if all are missing."""
    if not len(values):
        return np.nan, np.nan
    # Quick where nothing is missing.
    low, high = float(values.min()), float(values.max())
    if np.isnan(low):
        low, high = float(np.fmin.reduce(values)), float(np.fmax.reduce(values))
    return low, high


def likely_sentinel(values: NDArray[np.float64]) -> tuple[float, int] | None:
    """A number that looks like a code for missing, and how often it occurs.

    That is a usual code (-9, -99, …, 999, …) that is the column's only negative value, or that stands alone,
    more than once and more than five times as large as every other value.
    """
    low, high = extremes(values)
    if low < 0:
        if low in SENTINELS:
            count = int((values == low).sum())
            if count == int((values < 0).sum()) and count < int((~np.isnan(values)).sum()):
                return low, count
        return None
    if high in SENTINELS:
        others = values[values < high]
        count = int((values == high).sum())
        if count > 1 and others.size and high > 5 * others.max():
            return high, count
    return None


def shortened(text: str, limit: int = 40) -> str:
    """A text for a message, cut when it is long."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_text(column: Any) -> bool:
    """Whether an Arrow column holds strings (or a dictionary of them)."""
    kind = column.type
    return _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def is_number(column: Any) -> bool:
    """Whether an Arrow column holds numbers, booleans, or nothing at all."""
    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_number(kind) or pa.types.is_null(kind)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _is_whole_decimal(kind: Any) -> bool:
    return bool(pa.types.is_decimal(kind)) and kind.scale == 0
