"""The report of a structure as one HTML page: everything inside, nothing loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.arrow import numbers, objects
from allscan.disclosure import FEW, HIDDEN, ToldCounts, is_small, merged_levels, suppressed_rows, told_count
from allscan.jobs.report.filling import Table, fill, tile
from allscan.jobs.structure.folder import EXCLUDED, GROUP, RELATED
from allscan.jobs.structure.report.discs import Disc, discs, frame, least_people

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.jobs.structure.folder import StructureFolder

HERE = Path(__file__).parent
MOST_PLOTS = 4
"""Pairs of components that are plotted."""
LEAST_RADIUS = 0.5
"""Per cent of a plot's side."""
NO_GROUP = "in no group"
EVERYBODY = "everybody"
COLOURS = 8
"""Colours of the pages' palette; more groups are spread over the circle of hues."""
DEGREES = (
    ("twins, or the same person twice", 2**-1.5, np.inf),
    ("first degree", 2**-2.5, 2**-1.5),
    ("second degree", 2**-3.5, 2**-2.5),
    ("third degree", 2**-4.5, 2**-3.5),
    ("farther", -np.inf, 2**-4.5),
)
"""Kinship coefficients of relatives (Manichaikul et al. 2010, 10.1093/bioinformatics/btq559, table 1)."""


class People(NamedTuple):
    """Everybody who is placed."""

    scores: NDArray[np.float64]  # (people, components)
    related: NDArray[np.bool_]  # (people,)
    code: NDArray[np.int64]  # (people,) index into labels
    labels: tuple[str, ...]  # of groups that are told; none is small


def render(folder: StructureFolder) -> str:
    """The page, as text."""
    facts = folder.provenance
    people = read_people(folder)
    return fill(
        "structure.html.j2",
        (),
        {"warnings": facts["warnings"]},
        folder=HERE,
        styles=("structure.css",),
        subject="structure report",
        with_document=False,
        title=folder.name,
        subtitle=_subtitle(facts),
        tiles=_tiles(folder, people),
        groups=list(_legend(people)),
        plots=[plot for k in range(0, _plotted(folder), 2) if (plot := _plot(people, folder.components, k))],
        scree=_scree(facts["components"]),
        few=FEW,
        accounting=_accounting(folder, people),
        provenance_rows=_provenance_rows(facts),
    )


def read_people(folder: StructureFolder) -> People:
    """Everybody who is placed, with groups that are told: the small ones together, or with the next larger one."""
    import pyarrow as pa

    table = folder.samples([EXCLUDED, RELATED, GROUP, *folder.components])
    table = table.filter(table[EXCLUDED].is_null())
    scores = np.column_stack([numbers(table[name], np.float64, np.nan) for name in folder.components])
    names = np.array([name or NO_GROUP for name in objects(table[GROUP].cast(pa.string()))], dtype=object)
    labels = [*folder.groups, NO_GROUP] if folder.groups else [EVERYBODY]
    number = {name: k for k, name in enumerate(labels)}
    code = np.array([number.get(name, 0) for name in names], np.int64)
    told = merged_levels(np.bincount(code, minlength=len(labels)))
    place = np.zeros(len(labels), np.int64)
    for at, group in enumerate(told):
        place[list(group)] = at
    shown = tuple(" or ".join(labels[k] for k in group) for group in told)
    related = np.array([bool(value) for value in objects(table[RELATED])])
    return People(scores, related, place[code], shown)


def _subtitle(facts: Mapping[str, Any]) -> str:
    built = str(facts["built"])[:16].replace("T", " ")
    return f"{facts['made_of']['keys']['genotypes']} · built {built} UTC"


def _tiles(folder: StructureFolder, people: People) -> list[dict[str, str]]:
    facts = folder.provenance
    return [
        tile("People", told_count(facts["people"]["placed"]), f"of {told_count(facts['people']['in_store'])}"),
        tile("Unrelated", told_count(int((~people.related).sum()))),
        tile("Markers", f"{facts['markers']['count']:,}"),
        tile("Components", f"{len(folder.components)}", f"{facts['components']['passes']} passes"),
        *([tile("Groups", f"{len(folder.groups)}")] if folder.groups else []),
    ]


