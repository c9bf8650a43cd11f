"""Logistic regression in full: every variant × trait its own fit, by maximum or penalised likelihood.

The log odds of being a case are ``offset + Xα + gβ``; covariates ``X`` and genotype ``g`` are estimated together, for
each variant anew. Three tests of ``β = 0``:

- ``logistic_wald``: ``β / SE``, standard errors from the information at the maximum. Conservative where few people
  carry an allele: there the error grows faster than the effect (Hauck & Donner 1977, 10.1080/01621459.1977.10479969).
- ``logistic_lrt``: twice the difference of the maxima of the log likelihood with and without ``g``.
- ``firth``: the likelihood is multiplied by the root of the determinant of the information (Firth 1993,
  10.1093/biomet/80.1.27), so that there always is a maximum and its bias is small; twice the difference of the maxima
  of the penalised log likelihood, ``β`` free or zero, both with the determinant for all of ``X`` and ``g`` (Heinze &
  Schemper 2002, 10.1002/sim.1047). Standard errors are from the information, so they need not agree with the p.

Where some combination of ``X`` and ``g`` tells cases from controls, for everybody or for part, the likelihood has no
maximum: the first two say SEPARATED. Fits are Newton's, with halved steps, from the null model's; predictors are
orthonormal over the samples of the fit, and everything is float64. For small studies, and as what faster tests are
measured by: a fit takes up to 1 µs for each person.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

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
from allscan.kernels.binary import columns as score_columns
from allscan.kernels.binary_null import check_whole_number
from allscan.kernels.block import Encoding, GenotypeBlock, dosages
from allscan.kernels.linear_general import PREDICTORS
from allscan.kernels.logistic_fit import fit, make_work
from allscan.kernels.logistic_full_numba import (
    FIRTH,
    LIKELIHOOD_RATIO,
    WALD,
    Fits,
    orthonormal_rows,
    score_variants,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.counts import GenotypeCounts

FEWEST_CASES = 1
TILE_GENOTYPES = 1 << 21
"""Genotypes that are decoded together: 16 MiB as float64."""

_P_VALUES = {
    WALD: ("Two-sided normal test of beta / standard_error", "Wald test of both parts on 2 degrees of freedom"),
    LIKELIHOOD_RATIO: ("Likelihood ratio test", "Likelihood ratio test of both parts on 2 degrees of freedom"),
    FIRTH: (
        "Penalised likelihood ratio test",
        "Penalised likelihood ratio test of both parts on 2 degrees of freedom",
    ),
}


def fit_null(
    method: int, data: NullData, options: ScanOptions, own: Mapping[str, Any]
) -> tuple[Fits, tuple[TraitNote, ...]]:
    """Fit each trait to the covariates."""
    min_cases = own.get("min_cases", FEWEST_CASES)
    n, n_traits = data.traits.shape
    anybody = data.member.any(axis=0)
    basis, dropped = orthonormal_basis(data.covariates[anybody])
    independent = [j for j in range(data.covariates.shape[1]) if j not in dropped]
    covariates = np.zeros((basis.shape[1], n))
    covariates[:, anybody] = basis.T
    null = Fits(
        covariates,
        data.dosage_scale,
        data.member,
        data.set_of_trait,
        np.ascontiguousarray((data.traits == 1).T.astype(np.uint8)),
        np.zeros((1, n)) if data.offset is None else np.ascontiguousarray(data.offset.T),
        np.zeros((n_traits, len(covariates))),
        np.zeros(n_traits),
        np.zeros(n_traits, np.uint8),
        min_cases,
    )
    notes: list[TraitNote] = []
    x, kept = np.empty((len(covariates), n)), np.empty(len(covariates), np.int64)
    work = make_work(n, len(covariates))
    predictors = len(PREDICTORS[options.model])
    for s, member in enumerate(data.member):
        rows = np.flatnonzero(member)
        rank = orthonormal_rows(covariates, rows, len(rows), x, kept)
        estimated = {independent[j] for j in kept[:rank]}
        names = ", ".join(name for j, name in enumerate(data.covariate_names) if j not in estimated)
        for t in np.flatnonzero(data.set_of_trait == s):
            y = null.case[t, rows].astype(np.float64)
            offset = null.offset[t if data.offset is not None else 0, rows]
            cases, controls = int(y.sum()), int((1 - y).sum())
            text = f"covariates left out because others determine them: {names}" if names else ""
            if len(rows) - rank - predictors <= 0:
                null.status[t] = Status.TOO_FEW_SAMPLES
                text = f"{len(rows)} samples for {rank} covariates: no degrees of freedom are left"
            elif min(cases, controls) < min_cases:
                null.status[t] = Status.TOO_FEW_CASES
                text = f"{cases} cases and {controls} controls: at least {min_cases} of each are asked for (min_cases)"
            else:
                null.status[t], null.value[t] = fit(
                    x, y, offset, len(rows), rank, rank, method == FIRTH, null.start[t], work
                )
                text = _FAILURES.get(null.status[t], text)
            if text:
                notes.append(TraitNote(int(t), int(null.status[t]), text))
    return null, tuple(notes)


_FAILURES: dict[int, str] = {
    Status.SEPARATED: "the covariates tell cases from controls, for everybody or for some: there is no maximum",
    Status.NOT_CONVERGED: "the logistic regression on the covariates did not converge",
}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse values that mean nothing."""
    check_whole_number("min_cases", options["min_cases"], 1)


