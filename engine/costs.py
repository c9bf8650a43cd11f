"""What a scan will cost in memory and time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.association_tests import find_test
from allscan.engine.columns import counts_cases, cube_columns
from allscan.engine.scoring import MOST_VARIANTS, SCORED_VARIANTS
from allscan.kernels.association import Model
from allscan.kernels.binary import LEAST_VARIANTS, PRODUCT_BYTES
from allscan.kernels.block import take
from allscan.kernels.case_counts import case_set_bytes
from allscan.kernels.linear_shared import single_precision
from allscan.kernels.missingness import trait_patterns
from allscan.kernels.packing import row_bytes
from allscan.kernels.panel import lanes_of, make_panel, panel_bytes
from allscan.kernels.products import genotype_products
from allscan.kernels.relatedness import family_numbers
from allscan.kernels.relatives import TILE_VARIANTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.plan import ScanSpec
    from allscan.engine.store import GenotypeStore

BASE_MEMORY = 400 << 20
"""Bytes of the interpreter with its libraries (measured: 230–280 MB), and of compiling the kernels where this machine
has not done so (about 100 MB more, once)."""

MAX_BATCH_TRAITS = 256
MAX_PANEL_BYTES = 3 << 29
MODES = 30
"""Matrices that the inverse covariances of any number of traits are combinations of, at most as a rule."""
HELD_NULL_BYTES = 1 << 29
"""Null models of several chromosomes are held together while they have no more bytes than this."""
_SECONDS_PER_GENOTYPE = 2.5e-10  # to read and count it, of one core
_SECONDS_PER_PRODUCT = 1.4e-11
_SECONDS_PER_RESULT = 2e-7  # from products to bytes on the disk, of one core


class Batches(NamedTuple):
    """How the traits are cut into batches, and the largest that each part of one becomes."""

    traits: int
    columns: int  # of a panel
    patterns: int  # of missing samples
    listed: int  # samples that the patterns lack (or have, if fewer), over all patterns
    modes: int = 0  # matrices of relatives, over all patterns
    weights: int = 0  # numbers that belong to pairs of relatives, over all patterns
    relatives: int = 0  # people who have any
    cases: int | None = None  # over all traits, of a test of binary traits
    seconds_per_person: float = 0.0  # of a result, beside the products
    single: bool = False  # whether the panel of such a test is in float32; that of another is held in both precisions


def trait_batches(n_samples: int, design: Design, spec: ScanSpec, traits: NDArray[np.int64] | None = None) -> Batches:
    """The largest batches of some traits (None: of all) whose null models stay within their bound.

    A test of one predictor has one basis of the covariates for all patterns of missing samples, and a list of the
    samples that each pattern lacks; one of two predictors needs a basis for each pattern. A test with relatives has a
    basis for each of the matrices that the covariances of a pattern's traits are combinations of.
    """
    values = design.traits if traits is None or len(traits) == len(design.trait_names) else design.traits[:, traits]
    n_traits, n_covariates = values.shape[1], design.covariates.shape[1]
    general = spec.model == Model.GENOTYPIC
    of_strata = []
    for g in range(len(design.strata)):
        members = design.members(g)
        of_trait, first = trait_patterns(values, members)
        present = (~np.isnan(values[:, first]) & members[:, None]).sum(axis=0)
        lacking = int(members.sum()) - present
        of_strata.append((of_trait, np.minimum(lacking, present)))

    test = find_test(spec.test)
    # A test that only heeds relatives has a number for each trait.
    mixed = design.relatedness is not None and test.needs_relatedness
    n_relatives, n_pairs = _relatives(design) if mixed else (0, 0)
    cases = _cases(design, values) if counts_cases(test) else None
    fewest = min(int(design.members(g).sum()) for g in range(len(design.strata)))
    single = single_precision(spec.options, fewest)

    cost = test.seconds_per_person

    def largest(size: int) -> Batches:
        patterns = listed = modes = 0
        for of_trait, few in of_strata:
            for start in range(0, n_traits, size):
                used, n_of = np.unique(of_trait[start : start + size], return_counts=True)
                patterns = max(patterns, len(used))
                listed = max(listed, int(few[used].sum()))
                modes = max(modes, int(np.minimum(n_of, MODES).sum()))
        in_batch = min(size, n_traits)
        if cases is not None:
            most = max(int(cases[:, start : start + size].sum(axis=1).max()) for start in range(0, n_traits, size))
            # Of each trait the residuals, the weights, and the covariates times the weights.
            return Batches(
                in_batch, in_batch * (2 + n_covariates), patterns, 0, cases=most, seconds_per_person=cost, single=single
            )
        if mixed:
            # While it is made, each pattern has the eigenvectors of its families: two numbers for each pair.
            weights = n_pairs * (modes + 2 * patterns)
            columns = modes * n_covariates + in_batch
            return Batches(in_batch, columns, patterns, 0, modes, weights, n_relatives, seconds_per_person=cost)
        columns = (patterns if general else 1) * n_covariates + in_batch
        return Batches(in_batch, columns, patterns, 0 if general else listed, seconds_per_person=cost)

    size = MAX_BATCH_TRAITS  # a power of two: batches end where chunks of the cube do
    while True:
        batches = largest(size)
        if size == 1 or null_bytes(n_samples, batches) <= MAX_PANEL_BYTES:
            return batches
        size //= 2


def _cases(design: Design, traits: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cases of each trait, (strata, traits), of values (samples, traits)."""
    case = traits == 1.0
    return np.array([case[design.members(g)].sum(axis=0) for g in range(len(design.strata))])


