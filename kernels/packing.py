"""Two-bit calls: the planar layout, packing and unpacking.

A row of ``n`` samples is cut into groups of 256. A group is 64 bytes; byte ``j`` of a group holds the
calls of its samples ``j``, ``j + 64``, ``j + 128`` and ``j + 192``, lowest bits first. Neighbours stay
together (small files), and a group decodes by shifts and masks over whole vectors, without gathers (fast).
A call is the number of copies of the effect allele, 0, 1 or 2; 3 is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.kernels.jit import intrinsic, jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUP = 256
PLANE = 64
MISSING_CODE = 3


def row_bytes(n_samples: int) -> int:
    """Bytes of a packed row of ``n_samples`` calls."""
    return -(-n_samples // GROUP) * PLANE


count_ones = intrinsic("count_ones")
trailing_zeros = intrinsic("trailing_zeros")


@jit
def pack_rows(calls: NDArray[np.int8], out: NDArray[np.uint8]) -> None:
    """Pack calls 0, 1, 2 or negative (missing).

    Parameters
    ----------
    calls : (variants, samples) int8
    out : (variants, row_bytes(samples)) uint8, overwritten
    """
    n_variants, n_samples = calls.shape
    for v in range(n_variants):
        for b in range(out.shape[1]):
            out[v, b] = 0
        for i in range(n_samples):
            call = calls[v, i]
            code = np.uint8(call) if call >= 0 else np.uint8(3)
            within = i % 256
            byte = (i // 256) * 64 + within % 64
            out[v, byte] |= code << np.uint8(2 * (within // 64))


@jit
def unpack_calls(row: NDArray[np.uint8], out: NDArray[np.int8]) -> None:
    """Decode one packed row to calls 0, 1, 2 and -1; ``out`` has shape (samples,)."""
    n_samples = out.shape[0]
    for group in range(row.shape[0] // 64):
        source = row[group * 64 : group * 64 + 64]
        for plane in range(4):
            first = group * 256 + plane * 64
            shift = np.uint8(2 * plane)
            if first + 64 <= n_samples:
                target = out[first : first + 64]
                for j in range(64):
                    code = (source[j] >> shift) & np.uint8(3)
                    # 3 becomes -1 by subtracting 4: arithmetic that vectorises, where a branch would not.
                    target[j] = np.int8(code) - np.int8(4) * np.int8(code == np.uint8(3))
            else:
                for j in range(n_samples - first):
                    code = (source[j] >> shift) & np.uint8(3)
                    out[first + j] = np.int8(code) - np.int8(4) * np.int8(code == np.uint8(3))


@jit
def pack_mask(mask: NDArray[np.bool_], out: NDArray[np.uint8]) -> None:
    """Lay a sample mask out like calls: both bits of a sample are set where it is in the mask."""
    for b in range(out.shape[0]):
        out[b] = 0
    for i in range(mask.shape[0]):
        if mask[i]:
            within = i % 256
            out[(i // 256) * 64 + within % 64] |= np.uint8(3) << np.uint8(2 * (within // 64))
