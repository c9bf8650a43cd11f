"""What is said of a structure on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.structure.kinship import THIRD_DEGREE
from allscan.jobs.progress import format_bytes, format_seconds
from allscan.jobs.structure.build import held_memory, memory_limit
from allscan.kernels.packing import row_bytes
from allscan.printable import printable

if TYPE_CHECKING:
    from allscan.jobs.structure.build import Built
    from allscan.jobs.structure.inputs import Prepared


def told_check(prepared: Prepared) -> str:
    """What would be computed, of whom, and what it takes. The counts are for the analyst, small ones too."""
    spec, store = prepared.job.spec, prepared.store
    build = f", {store.reference_build}" if store.reference_build else ""
    n = len(prepared.people)
    rules = prepared.rules
    markers = [f"frequency at least {rules.min_maf:g}, at most {100 * rules.max_missing_rate:g} % of calls missing"]
    if rules.prune_r2 is not None:
        markers.append(f"r² at most {rules.prune_r2:g} within {rules.window_bp // 1000:,} kb")
    if rules.max_markers is not None:
        markers.append(f"at most {rules.max_markers:,}, evenly along the genome")
    markers += [f"none in {len(rules.exclude)} regions"] if rules.exclude else []
    packed = (rules.max_markers or store.n_variants) * row_bytes(n)
    within = spec.components.within_groups
    of_groups = within.count if within.count is not None else spec.components.count
    components = [f"{spec.components.count} of everybody"]
    if prepared.group_names and of_groups:
        components.append(f"{of_groups} within each group of at least {within.min_people:,} unrelated people")
    components += ["UMAP of the leading ones, for the report"] if spec.components.umap else []
    lines = [
        f"structure   {spec.name}",
        f"genotypes   {spec.genotypes}: {store.n_variants:,} variants × {store.n_samples:,} samples{build}",
        *_labelled("people", _people_lines(prepared)),
        *_labelled("markers", markers),
        *_labelled("components", components),
        *_labelled("groups", _group_lines(prepared)),
        *_labelled("notes", list(prepared.notes)),
        *_labelled("warnings", list(prepared.warnings)),
        f"memory      {format_bytes(held_memory(prepared))} beside the tasks; {format_bytes(memory_limit(prepared))} "
        "allowed",
        f"disk        up to {format_bytes(packed)} for a while",
        f"digest      {prepared.digest}",
    ]
    if prepared.built() is not None:
        lines.append(f"output      {spec.output} (is there, and holds)")
    else:
        lines.append(f"output      {spec.output}")
    return printable("\n".join(lines))


def _people_lines(prepared: Prepared) -> list[str]:
    reasons = [reason for reason in prepared.excluded.tolist() if reason is not None]
    lines = [f"{prepared.store.n_samples:>9,}  in the genotypes"]
    lines += [f"{reasons.count(reason):>9,}  left out: {reason}" for reason in dict.fromkeys(reasons)]
    lines.append(f"{len(prepared.people):>9,}  looked at")
    if prepared.pairs is not None:
        close = prepared.pairs.value > 2 * (prepared.job.spec.relatives.max_kinship or THIRD_DEGREE)
        related = len(np.unique(np.concatenate([prepared.pairs.first[close], prepared.pairs.second[close]])))
        lines.append(f"{related:>9,}  of these have relatives, in {int(close.sum()):,} pairs")
    return lines


def _group_lines(prepared: Prepared) -> list[str]:
    if prepared.reference is not None:
        return [f"{len(prepared.group_names)}, learned from {len(prepared.reference.people):,} people of the reference"]
    if prepared.groups is None:
        return ["none"]
    return [f"{one.count:>9,}  {one.reason}" for one in prepared.groups.counts]


def told_built(built: Built) -> str:
    """A structure: people, markers, components, groups."""
    facts = built.folder.provenance
    people, components, relatives = facts["people"], facts["components"], facts["relatives"]
    total = sum(components["eigenvalues"])
    shares = ", ".join(f"{value:.3g}" for value in components["eigenvalues"][:5])
    lines = [
        f"structure   {facts['name']}",
        *_labelled(
            "people",
            [
                f"{people['in_store']:>9,}  in the genotypes",
                *(f"{count:>9,}  left out: {reason}" for reason, count in people["excluded"].items()),
                f"{people['left']:>9,}  left for scans",
                f"{people['placed'] - people['related']:>9,}  unrelated, who define the components",
            ],
        ),
        *_labelled("quality", _variant_lines((facts["quality"] or {}).get("variants", {}))),
        *_labelled("markers", _variant_lines(facts["markers"]["accounting"])),
        f"relatives   {relatives['pairs']:>9,}  pairs with a kinship above {relatives['max_kinship']:.3g}",
        f"components  {len(components['eigenvalues'])}, in {components['passes']} passes; eigenvalues {shares} …"
        if total
        else "components  none",
        *_labelled("groups", [_told_group(group) for group in facts["groups"]]),
        *_labelled("notes", facts["notes"]),
        *_labelled("warnings", facts["warnings"]),
        *_labelled("time", [f"{format_seconds(took):>9}  {name}" for name, took in facts["seconds"].items()]),
        f"digest      {facts['digest']}",
        f"folder      {built.folder.path}{' (was there, and still holds)' if built.already else ''}",
    ]
    return printable("\n".join(lines))


def _variant_lines(counts: dict[str, int]) -> list[str]:
    return [f"{count:>9,}  {reason}" for reason, count in counts.items()]


def _told_group(group: dict[str, object]) -> str:
    own = group["components"]
    told = f"{group['people']:>9,}  {group['name']}"
    if isinstance(own, dict):
        return f"{told}: {len(own['eigenvalues'])} components of its own, from {group['markers']:,} markers"
    return f"{told}: no components of its own: {group['why']}"


def _labelled(label: str, lines: list[str]) -> list[str]:
    return [f"{label if i == 0 else '':<12}{line}" for i, line in enumerate(lines)]
