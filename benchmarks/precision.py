"""What do sums in single precision cost? −log10 p against the same scan with sums in double precision.

Run by hand (a minute and 1 GB)::

    python benchmarks/precision.py --samples 20000 100000 500000

``tests/kernels/test_precision.py`` runs it small. The stated bound: ``|Δ −log10 p| <= 1e-4 max(1, −log10 p)``.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allscan.kernels.association import Missing, NullData, Precision, ScanOptions, Status
from allscan.kernels.block import GenotypeBlock, encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.linear import LINEAR
from allscan.kernels.missingness import missingness_patterns

Floats = NDArray[np.float64]

BOUND = 1e-4
# −log10 p that the planted effects aim at; all other pairs of variant and trait have none.
AIMS = (0.0, 2.0, 5.0, 8.0, 15.0, 30.0, 60.0, 100.0, 150.0, 200.0, 250.0, 300.0)
RANGES = (0.0, 1.0, 10.0, 50.0, 100.0, 200.0, 400.0)
# Units of the traits: grams where tonnes were meant, and the other way round.
SCALES = (1.0, 1e-8, 1e8)
RARE = (0.0005, 0.9995, 0.005, 0.995)


@dataclass(frozen=True)
class Cohort:
    """Genotypes, and traits of which each is affected by one variant."""

    block: GenotypeBlock
    data: NullData


@dataclass(frozen=True)
class Row:
    """Errors of the results whose −log10 p is in a range; infinite where a status differs."""

    samples: int
    missing: Missing
    low: float
    high: float
    count: int
    median: float  # |Δ −log10 p|
    worst: float
    worst_of_bound: float  # |Δ −log10 p| / (BOUND max(1, −log10 p))
    worst_beta: float  # |Δ beta| in standard errors


def make_cohort(samples: int, variants: int, traits: int, seed: int = 1) -> Cohort:
    """Rare and common variants, ALT frequency 0.02 to 0.98; covariates that correlate; traits in wild units.

    The covariates are a year, its square, principal components with which the frequencies of half of the variants
    change, and their sum with little noise. One variant in eight is imputed, and the last of them has hardly a REF
    allele; 0.2 % of genotypes are missing; three traits in four miss up to 10 % of the people.
    """
    rng = np.random.default_rng(seed)
    year, first, second = rng.normal(1960.0, 12.0, samples), rng.normal(size=samples), rng.normal(size=samples)
    noise = 0.05 * rng.normal(size=samples)
    covariates = np.column_stack(
        [np.ones(samples), year, year**2, rng.integers(0, 2, samples), first, second, first + second + noise]
    )
    frequency = np.concatenate([RARE, np.linspace(0.02, 0.98, variants - len(RARE))])
    frequency[-1] = RARE[1]
    calls = np.empty((variants, samples), np.int8)
    for v in range(variants):
        slope = 0.4 if v % 2 and v >= len(RARE) else 0.0
        odds = frequency[v] / (1.0 - frequency[v]) * np.exp(slope * first)
        calls[v] = rng.binomial(2, odds / (1.0 + odds))
    y = np.empty((samples, traits))
    for t in range(traits):
        y[:, t] = rng.normal(size=samples) + 0.2 * first + 0.01 * (year - 1960.0)
        cause = calls[t * variants // traits].astype(np.float64)
        # The statistic whose −log10 p is wanted, from that of the normal tail: log p is about −z² / 2.
        z = np.sqrt(2.0 * np.log(10.0) * AIMS[t // 2 % len(AIMS)])
        y[:, t] += z / np.sqrt(max(samples - z**2, 1.0)) * (cause - cause.mean()) / max(cause.std(), 1e-3)
        y[:, t] = (y[:, t] + 10.0) * SCALES[t % len(SCALES)]
        if t % 4:
            y[rng.random(samples) < rng.uniform(0.0, 0.1), t] = np.nan
    is_dosage = np.arange(variants) % 8 == 7
    dosage = np.zeros((variants, samples), np.float32)
    for v in range(variants):
        absent = rng.random(samples) < 0.002
        if is_dosage[v]:
            uncertain = rng.uniform(-0.3, 0.3, samples) * (calls[v] == 1)
            dosage[v] = np.rint(100.0 * (calls[v] + uncertain)) / 100.0
            dosage[v, absent] = np.nan
        calls[v, absent] = -1
    member, set_of_trait = missingness_patterns(y)
    names = tuple(f"c{j}" for j in range(covariates.shape[1]))
    data = NullData(y, covariates, names, np.ones(samples), member, set_of_trait)
    return Cohort(encode_block(calls, dosage, is_dosage), data)


def score(cohort: Cohort, missing: Missing, precision: Precision) -> dict[str, NDArray[Any]]:
    """Results, each (variants, traits)."""
    options = ScanOptions(missing=int(missing), precision=int(precision))
    null, _ = LINEAR.fit_null(cohort.data, options, {})
    shape = (cohort.block.n_variants, cohort.data.traits.shape[1])
    out: dict[str, NDArray[Any]] = {column.name: np.empty(shape) for column in LINEAR.columns(options)}
    out["status"] = np.empty(shape, np.uint8)
    counts = count_genotypes(cohort.block, sample_sets(cohort.data.member))
    LINEAR.score_block(cohort.block, counts, null, options, out)
    return out


def compare(cohort: Cohort, missing: Missing) -> list[Row]:
    """Errors by −log10 p; a range in which there is no result is left out."""
    single, double = (score(cohort, missing, precision) for precision in (Precision.FLOAT32, Precision.FLOAT64))
    differs = single["status"] != double["status"]
    tested = (double["status"] == Status.OK) | differs
    tail = np.nan_to_num(double["neg_log10_p"][tested])
    error = np.where(differs, np.inf, np.abs(single["neg_log10_p"] - double["neg_log10_p"]))[tested]
    beta = (np.abs(single["beta"] - double["beta"]) / double["standard_error"])[tested]
    rows = []
    for low, high in zip(RANGES, (*RANGES[1:], np.inf), strict=True):
        here = (tail >= low) & (tail < high)
        if here.any():
            of_bound = error[here] / (BOUND * np.maximum(1.0, tail[here]))
            rows.append(
                Row(
                    cohort.block.n_samples,
                    missing,
                    low,
                    high,
                    int(here.sum()),
                    float(np.median(error[here])),
                    float(error[here].max()),
                    float(of_bound.max()),
                    float(beta[here].max()),
                )
            )
    return rows


def show(rows: list[Row]) -> None:
    """Print a table."""
    heads = ("samples", "missing", "−log10 p", "results", "median |Δ|", "worst |Δ|", "of the bound", "worst |Δβ|/SE")
    widths = (8, 13, 10, 9, 12, 11, 14, 15)
    print("".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    for row in rows:
        tails = f"{row.low:g}–{row.high:g}" if np.isfinite(row.high) else f"{row.low:g}–"
        numbers = (f"{row.median:.1e}", f"{row.worst:.1e}", f"{row.worst_of_bound:.4f}", f"{row.worst_beta:.1e}")
        cells = (row.samples, row.missing.name.lower(), tails, row.count, *numbers)
        print("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[20_000, 100_000, 500_000])
    parser.add_argument("--variants", type=int, default=96)
    parser.add_argument("--traits", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    start = time.perf_counter()
    rows = []
    for samples in chosen.samples:
        cohort = make_cohort(samples, chosen.variants, chosen.traits, chosen.seed)
        rows += [row for missing in Missing for row in compare(cohort, missing)]
    show(rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{time.perf_counter() - start:.0f} s, at most {peak:.1f} GB of memory")
    if max(row.worst_of_bound for row in rows) > 1.0:
        raise SystemExit("The stated bound is broken.")


if __name__ == "__main__":
    main()
