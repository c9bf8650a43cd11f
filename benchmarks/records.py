"""The history: one JSON file per run, with every round of every case."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from allscan.errors import FileFormatError

SCHEMA = 1

Verdict = Literal["new", "same", "slower", "faster", "accepted"]


@dataclass(frozen=True)
class Result:
    """Rounds of one case. Times are seconds of one call, in the order in which they were taken."""

    case: str
    node: str  # what pytest calls it
    limit: str  # name of the yardstick
    amount: float
    genotypes: int
    traffic: int
    is_product: bool
    threads: int
    judged: Literal["cpu", "wall"]
    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    yardstick: tuple[float, ...]  # one more than rounds
    yardstick_amount: float

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Times that the case is judged by, shape (rounds,)."""
        return np.array(self.cpu if self.judged == "cpu" else self.wall)

    @property
    def ratios(self) -> NDArray[np.float64]:
        """Times over the time that the limit alone would need, measured just before and after, shape (rounds,).

        The limit is that of as many threads as the case has.
        """
        beside = np.array(self.yardstick)
        seconds_per_unit = np.sqrt(beside[:-1] * beside[1:]) / self.yardstick_amount
        ratios: NDArray[np.float64] = self.seconds / (seconds_per_unit * self.amount)
        return ratios

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return float(np.median(self.ratios))

    @property
    def median_seconds(self) -> float:
        """Median of the times."""
        return float(np.median(self.seconds))


@dataclass(frozen=True)
class CaseVerdict:
    """What a comparison says of one case. ``change`` is a factor: 1.30 is 30 % slower."""

    case: str
    verdict: Verdict
    runs: int  # that it was compared with
    change: float = 1.0
    low: float = 1.0  # bounds of the change, one-sided each
    high: float = 1.0
    reruns: int = 0


@dataclass(frozen=True)
class Cost:
    """What a process and its children cost."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class PeerResult:
    """One program on one case, beside this one on the same data."""

    peer: str
    version: str
    samples: int
    variants: int
    traits: int
    missing_rate: float
    threads: int
    costs: dict[str, list[Cost]]  # by label: the peer's name, "allscan exclude", "allscan impute_mean"
    compared: int  # numbers whose agreement was checked
    largest_difference: float  # of −log10 p, relative to the tolerance: at most 1


@dataclass(frozen=True)
class Run:
    """One night."""

    date: str  # ISO 8601, UTC
    commit: str
    dirty: bool
    size: str
    fingerprint: str
    machine: dict[str, Any]
    software: dict[str, str]
    warnings: list[str]
    limits: list[dict[str, Any]]
    results: list[Result]
    verdicts: list[CaseVerdict] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)  # patterns
    peers: list[PeerResult] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # cases that raised
    schema: int = SCHEMA

    @property
    def name(self) -> str:
        """File name: sorts by date."""
        stamp = self.date.replace(":", "").replace("-", "").partition("+")[0]
        return f"{stamp}-{self.commit[:10] or 'nogit'}.json"

    def result(self, case: str) -> Result | None:
        """The result of a case, or None."""
        return next((result for result in self.results if result.case == case), None)

    def regressed(self) -> list[str]:
        """Cases that became slower."""
        return [verdict.case for verdict in self.verdicts if verdict.verdict == "slower"]

    def accepts(self, case: str) -> bool:
        """Whether a slowdown of the case was accepted with this run."""
        return any(matches(case, pattern) for pattern in self.accepted)

    def limit_rate(self, name: str, threads: int = 1) -> float:
        """The best rate of a limit that this run saw, in units per second; NaN if it was not measured."""
        rates = [x["rate"] for x in self.limits if x["limit"] == name and x["threads"] == threads]
        return max(rates, default=float("nan"))


def matches(case: str, pattern: str) -> bool:
    """Whether a case is meant by a pattern: a part of its name, or a shell pattern of the whole."""
    # Parameters stand in square brackets, which a shell pattern would read as a set of letters.
    escaped = pattern.replace("[", "[[]")
    return pattern in case or fnmatch.fnmatchcase(case, escaped)


def write_run(history: Path, run: Run) -> Path:
    """Add a run to the history: whole, or not at all."""
    history.mkdir(parents=True, exist_ok=True)
    path = history / run.name
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(asdict(run), indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def read_run(path: Path) -> Run:
    """Read one run.

    Raises
    ------
    FileFormatError
        If the file is no run of a schema that this version knows.
    """
    fix = "move it out of the history folder, or delete it"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise FileFormatError(
                f"the run has schema {document['schema']}, this version reads {SCHEMA}", where=str(path), fix=fix
            )
        results = [Result(**{**part, **_tuples(part)}) for part in document["results"]]
        peers = [
            PeerResult(**{**part, "costs": {k: [Cost(**cost) for cost in v] for k, v in part["costs"].items()}})
            for part in document["peers"]
        ]
        verdicts = [CaseVerdict(**part) for part in document["verdicts"]]
        return Run(**{**document, "results": results, "peers": peers, "verdicts": verdicts})
    except FileFormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileFormatError(f"the file is no benchmark run: {error!r}", where=str(path), fix=fix) from error


def read_history(history: Path) -> list[Run]:
    """Every run of a folder, oldest first."""
    return [read_run(path) for path in sorted(history.glob("*.json"))]


def baseline_runs(history: Sequence[Run], now: Run, case: str, number: int) -> list[Run]:
    """The last ``number`` runs that a case is compared with.

    Runs of the same machine and size that have the case. A night on which it was found slower is none of them, so
    that a regression does not become its own baseline; nor is a night before the one that accepted a slowdown.
    """
    return comparable_runs(history, now, case)[-number:]


def comparable_runs(history: Iterable[Run], now: Run, case: str) -> list[Run]:
    """All runs that a case may be compared with, oldest first."""
    found: list[Run] = []
    for run in history:
        if run.fingerprint != now.fingerprint or run.size != now.size or run.date >= now.date:
            continue
        if run.accepts(case):
            found = []
        if run.result(case) is not None and case not in run.regressed():
            found.append(run)
    return found


def _tuples(part: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(part[name]) for name in ("wall", "cpu", "yardstick")}
