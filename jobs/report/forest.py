"""Forest plots: one variant's effect in each study or group, what they are together, and what is left without each.

A piece of pages: drawn as it is embedded, by no script.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from allscan.kernels.normal import normal_neg_log10_p

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_Z = 1.959963984540054
_WIDTH = 300.0
_HEIGHT = 22.0
_EDGE = 8.0
_WIDEST = 12.0
"""Intervals are cut where they are this many times as wide as all estimates lie apart."""


@dataclass(frozen=True)
class ForestRow:
    """One line: a study, or a combination of them."""

    name: str
    beta: float
    standard_error: float
    neg_log10_p: float | None = None
    n: float | None = None
    frequency: float | None = None
    beta_without: float | None = None
    neg_log10_p_without: float | None = None
    combined: bool = False
    note: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        return self.beta - _Z * self.standard_error, self.beta + _Z * self.standard_error


@dataclass(frozen=True)
class Forest:
    """One variant and trait."""

    title: str
    facts: str
    rows: Sequence[ForestRow]
    ratios: bool = False
    """Whether effects are logarithms of ratios, and are told as ratios."""
    anchor: str = field(default="")


def forest_section(forests: Iterable[Forest]) -> list[dict[str, Any]]:
    """What the template ``forest_section.html.j2`` is filled with."""
    return [_drawn(forest) for forest in forests]


def forest_of_hit(
    hit: Mapping[str, Any],
    *,
    studies: str = "studies",
    ratios: bool,
    title: str,
    names: Mapping[str, str] | None = None,
) -> Forest:
    """The forest of a row of ``meta_hits.parquet``.

    Parameters
    ----------
    hit
        The row, as a mapping.
    studies
        What its studies are called, as ``studies`` or ``groups``.
    ratios
        Whether the trait is binary.
    title
        Of the forest.
    names
        What is told beside a study's name.
    """
    notes = names or {}
    rows = [
        ForestRow(
            one["study"],
            one["beta"],
            one["standard_error"],
            normal_neg_log10_p(one["beta"] / one["standard_error"]),
            n=one["n"],
            frequency=one["effect_allele_frequency"],
            beta_without=one["beta_without"],
            neg_log10_p_without=one["neg_log10_p_without"],
            note=notes.get(one["study"], ""),
        )
        for one in hit["studies"]
    ]
    combined = [("Fixed effects", "beta", "standard_error", "neg_log10_p")]
    combined.append(("Random effects", "beta_random", "standard_error_random", "neg_log10_p_random"))
    for name, *columns in combined:
        beta, error, y = (hit.get(column) for column in columns)
        if _told(beta) and _told(error):
            rows.append(ForestRow(name, float(beta), float(error), y if _told(y) else None, combined=True))  # type: ignore[arg-type]
    facts = [f"{hit['n_studies']} {studies}"]
    if _told(hit.get("i_squared")):
        facts.append(f"I² {100 * hit['i_squared']:.0f} %")
        facts.append(f"heterogeneity p {p_text(hit['neg_log10_p_q'])}")
    for name, label in (("neg_log10_p_re2", "RE2"), ("neg_log10_p_sample_size", "by sample size")):
        if _told(hit.get(name)):
            facts.append(f"{label} p {p_text(hit[name])}")
    return Forest(title, " · ".join(facts), rows, ratios)


def _told(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def p_text(neg_log10_p: float) -> str:
    """A p value in words, from −log10 p.

    >>> p_text(1.30103), p_text(8.0), p_text(400.25)
    ('0.050', '1.0e-8', '5.6e-401')
    """
    if neg_log10_p < 3.0:
        return f"{10.0**-neg_log10_p:.2g}" if neg_log10_p < 1.0 else f"{10.0**-neg_log10_p:.3f}"
    exponent = math.ceil(neg_log10_p)
    mantissa = f"{10.0 ** (exponent - neg_log10_p):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent - 1
    return f"{mantissa}e-{exponent}"


def _drawn(forest: Forest) -> dict[str, Any]:
    low, high = _range(forest.rows)

    def place(value: float) -> float:
        return _EDGE + (value - low) / (high - low) * (_WIDTH - 2.0 * _EDGE)

    weights = [1.0 / row.standard_error**2 for row in forest.rows if not row.combined]
    most = max(weights, default=1.0)
    return {
        "title": forest.title,
        "facts": forest.facts,
        "effect": "Odds ratio" if forest.ratios else "Effect",
        "with_without": any(row.beta_without is not None for row in forest.rows),
        "rows": [
            {
                "name": row.name,
                "note": row.note,
                "combined": row.combined,
                "n": "" if row.n is None else f"{row.n:,.0f}",
                "frequency": "" if row.frequency is None else f"{row.frequency:.3g}",
                "effect": _effect(row, forest.ratios),
                "p": "" if row.neg_log10_p is None else p_text(row.neg_log10_p),
                "without": _without(row, forest.ratios),
                "drawing": _drawing(row, place, low, high, math.sqrt(1.0 / row.standard_error**2 / most)),
            }
            for row in forest.rows
        ],
        "axis": _axis(place, low, high, forest.ratios),
    }


def _range(rows: Sequence[ForestRow]) -> tuple[float, float]:
    """What the axis spans: zero, all estimates, and intervals unless they are far wider."""
    estimates = [0.0, *(row.beta for row in rows)]
    spread = max(max(estimates) - min(estimates), *(row.standard_error for row in rows if row.combined), 1e-12)
    low = min(0.0, *(max(row.interval[0], min(estimates) - _WIDEST * spread) for row in rows))
    high = max(0.0, *(min(row.interval[1], max(estimates) + _WIDEST * spread) for row in rows))
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _effect(row: ForestRow, ratios: bool) -> str:
    low, high = row.interval
    if ratios:
        return f"{_ratio(row.beta)} ({_ratio(low)} to {_ratio(high)})"
    return f"{row.beta:.3g} ({low:.3g} to {high:.3g})"


def _ratio(value: float) -> str:
    return f"{math.exp(value):.3g}" if abs(value) < 300.0 else "∞" if value > 0 else "0"


def _without(row: ForestRow, ratios: bool) -> str:
    if row.beta_without is None or row.neg_log10_p_without is None:
        return ""
    effect = _ratio(row.beta_without) if ratios else f"{row.beta_without:.3g}"
    return f"{effect}, p {p_text(row.neg_log10_p_without)}"


def _drawing(row: ForestRow, place: Any, low: float, high: float, weight: float) -> Markup:
    """One line of the plot."""
    middle = _HEIGHT / 2.0
    left, right = row.interval
    parts = [f'<line class="zero" x1="{place(0.0):.1f}" y1="0" x2="{place(0.0):.1f}" y2="{_HEIGHT:g}"/>']
    x = place(row.beta)
    if row.combined:
        ends = f"{place(max(left, low)):.1f},{middle} {x:.1f},3 {place(min(right, high)):.1f},{middle}"
        parts.append(f'<polygon class="diamond" points="{ends} {x:.1f},{_HEIGHT - 3:g}"/>')
    else:
        parts.append(
            f'<line class="whisker" x1="{place(max(left, low)):.1f}" y1="{middle}" x2="{place(min(right, high)):.1f}" '
            f'y2="{middle}"/>'
        )
        half = 2.0 + 4.5 * weight
        parts.append(
            f'<rect class="square" x="{x - half:.1f}" y="{middle - half:.1f}" width="{2 * half:.1f}" '
            f'height="{2 * half:.1f}"/>'
        )
    return _svg(parts, _HEIGHT)


def _axis(place: Any, low: float, high: float, ratios: bool) -> Markup:
    """Ticks below the plot: of ratios at ratios."""
    parts = [f'<line class="zero" x1="{_EDGE}" y1="1" x2="{_WIDTH - _EDGE}" y2="1"/>']
    for value in _ticks(low, high):
        label = _ratio(value) if ratios else f"{value:g}"
        x = place(value)
        parts.append(f'<line class="zero" x1="{x:.1f}" y1="1" x2="{x:.1f}" y2="5"/>')
        parts.append(f'<text x="{x:.1f}" y="16" text-anchor="middle">{label}</text>')
    return _svg(parts, 20.0)


def _ticks(low: float, high: float) -> list[float]:
    """About four round numbers."""
    rough = (high - low) / 4.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough), 10.0 * power)
    first = math.ceil(low / step)
    return [round(k * step, 12) for k in range(first, math.floor(high / step) + 1)]


def _svg(parts: Iterable[str], height: float) -> Markup:
    # Numbers only: nothing of the users' files is in a drawing.
    return Markup(  # noqa: S704
        f'<svg class="forest" viewBox="0 0 {_WIDTH:g} {height:g}" width="{_WIDTH:g}" height="{height:g}" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )
