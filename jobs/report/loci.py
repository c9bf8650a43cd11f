"""Loci that any analysis of a trait found, and what every analysis says at their lead variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.meta.block import combine, counted, leave_out
from allscan.engine.meta.spec import MetaSpec
from allscan.engine.meta.studies import study_block
from allscan.jobs.report.cells import read_cells
from allscan.jobs.report.contrast import counting_of
from allscan.kernels import summary
from allscan.kernels.association import has_result
from allscan.kernels.meta import signed_deviates, weighted_deviates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from allscan.jobs.report.genome import Genome
    from allscan.jobs.report.views import Grouping
    from allscan.jobs.result_source import ResultSource

OF_META = (
    *("beta", "standard_error", "neg_log10_p", "q", "neg_log10_p_q", "i_squared"),
    *("beta_random", "standard_error_random", "neg_log10_p_random", "tau_squared", "neg_log10_p_re2"),
)
"""Columns of a meta-analysis that are shown, where it has them."""
OF_STRATUM = ("n", "effect_allele_frequency", "beta", "standard_error", "neg_log10_p", "status")
CONSISTENT = 1.959963984540054
"""Standard errors that an effect may be from that of the other groups and still agree with it."""


class Leads(NamedTuple):
    """Significant lead variants of one analysis."""

    variant: NDArray[np.int64]
    neg_log10_p: NDArray[np.float32]


@dataclass(frozen=True)
class Estimates:
    """What one analysis says at variants; NaN where it has no result."""

    n: NDArray[np.float64]
    frequency: NDArray[np.float64]
    beta: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    neg_log10_p: NDArray[np.float64]


@dataclass(frozen=True)
class Loci:
    """Loci of one trait, the most significant first; every array is (loci,), or (groups, loci)."""

    variant: NDArray[np.int64]  # lead: the most significant variant by any analysis
    by_pooled: NDArray[np.bool_]  # which analysis has a significant variant in the locus
    by_fixed: NDArray[np.bool_]
    by_re2: NDArray[np.bool_]
    by_group: NDArray[np.bool_]  # (groups, loci)
    pooled: Estimates | None
    groups: tuple[Estimates, ...]  # errors and p as the meta-analysis takes them: widened by genomic control
    counts: NDArray[np.bool_]  # (groups, loci) which groups are in the meta-analysis there
    cases: tuple[NDArray[np.float64], ...]  # of each group; none of a quantitative trait
    meta: dict[str, NDArray[np.float64]]  # columns of OF_META
    beta_without: NDArray[np.float64]  # (groups, loci) fixed effects of the other groups
    error_without: NDArray[np.float64]
    p_without: NDArray[np.float64]  # −log10 p
    difference: NDArray[np.float64]  # (groups, loci) group less the others, in its standard error

    @property
    def by_meta(self) -> NDArray[np.bool_]:
        """Which the meta-analysis found, by fixed effects or by RE2."""
        return np.asarray(self.by_fixed | self.by_re2)

    @property
    def gained(self) -> NDArray[np.bool_]:
        """Which everybody together found, pooled or by meta-analysis, and a group alone did not, (groups, loci)."""
        return np.asarray((self.by_pooled | self.by_meta)[None] & ~self.by_group)

    @property
    def agrees(self) -> NDArray[np.bool_]:
        """Where a group's effect has the sign of that of the others and is within 1.96 standard errors of it."""
        beta = np.array([group.beta for group in self.groups]).reshape(self.beta_without.shape)
        # NaN compares false.
        return np.asarray((beta * self.beta_without > 0) & (np.abs(self.difference) <= CONSISTENT))

    @property
    def differs(self) -> NDArray[np.bool_]:
        """Where a group's effect differs from that of the others, with 95 % for all loci and groups together."""
        tests = int(np.isfinite(self.difference).sum())
        if not tests:
            return np.zeros(self.difference.shape, np.bool_)
        level = -np.log10(0.05 / tests)
        return np.asarray(self.difference**2 >= float(summary.chi_square(level)))


