"""Linear mixed models of traits of relatives: exact tests with a sparse relationship matrix.

The model is ``y = Xβ + gb + u + e``, ``Var(u + e) = σ² V``, ``V = h² K + (1 − h²) I`` with the relationship matrix
``K`` of the trait's own samples (:mod:`allscan.kernels.relatedness`) and the ``h²`` that restricted likelihood gives
without ``g`` (:mod:`allscan.kernels.reml`), as fastGWA (10.1038/s41588-019-0530-8) has it. Given that, it is
generalised least squares::

    P = V⁻¹ − V⁻¹X (XᵀV⁻¹X)⁻¹ XᵀV⁻¹        x = gᵀPg        b = gᵀPy / x
    s² = (yᵀPy − b² x) / (n − c − 1)       SE² = s² / x

and Student's t of ``b / SE``; without relatives it is linear regression. fastGWA puts ``gᵀg`` times a factor, the same
for all variants, in place of ``gᵀPg``; here it is what it is::

    gᵀPg = gᵀV⁻¹g − |Rᵀ XᵀV⁻¹g|²,      R Rᵀ = (XᵀV⁻¹X)⁻¹

``gᵀV⁻¹g`` is that of unrelated people, which exact counts give, and a sum over relatives
(:mod:`allscan.kernels.relatives`); ``gᵀPy`` and ``gᵀV⁻¹X`` are products with columns. Traits with the same samples
have their ``V⁻¹`` in common up to ``h²``: all are combinations of a few matrices (:mod:`allscan.kernels.modes`), and
the cost follows the number of these.

Sums are in float64 whatever ``precision`` says: a variance here is a difference of sums over everybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from allscan.errors import InputError
from allscan.kernels import linear
from allscan.kernels import status_codes as codes
from allscan.kernels.association import (
    AssociationTest,
    Missing,
    Model,
    NullData,
    OutputColumn,
    ScanOptions,
    Status,
    TraitNote,
)
from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.entries import missing_entries
from allscan.kernels.jit import jit
from allscan.kernels.linear_common import COLLINEAR, MONOMORPHIC, finish_one, trait_notes
from allscan.kernels.linear_shared import CODINGS, predictor_moments
from allscan.kernels.modes import Modes, modes_of
from allscan.kernels.panel import Panel, write_columns, zero_panel
from allscan.kernels.products import genotype_products, missing_products, shifts
from allscan.kernels.relatedness import Families, Relatedness, families_of
from allscan.kernels.relatives import Relatives, lay_out, quadratic_forms
from allscan.kernels.reml import HIGHEST, Bound, VarianceComponents, estimate, generalised_fit, rotate
from allscan.kernels.variance_factor import expected_variance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.counts import GenotypeCounts


EXACT, AVERAGE = "exact", "average"
"""The option ``variance``: ``gᵀPg`` of every variant, or what it is on average where relatives share genotypes."""


class MixedGroup(NamedTuple):
    """Traits with the same samples."""

    traits: NDArray[np.int64]  # (traits,) index in the batch, and column of the panel
    size: int
    rank: int  # of the covariates
    first_column: int  # of the panel: mode by mode, the covariates times it
    modes: slice  # columns of the pairs' weights
    mix: NDArray[np.float64]  # (modes, traits) V⁻¹ of each trait as a combination
    root: NDArray[np.float64]  # (traits, covariates, covariates) R with R Rᵀ = (Xᵀ V⁻¹ X)⁻¹
    rest: NDArray[np.float64]  # (traits,) yᵀ P y
    status: NDArray[np.uint8]  # (traits,)


class MixedNull(NamedTuple):
    """Null models of a batch of traits."""

    panel: Panel  # P y of each trait, then the groups' columns
    groups: tuple[MixedGroup, ...]  # one for each pattern of samples
    relatives: Relatives
    pair_weights: NDArray[np.float64]  # (pairs, modes of all groups) what modes differ from unrelated people
    member: NDArray[np.bool_]  # (sets, samples)
    dosage_scale: float  # of everybody, or 1 where people differ and the columns hold it
    shiftable: bool  # a constant added to the genotypes changes nothing
    components: VarianceComponents


class AverageNull(NamedTuple):
    """Null models of a batch of traits whose variances are those of an average variant."""

    working: linear.LinearNull  # linear regression of P y, in the unit of the trait
    untested: NDArray[np.int64]  # (untested,) traits
    status: NDArray[np.uint8]  # (untested,)


class _SetFit(NamedTuple):
    """Null models of the traits with one pattern of samples."""

    traits: NDArray[np.int64]
    size: int
    families: Families
    basis: NDArray[np.float64]  # (samples, covariates) orthonormal among the set's samples, zero outside
    modes: Modes
    scores: NDArray[np.float64]  # (samples, traits) P y
    root: NDArray[np.float64]
    rest: NDArray[np.float64]
    share: NDArray[np.float64]  # (traits,) tr(P K) of each over tr(M K): what is left of a genotype's variance
    status: NDArray[np.uint8]
    notes: list[TraitNote]


def fit_null(
    data: NullData, options: ScanOptions, own: Mapping[str, Any]
) -> tuple[MixedNull | AverageNull, tuple[TraitNote, ...]]:
    """Estimate each trait's variance components in its own samples, less its offset, and prepare the products.

    Raises
    ------
    InputError
        Without relatedness, or for a heritability or a variance that is none.
    """
    data, relatedness = data.less_offset(), data.relatedness
    if relatedness is None:
        raise InputError("the test `mixed` needs to know who is related", fix="name a kinship table, or use `linear`")
    given = own.get("heritability")
    if given is not None and not 0.0 <= given < 1.0:
        raise InputError(f"heritability is {given}", fix="give a number from 0 to below 1, or leave it to be estimated")
    if own.get("variance", EXACT) not in (EXACT, AVERAGE):
        raise InputError(f"variance is {own['variance']!r}", fix=f"write {EXACT} or {AVERAGE}")
    if own.get("variance") == AVERAGE and options.model == Model.ADDITIVE:
        return _fit_average(data, relatedness, options, given)
    n, n_traits = data.traits.shape
    everybody = np.atleast_1d(data.member.any(axis=0))
    counted = data.dosage_scale[everybody]
    common = float(counted[0]) if len(counted) and np.ptp(counted) == 0 else 1.0
    scale = np.where(everybody, data.dosage_scale / common, 1.0)
    components = VarianceComponents.unknown(n_traits)
    fits = [_fit_set(data, relatedness, s, given, components) for s in range(len(data.member))]
    relatives = lay_out(relatedness, everybody, (relatedness.diagonal != 1.0) | (scale != 1.0))
    n_modes = [len(fit.modes.mix) for fit in fits]
    weights = np.zeros((relatives.n_pairs, sum(n_modes)))
    n_columns = sum(k * fit.basis.shape[1] for k, fit in zip(n_modes, fits, strict=True))
    panel = zero_panel(n, n_traits + n_columns, np.float64)
    scores = np.zeros((n, n_traits))
    groups: list[MixedGroup] = []
    notes = _notes_of_options(options, n_traits)
    shiftable, column, mode = True, n_traits, 0
    for s, (fit, k) in enumerate(zip(fits, n_modes, strict=True)):
        rank = fit.basis.shape[1]
        place = slice(mode, mode + k)
        group = MixedGroup(fit.traits, fit.size, rank, column, place, fit.modes.mix, fit.root, fit.rest, fit.status)
        groups.append(group)
        scores[:, fit.traits] = fit.scores * scale[:, None]
        for part in fit.modes.columns(fit.families, fit.basis):
            write_columns(panel, column, part * scale[:, None])
            column += rank
        _write_weights(fit, relatives, scale, data.member[s], weights[:, place])
        shiftable &= _spans(fit.basis, np.where(data.member[s], scale, 0.0))
        mode += k
        notes += fit.notes
    write_columns(panel, 0, scores)
    notes.sort(key=lambda note: note.trait)
    null = MixedNull(panel, tuple(groups), relatives, weights, data.member, common, shiftable, components)
    return null, tuple(notes)


def _fit_average(
    data: NullData, relatedness: Relatedness, options: ScanOptions, given: float | None
) -> tuple[AverageNull, tuple[TraitNote, ...]]:
    """Linear regression of ``P y / share``: its estimates are those of an average variant's ``gᵀPg``.

    The variance of ``gᵀPy`` is that among relatives (:mod:`allscan.kernels.variance_factor`).
    """
    working = np.full(data.traits.shape, np.nan)
    components = VarianceComponents.unknown(data.traits.shape[1])
    status = np.zeros(data.traits.shape[1], np.uint8)
    notes: list[TraitNote] = []
    for s, member in enumerate(data.member):
        fit = _fit_set(data, relatedness, s, given, components)
        working[np.ix_(member, fit.traits)] = fit.scores[member] / fit.share
        status[fit.traits] = fit.status
        notes += fit.notes
    null, _ = linear.fit_null(data._replace(traits=working), options, {})
    untested = np.flatnonzero(status != Status.OK)
    notes.sort(key=lambda note: note.trait)
    return AverageNull(null, untested, status[untested]), tuple(notes)


def _notes_of_options(options: ScanOptions, n_traits: int) -> list[TraitNote]:
    if options.model == Model.GENOTYPIC:
        text = "the test `mixed` has one predictor: it does not do the model genotypic"
        return [TraitNote(t, int(Status.NOT_TESTED), text) for t in range(n_traits)]
    if options.missing == Missing.EXCLUDE:
        text = "variants with missing genotypes are not tested: `mixed` takes all of a trait's samples or none"
        return [TraitNote(t, int(Status.OK), text) for t in range(n_traits)]
    return []


def _fit_set(
    data: NullData, relatedness: Relatedness, s: int, given: float | None, components: VarianceComponents
) -> _SetFit:
    """Null models of the traits with the pattern ``s``; their estimates are written into ``components``."""
    member, traits = data.member[s], np.flatnonzero(data.set_of_trait == s)
    size = int(member.sum())
    inner, dropped = orthonormal_basis(data.covariates[member])
    rank = inner.shape[1]
    basis = np.zeros((len(member), rank))
    basis[member] = inner
    values = data.traits[np.ix_(member, traits)]
    centred = values - values.mean(axis=0) if size else values
    spread = np.einsum("nt,nt->t", centred, centred)
    for _ in range(2):
        values = values - inner @ (inner.T @ values)
    left = np.einsum("nt,nt->t", values, values)
    residuals = np.zeros((len(member), len(traits)))
    residuals[member] = values
    status, notes = trait_notes(data, traits, size, rank, 1, left, spread, dropped)
    usable = np.flatnonzero(status == Status.OK)
    families = families_of(relatedness, member)
    rotated = rotate(families, basis, residuals[:, usable])
    found = estimate(rotated, given)
    for name, part in found._asdict().items():
        getattr(components, name)[traits[usable]] = part
    for k, bound, h2, error in zip(usable, found.bound, found.heritability, found.heritability_error, strict=True):
        if bound == Bound.NO_MAXIMUM:
            status[k] = Status.NOT_CONVERGED
        text = _SAYS.get(Bound(bound)) or f"heritability {h2:.4g}, standard error {error:.2g}"
        notes.append(TraitNote(int(traits[k]), int(status[k]), text))
    if families.n_clipped:
        text = (
            f"relationship matrices with negative eigenvalues in {families.n_clipped} of the families "
            f"(down to {families.lowest:.2g}), which are taken as zero"
        )
        notes += [TraitNote(int(trait), int(Status.OK), text) for trait in traits]
    heritability = np.zeros(len(traits))
    heritability[usable] = np.nan_to_num(found.heritability)
    scores, rest = np.zeros((len(member), len(traits))), np.ones(len(traits))
    root = np.zeros((len(traits), rank, rank))
    share, whole = np.ones(len(traits)), expected_variance(relatedness, member, basis) * (size - rank)
    eigenvalues, unrelated = 1.0 + rotated.excess, families.unrelated
    for index, k in enumerate(usable):
        fit = generalised_fit(rotated.trait(index), heritability[k])
        beta = fit.coefficients[:, 0]
        weighed = (rotated.y[:, index] - rotated.x @ beta) / (1.0 + heritability[k] * rotated.excess)
        scores[families.samples, k] = families.from_eigenvectors(weighed[:, None])[:, 0]
        scores[unrelated, k] = residuals[unrelated, k] - basis[unrelated] @ beta
        rest[k] = fit.rest[0]
        root[k] = solve_triangular(fit.factor, np.eye(rank), lower=True, trans="T")
        variances = 1.0 + heritability[k] * rotated.excess
        of_families = eigenvalues / variances - eigenvalues * (((rotated.x @ root[k]).T / variances) ** 2).sum(axis=0)
        share[k] = (of_families.sum() + len(unrelated) - ((basis[unrelated] @ root[k]) ** 2).sum()) / whole
    modes = modes_of(families.values, heritability)
    return _SetFit(traits, size, families, basis, modes, scores, root, rest, share, status, notes)


_SAYS = {
    Bound.GIVEN: "heritability is given, not estimated",
    Bound.ZERO: "heritability is estimated as 0, its lower bound: the test is that of linear regression",
    Bound.ONE: f"heritability is estimated as {HIGHEST}, its upper bound: relatives are as alike as can be",
    Bound.UNKNOWN: "no two of its samples are related: the test is that of linear regression, heritability unknown",
    Bound.NO_MAXIMUM: "the likelihood of the heritability has no maximum that can be found",
}


def _write_weights(
    fit: _SetFit,
    relatives: Relatives,
    scale: NDArray[np.float64],
    member: NDArray[np.bool_],
    out: NDArray[np.float64],
) -> None:
    """What each pair of relatives adds to ``gᵀMg``, beyond ``Σ g²`` times the diagonal of the unrelated.

    ``out`` (pairs, modes) is zero.
    """
    modes = fit.modes
    inside = np.flatnonzero(member[relatives.sample])
    out[relatives.first_pair[inside]] = np.outer(scale[relatives.sample[inside]] ** 2 - 1.0, modes.unrelated)
    for group, values in zip(fit.families.groups, fit.families.split(modes.values), strict=True):
        place = relatives.place[group.samples].astype(np.int64)
        i, j = np.triu_indices(group.values.shape[1])
        pair = relatives.pair(place[:, i], place[:, j])
        factor = scale[group.samples[:, i]] * scale[group.samples[:, j]] * np.where(i == j, 1.0, 2.0)
        for r, unrelated in enumerate(modes.unrelated):
            matrix = group.matrices(values[:, r].reshape(group.values.shape))
            out[pair, r] = matrix[:, i, j] * factor - np.where(i == j, unrelated, 0.0)


def _spans(basis: NDArray[np.float64], constant: NDArray[np.float64]) -> bool:
    """Whether a column is a combination of the basis."""
    left = constant - basis @ (basis.T @ constant)
    return bool(left @ left <= 1e-18 * (constant @ constant))


@jit
def _finish(
    x: NDArray[np.float64],
    b: NDArray[np.float64],
    rest: NDArray[np.float64],
    df: int,
    fault: NDArray[np.uint8],
    trait_status: NDArray[np.uint8],
    traits: NDArray[np.int64],
    dosage_scale: float,
    beta: NDArray[np.floating[Any]],
    standard_error: NDArray[np.floating[Any]],
    neg_log10_p: NDArray[np.floating[Any]],
    status: NDArray[np.uint8],
) -> None:
    """Results of the traits of a group; ``x`` and ``b`` have the shape (variants, traits of the group)."""
    cells = np.empty(3)
    for v in range(x.shape[0]):
        for k in range(x.shape[1]):
            t = traits[k]
            code = int(trait_status[k])
            if code == codes.OK:
                code = int(fault[v])
            if code == codes.OK and x[v, k] <= 0.0:
                code = codes.COLLINEAR
            if code == codes.OK:
                code = finish_one(x[v, k], b[v, k], rest[k], df, 1.0, cells)
            status[v, t] = code
            if code == codes.OK:
                beta[v, t] = cells[0] / dosage_scale
                standard_error[v, t] = cells[1] / dosage_scale
                neg_log10_p[v, t] = cells[2]
            else:
                beta[v, t] = np.nan
                standard_error[v, t] = np.nan
                neg_log10_p[v, t] = np.nan


def score_block(
    block: GenotypeBlock,
    counts: GenotypeCounts,
    null: MixedNull | AverageNull,
    options: ScanOptions,
    out: Mapping[str, NDArray[Any]],
) -> None:
    """Test every variant of a block against every trait of the null model."""
    names = ("beta", "standard_error", "neg_log10_p")
    if isinstance(null, AverageNull):
        linear.score_block(block, counts, null.working, options, out)
        for name in names:
            out[name][:, null.untested] = np.nan
        out["status"][:, null.untested] = null.status
        return
    if options.model == Model.GENOTYPIC:
        for name in names:
            out[name][...] = np.nan
        out["status"][...] = Status.NOT_TESTED
        return
    coding = CODINGS[Model(options.model)]
    shift = shifts(block, coding) * null.shiftable
    moments = predictor_moments(block, counts, null.member, coding, shift)
    missing = missing_entries(block)
    products = genotype_products(block, null.panel, coding, shifted=null.shiftable)
    absent = missing_products(missing, null.panel).total
    called, once, twice = quadratic_forms(block, null.relatives, null.pair_weights, coding, shift, missing)
    for s, group in enumerate(null.groups):
        mean = moments.mean[:, s, None]
        centred, n_missing = moments.centred_ss[:, s], moments.n_missing[:, s]
        modes, n_modes = group.modes, len(group.mix)
        forms = called[:, modes] + mean * once[:, modes] + mean**2 * twice[:, modes]
        x = (centred + group.size * mean[:, 0] ** 2)[:, None] + forms @ group.mix
        columns = slice(group.first_column, group.first_column + n_modes * group.rank)
        by_mode = (products[:, columns] + mean * absent[:, columns]).reshape(-1, n_modes, group.rank)
        for k, root in enumerate(group.root):
            of_covariates = np.einsum("vmc,m->vc", by_mode, group.mix[:, k]) @ root
            x[:, k] -= np.einsum("vc,vc->v", of_covariates, of_covariates)
        x[x <= COLLINEAR * centred[:, None]] = 0.0
        fault = np.zeros(block.n_variants, np.uint8)
        fault[moments.spread[:, s] <= MONOMORPHIC] = Status.MONOMORPHIC
        fault[n_missing == group.size] = Status.ALL_MISSING
        if options.missing == Missing.EXCLUDE:
            fault[(fault == Status.OK) & (n_missing > 0)] = Status.NOT_TESTED
        _finish(
            x,
            products[:, group.traits] + mean * absent[:, group.traits],
            group.rest,
            group.size - group.rank - 1,
            fault,
            group.status,
            group.traits,
            null.dosage_scale,
            out["beta"],
            out["standard_error"],
            out["neg_log10_p"],
            out["status"],
        )


def columns(options: ScanOptions) -> tuple[OutputColumn, ...]:
    """Output columns."""
    return linear.columns(options._replace(model=min(options.model, int(Model.RECESSIVE))))


MIXED = AssociationTest(
    name="mixed",
    title="Linear mixed model of relatives, t test",
    doi="10.1038/s41588-019-0530-8",
    trait_kinds=frozenset({"quantitative"}),
    columns=columns,
    fit_null=fit_null,
    score_block=score_block,
    options={"heritability": None, "variance": EXACT},
    uses_offset=True,
    uses_relatedness=True,
    needs_relatedness=True,
)
