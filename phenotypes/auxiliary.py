"""Finding the tables that accompany the genotypes of All of Us, whose names begin differently in every release.

``ancestry_preds.tsv`` of one release is ``echo_v4_r2.ancestry_preds.tsv`` of the next, and the metrics carry a date: a
table is known by how its name ends. Only a few folders are listed, never a tree: beside the tables stand millions of
objects of genotypes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allscan.errors import InputError
from allscan.phenotypes.names import listed
from allscan.storage import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allscan.storage import Place

_TABLE = r"(?:tsv|csv|txt|parquet)(?:\.b?gz|\.bz2|\.zst)?"
_ROOTS = ("", "aux", "wgs/short_read/snpindel/aux")
"""From a folder of tables of one kind; from ``snpindel``; and from what ``CDR_STORAGE_PATH`` names."""


@dataclass(frozen=True)
class _Kind:
    title: str
    ending: str  # of the name, for people
    pattern: re.Pattern[str]  # of the whole name
    folder: str  # that All of Us keeps it in


def _kind(title: str, folder: str, stem: str, ending: str, *, before: str = r"(?:.*[._-])?") -> _Kind:
    return _Kind(title, ending, re.compile(before + stem, re.IGNORECASE), folder)


KINDS = {
    "ancestry_preds": _kind("predicted ancestries", "ancestry", rf"ancestry_preds\.{_TABLE}", "ancestry_preds.tsv"),
    "relatedness": _kind("pairs of relatives", "relatedness", rf"relatedness\.{_TABLE}", "relatedness.tsv"),
    "relatedness_flagged_samples": _kind(
        "relatives to leave out",
        "relatedness",
        rf"relatedness_flagged_samples\.{_TABLE}",
        "relatedness_flagged_samples.tsv",
    ),
    "flagged_samples": _kind(
        "samples flagged by quality control",
        "qc",
        rf"flagged_samples\.{_TABLE}",
        "flagged_samples.tsv",
        before=r"(?!.*relatedness)(?:.*[._-])?",
    ),
    "all_samples": _kind("quality of all samples", "qc", rf"all_samples\.{_TABLE}", "all_samples.tsv"),
    "genomic_metrics": _kind(
        "metrics of sequencing", "qc", rf"genomics?_metrics(?:[._-].*)?\.{_TABLE}", "genomic_metrics.tsv"
    ),
    "admixture": _kind("estimates of admixture", "admixture_estimates", r"\.Q(?:\.b?gz)?", ".Q", before=".+"),
}
"""Tables that can be found."""


def find_auxiliary(place: str | Place, kind: str) -> Place:
    """Find a table of All of Us.

    Parameters
    ----------
    place
        The table itself, whatever its name (a file, or a folder of Parquet part files); the beginning of its path
        (``…/aux/ancestry/echo_v4_r2``); the folder that it is in; or one above: ``…/aux``, ``…/snpindel``, or what
        ``CDR_STORAGE_PATH`` names.
    kind
        Of :data:`KINDS`.

    Raises
    ------
    InputError
        There is no such table, or more than one.
    """
    place = place_of(place)
    wanted = KINDS[kind]
    if place.is_file():
        return place
    found = list(dict.fromkeys(_matches(place, wanted)))
    if not found and not place.is_dir():
        begins = place.name
        found = [one for one in _listed(place.parent) if one.name.startswith(begins) and _is(one, wanted)]
    if len(found) == 1:
        return found[0]
    if not found and any(one.suffix == ".parquet" for one in _listed(place)):
        return place  # a table of part files
    if found:
        raise InputError(
            f"more than one table could be the {wanted.title}: {listed(one.name for one in found)}",
            where=str(place),
            fix="name the table itself",
        )
    looked = ", ".join(dict.fromkeys(f"{root}/{wanted.folder}".lstrip("/") for root in _ROOTS))
    raise InputError(
        f"there is no table of {wanted.title} here: no name ends in {wanted.ending!r}",
        where=str(place),
        fix=f"name the table, its folder, or a folder above that has it in {looked}",
    )


def _matches(place: Place, wanted: _Kind) -> Iterator[Place]:
    for root in _ROOTS:
        above = place.joinpath(*root.split("/")) if root else place
        for folder in (above, above / wanted.folder):
            yield from (one for one in _listed(folder) if _is(one, wanted))


def _is(place: Place, wanted: _Kind) -> bool:
    # A folder of Parquet part files is a table, too.
    return wanted.pattern.fullmatch(place.name) is not None


def _listed(folder: Place) -> list[Place]:
    """What is directly in a folder, in order; nothing where there is no folder."""
    return sorted(folder.iterdir(), key=lambda one: one.name) if folder.is_dir() else []
