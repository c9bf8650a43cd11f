"""The structure file as one model: every key, its type, default, unit and meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from allscan.documents.sections import FilePath, FilePaths, Section, Text
from allscan.documents.validation import validate
from allscan.engine.chromosomes import parse_region
from allscan.engine.long_range_ld import LONG_RANGE_LD
from allscan.jobs.runtime_spec import RuntimeSection
from allscan.jobs.structure.folder import SHOWN_COMPONENTS

if TYPE_CHECKING:
    from allscan.documents.yaml_source import YamlDocument

SUBJECT = "the structure file"
FIX = "`allscan schema --of structure` describes every key"
MOST_COMPONENTS = 100


def _file(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def _relatives(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


def _quality(value: Any) -> Any:
    return None if value == "none" else value


def _check_regions(value: list[str] | None) -> list[str] | None:
    for text in value or ():
        if text != LONG_RANGE_LD:
            parse_region(text)
    return value


class SamplesSection(Section):
    """Whose genotypes are looked at: everybody's, unless said otherwise here."""

    keep: FilePaths = Field(
        default=[], description="Files of person ids; only people who are in all of them are placed."
    )
    exclude: FilePaths = Field(
        default=[],
        description="Files of person ids that are left out, e.g. `flagged_samples.tsv` or withdrawn participants.",
    )


class VariantQualitySection(Section):
    """Which variants pass, counted among the people who are looked at. `null` asks nothing."""

    min_call_rate: float = Field(default=0.95, ge=0, le=1, description="Least share of people with a call.")
    min_info: float | None = Field(
        default=0.3, ge=0, le=1, description="Least imputation quality (INFO) of variants that have one."
    )
    min_hwe_p: float | None = Field(
        default=1e-15, ge=0, le=1, description="Least p of Hardy–Weinberg equilibrium, within each group."
    )
    min_hwe_excess_p: float | None = Field(
        default=1e-6, ge=0, le=1, description="The same where there are more heterozygotes than expected."
    )
    group_people: int = Field(
        default=100, ge=1, description="Groups with fewer people are not judged by themselves, but with everybody."
    )
    max_call_rate_difference: float | None = Field(
        default=0.05, ge=0, le=1, description="Greatest difference of the call rates of two groups."
    )


class SampleQualitySection(Section):
    """Which people pass. Who does not is left out of scans, and counted. `null` asks nothing."""

    min_call_rate: float | None = Field(
        default=0.95, ge=0, le=1, description="Least share of the passing autosomal variants with a call."
    )
    max_deviation: float | None = Field(
        default=8.0,
        gt=0,
        description=(
            "How far counts and ratios of variants (`snp_count`, `ins_del_ratio`, `ti_tv_ratio` …) may be from the "
            "median of the person's group once components are taken off, in median absolute deviations, as in All of "
            "Us."
        ),
    )
    sex_mismatch: Literal["exclude", "keep"] = Field(
        default="exclude", description="What becomes of people whose sex chromosomes say another sex than reported."
    )
    unclear_sex: Literal["exclude", "keep"] = Field(
        default="keep", description="What becomes of people whose sex chromosomes are unclear, or of another number."
    )


class QualitySection(Section):
    """Quality of variants and people, from one pass over all genotypes."""

    variants: VariantQualitySection = Field(default=VariantQualitySection(), description="Which variants pass.")
    samples: SampleQualitySection = Field(default=SampleQualitySection(), description="Which people pass.")


class MarkersSection(Section):
    """Which variants relatives and components are computed from; counted among the people who are not excluded."""

    min_maf: float = Field(default=0.01, ge=0, lt=0.5, description="Least minor allele frequency.")
    max_missing_rate: float = Field(default=0.02, ge=0, le=1, description="Greatest share of missing genotypes.")
    prune_r2: float | None = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Of two markers with a greater r² within the window, one goes. `null`: all stay.",
    )
    window_kb: int = Field(default=1000, ge=1, description="How far apart two markers are compared, in kb.")
    max_markers: int | None = Field(
        default=200_000, ge=1, description="More than these are thinned evenly along the genome. `null`: all stay."
    )
    exclude: Annotated[list[Text] | None, AfterValidator(_check_regions)] = Field(
        default=None,
        description=(
            "Regions that no marker is taken from; `long_range_ld` is the usual list of those where markers correlate "
            "over megabases. Left out: `long_range_ld`, where the reference build of the store is known."
        ),
        examples=[["long_range_ld", "2:100000000-101000000"]],
    )


class RelativesSection(Section):
    """Who is related. Relatives beyond one of each family are placed among the components, and do not define them."""

    method: Literal["king", "pc_relate", "none"] = Field(
        default="king",
        description=(
            "`king`: KING-robust, which needs no components; `pc_relate`: PC-Relate, which is right in admixed people, "
            "too (components, then kinship given them, then components again); `none`: everybody counts as unrelated. "
            "A word alone stands for the section."
        ),
    )
    file: FilePath | None = Field(
        default=None,
        description=(
            "Table of pairs and their kinship, in the place of a method: of KING, of `plink2 --make-king-table`, of "
            "All of Us (or the folder in which that lies)."
        ),
        examples=["relatedness.tsv"],
    )
    max_kinship: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description=(
            "Pairs with a greater kinship are relatives: 0.0442 counts those of the third degree, 0.0884 of the second "
            "and 0.177 of the first. Left out: 0.0442; with a `method` and few markers, what unrelated people hardly "
            "ever exceed by chance, where that is more."
        ),
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.file is not None and "method" in self.model_fields_set:
            raise ValueError("relatives are those of a `file` or found by a `method`: remove one of the two")
        return self


