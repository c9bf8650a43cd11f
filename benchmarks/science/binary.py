"""Are p-values of binary traits what they say? False positives and power of every test, balanced to very few cases.

People are admixed from two ancestries; alleles and prevalence both follow ancestry, prevalence also age and sex, and
all three are covariates (the ancestry as a perfect first component) beside components of noise. Traits are drawn given
the covariates; no variant has a part in them. Rare variants have a given number of copies, spread over people as their
ancestries say, many of them in one ancestry only. Rates are of all pairs of variant and trait: where a test gives no p
(Wald's where no case carries the allele), nothing is found.

Full regressions are too slow for all pairs. They see those whose score test says p < 0.05 and a random share of the
others, which counts for all of these.

A standard error is the larger of the binomial one at the nominal level, and one for rates that differ between variants
and between traits (clustered both ways, Cameron, Gelbach and Miller 2011, 10.1198/jbes.2010.07136): pairs that share
either are not independent.

Power: one variant for each trait, which it affects, and the share of them found at 5e-8. Run by hand::

    python -m benchmarks.science.binary --samples 50000 --variants 10000 --common-variants 2000 --json 50000.json
    python -m benchmarks.science.binary --samples 5000 --variants 20000 --full-variants 300 --json 5000.json
    python -m benchmarks.science.binary --samples 50000 --power
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from allscan.engine.association_tests import find_test
from allscan.kernels.block import GenotypeBlock, concatenate, encode_block, take
from benchmarks.science.scoring import null_data, score

Floats = NDArray[np.float64]
Calls = NDArray[np.int8]

LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
RATIOS = (1, 10, 100, 1000, 2000)
COMPONENTS = 6
CLASSES = {"5-20": (5, 20), "20-100": (20, 100), "100-1000": (100, 1000), "common": None}
"""Copies of the rarer allele; common: frequencies of 5 % to 50 %."""
BLOCK = 500
SCREEN, SHARE = 1.3, 0.02
"""−log10 p of the score test from which full regressions see a pair, and the share of others that they see."""
GENOME_WIDE = 5e-8


class Method(NamedTuple):
    """A test and its options."""

    test: str
    options: dict[str, object]


BY_PRODUCTS = {
    "score": Method("logistic", {"correction": "none"}),
    "saddlepoint": Method("logistic", {}),  # the default: saddlepoint, and exact with few carriers
    "approximate Firth": Method("logistic", {"correction": "firth"}),
}
IN_FULL = {"Wald": Method("logistic_wald", {}), "full Firth": Method("firth", {})}


@dataclass(frozen=True)
class Cell:
    """False positives of one test among variants and traits of one kind."""

    samples: int
    controls_per_case: int
    copies: str
    case_carriers: float  # expected of a variant, on average
    method: str
    traits: int
    tests: int
    rates: tuple[float, ...]  # at LEVELS
    errors: tuple[float, ...]

    @property
    def inflated(self) -> bool:
        """Whether a rate is above its level by more than three standard errors."""
        return any(rate > level + 3 * error for rate, error, level in zip(self.rates, self.errors, LEVELS, strict=True))


@dataclass(frozen=True)
class Power:
    """How many planted effects a test finds."""

    samples: int
    controls_per_case: int
    frequency: float
    odds_ratio: float
    method: str
    found: float


PLANTED = (
    (1, 0.2, 1.15),
    (10, 0.2, 1.27),
    (100, 0.2, 1.8),
    (1000, 0.2, 4.0),
    (1, 0.001, 6.0),
    (10, 0.001, 6.0),
    (100, 0.001, 14.0),
    (1000, 0.001, 50.0),
)
"""Controls per case, frequency and odds ratio: of each kind, effects of which some half can be found among 50,000."""


class People(NamedTuple):
    """Whom variants and traits are drawn for."""

    share: Floats  # (samples,) of the first ancestry
    covariates: Floats  # (samples, columns)
    log_odds: Floats  # (samples,) what the covariates make of prevalence


def simulate_people(rng: np.random.Generator, n: int) -> People:
    """Age, sex, and components, of which the first is the ancestry."""
    share = rng.beta(0.5, 0.5, n)
    age, sex = rng.normal(size=n), rng.integers(0, 2, n).astype(float)
    noise = rng.normal(size=(n, COMPONENTS - 1))
    covariates = np.column_stack([np.ones(n), age, sex, (share - share.mean()) / share.std(), noise])
    return People(share, covariates, 0.5 * age + 0.4 * sex + 1.2 * (share - share.mean()))


def rare_calls(rng: np.random.Generator, copies: tuple[int, int], variants: int, share: Floats) -> Calls:
    """Calls (variants, samples) with given numbers of copies, uniform in their logarithm."""
    low, high = np.log(copies[0]), np.log(copies[1])
    count = np.rint(np.exp(rng.uniform(low, high, variants))).astype(int)
    of_first, of_second = np.cumsum(share), np.cumsum(1.0 - share)
    first = rng.beta(0.5, 0.5, variants)
    chance = first * of_first[-1] / (first * of_first[-1] + (1.0 - first) * of_second[-1])
    calls = np.zeros((variants, len(share)), np.int8)
    for v in range(variants):
        from_first = rng.binomial(count[v], chance[v])
        for total, number in ((of_first, from_first), (of_second, count[v] - from_first)):
            np.add.at(calls[v], np.searchsorted(total, rng.random(number) * total[-1]), 1)
    return np.minimum(calls, 2)


def common_calls(rng: np.random.Generator, frequency: Floats, share: Floats) -> Calls:
    """Calls (variants, samples) at ancestral frequencies (variants,), from which both ancestries drifted."""
    drift = 0.1  # F_ST of each ancestry
    shape = (1 - drift) / drift
    of = np.clip(rng.beta(frequency * shape, (1 - frequency) * shape, (2, len(frequency))), 0.01, 0.99)
    chance = (of[0][:, None] * share + of[1][:, None] * (1 - share)).astype(np.float32)
    calls = np.zeros(chance.shape, np.int8)
    for _ in range(2):
        calls += rng.random(chance.shape, dtype=np.float32) < chance
    return calls


def log_odds_for(prevalence: float, log_odds: Floats) -> Floats:
    """The same with a constant that gives the prevalence."""
    low, high = -30.0, 30.0
    while high - low > 1e-9:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _expit(log_odds + middle).mean() < prevalence else (low, middle)
    return log_odds + low


def _expit(x: Floats) -> Floats:
    out: Floats = 1.0 / (1.0 + np.exp(-x))
    return out


def in_full(
    method: Method, traits: Floats, covariates: Floats, block: GenotypeBlock, chosen: NDArray[np.bool_]
) -> Floats:
    """−log10 p (variants, traits) of the chosen pairs by a regression in full; NaN elsewhere."""
    found = np.full(chosen.shape, np.nan)
    for t in range(traits.shape[1]):
        rows = np.flatnonzero(chosen[:, t])
        if len(rows):
            data = null_data(traits[:, [t]], covariates)
            _, few = score(find_test(method.test), data, [take(block, rows)], **method.options)
            found[rows, t] = few[:, 0]
    return found


def rate_and_error(hits: Floats, level: float) -> tuple[float, float]:
    """Rate of hits (variants, traits), which may count for several, and its standard error."""
    rate = float(hits.mean())
    off = hits - rate
    total = (off.sum(axis=1) ** 2).sum() + (off.sum(axis=0) ** 2).sum() - (off**2).sum()
    clustered = float(np.sqrt(max(0.0, total))) / hits.size
    return rate, max(clustered, float(np.sqrt(level * (1 - level) / hits.size)))


class Variants(NamedTuple):
    """Variants of one kind."""

    blocks: list[GenotypeBlock]
    carriers: float  # people who carry the allele, on average


def simulate_variants(
    rng: np.random.Generator, copies: tuple[int, int] | None, variants: int, share: Floats
) -> Variants:
    """Variants of a kind, a block at a time."""
    blocks, carriers = [], 0
    for first in range(0, variants, BLOCK):
        size = min(variants - first, BLOCK)
        if copies is None:
            calls = common_calls(rng, rng.uniform(0.05, 0.5, size), share)
        else:
            calls = rare_calls(rng, copies, size, share)
        blocks.append(encode_block(calls))
        carriers += int(np.count_nonzero(calls))
    return Variants(blocks, carriers / variants)


@dataclass(frozen=True)
class Size:
    """How many tests a cell has."""

    variants: int = 2000  # of each class of rare ones
    common_variants: int = 500
    full_variants: int = 0  # of each class, for regressions in full
    traits: int = 100


def calibrate(samples: int, ratios: tuple[int, ...], size: Size, seed: int) -> list[Cell]:
    """All tests in all cells, the same variants for all ratios."""
    rng = np.random.default_rng(seed)
    people = simulate_people(rng, samples)
    kinds = {
        name: simulate_variants(rng, copies, size.common_variants if copies is None else size.variants, people.share)
        for name, copies in CLASSES.items()
    }
    blocks = [block for kind in kinds.values() for block in kind.blocks]
    cells = []
    for ratio in ratios:
        chance = _expit(log_odds_for(1 / (1 + ratio), people.log_odds))
        y = (rng.random((samples, size.traits)) < chance[:, None]).astype(float)
        for method, of_all in _by_products(y, people.covariates, blocks).items():
            stop = 0
            for name, kind in kinds.items():
                start, stop = stop, stop + sum(block.n_variants for block in kind.blocks)
                p = of_all[start:stop]
                cells.append(_cell(samples, ratio, name, kind, method, p, np.where(np.isnan(p), np.nan, 1.0)))
                if method == "score" and size.full_variants:
                    told = _in_full(rng, y, people.covariates, kind.blocks, p[: size.full_variants])
                    cells += [_cell(samples, ratio, name, kind, *of) for of in told]
    return cells


def _by_products(y: Floats, covariates: Floats, blocks: list[GenotypeBlock]) -> dict[str, Floats]:
    """Each test's −log10 p, of all variants."""
    data = null_data(y, covariates)
    return {
        name: score(find_test(method.test), data, blocks, min_cases=1, **method.options)[1]
        for name, method in BY_PRODUCTS.items()
    }


