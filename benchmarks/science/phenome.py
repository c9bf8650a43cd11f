"""A phenome from records: effects that went in, found again in what the records show, and traits without effects.

``python -m benchmarks.science.phenome`` simulates a cohort with health records (codes that come late, twice, wrongly,
or never), makes phecodes of them, and scans all of them: the journey of a user, from ``simulate --records`` to the
results. It prints

* for each disease with a genetic liability: how many of the cases are found, how many of those found are cases, and the
  slope of estimated on true log odds ratios over its causal variants, weighted by precision, with its standard error;
* for LDL cholesterol, in two units and lowered by statins, the same slope, in mg/dL;
* over the diseases without one: the share of tests below each level, with its standard error over diseases, and λ.

Causal variants near each other add to one another's estimates, which spreads the slopes of single traits further than
their standard errors.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

import allscan
from allscan.engine.simulation.options import SimulationOptions
from allscan.quantiles import normal_quantile

LEVELS = (0.05, 1e-2, 1e-3, 1e-4)
DISEASES = 8
PREFIX = "phecode_"
LDL = "ldl_cholesterol"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recovered:
    """A disease with a genetic liability."""

    name: str
    true_cases: int
    found: float  # share of the true cases that are cases in the table
    right: float  # share of the table's cases that are true ones
    variants: int
    slope: float
    slope_error: float


@dataclass(frozen=True)
class Background:
    """A disease that no variant changes."""

    name: str
    cases: int
    rates: Floats  # (levels,) share of tests below each
    inflation: float  # λ


@dataclass(frozen=True)
class Measured:
    """A quantity with a genetic part."""

    name: str
    people: int
    slope: float
    slope_error: float


Findings = tuple[list[Recovered], list[Measured], list[Background]]


def experiment(folder: Path, *, samples: int, variants: int, seed: int = 1, workers: int | None = None) -> Findings:
    """Simulate, make traits of the records, scan them, and compare with what is known.

    Parameters
    ----------
    folder
        Where everything goes.
    samples, variants
        Size of the cohort.
    seed
        Of the simulation.
    workers
        Tasks at the same time.
    """
    options = SimulationOptions(
        samples=samples,
        variants=variants,
        traits=1,
        binary_traits=DISEASES,
        prevalence=(0.2, 0.05),
        relatedness=0.0,
        records=True,
        seed=seed,
    )
    cohort = allscan.simulate(folder / "cohort", options, workers=workers)
    allscan.ingest(cohort.genotypes, cohort.folder / "genotypes.zarr", workers=workers)
    job = allscan.Job.from_yaml(cohort.folder / "phenome_job.yaml")
    results = job.with_runtime(workers=workers).run().results()
    return compare(cohort.folder, results)


def compare(folder: Path, results: object) -> Findings:
    """What the scan of a simulated cohort's records found, beside the truth."""
    cube: dict[str, NDArray[np.generic]] = {
        name: getattr(results, name).values[0] for name in ("beta", "standard_error", "neg_log10_p")
    }
    names = [str(name) for name in results.trait.values]  # type: ignore[attr-defined]
    row_of = {str(name): row for row, name in enumerate(results.variant_id.values)}  # type: ignore[attr-defined]
    effects: dict[str, list[tuple[int, float]]] = {}
    for file, column_name in (("binary_truth.tsv", "log_odds_ratio"), ("truth.tsv", "effect")):
        for line in _rows(folder / file):
            if line["variant_id"] in row_of:
                effects.setdefault(line["trait"], []).append((row_of[line["variant_id"]], float(line[column_name])))

    def slope_of(column: int, simulated_as: str, unit: float) -> tuple[int, float, float]:
        """Variants, slope of estimated on true effects, and its standard error."""
        rows, truth = (np.array(part) for part in zip(*effects[simulated_as], strict=True))
        beta, error = cube["beta"][column, rows], cube["standard_error"][column, rows]
        known = ~np.isnan(beta)
        weight, truth = 1 / error[known] ** 2, unit * truth[known]
        information = float((weight * truth**2).sum())
        return int(known.sum()), float((weight * truth * beta[known]).sum() / information), information**-0.5

    table = pq.read_table(folder / "phenotypes" / "traits.parquet")
    people = pq.read_table(folder / "records_people.parquet").sort_by("person_id")
    assert people.column("person_id").equals(table.column("person_id"))
    recovered: list[Recovered] = []
    measured: list[Measured] = []
    background: list[Background] = []
    for disease in _rows(folder / "records_truth.tsv"):
        trait = f"{PREFIX}{disease['phecode']}"
        if disease["kind"] == "measure" and disease["name"] == "ldl" and LDL in names:
            _, slope, error = slope_of(names.index(LDL), disease["simulated_as"], float(disease["per_trait_unit"]))
            people_of_it = table.num_rows - table.column(LDL).null_count
            measured.append(Measured(LDL, people_of_it, slope, error))
        if disease["kind"] != "disease" or trait not in names:
            continue
        column = names.index(trait)
        if disease["simulated_as"] == "NA":
            p = cube["neg_log10_p"][column]
            p = p[~np.isnan(p)]
            rates = np.array([(p >= -np.log10(level)).mean() for level in LEVELS])
            middle = normal_quantile(np.array([10 ** -np.median(p) / 2]))[0] ** 2
            cases = table.column(trait).to_pylist().count(True)
            background.append(Background(disease["name"], cases, rates, float(middle / 0.454936423119572)))
            continue
        n_variants, slope, error = slope_of(column, disease["simulated_as"], 1.0)
        case = people.column(_case_column(disease["name"])).to_numpy(zero_copy_only=False).astype(bool)
        seen = np.array([value is True for value in table.column(trait).to_pylist()])
        recovered.append(
            Recovered(
                disease["name"],
                int(case.sum()),
                float(seen[case].mean()),
                float(case[seen].mean()),
                n_variants,
                slope,
                error,
            )
        )
    return recovered, measured, background


def _case_column(name: str) -> str:
    return "case_" + "".join(letter if letter.isalnum() else "_" for letter in name.lower())


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def rates_and_errors(background: list[Background]) -> tuple[Floats, Floats]:
    """Share of tests below each level over all diseases, and its standard error from how diseases differ."""
    rates = np.array([one.rates for one in background])
    return rates.mean(axis=0), rates.std(axis=0, ddof=1) / np.sqrt(len(rates))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--variants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        recovered, measured, background = experiment(
            Path(scratch), samples=given.samples, variants=given.variants, seed=given.seed, workers=given.workers
        )
    print(f"{'disease':<40} {'true cases':>10} {'found':>7} {'right':>7} {'variants':>9} {'slope':>14}")
    for one in recovered:
        print(
            f"{one.name:<40} {one.true_cases:>10,} {one.found:>7.2f} {one.right:>7.2f} {one.variants:>9} "
            f"{one.slope:>7.3f} ± {one.slope_error:.3f}"
        )
    for quantity in measured:
        print(
            f"{quantity.name:<40} {quantity.people:>10,} {'':>25} {quantity.slope:>7.3f} ± {quantity.slope_error:.3f}"
        )
    rates, errors = rates_and_errors(background)
    inflation = np.median([one.inflation for one in background])
    print(f"\n{len(background)} diseases without genetic effects: λ {inflation:.3f}")
    for level, rate, error in zip(LEVELS, rates, errors, strict=True):
        print(f"  p < {level:g}: {rate:.5f} ± {error:.5f}, {rate / level:.2f} of the level")


if __name__ == "__main__":
    main()
