"""The general form of linear association: any covariates, one or two predictors, weights of the dosage.

By the theorem of Frisch, Waugh and Lovell (10.2307/1907330) the coefficient of the genotype in
``y ~ covariates + g`` is that of ``y`` on ``g`` after both are projected off the covariates. With an orthonormal
basis ``Q`` of the covariates of the analysed samples and residual traits ``y`` this needs, for each variant,
only the products ``gᵀQ``, ``gᵀy`` and ``gᵀg``::

    x = gᵀg − |gᵀQ|²     b = gᵀy / x     s² = (yᵀy − (gᵀy)² / x) / (n − rank Q − 1)     SE² = s² / x

and Student's t of ``b / SE``. Traits with the same pattern of missing samples share ``Q``; every pattern has its
own, so each result is the one of a separate run of that trait.

Missing genotypes are either the mean of the called ones, or excluded: then the products are down-dated
by the few samples without a call, and the covariates re-orthogonalised by a Cholesky factor of ``I − QₘᵀQₘ``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.association import (
    Coding,
    Missing,
    Model,
    NullData,
    ScanOptions,
    TraitNote,
)
from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.block import Encoding, GenotypeBlock
from allscan.kernels.entries import missing_entries
from allscan.kernels.linear_common import centred_moments, trait_notes
from allscan.kernels.linear_general_numba import score_variants
from allscan.kernels.panel import Panel, make_panel
from allscan.kernels.products import Term, genotype_products, missing_products, shifts
from allscan.kernels.variance_factor import expected_variance, heed, quadratic_forms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.counts import GenotypeCounts
    from allscan.kernels.entries import Entries


class GeneralNull(NamedTuple):
    """Null models of a batch of traits: covariate bases and residual traits, side by side in one panel.

    Sample set ``s`` has the columns ``start[s] : start[s + 1]``: first its ``rank[s]`` basis vectors, then
    the residuals of its traits. Rows of samples outside the set are zero.
    """

    panel: NDArray[np.float64]  # (samples, columns)
    scaled: Panel  # the same, rows times the dosage scale
    start: NDArray[np.int64]  # (sets + 1,)
    rank: NDArray[np.int64]  # (sets,)
    size: NDArray[np.int64]  # (sets,)
    set_of_trait: NDArray[np.int64]  # (traits,)
    column: NDArray[np.int64]  # (traits,) column of the trait's residuals
    residual_ss: NDArray[np.float64]  # (traits,) yᵀy after the covariates
    variance_factor: NDArray[np.float64]  # (traits,) of the estimate, for relatives
    status: NDArray[np.uint8]  # (traits,)
    weights: NDArray[np.float64]  # (samples, 3 × sets): membership, times the scale, times the scale squared
    is_scaled: bool
    shiftable: bool  # a constant is in the span of every set's (scaled) covariates


def fit_general(data: NullData, options: ScanOptions) -> tuple[GeneralNull, tuple[TraitNote, ...]]:
    """Project the traits off the covariates, pattern by pattern."""
    n, t = data.traits.shape
    n_sets = len(data.member)
    panels, notes = [], []
    rank = np.zeros(n_sets, np.int64)
    start = np.zeros(n_sets + 1, np.int64)
    column = np.zeros(t, np.int64)
    residual_ss, factor = np.zeros(t), np.ones(t)
    status = np.zeros(t, np.uint8)
    predictors = 2 if options.model == Model.GENOTYPIC else 1
    for s, member in enumerate(data.member):
        traits = np.flatnonzero(data.set_of_trait == s)
        basis, dropped = orthonormal_basis(data.covariates[member])
        rank[s] = basis.shape[1]
        residuals = data.traits[np.ix_(member, traits)]
        centred = residuals - residuals.mean(axis=0) if len(residuals) else residuals
        spread = np.einsum("nt,nt->t", centred, centred)
        for _ in range(2):
            residuals = residuals - basis @ (basis.T @ residuals)
        left = np.einsum("nt,nt->t", residuals, residuals)
        panel = np.zeros((n, basis.shape[1] + len(traits)))
        panel[member] = np.hstack([basis, residuals])
        column[traits] = start[s] + basis.shape[1] + np.arange(len(traits))
        start[s + 1] = start[s] + panel.shape[1]
        residual_ss[traits] = left
        status[traits], of_traits = trait_notes(
            data, traits, int(member.sum()), basis.shape[1], predictors, left, spread, dropped
        )
        notes += of_traits
        if data.relatedness is not None:
            columns = panel[:, basis.shape[1] :]
            expected = expected_variance(data.relatedness, member, panel[:, : basis.shape[1]])
            forms = quadratic_forms(data.relatedness, columns)
            of_set, codes = forms / np.where(left > 0, left, 1.0) / expected, status[traits]
            notes += heed(of_set, options.model, codes, traits)
            factor[traits], status[traits] = of_set, codes
        panels.append(panel)
    panel = np.ascontiguousarray(np.hstack(panels)) if panels else np.zeros((n, 0))
    scale = data.dosage_scale
    is_scaled = bool(np.any(scale != 1.0))
    member = data.member.T.astype(np.float64)
    weights = np.hstack([member, member * scale[:, None], member * (scale**2)[:, None]])
    null = GeneralNull(
        panel,
        make_panel(panel * scale[:, None], np.float64),
        start,
        rank,
        data.member.sum(axis=1, dtype=np.int64),
        data.set_of_trait,
        column,
        residual_ss,
        factor,
        status,
        np.ascontiguousarray(weights),
        is_scaled,
        _spans_a_constant(data, panel, start, rank),
    )
    return null, tuple(notes)


def _spans_a_constant(
    data: NullData, panel: NDArray[np.float64], start: NDArray[np.int64], rank: NDArray[np.int64]
) -> bool:
    """Whether taking a constant off the genotypes changes nothing, in every sample set."""
    for s, member in enumerate(data.member):
        constant = np.where(member, data.dosage_scale, 0.0)
        basis = panel[:, start[s] : start[s] + rank[s]]
        left = constant - basis @ (basis.T @ constant)
        if left @ left > 1e-18 * (constant @ constant):
            return False
    return True


class _Moments(NamedTuple):
    """Sums of the predictors, less their shifts, within each sample set."""

    mean: NDArray[np.float64]  # (predictors, variants, sets) of called genotypes, before the dosage scale
    spread: NDArray[np.float64]  # (predictors, variants, sets) variance over mean square; 0: monomorphic
    gram: NDArray[np.float64]  # (predictors, predictors, variants, sets) over called genotypes, scaled
    missing: NDArray[np.float64]  # (variants, sets) squared scale summed over missing genotypes
    n_missing: NDArray[np.int64]  # (variants, sets)


def _moments(
    block: GenotypeBlock,
    counts: GenotypeCounts,
    null: GeneralNull,
    codings: tuple[Coding, ...],
    missing: Entries,
) -> _Moments:
    n_sets, p, v = len(null.size), len(codings), block.n_variants
    n_missing = counts.n_missing.astype(np.int64)
    n_called = null.size - n_missing
    hard = bool((block.encoding <= Encoding.CARRIERS).all())
    het, hom = counts.n_het.astype(np.float64), counts.n_hom_alt.astype(np.float64)

    def sums(coding: Coding, term: Term, power: int) -> NDArray[np.float64]:
        """``Σ f(g) · scale^power`` over called genotypes, shape (variants, sets)."""
        if power == 0 or not null.is_scaled:
            if coding == Coding.ADDITIVE and term != Term.CROSS:
                return counts.dosage_sum if term == Term.VALUE else counts.dosage_sum_sq
            if hard:
                return {Coding.DOMINANT: het + hom, Coding.RECESSIVE: hom, Coding.HETEROZYGOUS: het}[coding]
        panel = np.ascontiguousarray(null.weights[:, power * n_sets : (power + 1) * n_sets])
        return genotype_products(block, panel, coding, term)

    if null.is_scaled:
        squared_scale = np.ascontiguousarray(null.weights[:, 2 * n_sets :])
        missing_weight = missing_products(missing, squared_scale).total
        called_weight = squared_scale.sum(axis=0) - missing_weight
    else:
        missing_weight, called_weight = n_missing.astype(np.float64), n_called.astype(np.float64)
    mean = np.empty((p, v, n_sets))
    spread = np.empty((p, v, n_sets))
    gram = np.empty((p, p, v, n_sets))
    shift = [shifts(block, coding)[:, None] * null.shiftable for coding in codings]
    for j, coding in enumerate(codings):
        total, squares = sums(coding, Term.VALUE, 0), sums(coding, Term.SQUARE, 0)
        mean[j], _, spread[j] = centred_moments(total, squares, shift[j], n_called)
        first, second = sums(coding, Term.VALUE, 2), sums(coding, Term.SQUARE, 2)
        gram[j, j] = second - shift[j] * (2.0 * first - shift[j] * called_weight)
    if p == 2:
        # The shift of heterozygosity is zero: no homozygote has any.
        both = sums(Coding.HETEROZYGOUS, Term.CROSS, 2) - shift[0] * sums(Coding.HETEROZYGOUS, Term.VALUE, 2)
        gram[0, 1] = gram[1, 0] = both
    return _Moments(mean, spread, gram, missing_weight, n_missing)


NAMES = ("beta", "standard_error", "neg_log10_p", "beta_domdev", "standard_error_domdev")
"""Output columns in the order of the kernel's cells; the last two have two predictors only."""

