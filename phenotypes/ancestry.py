"""Which group each person belongs to, such as an ancestry: All of Us' predictions, or a column of any table.

A label is a name or nothing. People whose label says that they fit none (``oth``), who have none, or whose label is too
uncertain are in no group: a scan of everybody holds them, a scan of a group does not, and they are counted by reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.errors import InputError
from allscan.phenotypes import cells
from allscan.phenotypes.files import open_table
from allscan.phenotypes.matching import no_overlap, rows_of
from allscan.phenotypes.model import SampleCount
from allscan.phenotypes.names import bare, did_you_mean, id_column, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from allscan.phenotypes.files import RawTable
    from allscan.storage import Place

LABEL_COLUMNS = (
    "ancestry_pred_other",
    "ancestry_pred",
    "group",
    "ancestry",
    "population",
    "superpopulation",
    "superpop",
)
"""Columns that are taken for labels when none is named, whatever their case; the first one found."""
NO_GROUP = ("oth", "other", "remaining", "unassigned")
"""Labels that mean that somebody fits no group, in any case."""
PREDICTED = "ancestry_pred"
"""Column of the classes whose probabilities All of Us lists."""
ALL_OF_US = ("afr", "amr", "eas", "eur", "mid", "sas")
PROBABILITIES = ("probabilities",)
COMPONENTS = ("pca_features", "pca_scores", "scores")
"""Columns that hold lists."""
MOST_GROUPS = 100
LEAST_AGREEMENT = 0.99
"""Of the likeliest class and the prediction; less means that the classes are in another order."""
_PROBABILITY = re.compile(r"(?:prob|probability)_(.+)", re.IGNORECASE)
_COMPONENT = re.compile(r"pc_?([1-9][0-9]*)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class GroupTable:
    """People and their groups, as read."""

    ids: NDArray[np.object_]  # (people,) str
    label: NDArray[np.object_]  # (people,) one of `labels`; None: in no group
    labels: tuple[str, ...]  # the groups, sorted
    codes: NDArray[np.int16]  # (people,) index into `labels`; -1: in no group
    reason: NDArray[np.int8]  # (people,) index into `reasons`; -1: in a group
    reasons: tuple[str, ...]  # why people are in no group
    classes: tuple[str, ...]  # of the probabilities; empty where it is not known which is which
    probabilities: NDArray[np.float64] | None  # (people, classes), NaN where a person has none
    components: NDArray[np.float64] | None  # (people, components), NaN where a person has none
    source: str
    column: str  # the labels'
    id_column: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """People of each group."""
        return {name: int((self.codes == code).sum()) for code, name in enumerate(self.labels)}

    @property
    def outside(self) -> dict[str, int]:
        """People in no group, by reason."""
        return {name: int((self.reason == code).sum()) for code, name in enumerate(self.reasons)}


class _Labels(NamedTuple):
    codes: NDArray[np.int32]  # (people,) index into levels, -1: missing
    levels: tuple[str, ...]


def read_groups(
    place: str | Place,
    *,
    column: str | None = None,
    id_column: str | None = None,
    missing_values: Iterable[object] = (),
    min_probability: float | None = None,
) -> GroupTable:
    """Read people's groups from a table.

    Parameters
    ----------
    place
        Text or Parquet with an id and a label for each person. ``ancestry_preds.tsv`` of All of Us is one; lists in
        cells (``probabilities``, ``pca_features``) are read, and so are columns ``probability_LABEL`` and ``pc1`` ….
    column
        Of the labels; None: the first of :data:`LABEL_COLUMNS`.
    id_column, missing_values
        As for :func:`allscan.phenotypes.tables.read_trait_table`.
    min_probability
        People whose likeliest class has a smaller probability are in no group.

    Raises
    ------
    InputError
        There is no column of labels, nobody is in a group, a list or probability is none, or probabilities are asked
        for and there are none.
    FileFormatError
        The file is damaged, ragged or not a table.
    """
    table = open_table(place)
    key = _key(table, id_column)
    name = _label_column(table, key, column)
    missing = cells.MissingValues.with_extra(missing_values)
    wanted = _Wanted.of(table, {key, name})
    columns = dict(table.columns(list(dict.fromkeys([key, name, *wanted.names])), missing=missing))
    ids = cells.ids(table, key, columns[key])
    found = _labels(table, name, columns[name], missing)
    classes, probabilities = wanted.probabilities(table, columns, found, missing)
    components = wanted.components(table, columns, missing)
    warnings: tuple[str, ...] = ()
    if wanted.predicted is not None and classes and probabilities is not None:
        predicted = _labels(table, wanted.predicted, columns[wanted.predicted], missing)
        if _agreement(predicted, classes, probabilities) < LEAST_AGREEMENT:
            classes = ()
            warnings = (
                f"{table.source}: the likeliest class is often not the one of the column {wanted.predicted!r}: which "
                "probability is of which class is not known, and they are not named",
            )
    labels, reason, reasons = _grouped(table, name, found, probabilities, min_probability)
    code_of = {label: code for code, label in enumerate(labels)}
    level_code = np.array([code_of.get(level, -1) for level in found.levels] + [-1], np.int16)
    codes = np.where(reason < 0, level_code[found.codes], -1).astype(np.int16)
    return GroupTable(
        ids=ids,
        label=np.array([*labels, None], dtype=object)[codes],
        labels=labels,
        codes=codes,
        reason=reason,
        reasons=reasons,
        classes=classes,
        probabilities=probabilities,
        components=components,
        source=table.source,
        column=bare(name),
        id_column=bare(key),
        notes=_notes(table, key, name, named=column is not None),
        warnings=warnings,
    )


def align_groups(table: GroupTable, sample_ids: NDArray[np.object_]) -> NDArray[np.int16]:
    """The group of each sample of a store.

    Parameters
    ----------
    sample_ids
        (samples,) of the store.

    Returns
    -------
    (samples,) int16 index into ``table.labels``; -1: in no group, or not in the table

    Raises
    ------
    InputError
        Nobody of the table is in the store.
    """
    rows = _rows(table, sample_ids)
    return np.where(rows < 0, -1, table.codes[rows]).astype(np.int16)


def count_groups(table: GroupTable, sample_ids: NDArray[np.object_]) -> tuple[SampleCount, ...]:
    """How many samples of a store are in each group, and in none, by reason. Nobody is left out of a scan of all.

    Raises
    ------
    InputError
        As for :func:`align_groups`.
    """
    rows = _rows(table, sample_ids)
    there = rows[rows >= 0]
    counts = [
        *(
            (f"in the group {name!r}", int((table.codes[there] == code).sum()))
            for code, name in enumerate(table.labels)
        ),
        *((f"in no group: {why}", int((table.reason[there] == code).sum())) for code, why in enumerate(table.reasons)),
        ("in no group: not in the table of groups", len(rows) - len(there)),
    ]
    return tuple(SampleCount(what, count, kept=True) for what, count in counts if count)


def _rows(table: GroupTable, sample_ids: NDArray[np.object_]) -> NDArray[np.int64]:
    ids = np.array([str(person) for person in sample_ids], dtype=object)
    rows = rows_of(ids, table.ids)
    if not (rows >= 0).any():
        raise no_overlap(ids, table.ids, what="table of groups", source=table.source, key=table.id_column)
    return rows


def _key(table: RawTable, wanted: str | None) -> str:
    return id_column(table.names, source=table.source, wanted=wanted)


def _label_column(table: RawTable, key: str, wanted: str | None) -> str:
    if wanted is not None:
        found = [name for name in table.names if wanted in (name, bare(name))]
        if not found:
            raise InputError(
                f"there is no column {wanted!r}, which is to name the groups",
                where=f"{table.source}, header: {listed(table.names)}",
                fix=did_you_mean(wanted, table.names, otherwise="name one of the columns"),
            )
        return found[0]
    by_lower = {bare(name).lower(): name for name in reversed(table.names) if name != key}
    known = [by_lower[name] for name in LABEL_COLUMNS if name in by_lower]
    if not known:
        raise InputError(
            "it is not clear which column names the groups",
            where=f"{table.source}, header: {listed(table.names)}",
            fix=f"name it as `column`, or call it {LABEL_COLUMNS[0]} or {LABEL_COLUMNS[2]}",
        )
    return known[0]


def _notes(table: RawTable, key: str, name: str, *, named: bool) -> tuple[str, ...]:
    others = [other for other in table.names if bare(other).lower() in LABEL_COLUMNS and other not in (key, name)]
    if named or not others:
        return ()
    return (
        f"{table.source}: groups are those of the column {bare(name)}; {listed(others)} could be named as `column`",
    )


def _labels(table: RawTable, name: str, column: Any, missing: cells.MissingValues) -> _Labels:
    if not (cells.is_text(column) or cells.is_number(column)):
        raise InputError(
            f"the column has the type {column.type}, which names no groups",
            where=f"{table.source}, column {name!r}",
            fix="name a column of texts",
        )
    return _Labels(*cells.categories(column, missing))


def _grouped(
    table: RawTable,
    name: str,
    found: _Labels,
    probabilities: NDArray[np.float64] | None,
    min_probability: float | None,
) -> tuple[tuple[str, ...], NDArray[np.int8], tuple[str, ...]]:
    """Labels of groups; for each person why they are in none (-1: they are in one); the reasons in words."""
    where = f"{table.source}, column {name!r}"
    labels = tuple(sorted(level for level in found.levels if level.lower() not in NO_GROUP))
    if len(labels) > MOST_GROUPS:
        raise InputError(
            f"the column holds {len(labels):,} different labels, which are no groups",
            where=where,
            fix=f"name the column of the groups; there may be {MOST_GROUPS}",
        )
    alike: dict[str, str] = {}
    for label in labels:
        other = alike.setdefault(label.lower(), label)
        if other != label:
            raise InputError(
                f"two groups are called {other!r} and {label!r}", where=where, fix="write each group's name in one way"
            )
    others = [code for code, level in enumerate(found.levels) if level.lower() in NO_GROUP]
    reasons = [f"labelled {found.levels[code]!r}" for code in others] + ["without a label"]
    reason_of = np.full(len(found.levels) + 1, -1, np.int8)
    reason_of[others] = np.arange(len(others))
    reason_of[-1] = len(others)
    reason = reason_of[found.codes]
    if min_probability is not None:
        if not 0 < min_probability <= 1:
            raise InputError(f"{min_probability:g} is no probability", where=where, fix="give a number between 0 and 1")
        if probabilities is None:
            raise InputError(
                "the table holds no probabilities, and groups are to have a smallest one",
                where=table.source,
                fix="leave `min_probability` out, or give a table with `probabilities`",
            )
        # Somebody without probabilities is not sure enough.
        unsure = ~(probabilities.max(axis=1) >= min_probability)
        reason[(reason < 0) & unsure] = len(reasons)
        reasons.append(f"probability below {min_probability:g}")
    if not (reason < 0).any():
        raise InputError("nobody is in a group", where=where, fix="check the column, and `min_probability`")
    used = [code for code in range(len(reasons)) if (reason == code).any()]
    renumbered = np.full(len(reasons) + 1, -1, np.int8)
    renumbered[used] = np.arange(len(used))
    return labels, renumbered[reason], tuple(reasons[code] for code in used)


def _agreement(predicted: _Labels, classes: tuple[str, ...], probabilities: NDArray[np.float64]) -> float:
    """Share of people whose predicted class has the greatest probability."""
    known = (predicted.codes >= 0) & ~np.isnan(probabilities).any(axis=1)
    class_of = np.array([classes.index(level) if level in classes else -1 for level in predicted.levels], np.int64)
    known[known] = class_of[predicted.codes[known]] >= 0
    if not known.any():
        return 1.0
    own = probabilities[known, class_of[predicted.codes[known]]]
    return float((own >= probabilities[known].max(axis=1)).mean())


@dataclass(frozen=True)
class _Wanted:
    """Columns beside ids and labels that are read."""

    predicted: str | None
    list_of_probabilities: str | None
    of_class: dict[str, str]  # class: column of its probability
    list_of_components: str | None
    component: tuple[str, ...]  # columns pc1, pc2 …

    @classmethod
    def of(cls, table: RawTable, taken: set[str]) -> _Wanted:
        rest = [name for name in table.names if name not in taken]
        by_lower = {bare(name).lower(): name for name in reversed(table.names)}

        def first(names: tuple[str, ...]) -> str | None:
            return next((by_lower[name] for name in names if name in by_lower and by_lower[name] in rest), None)

        of_class = {match[1]: name for name in rest if (match := _PROBABILITY.fullmatch(name)) is not None}
        numbered = {int(match[1]): name for name in rest if (match := _COMPONENT.fullmatch(name)) is not None}
        whole = sorted(numbered) == list(range(1, len(numbered) + 1))
        return cls(
            by_lower.get(PREDICTED),
            first(PROBABILITIES),
            dict(sorted(of_class.items())),
            first(COMPONENTS),
            tuple(numbered[k] for k in sorted(numbered)) if whole else (),
        )

    @property
    def names(self) -> list[str]:
        lists = (self.predicted, self.list_of_probabilities, self.list_of_components)
        return [*(name for name in lists if name is not None), *self.of_class.values(), *self.component]

    def probabilities(
        self, table: RawTable, columns: dict[str, Any], labels: _Labels, missing: cells.MissingValues
    ) -> tuple[tuple[str, ...], NDArray[np.float64] | None]:
        """Classes and their probabilities."""
        if self.list_of_probabilities is not None:
            name = self.list_of_probabilities
            from allscan.phenotypes import list_cells

            values = list_cells.numbers(table, name, columns[name], missing)
            predicted = (
                labels if self.predicted is None else _labels(table, self.predicted, columns[self.predicted], missing)
            )
            seen = tuple(sorted(level for level in predicted.levels if level.lower() not in NO_GROUP))
            classes = seen if len(seen) == values.shape[1] else ()
            if len(ALL_OF_US) == values.shape[1] and set(seen) <= set(ALL_OF_US):
                classes = ALL_OF_US
        elif self.of_class:
            name = next(iter(self.of_class.values()))
            classes = tuple(self.of_class)
            values = _side_by_side(table, columns, list(self.of_class.values()), missing)
        else:
            return (), None
        total = values.sum(axis=1)
        wrong = (values < 0).any(axis=1) | (np.abs(total - 1) > 0.01)
        if wrong.any():
            raise InputError(
                "the probabilities of a person are not between 0 and 1, or do not add up to 1",
                where=table.where(int(np.argmax(wrong)), name),
                fix="correct the table, or remove the column",
            )
        return classes, values

    def components(
        self, table: RawTable, columns: dict[str, Any], missing: cells.MissingValues
    ) -> NDArray[np.float64] | None:
        """Components, if there are any."""
        if self.list_of_components is not None:
            from allscan.phenotypes import list_cells

            return list_cells.numbers(table, self.list_of_components, columns[self.list_of_components], missing)
        return _side_by_side(table, columns, self.component, missing) if self.component else None


def _side_by_side(
    table: RawTable, columns: dict[str, Any], names: Iterable[str], missing: cells.MissingValues
) -> NDArray[np.float64]:
    """Columns of numbers as a matrix."""
    out = []
    for name in names:
        values, bad = cells.numbers(columns[name], missing)
        if bad is not None:
            raise InputError(bad.what, where=table.where(bad.row, name), fix=bad.fix)
        out.append(values)
    return np.column_stack(out)
