"""Measure a simulated cohort from its files: spectrum, LD decay, F_ST, HWE, kinship, components, causal variants.

    python benchmarks/simulation/validate.py FOLDER

Everything is computed anew from the .pgen and the tables, by textbook formulas and without code of
allscan. The figures of docs/guide/simulation.md come from here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pgenlib
from scipy.stats import chi2

MOST_PEOPLE = 2000
MOST_VARIANTS = 12_000
rng = np.random.default_rng(1)


def read_calls(folder: Path, variants: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Calls of some variants and people as float64, NaN missing, shape (variants, people)."""
    reader = pgenlib.PgenReader(str(folder / "genotypes.pgen").encode(), sample_subset=people.astype(np.uint32))
    calls = np.empty((len(variants), len(people)), dtype=np.int8)
    for row, variant in enumerate(variants):
        reader.read(int(variant), calls[row])
    reader.close()
    return np.where(calls < 0, np.nan, calls.astype(np.float64))


def spectrum(folder: Path, n_variants: int, n_samples: int) -> None:
    reader = pgenlib.PgenReader(str(folder / "genotypes.pgen").encode())
    buffer = np.empty(4, dtype=np.uint32)
    counts = np.empty((n_variants, 4), dtype=np.int64)
    for variant in range(n_variants):
        reader.count(variant, buffer)
        counts[variant] = buffer
    called = counts[:, :3].sum(axis=1)
    copies = counts[:, 1] + 2 * counts[:, 2]
    minor = np.minimum(copies, 2 * called - copies)
    frequency = minor / (2 * called)
    edges = [0, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5001]
    shares = np.histogram(frequency, edges)[0] / n_variants
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        print(f"spectrum: MAF {low:g} to {high:g}: {share:.4f}")
    print(f"spectrum: minor allele count 1: {np.mean(minor == 1):.4f}, 2: {np.mean(minor == 2):.4f}, "
          f"at most 0.1 % of samples: {np.mean(minor <= 0.001 * n_samples):.4f}")  # fmt: skip
    print(f"missing calls: mean {1 - called.mean() / n_samples:.5f}, worst variant {1 - called.min() / n_samples:.3f}")


def ld_decay(calls: np.ndarray, position: np.ndarray, chromosome: np.ndarray, name: str) -> None:
    frequency = np.nanmean(calls, axis=1) / 2
    keep = np.flatnonzero((frequency >= 0.05) & (frequency <= 0.95))
    edges = np.array([0, 1e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6])
    total, number = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    filled = np.where(np.isnan(calls), 2 * frequency[:, None], calls)
    standard = filled - filled.mean(axis=1, keepdims=True)
    standard /= np.sqrt((standard**2).sum(axis=1, keepdims=True)).clip(1e-12)
    for first in keep:
        others = keep[(keep > first) & (chromosome[keep] == chromosome[first])]
        others = others[position[others] - position[first] < edges[-1]]
        r2 = (standard[others] @ standard[first]) ** 2
        bins = np.searchsorted(edges, position[others] - position[first], side="right") - 1
        total += np.bincount(bins, r2, len(total))
        number += np.bincount(bins, minlength=len(total))
    for low, high, mean in zip(edges[:-1], edges[1:], total / np.maximum(number, 1), strict=True):
        print(f"LD in {name}: {low / 1e3:g} to {high / 1e3:g} kb: mean r2 {mean:.4f}")


def f_st(by_group: dict[str, np.ndarray]) -> None:
    names = list(by_group)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            p, q = (np.nanmean(by_group[name], axis=1) / 2 for name in (one, other))
            n, m = (2 * by_group[name].shape[1] for name in (one, other))
            between = (p - q) ** 2 - p * (1 - p) / (n - 1) - q * (1 - q) / (m - 1)
            print(f"F_ST {one}-{other}: {between.sum() / (p * (1 - q) + q * (1 - p)).sum():.4f}")


def hardy_weinberg(calls: np.ndarray, name: str) -> None:
    frequency = np.nanmean(calls, axis=1) / 2
    calls = calls[(frequency > 0.05) & (frequency < 0.95)]
    frequency = frequency[(frequency > 0.05) & (frequency < 0.95)]
    n = np.isfinite(calls).sum(axis=1)
    excess = 1 - (calls == 1).sum(axis=1) / n / (2 * frequency * (1 - frequency))
    p = chi2.sf(n * excess**2, 1)
    print(f"HWE in {name}: mean inbreeding {excess.mean():+.4f}, share of p < 0.05: {np.mean(p < 0.05):.4f}, "
          f"p < 1e-6: {np.mean(p < 1e-6):.5f}")  # fmt: skip


