"""Subsets of samples over which sums are also taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.kernels.panel import row_in_panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Subsets(NamedTuple):
    """Subsets of samples, listed by subset and by sample."""

    start: NDArray[np.int64]  # (subsets + 1,)
    row: NDArray[np.int32]  # panel rows of the samples of each subset, ascending
    of_sample_start: NDArray[np.int64]  # (samples + 1,)
    of_sample: NDArray[np.int32]  # subsets of each sample
    n_columns: int  # the first so many columns of a panel are summed

    @property
    def n_subsets(self) -> int:
        """Number of subsets."""
        return len(self.start) - 1


def make_subsets(samples: Sequence[NDArray[np.int64]], n_samples: int, n_columns: int) -> Subsets:
    """Prepare subsets, each an array of sample indices."""
    start = np.zeros(len(samples) + 1, np.int64)
    np.cumsum([len(chosen) for chosen in samples], out=start[1:])
    empty = [np.empty(0, np.int64)]
    row = np.concatenate([np.sort(row_in_panel(chosen)) for chosen in [*samples, *empty]])
    everybody = np.concatenate([*samples, *empty])
    subset = np.repeat(np.arange(len(samples), dtype=np.int32), np.diff(start))
    order = np.argsort(everybody, kind="stable")
    of_sample_start = np.zeros(n_samples + 1, np.int64)
    np.cumsum(np.bincount(everybody, minlength=n_samples), out=of_sample_start[1:])
    return Subsets(start, row, of_sample_start, subset[order], n_columns)


def no_subsets(n_samples: int) -> Subsets:
    """None at all."""
    return make_subsets([], n_samples, 0)
