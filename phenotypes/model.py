"""The tables that travel from the phenotypes room to the job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TraitSpec:
    """One trait as the job asks for it."""

    name: str
    kind: str = "quantitative"
    transform: str = "none"  # none, rank_inverse_normal, log, standardise, residualise_rank_inverse_normal


@dataclass(frozen=True)
class TraitTable:
    """Samples × traits, as read: untransformed, NaN = missing."""

    sample_ids: NDArray[np.object_]  # (samples,) str
    values: NDArray[np.float64]  # (samples, traits)
    specs: tuple[TraitSpec, ...]  # (traits,)
    source: str  # file name, for messages and provenance


@dataclass(frozen=True)
class SampleCount:
    """One line of the sample accounting: a reason and how many people it concerns."""

    reason: str  # e.g. "in the genotypes but not in the trait table"
    count: int
    kept: bool  # True for lines that count people who stay
    examples: tuple[str, ...] = ()  # first few ids: for the terminal only, never for logs, results or reports


@dataclass(frozen=True)
class TraitStatus:
    """What became of one trait before the scan."""

    name: str
    n: int  # samples analysed
    mean: float
    sd: float
    status: str = "ok"  # ok, constant, all_missing, too_few_samples
    message: str = ""


@dataclass(frozen=True)
class AnalysisTable:
    """Everything aligned to the genotype samples: the phenotypes' half of the engine's ``Design``."""

    store_rows: NDArray[np.int64]  # (samples,) increasing rows of the genotype store
    traits: NDArray[np.float64]  # (samples, traits), NaN = missing, transformed
    trait_names: tuple[str, ...]
    covariates: NDArray[np.float64]  # (samples, covariates), finite, with intercept unless the formula drops it
    covariate_names: tuple[str, ...]
    sex: NDArray[np.int8] | None  # (samples,) 1 male, 2 female, 0 unknown, when a table has it
    accounting: tuple[SampleCount, ...] = ()
    trait_status: tuple[TraitStatus, ...] = ()
    warnings: tuple[str, ...] = field(default=())
