"""Studies of a block of variants, combined: one array for each column of the cube."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.columns import CASE_COLUMNS, STATUS_COLUMN
from allscan.engine.meta.spec import SPARE_STUDIES
from allscan.kernels.association import OutputColumn, Status
from allscan.kernels.meta import LeaveOneOut, fixed_effects, leave_one_out, random_effects, weighted_deviates
from allscan.kernels.meta_re2 import re2
from allscan.kernels.meta_regression import meta_regression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.engine.meta.spec import MetaSpec
    from allscan.engine.meta.studies import StudyBlock

FIXED_COLUMNS = (
    OutputColumn("beta", "Effect common to all studies, by inverse variance, per copy of the effect allele"),
    OutputColumn("standard_error", "Of the common effect"),
    OutputColumn("neg_log10_p", "−log10 of the two-sided p of the common effect", "−log10 p"),
    OutputColumn("q", "Cochran's Q: squared distances to the common effect, in their standard errors"),
    OutputColumn("neg_log10_p_q", "−log10 p of Q on n_studies − 1 degrees of freedom: heterogeneity", "−log10 p"),
    OutputColumn("i_squared", "Share of the variance between studies that is no chance"),
)
RANDOM_COLUMNS = (
    OutputColumn("beta_random", "Mean of effects that differ, by DerSimonian and Laird"),
    OutputColumn("standard_error_random", "Of the mean effect"),
    OutputColumn("neg_log10_p_random", "−log10 of the two-sided p of the mean effect", "−log10 p"),
    OutputColumn("tau_squared", "Variance of effects between studies"),
)
RE2_COLUMNS = (
    OutputColumn("neg_log10_p_re2", "−log10 p of effects that may differ between studies (Han, Eskin)", "−log10 p"),
)
SAMPLE_SIZE_COLUMNS = (
    OutputColumn("neg_log10_p_sample_size", "−log10 p of the deviates, weighted by effective size", "−log10 p"),
)
REGRESSION_COLUMNS = (
    OutputColumn("neg_log10_p_axes", "−log10 p of an effect that may follow ancestry (as MR-MEGA)", "−log10 p"),
    OutputColumn("neg_log10_p_ancestry", "−log10 p of heterogeneity that follows ancestry", "−log10 p"),
    OutputColumn("neg_log10_p_residual", "−log10 p of heterogeneity that does not", "−log10 p"),
)
COUNT_COLUMNS = (
    OutputColumn("n_studies", "Studies that count at the variant", "studies", "int32"),
    OutputColumn("n", "People in these studies", "people", "int32"),
    OutputColumn("effective_n", "Sum of effective sizes, 4 / (1 / cases + 1 / controls) of a binary trait", "people"),
    OutputColumn("effect_allele_frequency", "Mean frequency of the effect allele, weighted by people"),
)
OF_CASES = CASE_COLUMNS[:3]
ASSOCIATION = ("neg_log10_p", "neg_log10_p_random", "neg_log10_p_re2", "neg_log10_p_sample_size", "neg_log10_p_axes")
"""Columns that test for an effect."""

_OF_METHODS = {
    "random": RANDOM_COLUMNS,
    "re2": RE2_COLUMNS,
    "sample_size": SAMPLE_SIZE_COLUMNS,
    "regression": REGRESSION_COLUMNS,
}


def meta_columns(spec: MetaSpec, *, binary: bool) -> tuple[OutputColumn, ...]:
    """Every array of a cube: those of the methods, in one order, then counts.

    Parameters
    ----------
    spec
        The methods.
    binary
        Whether there are binary traits.
    """
    of_methods = [column for method, columns in _OF_METHODS.items() if method in spec.methods for column in columns]
    return (*FIXED_COLUMNS, *of_methods, *COUNT_COLUMNS, *(OF_CASES if binary else ()), STATUS_COLUMN)


def counted(block: StudyBlock, spec: MetaSpec, inflation: NDArray[np.float64] | None = None) -> StudyBlock:
    """A block without the studies that do not count at a variant, their errors widened by genomic control.

    Parameters
    ----------
    block
        Studies of one trait.
    spec
        Thresholds.
    inflation : (studies,)
        λ of each study; None without genomic control. Below 1 nothing is changed.

    Notes
    -----
    A threshold leaves out a study that does not tell what it asks for.
    """
    out = ~reaches(block.n, block.frequency, spec)
    root = np.ones((len(block.beta), 1)) if inflation is None else np.sqrt(np.maximum(inflation, 1.0))[:, None]
    beta, z = np.where(out, np.nan, block.beta), np.where(out, np.nan, block.z / root)
    return block._replace(beta=beta, standard_error=block.standard_error * root, z=z)


def reaches(n: NDArray[np.float64], frequency: NDArray[np.float64], spec: MetaSpec) -> NDArray[np.bool_]:
    """Where a study has people and copies enough to count, any shape; NaN is not enough where it is asked for."""
    out = np.ones(n.shape, np.bool_)
    minor = np.minimum(frequency, 1.0 - frequency)
    for value, least in ((n, spec.min_n), (minor, spec.min_maf), (2.0 * n * minor, spec.min_mac)):
        if least > 0.0:
            out &= value >= least
    return out


def combine(block: StudyBlock, spec: MetaSpec, axes: NDArray[np.float64] | None = None) -> dict[str, NDArray[Any]]:
    """Every column of one trait, each (variants,) and of its column's type.

    Parameters
    ----------
    block
        Studies that count, of :func:`counted`.
    spec
        Methods, and how many studies make a result.
    axes : (studies, axes)
        Of genetic variation; None: there is no meta-regression.
    """
    beta, error = block.beta, block.standard_error
    fixed = fixed_effects(beta, error)
    out: dict[str, NDArray[Any]] = {
        "beta": fixed.beta,
        "standard_error": fixed.standard_error,
        "neg_log10_p": fixed.neg_log10_p,
        "q": fixed.q,
        "neg_log10_p_q": fixed.q_neg_log10_p,
        "i_squared": fixed.i_squared,
    }
    if "random" in spec.methods:
        random = random_effects(beta, error)
        out |= {
            "beta_random": random.beta,
            "standard_error_random": random.standard_error,
            "neg_log10_p_random": random.neg_log10_p,
            "tau_squared": random.tau_squared,
        }
    if "re2" in spec.methods:
        out["neg_log10_p_re2"] = re2(beta, error).neg_log10_p
    if "sample_size" in spec.methods:
        by_size = weighted_deviates(block.z, block.effective_n)
        out["neg_log10_p_sample_size"] = np.where(by_size.n_studies >= spec.min_studies, by_size.neg_log10_p, np.nan)
    if "regression" in spec.methods:
        regression = None if axes is None else meta_regression(beta, error, axes)
        for name, of_regression in (
            ("neg_log10_p_axes", "association_neg_log10_p"),
            ("neg_log10_p_ancestry", "ancestry_neg_log10_p"),
            ("neg_log10_p_residual", "residual_neg_log10_p"),
        ):
            out[name] = np.full(beta.shape[1], np.nan)
            if regression is not None and axes is not None:
                spare = regression.n_studies >= axes.shape[1] + SPARE_STUDIES
                out[name][spare] = getattr(regression, of_regression)[spare]
    enough = fixed.n_studies >= spec.min_studies
    for name, values in out.items():
        if name != "neg_log10_p_sample_size":
            values[~enough] = np.nan
    out |= _counts(block)
    out["n_studies"] = fixed.n_studies
    out["status"] = np.where(
        enough, Status.OK, np.where(_any(error) | _any(block.n), Status.FILTERED, Status.NOT_TESTED)
    )
    types = {column.name: column.dtype for column in meta_columns(spec, binary=block.cases is not None)}
    return {name: out[name].astype(kind, copy=False) for name, kind in types.items()}


def leave_out(block: StudyBlock) -> LeaveOneOut:
    """Fixed effects of all studies but one, (studies, variants)."""
    return leave_one_out(block.beta, block.standard_error)


def _counts(block: StudyBlock) -> dict[str, NDArray[Any]]:
    """What the studies that count have together."""
    present = np.isfinite(block.z) | (np.isfinite(block.beta) & (block.standard_error > 0.0))
    out: dict[str, NDArray[Any]] = {
        "n": _sum(block.n, present),
        "effective_n": _sum(block.effective_n, present),
        "effect_allele_frequency": mean_over_studies(block.frequency, block.n, present),
    }
    if block.cases is not None and block.frequency_cases is not None and block.frequency_controls is not None:
        out["cases"] = _sum(block.cases, present)
        out["effect_allele_frequency_cases"] = mean_over_studies(block.frequency_cases, block.cases, present)
        out["effect_allele_frequency_controls"] = mean_over_studies(
            block.frequency_controls, block.n - block.cases, present
        )
    return out


def _any(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).any(axis=0))


def _sum(values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(_added(np.where(present & np.isfinite(values), values, 0.0)))


def mean_over_studies(
    values: NDArray[np.float64], weights: NDArray[np.float64], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Weighted mean over the studies that tell the value, (variants,); of equal weights where none tells its weight.

    Parameters
    ----------
    values, weights : (studies, variants)
    present : (studies, variants)
        Which studies are asked.
    """
    told = present & np.isfinite(values)
    weighed = told & (weights > 0.0)
    weight = np.where(weighed, weights, 0.0)
    weight = np.where(weighed.any(axis=0), weight, told)
    with np.errstate(invalid="ignore"):
        return np.asarray(_added(weight * np.where(told, values, 0.0)) / _added(weight))


def _added(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over studies, one after another: in the same order however many there are."""
    total = np.zeros(values.shape[1])
    for row in values:
        total += row
    return total


def frequent(block: StudyBlock, members: Sequence[int], least: float) -> NDArray[np.bool_]:
    """Variants whose minor allele all of some studies have at this frequency at least."""
    frequency = block.frequency[list(members)]
    with np.errstate(invalid="ignore"):
        return np.asarray((np.minimum(frequency, 1.0 - frequency) >= least).all(axis=0))
