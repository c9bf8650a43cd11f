"""Relatives in a cohort of two ancestries whose families mix: which are found, how well, and what it costs.

Families of three generations (:data:`benchmarks.science.relatives.PEDIGREE`: parents and children, siblings, second
degree, cousins), whose founders have any share of the two ancestries, beside people of either and of both. A founder's
chromosomes change ancestry every 12 cM or so, inheritance is by crossovers, and a fourth of the families have a pair of
twins. Markers are independent given ancestry, as after pruning.

The whole way is gone: KING-robust, the unrelated set, principal components of it, everybody else projected, kinship
adjusted for components, PC-Relate. Run by hand, with ``--plink2`` for its time and table on the same calls::

    python -m benchmarks.science.kinship --families 700 --singles 13000 --markers 50000 --workers 1 --plink2
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.store import GenotypeStore
from allscan.engine.structure.kinship import Ancestry, KingSpec, Kinship, Relationship, king_pairs
from allscan.engine.structure.pc_relate import relatives
from allscan.engine.structure.pca import PcaSpec, principal_components
from allscan.engine.structure.projection import project
from allscan.engine.structure.unrelated import unrelated_set
from benchmarks.science.relatives import PEDIGREE, pedigree_relatedness
from benchmarks.stores import write_pgen, write_store

Indices = NDArray[np.int64]

CHROMOSOMES, BINS = 22, 160  # of 1 cM
FOUNDERS = tuple(member for member, parents in enumerate(PEDIGREE) if parents is None)
TWIN = 6
"""Member of the pedigree who has a twin in some families."""
GENERATIONS = 8  # since ancestries met
DRIFT = 0.1
LEAST_FREQUENCY = 0.05
DEGREES = (
    Relationship.SAME,
    Relationship.PARENT_CHILD,
    Relationship.SIBLINGS,
    Relationship.SECOND,
    Relationship.THIRD,
)


@dataclass(frozen=True)
class Setting:
    """Of a cohort."""

    families: int
    singles: int
    markers: int
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Families:
    """People, families first, twins of their members next, then others; inheritance and ancestry in bins of 1 cM."""

    setting: Setting
    family: Indices  # (people,) -1: none
    member: Indices  # (people,) of the pedigree
    share: NDArray[np.float64]  # (people,) of the second ancestry, as it came out
    origin: NDArray[np.int8]  # (families, members, 2, bins) haplotype of the family's founders
    founder_ancestry: NDArray[np.bool_]  # (families, haplotypes, bins)
    single_ancestry: NDArray[np.bool_]  # (singles, 2, bins)

    @property
    def n_people(self) -> int:
        """All of them."""
        return len(self.family)

    def relationship(self, first: Indices, second: Indices) -> NDArray[np.int8]:
        """What pairs are by their pedigree."""
        kind = true_relationships()[self.member[first], self.member[second]]
        apart = (self.family[first] != self.family[second]) | (self.family[first] < 0)
        return np.where(apart, np.int8(Relationship.UNRELATED), kind)

    def pairs_of(self, kind: Relationship) -> set[tuple[int, int]]:
        """All pairs of a kind."""
        order = np.argsort(self.family, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(self.family[order])) + 1)
        found = set()
        for people in groups:
            if self.family[people[0]] < 0:
                continue
            i, j = np.triu_indices(len(people), 1)
            which = self.relationship(people[i], people[j]) == kind
            found |= set(zip(people[i[which]].tolist(), people[j[which]].tolist(), strict=True))
        return found

    def blocks(self, size: int) -> Iterator[NDArray[np.int8]]:
        """Calls (markers, people), some markers at a time."""
        setting = self.setting
        rng = np.random.default_rng([setting.seed, 2])
        for start in range(0, setting.markers, size):
            markers = min(size, setting.markers - start)
            at = (np.arange(start, start + markers) * CHROMOSOMES * BINS) // setting.markers
            ancestral = rng.uniform(LEAST_FREQUENCY, 1 - LEAST_FREQUENCY, markers)
            spread = (1 - DRIFT) / DRIFT
            own = rng.beta(ancestral * spread, (1 - ancestral) * spread, (2, markers)).astype(np.float32)
            alleles = self._alleles(rng, own, self.founder_ancestry[:, :, at])
            related = np.zeros((setting.families, len(PEDIGREE), markers), np.int8)
            for copy in range(2):
                related += np.take_along_axis(alleles, self.origin[:, :, copy, at].astype(np.intp), axis=1)
            twins = related[::4, TWIN]
            singles = self._alleles(rng, own, self.single_ancestry[:, :, at]).sum(axis=1, dtype=np.int8)
            people = np.concatenate([related.reshape(-1, markers), twins, singles])
            yield np.ascontiguousarray(people.T)

    @staticmethod
    def _alleles(
        rng: np.random.Generator, frequency: NDArray[np.float32], ancestry: NDArray[np.bool_]
    ) -> NDArray[np.int8]:
        drawn = rng.random(ancestry.shape, dtype=np.float32)
        return (drawn < np.where(ancestry, frequency[1], frequency[0])).astype(np.int8)


@cache
def true_relationships() -> NDArray[np.int8]:
    """Kinds of pairs of members, shape (members, members)."""
    kinship = pedigree_relatedness() / 2
    kinds = np.zeros(kinship.shape, np.int8)
    for degree, value in ((Relationship.SECOND, 0.125), (Relationship.THIRD, 0.0625), (Relationship.SIBLINGS, 0.25)):
        kinds[kinship == value] = degree
    for child, parents in enumerate(PEDIGREE):
        for parent in parents or ():
            kinds[child, parent] = kinds[parent, child] = Relationship.PARENT_CHILD
    np.fill_diagonal(kinds, Relationship.SAME)
    return kinds


def draw_families(setting: Setting) -> Families:
    """Draw people, ancestries and inheritance."""
    rng = np.random.default_rng([setting.seed, 1])
    haplotypes = 2 * len(FOUNDERS)
    founder_shares = np.repeat(_shares(rng, (setting.families, len(FOUNDERS))), 2, axis=1)
    founder_ancestry = _mosaic(rng, founder_shares)
    single_ancestry = _mosaic(rng, np.repeat(_shares(rng, (setting.singles, 1)), 2, axis=1))
    origin = np.empty((setting.families, len(PEDIGREE), 2, CHROMOSOMES * BINS), np.int8)
    for member, parents in enumerate(PEDIGREE):
        for copy in range(2):
            if parents is None:
                origin[:, member, copy] = 2 * FOUNDERS.index(member) + copy
            else:
                parent = origin[:, parents[copy]]
                origin[:, member, copy] = np.where(_crossovers(rng, setting.families), parent[:, 1], parent[:, 0])
    assert origin.max(initial=0) < haplotypes
    twins = np.arange(0, setting.families, 4)
    family = np.concatenate(
        [np.repeat(np.arange(setting.families), len(PEDIGREE)), twins, np.full(setting.singles, -1)]
    )
    member = np.concatenate(
        [np.tile(np.arange(len(PEDIGREE)), setting.families), np.full(len(twins), TWIN), np.zeros(setting.singles, int)]
    )
    of_haplotype = founder_ancestry.mean(axis=2)
    per_bin = np.empty((setting.families, len(PEDIGREE)))
    for who in range(len(PEDIGREE)):
        local = np.take_along_axis(founder_ancestry, origin[:, who].astype(np.intp), axis=1)
        per_bin[:, who] = local.mean(axis=(1, 2))
    assert of_haplotype.shape == (setting.families, haplotypes)
    share = np.concatenate([per_bin.ravel(), per_bin[::4, TWIN], single_ancestry.mean(axis=(1, 2))])
    return Families(setting, family, member, share, origin, founder_ancestry, single_ancestry)


def recall(families: Families, first: Indices, second: Indices, kind: Relationship) -> float:
    """Share of the pairs of a kind that are among some pairs."""
    wanted = families.pairs_of(kind)
    lower, upper = np.minimum(first, second), np.maximum(first, second)
    found = set(zip(lower.tolist(), upper.tolist(), strict=True))
    return len({(min(pair), max(pair)) for pair in wanted} & found) / len(wanted) if wanted else float("nan")


def _shares(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Shares of the second ancestry: a third of the people of one, a third of the other, a third of both."""
    kind = rng.integers(0, 3, shape)
    return np.select([kind == 0, kind == 1], [0.0, 1.0], rng.beta(2.0, 2.0, shape))


