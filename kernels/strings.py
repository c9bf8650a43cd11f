"""Strings as one buffer with offsets, from and to the bytes of Zarr's codec ``vlen-utf8``.

These bytes are the number of strings, then each string after its length; all numbers are little-endian 32-bit integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADER = 4
"""Bytes of a number."""


@jit
def _number(content: NDArray[np.uint8], place: int) -> int:
    number = 0
    for j in range(HEADER):
        number |= int(content[place + j]) << (8 * j)
    return number


@jit
def split_strings(content: NDArray[np.uint8], offsets: NDArray[np.int32], data: NDArray[np.uint8]) -> None:
    """Take the bytes apart.

    Parameters
    ----------
    content
        Bytes of ``n`` strings.
    offsets
        Written: where each string begins in ``data``, and the end, shape (n + 1,). The end is -1 where the bytes
        are not those of ``n`` strings.
    data
        Written: the strings, one after another; ``len(content) - 4 (n + 1)`` bytes.
    """
    place, end, n = HEADER, 0, len(offsets) - 1
    offsets[0] = 0
    for k in range(n):
        if place + HEADER > len(content) or _number(content, place) > len(content) - place - HEADER:
            offsets[n] = -1
            return
        size = _number(content, place)
        place += HEADER
        for j in range(size):
            data[end + j] = content[place + j]
        place += size
        end += size
        offsets[k + 1] = end
    if place != len(content):
        offsets[n] = -1


@jit
def join_strings(offsets: NDArray[np.int32], data: NDArray[np.uint8], content: NDArray[np.uint8]) -> None:
    """Write the bytes of ``n`` strings.

    Parameters
    ----------
    offsets
        Where each string begins in ``data``, and the end, shape (n + 1,).
    data
        The strings.
    content
        Written: ``4 (n + 1)`` bytes more than the strings have.
    """
    place, n = HEADER, len(offsets) - 1
    for j in range(HEADER):
        content[j] = (n >> (8 * j)) & 255
    for k in range(n):
        start, size = offsets[k], offsets[k + 1] - offsets[k]
        for j in range(HEADER):
            content[place + j] = (size >> (8 * j)) & 255
        place += HEADER
        for j in range(size):
            content[place + j] = data[start + j]
        place += size


@jit
def gather_strings(
    offsets: NDArray[np.int32],
    data: NDArray[np.uint8],
    rows: NDArray[np.int64],
    out_offsets: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Copy some strings.

    Parameters
    ----------
    offsets, data
        Where each string begins in ``data``, and the end, shape (n + 1,).
    rows
        Which ones, shape (m,).
    out_offsets
        Where each goes in ``out``, and the end, shape (m + 1,).
    out
        Written: the strings.
    """
    for k in range(len(rows)):
        start, place = offsets[rows[k]], out_offsets[k]
        for j in range(out_offsets[k + 1] - place):
            out[place + j] = data[start + j]