def find_loci(leads: Sequence[Leads], genome: Genome, window: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Lead variants of all analyses together, and which analyses have a lead in the window of each.

    Parameters
    ----------
    leads
        Of each analysis.
    genome
        Places of variants.
    window
        Base pairs to either side of a lead that belong to it.

    Returns
    -------
    (loci,) variants, the most significant first, and (analyses, loci).
    """
    index = np.concatenate([np.empty(0, np.int64), *(one.variant for one in leads)])
    value = np.concatenate([np.empty(0, np.float32), *(one.neg_log10_p for one in leads)])
    variants, of_lead = np.unique(index, return_inverse=True)
    best = np.full(len(variants), -np.inf, np.float32)
    np.maximum.at(best, of_lead, value)
    clumps = summary.clump(genome.contig[variants], genome.position[variants], best, window)
    found = variants[clumps.lead]
    # Places along one axis, on which contigs lie farther apart than any window.
    apart = int(genome.last.max(initial=0)) + 2 * window + 1

    def along(of: NDArray[np.int64]) -> NDArray[np.int64]:
        return genome.contig[of].astype(np.int64) * apart + genome.position[of]

    by = np.zeros((len(leads), len(found)), np.bool_)
    at = along(found)
    for number, one in enumerate(leads):
        places = np.sort(along(one.variant))
        by[number] = np.searchsorted(places, at + window, side="right") > np.searchsorted(places, at - window)
    return found, by


def read_loci(
    source: ResultSource,
    meta: ResultSource | None,
    grouping: Grouping,
    pooled: int | None,
    traits: slice,
    variants: Sequence[NDArray[np.int64]],
    found_by: Sequence[NDArray[np.bool_]],
) -> list[Loci]:
    """What every analysis says at the loci of some traits.

    Parameters
    ----------
    source, meta, grouping, pooled, traits
        As for :func:`allscan.jobs.report.contrast.contrast_traits`.
    variants
        Of each trait, the lead variants.
    found_by
        Of each trait, (2 + groups + 1, loci): pooled, fixed effects, each group, RE2.
    """
    sizes = [len(one) for one in variants]
    trait = np.repeat(np.arange(len(variants)), sizes)
    variant = np.concatenate([np.empty(0, np.int64), *variants])
    ends = np.cumsum(sizes).tolist()
    parts = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    binary = any(column.name == "cases" for column in source.columns)
    names = [*OF_STRATUM, *(("cases",) if binary else ())]

    def read(one: ResultSource, stratum: int, columns: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        return {
            name: values.astype(np.float64)
            for name, values in read_cells(one, stratum, traits, trait, variant, columns).items()
        }

    counting = counting_of(meta, grouping)
    inflation = counting.factors(grouping.stratum_names, source.traits[traits])
    of_strata = [_without_absent(read(source, stratum, names)) for stratum in grouping.strata]
    of_pooled = None if pooled is None else _without_absent(read(source, pooled, names))
    if meta is not None and grouping.meta is not None:
        has = {column.name for column in meta.columns}
        of_meta = read(meta, grouping.meta, [name for name in OF_META if name in has])
    else:
        of_meta = _combined(of_strata)
    return [
        _loci(one, by, part, of_strata, of_pooled, of_meta, counting.spec, inflation[:, t])
        for t, (one, by, part) in enumerate(zip(variants, found_by, parts, strict=True))
    ]


def _without_absent(values: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Results without what stands where there is none."""
    if len(values["status"]):
        absent = ~has_result(values["status"].astype(np.uint8))
        for name in ("beta", "standard_error", "neg_log10_p"):
            values[name][absent] = np.nan
    return values


def _combined(of_strata: Sequence[dict[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    """Heterogeneity and fixed effects of groups of which the run holds no meta-analysis."""
    if len(of_strata) < 2:
        return {}
    names = ("beta", "standard_error", "neg_log10_p", "n", "effect_allele_frequency")
    columns = [np.stack([one[name] for one in of_strata]) for name in names]
    made = combine(study_block(*columns), MetaSpec(methods=("random", "re2")))
    return {name: made[name].astype(np.float64) for name in OF_META}


def _loci(
    variant: NDArray[np.int64],
    by: NDArray[np.bool_],
    part: slice,
    of_strata: Sequence[dict[str, NDArray[np.float64]]],
    of_pooled: dict[str, NDArray[np.float64]] | None,
    of_meta: dict[str, NDArray[np.float64]],
    spec: MetaSpec,
    inflation: NDArray[np.float64],
) -> Loci:
    names = ("beta", "standard_error", "neg_log10_p", "n", "effect_allele_frequency")
    shape = (len(of_strata), len(variant))
    columns = [np.array([one[name][part] for one in of_strata]).reshape(shape) for name in names]
    block = counted(study_block(*columns), spec, inflation)
    beta, error = block.beta, block.standard_error
    groups = tuple(
        _estimates(one, part, *widened)
        for one, *widened in zip(of_strata, error, _widened(columns[0], columns[2], inflation), strict=True)
    )
    without = leave_out(block)
    with np.errstate(invalid="ignore"):
        difference = (beta - without.beta) / np.sqrt(error**2 + without.standard_error**2)
    return Loci(
        variant=variant,
        by_pooled=by[0],
        by_fixed=by[1],
        by_re2=by[-1],
        by_group=by[2:-1],
        pooled=None if of_pooled is None else _estimates(of_pooled, part),
        groups=groups,
        counts=np.isfinite(beta),
        cases=tuple(one["cases"][part] for one in of_strata if "cases" in one),
        meta={name: values[part] for name, values in of_meta.items()},
        beta_without=without.beta,
        error_without=without.standard_error,
        p_without=without.neg_log10_p,
        difference=difference,
    )


def _widened(
    beta: NDArray[np.float64], neg_log10_p: NDArray[np.float64], inflation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """−log10 p of deviates that genomic control made smaller, (groups, loci)."""
    out = neg_log10_p.copy()
    for g in np.flatnonzero(inflation > 1.0):
        z = signed_deviates(neg_log10_p[g], beta[g]) / np.sqrt(inflation[g])
        out[g] = weighted_deviates(z[None], np.ones((1, 1))).neg_log10_p
    return out


def _estimates(
    values: dict[str, NDArray[Any]],
    part: slice,
    error: NDArray[np.float64] | None = None,
    neg_log10_p: NDArray[np.float64] | None = None,
) -> Estimates:
    return Estimates(
        values["n"][part],
        values["effect_allele_frequency"][part],
        values["beta"][part],
        values["standard_error"][part] if error is None else error,
        values["neg_log10_p"][part] if neg_log10_p is None else neg_log10_p,
    )
