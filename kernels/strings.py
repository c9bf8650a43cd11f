"""Strings as one buffer with offsets, from and to the bytes of Zarr's codec ``vlen-utf8``.

These bytes are the number of strings, then each string after its length; all numbers are little-endian 32-bit integers.

Strings are copied sixteen bytes at a time: most are shorter, and a loop of unknown length costs more than what is
copied in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allscan.kernels.jit import intrinsic, jit, jit_inline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

copy_sixteen = intrinsic("copy_sixteen")
load_word = intrinsic("load_word")

HEADER = 4
"""Bytes of a number."""

SPARE = 16
"""Bytes that are written after strings, and mean nothing."""


@jit_inline
def _copy(source: NDArray[np.uint8], start: int, size: int, out: NDArray[np.uint8], place: int) -> None:
    done = 0
    while done < size:
        if start + done + SPARE <= len(source):
            copy_sixteen(source, start + done, out, place + done)
        else:
            for j in range(done, size):
                out[place + j] = source[start + j]
        done += SPARE


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
        Written: the strings, one after another; ``len(content) - 4 (n + 1)`` bytes, and :data:`SPARE`.
    """
    place, end, n = HEADER, 0, len(offsets) - 1
    offsets[0] = 0
    for k in range(n):
        if place + HEADER > len(content):
            offsets[n] = -1
            return
        size = int(load_word(content, place))
        place += HEADER
        if size > len(content) - place:
            offsets[n] = -1
            return
        _copy(content, place, size, data, end)
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
        Written: the strings; with room for :data:`SPARE` bytes more.
    """
    for k in range(len(rows)):
        place = out_offsets[k]
        _copy(data, offsets[rows[k]], out_offsets[k + 1] - place, out, place)
