"""From tallies to panels: what one trait's part of the report holds, ready to be embedded."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.results import CUBE_TRAITS
from allscan.jobs.report.tally import FREQUENCY_LABELS, LINEAR_LIMIT, Resolution, scaled, tally_traits
from allscan.jobs.result_source import degrees_of_freedom, own_columns
from allscan.kernels import summary
from allscan.kernels.association import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from allscan.jobs.report.genome import Genome
    from allscan.jobs.report.tally import TraitTally
    from allscan.jobs.result_source import ResultSource

TOP_HITS = 10
"""Rows of the table of a trait that has no significant variant."""

LEAST_FOR_INFLATION = 100
"""Variants of a frequency class below which its λ is noise, and not shown."""

_EACH_RANK = 60
_QQ_POINTS = 200
_QQ_POINTS_OF_A_BIN = 80
_BAND_POINTS = 48


@dataclass(frozen=True)
class ReportOptions:
    """What the report shows."""

    significance: float = 5e-8  # p-value below which a variant can be a lead
    window_kb: float = 500.0  # clumping window to either side of a lead

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
    n_tested: int  # variants with a p-value
    inflation: float  # λ; NaN without a p-value
    n_leads: int  # significant leads
    top_value: float  # largest −log10 p; NaN without one
    top_variant: str
    status: dict[str, int]  # variants by status
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


def make_panels(source: ResultSource, genome: Genome, options: ReportOptions) -> Iterator[Panel]:
    """Panels of every stratum and trait, in that order, read in batches of traits.

    Parameters
    ----------
    source
        The results.
    genome
        Of :func:`allscan.jobs.report.genome.read_genome`.
    options
        Thresholds.
    """
    budget = Budget.of(len(source.traits) * len(source.strata))
    resolution = Resolution(
        budget.columns,
        budget.rows_per_unit,
        budget.points,
        options.neg_log10_significance,
        round(options.window_kb * 1000),
    )
    df = degrees_of_freedom(source)
    for stratum, stratum_name in enumerate(source.strata):
        for first in range(0, len(source.traits), CUBE_TRAITS):
            # As wide as the cube's chunks, so that each is read once.
            batch = slice(first, min(first + CUBE_TRAITS, len(source.traits)))
            tallies = tally_traits(source, genome, stratum, batch, resolution)
            clumps = [_lead_rows(tally, genome, resolution, budget) for tally in tallies]
            tables = _read_rows(source, stratum, batch, [c.shown for c in clumps])
            for tally, clumped, table, trait in zip(tallies, clumps, tables, source.traits[batch], strict=True):
                yield _panel(trait, stratum_name, tally, clumped, table, genome, resolution, df)


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
    names = ["n", "effect_allele_frequency", *(column.name for column in own_columns(source))]
    tables: list[dict[str, list[Any]]] = [
        {name: [None] * len(rows) for name in ["contig", "position", "id", "ref", "alt", "info", *names]}
        for rows in wanted
    ]
    needed = np.unique(np.concatenate([np.empty(0, np.int64), *wanted]))
    # Smaller pieces than the pass's blocks: a few leads must not cost the whole table again.
    piece = 1024
    for number in np.unique(needed // piece):
        start = int(number) * piece
        stop = min(start + piece, source.n_variants)
        variants = source.variant_names(start, stop)
        results = {name: source.block(name, stratum, traits, slice(start, stop)) for name in names}
        for t, rows in enumerate(wanted):
            for place in np.flatnonzero((rows >= start) & (rows < stop)):
                v = int(rows[place]) - start
                table = tables[t]
                table["contig"][place] = variants.contigs[variants.contig[v]]
                table["position"][place] = int(variants.position[v])
                table["id"][place] = variants.variant_id[v].as_py()
                table["ref"][place] = variants.ref[v].as_py()
                table["alt"][place] = variants.alt[v].as_py()
                table["info"][place] = _number(variants.info[v])
                for name in names:
                    table[name][place] = _number(results[name][t, v])
    return tables


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
) -> Panel:
    total = tally.histogram.sum(axis=0, dtype=np.int64)
    n_tested = int(total.sum())
    inflation = summary.inflation_of_median(summary.median_of_histogram(total), df)
    tested = n_tested > 0
    top_value = float(table["neg_log10_p"][0]) if len(leads.shown) else float("nan")
    table["members"] = leads.members.tolist()
    status = {Status(int(code)).name: int(tally.status[code]) for code in np.flatnonzero(tally.status[: len(Status)])}
    data = {
        "trait": trait,
        "stratum": stratum,
        "n": [tally.n_least if tested else tally.n_most, tally.n_most],
        "tested": n_tested,
        "inflation": _rounded(inflation),
        "top": _rounded(top_value),
        "points": _points(tally, genome, top_value),
        "grid": _grid(tally, resolution),
        "qq": _quantiles(total, _QQ_POINTS, tally.best.value),
        "band": _band(n_tested),
        "bins": _frequency_bins(tally, df),
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
        n_tested=n_tested,
        inflation=inflation,
        n_leads=leads.n_leads,
        top_value=top_value,
        top_variant=_name(table) if len(leads.shown) else "",
        status=status,
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


def _ranks(n: int, count: int) -> NDArray[np.int64]:
    """Ranks to draw: each of the first, then evenly on the plot's axis."""
    each = np.arange(1, min(n, _EACH_RANK) + 1)
    if n <= _EACH_RANK:
        return each
    spread = np.geomspace(_EACH_RANK, n, count - _EACH_RANK + 1)
    return np.unique(np.concatenate([each, np.round(spread).astype(np.int64)]))


def _quantiles(histogram: NDArray[np.int64], count: int, best: NDArray[np.float32]) -> dict[str, Any]:
    n = int(histogram.sum())
    ranks = _ranks(n, max(count, _EACH_RANK + 1)) if n else np.empty(0, np.int64)
    values = summary.value_at_rank(histogram, ranks) if n else np.empty(0)
    # The best are held one by one: their values are exact.
    exact = np.sort(best)[::-1]
    held = ranks <= len(exact)
    values[held] = exact[ranks[held] - 1]
    return {"n": n, "rank": _base64(ranks, "<u4"), "value": _base64(values, "<f4")}


def _band(n: int) -> dict[str, Any]:
    if n == 0:
        return {"rank": "", "low": "", "high": ""}
    ranks = np.unique(np.round(np.geomspace(1, n, _BAND_POINTS)).astype(np.int64))
    low, high = summary.qq_band(ranks, n)
    return {"rank": _base64(ranks, "<u4"), "low": _base64(low, "<f4"), "high": _base64(high, "<f4")}


def _frequency_bins(tally: TraitTally, df: int) -> list[dict[str, Any]]:
    bins = []
    for k, label in enumerate(FREQUENCY_LABELS):
        histogram = tally.histogram[k].astype(np.int64)
        tested = int(histogram.sum())
        inflation = float("nan")
        if tested >= LEAST_FOR_INFLATION:
            inflation = summary.inflation_of_median(summary.median_of_histogram(histogram), df)
        bins.append(
            {
                "label": label,
                "tested": tested,
                "inflation": _rounded(inflation),
                "qq": _quantiles(histogram, _QQ_POINTS_OF_A_BIN, tally.best.value[tally.best.frequency == k]),
            }
        )
    return bins


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
