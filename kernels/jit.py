"""Numba's options, in one place; kernels that wait to be compiled until they are called.

Numba takes half a second to start, which a program that computes nothing (`allscan check`) need not pay.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

# Never `nnan` or `ninf`: a sum that skips NaN would break. Never `fastmath=True` for the same reason.
# `reassoc` and `contract` let sums vectorise; results stay deterministic for a given machine.
FAST_MATH = frozenset({"nsz", "arcp", "contract", "reassoc"})

_making = threading.RLock()


def jit(function: F) -> F:
    """Compile a kernel: no Python objects, no GIL, cached on disk, exact IEEE arithmetic."""
    return cast("F", Kernel(function, frozenset()))


def jit_fast(function: F) -> F:
    """As :func:`jit`, with sums free to reassociate. For kernels whose sums are plain and long."""
    return cast("F", Kernel(function, FAST_MATH))


def jit_inline(function: F) -> F:
    """As :func:`jit`, for pieces of a kernel's innermost loop: they become part of it, however LLVM weighs them."""
    return cast("F", Kernel(function, frozenset(), inline=True))


class Kernel:
    """A function that is compiled when it is first called, from Python or from another compiled function.

    Parameters
    ----------
    function
        What to compile.
    fast_math
        Liberties of LLVM with floating-point numbers.
    inline
        Whether it becomes part of its callers.
    """

    def __init__(self, function: Callable[..., Any], fast_math: frozenset[str], inline: bool = False) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self._fast_math = fast_math
        self._inline = inline
        self._dispatcher: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Compile the function for these types of arguments, if that has not been done, and call it."""
        # Not the property: it would take longer than some kernels do.
        return (self._dispatcher or self.dispatcher)(*arguments)

    def __repr__(self) -> str:
        return f"<kernel {self.__module__}.{self.py_func.__qualname__}>"

    def __reduce__(self) -> str:
        # By name, as functions are pickled.
        return self.py_func.__qualname__

    @property
    def dispatcher(self) -> Any:
        """Numba's function."""
        with _making:
            if self._dispatcher is None:
                self._dispatcher = _dispatcher(self.py_func, self._fast_math, self._inline)
        return self._dispatcher

    @property
    def _numba_type_(self) -> Any:
        # How numba asks for the type of an object that a compiled function refers to.
        return self.dispatcher._numba_type_


def intrinsic(name: str) -> Callable[..., Any]:
    """A function of :mod:`allscan.kernels.intrinsics`, for kernels to call."""
    return cast("Callable[..., Any]", Intrinsic(name))


class Intrinsic:
    """Code in the language of LLVM, made when a kernel that calls it is compiled."""

    def __init__(self, name: str) -> None:
        self._name = name

    @functools.cached_property
    def _numba_type_(self) -> Any:
        from numba.core import types
        from numba.core.typing import templates

        from allscan.kernels import intrinsics

        make_template: Any = templates.make_intrinsic_template
        with _making:
            return types.Function(make_template(self, getattr(intrinsics, self._name), self._name))


def _dispatcher(function: Callable[..., Any], fast_math: frozenset[str], inline: bool) -> Any:
    numba = _started_numba()

    from allscan.kernels.kernel_cache import KernelCache
    from allscan.kernels.pipeline import Pipeline

    options: dict[str, Any] = {"forceinline": True} if inline else {}
    dispatcher = numba.njit(nogil=True, fastmath=set(fast_math) or False, pipeline_class=Pipeline, **options)(function)
    if hasattr(dispatcher, "_cache"):  # not where NUMBA_DISABLE_JIT leaves the function as it is
        dispatcher._cache = KernelCache(function, fast_math)
        if function.__module__.startswith("allscan.kernels."):
            # Ours know no types of other packages, whose extensions of numba are loaded when something is compiled.
            dispatcher._compilation_chain_init_hook = _nothing
    return dispatcher


def _started_numba() -> Any:
    """Numba, without the packages that it imports to see whether they are there, which takes a third of its start."""
    if "numba" in sys.modules:
        return importlib.import_module("numba")
    unused = {"coverage", "yaml"} - sys.modules.keys()  # a measurement of coverage has loaded it
    if Path(".numba_config.yaml").exists():
        unused.discard("yaml")
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(unused))
    try:
        return importlib.import_module("numba")
    finally:
        for name in unused:
            del modules[name]


def _nothing() -> None:
    pass