class WithinGroupsSection(Section):
    """Components of each group alone, which the scan of a group adjusts for."""

    count: int | None = Field(
        default=None, ge=0, le=MOST_COMPONENTS, description="How many; 0: none. Left out: as many as of everybody."
    )
    min_people: int = Field(
        default=100,
        ge=20,
        description="Groups with fewer unrelated people, or fewer than twice the components, have none of their own.",
    )


class ComponentsSection(Section):
    """Principal components: of the unrelated people, with the others placed among them."""

    count: int = Field(default=20, ge=1, le=MOST_COMPONENTS, description="How many: `pc1`, `pc2`, …")
    accuracy: float = Field(
        default=0.02,
        gt=0,
        le=0.2,
        description="How far a component may be off, as the sine of the angle to the exact one.",
    )
    seed: int = Field(default=1, ge=0, description="Of the random vectors that the computation begins with.")
    within_groups: WithinGroupsSection = Field(
        default=WithinGroupsSection(), description="Components of each group alone."
    )
    umap: bool = Field(
        default=False,
        description=(
            f"Whether the report also shows UMAP of the leading components, up to {SHOWN_COMPONENTS}: a picture, and "
            "no covariate."
        ),
    )

    @model_validator(mode="after")
    def _a_plane(self) -> Self:
        if self.umap and self.count < 2:
            raise ValueError("`umap` needs two components: ask for more, or leave it out")
        return self


class ReferenceSection(Section):
    """People whose group is known, and their genotypes."""

    genotypes: FilePath = Field(description="Genotype store of the reference, of the same reference build.")
    labels: FilePath = Field(
        description="Table of the unrelated people of the reference with their groups; only these are used."
    )
    column: Text | None = Field(default=None, description="Column of the labels, as in `groups.column`.")
    id_column: Text | None = Field(default=None, description="Column of person ids of the labels.")
    components: int = Field(
        default=16, ge=2, le=MOST_COMPONENTS, description="Components of the reference that groups are told apart by."
    )
    max_distance: float | None = Field(
        default=1.5,
        gt=0,
        description=(
            "Who is farther from all of the reference is in no group, in units of what 99 % of the reference are from "
            "their own. `null`: however far."
        ),
    )


class GroupsSection(Section):
    """Groups of people, such as ancestries: who is in which. Others are placed among the components, too."""

    file: FilePath | None = Field(
        default=None,
        description=(
            "Table that says who is in which group: `ancestry_preds.tsv` of All of Us, the folder in which it lies, or "
            "any table of people with a column of labels. `other` and no label mean no group."
        ),
        examples=["ancestry_preds.tsv"],
    )
    column: Text | None = Field(
        default=None,
        description=(
            "Column of the labels. Left out: `ancestry_pred_other`, `ancestry_pred`, `group`, `ancestry`, `population` "
            "or `superpopulation`, the first that is there."
        ),
    )
    id_column: Text | None = Field(default=None, description="Column of person ids, as in a job's `traits.id_column`.")
    reference: ReferenceSection | None = Field(
        default=None,
        description=(
            "People whose group is known: groups are then learned from them, by a random forest on the components of "
            "the reference, as All of Us does."
        ),
    )
    min_probability: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=(
            "Whose most likely group is less likely than this is in none. Left out: 0.75 with a `reference`, and any "
            "with a table."
        ),
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.file is None) == (self.reference is None):
            raise ValueError("groups are those of a `file`, or learned from a `reference`: write one of the two")
        if self.reference is not None and (self.column is not None or self.id_column is not None):
            raise ValueError("`column` and `id_column` of a reference stand under `reference`")
        return self


class StructureFile(Section):
    """The structure of one cohort: genotypes, what is computed of them, and where it goes."""

    name: Annotated[Text, Field(max_length=200)] = Field(description="Title, shown in the report.")
    genotypes: FilePath = Field(description="Genotype store, made by `allscan ingest`.")
    samples: SamplesSection = Field(default=SamplesSection(), description="Whose genotypes are looked at.")
    quality: Annotated[
        QualitySection | None, BeforeValidator(_quality, json_schema_input_type=Literal["none"] | QualitySection | None)
    ] = Field(
        default=QualitySection(),
        description="Which variants and people pass: a section, or `none`, by which all do, and no pass is made.",
    )
    markers: MarkersSection = Field(
        default=MarkersSection(), description="Which variants relatives and components are computed from."
    )
    relatives: Annotated[
        RelativesSection,
        BeforeValidator(_relatives, json_schema_input_type=Literal["king", "pc_relate", "none"] | RelativesSection),
    ] = Field(default=RelativesSection(), description="Who is related: a method, or a section.")
    components: ComponentsSection = Field(default=ComponentsSection(), description="Principal components.")
    groups: Annotated[
        GroupsSection | None, BeforeValidator(_file, json_schema_input_type=str | GroupsSection | None)
    ] = Field(default=None, description="Groups of people, such as ancestries: a table, or a section.")
    admixture: FilePath | None = Field(
        default=None,
        description=(
            "Shares of ancestry (`.Q` of Rye or ADMIXTURE, or the folder in which it lies), which become columns "
            "`admixture_NAME` beside the components."
        ),
    )
    output: FilePath = Field(description="Folder of the structure. It is made.")
    runtime: RuntimeSection = Field(default=RuntimeSection(), description="Where it is computed; changes no result.")


def validate_structure(data: dict[str, Any], document: YamlDocument | None = None) -> StructureFile:
    """Check the keys of a structure file.

    Raises
    ------
    JobError
        One is unknown, missing or has an impossible value.
    """
    return validate(StructureFile, data, document, subject=SUBJECT, fix=FIX)
