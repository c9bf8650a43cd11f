"""Tests of local ancestry as regressions with all predictors written out, and blocks of dense haplotypes."""

from __future__ import annotations

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats

from allscan.kernels.block import encode_block
from allscan.kernels.haplotypes import Changes, HaplotypeBlock, Phase, haplotype_block

Floats = NDArray[np.float64]


def predictors(alleles: NDArray[np.int8], ancestry: NDArray[np.uint8], k: int) -> tuple[Floats, Floats]:
    """Haplotypes and ALT alleles of each ancestry, (people, ancestries) each, of one variant (people, 2).

    A person with a missing allele has the ancestries' frequencies among the called.
    """
    haplotypes = np.array([[(row == a).sum() for a in range(k)] for row in ancestry], float)
    called = (alleles >= 0).all(axis=1)
    counts = np.zeros(haplotypes.shape)
    for i, row in enumerate(ancestry):
        for h in range(2):
            counts[i, row[h]] += alleles[i, h] == 1
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.nan_to_num(counts[called].sum(axis=0) / haplotypes[called].sum(axis=0))
    counts[~called] = haplotypes[~called] * rate
    return haplotypes, counts


def linear(y: Floats, covariates: Floats, haplotypes: Floats, counts: Floats, factor: float = 1.0) -> dict[str, float]:
    """All tests by least squares on dense predictors; columns of ``counts`` are those with a term."""
    k = counts.shape[1]

    def fit(x: Floats) -> tuple[float, int]:
        coefficients, *_ = np.linalg.lstsq(x, y, rcond=1e-10)
        return float(((y - x @ coefficients) ** 2).sum()), int(np.linalg.matrix_rank(x, tol=1e-8))

    without = np.column_stack([covariates, haplotypes])
    full = np.column_stack([without, counts])
    shared = np.column_stack([without, counts.sum(axis=1)])
    (r_cov, d_cov), (r0, d0), (r1, d1), (r2, d2) = (fit(x) for x in (covariates, without, full, shared))
    n = len(y)

    def p(small: float, ds: int, large: float, dl: int) -> float:
        if dl == ds:
            return np.nan
        f = ((small - large) / (dl - ds)) / (large / (n - dl)) / factor
        return float(-stats.f.logsf(f, dl - ds, n - dl) / np.log(10))

    out = {
        "neg_log10_p": p(r0, d0, r1, d1),
        "neg_log10_p_shared": p(r0, d0, r2, d2),
        "neg_log10_p_heterogeneity": p(r2, d2, r1, d1),
        "neg_log10_p_ancestry": p(r_cov, d_cov, r0, d0),
    }
    inverse = np.linalg.pinv(full.T @ full, rcond=1e-12)
    beta = inverse @ full.T @ y
    error = np.sqrt(factor * np.diag(inverse) * r1 / (n - d1))
    for j in range(k):
        out[f"beta_{j}"], out[f"standard_error_{j}"] = beta[len(beta) - k + j], error[len(beta) - k + j]
    inverse = np.linalg.pinv(shared.T @ shared, rcond=1e-12)
    out["beta"] = (inverse @ shared.T @ y)[-1]
    out["standard_error"] = float(np.sqrt(factor * inverse[-1, -1] * r2 / (n - d2)))
    return out


def logistic(y: Floats, covariates: Floats, haplotypes: Floats, counts: Floats) -> dict[str, float]:
    """All tests by maximum likelihood on dense predictors; the last ancestry's haplotypes follow from the others."""
    k = counts.shape[1]
    without = np.column_stack([covariates, haplotypes[:, :-1]])
    designs = (covariates, without, np.column_stack([without, counts.sum(axis=1)]), np.column_stack([without, counts]))
    null, admixture, shared, full = (sm.Logit(y, x).fit(disp=0, tol=1e-12, maxiter=100) for x in designs)

    def p(small: object, large: object, df: int) -> float:
        return float(-stats.chi2.logsf(2 * (large.llf - small.llf), df) / np.log(10)) if df else np.nan

    out = {
        "neg_log10_p": p(admixture, full, k),
        "neg_log10_p_shared": p(admixture, shared, 1),
        "neg_log10_p_heterogeneity": p(shared, full, k - 1),
        "neg_log10_p_ancestry": p(null, admixture, without.shape[1] - covariates.shape[1]),
        "beta": shared.params[-1],
        "standard_error": shared.bse[-1],
    }
    for j in range(k):
        out[f"beta_{j}"], out[f"standard_error_{j}"] = full.params[j - k], full.bse[j - k]
    return out


def block_of(
    alleles: NDArray[np.int8],
    ancestry: NDArray[np.uint8],
    k: int,
    unphased: NDArray[np.bool_] | None = None,
    people: NDArray[np.int64] | None = None,
) -> HaplotypeBlock:
    """A block of dense haplotypes (variants, people, 2); those of ``people`` only, where they are given."""
    v, n, _ = alleles.shape
    called = (alleles >= 0).all(axis=2)
    calls = np.where(called, alleles.sum(axis=2), -1).astype(np.int8)
    block = encode_block(calls)
    bits: list[int] = []
    start, silent = np.zeros(v, np.int64), []
    for r in range(v):
        start[r] = len(bits)
        for i in np.flatnonzero(calls[r] == 1):
            if unphased is not None and unphased[r, i]:
                silent.append(len(bits))
            bits.append(int(alleles[r, i, 0] == 1))
    packed = np.packbits(np.array([*bits, 0], np.uint8), bitorder="little")
    flat = ancestry.reshape(v, 2 * n)
    offset, haplotype, value = [0, 0], [], []
    for r in range(1, v):
        changed = np.flatnonzero(flat[r] != flat[r - 1])
        haplotype += changed.tolist()
        value += flat[r, changed].tolist()
        offset.append(len(haplotype))
    changes = Changes(flat[0].copy(), np.array(offset), np.array(haplotype, np.int32), np.array(value, np.uint8))
    chosen = np.arange(n) if people is None else people
    person = np.full(n, -1, np.int32)
    person[chosen] = np.arange(len(chosen))
    usable = np.ones(v, bool)
    phase = Phase(packed, start, np.array(silent, np.int64))
    return haplotype_block(block, 0, v, phase, changes, usable, np.arange(n, dtype=np.int32), person, len(chosen), k)


def mosaics(
    rng: np.random.Generator, n_variants: int, n_people: int, k: int, *, missing: float = 0.0, switches: float = 4.0
) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Alleles and ancestries of admixed haplotypes, (variants, people, 2): frequencies differ by ancestry."""
    frequency = rng.beta(0.6, 1.2, (n_variants, k))
    share = rng.dirichlet(np.full(k, 2.0), n_people)
    ancestry = np.empty((n_variants, n_people, 2), np.uint8)
    for i in range(n_people):
        for h in range(2):
            cuts = np.sort(rng.integers(1, max(2, n_variants), rng.poisson(switches)))
            piece = np.searchsorted(cuts, np.arange(n_variants), side="right")
            ancestry[:, i, h] = rng.choice(k, len(cuts) + 1, p=share[i])[piece]
    alleles = (
        rng.random(ancestry.shape)
        < np.take_along_axis(frequency, ancestry.reshape(n_variants, -1).astype(int), 1).reshape(ancestry.shape)
    ).astype(np.int8)
    alleles[rng.random(ancestry.shape[:2]) < missing] = -1
    return alleles, ancestry
