"""The meta file: which studies go together, and how."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from allscan.documents.sections import FilePath, Section, Text
from allscan.engine.meta.formats import FORMATS, ROLES
from allscan.engine.meta.spec import METHODS, Method

ALL = "all"
"""The set of all studies."""


class StudySection(Section):
    """One study: its tables, or a trait of a scan."""

    name: Text = Field(description="Name in the results.")
    file: FilePath | list[FilePath] | None = Field(
        default=None,
        description=(
            "Table of results, compressed or not; several, such as one per chromosome, are one after another. Its "
            "format is known by its header."
        ),
        examples=["ukb_ldl.regenie.gz"],
    )
    run: FilePath | None = Field(default=None, description="In place of a table: the folder of a scan.")
    trait: Text | None = Field(default=None, description="Of the scan. Left out: the only one.")
    stratum: Text = Field(default=ALL, description="Of the scan.", examples=["ancestry=afr"])
    format: Text | None = Field(
        default=None, description=f"Format of the table. Left out: known by its header. One of {', '.join(FORMATS)}."
    )
    columns: dict[Text, Text] = Field(
        default={},
        description=f"Which column is what, where the header does not tell: of {', '.join(ROLES)} the column's name.",
        examples=[{"effect_allele": "EA", "other_allele": "NEA"}],
    )
    ancestry: Text | None = Field(default=None, description="Of its people, in words; for the report.")
    n: float | None = Field(default=None, gt=0, description="People, where the table does not tell.")
    cases: float | None = Field(default=None, gt=0, description="Cases, where the table does not tell.")
    controls: float | None = Field(default=None, gt=0, description="Controls, where the table does not tell.")
    build: Text | None = Field(
        default=None,
        description="Reference build of its positions. Studies that are declared on different ones are refused.",
        examples=["GRCh38"],
    )
    min_info: float = Field(
        default=0.0, ge=0, le=1, description="Rows of a lower imputation quality are left out, where it is told."
    )
    standard_errors: Literal["given", "p"] = Field(
        default="given",
        description=(
            "`p`: where p is 0.05 or less, the standard error is the effect over the deviate of p. For tables whose p "
            "is of a better test than effect and error, as Firth's of REGENIE without `--firth-se`."
        ),
    )
    inflation: float | None = Field(
        default=None,
        ge=1,
        description="Variances are multiplied by this, such as the intercept of LD score regression.",
    )
    check_p: bool = Field(
        default=True, description="Refuse the table where most p values are not those of effect and standard error."
    )

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        if value is not None and value not in FORMATS:
            raise ValueError(f"{value!r} is no format that is known; write one of {', '.join(FORMATS)}")
        return value

    @field_validator("columns")
    @classmethod
    def _known_roles(cls, value: dict[str, str]) -> dict[str, str]:
        for role in value:
            if role not in ROLES:
                raise ValueError(f"{role!r} is nothing that a column may be; write one of {', '.join(ROLES)}")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.run is None):
            raise ValueError(f"the study {self.name!r} needs either `file: TABLE` or `run: FOLDER`")
        of_run = {"trait", "stratum"} & self.model_fields_set
        if self.run is None and of_run:
            raise ValueError(f"`{min(of_run)}` is of a scan: write `run: FOLDER`, or leave it out")
        if self.run is not None and {"format", "columns"} & self.model_fields_set:
            raise ValueError("`format` and `columns` are of a table, and the study is a scan")
        return self


class ThresholdsSection(Section):
    """What a study must have at a variant to count there. A study that does not tell is left out."""

    min_n: float = Field(default=0.0, ge=0, description="People.")
    min_mac: float = Field(default=0.0, ge=0, description="Minor allele count, 2 n min(f, 1 − f).")
    min_maf: float = Field(default=0.0, ge=0, lt=0.5, description="Minor allele frequency.")


class MetaSection(Section):
    """How studies, or groups of a run, are combined."""

    methods: list[Method] = Field(
        default=list(METHODS),
        description=(
            "Beside fixed effects by inverse variance, Cochran's Q and I²: `random`, the mean of effects that differ "
            "(DerSimonian and Laird); `re2`, the test for effects that may differ (Han and Eskin); `sample_size`, "
            "deviates weighted by effective size; `regression`, on axes of ancestry (as MR-MEGA), with four studies or "
            "more that tell allele frequencies."
        ),
    )
    min_studies: int = Field(default=2, ge=1, description="Studies that a variant needs for a result.")
    thresholds: ThresholdsSection = Field(default=ThresholdsSection(), description="Of a study at a variant.")
    axes: int | None = Field(
        default=None, ge=1, le=10, description="Axes of the regression. Left out: as many as there can be, two at most."
    )
    genomic_control: bool = Field(
        default=False,
        description=(
            "Multiply variances of each study (or group) by its λ, where that is above 1. λ grows with sample size "
            "where a trait has many causes, so that this takes away true results."
        ),
    )
    hits_p: float = Field(
        default=1e-5, gt=0, lt=1, description="Variants with a p up to this, by any test of association, are hits."
    )


class MetaReportSection(Section):
    """What the report shows. These keys change no result."""

    significance: float = Field(default=5e-8, gt=0, lt=1, description="p value of significance.")
    lead_window_kb: float = Field(
        default=500.0, gt=0, allow_inf_nan=False, description="Half-width (kb) of the window with one lead variant."
    )
    forests: int = Field(default=24, ge=0, le=500, description="Lead variants that are shown study by study.")


class MetaRuntimeSection(Section):
    """What the command may use. These keys change no result."""

    workers: int | None = Field(
        default=None, ge=1, le=4096, description="Tasks at the same time. Left out: one per CPU."
    )
    scratch: FilePath | None = Field(
        default=None,
        description="Folder for what is kept between stages. Left out: `work` in the output folder.",
    )


class _What(Section):
    name: Text = Field(description="Title of the report.")
    trait: Text = Field(default="trait", description="What all studies are of; its name in the results.")
    studies: list[StudySection] = Field(min_length=1, description="The studies.")
    sets: dict[Text, list[Text]] = Field(
        default={},
        description="Further results from some of the studies, by name: `{without_ukb: [finngen, bbj]}`.",
    )


class MetaFile(MetaSection, _What):
    """One meta-analysis of one trait."""

    palindromes: Literal["infer", "keep", "drop"] = Field(
        default="infer",
        description=(
            "A/T and C/G variants, whose alleles do not tell the strand. `infer`: a study whose other variants stand "
            "on the common strand (99 %) is believed; of another one, those with a clear frequency are believed or "
            "turned and the rest is left out. `keep`: all are believed. `drop`: none is used."
        ),
    )
    palindrome_window: float = Field(
        default=0.1, ge=0, lt=0.5, description="A frequency this near to one half does not tell a strand."
    )
    check_overlap: bool = Field(
        default=True,
        description="Refuse a study that shares hardly a variant with the others, or has other alleles at its places.",
    )
    report: MetaReportSection = Field(default=MetaReportSection(), description="What the report shows.")
    runtime: MetaRuntimeSection = Field(default=MetaRuntimeSection(), description="What the command may use.")
    output: FilePath = Field(description="Folder of the results, on a disk.")

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [study.name for study in self.studies]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two studies are called {min(twice)!r}")
        for key, members in self.sets.items():
            strangers = [name for name in members if name not in names]
            if key == ALL:
                raise ValueError(f"the set {ALL!r} is that of all studies; give another name")
            if strangers:
                raise ValueError(f"the set {key!r} names {strangers[0]!r}, which is no study here")
            if not members or len(set(members)) < len(members):
                raise ValueError(f"the set {key!r} names no study, or one twice")
        return self

    def science(self) -> dict[str, Any]:
        """Everything that decides the results, beside the content of the files."""
        return self.model_dump(mode="json", exclude={"name", "report", "runtime", "output"})
