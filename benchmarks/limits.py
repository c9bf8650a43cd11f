"""What the machine can do: core clock, memory bandwidth, and the peak of matrix products.

All limits are measured in the process that runs the benchmarks, before the first and after the last case. A matrix
product is measured beside every round of a case too, as its *yardstick*: a time over the time of the yardstick stays
when the machine has a slow hour. The product serves kernels that are none as well: where a neighbour on the same
core slowed decoding, counting and single columns by 20 to 80 %, it slowed with them (what was left spread by 5 to
11 %), while a chain of dependent instructions did not (5 to 19 %).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from allscan.kernels.jit import jit, jit_fast

YardstickName = Literal["sgemm", "dgemm"]

CHAIN_STEPS = 2_000_000
CYCLES_PER_STEP = 6  # three shifts and three exclusive ors (xorshift), each waiting for the one before
ORDER = 768  # of the matrices of a yardstick: 6 ms at 150 GFLOP/s
PEAK_ORDER = 2048
MEMORY_SHARE = 0.25  # of the machine's memory that the triad may fill
SMALL_TRIAD = 1 << 20  # bytes of its three arrays where benchmarks run as tests


@dataclass(frozen=True)
class Limit:
    """What a limit is called, counts, and how it is printed."""

    name: str
    title: str
    unit: str  # of the rate
    scale: float  # rate in that unit = rate / scale


LIMITS: dict[str, Limit] = {
    limit.name: limit
    for limit in (
        Limit("clock", "Core clock (a chain of dependent shifts)", "GHz", 1e9),
        Limit("memory", "Memory bandwidth (triad: two arrays read, one written)", "GB/s", 1e9),
        Limit("sgemm", "Matrix product, float32", "GFLOP/s", 1e9),
        Limit("dgemm", "Matrix product, float64", "GFLOP/s", 1e9),
    )
}


@jit
def _chain(steps: int, seed: int) -> np.uint64:
    # A compiler would merge steps of a linear congruence into one.
    x = np.uint64(seed)
    for _ in range(steps):
        x ^= x << np.uint64(13)
        x ^= x >> np.uint64(7)
        x ^= x << np.uint64(17)
    return x


@jit_fast
def _triad(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> None:
    for i in range(a.shape[0]):
        a[i] = b[i] + 3.0 * c[i]


@cache
def _matrices(order: int, dtype: type[np.floating[Any]]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(3)
    one, other = (rng.random((order, order)).astype(dtype) for _ in range(2))
    return one, other, np.empty((order, order), dtype)


def yardstick(name: YardstickName, order: int = ORDER) -> tuple[Callable[[], object], float]:
    """A matrix product, and its number of floating-point operations."""
    dtype = np.float32 if name == "sgemm" else np.float64
    one, other, out = _matrices(order, dtype)
    return lambda: np.matmul(one, other, out=out), 2.0 * order**3


def cache_bytes() -> int:
    """Size of the largest cache, or 0 where the system does not say."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
        sizes.append(int(text.rstrip("KMG") or 0) * unit)
    return max(sizes)


def triad_bytes() -> int:
    """Bytes of the triad's arrays: twice the largest cache, at least 384 MB, at most a quarter of the memory."""
    return min(max(2 * cache_bytes(), 384 << 20), int(MEMORY_SHARE * psutil.virtual_memory().available))


def memory_rate(total_bytes: int, threads: int = 1, rounds: int = 3) -> float:
    """Bytes per second of a triad over arrays of ``total_bytes`` together: the best of ``rounds``."""
    length = max(1, total_bytes // (24 * threads))
    arrays = [(np.zeros(length), np.ones(length), np.ones(length)) for _ in range(threads)]
    _triad(*(array[:1] for array in arrays[0]))
    with ThreadPoolExecutor(threads) as pool:
        best = min(_wall(lambda: list(pool.map(lambda three: _triad(*three), arrays))) for _ in range(rounds))
    return 24.0 * length * threads / best


def measure_limits(threads: int, *, small: bool = False) -> list[dict[str, Any]]:
    """Every limit, on one thread and on ``threads``: the best of a few tries, as ``{limit, threads, rate, of}``."""
    found: list[dict[str, Any]] = []
    counts = sorted({1, threads})
    work = SMALL_TRIAD if small else triad_bytes()
    order = 64 if small else PEAK_ORDER
    for count in counts:
        rate = memory_rate(work, count)
        note = f"arrays of {work / 2**20:.0f} MiB together; largest cache {cache_bytes() / 2**20:.0f} MiB"
        found.append({"limit": "memory", "threads": count, "rate": rate, "of": note})
        names: tuple[YardstickName, ...] = ("sgemm", "dgemm")
        for name in names:
            function, amount = yardstick(name, order)
            with threadpool_limits(limits=count):
                function()
                rate = amount / min(_wall(function) for _ in range(6))
            found.append({"limit": name, "threads": count, "rate": rate, "of": f"matrices of {order} × {order}"})
    _chain(1, 1)
    rate = CYCLES_PER_STEP * CHAIN_STEPS / min(_wall(lambda: _chain(CHAIN_STEPS, 1)) for _ in range(5))
    found.append({"limit": "clock", "threads": 1, "rate": rate, "of": f"{CYCLES_PER_STEP} cycles per step"})
    return found


def _wall(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
