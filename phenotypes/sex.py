"""Sex of the people, from a column of the covariate table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.errors import InputError
from allscan.phenotypes.names import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.phenotypes.model import CovariateColumn, CovariateTable

SEX_COLUMNS = ("sex", "sex_at_birth", "gender")
"""Columns that are taken for sex when the job names none, whatever their case; the first one found."""

MALE = 1
FEMALE = 2
UNKNOWN = 0
_WORDS = {
    **dict.fromkeys(("male", "m", "1", "xy"), MALE),
    **dict.fromkeys(("female", "f", "2", "xx"), FEMALE),
    "0": UNKNOWN,
}


@dataclass(frozen=True)
class SexColumn:
    """Sex of everybody in the covariate table, and what there is to say about it."""

    values: NDArray[np.int8] | None  # (samples,) 1 male, 2 female, 0 unknown; None: no usable column
    warnings: tuple[str, ...] = ()


def read_sex(table: CovariateTable, column: str | None = None, codes: Mapping[str, int] | None = None) -> SexColumn:
    """Sex from a covariate table.

    Understood are the words male, female, M, F, XY, XX in any case and the numbers 1 (male), 2 (female) and 0
    (unknown), as in PLINK. Whoever has another entry, such as another karyotype, is of unknown sex. A column of
    nothing but 0 and 1 is ambiguous and needs ``codes``.

    Parameters
    ----------
    table
        The covariate table.
    column
        The job's sex column. None: the first of ``SEX_COLUMNS``; one that is not understood is left alone,
        with a warning.
    codes
        Cell text -> 1 male, 2 female, 0 unknown, for a column with other codes.

    Raises
    ------
    InputError
        If the job's column is not there, or its codes are not understood.
    """
    if column is not None:
        if column not in table.columns:
            raise InputError(
                f"there is no sex column {column!r}",
                where=f"{table.source}, header",
                fix=did_you_mean(column, table.columns, otherwise=f"there are {listed(table.columns)}"),
            )
        values, trouble, warnings = _coded(table.columns[column], codes)
        if values is None:
            raise InputError(
                f"the sex column {column!r} {trouble}",
                where=f"{table.source}, column {column!r}",
                fix="code it as male/female, M/F, or 1 (male) and 2 (female)",
            )
        return SexColumn(values, warnings)
    by_lower = {name.lower(): name for name in reversed(list(table.columns))}
    name = next((by_lower[known] for known in SEX_COLUMNS if known in by_lower), None)
    if name is None:
        return SexColumn(None)
    values, trouble, warnings = _coded(table.columns[name], codes)
    if values is None:
        return SexColumn(
            None,
            (
                f"{table.source}: the column {name!r} {trouble}; it is not used to tell men from women on "
                "chromosome X (code it as male/female, M/F, or 1 and 2)",
            ),
        )
    return SexColumn(values, warnings)


def _coded(
    column: CovariateColumn, codes: Mapping[str, int] | None
) -> tuple[NDArray[np.int8] | None, str, tuple[str, ...]]:
    """Sex, what is wrong if there is none, and warnings."""
    words, index = _words(column)
    if column.problem and not words:
        return None, column.problem, ()
    if codes is not None:
        known = {str(word).strip().lower(): sex for word, sex in codes.items()}
    else:
        known = _WORDS
        if set(words) and set(words) <= {"0", "1"}:
            return None, "holds only 0 and 1, which leaves open who is male", ()
    coded = np.array([known.get(word, UNKNOWN) for word in words] + [UNKNOWN], dtype=np.int8)
    if not coded.any():
        return None, "holds no code of sex that is known", ()
    other = [word for word in words if word not in known]
    if other and column.is_numeric:
        return None, f"holds numbers that are no codes of sex: {listed(other, limit=3)}", ()
    warnings: tuple[str, ...] = ()
    if other:
        count = int(np.isin(index, [words.index(word) for word in other]).sum())
        warnings = (
            f"{count:,} people have another entry than male or female in the column {column.name!r}; "
            "their sex counts as unknown",
        )
    return coded[index], "", warnings


def _words(column: CovariateColumn) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct cells in lower case, and for every person the index of theirs (-1: missing)."""
    if column.codes is not None:
        return [level.lower() for level in column.levels], column.codes.astype(np.int64)
    assert column.values is not None  # a column has codes or values
    present = ~np.isnan(column.values)
    found, inverse = np.unique(column.values[present], return_inverse=True)
    index = np.full(len(column.values), -1, dtype=np.int64)
    index[present] = inverse
    return [format(value, ".15g") for value in found], index
