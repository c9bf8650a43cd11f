"""From tallies to panels: what one trait's part of the report holds, ready to be embedded."""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.hits import names_of
from allscan.engine.results import CUBE_TRAITS
from allscan.jobs.report.tally import (
    FREQUENCY_LABELS,
    LINEAR_LIMIT,
    UNKNOWN_FREQUENCY,
    Resolution,
    scaled,
    tally_traits,
)
from allscan.jobs.result_source import degrees_of_freedom, of_binary_traits, own_columns
from allscan.kernels import summary
from allscan.kernels.association import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.jobs.report.genome import Genome
    from allscan.jobs.report.tally import TraitTally
    from allscan.jobs.result_source import ResultSource

TOP_HITS = 10
"""Rows of the table of a trait that has no significant variant."""

LEAST_FOR_INFLATION = 100
"""Variants of a frequency class below which its λ is noise, and not shown."""

LEAST_PIECE = 1024
"""Variants read at a time for the tables, at least."""

_EACH_RANK = 60
_QQ_POINTS = 200
_QQ_POINTS_OF_A_BIN = 80
_BAND_POINTS = 48
_MANY_SIZES = 256  # traits of one cohort are often tested at the same number of variants


@dataclass(frozen=True)
class ReportOptions:
    """What the report shows."""

    significance: float = 5e-8  # p-value below which a variant can be a lead
    window_kb: float = 500.0  # clumping window to either side of a lead
    level: float = 0.05  # family-wise error and false discovery rate of a phenome-wide scan

    @property
    def neg_log10_significance(self) -> float:
        """The threshold as −log10 p."""
        return float(-np.log10(self.significance))


@dataclass(frozen=True)
class Panel:
    """One trait in one stratum."""

    trait: str
    stratum: str
    n: int  # most samples analysed at any variant
    cases: int | None  # of them; None where the trait is not binary
    n_tested: int  # variants with a p-value
    inflation: float  # λ; NaN without a p-value
    n_leads: int  # significant leads
    top_value: float  # largest −log10 p; NaN without one
    top_variant: str
    status: dict[str, int]  # variants by status
    leads: NDArray[np.int64]  # significant lead variants that the table shows, the most significant first
    lead_values: NDArray[np.float64]  # their −log10 p
    data: dict[str, Any]  # the picture and the tables, as the page's script reads them


@dataclass(frozen=True)
class Budget:
    """How much a panel may hold, so that the page stays small enough to open and to send."""

    columns: int
    rows_per_unit: int
    points: int
    lead_rows: int

    @classmethod
    def of(cls, n_panels: int) -> Budget:
        """Fine pictures for a few panels, coarser ones for hundreds."""
        if n_panels <= 8:
            return cls(1600, 30, 20_000, 500)
        if n_panels <= 60:
            return cls(1200, 25, 5_000, 200)
        if n_panels <= 600:
            return cls(800, 20, 1_200, 40)
        return cls(400, 12, 300, 10)


class PanelTask(NamedTuple):
    """Traits whose panels are made together."""

    kind: int  # of ResultSource.kinds
    stratum: int
    first: int  # trait of this kind


class PanelInputs(NamedTuple):
    """What the tasks of a report share."""

    source: ResultSource
    genome: Genome
    options: ReportOptions


def make_panels(
    source: ResultSource, genome: Genome, options: ReportOptions, executor: TaskRunner | None = None
) -> list[Panel]:
    """Panels of every stratum and trait, in that order, read in batches of traits.

    Parameters
    ----------
    source
        The results.
    genome
        Of :func:`allscan.jobs.report.genome.read_genome`.
    options
        Thresholds.
    executor
        What runs the batches; left out, one after the other here.
    """
    # As wide as the cube's chunks, so that each is read once.
    tasks = [
        PanelTask(number, stratum, first)
        for number, kind in enumerate(source.kinds)
        for stratum in range(len(source.strata))
        for first in range(0, len(kind.traits), CUBE_TRAITS)
    ]
    inputs = PanelInputs(source, genome, options)
    made = (
        ((task, panels_of(inputs, task)) for task in tasks)
        if executor is None
        else executor.run(panels_of, inputs, tasks)
    )
    panels = {(panel.stratum, panel.trait): panel for _, some in made for panel in some}
    return [panels[stratum, trait] for stratum in source.strata for trait in source.traits]


