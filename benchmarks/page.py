"""The page: every case over the nights, the limits beside them, other programs. One file, nothing loaded."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.limits import LIMITS
from benchmarks.records import CaseVerdict, PeerResult, Result, Run, baseline_runs
from benchmarks.runner import Settings, creep
from benchmarks.tables import (
    change_text,
    genotype_rate,
    machine_line,
    number_text,
    peak_share,
    peer_case,
    peer_rows,
    seconds_text,
    verdict_text,
)

HERE = Path(__file__).parent
SHOWN_RUNS = 60
WIDTH, HEIGHT, MARGIN = 220, 44, 5


@dataclass(frozen=True)
class Point:
    """One night of a case: a value and what to say of it."""

    value: float
    label: str
    verdict: str = "same"


def sparkline(points: Sequence[Point], *, title: str, base: float | None = None) -> Markup:
    """A line of values over runs as inline SVG; the range is at least ±10 % of the median."""
    if not points:
        return Markup("")
    values = sorted(point.value for point in points)
    middle = values[len(values) // 2]
    low, high = min(values[0], 0.9 * middle), max(values[-1], 1.1 * middle)

    def y(value: float) -> float:
        return round(HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * MARGIN), 1)

    step = (WIDTH - 2 * MARGIN) / max(1, len(points) - 1)
    places = [(round(MARGIN + k * step, 1), y(point.value)) for k, point in enumerate(points)]
    line = " ".join(f"{x},{height}" for x, height in places)
    # The markers carry names and dates from files: escaped.
    last = len(points) - 1
    marks = Markup("").join(
        # Dates and names come from files: `format` escapes them.
        Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
            point.verdict, x, height, 3.2 if k == last or point.verdict in ("slower", "faster") else 1.6, point.label
        )
        for k, (point, (x, height)) in enumerate(zip(points, places, strict=True))
    )
    level = Markup("")
    if base is not None:
        level = Markup('<line class="base" x1="0" x2="{}" y1="{}" y2="{}"/>').format(WIDTH, y(base), y(base))
    frame = '<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}">{}<polyline points="{}"/>{}</svg>'
    return Markup(frame).format(WIDTH, HEIGHT, title, level, line, marks)


def render(history: Sequence[Run], settings: Settings) -> str:
    """The page of a history, oldest first; its last run is what it tells of."""
    run = history[-1]
    same = [past for past in history if past.fingerprint == run.fingerprint and past.size == run.size][-SHOWN_RUNS:]
    groups: dict[str, list[dict[str, object]]] = {}
    for result in run.results:
        name = result.case.partition("[")[0].replace("_", " ")
        groups.setdefault(name, []).append(case_row(result, history, same, settings))
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    kinds = ("slower", "accepted", "faster", "same", "new")
    return environment.get_template("page.html.j2").render(
        run=run,
        machine=machine_line(run),
        counts={kind: sum(verdict.verdict == kind for verdict in run.verdicts) for kind in kinds},
        threshold=f"{100 * (settings.threshold - 1):.0f} %",
        slower=[verdict_text(verdict) for verdict in run.verdicts if verdict.verdict == "slower"],
        groups=groups,
        limits=limit_rows(same, run),
        peers=[(peer_case(result), peer_rows(result), result) for result in latest_peers(same)],
        peer_trends=peer_trends(same),
        runs=[run_row(past) for past in reversed(same)],
        others=len(history) - len(same),
        baseline=settings.baseline_runs,
        software_changes=software_changes(same),
    )


def case_row(result: Result, history: Sequence[Run], same: Sequence[Run], settings: Settings) -> dict[str, object]:
    """A line of the table of cases."""
    case, run = result.case, same[-1]
    points, verdicts = [], {past.date: {v.case: v for v in past.verdicts} for past in same}
    new = CaseVerdict(case, "new", 0)
    for past in same:
        found = past.result(case)
        if found is not None:
            text = f"{past.date[:16]} {past.commit[:10]}: {found.ratio:.4g} ({seconds_text(found.median_seconds)})"
            points.append(Point(found.ratio, text, verdicts[past.date].get(case, new).verdict))
    earlier = baseline_runs(history, run, case, settings.baseline_runs)
    recent = [found.ratio for past in earlier if (found := past.result(case)) is not None]
    verdict = verdicts[run.date].get(case, new)
    judged = verdict.verdict != "new"
    since = creep(run, history, case, settings.baseline_runs)
    name, _, rest = case.partition("[")
    return {
        "case": rest.removesuffix("]") or name.replace("_", " "),
        "full": case,
        "spark": sparkline(points, title=f"{case}: {len(points)} runs", base=median(recent) if recent else None),
        "time": seconds_text(result.median_seconds),
        "judged": result.judged,
        "rate": f"{genotype_rate(result):.3g}" if result.genotypes else "–",
        "share": "" if math.isnan(peak_share(result)) else f"{peak_share(result):.0%} of the peak",
        "ratio": number_text(result.ratio),
        "limit": result.limit.upper(),
        "verdict": verdict.verdict,
        "change": change_text(verdict.change) if judged else "–",
        "bounds": f"{change_text(verdict.low)} … {change_text(verdict.high)}" if judged else "",
        "since": "–" if since is None else change_text(since),
        "crept": since is not None and since > settings.threshold,
    }


def write_page(path: Path, history: Sequence[Run], settings: Settings) -> None:
    """Write the page: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    temporary.write_text(render(history, settings), encoding="utf-8")
    temporary.replace(path)


