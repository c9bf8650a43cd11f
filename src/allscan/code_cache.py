"""Compiled code that is kept on disk: by users who may run code here anyway, and never a reason to fail.

To load compiled code is to run it, as ``ssh`` runs what a configuration says, and looks at its owner first: folders and
files that others may write are passed over. Code is taken from every folder that can be read, and kept in the first
that can be written, or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from pathlib import Path
from typing import NamedTuple

_DIGEST_BYTES = 32


class CodeCache(NamedTuple):
    """Where code that is made of a source file is kept.

    Attributes
    ----------
    source
        The file; who may write it may write the code.
    folders
        Where to look, the first one first.
    stamp
        What the code is valid for, beside what its name says: 32 bytes.
    """

    source: Path
    folders: tuple[Path, ...]
    stamp: bytes

    def load(self, name: str) -> bytes | None:
        """Code that was kept under a name, or None if there is none that is valid and whole."""
        for folder in self.folders:
            try:
                content = _read_trusted(folder / name, self.source)
            except OSError:
                continue
            head, body = content[: 2 * _DIGEST_BYTES], content[2 * _DIGEST_BYTES :]
            if head == self.stamp + hashlib.sha256(body).digest():
                return body
        return None

    def keep(self, name: str, body: bytes) -> None:
        """Keep code under a name, where there is a folder for it."""
        content = self.stamp + hashlib.sha256(body).digest() + body
        for folder in self.folders:
            try:
                # Others may read the code, and nobody change it, whatever the umask.
                folder.mkdir(0o755, parents=True, exist_ok=True)
                if not _is_trusted(folder.stat(), self.source):
                    continue
                _write(folder / name, content)
            except OSError:
                continue
            return


def folder_name(source: Path) -> str:
    """A name for the folder of a source file, to tell installations apart."""
    return hashlib.sha256(str(source.resolve().parent).encode()).hexdigest()[:16]


def usual_folders(source: Path) -> tuple[Path, ...]:
    """Where Python itself would keep the code of a source file, and then the user's own cache."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return (source.parent / "__pycache__", caches / "allscan" / folder_name(source))


def _read_trusted(path: Path, source: Path) -> bytes:
    """Content of a file that only those can have written who may run code here anyway.

    Raises
    ------
    OSError
        If there is no such file, or others may write it, or to its folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        if not (_is_trusted(os.fstat(descriptor), source) and _is_trusted(path.parent.stat(), source)):
            raise PermissionError(errno.EPERM, "others may have written it", str(path))
        return file.read()


def _is_trusted(found: os.stat_result, source: Path) -> bool:
    """Whether nobody may write a file or folder but this user, root, and those who may write the source."""
    home = source.parent.stat()
    group_may = home.st_mode & stat.S_IWGRP and found.st_gid == home.st_gid
    allowed = (stat.S_IWGRP if group_may else 0) | (home.st_mode & stat.S_IWOTH)
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid in (0, os.geteuid(), source.stat().st_uid) and not writable & ~allowed


def _write(path: Path, content: bytes) -> None:
    """Write a file so that whoever else runs sees all of it or nothing."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
