"""Ancestry groups of admixed people, whose true shares of ancestry are known.

``python -m benchmarks.science.ancestry_groups`` simulates a cohort under a history of human populations, splits it, and
gives one half groups that are learned from the other (:mod:`allscan.engine.structure.groups`): once from people of the
same groups, African and Latin Americans among them, and once from people of hardly mixed descent alone, to whom the
admixed are strangers. It prints

* of people by their own group: how many are given each, and none;
* of people by their largest share of ancestry: how many are given a group, and how many of those the one of that share.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.ingest.pipeline import ingest
from allscan.engine.markers import MarkerRules, choose_markers
from allscan.engine.simulation.cohort import simulate_cohort
from allscan.engine.simulation.options import SimulationOptions
from allscan.engine.store import GenotypeStore, open_store
from allscan.engine.structure.groups import GroupSpec, InferredGroups, infer_groups
from allscan.engine.structure.pca import PcaSpec
from allscan.engine.structure.reference import place_among

GROUPS = {"EUR": 0.25, "AFR": 0.25, "AMR": 0.25, "EAS": 0.15, "SAS": 0.1}
SHARES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.97, 1.0)
HARDLY_MIXED = 0.95
FEWEST = 10
NONE = "none"


def simulate(folder: Path, samples: int, variants: int, seed: int) -> tuple[GenotypeStore, pd.DataFrame]:
    """A cohort, with the group and the shares of ancestry of each person."""
    options = SimulationOptions(
        samples=samples,
        variants=variants,
        groups=GROUPS,
        traits=1,
        components=2,
        relatedness=0.0,
        founder_haplotypes=3000,
        chromosomes=tuple(str(number) for number in range(1, 23)),
        seed=seed,
    )
    report = simulate_cohort(folder / "cohort", options)
    ingest([report.genotypes], folder / "cohort.zarr", executor=EmbeddedExecutor(1))
    store = open_store(folder / "cohort.zarr")
    people = pd.read_csv(report.folder / "samples.tsv", sep="\t", index_col="IID")
    return store, people.loc[store.sample_ids.tolist()]


def learned(
    store: GenotypeStore, reference: np.ndarray, labels: list[str], people: np.ndarray, folder: Path
) -> InferredGroups:
    """Groups of some people, learned from others (both rows of the store)."""
    one = EmbeddedExecutor(1)
    rows = choose_markers(store, reference, MarkerRules(), one).rows
    placed = place_among(store, rows, reference, store, people, PcaSpec(), one, folder, folder / "axes.parquet")
    return infer_groups(placed.reference, labels, placed.people, GroupSpec())


def given(found: InferredGroups) -> np.ndarray:
    """The name of each person's group."""
    return np.array([*found.labels, NONE])[found.codes]


def by_largest_share(group: np.ndarray, shares: pd.DataFrame) -> pd.DataFrame:
    """How many are given a group, and that of their largest share, by that share."""
    largest = shares.to_numpy().max(axis=1)
    own = shares.columns.to_numpy(str)[shares.to_numpy().argmax(axis=1)]
    part = pd.cut(largest, SHARES, include_lowest=True)
    inside = group != NONE
    table = pd.DataFrame({"people": 1, "given": inside, "right": inside & (group == own)}).groupby(part, observed=True)
    return table.sum().assign(share_given=lambda t: t.given / t.people, share_right=lambda t: t.right / t.given)


def experiment(
    folder: Path, *, samples: int, variants: int, seed: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Groups by own group, learned from the same groups; by own group and by largest share, from the hardly mixed."""
    store, people = simulate(folder, samples, variants, seed)
    first = np.sort(np.random.default_rng(seed).permutation(len(people))[: len(people) // 2])
    rest = np.setdiff1d(np.arange(len(people)), first)
    shares = people.filter(like="ancestry_").rename(columns=lambda name: name.removeprefix("ancestry_"))
    same = given(learned(store, first, people.group.iloc[first].tolist(), rest, folder / "same"))

    largest = shares.idxmax(axis=1).to_numpy(str)
    pure = first[shares.iloc[first].max(axis=1).to_numpy() > HARDLY_MIXED]
    names, counts = np.unique(largest[pure], return_counts=True)
    pure = pure[np.isin(largest[pure], names[counts >= FEWEST])]
    strangers = given(learned(store, pure, largest[pure].tolist(), rest, folder / "pure"))
    own = people.group.iloc[rest].to_numpy(str)
    return (
        pd.crosstab(own, same),
        pd.crosstab(own, strangers),
        by_largest_share(strangers, shares.iloc[rest]),
    )


def main() -> None:
    """Run, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--variants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for title, table in zip(
            ("from people of the same groups", "from the hardly mixed", "from the hardly mixed, by largest share"),
            experiment(Path(folder), samples=args.samples, variants=args.variants, seed=args.seed),
            strict=True,
        ):
            print(f"\n{title}\n{table.to_string(float_format=lambda value: f'{value:.3f}')}")


if __name__ == "__main__":
    main()
