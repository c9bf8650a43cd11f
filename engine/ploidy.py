"""Null models and sample sets by chromosome class: who is tested on X and Y, and how a male's allele counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.chromosomes import PloidyClass, holding_chromosome, ploidy_classes
from allscan.engine.columns import counts_cases
from allscan.engine.design import FEMALE, MALE
from allscan.engine.offsets import ALL
from allscan.kernels.association import Model, NullData, Status, TraitNote
from allscan.kernels.case_counts import CaseSets, case_sets
from allscan.kernels.counts import SampleSets, sample_sets
from allscan.kernels.missingness import missingness_patterns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.design import Design, Strata
    from allscan.engine.plan import ScanSpec
    from allscan.engine.store import GenotypeStore
    from allscan.kernels.association import AssociationTest

ADDED_SEX = "sex (added on chromosome X)"
COUNTED_ROWS = 1 << 20  # variants that are looked at together
CLASSES = 8  # room for those of PloidyClass


class ClassNull(NamedTuple):
    """What the blocks of one chromosome class are tested with; everything is of the design's samples."""

    null: Any  # the test's null model
    sets: SampleSets
    set_of_trait: NDArray[np.int64]
    male_sets: SampleSets | None  # the males of each set: they have one allele (X, Y)
    haploid: bool  # everybody has one allele (MT)
    cases: CaseSets | None = None  # of each trait, where the test is for binary traits
    male_cases: CaseSets | None = None  # who of them is a male (X, Y)


def offset_chromosomes(strata: Strata) -> tuple[str, ...]:
    """Chromosomes that have null models of their own, as the rest of the genome is another one for each."""
    offsets = [design.offsets for _, design in strata if design.offsets is not None]
    return tuple(dict.fromkeys(chromosome for of_stratum in offsets for chromosome in of_stratum.chromosomes))


def all_males(strata: Strata, n_samples: int) -> SampleSets | None:
    """The males of all strata among the samples of the store, as one set: they have one X and one Y. None: nobody."""
    male = np.zeros(n_samples, np.bool_)
    for _, design in strata:
        male[design.store_rows[design.sex == MALE]] = True
    return sample_sets(male[None, :]) if male.any() else None


def null_codes(store: GenotypeStore, rows: NDArray[np.int64], chromosomes: tuple[str, ...] = ()) -> NDArray[np.uint16]:
    """Which null models variants of the store (ascending) are tested with, shape (variants,).

    The chromosome class (PAR counts as autosome), plus ``CLASSES`` times the number, from 1, of the chromosome
    among ``chromosomes``; 0 for a contig that is none of them.
    """
    codes = np.zeros(len(rows), np.uint16)
    if not len(rows):
        return codes
    first, last = int(rows[0]), int(rows[-1]) + 1
    contig = store.column("variant_contig", first, last)[rows - first]
    position = store.column("variant_position", first, last)[rows - first]
    for index in np.unique(contig):
        here = contig == index
        name = store.contigs[index]
        kinds = ploidy_classes(name, position[here], store.reference_build)
        kinds[kinds == PloidyClass.PAR] = PloidyClass.AUTOSOME
        holding = holding_chromosome(name, chromosomes)
        codes[here] = kinds + CLASSES * np.uint16(0 if holding is None else 1 + holding)
    return codes


def chromosome_of_code(code: int, chromosomes: tuple[str, ...]) -> str:
    """The chromosome whose variants have a code of :func:`null_codes`; ``ALL`` for those of none."""
    number = code // CLASSES
    return chromosomes[number - 1] if number else ALL


def count_classes(store: GenotypeStore, rows: NDArray[np.int64] | None = None) -> dict[PloidyClass, int]:
    """How many variants (None: of all) are of each class; not all of them are held at a time."""
    found: Counter[int] = Counter()
    count = store.n_variants if rows is None else len(rows)
    for start in range(0, count, COUNTED_ROWS):
        stop = min(start + COUNTED_ROWS, count)
        some = np.arange(start, stop) if rows is None else rows[start:stop]
        kinds, numbers = np.unique(null_codes(store, some), return_counts=True)
        found.update(dict(zip(kinds.tolist(), numbers.tolist(), strict=True)))
    return {PloidyClass(kind): found[kind] for kind in sorted(found)}


