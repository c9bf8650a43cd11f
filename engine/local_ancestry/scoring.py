"""What a scan asks of local ancestry: the haplotypes of variants for the people of each stratum, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.errors import InputError
from allscan.kernels.association import Status
from allscan.kernels.block import take
from allscan.kernels.haplotypes import haplotype_block, most_listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from allscan.engine.design import Strata
    from allscan.engine.local_ancestry.store import LocalAncestryStore
    from allscan.engine.store import GenotypeStore
    from allscan.kernels.association import AssociationTest, ScanOptions
    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.haplotypes import HaplotypeBlock

LISTED_TOGETHER = 1 << 22
"""People listed by variants that are scored together; at least 32 times everybody: each part begins with a sum over
all haplotypes."""
BYTES_LISTED = 5


def check_people(local: LocalAncestryStore, store: GenotypeStore, strata: Strata) -> None:
    """Refuse a scan of people who have no local ancestry, or of other genotypes.

    Raises
    ------
    InputError
        If there are any.
    """
    local.check(store)
    for name, design in strata:
        without = int((~np.isin(design.store_rows, local.store_rows)).sum())
        if without:
            raise InputError(
                f"{without:,} of the people of stratum {name!r} have no local ancestry",
                where=str(local.path),
                fix="leave them out",
            )


def listed_together(n_people: int) -> int:
    """Most people that a part lists."""
    return max(LISTED_TOGETHER, 32 * n_people)


def local_memory(store: GenotypeStore) -> int:
    """Bytes of the haplotypes of one part, and of what was read for it."""
    # Changes between two anchors, and those of a part: as many as haplotypes, about, of 9 bytes.
    return 2 * BYTES_LISTED * listed_together(store.n_samples) + 64 * store.n_samples + (8 << 20)


class LocalPart:
    """Haplotypes of some variants: read once, made for one stratum after the other.

    Parameters
    ----------
    local, store
        Local ancestry, and the genotypes that it belongs to.
    block
        Genotypes of the variants, of all samples of the store.
    rows
        Their rows in the store, increasing.
    """

    def __init__(
        self, local: LocalAncestryStore, store: GenotypeStore, block: GenotypeBlock, rows: NDArray[np.int64]
    ) -> None:
        self._local, self._n_samples = local, store.n_samples
        first, last = int(rows[0]), int(rows[-1]) + 1
        contig = store.column("variant_contig", first, last)[rows - first]
        position = store.column("variant_position", first, last)[rows - first]
        bounds = np.flatnonzero(np.diff(contig, prepend=-1)).tolist()
        self._runs = []
        for start, stop in zip(bounds, [*bounds[1:], len(rows)], strict=True):
            known = local.rows(int(contig[start]), rows[start:stop], position[start:stop])
            some = block if stop - start == len(rows) else take(block, np.arange(start, stop))
            self._runs.append((start, some, known))
        self._local_of_sample = np.full(store.n_samples, -1, np.int32)
        self._local_of_sample[local.store_rows] = np.arange(len(local.store_rows))

    def blocks(self, people: NDArray[np.int64] | None) -> Iterator[tuple[slice, HaplotypeBlock | None]]:
        """Variants and their haplotypes; None where nothing is known of the contig.

        Parameters
        ----------
        people
            Samples of the store, ascending; None: all of them.
        """
        chosen = np.arange(self._n_samples) if people is None else people
        person_of_local = np.full(len(self._local.store_rows), -1, np.int32)
        person_of_local[self._local_of_sample[chosen]] = np.arange(len(chosen))
        most = listed_together(len(chosen))
        for first, block, known in self._runs:
            if known is None:
                yield slice(first, first + block.n_variants), None
                continue
            before = np.concatenate([[0], np.cumsum(most_listed(block))])
            changes = known.changes._replace(ancestry=known.changes.ancestry.copy())
            start = 0
            while start < block.n_variants:
                # At least one variant; then as many as the lists have room for.
                stop = max(start + 1, int(np.searchsorted(before, before[start] + most, side="right")) - 1)
                made = haplotype_block(
                    block, start, stop, known.phase, changes, known.usable, self._local_of_sample, person_of_local,
                    len(chosen), len(self._local.ancestries),
                )  # fmt: skip
                yield slice(first + start, first + stop), made
                start = stop


def score_part(
    test: AssociationTest,
    part: LocalPart,
    people: NDArray[np.int64] | None,
    null: Any,
    options: ScanOptions,
    out: Mapping[str, NDArray[Any]],
) -> None:
    """Score the variants of a part in the people of a stratum.

    Parameters
    ----------
    people
        Samples of the store, ascending; None: all of them.
    out
        As of ``AssociationTest.score_block``, of all variants of the part; NaN where there is no result.
    """
    assert test.score_haplotypes is not None
    for variants, block in part.blocks(people):
        if block is None:
            out["status"][variants] = Status.NOT_TESTED
        else:
            test.score_haplotypes(block, null, options, {name: array[variants] for name, array in out.items()})
