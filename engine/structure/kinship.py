"""Who is related to whom: kinship of all pairs of people, screened by samples of the markers.

The markers' calls are turned into bits of people once, block of people by block; a task then compares two blocks. The
markers are dealt, at random among every few in a row, to as many stages, and a pair that cannot be related by those of
one stage is not looked at in the next (:mod:`allscan.kernels.kinship_screen` says what that can miss). The pairs that
are reported are counted over all markers, so the screen changes which are found, never what is said of one.

Between people of different ancestry KING-robust is too low, so that distant relatives are missed whose families mix,
and between children of such parents too high. Given principal components, pairs are chosen by the kinship of PC-Relate
instead, which costs little more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.committed import claim, run_committed
from allscan.engine.hashing import content_hash
from allscan.engine.structure.kinship_tasks import Comparing, PersonSums, Shared, compare, extract
from allscan.engine.structure.pca import reading_memory
from allscan.errors import InputError, writing
from allscan.kernels.king import words_of
from allscan.kernels.kinship_screen import TOGETHER
from allscan.kernels.packing import row_bytes
from allscan.kernels.standardised import TILE_VALUES
from allscan.storage import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from allscan.engine.scan import TaskRunner
    from allscan.engine.store import GenotypeStore
    from allscan.storage import Place

FOLDER = "kinship.partial"
"""Of bits and of results; removed in the end."""
THIRD_DEGREE = 2.0**-4.5
"""Between the kinship coefficients of third-degree relatives, 1/16, and fourth-degree ones, 1/32."""
PART_MARKERS = 4096
MOST_BLOCKS = 16
"""Blocks of people, while they are no larger than :data:`MOST_PEOPLE`."""
MOST_PEOPLE = 4096
"""Of a block, unless their bits are many."""
BLOCK_BYTES = 256 << 20
"""Bits of a block of people, about."""
MOST_STAGES = 16
SAME, PARENTS = 2.0**-1.5, 0.1
"""Kinship above which two samples are one person, or twins; share of the genome without a common allele by descent
below which first-degree relatives are parent and child: siblings have a quarter, give or take 5 %."""
_FORMAT = 1


class Relationship(IntEnum):
    """Degrees, as kinship tells them: borders are halfway between the expected values on the scale of logarithms."""

    UNRELATED = 0
    THIRD = 3
    SECOND = 4
    SIBLINGS = 5
    PARENT_CHILD = 6
    SAME = 7  # the same person twice, or identical twins


@dataclass(frozen=True)
class KingSpec:
    """How relatives are looked for."""

    min_kinship: float | None = THIRD_DEGREE  # of pairs that are reported; None: all pairs, without a screen
    screen_markers: int | None = 8192  # of a stage, about; None: every pair is compared at all markers
    missed: float = 1e-3  # probability to miss a pair whose kinship is exactly the least one; less for closer ones
    seed: int = 1  # of what markers a stage has


@dataclass(frozen=True)
class Ancestry:
    """Principal components of all people among whom relatives are looked for."""

    scores: NDArray[np.float64]  # (people, components)
    defining: NDArray[np.bool_]  # (people,) who should be unrelated: of them is learnt what components predict


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of relatives, in the order of the store; arrays have shape (pairs,)."""

    first: NDArray[np.int64]  # store row
    second: NDArray[np.int64]  # store row, larger than the first
    kinship: NDArray[np.float64]  # KING-robust
    adjusted: NDArray[np.float64]  # for ancestry: PC-Relate's by sums; NaN where no components were given
    ibs0: NDArray[np.float64]  # share of the markers that have no allele in common
    het_het: NDArray[np.float64]  # share of the markers where both are heterozygous
    unshared: NDArray[np.float64]  # share of the genome without an allele that is common by descent
    n_markers: NDArray[np.int64]  # that both have a call of

    def __len__(self) -> int:
        return len(self.first)

    @property
    def best(self) -> NDArray[np.float64]:
        """The kinship that pairs were chosen by."""
        return np.where(np.isnan(self.adjusted), self.kinship, self.adjusted)

    @property
    def relationship(self) -> NDArray[np.int8]:
        """See :class:`Relationship`."""
        return relationships(self.best, self.unshared)


@dataclass(frozen=True, eq=False)
class Kinship:
    """What was found among some people."""

    pairs: Pairs
    n_people: int
    n_markers: int
    n_screen: int  # markers that every pair was compared at
    n_compared: int  # pairs
    n_counted: int  # pairs that were compared at all markers
    divergent: NDArray[np.int64]  # (people,) others of a different ancestry


