"""One JSON document that says where results come from: the job, its inputs, programs, counts and costs.

Described in docs/reference/provenance.md. It holds counts of people, never their ids.
"""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import sys
import time
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

from allscan.jobs.machine import blas_libraries
from allscan.jobs.run_folder import now

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "allscan-provenance"
FORMAT_VERSION = 1

PACKAGES = (
    "numpy",
    "scipy",
    "numba",
    "zarr",
    "numcodecs",
    "xarray",
    "pandas",
    "pyarrow",
    "formulaic",
    "pydantic",
)
"""Packages whose versions can change a number or a file."""


@dataclass(frozen=True)
class InputFile:
    """One file that the job reads, by content."""

    role: str  # the key of the job file that names it, e.g. "traits.file"
    path: str  # as the job file spells it
    bytes: int
    sha256: str

    @property
    def content(self) -> str:
        """What is compared to tell whether the file has changed."""
        return f"sha256:{self.sha256}"

    def to_json(self) -> dict[str, Any]:
        """As in the provenance document."""
        return {"role": self.role, "path": self.path, "bytes": self.bytes, "sha256": self.sha256}


def hash_input(role: str, path: Path, spelled: str) -> InputFile:
    """Hash the content of an input: of a file, or of all files of a folder of Parquet parts."""
    digest = hashlib.sha256()
    size = 0
    parts = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for part in parts:
        with part.open("rb") as file:
            of_part = hashlib.file_digest(file, "sha256")
            size += file.tell()
        if part == path:
            digest = of_part
        else:
            digest.update(f"{part.relative_to(path)}\0{of_part.hexdigest()}\n".encode())
    return InputFile(role, spelled, size, digest.hexdigest())


@dataclass
class Session:
    """One process that worked on a run: what it took, to be told in the provenance."""

    started: str = field(default_factory=now)
    _wall: float = field(default_factory=time.monotonic)
    _cpu: float = field(default_factory=lambda: cpu_seconds())

    def to_json(self, **more: Any) -> dict[str, Any]:
        """Times (UTC), seconds and bytes of this session so far."""
        return {
            "started": self.started,
            "finished": now(),
            "elapsed_seconds": round(time.monotonic() - self._wall, 3),
            "cpu_seconds": round(cpu_seconds() - self._cpu, 3),
            "peak_memory_bytes": peak_memory_bytes(),
            **more,
        }


def cpu_seconds() -> float:
    """CPU time of this process and of its workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_memory_bytes() -> int:
    """Largest resident memory of this process since it began, or of one of its workers if that was larger."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return max(own, workers) * (1 if sys.platform == "darwin" else 1024)


def software_versions() -> dict[str, Any]:
    """Versions of allscan, Python, the packages that matter, and the BLAS in use."""
    return {
        "allscan": metadata.version("allscan"),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "blas": blas_libraries(),
    }
