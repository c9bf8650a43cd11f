"""What every definition of a phenotype says of itself, whatever its kind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from allscan.documents.sections import Section, Text
from allscan.phenotypes.phenotype import NAME, ONLY_SEX

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFERENCE = re.compile(r"10\.\d{4,9}/\S+|https?://\S+")
_DOI_PREFIX = re.compile(r"(doi:\s*|https?://(dx\.)?doi\.org/)", re.IGNORECASE)
_DURATION = re.compile(r"(-?)(\d{1,5})([dwy])")
_DAYS = {"d": 1, "w": 7, "y": 365}


def days(duration: str) -> int:
    """Days of ``30d``, ``2w`` or ``1y`` (365 days)."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise ValueError(f"{duration!r} is no duration: write days, weeks or years (of 365 days) as 30d, 2w, 1y")
    return int(found[1] + found[2]) * _DAYS[found[3]]


def _plain_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name of a trait: a letter, then letters, digits, _ . -")
    return value


def _one_paragraph(value: Any) -> Any:
    # A text over several lines ends in a line break, and means none.
    return " ".join(value.split()) if isinstance(value, str) else value


def _reference(value: str) -> str:
    bare = _DOI_PREFIX.sub("", value)
    if not _REFERENCE.fullmatch(bare):
        raise ValueError(f"{value!r} is neither a DOI (10.…/…) nor a web address (https://…)")
    return bare


TraitName = Annotated[str, AfterValidator(_plain_name)]
Prose = Annotated[Text, BeforeValidator(_one_paragraph)]
"""A text that may go over several lines; line breaks are blanks."""
Reference = Annotated[Text, AfterValidator(_reference)]
Share = Annotated[float, Field(ge=0, le=1)]

Sex = Literal["both", "male", "female"]


class Validation(Section):
    """How well the definition found the people who have it, somewhere."""

    where: Prose = Field(description="Which records, which people, who looked them through.")
    ppv: Share | None = Field(default=None, description="Positive predictive value of a case.")
    npv: Share | None = Field(default=None, description="Negative predictive value of a control.")
    sensitivity: Share | None = Field(default=None, description="Share of those who have it that are cases.")
    people: int | None = Field(default=None, ge=1, description="How many were looked at.")
    reference: Reference | None = Field(default=None, description="DOI or web address.")


class Header(Section):
    """What every definition says of itself. Kinds of definitions add keys of their own."""

    kind: str = Field(description="Kind of the definition, which says what other keys there are.")
    id: TraitName = Field(description="Name of the trait's column.", examples=["type_2_diabetes"])
    version: Text = Field(default="1", description="Version of the definition, in quotes.", examples=["1.2"])
    title: Prose = Field(default="", description="Name of the trait for people.")
    description: Prose = Field(default="", description="What it is meant to find, how, and what it misses.")
    category: Text = Field(default="", description="Group of traits that it belongs to.")
    authors: list[Text] = Field(default=[], description="Who wrote it.")
    references: list[Reference] = Field(default=[], description="DOIs or web addresses of what it follows.")
    license: Text | None = Field(default=None, description="Terms, best as an SPDX name.", examples=["CC-BY-4.0"])
    validation: list[Validation] = Field(default=[], description="Where it was looked at, and what was found.")
    sex: Sex = Field(default="both", description="People of another sex, or of an unknown one, are missing.")

    @property
    def label(self) -> str:
        """Name of the trait for people."""
        return self.title or self.id

    @property
    def only_sex(self) -> int:
        """1 men, 2 women, 0 everybody, as in the records."""
        return ONLY_SEX[self.sex]


def sections(value: Any, key_path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Section]]:
    """Every section of a model, itself first, with the keys that lead to it."""
    if isinstance(value, Section):
        yield key_path, value
    if isinstance(value, BaseModel):
        inner: Any = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, (list, tuple)):
        inner = enumerate(value)
    else:
        return
    for key, child in inner:
        yield from sections(child, (*key_path, key))
