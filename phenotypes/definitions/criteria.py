"""The words of definitions: criteria, their windows, ages, dates and values, and how they are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from allscan.documents.sections import FilePath, Section, Text, one_or_several
from allscan.errors import InputError
from allscan.phenotypes.definitions.spec import days
from allscan.phenotypes.names import did_you_mean, listed
from allscan.phenotypes.quantities.spec import Ages, Dates, EventTable
from allscan.phenotypes.quantities.units import check_unit
from allscan.phenotypes.records.codes import CodeSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from allscan.documents.yaml_source import KeyPath

USUAL_TABLES: tuple[EventTable, ...] = ("conditions", "observations")
"""Where diagnoses stand: All of Us has those that are no diseases among the observations."""

ANY = "any"
"""No bound of a window; no particular unit."""


def _check_duration(value: str) -> str:
    if days(value) < 0:
        raise ValueError(f"{value!r} is less than nothing: write 30d, 2w or 1y")
    return value


def _check_offset(value: str) -> str:
    if value != ANY:
        days(value)
    return value


def _check_unit(value: str) -> str:
    return value if value == ANY else check_unit(value)


Duration = Annotated[str, AfterValidator(_check_duration)]
Offset = Annotated[str, AfterValidator(_check_offset)]
Unit = Annotated[Text, AfterValidator(_check_unit)]
Age = Annotated[int, Field(ge=0, le=130)]
Tables = Annotated[
    list[EventTable],
    BeforeValidator(one_or_several, json_schema_input_type=EventTable | list[EventTable]),
    Field(min_length=1),
]


class Window(Section):
    """Days around the index date; both ends are within. `{before: 365d}` ends on the index date itself."""

    before: Offset = Field(default="0d", description="How long before the index date it begins; or `any`.")
    after: Offset = Field(default="0d", description="How long after it it ends, `-1d` for the day before; or `any`.")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not {"before", "after"} & self.model_fields_set:
            raise InputError("the window has no ends", fix="write {before: 365d}, {after: 30d}, or both")
        if ANY not in (self.before, self.after) and -days(self.before) > days(self.after):
            raise InputError(
                "the window ends before it begins", fix="write {before: 365d, after: -1d} for the year before"
            )
        return self


class Value(Section):
    """What a measured value is."""

    unit: Unit = Field(
        description="Unit of the bounds, as in UCUM. Values in other units of the same thing are converted; those of "
        "unknown units are left out, and counted. `any`: values are taken as they are, whatever their unit.",
        examples=["mg/dL", "%"],
    )
    above: float | None = Field(default=None, allow_inf_nan=False, description="More than this.")
    at_least: float | None = Field(default=None, allow_inf_nan=False, description="This or more.")
    below: float | None = Field(default=None, allow_inf_nan=False, description="Less than this.")
    at_most: float | None = Field(default=None, allow_inf_nan=False, description="This or less.")
    molar_mass: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="In g/mol: between mg/dL and mmol/L.", examples=[180.16]
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        low = max((one for one in (self.above, self.at_least) if one is not None), default=None)
        high = min((one for one in (self.below, self.at_most) if one is not None), default=None)
        if low is None and high is None:
            raise InputError("the value has no bound", fix="write above, at_least, below or at_most")
        if low is not None and high is not None and (low > high or (low == high and self.above == low)):
            raise InputError(f"no value is above {low:g} and below {high:g}", fix="correct the bounds")
        return self


class Criterion(Section):
    """What is true of a person: one of `codes`, `definition`, `death`, `all`, `any`, `none`, and what narrows it."""

    codes: Text | None = Field(default=None, description="Name of a set of codes: events that have one of them.")
    definition: FilePath | None = Field(default=None, description="Another definition's file: its cases.")
    death: Literal[True] | None = Field(default=None, description="`true`: death, by the table of deaths.")
    all: list[Criterion] | None = Field(default=None, min_length=1, description="All of these; from the last on.")
    any: list[Criterion] | None = Field(default=None, min_length=1, description="Any of these; from the first on.")
    none: list[Criterion] | None = Field(default=None, min_length=1, description="None of these; has no date.")
    tables: Tables | None = Field(
        default=None,
        description="Where the codes are looked for. Without: `conditions` and `observations`, as far as the records "
        "have them.",
    )
    min_dates: int = Field(default=1, ge=1, description="On how many different days there are events, at least.")
    min_events: int = Field(default=1, ge=1, description="How many events there are, at least.")
    span: Duration | None = Field(default=None, description="How far apart the first and the last are, at least.")
    min_supply: Duration | None = Field(
        default=None,
        description="For `tables: drugs`: days of supply in all, at least. Of `days_supply`, or from the first to the "
        "last day of the exposure.",
    )
    value: Value | None = Field(default=None, description="For measurements and observations: which values count.")
    ages: Ages | None = Field(default=None, description="At which ages events count.")
    dates: Dates | None = Field(default=None, description="On which days events count.")
    within: Window | None = Field(default=None, description="When events count, around the index date.")
    dated: Literal["first", "confirmed", "last"] = Field(
        default="first",
        description="Which day the criterion's date is: that of the first event, that on which `min_dates`, "
        "`min_events` and `span` are reached, or that of the last event.",
    )

    @model_validator(mode="after")
    def _one_head(self) -> Self:
        heads = [name for name in HEADS if getattr(self, name) is not None]
        if len(heads) != 1:
            told = f"a criterion says {' and '.join(map(repr, heads))}" if heads else "the criterion is empty"
            raise InputError(told, fix=f"write exactly one of {listed(HEADS)}; put several into 'all' or 'any'")
        allowed = _NARROWS[heads[0]]
        strange = sorted(self.model_fields_set - {heads[0]} - set(allowed))
        if strange:
            fix = f"with {heads[0]!r} go {listed(allowed, limit=20)}" if allowed else "put it into the criteria inside"
            raise InputError(f"{strange[0]!r} does not go with {heads[0]!r}", fix=fix)
        found = set(self.tables or USUAL_TABLES)
        if self.min_supply is not None and found != {"drugs"}:
            raise InputError("only drugs have days of supply", fix="write tables: drugs")
        if self.value is not None and not found <= {"measurements", "observations"}:
            raise InputError("only measurements and observations have values", fix="write tables: measurements")
        if self.dated == "confirmed" and self.min_dates == self.min_events == 1 and self.span is None:
            raise InputError("one event is not confirmed", fix="write min_dates, min_events or span; or dated: first")
        return self

    @property
    def head(self) -> str:
        """Which of ``HEADS`` it is."""
        return next(name for name in HEADS if getattr(self, name) is not None)

    @property
    def parts(self) -> list[Criterion]:
        """Criteria that it is put together of."""
        return self.all or self.any or self.none or []

    @property
    def has_date(self) -> bool:
        """Whether everybody of whom it is true has a date since when."""
        if self.any is not None:
            return all(part.has_date for part in self.any)
        return self.none is None if self.all is None else any(part.has_date for part in self.all)


HEADS = ("codes", "definition", "death", "all", "any", "none")
_NARROWS: dict[str, tuple[str, ...]] = {
    "codes": (
        "tables", "min_dates", "min_events", "span", "min_supply", "value", "ages", "dates", "within", "dated",
    ),
    "definition": ("ages", "dates", "within"),
    "death": ("ages", "dates", "within"),
    "all": (),
    "any": (),
    "none": (),
}  # fmt: skip


class People(Section):
    """What is asked of people, whatever they have."""

    min_record: Duration | None = Field(
        default=None, description="Length of the record, from the first to the last observation period, at least."
    )
    min_visits: int | None = Field(default=None, ge=1, description="On how many days there were visits, at least.")
    ages: Ages | None = Field(default=None, description="Age on the last day of the record.")


CodeSets = Annotated[
    dict[str, CodeSet],
    Field(description="Sets of codes by the names that criteria call them; each is one entry or a list of entries."),
]


def evidence(criterion: Criterion) -> list[Criterion]:
    """Whoever has one of these is no control, for want of a better rule: any event of what makes a case.

    Events count once, whenever they were; a value keeps its bounds, since everybody is measured.
    """
    if criterion.none is not None:
        return []
    if criterion.parts:
        found = [one for part in criterion.parts for one in evidence(part)]
        return list({one.model_dump_json(): one for one in found}.values())
    return [criterion.model_copy(update=_BARE)]


_BARE: dict[str, Any] = {
    "min_dates": 1, "min_events": 1, "span": None, "min_supply": None, "ages": None, "dates": None, "within": None,
    "dated": "first",
}  # fmt: skip


def atoms(criterion: Criterion, key_path: KeyPath) -> Iterator[tuple[KeyPath, Criterion]]:
    """The criteria inside one that are not put together of others, with the keys that lead there."""
    if not criterion.parts:
        yield key_path, criterion
    for number, part in enumerate(criterion.parts):
        yield from atoms(part, (*key_path, criterion.head, number))


def unknown_codes(
    found: Sequence[tuple[KeyPath, Criterion]], codes: Mapping[str, Any]
) -> Iterator[tuple[KeyPath, str, str]]:
    """Refusals of criteria whose set of codes is not there: key, what, fix."""
    for key_path, criterion in found:
        if criterion.codes is not None and criterion.codes not in codes:
            known = f"its sets: {listed(codes)}" if codes else "add it under 'codes'"
            fix = did_you_mean(criterion.codes, codes, otherwise=known)
            yield (*key_path, "codes"), f"the definition has no set of codes {criterion.codes!r}", fix


def without_index(found: Sequence[tuple[KeyPath, Criterion]], fix: str) -> Iterator[tuple[KeyPath, str, str]]:
    """Refusals of windows where there is no index date."""
    for key_path, criterion in found:
        if criterion.within is not None:
            yield (*key_path, "within"), "there is no index date for the window here", fix
