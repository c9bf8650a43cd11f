"""The report as one HTML page: everything inside, nothing loaded."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

from allscan.jobs.report.filling import Table, as_json, fill, tile
from allscan.jobs.report.panels import LEAST_FOR_INFLATION, Budget, axis_data
from allscan.jobs.result_source import META_PREFIX, degrees_of_freedom, of_binary_traits, own_columns
from allscan.kernels.association import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allscan.jobs.report.genome import Genome
    from allscan.jobs.report.panels import Panel, ReportOptions
    from allscan.jobs.result_source import ResultSource

MOST_FAILED = 10
OPEN_ALL = 6
"""Up to this many traits are all open when the page is."""

STATUS_TEXT = {
    Status.OK: "tested",
    Status.MONOMORPHIC: "monomorphic among the analysed samples",
    Status.ALL_MISSING: "no genotype called",
    Status.TRAIT_CONSTANT: "trait is constant",
    Status.TOO_FEW_SAMPLES: "too few samples",
    Status.COLLINEAR: "collinear with the covariates",
    Status.SEX_UNKNOWN: "sex of the samples unknown",
    Status.FILTERED: "left out by the job's filters",
    Status.NOT_CONVERGED: "fit did not converge",
    Status.NOT_TESTED: "model does not apply",
    Status.PARTLY_COLLINEAR: "tested, one predictor not separable",
    Status.PERFECT_FIT: "genotype explains the trait exactly",
    Status.SADDLEPOINT: "tested by saddlepoint approximation",
    Status.FIRTH: "tested by Firth's penalised likelihood ratio",
    Status.EXACT: "tested by the exact distribution of case carriers",
    Status.TOO_FEW_CASES: "too few cases or controls",
    Status.SEPARATED: "predictors separate cases from controls",
    Status.TOO_FEW_ALLELES: "too few copies of the rarer allele in every ancestry",
}

META_STATUS_TEXT = {
    Status.OK: "combined",
    Status.FILTERED: "in too few groups",
    Status.NOT_TESTED: "in no group",
}
"""Of a meta-analysis."""

METHODS = {Status.SADDLEPOINT: "saddlepoint", Status.FIRTH: "Firth", Status.EXACT: "exact"}
"""Methods of a result, where it is not the test's first one, in a word."""

COLUMN_LABELS = {
    "beta": "Beta",
    "standard_error": "SE",
    "beta_domdev": "Beta (dom.)",
    "standard_error_domdev": "SE (dom.)",
    "q": "Q",
    "neg_log10_p_q": "−log10 p (heterogeneity)",
    "i_squared": "I²",
    "beta_random": "Beta (random)",
    "standard_error_random": "SE (random)",
    "neg_log10_p_random": "−log10 p (random)",
    "tau_squared": "τ²",
    "neg_log10_p_re2": "−log10 p (RE2)",
    "neg_log10_p_sample_size": "−log10 p (sample size)",
    "neg_log10_p_axes": "−log10 p (ancestry regression)",
    "neg_log10_p_ancestry": "−log10 p (ancestry heterogeneity)",
    "neg_log10_p_residual": "−log10 p (other heterogeneity)",
    "n_studies": "Studies",
    "effective_n": "Effective N",
}


