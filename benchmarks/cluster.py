"""What handing out tasks on Ray costs, on a private cluster of this machine.

    python -m benchmarks.cluster overhead     share of the workers' time that is spent in tasks of 2 s
    python -m benchmarks.cluster scheduler    100,000 tasks that do nothing: rate, and memory of the driver

Ends with an error where less than 95 % of the time is spent in tasks, or where the driver's memory grows with what it
has handed out.
"""

from __future__ import annotations

import sys
import time

import psutil

from allscan.cluster.ray_executor import RayExecutor

WORKERS = 2
SECONDS = 2.0
TASKS = 100_000
LEAST_SHARE = 0.95
MOST_GROWTH = 40  # MiB


def spin(seconds: float, _: int) -> float:
    """Compute for a while; returns how long that was."""
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        sum(range(1000))
    return time.perf_counter() - started


def nothing(_: None, task: int) -> int:
    return task


def overhead(executor: RayExecutor) -> bool:
    list(executor.run(spin, 0.1, range(4 * WORKERS)))  # workers are up
    begun = time.perf_counter()
    spent = [seconds for _, seconds in executor.run(spin, SECONDS, range(15 * WORKERS))]
    wall = time.perf_counter() - begun
    share = sum(spent) / (WORKERS * wall)
    print(f"{len(spent)} tasks of {SECONDS:g} s on {WORKERS} workers: {wall:.1f} s, {share:.1%} of it in tasks")
    return share >= LEAST_SHARE


def scheduler(executor: RayExecutor) -> bool:
    process, held, begun, number = psutil.Process(), [], time.perf_counter(), 0
    for number, _ in enumerate(executor.run(nothing, None, range(TASKS)), start=1):
        if number % (TASKS // 10) == 0:
            held.append(process.memory_info().rss >> 20)
            rate, cpu = number / (time.perf_counter() - begun), sum(process.cpu_times()[:2]) / number
            print(f"{number:,} tasks: {rate:.0f}/s, driver {cpu * 1e3:.2f} ms of CPU each, {held[-1]} MiB", flush=True)
    # What is held early is caches.
    return number == TASKS and held[-1] - held[2] < MOST_GROWTH


def main() -> int:
    experiment = {"overhead": overhead, "scheduler": scheduler}[sys.argv[1]]
    with RayExecutor("local", workers=WORKERS) as executor:
        return 0 if experiment(executor) else 1


if __name__ == "__main__":
    sys.exit(main())
