"""Numba's options, in one place, and a cache of compiled kernels that is never out of date."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

# Never `nnan` or `ninf`: a sum that skips NaN would break. Never `fastmath=True` for the same reason.
# `reassoc` and `contract` let sums vectorise; results stay deterministic for a given machine.
FAST_MATH = {"nsz", "arcp", "contract", "reassoc"}


def jit(function: F) -> F:
    """Compile a kernel: no Python objects, no GIL, cached on disk, exact IEEE arithmetic."""
    return cast(F, _stamped(numba.njit(cache=True, nogil=True)(function)))


def jit_fast(function: F) -> F:
    """As :func:`jit`, with sums free to reassociate. For kernels whose sums are plain and long."""
    return cast(F, _stamped(numba.njit(cache=True, nogil=True, fastmath=FAST_MATH)(function)))


@cache
def sources_digest() -> str:
    """Hash of every kernel's source."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _stamped(dispatcher: Any) -> Any:
    """Make the cached code of a kernel valid for these sources only.

    Numba recompiles when the kernel's own file changes, and would go on with old code of a kernel that
    it calls from another file: after an update of allscan, a wrong number. The stamp that numba keeps with the
    cached code is extended by the sources of all kernels. Should a version of numba keep no such stamp, nothing is
    cached.
    """
    cache_file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if cache_file is not None and hasattr(cache_file, "_source_stamp"):
        cache_file._source_stamp = (cache_file._source_stamp, sources_digest())
        return dispatcher
    options = {key: value for key, value in dispatcher.targetoptions.items() if key in ("nogil", "fastmath")}
    return numba.njit(**options)(dispatcher.py_func)
