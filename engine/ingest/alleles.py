"""Alleles and calls: which alternate alleles become rows, and when a row of dosages is really hard calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import ReadCounts

# Reasons in ReadCounts, the same words whatever the format.
NO_ALTERNATE = "sites left out: no alternate allele"
NOT_AN_ALLELE = "alternate alleles left out: *, <*> or <NON_REF>"
NEGATIVE_POSITION = "variants left out: negative position"
NOT_PASSED = "sites left out: FILTER is not PASS"
SYMBOLIC_KEPT = "variants kept with a symbolic alternate allele"
SPLIT_SITES = "multiallelic sites split"
FAILED_FILTER = "calls set missing: genotype filter FT failed"
HALF_CALL = "calls set missing: half-call"
PLOIDY = "calls set missing: ploidy above 2"
NO_PLOIDY = "calls set missing: ploidy 0"
BAD_DOSAGE = "calls set missing: dosage or probability out of range"
UNKNOWN_ALLELE = "calls set missing: allele number that the site does not have"
MULTIALLELIC_HDS = "sites left out: multiallelic, with HDS alone (split it: bcftools norm -m-)"
NO_FIELD = "sites left out: no genotype field"
RECORDS = "records read"

# "0" is how PLINK 1 writes an allele it has not seen.
_ABSENT = frozenset({"", ".", "0"})
_PLACEHOLDERS = frozenset({"*", "<*>", "<NON_REF>", "<*:DEL>"})

INFO_KEYS = ("INFO", "R2", "DR2")
"""INFO fields that hold an imputation quality, in order of preference (IMPUTE; Minimac; Beagle)."""


def is_symbolic(allele: str) -> bool:
    """Whether an allele is a VCF symbol (``<DEL>``) or a breakend (``N[chr2:321[``), not a sequence."""
    return allele.startswith("<") or "[" in allele or "]" in allele


def usable_alternates(alternates: Sequence[str], counts: ReadCounts) -> list[int]:
    """Numbers (1 = first) of the alternate alleles of one site that become rows.

    An absent allele (``.``; ``0`` in PLINK 1) and the placeholders ``*``, ``<*>`` and ``<NON_REF>`` do
    not. Everything left out, split or kept under a symbol is counted.
    """
    usable = []
    for number, allele in enumerate(alternates, start=1):
        if allele in _ABSENT:
            continue
        if allele in _PLACEHOLDERS:
            counts.add(NOT_AN_ALLELE)
            continue
        if is_symbolic(allele):
            counts.add(SYMBOLIC_KEPT)
        usable.append(number)
    if not usable and all(allele in _ABSENT for allele in alternates):
        counts.add(NO_ALTERNATE)
    if len(usable) > 1:
        counts.add(SPLIT_SITES)
    return usable


def info_score(text: str) -> float:
    """Imputation quality in the text of a VCF INFO column, NaN where it has none."""
    fields = dict(part.partition("=")[::2] for part in text.split(";"))
    for key in INFO_KEYS:
        try:
            return float(fields[key])
        except (KeyError, ValueError):
            continue
    return float("nan")


def settle_dosages(dosage: NDArray[np.float32], genotypes: NDArray[np.int8], step: float) -> bool:
    """Turn one variant's dosages into hard calls where they are nothing else.

    Parameters
    ----------
    dosage
        (samples,) expected copies 0..2, NaN missing; whole numbers are made exact in place.
    genotypes
        (samples,) filled with the nearest call, -1 missing.
    step
        Resolution of the stored dosages; the row is hard calls when every dosage is within 1e-4
        of a step of a whole number.

    Returns
    -------
    bool
        True where the row really holds dosages.
    """
    nearest = np.rint(dosage)
    missing = np.isnan(nearest)
    # float32 cannot tell 2 from 2 - 6e-8, and the sums that led here were rounded.
    tolerance = np.float32(max(1e-4 * step, 4e-7))
    off = np.abs(dosage - nearest) > tolerance  # NaN compares False
    genotypes[:] = np.where(missing, np.float32(-1), nearest).astype(np.int8)
    if off.any():
        return True
    dosage[:] = nearest
    return False


def as_objects(values: Iterable[str]) -> NDArray[np.object_]:
    """Strings as an object array, also when there are none."""
    listed = list(values)
    result = np.empty(len(listed), dtype=object)
    result[:] = listed
    return result
