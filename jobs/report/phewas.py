"""What the page says of a phenome-wide scan: traits of each variant or predictor, without small counts of people."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.disclosure import FEW, SMALL, is_small
from allscan.jobs.report.filling import as_json, fill, tile
from allscan.jobs.report.page import METHODS, STATUS_TEXT, accounting, provenance_rows, trait_notes
from allscan.kernels import summary
from allscan.kernels.association import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.jobs.phewas_table import PhewasRows
    from allscan.jobs.report.genome import Genome
    from allscan.jobs.report.panels import Panel, ReportOptions

HIDDEN = -2
"""Stands for such a count in the data of the page; −1 for none."""
MOST_PREDICTORS = 100
"""Of a page that has nothing else; more variants than these have the report of a scan of the genome."""
MOST_LEADS = 50
"""Lead variants whose traits are shown beside a scan of the genome."""
MOST_ROWS = 40_000
"""Rows of all tables of the page, about."""
UNGROUPED = "Other traits"
"""Category of the traits that have none, where others do."""

COLUMN_STATUS = {
    **STATUS_TEXT,
    Status.MONOMORPHIC: "predictor does not vary among the trait's people",
    Status.ALL_MISSING: "nobody has both trait and predictor",
    Status.NOT_TESTED: "trait is the predictor",
    Status.PERFECT_FIT: "predictor explains the trait exactly",
}
"""Where predictors are columns of a table."""


def lead_variants(panels: Sequence[Panel], genome: Genome, options: ReportOptions) -> NDArray[np.int64]:
    """Variants that lead their surroundings over all traits, at most MOST_LEADS of them, ascending."""
    index = np.concatenate([np.empty(0, np.int64), *(panel.leads for panel in panels)])
    value = np.concatenate([np.empty(0), *(panel.lead_values for panel in panels)])
    if not len(index):
        return index
    variants, of_lead = np.unique(index, return_inverse=True)
    best = np.full(len(variants), -np.inf)
    np.maximum.at(best, of_lead, value)
    window = round(options.window_kb * 1000)
    clumps = summary.clump(genome.contig[variants], genome.position[variants], best.astype(np.float32), window)
    found: NDArray[np.int64] = np.sort(variants[clumps.lead[:MOST_LEADS]])
    return found


class _Order(NamedTuple):
    """How traits stand along the plot."""

    traits: NDArray[np.int64]  # in this order
    categories: list[str]
    sizes: list[int]  # traits of each


def _order(traits: Sequence[Mapping[str, Any]]) -> _Order:
    """By category, in the order in which these first come, and within each as they were given."""
    given = [str(trait.get("category") or "") for trait in traits]
    names = [name for name in dict.fromkeys(given) if name]
    if "" in given:
        names.append("")
    rank = np.array([names.index(name) for name in given], np.int64)
    shown = [name or (UNGROUPED if len(names) > 1 else "") for name in names]
    return _Order(np.argsort(rank, kind="stable"), shown, np.bincount(rank, minlength=len(names)).tolist())


def section(rows: PhewasRows, notes: Mapping[tuple[str, str], Sequence[str]], *, with_genome: bool) -> dict[str, Any]:
    """The section of a page, as its template and script read it.

    Parameters
    ----------
    rows
        The results.
    notes
        What is to be said of traits, by trait and stratum.
    with_genome
        Whether it stands beside the report of a scan of the genome.
    """
    n_strata, n_predictors, _ = rows.shape
    variants = any(contig is not None for contig in rows.predictors.contig)
    order = _order(rows.traits)
    panels = [(g, k) for k in range(n_predictors) for g in range(n_strata)]
    most = max(20, MOST_ROWS // max(1, len(panels)))
    q, thresholds = rows.q, rows.thresholds
    text = STATUS_TEXT if variants else COLUMN_STATUS
    phenome = {
        "traits": [str(trait["name"]) for trait in rows.traits],
        "labels": [str(trait.get("label") or "") for trait in rows.traits],
        "binary": [trait.get("kind") == "binary" for trait in rows.traits],
        "sd": [_sd(trait) for trait in rows.traits],
        "order": order.traits.tolist(),
        "categories": order.categories,
        "sizes": order.sizes,
        "hidden": SMALL,
        "variants": variants,
        "status": {code.name: words for code, words in text.items()},
        "methods": {code.name: words for code, words in METHODS.items()},
        "opened": list(range(min(len(panels), 3))) if not with_genome else [],
        "level": rows.level,
    }
    shown = [_panel(rows, g, k, q[g, k], float(thresholds[g, k]), most, notes, strata=n_strata > 1) for g, k in panels]
    return {
        "title": "Traits of the lead variants" if with_genome else ("Variants" if variants else "Predictors"),
        "note": _note(n_predictors) if with_genome else "",
        "what": "Variant" if variants else "Predictor",
        "variants": variants,
        "strata": n_strata > 1,
        "with_genome": with_genome,
        "level": f"{rows.level:g}",
        "most_hidden": SMALL,
        "per": "per copy of the effect allele" if variants else "per unit, or standard deviation, as each panel says",
        "rows": [_index_row(rows, g, k, q[g, k], float(thresholds[g, k])) for g, k in panels],
        "phenome": as_json(phenome),
        "panels": [as_json(panel) for panel in shown],
    }


def _note(n_leads: int) -> str:
    if not n_leads:
        return "No variant is significant in any trait."
    which = "variant" if n_leads == 1 else f"{n_leads} variants"
    return (
        f"The most significant {which} of all traits, one of each window, with all that is known of them. "
        "Chosen for being significant somewhere: for that trait, the correction for the number of traits is too mild."
    )


def _sd(trait: Mapping[str, Any]) -> float | None:
    """What a unit of the trait as analysed is to its spread; None where that is not known."""
    if trait.get("kind") == "binary":
        return None
    transform = trait.get("transform", "none")
    if transform == "none":
        sd = trait.get("sd")
        return float(sd) if sd else None
    return None if transform == "log" else 1.0


def _top(rows: PhewasRows, g: int, k: int) -> int | None:
    p = rows.numbers["neg_log10_p"][g, k]
    return None if np.isnan(p).all() else int(np.nanargmax(p))


def _index_row(rows: PhewasRows, g: int, k: int, q: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    p = rows.numbers["neg_log10_p"][g, k]
    predictors, top = rows.predictors, _top(rows, g, k)
    found = p[~np.isnan(p)]
    trait = {} if top is None else rows.traits[top]
    return {
        "name": predictors.name[k],
        "place": "" if predictors.contig[k] is None else f"{predictors.contig[k]}:{predictors.position[k]:,}",
        "allele": f"{predictors.effect_allele[k]} (other {predictors.ref[k]})",
        "stratum": rows.strata[g],
        "tested": len(found),
        "bonferroni": int((found >= threshold).sum()),
        "discoveries": int((q[~np.isnan(q)] >= -np.log10(rows.level)).sum()),
        "trait": str(trait.get("label") or trait.get("name") or "–"),
        "top": "–" if top is None else f"{p[top]:.2f}",
        "top_value": "" if top is None else float(p[top]),
    }


def _panel(
    rows: PhewasRows,
    g: int,
    k: int,
    q: NDArray[np.float64],
    threshold: float,
    most: int,
    notes: Mapping[tuple[str, str], Sequence[str]],
    *,
    strata: bool,
) -> dict[str, Any]:
    number = {name: values[g, k] for name, values in rows.numbers.items()}
    p = number["neg_log10_p"]
    tested = np.flatnonzero(~np.isnan(p))
    shown = tested[np.argsort(-p[tested], kind="stable")][:most]
    discovered = tested[q[tested] >= -np.log10(rows.level)]
    hidden = _hidden(number)
    name = rows.predictors.name[k]
    status = np.bincount(number["status"], minlength=1)
    return {
        "name": name,
        "title": f"{name} – {rows.strata[g]}" if strata else name,
        "threshold": round(threshold, 6),
        # The least significant discovery: the line lies there.
        "discovery": round(float(p[discovered].min()), 6) if len(discovered) else None,
        "per": rows.predictors.per[k],
        "tested": len(tested),
        "value": _base64(np.where(np.isnan(p), -1.0, p), "<f4"),
        "up": _base64(np.nan_to_num(number["beta"]) >= 0.0, "u1"),
        "status": {Status(code).name: int(count) for code, count in enumerate(status) if count},
        "table": {
            "trait": shown.tolist(),
            "p": _rounded(p[shown], 4),
            "q": _rounded(q[shown], 4),
            "beta": _short(number["beta"][shown]),
            "se": _short(number["standard_error"][shown]),
            "status": [Status(code).name for code in number["status"][shown]],
            **{key: hidden[key][shown].tolist() for key in ("n", "cases", "controls", "carriers")},
            "frequency": _short(hidden["frequency"][shown]),
            "note": [
                "" if hidden["any"][t] else "; ".join(notes.get((rows.traits[t]["name"], rows.strata[g]), ()))
                for t in shown
            ],
        },
    }


def _hidden(number: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Counts of people as the page may show them: no small ones, and none that a small one follows from."""
    n, cases, carriers = number["n"], number["cases"], number["carriers"]
    controls = np.where(cases < 0, -1, n - cases)
    frequency = number["effect_allele_frequency"]
    copies = 2.0 * n * np.minimum(frequency, 1.0 - frequency)

    def small(count: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray((count >= 1) & (count <= SMALL))

    few_cases, few_controls, few_carriers = small(cases), small(controls), small(carriers)
    # Those who do not carry the allele are counted by those who do.
    few_carriers |= small(np.where(carriers < 0, -1, n - carriers))
    few = few_cases | few_controls
    return {
        "n": np.where(small(n), HIDDEN, np.where(few, -1, n)),
        "cases": np.where(few_cases, HIDDEN, cases),
        "controls": np.where(few_controls, HIDDEN, controls),
        "carriers": np.where(few_carriers, HIDDEN, carriers),
        # Of a quantitative trait carriers are not counted: at most so many as there are copies.
        "frequency": np.where(few_carriers | (copies <= SMALL) & (copies > 0), np.nan, frequency),
        "any": few | few_carriers,
    }


def _base64(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode("ascii")


def _rounded(values: NDArray[np.float64], digits: int) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), digits) for value in values]


