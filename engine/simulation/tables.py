"""The tables of a simulated cohort: traits, covariates, truth, samples, and a job file to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.simulation.demography import ANCESTRIES, GROUPS
from allscan.engine.simulation.genotype_files import FILES
from allscan.engine.simulation.traits import expected_neg_log10_p

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


def write_traits(path: Path, pedigree: Pedigree, names: Sequence[str], traits: CohortTraits) -> None:
    """``IID`` and one column per trait, missing values as NA."""

    def rows() -> Iterable[str]:
        for iid, values in zip(pedigree.member_id, traits.values, strict=True):
            cells = [f"{value:.6g}" if value == value else "NA" for value in values.tolist()]
            yield "\t".join([iid, *cells])

    _write(path, ["IID", *names], rows())


def write_covariates(path: Path, pedigree: Pedigree, components: NDArray[np.float64]) -> None:
    """``IID age sex pc1 … group``; sex 1 male, 2 female."""
    age = pedigree.age[pedigree.member]
    sex = pedigree.sex[pedigree.member]
    group = pedigree.group[pedigree.member]

    def rows() -> Iterable[str]:
        for row, iid in enumerate(pedigree.member_id):
            scores = [f"{value:.6g}" for value in components[row].tolist()]
            yield "\t".join([iid, f"{age[row]:.1f}", str(sex[row]), *scores, pedigree.group_names[group[row]]])

    axes = [f"pc{number + 1}" for number in range(components.shape[1])]
    _write(path, ["IID", "age", "sex", *axes, "group"], rows())


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


def write_truth(path: Path, names: Sequence[str], traits: CohortTraits) -> None:
    """Causal variants of every trait, the ones that explain most first (rank 1)."""
    variance = np.nanvar(traits.values, axis=0)
    n_values = np.isfinite(traits.values).sum(axis=0)
    trait = np.array([line.trait for line in traits.truth], dtype=np.int64)
    effect = np.array([line.effect for line in traits.truth])
    genotype_variance = np.array([line.genotype_variance for line in traits.truth])
    explained = effect**2 * genotype_variance / variance[trait]
    expected = expected_neg_log10_p(explained, n_values[trait].astype(np.float64))
    order = np.lexsort((np.arange(len(trait)), -explained, trait))

    def rows() -> Iterable[str]:
        rank = 0
        last = -1
        for index in order.tolist():
            line = traits.truth[index]
            rank = rank + 1 if line.trait == last else 1
            last = line.trait
            yield "\t".join(
                [
                    names[line.trait],
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
            )

    _write(path, TRUTH_COLUMNS, rows())


def write_job(path: Path, options: SimulationOptions) -> None:
    """A job file that scans every trait of the cohort."""
    genotypes = FILES[options.formats[0]][0]
    covariates = ["age", "sex"]
    if options.components:
        covariates.append(f"pc[1:{options.components}]")
    lines = [
        "# A simulated cohort. Before the first run, make the genotype store:",
        f"#   allscan ingest {genotypes} genotypes.zarr",
        "name: simulated",
        "genotypes: genotypes.zarr",
        "traits:",
        "  file: traits.tsv",
        f"  columns: [{', '.join(options.names)}]",
        "covariates:",
        "  file: covariates.tsv",
        f'  formula: "{" + ".join(covariates)}"',
        "output: runs/simulated",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write(path: Path, header: Sequence[str], rows: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(header) + "\n")
        file.writelines(row + "\n" for row in rows)
