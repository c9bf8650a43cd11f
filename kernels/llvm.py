"""Numbers and addresses in the language of LLVM, for :mod:`allscan.kernels.intrinsics`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

INT64 = ir.IntType(64)
BYTE = ir.IntType(8)


def constant(value: int) -> Any:
    """A number of 64 bits."""
    return ir.Constant(INT64, value)


def address(context: Any, builder: Any, array_type: Any, value: Any) -> Any:
    """Where an array begins; for the code of intrinsics."""
    data = context.make_array(array_type)(context, builder, value).data
    return builder.bitcast(data, BYTE.as_pointer())


def vector_at(builder: Any, base: Any, offset: Any, vector: Any) -> Any:
    """Where a vector is, ``offset`` bytes from a base."""
    return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())


def element_address(context: Any, builder: Any, array_type: Any, value: Any, offset: Any, vector: Any) -> Any:
    """Where in an array, ``offset`` elements on, a vector is; for the code of intrinsics."""
    size = constant(array_type.dtype.bitwidth // 8)
    return vector_at(builder, address(context, builder, array_type, value), builder.mul(offset, size), vector)
