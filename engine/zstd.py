"""Decompression within bounds: a few bytes of somebody's file must not become all of the memory."""

from __future__ import annotations

import numcodecs
import numpy as np

from allscan.storage.compression import ZSTD

_SIZE_BYTES = (0, 2, 4, 8)
_DICTIONARY_BYTES = (0, 1, 2, 4)


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
    single_segment = bool(descriptor & 0x20)
    size = _SIZE_BYTES[descriptor >> 6] or int(single_segment)
    if not size:
        return None
    start = 5 + (not single_segment) + _DICTIONARY_BYTES[descriptor & 3]
    if len(frame) < start + size:
        raise ValueError("the bytes are not compressed by zstd")
    value = int.from_bytes(frame[start : start + size], "little")
    return value + 256 if size == 2 else value


def decompress(content: bytes | memoryview, most: int) -> memoryview:
    """Decompress what :class:`numcodecs.Zstd` wrote.

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
