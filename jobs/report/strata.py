"""What the strata of each trait say beside each other: pooled against meta-analysis, loci, effects by group."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.disclosure import SMALL
from allscan.engine.meta.cube import Counting
from allscan.engine.results import CUBE_TRAITS
from allscan.jobs.report.cells import name_columns
from allscan.jobs.report.contrast import PAIR_CELLS_PER_UNIT, contrast_traits
from allscan.jobs.report.filling import as_json
from allscan.jobs.report.loci import Leads, find_loci, read_loci
from allscan.jobs.report.panels import run_tasks
from allscan.jobs.result_source import META_PREFIX, of_binary_traits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.jobs.report.contrast import Contrast
    from allscan.jobs.report.genome import Genome
    from allscan.jobs.report.loci import Estimates, Loci
    from allscan.jobs.report.panels import Budget, Panel, ReportOptions
    from allscan.jobs.report.views import Views
    from allscan.jobs.result_source import ResultSource

HIDDEN = -2
"""Stands for a small count of people in the data of the page; −1 for none."""
POOLED_AND_META, POOLED_ONLY, META_ONLY, GROUPS_ONLY = range(4)
FOUND_BY = ("pooled and by meta-analysis", "pooled only", "by meta-analysis only", "in single groups only")
"""Who found a locus, where both are there."""


class StrataTask(NamedTuple):
    """Traits of one kind, in the groups of one stratification."""

    kind: int
    first: int  # trait of this kind
    grouping: int


class StrataInputs(NamedTuple):
    """What the tasks share."""

    source: ResultSource
    meta: ResultSource | None
    genome: Genome
    options: ReportOptions
    views: Views
    leads: Mapping[tuple[str, str], Leads]  # by trait and stratum
    points: int


@dataclass(frozen=True)
class TraitStrata:
    """One trait in one stratification."""

    trait: str
    grouping: int
    binary: bool
    contrast: Contrast
    loci: Loci


def make_strata(
    source: ResultSource,
    meta: ResultSource | None,
    genome: Genome,
    panels: Sequence[Panel],
    views: Views,
    options: ReportOptions,
    budget: Budget,
    executor: TaskRunner | None = None,
) -> list[TraitStrata]:
    """Every trait in every stratification that has groups, by stratification and trait.

    Parameters
    ----------
    source, meta
        Results of the scan, and of the meta-analyses of its strata.
    genome, panels, options, budget
        Of the page.
    views
        How the strata belong together.
    executor
        What runs batches of traits; left out, one after the other here.
    """
    leads = {(panel.trait, panel.stratum): Leads(panel.leads, panel.lead_values) for panel in panels}
    shown = [number for number, grouping in enumerate(views.groupings) if grouping.groups]
    tasks = [
        StrataTask(number, first, grouping)
        for grouping in shown
        for number, kind in enumerate(source.kinds)
        for first in range(0, len(kind.traits), CUBE_TRAITS)
    ]
    inputs = StrataInputs(source, meta, genome, options, views, leads, min(budget.points, 2_000))
    made = {(one.grouping, one.trait): one for _, some in run_tasks(strata_of, inputs, tasks, executor) for one in some}
    return [made[grouping, trait] for grouping in shown for trait in source.traits]


def strata_of(inputs: StrataInputs, task: StrataTask) -> list[TraitStrata]:
    """One batch of traits in one stratification."""
    whole, metas, genome, options, views, leads, points = inputs
    source, grouping = whole.kinds[task.kind], views.groupings[task.grouping]
    traits = slice(task.first, min(task.first + CUBE_TRAITS, len(source.traits)))
    names = source.traits[traits]
    meta = None
    if metas is not None and grouping.meta is not None:
        meta = next(kind for kind in metas.kinds if kind.traits == source.traits)
    contrasts = contrast_traits(
        source,
        meta,
        grouping,
        views.pooled,
        traits,
        significance=options.neg_log10_significance,
        points=points,
    )
    strata = [
        *([whole.strata[views.pooled]] if views.pooled is not None else [""]),
        META_PREFIX + grouping.name,
        *grouping.stratum_names,
    ]
    none = Leads(np.empty(0, np.int64), np.empty(0, np.float32))
    found = [
        find_loci(
            [*(leads.get((trait, stratum), none) for stratum in strata), Leads(one.re2_index, one.re2_value)],
            genome,
            options.window,
        )
        for trait, one in zip(names, contrasts, strict=True)
    ]
    loci = read_loci(
        source, meta, grouping, views.pooled, traits, [variants for variants, _ in found], [by for _, by in found]
    )
    binary = of_binary_traits(source)
    return [
        TraitStrata(trait, task.grouping, binary, contrast, of_trait)
        for trait, contrast, of_trait in zip(names, contrasts, loci, strict=True)
    ]


def found_by(loci: Loci) -> NDArray[np.int64]:
    """Who found each locus, as a place in ``FOUND_BY``, (loci,)."""
    pooled, meta = loci.by_pooled, loci.by_meta
    found = np.full(len(loci.variant), GROUPS_ONLY)
    found[pooled & meta] = POOLED_AND_META
    found[pooled & ~meta] = POOLED_ONLY
    found[meta & ~pooled] = META_ONLY
    return found


# ---- what the page holds --------------------------------------------------------------------------------


def section(
    strata: Sequence[TraitStrata],
    source: ResultSource,
    meta: ResultSource | None,
    panels: Sequence[Panel],
    views: Views,
    budget: Budget,
    fairness: Mapping[tuple[int, str], Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """The section of the page about strata, as its template and script read it.

    Parameters
    ----------
    strata
        Of :func:`make_strata`.
    source, meta
        Results of the scan, and of the meta-analyses of its strata.
    panels
        All of the page.
    views
        How the strata belong together.
    budget
        How much the page may hold.
    fairness
        Rows of the table of a trait's article, by stratification and trait.
    """
    place = {(panel.trait, panel.stratum): number for number, panel in enumerate(panels)}
    rows = [_index_row(one, views, panels, place, source) for one in strata]
    return {
        "rows": rows,
        "several": len({one.grouping for one in strata}) > 1,
        "counting": _counting(meta),
        "has_pairs": any(one.contrast.pairs is not None for one in strata),
        "articles": [
            as_json(_article(one, views, place, source, budget, fairness[one.grouping, one.trait])) for one in strata
        ],
    }


def _counting(meta: ResultSource | None) -> dict[str, Any]:
    """How groups count in the meta-analyses, for the notes."""
    if meta is None:
        return {"genomic_control": False, "thresholds": ""}
    spec = Counting.of(meta.attrs).spec
    least = {"people": spec.min_n, "copies of the rarer allele": spec.min_mac, "as its frequency": spec.min_maf}
    told = ", ".join(f"{value:g} {what}" for what, value in least.items() if value > 0)
    return {"genomic_control": spec.genomic_control, "thresholds": told}


def _stratum_of_all(views: Views, source: ResultSource) -> str:
    return "" if views.pooled is None else source.strata[views.pooled]


def _index_row(
    one: TraitStrata,
    views: Views,
    panels: Sequence[Panel],
    place: Mapping[tuple[str, str], int],
    source: ResultSource,
) -> dict[str, Any]:
    grouping = views.groupings[one.grouping]
    found = np.bincount(found_by(one.loci), minlength=len(FOUND_BY)).tolist()

    def inflation(stratum: str) -> tuple[str, float | str]:
        number = place.get((one.trait, stratum))
        value = float("nan") if number is None else panels[number].inflation
        return ("–", "") if np.isnan(value) else (f"{value:.3f}", value)

    return {
        "trait": one.trait,
        "grouping": grouping.name,
        "groups": sum(panels[place[one.trait, name]].n_tested > 0 for name in grouping.stratum_names),
        "pooled": inflation(_stratum_of_all(views, source)),
        "meta": inflation(META_PREFIX + grouping.name),
        "found": found,
        "loci": len(one.loci.variant),
        "differ": int(one.loci.differs.any(axis=0).sum()),
    }


def _article(
    one: TraitStrata,
    views: Views,
    place: Mapping[tuple[str, str], int],
    source: ResultSource,
    budget: Budget,
    fairness: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    grouping = views.groupings[one.grouping]
    return {
        "trait": one.trait,
        "grouping": grouping.name,
        "groups": list(grouping.groups),
        "binary": one.binary,
        "panels": {
            "pooled": place.get((one.trait, _stratum_of_all(views, source))),
            "meta": place.get((one.trait, META_PREFIX + grouping.name)),
            "groups": [place[one.trait, name] for name in grouping.stratum_names],
        },
        "pairs": _pairs(one.contrast),
        "loci": _loci(one.loci, source, budget.lead_rows),
        "n_loci": len(one.loci.variant),
        "fairness": list(fairness),
    }


def _pairs(contrast: Contrast) -> dict[str, Any] | None:
    pairs = contrast.pairs
    if pairs is None:
        return None
    rest = pairs.rest
    return {
        "n": pairs.n,
        "first": _base64(pairs.first, "<f4"),
        "second": _base64(pairs.second, "<f4"),
        "size": len(rest),
        "per_unit": PAIR_CELLS_PER_UNIT,
        "bits": base64.b64encode(np.packbits(rest.ravel()).tobytes()).decode("ascii"),
    }


def _loci(loci: Loci, source: ResultSource, most: int) -> dict[str, Any]:
    names = name_columns(source, loci.variant[:most])
    names.pop("info")
    pooled = None if loci.pooled is None else _estimates(loci.pooled, most)
    groups = [_estimates(group, most) for group in loci.groups]
    if pooled is not None:
        # What is left of everybody's, less the other groups', is the one that is not told.
        hidden = np.any([_few_copies(group) for group in loci.groups], axis=0)[:most]
        pooled["frequency"] = [None if hide else value for hide, value in zip(hidden, pooled["frequency"], strict=True)]
    return {
        **names,
        "found": found_by(loci)[:most].tolist(),
        "by": [by[:most].astype(int).tolist() for by in (loci.by_pooled, loci.by_fixed, loci.by_re2)],
        "by_group": loci.by_group[:, :most].astype(int).tolist(),
        "pooled": pooled,
        "by_groups": groups,
        "meta": {name: short(values[:most]) for name, values in loci.meta.items()},
        "without": {
            "beta": [short(values[:most]) for values in loci.beta_without],
            "se": [short(values[:most]) for values in loci.error_without],
            "p": [short(values[:most]) for values in loci.p_without],
        },
        "counts": loci.counts[:, :most].astype(int).tolist(),
        "differs": loci.differs[:, :most].astype(int).tolist(),
    }


def _estimates(estimates: Estimates, most: int) -> dict[str, Any]:
    n = estimates.n
    frequency = np.where(_few_copies(estimates), np.nan, estimates.frequency)
    return {
        "n": np.where((n >= 1) & (n <= SMALL), HIDDEN, n)[:most].astype(np.int64).tolist(),
        "frequency": short(frequency[:most]),
        "beta": short(estimates.beta[:most]),
        "se": short(estimates.standard_error[:most]),
        "p": short(estimates.neg_log10_p[:most]),
    }


def _few_copies(estimates: Estimates) -> NDArray[np.bool_]:
    """Where a frequency says of a few people that they carry the rarer allele."""
    with np.errstate(invalid="ignore"):
        copies = 2.0 * estimates.n * np.minimum(estimates.frequency, 1.0 - estimates.frequency)
        return np.asarray((copies > 0) & (copies <= SMALL))


def short(values: NDArray[np.float64]) -> list[float | None]:
    """Six digits: more than anybody reads."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def _base64(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode("ascii")
