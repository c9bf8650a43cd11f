"""Compiled kernels on disk: never out of date, and never a reason to fail.

Numba has a cache of its own. It notices a change of the file that holds a kernel, and would go on with old code of a
kernel that is called from another file: after an update of allscan, a wrong number. It ignores code that lies in a
folder that cannot be written, such as an installation made by another user, and fails where no folder can be.
Here compiled code is valid for the sources of all kernels, for one version of Python and numba and for one kind of CPU;
it is taken from every folder that can be read and kept in the first that can be written, or not at all. Folders and
files that others may write are passed over: compiled code is code.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import pickle
import stat
import sys
import uuid
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
from numba.core import compiler, serialize
from numba.core.runtime import nrt

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIX = ".kernel"
_rebuild: Any = compiler.CompileResult._rebuild
_dumps: Any = serialize.dumps
_DIGEST_BYTES = 32


class KernelCache:
    """Compiled code of one kernel, as numba's dispatcher asks for it.

    Parameters
    ----------
    function
        The kernel.
    fast_math
        Liberties of LLVM with floating-point numbers.
    """

    def __init__(self, function: Callable[..., Any], fast_math: frozenset[str]) -> None:
        self._function = function
        self._fast_math = fast_math

    @property
    def cache_path(self) -> str:
        """The folder that is asked first."""
        return str(next(iter(self._folders), ""))

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Compiled code for a signature, or None if there is none that is valid and whole."""
        _start_runtime(target)
        name = self._name(signature, target)
        for folder in self._folders:
            try:
                content = _read_trusted(folder / name, self._source)
            except OSError:
                continue
            head, body = content[: 2 * _DIGEST_BYTES], content[2 * _DIGEST_BYTES :]
            if head == self._stamp + hashlib.sha256(body).digest():
                # Checked, because LLVM does not survive damaged code.
                return _rebuild(target, *pickle.loads(body))  # noqa: S301 - only this user, root, or an author of the sources wrote it
        _start_compiler()
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep compiled code, where there is a folder for it and the code does not hold addresses of this process."""
        if compiled.lifted or compiled.library.has_dynamic_globals or " at 0x" in repr(signature):
            return
        body = _dumps(compiled._reduce())
        content = self._stamp + hashlib.sha256(body).digest() + body
        name = self._name(signature, compiled.target_context)
        for folder in self._folders:
            try:
                # Others may read the code, and nobody change it, whatever the umask.
                folder.mkdir(0o755, parents=True, exist_ok=True)
                if not _is_trusted(folder.stat(), self._source):
                    continue
                _write(folder / name, content)
            except OSError:
                continue
            return

    @cached_property
    def _folders(self) -> tuple[Path, ...]:
        source = self._source
        if not source.exists() or self._function.__closure__:
            # Made in a notebook, or with values of its own: the sources do not say all of it.
            return ()
        by_source = hashlib.sha256(str(source.resolve().parent).encode()).hexdigest()[:16]
        given = os.environ.get("NUMBA_CACHE_DIR")
        if given:
            return (Path(given) / f"allscan-{by_source}",)
        own = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "allscan" / by_source
        return (source.parent / "__pycache__", own)

    @cached_property
    def _stamp(self) -> bytes:
        """What the code is valid for, beside what the file's name says."""
        return hashlib.sha256(sources_digest() + self._source.read_bytes()).digest()

    @property
    def _source(self) -> Path:
        return Path(self._function.__code__.co_filename)

    def _name(self, signature: Any, target: Any) -> str:
        # A later version of the sources overwrites the file; another machine or version of numba has its own.
        python = (sys.implementation.cache_tag, sys.abiflags)
        of = (python, numba.__version__, target.codegen().magic_tuple())
        key = hashlib.sha256(repr((of, signature, sorted(self._fast_math))).encode()).hexdigest()[:16]
        return f"{self._function.__module__}.{self._function.__qualname__}-{key}{SUFFIX}"


@cache
def sources_digest() -> bytes:
    """Hash of every kernel's source."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def _read_trusted(path: Path, source: Path) -> bytes:
    """Content of a file that only those can have written who may run code here anyway.

    To load compiled code is to run it, as ``ssh`` runs what a configuration says, and looks at its owner first.

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
    """Whether nobody may write a file or folder but this user, root, and those who may write the kernels' sources."""
    home = source.parent.stat()
    group_may = home.st_mode & stat.S_IWGRP and found.st_gid == home.st_gid
    allowed = (stat.S_IWGRP if group_may else 0) | (home.st_mode & stat.S_IWOTH)
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid in (0, os.geteuid(), source.stat().st_uid) and not writable & ~allowed


def _write(path: Path, content: bytes) -> None:
    """Write a file so that whoever else runs sees all of it or nothing."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{SUFFIX}")
    try:
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@cache
def _start_runtime(target: Any) -> None:
    """Make known to LLVM what compiled code may call; numba's own cache starts the whole compiler for it."""
    nrt.rtsys.initialize(target)
    # Registers the functions that hash.
    importlib.import_module("numba.cpython.hashing")


@cache
def _start_compiler() -> None:
    """Load numba's part for arrays without SciPy's linear algebra, which takes as long to import as the rest of it.

    Numba imports it to learn whether it is there. It is, allscan requires it; a kernel that calls it finds it itself.
    """
    try:
        linalg: Any = importlib.import_module("numba.np.linalg")
        probe = linalg.ensure_blas
    except (ImportError, AttributeError):  # another version of numba, which looks elsewhere
        return
    linalg.ensure_blas = lambda: None
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = probe
