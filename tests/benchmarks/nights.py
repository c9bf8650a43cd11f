"""A machine that exists on paper: nights of benchmark results with known noise and known slowdowns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.records import CaseVerdict, PeerResult, Result, Run

ROUNDS = 9
PEAK = 80e9


@dataclass
class Machine:
    """Draws runs. ``spread`` is that of log times between processes, with the tails of t on 3 degrees of freedom."""

    seed: int = 0
    cases: int = 60
    spread: float = 0.03
    within: float = 0.03
    interrupted: float = 0.3  # probability that a measurement has one round two to five times too long
    slow_hours: float = 0.3  # probability that the whole machine is up to 1.6 times slower during a run
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    @property
    def names(self) -> list[str]:
        return [f"kernel[{k}]" for k in range(self.cases)]

    def mood(self) -> float:
        """How slow the machine is during a run."""
        return float(self.rng.uniform(1, 1.6)) if self.rng.random() < self.slow_hours else 1.0

    def result(self, case: str, factor: float = 1.0, mood: float = 1.0) -> Result:
        """One measurement of a case that is ``factor`` times slower than it was."""
        rng = self.rng
        number = int(case.partition("[")[2].rstrip("]"))
        base = 0.001 * (1 + number) * factor * np.exp(self.spread * rng.standard_t(3) / np.sqrt(3))
        drift = mood * np.linspace(1, rng.uniform(0.9, 1.1), ROUNDS + 1)
        noise = np.exp(self.within * rng.standard_t(3, ROUNDS) / np.sqrt(3))
        seconds = base * drift[:-1] * noise
        if rng.random() < self.interrupted:
            seconds[rng.integers(ROUNDS)] *= rng.uniform(2, 5)
        yardstick = 0.01 * drift * np.exp(0.02 * rng.standard_t(3, ROUNDS + 1) / np.sqrt(3))
        return Result(
            case=case,
            node=f"benchmarks/test_kernels.py::test_{case}",
            limit="dgemm",
            amount=1e6,
            genotypes=1_000_000,
            traffic=250_000,
            is_product=False,
            threads=1,
            judged="cpu",
            wall=tuple(seconds * 1.01),
            cpu=tuple(seconds),
            yardstick=tuple(yardstick),
            yardstick_amount=0.01 * PEAK,
        )

    def run(self, night: int, slower: Mapping[str, float] | None = None, **changes: Any) -> Run:
        """A night; ``slower`` gives factors by case."""
        mood = self.mood()
        results = [self.result(case, (slower or {}).get(case, 1.0), mood) for case in self.names]
        return make_run(night, results, mood=mood, **changes)


def make_run(night: int, results: list[Result], *, mood: float = 1.0, **changes: Any) -> Run:
    """A run of day ``night``."""
    date = np.datetime64("2026-01-01T02:00:00") + np.timedelta64(night, "D")
    limits = [
        {"limit": name, "threads": threads, "rate": rate * threads / mood, "of": "", "when": "before"}
        for name, rate in (("sgemm", 2 * PEAK), ("dgemm", PEAK), ("memory", 12e9), ("clock", 2.9e9))
        for threads in ((1,) if name == "clock" else (1, 2))
    ]
    machine = {
        "cpu": "Paper CPU", "flags": [], "cpus": 2, "memory_gib": 8, "blas": ["openblas Haswell"], "system": "Linux",
    }  # fmt: skip
    settled: dict[str, Any] = {
        "date": f"{date}.000000+00:00",
        "commit": f"{night:040x}",
        "dirty": False,
        "size": "quick",
        "fingerprint": "paper",
        "machine": machine,
        "software": {"python": "3.11.7", "allscan": "0.1.0", "numpy": "2.4.0"},
        "warnings": [],
        "limits": limits,
        "results": results,
    }
    return Run(**{**settled, **changes})


def verdicts(run: Run) -> dict[str, CaseVerdict]:
    """By case."""
    return {verdict.case: verdict for verdict in run.verdicts}


def peer_result(**changes: Any) -> PeerResult:
    """A comparison in which we are four times as fast."""
    from benchmarks.records import Cost

    settled: dict[str, Any] = {
        "peer": "plink2",
        "version": "PLINK v2",
        "samples": 50_000,
        "variants": 20_000,
        "traits": 16,
        "missing_rate": 0.002,
        "threads": 2,
        "costs": {"allscan exclude": [Cost(2.0, 1.5, 400.0)] * 3, "plink2": [Cost(8.0, 4.2, 137.0)] * 3},
        "compared": 80_000,
        "largest_difference": 0.1,
    }
    return PeerResult(**{**settled, **changes})
