"""Is the linear test honest? Rates of false positives under the null, and power against theory.

Run by hand::

    python benchmarks/calibration.py --samples 5000 --variants 4000 --traits 100 --replicates 1000

``tests/reference/test_calibration.py`` runs it small. Everything goes through store, plan, scan and results cube.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.design import Design, pooled
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.result_dataset import open_results
from allscan.engine.results import ResultsCube
from allscan.engine.scan import run_scan
from allscan.engine.store import open_store
from allscan.kernels.association import Missing
from benchmarks.stores import write_store

Floats = NDArray[np.float64]

LEVELS = (1e-2, 1e-3, 1e-4)
POWER_LEVEL = 1e-4
TARGET_POWER = 0.6
# Bounds that a right program leaves once in a million.
CONFIDENCE = 1 - 1e-6


@dataclass(frozen=True)
class Rate:
    """How often p fell below a level, and between which counts a right program stays."""

    what: str
    level: float
    observed: int
    expected: float
    lower: int
    upper: int

    @property
    def is_right(self) -> bool:
        """Whether the count is inside its bounds."""
        return self.lower <= self.observed <= self.upper


@dataclass(frozen=True)
class Uniformity:
    """Kolmogorov and Smirnov's test of uniform p-values."""

    what: str
    n: int
    p: float


def scan(calls: NDArray[np.int8], traits: Floats, covariates: Floats, missing: Missing, folder: Path) -> ResultsCube:
    """Scan calls (variants, samples) for traits (samples, traits)."""
    write_store(folder / "store.zarr", [calls], *calls.shape)
    store = open_store(folder / "store.zarr")
    design = Design(
        np.arange(len(traits)),
        traits,
        tuple(f"t{k}" for k in range(traits.shape[1])),
        covariates,
        tuple(f"c{k}" for k in range(covariates.shape[1])),
        store.sample_sex,
    )
    spec = ScanSpec(missing=missing)
    plan = plan_scan(store, pooled(design), spec, workers=1, memory_bytes=8 << 30)
    run_scan(plan, store, pooled(design), spec, EmbeddedExecutor(1), folder / "run")
    return ResultsCube.open(folder / "run")


def p_values(cube: ResultsCube) -> Floats:
    """(variants, traits), NaN where there is no result."""
    neg_log10_p: Floats = open_results(cube.path.parent)["neg_log10_p"].values[0].T.astype(float)
    return 10.0**-neg_log10_p


def genotypes(rng: np.random.Generator, frequency: Floats, n: int, missing_rate: float) -> NDArray[np.int8]:
    """Calls in Hardy-Weinberg proportions, (variants, samples), some missing at random."""
    calls = rng.binomial(2, frequency[:, None], (len(frequency), n)).astype(np.int8)
    calls[rng.random(calls.shape) < missing_rate] = -1
    return calls


def within(p: float, trials: int) -> tuple[int, int]:
    """Counts between which a binomial variable stays."""
    tail = (1 - CONFIDENCE) / 2
    return int(stats.binom.ppf(tail, trials, p)), int(stats.binom.isf(tail, trials, p))


