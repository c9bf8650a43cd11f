"""Traits whose truth is known: effects, genetic values, confounders, missing values; cases by liability."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import norm

from allscan.engine.design import MALE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.simulation.genome import Region
    from allscan.engine.simulation.options import SimulationOptions
    from allscan.engine.simulation.regions import RegionCalls

TRAITS_PER_FAMILY = 3
"""Traits of one family share causal variants and part of their residuals."""

MISSING_PATTERNS = ("random", "panel", "panel", "group", "age", "complete")
"""Of trait 1, 2, …, again from the start after the last.

random: each value alike; panel: the two neighbours are measured in the same people; group: some groups
are measured less; age: the old are measured less; complete: nothing missing.
"""


class Truth(NamedTuple):
    """One causal variant of one trait."""

    trait: int
    chromosome: str
    position: int
    variant_id: str
    ref: str
    alt: str
    effect: float  # per copy of ALT, in units of the trait or of the liability
    frequency: float  # of ALT
    genotype_variance: float
    kind: str  # "large" or "polygenic"


@dataclass(frozen=True)
class CausalPlan:
    """Where causal variants lie, decided before the genotypes exist."""

    small: tuple[NDArray[np.int64], ...]  # per region: rows with small effects
    large: tuple[tuple[int, ...], ...]  # per region: the traits that get a large effect there


@dataclass(frozen=True)
class CohortTraits:
    """Traits of everybody, and how they came about; the quantitative ones first, then the binary ones."""

    values: NDArray[np.float64]  # (samples, traits) NaN = missing; of a binary trait 0 and 1
    variance: NDArray[np.float64]  # (traits,) that effects are a part of; of a binary trait, that of its liability
    truth: tuple[Truth, ...]
    heritability: NDArray[np.float64]  # (traits,) share of the variance within groups that came out genetic
    patterns: tuple[str, ...]  # (traits,) of missing values
    group_shift: NDArray[np.float64]  # (traits, groups)
    complete: NDArray[np.float64]  # (samples, quantitative traits) before values went missing
    liability: NDArray[np.float64]  # (samples, binary traits)
    case: NDArray[np.bool_]  # (samples, binary traits) before values went missing


def plan_causal(rng: np.random.Generator, regions: Sequence[Region], options: SimulationOptions) -> CausalPlan:
    """Choose causal variants: for small effects anywhere, for large ones in different regions if possible."""
    first = np.concatenate([[0], np.cumsum([region.variants for region in regions])])
    small: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    large: list[list[int]] = [[] for _ in regions]
    if options.heritability > 0:
        # A family of traits uses about half of the pool.
        pool = min(round(2 * options.causal_fraction * options.variants), options.variants)
        small = np.sort(rng.choice(options.variants, pool, replace=False))
        for trait in range(options.n_drawn):
            replace = options.large_effects > len(regions)
            for index in rng.choice(len(regions), options.large_effects, replace=replace):
                large[index].append(trait)
    return CausalPlan(
        small=tuple(small[(small >= low) & (small < high)] - low for low, high in pairwise(first)),
        large=tuple(tuple(traits) for traits in large),
    )


@dataclass
class GeneticValues:
    """Adds up what the causal variants contribute, region by region in genomic order."""

    rng: np.random.Generator
    options: SimulationOptions
    n_samples: int
    small: NDArray[np.float64] = field(init=False)  # (samples, traits) unscaled
    large: NDArray[np.float64] = field(init=False)  # (samples, traits)
    truth: list[Truth] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.small = np.zeros((self.n_samples, self.options.n_drawn))
        self.large = np.zeros((self.n_samples, self.options.n_drawn))

    def add(self, region: RegionCalls, large_traits: Sequence[int]) -> None:
        """Draw the effects of one region's causal variants and add their contributions."""
        rows = np.concatenate([region.causal, region.large])
        if len(rows) == 0:
            return
        calls = region.causal_calls.astype(np.float64)
        variance = calls.var(axis=1)
        frequency = region.frequency[rows]
        n_small = len(region.causal)

        heterozygosity = 2 * frequency[:n_small] * (1 - frequency[:n_small])
        effects = self._small_effects(n_small) * heterozygosity[:, None] ** (self.options.frequency_exponent / 2)
        for row, trait in zip(region.large, large_traits, strict=True):
            effects[region.causal == row, trait] = 0
        self.small += calls[:n_small].T @ effects

        names = region.variant_id[rows]

        def record(index: int, trait: int, effect: float, kind: str) -> None:
            row = rows[index]
            self.truth.append(
                Truth(
                    trait=trait,
                    chromosome=region.region.chromosome,
                    position=int(region.position[row]),
                    variant_id=names[index],
                    ref=region.ref[row],
                    alt=region.alt[row],
                    effect=effect,
                    frequency=float(frequency[index]),
                    genotype_variance=float(variance[index]),
                    kind=kind,
                )
            )

        for index, trait in np.argwhere(effects != 0):
            record(int(index), int(trait), float(effects[index, trait]), "polygenic")
        sign = self.rng.choice([-1.0, 1.0], len(large_traits))
        for number, trait in enumerate(large_traits):
            index = n_small + number
            effect = sign[number] * math.sqrt(self.options.large_effect_variance / variance[index])
            self.large[:, trait] += effect * calls[index]
            record(index, trait, float(effect), "large")

    def _small_effects(self, n_variants: int) -> NDArray[np.float64]:
        """Standard normal effects, correlated and at the same variants within a family of traits."""
        n_traits = self.options.n_drawn
        n_families = -(-n_traits // TRAITS_PER_FAMILY)
        family = np.arange(n_traits) // TRAITS_PER_FAMILY
        shared = self.rng.standard_normal((n_variants, n_families))
        own = self.rng.standard_normal((n_variants, n_traits))
        used = self.rng.random((n_variants, n_families)) < 0.5
        correlation = self.options.genetic_correlation
        effects = math.sqrt(correlation) * shared[:, family] + math.sqrt(1 - correlation) * own
        return effects * used[:, family]

    def scaled(self, group: NDArray[np.int8]) -> tuple[NDArray[np.float64], tuple[Truth, ...]]:
        """Genetic values and effects such that small and large effects together reach the heritability.

        Within groups: differences between groups are not counted. A trait whose large effects alone
        explain more than that in this cohort gets no small ones.
        """
        small = _within(self.small, group)
        large = _within(self.large, group)
        a = (small**2).mean(axis=0)
        b = (small * large).mean(axis=0)
        c = (large**2).mean(axis=0) - self.options.heritability
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = (-b + np.sqrt(np.maximum(b**2 - a * c, 0))) / a
        scale = np.where((a > 0) & (c < 0), scale, 0.0)
        truth = []
        for line in self.truth:
            factor = scale[line.trait] if line.kind == "polygenic" else 1.0
            if factor != 0:
                truth.append(line._replace(effect=line.effect * factor))
        return self.large + self.small * scale, tuple(truth)


def draw_traits(
    rng: np.random.Generator,
    genetic: GeneticValues,
    group: NDArray[np.int8],
    n_groups: int,
    age: NDArray[np.float64],
    sex: NDArray[np.int8],
) -> CohortTraits:
    """Traits: genetic value + age and sex + mean of the group + residual, then values go missing.

    Residual and genetic value have variance 1 together, within groups.

    Parameters
    ----------
    group, age, sex
        Of the cohort's members, shape (samples,).
    """
    options = genetic.options
    values, truth = genetic.scaled(group)
    genetic_part = (_within(values, group) ** 2).mean(axis=0)
    residual = _residuals(rng, options, len(group))
    within = genetic_part + residual.var(axis=0)
    shift = options.group_shift * rng.standard_normal((options.n_drawn, n_groups))
    values = values - values.mean(axis=0) + residual + shift.T[group]
    values += _covariate_part(rng, options, age, sex)
    liability = values[:, options.traits :].copy()
    for binary in range(options.binary_traits):
        column = values[:, options.traits + binary]
        column[:] = _cases(column, options.prevalence_of(binary))
    complete = values.copy()
    patterns = _remove_values(rng, values, options.missing_traits, group, n_groups, age)
    return CohortTraits(
        values=values,
        variance=np.concatenate([np.nanvar(values[:, : options.traits], axis=0), liability.var(axis=0)]),
        truth=truth,
        heritability=genetic_part / within,
        patterns=patterns,
        group_shift=shift,
        complete=complete[:, : options.traits],
        liability=liability,
        case=complete[:, options.traits :] == 1,
    )


def _cases(liability: NDArray[np.float64], prevalence: float) -> NDArray[np.float64]:
    """1 for the given share of people, those with the greatest liability; 0 for the others."""
    out = np.zeros(len(liability))
    out[np.argsort(-liability, kind="stable")[: round(prevalence * len(liability))]] = 1.0
    return out


class OfCases(NamedTuple):
    """What a small effect on a liability does to its binary trait."""

    variance: NDArray[np.float64]  # shares of the variance, of the liability, times this are those of the trait
    log_odds: NDArray[np.float64]  # standard deviations of the liability times this are log odds


def of_cases(prevalence: NDArray[np.float64]) -> OfCases:
    """To first order, from the height of the normal density at the threshold.

    Dempster ER, Lerner IM (1950), https://doi.org/10.1093/genetics/35.2.212
    """
    height = norm.pdf(norm.isf(prevalence))
    spread = prevalence * (1 - prevalence)
    return OfCases(height**2 / spread, height / spread)


def expected_neg_log10_p(explained: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """-log10 p of a test whose statistic is at its expectation under the truth."""
    z = np.sqrt(n * explained / np.maximum(1 - explained, 1e-12))
    return np.asarray(-(norm.logsf(z) + math.log(2)) / math.log(10))


def _within(values: NDArray[np.float64], group: NDArray[np.int8]) -> NDArray[np.float64]:
    """Deviations from the group's mean, shape (samples, traits)."""
    out = values.copy()
    for number in np.unique(group):
        out[group == number] -= out[group == number].mean(axis=0)
    return out


def _residuals(rng: np.random.Generator, options: SimulationOptions, n_samples: int) -> NDArray[np.float64]:
    n_families = -(-options.n_drawn // TRAITS_PER_FAMILY)
    family = np.arange(options.n_drawn) // TRAITS_PER_FAMILY
    shared = rng.standard_normal((n_samples, n_families))
    own = rng.standard_normal((n_samples, options.n_drawn))
    correlation = options.residual_correlation
    residual = math.sqrt(correlation) * shared[:, family] + math.sqrt(1 - correlation) * own
    return residual * math.sqrt(1 - options.heritability)


def _covariate_part(
    rng: np.random.Generator, options: SimulationOptions, age: NDArray[np.float64], sex: NDArray[np.int8]
) -> NDArray[np.float64]:
    """Contributions of age, age squared and sex, of variance ``covariate_variance``, (samples, traits)."""
    decades = (age - age.mean()) / 10
    columns = np.column_stack([decades, decades**2, sex == MALE]).astype(np.float64)
    columns -= columns.mean(axis=0)
    deviation = columns.std(axis=0)
    columns /= np.where(deviation > 0, deviation, 1)
    part = columns @ (rng.standard_normal((3, options.n_drawn)) * np.array([[1.0], [0.4], [1.0]]))
    deviation = part.std(axis=0)
    scale = math.sqrt(options.covariate_variance) / np.where(deviation > 0, deviation, 1)
    return np.asarray(part * scale)


def _remove_values(
    rng: np.random.Generator,
    values: NDArray[np.float64],
    rate: float,
    group: NDArray[np.int8],
    n_groups: int,
    age: NDArray[np.float64],
) -> tuple[str, ...]:
    """Set values to NaN in place, each trait by its pattern; return the patterns."""
    n_samples, n_traits = values.shape
    if rate == 0:
        return tuple(["complete"] * n_traits)
    patterns = [MISSING_PATTERNS[trait % len(MISSING_PATTERNS)] for trait in range(n_traits)]
    panel = np.zeros(n_samples, dtype=bool)
    for trait, pattern in enumerate(patterns):
        chance = np.full(n_samples, rate)
        if pattern == "complete":
            continue
        if pattern == "group":
            weight = rng.gamma(1.0, 1.0, n_groups)[group]
            chance = np.minimum(rate * weight / weight.mean(), 0.95)
        elif pattern == "age":
            weight = np.exp((age - age.mean()) / 15)
            chance = np.minimum(rate * weight / weight.mean(), 0.95)
        missing = rng.random(n_samples) < chance
        if pattern == "panel":
            # The second of the two shares the mask of the first.
            panel = panel if trait and patterns[trait - 1] == "panel" else missing
            missing = panel
        values[missing, trait] = np.nan
    return tuple(patterns)
