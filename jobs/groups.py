"""Who is in which group: the labels of a job's stratifications, for the samples of its store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.errors import InputError, JobError, quoting_people
from allscan.jobs.strata_spec import ANCESTRY
from allscan.phenotypes.ancestry import align_groups, count_groups, read_groups
from allscan.phenotypes.auxiliary import find_auxiliary
from allscan.phenotypes.matching import rows_of
from allscan.phenotypes.names import did_you_mean, listed
from allscan.phenotypes.sex import FEMALE, MALE, SEX_COLUMNS, read_sex
from allscan.phenotypes.tables import read_covariate_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.jobs.job import Job
    from allscan.jobs.people import People
    from allscan.jobs.strata_spec import AncestrySection, StrataSection, StratificationSection
    from allscan.jobs.structure.use import JobStructure
    from allscan.phenotypes.model import CovariateTable
    from allscan.storage import Place

MOST_GROUPS = 50
"""Of a stratification: a column with more values is no grouping."""
SEXES = {FEMALE: "female", MALE: "male"}


class Labels(NamedTuple):
    """Groups of people, and who is in which."""

    name: str  # of the stratification
    section: StratificationSection
    where: tuple[str | int, ...]  # the section's key
    groups: tuple[str, ...]
    code: NDArray[np.int32]  # (samples,) number of the group; -1: none
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_known: bool = True  # not yet where groups are those of a structure that is to be built

    def wanted(self, job: Job) -> tuple[str, ...]:
        """The groups that are scanned apart, if enough people are in them.

        Raises
        ------
        JobError
            The job asks for one that there is not.
        """
        if not self.is_known or not self.section.scans_groups:
            return ()
        for name in self.section.only:
            if name not in self.groups:
                raise JobError(
                    f"there is no group {name!r}",
                    where=job.locate(*self.where, "only"),
                    fix=did_you_mean(name, self.groups, otherwise=f"the groups are {listed(self.groups)}"),
                )
        return tuple(group for group in self.groups if not self.section.only or group in self.section.only)


def read_labels(job: Job, people: People, structure: JobStructure | None) -> tuple[Labels, ...]:
    """The groups of the job's sections ``ancestry`` and ``strata``.

    Raises
    ------
    InputError
        A column or table is not there, or its values are no groups.
    """
    of_columns = tuple(_of_column(job, people, section, k) for k, section in enumerate(job.spec.strata))
    section = job.spec.ancestry
    if section is None:
        return of_columns
    return (_of_ancestry(job, people, section, structure), *of_columns)


def groups_place(job: Job) -> Place | None:
    """The table of ancestry groups that a job names; None if it names none.

    Raises
    ------
    InputError
        There is none where it says.
    """
    section = job.spec.ancestry
    if section is None or section.groups is None:
        return None
    place = job.resolve(section.groups)
    if not place.exists() and not place.parent.is_dir():
        raise JobError(
            f"there is no file {section.groups!r}",
            where=job.locate(ANCESTRY, "groups"),
            fix="check the path; it is relative to the job file",
        )
    return find_auxiliary(place, "ancestry_preds")


def _of_ancestry(job: Job, people: People, section: AncestrySection, structure: JobStructure | None) -> Labels:
    """Groups of a table, or of the structure; those of one that is not built yet are not known."""
    key = (ANCESTRY,)
    place = groups_place(job)
    if place is None:
        assert structure is not None  # the spec refuses a job without either
        if not structure.groups:
            raise JobError(
                f"the structure {structure.path} has no groups",
                where=job.locate(*key),
                fix="name a table of groups, or give the structure file `groups`",
            )
        if structure.folder is None:
            code = np.full(len(people.sample_ids), -1, np.int32)
            return Labels(ANCESTRY, section, key, structure.groups, code, is_known=False)
        found = structure.group_labels()
        rows = rows_of(people.sample_ids, found.sample_ids)
        return Labels(ANCESTRY, section, key, found.names, np.where(rows >= 0, found.code[rows], -1).astype(np.int32))
    with quoting_people():
        table = read_groups(
            place, column=section.column, id_column=section.id_column, min_probability=section.min_probability
        )
        code = align_groups(table, people.sample_ids).astype(np.int32)
    outside = tuple(
        f"in no group of {ANCESTRY}: {line.count:,} people {line.reason.removeprefix('in no group: ')}"
        for line in count_groups(table, people.sample_ids)
        if line.reason.startswith("in no group")
    )
    return Labels(ANCESTRY, section, key, table.labels, code, (*table.notes, *outside), table.warnings)


def _of_column(job: Job, people: People, section: StrataSection, number: int) -> Labels:
    key = ("strata", number)
    with quoting_people():
        table = people.covariates
        if section.file is not None:
            table = read_covariate_table(job.resolve(section.file), id_column=section.id_column)
        if table is None or section.column not in table.columns:
            have = () if table is None else table.columns
            raise JobError(
                f"there is no column {section.column!r} to group people by",
                where=job.locate(*key, "column"),
                fix=did_you_mean(section.column, have, otherwise=f"there are {listed(have)}")
                if have
                else "name the table that it is in: {column: …, file: …}",
            )
        groups, of_table = _labels(job, table, section.column)
    if len(groups) > MOST_GROUPS:
        raise JobError(
            f"the column {section.column!r} has {len(groups):,} different values: they are no groups",
            where=job.locate(*key, "column"),
            fix=f"name a column with at most {MOST_GROUPS} values",
        )
    if len(groups) < 1:
        raise JobError(
            f"the column {section.column!r} has no value", where=job.locate(*key, "column"), fix="name another column"
        )
    rows = rows_of(people.sample_ids, table.sample_ids)
    code = np.where(rows >= 0, of_table[rows], -1).astype(np.int32)
    return Labels(section.column, section, key, groups, code)


def _labels(job: Job, table: CovariateTable, name: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Groups by a column, and each row's."""
    column = table.columns[name]
    if name == job.spec.samples.sex or name.lower() in SEX_COLUMNS:
        codes = job.spec.samples.sex_codes
        sex = read_sex(table, name, None if codes is None else {codes.male: MALE, codes.female: FEMALE}).values
        assert sex is not None
        return tuple(SEXES.values()), np.select([sex == value for value in SEXES], range(len(SEXES)), -1)
    if column.codes is not None and not column.problem:
        return column.levels, column.codes
    if column.values is None or column.problem:
        raise InputError(
            f"the column {name!r} {column.problem}", where=column.problem_where, fix="code the groups alike"
        )
    present = ~np.isnan(column.values)
    values, of_row = np.unique(column.values[present], return_inverse=True)
    code = np.full(len(column.values), -1, np.int32)
    code[present] = of_row
    return tuple(f"{value:.15g}" for value in values[: MOST_GROUPS + 1]), code
