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
from allscan.kernels.relatedness import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.engine.design import Design
    from allscan.engine.plan import ScanSpec
    from allscan.engine.store import GenotypeStore
    from allscan.kernels.association import AssociationTest

ADDED_SEX = "sex (added on chromosome X)"
COUNTED_ROWS = 1 << 20  # variants that are looked at together
CLASSES = 8  # room for those of PloidyClass


class ClassNull(NamedTuple):
    """What the blocks of one chromosome class are tested with."""

    null: Any  # the test's null model
    sets: SampleSets
    set_of_trait: NDArray[np.int64]
    males: SampleSets | None  # one set, all males: whose heterozygous calls are impossible (X, Y)
    male_sets: SampleSets | None  # the males of each set: they have one allele (X, Y)
    haploid: bool  # everybody has one allele (MT)
    cases: CaseSets | None = None  # of each trait, where the test is for binary traits
    male_cases: CaseSets | None = None  # who of them is a male (X, Y)


def offset_chromosomes(design: Design) -> tuple[str, ...]:
    """Chromosomes that have null models of their own, as the rest of the genome is another one for each."""
    return () if design.offsets is None else design.offsets.chromosomes


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
    store: GenotypeStore,
    design: Design,
    spec: ScanSpec,
    stratum: int,
    traits: NDArray[np.int64],
) -> tuple[ClassNull | None, tuple[TraitNote, ...]]:
    """Fit the null models of a trait batch for one chromosome class and, with offsets, one chromosome.

    Parameters
    ----------
    code
        Of the variants that are to be tested, from :func:`null_codes`.
    traits
        Indices of the batch's traits in the design.

    Returns
    -------
    None in place of the null models where the class cannot be tested: X or Y when nobody's sex is known.
    """
    n = store.n_samples
    kind = PloidyClass(code % CLASSES)
    members = design.members(stratum)
    sex = np.zeros(n, np.int8)
    sex[design.store_rows[members]] = design.sex[members]
    values = np.full((n, len(traits)), np.nan)
    values[design.store_rows[members]] = design.traits[np.ix_(members, traits)]
    covariates = np.zeros((n, design.covariates.shape[1]))
    covariates[design.store_rows] = design.covariates
    names = design.covariate_names
    scale = np.ones(n)
    # How much a copy counts matters to the models that count copies; a carrier is a carrier with one or two.
    counted = spec.model in (Model.ADDITIVE, Model.GENOTYPIC)
    males = male_sets = None
    if kind in (PloidyClass.X, PloidyClass.Y):
        analysed = sex == MALE if kind == PloidyClass.Y else (sex == MALE) | (sex == FEMALE)
        if not analysed.any():
            return None, ()
        values[~analysed] = np.nan
        males = sample_sets((sex == MALE)[None, :])
        if counted and (kind == PloidyClass.Y or spec.x_male_dosage == 1):
            scale[sex == MALE] = 0.5
        if kind == PloidyClass.X and spec.x_sex_covariate and len(np.unique(sex[analysed])) > 1:
            covariates = np.column_stack([covariates, sex == MALE])
            names = (*names, ADDED_SEX)
    elif counted and kind == PloidyClass.MT:
        scale[:] = 0.5
    member, set_of_trait = missingness_patterns(values)
    offset = _offset(code, values, design, traits)
    relatedness = None if design.relatedness is None else spread(design.relatedness, design.store_rows, n)
    data = NullData(values, covariates, names, scale, member, set_of_trait, relatedness, offset)
    null, notes = test.fit_null(data, spec.options, spec.test_options)
    if males is not None:
        male_sets = sample_sets(member & (sex == MALE))
    # That a sex covariate which the job has already makes the added one redundant is nobody's concern.
    notes = tuple(note for note in notes if note.status != Status.OK or not note.message.endswith(f": {ADDED_SEX}"))
    prefix = "" if kind == PloidyClass.AUTOSOME else f"chromosome {kind.name}: "
    notes = tuple(note._replace(message=prefix + note.message) for note in notes)
    cases = male_cases = None
    if counts_cases(test):
        case = np.ascontiguousarray((values == 1.0).T)
        cases = case_sets(case)
        male_cases = None if males is None else case_sets(case & (sex == MALE))
    haploid = kind == PloidyClass.MT
    return ClassNull(null, sample_sets(member), set_of_trait, males, male_sets, haploid, cases, male_cases), notes


def _offset(
    code: int, values: NDArray[np.float64], design: Design, traits: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Offsets of the samples of the store (samples, traits), zero where a sample is not analysed; None: no offsets."""
    if design.offsets is None:
        return None
    chromosome = chromosome_of_code(code, design.offsets.chromosomes)
    offset = np.zeros(values.shape)
    for k in range(len(traits)):  # one at a time: of all together there would be another array of this size
        offset[design.store_rows, k] = design.offsets.of(chromosome, traits[k : k + 1])[:, 0]
    offset[np.isnan(values)] = 0.0
    return offset
