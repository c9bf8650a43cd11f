"""The peak memory of a run is its own, not that of the program that started it."""

from __future__ import annotations

import subprocess
import sys

from allscan.jobs.provenance import peak_memory_bytes


def test_the_peak_of_the_starting_process_does_not_count() -> None:
    before = peak_memory_bytes()
    ballast = bytearray(b"x") * (512 << 20)
    assert peak_memory_bytes() >= len(ballast)
    code = "from allscan.jobs.provenance import peak_memory_bytes; print(peak_memory_bytes())"
    told = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0 < told < len(ballast)
    assert before > 0
