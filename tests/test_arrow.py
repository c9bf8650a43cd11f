"""Conversions between Arrow and NumPy, against Arrow's own, which need pandas."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allscan import arrow

PIECES = st.lists(st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=20), max_size=4)


@given(PIECES, st.integers(0, 5))
def test_numbers_with_missing_ones_in_chunks_and_slices(pieces: list[list[int | None]], start: int) -> None:
    column = pa.chunked_array([pa.array(piece, pa.int32())[start:] for piece in pieces], pa.int32())
    expected = [-7 if value is None else value for piece in pieces for value in piece[start:]]
    result = arrow.numbers(column, np.int32, -7)
    assert result.dtype == np.int32
    assert result.tolist() == expected
    if len(pieces) == 1:
        assert arrow.numbers(column.chunk(0), np.int32, -7).tolist() == expected


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "int64", "float32", "float64"])
def test_numbers_go_there_and_back(kind: str) -> None:
    values = np.arange(20).astype(kind)[::2]
    column = arrow.number_array(values)
    column.validate(full=True)
    assert column.equals(pa.array(values))
    np.testing.assert_array_equal(arrow.numbers(column, kind, 0), values)


def test_missing_floats_are_what_is_asked_for() -> None:
    column = pa.array([1.5, None, float("inf")])
    np.testing.assert_array_equal(arrow.numbers(column, np.float64, np.nan), [1.5, np.nan, np.inf])


@given(st.lists(st.lists(st.none() | st.booleans(), max_size=20), max_size=4), st.integers(0, 5))
def test_booleans_in_chunks_and_slices(pieces: list[list[bool | None]], start: int) -> None:
    column = pa.chunked_array([pa.array(piece, pa.bool_())[start:] for piece in pieces], pa.bool_())
    result = arrow.booleans(column)
    assert result.dtype == np.bool_
    assert result.tolist() == [bool(value) for piece in pieces for value in piece[start:]]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_strings_go_there_and_back(texts: list[str]) -> None:
    column = arrow.string_array(texts)
    assert column.type == pa.string()
    column.validate(full=True)
    result = arrow.objects(column)
    assert result.dtype == object
    assert result.tolist() == texts == column.to_pylist()


def test_a_missing_string_is_none() -> None:
    assert not arrow.null_string().is_valid
    assert arrow.objects(pa.chunked_array([["a"], [None]])).tolist() == ["a", None]
