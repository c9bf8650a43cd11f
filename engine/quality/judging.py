"""The rules by which people are judged: call rate, outliers of metrics given ancestry, and sex."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.quality.samples import SexCheck

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.quality.samples import SampleMetrics

MAD_OF_NORMAL = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


@dataclass(frozen=True)
class Bounds:
    """How many median absolute deviations below and above the median a metric may be; None: any number."""

    metric: str
    below: float | None = 8.0
    above: float | None = 8.0


OUTLIER_BOUNDS = (
    Bounds("snp_count"),
    Bounds("ins_del_ratio"),
    Bounds("del_count"),
    Bounds("ins_count"),
    Bounds("snp_het_homvar_ratio", below=None),
    Bounds("indel_het_homvar_ratio"),
    Bounds("ti_tv_ratio"),
    Bounds("singleton", below=None),
    Bounds("f_het", above=None),
)
"""Those of All of Us, and heterozygosity, of which only an excess (contamination) is an error: a lack is family."""


@dataclass(frozen=True)
class SampleRules:
    """Who passes. None asks nothing."""

    min_call_rate: float | None = 0.95
    outliers: tuple[Bounds, ...] = OUTLIER_BOUNDS
    group_people: int = 100  # groups with fewer are compared with everybody
    drop_sex_mismatch: bool = True
    drop_unclear_sex: bool = False  # ambiguous, or of another number of sex chromosomes


class Reason(IntFlag):
    """Why a person does not pass; there may be several."""

    PASSES = 0
    CALL_RATE = 1
    OUTLIER = 2
    SEX_MISMATCH = 4
    UNCLEAR_SEX = 8


@dataclass(frozen=True, eq=False)
class Judgement:
    """Who passes, and why others do not."""

    reasons: NDArray[np.uint8]  # (people,) Reason, added up
    deviations: NDArray[np.float64]  # (people, metrics) in median absolute deviations, signed; NaN: not judged
    outliers: NDArray[np.bool_]  # (people, metrics)
    metrics: tuple[str, ...]
    not_judged: tuple[tuple[str, str], ...]  # (group or "", metric) that do not vary, so that nobody is an outlier

    @property
    def passes(self) -> NDArray[np.bool_]:
        """Who has no reason not to, shape (people,)."""
        return np.asarray(self.reasons == 0)

    @property
    def counts(self) -> dict[str, int]:
        """People by reason (maybe several), by the metric they are outliers of, and those with no metric to compare."""
        found = {"passes": int(self.passes.sum())}
        found |= {reason.name.lower(): int((self.reasons & reason > 0).sum()) for reason in Reason if reason.name}
        found |= {f"outlier_{name}": int(self.outliers[:, k].sum()) for k, name in enumerate(self.metrics)}
        return found | {"not_judged": int(np.isnan(self.deviations).all(axis=1).sum()) if self.metrics else 0}

    def to_arrow(self) -> pa.Table:
        """A table with a row for each person, and no ids: ``passes``, ``reasons``, and a deviation for each metric."""
        import pyarrow as pa

        from allscan.arrow import number_array, string_array

        names = [reason for reason in Reason if reason]
        texts = {
            code: ",".join(str(one.name).lower() for one in names if code & one)
            for code in np.unique(self.reasons).tolist()
        }
        columns = {
            "passes": pa.array(self.passes.tolist(), pa.bool_()),
            "reasons": string_array(texts[code] for code in self.reasons.tolist()),
        }
        for k, name in enumerate(self.metrics):
            columns[f"deviation_{name}"] = number_array(self.deviations[:, k])
        return pa.table(columns)


def judge_samples(
    found: SampleMetrics,
    rules: SampleRules,
    *,
    components: NDArray[np.float64] | None = None,
    groups: tuple[str, ...] = (),
    group: NDArray[np.integer] | None = None,
) -> Judgement:
    """Judge everybody.

    Parameters
    ----------
    components : (people, k) float64, optional
        Principal components, NaN of who has none. Metrics are compared after what the components and their squares
        predict of them is taken off, as gnomAD and All of Us do.
    groups, group
        Names of ancestry groups, and the index of each person's, -1 for none. Medians and deviations are those within a
        group; of people of no group, and of groups of fewer than ``rules.group_people``, those of everybody.

    Notes
    -----
    The prediction is fitted on those who pass the call rate and have components. A deviation is the residual less the
    median, over 1.4826 times the median of its absolute value (MAD).
    """
    n = len(found.call_rate)
    reasons = np.zeros(n, np.uint8)
    if rules.min_call_rate is not None:
        reasons[~(found.call_rate >= rules.min_call_rate - 1e-9)] |= np.uint8(Reason.CALL_RATE)
    if rules.drop_sex_mismatch:
        reasons[found.sex_check == SexCheck.MISMATCH] |= np.uint8(Reason.SEX_MISMATCH)
    if rules.drop_unclear_sex:
        unclear = (SexCheck.AMBIGUOUS, SexCheck.POSSIBLE_X0, SexCheck.POSSIBLE_XXY)
        reasons[np.isin(found.sex_check, unclear)] |= np.uint8(Reason.UNCLEAR_SEX)
    good = (reasons & Reason.CALL_RATE) == 0
    names = tuple(bounds.metric for bounds in rules.outliers)
    values = np.column_stack([getattr(found, name) for name in names]) if names else np.empty((n, 0))
    residuals = _residuals(values.astype(np.float64), components, good)
    strata = _strata(n, groups, group, rules.group_people)
    deviations = np.full(values.shape, np.nan)
    not_judged = []
    for k, name in enumerate(names):
        for label, members, compared in strata:
            known = residuals[compared & good & np.isfinite(residuals[:, k]), k]
            median = np.median(known) if len(known) else np.nan
            scale = MAD_OF_NORMAL * np.median(np.abs(known - median)) if len(known) else 0.0
            # What varies by less than rounding does not vary.
            if not scale > 1e-9 * max(1.0, np.abs(values[compared, k]).max(initial=0.0, where=good[compared])):
                not_judged.append((label, name))
                continue
            deviations[members, k] = (residuals[members, k] - median) / scale
    outliers = np.zeros(values.shape, np.bool_)
    with np.errstate(invalid="ignore"):
        for k, bounds in enumerate(rules.outliers):
            if bounds.below is not None:
                outliers[:, k] |= deviations[:, k] < -bounds.below
            if bounds.above is not None:
                outliers[:, k] |= deviations[:, k] > bounds.above
    reasons[outliers.any(axis=1)] |= np.uint8(Reason.OUTLIER)
    return Judgement(reasons, deviations, outliers, names, tuple(not_judged))


def _residuals(
    values: NDArray[np.float64], components: NDArray[np.float64] | None, good: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What components and their squares do not predict of each metric; NaN where one of them is not known."""
    if components is None or not components.shape[1]:
        return values
    # To the same scale, so that no column is lost beside another.
    scale = np.nanstd(components[good], axis=0)
    standard = components / np.where(scale > 0, scale, 1.0)
    design = np.column_stack([np.ones(len(values)), standard, standard**2])
    known = np.isfinite(design).all(axis=1)
    residuals = np.full(values.shape, np.nan)
    for k in range(values.shape[1]):
        fitted = good & known & np.isfinite(values[:, k])
        if fitted.sum() > design.shape[1]:
            coefficients = np.linalg.lstsq(design[fitted], values[fitted, k], rcond=None)[0]
            residuals[known, k] = values[known, k] - design[known] @ coefficients
    return residuals


def _strata(
    n: int, groups: tuple[str, ...], group: NDArray[np.integer] | None, least: int
) -> list[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Name of a group, its people, and those whom they are compared with; "" for those compared with everybody."""
    everybody = np.ones(n, np.bool_)
    if group is None:
        return [("", everybody, everybody)]
    alone = [k for k in range(len(groups)) if (group == k).sum() >= least]
    strata = [(groups[k], group == k, group == k) for k in alone]
    others = ~np.isin(group, alone)
    return [*strata, ("", others, everybody)] if others.any() else strata
