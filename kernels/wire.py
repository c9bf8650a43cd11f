"""The bytes of a genotype block: what a chunk of a store holds before compression.

Little-endian. A header of :data:`HEADER`, then, each without padding:

1. encoding of each variant (uint8) and steps per allele copy (uint16);
2. carrier lists: flipped flags (uint8 each), number of carriers of each variant (uint32), the gaps between
   carriers in base 128 (low digits first, the high bit says that more follow), the calls, four to a byte;
3. packed calls, row by row;
4. dosages of one byte; dosages of two bytes, all low bytes before all high bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from allscan.kernels.block import Encoding, GenotypeBlock, number_slots
from allscan.kernels.jit import jit
from allscan.kernels.packing import row_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"ASGB"
VERSION = 1
HEADER = struct.Struct("<4sHHIIIIIIQQ")
"""magic, version, 0, variants, samples, CALLS, CARRIERS, DOSAGE8, DOSAGE16, carriers, bytes of gaps."""


_CALLS = (np.arange(256)[:, None] >> np.arange(0, 8, 2)) & 3
CALLS_OF_QUAD = (_CALLS << np.arange(0, 32, 8)).sum(axis=1).astype(np.uint32)
"""The four calls of a byte, as bytes of one number."""


@jit
def _read_gaps(
    gap_bytes: NDArray[np.uint8], offset: NDArray[np.int64], n_samples: int, sample: NDArray[np.int32]
) -> bool:
    """Sample numbers of the carriers; False when the bytes cannot be such lists."""
    # Unsigned indices spare the test for negative ones at every access.
    at = np.uint64(0)
    one = np.uint64(1)
    size = np.uint64(gap_bytes.shape[0])
    for v in range(offset.shape[0] - 1):
        current = -1
        samples = sample[offset[v] : offset[v + 1]]
        for k in range(samples.shape[0]):
            if at >= size:
                return False
            byte = gap_bytes[at]
            at += one
            gap = np.int64(byte & np.uint8(127))
            shift = 7
            while byte >= 128:
                if at >= size or shift > 28:
                    return False
                byte = gap_bytes[at]
                at += one
                gap |= np.int64(byte & np.uint8(127)) << shift
                shift += 7
            current += int(gap) + 1
            samples[k] = current
        if current >= n_samples:
            return False
    return bool(at == size)


@jit
def _read_calls(quads: NDArray[np.uint8], of_quad: NDArray[np.uint32], out: NDArray[np.uint32]) -> bool:
    """Calls of the carriers, four together; False when one of them is none."""
    none = np.uint64(0)
    for k in range(quads.shape[0]):
        four = np.uint64(of_quad[quads[k]])
        out[k] = four
        # The high bit of each byte that is zero (Hacker's Delight, 6-1).
        none |= (four - np.uint64(0x01010101)) & ~four & np.uint64(0x80808080)
    return bool(none == np.uint64(0))


@jit
def _write_gaps(offset: NDArray[np.int64], sample: NDArray[np.int32], out: NDArray[np.uint8]) -> int:
    """Gaps between carriers (first: samples before it) in base 128, low digits first; returns the size."""
    at = 0
    for v in range(offset.shape[0] - 1):
        previous = -1
        for k in range(offset[v], offset[v + 1]):
            gap = sample[k] - previous - 1
            previous = sample[k]
            while gap >= 128:
                out[at] = (gap & 127) | 128
                at += 1
                gap >>= 7
            out[at] = gap
            at += 1
    return at


def to_bytes(block: GenotypeBlock) -> bytes:
    """Serialise a block."""
    gaps = np.empty(5 * len(block.carrier_sample), np.uint8)
    gaps = gaps[: _write_gaps(block.carrier_offset, block.carrier_sample, gaps)]
    calls = np.zeros(-(-len(block.carrier_call) // 4) * 4, np.uint8)
    calls[: len(block.carrier_call)] = block.carrier_call
    quads = calls.reshape(-1, 4)
    shuffled = block.dosage16.astype("<u2").reshape(-1).view(np.uint8).reshape(-1, 2).T
    kinds = [int((block.encoding == kind).sum()) for kind in Encoding]
    return b"".join(
        [
            HEADER.pack(
                MAGIC, VERSION, 0, block.n_variants, block.n_samples, *kinds, len(block.carrier_call), len(gaps)
            ),
            block.encoding.tobytes(),
            block.steps.astype("<u2").tobytes(),
            block.carrier_flipped.tobytes(),
            np.diff(block.carrier_offset).astype("<u4").tobytes(),
            gaps.tobytes(),
            (quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).astype(np.uint8).tobytes(),
            block.calls.tobytes(),
            block.dosage8.tobytes(),
            shuffled.tobytes(),
        ]
    )


def from_bytes(buffer: bytes | memoryview | NDArray[np.uint8]) -> GenotypeBlock:
    """Read a block that :func:`to_bytes` wrote. Arrays are views of ``buffer`` where they can be.

    Raises
    ------
    ValueError
        If the bytes are not a whole block.
    """
    view = memoryview(cast("bytes", buffer)).cast("B")
    if len(view) < HEADER.size:
        raise ValueError(f"a genotype block of {len(view)} bytes is too short to be one")
    magic, version, _, v, n, n_calls, n_carriers, n_8, n_16, n_total, n_gap_bytes = HEADER.unpack_from(view)
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"not a genotype block of version {VERSION}: begins with {bytes(magic)!r}, version {version}")
    at = HEADER.size

    def section(dtype: str, count: int) -> NDArray[Any]:
        nonlocal at
        size = np.dtype(dtype).itemsize * count
        if at + size > len(view):
            raise ValueError(f"a genotype block ends at byte {len(view)}, inside a section that needs {at + size}")
        values = np.frombuffer(view, dtype, count, at)
        at += size
        return values

    encoding = section("u1", v)
    steps = section("<u2", v)
    flipped = section("?", n_carriers)
    offset = np.concatenate([[0], np.cumsum(section("<u4", n_carriers))]).astype(np.int64)
    gap_bytes = section("u1", n_gap_bytes)
    quads = section("u1", -(-n_total // 4))
    calls = section("u1", n_calls * row_bytes(n)).reshape(n_calls, row_bytes(n))
    dosage8 = section("u1", n_8 * n).reshape(n_8, n)
    planes = section("u1", n_16 * n * 2).reshape(2, n_16 * n)
    slot, kinds = np.empty(v, np.int32), np.zeros(256, np.int64)
    number_slots(encoding, slot, kinds)
    counted = [n_calls, n_carriers, n_8, n_16]
    if offset[-1] != n_total or at != len(view) or kinds[:4].tolist() != counted or sum(counted) != v:
        raise ValueError("the parts of a genotype block contradict its header")
    sample = np.empty(n_total, np.int32)
    whole = n_total // 4
    fours = np.empty(len(quads), np.uint32)
    fours[whole:] = CALLS_OF_QUAD[quads[whole:]]
    call = fours.view(np.uint8)[:n_total]
    are_calls = _read_calls(quads[:whole], CALLS_OF_QUAD, fours) and call[4 * whole :].all()
    if not are_calls or not _read_gaps(gap_bytes, offset, n, sample):
        raise ValueError("the carrier lists of a genotype block are damaged")
    dosage16 = np.empty((n_16 * n, 2), np.uint8)
    dosage16[:] = planes.T
    return GenotypeBlock(
        n,
        encoding,
        slot,
        steps,
        calls,
        offset,
        sample,
        call,
        flipped,
        dosage8,
        dosage16.view("<u2").reshape(n_16, n).astype(np.uint16, copy=False),
    )