def limit_rows(same: Sequence[Run], run: Run) -> list[dict[str, object]]:
    """Each limit on one and on all cores, over the runs."""
    rows: list[dict[str, object]] = []
    for limit in LIMITS.values():
        for threads in sorted({1, run.machine["cpus"]}):
            points = [
                Point(rate / limit.scale, f"{past.date[:16]}: {rate / limit.scale:.4g} {limit.unit}")
                for past in same
                if math.isfinite(rate := past.limit_rate(limit.name, threads))
            ]
            if points:
                rows.append(
                    {
                        "title": limit.title,
                        "threads": threads,
                        "now": f"{points[-1].value:.4g} {limit.unit}",
                        "spark": sparkline(points, title=f"{limit.title}, {threads} threads"),
                    }
                )
    return rows


def latest_peers(same: Sequence[Run]) -> list[PeerResult]:
    """The comparisons of the last run that has some."""
    return next((past.peers for past in reversed(same) if past.peers), [])


def peer_trends(same: Sequence[Run]) -> list[dict[str, object]]:
    """For each comparison of the last run: the peer's CPU seconds over ours, over the runs."""
    rows: list[dict[str, object]] = []
    for latest in latest_peers(same):
        for label in latest.costs:
            if label == latest.peer:
                continue
            points = []
            for past in same:
                for result in past.peers:
                    if result.peer == latest.peer and peer_case(result) == peer_case(latest) and label in result.costs:
                        theirs = median(cost.cpu_seconds for cost in result.costs[result.peer])
                        ours = median(cost.cpu_seconds for cost in result.costs[label])
                        points.append(Point(theirs / ours, f"{past.date[:16]}: {theirs / ours:.3g} times"))
            rows.append(
                {
                    "case": peer_case(latest),
                    "what": f"{latest.peer} / {label}",
                    "now": f"{points[-1].value:.2f}",
                    "spark": sparkline(points, title=f"{latest.peer} over {label}"),
                }
            )
    return rows


def run_row(run: Run) -> dict[str, object]:
    """A line of the list of runs."""
    return {
        "date": run.date[:16].replace("T", " "),
        "commit": run.commit[:10] + ("+" if run.dirty else ""),
        "cases": len(run.results),
        "slower": ", ".join(run.regressed()) or "–",
        "failed": ", ".join(run.failed) or "–",
        "warnings": "; ".join(run.warnings) or "–",
    }


def software_changes(same: Sequence[Run]) -> list[str]:
    """Versions that differ between this run and the one before."""
    if len(same) < 2:
        return []
    before, now = same[-2].software, same[-1].software
    return [f"{name} {before[name]} → {now[name]}" for name in now if name in before and before[name] != now[name]]
