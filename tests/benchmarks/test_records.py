"""The history: what is written is read back, and what is damaged is told."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from allscan.errors import FileFormatError
from benchmarks.machine import FLAGS, describe_machine, fingerprint, git_state, software
from benchmarks.records import matches, read_history, read_run, write_run

sys.path.append(str(Path(__file__).parent))

from nights import PEAK, Machine, make_run, peer_result


def test_round_trip(tmp_path: Path) -> None:
    run = Machine(cases=3).run(4, peers=[peer_result()], accepted=["kernel"], warnings=["noisy"])
    path = write_run(tmp_path / "history", run)
    assert read_run(path) == run
    assert len(run.results[0].cpu) == len(json.loads(path.read_text())["results"][0]["cpu"]) > 1
    assert [file.name for file in (tmp_path / "history").iterdir()] == [run.name]


def test_history_is_sorted_by_date(tmp_path: Path) -> None:
    machine = Machine(cases=1)
    for night in (3, 1, 2):
        write_run(tmp_path, machine.run(night))
    assert [run.date[8:10] for run in read_history(tmp_path)] == ["02", "03", "04"]
    assert read_history(tmp_path / "nothing") == []


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": 1}', '{"schema": 99}', "null"])
def test_a_damaged_file_is_told(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "20260101.json"
    path.write_text(damage)
    with pytest.raises(FileFormatError, match=r"20260101\.json") as caught:
        read_history(tmp_path)
    assert "delete it" in str(caught.value)


def test_ratio_is_time_over_the_limit_beside_it() -> None:
    result = Machine(cases=1, spread=0).result("kernel[0]")
    by_hand = [
        seconds / (np.sqrt(before * after) / (0.01 * PEAK) * 1e6)
        for seconds, before, after in zip(result.cpu, result.yardstick[:-1], result.yardstick[1:], strict=True)
    ]
    np.testing.assert_allclose(result.ratios, by_hand)
    # 1 ms at 80 GFLOP/s for a million genotypes: 80 operations each.
    assert result.ratio == pytest.approx(80, rel=0.1)


def test_best_rate_of_a_limit() -> None:
    run = make_run(0, [], mood=1.0)
    run.limits.append({"limit": "dgemm", "threads": 1, "rate": 2 * PEAK, "of": "", "when": "after"})
    assert run.limit_rate("dgemm") == 2 * PEAK
    assert np.isnan(run.limit_rate("dgemm", 64))


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [("scan[1]", True), ("scan", True), ("sc*1]", True), ("scan[16]", False), ("[1]", True), ("sc*2]", False)],
)
def test_patterns_of_cases(pattern: str, meant: bool) -> None:
    assert matches("scan[1]", pattern) is meant


def test_fingerprint_tells_machines_apart_and_not_versions() -> None:
    machine = describe_machine()
    assert set(machine["flags"]) <= set(FLAGS)
    assert fingerprint(machine) == fingerprint(dict(reversed(machine.items())))
    assert fingerprint({**machine, "blas": ["openblas Prescott"]}) != fingerprint(machine)
    assert not {"python", "numpy", "numba", "zarr"} & set(machine)
    assert {"python", "numpy", "numba", "zarr", "blas"} <= set(software())


def test_git_state(repository: Path, tmp_path: Path) -> None:
    commit, _dirty = git_state(repository)
    assert len(commit) in (0, 40)
    assert git_state(tmp_path) == ("", False)


def test_ratio_of_two_threads_is_held_against_two_threads() -> None:
    """The yardstick ran on as many threads as the case: nothing is divided by them again."""
    result = Machine(cases=1, spread=0).result("kernel[0]")
    assert replace(result, threads=2, judged="wall").ratio == pytest.approx(1.01 * result.ratio)
