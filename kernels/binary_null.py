"""Null models of binary traits, laid out for score tests of many traits at once.

For a trait with fitted probabilities μ, weights ``w = μ (1 − μ)``, covariates ``X`` and a predictor ``g`` the score
test needs ``U = Σ g (y − μ)`` and ``V = Σ w g² − hᵀ A⁻¹ h`` with ``h = Xᵀ W g`` and ``A = Xᵀ W X``. So a trait is one
column of residuals, one for each covariate times its weights, and one of weights, which multiplies the squares. People
who are not analysed for a trait are zeros in its columns: traits that miss different people cost no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels.association import Status, TraitNote
from allscan.kernels.basis import orthonormal_basis
from allscan.kernels.linear_shared import single_precision
from allscan.kernels.logistic import GONE, LogisticFits, fit_logistic_many, probabilities
from allscan.kernels.panel import Panel, write_columns, zero_panel
from allscan.kernels.relatedness import no_relatives
from allscan.kernels.variance_factor import heed, quadratic_forms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.association import NullData, ScanOptions
    from allscan.kernels.relatedness import Relatedness

CUBIC_COLUMNS = 24
"""Up to so many covariates their third moments are kept: a number for each three of them."""


class BinaryOptions(NamedTuple):
    """What the job asks of the test."""

    correction: str = "saddlepoint"  # of small p: "saddlepoint", "firth" or "none"
    p_threshold: float = 0.05  # pairs with a smaller p by the score test are corrected
    min_cases: int = 50  # a trait with fewer cases, or fewer controls, is not tested
    exact_carriers: int = 4  # where no more cases, or controls, carry the rarer allele, p is exact; 0: never


NORMAL, SADDLEPOINT, FIRTH = range(3)
METHODS = {"saddlepoint": SADDLEPOINT, "firth": FIRTH, "none": NORMAL}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse values that mean nothing."""
    asked = BinaryOptions(**options)
    if asked.correction not in METHODS:
        raise ValueError(f"correction is {asked.correction!r}; it may be {', '.join(METHODS)}")
    if not _is_number(asked.p_threshold) or not 0.0 <= asked.p_threshold <= 1.0:
        raise ValueError(f"p_threshold is {asked.p_threshold!r}; it must be a number from 0 to 1")
    check_whole_number("min_cases", asked.min_cases, 1)
    check_whole_number("exact_carriers", asked.exact_carriers, 0)


