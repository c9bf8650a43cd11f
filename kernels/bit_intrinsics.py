"""Pieces of kernels in the language of LLVM that work on words and their bits."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from allscan.kernels import bit_permutations
from allscan.kernels.llvm import BYTE, INT64, address, constant, element_address


def load_word(_typing: Any, data: Any, offset: Any) -> Any:
    """Four bytes from ``offset`` as a little-endian number."""
    signature = types.uint32(data, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = address(context, builder, signature.args[0], arguments[0])
        place = builder.bitcast(builder.gep(base, [arguments[1]]), ir.IntType(32).as_pointer())
        return builder.load(place, align=1)

    return signature, generate


def load_long(_typing: Any, data: Any, offset: Any) -> Any:
    """Eight bytes from ``offset`` as a little-endian number."""
    signature = types.uint64(data, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = address(context, builder, signature.args[0], arguments[0])
        return builder.load(builder.bitcast(builder.gep(base, [arguments[1]]), INT64.as_pointer()), align=1)

    return signature, generate


def count_calls(_typing: Any, words: Any, mask: Any, counts: Any) -> Any:
    """Samples of a set whose call is 1, 2 and 3, into ``counts[1:4]``; 512 bits at a time.

    ``words`` and ``mask`` are a packed row and a packed set, of uint64.
    """
    signature = types.void(words, mask, counts)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(INT64, 8)
        words, mask, counts = arguments
        words_type, mask_type, counts_type = signature.args
        low_bits = ir.Constant(vector, [0x5555555555555555] * 8)
        ones = ir.Constant(vector, [1] * 8)
        # Calls with the low bit, with the high bit, with both.
        totals = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(3)]
        population = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), "llvm.ctpop.v8i64"
        )
        length = context.make_array(words_type)(context, builder, words).nitems
        with cgutils.for_range_slice(builder, constant(0), length, constant(8)) as (b, _):
            here = builder.load(element_address(context, builder, words_type, words, b, vector), align=8)
            chosen = builder.load(element_address(context, builder, mask_type, mask, b, vector), align=8)
            here = builder.and_(here, chosen)
            low = builder.and_(here, low_bits)
            high = builder.and_(builder.lshr(here, ones), low_bits)
            for total, bits in zip(totals, (low, high, builder.and_(low, high)), strict=True):
                builder.store(builder.add(builder.load(total), builder.call(population, [bits])), total)
        sums = []
        for total in totals:
            value, number = builder.load(total), constant(0)
            for lane in range(8):
                number = builder.add(number, builder.extract_element(value, ir.Constant(ir.IntType(32), lane)))
            sums.append(number)
        low, high, both = sums
        for code, number in ((1, builder.sub(low, both)), (2, builder.sub(high, both)), (3, both)):
            place = element_address(context, builder, counts_type, counts, constant(code), INT64)
            builder.store(number, place, align=8)
        return context.get_dummy_value()

    return signature, generate


def count_ones(_typing: Any, word: Any) -> Any:
    """Number of set bits of a uint64: one machine instruction for which numba has no name."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(word), generate


def deposit_bits(_typing: Any, bits: Any, mask: Any) -> Any:
    """The lowest bits of a uint64 put where another one has bits, in order; the others are zero."""
    return _parallel_bits("pdep", bit_permutations.deposit, bits, mask)


def extract_bits(_typing: Any, word: Any, mask: Any) -> Any:
    """Those bits of a uint64 where another one has bits, moved together to the lowest places."""
    return _parallel_bits("pext", bit_permutations.extract, word, mask)


def _parallel_bits(instruction: str, otherwise: Any, word: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not _has_parallel_bits(*context.codegen().magic_tuple()):
            return context.compile_internal(builder, otherwise.py_func, signature, arguments)
        found = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(INT64, [INT64, INT64]), f"llvm.x86.bmi.{instruction}.64"
        )
        return builder.call(found, arguments)

    return types.uint64(word, mask), generate


def _has_parallel_bits(triple: str, cpu: str, features: str) -> bool:
    """Whether a processor has the instructions. AMD's first two generations of Zen take them bit by bit."""
    return triple.startswith("x86_64") and "+bmi2" in features.split(",") and cpu not in ("znver1", "znver2")


def trailing_zeros(_typing: Any, word: Any) -> Any:
    """Place of the lowest set bit of a uint64 that is not zero."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(word), generate


def leading_zeros(_typing: Any, word: Any) -> Any:
    """Bits above the highest set bit of a uint64 that is not zero."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(word), generate


def copy_sixteen(_typing: Any, source: Any, start: Any, out: Any, place: Any) -> Any:
    """Copy sixteen bytes from ``start`` on to ``place``."""
    signature = types.void(source, types.uint64, out, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source_type, _, out_type, _ = signature.args
        source, start, out, place = arguments
        vector = ir.VectorType(BYTE, 16)
        taken = builder.load(element_address(context, builder, source_type, source, start, vector), align=1)
        builder.store(taken, element_address(context, builder, out_type, out, place, vector), align=1)
        return context.get_dummy_value()

    return signature, generate


def store_word(_typing: Any, word: Any, out: Any, place: Any) -> Any:
    """Write a uint64 to eight bytes from ``place`` on, the lowest first."""
    signature = types.void(types.uint64, out, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, out, place = arguments
        builder.store(word, element_address(context, builder, signature.args[1], out, place, INT64), align=1)
        return context.get_dummy_value()

    return signature, generate
