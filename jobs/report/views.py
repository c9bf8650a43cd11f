"""The analyses that a run holds of each trait: everybody, each group of a stratification, and their meta-analysis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allscan.engine.design import POOLED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allscan.jobs.result_source import ResultSource


@dataclass(frozen=True)
class NotScanned:
    """A group that has no results of its own, for all traits or for one."""

    group: str
    reason: str
    n: int | None = None  # people; None where it is not told
    trait: str = ""  # empty: all


@dataclass(frozen=True)
class Grouping:
    """A stratification as the results hold it."""

    name: str
    groups: tuple[str, ...]  # names, without that of the stratification
    strata: tuple[int, ...]  # of each group: its stratum in the results
    meta: int | None  # its meta-analysis, in the results of meta-analyses
    people: tuple[int | None, ...] = ()  # of each group, who are analysed; None where it is not told
    not_scanned: tuple[NotScanned, ...] = ()
    in_no_group: int | None = None  # people; None where it is not told

    @property
    def stratum_names(self) -> tuple[str, ...]:
        """Names of the groups' strata."""
        return tuple(f"{self.name}={group}" for group in self.groups)


@dataclass(frozen=True)
class Views:
    """How the strata of a run belong together."""

    pooled: int | None  # stratum of everybody
    groupings: tuple[Grouping, ...]


def views_of(source: ResultSource, meta: ResultSource | None, provenance: Mapping[str, Any]) -> Views:
    """How the strata of a run belong together, by its provenance; without one, by their names.

    Parameters
    ----------
    source
        Results of the scan.
    meta
        Of the meta-analyses; None without any.
    provenance
        The document, or an empty one.
    """
    place = {name: number for number, name in enumerate(source.strata)}
    metas = () if meta is None else meta.strata
    told = {str(one["name"]): one for one in provenance.get("stratifications", ())}
    names = dict.fromkeys([*told, *(name.partition("=")[0] for name in source.strata if "=" in name), *metas])
    found = []
    for name in names:
        described = told.get(name, {})
        groups = [stratum.removeprefix(f"{name}=") for stratum in source.strata if stratum.startswith(f"{name}=")]
        found.append(
            Grouping(
                name,
                tuple(groups),
                tuple(place[f"{name}={group}"] for group in groups),
                metas.index(name) if name in metas else None,
                tuple(_people(described, group) for group in groups),
                tuple(_not_scanned(described.get("groups", ()))),
                described.get("in_no_group"),
            )
        )
    return Views(place.get(POOLED), tuple(found))


def _people(described: Mapping[str, Any], group: str) -> int | None:
    told: list[int | None] = [one.get("analysed") for one in described.get("groups", ()) if one["group"] == group]
    return told[0] if told else None


def _not_scanned(groups: Sequence[Mapping[str, Any]]) -> list[NotScanned]:
    lines = []
    for group in groups:
        name = str(group["group"])
        if group.get("stratum") is None:
            lines.append(NotScanned(name, str(group.get("reason") or ""), group.get("analysed")))
            continue
        lines += [
            NotScanned(name, str(left_out["reason"]), trait=str(left_out["trait"]))
            for left_out in group.get("traits_not_scanned", ())
        ]
    return lines
