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
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from allscan.jobs.job import Job
    from allscan.phenotypes.alignment import Among
    from allscan.phenotypes.model import AnalysisTable, CovariateTable, SampleList, TraitTable


@dataclass(frozen=True)
class AlignedPeople:
    """Who is analysed, and the tables that they come from."""

    traits: TraitTable
    covariates: CovariateTable | None
    table: AnalysisTable


@dataclass(frozen=True)
class People:
    """The tables and lists of a job, as read."""

    job: Job
    sample_ids: NDArray[np.object_]  # (samples,) whom the tables are aligned to
    traits: TraitTable
    covariates: CovariateTable | None
    keep: tuple[SampleList, ...]
    exclude: tuple[SampleList, ...]
    whole: str  # what the samples are those of, for messages

    def align(self, among: Among | None = None, more: Sequence[CovariateTable] = ()) -> AlignedPeople:
        """Align the tables to the samples.

        Parameters
        ----------
        among
            Whom the analysis is confined to; None: nobody is left out.
        more
            Covariates beside those of the job's own tables.

        Raises
        ------
        InputError
            Nobody is left to analyse; the formula or a transform does not fit.
        """
        from threadpoolctl import threadpool_limits

        section, codes = self.job.spec.covariates, self.job.spec.samples.sex_codes
        tables = [*([] if self.covariates is None else [self.covariates]), *more]
        covariates = merged_covariates(tables) if tables else None
        # Transforms among them: with more threads a product is cut otherwise, and digits would follow the number of
        # CPUs.
        with quoting_people(), threadpool_limits(limits=1, user_api="blas"):
            table = align(
                self.sample_ids,
                self.traits,
                covariates,
                section.formula if section is not None else None,
                keep=self.keep,
                exclude=self.exclude,
                among=among,
                sex_column=self.job.spec.samples.sex,
                sex_codes=None if codes is None else {codes.male: MALE, codes.female: FEMALE},
                whole=self.whole,
            )
        return AlignedPeople(self.traits, covariates, table)


def read_people(
    job: Job, sample_ids: NDArray[np.object_], *, exclude: Sequence[SampleList] = (), whole: str = "genotypes"
) -> People:
    """Read the tables and lists of a job.

    Parameters
    ----------
    job
        The job.
    sample_ids
        (samples,) whom the tables will be aligned to.
    exclude
        People who are left out, beside those of the job's own lists.
    whole
        What these are the samples of, for messages.

    Raises
    ------
    InputError
        A table is damaged or not what the job says.
    """
    with quoting_people():
        keep, own = (_read_lists(job, kind) for kind in ("keep", "exclude"))
        return People(job, sample_ids, _read_traits(job), _read_covariates(job), keep, (*own, *exclude), whole)


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
    if section is None or not section.files:
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
