"""What each group of people has of a scan: people, variants, calibration, power, and what it gains from the others."""

from __future__ import annotations

import json
import math
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from allscan.jobs.phewas_table import write_table
from allscan.jobs.report.tally import FREQUENCY_LABELS
from allscan.jobs.result_source import META_PREFIX, degrees_of_freedom
from allscan.kernels.association import HAS_RESULT, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allscan.jobs.report.panels import Panel, ReportOptions
    from allscan.jobs.report.strata import TraitStrata
    from allscan.jobs.report.views import Grouping, Views
    from allscan.jobs.result_source import ResultSource
    from allscan.storage import Place

FAIRNESS_TABLE = "fairness.parquet"
REFERENCE_SHARE = 0.001
"""Of a quantitative trait's variance: the effect that power is told of."""
REFERENCE_ODDS = 1.2
"""Of a binary trait: the odds ratio per allele."""
REFERENCE_FREQUENCY = 0.05
"""Of that allele, in the group itself."""
POWER = 0.8
FREQUENCIES = (0.01, 0.05, 0.25)
"""Of alleles whose smallest detectable effect is told."""

_TESTED = HAS_RESULT | {Status.PARTLY_COLLINEAR}
_TOLD_APART = (Status.MONOMORPHIC, Status.FILTERED, Status.TOO_FEW_CASES)
_BINS = ("0_001", "001_01", "01_05", "05_50")

COLUMNS: dict[str, tuple[pa.DataType, str, str]] = {
    "trait": (pa.string(), "Name of the trait", ""),
    "kind": (pa.string(), "quantitative or binary", ""),
    "stratification": (pa.string(), "What people are grouped by; empty: everybody", ""),
    "analysis": (pa.string(), "pooled, group or meta", ""),
    "group": (pa.string(), "Name of the group; empty: everybody, or all groups", ""),
    "stratum": (pa.string(), "As the results name it; null where there are none", ""),
    "reason": (pa.string(), "Why there are no results; null where there are", ""),
    "people": (pa.int64(), "Who are analysed", "people"),
    "share": (pa.float64(), "Of the people of the pooled analysis", ""),
    "cases": (pa.int64(), "Of a binary trait", "people"),
    "controls": (pa.int64(), "Of a binary trait", "people"),
    "effective_n": (pa.float64(), "People; of a binary trait 4 / (1 / cases + 1 / controls)", "people"),
    "weight_share": (pa.float64(), "Of the weights of fixed effects, mean over variants common in all groups", ""),
    "variants_tested": (pa.int64(), "Variants with a result", "variants"),
    "variants_only_here": (pa.int64(), "Of them, those without a result in any other group", "variants"),
    "variants_monomorphic": (pa.int64(), "Nobody, or everybody, carries the allele", "variants"),
    "variants_filtered": (pa.int64(), "Left out by the job's filters", "variants"),
    "variants_too_few_cases": (pa.int64(), "Too few cases or controls", "variants"),
    "variants_other": (
        pa.int64(),
        "Without a result for another reason; of a meta-analysis, in too few groups",
        "variants",
    ),
    "inflation": (pa.float64(), "Genomic inflation of the median", ""),
    **{
        f"inflation_{name}": (pa.float64(), f"Of variants with a minor-allele frequency of {label}", "")
        for name, label in zip(_BINS, FREQUENCY_LABELS, strict=True)
    },
    "error_ratio": (pa.float64(), "Standard error over the pooled one: median of variants common in the group", ""),
    "loci": (pa.int64(), "Loci that this analysis finds by itself", "loci"),
    "loci_gained": (pa.int64(), "Loci that everybody together finds, and this group alone does not", "loci"),
    "loci_gained_agreeing": (pa.int64(), "Of them, those where the group agrees with the others", "loci"),
    "loci_differing": (pa.int64(), "Loci where the group's effect differs from the others'", "loci"),
    "power": (pa.float64(), "To find the reference effect at the report's significance", ""),
    **{
        f"smallest_effect_{frequency:g}": (
            pa.float64(),
            f"Found with a power of {POWER:g}, per allele of frequency {frequency:g}",
            "standard deviations, or log odds",
        )
        for frequency in FREQUENCIES
    },
}
"""Type, meaning, unit."""


def fairness_rows(
    strata: Sequence[TraitStrata],
    source: ResultSource,
    panels: Sequence[Panel],
    views: Views,
    options: ReportOptions,
) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """Rows of the table by stratification and trait: everybody, each group, their meta-analysis, who is not scanned.

    Parameters
    ----------
    strata
        Of :func:`allscan.jobs.report.strata.make_strata`.
    source
        Results of the scan.
    panels
        Of every trait in every stratum and meta-analysis.
    views
        How the strata belong together.
    options
        Significance.
    """
    panel_of = {(panel.trait, panel.stratum): panel for panel in panels}
    df = {trait: degrees_of_freedom(kind) for kind in source.kinds for trait in kind.traits}
    found = {}
    for one in strata:
        grouping = views.groupings[one.grouping]
        of_all = None if views.pooled is None else panel_of[one.trait, source.strata[views.pooled]]
        of_meta = panel_of.get((one.trait, META_PREFIX + grouping.name))
        whole = _whole(of_all, [panel_of[one.trait, name] for name in grouping.stratum_names])
        rows = []
        if of_all is not None:
            rows.append(
                {
                    **_row(of_all, "pooled", "", "", whole, options, df[one.trait]),
                    "loci": int(one.loci.by_pooled.sum()),
                }
            )
        for g, (name, stratum) in enumerate(zip(grouping.groups, grouping.stratum_names, strict=True)):
            panel = panel_of[one.trait, stratum]
            row = _row(panel, "group", grouping.name, name, whole, options, df[one.trait])
            if panel.n_tested:
                row |= _of_group(one, g)
            else:
                row["reason"] = _reason(grouping, name, one.trait)
            rows.append(row)
        if of_meta is not None:
            rows.append(
                {
                    **_row(of_meta, "meta", grouping.name, "", whole, options, df[one.trait]),
                    "loci": int(one.loci.by_meta.sum()),
                }
            )
        rows += [
            {
                "trait": one.trait,
                "kind": rows[0]["kind"],
                "stratification": grouping.name,
                "analysis": "group",
                "group": left_out.group,
                "reason": left_out.reason,
            }
            for left_out in grouping.not_scanned
            if not left_out.trait
        ]
        found[one.grouping, one.trait] = rows
    return found


