"""Linear association of one predictor, with a basis of the covariates that all patterns of missing traits share.

Traits that miss different samples need different projections off the covariates, but not different products. Let
``Q`` be an orthonormal basis of the covariates (beside the constant) over all samples ``U`` that any trait of a group
has, ``S`` the samples of one trait, and ``D`` those of ``U`` that it lacks. For a predictor ``g`` centred in ``S``::

    h = Σ_S g q = Σ_U g q − Σ_D g q            C = Σ_S (q − q̄)(q − q̄)ᵀ = I − Σ_D q qᵀ − |S| q̄ q̄ᵀ
    x = gᵀg − hᵀ C⁻¹ h                         b = gᵀy

where ``y`` is the trait after the covariates within ``S``, zero outside. ``Σ_U g q`` and ``gᵀy`` are products
that all traits share; only the sums over ``D``, the few that a trait lacks (or over ``S``, if those are fewer), are its
own. Sums of ``g`` itself come from
exact counts: the constant is in no product, so that float32 columns, all of mean zero, lose nothing to it.

Where samples without a call are excluded, ``C``, ``yᵀy`` and ``gᵀy`` are down-dated by them. A variant that the
covariates nearly explain, or that nearly explains a trait, is done again in float64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.association import Coding, Missing, Model, Precision, TraitNote
from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.block import Encoding, take
from allscan.kernels.entries import missing_entries
from allscan.kernels.linear_common import centred_moments, trait_notes
from allscan.kernels.linear_lanes import make_lanes
from allscan.kernels.linear_residuals import residuals, write_rows
from allscan.kernels.linear_shared_numba import score_variants
from allscan.kernels.panel import Panel, make_panel, zero_panel
from allscan.kernels.products import (
    Term,
    called_and_missing_products,
    genotype_products,
    missing_products,
    shifts,
    subset_products,
)
from allscan.kernels.subsets import Subsets, make_subsets
from allscan.kernels.variance_factor import expected_variance, heed, quadratic_forms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.association import NullData, ScanOptions
    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.counts import GenotypeCounts

FLOAT32_SAMPLES = 10_000
"""From here on sums are in float32 unless the job says otherwise."""

# Least eigenvalue of C, relative to the pattern's share of the samples, for a pattern to join: below it, float32
# products would lose digits that matter. Below the second bound a direction is gone, as the sex covariate is
# within one sex. A pattern in between has a basis of its own.
WELL_CONDITIONED = 1e-4
GONE = 1e-12
TRAITS_AT_ONCE = 16  # whose residuals are made together: bounds the memory of it

CODINGS = {Model.ADDITIVE: Coding.ADDITIVE, Model.DOMINANT: Coding.DOMINANT, Model.RECESSIVE: Coding.RECESSIVE}


def single_precision(options: ScanOptions, n_samples: int) -> bool:
    """Whether long sums over so many samples are taken in float32."""
    auto = options.precision == Precision.AUTO and n_samples >= FLOAT32_SAMPLES
    return options.precision == Precision.FLOAT32 or auto


class SharedGroup(NamedTuple):
    """Traits whose patterns of missing samples share one basis of the covariates.

    ``sets`` are the patterns, ``traits`` the traits ordered by pattern: those of pattern ``k`` are
    ``trait_start[k] : trait_start[k + 1]``. Columns of the panels: the basis, then the traits' residuals at unit
    length.
    """

    panel: Panel  # in the precision of the scan
    exact: Panel  # float64
    n_basis: int
    subsets: Subsets  # the samples that a pattern lacks, or has, whichever are fewer
    subset: NDArray[np.int64]  # (sets,) the subset of each pattern, or -1 where it lacks none
    inside: NDArray[np.bool_]  # (sets,) the subset is of those that the pattern has
    sets: NDArray[np.int64]  # (sets,) number of each pattern in the batch
    size: NDArray[np.int64]  # (sets,)
    rank: NDArray[np.int64]  # (sets,) of the covariates, the constant included
    gram: NDArray[np.float64]  # (sets, n_basis, n_basis) C
    root: NDArray[np.float64]  # (sets, n_basis, n_basis) R with R Rᵀ = C⁻¹
    basis_sum: NDArray[np.float64]  # (sets, n_basis) Σ_S q
    trait_start: NDArray[np.int64]  # (sets + 1,)
    traits: NDArray[np.int64]  # (traits,) index in the batch
    norm: NDArray[np.float64]  # (traits,) length of the residuals
    variance_factor: NDArray[np.float64]  # (traits,) of the estimate, for relatives
    status: NDArray[np.uint8]  # (traits,)


class SharedNull(NamedTuple):
    """Null models of a batch of traits."""

    groups: tuple[SharedGroup, ...]
    member: NDArray[np.bool_]  # (sets, samples)
    dosage_scale: float  # of everybody


def fit_shared(data: NullData, options: ScanOptions) -> tuple[SharedNull, tuple[TraitNote, ...]] | None:
    """Null models in shared bases; None if the covariates of a pattern do not span the constant."""
    scale = data.dosage_scale[data.member.any(axis=0)]
    if len(scale) and np.ptp(scale) > 0:
        return None
    left = [int(s) for s in range(len(data.member))]
    groups: list[SharedGroup] = []
    notes: list[TraitNote] = []
    while left:
        found = _fit_group(data, options, np.atleast_1d(data.member[left].any(axis=0)), left)
        if found is None:
            # In its own samples a pattern is always well conditioned.
            found = _fit_group(data, options, data.member[left[0]], left[:1])
            if found is None:
                return None
        group, of_group = found
        groups.append(group)
        notes += of_group
        left = [s for s in left if s not in group.sets]
    notes.sort(key=lambda note: note.trait)
    return SharedNull(tuple(groups), data.member, float(scale[0]) if len(scale) else 1.0), tuple(notes)


def _centred_basis(covariates: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[int, ...]] | None:
    """Orthonormal basis of the covariates beside the constant, and the dropped columns; None without a constant."""
    basis, dropped = orthonormal_basis(covariates)
    n, rank = basis.shape
    if n == 0:
        return np.empty((0, 0)), dropped
    constant = basis.sum(axis=0) / math.sqrt(n)
    if abs(float(constant @ constant) - 1.0) > 1e-9:
        return None
    # A reflection that takes the constant to the first axis; the others then span what is beside it.
    mirror = constant.copy()
    mirror[0] += math.copysign(1.0, constant[0])
    others = basis - np.outer(basis @ mirror, mirror) * (2.0 / (mirror @ mirror))
    rest = others[:, 1:]
    return rest - rest.mean(axis=0) if rank > 1 else rest, dropped


def _fit_group(
    data: NullData, options: ScanOptions, everybody: NDArray[np.bool_], candidates: list[int]
) -> tuple[SharedGroup, list[TraitNote]] | None:
    """A group over the samples ``everybody``, of those candidates that fit; None if none does."""
    n = len(everybody)
    found = _centred_basis(data.covariates[everybody])
    if found is None:
        return None
    inner, dropped = found
    c = inner.shape[1]
    basis = np.zeros((n, c))
    basis[everybody] = inner
    total = int(everybody.sum())
    sets, grams, roots, sums, ranks, left_out, listed, inside = [], [], [], [], [], [], [], []
    for s in candidates:
        member = data.member[s]
        size = int(member.sum())
        few = 2 * size < total
        samples = np.flatnonzero(member if few else everybody & ~member)
        rows = basis[samples]
        basis_sum = rows.sum(axis=0) if few else -rows.sum(axis=0)
        gram = rows.T @ rows if few else np.eye(c) - rows.T @ rows
        gram -= np.outer(basis_sum, basis_sum) / max(size, 1)
        values, vectors = np.linalg.eigh(gram)
        share = max(size, 1) / max(total, 1)
        gone = values <= GONE * share
        if (values[~gone] < WELL_CONDITIONED * share).any():
            continue
        rank, dropped_here = 1 + c - int(gone.sum()), dropped
        if gone.any():
            own, dropped_here = orthonormal_basis(data.covariates[member])
            # Beside one sample far away, which the pattern lacks, a direction only looks gone.
            if max(own.shape[1], 1) != rank:
                continue
        roots.append(np.where(gone, 0.0, vectors / np.sqrt(np.where(gone, 1.0, values))))
        sets.append(s)
        grams.append(gram)
        sums.append(basis_sum)
        ranks.append(rank)
        left_out.append(dropped_here)
        listed.append(samples)
        inside.append(few)
    if not sets:
        return None
    traits = np.concatenate([np.flatnonzero(data.set_of_trait == s) for s in sets])
    trait_start = np.zeros(len(sets) + 1, np.int64)
    np.cumsum([int((data.set_of_trait == s).sum()) for s in sets], out=trait_start[1:])
    exact = zero_panel(n, c + len(traits), np.float64)
    panel = zero_panel(n, exact.n_columns, np.float32) if single_precision(options, n) else exact
    panels = (exact,) if panel is exact else (exact, panel)
    set_of_trait = np.repeat(np.arange(len(sets)), np.diff(trait_start))
    left, spread, factor = np.zeros(len(traits)), np.zeros(len(traits)), np.ones(len(traits))
    member, basis_rows, all_roots = data.member[sets], np.ascontiguousarray(basis.T), np.array(roots)
    for each in panels:
        write_rows(each.data, 0, basis_rows)
    for start in range(0, len(traits), TRAITS_AT_ONCE):
        some = slice(start, start + TRAITS_AT_ONCE)
        rows, left[some], spread[some] = residuals(
            data.traits, traits[some], member, set_of_trait[some], basis_rows, all_roots
        )
        for each in panels:
            write_rows(each.data, c + start, rows)
        if data.relatedness is not None:
            factor[some] = quadratic_forms(data.relatedness, np.ascontiguousarray(rows.T))
    status = np.zeros(len(traits), np.uint8)
    notes: list[TraitNote] = []
    for k, s in enumerate(sets):
        here = slice(int(trait_start[k]), int(trait_start[k + 1]))
        size = int(data.member[s].sum())
        status[here], of_traits = trait_notes(
            data, traits[here], size, ranks[k], 1, left[here], spread[here], left_out[k]
        )
        notes += of_traits
        if data.relatedness is not None:
            own = _own_basis(basis, data.member[s], sums[k], roots[k])
            factor[here] /= expected_variance(data.relatedness, data.member[s], own)
            notes += heed(factor[here], options.model, status[here], traits[here])
    lists = [samples for samples in listed if len(samples)]
    subset = np.full(len(sets), -1, np.int64)
    subset[[k for k, samples in enumerate(listed) if len(samples)]] = np.arange(len(lists))
    group = SharedGroup(
        panel=panel,
        exact=exact,
        n_basis=c,
        subsets=make_subsets(lists, n, c),
        subset=subset,
        inside=np.array(inside),
        sets=np.array(sets, np.int64),
        size=member.sum(axis=1, dtype=np.int64),
        rank=np.array(ranks, np.int64),
        gram=np.array(grams).reshape(len(sets), c, c),
        root=all_roots.reshape(len(sets), c, c),
        basis_sum=np.array(sums).reshape(len(sets), c),
        trait_start=trait_start,
        traits=traits,
        norm=np.sqrt(left),
        variance_factor=factor,
        status=status,
    )
    return group, notes


def _own_basis(
    basis: NDArray[np.float64], member: NDArray[np.bool_], basis_sum: NDArray[np.float64], root: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Orthonormal basis of the covariates of a pattern, the constant first, (samples, rank), zero outside."""
    size = max(int(member.sum()), 1)
    kept = root[:, root.any(axis=0)]
    own = np.column_stack([np.full(len(member), 1.0 / math.sqrt(size)), (basis - basis_sum / size) @ kept])
    own[~member] = 0.0
    return own


