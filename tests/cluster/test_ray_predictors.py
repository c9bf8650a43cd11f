"""A scan of columns of a table writes on Ray, and in processes, what it writes here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.cluster.ray_executor import RayExecutor
from allscan.jobs.job import Job
from allscan.jobs.predictor_scan import plan_predictors, run_predictors
from allscan.jobs.predictors import check_predictors
from tests.cluster.ray_nodes import Machines

if TYPE_CHECKING:
    from allscan.cluster.executor import Executor

pytestmark = pytest.mark.timeout(240)


def write_tables(folder: Path) -> None:
    rng = np.random.default_rng(2)
    rows = ["person_id,score,age," + ",".join(f"d{t}" for t in range(90))]
    for person in range(300):
        score, age = rng.normal(), rng.uniform(20, 80)
        cases = (rng.random(90) < 0.15 + 0.1 * (score > 0)).astype(int)
        rows.append(f"p{person},{score:.6f},{age:.4f}," + ",".join(map(str, cases)))
    (folder / "table.csv").write_text("\n".join(rows) + "\n")


def test_any_executor_writes_the_same_commits(machines: Machines, tmp_path: Path) -> None:
    write_tables(tmp_path)
    job = {
        "name": "scores",
        "mode": "phewas",
        "predictors": {"file": "table.csv", "columns": ["score"]},
        "traits": {"file": "table.csv", "columns": ["d*"], "type": "binary"},
        "covariates": {"file": "table.csv", "formula": "age"},
        "output": "unused",
    }
    checked = check_predictors(Job.from_dict(job, base=tmp_path))
    plan = plan_predictors(checked, workers=2, memory_bytes=4 << 30)
    assert plan.n_tasks == 2

    def commits(executor: Executor, name: str) -> dict[str, bytes]:
        summary = run_predictors(checked, plan, executor, tmp_path / name, lambda _progress: None)
        assert summary.n_tests == 90
        return {path.name: path.read_bytes() for path in (tmp_path / name / "commits").iterdir()}

    here = commits(EmbeddedExecutor(1), "here")
    assert commits(EmbeddedExecutor(2, "processes"), "processes") == here
    with RayExecutor(machines.address) as executor:
        assert commits(executor, "ray") == here
