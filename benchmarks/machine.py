"""Which machine and which software a run was made with."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from allscan.jobs.machine import available_cpus, blas_libraries, describe_system, total_memory

FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vpopcntdq", "avx512_bf16", "amx_bf16", "asimd", "sve", "sve2")
"""Features of a CPU that compilers and BLAS choose their code by."""
PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "zarr", "numcodecs", "xarray", "pyarrow", "pandas")


def describe_machine() -> dict[str, Any]:
    """What decides how fast the same code can be here. Two runs are compared where all of it is the same.

    The kernels that BLAS chose belong to it (a pinned core type is another machine, as it were); versions of
    libraries do not: an upgrade that slows the scan is to be noticed.
    """
    return {
        "cpu": describe_system()["cpu"],
        "flags": sorted(set(FLAGS) & _cpu_flags()),
        "cpus": available_cpus(),
        "memory_gib": round(total_memory() / 2**30),
        "blas": sorted({f"{library['internal_api']} {library['architecture']}" for library in blas_libraries()}),
        "system": f"{platform.system()} {platform.machine()}",
    }


def fingerprint(machine: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that stand for a machine."""
    return hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:12]


def software() -> dict[str, str]:
    """Versions of Python, of the libraries that the speed depends on, and of BLAS."""
    versions = {"python": platform.python_version(), "allscan": metadata.version("allscan")}
    versions |= {name: metadata.version(name) for name in PACKAGES}
    versions["blas"] = ", ".join(sorted({f"{lib['internal_api']} {lib['version']}" for lib in blas_libraries()}))
    return versions


def git_state(folder: Path) -> tuple[str, bool]:
    """Commit of a working tree and whether files differ from it; ``("", False)`` where there is no git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "", False


class Elsewhere:
    """CPU cores that other programs (and, on a virtual machine, its neighbours) keep busy.

    Processes that this one has started and waited for count as its own; those that still run do not.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Count from now on."""
        self._start = self._now()

    def cores(self) -> float:
        """Mean since the start."""
        (clock, busy, own), (clock0, busy0, own0) = self._now(), self._start
        return max(0.0, ((busy - busy0) - (own - own0)) / max(clock - clock0, 1e-3))

    @staticmethod
    def _now() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Guests are counted as users already.
        busy = sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return time.monotonic(), busy, sum(os.times()[:4])


def wait_for_quiet(patience: float, *, cores: float = 0.15, seconds: float = 2.0) -> bool:
    """Wait until other programs use less than ``cores``, at most ``patience`` seconds; returns whether they do."""
    end = time.monotonic() + patience
    while True:
        elsewhere = Elsewhere()
        time.sleep(min(seconds, max(0.2, patience)))
        if elsewhere.cores() < cores:
            return True
        if time.monotonic() >= end:
            return False


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return set()
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(rest.split())
    return set()
