"""The bytes of a genotype block: what a chunk of a store holds before compression.

Little-endian. A header of :data:`HEADER`, then, each without padding:

1. encoding of each variant (uint8) and steps per allele copy (uint16);
2. carrier lists: flipped flags (uint8 each), number of carriers of each variant (uint32), the gaps between
   carriers in base 128 (low digits first, the high bit says that more follow), the calls, four to a byte;
3. packed calls, row by row;
4. dosages of one byte; dosages of two bytes, all low bytes before all high bytes.

In version 2 some rows of calls are in planes of bits (:mod:`allscan.kernels.planes`). :data:`PLANES_HEADER` follows
:data:`HEADER`. Between 2 and 3 stand the form of each row of calls (uint8), the bytes of the second plane of each row
in planes (uint32), its number of missing calls (uint32), and the gaps between them, as those of carriers; 3 has the
other rows. After 4 come the planes, which no compressor makes smaller, and :data:`SLACK` zeros.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from allscan.kernels.block import Encoding, GenotypeBlock, number_slots
from allscan.kernels.jit import jit
from allscan.kernels.packing import row_bytes
from allscan.kernels.planes import ORDERS, PACKED, SLACK, plane_bytes, read_planes, to_planes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAGIC = b"ASGB"
VERSION = 1
PLANES_VERSION = 2
HEADER = struct.Struct("<4sHHIIIIIIQQ")
"""magic, version, 0, variants, samples, CALLS, CARRIERS, DOSAGE8, DOSAGE16, carriers, bytes of gaps."""
PLANES_HEADER = struct.Struct("<IIQQQ")
"""Rows in planes, 0, their missing calls, bytes of the gaps between them, bytes of planes."""

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


def most_bytes(n_variants: int, n_samples: int) -> int:
    """Bytes that a block can take before compression, whatever its content.

    A variant is a row of calls, or a list of carriers, each with a gap of at most five bytes and two bits for its call.
    """
    return HEADER.size + PLANES_HEADER.size + SLACK + n_variants * (16 + row_bytes(n_samples) + 6 * n_samples)


def _gaps_of(offset: NDArray[np.int64], sample: NDArray[np.int32]) -> NDArray[np.uint8]:
    gaps = np.empty(5 * len(sample), np.uint8)
    return gaps[: _write_gaps(offset, sample, gaps)]


def _offsets(counts: NDArray[np.uint32]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def to_bytes(block: GenotypeBlock) -> bytes:
    """Serialise a block, every row of calls packed."""
    return _serialise(block, VERSION, b"", b"", block.calls)


def to_bytes_and_planes(block: GenotypeBlock) -> tuple[bytes, bytes]:
    """Serialise a block in two pieces: what a compressor makes smaller, and planes, which it does not.

    The second piece is empty where no row is better held in planes.
    """
    planes = to_planes(block.calls, block.n_samples)
    if not planes.form.any():
        return to_bytes(block), b""
    gaps = _gaps_of(_offsets(planes.missing), planes.missing_sample)
    header = PLANES_HEADER.pack(len(planes.second_bytes), 0, len(planes.missing_sample), len(gaps), len(planes.content))
    parts = (planes.form, planes.second_bytes.astype("<u4"), planes.missing.astype("<u4"), gaps)
    of_planes = b"".join(part.tobytes() for part in parts)
    packed = block.calls[planes.form == PACKED]
    return _serialise(block, PLANES_VERSION, header, of_planes, packed), planes.content.tobytes() + bytes(SLACK)


def _serialise(
    block: GenotypeBlock, version: int, more_header: bytes, of_planes: bytes, packed: NDArray[np.uint8]
) -> bytes:
    gaps = _gaps_of(block.carrier_offset, block.carrier_sample)
    calls = np.zeros(-(-len(block.carrier_call) // 4) * 4, np.uint8)
    calls[: len(block.carrier_call)] = block.carrier_call
    quads = calls.reshape(-1, 4)
    shuffled = block.dosage16.astype("<u2").reshape(-1).view(np.uint8).reshape(-1, 2).T
    kinds = [int((block.encoding == kind).sum()) for kind in Encoding]
    return b"".join(
        [
            HEADER.pack(
                MAGIC, version, 0, block.n_variants, block.n_samples, *kinds, len(block.carrier_call), len(gaps)
            ),
            more_header,
            block.encoding.tobytes(),
            block.steps.astype("<u2").tobytes(),
            block.carrier_flipped.tobytes(),
            np.diff(block.carrier_offset).astype("<u4").tobytes(),
            gaps.tobytes(),
            (quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).astype(np.uint8).tobytes(),
            of_planes,
            packed.tobytes(),
            block.dosage8.tobytes(),
            shuffled.tobytes(),
        ]
    )


class Parts(NamedTuple):
    """The parts of a serialised block, as views of its bytes: nothing is decoded yet."""

    n_samples: int
    encoding: NDArray[np.uint8]  # (variants,)
    steps: NDArray[np.uint16]  # (variants,)
    flipped: NDArray[np.bool_]  # (carrier variants,)
    carriers: NDArray[np.uint32]  # (carrier variants,) entries of each
    gaps: NDArray[np.uint8]  # between them
    quads: NDArray[np.uint8]  # their calls
    form: NDArray[np.uint8]  # (rows of calls,)
    second_bytes: NDArray[np.uint32]  # (rows in planes,)
    missing: NDArray[np.uint32]  # (rows in planes,)
    missing_gaps: NDArray[np.uint8]
    packed: NDArray[np.uint8]  # (packed rows, row_bytes)
    dosage8: NDArray[np.uint8]  # (variants of this encoding, samples)
    dosage16: NDArray[np.uint8]  # (2, variants of this encoding × samples), low bytes and high bytes
    planes: NDArray[np.uint8]  # with the slack after them

    @property
    def n_dense(self) -> int:
        """Variants that are not held as carriers."""
        return len(self.encoding) - len(self.flipped)


class DamagedBlockError(ValueError):
    """Bytes that are not those of a block; ``number`` counts the blocks that were given."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


