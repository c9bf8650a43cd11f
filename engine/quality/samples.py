"""What is computed of each person's genotypes, and the sex that the sex chromosomes tell."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.quality.people import FEMALE, MALE, UNKNOWN
from allscan.engine.quality.tables import AUTOSOMAL, DELETION, INSERTION, ON_X, ON_Y, TRANSITION, TRANSVERSION
from allscan.kernels.person_counts import HET, HOM_ALT, MISSING

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.quality.counting import QualityCounts

LEAST_EXPECTED_HET = 20.0
"""Heterozygous calls on X expected of a woman, for F to tell anything: its standard error is then about 0.2."""
LEAST_Y_VARIANTS = 10
Y_PRESENT, Y_ABSENT = 0.5, 0.2
"""Share of the variants of Y that a man has calls at, at least, and a woman, at most."""


class SexCheck(IntEnum):
    """What the sex chromosomes say, and whether it is what was reported."""

    OK = 0
    MISMATCH = 1
    NOT_REPORTED = 2  # what they say stands for it
    AMBIGUOUS = 3  # they say neither
    POSSIBLE_X0 = 4  # one X, and no Y
    POSSIBLE_XXY = 5  # more than one X, and a Y
    NOT_CHECKED = 6  # too few variants

    @property
    def text(self) -> str:
        """Its name in tables."""
        return self.name.lower()


@dataclass(frozen=True, eq=False)
class SampleMetrics:
    """Of each person, over the variants that pass; every array has shape (people,). NaN: nothing to divide by.

    Counts are of autosomes outside of their names with ``x`` and ``y``; sites that were split count as their rows.
    """

    n_variants: NDArray[np.int64]
    n_called: NDArray[np.int64]
    call_rate: NDArray[np.float64]
    n_het: NDArray[np.int64]
    n_hom_alt: NDArray[np.int64]
    het_rate: NDArray[np.float64]  # of called variants
    f_het: NDArray[np.float64]  # 1 − observed / expected heterozygous calls, expected by the person's group
    singleton: NDArray[np.int64]  # variants whose rarer allele nobody else has
    snp_count: NDArray[np.int64]  # copies of ALT at substitutions
    ins_count: NDArray[np.int64]
    del_count: NDArray[np.int64]
    ins_del_ratio: NDArray[np.float64]
    ti_tv_ratio: NDArray[np.float64]  # of copies of ALT
    snp_het_homvar_ratio: NDArray[np.float64]
    indel_het_homvar_ratio: NDArray[np.float64]
    x_call_rate: NDArray[np.float64]
    f_x: NDArray[np.float64]  # as f_het, on X: about 0 of two copies, 1 of one
    y_call_rate: NDArray[np.float64]
    sex_reported: NDArray[np.int8]  # 1 male, 2 female, 0 unknown
    sex_inferred: NDArray[np.int8]
    sex_check: NDArray[np.uint8]  # SexCheck

    def to_arrow(self) -> pa.Table:
        """A table with a row for each person, and no ids."""
        import pyarrow as pa

        from allscan.arrow import number_array, string_array

        columns = {field.name: number_array(getattr(self, field.name)) for field in fields(self)}
        names = string_array([one.text for one in SexCheck])
        columns["sex_check"] = names.take(number_array(self.sex_check.astype(np.int64)))
        return pa.table(columns)


def sample_metrics(
    counts: QualityCounts, *, max_female_f: float = 0.5, min_male_f: float = 0.8, use_y: bool = True
) -> SampleMetrics:
    """Metrics of everybody counted.

    Parameters
    ----------
    max_female_f, min_male_f
        F on X (outside of the pseudoautosomal regions) below which a person has two copies, and above which one;
        between them neither is said.
    use_y
        Whether calls on Y count. They do not, either way, where women have them too.
    """
    persons = counts.persons
    calls, variants = persons.calls, persons.variants
    autosomal = calls[:AUTOSOMAL].sum(axis=0)
    n_variants = int(variants[:AUTOSOMAL].sum())
    n_called = n_variants - autosomal[MISSING]
    copies = calls[:, HET] + 2 * calls[:, HOM_ALT]
    snps, indels = (calls[[a, b]].sum(axis=0) for a, b in ((TRANSITION, TRANSVERSION), (INSERTION, DELETION)))
    expected_x = persons.expected_het[1]
    f_x = np.where(expected_x >= LEAST_EXPECTED_HET, 1 - _ratio(calls[ON_X, HET], expected_x), np.nan)
    y_call_rate = 1 - _ratio(calls[ON_Y, MISSING], variants[ON_Y])
    has_x = _copies_of_x(f_x, max_female_f, min_male_f)
    has_y = _has_y(y_call_rate, has_x, int(variants[ON_Y])) if use_y else None
    inferred, check = _check_sex(counts.people.sex, has_x, has_y, np.isnan(f_x))
    return SampleMetrics(
        n_variants=np.full(len(n_called), n_variants),
        n_called=n_called,
        call_rate=_ratio(n_called, n_variants),
        n_het=autosomal[HET],
        n_hom_alt=autosomal[HOM_ALT],
        het_rate=_ratio(autosomal[HET], n_called),
        f_het=1 - _ratio(autosomal[HET], persons.expected_het[0]),
        singleton=persons.singletons,
        snp_count=copies[TRANSITION] + copies[TRANSVERSION],
        ins_count=copies[INSERTION],
        del_count=copies[DELETION],
        ins_del_ratio=_ratio(copies[INSERTION], copies[DELETION]),
        ti_tv_ratio=_ratio(copies[TRANSITION], copies[TRANSVERSION]),
        snp_het_homvar_ratio=_ratio(snps[HET], snps[HOM_ALT]),
        indel_het_homvar_ratio=_ratio(indels[HET], indels[HOM_ALT]),
        x_call_rate=1 - _ratio(calls[ON_X, MISSING], variants[ON_X]),
        f_x=f_x,
        y_call_rate=y_call_rate,
        sex_reported=counts.people.sex,
        sex_inferred=inferred,
        sex_check=check,
    )


def _ratio(a: NDArray[np.number] | np.number, b: NDArray[np.number] | np.number | float) -> NDArray[np.float64]:
    """NaN where there is nothing to divide by."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.asarray(np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0))


