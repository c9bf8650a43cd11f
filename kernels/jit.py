"""Numba's options, in one place."""

from __future__ import annotations

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
    return cast("F", numba.njit(cache=True, nogil=True)(function))


def jit_fast(function: F) -> F:
    """As :func:`jit`, with sums free to reassociate. For kernels whose sums are plain and long."""
    return cast("F", numba.njit(cache=True, nogil=True, fastmath=FAST_MATH)(function))