def _mosaic(rng: np.random.Generator, share: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Ancestry of haplotypes along the genome: (people, haplotypes) shares to (people, haplotypes, bins)."""
    out = np.empty((*share.shape, CHROMOSOMES * BINS), np.bool_)
    now = rng.random(share.shape) < share
    for place in range(out.shape[2]):
        anew = rng.random(share.shape) < (1.0 if place % BINS == 0 else GENERATIONS / 100)
        now = np.where(anew, rng.random(share.shape) < share, now)
        out[:, :, place] = now
    return out


def _crossovers(rng: np.random.Generator, number: int) -> NDArray[np.bool_]:
    """Which of a parent's two haplotypes a child has, shape (number, bins)."""
    change = rng.random((number, CHROMOSOMES * BINS)) < 0.01
    change[:, ::BINS] = rng.random((number, CHROMOSOMES)) < 0.5
    return np.logical_xor.accumulate(change, axis=1)


class Found(NamedTuple):
    """Of one method."""

    method: str
    recall: tuple[float, ...]  # of DEGREES
    others: int  # pairs that are no relatives, or more distant ones
    told_apart: float  # share of the first-degree relatives and twins whose kind is right
    seconds: float  # of CPU
    memory: int  # bytes, the largest that the process had


class Outcome(NamedTuple):
    """Of the whole way."""

    found: list[Found]
    screens: list[Kinship]
    n_unrelated: int  # by PC-Relate
    optimal: bool


def go(families: Families, store: GenotypeStore, work: Path, workers: int, spec: KingSpec | None = None) -> Outcome:
    """KING-robust, unrelated set, components, adjusted kinship, PC-Relate."""
    spec = spec or KingSpec()
    executor = EmbeddedExecutor(workers)
    rows, people = np.arange(store.n_variants), np.arange(store.n_samples)
    found = []

    def tell(method: str, first: Indices, second: Indices, kinds: NDArray[np.int8], since: float) -> None:
        truth = families.relationship(first, second)
        close = np.isin(truth, (Relationship.SAME, Relationship.PARENT_CHILD, Relationship.SIBLINGS))
        found.append(
            Found(
                method,
                tuple(recall(families, first, second, kind) for kind in DEGREES),
                int((truth == Relationship.UNRELATED).sum()),
                float((kinds == truth)[close].mean()) if close.any() else float("nan"),
                time.process_time() - since,
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            )
        )

    since = time.process_time()
    robust = king_pairs(store, rows, people, spec, executor, work)
    tell("KING-robust", robust.pairs.first, robust.pairs.second, robust.pairs.relationship, since)
    apart = unrelated_set(len(people), robust.pairs.first, robust.pairs.second, divergent=robust.divergent)
    defining = np.flatnonzero(apart.kept)
    components = principal_components(store, rows, defining, PcaSpec(components=2), executor, work)
    scores = np.empty((len(people), components.scores.shape[1]))
    scores[defining] = components.scores
    others = np.flatnonzero(~apart.kept)
    scores[others] = project(store, components.axes, others, executor).scores
    ancestry = Ancestry(scores, apart.kept)
    since = time.process_time()
    adjusted = king_pairs(store, rows, people, spec, executor, work, ancestry=ancestry)
    tell("adjusted for components", adjusted.pairs.first, adjusted.pairs.second, adjusted.pairs.relationship, since)
    since = time.process_time()
    exact = relatives(store, rows, people, ancestry, spec, executor, work)
    tell("PC-Relate", exact.pairs.first, exact.pairs.second, exact.relationship, since)
    final = unrelated_set(len(people), exact.pairs.first, exact.pairs.second, divergent=robust.divergent)
    return Outcome(found, [robust, adjusted, exact.screen], int(final.kept.sum()), final.optimal)


def plink2_table(families: Families, folder: Path, least: float) -> tuple[float, set[tuple[int, int]]]:
    """CPU seconds of PLINK 2 on the same calls, and the pairs of its table."""
    program = shutil.which("plink2")
    assert program is not None, "plink2 is not on the path"
    prefix = folder / "cohort"
    write_pgen(prefix.with_suffix(".pgen"), families.blocks(1000), families.setting.markers, families.n_people)
    names = "".join(f"s{i}\n" for i in range(families.n_people))
    prefix.with_suffix(".psam").write_text("#IID\n" + names)
    lines = (f"1\t{v + 1}\tv{v}\tA\tC\n" for v in range(families.setting.markers))
    prefix.with_suffix(".pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "".join(lines))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [program, "--pfile", str(prefix), "--make-king-table", "--king-table-filter", repr(least)]
    subprocess.run([*command, "--threads", "1", "--out", str(folder / "plink")], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = [line.split() for line in (folder / "plink.kin0").read_text().splitlines()[1:]]
    pairs = {(min(a, b), max(a, b)) for a, b in ((int(row[0][1:]), int(row[1][1:])) for row in rows)}
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, pairs


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=int, default=700)
    parser.add_argument("--singles", type=int, default=13_000)
    parser.add_argument("--markers", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--plink2", action="store_true", help="run PLINK 2 beside")
    parser.add_argument("--exact", action="store_true", help="run KING-robust without a screen, too")
    parser.add_argument("--folder", type=Path, default=None, help="for the store; without: a temporary one")
    given = parser.parse_args()
    families = draw_families(Setting(given.families, given.singles, given.markers, given.seed))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        write_store(folder / "store.zarr", families.blocks(1000), given.markers, families.n_people)
        store = GenotypeStore(folder / "store.zarr")
        spec = KingSpec()
        outcome = go(families, store, folder / "work", given.workers, spec)
        kinds = " | ".join(kind.name.lower().replace("_", " ") for kind in DEGREES)
        print(f"{families.n_people:,} people, {given.markers:,} markers")
        print(f"| method | recall: {kinds} | others | told apart | CPU s | memory MB | counted |")
        print("|---" * (len(DEGREES) + 6) + "|")
        for row, screen in zip(outcome.found, outcome.screens, strict=True):
            shares = " | ".join(f"{share:.4f}" for share in row.recall)
            print(
                f"| {row.method} | {shares} | {row.others:,} | {row.told_apart:.4f} | {row.seconds:.0f} "
                f"| {row.memory / 1e6:.0f} | {screen.n_counted / screen.n_compared:.2%} |"
            )
        print(f"unrelated: {outcome.n_unrelated:,}, optimal: {outcome.optimal}")
        robust = outcome.screens[0].pairs
        mine = set(zip(robust.first.tolist(), robust.second.tolist(), strict=True))
        if given.exact:
            since = time.process_time()
            people = np.arange(store.n_samples)
            whole = replace(spec, screen_markers=None)
            executor = EmbeddedExecutor(given.workers)
            exact = king_pairs(store, np.arange(store.n_variants), people, whole, executor, folder / "work").pairs
            all_of_them = set(zip(exact.first.tolist(), exact.second.tolist(), strict=True))
            seconds = time.process_time() - since
            print(f"without a screen: {seconds:.0f} s of CPU, {len(all_of_them - mine)} of {len(exact):,} pairs more")
        if given.plink2:
            seconds, theirs = plink2_table(families, folder, float(spec.min_kinship or 0.0))
            print(f"PLINK 2: {seconds:.0f} s of CPU, {len(theirs):,} pairs, {len(theirs ^ mine)} differ")


if __name__ == "__main__":
    main()
