"""The page's section on fairness: every group beside the others, in plain numbers, without small counts of people."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from allscan.disclosure import FEW, HIDDEN, ToldCounts, is_small, told_count, told_parts
from allscan.jobs.report.fairness import POWER, REFERENCE_FREQUENCY, REFERENCE_ODDS, REFERENCE_SHARE
from allscan.jobs.report.filling import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from allscan.jobs.report.views import Grouping, Views

EVERYBODY = "everybody, pooled"
NONE = "–"


def section(
    rows: Mapping[tuple[int, str], Sequence[Mapping[str, Any]]],
    views: Views,
    analysed: int,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Tables and words about each stratification.

    Parameters
    ----------
    rows
        Of :func:`allscan.jobs.report.fairness.fairness_rows`.
    views
        How the strata belong together.
    analysed
        People of the run.
    provenance
        The document, of :func:`without_small_groups`.
    """
    described = {one["name"]: one for one in provenance.get("stratifications", ())}
    groupings = []
    for number, grouping in enumerate(views.groupings):
        of_traits = [row for (which, _), some in rows.items() if which == number for row in some]
        groupings.append(
            {
                "name": grouping.name,
                "words": _words(grouping, analysed, is_pooled=views.pooled is not None),
                "tables": _tables(grouping, analysed, of_traits, described.get(grouping.name, {})),
            }
        )
    return {
        "groupings": groupings,
        "power": f"{POWER:.0%}".replace("%", " %"),
        "share": f"{REFERENCE_SHARE * 100:g} %",
        "odds": f"{REFERENCE_ODDS:g}",
        "frequency": f"{REFERENCE_FREQUENCY * 100:g} %",
    }


def _tables(
    grouping: Grouping, analysed: int, rows: Sequence[Mapping[str, Any]], described: Mapping[str, Any]
) -> list[tuple[Table, int]]:
    """Tables of a stratification, and how many columns of each, after the first, hold numbers."""
    tables = (
        (_people(grouping, analysed), 2),
        (_left_out(grouping.name, described.get("groups", ())), 1),
        (_groups(grouping, rows) if rows else None, 11),
        (_traits_not_scanned(grouping), 0),
    )
    return [(table, numbers) for table, numbers in tables if table is not None]


def article_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a trait as its article shows them: small counts, and what they follow from, are not told."""
    people = ("people", "cases", "controls")
    shown = []
    for row in rows:
        few = any(is_small(row[name]) for name in people if row.get(name) is not None)
        counts = {
            name: None if row.get(name) is None else FEW if is_small(row[name]) else HIDDEN if few else f"{row[name]:,}"
            for name in people
        }
        hidden = {"share": None, "effective_n": None} if few else {}
        reason = row.get("reason")
        shown.append({**row, **counts, **hidden, "reason": None if reason is None else _without_small(reason)})
    return shown


def without_small_groups(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance document whose stratifications tell no small count of people."""
    samples = provenance.get("samples", {})
    told = []
    for one in provenance.get("stratifications", ()):
        groups = one["groups"]
        numbers = [*(group["analysed"] for group in groups), one["in_no_group"]]
        analysed = _told_of(numbers, samples.get("analysed", 0))
        members = _told_of([group.get("in_genotypes", 0) for group in groups], samples.get("in_genotypes", 0))
        left_out = _told_left_out(groups, samples.get("accounting", ()))
        shown = [
            {
                **group,
                "analysed": analysed[k],
                **(
                    {
                        "in_genotypes": members[k] if _is_told(group, analysed[k], left_out[k]) else HIDDEN,
                        "left_out": left_out[k],
                    }
                    if "left_out" in group
                    else {}
                ),
                "reason": None if group["reason"] is None else _without_small(group["reason"]),
                "traits_not_scanned": [
                    {**line, "reason": _without_small(line["reason"])} for line in group["traits_not_scanned"]
                ],
            }
            for k, group in enumerate(groups)
        ]
        told.append({**one, "in_no_group": analysed[-1], "groups": shown})
    if not told:
        return dict(provenance)
    words = {key: [_without_small(str(text)) for text in provenance.get(key, ())] for key in ("notes", "warnings")}
    return {**provenance, "stratifications": told, **words}


