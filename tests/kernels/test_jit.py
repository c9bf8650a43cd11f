"""Compiled kernels are cached, and never outlive the sources that they were compiled from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import numpy as np
from allscan.kernels import linear_numba, testing
from allscan.kernels.linear import LINEAR
out = testing.run_test(LINEAR, testing.make_example(1))
stats = linear_numba.score_variants.stats
print(np.nanmax(out["neg_log10_p"]), sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_a_change_in_one_file_reaches_kernels_cached_from_another(tmp_path: Path, repository: Path) -> None:
    root = tmp_path / "src"
    shutil.copytree(repository / "src" / "allscan", root / "allscan", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(root), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run() -> tuple[float, int, int]:
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        value, hits, misses = done.stdout.split()
        return float(value), int(hits), int(misses)

    first, _, misses = run()
    assert misses > 0
    again, hits, misses = run()
    assert again == first
    assert hits > 0
    assert misses == 0
    student = root / "allscan" / "kernels" / "student.py"
    text = student.read_text()
    student.write_text(text.replace("LOG10_E = math.log10(math.e)", "LOG10_E = 2 * math.log10(math.e)"))
    assert student.read_text() != text
    changed, _, misses = run()
    assert misses > 0
    assert abs(changed - 2 * first) < 1e-9