def render(
    source: ResultSource,
    genome: Genome,
    panels: Sequence[Panel],
    provenance: Mapping[str, Any],
    options: ReportOptions,
    title: str,
    phewas: Mapping[str, Any] | None = None,
    *,
    template: str = "report.html.j2",
    texts: Mapping[Status, str] = STATUS_TEXT,
    meta: ResultSource | None = None,
    across: Mapping[str, Any] | None = None,
    fairness: Mapping[str, Any] | None = None,
    **instead: Any,
) -> str:
    """The page of a scan of the genome, as text.

    Parameters
    ----------
    source, genome, panels, provenance, options, title
        What is shown; panels of meta-analyses come last.
    phewas
        The section about the traits of its lead variants, as :func:`allscan.jobs.report.phewas.section` gives it; None
        without one.
    template
        It extends that of this page.
    texts
        What statuses mean.
    meta
        Results of the meta-analyses of its strata; None without any.
    across, fairness
        The sections about several strata, as :func:`allscan.jobs.report.strata.section` and
        :func:`allscan.jobs.report.fairness_section.section` give them; None without any.
    **instead
        What the template is filled with, beside or in place of what is here.
    """
    names = tuple(dict.fromkeys(panel.stratum for panel in panels))
    strata, binary = len(names) > 1, of_binary_traits(source)
    of_scan = [panel for panel in panels if panel.stratum in source.strata]
    opened = range(len(panels)) if len(panels) <= OPEN_ALL else [_most_significant(panels)]
    axis = {
        **axis_data(genome),
        "significance": options.neg_log10_significance,
        "p_text": _p_text(options.significance),
        "strata": strata,
        "opened": [] if across is not None else list(opened),
        "columns": _columns(source),
        "meta_columns": [] if meta is None else _columns(meta),
        "status": {code.name: text for code, text in texts.items()},
        "meta_status": {code.name: text for code, text in META_STATUS_TEXT.items()},
        "methods": {code.name: text for code, text in METHODS.items()},
    }
    notes = trait_notes(provenance)
    embedded = [
        as_json(
            {
                **panel.data,
                "meta": panel.stratum.startswith(META_PREFIX),
                "notes": notes.get((panel.trait, panel.stratum), []),
            }
        )
        for panel in panels
    ]
    budget = Budget.of(len(panels))
    content = {
        "title": title,
        "subtitle": _subtitle(source, provenance),
        "tiles": _tiles(source, of_scan, provenance),
        "strata": strata,
        "stratum_names": names,
        "binary": binary,
        "rows": [_row(panel) for panel in panels],
        "hint": "" if axis["opened"] else "Choose a row of the table of traits to see its plots.",
        "null_model": _null_model_table(provenance),
        "accounting": accounting(status_counts(of_scan), provenance, texts),
        "provenance_rows": provenance_rows(provenance, source.attrs),
        "points": budget.points,
        "cell": f"{budget.columns}th of the axis and 1/{budget.rows_per_unit} of −log10 p",
        "significance": _p_text(options.significance),
        "window": f"{options.window_kb:g}",
        "least": LEAST_FOR_INFLATION,
        "df": degrees_of_freedom(source),
        "axis": as_json(axis),
        "panels": embedded,
        "phewas": phewas,
        "across": across,
        "fairness": fairness,
    }
    scripts = (
        "report.js",
        *(() if across is None else ("forest.js", "strata.js")),
        *(() if phewas is None else ("phewas.js",)),
    )
    return fill(template, scripts, provenance, **{**content, **instead})


def _columns(source: ResultSource) -> list[dict[str, str]]:
    return [
        {"name": column.name, "label": COLUMN_LABELS.get(column.name, column.name.replace("_", " "))}
        for column in own_columns(source)
    ]


def _most_significant(panels: Sequence[Panel]) -> int:
    return max(range(len(panels)), key=lambda k: -1.0 if math.isnan(panels[k].top_value) else panels[k].top_value)


def _p_text(p: float) -> str:
    mantissa, exponent = f"{p:.6e}".split("e")
    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    power = f"10{str(int(exponent)).translate(digits)}"
    return power if float(mantissa) == 1 else f"{float(mantissa):g} × {power}"


def _subtitle(source: ResultSource, provenance: Mapping[str, Any]) -> str:
    parts = [_tests_told(source)]
    if "model" in source.attrs:
        parts.append(f"{source.attrs['model']} model")
    if "missing_genotypes" in source.attrs:
        treatment = {"impute_mean": "imputed by the mean", "exclude": "excluded per variant"}
        missing = str(source.attrs["missing_genotypes"])
        parts.append(f"missing genotypes {treatment.get(missing, missing)}")
    if source.attrs.get("reference_build"):
        parts.append(str(source.attrs["reference_build"]))
    finished = provenance.get("run", {}).get("finished")
    if finished:
        parts.append(f"finished {str(finished).replace('T', ' ').replace('Z', ' UTC')}")
    text = " · ".join(parts)
    return text[:1].upper() + text[1:]


def _tests_told(source: ResultSource) -> str:
    tests = [str(kind.attrs.get("test", "association")) for kind in source.kinds]
    if len(tests) == 1:
        return f"{tests[0]} test"
    whose = ["binary" if of_binary_traits(kind) else "quantitative" for kind in source.kinds]
    told = [
        f"{test} test of {len(kind.traits):,} {of} trait{'' if len(kind.traits) == 1 else 's'}"
        for test, of, kind in zip(tests, whose, source.kinds, strict=True)
    ]
    return ", ".join(told)


