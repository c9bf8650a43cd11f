"""This machine: its CPUs, memory and BLAS, and what of it holds the program back."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_CGROUP_USES = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")

_WEAK_KERNELS = {
    "avx512f": ("haswell", "zen", "sandybridge", "nehalem", "prescott", "core2", "barcelona"),
    "avx2": ("sandybridge", "nehalem", "prescott", "core2", "barcelona"),
}
"""Per feature of a CPU, BLAS kernels that leave it unused: with AVX-512, Haswell's run at half the speed."""


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory() -> int:
    """Bytes of memory of this machine, or of its container if that has less."""
    total = _memory("MemTotal", "total")
    limit = _first_number(_CGROUP_LIMITS)
    return total if limit is None else min(total, limit)


def available_memory() -> int:
    """Bytes of memory that are free, or can be freed, for this process."""
    free = _memory("MemAvailable", "available")
    limit, used = _first_number(_CGROUP_LIMITS), _first_number(_CGROUP_USES)
    return free if limit is None or used is None else min(free, max(0, limit - used))


def describe_system() -> dict[str, Any]:
    """Operating system, CPU and memory, as the provenance holds them."""
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_line("model name") or platform.processor(),
        "cpus": available_cpus(),
        "memory_bytes": total_memory(),
    }


def blas_libraries() -> list[dict[str, Any]]:
    """BLAS libraries that are in use, and the CPU kernels that they chose: NumPy's, and SciPy's once it is loaded."""
    import numpy as np  # noqa: F401 - threadpoolctl sees only libraries that are loaded
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "architecture", "num_threads")
    return [
        {key: library.get(key) for key in keys} for library in threadpool_info() if library.get("user_api") == "blas"
    ]


def machine_warnings() -> tuple[str, ...]:
    """What of this machine's settings makes the program slower than it need be."""
    pinned = os.environ.get("OPENBLAS_CORETYPE")
    if not pinned:
        return ()
    features = (_cpu_line("flags") or "").split()
    for feature, weak in _WEAK_KERNELS.items():
        if feature in features:
            if pinned.lower() in weak:
                return (
                    f"OPENBLAS_CORETYPE={pinned} keeps matrix products from using this CPU's {feature}: "
                    "unset it (`unset OPENBLAS_CORETYPE`)",
                )
            return ()
    return ()


def _first_number(paths: tuple[str, ...]) -> int | None:
    for path in paths:
        try:
            return int(Path(path).read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such file, or the word "max": no limit
            continue
    return None


def _memory(of_linux: str, of_psutil: str) -> int:
    """Bytes of memory, as Linux tells them; on other systems as psutil does, which takes long to import."""
    told = _line_of("/proc/meminfo", of_linux)
    if told is not None and told.endswith(" kB"):
        return int(told.removesuffix(" kB")) << 10
    import psutil

    return int(getattr(psutil.virtual_memory(), of_psutil))


def _cpu_line(key: str) -> str | None:
    return _line_of("/proc/cpuinfo", key)


def _line_of(path: str, key: str) -> str | None:
    """What a file of lines ``key: …`` says of a key first."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError:  # not Linux
        return None
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == key:
            return rest.strip()
    return None