def parse(buffer: bytes | memoryview | NDArray[np.uint8]) -> Parts:
    """Find the parts of what :func:`to_bytes` or :func:`to_bytes_and_planes` wrote.

    Raises
    ------
    DamagedBlockError
        If the bytes are not a whole block.
    """
    view = memoryview(cast("bytes", buffer)).cast("B")
    if len(view) < HEADER.size:
        raise DamagedBlockError(f"a genotype block of {len(view)} bytes is too short to be one")
    magic, version, _, v, n, n_calls, n_carriers, n_8, n_16, n_total, n_gap_bytes = HEADER.unpack_from(view)
    if magic != MAGIC or version not in (VERSION, PLANES_VERSION):
        raise DamagedBlockError(
            f"not a genotype block of version {VERSION} or {PLANES_VERSION}: begins with {bytes(magic)!r}, "
            f"version {version}"
        )
    at = HEADER.size
    in_planes = n_missing = n_missing_bytes = n_plane_bytes = 0
    has_planes = version == PLANES_VERSION
    if has_planes:
        if len(view) < at + PLANES_HEADER.size:
            raise DamagedBlockError(f"a genotype block of {len(view)} bytes is too short to be one")
        in_planes, _, n_missing, n_missing_bytes, n_plane_bytes = PLANES_HEADER.unpack_from(view, at)
        at += PLANES_HEADER.size

    def section(dtype: str, count: int) -> NDArray[Any]:
        nonlocal at
        size = np.dtype(dtype).itemsize * count
        if count < 0 or at + size > len(view):
            raise DamagedBlockError(
                f"a genotype block ends at byte {len(view)}, inside a section that needs {at + size}"
            )
        values = np.frombuffer(view, dtype, count, at)
        at += size
        return values

    width = row_bytes(n)
    parts = Parts(
        n_samples=n,
        encoding=section("u1", v),
        steps=section("<u2", v),
        flipped=section("?", n_carriers),
        carriers=section("<u4", n_carriers),
        gaps=section("u1", n_gap_bytes),
        quads=section("u1", -(-n_total // 4)),
        form=section("u1", n_calls) if has_planes else np.zeros(n_calls, np.uint8),
        second_bytes=section("<u4", in_planes),
        missing=section("<u4", in_planes),
        missing_gaps=section("u1", n_missing_bytes),
        packed=section("u1", (n_calls - in_planes) * width).reshape(n_calls - in_planes, width),
        dosage8=section("u1", n_8 * n).reshape(n_8, n),
        dosage16=section("u1", n_16 * n * 2).reshape(2, n_16 * n),
        planes=section("u1", n_plane_bytes + SLACK if has_planes else 0),
    )
    if (
        n_total > n_gap_bytes
        or n_missing > n_missing_bytes
        or int(parts.carriers.sum(dtype=np.int64)) != n_total
        or int(parts.missing.sum(dtype=np.int64)) != n_missing
        or int((parts.form != PACKED).sum()) != in_planes
        or (
            has_planes and in_planes * plane_bytes(width) + int(parts.second_bytes.sum(dtype=np.int64)) != n_plane_bytes
        )
        or at != len(view)
        or np.bincount(parts.encoding, minlength=4).tolist() != [n_calls, n_carriers, n_8, n_16]
    ):
        raise DamagedBlockError("the parts of a genotype block contradict its header")
    return parts


def decode(blocks: Sequence[Parts]) -> GenotypeBlock:
    """Blocks of the same samples as one. Arrays are views of a single block's bytes where they can be.

    Raises
    ------
    DamagedBlockError
        If carrier lists or planes are damaged.
    """
    n = blocks[0].n_samples
    encoding = _joined([parts.encoding for parts in blocks])
    slot = np.empty(len(encoding), np.int32)
    number_slots(encoding, slot, np.zeros(256, np.int64))
    carriers = _joined([parts.carriers for parts in blocks])
    offset = _offsets(carriers)
    sample, call = np.empty(int(offset[-1]), np.int32), np.empty(int(offset[-1]), np.uint8)
    rows = sum(len(parts.form) for parts in blocks)
    if len(blocks) == 1 and not len(blocks[0].second_bytes):
        calls = blocks[0].packed
    else:
        calls = np.empty((rows, row_bytes(n)), np.uint8)
    first = first_row = 0
    for number, parts in enumerate(blocks):
        here = slice(int(offset[first]), int(offset[first + len(parts.carriers)]))
        if not _decode_carriers(parts, sample[here], call[here]):
            raise DamagedBlockError("the carrier lists of a genotype block are damaged", number)
        first += len(parts.carriers)
        if calls is not parts.packed and not _decode_rows(parts, calls[first_row : first_row + len(parts.form)]):
            raise DamagedBlockError("the planes of a genotype block are damaged", number)
        first_row += len(parts.form)
    return GenotypeBlock(
        n,
        encoding,
        slot,
        _joined([parts.steps for parts in blocks]),
        calls,
        offset,
        sample,
        call,
        _joined([parts.flipped for parts in blocks]),
        _joined([parts.dosage8 for parts in blocks]),
        _joined([_decode_words(parts) for parts in blocks]),
    )


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _decode_carriers(parts: Parts, sample: NDArray[np.int32], call: NDArray[np.uint8]) -> bool:
    """Fill in the carriers of a block; False if their lists are damaged."""
    whole = len(call) // 4
    fours = np.empty(len(parts.quads), np.uint32)
    fours[whole:] = CALLS_OF_QUAD[parts.quads[whole:]]
    are_calls = _read_calls(parts.quads[:whole], CALLS_OF_QUAD, fours)
    call[:] = fours.view(np.uint8)[: len(call)]
    if not are_calls or not call[4 * whole :].all():
        return False
    return _read_gaps(parts.gaps, _offsets(parts.carriers), parts.n_samples, sample)


def _decode_rows(parts: Parts, calls: NDArray[np.uint8]) -> bool:
    """Fill in the rows of calls of a block; False if their planes are damaged."""
    calls[parts.form == PACKED] = parts.packed
    offset = _offsets(parts.missing)
    sample = np.empty(int(offset[-1]), np.int32)
    if (parts.form > len(ORDERS)).any() or not _read_gaps(parts.missing_gaps, offset, parts.n_samples, sample):
        return False
    return read_planes(parts.planes, parts.form, parts.second_bytes, offset, sample, calls)


def _decode_words(parts: Parts) -> NDArray[np.uint16]:
    """Dosages of two bytes."""
    words = np.empty((parts.dosage16.shape[1], 2), np.uint8)
    words[:] = parts.dosage16.T
    return words.view("<u2").reshape(-1, parts.n_samples).astype(np.uint16, copy=False)


def from_bytes(buffer: bytes | memoryview | NDArray[np.uint8]) -> GenotypeBlock:
    """Read a block. Arrays are views of ``buffer`` where they can be.

    Raises
    ------
    DamagedBlockError
        If the bytes are not a whole block.
    """
    return decode([parse(buffer)])