def _short(values: NDArray[np.float64]) -> list[float | None]:
    """Seven digits: more than anybody reads."""
    return [None if np.isnan(value) else float(f"{value:.7g}") for value in values]


def without_small_counts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance document without counts of few people, and without what they could be reckoned from."""
    small = FEW
    traits, hidden = [], set()
    for trait in provenance.get("traits", ()):
        n, cases = trait["n"], trait.get("cases")
        few = [is_small(count) for count in (n, *(() if cases is None else (cases, n - cases)))]
        if any(few):
            hidden.add(trait["name"])
            fields = {
                "n": small,
                "cases": small if cases is not None else None,
                "mean": None,
                "sd": None,
                "message": "",
            }
            trait = {**trait, **fields}
        traits.append(trait)
    notes = [note for note in provenance.get("trait_notes", ()) if note["trait"] not in hidden]
    return {**provenance, "traits": traits, "trait_notes": notes}


def render_phewas(rows: PhewasRows, provenance: Mapping[str, Any], attrs: Mapping[str, Any], title: str) -> str:
    """The page of a scan of few variants or predictors, as text.

    Parameters
    ----------
    rows
        The results.
    provenance
        Of the run.
    attrs
        Of the results cube; empty where there is none.
    title
        Of the page.
    """
    shown = without_small_counts(provenance)
    phewas = section(rows, trait_notes(shown), with_genome=False)
    p = rows.numbers["neg_log10_p"]
    status = np.bincount(rows.numbers["status"].ravel())
    counts = {Status(code).name: int(count) for code, count in enumerate(status) if count}
    variants = bool(phewas["variants"])
    finished = provenance.get("run", {}).get("finished")
    when = f" · finished {str(finished).replace('T', ' ').replace('Z', ' UTC')}" if finished else ""
    tested = int((~np.isnan(p)).sum())
    passed = sum(row["bonferroni"] for row in phewas["rows"])
    found = sum(row["discoveries"] for row in phewas["rows"])
    return fill(
        "phewas.html.j2",
        ("phewas.js",),
        shown,
        title=title,
        subtitle=f"Phenome-wide scan of {'variants' if variants else 'predictors'}{when}",
        tiles=[
            tile("Variants" if variants else "Predictors", f"{rows.shape[1]:,}"),
            tile("Traits", f"{rows.shape[2]:,}"),
            tile("People analysed", f"{provenance.get('samples', {}).get('analysed', 0):,}"),
            tile("Tests with a p-value", f"{tested:,}"),
            tile("Bonferroni", f"{passed:,}", f"at {rows.level:g} over the traits of each"),
            tile("Discoveries", f"{found:,}", f"at a false discovery rate of {rows.level:g}"),
        ],
        accounting=accounting(
            counts, shown, STATUS_TEXT if variants else COLUMN_STATUS, "Variant" if variants else "Predictor"
        ),
        provenance_rows=provenance_rows(shown, attrs),
        phewas=phewas,
    )
