"""What is found out about the machine."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from allscan.jobs import machine


def test_a_container_that_has_less_memory_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (str(tmp_path / "absent"), str(limit)))
    monkeypatch.setattr(machine, "_CGROUP_USES", (str(used),))
    assert machine.total_memory() == psutil.virtual_memory().total
    limit.write_text("1000000\n")
    used.write_text("400000\n")
    assert machine.total_memory() == 1_000_000
    assert machine.available_memory() == 600_000
    used.write_text("1000001\n")
    assert machine.available_memory() == 0
    limit.write_text("max\n")
    assert machine.total_memory() == psutil.virtual_memory().total
    assert machine.available_memory() > 1_000_000


def test_cpus_are_those_that_the_process_may_use() -> None:
    assert machine.available_cpus() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("flags", "pinned", "warned"),
    [
        ("avx2 avx512f", "Haswell", True),
        ("avx2 avx512f", "ZEN", True),
        ("avx2 avx512f", "SkylakeX", False),
        ("avx2", "Haswell", False),
        ("avx2", "Nehalem", True),
        ("sse4_2", "Nehalem", False),
        ("avx2 avx512f", "", False),
    ],
)
def test_a_core_type_below_the_cpu_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, flags: str, pinned: str, warned: bool
) -> None:
    monkeypatch.setattr(machine, "_cpu_line", lambda _: flags)
    monkeypatch.setenv("OPENBLAS_CORETYPE", pinned)
    assert bool(machine.machine_warnings()) == warned