def score_block(
    method: int,
    block: GenotypeBlock,
    _counts: GenotypeCounts,
    null: Fits,
    options: ScanOptions,
    out: Mapping[str, NDArray[Any]],
) -> None:
    """Fit every variant of a block to every trait."""
    names = [column.name for column in _columns(method, options)]
    codings = np.array(PREDICTORS[options.model], np.int64)
    tile = max(1, TILE_GENOTYPES // max(1, block.n_samples))
    for start in range(0, block.n_variants, tile):
        stop = min(start + tile, block.n_variants)
        cells = np.empty((stop - start, len(null.status), len(names)))
        status = np.empty(cells.shape[:2], np.uint8)
        exclude = options.missing == Missing.EXCLUDE
        score_variants(_exact_dosages(block, start, stop), codings, exclude, method, null, cells, status)
        out["status"][start:stop] = status
        for k, name in enumerate(names):
            out[name][start:stop] = cells[:, :, k]


def _exact_dosages(block: GenotypeBlock, start: int, stop: int) -> NDArray[np.float64]:
    """Copies of ALT of variants ``start:stop``, not rounded to float32; NaN is missing."""
    rounded = np.empty((stop - start, block.n_samples), np.float32)
    dosages(block, start, stop, rounded)
    exact = rounded.astype(np.float64)
    steps = block.steps[start:stop, None].astype(np.float64)
    uncertain = block.encoding[start:stop] > Encoding.CARRIERS
    exact[uncertain] = np.rint(exact[uncertain] * steps[uncertain]) / steps[uncertain]
    return exact


def _columns(method: int, options: ScanOptions) -> tuple[OutputColumn, ...]:
    beta, error, p = score_columns(options)
    if options.model != Model.GENOTYPIC:
        return beta, error, replace(p, description=_P_VALUES[method][0])
    return (
        replace(beta, description=beta.description + ", additive part"),
        error,
        replace(p, description=_P_VALUES[method][1]),
        OutputColumn("beta_domdev", "Dominance deviation: effect of being heterozygous", "log odds"),
        OutputColumn("standard_error_domdev", "Standard error of beta_domdev", "log odds"),
    )


def _test(name: str, method: int, seconds_per_person: float, title: str, doi: str) -> AssociationTest:
    return AssociationTest(
        name=name,
        title=title,
        doi=doi,
        trait_kinds=frozenset({"binary"}),
        columns=partial(_columns, method),
        fit_null=partial(fit_null, method),
        score_block=partial(score_block, method),
        options={"min_cases": FEWEST_CASES},
        check_options=check_options,
        seconds_per_person=seconds_per_person,
        uses_offset=True,
    )


LOGISTIC_WALD = _test("logistic_wald", WALD, 3e-7, "Logistic regression, Wald test", "10.2307/2280041")
LOGISTIC_LRT = _test(
    "logistic_lrt", LIKELIHOOD_RATIO, 3e-7, "Logistic regression, likelihood ratio test", "10.1214/aoms/1177732360"
)
LOGISTIC_FIRTH = _test(
    "firth",
    FIRTH,
    1e-6,
    "Logistic regression with Firth's penalty, penalised likelihood ratio test",
    "10.1093/biomet/80.1.27",
)