def panels_of(inputs: PanelInputs, task: PanelTask) -> list[Panel]:
    """Panels of one batch of traits."""
    whole, genome, options = inputs
    source = whole.kinds[task.kind]
    budget = Budget.of(len(whole.traits) * len(whole.strata))
    resolution = Resolution(
        budget.columns,
        budget.rows_per_unit,
        budget.points,
        options.neg_log10_significance,
        round(options.window_kb * 1000),
    )
    df = degrees_of_freedom(source)
    batch = slice(task.first, min(task.first + CUBE_TRAITS, len(source.traits)))
    tallies = tally_traits(source, genome, task.stratum, batch, resolution)
    clumps = [_lead_rows(tally, genome, resolution, budget) for tally in tallies]
    tables = _read_rows(source, task.stratum, batch, [c.shown for c in clumps])
    stratum = source.strata[task.stratum]
    return [
        _panel(trait, stratum, tally, clumped, table, genome, resolution, df, binary=of_binary_traits(source))
        for tally, clumped, table, trait in zip(tallies, clumps, tables, source.traits[batch], strict=True)
    ]


@dataclass(frozen=True)
class _Leads:
    shown: NDArray[np.int64]  # (rows,) variants of the table, most significant first
    members: NDArray[np.int64]  # (rows,) variants of each clump
    n_leads: int  # significant leads, shown or not
    significant: bool  # whether the rows are significant


def _lead_rows(tally: TraitTally, genome: Genome, resolution: Resolution, budget: Budget) -> _Leads:
    index, value = tally.candidates()
    significant = len(index) > 0
    if not significant:
        index, value = tally.best.index, tally.best.value
    leads = summary.clump(genome.contig[index], genome.position[index], value, resolution.window)
    rows = budget.lead_rows if significant else TOP_HITS
    return _Leads(
        index[leads.lead[:rows]],
        leads.members[:rows],
        len(leads.lead) if significant else 0,
        significant,
    )