def _copies_of_x(f_x: NDArray[np.float64], max_female_f: float, min_male_f: float) -> NDArray[np.int8]:
    """1 or 2; 0 where F does not tell."""
    with np.errstate(invalid="ignore"):
        return np.select([f_x < max_female_f, f_x > min_male_f], [2, 1], 0).astype(np.int8)


def _has_y(rate: NDArray[np.float64], copies_of_x: NDArray[np.int8], n_variants: int) -> NDArray[np.int8] | None:
    """1 where a person has calls on Y, -1 where not, 0 where that is not clear; None where Y tells nothing."""
    women = copies_of_x == 2
    if n_variants < LEAST_Y_VARIANTS or (women.any() and np.median(rate[women]) > Y_ABSENT):
        return None
    return np.select([rate >= Y_PRESENT, rate <= Y_ABSENT], [1, -1], 0).astype(np.int8)


def _check_sex(
    reported: NDArray[np.int8],
    copies_of_x: NDArray[np.int8],
    has_y: NDArray[np.int8] | None,
    unchecked: NDArray[np.bool_],
) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """The sex that X and Y agree on, 0 for none, and what there is to say of it."""
    y = np.where(copies_of_x == 1, 1, -1) if has_y is None else has_y
    inferred = np.select([(copies_of_x == 1) & (y == 1), (copies_of_x == 2) & (y == -1)], [MALE, FEMALE], UNKNOWN)
    check = np.select(
        [
            unchecked,
            (copies_of_x == 1) & (y == -1),
            (copies_of_x == 2) & (y == 1),
            inferred == UNKNOWN,
            reported == UNKNOWN,
            reported == inferred,
        ],
        [
            SexCheck.NOT_CHECKED,
            SexCheck.POSSIBLE_X0,
            SexCheck.POSSIBLE_XXY,
            SexCheck.AMBIGUOUS,
            SexCheck.NOT_REPORTED,
            SexCheck.OK,
        ],
        SexCheck.MISMATCH,
    )
    return np.where(unchecked, UNKNOWN, inferred).astype(np.int8), check.astype(np.uint8)
