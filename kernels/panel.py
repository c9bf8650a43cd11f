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
    panel = zero_panel(columns.shape[0], columns.shape[1], dtype)
    write_columns(panel, 0, columns)
    return panel


def zero_panel(n_samples: int, n_columns: int, dtype: DTypeLike) -> Panel:
    """A panel of zeros."""
    lanes = lanes_of(dtype)
    data = aligned_zeros((-(-n_columns // lanes), _n_rows(n_samples), lanes), dtype)
    return Panel(data, n_samples, n_columns)


def write_columns(panel: Panel, first: int, columns: NDArray[Any]) -> None:
    """Write ``columns``, shape (samples, columns), into a panel from column ``first``."""
    lanes = panel.data.shape[2]
    whole = panel.n_samples // GROUP * GROUP
    samples = np.arange(whole, panel.n_samples)
    rows = row_in_panel(samples)
    stop = first + columns.shape[1]
    for chunk in range(first // lanes, -(-stop // lanes)):
        a, b = max(first, chunk * lanes), min(stop, (chunk + 1) * lanes)
        part = columns[:, a - first : b - first]
        target = panel.data[chunk, :, a - chunk * lanes : b - chunk * lanes]
        planes = part[:whole].reshape(-1, GROUP // PLANE, PLANE, b - a)
        target[:whole].reshape(-1, PLANE, GROUP // PLANE, b - a)[...] = planes.transpose(0, 2, 1, 3)
        target[rows] = part[whole:]


@jit
def row_of(sample: int) -> int:
    """Row of a sample in a panel."""
    return (sample & ~255) | ((sample & 63) << 2) | ((sample >> 6) & 3)


def row_in_panel(samples: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Rows of many samples in a panel."""
    s = samples.astype(np.int32)
    return (s & ~255) | ((s & 63) << 2) | ((s >> 6) & 3)
