"""Variants that a job names: by identifier, or by position and alleles."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.chromosomes import same_contig
from allscan.engine.marker_names import find_names
from allscan.engine.markers import read_alleles
from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore

_SHOWN = 5
_PART_ROWS = 1 << 18
"""Identifiers that are compared with an unknown one together."""
_MOST_SIMILAR = 50_000
"""Identifiers that share half of an unknown one, and are looked at more closely."""


class NamedVariants(NamedTuple):
    """What some names mean."""

    rows: NDArray[np.int64]  # of the store, increasing
    several: tuple[str, ...]  # names that mean more than one variant


def find_variants(store: GenotypeStore, names: Sequence[str]) -> NamedVariants:
    """Store rows of all variants that have one of the names.

    Parameters
    ----------
    store
        Where they are looked for.
    names
        Identifiers, or ``chromosome:position:ref:alt`` with the alleles in either order.

    Raises
    ------
    InputError
        If the store does not know a name.
    """
    wanted = list(dict.fromkeys(names))
    rows, of_row = find_names(store, wanted)
    count = np.bincount(of_row, minlength=len(wanted))
    unknown = [name for name, found in zip(wanted, count, strict=True) if not found]
    if unknown:
        nearest = [f"{name} (is it {near}?)" if (near := _nearest(store, name)) else name for name in unknown[:_SHOWN]]
        more = f", … ({len(unknown):,} in all)" if len(unknown) > _SHOWN else ""
        raise InputError(
            f"the store has no variants of these names: {', '.join(nearest)}{more}",
            where=str(store.path),
            fix="name them as the store does, or as chromosome:position:ref:alt in its reference build, "
            "or take them out",
        )
    return NamedVariants(np.unique(rows), tuple(wanted[k] for k in np.flatnonzero(count > 1)))


def _nearest(store: GenotypeStore, name: str) -> str:
    """What was probably meant, or an empty text."""
    parts = name.rsplit(":", 3)
    if len(parts) == 4 and parts[1].isascii() and parts[1].isdigit():
        here = [k for k, contig in enumerate(store.contigs) if same_contig(contig, parts[0])]
        rows = np.flatnonzero(np.isin(store.variant_contig, here) & (store.variant_position == int(parts[1])))
        # The alleles are in no order.
        alleles = ["/".join(sorted(pair)) for pair in read_alleles(store, rows[:_SHOWN])]
        return ", ".join(f"{parts[0]}:{parts[1]} {pair}" for pair in alleles)
    near = get_close_matches(name, _similar(store, name), n=1)
    return near[0] if near else ""


def _similar(store: GenotypeStore, name: str) -> list[str]:
    """Identifiers that begin or end like a name: one slip leaves one of its halves as it is."""
    import pyarrow.compute as pc

    half = max(1, len(name) // 2)
    found: list[str] = []
    for start in range(0, store.n_variants, _PART_ROWS):
        ids = store.strings("variant_id", start, min(start + _PART_ROWS, store.n_variants))
        alike = pc.or_(
            pc.starts_with(ids, pattern=name[:half], ignore_case=True),
            pc.ends_with(ids, pattern=name[-half:], ignore_case=True),
        )
        found += ids.filter(alike).to_pylist()
        if len(found) > _MOST_SIMILAR:
            break
    return found[:_MOST_SIMILAR]