def _told_of(counts: Sequence[int], whole: int) -> list[int | str]:
    """Counts of parts of a whole that is known: themselves, or what is told in their place.

    What is left of the whole is another part; where it is small, it must not follow from the others.
    """
    rest = max(whole - sum(counts), 0)
    texts = told_parts([*counts, rest] if is_small(rest) else counts)
    return [count if text == f"{count:,}" else text for count, text in zip(counts, texts, strict=False)]


def _told_left_out(
    groups: Sequence[Mapping[str, Any]], accounting: Sequence[Mapping[str, Any]]
) -> list[list[dict[str, Any]]]:
    """Why people of each group are not analysed in it, and how many of them, as far as it may be told.

    How many everybody's scan leaves out for a reason is known, and so is what is left of it for other groups.
    """
    told: list[list[dict[str, Any]]] = [[] for _ in groups]
    for reason in dict.fromkeys(line["reason"] for group in groups for line in group.get("left_out", ())):
        counts = [
            sum(line["count"] for line in group.get("left_out", ()) if line["reason"] == reason) for group in groups
        ]
        # Of everybody, a detail may follow.
        of_all = [line["count"] for line in accounting if f"{line['reason']} (".startswith(f"{reason} (")]
        for lines, count, number in zip(told, _told_of(counts, sum(of_all)), counts, strict=True):
            if number:
                lines.append({"reason": reason, "count": count})
    return told