def _in_full(
    rng: np.random.Generator, y: Floats, covariates: Floats, blocks: list[GenotypeBlock], of_score: Floats
) -> list[tuple[str, Floats, Floats]]:
    """Each test's −log10 p of pairs that it saw, and how many each counts for."""
    block = take(concatenate(blocks), np.arange(len(of_score)))
    likely = of_score >= SCREEN
    chosen = likely | (rng.random(likely.shape) < SHARE)
    weight = np.where(np.isnan(of_score), np.nan, np.where(likely, 1.0, 1.0 / SHARE))
    return [(name, in_full(method, y, covariates, block, chosen), weight) for name, method in IN_FULL.items()]


def _cell(
    samples: int, ratio: int, copies: str, kind: Variants, method: str, neg_log10_p: Floats, weight: Floats
) -> Cell:
    """Of the traits that have a null model."""
    fitted = ~np.isnan(weight).all(axis=0)
    p, weight = neg_log10_p[:, fitted], weight[:, fitted]
    told = [rate_and_error(np.where(p >= -np.log10(level), weight, 0.0), level) for level in LEVELS]
    rates, errors = (tuple(column) for column in zip(*told, strict=True))
    cell = Cell(samples, ratio, copies, kind.carriers / (1 + ratio), method, p.shape[1], p.size, rates, errors)
    print(row_of(cell), flush=True)
    return cell