def relationships(kinship: NDArray[np.float64], unshared: NDArray[np.float64]) -> NDArray[np.int8]:
    """The :class:`Relationship` of pairs, shape (pairs,).

    Parameters
    ----------
    kinship, unshared : (pairs,)
        Kinship coefficients, and shares of the genome without an allele that is common by descent.
    """
    borders = 2.0 ** np.array([-4.5, -3.5, -2.5, -1.5])
    kinds = np.array(
        [
            Relationship.UNRELATED,
            Relationship.THIRD,
            Relationship.SECOND,
            Relationship.SIBLINGS,
            Relationship.SAME,
        ],
        np.int8,
    )
    found = kinds[np.searchsorted(borders, np.nan_to_num(kinship), side="right")]
    return np.where((found == Relationship.SIBLINGS) & (unshared < PARENTS), np.int8(Relationship.PARENT_CHILD), found)


def king_pairs(
    store: GenotypeStore,
    rows: NDArray[np.int64],
    people: NDArray[np.int64],
    spec: KingSpec,
    executor: TaskRunner,
    work: Place,
    *,
    ancestry: Ancestry | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Kinship:
    """Find the relatives among some people.

    Parameters
    ----------
    store
        Genotypes; dosages are rounded to the nearest call.
    rows : (markers,) int64
        Store rows, ascending: autosomal, common, not in strong linkage disequilibrium.
    people : (people,) int64
        Store rows, ascending.
    work
        A folder that every worker reaches: half a byte for each person and two markers are put there, and what is
        done, so that the same call goes on where another one was killed. Nothing is left there in the end.
    ancestry
        Pairs are then chosen by :attr:`Pairs.adjusted`.
    on_progress
        Called with ``"extract"`` or ``"compare"``, tasks done and tasks in all.

    Raises
    ------
    InputError
        There are no two people, or no marker.
    OutputError
        The folder cannot be written.

    Notes
    -----
    The result depends on calls, order of people and markers, ``spec`` and ``ancestry`` alone, and but for which pairs a
    screen misses not on their order.
    """
    if len(people) < 2 or not len(rows):
        raise InputError(
            f"no relatives can be found among {len(people):,} people by {len(rows):,} markers",
            where=str(store.path),
            fix="take more people, or loosen the rules for markers",
        )
    folder = work / FOLDER
    with writing(work, again="run the same command again", elsewhere="choose another folder"):
        claim(folder, _key(store, rows, people, spec, ancestry))
        found = _find(store, rows, people, spec, executor, folder, ancestry, on_progress or (lambda *_: None))
        remove_tree(folder)
    return found


def tile_memory(n_people: int, n_markers: int) -> int:
    """Bytes of a task that compares two blocks: their bits, one of them twice while it is read, and pairs."""
    return 3 * block_people(n_people, n_markers) * _bits_bytes(n_markers) + 40 * TOGETHER**2 + (64 << 20)


def block_people(n_people: int, n_markers: int) -> int:
    """People of a block."""
    even = -(-n_people // MOST_BLOCKS)
    most = min(MOST_PEOPLE, BLOCK_BYTES // _bits_bytes(n_markers) // TOGETHER * TOGETHER)
    return max(TOGETHER, min(most, -(-even // TOGETHER) * TOGETHER))


def _bits_bytes(n_markers: int) -> int:
    """Bytes of a person's bits, with a word for each stage to spare."""
    return 16 * (words_of(n_markers) + MOST_STAGES)


def _key(
    store: GenotypeStore,
    rows: NDArray[np.int64],
    people: NDArray[np.int64],
    spec: KingSpec,
    ancestry: Ancestry | None,
) -> str:
    of_ancestry = () if ancestry is None else (ancestry.scores, ancestry.defining)
    return content_hash(
        str(_FORMAT), store.fingerprint(), store.block_checksums, rows, people, repr(spec), *of_ancestry
    )


def _find(
    store: GenotypeStore,
    rows: NDArray[np.int64],
    people: NDArray[np.int64],
    spec: KingSpec,
    executor: TaskRunner,
    folder: Place,
    ancestry: Ancestry | None,
    tell: Callable[[str, int, int], None],
) -> Kinship:
    n, v = len(people), len(rows)
    whole = spec.min_kinship is None or spec.screen_markers is None
    n_stages = 1 if whole else max(1, min(v // int(spec.screen_markers or v), MOST_STAGES))
    parts = _parts(v, n_stages, spec.seed)
    basis, defining = (np.empty((n, 0)), np.zeros(n, np.bool_)) if ancestry is None else ancestry_basis(ancestry)
    shared = Shared(store, rows, people, parts, block_people(n, v), folder, basis, defining)
    comparing = extract_all(shared, spec, executor, tell)
    blocks = -(-n // shared.block)
    tiles = [(a, b) for b in range(blocks) for a in range(b + 1)]
    results = list(
        run_committed(
            executor,
            compare,
            comparing,
            tiles,
            folder,
            "tile",
            memory_bytes=tile_memory(n, v),
            on_done=lambda *numbers: tell("compare", *numbers),
        )
    )
    divergent = np.zeros(n, np.int64)
    for (a, b), result in zip(tiles, results, strict=True):
        divergent[a * shared.block : (a + 1) * shared.block] += result["first_divergent"]
        if a != b:
            divergent[b * shared.block : (b + 1) * shared.block] += result["second_divergent"]
    columns = {field.name: np.concatenate([result[field.name] for result in results]) for field in fields(Pairs)}
    order = np.lexsort([columns["second"], columns["first"]])
    pairs = Pairs(**{name: column[order] for name, column in columns.items()})
    n_counted = sum(int(result["n_counted"]) for result in results)
    n_screen = sum(len(part[0]) for part in parts)
    return Kinship(pairs, n, v, n_screen, n * (n - 1) // 2, n_counted, divergent)


def _parts(n_markers: int, n_stages: int, seed: int) -> tuple[tuple[NDArray[np.int64], ...], ...]:
    """Deal markers to stages: of each few in a row every stage has one; and cut them into parts."""
    runs = -(-n_markers // n_stages)
    stage = np.random.default_rng(seed).permuted(np.tile(np.arange(n_stages), (runs, 1)), axis=1).ravel()[:n_markers]
    # Whole words of bits for every stage.
    size = 64 * n_stages * max(1, PART_MARKERS // (64 * n_stages))
    return tuple(
        tuple(start + np.flatnonzero(stage[start : start + size] == number) for number in range(n_stages))
        for start in range(0, n_markers, size)
    )


def _spreads(n_stages: int, missed: float) -> tuple[float, ...]:
    """Standard deviations for each stage: a share of what may be missed, of a sample without replacement."""
    if n_stages == 1:
        return (0.0,)
    deviates = NormalDist().inv_cdf(1.0 - missed / (n_stages - 1))
    return tuple(deviates * np.sqrt((n_stages - done) / (n_stages - 1)) for done in range(1, n_stages + 1))


def ancestry_basis(ancestry: Ancestry) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Components of all people, centred and orthonormal among those who define them; and who these are."""
    centred = ancestry.scores - ancestry.scores[ancestry.defining].mean(axis=0)
    _, sizes, turn = np.linalg.svd(centred[ancestry.defining], full_matrices=False)
    kept = sizes > 1e-9 * sizes.max(initial=0.0)
    return centred @ turn[kept].T / sizes[kept], ancestry.defining


def extract_all(
    shared: Shared, spec: KingSpec, executor: TaskRunner, tell: Callable[[str, int, int], None]
) -> Comparing:
    """Write the bits of all markers, and sum what is known of each person."""
    n, k = shared.basis.shape
    n_stages = len(shared.parts[0])
    called, squares, variance, fourth = np.zeros((4, n_stages, n))
    het, onto = np.zeros((n_stages, n), np.int64), np.zeros((n_stages, n, k))
    sums = PersonSums(het, called, squares, variance, fourth, onto)
    products = np.zeros((n_stages, k, k))
    expected_het = expected_opposite = 0.0
    markers = max(sum(map(len, part)) for part in shared.parts)
    memory = reading_memory(shared.store, n) + markers * 3 * row_bytes(n) + 4 * 4 * TILE_VALUES
    memory += n * (n_stages * 8 * (6 + k) + 4 * 4 * 8 + 16 * k)
    for done in run_committed(
        executor,
        extract,
        shared,
        [(number,) for number in range(len(shared.parts))],
        shared.folder,
        "part",
        memory_bytes=memory,
        on_done=lambda *numbers: tell("extract", *numbers),
    ):
        for name, total in sums._asdict().items():
            total += done[name]
        products += done["products"]
        expected_het += float(done["expected_het"])
        expected_opposite += float(done["expected_opposite"])
    return Comparing(
        shared,
        PersonSums(*(total.cumsum(axis=0) for total in sums)),
        products.cumsum(axis=0),
        _spreads(n_stages, spec.missed),
        spec.min_kinship,
        len(shared.rows) * expected_opposite / expected_het**2 if expected_het else 0.0,
    )
