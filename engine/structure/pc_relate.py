"""PC-Relate: kinship of pairs of people whatever their ancestries, given principal components.

The frequencies that components predict for a person are those of :mod:`allscan.kernels.pc_relate`. All pairs of a few
thousand people can be listed; of more, those that :func:`allscan.engine.structure.kinship.king_pairs` finds with the
same components, which agrees with PC-Relate closely enough to say who may be related (:func:`relatives`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.committed import claim, run_committed
from allscan.engine.hashing import content_hash
from allscan.engine.structure.kinship import Kinship, Pairs, ancestry_basis, king_pairs, relationships
from allscan.engine.structure.pca import part_markers, read_packed, reading_memory
from allscan.errors import InputError, writing
from allscan.kernels.packing import unpack_calls
from allscan.kernels.pc_relate import PairSums, Sharing, Terms, add_pairs, make_terms, sharing
from allscan.kernels.standardised import TILE_VALUES, marker_products
from allscan.storage import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.engine.structure.kinship import Ancestry, KingSpec
    from allscan.storage import Place

FOLDER = "pc_relate.partial"
LEAST_FREQUENCY = 0.01
PAIRS_TOGETHER = 1 << 20
"""Pairs of a task."""
TERM_BYTES = 128 << 20
"""Of terms of the people of a task, about: they decide how many markers are taken at a time."""
CANDIDATES = 0.5
"""Kinship, as a share of the least that is asked for, from which on pairs go from the screen to PC-Relate."""
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Relatives:
    """Pairs of relatives among people of any ancestries."""

    pairs: Pairs
    sharing: Sharing
    inbreeding: tuple[NDArray[np.float64], NDArray[np.float64]]  # of the first and the second of each pair
    screen: Kinship  # the candidates, and what they were found by

    @property
    def relationship(self) -> NDArray[np.int8]:
        """See :class:`allscan.engine.structure.kinship.Relationship`."""
        return relationships(self.sharing.kinship, self.sharing.k0)


@dataclass(frozen=True, eq=False)
class PcRelated:
    """Estimates for pairs, and for the people who are in one."""

    sharing: Sharing
    people: NDArray[np.int64]  # (people,) places among those given, ascending
    inbreeding: NDArray[np.float64]  # (people,)


class _Shared(NamedTuple):
    """What tasks share."""

    store: GenotypeStore
    rows: NDArray[np.int64]
    people: NDArray[np.int64]
    parts: tuple[tuple[int, int], ...]
    basis: NDArray[np.float64]
    defining: NDArray[np.bool_]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    least_frequency: float


def pc_relate(
    store: GenotypeStore,
    rows: NDArray[np.int64],
    people: NDArray[np.int64],
    ancestry: Ancestry,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    executor: TaskRunner,
    work: Place,
    *,
    least_frequency: float = LEAST_FREQUENCY,
    on_progress: Callable[[int, int], None] | None = None,
) -> PcRelated:
    """PC-Relate estimates of some pairs.

    Parameters
    ----------
    store
        Genotypes; dosages are rounded to the nearest call.
    rows : (markers,) int64
        Store rows, ascending: autosomal, common, not in strong linkage disequilibrium.
    people : (people,) int64
        Store rows, ascending, those of ``ancestry``.
    first, second : (pairs,) int64
        Places among ``people``.
    work
        A folder that every worker reaches: what is done is put there, so that the same call goes on where another one
        was killed. Nothing is left there in the end.
    least_frequency
        Where the frequency of an allele that the components predict for a person is not above it, the marker does not
        count for the person.

    Raises
    ------
    InputError
        Those who define the components are too few to predict anything.
    OutputError
        The folder cannot be written.
    """
    n_components = ancestry.scores.shape[1]
    if ancestry.defining.sum() < n_components + 2:
        raise InputError(
            f"{int(ancestry.defining.sum()):,} people cannot say what {n_components} components predict",
            where=str(store.path),
            fix="take fewer components, or more people",
        )
    tell = on_progress or (lambda _done, _total: None)
    size = part_markers(len(people))
    parts = tuple((start, min(start + size, len(rows))) for start in range(0, len(rows), size))
    shared = _Shared(store, rows, people, parts, *ancestry_basis(ancestry), first, second, least_frequency)
    folder = work / FOLDER
    key = content_hash(
        str(_FORMAT), store.fingerprint(), store.block_checksums, rows, people, ancestry.scores, ancestry.defining,
        first, second, repr(least_frequency),
    )  # fmt: skip
    who = np.unique(np.concatenate([first, second]))
    chunks = range(max(1, -(-len(first) // PAIRS_TOGETHER)))
    tasks = [(chunk, part) for chunk in chunks for part in range(len(parts))]
    memory = reading_memory(store, len(people)) + size * (9 * min(len(who), 2 * PAIRS_TOGETHER)) + 4 * TILE_VALUES
    memory += 2 * TERM_BYTES + 3 * 64 * min(len(first), PAIRS_TOGETHER)
    itself, sums = np.zeros((2, len(people))), np.zeros((len(PairSums._fields), len(first)))
    with writing(work, again="run the same command again", elsewhere="choose another folder"):
        claim(folder, key)
        results = run_committed(executor, _sum, shared, tasks, folder, "sums", memory_bytes=memory, on_done=tell)
        for (chunk, _), result in zip(tasks, results, strict=True):
            here = slice(chunk * PAIRS_TOGETHER, (chunk + 1) * PAIRS_TOGETHER)
            sums[:, here] += result["sums"]
            # A person of several chunks has the same sums in each, which the ratio of them does not change.
            itself[:, result["who"]] += result["itself"]
        remove_tree(folder)
    with np.errstate(divide="ignore", invalid="ignore"):
        inbreeding = itself[0] / (2.0 * itself[1]) - 1.0
    estimates = sharing(PairSums(*sums), inbreeding[first], inbreeding[second])
    return PcRelated(estimates, who, inbreeding[who])


def relatives(
    store: GenotypeStore,
    rows: NDArray[np.int64],
    people: NDArray[np.int64],
    ancestry: Ancestry,
    spec: KingSpec,
    executor: TaskRunner,
    work: Place,
    *,
    least_frequency: float = LEAST_FREQUENCY,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Relatives:
    """Find the pairs whose PC-Relate kinship is at least ``spec.min_kinship``.

    Candidates are the pairs whose kinship by counts, adjusted for ancestry, is at least half of that. The two estimates
    of one pair are of the same calls, and differ by less.

    Parameters
    ----------
    store, rows, people, ancestry, spec, executor, work, least_frequency
        As for :func:`allscan.engine.structure.kinship.king_pairs` and :func:`pc_relate`.
    on_progress
        Called with ``"extract"``, ``"compare"`` or ``"estimate"``, tasks done and tasks in all.

    Raises
    ------
    InputError
        There are no two people or no marker, or too few people define the components.
    OutputError
        The folder cannot be written.
    """
    tell = on_progress or (lambda *_: None)
    least = spec.min_kinship
    lenient = spec if least is None else replace(spec, min_kinship=CANDIDATES * least)
    screen = king_pairs(store, rows, people, lenient, executor, work, ancestry=ancestry, on_progress=tell)
    first, second = (np.searchsorted(people, who) for who in (screen.pairs.first, screen.pairs.second))
    found = pc_relate(
        store,
        rows,
        people,
        ancestry,
        first,
        second,
        executor,
        work,
        least_frequency=least_frequency,
        on_progress=lambda done, total: tell("estimate", done, total),
    )
    kept = np.arange(len(first)) if least is None else np.flatnonzero(found.sharing.kinship >= least)
    inbreeding = np.full(len(people), np.nan)
    inbreeding[found.people] = found.inbreeding
    return Relatives(
        Pairs(*(getattr(screen.pairs, field.name)[kept] for field in fields(Pairs))),
        Sharing(*(values[kept] for values in found.sharing)),
        (inbreeding[first[kept]], inbreeding[second[kept]]),
        screen,
    )


def _sum(shared: _Shared, task: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """What a part's markers add to the sums of a chunk of pairs, and to those of each person with itself."""
    chunk, part = task
    here = slice(chunk * PAIRS_TOGETHER, (chunk + 1) * PAIRS_TOGETHER)
    who, at = np.unique(np.concatenate([shared.first[here], shared.second[here]]), return_inverse=True)
    first, second = np.split(at.astype(np.int64), 2)
    packed, called, copies = read_packed(shared.store, shared.rows[slice(*shared.parts[part])], shared.people)
    mean = copies / np.maximum(called, 1)
    n_defining = int(shared.defining.sum())
    vectors = np.column_stack([np.full(len(shared.people), n_defining**-0.5), shared.basis])
    among = np.where(shared.defining[:, None], vectors, 0.0).astype(np.float32)
    coefficients = marker_products(packed, mean, np.ones(len(mean)), among)
    design = vectors[who]
    calls = np.empty((len(packed), len(who)), np.int8)
    of_marker = np.empty(len(shared.people), np.int8)
    for row, out in zip(packed, calls, strict=True):
        unpack_calls(row, of_marker)
        out[:] = of_marker[who]
    sums, itself = np.zeros((len(PairSums._fields), len(first))), np.zeros((2, len(who)))
    step = max(64, TERM_BYTES // (4 * len(Terms._fields) * max(len(who), 1)))
    for start in range(0, len(packed), step):
        some = slice(start, start + step)
        frequency = (mean[some] + design @ coefficients[some].T) / 2
        terms = make_terms(np.ascontiguousarray(calls[some].T), frequency, shared.least_frequency)
        add_pairs(terms, first, second, sums)
        itself += (terms.residual**2).sum(axis=1, dtype=np.float64), (terms.spread**2).sum(axis=1, dtype=np.float64)
    return {"sums": sums, "who": who, "itself": itself}
