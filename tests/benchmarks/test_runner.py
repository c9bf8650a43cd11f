"""The real runner on real kernels: a kernel made 30 % slower fails the night, the same code does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.machine import Elsewhere, wait_for_quiet
from benchmarks.records import Run, read_history
from benchmarks.runner import ROOT, Settings, list_cases, measure, measured_environment

# Where ALLSCAN_NIGHT is set, the clock is that of a machine which takes 10 ms for a kernel or a yardstick, give
# or take 4 %: what the runner makes of times is then the same wherever and beside whatever it is tested.
CONFTEST = """
import os
import types
import numpy as np
from benchmarks import timing
from benchmarks.timing import machine_limits, pytest_benchmark_update_json, timed

NIGHT = os.environ.get("ALLSCAN_NIGHT")


class Clock:
    now = 0.0

    def tick(self):
        self.now += 0.01 * np.exp(0.04 * self.noise.standard_normal())


clock = timing.test_clock = Clock()


def pytest_collection_modifyitems(items):
    # Cases that are measured again find other noise.
    clock.noise = np.random.default_rng([int(NIGHT or 0), len(items)])


if NIGHT:
    read = lambda: clock.now
    timing.time = types.SimpleNamespace(process_time=read, perf_counter=read)
    timing.yardstick = lambda name: (clock.tick, 1e6)
"""

# Ten parts of the same work; thirteen where ALLSCAN_SLOWER names the case.
SUITE = """
import os
import numpy as np
import pytest
from allscan.kernels import products
from allscan.kernels.block import encode_block
from benchmarks import timing
from benchmarks.timing import Work

genotypes = np.random.default_rng(1).binomial(2, 0.3, (128, 4096)).astype(np.int8)
block = encode_block(genotypes)
panel = np.random.default_rng(2).normal(size=(4096, 140))


@pytest.fixture(autouse=True)
def slower(request, monkeypatch):
    kernel, parts = products.genotype_products, 10
    if os.environ.get("ALLSCAN_SLOWER") == request.node.name:
        parts = 13

    def in_parts(*arguments):
        for _ in range(parts):
            out = kernel(*arguments)
            timing.test_clock.tick()
        return out

    monkeypatch.setattr(products, "genotype_products", in_parts)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_products(timed, dtype):
    vectors = panel.astype(dtype)
    limit = "dgemm" if dtype == "float64" else "sgemm"
    work = Work(limit, 20.0 * genotypes.size * 140, 10 * genotypes.size, is_product=True)
    out = timed(lambda: products.genotype_products(block, vectors), work)
    np.testing.assert_allclose(out, genotypes @ panel, rtol=1e-4, atol=0.01)
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_suite.py").write_text(SUITE)
    return folder