def fit_class_null(
    code: int,
    test: AssociationTest,
    design: Design,
    spec: ScanSpec,
    traits: NDArray[np.int64],
    chromosomes: tuple[str, ...] = (),
) -> tuple[ClassNull | None, tuple[TraitNote, ...]]:
    """Fit the null models of a trait batch for one chromosome class and, with offsets, one chromosome.

    Parameters
    ----------
    code
        Of the variants that are to be tested, from :func:`null_codes` with ``chromosomes``.
    traits
        Indices of the batch's traits in the design.

    Returns
    -------
    None in place of the null models where the class cannot be tested: X or Y when nobody's sex is known.
    """
    kind = PloidyClass(code % CLASSES)
    male = design.sex == MALE
    # Laid out alike however the design is: the last digits of products follow it.
    values = _columns(design.traits, traits)
    covariates, names = np.ascontiguousarray(design.covariates), design.covariate_names
    scale = np.ones(design.n_samples)
    # How much a copy counts matters to the models that count copies; a carrier is a carrier with one or two.
    counted = spec.model in (Model.ADDITIVE, Model.GENOTYPIC)
    sexed = kind in (PloidyClass.X, PloidyClass.Y)
    if sexed:
        analysed = male if kind == PloidyClass.Y else male | (design.sex == FEMALE)
        if not analysed.any():
            return None, ()
        values = np.where(analysed[:, None], values, np.nan)
        if counted and (kind == PloidyClass.Y or spec.x_male_dosage == 1):
            scale[male] = 0.5
        if kind == PloidyClass.X and spec.x_sex_covariate and len(np.unique(male[analysed])) > 1:
            covariates = np.column_stack([covariates, male])
            names = (*names, ADDED_SEX)
    elif counted and kind == PloidyClass.MT:
        scale[:] = 0.5
    member, set_of_trait = missingness_patterns(values)
    offset = _offset(code, values, design, traits, chromosomes)
    data = NullData(values, covariates, names, scale, member, set_of_trait, design.relatedness, offset)
    null, notes = test.fit_null(data, spec.options, spec.test_options)
    male_sets = sample_sets(member & male) if sexed else None
    # That a sex covariate which the job has already makes the added one redundant is nobody's concern.
    notes = tuple(note for note in notes if note.status != Status.OK or not note.message.endswith(f": {ADDED_SEX}"))
    prefix = "" if kind == PloidyClass.AUTOSOME else f"chromosome {kind.name}: "
    notes = tuple(note._replace(message=prefix + note.message) for note in notes)
    cases = male_cases = None
    if counts_cases(test):
        case = np.ascontiguousarray((values == 1.0).T)
        cases = case_sets(case)
        male_cases = case_sets(case & male) if sexed else None
    return ClassNull(
        null, sample_sets(member), set_of_trait, male_sets, kind == PloidyClass.MT, cases, male_cases
    ), notes


def _columns(values: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Some columns, in C order; all of them are not copied."""
    if len(columns) and columns[-1] - columns[0] + 1 == len(columns):
        return np.ascontiguousarray(values[:, columns[0] : columns[-1] + 1])
    return np.take(values, columns, axis=1)


def _offset(
    code: int, values: NDArray[np.float64], design: Design, traits: NDArray[np.int64], chromosomes: tuple[str, ...]
) -> NDArray[np.float64] | None:
    """Offsets of the design's samples (samples, traits), zero where a trait is missing; None: no offsets."""
    if design.offsets is None:
        return None
    chromosome = chromosome_of_code(code, chromosomes)
    offset = np.empty(values.shape)
    for k in range(len(traits)):  # one at a time: of all together there would be another array of this size
        offset[:, k] = design.offsets.of(chromosome, traits[k : k + 1])[:, 0]
    offset[np.isnan(values)] = 0.0
    return offset