def check_whole_number(name: str, value: object, least: int) -> None:
    """Refuse an option that is no whole number, or one below the least."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number, at least {least}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class People(NamedTuple):
    """What a sum over people needs beside the genotypes."""

    case: NDArray[np.bool_]  # (traits, samples)
    basis: NDArray[np.float64]  # (columns, samples) orthonormal covariates
    scale: NDArray[np.float64]  # (samples,) factor on copies


class Weights(NamedTuple):
    """Null models: fitted probabilities μ, weights ``w = μ (1 − μ)`` and what they make of the covariates."""

    probability: NDArray[np.float64]  # (traits, samples); 0 where a person is not analysed
    information: NDArray[np.float64]  # (traits, columns, columns) A = XᵀWX
    cubic: NDArray[np.float64]  # (traits, triples) Σ w (1 − 2μ) x x x, j <= k <= l; none with many covariates
    excess: NDArray[np.float64]  # (traits, columns) Xᵀ(y − μ): zero at maximum likelihood
    leverage: NDArray[np.float64]  # (traits,) largest xᵀ A⁻¹ x of a person
    total: NDArray[np.float64]  # (traits,) Σ w


class BinaryNull(NamedTuple):
    """Null models of a batch of traits."""

    panel: Panel  # for each trait the residuals, then the weighted covariates; in the precision of the scan
    squares: Panel  # the weights, which multiply squares
    people: People
    weights: Weights  # at maximum likelihood
    penalised: Weights  # at Firth's, where effects and p come from it; else as above
    root: NDArray[np.float64]  # (traits, columns, columns) R with R Rᵀ = A⁻¹
    member: NDArray[np.bool_]  # (sets, samples)
    set_of_trait: NDArray[np.int64]  # (traits,)
    status: NDArray[np.uint8]  # (traits,)
    variance_factor: NDArray[np.float64]  # (traits,) of the score, for relatives; 1 where none are named
    shifted: bool  # whether a constant can be taken off the predictor
    options: BinaryOptions


def fit_binary(
    data: NullData, options: ScanOptions, own: Mapping[str, Any]
) -> tuple[BinaryNull, tuple[TraitNote, ...]]:
    """Fit the covariates of every trait, and lay out what a scan multiplies."""
    chosen = BinaryOptions(**own)
    n = len(data.traits)
    everybody = data.member.any(axis=0) if len(data.member) else np.zeros(n, bool)
    inner, dropped = orthonormal_basis(data.covariates[everybody])
    basis = np.zeros((n, inner.shape[1]))
    basis[everybody] = inner
    cases = np.nansum(data.traits, axis=0).astype(np.int64)
    present = (~np.isnan(data.traits)).sum(axis=0)
    status, notes = _screen(cases, present, chosen)
    fits = _fit(data, basis, status == Status.OK)
    root, rank = _roots(fits.information)
    left_out = _left_out(data, status, rank < inner.shape[1], dropped)
    notes += _fit_notes(data, status, fits, present, rank, left_out)
    weights = _weights(data, basis, fits, root, status == Status.OK)
    penalised = weights
    if chosen.correction == "firth":
        again = _fit(data, basis, status == Status.OK, fits.coefficients)
        for t in np.flatnonzero((status == Status.OK) & ~again.converged):
            status[t] = Status.NOT_CONVERGED
            notes.append(
                TraitNote(int(t), int(status[t]), "the penalised regression on the covariates did not converge")
            )
        penalised = _weights(data, basis, again, _roots(again.information)[0], status == Status.OK)
    factor = np.ones(data.traits.shape[1])
    if data.relatedness is not None:
        tested = np.flatnonzero(status == Status.OK)
        factor[tested] = _variance_factors(data, data.relatedness, basis, weights, root, tested)
        notes += heed(factor, options.model, status, np.arange(len(status)))
    scale = data.dosage_scale
    return (
        BinaryNull(
            *_panels(data, basis, weights.probability, single_precision(options, int(everybody.sum()))),
            people=People(np.ascontiguousarray((data.traits == 1.0).T), np.ascontiguousarray(basis.T), scale),
            weights=weights,
            penalised=penalised,
            root=root,
            member=data.member,
            set_of_trait=data.set_of_trait,
            status=status,
            variance_factor=factor,
            shifted=_spans_constant(inner, scale[everybody]),
            options=chosen,
        ),
        tuple(sorted(notes, key=lambda note: note.trait)),
    )


def _screen(
    cases: NDArray[np.int64], present: NDArray[np.int64], chosen: BinaryOptions
) -> tuple[NDArray[np.uint8], list[TraitNote]]:
    """Statuses of traits that have too few of either kind."""
    status = np.zeros(len(cases), np.uint8)
    notes = []
    least = max(1, chosen.min_cases)
    for t, (n_cases, n_controls) in enumerate(zip(cases, present - cases, strict=True)):
        if min(n_cases, n_controls) >= least:
            continue
        status[t] = Status.TOO_FEW_CASES
        text = f"{n_cases} cases and {n_controls} controls: fewer than {least} of either are not tested (`min_cases`)"
        notes.append(TraitNote(t, int(Status.TOO_FEW_CASES), text))
    return status, notes


def _fit(
    data: NullData,
    basis: NDArray[np.float64],
    tested: NDArray[np.bool_],
    penalised_from: NDArray[np.float64] | None = None,
) -> LogisticFits:
    """Fits of the traits that are tested, among those of all; penalised ones, if there is where to begin."""
    n_traits, c = data.traits.shape[1], basis.shape[1]
    traits = np.flatnonzero(tested)
    offset = None if data.offset is None else data.offset[:, traits]
    start = None if penalised_from is None else penalised_from[:, traits]
    some = fit_logistic_many(data.traits[:, traits], basis, offset, start, penalised=start is not None)
    found = LogisticFits(
        np.zeros((c, n_traits)),
        np.zeros((n_traits, c, c)),
        np.full(n_traits, np.nan),
        np.zeros(n_traits, bool),
        np.zeros(n_traits, np.int64),
    )
    found.coefficients[:, traits] = some.coefficients
    for whole, part in zip(found[1:], some[1:], strict=True):
        whole[traits] = part
    return found


def _roots(information: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """``R`` with ``R Rᵀ = A⁻¹`` in the directions that are there, and how many these are."""
    values, vectors = np.linalg.eigh(information)
    kept = values > GONE * values[:, -1:]
    inverse = np.where(kept, 1.0 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    return vectors * inverse[:, None, :], kept.sum(axis=1)


def _left_out(
    data: NullData, status: NDArray[np.uint8], fewer: NDArray[np.bool_], dropped: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Covariates that do not count, for each trait: those of everybody, or where its own people have fewer, theirs."""
    own: dict[int, tuple[int, ...]] = {}
    left_out = [dropped] * len(status)
    for t in np.flatnonzero((status == Status.OK) & fewer):
        pattern = int(data.set_of_trait[t])
        if pattern not in own:
            own[pattern] = orthonormal_basis(data.covariates[data.member[pattern]])[1]
        left_out[t] = own[pattern]
    return left_out