def _tiles(source: ResultSource, panels: Sequence[Panel], provenance: Mapping[str, Any]) -> list[dict[str, str]]:
    tested = sum(panel.n_tested for panel in panels)
    # Of several strata the first stands for the scan: the same locus counts once.
    shown = [panel for panel in panels if panel.stratum == source.strata[0]]
    leads = sum(panel.n_leads for panel in shown)
    with_leads = sum(panel.n_leads > 0 for panel in shown)
    inflation = sorted(panel.inflation for panel in shown if not math.isnan(panel.inflation))
    of_stratum = f", stratum {source.strata[0]}" if len(source.strata) > 1 else ""
    samples = provenance.get("samples", {}).get("analysed", max((panel.n for panel in panels), default=0))
    tiles = [tile("Traits", f"{len(source.traits):,}")]
    if len(source.strata) > 1:
        tiles.append(tile("Strata", f"{len(source.strata):,}"))
    tiles += [
        tile("Samples analysed", f"{samples:,}"),
        tile("Variants", f"{source.n_variants:,}"),
        tile("Tests with a p-value", f"{tested:,}"),
        tile("Lead variants", f"{leads:,}", f"in {with_leads:,} trait{'' if with_leads == 1 else 's'}{of_stratum}"),
    ]
    if inflation:
        middle = median(inflation)
        spread = of_stratum.lstrip(" ,") if len(inflation) == 1 else f"{inflation[0]:.3f} to {inflation[-1]:.3f}"
        tiles.append(tile("λ" if len(inflation) == 1 else "Median λ", f"{middle:.3f}", spread))
    return tiles


def _row(panel: Panel) -> dict[str, Any]:
    none = "–"
    return {
        "trait": panel.trait,
        "stratum": panel.stratum,
        "n": panel.n,
        "cases": panel.cases,
        "tested": panel.n_tested,
        "inflation": none if math.isnan(panel.inflation) else f"{panel.inflation:.3f}",
        "inflation_value": "" if math.isnan(panel.inflation) else panel.inflation,
        "leads": panel.n_leads,
        "variant": panel.top_variant or none,
        "top": none if math.isnan(panel.top_value) else f"{panel.top_value:.2f}",
        "top_value": "" if math.isnan(panel.top_value) else panel.top_value,
    }


def trait_notes(provenance: Mapping[str, Any]) -> dict[tuple[str, str], list[str]]:
    """Remarks by trait and stratum: of the check (for every stratum) and of the scan."""
    notes: dict[tuple[str, str], list[str]] = {}
    strata = provenance.get("strata") or ["all"]
    for trait in provenance.get("traits", ()):
        if trait.get("message"):
            for stratum in strata:
                notes.setdefault((trait["name"], stratum), []).append(str(trait["message"]))
    for note in provenance.get("trait_notes", ()):
        found = notes.setdefault((note["trait"], note["stratum"]), [])
        if str(note["message"]) not in found:
            found.append(str(note["message"]))
    return notes


def _null_model_table(provenance: Mapping[str, Any]) -> Table | None:
    """What the whole-genome null model says of each trait; None where there is none, or it says nothing."""
    model = provenance.get("null_model") or {}
    traits = [trait for trait in model.get("traits") or () if trait.get("accuracy") or trait.get("message")]
    if not traits:
        return None

    def number(value: float | None, digits: int = 3) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    rows = []
    for trait in traits:
        accuracy = trait.get("accuracy") or {}
        name = {"r2": "R²", "auc": "AUC"}.get(accuracy.get("name", ""), "")
        rows.append(
            (
                str(trait["name"]),
                f"{trait['n']:,}",
                str(trait["status"]).replace("_", " "),
                f"{name} {number(accuracy.get('value'))}" if accuracy else "–",
                number(trait.get("shrinkage"), 2),
                number(trait.get("h2"), 2),
                number(trait.get("lambda_without")),
                number(trait.get("lambda_with")),
            )
        )
    settings = model.get("settings") or {}
    note = f"{settings['markers']:,} markers in {settings['blocks']:,} blocks" if "markers" in settings else ""
    if settings.get("markers_unused"):
        note += f", {settings['markers_unused']:,} of which hardly vary beside the covariates and are not used"
    note += ". " if note else ""
    failed = [f"{trait['name']}: {trait['message']}" for trait in traits if trait.get("message")]
    note += ". ".join(failed[:MOST_FAILED])
    note += "" if len(failed) <= MOST_FAILED else f", and {len(failed) - MOST_FAILED} more"
    heads = ("Trait", "N", "Status", "Out of fold", "Shrinkage", "h²", "λ without", "λ with")
    return Table("Whole-genome null model", heads, rows, note)


