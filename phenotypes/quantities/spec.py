"""What definitions of quantities have in common: of what age, when, near which event, and the one number of many."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from allscan.documents.sections import Day, FilePath, Section, Text
from allscan.errors import InputError
from allscan.phenotypes.definitions.spec import Header, days
from allscan.phenotypes.quantities.units import check_unit
from allscan.phenotypes.records.codes import CodeSet
from allscan.phenotypes.transforms import check_transform

TABLES = {
    "conditions": "condition_occurrence",
    "procedures": "procedure_occurrence",
    "drugs": "drug_exposure",
    "devices": "device_exposure",
    "measurements": "measurement",
    "observations": "observation",
}
"""What definitions call the tables of events."""


def _bounds(value: list[float]) -> list[float]:
    if value[0] >= value[1]:
        raise ValueError(f"the bounds {value[0]:g} and {value[1]:g} leave nothing between them")
    return value


def _in_days(value: Any) -> Any:
    return days(value) if isinstance(value, str) else value


def _transform(value: str) -> str:
    check_transform(value, "")
    return value


Unit = Annotated[Text, AfterValidator(check_unit)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Bounds = Annotated[list[Number], Field(min_length=2, max_length=2), AfterValidator(_bounds)]
EventTable = Literal["conditions", "procedures", "drugs", "devices", "measurements", "observations"]
Transform = Annotated[Text, AfterValidator(_transform)]
Days = Annotated[int, BeforeValidator(_in_days, json_schema_input_type=str | int), Field(ge=0, le=36_525)]
"""A length of time as ``30d``, ``2w``, ``1y``; a bare number is of days."""


class Ages(Section):
    """How old people are when they have the value; who has no date of birth has no age."""

    at_least: float | None = Field(default=None, ge=0, le=130, description="From this birthday on, in years.")
    below: float | None = Field(default=None, gt=0, le=130, description="Before this birthday.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise InputError(f"nobody is {self.at_least:g} and below {self.below:g}", fix="exchange the two ages")
        return self


class Dates(Section):
    """When the value is from."""

    since: Day | None = Field(default=None, description="First day.", examples=["2010-01-01"])
    until: Day | None = Field(default=None, description="Last day.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise InputError(f"no day is since {self.since} and until {self.until}", fix="exchange the two dates")
        return self


class Index(Section):
    """A day of each person from which days are counted; without one, a person has no value."""

    date: Day | None = Field(default=None, description="The same day for everybody.")
    age: float | None = Field(default=None, ge=0, le=130, description="A birthday.")
    codes: CodeSet | None = Field(default=None, description="The first event with one of these codes.")
    tables: list[EventTable] = Field(default=["conditions"], min_length=1, description="Where `codes` are looked for.")
    definition: FilePath | None = Field(
        default=None,
        description="The index date of the cases of another definition.",
        examples=["type_2_diabetes.yaml"],
    )
    before: Days | None = Field(
        default=None, description="Values up to so long before; without: any.", examples=["365d"]
    )
    after: Days | None = Field(default=None, description="Values up to so long after; without: any.")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if sum(one is not None for one in (self.date, self.age, self.codes, self.definition)) != 1:
            raise InputError(
                "an index date is said in one way", fix="write one of `date`, `age`, `codes`, `definition`"
            )
        return self


class Exclusion(Section):
    """Values around events are left out, such as weights in a pregnancy."""

    codes: CodeSet = Field(description="Of the events.")
    tables: list[EventTable] = Field(default=["conditions"], min_length=1, description="Where they are looked for.")
    before: Days | None = Field(default=None, description="How long before an event values are left out, too.")
    after: Days | None = Field(default=None, description="How long after an event values are left out, too.")
    ever: bool = Field(default=False, description="All values of people who have an event at any time.")

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.ever == (self.before is not None or self.after is not None):
            raise InputError(
                "an exclusion is either around events or of people", fix="write `before` and `after`, or `ever: true`"
            )
        return self


class Adjustment(Section):
    """Values of people under a drug are brought to what they would be without."""

    codes: CodeSet = Field(description="Of the drug.", examples=[[{"vocabulary": "ATC", "codes": "C10AA"}]])
    tables: list[EventTable] = Field(default=["drugs"], min_length=1, description="Where they are looked for.")
    when: Literal["exposed", "since_first", "ever"] = Field(
        default="exposed",
        description="`exposed`: on days from the start of an exposure to its end and `grace`; `since_first`: from the "
        "first one on; `ever`: all values of people who had one at any time.",
    )
    grace: Days = Field(default=30, description="How long an exposure reaches beyond its end.")
    divide: float | None = Field(default=None, gt=0, description="Divide the value by this.", examples=[0.7])
    multiply: float | None = Field(default=None, gt=0, description="Multiply the value by this.")
    add: Number | None = Field(default=None, description="Add this to the value.", examples=[15])

    @model_validator(mode="after")
    def _says_how(self) -> Self:
        if sum(one is not None for one in (self.divide, self.multiply, self.add)) != 1:
            raise InputError("an adjustment changes values in one way", fix="write one of `divide`, `multiply`, `add`")
        return self


SUMMARIES = {
    "first": "value of the first day",
    "last": "value of the last day",
    "median": "median of the days",
    "mean": "mean of the days",
    "min": "smallest value",
    "max": "largest value",
    "sd": "standard deviation of the days (n − 1); at least 2 days",
    "slope": "change per year: least squares on the date; at least 2 days",
    "nearest": "value nearest to the index date; of two as near, the one before",
}
"""From the values of a person's days to one."""

Summary = Literal["first", "last", "median", "mean", "min", "max", "sd", "slope", "nearest"]


class Summarised(Header):
    """A quantity with many values of a person, of which one is made."""

    category: Text = Field(default="", description="Group of traits that it belongs to.")
    summary: Summary = Field(description="; ".join(f"`{name}`: {what}" for name, what in SUMMARIES.items()) + ".")
    min_span: Days = Field(default=0, description="From the first to the last value, at least.", examples=["1y"])
    ages: Ages | None = Field(default=None, description="Only values of these ages.")
    dates: Dates | None = Field(default=None, description="Only values of these days.")
    index: Index | None = Field(default=None, description="Only values near a day of each person.")
    exclude: list[Exclusion] = Field(default=[], description="Values around events to leave out.")
    adjust: list[Adjustment] = Field(default=[], description="Drugs that change the value, in this order.")
    transform: Transform = Field(
        default="none",
        description="What a job does with the trait among the people it analyses, as in its key `traits.transform`.",
    )

    @model_validator(mode="after")
    def _nearest_to_what(self) -> Self:
        if self.summary == "nearest" and self.index is None:
            raise InputError("nearest to which day is not said", fix="add the key `index`")
        return self
