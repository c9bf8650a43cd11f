"""Compiled kernels on disk: never out of date, and never a reason to fail.

Numba has a cache of its own. It notices a change of the file that holds a kernel, and would go on with old code of a
kernel that is called from another file: after an update of allscan, a wrong number. It ignores code that lies in a
folder that cannot be written, such as an installation made by another user, and fails where no folder can be.
Here compiled code is valid for the sources of all kernels, for one version of Python and numba and for one kind of CPU.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import pickle
import sys
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
from numba.core import compiler, serialize
from numba.core.environment import Environment, lookup_environment
from numba.core.runtime import nrt

from allscan.code_cache import CodeCache, folder_name, usual_folders

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIX = ".kernel"
_rebuild: Any = compiler.CompileResult._rebuild
_dumps: Any = serialize.dumps
_known_environment: Any = lookup_environment


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
        return str(next(iter(self._cache.folders), ""))

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Compiled code for a signature, or None if there is none that is valid and whole."""
        _start_runtime(target)
        body = self._cache.load(self._name(signature, target))
        if body is None:
            _start_compiler()
            return None
        return _rebuild(target, *_Loader(io.BytesIO(body)).load())

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep compiled code that does not hold addresses of this process."""
        if compiled.lifted or compiled.library.has_dynamic_globals or " at 0x" in repr(signature):
            return
        self._cache.keep(self._name(signature, compiled.target_context), _dumps(compiled._reduce()))

    @cached_property
    def _cache(self) -> CodeCache:
        source = Path(self._function.__code__.co_filename)
        if not source.exists() or self._function.__closure__:
            # Made in a notebook, or with values of its own: the sources do not say all of it.
            return CodeCache(source, (), b"")
        given = os.environ.get("NUMBA_CACHE_DIR")
        folders = (Path(given) / f"allscan-{folder_name(source)}",) if given else usual_folders(source)
        return CodeCache(source, folders, hashlib.sha256(sources_digest() + source.read_bytes()).digest())

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


class _Loader(pickle.Unpickler):
    """Reads compiled code, without the modules of numba whose functions were compiled into it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numba.core.environment", "_rebuild_env"):
            return _environment
        return super().find_class(module, name)


def _environment(module: str, constants: list[Any], name: str) -> Any:
    """What numba keeps of a function beside its code: constants, and globals, for which compiled code never asks."""
    found = _known_environment(name)
    if found is None:
        found = Environment(vars(sys.modules[module]) if module in sys.modules else {"__name__": module})
        found.consts[:] = constants
        found.env_name = name
        Environment._memo[name] = found
    return found


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
