"""Who is related, and who is left of each family."""

from __future__ import annotations

from dataclasses import fields
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.arrow import string_array
from allscan.engine.store_writing import METADATA_BLOCKS
from allscan.engine.structure.kinship import THIRD_DEGREE, Ancestry, KingSpec, Pairs, king_pairs
from allscan.engine.structure.pc_relate import relatives as pc_relatives
from allscan.engine.structure.relatives_file import TWINS, write_relatives
from allscan.engine.structure.unrelated import UnrelatedSet, unrelated_set
from allscan.kernels.pc_relate import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.store import GenotypeStore
    from allscan.jobs.structure.checkpoints import Arrays
    from allscan.jobs.structure.inputs import Prepared
    from allscan.jobs.structure.stages import Placed, Stages
    from allscan.storage import Place

CHANCE = 0.01
"""That any pair of unrelated people is taken for relatives."""
TITLES = {"extract": "relatives: reading", "compare": "relatives: comparing", "estimate": "relatives: PC-Relate"}


class Related(NamedTuple):
    """Pairs of people, by rows of the store."""

    first: NDArray[np.int64]  # (pairs,)
    second: NDArray[np.int64]
    kinship: NDArray[np.float64]
    least: float  # from which on pairs are relatives
    divergent: NDArray[np.int64] | None = None  # (people,) others of a different ancestry
    pairs: Pairs | None = None  # as they were found here
    sharing: Sharing | None = None

    def table(self, store: GenotypeStore) -> pa.Table | Callable[[Place], None]:
        """The pairs, or what writes them."""
        import pyarrow as pa

        if self.pairs is not None:
            pairs, sharing, least = self.pairs, self.sharing, self.least
            return lambda place: write_relatives(place, store, pairs, sharing, min_kinship=least)
        ids = [string_array(str(person) for person in store.sample_ids[rows]) for rows in (self.first, self.second)]
        return pa.table({"id1": ids[0], "id2": ids[1], "kinship": np.minimum(self.kinship, TWINS)})


def nobody(least: float) -> Related:
    """No pairs."""
    none = np.zeros(0, np.int64)
    return Related(none, none, np.zeros(0), least)


def given_pairs(prepared: Prepared) -> Related:
    """The pairs of the table that the structure file names."""
    pairs, people = prepared.pairs, prepared.people
    least = prepared.job.spec.relatives.max_kinship or THIRD_DEGREE
    assert pairs is not None
    return Related(people[pairs.first], people[pairs.second], pairs.value / 2, least)


def least_kinship(prepared: Prepared, rows: NDArray[np.int64], people: NDArray[np.int64]) -> float:
    """From which kinship on pairs are relatives: what is asked for, or what so few markers tell from chance.

    In one of a hundred cohorts of unrelated people a pair exceeds it. The standard error is that of KING-robust,
    ``¼ √Σ(2h + 2h²) / Σh`` of markers with heterozygosities ``h``: the squared difference of two people's calls has the
    variance ``2h + 2h²``.
    """
    asked = prepared.job.spec.relatives.max_kinship
    if asked is not None:
        return asked
    h = _heterozygosity(prepared.store, rows)
    error = 0.25 * np.sqrt((2 * h + 2 * h**2).sum()) / max(h.sum(), 1e-9)
    pairs = len(people) * (len(people) - 1) / 2
    return float(max(THIRD_DEGREE, NormalDist().inv_cdf(1 - CHANCE / max(pairs, 1)) * error))


def _heterozygosity(store: GenotypeStore, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Expected of some variants, by the frequencies of everybody in the store."""
    chunk = store.block_variants * METADATA_BLOCKS
    out = np.empty(len(rows))
    for index in np.unique(rows // chunk):
        start = int(index) * chunk
        stop = min(start + chunk, store.n_variants)
        some = slice(*np.searchsorted(rows, [start, stop]))
        inside = rows[some] - start
        copies = store.column("variant_allele_count", start, stop)[inside]
        p = copies / np.maximum(2.0 * store.column("variant_n_called", start, stop)[inside], 1)
        out[some] = 2 * p * (1 - p)
    return out


def find_relatives(
    stages: Stages, rows: NDArray[np.int64], people: NDArray[np.int64], least: float, placed: Placed | None = None
) -> Related:
    """Look for relatives: by KING-robust, or given components by PC-Relate."""
    spec = KingSpec(min_kinship=least, seed=stages.prepared.job.spec.components.seed)
    store = stages.prepared.store

    def tell(what: str, done: int, total: int) -> None:
        stages.tell(TITLES[what], done, total)

    def king(work: Place) -> Arrays:
        found = king_pairs(store, rows, people, spec, stages.executor, work, on_progress=tell)
        return {"divergent": found.divergent, **_arrays("pairs", found.pairs)}

    def pc_relate(work: Place) -> Arrays:
        assert placed is not None
        ancestry = Ancestry(placed.scores, ~placed.related)
        found = pc_relatives(store, rows, people, ancestry, spec, stages.executor, work, on_progress=tell)
        return {
            "divergent": found.screen.divergent,
            **_arrays("pairs", found.pairs),
            **{name: getattr(found.sharing, name) for name in ("kinship", "k0", "k2")},
        }

    kept = stages.kept("king" if placed is None else "pc_relate", king if placed is None else pc_relate)
    pairs = Pairs(**{field.name: kept[f"pairs_{field.name}"] for field in fields(Pairs)})
    sharing = None if placed is None else Sharing(kept["kinship"], kept["k0"], kept["k2"])
    kinship = pairs.best if sharing is None else sharing.kinship
    return Related(pairs.first, pairs.second, kinship, least, kept["divergent"], pairs, sharing)


def _arrays(name: str, pairs: Pairs) -> Arrays:
    return {f"{name}_{field.name}": getattr(pairs, field.name) for field in fields(Pairs)}


def unrelated_people(related: Related, people: NDArray[np.int64]) -> UnrelatedSet:
    """Who is left of each family.

    Parameters
    ----------
    people : (people,)
        Store rows, ascending; pairs with others do not count.
    """
    both = np.isin(related.first, people) & np.isin(related.second, people) & (related.kinship > related.least)
    first, second = (np.searchsorted(people, rows[both]) for rows in (related.first, related.second))
    divergent = related.divergent if related.divergent is not None and len(related.divergent) == len(people) else None
    return unrelated_set(len(people), first, second, divergent=divergent)
