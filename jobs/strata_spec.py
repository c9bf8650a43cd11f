"""The sections `structure`, `ancestry` and `strata` of the job file: who is scanned together, and who apart."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from allscan.documents.sections import FilePath, Section, Text, TextsOrNumbers, one_or_several
from allscan.errors import InputError

POOLED: Final = "pooled"
PER_GROUP: Final = "per_group"
META: Final = "meta"
Analysis = Literal["pooled", "per_group", "meta"]

ANCESTRY = "ancestry"
"""Name of the stratification that the section of this name makes."""


class StratificationSection(Section):
    """Groups of people that are scanned apart, beside everybody together."""

    analyses: Annotated[
        list[Analysis], BeforeValidator(one_or_several, json_schema_input_type=Analysis | list[Analysis])
    ] = Field(
        default=[POOLED, PER_GROUP, META],
        min_length=1,
        description=(
            "`pooled`: everybody together, people of no group among them; `per_group`: each group by itself, with "
            "traits transformed in it; `meta`: what the groups say together, by meta-analysis (for which each group is "
            "scanned, too). All come from one reading of the genotypes."
        ),
    )
    only: TextsOrNumbers = Field(
        default=[], description="Groups that are scanned apart. Left out: all that have enough people."
    )
    min_people: int = Field(
        default=100, ge=1, description="A trait is not scanned in a group in which fewer people have it."
    )
    min_cases: int = Field(
        default=50, ge=1, description="A binary trait is not scanned in a group with fewer cases, or fewer controls."
    )

    @property
    def scans_groups(self) -> bool:
        """Whether groups are scanned apart."""
        return PER_GROUP in self.analyses or META in self.analyses

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for what, items in (("analyses", self.analyses), ("only", self.only)):
            listed: list[str] = list(items)
            twice = next((item for item in listed if listed.count(item) > 1), None)
            if twice is not None:
                raise ValueError(f"{twice!r} stands twice in `{what}`")
        return self


class AncestrySection(StratificationSection):
    """Groups of genetic ancestry."""

    groups: FilePath | None = Field(
        default=None,
        description=(
            "Table that says who is in which group: `ancestry_preds.tsv` of All of Us, the folder in which it lies, or "
            "any table of people with a column of labels. Left out: the groups of `structure`. People of no group "
            "(`other`, no label, a probability below `min_probability`) are in the pooled scan, and counted."
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
    min_probability: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Whose most likely group is less likely than this is in none; for tables with `probabilities`.",
    )
    id_column: Text | None = Field(default=None, description="Column of person ids, as in `traits.id_column`.")

    @model_validator(mode="after")
    def _of_a_table(self) -> Self:
        of_table = self.model_fields_set & {"column", "min_probability", "id_column"}
        if self.groups is None and of_table:
            raise ValueError(f"`{sorted(of_table)[0]}` is of a table of groups: name it in `groups`")
        return self


class StrataSection(StratificationSection):
    """Groups by a column: sex, a cohort, an exposure."""

    column: Text = Field(
        description=(
            "Column of the covariate table, or of `file`, whose values are the groups; that of sex gives `female` and "
            "`male`, whatever its codes."
        ),
        examples=["sex"],
    )
    file: FilePath | None = Field(default=None, description="Table with the column, where it is no covariate table.")
    id_column: Text | None = Field(default=None, description="Column of person ids of `file`.")

    @model_validator(mode="after")
    def _of_a_file(self) -> Self:
        if self.file is None and self.id_column is not None:
            raise ValueError("`id_column` is of a `file`")
        return self


def ancestry_of(value: Any) -> Any:
    """One form for both ways of writing the section: a table's name stands for the groups in it."""
    return {"groups": value} if isinstance(value, str) else value


def strata_of(value: Any) -> Any:
    """A list of stratifications; a column's name stands for a whole one."""
    listed = value if isinstance(value, list) else [value]
    return [{"column": item} if isinstance(item, str) else item for item in listed]


Ancestry = Annotated[
    AncestrySection | None, BeforeValidator(ancestry_of, json_schema_input_type=str | AncestrySection | None)
]
Strata = Annotated[
    list[StrataSection],
    BeforeValidator(strata_of, json_schema_input_type=str | StrataSection | list[str | StrataSection]),
]


def refuse_strata(
    structure: str | None, ancestry: AncestrySection | None, strata: list[StrataSection], *, predictors: bool
) -> None:
    """Refuse sections that do not go together.

    Raises
    ------
    InputError
        Groups are to come from a structure that the job does not name, a stratification has the name of another, or
        the job scans no genotypes.
    """
    if predictors and (structure or ancestry or strata):
        key = "structure" if structure else ANCESTRY if ancestry else "strata"
        raise InputError(f"`{key}` is of scans of genotypes, and the job has `predictors`", fix="remove one of the two")
    if ancestry is not None and ancestry.groups is None and structure is None:
        raise InputError(
            "it is not said who is in which group", fix="write ancestry: {groups: FILE}, or structure: FILE"
        )
    names = [*([ANCESTRY] if ancestry else []), *(section.column for section in strata)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"people are grouped by {twice!r} twice", fix="remove one of them, or rename a column")