def _is_told(group: Mapping[str, Any], analysed: int | str, left_out: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the people of a group can be told: with who is analysed, it tells who is left out."""
    parts = [analysed, *(line["count"] for line in left_out)]
    return all(isinstance(part, int) for part in parts) and not is_small(group["in_genotypes"] - sum(parts))


def _without_small(reason: str) -> str:
    return ToldCounts().tell_text(reason)


def _members(grouping: Grouping) -> list[tuple[str, int | None, str]]:
    """Every group, people, and why it is not scanned."""
    scanned = [(name, n, "") for name, n in zip(grouping.groups, grouping.people, strict=True)]
    return scanned + [(one.group, one.n, one.reason) for one in grouping.not_scanned if not one.trait]


def _told(grouping: Grouping, analysed: int) -> dict[str, str]:
    """People of each group, and of none (an empty name), as they may be told."""
    known = {name: n for name, n, _ in _members(grouping) if n is not None}
    if grouping.in_no_group is not None:
        known[""] = grouping.in_no_group
    return dict(zip(known, map(_count, _told_of(list(known.values()), analysed)), strict=True))


def _people(grouping: Grouping, analysed: int) -> Table | None:
    """Who is in which group, and what becomes of them."""
    told = _told(grouping, analysed)
    if not told:
        return None
    lines = []
    for name, n, reason in [*_members(grouping), ("", grouping.in_no_group, "in no group")]:
        if n is None or (not name and not n):
            continue
        count = told[name]
        share = f"{n / analysed * 100:.1f} %" if analysed and count == f"{n:,}" else NONE
        lines.append((name or "in no group", count, share, _fate(name, reason)))
    return Table(f"People by {grouping.name}", ("Group", "People", "Share", "Scanned by themselves"), lines)


def _left_out(name: str, groups: Sequence[Mapping[str, Any]]) -> Table | None:
    """Who has genotypes and is not analysed in their group, of a document without small counts."""
    lines = []
    for group in groups:
        why = [
            f"{'some' if line['count'] == HIDDEN else _count(line['count'])} {line['reason']}"
            for line in group.get("left_out", ())
        ]
        if why:
            lines.append((str(group["group"]), _count(group["in_genotypes"]), "; ".join(why)))
    return Table(f"People left out, by {name}", ("Group", "With genotypes", "Left out"), lines) if lines else None


def _count(told: int | str) -> str:
    return told if isinstance(told, str) else f"{told:,}"


def _fate(name: str, reason: str) -> str:
    if not name:
        return "no: in the pooled scan only"
    return f"no: {_without_small(reason)}" if reason else "yes"


def _words(grouping: Grouping, analysed: int, *, is_pooled: bool) -> str:
    """Who is seen where, in words."""
    left_out = [one.group for one in grouping.not_scanned if not one.trait]
    sentences = []
    outside = _told(grouping, analysed).get("", "0")
    if analysed and outside != "0":
        some = "some" if outside == HIDDEN else outside
        sentences.append(f"Of {told_count(analysed)} people analysed, {some} are in no group.")
    words = f"{len(grouping.groups)} of {len(grouping.groups) + len(left_out)} groups are scanned by themselves"
    sentences.append(f"{words}; not {', '.join(left_out)}." if left_out else f"{words}.")
    if is_pooled:
        sentences.append("Everybody is in the pooled scan.")
    elif left_out or outside != "0":
        sentences.append("There is no pooled scan: people of no scanned group are in no result.")
    return " ".join(sentences)


def _groups(grouping: Grouping, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Every group over all traits: medians and sums."""
    pooled = [row for row in rows if row["analysis"] == "pooled"]
    lines = []
    for name, some in (
        (EVERYBODY, pooled),
        *((group, [row for row in rows if row["group"] == group]) for group in grouping.groups),
        ("meta-analysis of the groups", [row for row in rows if row["analysis"] == "meta"]),
    ):
        scanned = [row for row in some if row.get("people") is not None]
        if not scanned:
            continue
        is_group = name in grouping.groups
        lines.append(
            (
                name,
                f"{len(scanned):,}",
                _median(scanned, "effective_n", lambda value: f"{value:,.0f}"),
                _median(scanned, "variants_tested", lambda value: f"{value:,.0f}"),
                _median(scanned, "variants_only_here", lambda value: f"{value:,.0f}"),
                _median(scanned, "inflation", lambda value: f"{value:.3f}"),
                _median(scanned, "power", _chance),
                _ratio(scanned, pooled),
                _median(scanned, "error_ratio", lambda value: f"{value:.2f}"),
                _sum(scanned, "loci"),
                f"{_sum(scanned, 'loci_gained')} / {_sum(scanned, 'loci_gained_agreeing')}" if is_group else NONE,
                _sum(scanned, "loci_differing"),
            )
        )
    heads = (
        *("Analysis", "Traits", "Effective size", "Variants tested", "only here", "λ", "Power"),
        *("Smallest effect ×", "SE ×", "Loci found", "gained / agree", "differ"),
    )
    return Table(f"What each group has, by {grouping.name}", heads, lines)


def _chance(value: float) -> str:
    return "< 0.01" if value < 0.01 else f"{value:.2f}"


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) is not None]


def _median(rows: Sequence[Mapping[str, Any]], name: str, told: Callable[[float], str]) -> str:
    values = _values(rows, name)
    if name == "effective_n" and any(is_small(row[key]) for row in rows for key in _PEOPLE if row.get(key) is not None):
        return HIDDEN
    return told(median(values)) if values else NONE


_PEOPLE = ("people", "cases", "controls")


def _ratio(rows: Sequence[Mapping[str, Any]], pooled: Sequence[Mapping[str, Any]]) -> str:
    """Smallest detectable effect over everybody's, median over traits: it has no unit."""
    name = f"smallest_effect_{REFERENCE_FREQUENCY:g}"
    whole = {row["trait"]: row.get(name) for row in pooled}
    ratios = [row[name] / whole[row["trait"]] for row in rows if row.get(name) and whole.get(row["trait"])]
    return f"{median(ratios):.2f}" if ratios else NONE


def _sum(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    values = _values(rows, name)
    return f"{sum(values):,.0f}" if values else NONE


def _traits_not_scanned(grouping: Grouping) -> Table | None:
    lines = [(one.trait, one.group, _without_small(one.reason)) for one in grouping.not_scanned if one.trait]
    if not lines:
        return None
    return Table(f"Traits that are not scanned in a group of {grouping.name}", ("Trait", "Group", "Why"), lines)
