"""From tallies to panels: what one trait's part of the report holds, ready to be embedded."""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from allscan.engine.results import CUBE_TRAITS
from allscan.jobs.report.cells import read_rows
from allscan.jobs.report.tally import (
    FREQUENCY_LABELS,
    LINEAR_LIMIT,
    UNKNOWN_FREQUENCY,
    Resolution,
    scaled,
    tally_traits,
)
from allscan.jobs.result_source import degrees_of_freedom, of_binary_traits
from allscan.kernels import summary
from allscan.kernels.association import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.jobs.report.genome import Genome
    from allscan.jobs.report.tally import TraitTally
    from allscan.jobs.result_source import ResultSource

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

TOP_HITS = 10
"""Rows of the table of a trait that has no significant variant."""

LEAST_FOR_INFLATION = 100
"""Variants of a frequency class below which its λ is noise, and not shown."""

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

    @property
    def window(self) -> int:
        """The clumping window in base pairs."""
        return round(self.window_kb * 1000)


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
    leads: NDArray[np.int64]  # all significant lead variants, the most significant first
    lead_values: NDArray[np.float32]  # their −log10 p
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
    budget: Budget
    prefix: str


def make_panels(
    source: ResultSource,
    genome: Genome,
    options: ReportOptions,
    executor: TaskRunner | None = None,
    *,
    n_panels: int | None = None,
    prefix: str = "",
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
    n_panels
        Panels of the whole page; left out, these.
    prefix
        Goes before the name of each stratum.
    """
    # As wide as the cube's chunks, so that each is read once.
    tasks = [
        PanelTask(number, stratum, first)
        for number, kind in enumerate(source.kinds)
        for stratum in range(len(source.strata))
        for first in range(0, len(kind.traits), CUBE_TRAITS)
    ]
    budget = Budget.of(n_panels or len(source.traits) * len(source.strata))
    inputs = PanelInputs(source, genome, options, budget, prefix)
    panels = {
        (panel.stratum, panel.trait): panel
        for _, some in run_tasks(panels_of, inputs, tasks, executor)
        for panel in some
    }
    return [panels[prefix + stratum, trait] for stratum in source.strata for trait in source.traits]


def run_tasks(
    function: Callable[[S, T], R], shared: S, tasks: Sequence[T], executor: TaskRunner | None
) -> Iterable[tuple[T, R]]:
    """Tasks on an executor, or without one here, one after the other."""
    if executor is None:
        return ((task, function(shared, task)) for task in tasks)
    return executor.run(function, shared, tasks)


def panels_of(inputs: PanelInputs, task: PanelTask) -> list[Panel]:
    """Panels of one batch of traits."""
    whole, genome, options, budget, prefix = inputs
    source = whole.kinds[task.kind]
    resolution = Resolution(
        budget.columns,
        budget.rows_per_unit,
        budget.points,
        options.neg_log10_significance,
        options.window,
    )
    df = degrees_of_freedom(source)
    batch = slice(task.first, min(task.first + CUBE_TRAITS, len(source.traits)))
    held: dict[str, NDArray[Any]] = {}
    tallies = tally_traits(source, genome, task.stratum, batch, resolution, held)
    clumps = [_lead_rows(tally, genome, resolution, budget) for tally in tallies]
    tables = read_rows(source, task.stratum, batch, [c.shown for c in clumps], held)
    stratum = prefix + source.strata[task.stratum]
    return [
        _panel(trait, stratum, tally, clumped, table, genome, resolution, df, binary=of_binary_traits(source))
        for tally, clumped, table, trait in zip(tallies, clumps, tables, source.traits[batch], strict=True)
    ]


@dataclass(frozen=True)
class _Leads:
    index: NDArray[np.int64]  # (leads,) variants, most significant first
    value: NDArray[np.float32]  # (leads,) their −log10 p
    members: NDArray[np.int64]  # (leads,) variants of each clump
    rows: int  # of them, in the table
    significant: bool  # whether they are significant; if not, they stand in

    @property
    def shown(self) -> NDArray[np.int64]:
        """Variants of the table."""
        return self.index[: self.rows]


def _lead_rows(tally: TraitTally, genome: Genome, resolution: Resolution, budget: Budget) -> _Leads:
    index, value = tally.candidates()
    significant = len(index) > 0
    if not significant:
        index, value = tally.best.index, tally.best.value
    leads = summary.clump(genome.contig[index], genome.position[index], value, resolution.window)
    rows = budget.lead_rows if significant else TOP_HITS
    return _Leads(index[leads.lead], value[leads.lead], leads.members, rows, significant)


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
    table["members"] = leads.members[: leads.rows].tolist()
    n_leads = len(leads.index) if leads.significant else 0
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
        "n_leads": n_leads,
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
        n_leads=n_leads,
        top_value=top_value,
        top_variant=_name(table) if len(leads.shown) else "",
        status=status,
        leads=leads.index[:n_leads],
        lead_values=leads.value[:n_leads],
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
