"""Type-I error among relatives: plain regression calls too much; named, relatives are accounted for.

Families of three generations (grandparents, their two children with spouses, four grandchildren: siblings, parents
and children, grandparents, uncles, cousins) beside unrelated people. Genotypes are dropped down the pedigrees. Traits
have a heritability of which no tested variant is a part: their polygenic values are normal with the covariance of the
pedigrees.

With predictions of the rest of the genome: :mod:`benchmarks.science.whole_genome`. Run by hand::

    python -m benchmarks.science.relatives --families 300 --singles 1000 --variants 20000 --traits 50
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from allscan.kernels.association import AssociationTest
from allscan.kernels.block import encode_block
from allscan.kernels.linear import LINEAR
from allscan.kernels.mixed import MIXED, MixedNull
from allscan.kernels.relatedness import Relatedness, make_relatedness
from benchmarks.science.scoring import null_data, score

Floats = NDArray[np.float64]

LEVELS = (0.05, 1e-2, 1e-3, 1e-4)
# Each member's parents; the first two and the spouses have none.
PEDIGREE = (None, None, (0, 1), (0, 1), None, None, (2, 4), (2, 4), (3, 5), (3, 5))
BLOCK = 1000


@dataclass(frozen=True)
class Calibration:
    """Of one test: rates of p below the levels, and λ, over all variants and traits."""

    test: str
    tests: int
    rates: tuple[float, ...]
    genomic_control: float
    heritability: float  # mean estimate; NaN for a test that has none


def pedigree_relatedness() -> Floats:
    """Twice the kinship coefficients within one family."""
    size = len(PEDIGREE)
    matrix = np.zeros((size, size))
    for child, parents in enumerate(PEDIGREE):
        matrix[child, child] = 1.0
        if parents is not None:
            matrix[child, :child] = matrix[:child, child] = matrix[list(parents), :child].mean(axis=0)
    return matrix


def population(families: int, singles: int) -> Relatedness:
    """Families one after the other, then singles."""
    within = pedigree_relatedness()
    i, j = np.nonzero(np.triu(within, 1))
    start = np.arange(families)[:, None] * len(PEDIGREE)
    value = np.broadcast_to(within[i, j], (families, len(i))).ravel()
    return make_relatedness((start + i).ravel(), (start + j).ravel(), value, families * len(PEDIGREE) + singles)


def drop_genotypes(rng: np.random.Generator, variants: int, families: int, singles: int) -> NDArray[np.int8]:
    """Calls (variants, samples) at frequencies of 1 % to 50 %; a child has an allele of each parent."""
    frequency = rng.uniform(0.01, 0.5, (variants, 1))
    haplotypes = np.empty((len(PEDIGREE), 2, variants, families), np.int8)
    for member, parents in enumerate(PEDIGREE):
        for copy in range(2):
            if parents is None:
                haplotypes[member, copy] = rng.random((variants, families)) < frequency
            else:
                which = rng.random((variants, families)) < 0.5
                haplotypes[member, copy] = np.where(which, *haplotypes[parents[copy]])
    related = haplotypes.sum(axis=1, dtype=np.int8).transpose(1, 2, 0).reshape(variants, -1)
    return np.hstack([related, rng.binomial(2, frequency, (variants, singles)).astype(np.int8)])


def polygenic_traits(rng: np.random.Generator, traits: int, families: int, singles: int, h2: float) -> Floats:
    """Traits (samples, traits) of variance one."""
    root = np.linalg.cholesky(pedigree_relatedness())
    within = np.einsum("ij,fjt->fit", root, rng.normal(size=(families, len(PEDIGREE), traits)))
    genetic = np.concatenate([within.reshape(-1, traits), rng.normal(size=(singles, traits))])
    return np.sqrt(h2) * genetic + np.sqrt(1 - h2) * rng.normal(size=genetic.shape)


def calibrate(
    test: AssociationTest, calls: NDArray[np.int8], traits: Floats, covariates: Floats, related: Relatedness | None
) -> Calibration:
    """Scan with a test; ``related``: those that it is told of."""
    blocks = (encode_block(calls[first : first + BLOCK]) for first in range(0, len(calls), BLOCK))
    null, found = score(test, null_data(traits, covariates, related), blocks)
    p = 10.0**-found
    p = p[np.isfinite(p)]
    return Calibration(
        test.name if related is not None else f"{test.name}, nobody named",
        len(p),
        tuple(float((p <= level).mean()) for level in LEVELS),
        float(stats.chi2.isf(np.median(p), 1) / stats.chi2.isf(0.5, 1)),
        float(np.nanmean(null.components.heritability)) if isinstance(null, MixedNull) else float("nan"),
    )


def compare(families: int, singles: int, variants: int, traits: int, h2: float, seed: int) -> tuple[Calibration, ...]:
    """Plain regression, the same with relatives named, and the mixed model on the same data.

    A tenth of every second trait is missing.
    """
    rng = np.random.default_rng(seed)
    y = polygenic_traits(rng, traits, families, singles, h2)
    y[:, 1::2][rng.random(y[:, 1::2].shape) < 0.1] = np.nan
    covariates = np.column_stack([np.ones(len(y)), rng.normal(size=len(y))])
    related = population(families, singles)
    calls = drop_genotypes(rng, variants, families, singles)
    told = ((LINEAR, None), (LINEAR, related), (MIXED, related))
    return tuple(calibrate(test, calls, y, covariates, of) for test, of in told)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=int, default=300)
    parser.add_argument("--singles", type=int, default=1000)
    parser.add_argument("--variants", type=int, default=20_000)
    parser.add_argument("--traits", type=int, default=50)
    parser.add_argument("--heritability", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print("| test | tests | " + " | ".join(f"p ≤ {level:g}" for level in LEVELS) + " | λ | mean h² |")
    print("|---" * (len(LEVELS) + 4) + "|")
    for row in compare(given.families, given.singles, given.variants, given.traits, given.heritability, given.seed):
        rates = " | ".join(f"{rate / level:.3f} × {level:g}" for rate, level in zip(row.rates, LEVELS, strict=True))
        print(f"| {row.test} | {row.tests:,} | {rates} | {row.genomic_control:.3f} | {row.heritability:.3f} |")


if __name__ == "__main__":
    main()