def null_calibration(
    samples: int, variants: int, traits: int, missing: Missing, seed: int, folder: Path
) -> tuple[list[Rate], list[Uniformity]]:
    """Normal traits that no variant affects: p must be uniform at every frequency.

    A third of the variants is common, a third has a frequency of 1 %, a third has about ten copies; 3 % of the
    genotypes and 10 % of every second trait are missing.
    """
    rng = np.random.default_rng(seed)
    kinds = {"common, 30 %": 0.3, "low, 1 %": 0.01, "rare, 10 copies": 5 / samples}
    frequency = np.repeat(list(kinds.values()), variants // 3)
    calls = genotypes(rng, frequency, samples, 0.03)
    covariates = np.column_stack([np.ones(samples), rng.normal(50, 10, samples), rng.integers(0, 2, samples)])
    y = rng.normal(size=(samples, traits)) + covariates @ rng.normal(size=(3, traits))
    y[:, ::2][rng.random((samples, len(range(0, traits, 2)))) < 0.1] = np.nan
    p = p_values(scan(calls, y, covariates, missing, folder))
    rates, tests = [], []
    for name, value in kinds.items():
        values = p[frequency == value].ravel()
        values = values[np.isfinite(values)]
        tests.append(Uniformity(name, len(values), float(stats.kstest(values, "uniform").pvalue)))
        for level in LEVELS:
            bounds = within(level, len(values))
            rates.append(Rate(name, level, int((values < level).sum()), level * len(values), *bounds))
    return rates, tests


def power(samples: int, replicates: int, missing: Missing, seed: int, folder: Path) -> list[Rate]:
    """Traits with one planted effect: how often it is found against the non-central t distribution.

    The non-centrality is ``β √x / σ`` with ``x`` the genotype's sum of squares after the covariates. A missing
    genotype at its mean leaves its effect in the noise: ``σ² = 1 + β² Var(g) m`` with a fraction ``m`` missing.
    """
    rng = np.random.default_rng(seed)
    scenarios = [(f, m) for f in (0.3, 0.02, 10 / samples) for m in (0.0, 0.1)]
    covariates = np.column_stack([np.ones(samples), rng.normal(size=samples)])
    basis, _ = np.linalg.qr(covariates)
    whole = np.vstack([genotypes(rng, np.array([f]), samples, 0.0) for f, _ in scenarios])
    calls = whole.copy()
    for row, (_, rate) in zip(calls, scenarios, strict=True):
        row[rng.random(samples) < rate] = -1
    df = samples - 3
    critical = stats.t.isf(POWER_LEVEL / 2, df)
    traits, expected = [], []
    for k, (_, rate) in enumerate(scenarios):
        called = calls[k] >= 0
        g = np.where(called, calls[k], calls[k][called].mean()).astype(float)
        x = float(g @ g - np.sum((basis.T @ g) ** 2))
        if missing == Missing.EXCLUDE:
            q, _ = np.linalg.qr(covariates[called])
            x = float(g[called] @ g[called] - np.sum((q.T @ g[called]) ** 2))
            df_used, noise = int(called.sum()) - 3, 0.0
        else:
            df_used, noise = df, rate * float(np.var(whole[k]))
        # Solve for the effect that is found as often as wanted: normal approximation, then the exact power.
        wanted = critical - stats.norm.isf(TARGET_POWER)
        beta = wanted / np.sqrt(x - wanted**2 * noise)
        delta = beta * np.sqrt(x / (1 + beta**2 * noise))
        edge = stats.t.isf(POWER_LEVEL / 2, df_used)
        expected.append(float(stats.nct.sf(edge, df_used, delta) + stats.nct.cdf(-edge, df_used, delta)))
        y = rng.normal(size=(samples, replicates)) + beta * whole[k][:, None].astype(float)
        traits.append(y + covariates[:, 1:] * 0.5)
    p = p_values(scan(calls, np.hstack(traits), covariates, missing, folder))
    rates = []
    for k, (f, rate) in enumerate(scenarios):
        found = int((p[k, k * replicates : (k + 1) * replicates] < POWER_LEVEL).sum())
        name = f"frequency {f:.4g}, {rate:.0%} missing"
        bounds = within(expected[k], replicates)
        rates.append(Rate(name, POWER_LEVEL, found, expected[k] * replicates, *bounds))
    return rates


def show(title: str, rates: list[Rate]) -> None:
    """Print a table."""
    print(f"\n{title}\n{'':32}{'level':>8}{'observed':>10}{'expected':>11}   bounds")
    for rate in rates:
        verdict = "" if rate.is_right else "   WRONG"
        print(
            f"{rate.what:32}{rate.level:8.0e}{rate.observed:10d}{rate.expected:11.1f}   "
            f"{rate.lower}–{rate.upper}{verdict}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--variants", type=int, default=3000)
    parser.add_argument("--traits", type=int, default=60)
    parser.add_argument("--replicates", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    for missing in Missing:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "null").mkdir()
            (Path(name) / "power").mkdir()
            rates, tests = null_calibration(
                chosen.samples, chosen.variants, chosen.traits, missing, chosen.seed, Path(name) / "null"
            )
            show(f"False positives, missing genotypes: {missing.name.lower()}", rates)
            for test in tests:
                print(f"{test.what:32}{test.n:8d} p-values, uniform: p = {test.p:.3g}")
            found = power(chosen.samples, chosen.replicates, missing, chosen.seed, Path(name) / "power")
            show(f"Power, missing genotypes: {missing.name.lower()}", found)


if __name__ == "__main__":
    main()
