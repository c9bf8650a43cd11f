"""Pieces of kernels in the language of LLVM: vector instructions for which numba has no words.

Kernels refer to them by name (:func:`allscan.kernels.jit.intrinsic`): this file needs numba, and is imported when a
kernel that uses one is compiled.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from allscan.kernels import bit_permutations
from allscan.kernels.linear_shared_numba import OUTER_ROWS, WIDTH
from allscan.kernels.lookup import TABLES

TABLE_ROWS = 64  # all calls of three samples
AHEAD = 24  # panel rows: those of the next tables but four
_INT64 = ir.IntType(64)
_BYTE = ir.IntType(8)


def _constant(value: int) -> Any:
    return ir.Constant(_INT64, value)


def _vector_of(array_type: Any) -> Any:
    """The LLVM vector of one chunk of a panel."""
    if array_type.dtype == types.float32:
        return ir.VectorType(ir.FloatType(), 16)
    return ir.VectorType(ir.DoubleType(), 8)


def _address(context: Any, builder: Any, array_type: Any, value: Any) -> Any:
    data = context.make_array(array_type)(context, builder, value).data
    return builder.bitcast(data, _BYTE.as_pointer())


def _vector_at(builder: Any, base: Any, offset: Any, vector: Any) -> Any:
    return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())


def _element_address(context: Any, builder: Any, array_type: Any, value: Any, offset: Any, vector: Any) -> Any:
    """Where in an array, ``offset`` elements on, a vector is; for the code of intrinsics."""
    size = _constant(array_type.dtype.bitwidth // 8)
    return _vector_at(builder, _address(context, builder, array_type, value), builder.mul(offset, size), vector)


def _spread(builder: Any, value: Any, vector: Any) -> Any:
    """A number in every lane of a vector."""
    nothing = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, nothing, mask)


def fill_table(_typing: Any, data: Any, rows: Any, one: Any, two: Any, tables: Any, table: Any) -> Any:
    """Table number ``table`` of three rows of ``data`` (element offsets); copies count as ``one`` and ``two`` say."""
    signature = types.void(data, rows, data.dtype, data.dtype, tables, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data_type, _, _, _, tables_type, _ = signature.args
        data, rows, one, two, tables, table = arguments
        vector = _vector_of(data_type)
        size = 64 // vector.count
        source = _address(context, builder, data_type, data)
        target = _address(context, builder, tables_type, tables)
        first = builder.mul(table, _constant(64 * TABLE_ROWS))

        factors = (_spread(builder, one, vector), _spread(builder, two, vector))
        terms = []
        for k in range(3):
            offset = builder.mul(builder.extract_value(rows, k), _constant(size))
            # A chunk of many people does not fit into a cache, and the processor's own guesses come too late.
            _prefetch(builder, _vector_at(builder, source, builder.add(offset, _constant(64 * AHEAD)), _BYTE))
            row = builder.load(_vector_at(builder, source, offset, vector), align=size)
            # Calls 0 and 3 (missing) add nothing.
            terms.append((None, builder.fmul(row, factors[0]), builder.fmul(row, factors[1]), None))

        def plus(a: Any, b: Any) -> Any:
            return b if a is None else a if b is None else builder.fadd(a, b)

        zero = ir.Constant(vector, None)
        pairs = [plus(low, high) for high in terms[1] for low in terms[0]]
        for index in range(TABLE_ROWS):
            value = plus(pairs[index % 16], terms[2][index // 16])
            place = _vector_at(builder, target, builder.add(first, _constant(64 * index)), vector)
            builder.store(zero if value is None else value, place, align=size)
        return context.get_dummy_value()

    return signature, generate


def add_rows(_typing: Any, sums: Any, variant: Any, tables: Any, word: Any) -> Any:
    """Add to the sums of a variant one row of each table, as the four six-bit codes of ``word`` say."""
    signature = types.void(sums, types.intp, tables, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums_type, _, tables_type, _ = signature.args
        sums, variant, tables, word = arguments
        vector = _vector_of(sums_type)
        size = 64 // vector.count
        target = _vector_at(
            builder, _address(context, builder, sums_type, sums), builder.mul(variant, _constant(64)), vector
        )
        source = _address(context, builder, tables_type, tables)
        parts = [builder.load(target, align=size)]
        for k in range(TABLES):
            # A code times 64 bytes is the row's offset: one shift and one mask bring it there.
            shifted = builder.shl(word, _constant(6)) if k == 0 else word
            if k > 1:
                shifted = builder.lshr(word, _constant(6 * (k - 1)))
            offset = builder.add(builder.and_(shifted, _constant(63 << 6)), _constant(64 * TABLE_ROWS * k))
            parts.append(builder.load(_vector_at(builder, source, offset, vector), align=size))
        total = builder.fadd(builder.fadd(parts[1], parts[2]), builder.fadd(parts[3], parts[4]))
        builder.store(builder.fadd(parts[0], total), target, align=size)
        return context.get_dummy_value()

    return signature, generate


def load_word(_typing: Any, data: Any, offset: Any) -> Any:
    """Four bytes from ``offset`` as a little-endian number."""
    signature = types.uint32(data, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = _address(context, builder, signature.args[0], arguments[0])
        place = builder.bitcast(builder.gep(base, [arguments[1]]), ir.IntType(32).as_pointer())
        return builder.load(place, align=1)

    return signature, generate


def transpose_words(_typing: Any, packed: Any, start: Any, stride: Any, out: Any, place: Any, out_stride: Any) -> Any:
    """Sixteen words of three bytes of each of sixteen rows, turned into sixteen rows of sixteen words of four bytes.

    ``start`` is the offset of the first row's first byte, of which 64 can be read, and ``stride`` that from row to row;
    ``place`` and ``out_stride`` are the same in elements of ``out``.
    """
    signature = types.void(packed, types.intp, types.intp, out, types.intp, types.intp)
    number = ir.IntType(32)
    square = 16

    def indices(values: list[int]) -> Any:
        return ir.Constant(ir.VectorType(number, len(values)), values)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        packed, start, stride, out, place, out_stride = arguments
        source = _address(context, builder, signature.args[0], packed)
        target = _address(context, builder, signature.args[3], out)
        line, words = ir.VectorType(_BYTE, 64), ir.VectorType(number, square)
        nothing = ir.Constant(line, None)
        # Three bytes of the row, and one that is zero: element 64 of both vectors together.
        spread = indices([64 if k == 3 else 3 * word + k for word in range(square) for k in range(4)])
        rows = []
        for row in range(square):
            at = builder.add(start, builder.mul(stride, _constant(row)))
            here = builder.load(_vector_at(builder, source, at, line), align=1)
            rows.append(builder.bitcast(builder.shuffle_vector(here, nothing, spread), words))
        # Squares of 1, 2, 4 and 8 beside the diagonal change places.
        for size in (1, 2, 4, 8):
            kept = indices([lane if not lane & size else 16 + lane - size for lane in range(square)])
            moved = indices([lane + size if not lane & size else 16 + lane for lane in range(square)])
            for row in (row for row in range(square) if not row & size):
                one, other = rows[row], rows[row + size]
                rows[row] = builder.shuffle_vector(one, other, kept)
                rows[row + size] = builder.shuffle_vector(one, other, moved)
        for word in range(square):
            to = builder.mul(builder.add(place, builder.mul(out_stride, _constant(word))), _constant(4))
            builder.store(rows[word], _vector_at(builder, target, to, words), align=4)
        return context.get_dummy_value()

    return signature, generate


def add_list(
    _typing: Any, sums: Any, place: Any, data: Any, bases: Any, sample: Any, weight: Any, begin: Any, end: Any
) -> Any:
    """Add to float64 sums chunks of the panel rows of samples ``begin:end`` of a list, times their weights.

    ``place`` is the element offset of the sums, ``bases`` (a tuple) are those of the chunks' first rows, whose sums are
    neighbours. Weights are float32. The entries are summed in the panel's own type, and these sums then added.
    """
    signature = types.void(sums, types.intp, data, bases, sample, weight, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums_type, _, data_type, bases_type, sample_type, weight_type, _, _ = signature.args
        sums, place, data, bases, sample, weight, begin, end = arguments
        vector = _vector_of(data_type)
        zero = ir.Constant(vector, None)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(bases_type.count)]
        with cgutils.for_range_slice(builder, begin, end, _constant(1)) as (j, _):
            row = builder.mul(_row_of_entry(context, builder, sample_type, sample, j), _constant(vector.count))
            factor = builder.load(_element_address(context, builder, weight_type, weight, j, ir.FloatType()))
            if vector.element == ir.DoubleType():
                factor = builder.fpext(factor, vector.element)
            factors = _spread(builder, factor, vector)
            for k, total in enumerate(totals):
                at = builder.add(builder.extract_value(bases, k), row)
                values = builder.load(_element_address(context, builder, data_type, data, at, vector), align=4)
                builder.store(builder.fadd(builder.load(total), builder.fmul(values, factors)), total)
        places = [builder.add(place, _constant(k * vector.count)) for k in range(len(totals))]
        _add_totals(context, builder, sums_type, sums, places, totals)
        return context.get_dummy_value()

    return signature, generate


def _row_of_entry(context: Any, builder: Any, sample_type: Any, sample: Any, j: Any) -> Any:
    """Panel row of entry ``j`` of a list of samples."""
    i = builder.zext(builder.load(_element_address(context, builder, sample_type, sample, j, ir.IntType(32))), _INT64)
    # As allscan.kernels.panel.row_of: the order in which packed calls store the samples.
    row = builder.and_(i, _constant(~255))
    row = builder.or_(row, builder.shl(builder.and_(i, _constant(63)), _constant(2)))
    return builder.or_(row, builder.and_(builder.lshr(i, _constant(6)), _constant(3)))


def add_squares(_typing: Any, sums: Any, place: Any, data: Any, base: Any, sample: Any, begin: Any, end: Any) -> Any:
    """Add to float64 sums, from ``place``, the squares of a chunk of the panel rows of samples ``begin:end`` of a list.

    ``base`` is the element offset of the chunk's first row.
    """
    signature = types.void(sums, types.intp, data, types.intp, sample, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums_type, _, data_type, _, sample_type, _, _ = signature.args
        sums, place, data, base, sample, begin, end = arguments
        vector = _vector_of(data_type)
        wide = ir.VectorType(ir.DoubleType(), vector.count)
        target = _element_address(context, builder, sums_type, sums, place, wide)
        # LLVM keeps this in registers.
        total = cgutils.alloca_once(builder, wide)
        builder.store(builder.load(target, align=8), total)
        with cgutils.for_range_slice(builder, begin, end, _constant(1)) as (j, _):
            row = _row_of_entry(context, builder, sample_type, sample, j)
            at = builder.add(base, builder.mul(row, _constant(vector.count)))
            values = builder.load(_element_address(context, builder, data_type, data, at, vector), align=4)
            if vector.element != ir.DoubleType():
                values = builder.fpext(values, wide)
            builder.store(builder.fadd(builder.load(total), builder.fmul(values, values)), total)
        builder.store(builder.load(total), target, align=8)
        return context.get_dummy_value()

    return signature, generate


def _add_totals(context: Any, builder: Any, sums_type: Any, sums: Any, places: Any, totals: Any) -> None:
    """Add vectors in the panel's type to the float64 sums at ``places`` (element offsets)."""
    for place, total in zip(places, totals, strict=True):
        found = builder.load(total)
        wide = ir.VectorType(ir.DoubleType(), found.type.count)
        if found.type != wide:
            found = builder.fpext(found, wide)
        target = _element_address(context, builder, sums_type, sums, place, wide)
        builder.store(builder.fadd(builder.load(target, align=8), found), target, align=8)


