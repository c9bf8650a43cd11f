"""The job file as one model: every key, its type, default, unit and meaning.

The parser, the JSON schema, the reference page and the resolved job in the provenance all come from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from allscan.documents.sections import (
    FilePath,
    FilePaths,
    Section,
    Text,
    TextsOrNumbers,
    number_as_text,
)
from allscan.documents.validation import validate
from allscan.errors import InputError
from allscan.jobs.meta.spec import MetaSection
from allscan.jobs.method_spec import TRAIT_TYPES, LocalAncestry, MethodsSection, TraitType, chosen_methods, method_of
from allscan.jobs.null_model_spec import NullModelSection, null_model_of
from allscan.jobs.phewas_spec import PredictorsSection, refuse_mixture
from allscan.jobs.runtime_spec import RuntimeSection
from allscan.jobs.strata_spec import Ancestry, Strata, refuse_strata
from allscan.jobs.variants_spec import ChromosomeXSection, VariantsSection

if TYPE_CHECKING:
    from allscan.documents.yaml_source import YamlDocument

Transform = Literal[
    "none",
    "rank_inverse_normal",
    "log",
    "standardise",
    "residualise_rank_inverse_normal",
    "residualise_standardise",
]
ModelName = Literal["additive", "dominant", "recessive", "genotypic"]
MissingName = Literal["impute_mean", "exclude"]
PrecisionName = Literal["auto", "float32", "float64"]


def _all_of(value: Any) -> Any:
    return {"file": value, "columns": ["*"]} if isinstance(value, str) else value


def _mapped_columns(value: Any) -> Any:
    """One form for both ways of writing trait columns: a mapping from name to options."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, dict):
        return {name: {} if options is None else options for name, options in value.items()}
    if not isinstance(value, list):
        return value
    columns: dict[str, dict[str, Any]] = {}
    for name in value:
        if not isinstance(name, str):
            raise ValueError(f"the trait name {_as_yaml(name)} is not text; put it in quotes: '{_as_yaml(name)}'")
        if name in columns:
            raise ValueError(f"the trait {name!r} is listed twice")
        columns[name] = {}
    return columns


