"""From variants of the store to arrays of results: block by block, null model by null model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.association_tests import find_test
from allscan.engine.chromosomes import PloidyClass
from allscan.engine.columns import blank, cube_columns
from allscan.engine.ploidy import CLASSES, ClassNull, null_codes
from allscan.kernels.association import Model, Status
from allscan.kernels.block import Encoding, concatenate, take
from allscan.kernels.case_counts import count_cases
from allscan.kernels.counts import count_genotypes, hide_heterozygotes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.engine.plan import ScanPlan, ScanSpec
    from allscan.engine.reuse import Earlier
    from allscan.engine.store import GenotypeStore
    from allscan.kernels.association import AssociationTest
    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.case_counts import CaseCounts
    from allscan.kernels.counts import GenotypeCounts
    from allscan.storage import Place

SCORED_VARIANTS = 1024
"""Variants held as packed calls or dosages whose products are taken together: tables of sums pay for many of them."""
MOST_VARIANTS = 8192
"""Variants whose products are taken together, whatever they are held as."""


class ScanShared(NamedTuple):
    """What every task of a batch needs: handed to each worker once."""

    store: GenotypeStore
    plan: ScanPlan
    spec: ScanSpec
    nulls: dict[int, ClassNull | None]  # by the codes of null_codes
    chromosomes: tuple[str, ...]  # that have null models of their own
    output: Place
    strata: tuple[str, ...]
    traits: tuple[str, ...]  # of the batch, those that are computed
    kept: tuple[int, ...] = ()  # traits of the batch that are taken from earlier results
    earlier: Earlier | None = None


@dataclass
class BlockResult:
    """Arrays of one task under construction, each of shape (traits, variants)."""

    names: tuple[str, ...]  # of the test's own columns
    columns: dict[str, NDArray[Any]]
    hidden: int = 0


def score_rows(shared: ScanShared, rows: NDArray[np.int64]) -> BlockResult:
    """Results of variants of the store, block by block, null model by null model."""
    test = find_test(shared.spec.test)
    names = tuple(column.name for column in test.columns(shared.spec.options))
    shape = (len(shared.traits), len(rows))
    columns: dict[str, NDArray[Any]] = {
        column.name: np.full(shape, blank(column), column.dtype) for column in cube_columns(shared.spec)
    }
    result = BlockResult(names, columns)
    codes = null_codes(shared.store, rows, shared.chromosomes)
    size = shared.store.block_variants
    blocks = np.unique(rows // size)
    for some, block in _read_together(shared.store, blocks):
        inside = np.flatnonzero(np.isin(rows // size, some))
        # Where each of the blocks begins in the one that they make.
        place = np.searchsorted(some, rows[inside] // size) * size + rows[inside] % size
        for code in np.unique(codes[inside]):
            of_code = codes[inside] == code
            here, local = inside[of_code], place[of_code]
            part = block if len(local) == block.n_variants else take(block, local)
            state = shared.nulls[int(code)]
            if state is None:
                columns["status"][:, here] = Status.SEX_UNKNOWN
                continue
            _score_part(test, part, state, PloidyClass(code % CLASSES), shared, here, result)
    if shared.spec.filter.min_info > 0:
        info = shared.store.column("variant_info", int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]]
        low = info < shared.spec.filter.min_info  # NaN, a variant that was not imputed, passes
        for name in names:
            columns[name][:, low] = np.nan
        columns["status"][:, low] = Status.FILTERED
    return result


def _read_together(
    store: GenotypeStore, blocks: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], GenotypeBlock]]:
    """Blocks of the store joined into larger ones; yields which, and their genotypes."""
    read: list[GenotypeBlock] = []
    variants = dense = first = 0
    for k, index in enumerate(blocks):
        read.append(store.read_block(int(index)))
        variants += read[-1].n_variants
        dense += int((read[-1].encoding != Encoding.CARRIERS).sum())
        if k + 1 == len(blocks) or dense >= SCORED_VARIANTS or variants + store.block_variants > MOST_VARIANTS:
            joined = read[0] if len(read) == 1 else concatenate(read)
            read.clear()
            yield blocks[first : k + 1], joined
            variants, dense, first = 0, 0, k + 1


def _score_part(
    test: AssociationTest,
    part: GenotypeBlock,
    state: ClassNull,
    kind: PloidyClass,
    shared: ScanShared,
    here: NDArray[np.int64],
    result: BlockResult,
) -> None:
    """Score variants of one class and write them into columns ``here`` of the result."""
    spec = shared.spec
    if state.males is not None:
        part, hidden = hide_heterozygotes(part, state.males)
        result.hidden += hidden
    counts = count_genotypes(part, state.sets)
    of_males = None if state.male_sets is None else count_genotypes(part, state.male_sets)
    alleles = _alleles(counts, of_males, state.haploid)
    # As the cube holds them; the contract's (variants, traits) are views.
    shape = (len(shared.traits), len(here))
    cells: dict[str, NDArray[Any]] = {name: np.full(shape, np.nan, np.float32) for name in result.names}
    cells["status"] = np.zeros(shape, np.uint8)
    if kind in (PloidyClass.Y, PloidyClass.MT) and spec.model in (Model.RECESSIVE, Model.GENOTYPIC):
        cells["status"][:] = Status.NOT_TESTED
    else:
        test.score_block(part, counts, state.null, spec.options, {name: array.T for name, array in cells.items()})
    s = state.set_of_trait
    with np.errstate(divide="ignore", invalid="ignore"):
        frequency = alleles.copies / alleles.called
        missing_rate = counts.n_missing / counts.size
    filtered = _filtered(shared, alleles, frequency, missing_rate)
    if filtered.any():
        out = filtered.T[s]
        for name in result.names:
            cells[name][out] = np.nan
        cells["status"][out] = Status.FILTERED
    used = counts.size - counts.n_missing if spec.missing else np.broadcast_to(counts.size, counts.n_missing.shape)
    of_sets = {
        "n": used,
        "effect_allele_count": alleles.copies,
        "effect_allele_frequency": frequency,
        "missing_rate": missing_rate,
    }
    if state.cases is not None:
        carriers = counts.n_het + counts.n_hom_alt
        of_cases = _of_cases(part, state, _Alleles(alleles.copies[:, s], alleles.called[:, s]), carriers[:, s], spec)
        cells |= {name: array.T for name, array in of_cases.items()}
    whole = slice(int(here[0]), int(here[-1]) + 1)
    columns = whole if whole.stop - whole.start == len(here) else here
    for name, array in cells.items():
        result.columns[name][:, columns] = array
    for name, array in of_sets.items():
        target = result.columns[name]
        target[:, columns] = array.T.astype(target.dtype)[s]


class _Alleles(NamedTuple):
    """Alleles as people carry them: one of a male on X and Y, one of everybody on MT."""

    copies: NDArray[np.floating[Any]]  # of the effect allele
    called: NDArray[np.floating[Any]]


def _alleles(
    counts: GenotypeCounts | CaseCounts, of_males: GenotypeCounts | CaseCounts | None, haploid: bool
) -> _Alleles:
    """Of people, of whom males have one allele if they are counted apart."""
    copies, called = counts.dosage_sum, 2.0 * (counts.size - counts.n_missing)
    if of_males is not None:
        return _Alleles(copies - 0.5 * of_males.dosage_sum, called - (of_males.size - of_males.n_missing))
    return _Alleles(0.5 * copies, 0.5 * called) if haploid else _Alleles(copies, called)


def _of_cases(
    part: GenotypeBlock, state: ClassNull, everybody: _Alleles, carriers: NDArray[np.int32], spec: ScanSpec
) -> dict[str, NDArray[Any]]:
    """What cases and controls carry, each of shape (variants, traits), from what all people of each trait do."""
    assert state.cases is not None
    counts = count_cases(part, state.cases)
    of_males = None if state.male_cases is None else count_cases(part, state.male_cases)
    cases = _alleles(counts, of_males, state.haploid)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_controls = (everybody.copies - cases.copies) / (everybody.called - cases.called)
        of_cases = cases.copies / cases.called
    return {
        "cases": counts.size - counts.n_missing if spec.missing else np.broadcast_to(counts.size, of_cases.shape),
        "effect_allele_frequency_cases": of_cases,
        "effect_allele_frequency_controls": of_controls,
        "carriers_cases": counts.n_carriers,
        "carriers_controls": carriers - counts.n_carriers,
    }


def _filtered(
    shared: ScanShared,
    alleles: _Alleles,
    frequency: NDArray[np.floating[Any]],
    missing_rate: NDArray[np.floating[Any]],
) -> NDArray[np.bool_]:
    """Which (variant, set) the job's filters leave out, shape (variants, sets)."""
    limits = shared.spec.filter
    out = np.zeros(frequency.shape, np.bool_)
    if limits.min_mac > 0:
        out |= np.minimum(alleles.copies, alleles.called - alleles.copies) < limits.min_mac
    if limits.min_maf > 0:
        out |= ~(np.minimum(frequency, 1 - frequency) >= limits.min_maf)
    if limits.max_missing_rate < 1:
        out |= ~(missing_rate <= limits.max_missing_rate)
    return out
