"""The fixture ``timed``: rounds of a case, each beside a yardstick of the machine.

Imported by name into a ``conftest.py``, with the hooks that put what was measured into pytest-benchmark's JSON.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

from allscan.jobs.machine import available_cpus
from benchmarks.limits import YardstickName, measure_limits, yardstick

__all__ = ["FULL", "Timed", "Work", "machine_limits", "pytest_benchmark_update_json", "timed"]

SIZE = os.environ.get("ALLSCAN_BENCHMARK", "tiny")
"""``tiny`` as a test, ``quick`` or ``full`` when timed."""
FULL = SIZE == "full"

# Rounds: enough for a median that one interrupted round does not move, within a budget of seconds.
BUDGET = {"tiny": 0.3, "quick": 0.6, "full": 2.5}[SIZE]
LEAST_ROUNDS, MOST_ROUNDS = 5, 30
LONG = 1.0  # seconds of a call, beside which compiling it before is little

R = TypeVar("R")

LIMITS_KEY = pytest.StashKey[list[dict[str, Any]]]()


@dataclass(frozen=True)
class Work:
    """What one call of a case does, and the matrix product that it is held against.

    ``amount`` is in floating-point operations where the case is a matrix product: its ratio is then a multiple of the
    time at the peak. Otherwise it is a number of items (genotypes, tests), and the ratio the operations that the core
    could have done at its peak for each of them.
    """

    limit: YardstickName
    amount: float
    genotypes: int = 0  # variants × samples
    traffic: int = 0  # bytes that have to come from memory, at least
    is_product: bool = False  # a matrix product, of `amount` operations
    threads: int = 1
    judged: str = "cpu"  # "wall" where several threads or the disk take part


class Timed(Protocol):
    """Call ``function`` once as a test, or for as many rounds as the budget allows; returns its last result."""

    def __call__(self, function: Callable[[], R], work: Work, before: Callable[[], object] | None = None) -> R: ...


class Folders:
    """A folder for each round.

    One that is emptied and filled again costs more: before it makes a file, ext4 looks at every one that was deleted in
    the last five seconds.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._number = 0

    @property
    def here(self) -> Path:
        """That of this round."""
        return self._base / f"round{self._number}"

    def change(self) -> None:
        """Go on to the next one."""
        self._number += 1


@pytest.fixture(scope="session")
def machine_limits(request: pytest.FixtureRequest) -> Generator[None]:
    """Measure every limit before the first timed case and after the last."""
    found = request.config.stash.setdefault(LIMITS_KEY, [])
    threads = available_cpus()
    found += [{**limit, "when": "before"} for limit in measure_limits(threads, small=SIZE == "tiny")]
    yield
    found += [{**limit, "when": "after"} for limit in measure_limits(threads, small=SIZE == "tiny")]


@pytest.fixture
def timed(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Timed:
    """Time a case: see :class:`Timed`. ``before`` runs before every round and is not timed."""
    if not benchmark.disabled:
        request.getfixturevalue("machine_limits")

    def run(function: Callable[[], R], work: Work, before: Callable[[], object] | None = None) -> R:
        benchmark.group = request.node.name.partition("[")[0]
        measure, amount = yardstick(work.limit)
        walls: list[float] = []
        cpus: list[float] = []
        beside: list[float] = []

        def gauge() -> None:
            beside.append(clocked(measure, work.judged))

        def prepare() -> None:
            if before is not None:
                before()
            gauge()

        def round_() -> R:
            cpu = time.process_time()
            start = time.perf_counter()
            out = function()
            walls.append(time.perf_counter() - start)
            cpus.append(time.process_time() - cpu)
            return out

        with threadpool_limits(limits=work.threads):
            if benchmark.disabled:
                if before is not None:
                    before()
                tried: R = benchmark.pedantic(function)  # type: ignore[no-untyped-call]
                return tried
            prepare()  # the first call compiles
            round_()
            if walls[-1] < LONG:
                prepare()
                round_()
            rounds = min(MOST_ROUNDS, max(LEAST_ROUNDS, math.ceil(BUDGET / walls[-1])))
            out: R = benchmark.pedantic(round_, setup=prepare, rounds=rounds)  # type: ignore[no-untyped-call]
            gauge()
        benchmark.extra_info |= {
            "limit": work.limit,
            "amount": work.amount,
            "genotypes": work.genotypes,
            "traffic": work.traffic,
            "is_product": work.is_product,
            "threads": work.threads,
            "judged": work.judged,
            "wall": walls[-rounds:],
            "cpu": cpus[-rounds:],
            # One more than rounds: before each, and after the last.
            "yardstick": beside[-rounds - 1 :],
            "yardstick_amount": amount,
        }
        return out

    return run


def clocked(function: Callable[[], object], judged: str) -> float:
    """Seconds of a call by the clock that the case is judged by."""
    clock = time.process_time if judged == "cpu" else time.perf_counter
    start = clock()
    function()
    return clock() - start


@pytest.hookimpl
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add the limits, and the machine as this process found it."""
    from benchmarks.machine import describe_machine, software

    output_json["allscan"] = {
        "limits": config.stash.get(LIMITS_KEY, []),
        "machine": describe_machine(),
        "software": software(),
        "size": SIZE,
    }