def _relatives(design: Design) -> tuple[int, int]:
    """People in families, and pairs within families, each person with itself among them."""
    assert design.relatedness is not None
    family = family_numbers(design.relatedness)
    size = np.bincount(family)
    counted = (size[family] > 1) | (design.relatedness.diagonal != 1.0)
    # Of each person, half a pair with everybody in the family and half a pair with itself.
    return int(counted.sum()), int((size[family[counted]] + 1).sum()) // 2


def null_bytes(n_samples: int, batches: Batches) -> int:
    """Bytes of the null models of a batch, for one chromosome class (and chromosome)."""
    members = batches.patterns * n_samples
    if batches.cases is not None:
        panel = panel_bytes(n_samples, batches.columns, np.float32 if batches.single else np.float64)
        # Fitted probabilities by two likelihoods, cases; and these as sets, of everybody and of males.
        of_traits = n_samples * batches.traits * (2 * 8 + 1)
        return panel + members + of_traits + 2 * case_set_bytes(n_samples, batches.traits, batches.cases)
    panels = panel_bytes(n_samples, batches.columns, np.float32) + panel_bytes(n_samples, batches.columns, np.float64)
    return panels + members + (batches.listed + batches.weights) * 8


def shared_memory(
    store: GenotypeStore, design: Design, batches: Batches, rows: NDArray[np.int64] | None, held: int
) -> int:
    """Bytes that all tasks share: the program, the design, and the null models that are ``held`` at a time."""
    n = store.n_samples
    # Values of the traits while null models are made; with offsets these too, and the differences.
    of_traits = batches.traits * (1 if design.offsets is None else 3)
    fitting = n * 8 * (of_traits + 4 * design.covariates.shape[1] + 4 * min(batches.traits, 16))
    if batches.modes:
        # Bases and scores of all patterns, before they are in the panel.
        fitting += n * 8 * (batches.patterns * design.covariates.shape[1] + 2 * batches.traits)
    nulls = held * null_bytes(n, batches)
    return int(BASE_MEMORY + nulls + fitting + 2 * design.traits.nbytes + 8 * (0 if rows is None else len(rows)))