class PredictorMoments(NamedTuple):
    """Sums of the predictor, less its shift, over called genotypes; each of shape (variants, sets)."""

    n_missing: NDArray[np.int64]
    mean: NDArray[np.float64]
    centred_ss: NDArray[np.float64]  # Σ (g − mean)²
    spread: NDArray[np.float64]  # centred sum of squares over that of g; 0: monomorphic

    def rows(self, variants: NDArray[np.int64]) -> PredictorMoments:
        """Those of some variants."""
        return PredictorMoments(
            self.n_missing[variants], self.mean[variants], self.centred_ss[variants], self.spread[variants]
        )


def predictor_moments(
    block: GenotypeBlock, counts: GenotypeCounts, member: NDArray[np.bool_], coding: Coding, shift: NDArray[np.float64]
) -> PredictorMoments:
    """Moments of a coded genotype; ``member`` (sets, samples), ``shift`` (variants,) as of :func:`shifts`."""
    if coding == Coding.ADDITIVE:
        total, squares = counts.dosage_sum, counts.dosage_sum_sq
    elif (block.encoding <= Encoding.CARRIERS).all():
        total = (counts.n_hom_alt + (counts.n_het if coding == Coding.DOMINANT else 0)).astype(np.float64)
        squares = total
    else:
        weights = make_panel(member.T, np.float64)
        total = genotype_products(block, weights, coding)
        squares = genotype_products(block, weights, coding, Term.SQUARE)
    n_missing = counts.n_missing.astype(np.int64)
    called = counts.size - n_missing
    return PredictorMoments(n_missing, *centred_moments(total, squares, shift[:, None], called))


