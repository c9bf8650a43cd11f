"""The keys of a phenotype file that ask for phecodes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from allscan.documents.sections import FilePaths, Section, Text, Texts, checked_day
from allscan.errors import InputError

Table = Literal["condition_occurrence", "observation", "procedure_occurrence", "measurement"]


def _name(value: Any) -> Any:
    return str(value) if isinstance(value, float) else value  # map: 1.2


def _day(value: str) -> str:
    return checked_day(value, "day")


Day = Annotated[Text, AfterValidator(_day)]


class PhecodesSection(Section):
    """Diseases of the whole phenome, as phecodes: of diagnosis codes and the dates on which people have them."""

    map: Annotated[Text | None, BeforeValidator(_name, json_schema_input_type=str | float | None)] = Field(
        default=None,
        description="`1.2` or `X`: found in an installed package that carries it. With `files`: the map's name.",
        examples=["X"],
    )
    files: FilePaths = Field(
        default=[],
        description="Files of the map: the one with codes and phecodes, and those with labels, exclusions, sexes and "
        "roll-up, if these are not beside it.",
    )
    vocabularies: Annotated[Texts, Field(min_length=1)] | None = Field(
        default=None,
        description="Vocabularies of the records whose codes count. Left out: ICD9CM and ICD10CM, if the map has "
        "codes of ICD10CM, else all that it has codes of.",
        examples=[["ICD10"]],
    )
    read_as: dict[Text, Text] = Field(
        default={},
        description="Vocabularies of the records that are looked up as another one of the map.",
        examples=[{"ICD10": "ICD10CM"}],
    )
    tables: Annotated[list[Table], Field(min_length=1)] = Field(
        default=["condition_occurrence", "observation", "procedure_occurrence"],
        description="Tables whose source codes are diagnoses. Those that the records have not are passed over.",
    )
    icd10_from: Day = Field(
        default="2015-10-01",
        description="First day of ICD-10 where a code exists in ICD-9, too, and nothing else says which it is.",
    )
    first_day: Day | None = Field(default=None, description="Diagnoses before this day do not count.")
    last_day: Day | None = Field(default=None, description="Diagnoses after this day do not count.")
    min_age: float | None = Field(
        default=None, ge=0, le=150, description="Diagnoses at a younger age (years) do not count."
    )
    max_age: float | None = Field(
        default=None, ge=0, le=150, description="Diagnoses at this age (years) or older do not count."
    )
    min_dates: int = Field(
        default=2,
        ge=1,
        le=255,
        description="Days with a code that make a case; who has fewer is neither case nor control.",
    )
    exclusions: bool = Field(
        default=True, description="Who has a phecode that another one excludes is none of its controls."
    )
    sex_restriction: bool = Field(
        default=True, description="Phecodes of one sex are missing in the other, and where the sex is unknown."
    )
    roll_up: bool = Field(default=True, description="A code also counts for the phecodes above its own.")
    min_cases: int = Field(default=100, ge=1, description="Phecodes with fewer cases are left out.")
    min_controls: int | None = Field(
        default=None, ge=1, description="Phecodes with fewer controls are left out. Left out: as many as `min_cases`."
    )
    only: Texts = Field(
        default=[],
        description="Phecodes or categories to keep; `*` stands for any text. Left out: all.",
        examples=[["250*", "Cardiovascular"]],
    )
    without: Texts = Field(default=[], description="Phecodes or categories to leave out, written as for `only`.")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.map is None and not self.files:
            raise InputError("nothing says which phecodes", fix="write `map: X` or `map: '1.2'`, or name `files`")
        if self.first_day is not None and self.last_day is not None and self.first_day > self.last_day:
            raise InputError("the last day is before the first", fix="exchange `first_day` and `last_day`")
        if self.min_age is not None and self.max_age is not None and self.min_age >= self.max_age:
            raise InputError("no age is left", fix="write a `max_age` above `min_age`")
        return self

    @property
    def least_controls(self) -> int:
        """Controls that a phecode needs."""
        return self.min_cases if self.min_controls is None else self.min_controls
