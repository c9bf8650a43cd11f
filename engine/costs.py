"""What a scan will cost in memory and time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.association_tests import find_test
from allscan.engine.columns import counts_cases, cube_columns
from allscan.engine.local_ancestry.scoring import local_memory
from allscan.engine.scoring import SCORED_VARIANTS, most_variants
from allscan.kernels.association import Model
from allscan.kernels.binary import LEAST_VARIANTS, PRODUCT_BYTES
from allscan.kernels.block import take
from allscan.kernels.case_counts import case_set_bytes
from allscan.kernels.linear_shared import single_precision
from allscan.kernels.missingness import trait_patterns
from allscan.kernels.narrowing import people_bytes
from allscan.kernels.packing import row_bytes
from allscan.kernels.panel import lanes_of, make_panel, panel_bytes
from allscan.kernels.products import genotype_products
from allscan.kernels.relatedness import family_numbers
from allscan.kernels.relatives import TILE_VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from allscan.engine.design import Design, Strata
    from allscan.engine.plan import ScanSpec
    from allscan.engine.store import GenotypeStore

BASE_MEMORY = 400 << 20
"""Bytes of the interpreter with its libraries (measured: 230–280 MB), and of compiling the kernels where this machine
has not done so (about 100 MB more, once)."""

MAX_BATCH_TRAITS = 512
MAX_PANEL_BYTES = 7 << 28
"""For 256 traits of 500,000 people, or 512 of 250,000."""
MODES = 30
"""Matrices that the inverse covariances of any number of traits are combinations of, at most as a rule."""
HELD_NULL_BYTES = 1 << 29
"""Null models of several chromosomes are held together while they have no more bytes than this."""
_SECONDS_PER_GENOTYPE = 2.5e-10  # to read and count it, of one core
_SECONDS_PER_NARROWED = 2e-10  # to lay it out so that people can be taken out of it
_SECONDS_PER_TAKEN = 7e-11  # to take some out of it, per person of the store
_SECONDS_PER_PRODUCT = 1.4e-11
_SECONDS_PER_RESULT = 2e-7  # from products to bytes on the disk, of one core


class Batches(NamedTuple):
    """How the traits are cut into batches, and the largest that each part of one becomes in a stratum."""

    samples: int  # of the stratum
    traits: int  # that anybody of the stratum has
    columns: int  # of a panel
    patterns: int  # of missing samples
    listed: int  # samples that the patterns lack (or have, if fewer), over all patterns
    modes: int = 0  # matrices of relatives, over all patterns
    weights: int = 0  # numbers that belong to pairs of relatives, over all patterns
    relatives: int = 0  # people who have any
    cases: int | None = None  # over all traits, of a test of binary traits
    seconds_per_person: float = 0.0  # of a result, beside the products
    single: bool = False  # whether the panel of such a test is in float32; that of another is held in both precisions


class BatchPlan(NamedTuple):
    """The batches of traits of one kind."""

    size: int  # traits of a batch, at most
    strata: tuple[Batches, ...]

    @property
    def null_bytes(self) -> int:
        """Bytes of the null models of a batch, for one chromosome class (and chromosome), of all strata."""
        return sum(null_bytes(batches) for batches in self.strata)


def trait_batches(strata: Strata, spec: ScanSpec, traits: NDArray[np.int64] | None = None) -> BatchPlan:
    """The largest batches of some traits (None: of all) whose null models stay within their bound.

    A test of one predictor has one basis of the covariates for all patterns of missing samples, and a list of the
    samples that each pattern lacks; one of two predictors needs a basis for each pattern. A test with relatives has a
    basis for each of the matrices that the covariances of a pattern's traits are combinations of.
    """
    measures = [_measure(design, spec, traits) for _, design in strata]
    n_traits = len(strata[0].design.trait_names) if traits is None else len(traits)
    size = MAX_BATCH_TRAITS  # a power of two: batches end where chunks of the cube do
    while True:
        plan = BatchPlan(min(size, n_traits), tuple(measure(size) for measure in measures))
        if size == 1 or plan.null_bytes <= MAX_PANEL_BYTES:
            return plan
        size //= 2


def _measure(design: Design, spec: ScanSpec, traits: NDArray[np.int64] | None) -> Callable[[int], Batches]:
    """What says how large batches of a stratum become, by the most traits that one may have."""
    values = design.traits if traits is None or len(traits) == len(design.trait_names) else design.traits[:, traits]
    n_samples, n_traits, n_covariates = len(values), values.shape[1], design.covariates.shape[1]
    # Neither two predictors nor those of local ancestry have a basis for all patterns.
    general = spec.model == Model.GENOTYPIC or spec.local_ancestry is not None
    of_trait, first = trait_patterns(values)
    present = (~np.isnan(values[:, first])).sum(axis=0)
    few = np.minimum(n_samples - present, present)
    tested = present[of_trait] > 0
    test = find_test(spec.test)
    # A test that only heeds relatives has a number for each trait.
    mixed = design.relatedness is not None and test.needs_relatedness
    n_relatives, n_pairs = _relatives(design) if mixed else (0, 0)
    cases = (values == 1.0).sum(axis=0) if counts_cases(test) else None
    single = single_precision(spec.options, n_samples) and spec.local_ancestry is None
    cost = test.seconds_per_person

    def largest(size: int) -> Batches:
        patterns = listed = modes = in_batch = most = 0
        for start in range(0, n_traits, size):
            here = tested[start : start + size]
            used, n_of = np.unique(of_trait[start : start + size][here], return_counts=True)
            in_batch = max(in_batch, int(here.sum()))
            patterns = max(patterns, len(used))
            listed = max(listed, int(few[used].sum()))
            modes = max(modes, int(np.minimum(n_of, MODES).sum()))
            most = most if cases is None else max(most, int(cases[start : start + size].sum()))
        found = Batches(n_samples, in_batch, 0, patterns, 0, seconds_per_person=cost)
        if cases is not None:
            # Of each trait the residuals, the weights, and the covariates times the weights.
            return found._replace(columns=in_batch * (2 + n_covariates), cases=most, single=single)
        if mixed:
            # While it is made, each pattern has the eigenvectors of its families: two numbers for each pair.
            weights = n_pairs * (modes + 2 * patterns)
            columns = modes * n_covariates + in_batch
            return found._replace(columns=columns, modes=modes, weights=weights, relatives=n_relatives)
        columns = (patterns if general else min(1, patterns)) * n_covariates + in_batch
        return found._replace(columns=columns, listed=0 if general else listed)

    return largest


def _relatives(design: Design) -> tuple[int, int]:
    """People in families, and pairs within families, each person with itself among them."""
    assert design.relatedness is not None
    family = family_numbers(design.relatedness)
    size = np.bincount(family)
    counted = (size[family] > 1) | (design.relatedness.diagonal != 1.0)
    # Of each person, half a pair with everybody in the family and half a pair with itself.
    return int(counted.sum()), int((size[family[counted]] + 1).sum()) // 2


def null_bytes(batches: Batches) -> int:
    """Bytes of the null models of a batch in a stratum, for one chromosome class (and chromosome)."""
    n_samples = batches.samples
    members = batches.patterns * n_samples
    if batches.cases is not None:
        panel = panel_bytes(n_samples, batches.columns, np.float32 if batches.single else np.float64)
        # Fitted probabilities by two likelihoods, cases; and these as sets, of everybody and of males.
        of_traits = n_samples * batches.traits * (2 * 8 + 1)
        return panel + members + of_traits + 2 * case_set_bytes(n_samples, batches.traits, batches.cases)
    panels = panel_bytes(n_samples, batches.columns, np.float32) + panel_bytes(n_samples, batches.columns, np.float64)
    return panels + members + (batches.listed + batches.weights) * 8


def shared_memory(
    store: GenotypeStore, strata: Strata, batches: BatchPlan, rows: NDArray[np.int64] | None, held: int
) -> int:
    """Bytes that all tasks share: the program, the designs, and the null models that are ``held`` at a time."""
    fitting = max(_fitting_memory(design, part) for (_, design), part in zip(strata, batches.strata, strict=True))
    designs = sum(2 * design.traits.nbytes for _, design in strata)
    narrowing = sum(people_bytes(store.n_samples) for part in batches.strata if part.samples < store.n_samples)
    of_rows = 8 * (0 if rows is None else len(rows))
    return int(BASE_MEMORY + held * batches.null_bytes + fitting + designs + narrowing + of_rows)


def _fitting_memory(design: Design, batches: Batches) -> int:
    """Bytes that are in use only while the null models of a stratum are made."""
    # Values of the traits; with offsets these too, and the differences.
    of_traits = batches.traits * (1 if design.offsets is None else 3)
    columns = of_traits + 4 * design.covariates.shape[1] + 4 * min(batches.traits, 16)
    if batches.modes:
        # Bases and scores of all patterns, before they are in the panel.
        columns += batches.patterns * design.covariates.shape[1] + 2 * batches.traits
    return int(batches.samples * 8 * columns)


def task_memory(store: GenotypeStore, strata: Strata, spec: ScanSpec, batches: BatchPlan, variants: int) -> int:
    """Bytes of one task in flight."""
    patterns = max(part.patterns for part in batches.strata)
    block = max(store.block_variants, min(most_variants(batches.size, patterns), variants))
    # Rows that are not carriers only are never more than so many.
    dense = max(store.block_variants, min(SCORED_VARIANTS + store.block_variants, variants))
    cell_bytes = sum(np.dtype(column.dtype).itemsize for column in cube_columns(spec))
    # One block: its bytes, compressed and not, and lists of missing samples. Then what the largest stratum takes, and
    # the results of the whole run of variants, as numbers and, a column at a time, as encoded files.
    of_genotypes = 3 * dense * row_bytes(store.n_samples)
    most_narrowed = max((part.samples for part in batches.strata if part.samples < store.n_samples), default=0)
    if most_narrowed:
        of_genotypes += dense * (row_bytes(store.n_samples) + row_bytes(most_narrowed))
    of_stratum = max(
        _stratum_memory(design, spec, part, block, cell_bytes)
        for (_, design), part in zip(strata, batches.strata, strict=True)
    )
    of_results = len(strata) * variants * batches.size * cell_bytes * 2
    of_local = 0 if spec.local_ancestry is None else local_memory(store)
    return int(1.25 * (of_genotypes + of_stratum + of_results)) + of_local + (32 << 20)


def _stratum_memory(design: Design, spec: ScanSpec, batches: Batches, block: int, cell_bytes: int) -> int:
    """Bytes that scoring ``block`` variants in one stratum takes."""
    predictors = 2 if spec.model == Model.GENOTYPIC else 1
    lanes = lanes_of(np.float32)
    basis = -(-design.covariates.shape[1] // lanes) * lanes
    # Products over all samples and over the missing ones, whole and by encoding; the same for the patterns; its cells.
    multiplied = block
    if batches.cases is not None:
        multiplied = min(block, max(LEAST_VARIANTS, PRODUCT_BYTES // (8 * max(1, batches.columns))))
    of_products = multiplied * (batches.columns + lanes) * 8 * (2 * predictors + 2)
    of_patterns = batches.patterns * block * (basis * 8 * 4 + 64) if batches.patterns > 1 else 0
    # Three sums over pairs for each mode, and those of a pattern; a tile's calls, and as numbers those of relatives.
    of_relatives = block * 3 * (batches.modes + batches.traits) * 8
    if batches.relatives:
        of_relatives += TILE_VARIANTS * (batches.samples + 16 * batches.relatives)
    # What cases carry is counted twice on X, and then taken off what everybody does.
    of_cells = block * batches.traits * (cell_bytes + (0 if batches.cases is None else 96))
    return of_products + of_patterns + of_relatives + of_cells


def seconds_per_variant(store: GenotypeStore, batches: BatchPlan) -> float:
    """Seconds of one core for one variant and a batch of traits, roughly, from nothing but the data's size."""
    per_person = sum(part.samples * part.columns for part in batches.strata) * _SECONDS_PER_PRODUCT
    dense = store.n_samples * _SECONDS_PER_GENOTYPE + per_person + _seconds_to_narrow(store, batches)
    return dense * _dense_share(store) + sum(part.traits * _seconds_per_result(part) for part in batches.strata)


