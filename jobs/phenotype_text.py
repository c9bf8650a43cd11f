"""What is said of traits and their tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.phenotypes.phenotype import BINARY
from allscan.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allscan.phenotypes.build.build import Built
    from allscan.phenotypes.phenotype import Phenotype, Step

MOST_SHOWN = 60


def told_trait(trait: Phenotype) -> str:
    """A trait, step by step. The counts are for the analyst, small ones too."""
    title = f"{trait.name}  {trait.label}".rstrip()
    lines = [title, *_steps(trait.steps)]
    if trait.kind == BINARY:
        lines.append(f"{trait.cases:>12,}  cases")
        lines.append(f"{trait.n - trait.cases:>12,}  controls")
    else:
        units = f", {trait.units}" if trait.units else ""
        lines.append(f"{trait.n:>12,}  people with a value{units}")
    lines += [f"{'':>12}  note: {note}" for note in trait.notes]
    lines += [f"{'':>12}  warning: {warning}" for warning in trait.warnings]
    return printable("\n".join(lines)) + "\n"


def _steps(steps: Sequence[Step]) -> list[str]:
    """Who is left after each step, and who went; remarks about those who stay are set apart."""
    lines, left = [], 0
    for number, step in enumerate(steps):
        if step.kind == "filter":
            gone = f"  (−{left - step.people:,})" if number and step.people < left else ""
            lines.append(f"{step.people:>12,}  {step.what}{gone}")
            left = step.people
        else:
            lines.append(f"{step.people:>12,}    · {step.what}")
    return lines


def told_build(built: Built) -> str:
    """A table: people, traits, and what was wrong with the records."""
    facts = built.provenance
    records = facts["made_of"]["records"]
    lines = [
        f"table       {facts['name']}",
        f"records     {records['cdr']}, until {records['until']}",
        *_labelled("people", [f"{one['people']:>9,}  {one['what']}" for one in facts["accounting"]]),
        *_labelled("traits", _trait_lines(facts["traits"])),
        *_labelled("left out", _left_out(facts["left_out"])),
        *_labelled("covariates", [", ".join(one["name"] for one in facts["covariates"]) or "none"]),
        *_labelled("quality", [f"{one['rows']:>9,}  {one['table']}: {one['what']}" for one in facts["quality"]]),
        *_labelled("notes", facts["notes"]),
        f"digest      {facts['digest'][:16]}",
    ]
    if built.folder is not None:
        lines.append(f"folder      {built.folder.path}{' (was there, and still holds)' if built.already else ''}")
    return printable("\n".join(lines))


def _trait_lines(traits: list[dict[str, object]]) -> list[str]:
    width = max(len(str(trait["name"])) for trait in traits[:MOST_SHOWN])
    lines = []
    for trait in traits[:MOST_SHOWN]:
        counts = f"cases {trait['cases']:<9,} controls {trait['controls']:<9,}" if "cases" in trait else ""
        lines.append(f"{trait['name']:<{width}}  n {trait['n']:<9,} {counts} {trait['label']}".rstrip())
    if len(traits) > MOST_SHOWN:
        lines.append(f"… and {len(traits) - MOST_SHOWN:,} more")
    return lines


def _left_out(left_out: list[dict[str, object]]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for one in left_out:
        by_reason.setdefault(str(one["why"]), []).append(str(one["name"]))
    return [
        f"{len(names):>9,}  {why}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
        for why, names in by_reason.items()
    ]


def _labelled(label: str, lines: list[str]) -> list[str]:
    return [f"{label if i == 0 else '':<12}{line}" for i, line in enumerate(lines)]
