"""From variants of the store to arrays of results: block by block, null model by null model, stratum by stratum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.association_tests import find_test
from allscan.engine.chromosomes import PloidyClass
from allscan.engine.columns import COUNT_COLUMNS, blank, counts_cases, cube_columns
from allscan.engine.local_ancestry.scoring import LocalPart, score_part
from allscan.engine.ploidy import CLASSES, ClassNull, null_codes
from allscan.kernels.association import Model, Status
from allscan.kernels.block import take
from allscan.kernels.case_counts import count_cases
from allscan.kernels.counts import count_genotypes, hide_heterozygotes
from allscan.kernels.narrowing import narrowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.engine.plan import ScanPlan, ScanSpec
    from allscan.engine.reuse import Earlier
    from allscan.engine.store import FetchedBlock, GenotypeStore
    from allscan.kernels.association import AssociationTest
    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.case_counts import CaseCounts
    from allscan.kernels.counts import GenotypeCounts, SampleSets
    from allscan.kernels.narrowing import People
    from allscan.storage import Place

SCORED_VARIANTS = 1024
"""Variants held as packed calls or dosages whose products are taken together: tables of sums pay for many of them."""
MOST_VARIANTS = 16384
"""Variants whose products are taken together, whatever they are held as, where each has few sums."""
FEW_SUMS = 160
_SUMS_OF_PATTERN = 16
_COUNTED = frozenset(column.name for column in COUNT_COLUMNS)
SEXED = (PloidyClass.X, PloidyClass.Y)


def most_variants(traits: int, patterns: int) -> int:
    """Variants whose products are taken together, of some traits with some patterns of missing people."""
    sums = traits + (_SUMS_OF_PATTERN * patterns if patterns > 1 else 0)
    return MOST_VARIANTS if sums <= FEW_SUMS else MOST_VARIANTS // 2


class StratumShared(NamedTuple):
    """What a batch's traits are tested with in one stratum."""

    people: People | None  # to narrow blocks of the store to; None: all samples of the store
    nulls: dict[int, ClassNull | None]  # by the codes of null_codes; of the traits that are computed
    computed: NDArray[np.int64]  # traits, counted from the batch's first
    nobody: NDArray[np.int64]  # traits that nobody of the stratum has: their results are known beforehand
    kept: tuple[int, ...]  # traits that are taken from earlier results

    @property
    def patterns(self) -> int:
        """Patterns of missing people, at most."""
        return max((len(null.sets.size) for null in self.nulls.values() if null is not None), default=1)


class ScanShared(NamedTuple):
    """What every task of a batch needs: handed to each worker once."""

    store: GenotypeStore
    plan: ScanPlan
    spec: ScanSpec
    strata: tuple[StratumShared, ...]
    males: SampleSets | None  # of the store, one set: whose heterozygous calls are impossible (X, Y)
    chromosomes: tuple[str, ...]  # that have null models of their own
    output: Place
    n_traits: int  # of the batch
    earlier: Earlier | None = None

    @property
    def computes(self) -> bool:
        """Whether any trait is to be tested in any stratum."""
        return any(len(stratum.computed) for stratum in self.strata)


@dataclass
class BlockResult:
    """Arrays of one task under construction, each of shape (strata, traits, variants).

    Where all traits of every stratum have one set of people, ``columns`` repeats one row of what is counted of people,
    without copies; the rows themselves are in ``of_people``, shape (strata, 1, variants).
    """

    names: tuple[str, ...]  # of the test's own columns
    columns: dict[str, NDArray[Any]]
    of_people: dict[str, NDArray[Any]]
    hidden: int = 0


def blank_results(shared: ScanShared, n_variants: int) -> BlockResult:
    """Results of which those are in place of traits that nobody has."""
    test = find_test(shared.spec.test)
    names = tuple(column.name for column in test.columns(shared.spec.options))
    shape = (len(shared.strata), shared.n_traits, n_variants)
    common = _COUNTED if all(_one_set(stratum, shared.n_traits) for stratum in shared.strata) else frozenset()
    columns: dict[str, NDArray[Any]] = {}
    of_people: dict[str, NDArray[Any]] = {}
    for column in cube_columns(shared.spec):
        if column.name in common:
            row = np.full((shape[0], 1, shape[2]), blank(column), column.dtype)
            of_people[column.name], columns[column.name] = row, np.broadcast_to(row, shape)
        else:
            columns[column.name] = np.full(shape, blank(column), column.dtype)
    for stratum, of_stratum in enumerate(shared.strata):
        if len(of_stratum.nobody):
            columns["status"][stratum, of_stratum.nobody] = status_of_nobody(test)
            columns["effect_allele_count"][stratum, of_stratum.nobody] = 0.0
    return BlockResult(names, columns, of_people)


