"""Pieces of kernels in the language of LLVM: instructions for which numba has no words.

Kernels refer to them by name (:func:`allscan.kernels.jit.intrinsic`): these modules need numba, and are imported when a
kernel that uses one is compiled.
"""

from __future__ import annotations

from allscan.kernels.bit_intrinsics import (
    copy_sixteen,
    count_calls,
    count_ones,
    deposit_bits,
    extract_bits,
    leading_zeros,
    load_long,
    load_word,
    store_word,
    trailing_zeros,
)
from allscan.kernels.panel_intrinsics import (
    add_calls,
    add_list,
    add_outer,
    add_rows,
    add_scaled,
    add_squares,
    fill_table,
    prefetch_rows,
    transpose_words,
)

__all__ = [
    "add_calls",
    "add_list",
    "add_outer",
    "add_rows",
    "add_scaled",
    "add_squares",
    "copy_sixteen",
    "count_calls",
    "count_ones",
    "deposit_bits",
    "extract_bits",
    "fill_table",
    "leading_zeros",
    "load_long",
    "load_word",
    "prefetch_rows",
    "store_word",
    "trailing_zeros",
    "transpose_words",
]
