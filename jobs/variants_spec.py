"""The sections of a job file that say which variants are tested, and how those of chromosome X are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from allscan.documents.sections import FilePath, Section, Text, numbers_as_texts
from allscan.engine.chromosomes import parse_region


def _check_regions(value: list[str]) -> list[str]:
    for text in value:
        parse_region(text)
    return value


class VariantsSection(Section):
    """Which variants are tested: all, unless said otherwise. One below a threshold keeps a row that says so."""

    ids: list[Text] | FilePath | None = Field(
        default=None,
        description=(
            "Variants by name: a list of identifiers or `chromosome:position:ref:alt`, or the path of a file with one "
            "on each line. An identifier of several variants means all of them; one that the genotypes do not have is "
            "refused. With `regions`: those that lie there. Left out: all."
        ),
        examples=[["rs429358", "19:44908822:C:T"], "variants.txt"],
    )
    regions: Annotated[
        list[Text],
        BeforeValidator(numbers_as_texts, json_schema_input_type=str | list[str | int]),
        AfterValidator(_check_regions),
    ] = Field(
        default=[],
        description="Contigs, `22`, or stretches, `22:16000000-17000000` (bp, 1-based, both ends included).",
        examples=[["22:16000000-17000000", "X"]],
    )
    min_mac: float = Field(
        default=0.0,
        ge=0.0,
        allow_inf_nan=False,
        description="Smallest minor allele count (copies) among the analysed samples.",
    )
    min_maf: float = Field(
        default=0.0,
        ge=0.0,
        le=0.5,
        description="Smallest minor allele frequency (0 to 0.5) among the analysed samples.",
    )
    max_missing_rate: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Largest fraction of missing genotypes among the analysed samples.",
    )
    min_info: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Smallest imputation quality (INFO). Variants without one are tested.",
    )


class ChromosomeXSection(Section):
    """How chromosome X is tested outside the pseudo-autosomal regions."""

    male_dosage: Literal[2, 1] = Field(
        default=2,
        description=(
            "Copies that a male's effect allele counts as: 2, like a female's two (X inactivation), or 1. "
            "The dominant and recessive models count carriers and do not ask."
        ),
    )
    sex_covariate: bool = Field(
        default=True,
        description="Sex is added to the covariates on chromosome X where they do not hold it already.",
    )
