"""Binary traits: which cells mean case and which control, told from all values of a column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from allscan.phenotypes import cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS = (("false", "true"), ("no", "yes"), ("control", "case"))
"""Words for control and case, in any case of letters."""


@dataclass(frozen=True)
class Coding:
    """How a column says who is a case."""

    control: str  # as it stands in the cells, in lower case
    case: str


ZERO_ONE = Coding("0", "1")
ONE_TWO = Coding("1", "2")
"""PLINK's."""


def binary_values(
    column: Any, missing: cells.MissingValues
) -> tuple[NDArray[np.float64], Coding, cells.BadCell | None]:
    """A column as 0 (control), 1 (case), and NaN (missing).

    Two numbers, 0 and 1 or 1 and 2, or a pair of ``WORDS``, or booleans; one coding for the whole column. A column of
    nothing but 1 is of the coding 0 and 1.

    Parameters
    ----------
    column
        ``pyarrow.ChunkedArray`` of strings, numbers or booleans (samples,).
    missing
        Which cells are missing.

    Returns
    -------
    values
        (samples,) float64.
    coding
        What the cells are taken for.
    bad
        The first cell that does not fit, or None.
    """
    kind = column.type
    values, bad = cells.numbers(column, missing)
    if pa.types.is_boolean(kind.value_type if pa.types.is_dictionary(kind) else kind):
        return values, Coding(*WORDS[0]), None
    if bad is not None and cells.is_text(column):
        return _of_words(column, missing, bad)
    if bad is not None:
        return values, ZERO_ONE, bad
    coding = ZERO_ONE if (values == 0).any() or not (values == 2).any() else ONE_TWO
    low, high = float(coding.control), float(coding.case)
    wrong = ~np.isnan(values) & (values != low) & (values != high)
    if wrong.any():
        bad = _wrong_number(values, coding, wrong)
    return values - low, coding, bad


def _of_words(
    column: Any, missing: cells.MissingValues, not_a_number: cells.BadCell
) -> tuple[NDArray[np.float64], Coding, cells.BadCell | None]:
    codes, levels = cells.categories(column, missing)
    lowered = [level.lower() for level in levels]
    first = levels[codes[not_a_number.row]].lower()
    pair = next((pair for pair in WORDS if first in pair), None)
    if pair is None:
        shown = cells.shortened(levels[codes[not_a_number.row]])
        what = f"the value {shown!r} says neither case nor control"
        fix = f"{_FIX}; if {shown!r} means missing, add it to missing_values"
        return np.full(len(codes), np.nan), ZERO_ONE, cells.BadCell(not_a_number.row, what, fix, not_a_number.count)
    meaning = np.array([pair.index(word) if word in pair else -1.0 for word in lowered] + [np.nan])
    values = meaning[codes]
    wrong = values == -1
    if not wrong.any():
        return values, Coding(*pair), None
    row = int(np.argmax(wrong))
    what = f"the value {cells.shortened(levels[codes[row]])!r} stands beside {first!r}: a binary trait has one coding"
    return values, Coding(*pair), cells.BadCell(row, what, _FIX, int(wrong.sum()))


_FIX = "code controls and cases as 0 and 1, or 1 and 2, and what is missing as NA"


def _wrong_number(values: NDArray[np.float64], coding: Coding, wrong: NDArray[np.bool_]) -> cells.BadCell:
    row = int(np.argmax(wrong))
    value = f"{values[row]:g}"
    what = f"the value {value} is neither {coding.control} (control) nor {coding.case} (case)"
    fix = f'{_FIX}; if {value} means missing, add missing_values: ["{value}"]'
    if coding == ZERO_ONE and value == "2" and set(np.unique(values[~np.isnan(values)])) == {0.0, 1.0, 2.0}:
        what = "the values are 0, 1 and 2, and a binary trait has two"
        fix = 'if 0 means missing, as in PLINK, add missing_values: ["0"]: then 1 is a control and 2 a case'
    return cells.BadCell(row, what, fix, int(wrong.sum()))
