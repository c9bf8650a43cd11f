"""What tests of local ancestry are for: admixed people, alleles whose effects differ by ancestry, and plain regression.

``python -m benchmarks.science.local_ancestry`` draws people with shares of two ancestries, haplotypes with known local
ancestry, and alleles whose frequencies differ between the ancestries. Traits follow the share of ancestry (confounding
by global ancestry); for some variants local ancestry itself has an effect and the allele has none (confounding by local
ancestry); others have an effect in both ancestries, in one, or opposite ones. It prints type-I errors of every test,
and the share of causal variants that each finds, beside plain regression with the same covariates: the intercept, and
the true share of the first ancestry. ``--speed`` times the test, plain regression and a loop of regressions instead.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allscan.kernels.association import AssociationTest, NullData, ScanOptions
from allscan.kernels.block import encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.haplotypes import HaplotypeBlock
from allscan.kernels.linear import LINEAR
from allscan.kernels.local_ancestry import LOCAL_ANCESTRY_LINEAR
from allscan.kernels.local_ancestry_logistic import LOCAL_ANCESTRY_LOGISTIC
from allscan.kernels.missingness import missingness_patterns

NAMES = ("A", "B")
LEVELS = (0.05, 1e-2, 1e-3, 1e-4)
OF_ALLELES = ("neg_log10_p", "neg_log10_p_shared", "neg_log10_p_heterogeneity", "neg_log10_p_A", "neg_log10_p_B")
DIFFERENTIATION = 0.15
BLOCK = 500

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """How large an experiment is."""

    people: int = 4_000
    variants: int = 10_000
    traits: int = 10
    causal: int = 300


@dataclass(frozen=True)
class Drawn:
    """Variants of a block."""

    alleles: NDArray[np.int8]  # (variants, people, 2)
    ancestry: NDArray[np.uint8]  # (variants, people, 2)

    @property
    def haplotypes(self) -> NDArray[np.int64]:
        """Haplotypes of the first ancestry, (variants, people)."""
        return (self.ancestry == 0).sum(axis=2)

    def copies(self, ancestry: int) -> NDArray[np.int64]:
        """Alleles on haplotypes of an ancestry, (variants, people)."""
        return ((self.ancestry == ancestry) & (self.alleles == 1)).sum(axis=2)


def draw(rng: np.random.Generator, share: Floats, n_variants: int) -> Drawn:
    """Unlinked variants: each haplotype's ancestry by the person's share, its allele by the ancestry's frequency."""
    ancestral = rng.uniform(0.05, 0.95, n_variants)
    spread = (1 - DIFFERENTIATION) / DIFFERENTIATION
    frequency = rng.beta(ancestral * spread, (1 - ancestral) * spread, (2, n_variants)).T
    ancestry = (rng.random((n_variants, len(share), 2)) >= share[:, None]).astype(np.uint8)
    carried = np.take_along_axis(frequency[:, :, None], ancestry.reshape(n_variants, -1, 1).astype(np.int64), axis=1)
    alleles = (rng.random(ancestry.shape) < carried[:, :, 0].reshape(ancestry.shape)).astype(np.int8)
    return Drawn(alleles, ancestry)


def haplotype_block(drawn: Drawn) -> HaplotypeBlock:
    """A block as the engine makes it."""
    v, n, _ = drawn.alleles.shape
    flipped = drawn.alleles.mean(axis=(1, 2)) > 0.5
    listed = np.where(flipped[:, None, None], 1 - drawn.alleles, drawn.alleles).astype(np.uint8)
    flat = drawn.ancestry.reshape(v, 2 * n)
    state = 4 * (2 * drawn.ancestry[:, :, 0] + drawn.ancestry[:, :, 1]) + 2 * listed[:, :, 0] + listed[:, :, 1]
    carrier = listed.any(axis=2)
    changes = np.vstack([np.zeros((1, 2 * n), bool), flat[1:] != flat[:-1]])
    return HaplotypeBlock(
        n,
        2,
        np.concatenate([[0], np.cumsum(carrier.sum(axis=1))]),
        np.nonzero(carrier)[1].astype(np.int32),
        state[carrier].astype(np.uint8),
        flipped,
        np.ones(v, bool),
        flat[0].copy(),
        np.concatenate([[0], np.cumsum(changes.sum(axis=1))]),
        np.nonzero(changes)[1].astype(np.int32),
        flat[changes],
    )