PREDICTORS: dict[int, tuple[Coding, ...]] = {
    Model.ADDITIVE: (Coding.ADDITIVE,),
    Model.DOMINANT: (Coding.DOMINANT,),
    Model.RECESSIVE: (Coding.RECESSIVE,),
    Model.GENOTYPIC: (Coding.ADDITIVE, Coding.HETEROZYGOUS),
}
"""Codings of the genotype, for each model."""


def score_general(
    block: GenotypeBlock,
    counts: GenotypeCounts,
    null: GeneralNull,
    options: ScanOptions,
    out: Mapping[str, NDArray[Any]],
) -> None:
    """Test every variant of a block against every trait of the null model."""
    codings = PREDICTORS[options.model]
    missing = missing_entries(block)
    moments = _moments(block, counts, null, codings, missing)
    exclude = options.missing == Missing.EXCLUDE
    products = np.stack([genotype_products(block, null.scaled, coding, shifted=null.shiftable) for coding in codings])
    missing_sums = np.empty((block.n_variants, 0)) if exclude else missing_products(missing, null.scaled).total
    names = [name for name in NAMES if name in out]
    cells = np.empty((block.n_variants, len(null.column), len(names)))
    score_variants(
        products,
        missing_sums,
        moments.mean,
        moments.spread,
        moments.gram,
        moments.missing,
        moments.n_missing,
        missing.offset,
        missing.sample,
        exclude,
        null.panel,
        null.start,
        null.rank,
        null.size,
        null.set_of_trait,
        null.column,
        null.residual_ss,
        null.variance_factor,
        null.status,
        cells,
        out["status"],
    )
    for k, name in enumerate(names):
        out[name][...] = cells[:, :, k]
