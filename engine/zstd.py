"""Zstandard frames (RFC 8878): read within bounds, and written with an end that is not to be compressed."""

from __future__ import annotations

import numcodecs
import numpy as np

from allscan.storage.compression import ZSTD

_SIZE_BYTES = (0, 2, 4, 8)
_DICTIONARY_BYTES = (0, 1, 2, 4)


_LONGEST_BLOCK = 128 * 1024
_LAST = 1
_RLE_BLOCK = 1
_SINGLE_SEGMENT = 0x20
_SIZE_OF_EIGHT_BYTES = 0xC0


def compress_with_tail(head: bytes, tail: bytes, level: int) -> bytes:
    """One frame of ``head``, compressed, and ``tail``, as it is.

    A compressor that finds a few percent in the tail would be slow to undo.
    """
    frame = bytes(numcodecs.Zstd(level=level).encode(head))
    size = (len(head) + len(tail)).to_bytes(8, "little")
    pieces = [ZSTD, bytes([_SINGLE_SEGMENT | _SIZE_OF_EIGHT_BYTES]), size]
    at = _header_bytes(frame)
    is_last = False
    while not is_last:
        block = int.from_bytes(frame[at : at + 3], "little")
        is_last, kind, length = bool(block & _LAST), block >> 1 & 3, block >> 3
        end = at + 3 + (1 if kind == _RLE_BLOCK else length)
        pieces += [(block & ~_LAST).to_bytes(3, "little"), frame[at + 3 : end]]
        at = end
    assert at == len(frame), "a frame ends with its last block"
    for start in range(0, len(tail), _LONGEST_BLOCK):
        part = tail[start : start + _LONGEST_BLOCK]
        is_last = start + len(part) == len(tail)
        pieces += [(len(part) << 3 | is_last).to_bytes(3, "little"), part]
    return b"".join(pieces)


def _header_bytes(frame: bytes) -> int:
    descriptor = frame[4]
    single_segment = bool(descriptor & _SINGLE_SEGMENT)
    size = _SIZE_BYTES[descriptor >> 6] or int(single_segment)
    return 5 + (not single_segment) + _DICTIONARY_BYTES[descriptor & 3] + size


def content_size(frame: bytes) -> int | None:
    """Bytes that a frame says it holds, or None if it does not say (RFC 8878, section 3.1.1.1).

    Raises
    ------
    ValueError
        If these are not the first bytes of a frame.
    """
    if len(frame) < 5 or not frame.startswith(ZSTD):
        raise ValueError("the bytes are not compressed by zstd")
    descriptor = frame[4]
    size = _SIZE_BYTES[descriptor >> 6] or bool(descriptor & _SINGLE_SEGMENT)
    if not size:
        return None
    end = _header_bytes(frame)
    if len(frame) < end:
        raise ValueError("the bytes are not compressed by zstd")
    value = int.from_bytes(frame[end - size : end], "little")
    return value + 256 if size == 2 else value


def decompress(content: bytes | memoryview, most: int) -> memoryview:
    """Decompress what :class:`numcodecs.Zstd` or :func:`compress_with_tail` wrote.

    Parameters
    ----------
    content
        One frame, which says its size.
    most
        Bytes that it may hold.

    Raises
    ------
    ValueError, RuntimeError
        If it holds more, does not say, or is damaged.
    """
    size = content_size(bytes(memoryview(content)[:18]))
    if size is None:
        raise ValueError("a compressed chunk does not say its size: another program wrote it")
    if size > most:
        raise ValueError(f"a compressed chunk says that it holds {size:,} bytes, and at most {most:,} can be right")
    # Into room of that size: further frames that follow the first one do not fit.
    out = np.empty(size, np.uint8)
    numcodecs.Zstd().decode(content, out)
    return out.data.toreadonly()
