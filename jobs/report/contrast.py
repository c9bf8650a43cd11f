"""One pass over all strata of some traits: what they say beside each other, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.meta.block import reaches
from allscan.engine.meta.cube import Counting
from allscan.engine.meta.spec import MetaSpec
from allscan.jobs.report.tally import HIGHEST, scaled
from allscan.jobs.result_source import BLOCK
from allscan.kernels.association import has_result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.jobs.report.views import Grouping
    from allscan.jobs.result_source import ResultSource

PAIR_CELLS_PER_UNIT = 20
"""Of the picture of pairs, per unit of −log10 p."""
_CELLS = int(HIGHEST * PAIR_CELLS_PER_UNIT) + 1

COMMON = 0.05
"""Minor-allele frequency from which standard errors are compared."""
SAMPLED_VARIANTS = 1 << 20
"""Variants at which standard errors are compared, at most about: pieces that lie evenly over the genome."""
MOST_RE2 = 100_000
"""Significant variants by RE2 that are held as candidates for leads: the most significant."""

_LOG_RATIO = 5.0
_RATIO_BINS = 10_000
"""Of the logarithm of ratios of standard errors, −5 to 5: a median is off by 0.05 %."""


@dataclass
class Pairs:
    """−log10 p of one trait by two analyses, for variants that both tested."""

    capacity: int
    n: int = 0
    threshold: float = -1.0  # every pair of which one is above it is held
    index: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    first: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    second: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    cells: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((_CELLS, _CELLS), np.bool_))

    def add(self, start: int, first: NDArray[np.float32], second: NDArray[np.float32]) -> None:
        """Take in the variants from ``start`` on."""
        rows = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
        self.n += len(rows)
        a, b = first[rows], second[rows]
        self.cells[_cell(b), _cell(a)] = True
        keep = np.maximum(a, b) > self.threshold
        self.index = np.concatenate([self.index, start + rows[keep]])
        self.first, self.second = np.concatenate([self.first, a[keep]]), np.concatenate([self.second, b[keep]])
        if len(self.index) > 2 * self.capacity:
            self.trim()

    def trim(self) -> None:
        """Keep the ``capacity`` most significant by either, or fewer: ties of the first one left out go too."""
        if len(self.index) <= self.capacity:
            return
        larger = np.maximum(self.first, self.second)
        self.threshold = float(np.partition(larger, -self.capacity - 1)[-self.capacity - 1])
        keep = larger > self.threshold
        self.index, self.first, self.second = self.index[keep], self.first[keep], self.second[keep]

    @property
    def rest(self) -> NDArray[np.bool_]:
        """Cells (second, first) that hold the pairs that are not held one by one."""
        if self.threshold < 0:
            return self.cells[:0, :0]
        size = int(_cell(np.array([self.threshold], np.float32))[0]) + 1
        return self.cells[:size, :size]


def _cell(neg_log10_p: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.minimum((scaled(neg_log10_p) * PAIR_CELLS_PER_UNIT).astype(np.int64), _CELLS - 1)


class Contrast(NamedTuple):
    """What one trait's strata of a stratification say beside each other."""

    pairs: Pairs | None  # pooled and fixed effects; None where there is only one of the two
    only_here: NDArray[np.int64]  # (groups,) variants with a result in this group and in no other
    error_ratio: NDArray[np.float64]  # (groups,) median of the standard errors over the pooled ones; NaN without
    weight_share: NDArray[np.float64]  # (groups,) of the weights of fixed effects, mean over common variants
    re2_index: NDArray[np.int64]  # variants that are significant by RE2, in store order
    re2_value: NDArray[np.float32]  # their −log10 p


def contrast_traits(
    source: ResultSource,
    meta: ResultSource | None,
    grouping: Grouping,
    pooled: int | None,
    traits: slice,
    *,
    significance: float,
    points: int,
) -> list[Contrast]:
    """Pass once over the strata of a stratification, and over what stands for everybody.

    Parameters
    ----------
    source, meta
        Results of the same traits; ``meta`` is None where the stratification has no meta-analysis.
    grouping, pooled
        Which strata.
    traits
        Some of them.
    significance
        −log10 p from which RE2 finds a variant.
    points
        Pairs that are held one by one.
    """
    n_groups, n_traits = len(grouping.groups), traits.stop - traits.start
    has_pairs = meta is not None and pooled is not None
    pairs = [Pairs(points) for _ in range(n_traits)] if has_pairs else None
    only_here = np.zeros((n_groups, n_traits), np.int64)
    errors = _Errors(n_groups, n_traits)
    counting = counting_of(meta, grouping)
    inflation = counting.factors(grouping.stratum_names, source.traits[traits])
    re2 = [_Strongest() for _ in range(n_traits)]
    with_re2 = meta is not None and any(column.name == "neg_log10_p_re2" for column in meta.columns)
    with_errors = any(column.name == "standard_error" for column in source.columns)
    for rows, is_sampled in _pieces(source, n_groups + 1):
        tested = np.stack([has_result(source.block("status", g, traits, rows)) for g in grouping.strata])
        only_here += (tested & (tested.sum(axis=0) == 1)).sum(axis=2)
        if is_sampled and with_errors:
            errors.add(source, grouping, pooled, traits, rows, counting.spec, inflation)
        if meta is None:
            continue
        assert grouping.meta is not None
        if pairs is not None and pooled is not None:
            first, second = (
                one.block("neg_log10_p", g, traits, rows) for one, g in ((source, pooled), (meta, grouping.meta))
            )
            for t, held in enumerate(pairs):
                held.add(rows.start, first[t], second[t])
        if with_re2:
            values = meta.block("neg_log10_p_re2", grouping.meta, traits, rows)
            for t, strongest in enumerate(re2):
                # NaN compares false.
                found = np.flatnonzero(values[t] >= significance)
                strongest.add(rows.start + found, values[t][found])
    for held in pairs or ():
        held.trim()
    ratio, share = errors.ratio, errors.share
    return [
        Contrast(
            None if pairs is None else pairs[t], only_here[:, t], ratio[:, t], share[:, t], re2[t].index, re2[t].value
        )
        for t in range(n_traits)
    ]


