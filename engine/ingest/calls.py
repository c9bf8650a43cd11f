"""From a site's genotypes to copies of one alternate allele: hard calls, dosages, probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.ingest import alleles
from allscan.engine.ingest.batch import MISSING_CALL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import ReadCounts

_MISSING_ALLELE = -1
_NO_ALLELE = -2  # fills the row of a sample with fewer alleles than the widest
_DOSAGE_SLACK = 0.005  # files round to two or three decimals, and 2.001 is a rounded 2


@dataclass(frozen=True)
class SiteCalls:
    """Hard calls of one site."""

    alleles: NDArray[np.integer]  # (samples, ploidy) allele numbers, 0 = REF; negative where there is none
    missing: NDArray[np.bool_]  # (samples,)
    haploid: NDArray[np.bool_]  # (samples,) one allele, called

    @property
    def n_haploid(self) -> int:
        """Number of samples with a haploid call."""
        return int(self.haploid.sum())

    def copies(self, allele: int) -> NDArray[np.int8]:
        """Copies of one allele, shape (samples,): 0, 1, 2 (haploid calls 0 or 2), -1 missing."""
        number: NDArray[np.int8] = (self.alleles == allele).sum(axis=1, dtype=np.int8)
        number[self.haploid] *= 2
        number[self.missing] = MISSING_CALL
        return number


def site_calls(
    genotypes: NDArray[np.integer],
    n_alt: int,
    counts: ReadCounts,
    failed: NDArray[np.bool_] | None = None,
) -> SiteCalls:
    """Sort out the genotypes of one site.

    Missing are: half-calls, calls of more than two alleles, calls of an allele that the site does not
    have, and calls that failed the genotype filter; each is counted.

    Parameters
    ----------
    genotypes
        (samples, ploidy) allele numbers, -1 missing, -2 where a sample has fewer alleles.
    n_alt
        Alternate alleles of the site.
    counts
        Receives what is set missing.
    failed
        (samples,) calls that failed the genotype filter.
    """
    n_samples, width = genotypes.shape
    missing = np.zeros(n_samples, dtype=bool)
    haploid = np.ones(n_samples, dtype=bool) if width == 1 else np.zeros(n_samples, dtype=bool)
    if width > 2:
        many = (genotypes[:, 2:] != _NO_ALLELE).any(axis=1)
        called = (genotypes >= 0).any(axis=1)
        counts.add(alleles.PLOIDY, int((many & called).sum()))
        missing |= many
        genotypes = genotypes[:, :2]
    if genotypes.size and genotypes.min() < 0:
        first_missing = genotypes[:, 0] < 0
        if width == 1:
            missing |= first_missing
            haploid = ~first_missing
        else:
            second = genotypes[:, 1]
            half = (first_missing & (second >= 0)) | (~first_missing & (second == _MISSING_ALLELE))
            counts.add(alleles.HALF_CALL, int((half & ~missing).sum()))
            missing |= first_missing | half
            haploid = (second == _NO_ALLELE) & ~first_missing
    if genotypes.size and genotypes.max() > n_alt:
        unknown = (genotypes > n_alt).any(axis=1) & ~missing
        counts.add(alleles.UNKNOWN_ALLELE, int(unknown.sum()))
        missing |= unknown
    if failed is not None:
        counts.add(alleles.FAILED_FILTER, int((failed & ~missing).sum()))
        missing |= failed
    haploid &= ~missing
    return SiteCalls(genotypes, missing, haploid)


def scaled_dosage(
    values: NDArray[np.float32],
    haploid: NDArray[np.bool_] | None,
    failed: NDArray[np.bool_] | None,
    counts: ReadCounts,
) -> NDArray[np.float32]:
    """Expected copies on the scale 0..2, shape (samples,), NaN missing, from expected copies per ploidy.

    A haploid sample's 0..1 is doubled. Values outside the range of their ploidy are set missing and counted.
    """
    dosage = np.array(values, dtype=np.float32)
    if haploid is not None and haploid.any():
        dosage[haploid] *= 2
    with np.errstate(invalid="ignore"):
        wrong = (dosage < -_DOSAGE_SLACK) | (dosage > 2 + 2 * _DOSAGE_SLACK)
    counts.add(alleles.BAD_DOSAGE, int(wrong.sum()))
    dosage[wrong] = np.nan
    if failed is not None:
        counts.add(alleles.FAILED_FILTER, int((failed & ~np.isnan(dosage)).sum()))
        dosage[failed] = np.nan
    return np.clip(dosage, 0, 2, out=dosage)


def diploid_copies(n_alleles: int, allele: int) -> NDArray[np.float64]:
    """Copies of one allele in every unordered diploid genotype, in the order of VCF and BGEN, (genotypes,).

    Genotype j/k (j <= k) has number k (k + 1) / 2 + j (VCF 4.3 specification, section 1.6.2, GL).
    """
    return np.array([(j == allele) + (k == allele) for k in range(n_alleles) for j in range(k + 1)], dtype=np.float64)


def probability_dosage(
    probabilities: NDArray[np.floating], n_alleles: int, allele: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Expected copies per ploidy of one allele, and who is haploid, from a site's genotype probabilities.

    Parameters
    ----------
    probabilities
        (samples, genotypes) of diploid genotypes; a haploid sample has its ``n_alleles`` first, then NaN.
        They need not add up to 1.
    """
    haploid = np.zeros(len(probabilities), dtype=bool)
    if probabilities.shape[1] == n_alleles:
        haploid[:] = True
    else:
        haploid = np.isnan(probabilities[:, n_alleles]) & ~np.isnan(probabilities[:, 0])
    weights = diploid_copies(n_alleles, allele)
    with np.errstate(invalid="ignore", divide="ignore"):
        dosage = np.empty(len(probabilities))
        single = probabilities[haploid, :n_alleles].astype(np.float64)
        dosage[haploid] = single[:, allele] / single.sum(axis=1)
        if not haploid.all():
            both = probabilities[~haploid].astype(np.float64)
            dosage[~haploid] = both @ weights / both.sum(axis=1)
    return dosage.astype(np.float32), haploid


def impute_info(total: float, expected: float, variance: float) -> float:
    """IMPUTE's information measure: one minus the mean posterior variance over that of a random draw.

    ``1 - variance / (total * theta * (1 - theta))`` with ``theta = expected / total``; for diploid samples that is
    ``1 - sum(f - e^2) / (2 n theta (1 - theta))``.

    Parameters
    ----------
    total
        Alleles of the samples that are not missing: two of a diploid, one of a haploid.
    expected, variance
        Expected copies of the allele and their posterior variances, summed over these samples.

    Returns
    -------
    float
        NaN where no call is uncertain, or the allele is absent or fixed.

    References
    ----------
    Marchini J, Howie B. Genotype imputation for genome-wide association studies. Nat Rev Genet 2010;
    11:499-511, supplementary information, section S3. doi:10.1038/nrg2796
    """
    if total == 0 or variance <= 1e-6 * total:
        return float("nan")
    theta = expected / total
    if theta <= 0 or theta >= 1:
        return float("nan")
    return 1 - variance / (total * theta * (1 - theta))
