"""The people of a job: its tables and lists, read and aligned to the samples that are scanned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allscan.engine.design import FEMALE, MALE
from allscan.errors import quoting_people
from allscan.phenotypes.alignment import align
from allscan.phenotypes.descriptions import described, read_descriptions
from allscan.phenotypes.model import TraitSpec
from allscan.phenotypes.tables import merged_covariates, read_covariate_table, read_sample_list, read_trait_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from allscan.jobs.job import Job
    from allscan.phenotypes.model import AnalysisTable, CovariateTable, SampleList, TraitTable


@dataclass(frozen=True)
class AlignedPeople:
    """Who is analysed, and the tables that they come from."""

    traits: TraitTable
    covariates: CovariateTable | None
    table: AnalysisTable


def align_people(job: Job, sample_ids: NDArray[np.object_], *, whole: str = "genotypes") -> AlignedPeople:
    """Read the tables and lists of a job, and align them.

    Parameters
    ----------
    job
        The job.
    sample_ids
        (samples,) whom the tables are aligned to.
    whole
        What these are the samples of, for messages.

    Raises
    ------
    InputError
        A table is damaged or not what the job says; nobody is left to analyse.
    """
    from threadpoolctl import threadpool_limits

    section, codes = job.spec.covariates, job.spec.samples.sex_codes
    # Transforms among them: with more threads a product is cut otherwise, and digits would follow the number of CPUs.
    with quoting_people(), threadpool_limits(limits=1, user_api="blas"):
        traits, covariates = _read_traits(job), _read_covariates(job)
        keep, exclude = (_read_lists(job, kind) for kind in ("keep", "exclude"))
        table = align(
            sample_ids,
            traits,
            covariates,
            section.formula if section is not None else None,
            keep=keep,
            exclude=exclude,
            sex_column=job.spec.samples.sex,
            sex_codes=None if codes is None else {codes.male: MALE, codes.female: FEMALE},
            whole=whole,
        )
    return AlignedPeople(traits, covariates, table)


def _read_traits(job: Job) -> TraitTable:
    """The job's traits, as they stand in their table."""
    section = job.spec.traits
    specs = {
        name: TraitSpec(name, kind=section.kind_of(options), transform=section.transform_of(options))
        for name, options in section.columns.items()
    }
    table = read_trait_table(
        job.resolve(section.file), specs, missing_values=section.missing_values, id_column=section.id_column
    )
    if section.descriptions is None:
        return table
    return described(table, read_descriptions(job.resolve(section.descriptions)))


def _read_covariates(job: Job) -> CovariateTable | None:
    """The job's covariate table, if it names one."""
    section = job.spec.covariates
    if section is None:
        return None
    return merged_covariates(
        [
            read_covariate_table(job.resolve(path), missing_values=section.missing_values, id_column=section.id_column)
            for path in section.files
        ]
    )


def _read_lists(job: Job, kind: str) -> tuple[SampleList, ...]:
    """The lists of people to ``keep`` or to ``exclude``."""
    return tuple(read_sample_list(job.resolve(path)) for path in getattr(job.spec.samples, kind))
