"""What is wrong in records, as in real ones: rows that are added to the true ones, and counted by kind.

A reader that leaves all of them out is left with the true rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.simulation.records.catalogue import MEASURES
from allscan.engine.simulation.records.measurements import in_other_unit
from allscan.engine.simulation.records.people import DAYS_PER_YEAR, RELEASE, lowest_id
from allscan.engine.simulation.records.tables import Coded, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.simulation.records.measurements import Drawn
    from allscan.engine.simulation.records.people import Histories
    from allscan.engine.simulation.records.tables import Rows

DUPLICATED = 0.002
BEFORE_BIRTH = 0.0005
IN_FUTURE = 0.0005
UNKNOWN_PERSON = 0.001
MALFORMED = 0.0005
IMPLAUSIBLE = 0.0007  # of each kind
WITH_OPERATOR = 0.003
"""Rates, as shares of a table's true rows."""

_NO_CODES = ("?", "n/a", "250,00", "E11-9", "I1O", "see note")


def with_faults(
    rng: np.random.Generator,
    rows: Rows,
    key: str,
    date: str,
    histories: Histories,
    cohort: int,
    extra: dict[str, Rows] | None = None,
) -> tuple[Rows, dict[str, int]]:
    """The rows of a table of events with faulty ones among them.

    Parameters
    ----------
    key, date
        Columns with the row's id and its date.
    cohort
        People in the whole cohort.
    extra
        Faulty rows of kinds that this table alone has.

    Returns
    -------
    Rows
        In the order of the true ones, faulty ones at the end.
    dict
        Faulty rows of each kind.
    """

    def some(rate: float) -> Rows:
        return rows.take(np.flatnonzero(rng.random(rows.n) < rate))

    parts = {"duplicate": some(DUPLICATED), **(extra or {})}
    early = some(BEFORE_BIRTH)
    order = np.argsort(histories.people.person_id)
    row = order[np.searchsorted(histories.people.person_id, early.columns["person_id"], sorter=order)]
    before = rng.integers(366, 3650, early.n)  # a reader may know the year of birth alone
    parts["before_birth"] = early.but(**{date: (histories.birth[row] - before).astype(np.int32)})
    late = some(IN_FUTURE)
    after = rng.integers(30, round(20 * DAYS_PER_YEAR), late.n)
    parts["in_future"] = late.but(**{date: (RELEASE + after).astype(np.int32)})
    orphans = some(UNKNOWN_PERSON)
    lowest = lowest_id(cohort)
    parts["unknown_person"] = orphans.but(person_id=10 * lowest + rng.integers(0, lowest, orphans.n))
    whole = joined([rows, *parts.values()])
    ids = rows.columns[key][:1] + np.arange(whole.n) if rows.n else np.zeros(0, np.int64)
    return whole.but(**{key: ids}), {kind: part.n for kind, part in parts.items()}


def malformed_codes(rng: np.random.Generator, conditions: Rows) -> dict[str, Rows]:
    """Conditions whose text is no code, and that have no concept."""
    rows = conditions.take(np.flatnonzero(rng.random(conditions.n) < MALFORMED))
    text = Coded(rng.integers(0, len(_NO_CODES), rows.n).astype(np.int32), _NO_CODES)
    none = np.zeros(rows.n, np.int64)
    return {
        "malformed_code": rows.but(
            condition_source_value=text, condition_source_concept_id=none, condition_concept_id=none
        )
    }


def implausible_values(rng: np.random.Generator, drawn: Drawn, rows: Rows) -> dict[str, Rows]:
    """Measurements that cannot be, and ones whose value is a bound in words."""

    def some(rate: float, of: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
        luck = rng.random(rows.n) < rate
        return np.flatnonzero(luck if of is None else luck & of)

    zero, nines = (rows.take(some(IMPLAUSIBLE)) for _ in range(2))
    other = np.array([measure.other_concept > 0 for measure in MEASURES])[drawn.measure]
    unconverted = some(2 * IMPLAUSIBLE, other & (rows.columns["unit_concept_id"] > 0))
    measure = drawn.measure[unconverted]
    # The number is one of the other unit, the unit the first one's, or the other way round.
    in_first = np.array([measure.unit_concept for measure in MEASURES])[measure]
    is_first = rows.columns["unit_concept_id"][unconverted] == in_first
    wrong = in_other_unit(drawn.value[unconverted], measure, is_first)
    bounded = some(WITH_OPERATOR)
    value = rows.columns["value_as_number"][bounded]
    above = rng.random(len(bounded)) < 0.5
    texts = [
        f">{v * 0.9:.4g}" if up else f"<{v * 1.1:.4g}" for v, up in zip(value.tolist(), above.tolist(), strict=True)
    ]
    kinds = tuple(dict.fromkeys(texts))
    number = {text: index for index, text in enumerate(kinds)}
    said = Coded(np.array([number[text] for text in texts], np.int32), kinds)
    return {
        "zero": zero.but(value_as_number=np.zeros(zero.n)),
        "nines": nines.but(value_as_number=np.full(nines.n, 99999.0)),
        "unconverted": rows.take(unconverted).but(value_as_number=wrong),
        "bound_as_text": rows.take(bounded).but(
            value_as_number=np.full(len(bounded), np.nan),
            operator_concept_id=np.where(above, 4172704, 4171756),
            value_source_value=said,
        ),
    }
