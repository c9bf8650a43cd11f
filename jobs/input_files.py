"""The files that a job reads, known by their content."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan.storage import files_below, open_stream

if TYPE_CHECKING:
    from allscan.storage import Place


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


def hash_input(role: str, path: Place, spelled: str) -> InputFile:
    """Hash the content of an input: of a file, or of all files of a folder of Parquet parts.

    Raises
    ------
    OSError
        If it cannot be read, or is a device or a pipe.
    """
    if isinstance(path, Path) and path.exists() and not (path.is_file() or path.is_dir()):
        # A device may never end.
        raise OSError(errno.EINVAL, "it is neither a file nor a folder", str(path))
    if not path.is_dir():
        with open_stream(path) as file:
            digest = hashlib.file_digest(file, "sha256")
            return InputFile(role, spelled, file.tell(), digest.hexdigest())
    digest = hashlib.sha256()
    size = 0
    for name, _ in files_below(path):
        with open_stream(path / name) as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
            size += file.tell()
    return InputFile(role, spelled, size, digest.hexdigest())