def score_shared(
    block: GenotypeBlock,
    counts: GenotypeCounts,
    null: SharedNull,
    options: ScanOptions,
    out: Mapping[str, NDArray[Any]],
) -> None:
    """Test every variant of a block against every trait."""
    coding = CODINGS[Model(options.model)]
    moments = predictor_moments(block, counts, null.member, coding, shifts(block, coding))
    # Traits × variants is the order of the results cube; the contract's is its transpose.
    names = ("beta", "standard_error", "neg_log10_p", "status")
    direct = all(out[name].T.flags.c_contiguous for name in names)
    cells = tuple(out[name].T if direct else np.empty(out[name].shape[::-1], out[name].dtype) for name in names)
    variants = np.arange(block.n_variants)
    for group in null.groups:
        doubtful = _score_group(block, moments, group, group.panel, coding, null.dosage_scale, options, variants, cells)
        again = np.flatnonzero(doubtful)
        if len(again) and group.panel is not group.exact:
            part = block if len(again) == block.n_variants else take(block, again)
            few = moments.rows(again)
            _score_group(part, few, group, group.exact, coding, null.dosage_scale, options, again, cells)
    if not direct:
        for name, values in zip(names, cells, strict=True):
            out[name][...] = values.T


def _score_group(
    block: GenotypeBlock,
    moments: PredictorMoments,
    group: SharedGroup,
    panel: Panel,
    coding: Coding,
    dosage_scale: float,
    options: ScanOptions,
    variants: NDArray[np.int64],
    cells: tuple[NDArray[Any], ...],
) -> NDArray[np.bool_]:
    """Results of the variants that are columns ``variants`` of the cells; which of them ask for float64."""
    exclude = options.missing == Missing.EXCLUDE
    # Who has no call of a rare variant need only be known one by one where they are left out.
    missing = missing_entries(block, of_carriers=exclude)
    if exclude:
        products = subset_products(block, panel, group.subsets, coding, shifted=True)
        absent = missing_products(missing, panel, group.subsets)
    else:
        products, absent = called_and_missing_products(block, missing, panel, group.subsets, coding)
    doubtful = np.zeros(block.n_variants, np.bool_)
    score_variants(
        products.total,
        products.of_subset,
        absent.total,
        absent.of_subset,
        np.ascontiguousarray(moments.n_missing[:, group.sets]),
        np.ascontiguousarray(moments.mean[:, group.sets]),
        np.ascontiguousarray(moments.centred_ss[:, group.sets]),
        np.ascontiguousarray(moments.spread[:, group.sets]),
        missing.offset,
        missing.sample,
        exclude,
        panel.data,
        group.n_basis,
        group.subset,
        group.inside,
        group.subsets.of_sample_start,
        group.subsets.of_sample,
        group.size,
        group.rank,
        group.gram,
        group.root,
        group.basis_sum,
        group.trait_start,
        group.traits,
        group.norm,
        group.variance_factor,
        group.status,
        dosage_scale,
        variants,
        doubtful,
        make_lanes(len(group.sets), len(group.traits)),
        cells[0],
        cells[1],
        cells[2],
        cells[3],
    )
    return doubtful