def add_outer(
    _typing: Any,
    sums: Any,
    place: Any,
    stride: Any,
    data: Any,
    base: Any,
    rows: Any,
    weights: Any,
    column: Any,
    width: Any,
    begin: Any,
    end: Any,
) -> Any:
    """Add to ``OUTER_ROWS`` float64 sums, ``stride`` apart, a chunk of listed panel rows ``begin:end``, weighted.

    ``rows`` are element offsets of panel rows in a chunk, ``weights`` (rows, width) in the panel's type, of which the
    columns from ``column`` count. Sums run in the panel's type.
    """
    signature = types.void(
        *(sums, types.intp, types.intp, data, types.intp, rows, weights, types.intp, types.intp, types.intp, types.intp)
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums_type, _, _, data_type, _, rows_type, weights_type = signature.args[:7]
        sums, place, stride, data, base, rows, weights, column, width, begin, end = arguments
        vector = _vector_of(data_type)
        fused = ("contract",)
        totals = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(OUTER_ROWS)]
        with cgutils.for_range_slice(builder, begin, end, _constant(1)) as (j, _):
            row = builder.load(_element_address(context, builder, rows_type, rows, j, _INT64))
            at = builder.add(base, row)
            values = builder.load(_element_address(context, builder, data_type, data, at, vector), align=4)
            first = builder.add(builder.mul(j, width), column)
            for k, total in enumerate(totals):
                of_row = builder.add(first, _constant(k))
                weight = builder.load(_element_address(context, builder, weights_type, weights, of_row, vector.element))
                product = builder.fmul(values, _spread(builder, weight, vector), flags=fused)
                builder.store(builder.fadd(builder.load(total), product, flags=fused), total)
        places = [builder.add(place, builder.mul(stride, _constant(k))) for k in range(OUTER_ROWS)]
        _add_totals(context, builder, sums_type, sums, places, totals)
        return context.get_dummy_value()

    return signature, generate