def _as_yaml(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


class TraitOptions(Section):
    """What is done with one trait before the scan."""

    type: TraitType | None = Field(default=None, description="Kind of trait. Left out: the section's `type`.")
    transform: Transform | None = Field(
        default=None,
        description="Transform, among the trait's analysed samples. Left out: the section's `transform`.",
    )


class TraitsSection(Section):
    """Which traits are scanned, and where they stand."""

    file: FilePath = Field(
        description=(
            "Table of people: TSV, CSV, space separated or Parquet, plain or compressed; or the folder of a trait "
            "table, or the phenotype file (YAML) that it is built from."
        )
    )
    columns: Annotated[
        dict[Text, TraitOptions],
        BeforeValidator(_mapped_columns, json_schema_input_type=list[str] | dict[str, TraitOptions | None]),
    ] = Field(
        min_length=1,
        description=(
            "The traits: a list of column names, or a mapping from column name to options. In a name, `*` "
            "stands for any text (`phe_*`)."
        ),
        examples=[["ldl", "hdl"], {"ldl": {"transform": "rank_inverse_normal"}}],
    )
    type: TraitType = Field(
        default="quantitative",
        description=(
            "Kind of every trait that names none: `quantitative`, or `binary`: cases and controls, as 1 and 0, 2 and 1 "
            "(PLINK), true and false, yes and no, or case and control."
        ),
    )
    transform: Transform = Field(
        default="none",
        description=(
            "Transform of every quantitative trait that names none: `rank_inverse_normal`, `log` (natural), "
            "`standardise` (mean 0, sd 1), or `residualise_…` (first regressed on the covariates)."
        ),
    )
    descriptions: FilePath | None = Field(
        default=None,
        description=(
            "Table of what the traits are: columns `trait`, `label` and `category`, as a phenome-wide scan tells them. "
            "It may hold other traits."
        ),
    )
    missing_values: TextsOrNumbers = Field(
        default=[],
        description=(
            "Cell texts that mean missing, in addition to empty, `NA`, `NaN`, `.`, `N/A` and `null`. "
            "PLINK's -9 counts as missing only when it is listed here."
        ),
        examples=[["-9"]],
    )
    id_column: Text | None = Field(
        default=None,
        description=(
            "Column of person ids. Needed where a table has none or several of `IID` (with `FID` or alone), "
            "`sample_id`, `person_id`, `research_id`, `s`."
        ),
    )

    @model_validator(mode="after")
    def _transforms_fit(self) -> Self:
        of_all = self.transform if self.kinds == ("binary",) else "none"
        for name, options in self.columns.items():
            transform = options.transform or of_all
            if self.kind_of(options) == "binary" and transform != "none":
                raise InputError(
                    f"the trait {name!r} is binary, and there is a transform",
                    fix="remove `transform`, or write `type: quantitative`",
                )
        return self

    def kind_of(self, options: TraitOptions) -> TraitType:
        """Kind of one of the traits."""
        return options.type or self.type

    def transform_of(self, options: TraitOptions) -> Transform:
        """Transform of one of the traits."""
        return options.transform or ("none" if self.kind_of(options) == "binary" else self.transform)

    @property
    def kinds(self) -> tuple[TraitType, ...]:
        """Kinds that the traits have."""
        found = {self.kind_of(options) for options in self.columns.values()}
        return tuple(kind for kind in TRAIT_TYPES if kind in found)


class CovariatesSection(Section):
    """What every trait is adjusted for."""

    file: FilePath | list[FilePath] | None = Field(
        default=None,
        description=(
            "Table with one row per person, in any format that `traits.file` may have, or a list of such tables, whose "
            "columns are put together; a trait table's folder stands for the covariates in it. May be left out where "
            "all of them are of the `structure`."
        ),
    )
    formula: Text | None = Field(
        default=None,
        description=(
            "Covariates, e.g. `age + age**2 + sex + age:sex + pc[1:20]`. An intercept is included unless the "
            "formula says `0 +`. Left out: the intercept only."
        ),
    )
    missing_values: TextsOrNumbers = Field(
        default=[], description="Cell texts that mean missing, as in `traits.missing_values`."
    )
    id_column: Text | None = Field(default=None, description="Column of person ids, as in `traits.id_column`.")

    @property
    def files(self) -> tuple[str, ...]:
        """The tables."""
        return (self.file,) if isinstance(self.file, str) else tuple(self.file or ())


CellText = Annotated[Text, BeforeValidator(number_as_text, json_schema_input_type=str | int | float)]


class SexCodes(Section):
    """Cell texts of the sex column, where they are not male/female, M/F or 1/2."""

    male: CellText = Field(description="Text that means male.")
    female: CellText = Field(description="Text that means female.")


class SamplesSection(Section):
    """Who is analysed: everybody with genotypes, a trait and all covariates, unless said otherwise here."""

    keep: FilePaths = Field(
        default=[], description="Files of person ids; only people who are in all of them are analysed."
    )
    exclude: FilePaths = Field(
        default=[], description="Files of person ids that are left out, e.g. withdrawn participants."
    )
    sex: Text | None = Field(
        default=None,
        description=(
            "Column of the covariate table that holds sex (male/female, M/F, or 1/2), for chromosome X. "
            "Left out: a column named `sex`, `sex_at_birth` or `gender`, else the genotype store."
        ),
    )
    sex_codes: SexCodes | None = Field(
        default=None,
        description="What the cells of the sex column mean, where it is coded otherwise.",
        examples=[{"male": "0", "female": "1"}],
    )


class ResultsSection(Section):
    """What is kept beside the full results."""

    hits_neg_log10_p: float = Field(
        default=5.0,
        ge=0.0,
        allow_inf_nan=False,
        description="Rows with −log10 p of at least this go to `hits.parquet`.",
    )


class ReportSection(Section):
    """What the report shows. These keys change no result."""

    significance: float = Field(
        default=5e-8, gt=0.0, lt=1.0, description="p-value of genome-wide significance, per trait."
    )
    lead_window_kb: float = Field(
        default=500.0,
        gt=0.0,
        allow_inf_nan=False,
        description="Half-width (kb) of the window in which one lead variant is shown.",
    )
    phewas_level: float = Field(
        default=0.05,
        gt=0.0,
        lt=1.0,
        description=(
            "Of a phenome-wide scan: the chance of any false result (Bonferroni), and the false discovery rate, among "
            "the traits of one variant or predictor."
        ),
    )


class JobSpec(Section):
    """One job: genotypes, traits, covariates, and what comes out."""

    name: Annotated[Text, Field(max_length=200)] = Field(description="Title of the job, shown in the report.")
    mode: Literal["gwas", "phewas"] = Field(
        default="gwas",
        description=(
            "What the report is about: variants of each trait (`gwas`), or traits of each variant or predictor "
            "(`phewas`). Results are the same."
        ),
    )
    genotypes: FilePath | None = Field(
        default=None, description="Genotype store, made by `allscan ingest`. Needed unless there are `predictors`."
    )
    predictors: PredictorsSection | None = Field(
        default=None, description="Columns of a table that are scanned in the place of genotypes (`mode: phewas`)."
    )
    traits: Annotated[TraitsSection, BeforeValidator(_all_of, json_schema_input_type=str | TraitsSection)] = Field(
        description="Which traits are scanned, and where they stand; a trait table alone stands for all its traits."
    )
    covariates: CovariatesSection | None = Field(
        default=None, description="What every trait is adjusted for. Left out: the intercept only."
    )
    samples: SamplesSection = Field(default=SamplesSection(), description="Who is analysed.")
    structure: FilePath | None = Field(
        default=None,
        description=(
            "What the genotypes say of the people: the folder that `allscan structure build` made, or the structure "
            "file, from which it is made where it is not there. Its principal components are columns `pc1`, `pc2` … "
            "of the covariates (in a group's stratum, those computed within the group); people who fail its quality "
            "control are left out, and counted."
        ),
        examples=["structure.yaml"],
    )
    ancestry: Ancestry = Field(default=None, description="Groups of genetic ancestry, scanned together and apart.")
    strata: Strata = Field(default=[], description="Other groups that are scanned apart, by columns of a table.")
    variants: VariantsSection = Field(default=VariantsSection(), description="Which variants are tested.")
    null_model: Annotated[
        NullModelSection | None,
        BeforeValidator(null_model_of, json_schema_input_type=Literal["whole_genome"] | NullModelSection | None),
    ] = Field(
        default=None,
        description=(
            "What the rest of the genome predicts of each trait, taken off before a variant is tested: "
            "`whole_genome`, or a section; or how relatives are alike. Left out: nothing but the covariates."
        ),
    )
    model: ModelName = Field(
        default="additive",
        description=(
            "Genetic model of the effect allele (ALT): `additive`, `dominant`, `recessive`, or `genotypic` "
            "(additive and dominance deviation together, 2 degrees of freedom)."
        ),
    )
    missing_genotypes: MissingName = Field(
        default="impute_mean",
        description=(
            "A missing genotype becomes the mean of the trait's analysed samples (`impute_mean`), or its "
            "sample is left out of that variant's test (`exclude`)."
        ),
    )
    precision: PrecisionName = Field(
        default="auto",
        description=(
            "Type of the long sums over samples. `float32` halves the time of many traits and changes −log10 p by at "
            "most 1e-4 of itself (see Methods); variants where it would matter are done again in float64. `auto`: "
            "float32 from 10,000 samples on."
        ),
    )
    test: Annotated[MethodsSection, BeforeValidator(method_of, json_schema_input_type=str | MethodsSection)] = Field(
        default=MethodsSection(),
        description=(
            "Association test: its name, a section with `name` and `options`, or one for each kind of traits: "
            "`{quantitative: linear, binary: firth}`. The default is `logistic` for binary "
            "traits; for quantitative ones `linear`, `mixed` with `null_model: {method: sparse_grm}`, and `mixed` with "
            "its option `variance: average` with `null_model: {method: whole_genome, relatedness: FILE}`."
        ),
    )
    local_ancestry: LocalAncestry = None
    chromosome_x: ChromosomeXSection = Field(default=ChromosomeXSection(), description="How chromosome X is tested.")
    meta: MetaSection = Field(
        default=MetaSection(), description="How groups are combined, where `analyses` names `meta`."
    )
    results: ResultsSection = Field(default=ResultsSection(), description="What is kept beside the full results.")
    report: ReportSection = Field(default=ReportSection(), description="What the report shows.")
    output: FilePath = Field(description="Folder of the run. It is made; a run that was stopped goes on in it.")
    runtime: RuntimeSection = Field(default=RuntimeSection(), description="Where and how the job runs.")

    @model_validator(mode="after")
    def _what_is_scanned(self) -> Self:
        refuse_mixture(self.mode, self.genotypes, self.predictors, self.model_fields_set)
        if self.covariates is not None and not self.covariates.files and self.structure is None:
            raise InputError("the key `covariates.file` is missing", fix="name the table that holds the covariates")
        refuse_strata(self.structure, self.ancestry, self.strata, predictors=self.predictors is not None)
        return self

    @property
    def store(self) -> str:
        """Genotype store of a job that has one."""
        assert self.genotypes is not None
        return self.genotypes

    @model_validator(mode="after")
    def _default_test(self) -> Self:
        """The tests that go with the job's traits and relatives, where it names none."""
        # The section is frozen for everybody else.
        local = self.local_ancestry is not None
        chosen = chosen_methods(self.test, self.traits.kinds, self.null_model, self.model, local=local)
        object.__setattr__(self, "test", chosen)
        return self


def validate_job(data: dict[str, Any], document: YamlDocument | None = None) -> JobSpec:
    """Check plain data against the job model.

    Raises
    ------
    JobError
        See :func:`allscan.documents.validation.validate`.
    """
    return validate(JobSpec, data, document, subject="the job", fix="`allscan schema` describes every key")
