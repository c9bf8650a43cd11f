"""What is computed of a variant, and the rules by which it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.chromosomes import PloidyClass
from allscan.engine.quality.people import FEMALE, MALE, SEXES, UNKNOWN
from allscan.kernels.block import take
from allscan.kernels.homogeneity import homogeneity_neg_log10_p
from allscan.kernels.hwe import hwe_neg_log10_p
from allscan.kernels.person_counts import count_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.quality.people import People
    from allscan.kernels.block import GenotypeBlock


@dataclass(frozen=True)
class VariantRules:
    """Which variants pass. None asks nothing."""

    min_call_rate: float = 0.95
    min_mac: float = 1.0  # copies of the minor allele: what does not vary is not tested
    min_maf: float = 0.0
    min_info: float | None = 0.3  # of variants that have one: dosages
    min_hwe_p: float | None = 1e-15  # within each group
    min_hwe_excess_p: float | None = 1e-6  # the same, where there are more heterozygotes than expected
    group_people: int = 100  # groups with fewer are not judged by themselves
    max_call_rate_difference: float | None = 0.05  # between groups
    difference_p: float = 1e-6  # and that it is not chance
    max_haploid_het: float | None = 0.01  # share of men's calls on X and Y that are heterozygous


class Fate(IntEnum):
    """Why a variant does not pass, in the order in which it is asked."""

    PASSES = 0
    CALL_RATE = 1
    MONOMORPHIC = 2
    RARE = 3
    INFO = 4
    DIFFERENTIAL_MISSINGNESS = 5
    HWE_EXCESS = 6
    HWE = 7
    HAPLOID_HETEROZYGOUS = 8

    @property
    def text(self) -> str:
        """Its name in tables."""
        return self.name.lower()


class VariantStatistics(NamedTuple):
    """Of the people counted; a column for each group has shape (variants, groups)."""

    n_people: NDArray[np.int64]  # (variants,) who could have a call: on Y men, where sexes are known
    n_called: NDArray[np.int64]
    n_het: NDArray[np.int64]  # dosages count as the nearest call
    n_hom_alt: NDArray[np.int64]
    allele_count: NDArray[np.float64]  # of ALT; a man's on X and Y, and everybody's on MT, as one
    allele_number: NDArray[np.int64]
    haploid_het_rate: NDArray[np.float64]  # of men's calls on X and Y; NaN without any
    info: NDArray[np.float32]
    hwe_neg_log10_p: NDArray[np.float64]  # the largest of the groups that are judged; NaN where there are none
    hwe_excess_neg_log10_p: NDArray[np.float64]  # the largest of those with more heterozygotes than expected, 0: none
    call_rate_difference: NDArray[np.float64]  # largest less smallest, of groups that are judged; NaN of fewer than two
    difference_neg_log10_p: NDArray[np.float64]
    group_n_people: NDArray[np.int64]  # (variants, groups + 1) as above; last the people of no group
    group_n_called: NDArray[np.int64]
    group_allele_count: NDArray[np.float64]
    group_allele_number: NDArray[np.int64]
    group_hwe_neg_log10_p: NDArray[np.float64]  # (variants, groups); women on X; NaN on Y and MT

    @property
    def call_rate(self) -> NDArray[np.float64]:
        """Of those who could have a call; NaN of nobody."""
        return _ratio(self.n_called, self.n_people)

    @property
    def allele_frequency(self) -> NDArray[np.float64]:
        """Of ALT; NaN without a call."""
        return _ratio(self.allele_count, self.allele_number)

    @property
    def minor_allele_count(self) -> NDArray[np.float64]:
        """Copies of the rarer allele."""
        return np.minimum(self.allele_count, self.allele_number - self.allele_count)

    def expected_heterozygosity(self, least: int) -> NDArray[np.float64]:
        """Chance that a person of each group is heterozygous, shape (variants, groups + 1), by the group's frequency.

        Estimated without bias, 2p(1 − p) n/(n − 1) of n alleles (Nei 1978). People of no group, and of groups of fewer
        than ``least``, are compared with everybody.
        """
        pooled = _heterozygosity(self.allele_count, self.allele_number)
        own = _heterozygosity(self.group_allele_count, self.group_allele_number)
        alone = self.group_n_people >= least
        alone[:, -1] = False
        return np.where(alone, own, pooled[:, None])


def _ratio(a: NDArray[np.number], b: NDArray[np.number]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(a / b, np.float64)


def _heterozygosity(count: NDArray[np.float64], number: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        p = count / number
        return np.where(number > 1, 2 * p * (1 - p) * number / (number - 1), 0.0)


class _Cells(NamedTuple):
    """Counts by group and sex, of sex chromosomes; by group alone elsewhere; shape (variants, groups + 1)."""

    n_people: NDArray[np.int64]
    n_called: NDArray[np.int64]
    n_het: NDArray[np.int64]
    n_hom_alt: NDArray[np.int64]
    allele_count: NDArray[np.float64]
    allele_number: NDArray[np.int64]
    tested: NDArray[np.int64]  # (variants, groups + 1, 3) people by call, whose Hardy-Weinberg equilibrium is tested
    haploid: NDArray[np.int64]  # (variants, 2) men's calls on X and Y, and the heterozygous among them


def variant_statistics(
    block: GenotypeBlock, kinds: NDArray[np.uint8], info: NDArray[np.float32], people: People, least: int
) -> VariantStatistics:
    """Count and test the variants of a block.

    Parameters
    ----------
    kinds : (variants,) uint8
        :class:`allscan.engine.chromosomes.PloidyClass`.
    info : (variants,) float32
        Imputation quality; NaN where there is none.
    least
        Groups of fewer people are not judged by themselves.

    Notes
    -----
    Hardy-Weinberg equilibrium is tested exactly in every group, never in a mixture of them, which lacks heterozygotes
    whatever the quality (Wahlund); of the groups that are judged the smallest p counts. Where nobody's group is known
    everybody is tested together, and only an excess of heterozygotes is reported, which no ancestry makes. On X women
    are tested; people of unknown sex count as two copies there, and on Y as nobody, unless no man is known.
    """
    sexed = np.isin(kinds, (PloidyClass.X, PloidyClass.Y))
    if not sexed.any():
        cells = _by_group(block, kinds, people)
    else:
        rows, others = np.flatnonzero(sexed), np.flatnonzero(~sexed)
        parts = _by_sex(take(block, rows), kinds[rows], people), _by_group(take(block, others), kinds[others], people)
        order = np.argsort(np.concatenate([rows, others]), kind="stable")
        cells = _Cells(*(np.concatenate(column)[order] for column in zip(*parts, strict=True)))
    n_groups = len(people.groups)
    known = n_groups > 0
    # Without groups everybody is the one that is tested.
    tested = cells.tested[:, :-1] if known else cells.tested
    hwe = _hwe(tested)
    enough = tested.sum(axis=2) >= (least if known else 1)
    excess = _excess(tested)
    judged = np.where(enough, hwe, np.nan)
    with np.errstate(invalid="ignore"):
        of_excess = np.where(np.isnan(judged), 0.0, np.where(excess, judged, 0.0)).max(axis=1, initial=0.0)
    largest = np.fmax.reduce(judged, axis=1, initial=np.nan) if known else np.full(len(kinds), np.nan)
    compared = np.where(cells.n_people >= least, cells.n_people, 0)[:, :n_groups]
    missing = np.where(compared > 0, (cells.n_people - cells.n_called)[:, :n_groups], 0)
    difference, p = _difference(missing, compared)
    with np.errstate(invalid="ignore", divide="ignore"):
        haploid_het_rate = cells.haploid[:, 1] / cells.haploid[:, 0]
    return VariantStatistics(
        cells.n_people.sum(axis=1),
        cells.n_called.sum(axis=1),
        cells.n_het.sum(axis=1),
        cells.n_hom_alt.sum(axis=1),
        cells.allele_count.sum(axis=1),
        cells.allele_number.sum(axis=1),
        haploid_het_rate,
        info,
        largest,
        of_excess,
        difference,
        p,
        cells.n_people,
        cells.n_called,
        cells.allele_count,
        cells.allele_number,
        hwe if known else np.empty((len(kinds), 0)),
    )


def _by_group(block: GenotypeBlock, kinds: NDArray[np.uint8], people: People) -> _Cells:
    found = count_groups(block, people.by_group)
    size = np.broadcast_to(people.by_group.size, found.n_het.shape)
    called = size - found.n_missing
    haploid = (kinds == PloidyClass.MT)[:, None]
    tested = np.stack([called - found.n_het - found.n_hom_alt, found.n_het, found.n_hom_alt], axis=2)
    return _Cells(
        size,
        called,
        found.n_het,
        found.n_hom_alt,
        np.where(haploid, found.copies / 2, found.copies),
        np.where(haploid, called, 2 * called),
        np.where(haploid[:, :, None], 0, tested),
        np.zeros((len(kinds), 2), np.int64),
    )


def _by_sex(block: GenotypeBlock, kinds: NDArray[np.uint8], people: People) -> _Cells:
    found = count_groups(block, people.by_cell)
    shape = (block.n_variants, -1, SEXES)
    missing, het, hom_alt = (a.reshape(shape) for a in (found.n_missing, found.n_het, found.n_hom_alt))
    copies = found.copies.reshape(shape)
    size = np.broadcast_to(people.by_cell.size.reshape(1, -1, SEXES), het.shape)
    called = size - missing
    on_y = (kinds == PloidyClass.Y)[:, None, None]
    counted = np.ones((1, 1, SEXES), np.bool_)
    if (people.sex == MALE).any():
        counted = np.array([UNKNOWN, MALE, FEMALE])[None, None, :] == MALE
    counted = np.where(on_y, counted, True)
    ploidy = np.where(on_y, 1, np.array([2, 1, 2])[None, None, :])

    def total(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.where(counted, values, 0).sum(axis=2))

    women = np.stack([called - het - hom_alt, het, hom_alt], axis=3)[:, :, FEMALE]
    haploid = np.column_stack([called[:, :, MALE].sum(axis=1), het[:, :, MALE].sum(axis=1)])
    return _Cells(
        total(size),
        total(called),
        total(het),
        total(hom_alt),
        total(copies * ploidy / 2),
        total(called * ploidy),
        np.where(on_y, 0, women),
        haploid,
    )


def _hwe(tested: NDArray[np.int64]) -> NDArray[np.float64]:
    """−log10 p of the exact test, shape (variants, groups)."""
    flat = tested.reshape(-1, 3)
    out = np.empty(len(flat))
    hom_ref, het, hom_alt = np.ascontiguousarray(flat.T)
    hwe_neg_log10_p(hom_ref, het, hom_alt, out)
    return out.reshape(tested.shape[:2])


def _excess(tested: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether there are more heterozygotes than expected, in whole numbers."""
    hom_ref, het, hom_alt = tested[..., 0], tested[..., 1], tested[..., 2]
    n, alt = tested.sum(axis=2), 2 * hom_alt + het
    return np.asarray(het * (2 * n - 1) > alt * (2 * hom_ref + het))


