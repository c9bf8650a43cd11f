"""The tables of a simulated cohort: traits, covariates, truth, samples, and a job file to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.simulation.demography import ANCESTRIES, GROUPS
from allscan.engine.simulation.genotype_files import FILES
from allscan.engine.simulation.traits import OfCases, expected_neg_log10_p, of_cases

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.simulation.options import SimulationOptions
    from allscan.engine.simulation.pedigree import Pedigree
    from allscan.engine.simulation.traits import CohortTraits

TRUTH_COLUMNS = (
    "trait",
    "chromosome",
    "position",
    "variant_id",
    "ref",
    "alt",
    "effect",
    "alt_frequency",
    "variance_explained",
    "expected_neg_log10_p",
    "rank",
    "kind",
)


def write_traits(path: Path, pedigree: Pedigree, names: Sequence[str], values: NDArray[np.float64]) -> None:
    """``IID`` and one column per trait (samples, traits), missing values as NA."""

    def rows() -> Iterable[str]:
        for iid, row in zip(pedigree.member_id, values, strict=True):
            cells = [f"{value:.6g}" if value == value else "NA" for value in row.tolist()]
            yield "\t".join([iid, *cells])

    _write(path, ["IID", *names], rows())


def write_covariates(path: Path, pedigree: Pedigree, components: NDArray[np.float64]) -> None:
    """``IID age sex pc1 … group``, with as many components as are given; sex 1 male, 2 female."""
    age = pedigree.age[pedigree.member]
    sex = pedigree.sex[pedigree.member]
    group = pedigree.group[pedigree.member]

    def rows() -> Iterable[str]:
        for row, iid in enumerate(pedigree.member_id):
            scores = [f"{value:.6g}" for value in components[row].tolist()]
            yield "\t".join([iid, f"{age[row]:.1f}", str(sex[row]), *scores, pedigree.group_names[group[row]]])

    axes = [f"pc{number + 1}" for number in range(components.shape[1])]
    _write(path, ["IID", "age", "sex", *axes, "group"], rows())


def write_components(path: Path, pedigree: Pedigree, components: NDArray[np.float64]) -> None:
    """``IID pc1 …``, for jobs that take age and sex from elsewhere."""
    axes = [f"pc{number + 1}" for number in range(components.shape[1])]
    rows = zip(pedigree.member_id, components.tolist(), strict=True)
    _write(path, ["IID", *axes], ("\t".join([iid, *(f"{value:.6g}" for value in scores)]) for iid, scores in rows))


def write_samples(path: Path, pedigree: Pedigree, shares: NDArray[np.float64]) -> None:
    """Group, family, parents, and the shares of the ancestral populations over the simulated autosomes.

    Parents outside the cohort have ids that begin with P. ``unrelated`` is 1 for a set of members without
    two of one family.
    """
    used = [
        number
        for number, name in enumerate(ANCESTRIES)
        if any(name in GROUPS[group].shares for group in pedigree.group_names)
    ]
    father, mother = pedigree.parents_of_members()
    group = pedigree.group[pedigree.member]
    family = pedigree.family[pedigree.member]
    unrelated = np.zeros(pedigree.n_samples, dtype=np.int8)
    unrelated[pedigree.unrelated_members()] = 1

    def parent(individual: int) -> str:
        return str(pedigree.individual_id[individual]) if individual >= 0 else "0"

    def rows() -> Iterable[str]:
        for row, iid in enumerate(pedigree.member_id):
            cells = [f"{value:.4f}" for value in shares[row, used].tolist()]
            yield "\t".join(
                [
                    iid,
                    pedigree.group_names[group[row]],
                    str(family[row]),
                    parent(int(father[row])),
                    parent(int(mother[row])),
                    str(unrelated[row]),
                    *cells,
                ]
            )

    header = ["IID", "group", "family", "father", "mother", "unrelated"]
    _write(path, [*header, *(f"ancestry_{ANCESTRIES[number]}" for number in used)], rows())


def write_truth(path: Path, options: SimulationOptions, traits: CohortTraits) -> None:
    """Causal variants of every quantitative trait, the ones that explain most first (rank 1)."""
    _write_truth(path, TRUTH_COLUMNS, options.names, 0, traits, None)


def write_binary_truth(path: Path, options: SimulationOptions, traits: CohortTraits) -> None:
    """The same of binary traits: effect and variance are those of the liability; and the log odds that they make."""
    prevalence = np.array([options.prevalence_of(binary) for binary in range(options.binary_traits)])
    columns = (*TRUTH_COLUMNS, "log_odds_ratio")
    _write_truth(path, columns, options.binary_names, options.traits, traits, of_cases(prevalence))


def _write_truth(
    path: Path,
    columns: Sequence[str],
    names: Sequence[str],
    first: int,
    traits: CohortTraits,
    binary: OfCases | None,
) -> None:
    """Truth of the traits from ``first`` on, as many as there are names."""
    truth = [line for line in traits.truth if first <= line.trait < first + len(names)]
    trait = np.array([line.trait for line in truth], dtype=np.int64)
    effect = np.array([line.effect for line in truth])
    genotype_variance = np.array([line.genotype_variance for line in truth])
    explained = effect**2 * genotype_variance / traits.variance[trait]
    n_values = np.isfinite(traits.values).sum(axis=0)[trait].astype(np.float64)
    log_odds = None
    if binary is None:
        expected = expected_neg_log10_p(explained, n_values)
    else:
        expected = expected_neg_log10_p(explained * binary.variance[trait - first], n_values)
        log_odds = effect / np.sqrt(traits.variance[trait]) * binary.log_odds[trait - first]
    order = np.lexsort((np.arange(len(trait)), -explained, trait))

    def rows() -> Iterable[str]:
        rank = 0
        last = -1
        for index in order.tolist():
            line = truth[index]
            rank = rank + 1 if line.trait == last else 1
            last = line.trait
            cells = [
                names[line.trait - first],
                line.chromosome,
                str(line.position),
                line.variant_id,
                line.ref,
                line.alt,
                f"{line.effect:.6g}",
                f"{line.frequency:.6g}",
                f"{explained[index]:.6g}",
                f"{expected[index]:.6g}",
                str(rank),
                line.kind,
            ]
            if log_odds is not None:
                cells.append(f"{log_odds[index]:.6g}")
            yield "\t".join(cells)

    _write(path, columns, rows())


def write_job(path: Path, options: SimulationOptions) -> None:
    """A job file that scans every quantitative trait of the cohort."""
    traits = ["traits:", "  file: traits.tsv", f"  columns: [{', '.join(options.names)}]"]
    _write_job(path, options, "simulated", traits, "covariates.tsv", ["age", "sex"])


def write_binary_job(path: Path, options: SimulationOptions) -> None:
    """A job file that scans every binary trait."""
    columns = f"  columns: [{', '.join(options.binary_names)}]"
    traits = ["traits:", "  file: binary_traits.tsv", "  type: binary", columns]
    _write_job(path, options, "simulated_binary", traits, "covariates.tsv", ["age", "sex"])


def write_phenome_job(path: Path, options: SimulationOptions) -> None:
    """A job file that scans all traits that are made of the cohort's records."""
    files = "[records.yaml, components.tsv]" if options.components else "records.yaml"
    traits = ["traits: records.yaml  # built where it is missing; see allscan phenotypes build"]
    _write_job(path, options, "simulated_phenome", traits, files, ["age", "sex", "record_years", "visits"])