def counting_of(meta: ResultSource | None, grouping: Grouping) -> Counting:
    """How groups count in their meta-analysis; as they are where there is none."""
    return Counting(MetaSpec(), {}) if meta is None or grouping.meta is None else Counting.of(meta.attrs)


def _pieces(source: ResultSource, n_strata: int) -> Iterator[tuple[slice, bool]]:
    """Whole chunks of variants, fewer the more strata are read together; and whether errors are compared there."""
    chunk = source.chunk_variants
    size = chunk * max(1, 2 * BLOCK // n_strata // chunk)
    count = -(-source.n_variants // size)
    sampled = max(1, SAMPLED_VARIANTS // size)
    chosen = set(np.unique(np.linspace(0, count - 1, min(sampled, count)).astype(np.int64)).tolist())
    for number in range(count):
        yield slice(number * size, min((number + 1) * size, source.n_variants)), number in chosen


class _Errors:
    """Standard errors of groups beside those of everybody, and their weights beside each other."""

    def __init__(self, n_groups: int, n_traits: int) -> None:
        self._ratios = np.zeros((n_groups, n_traits, _RATIO_BINS), np.uint32)
        self._shares = np.zeros((n_groups, n_traits))
        self._counted = np.zeros(n_traits, np.int64)

    def add(
        self,
        source: ResultSource,
        grouping: Grouping,
        pooled: int | None,
        traits: slice,
        rows: slice,
        spec: MetaSpec,
        inflation: NDArray[np.float64],
    ) -> None:
        """Take in some variants; weights are those of the meta-analysis, ratios are of errors as they came out."""

        def read(name: str, stratum: int) -> NDArray[np.float64]:
            return source.block(name, stratum, traits, rows).astype(np.float64)

        of_all = None if pooled is None else read("standard_error", pooled)
        weights, common = [], []
        for g, stratum in enumerate(grouping.strata):
            error, frequency = read("standard_error", stratum), read("effect_allele_frequency", stratum)
            # NaN compares false.
            has_error = (error > 0) & np.isfinite(error)
            is_common = has_error & (np.minimum(frequency, 1 - frequency) >= COMMON)
            # Where a trait is not scanned in a group at all, the others share the weights.
            common.append(is_common | ~has_error.any(axis=1, keepdims=True))
            with np.errstate(divide="ignore", invalid="ignore"):
                counts = is_common & reaches(read("n", stratum), frequency, spec)
                weights.append(np.where(counts, error**-2.0, 0.0) / np.maximum(inflation[g], 1.0)[:, None])
                log_ratio = None if of_all is None else np.log(error / of_all)
            if log_ratio is not None:
                for t in range(len(error)):
                    self._count(g, t, log_ratio[t][is_common[t] & np.isfinite(log_ratio[t])])
        total = np.sum(weights, axis=0)
        in_all = np.logical_and.reduce(common) & (total > 0)
        total[~in_all] = 1.0
        for g, weight in enumerate(weights):
            self._shares[g] += np.where(in_all, weight / total, 0.0).sum(axis=1)
        self._counted += in_all.sum(axis=1)

    def _count(self, group: int, trait: int, log_ratio: NDArray[np.float64]) -> None:
        place = np.clip((log_ratio / _LOG_RATIO + 1.0) * (_RATIO_BINS / 2), 0, _RATIO_BINS - 1).astype(np.int64)
        self._ratios[group, trait] += np.bincount(place, minlength=_RATIO_BINS).astype(np.uint32)

    @property
    def ratio(self) -> NDArray[np.float64]:
        """Median of error over pooled error, (groups, traits); NaN without a common variant."""
        below = np.cumsum(self._ratios, axis=2, dtype=np.int64)
        total = below[..., -1:]
        middle = (below < (total + 1) // 2).sum(axis=2)
        median = np.exp(((middle + 0.5) / (_RATIO_BINS / 2) - 1.0) * _LOG_RATIO)
        return np.where(total[..., 0] > 0, median, np.nan)

    @property
    def share(self) -> NDArray[np.float64]:
        """Mean share of the weights, (groups, traits); NaN without a variant that is common in all groups."""
        return np.where(self._counted > 0, self._shares / np.maximum(self._counted, 1), np.nan)


class _Strongest:
    """The most significant variants, in store order."""

    def __init__(self) -> None:
        self.index = np.empty(0, np.int64)
        self.value = np.empty(0, np.float32)

    def add(self, index: NDArray[np.int64], value: NDArray[np.float32]) -> None:
        """Take in later variants."""
        if not len(index):
            return
        self.index, self.value = np.concatenate([self.index, index]), np.concatenate([self.value, value])
        if len(self.index) > 2 * MOST_RE2:
            kept = np.sort(np.argsort(-self.value, kind="stable")[:MOST_RE2])
            self.index, self.value = self.index[kept], self.value[kept]
