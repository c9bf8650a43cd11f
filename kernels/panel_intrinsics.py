"""Pieces of kernels in the language of LLVM that work on rows of a panel, a vector register at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from allscan.kernels.linear_shared_numba import OUTER_ROWS, WIDTH
from allscan.kernels.llvm import BYTE, INT64, address, constant, element_address, vector_at
from allscan.kernels.lookup import TABLES

TABLE_ROWS = 64  # all calls of three samples
AHEAD = 24  # panel rows: those of the next tables but four
ENTRIES_AHEAD = 16  # of lists of carriers


def _vector_of(array_type: Any) -> Any:
    """The LLVM vector of one chunk of a panel."""
    if array_type.dtype == types.float32:
        return ir.VectorType(ir.FloatType(), 16)
    return ir.VectorType(ir.DoubleType(), 8)


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
        source = address(context, builder, data_type, data)
        target = address(context, builder, tables_type, tables)
        first = builder.mul(table, constant(64 * TABLE_ROWS))

        factors = (_spread(builder, one, vector), _spread(builder, two, vector))
        terms = []
        for k in range(3):
            offset = builder.mul(builder.extract_value(rows, k), constant(size))
            # A chunk of many people does not fit into a cache, and the processor's own guesses come too late.
            _prefetch(builder, vector_at(builder, source, builder.add(offset, constant(64 * AHEAD)), BYTE))
            row = builder.load(vector_at(builder, source, offset, vector), align=size)
            # Calls 0 and 3 (missing) add nothing.
            terms.append((None, builder.fmul(row, factors[0]), builder.fmul(row, factors[1]), None))

        def plus(a: Any, b: Any) -> Any:
            return b if a is None else a if b is None else builder.fadd(a, b)

        zero = ir.Constant(vector, None)
        pairs = [plus(low, high) for high in terms[1] for low in terms[0]]
        for index in range(TABLE_ROWS):
            value = plus(pairs[index % 16], terms[2][index // 16])
            place = vector_at(builder, target, builder.add(first, constant(64 * index)), vector)
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
        target = vector_at(
            builder, address(context, builder, sums_type, sums), builder.mul(variant, constant(64)), vector
        )
        source = address(context, builder, tables_type, tables)
        parts = [builder.load(target, align=size)]
        for k in range(TABLES):
            # A code times 64 bytes is the row's offset: one shift and one mask bring it there.
            shifted = builder.shl(word, constant(6)) if k == 0 else word
            if k > 1:
                shifted = builder.lshr(word, constant(6 * (k - 1)))
            offset = builder.add(builder.and_(shifted, constant(63 << 6)), constant(64 * TABLE_ROWS * k))
            parts.append(builder.load(vector_at(builder, source, offset, vector), align=size))
        total = builder.fadd(builder.fadd(parts[1], parts[2]), builder.fadd(parts[3], parts[4]))
        builder.store(builder.fadd(parts[0], total), target, align=size)
        return context.get_dummy_value()

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
        source = address(context, builder, signature.args[0], packed)
        target = address(context, builder, signature.args[3], out)
        line, words = ir.VectorType(BYTE, 64), ir.VectorType(number, square)
        nothing = ir.Constant(line, None)
        # Three bytes of the row, and one that is zero: element 64 of both vectors together.
        spread = indices([64 if k == 3 else 3 * word + k for word in range(square) for k in range(4)])
        rows = []
        for row in range(square):
            at = builder.add(start, builder.mul(stride, constant(row)))
            here = builder.load(vector_at(builder, source, at, line), align=1)
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
            to = builder.mul(builder.add(place, builder.mul(out_stride, constant(word))), constant(4))
            builder.store(rows[word], vector_at(builder, target, to, words), align=4)
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
        with cgutils.for_range_slice(builder, begin, end, constant(1)) as (j, _):
            row = builder.mul(_row_of_entry(context, builder, sample_type, sample, j), constant(vector.count))
            factor = builder.load(element_address(context, builder, weight_type, weight, j, ir.FloatType()))
            if vector.element == ir.DoubleType():
                factor = builder.fpext(factor, vector.element)
            factors = _spread(builder, factor, vector)
            for k, total in enumerate(totals):
                at = builder.add(builder.extract_value(bases, k), row)
                values = builder.load(element_address(context, builder, data_type, data, at, vector), align=4)
                builder.store(builder.fadd(builder.load(total), builder.fmul(values, factors)), total)
        places = [builder.add(place, constant(k * vector.count)) for k in range(len(totals))]
        _add_totals(context, builder, sums_type, sums, places, totals)
        return context.get_dummy_value()

    return signature, generate


def add_calls(
    _typing: Any,
    sums: Any,
    absent: Any,
    place: Any,
    data: Any,
    bases: Any,
    sample: Any,
    call: Any,
    weights: Any,
    first: Any,
    begin: Any,
    end: Any,
) -> Any:
    """As ``add_list``, with weights that calls have, and apart the sums over those who have none.

    ``weights`` (float32) has from ``first`` on those of the calls 0 to 3, and then what each counts in ``absent``.
    """
    signature = types.void(
        *(sums, absent, types.intp, data, bases, sample, call, weights, types.intp, types.intp, types.intp)
    )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums_type, absent_type, _, data_type, bases_type, sample_type, call_type, weights_type = signature.args[:8]
        sums, absent, place, data, bases, sample, call, weights, first, begin, end = arguments
        vector = _vector_of(data_type)
        fused = ("contract",)
        totals = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(2 * bases_type.count)]

        def factor(of_call: Any) -> Any:
            place = element_address(context, builder, weights_type, weights, of_call, ir.FloatType())
            number = builder.load(place)
            if vector.element == ir.DoubleType():
                number = builder.fpext(number, vector.element)
            return _spread(builder, number, vector)

        most = builder.sub(context.make_array(sample_type)(context, builder, sample).nitems, constant(1))
        with cgutils.for_range_slice(builder, begin, end, constant(1)) as (j, _):
            # Also of the lists that follow: most are short.
            later = builder.add(j, constant(ENTRIES_AHEAD))
            later = builder.select(builder.icmp_signed("<", later, most), later, most)
            soon = builder.mul(_row_of_entry(context, builder, sample_type, sample, later), constant(vector.count))
            row = builder.mul(_row_of_entry(context, builder, sample_type, sample, j), constant(vector.count))
            code = builder.load(element_address(context, builder, call_type, call, j, BYTE))
            of_call = builder.add(first, builder.zext(code, INT64))
            factors = factor(of_call), factor(builder.add(of_call, constant(4)))
            for k in range(bases_type.count):
                base = builder.extract_value(bases, k)
                ahead = element_address(context, builder, data_type, data, builder.add(base, soon), BYTE)
                _prefetch(builder, ahead, 3)
                at = builder.add(base, row)
                values = builder.load(element_address(context, builder, data_type, data, at, vector), align=4)
                for total, weight in zip(totals[2 * k : 2 * k + 2], factors, strict=True):
                    product = builder.fmul(values, weight, flags=fused)
                    builder.store(builder.fadd(builder.load(total), product, flags=fused), total)
        places = [builder.add(place, constant(k * vector.count)) for k in range(bases_type.count)]
        _add_totals(context, builder, sums_type, sums, places, totals[::2])
        _add_totals(context, builder, absent_type, absent, places, totals[1::2])
        return context.get_dummy_value()

    return signature, generate


def _row_of_entry(context: Any, builder: Any, sample_type: Any, sample: Any, j: Any) -> Any:
    """Panel row of entry ``j`` of a list of samples."""
    i = builder.zext(builder.load(element_address(context, builder, sample_type, sample, j, ir.IntType(32))), INT64)
    # As allscan.kernels.panel.row_of: the order in which packed calls store the samples.
    row = builder.and_(i, constant(~255))
    row = builder.or_(row, builder.shl(builder.and_(i, constant(63)), constant(2)))
    return builder.or_(row, builder.and_(builder.lshr(i, constant(6)), constant(3)))


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
        target = element_address(context, builder, sums_type, sums, place, wide)
        # LLVM keeps this in registers.
        total = cgutils.alloca_once(builder, wide)
        builder.store(builder.load(target, align=8), total)
        with cgutils.for_range_slice(builder, begin, end, constant(1)) as (j, _):
            row = _row_of_entry(context, builder, sample_type, sample, j)
            at = builder.add(base, builder.mul(row, constant(vector.count)))
            values = builder.load(element_address(context, builder, data_type, data, at, vector), align=4)
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
        target = element_address(context, builder, sums_type, sums, place, wide)
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
        with cgutils.for_range_slice(builder, begin, end, constant(1)) as (j, _):
            row = builder.load(element_address(context, builder, rows_type, rows, j, INT64))
            at = builder.add(base, row)
            values = builder.load(element_address(context, builder, data_type, data, at, vector), align=4)
            first = builder.add(builder.mul(j, width), column)
            for k, total in enumerate(totals):
                of_row = builder.add(first, constant(k))
                weight = builder.load(element_address(context, builder, weights_type, weights, of_row, vector.element))
                product = builder.fmul(values, _spread(builder, weight, vector), flags=fused)
                builder.store(builder.fadd(builder.load(total), product, flags=fused), total)
        places = [builder.add(place, builder.mul(stride, constant(k))) for k in range(OUTER_ROWS)]
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
        values = builder.load(element_address(context, builder, source_type, source, at, vector), align=8)
        place = element_address(context, builder, target_type, target, to, vector)
        product = builder.fmul(values, _spread(builder, factor, vector))
        builder.store(builder.fadd(builder.load(place, align=8), product), place, align=8)
        return context.get_dummy_value()

    return signature, generate


def _prefetch(builder: Any, place: Any, locality: int = 2) -> None:
    """Have a cache line brought to the second-level cache, or with locality 3 to the first."""
    number = ir.IntType(32)
    prefetch = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), number, number, number]),
        "llvm.prefetch.p0i8",
    )
    builder.call(prefetch, [place, *(ir.Constant(number, value) for value in (0, locality, 1))])


def prefetch_rows(_typing: Any, data: Any, base: Any, rows: Any, begin: Any, end: Any) -> Any:
    """Have the panel rows ``begin:end`` of a list (element offsets from ``base``) brought to the second-level cache."""
    signature = types.void(data, types.intp, rows, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data_type, _, rows_type = signature.args[:3]
        data, base, rows, begin, end = arguments
        with cgutils.for_range_slice(builder, begin, end, constant(1)) as (j, _):
            row = builder.load(element_address(context, builder, rows_type, rows, j, INT64))
            place = element_address(context, builder, data_type, data, builder.add(base, row), BYTE)
            _prefetch(builder, place)
        return context.get_dummy_value()

    return signature, generate