def write_ancestry_job(path: Path, options: SimulationOptions) -> None:
    """A job file that scans every quantitative trait in everybody, in each group, and in the groups together."""
    rest = [
        "structure: structure.yaml  # built where it is missing; see allscan structure build",
        "ancestry: {min_people: 100}",
    ]
    traits = [
        "traits:",
        "  file: traits.tsv",
        f"  columns: [{', '.join(options.names)}]",
        "  transform: rank_inverse_normal",
        *rest,
    ]
    _write_job(path, options, "simulated_ancestry", traits, "people.tsv", ["age", "sex"])


def write_structure(path: Path, options: SimulationOptions) -> None:
    """A structure file of the cohort, whose groups are those that were simulated."""
    lines = [
        *_to_begin_with(options),
        "name: Structure of the simulated cohort",
        "genotypes: genotypes.zarr",
        f"components: {{count: {max(options.components, 1)}}}",
        "groups: people.tsv",
        "output: structure",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_job(
    path: Path, options: SimulationOptions, name: str, traits: Sequence[str], covariates: str, terms: Sequence[str]
) -> None:
    if options.components:
        terms = [*terms, f"pc[1:{options.components}]"]
    lines = [
        *_to_begin_with(options),
        f"name: {name}",
        "genotypes: genotypes.zarr",
        *traits,
        "covariates:",
        f"  file: {covariates}",
        f'  formula: "{" + ".join(terms)}"',
        f"output: runs/{name}",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _to_begin_with(options: SimulationOptions) -> list[str]:
    return [
        "# A simulated cohort. Before the first run, make the genotype store:",
        f"#   allscan ingest {FILES[options.formats[0]][0]} genotypes.zarr",
    ]


def _write(path: Path, header: Sequence[str], rows: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(header) + "\n")
        file.writelines(row + "\n" for row in rows)
