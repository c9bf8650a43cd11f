"""Independent variants with a realistic frequency spectrum, fast: for benchmarks and tests of scale.

No LD, no ancestry, no relatives: :mod:`allscan.engine.simulation.cohort` has these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from allscan.engine.ingest.batch import MISSING_CALL
from allscan.engine.simulation.assembly import drop_calls

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Minor allele counts k of whole genomes: a population of constant size gives 1/k, recent growth adds a
# steeper part. Shares and exponent fitted to 50,000 people of the coalescent model of the cohort.
_GROWTH_SHARE = 0.932
_GROWTH_EXPONENT = 1.80
_ARRAY_LEAST_FREQUENCY = 0.01
_SPARSE = 0.02  # minor allele frequency below which carriers are placed one by one


def simulate_calls_block(
    rng: np.random.Generator,
    n_samples: int,
    n_variants: int,
    spectrum: Literal["array", "wgs"] = "wgs",
    *,
    missing_rate: float = 0.0,
) -> NDArray[np.int8]:
    """Calls of independent variants in Hardy-Weinberg proportions.

    Parameters
    ----------
    spectrum
        ``wgs``: minor allele counts as in whole genomes, more than 80 % of them at most 0.1 % of the
        number of samples when there are 10,000 samples or more. ``array``: minor allele frequencies
        uniform between 1 and 50 %.
    missing_rate
        Mean share of missing calls of a variant.

    Returns
    -------
    NDArray
        Copies of ALT, 0, 1 or 2, -1 missing, shape (variants, samples). ALT is the minor allele, and
        every variant has at least one copy of it before calls go missing.
    """
    copies = minor_allele_counts(rng, n_samples, n_variants, spectrum)
    calls = np.zeros((n_variants, n_samples), dtype=np.int8)
    for row, number in zip(calls, copies.tolist(), strict=True):
        if number < 2 * n_samples * _SPARSE:
            haplotype = rng.choice(2 * n_samples, number, replace=False, shuffle=False)
            np.add.at(row, haplotype // 2, 1)
        else:
            _fill_common(rng, row, number / (2 * n_samples))
    drop_calls(rng, calls, missing_rate, MISSING_CALL)
    return calls


def minor_allele_counts(
    rng: np.random.Generator, n_samples: int, n_variants: int, spectrum: Literal["array", "wgs"]
) -> NDArray[np.int64]:
    """Copies of the minor allele, between 1 and the number of samples, shape (variants,)."""
    if spectrum == "array":
        frequency = rng.uniform(_ARRAY_LEAST_FREQUENCY, 0.5, n_variants)
        return np.maximum(np.rint(2 * n_samples * frequency), 1).astype(np.int64)
    count = np.arange(1, n_samples + 1, dtype=np.float64)
    neutral = 1 / count
    growth = count**-_GROWTH_EXPONENT
    cumulative = np.cumsum((1 - _GROWTH_SHARE) * neutral / neutral.sum() + _GROWTH_SHARE * growth / growth.sum())
    return 1 + np.searchsorted(cumulative / cumulative[-1], rng.random(n_variants), side="right")


def _fill_common(rng: np.random.Generator, row: NDArray[np.int8], frequency: float) -> None:
    """Calls of one common variant, drawn from their Hardy-Weinberg proportions."""
    draw = rng.random(len(row), dtype=np.float32)
    row[:] = draw < frequency * (2 - frequency)
    row += draw < frequency**2
