"""Everybody together, each ancestry apart, and the groups by meta-analysis: false positives and power.

A cohort of four unequal groups, two of them admixed, is simulated under a history of human populations. Traits differ
in mean, or in prevalence, by group and by everybody's shares of ancestry; no tested variant has a part in them. A job
scans all of them, in everybody and in each group, with components that the engine computes, and the groups are
combined; others have components of few markers, none, or the true shares. Components are of half of the chromosomes,
tests of the other half: a variant that helps to make a component is adjusted for itself.

* False positives: rates over their levels and λ, of variants that are common in all groups and of the others. A
  standard error heeds that tests share variants and traits (:func:`benchmarks.science.binary.rate_and_error`).
* Power: each trait has an effect of one variant, alike in all groups or not, which together are expected to shift the
  deviate of the best test by the same (:data:`NCP`). The share found at 5e-8; for any of the groups' own scans, at
  5e-8 over their number.

Run by hand::

    python -m benchmarks.science.strata --json strata.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import allscan
from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.ingest.pipeline import ingest
from allscan.engine.meta.block import combine, counted
from allscan.engine.meta.spec import MetaSpec
from allscan.engine.meta.studies import CubeStudies, StudyBlock
from allscan.engine.results import ResultsCube
from allscan.engine.simulation.cohort import simulate_cohort
from allscan.engine.simulation.options import SimulationOptions
from allscan.engine.store import GenotypeStore, open_store
from allscan.kernels.association import has_result
from allscan.quantiles import normal_quantile
from benchmarks.science.binary import log_odds_for, rate_and_error

Floats = NDArray[np.float64]

LEVELS = (0.05, 1e-2, 1e-3, 1e-4)
GENOME_WIDE = 5e-8
GROUPS = {"EUR": 6 / 11, "AFR": 2 / 11, "AMR": 2 / 11, "EAS": 1 / 11}
POPULATIONS = ("AFR", "EUR", "EAS", "NAT")
COMMON, ABSENT = 0.05, 0.001
"""Minor allele frequencies: in a group with the allele at least, in one without it at most."""
NCP = 36.0
"""Of the test that fits the effects best: it finds some 7 of 10."""
GROUP_SHIFT, SHARE_SLOPE = 0.3, 1.0
"""Standard deviations of what a group, and of what a whole share of ancestry, adds to a trait or to its log odds."""
COMBINED = {
    "fixed effects": "neg_log10_p",
    "random effects": "neg_log10_p_random",
    "RE2": "neg_log10_p_re2",
    "by sample size": "neg_log10_p_sample_size",
    "heterogeneity": "neg_log10_p_q",
}
WELL, POORLY, NONE, TRUE = COMPONENTS = ("of all markers", "of few markers", "none", "true shares instead")
STRUCTURES = {WELL: "structure", POORLY: "few_markers"}
WITH_COPIES = "fixed effects, 20 copies"


@dataclass(frozen=True)
class Kind:
    """Traits of one kind."""

    name: str
    prevalence: float | None = None

    def traits(self, n: int) -> list[str]:
        """Names of so many of them."""
        return [f"{self.name}_{k}" for k in range(n)]


QUANTITATIVE, FREQUENT, RARE = Kind("quantitative"), Kind("binary_10", 0.1), Kind("binary_1", 0.01)


@dataclass(frozen=True)
class Size:
    """Of an experiment."""

    samples: int = 11_000
    variants: int = 40_000
    """On all chromosomes; half of them make the components."""
    tests: int = 3_000
    """Variants that are tested, of the other half."""
    few_markers: int = 500
    chromosomes: int = 22
    traits: int = 100
    """Without an effect, of each kind."""
    planted: int = 100
    """With one, of each scenario and of two kinds."""
    components: int = 10
    min_cases: int = 10


@dataclass(frozen=True)
class Cell:
    """Tests of traits that no variant changes."""

    kind: str
    components: str  # that tests adjust for, of COMPONENTS
    variants: str  # "common" in all groups, or "others"
    method: str
    tests: int
    inflation: float  # λ
    rates: tuple[float, ...]  # at LEVELS
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Power:
    """How many planted effects a method finds."""

    kind: str
    scenario: str
    method: str
    found: float


class Cohort(NamedTuple):
    """Genotypes that are tested, and what traits are drawn from."""

    folder: Path
    people: pd.DataFrame
    group: NDArray[np.int64]  # (samples,) of GROUPS
    variant_id: NDArray[np.str_]
    calls: NDArray[np.int8]  # (variants, samples)
    frequency: Floats  # (groups, variants) of the minor allele

    @property
    def common(self) -> NDArray[np.bool_]:
        """(variants,) frequent in all groups."""
        return np.asarray((self.frequency >= COMMON).all(axis=0))


class Scenario(NamedTuple):
    """Effects of a variant."""

    variants: Callable[[Cohort], NDArray[np.bool_]]
    effects: Callable[[np.random.Generator, Floats], Floats]
    """Of each group, up to a factor, given what the groups know (groups,): the inverse variance of an effect."""


def _some_african(cohort: Cohort) -> NDArray[np.bool_]:
    of = dict(zip(GROUPS, cohort.frequency, strict=True))
    return np.asarray((of["AFR"] >= COMMON) & (of["EUR"] < ABSENT) & (of["EAS"] < ABSENT))


SCENARIOS = {
    "alike in all groups": Scenario(lambda c: c.common, lambda _rng, known: np.ones(len(known))),
    "of different size": Scenario(lambda c: c.common, lambda rng, known: rng.normal(1.0, 0.7, len(known))),
    "in Africans only": Scenario(lambda c: c.common, lambda _rng, _known: np.array([0.0, 1.0, 0.0, 0.0])),
    "opposite in Europeans and Africans": Scenario(
        lambda c: c.common, lambda _rng, known: np.array([1.0, -1.0, 0.0, 0.0]) / np.sqrt(known)
    ),
    "of an African allele": Scenario(_some_african, lambda _rng, known: np.ones(len(known))),
}


def simulate(folder: Path, size: Size, seed: int) -> Cohort:
    """A cohort, ingested; the files that jobs name are in its folder."""
    chromosomes = tuple(str(number) for number in range(1, size.chromosomes + 1))
    options = SimulationOptions(
        samples=size.samples,
        variants=size.variants,
        groups=GROUPS,
        traits=1,
        heritability=0.0,
        components=0,
        relatedness=0.0,
        missing_calls=0.0,
        founder_haplotypes=4000,
        chromosomes=chromosomes,
        seed=seed,
    )
    report = simulate_cohort(folder, options, workers=1)
    ingest([report.genotypes], folder / "cohort.zarr", executor=EmbeddedExecutor(1))
    store = open_store(folder / "cohort.zarr")
    people = pd.read_csv(folder / "samples.tsv", sep="\t", index_col="IID").loc[store.sample_ids.tolist()]
    people.filter(like="ancestry_").to_csv(folder / "shares.tsv", sep="\t")
    held_out = chromosomes[1::2]
    for name, most in ((WELL, None), (POORLY, size.few_markers)):
        _write_structure(folder, size, STRUCTURES[name], held_out, most)
    rows = np.flatnonzero(np.isin(np.array(store.contigs)[store.variant_contig], held_out))
    return _tested(folder, store, people, np.sort(np.random.default_rng(seed).choice(rows, size.tests, replace=False)))


def _write_structure(folder: Path, size: Size, name: str, held_out: tuple[str, ...], most: int | None) -> None:
    keys = {
        "name": "strata",
        "genotypes": "cohort.zarr",
        "quality": "none",
        "markers": {"exclude": [*held_out, "long_range_ld"], "max_markers": most},
        "relatives": "none",
        "components": {"count": size.components},
        "groups": {"file": "samples.tsv", "column": "group"},
        "output": name,
        "runtime": {"workers": 1},
    }
    (folder / f"{name}.yaml").write_text(json.dumps(keys))


def _tested(folder: Path, store: GenotypeStore, people: pd.DataFrame, rows: NDArray[np.int64]) -> Cohort:
    ranges = [store.block_range(index) for index in range(store.n_blocks)]
    chosen = [rows[(rows >= start) & (rows < stop)] - start for start, stop in ranges]
    parts = (store.dosages(*one)[within] for one, within in zip(ranges, chosen, strict=True))
    calls = np.concatenate([part.astype(np.int8) for part in parts])
    names = np.array(store.strings("variant_id", 0, store.n_variants).to_pylist())[rows]
    group = pd.Categorical(people.group, list(GROUPS)).codes.astype(np.int64)
    of_alt = np.stack([calls[:, group == k].mean(axis=1) / 2 for k in range(len(GROUPS))])
    return Cohort(folder, people, group, names, calls, np.minimum(of_alt, 1 - of_alt))


def background(rng: np.random.Generator, cohort: Cohort) -> Floats:
    """What group, ancestry, age and sex make of a trait, (samples,)."""
    covariates = pd.read_csv(cohort.folder / "covariates.tsv", sep="\t", index_col="IID").loc[cohort.people.index]
    shares = cohort.people[[f"ancestry_{name}" for name in POPULATIONS]].to_numpy()
    age = covariates.age.to_numpy()
    of_group = rng.normal(0.0, GROUP_SHIFT, len(GROUPS))[cohort.group]
    of_shares = shares @ rng.normal(0.0, SHARE_SLOPE, len(POPULATIONS))
    return np.asarray(of_group + of_shares + 0.2 * (age - age.mean()) / age.std() + 0.2 * covariates.sex.to_numpy())


def draw(rng: np.random.Generator, kind: Kind, linear: Floats) -> Floats:
    """A trait with such means, or such log odds up to a constant."""
    if kind.prevalence is None:
        return linear + rng.normal(size=len(linear))
    chance = 1.0 / (1.0 + np.exp(-log_odds_for(kind.prevalence, linear)))
    return (rng.random(len(linear)) < chance).astype(float)


def scan(cohort: Cohort, name: str, size: Size, traits: dict[str, Floats], **keys: Any) -> ResultsCube:
    """Results of a job of some traits, in everybody and in each group."""
    table = pd.DataFrame(traits, index=cohort.people.index).rename_axis("IID").reset_index()
    table.to_parquet(cohort.folder / f"{name}.parquet")
    columns = {trait: {"type": "quantitative" if trait.startswith(QUANTITATIVE.name) else "binary"} for trait in traits}
    if {"type": "binary"} in columns.values():
        keys["test"] = {"binary": {"options": {"min_cases": size.min_cases}}}
    job = {
        "name": name,
        "genotypes": "cohort.zarr",
        "traits": {"file": f"{name}.parquet", "columns": columns},
        "ancestry": {
            "groups": "samples.tsv",
            "column": "group",
            "analyses": ["pooled", "per_group"],  # combined here: in more ways than a run does
            "min_people": 20,
            "min_cases": size.min_cases,
        },
        "output": name,
        "runtime": {"workers": 1},
    }
    allscan.Job.from_dict(job | keys, base=cohort.folder).run()
    return ResultsCube.open(cohort.folder / name)


def adjusting(size: Size, components: str) -> dict[str, Any]:
    """Keys of a job that adjusts for components: in a group, for those within it."""
    if components in (NONE, TRUE):
        shares = [f"ancestry_{name}" for name in POPULATIONS[1:]] if components == TRUE else []
        return {
            "covariates": {"file": ["covariates.tsv", "shares.tsv"], "formula": " + ".join(["age", "sex", *shares])}
        }
    return {
        "structure": f"{STRUCTURES[components]}.yaml",
        "covariates": {"file": "covariates.tsv", "formula": f"age + sex + pc[1:{size.components}]"},
    }


def apart(cube: ResultsCube, traits: slice) -> dict[str, Floats]:
    """−log10 p of everybody and of each group, (traits, variants)."""
    told = {}
    everything = slice(0, cube.n_variants)
    for k, stratum in enumerate(cube.strata):
        p = cube.block("neg_log10_p", k, traits, everything).astype(float)
        p[~has_result(cube.block("status", k, traits, everything))] = np.nan
        told["pooled" if stratum == "all" else stratum.removeprefix("ancestry=")] = p
    return told


def together(block: StudyBlock) -> dict[str, Floats]:
    """−log10 p of the groups combined, (variants,)."""
    columns = combine(block, MetaSpec(methods=("random", "re2", "sample_size")))
    told = {name: columns[column].astype(float) for name, column in COMBINED.items()}
    frequent = MetaSpec(methods=(), min_mac=20.0)
    return told | {WITH_COPIES: combine(counted(block, frequent), frequent)["neg_log10_p"].astype(float)}


def all_tests(cube: ResultsCube, traits: slice) -> dict[str, Floats]:
    """−log10 p of every method, (variants, traits)."""
    blocks = CubeStudies(cube).read(range(1, len(cube.strata)), traits, slice(0, cube.n_variants))
    combined = [together(block) for block in blocks]
    told = {name: p.T for name, p in apart(cube, traits).items()}
    return told | {name: np.stack([one[name] for one in combined], axis=1) for name in combined[0]}


def cell(kind: Kind, components: str, variants: str, method: str, p: Floats) -> Cell | None:
    """Rates of tests (variants, traits), NaN where there is none; None where there is none at all."""
    has = ~np.isnan(p)
    if not has.any():
        return None
    told = []
    for level in LEVELS:
        hits = (p >= -np.log10(level)).astype(float)
        rate = hits[has].mean()
        # What is not tested adds nothing to the spread, and does not count.
        _, error = rate_and_error(np.where(has, hits, rate), level)
        told.append((float(rate), error * has.size / has.sum()))
    rates, errors = (tuple(column) for column in zip(*told, strict=True))
    median = 10.0 ** -np.median(p[has], keepdims=True)
    inflation = float((normal_quantile(median / 2) / normal_quantile(np.array([0.25])))[0] ** 2)
    return Cell(kind.name, components, variants, method, int(has.sum()), inflation, rates, errors)


def calibrate(cohort: Cohort, size: Size, seed: int) -> list[Cell]:
    """False positives of every method; of binary traits with components of all markers only."""
    rng = np.random.default_rng(seed)
    kinds = (QUANTITATIVE, FREQUENT, RARE)
    traits = {name: draw(rng, kind, background(rng, cohort)) for kind in kinds for name in kind.traits(size.traits)}
    told = []
    for k, components in enumerate(COMPONENTS):
        kept = kinds if components == WELL else kinds[:1]
        chosen = {name: traits[name] for kind in kept for name in kind.traits(size.traits)}
        keys = adjusting(size, components) | {"variants": {"ids": cohort.variant_id.tolist()}}
        cube = scan(cohort, f"null_{k}", size, chosen, **keys)
        for j, kind in enumerate(kept):
            for method, p in all_tests(cube, slice(j * size.traits, (j + 1) * size.traits)).items():
                for variants, rows in (("common", cohort.common), ("others", ~cohort.common)):
                    told.append(cell(kind, components, variants, method, p[rows]))
    return [one for one in told if one is not None]


class Planted(NamedTuple):
    """A trait with an effect of a variant."""

    kind: Kind
    scenario: str
    variant: int
    values: Floats


def plant(rng: np.random.Generator, cohort: Cohort, kind: Kind, name: str, variant: int) -> Planted:
    """A trait with an effect by a scenario."""
    calls = cohort.calls[variant].astype(float)
    known = np.array([(cohort.group == k).sum() * calls[cohort.group == k].var() for k in range(len(GROUPS))])
    if kind.prevalence is not None:
        known *= kind.prevalence * (1 - kind.prevalence)
    effect = SCENARIOS[name].effects(rng, np.maximum(known, 1e-9))
    effect *= np.sqrt(NCP / (known @ effect**2))
    return Planted(kind, name, variant, draw(rng, kind, background(rng, cohort) + effect[cohort.group] * calls))


def own(cube: ResultsCube, rows: Sequence[int]) -> dict[str, Floats]:
    """−log10 p of every method, of one variant for each trait: (traits,)."""
    everything = slice(0, len(rows))
    blocks = CubeStudies(cube).read(range(1, len(cube.strata)), everything, slice(0, cube.n_variants))
    picked = {
        field: np.stack([getattr(block, field)[:, row] for block, row in zip(blocks, rows, strict=True)], axis=1)
        for field in StudyBlock._fields[:6]  # what does not count cases
    }
    told = {name: p[np.arange(len(rows)), rows] for name, p in apart(cube, everything).items()}
    groups = np.stack([told[name] for name in told if name != "pooled"])
    best = np.nanmax(np.where(np.isnan(groups), -np.inf, groups), axis=0) - np.log10(len(groups))
    return told | {"any group": best} | together(StudyBlock(**picked))


def measure_power(cohort: Cohort, size: Size, seed: int) -> list[Power]:
    """Shares of planted effects that each method finds."""
    rng = np.random.default_rng(seed)
    planted = []
    for name, scenario in SCENARIOS.items():
        fitting = np.flatnonzero(scenario.variants(cohort))
        for kind in (QUANTITATIVE, FREQUENT):
            chosen = rng.choice(fitting, size.planted, replace=size.planted > len(fitting))
            planted += [plant(rng, cohort, kind, name, int(variant)) for variant in chosen]
    traits = {f"{one.kind.name}_{k}": one.values for k, one in enumerate(planted)}
    ids = sorted({str(cohort.variant_id[one.variant]) for one in planted})
    cube = scan(cohort, "planted", size, traits, **adjusting(size, WELL), variants={"ids": ids})
    row = {name: k for k, name in enumerate(cube.variant_names().variant_id.to_pylist())}
    found = own(cube, [row[cohort.variant_id[one.variant]] for one in planted])
    told = []
    for kind in (QUANTITATIVE, FREQUENT):
        for name in SCENARIOS:
            of = np.array([one.kind == kind and one.scenario == name for one in planted])
            told += [
                Power(kind.name, name, method, float((p[of] >= -np.log10(GENOME_WIDE)).mean()))
                for method, p in found.items()
            ]
    return told


def calibration_table(cells: list[Cell]) -> str:
    """λ, and rates over their levels with standard errors."""
    rows = [
        {
            **{name: getattr(one, name) for name in ("kind", "components", "variants", "method")},
            "tests": f"{one.tests:,}",
            "λ": f"{one.inflation:.3f}",
            **{
                f"{level:g}": f"{rate / level:.2f} ± {error / level:.2f}"
                for level, rate, error in zip(LEVELS, one.rates, one.errors, strict=True)
            },
        }
        for one in cells
    ]
    return pd.DataFrame(rows).to_string(index=False)


def power_table(told: list[Power]) -> str:
    """Shares found, by scenario and method."""
    wide = pd.DataFrame(map(asdict, told)).pivot_table(
        index=["kind", "scenario"], columns="method", values="found", sort=False
    )
    return wide.to_string(float_format=lambda value: f"{value:.2f}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=int, default=Size.variants)
    parser.add_argument("--tests", type=int, default=Size.tests, help="variants that are tested")
    parser.add_argument("--traits", type=int, default=Size.traits, help="without an effect, of each kind")
    parser.add_argument("--planted", type=int, default=Size.planted, help="with one, of each scenario and kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    given = parser.parse_args()
    size = Size(variants=given.variants, tests=given.tests, traits=given.traits, planted=given.planted)
    with tempfile.TemporaryDirectory() as folder:
        cohort = simulate(Path(folder) / "cohort", size, given.seed)
        cells = calibrate(cohort, size, given.seed)
        print(calibration_table(cells), flush=True)
        power = measure_power(cohort, size, given.seed)
        print(f"\n{power_table(power)}")
    if given.json:
        given.json.write_text(json.dumps([*map(asdict, cells), *map(asdict, power)], indent=1) + "\n")


if __name__ == "__main__":
    main()