def row_of(cell: Cell) -> str:
    """One line of the table: rates over their levels."""
    rates = [
        f"{rate / level:.2f} ± {error / level:.2f}"
        for rate, error, level in zip(cell.rates, cell.errors, LEVELS, strict=True)
    ]
    what = f"{cell.samples:,} | 1:{cell.controls_per_case} | {cell.copies} | {cell.case_carriers:.2g} | {cell.method}"
    marks = ", ".join(["discrete"] * (cell.case_carriers < 1) + ["inflated"] * cell.inflated)
    return f"| {what} | {cell.tests:,} | " + " | ".join(rates) + f" | {marks} |"


def measure_power(
    samples: int, traits: int, seed: int, planted: tuple[tuple[int, float, float], ...] = PLANTED
) -> list[Power]:
    """Shares of planted effects that each test finds."""
    rng = np.random.default_rng(seed)
    people = simulate_people(rng, samples)
    told = []
    for ratio, frequency, odds_ratio in planted:
        prevalence = 1 / (1 + ratio)
        if frequency < 0.01:
            copies = round(2 * samples * frequency)
            calls = rare_calls(rng, (copies, copies), traits, people.share)
        else:
            calls = common_calls(rng, np.full(traits, frequency), people.share)
        y = np.empty((samples, traits))
        for t in range(traits):
            log_odds = people.log_odds + np.log(odds_ratio) * calls[t]
            y[:, t] = rng.random(samples) < _expit(log_odds_for(prevalence, log_odds))
        block = encode_block(calls)
        own = np.eye(traits, dtype=bool)
        found = {name: p[own] for name, p in _by_products(y, people.covariates, [block]).items()}
        for name, method in IN_FULL.items():
            found[name] = in_full(method, y, people.covariates, block, own)[own]
        for name, p in found.items():
            share = float((p >= -np.log10(GENOME_WIDE)).mean())
            told.append(Power(samples, ratio, frequency, odds_ratio, name, share))
            print(f"| {samples:,} | 1:{ratio} | {frequency} | {odds_ratio} | {name} | {share:.3f} |", flush=True)
    return told


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--ratios", type=int, nargs="+", default=RATIOS, help="controls per case")
    parser.add_argument("--variants", type=int, default=Size.variants, help="of each class of rare ones")
    parser.add_argument("--common-variants", type=int, default=Size.common_variants)
    parser.add_argument("--full-variants", type=int, default=Size.full_variants, help="regressed in full")
    parser.add_argument("--traits", type=int, default=Size.traits)
    parser.add_argument("--power", action="store_true", help="power in place of false positives")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    given = parser.parse_args()
    if given.power:
        print("| people | cases:controls | frequency | odds ratio | test | found |\n" + "|---" * 6 + "|")
        told: list[Power] | list[Cell] = measure_power(given.samples, given.traits, given.seed)
    else:
        print("| people | cases:controls | copies | case carriers | test | tests | ", end="")
        print(" | ".join(f"p ≤ {level:g}" for level in LEVELS) + " | |\n" + "|---" * (7 + len(LEVELS)) + "|")
        size = Size(given.variants, given.common_variants, given.full_variants, given.traits)
        told = calibrate(given.samples, tuple(given.ratios), size, given.seed)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in told], indent=1) + "\n")


if __name__ == "__main__":
    main()
