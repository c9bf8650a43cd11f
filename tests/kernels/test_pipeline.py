"""Compiled kernels give the same bits, whatever a process has compiled or loaded before them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SUMS = """
import hashlib, sys
import numpy as np
from allscan.kernels import logistic_fit
if "first" in sys.argv:
    logistic_fit._evaluate(np.ones((2, 9)), np.ones(9), np.zeros(9), 9, 2, np.zeros(2), logistic_fit.make_work(9, 2))
rng = np.random.default_rng(2)
n, k = 300, 3
found = hashlib.sha256()
for _ in range(90):
    x, y = rng.normal(size=(k, n)), (rng.random(n) < 0.2).astype(float)
    work, b = logistic_fit.make_work(n, k), np.zeros(k)
    status, value = logistic_fit.fit(x, y, np.zeros(n), n, k, k, False, b, work)
    found.update(np.float64(value).tobytes() + b.tobytes())
print(found.hexdigest())
"""


def test_sums_are_in_one_order_whatever_was_compiled_or_loaded_before(tmp_path: Path) -> None:
    """Numba's own way has copies of a kernel in its callers, of which a process takes the first that it meets."""
    found = []
    for arguments in ([], [], ["first"]):  # compiled here; loaded; loaded after what it calls
        done = subprocess.run(
            [sys.executable, "-c", SUMS, *arguments],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(done.stdout)
    assert len(set(found)) == 1
