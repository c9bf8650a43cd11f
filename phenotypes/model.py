"""The tables that travel from the phenotypes room to the job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TraitSpec:
    """One trait as the job asks for it."""

    name: str
    kind: str = "quantitative"  # or "binary"
    transform: str = "none"  # one of allscan.phenotypes.transforms.TRANSFORMS
    case: str = ""  # of a binary trait: the cell that means case; known when the table has been read
    label: str = ""  # what a reader calls it, and
    category: str = ""  # the group it stands in, where somebody has said so


@dataclass(frozen=True)
class TraitTable:
    """Samples × traits, as read: untransformed, NaN = missing."""

    sample_ids: NDArray[np.object_]  # (samples,) str
    values: NDArray[np.float64]  # (samples, traits); of a binary trait 0 (control) and 1 (case)
    specs: tuple[TraitSpec, ...]  # (traits,)
    source: str  # file name, for messages and provenance
    id_column: str = "IID"  # the column that the ids come from
    notes: tuple[str, ...] = ()  # what was decided while reading, for the user to know
    warnings: tuple[str, ...] = ()  # what looks wrong but may be right


@dataclass(frozen=True)
class CovariateColumn:
    """One column of a covariate table: numbers or categories, with what speaks against using it."""

    name: str
    values: NDArray[np.float64] | None  # (samples,) NaN = missing; None for text
    codes: NDArray[np.int32] | None = None  # (samples,) index into levels, -1 = missing; None for numbers
    levels: tuple[str, ...] = ()  # in natural order
    problem: str = ""  # why the column cannot be used as it is (infinite values, text among numbers, dates)
    problem_where: str = ""
    warning: str = ""  # what looks wrong but may be right, said only when the column is used

    @property
    def is_numeric(self) -> bool:
        """Whether the column holds numbers."""
        return self.values is not None


@dataclass(frozen=True)
class CovariateTable:
    """Samples × covariates as read: every column of the file but its ids."""

    sample_ids: NDArray[np.object_]  # (samples,) str
    columns: Mapping[str, CovariateColumn]
    source: str
    id_column: str = "IID"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SampleList:
    """People to keep or to exclude."""

    sample_ids: NDArray[np.object_]  # (samples,) str, each once
    source: str
    reason: str = ""  # why they are on it, in place of the list's name


@dataclass(frozen=True)
class SampleCount:
    """One line of the sample accounting: a reason and how many people it concerns."""

    reason: str  # e.g. "in the genotypes but not in the trait table"
    count: int
    kept: bool  # True for lines that count people who stay
    examples: tuple[str, ...] = ()  # first few ids: for the terminal only, never for logs, results or reports
    detail: str = ""  # e.g. how many of them lack each covariate

    @property
    def text(self) -> str:
        """Reason and detail."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


@dataclass(frozen=True)
class TraitStatus:
    """What became of one trait before the scan. Mean and SD are those of the untransformed values."""

    name: str
    n: int  # samples analysed: with a value, among the rows of the analysis table
    mean: float  # NaN without samples
    sd: float  # n - 1 in the denominator; NaN below two samples
    status: str = "ok"  # ok, constant, all_missing, too_few_samples
    message: str = ""
    cases: int | None = None  # of a binary trait, among those analysed


@dataclass(frozen=True)
class AnalysisTable:
    """Everything aligned to the genotype samples: the phenotypes' half of the engine's ``Design``."""

    store_rows: NDArray[np.int64]  # (samples,) increasing rows of the genotype store
    traits: NDArray[np.float64]  # (samples, traits), NaN = missing, transformed
    trait_names: tuple[str, ...]
    covariates: NDArray[np.float64]  # (samples, covariates), finite, with intercept unless the formula drops it
    covariate_names: tuple[str, ...]
    sex: NDArray[np.int8] | None  # (samples,) 1 male, 2 female, 0 unknown, when a table has it
    # Who could be analysed if they had a trait: they do not change when traits are added or taken away.
    eligible_rows: NDArray[np.int64]  # (eligible,) increasing rows of the genotype store
    eligible_covariates: NDArray[np.float64]  # (eligible, covariates), before any is left out
    accounting: tuple[SampleCount, ...] = ()
    left_out: tuple[SampleCount, ...] = ()  # those of its lines that, with the analysed, make up whom it is confined to
    trait_status: tuple[TraitStatus, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = ()  # decisions to report: matching key, reference levels
