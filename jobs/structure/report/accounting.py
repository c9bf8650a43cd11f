"""What became of people, variants and pairs, as tables that tell no small count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.arrow import numbers, objects
from allscan.disclosure import HIDDEN, ToldCounts, is_small, suppressed_rows, told_count
from allscan.engine.structure.relatives_file import WORDS
from allscan.jobs.report.filling import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.jobs.structure.folder import StructureFolder
    from allscan.jobs.structure.report.people import People

DEGREES = (
    ("duplicates or twins", 2**-1.5, np.inf),
    ("first degree", 2**-2.5, 2**-1.5),
    ("second degree", 2**-3.5, 2**-2.5),
    ("third degree", 2**-4.5, 2**-3.5),
    ("distant", -np.inf, 2**-4.5),
)
"""Kinship coefficients of relatives (Manichaikul et al. 2010, 10.1093/bioinformatics/btq559, table 1)."""


def accounting(folder: StructureFolder, people: People, counts: ToldCounts) -> list[Table]:
    """The tables that there are.

    Parameters
    ----------
    counts
        What the reader knows of people.
    """
    facts = folder.provenance
    found = [
        _people(facts, counts),
        Table("Groups", ("", "People", "Unrelated", "Related"), _by_group(people, people.related)),
        Table("Left out, by group", ("", "People", "Left", "Left out"), _left_out(people)),
        Table("Components within groups", ("", "Components", "Markers"), _within(facts)),
        Table("Pairs of relatives", ("", "Pairs"), _pairs(folder)),
        Table("Markers", ("", "Variants"), _variants(facts["markers"]["accounting"])),
        *_quality(facts["quality"]),
        *_confusion(facts),
        *_shares(people),
    ]
    return [table for table in found if table.rows]


def _variants(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(reason, f"{n:,}") for reason, n in counts.items()]


def _people(facts: Mapping[str, Any], counts: ToldCounts) -> Table:
    people = facts["people"]
    rows = [("in the genotypes", counts.tell(people["in_store"])), ("left for scans", counts.tell(people["left"]))]
    rows += [(f"left out: {reason}", counts.tell(n)) for reason, n in people["excluded"].items()]
    rows += [(reason, counts.tell(n)) for reason, n in facts["groups_accounting"].items() if reason.startswith("in no")]
    return Table("People", ("", "People"), rows)


def _by_group(people: People, second: NDArray[np.bool_]) -> list[tuple[str, ...]]:
    """People of each group who are left, in all and in two classes."""
    return _halves(people, people.own_code, second)


def _left_out(people: People) -> list[tuple[str, ...]]:
    # Those who are left are told above, so that the sum of a row would tell the rest.
    return [] if people.left.all() else _halves(people, people.code, ~people.left, with_sums=False)


def _halves(
    people: People, code: NDArray[np.int64], second: NDArray[np.bool_], *, with_sums: bool = True
) -> list[tuple[str, ...]]:
    count = len(people.labels)
    cells = np.stack([np.bincount(code[second == which], minlength=count) for which in (False, True)], axis=1)
    hidden = suppressed_rows(cells)
    rows = []
    for k, label in enumerate(people.labels):
        told = hidden is not None and not hidden[k]
        parts = [f"{n:,}" for n in cells[k].tolist()] if told else [HIDDEN, HIDDEN]
        rows.append((label, told_count(int(cells[k].sum())) if told or with_sums else HIDDEN, *parts))
    return rows


def _within(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (group["name"], str(len(group["components"]["eigenvalues"])), f"{group['markers']:,}")
        if group["components"] is not None
        else (f"{group['name']}: {group['why']}", "none", HIDDEN)
        for group in facts["groups"]
    ]


def _pairs(folder: StructureFolder) -> list[tuple[str, str]]:
    table = folder.relatives_table()
    kinship = numbers(table["kinship"], np.float64, np.nan)
    if not len(kinship):
        return []
    if "relationship" in table.column_names:
        kinds = objects(table["relationship"])
        found = [(word, int((kinds == word).sum())) for word in reversed(WORDS.values())]
    else:
        found = [(name, int(((kinship > least) & (kinship <= most)).sum())) for name, least, most in DEGREES]
    counts = ToldCounts(wholes=[len(kinship)])
    return [("all", counts.tell(len(kinship))), *((name, counts.tell(n)) for name, n in found if n)]


def _quality(facts: Mapping[str, Any] | None) -> Sequence[Table]:
    if facts is None:
        return ()
    counts = ToldCounts()
    outliers = [(name, counts.tell(n)) for name, n in facts["outliers"].items()]
    counts = ToldCounts(wholes=[sum(facts["sex_check"].values())])
    sexes = [(name.replace("_", " "), counts.tell(n)) for name, n in facts["sex_check"].items() if n]
    return (
        Table("Quality of variants", ("", "Variants"), _variants(facts["variants"])),
        Table("Outliers, by metric", ("", "People"), outliers),
        Table("Sex chromosomes and reported sex", ("", "People"), sexes),
    )


def _confusion(facts: Mapping[str, Any]) -> Sequence[Table]:
    """How a forest that did not see them groups the people of the reference."""
    if facts["confusion"] is None:
        return ()
    names = [group["name"] for group in facts["groups"]]
    rows = [(name, *(told_count(n) for n in counts)) for name, counts in zip(names, facts["confusion"], strict=True)]
    return (Table("The reference when left out", ("Group", *names, "none"), rows),)


def _shares(people: People) -> Sequence[Table]:
    """Means of shares of ancestry and the like, in groups that are told."""
    if not people.numbers:
        return ()
    rows = []
    for k, label in enumerate(people.labels):
        inside = people.own_code == k
        rows.append((label, *(_mean(values[inside]) for values in people.numbers.values())))
    return (Table("Means", ("", *people.numbers), rows),)


def _mean(values: NDArray[np.float64]) -> str:
    known = values[~np.isnan(values)]
    return HIDDEN if is_small(len(known)) or not len(known) else f"{known.mean():.3f}"
