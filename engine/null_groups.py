"""Which null models are held at a time: variants of every chromosome may have their own, and each is as large as a
panel of all samples and traits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.ploidy import COUNTED_ROWS, count_classes, null_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore


class NullGroup(NamedTuple):
    """Consecutive runs of variants, and the null models that they are tested with."""

    runs: range
    codes: tuple[int, ...]  # of null_codes


def null_groups(
    store: GenotypeStore,
    rows: NDArray[np.int64] | None,
    variants_per_run: int,
    chromosomes: tuple[str, ...],
    most: int,
) -> tuple[NullGroup, ...]:
    """Cut the runs of variants into groups that are tested with few null models.

    Parameters
    ----------
    rows
        Store rows to test; None: all.
    variants_per_run
        Variants of a run, of which the last may have fewer.
    chromosomes
        Those that have null models of their own; without any, there is one group.
    most
        Null models that a group may have; a run that needs more has them.
    """
    n_variants = store.n_variants if rows is None else len(rows)
    n_runs = -(-n_variants // variants_per_run)
    if not chromosomes:
        return (NullGroup(range(n_runs), tuple(int(kind) for kind in count_classes(store, rows))),)
    groups: list[NullGroup] = []
    held: set[int] = set()
    first = 0
    for run, needed in enumerate(_codes_of_runs(store, rows, n_variants, variants_per_run, chromosomes)):
        if len(held | needed) > max(most, len(held)) and run > first:
            groups.append(NullGroup(range(first, run), tuple(sorted(held))))
            first, held = run, set()
        held |= needed
    groups.append(NullGroup(range(first, n_runs), tuple(sorted(held))))
    return tuple(groups)


def _codes_of_runs(
    store: GenotypeStore,
    rows: NDArray[np.int64] | None,
    n_variants: int,
    variants_per_run: int,
    chromosomes: tuple[str, ...],
) -> Iterator[set[int]]:
    """Codes of the variants of each run, in order; not all variants are held at a time."""
    together = variants_per_run * max(1, COUNTED_ROWS // variants_per_run)
    for start in range(0, n_variants, together):
        stop = min(start + together, n_variants)
        codes = null_codes(store, np.arange(start, stop) if rows is None else rows[start:stop], chromosomes)
        begins = np.arange(0, len(codes), variants_per_run)
        low, high = np.minimum.reduceat(codes, begins), np.maximum.reduceat(codes, begins)
        for k, begin in enumerate(begins):
            if low[k] == high[k]:
                yield {int(low[k])}
            else:
                yield set(np.unique(codes[begin : begin + variants_per_run]).tolist())
