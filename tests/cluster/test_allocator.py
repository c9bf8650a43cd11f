"""What tasks free is kept for the next ones, and no more than that."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such settings")

TASKS = """
import resource
import numpy as np
from allscan.cluster.embedded import EmbeddedExecutor

def work(size, task):
    return float(np.ones(size).sum())

def faults(size, workers):
    list(EmbeddedExecutor(workers).run(work, size, range(4)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    list(EmbeddedExecutor(workers).run(work, size, range(20)))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

for size in (3 << 20, 20 << 20):
    print(faults(size, 1), faults(size, 2))
print(resident() >> 20)
"""


def run(**settings: str) -> tuple[list[float], int]:
    """Page faults of a task of 24 MB (one worker, two) and of 160 MB, and megabytes resident at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", TASKS]
    done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, check=True)
    *lines, resident = done.stdout.splitlines()
    return [float(number) for line in lines for number in line.split()], int(resident)


def test_tasks_find_the_memory_of_earlier_ones() -> None:
    (one, two, *_), resident = run()
    assert one < 50
    assert two < 700  # two at a time, one after the other now and then
    # Arrays that are larger than any that a task makes again and again were given back.
    assert resident < 400


def test_settings_of_the_environment_are_heeded() -> None:
    (one, *_), _ = run(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert one > 300
