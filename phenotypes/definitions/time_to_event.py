"""Time to an event: when people come under observation, what happens to them, and when they leave it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from pydantic import Field

from allscan.documents.sections import Section
from allscan.phenotypes.definitions.attrition import Attrition
from allscan.phenotypes.definitions.compiling import Compiler, birthday_sql
from allscan.phenotypes.definitions.criteria import (
    Age,
    CodeSets,
    Criterion,
    Duration,
    People,
    atoms,
    unknown_codes,
    without_index,
)
from allscan.phenotypes.definitions.spec import Header, days
from allscan.phenotypes.definitions.telling import words
from allscan.phenotypes.phenotype import BINARY, CASE, CONTROL, MISSING, QUANTITATIVE, Phenotype, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.documents.yaml_source import KeyPath
    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.records.records import Records

DAYS_OF_A_YEAR = 365.25


class Entry(Section):
    """When people come under observation: on the last of these days."""

    at: Literal["record", "birth"] = Field(
        default="record",
        description="With the beginning of the record; or at birth, where records reach back to it: whoever died "
        "before the records began is not in them.",
    )
    delay: Duration | None = Field(
        default=None, description="So long after that: events in the meantime are old ones, told to a new doctor."
    )
    age: Age | None = Field(default=None, description="On the birthday with this age.")
    after: Criterion | None = Field(
        default=None, description="From the date of this on; people without it are missing. The index date."
    )


class Censoring(Section):
    """When people leave observation, unless the event comes first: on the first of these days, or the record's last."""

    death: bool = Field(default=True, description="With death, if the records have the table.")
    age: Age | None = Field(default=None, description="On the birthday with this age.")
    follow_up: Duration | None = Field(default=None, description="So long after they came.")
    events: list[Criterion] = Field(default=[], description="On the date of one of these.")


class TimeToEvent(Header):
    """An event, and when people were watched for it."""

    kind: Literal["time_to_event"] = Field(description="Time to an event.")
    codes: CodeSets = Field(default={})
    people: People = Field(default=People(), description="What is asked of everybody.")
    exclude: list[Criterion] = Field(default=[], description="Who fulfils one of these is missing.")
    entry: Entry = Field(default=Entry(), description="When people come under observation.")
    event: Criterion = Field(description="What happens. Who had it before coming under observation is missing.")
    censoring: Censoring = Field(default=Censoring(), description="When people leave observation.")
    scale: Literal["age", "follow_up"] = Field(
        default="age", description="What time is counted from, in years: birth, or the day of entry."
    )


SPEC = TimeToEvent


def problems(spec: TimeToEvent) -> Iterator[tuple[KeyPath, str, str]]:
    """What the keys say against each other: key, what, fix."""
    criteria: dict[KeyPath, Criterion] = {("event",): spec.event}
    criteria |= {("exclude", number): one for number, one in enumerate(spec.exclude)}
    criteria |= {("censoring", "events", number): one for number, one in enumerate(spec.censoring.events)}
    if spec.entry.after is not None:
        criteria["entry", "after"] = spec.entry.after
    yield from unknown_codes([atom for path, one in criteria.items() for atom in atoms(one, path)], spec.codes)
    unplaced = [
        atom
        for path, one in criteria.items()
        if path == ("entry", "after") or spec.entry.after is None
        for atom in atoms(one, path)
    ]
    yield from without_index(unplaced, "windows are around the date of entry.after: add it")
    for path, criterion in criteria.items():
        if path[0] != "exclude" and not criterion.has_date:
            yield path, "what happens by 'none' alone happens on no day", "add a criterion that has a date"
    low, high = spec.entry.age, spec.censoring.age
    if low is not None and high is not None and low >= high:
        yield ("censoring", "age"), f"people leave at {high}, and come at {low}", "correct the ages"


def derive(records: Records, definition: Definition) -> Iterator[Phenotype]:
    """Three traits: the event, and ``ID.entry`` and ``ID.exit``, the times between which it was looked for.

    Raises
    ------
    InputError
        If the records do not have what it needs.
    """
    spec = cast("TimeToEvent", definition.spec)
    compiler, attrition, rows = _follow(records, definition)
    birth, entry, stop, happened = (compiler.dates(rows, name) for name in ("birth", "entry", "stop", "date"))
    people = attrition.left
    event = people & ~np.isnat(happened)
    values = np.full(len(people), MISSING, dtype=np.int8)
    values[people] = CONTROL
    values[event] = CASE
    origin = birth if spec.scale == "age" else entry
    steps = (*attrition.steps, Step("with the event while under observation", int(event.sum()), "count"))
    notes = list(compiler.notes)
    if spec.scale == "age":
        notes.append(
            f"people come under observation at {spec.id}.entry: a survival model has to know (left truncation)"
        )
    since = "birth" if spec.scale == "age" else "entry"
    warnings = (*compiler.warnings, *([] if event.any() else ["the event happens to nobody"]))
    common = Phenotype(
        spec.id, BINARY, values, recipe=compiler.recipe, steps=steps, notes=tuple(notes), warnings=warnings
    )
    yield common
    for name, day in (("entry", entry), ("exit", stop)):
        yield replace(
            common,
            name=f"{spec.id}.{name}",
            kind=QUANTITATIVE,
            values=np.where(people, _years(day, origin), np.nan),
            label=f"{spec.label}: {name}, years since {since}",
            units="a",
            steps=(),
            notes=(),
            warnings=(),
        )


