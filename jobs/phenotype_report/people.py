"""Who is in a trait table: people by sex, age and group, and how much is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from allscan.arrow import numbers, objects
from allscan.disclosure import merged_levels, merged_neighbours
from allscan.jobs.phenotype_report.told import quartiles
from allscan.storage import open_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.storage import Place

AGES = ("age", "age_last_record", "age_first_record")
"""Covariates that the bands of age may be made of; the first that there is."""
BAND = 10
"""Years of a band of age."""
OLDEST = 90
MOST_GROUPS = 20
UNKNOWN = "not known"
LEAST_UNKNOWN = 0.01
"""Share of the people from which on those of whom something is not known are a class."""

MEASURES = {
    "age": "Age, years",
    "record_years": "Record, years",
    "visits": "Days with a visit",
    "code_days": "Days with a diagnosis",
}
"""Covariates that cases and controls are compared in."""


@dataclass(frozen=True)
class Classes:
    """Everybody in one class each, none of them small."""

    title: str
    labels: tuple[str, ...]
    code: NDArray[np.int16]  # (people,) class

    @cached_property
    def people(self) -> NDArray[np.int64]:
        """People of each class, (classes,)."""
        return np.bincount(self.code, minlength=len(self.labels))

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Everybody, class by class, (people,)."""
        return np.argsort(self.code, kind="stable")


@dataclass(frozen=True)
class Measure:
    """A covariate that is a number."""

    label: str
    values: NDArray[np.float64]  # (people,) NaN missing

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        order = np.argsort(self.values, kind="stable")  # NaN last
        return order[: int(np.count_nonzero(~np.isnan(self.values)))]

    @cached_property
    def _ordered(self) -> NDArray[np.float64]:
        return self.values[self._order]

    def quartiles_of(self, people: NDArray[np.bool_]) -> list[float] | None:
        """Quartiles of those among some people who have a value; None of few."""
        return quartiles(self._ordered[people[self._order]])


@dataclass(frozen=True)
class Cohort:
    """Everybody in a trait table."""

    n: int
    classes: tuple[Classes, ...]
    measures: tuple[Measure, ...]


def read_cohort(covariates: Place, n: int) -> Cohort:
    """Read the people's covariates; ids are not read.

    Parameters
    ----------
    covariates
        File of the covariates of a trait table.
    n
        People in the trait table; the rows are the same.
    """
    with open_stream(covariates) as source:
        file = pq.ParquetFile(source)
        known = set(file.schema_arrow.names)
        wanted = dict.fromkeys(name for name in ("sex", "group", *AGES, *MEASURES) if name in known)
        table = file.read(columns=list(wanted))
        assert file.metadata.num_rows == n
    classes = []
    if "sex" in known:
        classes.append(_by_sex(_numbers(table["sex"])))
    age = next((name for name in AGES if name in known), None)
    if age is not None:
        classes.append(_by_age(_numbers(table[age])))
    if "group" in known:
        classes.append(_by_group(objects(table["group"])))
    return Cohort(
        n,
        tuple(found for found in classes if len(found.labels) > 1),
        tuple(Measure(label, _numbers(table[name])) for name, label in MEASURES.items() if name in known),
    )


def _numbers(column: Any) -> NDArray[np.float64]:
    return numbers(column.cast(pa.float64()), np.float64, np.nan)


def _by_sex(sex: NDArray[np.float64]) -> Classes:
    code = np.where(sex == 1, 0, np.where(sex == 2, 1, 2))
    return _merged("Sex", ("men", "women", f"sex {UNKNOWN}"), code)


def _by_group(group: NDArray[np.object_]) -> Classes:
    names = np.array([UNKNOWN if name is None else str(name) for name in group.tolist()], dtype=object)
    found, code = np.unique(names.astype(str), return_inverse=True)
    labels = [str(name) for name in found]
    if len(labels) > MOST_GROUPS:
        largest = np.argsort(-np.bincount(code), kind="stable")
        place = np.full(len(labels), MOST_GROUPS - 1)
        place[largest[: MOST_GROUPS - 1]] = np.arange(MOST_GROUPS - 1)
        labels = [*(labels[k] for k in largest[: MOST_GROUPS - 1]), f"{len(labels) - MOST_GROUPS + 1} others"]
        code = place[code]
    return _merged("Group", labels, code)


def _by_age(age: NDArray[np.float64]) -> Classes:
    unknown = np.isnan(age)
    band = np.clip(np.where(unknown, 0, age) // BAND, 0, OLDEST // BAND).astype(np.int64)
    counts = np.bincount(band[~unknown], minlength=OLDEST // BAND + 1)
    stretches = [stretch for stretch in merged_neighbours(counts) if counts[stretch].sum()]
    code = np.full(len(age), len(stretches))
    labels = []
    for place, stretch in enumerate(stretches):
        code[~unknown & (band >= stretch.start) & (band < stretch.stop)] = place
        labels.append(_band(stretch.start * BAND, stretch.stop * BAND - 1))
    return _merged("Age, years", [*labels, f"age {UNKNOWN}"], code)


def _band(first: int, last: int) -> str:
    if last >= OLDEST:
        return f"{first} and older" if first else "known"
    return f"{first}–{last}" if first else f"below {last + 1}"


def _merged(title: str, labels: Sequence[str], code: NDArray[np.integer]) -> Classes:
    """Classes of which none is small: those that are go together, or to the next larger one.

    A few people of whom it is not known would have nearly every row hidden, and another one with it: they go to the
    largest class.
    """
    counts = np.bincount(code, minlength=len(labels))
    unknown = next((at for at, label in enumerate(labels) if label.endswith(UNKNOWN)), None)
    if unknown is not None and 0 < counts[unknown] < LEAST_UNKNOWN * len(code) and len(labels) > 1:
        largest = int(np.argmax(np.where(np.arange(len(labels)) == unknown, -1, counts)))
        code = np.where(code == unknown, largest, code)
        counts[largest] += counts[unknown]
        labels = [f"{label} or {labels[unknown]}" if at == largest else label for at, label in enumerate(labels)]
        counts[unknown] = 0
    groups = merged_levels(counts)
    place = np.zeros(len(labels), dtype=np.int16)
    for at, group in enumerate(groups):
        place[list(group)] = at
    return Classes(title, tuple(" or ".join(labels[level] for level in group) for group in groups), place[code])