def _difference(
    missing: NDArray[np.int64], people: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p = np.full(len(people), np.nan)
    if people.shape[1] < 2:
        return p.copy(), p
    homogeneity_neg_log10_p(np.ascontiguousarray(missing), np.ascontiguousarray(people), p)
    share = np.where(people > 0, _ratio(missing, people), np.nan)
    difference = np.fmax.reduce(share, axis=1) - np.fmin.reduce(share, axis=1)
    return np.where(np.isnan(p), np.nan, difference), p


def judge_variants(found: VariantStatistics, rules: VariantRules) -> NDArray[np.uint8]:
    """The first of the :class:`Fate` that each variant meets, shape (variants,)."""
    fate = np.zeros(len(found.n_called), np.uint8)

    def drop(why: Fate, which: NDArray[np.bool_]) -> None:
        fate[which & (fate == Fate.PASSES)] = why

    def below(p: float) -> float:
        return -np.log10(p) if p > 0 else np.inf

    minor = found.minor_allele_count
    # Rates are quotients of whole numbers, bounds what people write in decimals.
    slack = 1e-9
    with np.errstate(invalid="ignore"):
        drop(Fate.CALL_RATE, ~(found.call_rate >= rules.min_call_rate - slack) | (found.n_called == 0))
        drop(Fate.MONOMORPHIC, ~(minor > slack))
        drop(Fate.RARE, (minor < rules.min_mac - slack) | (minor / found.allele_number < rules.min_maf - slack))
        if rules.min_info is not None:
            drop(Fate.INFO, found.info < np.float32(rules.min_info))
        if rules.max_call_rate_difference is not None:
            large = found.call_rate_difference > rules.max_call_rate_difference + slack
            drop(Fate.DIFFERENTIAL_MISSINGNESS, large & (found.difference_neg_log10_p > below(rules.difference_p)))
        if rules.min_hwe_excess_p is not None:
            drop(Fate.HWE_EXCESS, found.hwe_excess_neg_log10_p > below(rules.min_hwe_excess_p))
        if rules.min_hwe_p is not None:
            drop(Fate.HWE, found.hwe_neg_log10_p > below(rules.min_hwe_p))
        if rules.max_haploid_het is not None:
            drop(Fate.HAPLOID_HETEROZYGOUS, found.haploid_het_rate > rules.max_haploid_het + slack)
    return fate


def variant_reasons(rules: VariantRules) -> dict[Fate, str]:
    """What each fate means, in words."""
    within = f"in a group of {rules.group_people:,} people and more"
    return {
        Fate.PASSES: "pass",
        Fate.CALL_RATE: f"called in less than {100 * rules.min_call_rate:g} % of people",
        Fate.MONOMORPHIC: "do not vary",
        Fate.RARE: f"rare (fewer than {rules.min_mac:g} copies of an allele, or a frequency below {rules.min_maf:g})",
        Fate.INFO: f"with an imputation quality below {rules.min_info:g}" if rules.min_info is not None else "",
        Fate.DIFFERENTIAL_MISSINGNESS: (
            f"with call rates of groups more than {rules.max_call_rate_difference:g} apart (p < {rules.difference_p:g})"
            if rules.max_call_rate_difference is not None
            else ""
        ),
        Fate.HWE: f"out of Hardy-Weinberg equilibrium {within} (p < {rules.min_hwe_p:g})" if rules.min_hwe_p else "",
        Fate.HWE_EXCESS: (
            f"with too many heterozygotes (p < {rules.min_hwe_excess_p:g})" if rules.min_hwe_excess_p else ""
        ),
        Fate.HAPLOID_HETEROZYGOUS: (
            f"heterozygous in more than {100 * rules.max_haploid_het:g} % of men, who have one copy"
            if rules.max_haploid_het is not None
            else ""
        ),
    }