def _fit_notes(
    data: NullData,
    status: NDArray[np.uint8],
    fits: LogisticFits,
    present: NDArray[np.int64],
    rank: NDArray[np.int64],
    left_out: list[tuple[int, ...]],
) -> list[TraitNote]:
    """What the fits have to say; sets the status of those that failed."""
    notes = []
    for t in np.flatnonzero(status == Status.OK):
        certain = int(fits.n_certain[t])
        names = ", ".join(data.covariate_names[j] for j in left_out[t])
        text = f"covariates left out because others determine them: {names}" if names else ""
        if certain == present[t]:
            status[t], text = Status.SEPARATED, "the covariates separate cases from controls exactly"
        elif not fits.converged[t]:
            status[t], text = Status.NOT_CONVERGED, "the logistic regression on the covariates did not converge"
        elif present[t] - rank[t] <= 1:
            status[t], text = Status.TOO_FEW_SAMPLES, f"{present[t]} samples: no degrees of freedom are left"
        elif certain:
            separated = f"the covariates alone tell the status of {certain:,} people, who do not count in the tests"
            text = f"{text}; {separated}" if text else separated
        if text:
            notes.append(TraitNote(int(t), int(status[t]), text))
    return notes


def _spans_constant(inner: NDArray[np.float64], scale: NDArray[np.float64]) -> bool:
    """Whether the predictor of everybody may lose a constant: the covariates hold it, and all alleles count alike."""
    if not len(inner) or np.ptp(scale) > 0:
        return False
    constant = inner.sum(axis=0)
    return abs(float(constant @ constant) / len(inner) - 1.0) < 1e-9


