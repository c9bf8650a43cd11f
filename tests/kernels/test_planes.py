"""Calls in planes of bits: read back as they were, whoever reads them; damaged ones are refused."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from allscan.kernels import planes
from allscan.kernels.bit_permutations import deposit, extract
from allscan.kernels.block import GenotypeBlock, concatenate, encode_block
from allscan.kernels.jit import jit
from allscan.kernels.packing import pack_rows, row_bytes
from allscan.kernels.planes import ORDERS, PACKED, SLACK, deposit_bits, extract_bits, read_planes, to_planes
from allscan.kernels.wire import (
    DamagedBlockError,
    decode,
    from_bytes,
    most_bytes,
    parse,
    to_bytes,
    to_bytes_and_planes,
)
from tests.kernels.blocks import call_block, mixed_block

WORDS = st.integers(0, 2**64 - 1)


def packed(calls: NDArray[np.int8]) -> NDArray[np.uint8]:
    out = np.empty((len(calls), row_bytes(calls.shape[1])), np.uint8)
    pack_rows(calls, out)
    return out


def draw(seed: int, shares: NDArray[np.float64], samples: int) -> NDArray[np.int8]:
    """Calls 0, 1, 2 and -1, a row for each row of shares."""
    rng = np.random.default_rng(seed)
    return np.array([rng.choice([0, 1, 2, -1], samples, p=share) for share in shares], np.int8)


def read_back(found: planes.Planes, rows: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Packed rows from planes; rows that are not in planes are taken as they are."""
    out = rows.copy()
    out[found.form != PACKED] = 0xA5
    offset = np.concatenate([[0], np.cumsum(found.missing)]).astype(np.int64)
    content = np.concatenate([found.content, np.zeros(SLACK, np.uint8)])
    whole = read_planes(content, found.form, found.second_bytes, offset, found.missing_sample, out)
    return out if whole else None


