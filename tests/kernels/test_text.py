"""Numbers as text, cells and strings: against what Arrow and Python's own arithmetic say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.engine.variant_names import decode_strings, encode_strings
from allscan.jobs.export_cells import Cells, Joined, PValues, Words, entries, joined, lines, strings, text
from allscan.kernels import text as kernels

rng = np.random.default_rng(7)
EVERYDAY = (rng.standard_normal(20_000) * 0.01).astype(np.float32)
ANY = rng.integers(0, 2**32, 50_000, dtype=np.uint32).view(np.float32)
SHORT = (rng.integers(-(10**6), 10**6, 20_000) / 10.0 ** rng.integers(0, 9, 20_000)).astype(np.float32)
POWERS = np.float32(2.0) ** np.arange(-149, 128, dtype=np.float32)
NEIGHBOURS = np.concatenate([np.nextafter(POWERS, np.float32(0)), np.nextafter(POWERS, np.float32(np.inf))])
TENS = np.array([float(f"{digit}e{k}") for k in range(-45, 38) for digit in (1, 3, 9)], np.float32)
WHOLE = np.arange(2**24 - 500, 2**24 + 500).astype(np.float32)
ODD = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4028235e38, 123456789, 1e9, 1e10], np.float32)


def arrow_text(values: NDArray[np.float32]) -> list[str | None]:
    """What Arrow writes, with an algorithm of its own."""
    words = pc.cast(pa.array(values), pa.string()).to_pylist()
    return [word if np.isfinite(value) else None for word, value in zip(words, values, strict=True)]


@pytest.mark.parametrize(
    "values",
    [EVERYDAY, ANY, SHORT, POWERS, NEIGHBOURS, TENS, WHOLE, ODD],
    ids=["everyday", "any", "short", "powers", "neighbours", "tens", "whole", "odd"],
)
def test_floats_are_written_as_arrow_writes_them(values: NDArray[np.float32]) -> None:
    assert strings(text(values)) == arrow_text(values)


def test_hardly_a_number_is_left_to_the_slow_way() -> None:
    digits, leading = np.empty((2, len(EVERYDAY)), np.int64)
    kernels.shortest_digits(EVERYDAY, EVERYDAY.view(np.uint32), digits, leading)
    assert np.count_nonzero(digits == kernels.UNSURE) < 5


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1))
def test_integers(values: list[int]) -> None:
    assert strings(text(np.array(values, np.int64))) == [str(value) for value in values]


def test_p_values_of_any_size() -> None:
    y = np.array([0.0, 1e-9, 0.5, 3.9999, 4.0000001, 307.6, 99_999.5, 3e6])
    assert strings(PValues(y)) == [
        *("1", "1", "0.3162278", "0.000100023", "9.999998e-5"),
        *("2.511886e-308", "3.162278e-100000", "1e-3000000"),
    ]


texts = st.lists(st.text(max_size=40), min_size=1, max_size=30)


@given(texts, st.data())
def test_lines_are_pythons_own_join(words: list[str], data: st.DataObject) -> None:
    rows = len(words)
    flags = st.lists(st.booleans(), min_size=rows, max_size=rows)
    with_value, written = (np.array(data.draw(flags)) for _ in range(2))
    others = data.draw(st.permutations(words))
    numbers = np.array(data.draw(st.lists(st.integers(-(2**40), 2**40), min_size=rows, max_size=rows)), np.int64)
    codes = np.arange(rows, dtype=np.int16) % 3
    first, other = (Cells.of_strings(pa.array(column, pa.string())) for column in (words, others))
    holes = Cells(other.data, other.starts, np.where(with_value, other.lengths, np.int32(kernels.MISSING)))
    known = Words(codes, ("zero", None, "two"))
    both = Joined((first, text(numbers)), "_")
    columns = [first, holes, known, both, text(numbers)]
    cells = [
        words,
        [word if there else "NA" for word, there in zip(others, with_value, strict=True)],
        [("zero", "NA", "two")[code] for code in codes],
        [f"{word}_{number}" for word, number in zip(words, numbers, strict=True)],
        [str(number) for number in numbers],
    ]
    shown = ["".join("\t".join(row) + "\n" for row in two) for two in _twice(list(zip(*cells, strict=True)))]
    found = lines([columns, columns[::-1]], "\t", kept=written)
    kept = [row if keep else "" for row, keep in zip(shown, written, strict=True)]
    assert found.content.tobytes().decode() == "".join(kept)
    assert found.ends.tolist() == np.cumsum([len(row.encode()) for row in kept]).tolist()
    named = [
        ";".join(([other] if there else []) + ([f"K={word}"] if word != "NA" else []))
        if there or word != "NA"
        else None
        for other, word, there in zip(others, cells[2], with_value, strict=True)
    ]
    assert strings(entries([("", holes), ("K=", known)], ";")) == named
    assert strings(joined([known, text(numbers)], ":", codes != 1)) == [
        f"{word}:{number}" if word != "NA" else "" for word, number in zip(cells[2], numbers, strict=True)
    ]


def _twice(rows: list[tuple[str, ...]]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(row, row[::-1]) for row in rows]


@given(texts, st.integers(0, 5))
def test_strings_as_zarr_keeps_them(words: list[str], more: int) -> None:
    from numcodecs import VLenUTF8

    size = len(words) + more
    content = encode_strings(pa.array(words, pa.string()), size)
    assert list(VLenUTF8().decode(content)) == words + [""] * more
    assert decode_strings(content.tobytes(), size).to_pylist() == words + [""] * more


def test_strings_that_do_not_add_up_are_refused() -> None:
    content = encode_strings(pa.array(["rs1", "rs22", ""], pa.string()), 3).tobytes()
    with pytest.raises(ValueError, match="3 strings, expected 4"):
        decode_strings(content, 4)
    for damaged in (content[:-1], content + b"x", content[:4] + b"\xff\xff\xff\xff" + content[8:], content[:6]):
        with pytest.raises(ValueError, match="strings"):
            decode_strings(damaged, 3)


def test_sequences_and_rs_numbers_are_told() -> None:
    words = ["A", "acgtACGT", "", "N", "AC-", "<DEL>", "rs1", "rs", "rs12a", "Rs12", "rs0123456789"]
    cells = Cells.of_strings(pa.array(words, pa.string()))
    found = np.empty(len(words), np.bool_)
    kernels.find_sequences(cells.data, cells.starts, cells.lengths, found)
    assert [word for word, is_sequence in zip(words, found, strict=True) if is_sequence] == ["A", "acgtACGT"]
    kernels.find_rs_numbers(cells.data, cells.starts, cells.lengths, found)
    assert [word for word, is_number in zip(words, found, strict=True) if is_number] == ["rs1", "rs0123456789"]
