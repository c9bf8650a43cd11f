"""The files that a job reads, known by their content."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


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
    """Hash the content of an input: of a file, or of all files of a folder of Parquet parts.

    Raises
    ------
    OSError
        If it cannot be read, or is a device or a pipe.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        # A device may never end.
        raise OSError(errno.EINVAL, "it is neither a file nor a folder", str(path))
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
