"""The report of a trait table as one HTML page: everything inside, nothing loaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.disclosure import FEW, ToldCounts, told_count
from allscan.jobs.phenotype_report.correlation import MOST, Correlations
from allscan.jobs.report.filling import Table, as_json, fill, tile
from allscan.phenotypes.phenotype import BINARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from allscan.jobs.phenotype_report.measure import Measured
    from allscan.jobs.phenotype_report.people import Cohort
    from allscan.phenotypes.build.artefact import TraitTableFolder

HERE = Path(__file__).parent

MOST_NAMES = 12
"""Traits that a reason for leaving out, or a remark, names."""
MOST_PAIRS = 20
_TENTHS = 10


def render(folder: TraitTableFolder, cohort: Cohort, measured: Measured, related: Correlations | None) -> str:
    """The page, as text."""
    facts, provenance = folder.traits, folder.provenance
    counts = ToldCounts([cohort.n])
    binary = any(fact["kind"] == BINARY for fact in facts)
    return fill(
        "phenotypes.html.j2",
        ("phenotypes.js",),
        {"warnings": _warnings(facts, measured)},
        folder=HERE,
        styles=("phenotypes.css",),
        subject="phenotype report",
        with_document=False,
        title=str(provenance["name"]),
        subtitle=_subtitle(provenance),
        tiles=_tiles(cohort, facts, provenance),
        binary=binary,
        rows=[_row(fact, told) for fact, told in zip(facts, measured.traits, strict=True)],
        missing=_missing(measured),
        pairs=_pairs(facts, related),
        related=related is not None,
        n_related=0 if related is None else len(related.traits),
        all_related=related is not None and len(related.traits) == len(facts),
        most=MOST,
        few=FEW,
        accounting=_accounting(cohort, provenance, counts),
        provenance_rows=_provenance_rows(provenance, counts),
        common=as_json(
            {
                "classes": [
                    {"title": one.title, "labels": one.labels, "people": one.people.tolist()} for one in cohort.classes
                ],
                "measures": [measure.label for measure in cohort.measures],
                "traits": [[str(fact["name"]), str(fact["label"]), str(fact["category"])] for fact in facts],
                "related": None
                if related is None
                else {
                    "traits": related.traits,
                    "order": related.order,
                    "r": [row[: at + 1].tolist() for at, row in enumerate(related.hundredths)],
                },
                "open": len(facts) == 1,
            }
        ),
        panels=[as_json(_panel(fact, told)) for fact, told in zip(facts, measured.traits, strict=True)],
    )


def _subtitle(provenance: Mapping[str, Any]) -> str:
    records = provenance["made_of"]["records"]
    built = str(provenance["built"])[:16].replace("T", " ")
    return f"Records {records['cdr']} until {records['until']} · traits of everybody in them · built {built} UTC"


def _tiles(cohort: Cohort, facts: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any]) -> list[dict[str, str]]:
    kinds = Counter(str(fact["kind"]) for fact in facts)
    categories = len({str(fact["category"]) for fact in facts if fact["category"]})
    tiles = [
        ("People", told_count(cohort.n), ""),
        ("Traits", f"{len(facts):,}", f"in {categories:,} categories" if categories > 1 else ""),
        *((f"{kind.capitalize()} traits", f"{number:,}", "") for kind, number in sorted(kinds.items())),
        ("Traits left out", f"{len(provenance['left_out']):,}", ""),
        ("Records until", str(provenance["made_of"]["records"]["until"]), ""),
    ]
    return [tile(label, value, more) for label, value, more in tiles]


def _warnings(facts: Sequence[Mapping[str, Any]], measured: Measured) -> list[str]:
    found = [
        f"{fact['name']}: {text}"
        for fact, told in zip(facts, measured.traits, strict=True)
        for text in told["notes"][: len(fact["warnings"])]
    ]
    more = len(found) - MOST_NAMES
    return [*found[:MOST_NAMES], *([f"and {more:,} more: see the traits"] if more > 0 else [])]


def _row(fact: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """A trait in the table; what it is sorted by says no more than what is shown."""
    cases = told.get("cases", "")
    return {
        "name": str(fact["name"]),
        "label": str(fact["label"]),
        "category": str(fact["category"]),
        "kind": str(fact["kind"]),
        "sex": {"male": "men", "female": "women"}.get(str(fact["sex"]), ""),
        "n": told["n"],
        "n_value": _sortable(told["n"]),
        "cases": cases,
        "cases_value": _sortable(cases),
        "prevalence": _percent(told.get("prevalence")),
        "prevalence_value": _or_empty(told.get("prevalence")),
        "missing": _percent(told["missing"]),
        "missing_value": _or_empty(told["missing"]),
    }


def _sortable(text: str) -> str:
    if text == FEW:
        return "1"
    return text.lstrip("≥").replace(",", "") if text[-1:].isdigit() else ""


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


def _percent(share: float | None) -> str:
    if share is None:
        return "–"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.1f} %"


def _missing(measured: Measured) -> list[dict[str, Any]]:
    """Traits by the share of the people who lack them; people by the share of the traits that they lack."""
    shares = [told["missing"] for told in measured.traits if told["missing"] is not None]
    tables = []
    if shares:
        tenth = np.minimum(np.array(shares) * _TENTHS, _TENTHS - 1).astype(np.int64)
        counts = np.bincount(tenth, minlength=_TENTHS).tolist()
        labels = [f"{10 * k} to {10 * k + 10} %" for k in range(_TENTHS)]
        untold = len(measured.traits) - len(shares)
        note = f"Without {untold:,} whose share is hidden." if untold else ""
        tables.append(_bars("Traits by the share of people without a value", "Traits", labels, counts, note))
    if measured.lacking:
        labels, people = [label for label, _ in measured.lacking], [count for _, count in measured.lacking]
        tables.append(_bars("People by the share of traits that they have no value of", "People", labels, people))
    return tables


def _bars(title: str, what: str, labels: list[str], counts: list[int], note: str = "") -> dict[str, Any]:
    last = max((k for k, count in enumerate(counts) if count), default=0)
    most = max(counts) or 1
    rows = [
        {"label": label, "count": f"{count:,}", "width": f"{100 * count / most:.1f}"}
        for label, count in zip(labels[: last + 1], counts, strict=False)
    ]
    return {"title": title, "what": what, "rows": rows, "note": note}


def _pairs(facts: Sequence[Mapping[str, Any]], related: Correlations | None) -> list[dict[str, str]]:
    """The strongest correlations."""
    if related is None:
        return []
    r = np.where(np.triu(np.abs(related.hundredths) <= 100, 1), related.hundredths, 0)
    strongest = np.argsort(-np.abs(r), axis=None, kind="stable")[:MOST_PAIRS]
    found = []
    for at in strongest.tolist():
        one, two = divmod(at, len(r))
        if r[one, two]:
            names = [_titled(facts[related.traits[k]]) for k in (one, two)]
            found.append({"one": names[0], "two": names[1], "r": f"{r[one, two] / 100:.2f}".replace("-", "−")})
    return found


def _titled(fact: Mapping[str, Any]) -> str:
    return f"{fact['name']}  {fact['label']}".strip()


def _panel(fact: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("n", "cases", "controls", "prevalence", "missing", "classes", "compared", "summary", "histogram", "spread")
    return {
        **{key: str(fact[key]) for key in ("name", "label", "category", "kind", "sex", "units", "transform")},
        **{key: told[key] for key in (*kept, "steps", "notes") if key in told},
        "recipe": list(_flat(fact["recipe"])),
    }


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """A document as lines of keys and values."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path} {key}".strip().replace("_", " "))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value, 1):
            yield from _flat(inner, f"{path} {number}")
    elif isinstance(value, list):
        yield path, ", ".join(str(inner) for inner in value)
    elif value is not None:
        yield path, str(value)


