"""Tables of a run: for the documentation (Markdown) and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from benchmarks.limits import LIMITS
from benchmarks.records import CaseVerdict, PeerResult, Result, Run


def result_table(run: Run) -> str:
    """Limits and cases as Markdown: what each case reaches, and which share of each limit that is."""
    lines = [
        f"{machine_line(run)} {run.date[:10]}, commit {run.commit[:10]}{' and changes' if run.dirty else ''}, "
        f"size `{run.size}`.",
        "",
        "| limit | one core | all cores |",
        "|---|---:|---:|",
    ]
    threads = run.machine["cpus"]
    for limit in LIMITS.values():
        one, every = run.limit_rate(limit.name), run.limit_rate(limit.name, threads)
        cells = [f"{rate / limit.scale:,.4g} {limit.unit}" if math.isfinite(rate) else "–" for rate in (one, every)]
        lines.append(f"| {limit.title} | {' | '.join(cells)} |")
    lines += [
        "",
        "| case | time | G genotypes/s per core | share of the product's peak | share of memory bandwidth | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for result in run.results:
        cells = [
            f"`{result.case}`",
            seconds_text(result.median_seconds),
            number_text(genotype_rate(result)),
            _percent(peak_share(result)),
            _percent(traffic_share(run, result)),
            number_text(result.ratio),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def peer_table(run: Run) -> str:
    """Comparisons with other programs as Markdown, or nothing."""
    if not run.peers:
        return ""
    lines = [
        "| case | program | CPU seconds | seconds | peak MB | times our CPU seconds |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for result in run.peers:
        for number, row in enumerate(peer_rows(result)):
            lines.append(f"| {' | '.join((peer_case(result) if number == 0 else '', *row))} |")
    return "\n".join(lines) + "\n"


def peer_case(result: PeerResult) -> str:
    """What was compared."""
    missing = f"{result.missing_rate:.1%} of calls missing" if result.missing_rate else "no call missing"
    return f"{result.samples:,} × {result.variants:,} × {result.traits} trait{'s' * (result.traits > 1)}, {missing}"


def peer_rows(result: PeerResult) -> list[tuple[str, str, str, str, str]]:
    """Program, CPU seconds, seconds, peak and ratio: medians, the peer first."""
    cpu = {label: median(cost.cpu_seconds for cost in costs) for label, costs in result.costs.items()}
    rows = []
    for label in sorted(result.costs, key=lambda name: name != result.peer):
        costs = result.costs[label]
        wall = median(cost.wall_seconds for cost in costs)
        peak = max(cost.peak_mb for cost in costs)
        name = f"{label} ({result.version})" if label == result.peer else label
        ratio = "" if label == result.peer else f"{cpu[result.peer] / cpu[label]:.2f}"
        rows.append((name, f"{cpu[label]:.2f}", f"{wall:.2f}", f"{peak:,.0f}", ratio))
    return rows


def machine_line(run: Run) -> str:
    """The machine in a sentence."""
    machine = run.machine
    blas = ", ".join(machine["blas"])
    return f"{machine['cpu']}, {machine['cpus']} cores, {machine['memory_gib']} GiB, {blas}."


def genotype_rate(result: Result) -> float:
    """Billions of genotypes per second and core."""
    return result.genotypes / result.median_seconds / result.threads / 1e9


def peak_share(result: Result) -> float:
    """Share of the matrix product's peak, for a case that is one; else NaN."""
    return 1 / result.ratio if result.is_product else math.nan


def traffic_share(run: Run, result: Result) -> float:
    """Share of one core's memory bandwidth that the genotypes' bytes take."""
    return result.traffic / result.median_seconds / result.threads / run.limit_rate("memory")


def verdict_lines(verdicts: Sequence[CaseVerdict], threshold: float) -> list[str]:
    """What a person wants to read in the morning, worst first."""
    lines = []
    for kind, word in (("slower", "SLOWER"), ("accepted", "slower, accepted"), ("faster", "faster")):
        found = [verdict for verdict in verdicts if verdict.verdict == kind]
        lines += [f"{word}: {verdict_text(verdict)}" for verdict in sorted(found, key=lambda v: -v.change)]
    same = sum(verdict.verdict == "same" for verdict in verdicts)
    new = sum(verdict.verdict == "new" for verdict in verdicts)
    lines.append(f"{same} cases not certainly {threshold - 1:.0%} slower or faster, {new} without enough earlier runs")
    return lines


def verdict_text(verdict: CaseVerdict) -> str:
    """A change with its bounds."""
    return (
        f"{verdict.case} {change_text(verdict.change)} ({change_text(verdict.low)} to {change_text(verdict.high)}) "
        f"against {verdict.runs} runs" + (f", measured {verdict.reruns + 1} times" if verdict.reruns else "")
    )


def change_text(change: float) -> str:
    """1.3 is ``+30 %``."""
    # Adding zero turns −0.0 into 0.0.
    return f"{round(100 * (change - 1), 1) + 0.0:+.1f} %".replace("-", "−")


def number_text(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):,.10g}" if value > 0 else "–"


def seconds_text(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _percent(value: float) -> str:
    return f"{value:.0%}" if value > 0.005 else "–" if math.isnan(value) or value == 0 else "< 1%"