def cohort(records: Records, definition: Definition) -> str:
    """Who had the event, and when (see :class:`~allscan.phenotypes.definitions.loading.KindModule`)."""
    compiler, attrition, rows = _follow(records, definition)
    people = compiler.listed(attrition.left)
    return compiler.keep(f"SELECT person, date FROM {rows} SEMI JOIN {people} USING (person) WHERE date IS NOT NULL")


def _follow(records: Records, definition: Definition) -> tuple[Compiler, Attrition, str]:
    """Who is under observation, and a relation of their ``birth``, ``entry``, ``stop``, and ``date`` of the event."""
    spec = cast("TimeToEvent", definition.spec)
    compiler = Compiler(records, definition, spec.codes)
    needs_birth = "age" in (spec.scale, *spec.entry.model_fields_set, *spec.censoring.model_fields_set)
    attrition = Attrition.of_everybody(compiler, needs_birth=needs_birth or spec.entry.at == "birth")
    after = spec.entry.after
    if after is not None:
        compiler.index = compiler.relation(after, ("entry", "after"))
        attrition.keep(words(after), compiler.mask(compiler.index))
    attrition.exclude(spec.exclude, ("exclude",))
    attrition.keep("with a record", compiler.mask(compiler.record_span()))
    rows = compiler.keep(_rows_sql(compiler, spec))
    had = f"(SELECT person FROM {rows} WHERE first_event <= entry)"
    attrition.drop("the event before coming under observation, or on that day", compiler.mask(had))
    attrition.keep(
        "under observation for a day or more", compiler.mask(f"(SELECT person FROM {rows} WHERE stop > entry)")
    )
    return compiler, attrition, rows


def _rows_sql(compiler: Compiler, spec: TimeToEvent) -> str:
    entry = ["r.start" if spec.entry.at == "record" else "p.birth"]
    if spec.entry.delay is not None:
        entry[0] += f" + {days(spec.entry.delay)}"
    if spec.entry.age is not None:
        entry.append(birthday_sql("p.birth", spec.entry.age))
    leaving = ["r.stop"]
    joins = f"FROM {compiler.record_span()} AS r JOIN people AS p USING (person)"
    if spec.entry.after is not None:
        entry.append("i.date")
        joins += f" JOIN {compiler.index} AS i USING (person)"
    if spec.censoring.death and compiler.records.has("death"):
        deaths = compiler.records.events("death")
        joins += f" LEFT JOIN (SELECT person, min(date) AS date FROM {deaths} GROUP BY person) AS d USING (person)"
        leaving.append("d.date")
    if spec.censoring.age is not None:
        leaving.append(birthday_sql("p.birth", spec.censoring.age))
    for number, criterion in enumerate(spec.censoring.events):
        relation = compiler.relation(criterion, ("censoring", "events", number))
        joins += f" LEFT JOIN {relation} AS c{number} USING (person)"
        leaving.append(f"c{number}.date")
    event = compiler.relation(spec.event, ("event",))
    # greatest and least pass over what is missing.
    came = (
        f"SELECT person, p.birth, greatest({', '.join(entry)}) AS entry, least({', '.join(leaving)}) AS last, "
        f"e.date AS first_event {joins} LEFT JOIN {event} AS e USING (person)"
    )
    follow_up = f"entry + {days(spec.censoring.follow_up)}" if spec.censoring.follow_up is not None else "NULL::DATE"
    seen = f"SELECT person, birth, entry, least(last, {follow_up}) AS last, first_event FROM ({came})"
    # An event on the last day happens under observation.
    return (
        "SELECT person, birth, entry, first_event, least(last, first_event) AS stop, "
        f"CASE WHEN first_event <= last THEN first_event END AS date FROM ({seen})"
    )


def _years(day: NDArray[np.datetime64], origin: NDArray[np.datetime64]) -> NDArray[np.float64]:
    length = day - origin
    years: NDArray[np.float64] = length.astype(np.float64) / DAYS_OF_A_YEAR
    years[np.isnat(length)] = np.nan
    return years
