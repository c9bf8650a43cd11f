"""Are p-values and effects of regressions on columns what they say? False positives, power and bias, to few cases.

People have age, sex and a component of ancestry, on which both traits and predictors depend; all three are covariates.
Predictors: a normal score, an exposure with a long tail, and carriers, one in a hundred. Traits are drawn given the
covariates (and, for power, one predictor). Three ways of testing: maximum likelihood alone, the penalised likelihood
alone, and what a job does, which takes the second where it is needed. Run by hand::

    python -m benchmarks.science.phewas --traits 6000 --json phewas.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from allscan.kernels.column_tests import ColumnOptions, Columns, fit_trait, make_columns

Floats = NDArray[np.float64]

LEVELS = (0.05, 0.01, 0.001)
CASES = (25, 100, 400)
"""Expected, of 4,000 people."""
METHODS = {
    "maximum likelihood": ColumnOptions(penalise_below=0.0, cases_per_coefficient=0.0),
    "penalised": ColumnOptions(penalise_below=1.0, cases_per_coefficient=np.inf),
    "a job's": ColumnOptions(),
}
PREDICTORS = ("score", "exposure", "carriers")
PLANTED = {"score": 0.5, "exposure": 0.3, "carriers": 1.5}
"""Log odds ratios for power."""
OF_A_PHENOME = 0.05 / 1800
"""Bonferroni's threshold for a phenome."""


class People(NamedTuple):
    """Who is studied."""

    covariates: Floats  # (people, covariates)
    predictors: Floats  # (people, predictors)
    columns: Columns


@dataclass(frozen=True)
class Cell:
    """What came out for traits of one kind."""

    cases: int
    predictor: str
    method: str
    effect: float  # log odds ratio that was planted
    rates: tuple[float, ...]  # below each level, then below a phenome's threshold
    bias: float  # mean of the estimates less the effect
    covered: float  # share of 95 % intervals that hold the effect
    n: int


def draw_people(n: int, rng: np.random.Generator) -> People:
    """People with covariates and predictors."""
    age, sex, ancestry = rng.uniform(-1.5, 1.5, n), rng.integers(0, 2, n), rng.normal(size=n)
    covariates = np.column_stack([np.ones(n), age, sex, ancestry])
    score = rng.normal(size=n) + 0.3 * ancestry
    exposure = np.exp(rng.normal(size=n) + 0.2 * age)
    carriers = (rng.random(n) < 0.01 * np.exp(0.5 * ancestry - 0.125)).astype(float)
    predictors = np.column_stack([score / score.std(), exposure / exposure.std(), carriers])
    return People(covariates, predictors, make_columns(predictors, covariates))


def draw_trait(people: People, cases: int, effects: Floats, rng: np.random.Generator) -> Floats:
    """A trait with about so many cases; (people,) 0 and 1."""
    linear = people.covariates[:, 1:] @ [0.5, 0.4, 0.4] + people.predictors @ effects
    low, high = -30.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        expected = (1.0 / (1.0 + np.exp(-(linear + middle)))).sum()
        low, high = (middle, high) if expected < cases else (low, middle)
    return (rng.random(len(linear)) < 1.0 / (1.0 + np.exp(-(linear + low)))).astype(np.float64)


def experiment(n: int, traits: int, seed: int, planted: dict[str, float] | None = None) -> list[Cell]:
    """Rates, bias and coverage of every method; without ``planted`` no trait depends on a predictor.

    Parameters
    ----------
    n, traits
        People, and traits of each number of cases (of each predictor, where effects are planted).
    seed
        Of all that is drawn.
    planted
        Log odds ratio of each predictor, one at a time.
    """
    rng = np.random.default_rng(seed)
    people = draw_people(n, rng)
    told = []
    for cases in CASES:
        for studied in [None] if planted is None else PREDICTORS:
            effects = np.array([planted[name] if planted and name == studied else 0.0 for name in PREDICTORS])
            found: dict[str, list[tuple[Floats, Floats, Floats]]] = {method: [] for method in METHODS}
            for _ in range(traits):
                trait = draw_trait(people, cases, effects, rng)
                for method, options in METHODS.items():
                    cells = fit_trait(people.columns, trait, binary=True, n_covariates=4, options=options)
                    found[method].append((cells.neg_log10_p, cells.beta, cells.standard_error))
            for method, results in found.items():
                p, beta, error = (np.array(values) for values in zip(*results, strict=True))
                for k, name in enumerate(PREDICTORS):
                    if studied in (None, name):
                        told.append(_cell(cases, name, method, float(effects[k]), p[:, k], beta[:, k], error[:, k]))
    return told


def _cell(cases: int, predictor: str, method: str, effect: float, p: Floats, beta: Floats, error: Floats) -> Cell:
    has = np.isfinite(p)
    rates = tuple(float((p >= -np.log10(level)).mean()) for level in (*LEVELS, OF_A_PHENOME))
    inside = np.abs(beta[has] - effect) <= 1.96 * error[has]
    return Cell(
        cases, predictor, method, effect, rates, float((beta[has] - effect).mean()), float(inside.mean()), len(p)
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=4_000)
    parser.add_argument("--traits", type=int, default=2_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    n, traits = arguments.samples, arguments.traits
    cells = [*experiment(n, traits, 1), *experiment(n, max(1, traits // 20), 2, PLANTED)]
    for cell in cells:
        rates = "  ".join(f"{rate:.5f}" for rate in cell.rates)
        print(
            f"cases {cell.cases:<5} {cell.predictor:<9} {cell.method:<19} effect {cell.effect:<4g} rates {rates}  "
            f"bias {cell.bias:+.3f}  covered {cell.covered:.3f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(cell) for cell in cells], indent=1))


if __name__ == "__main__":
    main()
