"""Tests of local ancestry for cases and controls: a score test of every pair, full fits of what may be associated.

With the null model's probabilities ``μ`` the score test needs the sums of :mod:`allscan.kernels.local_ancestry_numba`
with the weights ``μ (1 − μ)``: its cost is that of least squares. Pairs with any p below ``refine_below`` are fitted by
maximum likelihood with all predictors, and the tests are twice the differences of the log likelihoods; that of one
ancestry is Wald's. Where the likelihood has no maximum, or an ancestry is expected to have fewer than
``EXPECTED_COPIES`` of the rarer allele among the fewer of cases and controls, Firth's penalised likelihood takes its
place (:mod:`allscan.kernels.logistic_full` has the references), and the status is FIRTH. Other effects and standard
errors are the first step of Newton's method from the null model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.kernels import status_codes as codes
from allscan.kernels.association import AssociationTest, Missing, Model, NullData, OutputColumn, ScanOptions, TraitNote
from allscan.kernels.binary_null import check_whole_number
from allscan.kernels.local_ancestry import LEAST_COUNT, columns, not_of_genotypes, score, write_cells
from allscan.kernels.local_ancestry import check_options as check_least_count
from allscan.kernels.local_ancestry_fits import fit_cells
from allscan.kernels.local_ancestry_numba import OF_ANCESTRY, P_ANCESTRY, P_DIFFERENCE, P_JOINT, P_SHARED
from allscan.kernels.local_ancestry_sums import LocalNull, padded
from allscan.kernels.logistic_full import FEWEST_CASES
from allscan.kernels.logistic_full import fit_null as fit_full
from allscan.kernels.logistic_full_numba import LIKELIHOOD_RATIO, Fits, orthonormal_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.haplotypes import HaplotypeBlock

EXPECTED_COPIES = 5.0
"""Of an allele on haplotypes of an ancestry, in the fewer of cases and controls: below it Firth's likelihood."""
REFINE_BELOW = 0.05


class LogisticNull(NamedTuple):
    """Null models of a batch of binary traits, for score tests and for full fits."""

    score: LocalNull
    fits: Fits
    fewer: NDArray[np.float64]  # (traits,) share of cases or of controls, whichever are fewer
    refine_above: float  # −log10 p


def fit_null(
    data: NullData, options: ScanOptions, own: Mapping[str, Any]
) -> tuple[LogisticNull, tuple[TraitNote, ...]]:
    """Fit each trait to the covariates."""
    fits, notes = fit_full(LIKELIHOOD_RATIO, data, options, own)
    n, n_traits = data.traits.shape
    n_covariates = len(fits.covariates)
    panel = np.zeros((n, n_traits * (n_covariates + 1)))
    tally = np.zeros((n, n_traits + len(data.member)))
    tally[:, n_traits:] = data.member.T
    rank, start, column = (np.zeros(size, np.int64) for size in (n_traits, n_traits + 1, n_traits))
    fewer = np.zeros(n_traits)
    x, kept = np.empty((n_covariates, n)), np.empty(n_covariates, np.int64)
    for s, member in enumerate(data.member):
        rows = np.flatnonzero(member)
        of_set = orthonormal_rows(fits.covariates, rows, len(rows), x, kept)
        basis = x[:of_set, : len(rows)].T
        for t in np.flatnonzero(data.set_of_trait == s):
            start[t] = t * (n_covariates + 1)
            column[t] = start[t] + n_covariates
            if fits.status[t] != codes.OK:
                continue
            offset = fits.offset[t if data.offset is not None else 0, rows]
            probability = 1.0 / (1.0 + np.exp(-(offset + basis @ fits.start[t, :of_set])))
            weight = probability * (1.0 - probability)
            # Orthonormal under the weights: the inverse of the Cholesky factor of the information.
            root = np.linalg.cholesky(basis.T @ (weight[:, None] * basis))
            rank[t] = of_set
            panel[rows, start[t] : start[t] + of_set] = weight[:, None] * np.linalg.solve(root, basis.T).T
            panel[rows, column[t]] = fits.case[t, rows] - probability
            tally[rows, t] = weight
            cases = float(fits.case[t, rows].mean())
            fewer[t] = min(cases, 1.0 - cases)
    start[n_traits] = panel.shape[1]
    null = LocalNull(
        padded(panel),
        padded(tally),
        start,
        rank,
        data.set_of_trait,
        data.member.sum(axis=1, dtype=np.int64),
        np.arange(n_traits),
        column,
        np.ones(n_traits),
        np.ones(n_traits),
        fits.status,
        float(own["min_ancestry_allele_count"]),
        True,
    )
    refine = float(own["refine_below"])
    return LogisticNull(null, fits, fewer, -math.log10(refine) if refine > 0 else math.inf), notes


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse values that mean nothing."""
    check_least_count(options)
    check_whole_number("min_cases", options["min_cases"], 1)
    value = options["refine_below"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"refine_below is {value!r}; it is a p value, 0 to 1")


def score_haplotypes(
    block: HaplotypeBlock, null: LogisticNull, options: ScanOptions, out: Mapping[str, NDArray[Any]]
) -> None:
    """Test every variant of a block against every trait."""
    names = options.ancestries
    exclude = options.missing == Missing.EXCLUDE
    cells, status = score(block, null.score, exclude, names, out)
    of_p = [P_JOINT, P_SHARED, P_DIFFERENCE, P_ANCESTRY, *range(OF_ANCESTRY + 2, cells.shape[2], 3)]
    with np.errstate(invalid="ignore"):
        wanted = (cells[:, :, of_p] > null.refine_above).any(axis=2)
    # Who is left out for a variant changes the null model too.
    wanted |= exclude & (_uncalled(block) > 0)[:, None]
    wanted &= status == codes.OK
    terms = np.stack([out[f"status_{name}"] for name in names], axis=2) == codes.OK
    rarer = np.stack(
        [
            np.fmin(out[f"effect_allele_frequency_{name}"], 1.0 - out[f"effect_allele_frequency_{name}"])
            * out[f"haplotypes_{name}"]
            for name in names
        ],
        axis=2,
    )
    few = (np.where(terms, rarer, np.inf).min(axis=2) * null.fewer) < EXPECTED_COPIES
    fit_cells(block, null.fits, exclude, wanted, few, terms, cells, status)
    write_cells(cells, status, names, out)


def _uncalled(block: HaplotypeBlock) -> NDArray[np.int64]:
    """People without a call, shape (variants,)."""
    before = np.concatenate([[0], np.cumsum((block.state & 3) == 0)])
    return np.diff(before[block.offset])


def _columns(options: ScanOptions) -> tuple[OutputColumn, ...]:
    return columns("log odds per copy of the effect allele", options)


LOCAL_ANCESTRY_LOGISTIC = AssociationTest(
    name="local_ancestry_logistic",
    title="Logistic regression with effects by local ancestry",
    doi="10.1038/s41588-020-00766-y",
    trait_kinds=frozenset({"binary"}),
    columns=_columns,
    fit_null=fit_null,
    score_block=not_of_genotypes,
    options={
        "min_ancestry_allele_count": LEAST_COUNT,
        "refine_below": REFINE_BELOW,
        "min_cases": FEWEST_CASES,
    },
    models=frozenset({Model.ADDITIVE}),
    check_options=check_options,
    seconds_per_person=2e-9,
    uses_offset=True,
    score_haplotypes=score_haplotypes,
)
