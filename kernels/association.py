"""The contract of an association test: what a methods developer writes, and what the engine calls."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock
    from allscan.kernels.counts import GenotypeCounts
    from allscan.kernels.haplotypes import HaplotypeBlock
    from allscan.kernels.relatedness import Relatedness


class Status(IntEnum):
    """Why a result is what it is: one code per variant × trait, never a silent NaN."""

    OK = 0
    MONOMORPHIC = 1  # no variation of the (coded) genotype among the analysed samples
    ALL_MISSING = 2  # no called genotype among the analysed samples
    TRAIT_CONSTANT = 3  # the trait does not vary after covariates are removed
    TOO_FEW_SAMPLES = 4  # no degrees of freedom are left
    COLLINEAR = 5  # the genotype is a linear combination of the covariates
    SEX_UNKNOWN = 6  # chromosome X or Y, and nobody's sex is known
    FILTERED = 7  # left out by the job's variant filters
    NOT_CONVERGED = 8  # an iterative fit did not converge
    NOT_TESTED = 9  # the model does not apply to this variant, e.g. recessive on a haploid chromosome
    PARTLY_COLLINEAR = 10  # of a test with several predictors, one could not be separated from the others
    PERFECT_FIT = 11  # the genotype explains the trait exactly: no residual variance to test against
    # Tests of binary traits: a result, and by which method where it is not the test's first one.
    SADDLEPOINT = 12  # p by saddlepoint approximation
    FIRTH = 13  # p by the penalised likelihood ratio
    EXACT = 14  # p by the exact distribution of the number of cases among few carriers
    TOO_FEW_CASES = 15  # fewer cases (or controls) than the job asks for
    SEPARATED = 16  # some predictors tell cases from controls: the likelihood has no maximum
    TOO_FEW_ALLELES = 17  # of a test by ancestry: fewer copies of the rarer allele than the job asks for


HAS_RESULT = frozenset({Status.OK, Status.SADDLEPOINT, Status.FIRTH, Status.EXACT})
"""Statuses of cells that hold numbers; PARTLY_COLLINEAR holds some."""


_HAS_RESULT_TABLE = np.array([code in HAS_RESULT for code in range(max(Status) + 1)])


def has_result(status: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which cells hold results, of an array of status codes."""
    out: NDArray[np.bool_] = _HAS_RESULT_TABLE[status]
    return out


class Missing(IntEnum):
    """What is done with missing genotypes."""

    IMPUTE_MEAN = 0  # replaced by the mean of the analysed samples that are called
    EXCLUDE = 1  # each variant is tested in the samples that are called


class Coding(IntEnum):
    """How copies of the effect allele become a predictor."""

    ADDITIVE = 0  # g
    DOMINANT = 1  # min(g, 1)
    RECESSIVE = 2  # max(g - 1, 0)
    HETEROZYGOUS = 3  # min(g, 2 - g): the dominance deviation


class Model(IntEnum):
    """The genetic model of the job file."""

    ADDITIVE = 0
    DOMINANT = 1
    RECESSIVE = 2
    GENOTYPIC = 3  # additive + dominance deviation, 2 degrees of freedom


class Precision(IntEnum):
    """The type in which long sums over samples are taken."""

    AUTO = 0  # float32 from 10,000 samples on, where it halves the time; float64 below
    FLOAT32 = 1
    FLOAT64 = 2


@dataclass(frozen=True)
class OutputColumn:
    """One output of a test, declared once: the cube, the docs and the exports read it from here."""

    name: str
    description: str
    unit: str = ""
    dtype: str = "float32"


class ScanOptions(NamedTuple):
    """What the job asks of every test, beside the test's own options."""

    model: int = Model.ADDITIVE
    missing: int = Missing.IMPUTE_MEAN
    precision: int = Precision.AUTO
    ancestries: tuple[str, ...] = ()  # of the haplotypes, where the job names their local ancestry


class NullData(NamedTuple):
    """What a null model is fitted to: the samples that the blocks will be of, analysed or not.

    A sample that is not analysed has NaN in every trait; its covariates are then not looked at. An offset is what is
    known of a trait beforehand, such as what the other chromosomes predict of it: a term of the model whose
    coefficient is 1. A linear test takes it off the trait (:meth:`less_offset`); a logistic one adds it to the log
    odds.
    """

    traits: NDArray[np.float64]  # (samples, traits), NaN = not analysed for this trait
    covariates: NDArray[np.float64]  # (samples, covariates)
    covariate_names: tuple[str, ...]
    dosage_scale: NDArray[np.float64]  # (samples,) factor on copies of ALT: 0.5 for a male coded 0/1 on X, else 1
    member: NDArray[np.bool_]  # (sets, samples) the distinct patterns of analysed samples
    set_of_trait: NDArray[np.int64]  # (traits,) the pattern of each trait
    relatedness: Relatedness | None = None  # of the samples; None where the job names none
    offset: NDArray[np.float64] | None = None  # (samples, traits), finite; None: zero

    def less_offset(self) -> NullData:
        """The same with the offset taken off the traits."""
        return self if self.offset is None else self._replace(traits=self.traits - self.offset, offset=None)


class TraitNote(NamedTuple):
    """What a null model has to say of one trait: shown, recorded, and counted in the report."""

    trait: int  # index in NullData.traits
    status: int  # a Status code; OK when the scan goes on and this is only a remark
    message: str


@dataclass(frozen=True)
class AssociationTest:
    """An association test, found by name through the entry point group ``allscan.association_tests``.

    ``fit_null`` is called once per stratum, trait batch and chromosome class (with a whole-genome null model, and
    chromosome); its result is a NamedTuple
    of arrays (it travels through shared memory without copies). ``score_block`` is called for every
    genotype block, for many traits at once, and writes every cell of ``out``: one array of shape
    (variants, traits) per output column, and ``out["status"]`` (uint8). A failure of one variant or
    trait is NaN plus a status, never an exception. A result may not depend on the other variants or
    traits of the call. :func:`allscan.kernels.one_trait.one_trait_test` builds ``score_block`` from a
    function of one variant and one trait.
    """

    name: str
    title: str
    doi: str
    trait_kinds: frozenset[str]
    columns: Callable[[ScanOptions], tuple[OutputColumn, ...]]
    fit_null: Callable[[NullData, ScanOptions, Mapping[str, Any]], tuple[Any, tuple[TraitNote, ...]]]
    score_block: Callable[
        [GenotypeBlock, GenotypeCounts, Any, ScanOptions, Mapping[str, NDArray[Any]]],
        None,
    ]
    options: Mapping[str, Any] | None = None  # names and defaults of the test's own options
    models: frozenset[Model] = frozenset(Model)  # genetic models that it can do
    check_options: Callable[[Mapping[str, Any]], None] | None = None  # ValueError, naming the option, for a bad value
    seconds_per_person: float = 0.0  # for one variant and trait, beside products: what a plan reckons with, of one core
    uses_offset: bool = False  # whether it heeds NullData.offset: only such a test runs with a whole-genome null model
    uses_relatedness: bool = False  # whether it heeds NullData.relatedness: only such a test runs with named relatives
    needs_relatedness: bool = False  # whether it runs with a list of relatives only
    # Of a test of local ancestry, in place of score_block: called with the haplotypes of a block, the null model, the
    # options and `out`.
    score_haplotypes: Callable[[HaplotypeBlock, Any, ScanOptions, Mapping[str, NDArray[Any]]], None] | None = None
