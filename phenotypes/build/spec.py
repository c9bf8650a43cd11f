"""The phenotype file as one model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from allscan.documents.sections import Day, FilePath, FilePaths, Section, Text, checked_place
from allscan.phenotypes.build.covariates import DEFAULT, KINDS
from allscan.phenotypes.phecodes.spec import PhecodesSection
from allscan.phenotypes.records.omop import BIGQUERY


def _source(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


def _known(names: list[str]) -> list[str]:
    for name in names:
        if name not in KINDS:
            raise ValueError(f"there is no covariate {name!r} of records")
    return names


def _records_place(value: str) -> str:
    return value if value.startswith(BIGQUERY) else checked_place(value)


class RecordsSection(Section):
    """Where the records stand."""

    source: Annotated[Text, AfterValidator(_records_place), Field(json_schema_extra={"format": "path"})] = Field(
        description="A folder of OMOP tables (Parquet or CSV), a DuckDB file, or `bigquery://PROJECT.DATASET`."
    )
    cdr: Text | None = Field(default=None, description="Name of the release. Left out: what `cdm_source` says.")
    until: Day | None = Field(
        default=None,
        description="Last day of the records (YYYY-MM-DD); later dates are wrong. Left out: what `cdm_source` says, "
        "else the last end of an observation period.",
    )


class PeopleSection(Section):
    """Who is in the trait table: everybody in the records, unless said otherwise here."""

    exclude: FilePaths = Field(
        default=[], description="Files of person ids that are left out of everything, e.g. withdrawn participants."
    )


class GroupsSection(Section):
    """Groups of people, such as ancestries: a column of the covariate table, and of the report."""

    file: FilePath = Field(
        description="Table of people, as a job's covariates may stand in, e.g. `ancestry_preds.tsv`."
    )
    column: Text = Field(default="ancestry_pred", description="Column that names the group.")


class RuntimeSection(Section):
    """What the build may use. These keys change no result."""

    memory: Text | None = Field(default=None, description="Memory of the database, such as `4GB`; the rest is spilled.")
    threads: int | None = Field(default=None, ge=1, description="Threads of the database. Left out: one per CPU.")
    spill: FilePath | None = Field(default=None, description="Folder for what does not fit in memory.")


Definition = FilePath | dict[str, Any]


class PhenotypeFile(Section):
    """One trait table: records, what is made of them, and where it goes."""

    name: Annotated[Text, Field(max_length=200)] = Field(description="Title, shown in the report.")
    records: Annotated[RecordsSection, BeforeValidator(_source, json_schema_input_type=str | RecordsSection)] = Field(
        description="Where the records stand: a place, or a section."
    )
    people: PeopleSection = Field(default=PeopleSection(), description="Who is left out.")
    phecodes: PhecodesSection | None = Field(default=None, description="Diseases of the whole phenome, as phecodes.")
    definitions: Annotated[list[Definition], BeforeValidator(_listed)] = Field(
        default=[], description="Phenotype definitions: files, or definitions written here."
    )
    groups: GroupsSection | None = Field(
        default=None, description="Groups of people, such as ancestries: the column `group` of the covariate table."
    )
    covariates: Annotated[list[Text], AfterValidator(_known)] = Field(
        default=list(DEFAULT),
        description=f"Columns of the covariate table: {', '.join(f'`{name}`' for name in KINDS)}.",
    )
    output: FilePath = Field(description="Folder of the trait table. It is made.")
    runtime: RuntimeSection = Field(default=RuntimeSection(), description="What the build may use.")
