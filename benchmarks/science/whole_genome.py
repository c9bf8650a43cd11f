"""What the whole-genome null model is for: relatives and two ancestries, plain regression beside it.

``python -m benchmarks.science.whole_genome`` simulates families (parents, children, cousins) of people admixed from two
ancestries, traits with a polygenic part on nine chromosomes and nothing on the tenth, and scans them: by plain
regression, with the whole-genome model, and with relatives named (linear test and mixed model, with the variances of
each variant and of an average one, each with and without the whole-genome model). It prints λ and type-I error on the
tenth chromosome, the mean χ² of causal variants over λ, and the slope of estimated on true effects.

With ``--controls-per-case`` traits are cases, those beyond a threshold of liability, and controls: the test is
``logistic``, with and without the whole-genome model and relatives.

Relatives share segments in a real genome; here every marker is passed on by itself, so that relatedness is exactly its
expectation. Covariates: the intercept, and the true share of the first ancestry (a perfect first component).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.design import Design, pooled
from allscan.engine.markers import MarkerRules
from allscan.engine.null_model_files import FOLDER
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.results import ResultsCube
from allscan.engine.scan import run_scan
from allscan.engine.store import GenotypeStore
from allscan.engine.store_writing import METADATA_BLOCKS, create_store, write_genotypes, write_variants
from allscan.engine.whole_genome.cohort import Cohort
from allscan.engine.whole_genome.model import WholeGenomeSpec, fit_whole_genome, trait_digests
from allscan.engine.whole_genome.offsets import WholeGenomeOffsets
from allscan.kernels.block import encode_block
from allscan.kernels.relatedness import Relatedness, family_numbers, make_relatedness

CHROMOSOMES = 10
NULL_CHROMOSOME = str(CHROMOSOMES)
MEDIAN = 0.454936423119572
LEVELS = (0.05, 1e-2, 1e-3, 1e-4)
BLOCK = 512
# Mother, father, a child's spouse, three children, two grandchildren: each one's parents among them.
FAMILY = (None, None, None, (0, 1), (0, 1), (0, 1), (3, 2), (3, 2))


@dataclass(frozen=True)
class Size:
    """How large an experiment is."""

    families: int = 600  # of eight people
    singles: int = 1_200
    markers: int = 1_000  # of each chromosome
    traits: int = 20
    causal: int = 300
    heritability: float = 0.5


def simulate_calls(size: Size, rng: np.random.Generator) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Calls (markers, people) and each person's share of the first ancestry."""
    m = CHROMOSOMES * size.markers
    ancestral = rng.uniform(0.05, 0.95, m)
    drift = 0.1  # F_ST of each ancestry
    shape = (1 - drift) / drift
    frequency = np.clip(rng.beta(ancestral * shape, (1 - ancestral) * shape, (2, m)), 0.01, 0.99)

    def founders(n: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        share = rng.beta(0.5, 0.5, n)
        p = share * frequency[0][:, None] + (1 - share) * frequency[1][:, None]
        return rng.random((2, m, n)) < p, share

    def child(
        mother: tuple[NDArray[np.bool_], NDArray[np.float64]], father: tuple[NDArray[np.bool_], NDArray[np.float64]]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        passed = [np.where(rng.random(parent[0][0].shape) < 0.5, *parent[0]) for parent in (mother, father)]
        return np.stack(passed), (mother[1] + father[1]) / 2

    people: list[tuple[NDArray[np.bool_], NDArray[np.float64]]] = []
    for parents in FAMILY:
        people.append(founders(size.families) if parents is None else child(*(people[parent] for parent in parents)))
    people.append(founders(size.singles))
    calls = np.concatenate([haplotypes.sum(axis=0, dtype=np.int8) for haplotypes, _ in people], axis=1)
    return calls, np.concatenate([share for _, share in people])


def relatedness_of(size: Size) -> Relatedness:
    """Who is related, in the order of :func:`simulate_calls`: first all mothers, then all fathers, and so on."""
    kinship = np.zeros((len(FAMILY), len(FAMILY)))
    for person, parents in enumerate(FAMILY):
        kinship[person, person] = 1.0
        if parents is not None:
            kinship[person, :person] = kinship[:person, person] = kinship[list(parents), :person].mean(axis=0)
    one, other = np.nonzero(np.triu(kinship, 1))
    number = np.arange(size.families)
    pairs = [(member[:, None] * size.families + number).ravel() for member in (one, other)]
    people = len(FAMILY) * size.families + size.singles
    return make_relatedness(*pairs, np.repeat(kinship[one, other], size.families), people)


def write_store(path: Path, calls: NDArray[np.int8]) -> GenotypeStore:
    """A store of the calls, chromosomes of equal length."""
    m, n = calls.shape
    create_store(
        path,
        n_variants=m,
        sample_ids=np.array([f"P{i}" for i in range(n)], dtype=object),
        sample_sex=np.zeros(n, np.int8),
        contigs=tuple(str(c + 1) for c in range(CHROMOSOMES)),
        contig_lengths=(100_000_000,) * CHROMOSOMES,
        block_variants=BLOCK,
        attributes={"reference_build": "GRCh38"},
    )
    for index in range(-(-m // BLOCK)):
        write_genotypes(path, index, encode_block(calls[index * BLOCK : (index + 1) * BLOCK]))
    contig = np.repeat(np.arange(CHROMOSOMES, dtype=np.int16), m // CHROMOSOMES)
    copies = calls.sum(axis=1).astype(float)
    columns = {
        "variant_contig": contig,
        "variant_position": np.tile(1000 + 2000 * np.arange(m // CHROMOSOMES), CHROMOSOMES).astype(np.int32),
        "variant_id": np.array([f"v{i}" for i in range(m)], dtype=object),
        "variant_length": np.ones(m, np.int32),
        "variant_n_called": np.full(m, n, np.int32),
        "variant_allele_count": copies,
        "variant_allele_frequency": copies / (2 * n),
        "variant_missing_rate": np.zeros(m, np.float32),
        "variant_n_het": (calls == 1).sum(axis=1).astype(np.int32),
        "variant_n_hom_alt": (calls == 2).sum(axis=1).astype(np.int32),
        "variant_hwe_neg_log10_p": np.zeros(m, np.float32),
        "variant_info": np.full(m, np.nan, np.float32),
        "variant_n_alt": np.ones(m, np.int16),
        "variant_n_haploid": np.zeros(m, np.int32),
        "variant_allele": np.array([["A", "G"]] * m, dtype=object),
    }
    run = METADATA_BLOCKS * BLOCK
    for start in range(0, m, run):
        write_variants(path, start, {name: values[start : start + run] for name, values in columns.items()})
    return GenotypeStore(path)


@dataclass(frozen=True)
class Traits:
    """Polygenic traits whose causal variants are known."""

    values: NDArray[np.float64]  # (people, traits)
    causal: list[NDArray[np.int64]]  # of each trait, markers off the null chromosome
    effects: list[NDArray[np.float64]]  # of these, per copy


def simulate_traits(
    calls: NDArray[np.int8], share: NDArray[np.float64], size: Size, rng: np.random.Generator, prevalence: float | None
) -> Traits:
    """Traits with a polygenic part, some of the ancestry, and noise; cases beyond a threshold where there are cases."""
    n = calls.shape[1]
    values, causal, per_copy = np.empty((n, size.traits)), [], []
    for t in range(size.traits):
        chosen = rng.choice((CHROMOSOMES - 1) * size.markers, size.causal, replace=False)
        effects = rng.normal(size=size.causal)
        polygenic = effects @ (calls[chosen] - calls[chosen].mean(axis=1, keepdims=True))
        scale = np.sqrt(size.heritability) / polygenic.std()
        liability = scale * polygenic
        liability += 0.3 * (share - share.mean()) / share.std()
        liability += np.sqrt(1 - size.heritability) * rng.normal(size=n)
        if prevalence is not None:
            liability = (liability > np.quantile(liability, 1 - prevalence)).astype(float)
        values[:, t] = liability
        causal.append(chosen)
        per_copy.append(scale * effects)
    return Traits(values, causal, per_copy)


def scan(
    store: GenotypeStore, design: Design, out: Path, method: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scan; returns estimates and χ², each (traits, variants)."""
    spec = ScanSpec("logistic" if design.binary else "linear")
    if "mixed" in method:
        spec = ScanSpec("mixed", {"variance": "average" if "average" in method else "exact"})
    plan = plan_scan(store, pooled(design), spec, workers=1, memory_bytes=8 << 30)
    shutil.rmtree(out / "results.zarr", ignore_errors=True)
    run_scan(plan, store, pooled(design), spec, EmbeddedExecutor(1), out)
    cube = ResultsCube.open(out)
    where = (0, slice(0, len(design.trait_names)), slice(0, store.n_variants))
    beta, se = (cube.block(name, *where).astype(float) for name in ("beta", "standard_error"))
    return beta, (beta / se) ** 2


def experiment(
    size: Size, seed: int, folder: Path, *, prevalence: float | None = None, component: bool = True
) -> dict[str, dict[str, float]]:
    """Every method on the same data; what is printed, by method."""
    rng = np.random.default_rng(seed)
    calls, share = simulate_calls(size, rng)
    store = write_store(folder / "store.zarr", calls)
    traits = simulate_traits(calls, share, size, rng, prevalence)
    n = calls.shape[1]
    covariates = np.column_stack([np.ones(n), share]) if component else np.ones((n, 1))
    names = tuple(f"t{t}" for t in range(size.traits))
    rows, ids = np.arange(n), store.sample_ids
    binary = prevalence is not None
    design = Design(
        rows,
        traits.values,
        names,
        covariates,
        ("intercept", "share")[: covariates.shape[1]],
        np.zeros(n, np.int8),
        binary=binary,
    )
    related = relatedness_of(size)
    kind = "binary" if binary else "quantitative"
    spec = WholeGenomeSpec(markers=MarkerRules(), block_markers=500)

    def predicted(name: str, family: NDArray[np.int64] | None) -> WholeGenomeOffsets:
        cohort = Cohort(rows, ids, covariates, traits.values, names, (kind,) * size.traits, family=family)
        fit_whole_genome(store, cohort, spec, EmbeddedExecutor(1), folder / name)
        digests = trait_digests(store, cohort, spec)
        return WholeGenomeOffsets(folder / name / FOLDER, store.contigs, digests, design, ids)

    apart, together = predicted("apart", None), predicted("together", family_numbers(related))
    designs = {
        "plain": design,
        "plain, relatives named": replace(design, relatedness=related),
        "whole genome": replace(design, offsets=apart),
        "whole genome loaded, relatives named": replace(design, offsets=apart, relatedness=related),
        "whole genome, relatives named": replace(design, offsets=together, relatedness=related),
    }
    if not binary:
        designs |= {
            "mixed": replace(design, relatedness=related),
            "whole genome, mixed": replace(design, offsets=together, relatedness=related),
            "whole genome, mixed average": replace(design, offsets=together, relatedness=related),
        }
    null = slice((CHROMOSOMES - 1) * size.markers, CHROMOSOMES * size.markers)
    told = {}
    for method, of_method in designs.items():
        beta, statistics = scan(store, of_method, folder / method, method)
        of_null = statistics[:, null].ravel()
        told[method] = {"lambda": float(np.median(of_null) / MEDIAN), "mean chi2": float(of_null.mean())}
        told[method] |= {f"error at {level:g}": float((of_null > chi2.isf(level, 1)).mean()) for level in LEVELS}
        of_causal = [statistics[t, causal].mean() for t, causal in enumerate(traits.causal)]
        # Over λ: what is left of it when both are held to the same type-I error.
        told[method]["causal chi2 / lambda"] = float(np.mean(of_causal)) / told[method]["lambda"]
        if binary:  # effects on liability and log odds ratios have no common unit
            continue
        slopes = [
            (beta[t, causal] @ effects) / (effects @ effects)
            for t, (causal, effects) in enumerate(zip(traits.causal, traits.effects, strict=True))
        ]
        told[method]["slope of effects"] = float(np.mean(slopes))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--controls-per-case", type=int, help="traits are binary")
    parser.add_argument("--no-component", action="store_true", help="leave the ancestry out of the covariates")
    for name, kind in (("families", int), ("singles", int), ("markers", int), ("traits", int), ("heritability", float)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Size, name))
    given = parser.parse_args()
    size = Size(given.families, given.singles, given.markers, given.traits, heritability=given.heritability)
    prevalence = None if given.controls_per_case is None else 1 / (1 + given.controls_per_case)
    with tempfile.TemporaryDirectory() as folder:
        told = experiment(size, given.seed, Path(folder), prevalence=prevalence, component=not given.no_component)
    for method, numbers in told.items():
        print(f"{method:38}" + "  ".join(f"{name} {value:.4g}" for name, value in numbers.items()))


if __name__ == "__main__":
    main()