def status_counts(panels: Sequence[Panel]) -> dict[str, int]:
    """Tests by status, over all panels."""
    counts: dict[str, int] = {}
    for panel in panels:
        for name, number in panel.status.items():
            counts[name] = counts.get(name, 0) + number
    return counts


def accounting(
    tests: Mapping[str, int],
    provenance: Mapping[str, Any],
    texts: Mapping[Status, str] = STATUS_TEXT,
    what: str = "Variant",
) -> list[Table]:
    """Every exclusion with its count: samples, variants, tests, traits, covariates."""
    tables = []
    rows: list[tuple[str, ...]]
    samples = provenance.get("samples", {})
    if samples.get("accounting"):
        rows = [
            (str(line["reason"]), f"{line['count']:,}", "kept" if line["kept"] else "left out")
            for line in samples["accounting"]
        ]
        sex = samples.get("sex")
        note = f"Sex of the analysed: {', '.join(f'{k} {v:,}' for k, v in sex.items())}." if sex else ""
        tables.append(Table("Samples", ("Reason", "People", ""), rows, note))
    variants = provenance.get("variants", {})
    if variants:
        rows = [("in the genotypes", f"{variants['in_genotypes']:,}")] if "in_genotypes" in variants else []
        rows += [(str(line["reason"]), f"{line['count']:,}") for line in variants.get("accounting", ())]
        rows += [("tested", f"{variants['tested']:,}")] if "tested" in variants else []
        tables.append(Table("Variants", ("Reason", "Variants"), rows))
    markers = ((provenance.get("null_model") or {}).get("settings") or {}).get("marker_accounting")
    if markers:
        rows = [(str(reason), f"{number:,}") for reason, number in markers.items()]
        tables.append(Table("Markers of the null model", ("Reason", "Variants"), rows))
    rows = [(texts[Status[name]], f"{number:,}") for name, number in tests.items()]
    tables.append(Table("Tests by status", ("Status", f"{what} × trait"), rows, "Of each: see its own section."))
    dropped = provenance.get("covariates", {}).get("dropped", ()) if provenance.get("covariates") else ()
    if dropped:
        rows = [(str(item["name"]), str(item["reason"])) for item in dropped]
        tables.append(Table("Covariates that were dropped", ("Covariate", "Reason"), rows))
    troubled = [t for t in provenance.get("traits", ()) if t.get("status", "ok") != "ok"]
    if troubled:
        rows = [(str(t["name"]), _count(t["n"]), str(t["status"]).replace("_", " ")) for t in troubled]
        tables.append(Table("Traits with a status", ("Trait", "N", "Status"), rows))
    return tables


def _count(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def provenance_rows(provenance: Mapping[str, Any], attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few lines that a reader asks for first; the whole document stands below them."""
    software = provenance.get("software", {})
    run = provenance.get("run", {})
    genotypes = provenance.get("genotypes", {})
    covariates = provenance.get("covariates") or {}
    rows = [
        (
            "Genotypes",
            ", fingerprint ".join(str(genotypes[k]) for k in ("path", "fingerprint") if k in genotypes),
        ),
        ("Predictors", str(provenance.get("predictors", {}).get("path", ""))),
        ("Covariates", ", ".join(str(name) for name in covariates.get("names", ()))),
        ("Effect allele", str(attrs.get("effect_allele", ""))),
        ("Command", " ".join(str(word) for word in provenance.get("command") or ())),
        *(
            (f"Input: {item['role']}", f"{item['path']} ({item['bytes']:,} bytes, sha256 {item['sha256']})")
            for item in provenance.get("inputs", ())
        ),
        ("Software", ", ".join(f"{name} {v}" for name, v in software.items() if isinstance(v, str))),
        (
            "Machine",
            ", ".join(str(v) for k, v in provenance.get("system", {}).items() if k in ("platform", "cpu")),
        ),
        ("Started", str(run.get("started", ""))),
        ("Elapsed", f"{run['elapsed_seconds']:,.1f} s" if "elapsed_seconds" in run else ""),
        ("Peak memory", f"{run['peak_memory_bytes'] / 2**20:,.0f} MiB" if "peak_memory_bytes" in run else ""),
        ("Digest of inputs and parameters", str(attrs.get("digest", ""))),
    ]
    return [(name, value) for name, value in rows if value]


def _some(mapping: Mapping[str, Any], *keys: str) -> list[str]:
    return [str(mapping[key]) for key in keys if mapping.get(key)]
