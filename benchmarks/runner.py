"""Running the suite: pytest in a process of its own, and from its JSON a run of the history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from allscan.errors import InputError
from allscan.jobs.machine import machine_warnings
from benchmarks.machine import Elsewhere, describe_machine, fingerprint, git_state, software, wait_for_quiet
from benchmarks.records import CaseVerdict, Result, Run, baseline_runs, comparable_runs
from benchmarks.verdicts import (
    LEAST_RUNS,
    RERUNS,
    THRESHOLD,
    Change,
    common_spread,
    is_faster,
    is_slower,
    measured_change,
    suspected,
)

ROOT = Path(__file__).resolve().parents[1]
SUITE = ROOT / "benchmarks"
PINNED = "OPENBLAS_CORETYPE"
BUSY_CORES = 0.25  # used by others, from which on a run carries a warning

PYTEST = (
    *(sys.executable, "-m", "pytest", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")),
    *("-p", "no:cacheprovider", "-q", "--no-header", "--color=no", "--continue-on-collection-errors"),
    # That no benchmark ran is told by the exit code.
    *("-W", "ignore::pytest_benchmark.logger.PytestBenchmarkWarning"),
)
WORK = ("limit", "amount", "genotypes", "traffic", "is_product", "threads", "judged")
"""What a case says of itself."""

_TESTS_FAILED = 1  # exit code of pytest
_NOTHING_SELECTED = 5


@dataclass(frozen=True)
class Settings:
    """How the suite is run and judged."""

    suite: Path = SUITE
    size: str = "full"
    only: str = ""  # part of the names of the cases
    threshold: float = THRESHOLD
    baseline_runs: int = 7
    accepted: tuple[str, ...] = ()
    patience: float = 120.0  # seconds to wait for a quiet machine before a case is measured again


@dataclass(frozen=True)
class Measured:
    """What one pytest process measured."""

    results: list[Result]
    failed: list[str]
    limits: list[dict[str, Any]]
    machine: dict[str, Any]
    software: dict[str, str]


def measured_environment(size: str) -> dict[str, str]:
    """Environment of the measuring processes.

    Without a pinned core type, the CI switch that forbids to skip, and what a pytest around this process has set.
    """
    left_out = (PINNED, "CI")
    environment = {
        name: value for name, value in os.environ.items() if name not in left_out and not name.startswith("PYTEST_")
    }
    return environment | {"ALLSCAN_BENCHMARK": size}


def measure(settings: Settings, nodes: Sequence[str] = ()) -> Measured:
    """Run the suite, or the given nodes of it, once.

    Raises
    ------
    InputError
        If no case is selected, or pytest could not run at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        failures = Path(folder) / "failures.txt"
        command = [*PYTEST, "-p", "no:xdist", "--timeout=3600", "--basetemp", str(Path(folder) / "data"), "--tb=short"]
        command += ["--benchmark-enable", "--benchmark-only", "--benchmark-json", str(report), "--benchmark-quiet"]
        command += ["-k", settings.only] if settings.only and not nodes else []
        # pytest names cases of a folder outside the root from that folder on.
        base = ROOT if settings.suite.is_relative_to(ROOT) else settings.suite
        command += [str(base / node) for node in nodes] or [str(settings.suite)]
        with failures.open("w", encoding="utf-8") as log:
            done = subprocess.run(
                command, cwd=ROOT, env=measured_environment(settings.size), stdout=log, stderr=log, check=False
            )
        said = failures.read_text(encoding="utf-8")
        if done.returncode == _NOTHING_SELECTED:
            raise InputError(
                f"no case matches {settings.only!r}",
                where=str(settings.suite),
                fix="python -m benchmarks --list shows the cases",
            )
        if done.returncode not in (0, _TESTS_FAILED) or not report.exists() or not report.stat().st_size:
            raise InputError(
                f"the benchmarks could not run (pytest ended with {done.returncode}):\n{said[-3000:]}",
                where=str(settings.suite),
            )
        lines = [line.split() for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        failed = list(dict.fromkeys(words[1] for words in lines))
        if failed:
            print(said[-3000:], file=sys.stderr)
        return _parse(json.loads(report.read_text(encoding="utf-8")), failed)


def _parse(document: dict[str, Any], failed: list[str]) -> Measured:
    extra = document["allscan"]
    results = []
    for entry in document["benchmarks"]:
        info = entry["extra_info"]
        if "yardstick" not in info:
            print(f"{entry['fullname']}: let the case take the fixture `timed`, not `benchmark`", file=sys.stderr)
            failed.append(entry["fullname"])
            continue
        results.append(
            Result(
                case=_case_name(entry["fullname"]),
                node=entry["fullname"],
                **{
                    name: info[name]
                    for name in ("limit", "amount", "genotypes", "traffic", "is_product", "threads", "judged")
                },
                wall=tuple(info["wall"]),
                cpu=tuple(info["cpu"]),
                yardstick=tuple(info["yardstick"]),
                yardstick_amount=info["yardstick_amount"],
            )
        )
    return Measured(results, failed, extra["limits"], extra["machine"], extra["software"])


def _case_name(node: str) -> str:
    """``benchmarks/test_scan.py::test_scan[1]`` is the case ``scan[1]``."""
    return node.rpartition("::")[2].removeprefix("test_")


def run_suite(settings: Settings, now: datetime | None = None) -> Run:
    """Measure every case once."""
    commit, dirty = git_state(ROOT)
    elsewhere = Elsewhere()
    measured = measure(settings)
    warnings = [f"{text}. The benchmarks were run without it" for text in machine_warnings()]
    busy = elsewhere.cores()
    if busy > BUSY_CORES:
        warnings.append(
            f"other programs (or neighbours of a virtual machine) used {busy:.1f} CPU cores meanwhile: noisy times"
        )
    return Run(
        date=(now or datetime.now(UTC)).isoformat(timespec="microseconds"),
        commit=commit,
        dirty=dirty,
        size=settings.size,
        fingerprint=fingerprint(measured.machine),
        machine=measured.machine,
        software=measured.software,
        warnings=warnings,
        limits=measured.limits,
        results=measured.results,
        accepted=list(settings.accepted),
        failed=measured.failed,
    )


def empty_run(settings: Settings) -> Run:
    """A run without cases, for comparisons with peers alone."""
    commit, dirty = git_state(ROOT)
    machine = describe_machine()
    return Run(
        date=datetime.now(UTC).isoformat(timespec="microseconds"),
        commit=commit,
        dirty=dirty,
        size=settings.size,
        fingerprint=fingerprint(machine),
        machine=machine,
        software=software(),
        warnings=list(machine_warnings()),
        limits=[],
        results=[],
    )


def list_cases(settings: Settings) -> list[str]:
    """Names of the cases that ``settings`` select."""
    command = [*PYTEST, "--benchmark-enable", "--collect-only", "-k", settings.only, str(settings.suite)]
    done = subprocess.run(
        command, cwd=ROOT, env=measured_environment(settings.size), capture_output=True, text=True, check=False
    )
    return [_case_name(line) for line in done.stdout.splitlines() if "::" in line]


def judge(run: Run, history: Sequence[Run], settings: Settings) -> Run:
    """Compare a run with the history; cases that look slower or faster are measured again first."""
    earlier = {result.case: baseline_runs(history, run, result.case, settings.baseline_runs) for result in run.results}
    ratios = {
        case: [found.ratios for before in runs if (found := before.result(case)) is not None]
        for case, runs in earlier.items()
    }
    known = [result for result in run.results if len(ratios[result.case]) >= LEAST_RUNS]
    spread = common_spread([ratios[result.case] for result in known])
    changes = {result.case: measured_change(ratios[result.case], [result.ratios], spread) for result in known}
    doubtful = [result for result in known if suspected(changes[result.case], settings.threshold)]
    again: dict[str, list[Result]] = {result.case: [result] for result in doubtful}
    for _ in range(RERUNS if doubtful else 0):
        wait_for_quiet(settings.patience)
        for result in measure(settings, [result.node for result in doubtful]).results:
            again[result.case].append(result)
    for case, results in again.items():
        changes[case] = measured_change(ratios[case], [result.ratios for result in results], spread)
    verdicts = []
    for result in run.results:
        case = result.case
        if case not in changes:
            verdicts.append(CaseVerdict(case, "new", len(ratios[case])))
            continue
        verdicts.append(_verdict(case, changes[case], len(ratios[case]), len(again.get(case, [0])) - 1, run, settings))
    return replace(run, verdicts=verdicts)


def _verdict(case: str, change: Change, runs: int, reruns: int, run: Run, settings: Settings) -> CaseVerdict:
    kind: Any = "same"
    if is_slower(change, settings.threshold):
        kind = "accepted" if run.accepts(case) else "slower"
    elif is_faster(change, settings.threshold):
        kind = "faster"
    return CaseVerdict(case, kind, runs, change.factor, change.low, change.high, reruns)


def missing_cases(run: Run, history: Sequence[Run], settings: Settings) -> list[str]:
    """Cases of the last comparable run that this one does not have: gone, or failed before they could be timed."""
    same = [past for past in history if (past.fingerprint, past.size) == (run.fingerprint, run.size) and past.results]
    if not same or settings.only:
        return []
    here = {result.case for result in run.results}
    return sorted({result.case for result in same[-1].results} - here)


def creep(run: Run, history: Sequence[Run], case: str, number: int) -> float | None:
    """How much slower a case is than in the first runs since a slowdown was last accepted: slow drift adds up."""
    now = run.result(case)
    first = comparable_runs(history, run, case)[:number]
    ratios = [found.ratio for before in first if (found := before.result(case)) is not None]
    if now is None or len(ratios) < LEAST_RUNS:
        return None
    return now.ratio / sorted(ratios)[len(ratios) // 2]
