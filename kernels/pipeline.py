"""How kernels are compiled: each with copies of its own of the kernels that it calls.

Numba puts a copy of a called kernel into the caller's code, to be optimised there, and gives it the name of the
original. Of several pieces of code with one name the process takes the first that it loads. Sums that are free to
reassociate may be in another order in each, so that the last digit of a result would follow what a process happened to
load, or compile, before. A copy that nobody else can see is what its caller calls, always.
"""

from __future__ import annotations

from typing import Any

from llvmlite.binding import Linkage
from numba.core import codegen, compiler

# Numba's classes have no types.
_Library: Any = codegen.JITCodeLibrary
_Compiler: Any = compiler.Compiler


class OwnCopies(_Library):  # type: ignore[misc]
    """Compiled code in which what came from other kernels is private."""

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if function.linkage == Linkage.linkonce_odr and "allscan" in function.name:
                function.linkage = Linkage.internal
        super()._optimize_final_module()


class Pipeline(_Compiler):  # type: ignore[misc]
    """Numba's compiler, into such code."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.state.library is None:
            self.state.library = OwnCopies(self.state.targetctx.codegen(), "allscan")
            self.state.library.enable_object_caching()
