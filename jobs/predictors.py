"""The check of a job that scans columns of a table: open what it names, align the people, say what would be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.design import FEMALE, MALE, UNKNOWN_SEX
from allscan.errors import JobError, quoting_people
from allscan.jobs.check import dropped_covariates, hash_inputs, science_of
from allscan.jobs.check_report import CheckReport, trait_line
from allscan.jobs.machine import machine_warnings
from allscan.jobs.people import read_people
from allscan.kernels.column_tests import ColumnOptions
from allscan.phenotypes.model import SampleCount, TraitSpec
from allscan.phenotypes.names import listed
from allscan.phenotypes.tables import read_trait_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.jobs.input_files import InputFile
    from allscan.jobs.job import Job
    from allscan.jobs.phewas_spec import PredictorsSection
    from allscan.phenotypes.model import AnalysisTable, TraitTable


@dataclass(frozen=True)
class Predictor:
    """What is known of one predictor before the scan."""

    name: str
    n: int  # people analysed who have it
    mean: float
    sd: float
    two_valued: bool  # those who have the larger value are then its carriers
    unit: str  # what effects are per, in words


@dataclass(frozen=True, repr=False)
class PredictorsReport(CheckReport):
    """What a job would analyse, where it scans columns of a table."""

    predictors: tuple[Predictor, ...] = ()

    def _subject_lines(self) -> list[str]:
        lines = [f"{self.genotypes}: {self.n_samples:,} people"]
        width = max(len(one.name) for one in self.predictors)
        lines += [
            f"{one.name:<{width}}  n {one.n:<9,}  mean {one.mean:<10.5g} sd {one.sd:<10.5g} effects per {one.unit}"
            for one in self.predictors
        ]
        return [f"{'predictors' if k == 0 else '':<12}{line}" for k, line in enumerate(lines)]

    def _variant_lines(self) -> list[str]:
        return []


@dataclass(frozen=True)
class CheckedPredictors:
    """Everything that a plan and a scan of columns need, and the report of how it came about."""

    values: NDArray[np.float64]  # (samples, predictors) NaN = missing; as effects are per
    predictors: tuple[Predictor, ...]
    table: AnalysisTable
    binary: tuple[bool, ...]  # (traits,)
    same: frozenset[tuple[int, int]]  # predictor and trait that are the same column
    options: ColumnOptions
    inputs: tuple[InputFile, ...]
    science: dict[str, Any]
    report: PredictorsReport


def check_predictors(job: Job) -> CheckedPredictors:
    """Open, read and align everything that a job names.

    Raises
    ------
    InputError
        A file is missing, damaged, or not what the job says; a predictor does not vary; nobody is left to analyse.
    """
    section = job.spec.predictors
    assert section is not None
    inputs = hash_inputs(job)
    with quoting_people():
        read = _read(job, section)
    # Who has none of the predictors is in none of the fits.
    somebody: NDArray[np.bool_] = np.logical_not(np.isnan(read.values).all(axis=1))
    people = read_people(job, read.sample_ids[somebody], whole="predictors").align()
    traits, covariates, table = people.traits, people.covariates, people.table
    values = read.values[somebody][table.store_rows]
    names = [spec.name for spec in read.specs]
    described = tuple(
        _described(name, values[:, k], section, job.locate("predictors", "columns")) for k, name in enumerate(names)
    )
    if section.standardise:
        for k, one in enumerate(described):
            if not one.two_valued:
                values[:, k] = (values[:, k] - one.mean) / one.sd
    same = _same_columns(names, table)
    return CheckedPredictors(
        values=values,
        predictors=described,
        table=table,
        binary=tuple(spec.kind == "binary" for spec in traits.specs),
        same=same,
        options=ColumnOptions(min_cases=section.min_cases),
        inputs=inputs,
        science=science_of(job, inputs),
        report=PredictorsReport(
            name=job.spec.name,
            genotypes=section.file,
            n_samples=len(read.sample_ids),
            n_variants=len(names),
            reference_build=None,
            contigs=(),
            accounting=(*_without_any(somebody), *table.accounting),
            n_analysed=len(table.store_rows),
            sex=_sex_counts(table),
            traits=tuple(
                trait_line(status, spec) for status, spec in zip(table.trait_status, traits.specs, strict=True)
            ),
            formula=job.spec.covariates.formula if job.spec.covariates is not None else None,
            covariates=table.covariate_names,
            dropped_covariates=dropped_covariates(table.covariates, table.covariate_names),
            null_model=(),
            filters=(),
            n_in_regions=len(names),
            n_sex_linked=0,
            notes=(*read.notes, *traits.notes, *(covariates.notes if covariates is not None else ()), *table.notes),
            warnings=(
                *read.warnings,
                *traits.warnings,
                *table.warnings,
                *_also_elsewhere(names, table, same),
                *machine_warnings(),
            ),
            predictors=described,
        ),
    )


def _read(job: Job, section: PredictorsSection) -> TraitTable:
    return read_trait_table(
        job.resolve(section.file),
        {name: TraitSpec(name) for name in section.columns},
        missing_values=section.missing_values,
        id_column=section.id_column,
        what="predictor",
    )


def _described(name: str, column: NDArray[np.float64], section: PredictorsSection, where: str) -> Predictor:
    values = column[~np.isnan(column)]
    if not len(values):
        raise JobError(
            f"nobody who is analysed has a value of the predictor {name!r}",
            where=where,
            fix="take it out, or check that its people are those of the traits",
        )
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise JobError(
            f"the predictor {name!r} does not vary: everybody who is analysed has {low:g}",
            where=where,
            fix="take it out, or check how the file was written",
        )
    two_valued = bool(((values == low) | (values == high)).all())
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    unit = "SD" if section.standardise and not two_valued else "unit"
    if two_valued:
        unit = f"{high:g} against {low:g}" if high - low == 1.0 else f"unit, of {high:g} against {low:g}"
    return Predictor(name, len(values), mean, sd, two_valued, unit)


def _without_any(somebody: NDArray[np.bool_]) -> tuple[SampleCount, ...]:
    lacking = int((~somebody).sum())
    return (SampleCount("in the predictor table, without a value of any", lacking, kept=False),) if lacking else ()


def _sex_counts(table: AnalysisTable) -> dict[str, int]:
    if table.sex is None:
        return {"male": 0, "female": 0, "unknown": len(table.store_rows)}
    codes = {"male": MALE, "female": FEMALE, "unknown": UNKNOWN_SEX}
    return {name: int((table.sex == code).sum()) for name, code in codes.items()}


def _same_columns(names: list[str], table: AnalysisTable) -> frozenset[tuple[int, int]]:
    """Predictors and traits of one name: what they say of each other is no association."""
    at = {name: k for k, name in enumerate(names)}
    return frozenset((at[name], t) for t, name in enumerate(table.trait_names) if name in at)


def _also_elsewhere(names: list[str], table: AnalysisTable, same: frozenset[tuple[int, int]]) -> tuple[str, ...]:
    warnings = []
    if same:
        which = listed(names[k] for k, _ in sorted(same))
        warnings.append(f"predictors are traits too, and are not tested against themselves: {which}")
    among = [name for name in names if name in table.covariate_names]
    if among:
        warnings.append(f"predictors are covariates too, which leaves nothing to test: {listed(among)}")
    return tuple(warnings)