SHARES = np.array([[*np.array([0.46, 0.32, 0.2])[order], 0.02] for order in ORDERS.tolist()])
"""Of 0, 1, 2 and -1: each order of the three once."""


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 1300))
def test_rows_survive_whatever_the_order_of_their_calls(seed: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    rows = packed(draw(seed, np.vstack([SHARES, rng.dirichlet(np.ones(4), 8)]), samples))
    found = to_planes(rows, samples)
    np.testing.assert_array_equal(read_back(found, rows), rows)


def test_every_order_occurs() -> None:
    rows = packed(draw(1, SHARES, 5000))
    found = to_planes(rows, 5000)
    assert sorted(found.form.tolist()) == [1, 2, 3, 4, 5, 6]


def naive_planes(calls: NDArray[np.int8]) -> tuple[list[int], list[int]]:
    """Bits of both planes of a row of up to 256 samples, by the definition."""
    counts = [int((calls == call).sum()) for call in range(3)]
    order = sorted(range(3), key=lambda call: -counts[call])
    code = {byte: [calls[i] if (i := byte + 64 * k) < len(calls) else 0 for k in range(4)] for byte in range(64)}
    first, second = [0] * 256, []
    for word in range(4):  # of the plane: two words of the row, 16 bytes
        for k in range(32):
            for half in range(2):
                byte = 16 * word + 8 * half + k // 4
                call = code[byte][k % 4]
                other = call in order[1:]
                first[64 * word + 2 * k + half] = int(other)
                if other:
                    second.append(int(call == order[2]))
    return first, second


def test_planes_are_as_they_are_defined() -> None:
    for row, samples in enumerate((256, 200, 67)):
        calls = draw(row, SHARES[row : row + 1], samples)
        found = to_planes(packed(calls), samples)
        first, second = naive_planes(calls[0])
        assert found.form[0] != PACKED
        bits = np.unpackbits(found.content, bitorder="little").tolist()
        assert bits[:256] == first
        assert bits[256 : 256 + len(second)] == second
        assert not any(bits[256 + len(second) :])
        assert found.second_bytes.tolist() == [-(-len(second) // 8)]
        assert found.missing_sample.tolist() == np.flatnonzero(calls[0] < 0).tolist()


def test_rows_that_an_entropy_coder_would_halve_stay_packed() -> None:
    shares = np.array(
        [[0.25, 0.5, 0.25, 0], [0.9025, 0.095, 0.0025, 0], [0.1, 0.1, 0.1, 0.7], [0, 0, 0, 1], [1, 0, 0, 0]]
    )
    found = to_planes(packed(draw(3, shares, 4000)), 4000)
    assert (found.form != PACKED).tolist() == [True, False, False, False, False]


def same(one: GenotypeBlock, other: GenotypeBlock) -> None:
    for name, here, there in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(here, there, err_msg=name)


@pytest.mark.parametrize("samples", [300, 1024, 5001])
def test_blocks_survive_with_planes(samples: int) -> None:
    for block in (call_block(samples, 40, samples).block, mixed_block(samples, samples)[0]):
        head, tail = to_bytes_and_planes(block)
        assert tail
        assert tail.endswith(bytes(SLACK))
        assert len(head) + len(tail) <= most_bytes(block.n_variants, samples)
        same(from_bytes(head + tail), block)


def test_a_block_without_common_variants_has_no_planes() -> None:
    calls = np.zeros((5, 800), np.int8)
    calls[:, 3] = 1
    block = encode_block(calls)
    assert to_bytes_and_planes(block) == (to_bytes(block), b"")


def test_blocks_are_joined_as_they_are_decoded() -> None:
    blocks = [call_block(seed, 11 + seed, 600).block for seed in range(4)] + [mixed_block(5, 600)[0]]
    contents = [to_bytes(block) if k % 2 else b"".join(to_bytes_and_planes(block)) for k, block in enumerate(blocks)]
    same(decode([parse(content) for content in contents]), concatenate(blocks))


def test_damaged_planes_are_refused() -> None:
    block = call_block(7, 30, 900, missing=0.02).block
    content = b"".join(to_bytes_and_planes(block))
    for cut in (10, 60, 100, len(content) // 2, len(content) - 1):
        with pytest.raises(DamagedBlockError, match="block"):
            from_bytes(content[:cut])
    with pytest.raises(DamagedBlockError, match="contradict"):
        from_bytes(content + b"\0")
    good = from_bytes(to_bytes(block))
    shape = good.calls.shape
    refused = 0
    rng = np.random.default_rng(8)
    for place in rng.integers(0, len(content), 400):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        try:
            found = from_bytes(bytes(damaged))
        except DamagedBlockError:
            refused += 1
        else:
            assert found.calls.shape == shape
    assert refused > 20


def test_the_damaged_one_of_several_blocks_is_named() -> None:
    parts = [parse(b"".join(to_bytes_and_planes(call_block(seed, 20, 900).block))) for seed in range(3)]
    damaged = parts[1]._replace(form=np.where(parts[1].form != PACKED, len(ORDERS) + 1, PACKED).astype(np.uint8))
    with pytest.raises(DamagedBlockError, match="planes") as raised:
        decode([parts[0], damaged, parts[2]])
    assert raised.value.number == 1
    planes_are_ones = np.full_like(parts[1].planes, 255)
    with pytest.raises(DamagedBlockError, match="planes"):
        decode([parts[1]._replace(planes=planes_are_ones)])


@jit
def _both(word: int, mask: int, out: NDArray[np.uint64]) -> None:
    out[0] = deposit_bits(word, mask)
    out[1] = extract_bits(word, mask)


@settings(max_examples=200)
@given(WORDS, st.one_of(WORDS, st.sampled_from([0, 1, 2**63, 2**64 - 1])))
def test_bits_move_as_they_should_with_and_without_instructions_for_it(word: int, mask: int) -> None:
    places = [k for k in range(64) if mask >> k & 1]
    spread = sum((word >> k & 1) << place for k, place in enumerate(places))
    gathered = sum((word >> place & 1) << k for k, place in enumerate(places))
    out = np.empty(2, np.uint64)
    _both(np.uint64(word), np.uint64(mask), out)
    assert out.tolist() == [spread, gathered]
    assert deposit(np.uint64(word), np.uint64(mask)) == spread
    assert extract(np.uint64(word), np.uint64(mask)) == gathered


PLAIN_PROCESSOR = """
import numpy as np
from tests.kernels.test_planes import SHARES, draw, packed, read_back, to_planes
rows = packed(draw(1, SHARES, 1500))
found = to_planes(rows, 1500)
assert (found.form > 0).all() and (read_back(found, rows) == rows).all()
print(found.content.tobytes().hex())
"""


def test_a_processor_without_such_instructions_writes_and_reads_the_same() -> None:
    plain = {**os.environ, "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2,+popcnt"}
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        plain = dict(os.environ)  # there is no other path to compare with
    command = [sys.executable, "-c", PLAIN_PROCESSOR]
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = packed(draw(1, SHARES, 1500))
    assert done.stdout.strip() == to_planes(rows, 1500).content.tobytes().hex()