def _weights(
    data: NullData,
    basis: NDArray[np.float64],
    fits: LogisticFits,
    root: NDArray[np.float64],
    tested: NDArray[np.bool_],
) -> Weights:
    """Probabilities, and moments of the covariates; zeros for traits that are not tested."""
    n, c = basis.shape
    n_traits = data.traits.shape[1]
    probability = np.zeros((n_traits, n))
    excess, leverage = np.zeros((n_traits, c)), np.zeros(n_traits)
    for t in np.flatnonzero(tested):
        y = data.traits[:, t]
        offset = None if data.offset is None else data.offset[:, [t]]
        fitted = probabilities(basis, fits.coefficients[:, [t]], offset)[:, 0]
        probability[t] = np.where(np.isnan(y), 0.0, fitted)
        excess[t] = basis.T @ np.where(np.isnan(y), 0.0, y - fitted)
        whitened = basis @ root[t]
        leverage[t] = np.einsum("nc,nc->n", whitened, whitened)[~np.isnan(y)].max()
    total = (probability * (1.0 - probability)).sum(axis=1)
    return Weights(probability, fits.information, _third_moments(basis, probability), excess, leverage, total)


def _third_moments(basis: NDArray[np.float64], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """``Σ w (1 − 2μ) x_j x_k x_l`` for ``j <= k <= l``, shape (traits, triples)."""
    n, c = basis.shape
    if c > CUBIC_COLUMNS:
        return np.zeros((len(probability), 0))
    triples = np.array([(j, k, m) for j in range(c) for k in range(j, c) for m in range(k, c)], np.int64).reshape(-1, 3)
    out = np.zeros((len(probability), len(triples)))
    rows = max(64, (1 << 20) // max(1, len(triples)))
    for start in range(0, n, rows):
        x = basis[start : start + rows]
        mu = probability[:, start : start + rows]
        products = x[:, triples[:, 0]] * x[:, triples[:, 1]]
        products *= x[:, triples[:, 2]]
        out += (mu * (1.0 - mu) * (1.0 - 2.0 * mu)) @ products
    return out


def _variance_factors(
    data: NullData,
    relatedness: Relatedness,
    basis: NDArray[np.float64],
    weights: Weights,
    root: NDArray[np.float64],
    traits: NDArray[np.int64],
) -> NDArray[np.float64]:
    """What relatives make of the variance of scores, shape (traits,).

    As in :mod:`allscan.kernels.variance_factor`, with the variance ``gᵀWg − gᵀWX A⁻¹ XᵀWg`` that the score test takes::

        factor = (rᵀΦr / rᵀr) / (E_Φ V / E_I V)      E_Φ V = tr(WΦ) − tr(A⁻¹ XᵀWΦWX)
    """
    strangers = no_relatives(len(data.traits))
    out = np.empty(len(traits))
    for k, t in enumerate(traits):
        mu = weights.probability[t]
        weight = mu * (1.0 - mu)
        residuals = np.where(mu == 0.0, 0.0, data.traits[:, t] - mu)
        columns = np.column_stack([residuals, weight[:, None] * (basis @ root[t])])
        of_score, *of_covariates = quadratic_forms(relatedness, columns)
        score_alone, *covariates_alone = quadratic_forms(strangers, columns)
        variance = relatedness.diagonal @ weight - sum(of_covariates)
        out[k] = of_score / score_alone / (variance / (weight.sum() - sum(covariates_alone)))
    return out


def _panels(
    data: NullData, basis: NDArray[np.float64], probability: NDArray[np.float64], single: bool
) -> tuple[Panel, Panel]:
    """Residuals and weighted covariates, trait by trait; weights."""
    kind = np.float32 if single else np.float64
    n, c = basis.shape
    n_traits = len(probability)
    scale = data.dosage_scale
    panel, squares = zero_panel(n, n_traits * (1 + c), kind), zero_panel(n, n_traits, kind)
    columns = np.empty((n, 1 + c))
    for t, mu in enumerate(probability):
        weight = mu * (1.0 - mu)
        columns[:, 0] = np.where(mu == 0.0, 0.0, data.traits[:, t] - mu) * scale
        columns[:, 1:] = basis * (weight * scale)[:, None]
        write_columns(panel, t * (1 + c), columns)
        write_columns(squares, t, (weight * scale * scale)[:, None])
    return panel, squares