def _whole(of_all: Panel | None, groups: Sequence[Panel]) -> int:
    """People that shares are of."""
    return sum(panel.n for panel in groups) if of_all is None else of_all.n


def _row(
    panel: Panel, analysis: str, stratification: str, group: str, whole: int, options: ReportOptions, df: int
) -> dict[str, Any]:
    """What a panel says of its people and variants."""
    n, cases, controls = panel.n, None, None
    effective = float(n)
    if panel.data["cases"] is not None:
        cases, controls = panel.data["cases"]
        effective = 4.0 * cases * controls / (cases + controls) if cases + controls else 0.0
    scanned = panel.n_tested > 0
    not_tested = {Status[name]: count for name, count in panel.status.items() if Status[name] not in _TESTED}
    # A meta-analysis filters nothing: these are in too few groups.
    told_apart = {} if analysis == "meta" else {status: not_tested.pop(status, 0) for status in _TOLD_APART}
    return {
        "trait": panel.trait,
        "kind": "quantitative" if cases is None else "binary",
        "stratification": stratification,
        "analysis": analysis,
        "group": group,
        "stratum": panel.stratum if scanned else None,
        "people": n if scanned else None,
        "share": n / whole if scanned and whole else None,
        "cases": cases if scanned else None,
        "controls": controls if scanned else None,
        "effective_n": effective if scanned else None,
        "variants_tested": panel.n_tested,
        "variants_monomorphic": told_apart.get(Status.MONOMORPHIC),
        "variants_filtered": told_apart.get(Status.FILTERED),
        "variants_too_few_cases": told_apart.get(Status.TOO_FEW_CASES),
        "variants_other": sum(not_tested.values()),
        "inflation": _number(panel.inflation),
        **{f"inflation_{name}": b["inflation"] for name, b in zip(_BINS, panel.data["bins"], strict=True)},
        **(_power(effective, options, df, binary=cases is not None) if scanned and effective > 0 else {}),
    }


def _power(effective: float, options: ReportOptions, df: int, *, binary: bool) -> dict[str, float]:
    # SciPy's special functions are not loaded for pages without groups.
    from allscan.kernels import power

    level = options.neg_log10_significance
    needed = power.noncentrality_of_power(POWER, level, df)
    frequencies = np.array(FREQUENCIES)
    if binary:
        ncp = power.binary_noncentrality(effective, REFERENCE_FREQUENCY, math.log(REFERENCE_ODDS))
        smallest = power.binary_effect(effective, frequencies, needed)
    else:
        ncp = power.quantitative_noncentrality(effective, REFERENCE_SHARE)
        smallest = power.quantitative_effect(effective, frequencies, needed)
    return {
        "power": float(power.power(ncp, level, df)),
        **{f"smallest_effect_{f:g}": float(effect) for f, effect in zip(FREQUENCIES, smallest, strict=True)},
    }


def _of_group(one: TraitStrata, g: int) -> dict[str, Any]:
    loci = one.loci
    gained = loci.gained[g]
    return {
        "weight_share": _number(float(one.contrast.weight_share[g])),
        "variants_only_here": int(one.contrast.only_here[g]),
        "error_ratio": _number(float(one.contrast.error_ratio[g])),
        "loci": int(loci.by_group[g].sum()),
        "loci_gained": int(gained.sum()),
        "loci_gained_agreeing": int((gained & loci.agrees[g]).sum()),
        "loci_differing": int(loci.differs[g].sum()),
    }


def _reason(grouping: Grouping, group: str, trait: str) -> str:
    told = [one.reason for one in grouping.not_scanned if (one.group, one.trait) == (group, trait)]
    return told[0] if told else "no variant has a result"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_fairness(folder: Place, rows: Mapping[tuple[int, str], Sequence[Mapping[str, Any]]]) -> None:
    """Write ``fairness.parquet``: the numbers of the report as they are, small counts among them.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    # The row of everybody stands in each stratification; once is enough.
    seen, listed = set(), []
    for of_trait in rows.values():
        for row in of_trait:
            key = (row["trait"], row["stratification"], row["analysis"], row["group"])
            if key not in seen:
                seen.add(key)
                listed.append(row)
    fields = [
        pa.field(name, kind, metadata={"description": meaning, "unit": unit})
        for name, (kind, meaning, unit) in COLUMNS.items()
    ]
    about = {
        "format": "allscan-fairness",
        "format_version": 1,
        "software": f"allscan {metadata.version('allscan')}",
        "reference_effect": {
            "quantitative": {"variance_explained": REFERENCE_SHARE},
            "binary": {"odds_ratio": REFERENCE_ODDS, "frequency": REFERENCE_FREQUENCY},
        },
        "power_of_smallest_effect": POWER,
    }
    schema = pa.schema(fields, metadata={"allscan": json.dumps(about)})
    arrays = [pa.array([row.get(field.name) for row in listed], field.type) for field in schema]
    write_table(folder / FAIRNESS_TABLE, pa.Table.from_arrays(arrays, schema=schema))
