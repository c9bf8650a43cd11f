"""Results on their way to the disk and out of it: blocks of the cube, hits, exports.

What bounds them is compression, formatting and the system's work for each file, in one thread.
"""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from allscan.engine.hits import write_hits
from allscan.engine.plan import ScanTask
from allscan.engine.results import CUBE, ResultsCube, write_block
from allscan.jobs.export import export
from benchmarks.timing import SIZE, Timed, Work
from tests.engine.result_blocks import fill, lay_out, make_plan, make_values

TASK_VARIANTS = {"tiny": 512, "quick": 16_384, "full": 16_384}[SIZE]
EXPORTED = {"tiny": 1_000, "quick": 65_536, "full": 262_144}[SIZE]
ROUNDS = 64
"""Tasks that there is room for: a round of a case writes new files, as a scan does."""


@pytest.mark.parametrize(("traits", "patterns"), [(1, 1), (16, 1), (16, 16), (128, 1), (128, 128)])
def test_write_block(timed: Timed, tmp_path: Path, traits: int, patterns: int) -> None:
    """A task's results of the linear test, and its hits, flushed to the disk."""
    plan = make_plan(traits, ROUNDS * TASK_VARIANTS, TASK_VARIANTS)
    run = tmp_path / "run"
    lay_out(run, plan)
    values = make_values(np.random.default_rng(1), traits, TASK_VARIANTS, patterns)
    of_strata = {name: rows[None] for name, rows in values.items()}
    tasks = count()

    def write() -> int:
        task = ScanTask(0, next(tasks) % ROUNDS)
        write_block(run / CUBE, plan, task, of_strata)
        return write_hits(run, plan, task, of_strata, 5.0)

    hits = timed(write, Work("sgemm", traits * TASK_VARIANTS))
    assert hits == np.count_nonzero(values["neg_log10_p"] >= 5.0)
    written = ResultsCube(run).block("beta", 0, slice(0, traits), slice(0, TASK_VARIANTS))
    np.testing.assert_array_equal(written, values["beta"])


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> ResultsCube:
    """Results of 32 traits, each with a pattern of missing people of its own."""
    plan = make_plan(32, EXPORTED, TASK_VARIANTS)
    run = tmp_path_factory.mktemp("exports") / "run"
    lay_out(run, plan)
    fill(run, plan, make_values(np.random.default_rng(2), 32, EXPORTED, patterns=32))
    return ResultsCube(run)


@pytest.mark.parametrize(
    ("format_name", "suffix"),
    [("regenie", ""), ("regenie", ".gz"), ("plink", ""), ("gwas-ssf", ""), ("gwas-ssf", ".gz"), ("parquet", "")],
)
def test_export(timed: Timed, cube: ResultsCube, tmp_path: Path, format_name: str, suffix: str) -> None:
    """One of 32 traits, from the cube to a file; a compressed one with its index."""
    out = tmp_path / "out"

    def clear() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    summary = timed(
        lambda: export(out, "trait3", format_name, out / f"file{suffix}", cube=cube),
        Work("sgemm", EXPORTED),
        before=clear,
    )
    assert summary.rows + sum(summary.left_out.values()) == EXPORTED
