"""Commands load what they use: every library here takes longer to import than a small job takes to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.conftest import Cohort

NEVER = {
    *(
        "configparser",
        "dask",
        "distributed",
        "formulaic",
        "matplotlib",
        "msprime",
        "pandas",
        "psutil",
        "pyarrow.compute",
    ),
    *("ray", "sparse", "xarray", "yaml"),
}
if not any(name.startswith("COVERAGE_") for name in os.environ):
    NEVER.add("coverage")  # nor does numba load it, where nobody measures
NO_ARITHMETIC = NEVER | {"jinja2", "llvmlite", "numba", "scipy", "zarr"}

PROGRAM = """
import sys
from allscan.jobs.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded", *sorted(sys.modules))
"""

THREADS = """
import sys, threading
from allscan.jobs.cli import main
start, kept = threading.Thread.start, []
def started(thread):
    from allscan.cluster.allocator import keep_freed_memory
    kept.append(keep_freed_memory.cache_info().currsize)
    start(thread)
threading.Thread.start = started
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*kept)
"""


def loaded_by(folder: Path, *arguments: str) -> set[str]:
    """Modules that a command has loaded when it ends."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.splitlines()[-1].split()
    assert words[0] == "loaded"
    return set(words[1:])


@pytest.mark.parametrize(
    "formula",
    ["age + sex", "age + age**2 + sex + age:sex", "C(age) + log(age)*sex", None],
)
def test_a_check_reads_the_data_and_loads_nothing_that_computes(cohort: Cohort, formula: str | None) -> None:
    covariates = None if formula is None else {"file": "covariates.tsv", "formula": formula}
    traits = {"file": "traits.tsv", "columns": ["height", "ldl"], "transform": "residualise_rank_inverse_normal"}
    cohort.job(covariates=covariates, traits=traits)
    loaded = loaded_by(cohort.folder, "check", "job.yaml")
    assert "numpy" in loaded
    assert not NO_ARITHMETIC & loaded


def test_a_run_with_its_report_loads_neither_tables_nor_stores_of_others(cohort: Cohort) -> None:
    cohort.job(output="first")
    loaded_by(cohort.folder, "run", "job.yaml")  # compiles, where nobody has: for that, numba loads what it knows
    cohort.job()
    loaded = loaded_by(cohort.folder, "run", "job.yaml")
    assert "numba" in loaded
    assert not (NEVER | {"zarr", "scipy.linalg", "scipy.special", "scipy.stats"}) & loaded
    assert not {"allscan.engine.meta.run", "numba.np.arrayobj"} & loaded
    # The same is there when the run has been done already.
    assert not NO_ARITHMETIC & loaded_by(cohort.folder, "run", "job.yaml")
    assert not NO_ARITHMETIC & loaded_by(cohort.folder, "status", "run")


def test_a_run_tells_the_allocator_before_its_first_thread_starts(cohort: Cohort) -> None:
    """A thread that starts earlier has memory of its own, which is the system's again after every task."""
    command = [sys.executable, "-c", THREADS, "run", str(cohort.job()), "--workers", "2"]
    done = subprocess.run(command, cwd=cohort.folder, capture_output=True, text=True, check=True)
    kept = done.stdout.splitlines()[-1].split()
    assert len(kept) > 2  # the one that tells how far the run is, two workers
    assert set(kept) == {"1"}