def _seconds_to_narrow(store: GenotypeStore, batches: BatchPlan) -> float:
    """Seconds to take the people of the strata out of one variant that is held as calls."""
    narrowed = sum(0 < part.samples < store.n_samples for part in batches.strata)
    return store.n_samples * ((narrowed > 0) * _SECONDS_PER_NARROWED + narrowed * _SECONDS_PER_TAKEN)


def _seconds_per_result(batches: Batches) -> float:
    return _SECONDS_PER_RESULT + batches.seconds_per_person * batches.samples


def _dense_share(store: GenotypeStore) -> float:
    """Bytes of the genotypes over what they would be as packed calls: of rare variants only carriers cost."""
    packed = store.n_variants * row_bytes(store.n_samples)
    return min(1.0, float(store.block_checksums[:, 0].sum()) / packed)


def core_seconds(store: GenotypeStore, batches: BatchPlan, n_variants: int, n_traits: int) -> float:
    """Seconds of one core for all variants and batches, from the products of one block, measured on this machine."""
    sampled = min(max(1, *(part.columns for part in batches.strata)), 64)
    panel = make_panel(np.ones((store.n_samples, sampled)), np.float32)
    block = store.read_block(store.n_blocks // 2)
    _, one_of_each = np.unique(block.encoding, return_index=True)
    genotype_products(take(block, one_of_each), panel)  # compile, or load the compiled kernels
    start = time.perf_counter()
    block = store.read_block(store.n_blocks // 2)
    reading = time.perf_counter() - start
    genotype_products(block, panel)
    multiplying = time.perf_counter() - start - reading
    per_variant = reading / block.n_variants + _seconds_to_narrow(store, batches) * _dense_share(store)
    for part in batches.strata:
        # Sums over what patterns lack cost more than those over all samples (gathering), and counts some more.
        columns = part.columns + 40 * part.listed / max(1, part.samples) + 2 * part.patterns
        share = part.samples / store.n_samples
        per_variant += multiplying / block.n_variants * max(1.0, columns / sampled) * share
    per_result = sum(part.traits / batches.size * _seconds_per_result(part) for part in batches.strata)
    seconds: float = n_variants * (per_variant * -(-n_traits // batches.size) + n_traits * per_result)
    return seconds
