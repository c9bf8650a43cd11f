"""Panels give back the columns that were written, in the order in which packed calls store the samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allscan.kernels.packing import pack_rows, row_bytes
from allscan.kernels.panel import (
    CHUNK_BYTES,
    WORD_SAMPLES,
    aligned_zeros,
    lanes_of,
    make_panel,
    panel_bytes,
    row_in_panel,
    row_of,
    write_columns,
    zero_panel,
)

SAMPLES = (1, 63, 255, 256, 257, 700, 3840, 4097)
COLUMNS = (1, 7, 8, 15, 16, 17, 33)
TYPES = (np.float32, np.float64)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", SAMPLES)
@pytest.mark.parametrize("k", COLUMNS)
def test_columns_come_back(n: int, k: int, dtype: type) -> None:
    columns = np.random.default_rng(n + k).normal(size=(n, k))
    panel = make_panel(columns, dtype)
    assert (panel.n_samples, panel.n_columns, panel.data.dtype) == (n, k, dtype)
    np.testing.assert_array_equal(panel.matrix(0, n), columns.astype(dtype))
    np.testing.assert_array_equal(panel.matrix(0, n, 1), columns[:, :1].astype(dtype))
    for first in range(0, n, 1024):
        stop = min(first + 1000, n)
        np.testing.assert_array_equal(panel.matrix(first, stop), columns[first:stop].astype(dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", SAMPLES)
def test_layout(n: int, dtype: type) -> None:
    """Every row is a cache line; rows of no sample, of which there is one at least, are zero, and columns too."""
    k = 11
    panel = make_panel(np.ones((n, k)), dtype)
    chunks, rows, lanes = panel.data.shape
    assert lanes * np.dtype(dtype).itemsize == CHUNK_BYTES
    assert panel.data.ctypes.data % CHUNK_BYTES == 0
    assert panel.data.flags.c_contiguous
    assert rows % WORD_SAMPLES == 0
    assert n <= panel.zero_row < rows
    assert panel.data.nbytes == panel_bytes(n, k, dtype)
    used = np.zeros((chunks, rows, lanes), np.bool_)
    for c in range(k):
        used[c // lanes, row_in_panel(np.arange(n)), c % lanes] = True
    np.testing.assert_array_equal(panel.data, used)
    assert not panel.data[:, panel.zero_row].any()


@given(st.lists(st.integers(1, 1030), min_size=1, max_size=6))
def test_rows_follow_packed_calls(samples: list[int]) -> None:
    """Row ``r`` of a panel belongs to the bits ``2 r`` of a packed row."""
    n = max(samples)
    for sample in samples:
        calls = np.zeros((1, n), np.int8)
        calls[0, sample - 1] = 1
        packed = np.empty((1, row_bytes(n)), np.uint8)
        pack_rows(calls, packed)
        bit = int(np.flatnonzero(np.unpackbits(packed[0], bitorder="little"))[0])
        assert row_of(sample - 1) == bit // 2
        assert row_in_panel(np.array([sample - 1]))[0] == bit // 2


@given(st.integers(1, 40), st.integers(0, 39), st.sampled_from(SAMPLES[:-2]), st.sampled_from(TYPES), st.data())
def test_columns_are_written_where_they_belong(k: int, first: int, n: int, dtype: type, data: st.DataObject) -> None:
    first = min(first, k - 1)
    width = data.draw(st.integers(1, k - first))
    rng = np.random.default_rng(k)
    before, new = rng.normal(size=(n, k)), rng.normal(size=(n, width))
    panel = make_panel(before, dtype)
    write_columns(panel, first, new)
    before[:, first : first + width] = new
    np.testing.assert_array_equal(panel.data, make_panel(before, dtype).data)


def test_a_source_in_column_order_or_read_only_is_taken() -> None:
    columns = np.asfortranarray(np.random.default_rng(0).normal(size=(300, 5)))
    columns.flags.writeable = False
    panel = zero_panel(300, 5, np.float64)
    write_columns(panel, 0, columns)
    np.testing.assert_array_equal(panel.matrix(0, 300), columns)


@pytest.mark.parametrize("dtype", TYPES)
def test_zeros_are_aligned_however_small(dtype: type) -> None:
    kept = [aligned_zeros((size, lanes_of(dtype)), dtype) for size in range(1, 40)]
    assert all(zeros.ctypes.data % CHUNK_BYTES == 0 and not zeros.any() for zeros in kept)