def _one_set(stratum: StratumShared, n_traits: int) -> bool:
    """Whether all traits of a batch are computed, in the same people."""
    return len(stratum.computed) == n_traits and stratum.patterns == 1


def status_of_nobody(test: AssociationTest) -> Status:
    """Why there is no result of a trait that nobody has."""
    return Status.TOO_FEW_CASES if counts_cases(test) else Status.TOO_FEW_SAMPLES


def score_rows(shared: ScanShared, rows: NDArray[np.int64]) -> BlockResult:
    """Results of variants of the store, block by block, null model by null model, in every stratum.

    Genotypes are read once; of those who are not in a stratum they are left out before anything is computed in it.
    Where nothing is to be computed, impossible calls are counted.
    """
    test = find_test(shared.spec.test)
    result = blank_results(shared, len(rows))
    working = [number for number, stratum in enumerate(shared.strata) if len(stratum.computed)]
    sets = [shared.strata[number].people for number in working]
    codes = null_codes(shared.store, rows, shared.chromosomes)
    size = shared.store.block_variants
    needed = np.isin(codes % CLASSES, SEXED) | bool(working)
    of_row = rows // size
    blocks = _distinct(of_row[needed])
    most = most_variants(shared.n_traits, max((shared.strata[number].patterns for number in working), default=1))
    for some, block in _read_together(shared.store, blocks, most):
        inside = np.flatnonzero(np.isin(of_row, some))
        # Where each of the blocks begins in the one that they make.
        place = np.searchsorted(some, of_row[inside]) * size + rows[inside] % size
        for code in np.flatnonzero(np.bincount(codes[inside])).tolist():
            of_code = codes[inside] == code
            here, local = inside[of_code], place[of_code]
            kind = PloidyClass(code % CLASSES)
            part = block if len(local) == block.n_variants else take(block, local)
            if shared.males is not None and kind in SEXED:
                part, hidden = hide_heterozygotes(part, shared.males)
                result.hidden += hidden
            # Whoever has local ancestry has two haplotypes, which is not so on X, Y and MT.
            ancestry = shared.spec.local_ancestry if kind == PloidyClass.AUTOSOME else None
            haplotypes = None if ancestry is None else LocalPart(ancestry, shared.store, part, rows[here])
            for number, of_people in zip(working, narrowed(part, sets), strict=True):
                cells = _Cells(result, number, shared.strata[number].computed, here)
                state = shared.strata[number].nulls[code]
                if state is None:
                    cells.write("status", np.uint8(Status.SEX_UNKNOWN))
                else:
                    people = shared.strata[number].people
                    chosen = None if people is None else people.sample
                    _score_part(test, of_people, state, kind, shared.spec, cells, haplotypes, chosen)
    if shared.spec.filter.min_info > 0:
        info = shared.store.column("variant_info", int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]]
        low = info < shared.spec.filter.min_info  # NaN, a variant that was not imputed, passes
        for number in working:
            cells = _Cells(result, number, shared.strata[number].computed, np.flatnonzero(low))
            for name in result.names:
                cells.write(name, np.float32(np.nan))
            cells.write("status", np.uint8(Status.FILTERED))
    return result


class _Cells:
    """Where results of some traits and variants of a stratum go, blank before."""

    def __init__(
        self, result: BlockResult, stratum: int, traits: NDArray[np.int64], variants: NDArray[np.int64]
    ) -> None:
        self.names, self._result, self._stratum = result.names, result, stratum
        rows, columns = _as_slice(traits), _as_slice(variants)
        # Of neighbours, numpy gives a view: what is written there is in its place.
        self._in_place = isinstance(rows, slice) and isinstance(columns, slice)
        listed = not isinstance(rows, slice) and not isinstance(columns, slice)
        self._where: Any = np.ix_(traits, variants) if listed else (rows, columns)
        self._variants = columns

    def room(self, name: str) -> NDArray[Any]:
        """Room for a column, (traits, variants), blank; what it is filled with is to be given to :meth:`write`."""
        cells: NDArray[Any] = self._result.columns[name][self._stratum][self._where]
        return cells

    def write(self, name: str, values: NDArray[Any] | np.generic) -> None:
        """Write a column, (traits, variants) or one value for all."""
        target = self._result.columns[name][self._stratum]
        if not self._in_place or not np.may_share_memory(target, values):
            target[self._where] = values

    def write_counts(self, name: str, values: NDArray[Any], set_of_trait: NDArray[np.int64]) -> None:
        """Write what is counted of people, (sets, variants)."""
        row = self._result.of_people.get(name)
        if row is not None:
            row[self._stratum, 0, self._variants] = values[0]
            return
        values = values.astype(self._result.columns[name].dtype)
        if self._in_place:
            np.take(values, set_of_trait, axis=0, out=self.room(name), mode="clip")
        else:
            self.write(name, values[set_of_trait])