def _null(test: AssociationTest, traits: Floats, covariates: Floats, options: ScanOptions) -> Any:
    member, set_of_trait = missingness_patterns(traits)
    names = tuple(f"c{j}" for j in range(covariates.shape[1]))
    data = NullData(traits, covariates, names, np.ones(len(traits)), member, set_of_trait)
    return test.fit_null(data, options, test.options or {})[0]


def scan_local(test: AssociationTest, drawn: Drawn, traits: Floats, covariates: Floats) -> dict[str, Floats]:
    """Columns of a test of local ancestry, (variants, traits) each."""
    options = ScanOptions(ancestries=NAMES)
    shape = (len(drawn.alleles), traits.shape[1])
    out = {column.name: np.full(shape, np.nan) for column in test.columns(options)}
    out["status"] = np.zeros(shape)
    assert test.score_haplotypes is not None
    test.score_haplotypes(haplotype_block(drawn), _null(test, traits, covariates, options), options, out)
    return out


def scan_plain(drawn: Drawn, traits: Floats, covariates: Floats) -> tuple[Floats, float]:
    """−log10 p of plain regression on the number of alleles, (variants, traits), and its seconds."""
    block = encode_block(drawn.alleles.sum(axis=2).astype(np.int8))
    options = ScanOptions(precision=2)
    shape = (len(drawn.alleles), traits.shape[1])
    out = {name: np.full(shape, np.nan) for name in ("beta", "standard_error", "neg_log10_p")}
    out["status"] = np.zeros(shape)
    counts = count_genotypes(block, sample_sets(np.ones((1, len(traits)), bool)))
    null = _null(LINEAR, traits, covariates, options)
    began = time.process_time()
    LINEAR.score_block(block, counts, null, options, out)
    return out["neg_log10_p"], time.process_time() - began


def error_rates(found: Floats) -> dict[float, float]:
    """Share of results below each level, over the level: 1 is right."""
    p = found[np.isfinite(found)]
    return {level: float((p > -np.log10(level)).mean() / level) for level in LEVELS}


def calibration(size: Size, seed: int, *, binary: bool = False) -> dict[str, dict[float, float]]:
    """Type-I errors, over their levels, of traits that follow the share of ancestry and no variant."""
    rng = np.random.default_rng(seed)
    share = rng.beta(4, 1.5, size.people)
    covariates = np.column_stack([np.ones(size.people), share])
    traits = rng.normal(size=(size.people, size.traits)) + 2.0 * share[:, None]
    if binary:
        traits = (traits > np.quantile(traits, 0.8, axis=0)).astype(float)
    test = LOCAL_ANCESTRY_LOGISTIC if binary else LOCAL_ANCESTRY_LINEAR
    found: dict[str, list[Floats]] = {}
    for start in range(0, size.variants, BLOCK):
        drawn = draw(rng, share, min(BLOCK, size.variants - start))
        out = scan_local(test, drawn, traits, covariates)
        for name in (*OF_ALLELES, "neg_log10_p_ancestry"):
            found.setdefault(name, []).append(out[name])
    return {name: error_rates(np.concatenate(parts)) for name, parts in found.items()}


def causal(size: Size, seed: int, effects: tuple[float, float], of_ancestry: float = 0.0) -> dict[str, Floats]:
    """−log10 p of variants, each with a trait of its own: (variants,) by test.

    Parameters
    ----------
    effects
        Of the allele on haplotypes of the two ancestries, in residual standard deviations.
    of_ancestry
        Of a haplotype of the first ancestry.
    """
    rng = np.random.default_rng(seed)
    share = rng.beta(4, 1.5, size.people)
    covariates = np.column_stack([np.ones(size.people), share])
    drawn = draw(rng, share, size.causal)
    parts = []
    for v in range(size.causal):
        one = Drawn(drawn.alleles[v : v + 1], drawn.ancestry[v : v + 1])
        trait = rng.normal(size=size.people) + 2.0 * share + of_ancestry * one.haplotypes[0]
        trait += effects[0] * one.copies(0)[0] + effects[1] * one.copies(1)[0]
        out = scan_local(LOCAL_ANCESTRY_LINEAR, one, trait[:, None], covariates)
        values = {name: float(out[name][0, 0]) for name in (*OF_ALLELES, "neg_log10_p_ancestry")}
        parts.append({"plain": float(scan_plain(one, trait[:, None], covariates)[0][0, 0]), **values})
    return {name: np.array([part[name] for part in parts]) for name in parts[0]}


