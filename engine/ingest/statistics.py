"""What is computed of every variant when it is read: counts, Hardy-Weinberg, imputation quality."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.chromosomes import PloidyClass
from allscan.kernels.hwe import hwe_neg_log10_p
from allscan.kernels.tally import tally_calls, tally_dosages

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEMALE = 2


class VariantStatistics(NamedTuple):
    """Of the kept samples; every array has shape (variants,)."""

    n_called: NDArray[np.int32]
    allele_count: NDArray[np.float64]  # copies of ALT; a haploid call counts as two
    n_het: NDArray[np.int32]  # dosages rounded to the nearest call
    n_hom_alt: NDArray[np.int32]
    hwe_neg_log10_p: NDArray[np.float32]  # NaN where the test does not apply
    info: NDArray[np.float32]  # imputation quality, NaN for calls

    @property
    def minor_allele_count(self) -> NDArray[np.float64]:
        """Copies of the rarer allele, shape (variants,)."""
        return np.minimum(self.allele_count, 2.0 * self.n_called - self.allele_count)


def variant_statistics(
    genotypes: NDArray[np.int8],
    dosage: NDArray[np.float32] | None,
    is_dosage: NDArray[np.bool_],
    info: NDArray[np.float32],
    ploidy: NDArray[np.uint8],
    sex: NDArray[np.int8],
) -> VariantStatistics:
    """Count alleles and genotypes of a batch, test Hardy-Weinberg equilibrium, and judge imputation.

    Parameters
    ----------
    genotypes : (variants, samples) int8
        Copies of ALT, negative missing.
    dosage : (variants, samples) float32, optional
        Expected copies of ALT, NaN missing; used where ``is_dosage`` is set.
    is_dosage : (variants,) bool
    info : (variants,) float32
        Imputation quality that the source gives, NaN where it gives none.
    ploidy : (variants,) uint8
        :class:`allscan.engine.chromosomes.PloidyClass` of each variant.
    sex : (samples,) int8
        1 male, 2 female, 0 unknown.

    Notes
    -----
    Hardy-Weinberg equilibrium is tested in everybody on autosomes and pseudoautosomal regions, in females
    on the rest of chromosome X, and not at all on Y and mtDNA. Where a dosage has no ``info``, it is MaCH's
    r²: the variance of the dosages over 2p(1 − p), its expectation if genotypes were known (Li et al. 2010,
    doi:10.1002/gepi.20533); NaN where p is 0 or 1.
    """
    n_variants = len(is_dosage)
    everybody = np.ones(len(sex), dtype=np.bool_)
    counts = np.zeros((n_variants, 3), dtype=np.int64)
    sums = np.zeros((n_variants, 2))
    _tally(genotypes, dosage, is_dosage, everybody, counts, sums)
    n_called = counts.sum(axis=1)
    allele_count = np.where(is_dosage, sums[:, 0], counts[:, 1] + 2.0 * counts[:, 2])

    tested = counts.copy()
    on_x = ploidy == PloidyClass.X
    if on_x.any():
        females = counts[on_x] * 0
        _tally(
            genotypes[on_x],
            None if dosage is None else dosage[on_x],
            is_dosage[on_x],
            sex == FEMALE,
            females,
            np.zeros((len(females), 2)),
        )
        tested[on_x] = females
    tested[(ploidy == PloidyClass.Y) | (ploidy == PloidyClass.MT)] = 0
    hwe = np.empty(n_variants)
    hwe_neg_log10_p(tested[:, 0].copy(), tested[:, 1].copy(), tested[:, 2].copy(), hwe)

    return VariantStatistics(
        n_called.astype(np.int32),
        allele_count,
        counts[:, 1].astype(np.int32),
        counts[:, 2].astype(np.int32),
        hwe.astype(np.float32),
        np.where(is_dosage & np.isnan(info), _mach_r2(n_called, sums), info).astype(np.float32),
    )


def _tally(
    genotypes: NDArray[np.int8],
    dosage: NDArray[np.float32] | None,
    is_dosage: NDArray[np.bool_],
    member: NDArray[np.bool_],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    tally_calls(np.ascontiguousarray(genotypes), is_dosage, member, counts)
    if dosage is not None:
        tally_dosages(np.ascontiguousarray(dosage), is_dosage, member, counts, sums)


def _mach_r2(n_called: NDArray[np.int64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums[:, 0] / n_called
        variance = sums[:, 1] / n_called - mean**2
        expected = mean * (1.0 - mean / 2.0)
        return np.where(expected > 0, variance / expected, np.nan)
