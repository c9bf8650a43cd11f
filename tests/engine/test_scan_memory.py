"""Memory is planned: a scan in a process of its own stays within the plan, and the plan is not a guess upwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from allscan.engine.plan import most_task_variants
from tests.engine.cohorts import write_cohort
from tests.engine.null_models import draw_model

SCAN = """
import json, sys
from pathlib import Path
import numpy as np
from dataclasses import replace
from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.association_tests import find_test
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.scan import run_scan
from allscan.engine.null_model_files import NullModelFiles
from allscan.engine.offsets import StoredOffsets
from allscan.engine.store import open_store
from tests.engine.cohorts import Cohort, make_design, split, strata_of

folder, traits, patterns, cases, groups = Path(sys.argv[1]), *map(int, sys.argv[2:6])
model = folder / "null_model"
store = open_store(folder / "c.zarr")
nobody = np.zeros(0)
cohort = Cohort(store, np.zeros((2, store.n_samples)), nobody, nobody)  # who makes it takes more memory than the scan
design = make_design(cohort, traits=traits)
values = design.traits.copy()
rng = np.random.default_rng(0)
for t in range(traits):
    values[rng.random(len(values)) < 0.02, t] = np.nan if t < patterns else values[0, t]
    if t < cases:
        values[:, t] = np.where(np.isnan(values[:, t]), np.nan, values[:, t] > 1)
logistic = find_test("logistic").options
tests = {"quantitative": ("linear", {}), "binary": ("logistic", logistic)} if cases else {}
design, spec = replace(design, traits=values, binary=np.arange(traits) < cases), ScanSpec(tests=tests)
if model.exists():
    ids = cohort.store.sample_ids[design.store_rows]
    design = replace(design, offsets=StoredOffsets(NullModelFiles(model), design, ids))
strata = strata_of(design)
if groups:
    strata += split(design, tuple(f"g={k}" for k in range(groups)))
plan = plan_scan(cohort.store, strata, spec, workers=2, memory_bytes=8 << 30)
run_scan(plan, cohort.store, strata, spec, EmbeddedExecutor(plan.workers), folder / "run")
# Not getrusage: its peak begins with that of the process that started this one.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) * 1024
print(json.dumps({"plan": plan.peak_memory_bytes, "peak": peak}))
"""


@pytest.mark.parametrize(
    ("traits", "patterns", "cases", "groups", "with_null_model"),
    [
        (4, 0, 0, 0, False),
        (200, 0, 0, 0, False),
        (60, 60, 0, 0, False),
        (200, 0, 0, 0, True),
        (200, 150, 100, 0, False),
        (100, 40, 40, 5, False),
    ],
)
def test_the_scan_stays_within_its_plan(
    tmp_path: Path, repository: Path, traits: int, patterns: int, cases: int, groups: int, with_null_model: bool
) -> None:
    write_cohort(tmp_path / "c.zarr", samples=20_000, contigs={"1": 512, "2": 512}, block=512)
    if with_null_model:
        draw_model(tmp_path / "null_model", [f"person{i}" for i in range(20_000)], [f"trait{t}" for t in range(traits)])
    command = [sys.executable, "-c", SCAN, *map(str, (tmp_path, traits, patterns, cases, groups))]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    memory = json.loads(done.stdout)
    assert memory["peak"] <= memory["plan"] <= 3 * memory["peak"]


@pytest.mark.parametrize(("cells", "variants"), [(1, 65536), (16, 65536), (64, 32768), (128, 16384), (3000, 16384)])
def test_tasks_of_few_results_are_longer(cells: int, variants: int) -> None:
    assert most_task_variants(cells) == variants