def _read_rows(
    source: ResultSource, stratum: int, traits: slice, wanted: Sequence[NDArray[np.int64]]
) -> list[dict[str, list[Any]]]:
    """Table rows of each trait's variants; every block that holds any is read once for all traits."""
    sizes = [len(rows) for rows in wanted]
    trait = np.repeat(np.arange(len(wanted)), sizes)
    variant = np.concatenate([np.empty(0, np.int64), *wanted])
    results = _read_results(source, stratum, traits, trait, variant)
    distinct, of_row = np.unique(variant, return_inverse=True)
    named = names_of(source, distinct).take(of_row)
    columns = {
        "contig": [named.contigs[code] for code in named.contig],
        "position": named.position.tolist(),
        "id": named.variant_id.to_pylist(),
        "ref": named.ref.to_pylist(),
        "alt": named.alt.to_pylist(),
        "info": [_number(value) for value in named.info],
        **{name: [_number(value) for value in values] for name, values in results.items()},
    }
    if "status" in columns:
        columns["status"] = [Status(code).name for code in columns["status"]]
    ends = np.cumsum(sizes).tolist()
    return [
        {name: column[end - size : end] for name, column in columns.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]


def _read_results(
    source: ResultSource, stratum: int, traits: slice, trait: NDArray[np.int64], variant: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Result columns at some traits (counted from the first of ``traits``) and variants, each of their shape."""
    names = ["n", "effect_allele_frequency", *(column.name for column in own_columns(source))]
    if of_binary_traits(source):
        names += ["cases", "effect_allele_frequency_cases", "effect_allele_frequency_controls", "status"]
    # Smaller pieces than the pass's blocks: a few leads must not cost the whole table again. Whole chunks, each
    # read once; tiny ones together.
    piece = source.chunk_variants * -(-LEAST_PIECE // source.chunk_variants)
    found: dict[str, NDArray[Any]] = {}
    for number in np.unique(variant // piece).tolist():
        rows = np.flatnonzero(variant // piece == number)
        here = slice(number * piece, min((number + 1) * piece, source.n_variants))
        for name in names:
            values = source.block(name, stratum, traits, here)
            column = found.setdefault(name, np.empty(len(variant), values.dtype))
            column[rows] = values[trait[rows], variant[rows] - here.start]
    return found or {name: np.empty(0) for name in names}


def _number(value: Any) -> float | int | None:
    """A number as JSON holds it: float32 by its shortest decimal, NaN as null."""
    if not np.isfinite(value):
        return None
    if isinstance(value, np.integer):
        return int(value)
    return float(np.format_float_scientific(value))


def _panel(
    trait: str,
    stratum: str,
    tally: TraitTally,
    leads: _Leads,
    table: dict[str, list[Any]],
    genome: Genome,
    resolution: Resolution,
    df: int,
    *,
    binary: bool,
) -> Panel:
    total = _quantiles(tally.histogram.sum(axis=0, dtype=np.uint32), _QQ_POINTS, tally.best.value)
    bins = [
        _quantiles(counts, _QQ_POINTS_OF_A_BIN, tally.best.value[tally.best.frequency == k])
        for k, counts in enumerate(tally.histogram[:UNKNOWN_FREQUENCY])
    ]
    lambdas = summary.inflation_of_median([total.median, *(of_bin.median for of_bin in bins)], df)
    inflation = float(lambdas[0])
    tested = total.n > 0
    top_value = float(table["neg_log10_p"][0]) if len(leads.shown) else float("nan")
    table["members"] = leads.members.tolist()
    status = {Status(int(code)).name: int(tally.status[code]) for code in np.flatnonzero(tally.status[: len(Status)])}
    data = {
        "trait": trait,
        "stratum": stratum,
        "n": [tally.n_least if tested else tally.n_most, tally.n_most],
        "cases": [tally.most_cases, tally.most_controls] if binary else None,
        "tested": total.n,
        "inflation": _rounded(inflation),
        "top": _rounded(top_value),
        "points": _points(tally, genome, top_value),
        "grid": _grid(tally, resolution),
        "qq": total.data,
        "band": _band(total.n),
        "bins": [
            {
                "label": label,
                "tested": of_bin.n,
                "inflation": _rounded(value) if of_bin.n >= LEAST_FOR_INFLATION else None,
                "qq": of_bin.data,
            }
            for label, of_bin, value in zip(FREQUENCY_LABELS, bins, lambdas[1:].tolist(), strict=True)
        ],
        "leads": table,
        "n_leads": leads.n_leads,
        "significant": leads.significant,
        "n_significant": tally.n_significant,
        "status": status,
    }
    return Panel(
        trait=trait,
        stratum=stratum,
        n=tally.n_most,
        cases=tally.most_cases if binary else None,
        n_tested=total.n,
        inflation=inflation,
        n_leads=leads.n_leads,
        top_value=top_value,
        top_variant=_name(table) if len(leads.shown) else "",
        status=status,
        leads=leads.shown if leads.significant else leads.shown[:0],
        lead_values=np.array(table["neg_log10_p"] if leads.significant else (), np.float64),
        data=data,
    )


def _name(table: dict[str, list[Any]]) -> str:
    if table["id"][0] not in ("", "."):
        return str(table["id"][0])
    return ":".join(str(table[key][0]) for key in ("contig", "position", "ref", "alt"))


def _rounded(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _base64(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode("ascii")


def _points(tally: TraitTally, genome: Genome, top: float) -> dict[str, Any]:
    """The most significant variants one by one, in store order: position, −log10 p, alleles."""
    order = np.argsort(tally.best.index)
    index = tally.best.index[order]
    height = max(top, 1e-6) if np.isfinite(top) else 1.0
    return {
        "contigs": np.bincount(genome.contig[index], minlength=len(genome.contigs)).tolist(),
        "position": _base64(genome.position[index], "<u4"),
        "value": _base64(np.round(tally.best.value[order].astype(float) / height * 65535), "<u2"),
        "height": height,
        "allele": _base64(genome.allele[index], "u1"),
    }


def _grid(tally: TraitTally, resolution: Resolution) -> dict[str, Any]:
    """Cells that hold the variants that are not drawn one by one, one bit each."""
    threshold = tally.best.threshold
    rows = 0
    if threshold >= 0:
        rows = min(int(scaled(np.array([threshold]))[0] * resolution.rows_per_unit) + 1, resolution.rows)
    bits = np.packbits(tally.grid[:rows].ravel())
    return {
        "rows": rows,
        "columns": resolution.columns,
        "per_unit": resolution.rows_per_unit,
        "bits": base64.b64encode(bits.tobytes()).decode("ascii"),
    }


@functools.lru_cache(_MANY_SIZES)
def _ranks(n: int, count: int) -> tuple[NDArray[np.int64], str]:
    """Ranks to draw, and as the page holds them: each of the first, then evenly on the plot's axis."""
    each = np.arange(1, min(n, _EACH_RANK) + 1)
    if n <= _EACH_RANK:
        return each, _base64(each, "<u4")
    spread = np.geomspace(_EACH_RANK, n, count - _EACH_RANK + 1)
    ranks = np.unique(np.concatenate([each, np.round(spread).astype(np.int64)]))
    return ranks, _base64(ranks, "<u4")


@dataclass(frozen=True)
class _Quantiles:
    """Of the p-values of a trait, or of one frequency class of its variants."""

    n: int
    median: float  # −log10 p; NaN without any
    data: dict[str, Any]  # the line of a quantile–quantile plot


def _quantiles(histogram: NDArray[np.integer], count: int, best: NDArray[np.float32]) -> _Quantiles:
    n = int(histogram.sum(dtype=np.int64))
    if n == 0:
        return _Quantiles(0, float("nan"), {"n": 0, "rank": "", "value": ""})
    ranks, ranks_text = _ranks(n, max(count, _EACH_RANK + 1))
    middle = summary.median_ranks(n)
    values = summary.value_at_rank(histogram, np.concatenate([middle, ranks]))
    median, values = float(np.mean(values[: len(middle)])), values[len(middle) :]
    # The best are held one by one: their values are exact.
    exact = np.sort(best)[::-1]
    held = ranks <= len(exact)
    values[held] = exact[ranks[held] - 1]
    return _Quantiles(n, median, {"n": n, "rank": ranks_text, "value": _base64(values, "<f4")})


@functools.lru_cache(_MANY_SIZES)
def _band(n: int) -> dict[str, Any]:
    if n == 0:
        return {"rank": "", "low": "", "high": ""}
    ranks = np.unique(np.round(np.geomspace(1, n, _BAND_POINTS)).astype(np.int64))
    low, high = summary.qq_band(ranks, n)
    return {"rank": _base64(ranks, "<u4"), "low": _base64(low, "<f4"), "high": _base64(high, "<f4")}


def axis_data(genome: Genome) -> dict[str, Any]:
    """The horizontal axis as the page's script reads it."""
    return {
        "names": list(genome.contigs),
        "first": genome.first.tolist(),
        "last": genome.last.tolist(),
        "offset": [round(float(value), 7) for value in genome.offset],
        "width": [round(float(value), 7) for value in genome.width],
        "linear_limit": LINEAR_LIMIT,
    }
