"""The report of a meta-analysis: that of a scan, with its studies and what each says of the lead variants."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from allscan.engine.meta.cube import MetaCube
from allscan.engine.meta.files import META_HITS
from allscan.jobs.report import PROVENANCE, REPORT
from allscan.jobs.report.filling import Table, tile
from allscan.jobs.report.forest import forest_of_hit, forest_section
from allscan.jobs.report.genome import read_genome
from allscan.jobs.report.page import STATUS_TEXT, accounting, render, status_counts
from allscan.jobs.report.panels import Panel, ReportOptions, make_panels
from allscan.jobs.result_source import of_binary_traits
from allscan.jobs.run_folder import writing
from allscan.kernels.association import Status
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from allscan.jobs.meta.spec import MetaReportSection
    from allscan.jobs.report.forest import Forest

TEXTS = STATUS_TEXT | {
    Status.OK: "combined",
    Status.FILTERED: "too few studies, or too little in them",
    Status.NOT_TESTED: "in no study of the set",
}
HEADS = (
    *("Study", "Ancestry", "N", "Cases", "Format", "Rows", "Variants", "Alone", "Turned", "Flipped"),
    *("Left out", "Far frequencies", "λ"),
)


def write_meta_report(folder: Path, section: MetaReportSection) -> Path:
    """Write ``report.html`` of a meta-analysis that is complete.

    Parameters
    ----------
    folder
        Of the meta-analysis.
    section
        What is shown.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    provenance = json.loads((folder / PROVENANCE).read_bytes())
    cube = MetaCube(folder)
    options = ReportOptions(section.significance, section.lead_window_kb)
    genome = read_genome(cube)
    panels = make_panels(cube, genome, options)
    told = {study["name"]: study.get("ancestry") or "" for study in provenance["meta"]["studies"]}
    forests = lead_forests(folder, cube, panels, section.forests, told)
    studies = provenance["studies"]
    people = sum(study["most_n"] or 0 for study in studies)
    page = render(
        cube,
        genome,
        panels,
        provenance,
        options,
        str(provenance["name"]),
        template="meta.html.j2",
        texts=TEXTS,
        subject="meta-analysis",
        stratum_word="Set",
        subtitle=_subtitle(provenance),
        tiles=[
            tile("Studies", f"{len(studies):,}"),
            tile("People", f"{people:,.0f}"),
            tile("Variants", f"{cube.n_variants:,}"),
            tile("Results", f"{provenance['results']['tests']:,}"),
            tile("Lead variants", f"{sum(panel.n_leads for panel in panels):,}"),
        ],
        accounting=_accounting(provenance, panels),
        study_heads=HEADS,
        study_rows=[_study_row(study, told[study["name"]]) for study in studies],
        study_sets=_sets(provenance),
        forests=forest_section(forests),
        forest_of="Study",
        forest_hint="" if forests else "No lead variant is significant.",
    )
    with writing(folder / REPORT):
        write_atomically(folder / REPORT, page.encode())
    return folder / REPORT


def lead_forests(
    folder: Path, cube: MetaCube, panels: Sequence[Panel], most: int, notes: Mapping[str, str], studies: str = "studies"
) -> list[Forest]:
    """Forests of the most significant leads of all panels.

    Parameters
    ----------
    folder
        That holds the table of hits.
    cube, panels
        The meta-analysis and its panels.
    most
        How many.
    notes
        What is told beside the name of a study.
    studies
        What studies are called.
    """
    leads = [
        (float(value), panel, int(variant))
        for panel in panels
        for variant, value in zip(panel.leads, panel.lead_values, strict=True)
    ]
    leads.sort(key=lambda lead: -lead[0])
    if not leads[:most]:
        return []
    hits = pq.read_table(folder / META_HITS)
    key_columns = ("stratification", "trait", "contig", "position", "ref", "effect_allele")
    rows = {key: k for k, key in enumerate(zip(*(hits[name].to_pylist() for name in key_columns), strict=True))}
    binary = {trait for kind in cube.kinds if of_binary_traits(kind) for trait in kind.traits}
    found = []
    for _, panel, variant in leads[:most]:
        names = cube.variant_table(variant, variant + 1)
        place = (str(names.contig[0]), int(names.position[0]), str(names.ref[0]), str(names.alt[0]))
        row = rows.get((panel.stratum, panel.trait, *place))
        if row is None:
            continue  # the threshold of hits is stricter than that of leads
        hit = hits.slice(row, 1).to_pylist()[0]
        name = "" if names.variant_id[0] in ("", ".") else f"{names.variant_id[0]} "
        of_what = panel.trait if len(cube.strata) == 1 else f"{panel.trait}, {panel.stratum}"
        title = f"{name}{place[0]}:{place[1]:,} {place[2]}>{place[3]} – {of_what}"
        found.append(forest_of_hit(hit, studies=studies, ratios=panel.trait in binary, title=title, names=notes))
    return found


def _subtitle(provenance: Mapping[str, Any]) -> str:
    parts = ["Fixed-effects meta-analysis"]
    methods = provenance["meta"]["methods"]
    if methods:
        parts.append(f"with {', '.join(str(method).replace('_', ' ') for method in methods)}")
    if provenance["meta"]["genomic_control"]:
        parts.append("genomic control")
    if provenance.get("reference_build"):
        parts.append(str(provenance["reference_build"]))
    finished = str(provenance["run"]["finished"])
    parts.append(f"finished {finished.replace('T', ' ').replace('Z', ' UTC')}")
    return " · ".join(parts)


def _study_row(study: Mapping[str, Any], ancestry: str) -> tuple[str, ...]:
    def count(value: float | None) -> str:
        return "–" if value is None else f"{value:,.0f}"

    counts = (study["rows"], study["variants"], study["alone"], study["turned"], study["flipped"])
    return (
        str(study["name"]),
        ancestry or "–",
        count(study["most_n"]),
        count(study["most_cases"]),
        str(study["format"]),
        *(count(value) for value in counts),
        count(sum(study["left_out"].values())),
        count(study["far_frequencies"]),
        "–" if study["inflation"] is None else f"{study['inflation']:.3f}",
    )


def _sets(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    sets = provenance["results"]["sets"]
    return [] if len(sets) == 1 else [(name, ", ".join(members)) for name, members in sets.items()]


def _accounting(provenance: Mapping[str, Any], panels: Sequence[Panel]) -> list[Table]:
    """What was left out of each study, then the results by status."""
    tables = []
    for study in provenance["studies"]:
        rows = [("rows of the table", f"{study['rows']:,}")]
        rows += [(reason, f"{count:,}") for reason, count in study["left_out"].items()]
        rows.append(("aligned", f"{study['variants']:,}"))
        rows += [(f"noted: {reason}", f"{count:,}") for reason, count in study["noted"].items()]
        rows.append(("frequency far from the other studies (over 0.2)", f"{study['far_frequencies']:,}"))
        tables.append(Table(str(study["name"]), ("Rows", "Count"), rows))
    return [*tables, *accounting(status_counts(panels), {}, TEXTS)]