def _accounting(cohort: Cohort, provenance: Mapping[str, Any], counts: ToldCounts) -> list[Table]:
    people = [(str(line["what"]), counts.tell(int(line["people"]))) for line in provenance["accounting"]]
    notes = " ".join(f"{_sentence(counts.tell_text(str(note)))}" for note in provenance["notes"])
    tables = [Table("People", ("", "People"), people, notes)]
    for classes in cohort.classes:
        shares = [
            (label, f"{n:,}", f"{100 * n / cohort.n:.1f} %")
            for label, n in zip(classes.labels, classes.people.tolist(), strict=True)
        ]
        tables.append(Table(classes.title, ("", "People", "Share"), shares))
    quality = [(f"{line['table']}: {line['what']}", told_count(int(line["rows"]))) for line in provenance["quality"]]
    reasons: dict[str, list[str]] = {}
    for line in provenance["left_out"]:
        reasons.setdefault(str(line["why"]), []).append(str(line["name"]))
    left_out = [(f"{why}: {_some(names)}", f"{len(names):,}") for why, names in reasons.items()]
    definitions = [
        (str(one["id"]), str(one["version"]), str(one["sha256"])[:16])
        for one in provenance["made_of"].get("definitions") or ()
    ]
    covariates = [(f"{one['name']}: {one['description']}",) for one in provenance["covariates"]]
    others = (
        Table("Rows of the records", ("", "Rows"), quality),
        Table("Traits left out", ("Reason", "Traits"), left_out),
        Table("Definitions", ("", "Version", "SHA-256"), definitions),
        Table("Covariates of the table", ("",), covariates),
    )
    return [*tables, *(table for table in others if table.rows)]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")


def _provenance_rows(provenance: Mapping[str, Any], counts: ToldCounts) -> list[tuple[str, str]]:
    made_of = provenance["made_of"]
    records, exclusion = made_of["records"], made_of["exclusion"]
    others = {
        key: value for key, value in made_of.items() if key not in ("records", "exclusion", "definitions", "covariates")
    }
    rows = [
        ("Records", f"{records['cdr']}, until {records['until']}, from {records['source']}"),
        ("Fingerprint of the records", str(records["fingerprint"])),
        ("Tables that were read", ", ".join(str(table) for table in provenance["tables"])),
        ("List of people left out", f"{counts.tell(int(exclusion['people']))} ids, SHA-256 {exclusion['sha256']}"),
        *((key[:1].upper() + key[1:], value) for key, value in _flat(others)),
        ("Digest of the table", str(provenance["digest"])),
        ("Built", f"{provenance['built']} by allscan {provenance['allscan']}"),
    ]
    return [(name, value) for name, value in rows if value]