def bench(*arguments: str | Path, slower: str = "", night: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``python -m benchmarks`` on its smallest size; by the clock of a night, or by the real one."""
    command = [sys.executable, "-m", "benchmarks", "--size", "tiny", "--patience", "0", *map(str, arguments)]
    environment = {**os.environ, "ALLSCAN_SLOWER": slower, "ALLSCAN_NIGHT": night}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def last(history: Path) -> Run:
    return read_history(history)[-1]


@pytest.mark.parametrize("nights", ["12345", pytest.param("", marks=pytest.mark.slow, id="by the real clock")])
def test_a_kernel_slowed_by_30_percent_is_caught_and_noise_is_not(suite: Path, tmp_path: Path, nights: str) -> None:
    history, page = tmp_path / "history", tmp_path / "page.html"
    arguments = ("--suite", suite, "--history", history, "--out", page)
    for k in range(4):
        done = bench(*arguments, night=nights[k : k + 1])
        # The first nights have nothing to be compared with; the others run the same code.
        assert done.returncode == 0, done.stdout + done.stderr
    assert {verdict.verdict for verdict in last(history).verdicts} <= {"same", "faster"}

    slow = "test_products[float64]"
    done = bench(*arguments, slower=slow, night=nights[4:])
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("SLOWER: products[float64] +")
    run = last(history)
    (verdict,) = [verdict for verdict in run.verdicts if verdict.verdict == "slower"]
    assert (verdict.case, verdict.reruns) == ("products[float64]", 2)
    assert 1.15 < verdict.change < 1.5
    assert "Benchmarks: 1 slower" in page.read_text()


def test_a_run_holds_what_a_comparison_needs(suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    done = bench("--suite", suite, "--history", tmp_path / "h", "--only", "float32")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "h").glob("*.json")
    document = json.loads(path.read_text())
    assert document["schema"] == 1
    # The core type that was pinned is told, and was not in force.
    if {"avx2", "avx512f"} & set(document["machine"]["flags"]):
        assert any("OPENBLAS_CORETYPE=Prescott" in text for text in document["warnings"])
    assert not any("Prescott" in library for library in document["machine"]["blas"])
    assert {(x["limit"], x["threads"], x["when"]) for x in document["limits"]} >= {
        ("memory", 1, "before"), ("sgemm", 1, "after"), ("dgemm", 1, "after"), ("clock", 1, "before"),
    }  # fmt: skip
    (result,) = document["results"]
    assert len(result["cpu"]) == len(result["wall"]) == len(result["yardstick"]) - 1 >= 5
    assert (tmp_path / "benchmarks.html").exists()
    done = bench("--table", path)
    assert "`products[float32]`" in done.stdout


def test_a_case_that_fails_fails_the_night_and_spares_the_others(suite: Path, tmp_path: Path) -> None:
    with (suite / "test_suite.py").open("a") as file:
        file.write("\n\ndef test_broken(timed):\n    raise RuntimeError('it broke')\n")
    (suite / "test_other.py").write_text("import a_module_that_is_gone\n")
    done = bench("--suite", suite, "--history", tmp_path / "history", "--only", "float32 or broken")
    assert done.returncode == 1
    assert "FAILED: " in done.stdout
    assert "it broke" in done.stderr
    run = last(tmp_path / "history")
    assert [result.case for result in run.results] == ["products[float32]"]
    assert run.failed == ["test_other.py", "test_suite.py::test_broken"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "no_such_case"), "no case matches 'no_such_case'"),
        (("--peer", "gcta"), "no peer is called 'gcta'"),
        (("--peers-only",), "name a peer"),
        (("--page-only",), "the history is empty"),
        (("--size", "huge"), "huge"),
        (("--threshold", "0.9"), "threshold"),
    ],
)
def test_bad_calls_are_refused(arguments: tuple[str, ...], message: str, suite: Path, tmp_path: Path) -> None:
    done = bench("--suite", suite, "--history", tmp_path / "history", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_history_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "20260101T000000-abc.json").write_text("{}")
    done = bench("--history", tmp_path)
    assert done.returncode == 2
    assert "20260101T000000-abc.json" in done.stderr


def test_a_case_must_use_our_fixture(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (suite / "test_suite.py").write_text("def test_plain(benchmark):\n    benchmark(sum, [1])\n")
    measured = measure(Settings(suite=suite, size="tiny"))
    assert measured.failed == ["test_suite.py::test_plain"]
    assert measured.results == []
    assert "let the case take the fixture `timed`" in capsys.readouterr().err


def test_cases_are_listed() -> None:
    cases = list_cases(Settings(size="quick", only="kernels or scan"))
    assert {"products[524-float32]", "scan_of_common_variants[impute_mean-512]"} <= set(cases)


def test_measured_without_the_pin_ci_and_an_outer_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    environment = measured_environment("quick")
    assert not {"OPENBLAS_CORETYPE", "CI", "PYTEST_XDIST_WORKER"} & set(environment)
    assert environment["ALLSCAN_BENCHMARK"] == "quick"


def test_work_of_others_is_seen_and_own_work_is_not() -> None:
    elsewhere = Elsewhere()
    elsewhere._start = (elsewhere._start[0] - 1.0, elsewhere._start[1] - 5.0, elsewhere._start[2])
    assert elsewhere.cores() > 3
    elsewhere._start = (elsewhere._start[0], elsewhere._start[1], elsewhere._start[2] - 5.0)
    assert elsewhere.cores() < 3
    assert not wait_for_quiet(0.0, cores=-1.0)