def kinship(folder: Path, samples: pd.DataFrame, variants: np.ndarray) -> None:
    """KING-robust (doi:10.1093/bioinformatics/btq559) of families, and of pairs of strangers."""
    row = {iid: number for number, iid in enumerate(samples["IID"])}
    parent_child, siblings = [], []
    for number, line in enumerate(samples.itertuples()):
        parent_child += [(number, row[parent]) for parent in (line.father, line.mother) if parent in row]
    families = samples[(samples["father"] != "0")].groupby("family").groups
    siblings = [(int(rows[0]), int(rows[1])) for rows in families.values() if len(rows) == 2]
    alone = samples[samples["unrelated"] == 1]
    strangers = []
    for rows in alone.groupby("group").groups.values():
        chosen = rng.choice(rows.to_numpy(), (100, 2))
        strangers += [(int(a), int(b)) for a, b in chosen if a != b]
    for name, pairs in (("parent-child", parent_child), ("siblings", siblings), ("strangers", strangers)):
        pairs = pairs[:400]
        people = np.unique(np.array(pairs))
        calls = read_calls(folder, variants, people)
        index = {person: number for number, person in enumerate(people.tolist())}
        values = []
        for one, other in pairs:
            a, b = calls[:, index[one]], calls[:, index[other]]
            both = ((a == 1) & (b == 1)).sum()
            opposite = (np.abs(a - b) == 2).sum()
            values.append((both - 2 * opposite) / ((a == 1).sum() + (b == 1).sum()))
        print(f"kinship of {name}: mean {np.mean(values):.4f}, sd {np.std(values):.4f} ({len(values)} pairs)")


def components(folder: Path, samples: pd.DataFrame) -> None:
    covariates = pd.read_csv(folder / "covariates.tsv", sep="\t", keep_default_na=False)
    axes = [column for column in covariates if column.startswith("pc")]
    group = covariates["group"].to_numpy()
    for axis in axes:
        values = covariates[axis].to_numpy()
        means = pd.Series(values).groupby(group).transform("mean")
        print(f"{axis}: share of its variance between groups {means.var() / values.var():.4f}")
    shares = samples[[column for column in samples if column.startswith("ancestry_")]].to_numpy()
    design = np.column_stack([np.ones(len(group)), covariates[axes[:4]].to_numpy()])
    fit = design @ np.linalg.lstsq(design, shares, rcond=None)[0]
    for number, column in enumerate(c for c in samples if c.startswith("ancestry_")):
        left = shares[:, number] - fit[:, number]
        print(f"{column} from pc1 to pc4: R2 {1 - left.var() / shares[:, number].var():.4f}")
    for label, rows in samples.groupby("group").groups.items():
        for name in (column for column in samples if column.startswith("ancestry_")):
            values = samples.loc[rows, name]
            print(f"{name} in {label}: mean {values.mean():.3f}, sd {values.std():.3f}")


def main(folder: Path) -> None:
    pvar = pd.read_csv(folder / "genotypes.pvar", sep="\t", comment="#", header=None, dtype={0: str})
    chromosome, position = pvar[0].to_numpy(), pvar[1].to_numpy()
    samples = pd.read_csv(folder / "samples.tsv", sep="\t", dtype={"father": str, "mother": str}, keep_default_na=False)
    n_variants, n_samples = len(pvar), len(samples)
    spectrum(folder, n_variants, n_samples)
    autosomal = np.flatnonzero(chromosome != "X")
    chosen = autosomal[:MOST_VARIANTS] if len(autosomal) > MOST_VARIANTS else autosomal
    spread = np.sort(rng.choice(autosomal, min(MOST_VARIANTS, len(autosomal)), replace=False))
    alone = samples[samples["unrelated"] == 1]
    by_group = {}
    for label, rows in alone.groupby("group").groups.items():
        people = np.sort(rng.permutation(rows.to_numpy())[:MOST_PEOPLE])
        by_group[label] = read_calls(folder, spread, people)
        ld_decay(
            read_calls(folder, chosen[:6000], people[:1000]), position[chosen[:6000]], chromosome[chosen[:6000]], label
        )
        hardy_weinberg(by_group[label], label)
    f_st(by_group)
    pooled = np.concatenate(list(by_group.values()), axis=1)
    frequency = np.nanmean(pooled, axis=1) / 2
    kinship(folder, samples, spread[(frequency > 0.05) & (frequency < 0.95)])
    components(folder, samples)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