def task_memory(store: GenotypeStore, design: Design, spec: ScanSpec, batches: Batches, variants: int) -> int:
    """Bytes of one task in flight."""
    block = max(store.block_variants, min(MOST_VARIANTS, variants))
    # Rows that are not carriers only are never more than so many.
    dense = max(store.block_variants, min(SCORED_VARIANTS + store.block_variants, variants))
    predictors = 2 if spec.model == Model.GENOTYPIC else 1
    lanes = lanes_of(np.float32)
    cell_bytes = sum(np.dtype(column.dtype).itemsize for column in cube_columns(spec))
    basis = -(-design.covariates.shape[1] // lanes) * lanes
    # One block: its bytes, compressed and not, and lists of missing samples; products over all samples and over the
    # missing ones, whole and by encoding; the same for the patterns; its cells. Then the results of the whole run of
    # variants, as numbers and as encoded files.
    of_genotypes = 3 * dense * row_bytes(store.n_samples)
    multiplied = block
    if batches.cases is not None:
        multiplied = min(block, max(LEAST_VARIANTS, PRODUCT_BYTES // (8 * batches.columns)))
    of_products = multiplied * (batches.columns + lanes) * 8 * (2 * predictors + 2)
    of_patterns = batches.patterns * block * (basis * 8 * 4 + 64) if batches.patterns > 1 else 0
    # Three sums over pairs for each mode, and those of a pattern; a tile's calls, and as numbers those of relatives.
    of_relatives = block * 3 * (batches.modes + batches.traits) * 8
    if batches.relatives:
        of_relatives += TILE_VARIANTS * (store.n_samples + 16 * batches.relatives)
    # What cases carry is counted twice on X, and then taken off what everybody does.
    of_cells = block * batches.traits * (cell_bytes + (0 if batches.cases is None else 96))
    of_results = variants * batches.traits * cell_bytes * 2
    return int(1.25 * (of_genotypes + of_products + of_patterns + of_relatives + of_cells + of_results)) + (32 << 20)


def seconds_per_variant(store: GenotypeStore, batches: Batches) -> float:
    """Seconds of one core for one variant and a batch of traits, roughly, from nothing but the data's size."""
    of_genotypes = (
        store.n_samples * _dense_share(store) * (_SECONDS_PER_GENOTYPE + _SECONDS_PER_PRODUCT * batches.columns)
    )
    return of_genotypes + batches.traits * _seconds_per_result(store, batches)


def _seconds_per_result(store: GenotypeStore, batches: Batches) -> float:
    return _SECONDS_PER_RESULT + batches.seconds_per_person * store.n_samples


def _dense_share(store: GenotypeStore) -> float:
    """Bytes of the genotypes over what they would be as packed calls: of rare variants only carriers cost."""
    packed = store.n_variants * row_bytes(store.n_samples)
    return min(1.0, float(store.block_checksums[:, 0].sum()) / packed)


def core_seconds(store: GenotypeStore, batches: Batches, n_variants: int, n_batches: int, n_results: int) -> float:
    """Seconds of one core, from the products of one block, measured on this machine."""
    sampled = min(batches.columns, 64)
    panel = make_panel(np.ones((store.n_samples, sampled)), np.float32)
    block = store.read_block(store.n_blocks // 2)
    _, one_of_each = np.unique(block.encoding, return_index=True)
    genotype_products(take(block, one_of_each), panel)  # compile, or load the compiled kernels
    start = time.perf_counter()
    genotype_products(store.read_block(store.n_blocks // 2), panel)
    elapsed = time.perf_counter() - start
    # Sums over what patterns lack cost more than those over all samples (gathering), and counts some more.
    columns = batches.columns + 40 * batches.listed / max(1, store.n_samples) + 2 * batches.patterns
    per_variant = elapsed * max(1.0, columns / sampled) / block.n_variants
    return per_variant * n_variants * n_batches + n_results * _seconds_per_result(store, batches)