def _plotted(folder: StructureFolder) -> int:
    """Components that are plotted, an even number."""
    return min(2 * MOST_PLOTS, len(folder.components) // 2 * 2)


def colour(k: int, count: int) -> str:
    """Colour of one of so many groups."""
    return f"var(--cat{k})" if count <= COLOURS else f"hsl({360 * k // count} 65% {(45, 58)[k % 2]}%)"


def _legend(people: People) -> Iterator[dict[str, str]]:
    counts = np.bincount(people.code, minlength=len(people.labels))
    for k, label in enumerate(people.labels):
        yield {"label": label, "count": told_count(int(counts[k])), "colour": colour(k, len(people.labels))}


def _plot(people: People, names: Sequence[str], first: int) -> dict[str, Any]:
    """Two components, as discs of each group."""
    x, y = people.scores[:, first], people.scores[:, first + 1]
    least = least_people(len(x))
    # The largest group first: the others lie upon it.
    order = np.argsort(-np.bincount(people.code, minlength=len(people.labels)), kind="stable").tolist()
    found = [(k, one) for k in order for one in _discs_of(people.code == k, x, y, least)]
    if not found:
        return {}
    shown = frame([one for _, one in found])
    width = shown.high[0] - shown.low[0]
    height = shown.high[1] - shown.low[1]
    return {
        "across": names[first].upper(),
        "up": names[first + 1].upper(),
        "discs": [
            {
                "x": f"{100 * shown.share(0, one.x):.2f}",
                "y": f"{100 - 100 * shown.share(1, one.y):.2f}",
                "rx": f"{max(100 * one.dx / width, LEAST_RADIUS):.2f}",
                "ry": f"{max(100 * one.dy / height, LEAST_RADIUS):.2f}",
                "colour": colour(k, len(people.labels)),
            }
            for k, one in found
        ],
        "least": least,
        "x_ticks": [(f"{100 * shown.share(0, value):.2f}", _number(value)) for value in shown.ticks(0)],
        "y_ticks": [(f"{100 - 100 * shown.share(1, value):.2f}", _number(value)) for value in shown.ticks(1)],
    }


def _discs_of(inside: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64], least: int) -> list[Disc]:
    # Where everybody together is a small group, or a group is smaller than a disc of a large plot.
    n = int(inside.sum())
    return [] if is_small(n) else discs(x[inside], y[inside], min(least, n))


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _scree(components: Mapping[str, Any]) -> list[dict[str, str]]:
    values, errors = components["eigenvalues"], components["error"]
    most = max(values, default=1.0)
    return [
        {
            "name": f"PC{k + 1}",
            "value": f"{value:,.4g}",
            "width": f"{100 * value / most:.1f}",
            "error": f"{error:.2g}",
        }
        for k, (value, error) in enumerate(zip(values, errors, strict=True))
    ]


def _accounting(folder: StructureFolder, people: People) -> list[Table]:
    facts = folder.provenance
    counts = ToldCounts(wholes=[facts["people"]["in_store"]])
    in_store = counts.tell(facts["people"]["in_store"])
    rows = [("in the genotypes", in_store)]
    rows += [(f"{reason}: left out", counts.tell(n)) for reason, n in facts["people"]["excluded"].items()]
    rows.append(("placed among the components", counts.tell(facts["people"]["placed"])))
    markers = [(reason, f"{n:,}") for reason, n in facts["markers"]["accounting"].items()]
    tables = [
        Table("People", ("", "People"), rows),
        Table("Variants", ("", "Variants"), markers),
        Table("Groups", ("", "People", "Unrelated", "Related"), _group_rows(people)),
        Table("Components within groups", ("", "Components", "Markers"), _within_rows(facts)),
        Table("Pairs of relatives", ("Kinship", "Pairs"), _pair_rows(folder)),
    ]
    return [table for table in tables if table.rows]


def _group_rows(people: People) -> list[tuple[str, ...]]:
    count = len(people.labels)
    cells = np.stack([np.bincount(people.code[people.related == r], minlength=count) for r in (False, True)], axis=1)
    hidden = suppressed_rows(cells)
    rows = []
    for k, label in enumerate(people.labels):
        told = hidden is not None and not hidden[k]
        parts = [f"{n:,}" for n in cells[k].tolist()] if told else [HIDDEN, HIDDEN]
        rows.append((label, told_count(int(cells[k].sum())), *parts))
    return rows


def _within_rows(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (group["name"], str(len(group["components"]["eigenvalues"])), f"{group['markers']:,}")
        if group["components"] is not None
        else (f"{group['name']}: {group['why']}", "none", HIDDEN)
        for group in facts["groups"]
    ]


def _pair_rows(folder: StructureFolder) -> list[tuple[str, str]]:
    kinship = numbers(folder.relatives_table(["Kinship"])["Kinship"], np.float64, np.nan)
    if not len(kinship):
        return []
    counts = ToldCounts([len(kinship)], wholes=[len(kinship)])
    rows = []
    for name, least, most in DEGREES:
        pairs = int(((kinship > least) & (kinship <= most)).sum())
        if pairs:
            rows.append((name, counts.tell(pairs)))
    return [("all", counts.tell(len(kinship))), *rows]


def _provenance_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    made_of = facts["made_of"]
    keys = {key: value for key, value in made_of["keys"].items() if value}
    rows = [
        ("Genotypes", f"{made_of['keys']['genotypes']}, fingerprint {made_of['genotypes']}"),
        *((f"SHA-256 of {role}", digest) for role, digest in made_of["files"].items()),
        *((key.replace("_", " "), ", ".join(_flat(value))) for key, value in keys.items() if key != "genotypes"),
        ("Digest of the structure", facts["digest"]),
        ("Built", f"{facts['built']} by allscan {facts['allscan']}"),
        *(("Note", note) for note in facts["notes"]),
    ]
    return [(name[:1].upper() + name[1:], value) for name, value in rows if value]


def _flat(value: Any, path: str = "") -> Iterator[str]:
    """A section as words."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path} {key}".strip())
    elif isinstance(value, list):
        yield f"{path}: {', '.join(str(inner) for inner in value) or 'none'}"
    elif value is not None:
        yield f"{path}: {value}" if path else str(value)
