"""Panels: sample vectors side by side, laid out for sums over genotypes.

A panel holds ``k`` columns (covariates, residual traits …) over ``n`` samples, cut into chunks of 64 bytes: 16
columns of float32, or 8 of float64, one cache line and one vector register. Its rows are in the order in which packed
calls store their samples (byte by byte, see :mod:`allscan.kernels.packing`), so that twelve consecutive rows belong to
three consecutive bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.jit import jit
from allscan.kernels.packing import GROUP, PLANE

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

CHUNK_BYTES = 64
WORD_SAMPLES = 12
"""Samples of three bytes of packed calls."""


class Panel(NamedTuple):
    """Columns over samples; rows that belong to no sample are zero, and there is at least one."""

    data: NDArray[Any]  # (chunks, rows, lanes) float32 or float64
    n_samples: int
    n_columns: int

    @property
    def zero_row(self) -> int:
        """A row that belongs to no sample."""
        return -(-self.n_samples // GROUP) * GROUP

    def matrix(self, first: int, stop: int, n_columns: int | None = None) -> NDArray[Any]:
        """Samples ``first:stop`` in their own order, shape (samples, columns); ``first`` divides by 256."""
        k = self.n_columns if n_columns is None else n_columns
        lanes = self.data.shape[2]
        chunks, groups = -(-k // lanes), -(-(stop - first) // GROUP)
        rows = self.data[:chunks, first : first + groups * GROUP]
        parts = rows.reshape(chunks, groups, PLANE, GROUP // PLANE, lanes).transpose(1, 3, 2, 0, 4)
        return parts.reshape(groups * GROUP, chunks * lanes)[: stop - first, :k]


def lanes_of(dtype: DTypeLike) -> int:
    """Columns of a chunk."""
    return CHUNK_BYTES // np.dtype(dtype).itemsize


def panel_bytes(n_samples: int, n_columns: int, dtype: DTypeLike) -> int:
    """Memory of a panel."""
    return -(-n_columns // lanes_of(dtype)) * _n_rows(n_samples) * CHUNK_BYTES


def _n_rows(n_samples: int) -> int:
    rows = -(-n_samples // GROUP) * GROUP + 1
    return -(-rows // WORD_SAMPLES) * WORD_SAMPLES


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros of which every run of 64 bytes is one cache line: a table row that straddles two costs twice."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + CHUNK_BYTES, np.uint8)
    start = -raw.ctypes.data % CHUNK_BYTES
    return raw[start : start + size].view(dtype).reshape(shape)


def make_panel(columns: NDArray[Any], dtype: DTypeLike) -> Panel:
    """Lay out ``columns``, shape (samples, columns), as a panel of ``dtype``."""
    n, k = columns.shape
    lanes = lanes_of(dtype)
    data = aligned_zeros((-(-k // lanes), _n_rows(n), lanes), dtype)
    groups = -(-n // GROUP)
    for chunk in range(len(data)):
        part = columns[:, chunk * lanes : (chunk + 1) * lanes]
        padded = np.zeros((groups * GROUP, part.shape[1]), dtype)
        padded[:n] = part
        planes = padded.reshape(groups, GROUP // PLANE, PLANE, -1).transpose(0, 2, 1, 3)
        data[chunk, : groups * GROUP, : part.shape[1]] = planes.reshape(groups * GROUP, -1)
    return Panel(data, n, k)


@jit
def row_of(sample: int) -> int:
    """Row of a sample in a panel."""
    return (sample & ~255) | ((sample & 63) << 2) | ((sample >> 6) & 3)


def rows_of(samples: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Rows of samples in a panel, sorted."""
    s = samples.astype(np.int32)
    return np.sort((s & ~255) | ((s & 63) << 2) | ((s >> 6) & 3))
