"""The sections of a job file that only a phenome-wide scan has."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from allscan.documents.sections import FilePath, Section, Text, TextsOrNumbers, numbers_as_texts
from allscan.errors import InputError

PHEWAS = "phewas"

OF_VARIANTS = ("variants", "null_model", "model", "missing_genotypes", "precision", "test", "chromosome_x", "results")
"""Sections and keys of a job that say something of variants, and nothing where there are none."""


class PredictorsSection(Section):
    """Columns of a table that are scanned against all traits in the place of genotypes: scores, exposures, anything."""

    file: FilePath = Field(description="Table with one row per person, in any format that `traits.file` may have.")
    columns: Annotated[list[Text], BeforeValidator(numbers_as_texts, json_schema_input_type=str | list[str])] = Field(
        min_length=1,
        description=(
            "The predictors: columns of numbers, or of two values such as 0 and 1. In a name, `*` stands for any text "
            "(`prs_*`)."
        ),
        examples=[["prs_ldl", "smoking_years"]],
    )
    standardise: bool = Field(
        default=False,
        description=(
            "Effects are per standard deviation of the predictor, of all people analysed who have it, and not per its "
            "own unit. A predictor of two values is left as it is."
        ),
    )
    min_cases: int = Field(
        default=20, ge=1, description="A binary trait with fewer cases, or fewer controls, is not tested."
    )
    missing_values: TextsOrNumbers = Field(
        default=[], description="Cell texts that mean missing, as in `traits.missing_values`."
    )
    id_column: Text | None = Field(default=None, description="Column of person ids, as in `traits.id_column`.")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        twice = [name for k, name in enumerate(self.columns) if name in self.columns[:k]]
        if twice:
            raise InputError(f"the predictor {twice[0]!r} is listed twice", fix="name every predictor once")
        return self


def refuse_mixture(mode: str, genotypes: str | None, predictors: PredictorsSection | None, given: set[str]) -> None:
    """Refuse a job of which it is not clear what is scanned.

    Parameters
    ----------
    mode, genotypes, predictors
        As in the job.
    given
        Keys that the job names.

    Raises
    ------
    InputError
        There are neither genotypes nor predictors, or both, or keys that go with the other.
    """
    if predictors is None:
        if genotypes is None:
            either = ", or columns of a table as `predictors`" if mode == PHEWAS else ""
            raise InputError(
                "the key `genotypes` is missing", fix=f"name a genotype store, made by `allscan ingest`{either}"
            )
        return
    if mode != PHEWAS:
        raise InputError(
            "`predictors` are scanned by a phenome-wide scan only", fix="write `mode: phewas`, or remove them"
        )
    if genotypes is not None:
        raise InputError(
            "the job names both genotypes and predictors", fix="remove one of the two: make a job for each"
        )
    meaningless = [key for key in OF_VARIANTS if key in given]
    if meaningless:
        raise InputError(
            f"`{meaningless[0]}` is about variants, and the job scans columns of a table",
            fix="remove it, or scan genotypes",
        )
