"""The report of a structure as one HTML page: everything inside, nothing loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.disclosure import FEW, ToldCounts, is_small, told_count
from allscan.jobs.report.filling import fill, tile
from allscan.jobs.structure.folder import SHOWN_COMPONENTS
from allscan.jobs.structure.report.accounting import accounting
from allscan.jobs.structure.report.discs import Disc, discs, frame, least_people
from allscan.jobs.structure.report.people import People, read_people

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from allscan.jobs.structure.folder import StructureFolder

HERE = Path(__file__).parent
LEAST_RADIUS = 0.5
"""Per cent of a plot's side."""
COLOURS = 8
"""Colours of the pages' palette; more groups are spread over the circle of hues."""


def render(folder: StructureFolder) -> str:
    """The page, as text."""
    facts = folder.provenance
    people = read_people(folder)
    counts = ToldCounts(wholes=[facts["people"]["in_store"]])
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
        tiles=_tiles(folder, counts),
        groups=list(_legend(people)),
        plots=list(_plots(folder, people)),
        umap=(facts["umap"] or {}).get("components"),
        scree=_scree(facts["components"]),
        few=FEW,
        accounting=accounting(folder, people, counts),
        provenance_rows=_provenance_rows(facts),
    )


def _subtitle(facts: Mapping[str, Any]) -> str:
    built = str(facts["built"])[:16].replace("T", " ")
    return f"{facts['made_of']['keys']['genotypes']} · built {built} UTC"


def _tiles(folder: StructureFolder, counts: ToldCounts) -> list[dict[str, str]]:
    facts = folder.provenance
    people = facts["people"]
    in_store, left = counts.tell(people["in_store"]), counts.tell(people["left"])
    return [
        tile("People", left, f"of {in_store}"),
        tile("Unrelated", counts.tell(people["placed"] - people["related"])),
        tile("Markers", f"{facts['markers']['count']:,}"),
        tile("Components", f"{len(folder.components)}", f"{facts['components']['passes']} passes"),
        *([tile("Groups", f"{len(folder.groups)}")] if folder.groups else []),
    ]


def _plotted(folder: StructureFolder) -> int:
    """Components that are plotted, an even number."""
    return min(SHOWN_COMPONENTS, len(folder.components)) // 2 * 2


def colour(k: int, count: int) -> str:
    """Colour of one of so many groups."""
    return f"var(--cat{k})" if count <= COLOURS else f"hsl({360 * k // count} 65% {(45, 58)[k % 2]}%)"


def _legend(people: People) -> Iterator[dict[str, str]]:
    counts = np.bincount(people.own_code, minlength=len(people.labels))
    for k, label in enumerate(people.labels):
        yield {"label": label, "count": told_count(int(counts[k])), "colour": colour(k, len(people.labels))}


def _plots(folder: StructureFolder, people: People) -> Iterator[dict[str, Any]]:
    """Components two by two, and UMAP."""
    names = [name.upper() for name in folder.components]
    pairs = [(names[k : k + 2], people.scores[:, k : k + 2]) for k in range(0, _plotted(folder), 2)]
    if people.plane is not None:
        pairs.append((["UMAP1", "UMAP2"], people.plane))
    for (across, up), places in pairs:
        if plot := _plot(people, *places.T):
            yield {"across": across, "up": up, **plot}


def _plot(people: People, x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, Any]:
    """Discs of each group."""
    least = least_people(len(x))
    # The largest group first: the others lie upon it.
    order = np.argsort(-np.bincount(people.own_code, minlength=len(people.labels)), kind="stable").tolist()
    found = [(k, one) for k in order for one in _discs_of(people.own_code == k, x, y, least)]
    if not found:
        return {}
    shown = frame([one for _, one in found])
    width = shown.high[0] - shown.low[0]
    height = shown.high[1] - shown.low[1]
    return {
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
