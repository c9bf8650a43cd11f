"""Genotype blocks keep every call and dosage, in whatever encoding they choose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from allscan.kernels.block import (
    EXACT_STEPS,
    FALLBACK_STEPS,
    Encoding,
    concatenate,
    dosages,
    encode_block,
    hard_calls,
    take,
)
from allscan.kernels.packing import GROUP, row_bytes
from allscan.kernels.wire import HEADER, from_bytes, to_bytes

CALLS = hnp.arrays(
    np.int8,
    st.tuples(st.integers(1, 12), st.integers(1, 2 * GROUP + 40)),
    elements=st.integers(-1, 2),
    fill=st.integers(-1, 2),
)


def decoded(block: object) -> NDArray[np.int8]:
    out = np.empty((block.n_variants, block.n_samples), np.int8)  # type: ignore[attr-defined]
    hard_calls(block, 0, len(out), out)  # type: ignore[arg-type]
    return out


@given(CALLS)
def test_calls_survive_encoding_and_the_wire(calls: NDArray[np.int8]) -> None:
    block = from_bytes(to_bytes(encode_block(calls)))
    np.testing.assert_array_equal(decoded(block), calls)


@given(CALLS, st.randoms(use_true_random=False))
def test_take_and_concatenate_are_row_operations(calls: NDArray[np.int8], random: object) -> None:
    rows = np.array([random.randrange(len(calls)) for _ in range(5)])  # type: ignore[attr-defined]
    block = encode_block(calls)
    np.testing.assert_array_equal(decoded(take(block, rows)), calls[rows])
    np.testing.assert_array_equal(decoded(concatenate([block, take(block, rows)])), np.vstack([calls, calls[rows]]))


@given(CALLS)
def test_bytes_do_not_depend_on_how_a_block_was_assembled(calls: NDArray[np.int8]) -> None:
    half = len(calls) // 2
    parts = [encode_block(calls[:half]), encode_block(calls[half:])]
    assert to_bytes(concatenate(parts)) == to_bytes(encode_block(calls))


def test_encodings_follow_content() -> None:
    n = 3200
    calls = np.zeros((4, n), np.int8)
    calls[1, ::10] = 1  # common
    calls[2, :200] = 1  # exactly one sample in 16
    calls[3] = 2
    calls[3, 7] = -1  # nearly everybody carries two copies
    dosage = np.tile(np.linspace(0, 2, n, dtype=np.float32), (4, 1))
    block = encode_block(calls)
    assert block.encoding.tolist() == [Encoding.CARRIERS, Encoding.CALLS, Encoding.CARRIERS, Encoding.CARRIERS]
    assert block.carrier_flipped.tolist() == [False, False, True]
    assert len(block.carrier_sample) == 201
    exact = np.rint(dosage * 100) / 100
    encoded = encode_block(calls, exact, np.array([False, True, False, False]))
    assert encoded.encoding[1] == Encoding.DOSAGE8


@pytest.mark.parametrize("steps", EXACT_STEPS)
def test_dosages_of_a_known_resolution_are_exact(steps: int) -> None:
    rng = np.random.default_rng(steps)
    codes = rng.integers(0, 2 * steps + 1, (1, 700))
    codes[0, :2] = [1, 2 * steps - 1]
    dosage = (codes / steps).astype(np.float32)
    dosage[0, 5] = np.nan
    block = from_bytes(to_bytes(encode_block(np.zeros(dosage.shape, np.int8), dosage, np.array([True]))))
    out = np.empty_like(dosage)
    dosages(block, 0, 1, out)
    np.testing.assert_array_equal(out, dosage)
    assert (block.encoding[0] == Encoding.DOSAGE8) == (2 * int(block.steps[0]) < 255)


@settings(max_examples=50)
@given(hnp.arrays(np.float32, (2, 300), elements=st.floats(0, 2, width=32)))
def test_other_dosages_are_rounded_by_at_most_half_a_step(dosage: NDArray[np.float32]) -> None:
    block = encode_block(np.zeros(dosage.shape, np.int8), dosage, np.array([True, True]))
    out = np.empty_like(dosage)
    dosages(block, 0, 2, out)
    assert np.max(np.abs(out.astype(np.float64) - dosage)) <= 0.5 / FALLBACK_STEPS + 1e-6


def test_whole_dosages_become_calls() -> None:
    dosage = np.array([[0, 1, 2, np.nan]], np.float32)
    block = encode_block(np.zeros((1, 4), np.int8), dosage, np.array([True]))
    np.testing.assert_array_equal(decoded(block), [[0, 1, 2, -1]])
    assert to_bytes(block) == to_bytes(encode_block(np.array([[0, 1, 2, -1]], np.int8)))


def test_damaged_bytes_are_refused() -> None:
    calls = np.random.default_rng(0).binomial(2, 0.01, (20, 500)).astype(np.int8)
    content = to_bytes(encode_block(calls))
    for cut in (0, 5, HEADER.size, len(content) // 2, len(content) - 1):
        with pytest.raises(ValueError, match="block"):
            from_bytes(content[:cut])
    with pytest.raises(ValueError, match="contradict"):
        from_bytes(content + b"\0")
    with pytest.raises(ValueError, match="version"):
        from_bytes(b"XXXX" + content[4:])
    encodings = bytearray(content)
    encodings[HEADER.size] = Encoding.DOSAGE16
    with pytest.raises(ValueError, match="contradict"):
        from_bytes(bytes(encodings))


def test_row_bytes() -> None:
    assert [row_bytes(n) for n in (0, 1, 256, 257)] == [0, 64, 64, 128]