def _distinct(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each number once."""
    return ascending[np.flatnonzero(np.diff(ascending, prepend=-1))]


def _as_slice(index: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Neighbours as a slice: it is copied to faster."""
    whole = len(index) > 0 and int(index[-1]) - int(index[0]) + 1 == len(index)
    return slice(int(index[0]), int(index[-1]) + 1) if whole else index


def _read_together(
    store: GenotypeStore, blocks: NDArray[np.int64], most: int
) -> Iterator[tuple[NDArray[np.int64], GenotypeBlock]]:
    """Blocks of the store joined into larger ones, of at most so many variants; yields which, and their genotypes."""
    fetched: list[FetchedBlock] = []
    variants = dense = first = 0
    for k, index in enumerate(blocks):
        fetched.append(store.fetch_block(int(index)))
        variants += len(fetched[-1].parts.encoding)
        dense += fetched[-1].parts.n_dense
        if k + 1 == len(blocks) or dense >= SCORED_VARIANTS or variants + store.block_variants > most:
            joined = store.decode(fetched)
            fetched.clear()
            yield blocks[first : k + 1], joined
            variants, dense, first = 0, 0, k + 1


def _score_part(
    test: AssociationTest,
    part: GenotypeBlock,
    state: ClassNull,
    kind: PloidyClass,
    spec: ScanSpec,
    cells: _Cells,
    haplotypes: LocalPart | None,
    people: NDArray[np.int64] | None,
) -> None:
    """Score variants of one class in the people of a stratum, or in all samples of the store (``people`` is None)."""
    counts = count_genotypes(part, state.sets)
    of_males = None if state.male_sets is None else count_genotypes(part, state.male_sets)
    alleles = _alleles(counts, of_males, state.haploid)
    # As the cube holds them; the contract's (variants, traits) are views.
    found = {name: cells.room(name) for name in (*cells.names, "status")}
    # As the contract has them, of everything that the test writes.
    out = {name: array.T for name, array in found.items()}
    of_copies = kind in (PloidyClass.Y, PloidyClass.MT) and spec.model in (Model.RECESSIVE, Model.GENOTYPIC)
    if haplotypes is not None:
        score_part(test, haplotypes, people, state.null, spec.options, out)
    elif of_copies or spec.local_ancestry is not None:
        found["status"][:] = Status.NOT_TESTED
    else:
        test.score_block(part, counts, state.null, spec.options, out)
    s = state.set_of_trait
    with np.errstate(divide="ignore", invalid="ignore"):
        frequency = alleles.copies / alleles.called
        missing_rate = counts.n_missing / counts.size
    filtered = _filtered(spec, alleles, frequency, missing_rate)
    if filtered.any():
        left_out = filtered.T[s]
        for name in cells.names:
            found[name][left_out] = np.nan
        found["status"][left_out] = Status.FILTERED
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
        found |= {name: array.T for name, array in of_cases.items()}
    for name, array in found.items():
        cells.write(name, array)
    for name, array in of_sets.items():
        cells.write_counts(name, array.T, s)


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
    spec: ScanSpec,
    alleles: _Alleles,
    frequency: NDArray[np.floating[Any]],
    missing_rate: NDArray[np.floating[Any]],
) -> NDArray[np.bool_]:
    """Which (variant, set) the job's filters leave out, shape (variants, sets)."""
    limits = spec.filter
    out = np.zeros(frequency.shape, np.bool_)
    if limits.min_mac > 0:
        out |= np.minimum(alleles.copies, alleles.called - alleles.copies) < limits.min_mac
    if limits.min_maf > 0:
        out |= ~(np.minimum(frequency, 1 - frequency) >= limits.min_maf)
    if limits.max_missing_rate < 1:
        out |= ~(missing_rate <= limits.max_missing_rate)
    return out
