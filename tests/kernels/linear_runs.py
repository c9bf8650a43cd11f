"""Linear association of arrays, in either form, and what is compared of two runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allscan.kernels.association import Missing, Model, NullData, ScanOptions, Status
from allscan.kernels.block import encode_block
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.linear import LINEAR
from allscan.kernels.linear_general import fit_general, score_general
from allscan.kernels.linear_shared import fit_shared, score_shared
from allscan.kernels.missingness import missingness_patterns
from allscan.kernels.relatedness import Relatedness
from tests import naive

Results = dict[str, NDArray[Any]]
Form = tuple[Callable[[NullData, ScanOptions], Any], Callable[..., None]]

EITHER: Form = (lambda data, options: LINEAR.fit_null(data, options, {}), LINEAR.score_block)
SHARED: Form = (fit_shared, score_shared)
GENERAL: Form = (fit_general, score_general)


def null_data(
    traits: NDArray[np.float64],
    covariates: NDArray[np.float64],
    scale: NDArray[np.float64] | None = None,
    relatedness: Relatedness | None = None,
) -> NullData:
    """Covariates are named c0, c1 …"""
    member, set_of_trait = missingness_patterns(traits)
    names = tuple(f"c{j}" for j in range(covariates.shape[1]))
    scale = np.ones(len(traits)) if scale is None else scale
    return NullData(traits, covariates, names, scale, member, set_of_trait, relatedness)


def run(
    dosage: NDArray[np.float64],
    traits: NDArray[np.float64],
    covariates: NDArray[np.float64],
    options: ScanOptions | None = None,
    scale: NDArray[np.float64] | None = None,
    form: Form = EITHER,
    *,
    by_trait: bool = False,
    relatedness: Relatedness | None = None,
) -> Results:
    """Results, each (variants, traits); a row of ``dosage`` may be calls or dosages of 3 decimals.

    With ``by_trait`` the kernel is given arrays that lie in memory as the results cube has them.
    """
    options = options or ScanOptions()
    whole = np.isnan(dosage) | (dosage == np.rint(dosage))
    is_dosage = ~whole.all(axis=1)
    calls = np.where(np.isnan(dosage), -1, np.rint(dosage)).astype(np.int8)
    block = encode_block(calls, dosage.astype(np.float32), is_dosage)
    data = null_data(traits, covariates, scale, relatedness)
    fit, score = form
    null, _ = fit(data, options)
    shape = (len(dosage), traits.shape[1])
    out: Results = {c.name: np.empty(shape[::-1]).T if by_trait else np.empty(shape) for c in LINEAR.columns(options)}
    out["status"] = np.full(shape[::-1], 255, np.uint8).T if by_trait else np.full(shape, 255, np.uint8)
    score(block, count_genotypes(block, sample_sets(data.member)), null, options, out)
    return out


@dataclass(frozen=True)
class Closeness:
    """How far two runs may be apart."""

    errors: float  # of beta, in standard errors
    relative: float  # of the standard error
    tail: float  # of −log10 p, relative, from one on: a p near one has no digits to lose


def assert_same(one: Results, other: Results, allowed: Closeness) -> None:
    """The same statuses, no number where there is no result, and the others this close."""
    np.testing.assert_array_equal(one["status"], other["status"])
    tested = other["status"] == Status.OK
    bounds = {
        "beta": allowed.errors * other["standard_error"],
        "standard_error": allowed.relative * other["standard_error"],
        "neg_log10_p": allowed.tail * np.maximum(1.0, other["neg_log10_p"]),
    }
    for name, bound in bounds.items():
        assert np.isnan(one[name][~tested]).all()
        gap = np.abs(one[name] - other[name])[tested] / bound[tested]
        assert (gap <= 1.0).all(), (name, gap.max())


def assert_least_squares(
    out: Results,
    dosage: NDArray[np.float64],
    traits: NDArray[np.float64],
    covariates: NDArray[np.float64],
    options: ScanOptions,
    scale: NDArray[np.float64] | None = None,
    *,
    tolerance: float,
    relationship: NDArray[np.float64] | None = None,
) -> int:
    """Compare every result with full least squares; returns how many there were.

    ``tolerance`` is in units of the standard error, and ten times that of −log10 p.
    """
    fits = {
        (v, t): naive.linear(
            dosage[v],
            traits[:, t],
            covariates,
            model=Model(options.model).name.lower(),
            exclude=options.missing == Missing.EXCLUDE,
            scale=scale,
            relationship=relationship,
        )
        for v, t in np.ndindex(out["status"].shape)
    }
    for cell, fit in fits.items():
        assert (fit is None) == (out["status"][cell] != Status.OK), (cell, out["status"][cell])
    parts = ("", "_domdev") if "beta_domdev" in out else ("",)
    expected = {name: np.full(values.shape, np.nan) for name, values in out.items()}
    for cell, fit in fits.items():
        if fit is not None:
            expected["neg_log10_p"][cell] = fit.neg_log10_p
            for k, part in enumerate(parts):
                expected["beta" + part][cell] = fit.beta[k]
                expected["standard_error" + part][cell] = fit.standard_error[k]
    for part in parts:
        error = expected["standard_error" + part]
        np.testing.assert_allclose((out["beta" + part] - expected["beta" + part]) / error, 0.0 * error, atol=tolerance)
        np.testing.assert_allclose(out["standard_error" + part], error, rtol=tolerance)
    np.testing.assert_allclose(out["neg_log10_p"], expected["neg_log10_p"], rtol=10 * tolerance, atol=tolerance)
    return sum(fit is not None for fit in fits.values())