def speed(people: int, n_traits: int, variants: int = 200) -> dict[str, float]:
    """Genotypes × traits per second of CPU time: the test, plain regression, and a loop of regressions by NumPy."""
    rng = np.random.default_rng(0)
    share = rng.beta(4, 1.5, people)
    drawn = draw(rng, share, variants)
    # Along a chromosome few haplotypes change from one variant to the next.
    drawn.ancestry[:] = drawn.ancestry[:1]
    covariates = np.column_stack([np.ones(people), share, rng.normal(size=(people, 10))])
    traits = rng.normal(size=(people, n_traits))
    options = ScanOptions(ancestries=NAMES)
    block, null = haplotype_block(drawn), _null(LOCAL_ANCESTRY_LINEAR, traits, covariates, options)
    shape = (variants, n_traits)
    out = {column.name: np.full(shape, np.nan) for column in LOCAL_ANCESTRY_LINEAR.columns(options)}
    out["status"] = np.zeros(shape)
    assert LOCAL_ANCESTRY_LINEAR.score_haplotypes is not None
    seconds = []
    for _ in range(3):
        began = time.process_time()
        LOCAL_ANCESTRY_LINEAR.score_haplotypes(block, null, options, out)
        seconds.append(time.process_time() - began)
    plain = [scan_plain(drawn, traits, covariates)[1] for _ in range(3)]
    few = min(variants, 5)
    began = time.process_time()
    for v in range(few):
        one = drawn.haplotypes[v], drawn.copies(0)[v], drawn.copies(1)[v]
        x = np.column_stack([covariates, *one])
        for t in range(min(n_traits, 3)):
            np.linalg.lstsq(x, traits[:, t], rcond=None)
    loop = (time.process_time() - began) / few / min(n_traits, 3)
    per = people * n_traits
    return {
        "local ancestry": per * variants / min(seconds),
        "plain": per * variants / min(plain),
        "loop of regressions": people / loop,
    }


def main() -> None:
    """Run the experiments and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=Size.people)
    parser.add_argument("--variants", type=int, default=Size.variants)
    parser.add_argument("--traits", type=int, default=Size.traits)
    parser.add_argument("--causal", type=int, default=Size.causal)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--binary", action="store_true")
    parser.add_argument("--speed", action="store_true")
    chosen = parser.parse_args()
    size = Size(chosen.people, chosen.variants, chosen.traits, chosen.causal)
    if chosen.speed:
        for n_traits in (1, 16, 128):
            rates = speed(size.people, n_traits)
            print(f"{n_traits} traits: " + ", ".join(f"{name} {rate / 1e6:,.1f} M/s" for name, rate in rates.items()))
        return
    print("type-I error over its level, no variant has an effect")
    for name, rates in calibration(size, chosen.seed, binary=chosen.binary).items():
        print(f"{name:28}" + "  ".join(f"{level:g}: {rate:.2f}" for level, rate in rates.items()))
    cases: dict[str, tuple[tuple[float, float], float]] = {
        "ancestry has an effect, the allele has none": ((0.0, 0.0), 0.15),
        "the same effect": ((0.1, 0.1), 0.0),
        "an effect on haplotypes of A": ((0.12, 0.0), 0.0),
        "an effect on haplotypes of B": ((0.0, 0.2), 0.0),
        "opposite effects": ((0.1, -0.15), 0.0),
    }
    for title, (effects, of_ancestry) in cases.items():
        found = causal(size, chosen.seed, effects, of_ancestry)
        print(f"{title}: share with p < 1e-4")
        print("  " + "  ".join(f"{name} {np.nanmean(values > 4):.2f}" for name, values in found.items()))


if __name__ == "__main__":
    main()
