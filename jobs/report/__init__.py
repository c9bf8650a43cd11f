"""The report of a run: one self-contained HTML page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.errors import FileFormatError, OutputError
from allscan.jobs.phewas_spec import PHEWAS
from allscan.storage import place_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allscan.engine.scan import TaskRunner
    from allscan.jobs.report.panels import ReportOptions
    from allscan.jobs.result_source import ResultSource
    from allscan.storage import Place

REPORT = "report.html"
PROVENANCE = "provenance.json"


def write_report(
    run_folder: str | Place,
    *,
    cube: ResultSource | None = None,
    meta: ResultSource | None = None,
    provenance: Mapping[str, Any] | None = None,
    significance: float = 5e-8,
    lead_window_kb: float = 500.0,
    phewas_level: float = 0.05,
    executor: TaskRunner | None = None,
) -> Place:
    """Write ``report.html`` into a run folder: whole, or not at all; with several strata, ``fairness.parquet``, too.

    The results are read by blocks, some traits at a time; memory does not grow with traits × variants.

    Parameters
    ----------
    run_folder
        Output folder of a run.
    cube
        Its results; opened when left out.
    meta
        The meta-analyses of its strata; opened, where there are any, when left out.
    provenance
        Its provenance document; read from ``provenance.json`` when left out, and done without when there
        is none.
    significance
        p-value at or below which a variant can be a lead.
    lead_window_kb
        Variants at most this far from a lead belong to it.
    phewas_level
        Family-wise error and false discovery rate of a phenome-wide scan.
    executor
        What reads the results, batch of traits by batch of traits; left out, this thread does.

    Returns
    -------
    Path of the report.

    Raises
    ------
    InputError
        If the folder holds no results.
    FileFormatError
        If ``provenance.json`` is damaged.
    OutputError
        If the report cannot be written.
    """
    from allscan.jobs.report.panels import ReportOptions

    folder = place_of(run_folder)
    if provenance is None:
        provenance = _read_provenance(folder / PROVENANCE)
    options = ReportOptions(significance, lead_window_kb, phewas_level)
    page = _page(folder, cube, meta, provenance, options, executor)
    target = folder / REPORT
    try:
        write_atomically(target, page.encode())
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"the report cannot be written: {error.strerror or error}",
            where=str(target),
            fix="make room, or make the folder writable, then run `allscan report` on it",
        ) from error
    return target


def _page(
    folder: Place,
    cube: ResultSource | None,
    meta: ResultSource | None,
    provenance: Mapping[str, Any],
    options: ReportOptions,
    executor: TaskRunner | None,
) -> str:
    """The page, as text; the tables of a phenome-wide scan, and of several strata, are written, too."""
    from allscan.engine.meta.files import META
    from allscan.engine.results import ResultsCube
    from allscan.jobs.phewas_table import PHEWAS_TABLE, rows_of_predictors, rows_of_variants, to_table, write_table
    from allscan.jobs.report import phewas
    from allscan.jobs.report.fairness import fairness_rows, write_fairness
    from allscan.jobs.report.fairness_section import article_rows, without_small_groups
    from allscan.jobs.report.fairness_section import section as fairness_section
    from allscan.jobs.report.genome import read_genome
    from allscan.jobs.report.page import render, trait_notes
    from allscan.jobs.report.panels import Budget, make_panels
    from allscan.jobs.report.strata import make_strata
    from allscan.jobs.report.strata import section as strata_section
    from allscan.jobs.report.views import views_of
    from allscan.jobs.result_source import META_PREFIX

    title = str(provenance.get("name") or folder.resolve().name)
    notes = trait_notes(provenance)
    if "predictors" in provenance:
        rows = rows_of_predictors(folder, provenance, options.level)
        write_table(folder / PHEWAS_TABLE, to_table(rows, notes))
        return phewas.render_phewas(rows, provenance, {}, title)
    results: ResultSource = cube or ResultsCube.open(folder)
    is_phewas = provenance.get("job", {}).get("mode") == PHEWAS
    if is_phewas and results.n_variants <= phewas.MOST_PREDICTORS:
        rows = rows_of_variants(results, np.arange(results.n_variants), provenance, options.level)
        write_table(folder / PHEWAS_TABLE, to_table(rows, notes))
        return phewas.render_phewas(rows, provenance, results.attrs, title)
    if cube is None and meta is None and (folder / META).exists():
        from allscan.engine.meta.cube import MetaCube

        meta = MetaCube(folder)
    genome = read_genome(results)
    n_panels = len(results.traits) * (len(results.strata) + (0 if meta is None else len(meta.strata)))
    panels = make_panels(results, genome, options, executor, n_panels=n_panels)
    sections: dict[str, Any] = {}
    if is_phewas:
        rows = rows_of_variants(results, phewas.lead_variants(panels, genome, options), provenance, options.level)
        write_table(folder / PHEWAS_TABLE, to_table(rows, notes))
        sections["phewas"] = phewas.section(rows, notes, with_genome=True)
    if meta is not None:
        panels += make_panels(meta, genome, options, executor, n_panels=n_panels, prefix=META_PREFIX)
    views = views_of(results, meta, provenance)
    if views.groupings:
        budget = Budget.of(n_panels)
        strata = make_strata(results, meta, genome, panels, views, options, budget, executor)
        fairness = fairness_rows(strata, results, panels, views, options)
        write_fairness(folder, fairness)
        analysed = provenance.get("samples", {}).get("analysed", max((panel.n for panel in panels), default=0))
        told = {key: article_rows(some) for key, some in fairness.items()}
        if strata:
            sections["across"] = strata_section(strata, results, meta, panels, views, budget, told)
        provenance = without_small_groups(provenance)
        sections["fairness"] = fairness_section(fairness, views, analysed, provenance)
    return render(results, genome, panels, provenance, options, title, meta=meta, **sections)


def _read_provenance(path: Place) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileFormatError(
            f"the provenance document is not JSON: {error}",
            where=str(path),
            fix="run the job again: its finished blocks are kept, and the document is written anew",
        ) from error
    if not isinstance(document, dict):
        raise FileFormatError(
            f"the provenance document is a {type(document).__name__}, not an object",
            where=str(path),
            fix="run the job again: its finished blocks are kept, and the document is written anew",
        )
    return document
