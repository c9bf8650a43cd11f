"""Memory is planned: a scan in a process of its own stays within the plan, and the plan is not a guess upwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCAN = """
import json, sys
from pathlib import Path
import numpy as np
from dataclasses import replace
from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.scan import run_scan
from tests.engine.cohorts import make_design, write_cohort

folder, traits, patterns = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
cohort = write_cohort(folder / "c.zarr", samples=20_000, contigs={"1": 1024}, block=512)
design = make_design(cohort, traits=traits)
values = design.traits.copy()
rng = np.random.default_rng(0)
for t in range(traits):
    values[rng.random(len(values)) < 0.02, t] = np.nan if t < patterns else values[0, t]
design, spec = replace(design, traits=values), ScanSpec()
plan = plan_scan(cohort.store, design, spec, workers=2, memory_bytes=8 << 30)
run_scan(plan, cohort.store, design, spec, EmbeddedExecutor(plan.workers), folder / "run")
# Not getrusage: its peak begins with that of the process that started this one.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) * 1024
print(json.dumps({"plan": plan.peak_memory_bytes, "peak": peak}))
"""


@pytest.mark.parametrize(("traits", "patterns"), [(4, 0), (200, 0), (60, 60)])
def test_the_scan_stays_within_its_plan(tmp_path: Path, repository: Path, traits: int, patterns: int) -> None:
    command = [sys.executable, "-c", SCAN, str(tmp_path), str(traits), str(patterns)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    memory = json.loads(done.stdout)
    assert memory["peak"] <= memory["plan"] <= 3 * memory["peak"]