def add_scaled(_typing: Any, target: Any, to: Any, factor: Any, source: Any, at: Any) -> Any:
    """Add to ``WIDTH`` float64 numbers of an array, from ``to``, those of another from ``at``, times a factor."""
    signature = types.void(target, types.intp, types.float64, source, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target_type, _, _, source_type, _ = signature.args
        target, to, factor, source, at = arguments
        vector = ir.VectorType(ir.DoubleType(), WIDTH)
        values = builder.load(_element_address(context, builder, source_type, source, at, vector), align=8)
        place = _element_address(context, builder, target_type, target, to, vector)
        product = builder.fmul(values, _spread(builder, factor, vector))
        builder.store(builder.fadd(builder.load(place, align=8), product), place, align=8)
        return context.get_dummy_value()

    return signature, generate


def _prefetch(builder: Any, place: Any) -> None:
    """Have a cache line brought to the second-level cache."""
    number = ir.IntType(32)
    prefetch = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), number, number, number]),
        "llvm.prefetch.p0i8",
    )
    builder.call(prefetch, [place, *(ir.Constant(number, value) for value in (0, 2, 1))])


def prefetch_rows(_typing: Any, data: Any, base: Any, rows: Any, begin: Any, end: Any) -> Any:
    """Have the panel rows ``begin:end`` of a list (element offsets from ``base``) brought to the second-level cache."""
    signature = types.void(data, types.intp, rows, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data_type, _, rows_type = signature.args[:3]
        data, base, rows, begin, end = arguments
        with cgutils.for_range_slice(builder, begin, end, _constant(1)) as (j, _):
            row = builder.load(_element_address(context, builder, rows_type, rows, j, _INT64))
            place = _element_address(context, builder, data_type, data, builder.add(base, row), _BYTE)
            _prefetch(builder, place)
        return context.get_dummy_value()

    return signature, generate


def count_calls(_typing: Any, words: Any, mask: Any, counts: Any) -> Any:
    """Samples of a set whose call is 1, 2 and 3, into ``counts[1:4]``; 512 bits at a time.

    ``words`` and ``mask`` are a packed row and a packed set, of uint64.
    """
    signature = types.void(words, mask, counts)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(_INT64, 8)
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
        with cgutils.for_range_slice(builder, _constant(0), length, _constant(8)) as (b, _):
            here = builder.load(_element_address(context, builder, words_type, words, b, vector), align=8)
            chosen = builder.load(_element_address(context, builder, mask_type, mask, b, vector), align=8)
            here = builder.and_(here, chosen)
            low = builder.and_(here, low_bits)
            high = builder.and_(builder.lshr(here, ones), low_bits)
            for total, bits in zip(totals, (low, high, builder.and_(low, high)), strict=True):
                builder.store(builder.add(builder.load(total), builder.call(population, [bits])), total)
        sums = []
        for total in totals:
            value, number = builder.load(total), _constant(0)
            for lane in range(8):
                number = builder.add(number, builder.extract_element(value, ir.Constant(ir.IntType(32), lane)))
            sums.append(number)
        low, high, both = sums
        for code, number in ((1, builder.sub(low, both)), (2, builder.sub(high, both)), (3, both)):
            place = _element_address(context, builder, counts_type, counts, _constant(code), _INT64)
            builder.store(number, place, align=8)
        return context.get_dummy_value()

    return signature, generate


def count_ones(_typing: Any, word: Any) -> Any:
    """Number of set bits of a uint64: one machine instruction for which numba has no name."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(word), generate


def load_long(_typing: Any, data: Any, offset: Any) -> Any:
    """Eight bytes from ``offset`` as a little-endian number."""
    signature = types.uint64(data, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = _address(context, builder, signature.args[0], arguments[0])
        return builder.load(builder.bitcast(builder.gep(base, [arguments[1]]), _INT64.as_pointer()), align=1)

    return signature, generate


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
            builder.module, ir.FunctionType(_INT64, [_INT64, _INT64]), f"llvm.x86.bmi.{instruction}.64"
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
        vector = ir.VectorType(_BYTE, 16)
        taken = builder.load(_element_address(context, builder, source_type, source, start, vector), align=1)
        builder.store(taken, _element_address(context, builder, out_type, out, place, vector), align=1)
        return context.get_dummy_value()

    return signature, generate


def store_word(_typing: Any, word: Any, out: Any, place: Any) -> Any:
    """Write a uint64 to eight bytes from ``place`` on, the lowest first."""
    signature = types.void(types.uint64, out, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, out, place = arguments
        builder.store(word, _element_address(context, builder, signature.args[1], out, place, _INT64), align=1)
        return context.get_dummy_value()

    return signature, generate
