"""Surveys: answers as cases and controls, or as numbers; questions that were skipped are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from allscan.documents.sections import Text
from allscan.errors import InputError
from allscan.phenotypes.definitions.spec import Header
from allscan.phenotypes.names import listed
from allscan.phenotypes.phenotype import BINARY, CASE, CONTROL, MISSING, QUANTITATIVE, Phenotype, Step
from allscan.phenotypes.quantities.measurement import codes_recipe
from allscan.phenotypes.quantities.near import codes_of, window_gates
from allscan.phenotypes.quantities.spec import Ages, Dates, Number, Transform
from allscan.phenotypes.quantities.values import FEW, Gate, Values, told
from allscan.phenotypes.records.codes import CodeSet, matching_events

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.records.codes import ResolvedCodes
    from allscan.phenotypes.records.records import Records

SKIPPED = (
    *("903096", "PMI_Skip", "PMI: Skip"),
    *("903087", "PMI_DontKnow", "PMI: Dont Know"),
    *("903079", "PMI_PreferNotToAnswer", "PMI: Prefer Not To Answer"),
)
"""What stands in the place of an answer in All of Us."""

MOST_ANSWERS = 10_000
MOST_SHOWN = 12

_VALUES = ("value_source_concept_id", "value_as_concept_id", "value_source_value", "value_as_string", "value_as_number")


class Survey(Header):
    """The answer to a question, as cases and controls or as a number."""

    kind: Literal["survey"] = Field(description="Kind of the definition.")
    question: CodeSet = Field(description="Codes or concepts of the question.")
    answers: dict[Text, Number | Literal["case", "control"]] = Field(
        min_length=1,
        description="Each answer, by concept id, code or words, and what it is: `case` or `control`, or a number.",
        examples=[{"100CigsLifetime_Yes": "case", "100CigsLifetime_No": "control"}],
    )
    missing: list[Text] = Field(
        default=[], description="Answers that are none, besides those of All of Us (skip, don't know, prefer not to)."
    )
    unknown_answers: Literal["refuse", "missing"] = Field(
        default="refuse", description="What to do about answers that are in neither list."
    )
    several: Literal["first", "last", "min", "max"] = Field(
        default="last",
        description="Of a person's answers at several times. Of one day's, the largest; a case before a control.",
    )
    ages: Ages | None = Field(default=None, description="Only answers given at these ages.")
    dates: Dates | None = Field(default=None, description="Only answers given on these days.")
    transform: Transform = Field(default="none", description="What a job does with the trait, if it is a number.")

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        groups = [one for one in self.answers.values() if isinstance(one, str)]
        if groups and len(groups) < len(self.answers):
            raise InputError(
                "some answers are numbers, and some are cases or controls", fix="write numbers for all, or for none"
            )
        if groups and set(groups) != {"case", "control"}:
            raise InputError(f"every answer is a {groups[0]}", fix="say which answers make a case and which a control")
        if groups and self.transform != "none":
            raise InputError("cases and controls have no transform", fix="remove the key `transform`")
        plain = [_plain(one) for one in (*self.answers, *self.missing)]
        twice = next((one for one in plain if plain.count(one) > 1), None)
        if twice is not None:
            raise InputError(f"the answer {twice!r} stands twice", fix="keep one of the two")
        return self

    @property
    def is_binary(self) -> bool:
        """Whether it makes cases and controls."""
        return any(isinstance(one, str) for one in self.answers.values())


SPEC = Survey


def derive(records: Records, definition: Definition) -> Iterator[Phenotype]:
    """The trait of a definition.

    Raises
    ------
    InputError
        If the records lack the table of answers, or an answer is not known.
    """
    spec = definition.spec
    assert isinstance(spec, Survey)
    values = Values(records, "observation", spec.id)
    question = _read(values, definition, spec)
    result = values.summarised(spec.several, min_values=1, min_span=0, what=f"{spec.several} answer")
    values.drop()
    if spec.only_sex:
        result = np.where(records.people.sex == spec.only_sex, result, np.nan)
        values.steps.append(Step(f"{spec.sex} only", int(np.count_nonzero(~np.isnan(result)))))
    yield Phenotype(
        spec.id,
        BINARY if spec.is_binary else QUANTITATIVE,
        _groups(result) if spec.is_binary else result,
        transform=spec.transform,
        recipe=codes_recipe({"question": question}),
        steps=(Step("in the records", len(records.people)), *values.steps),
        notes=(*values.notes, *question.notes),
    )


def cohort(records: Records, definition: Definition) -> str:
    """Relation of the cases and the day of their first answer that makes them one: ``person``, ``date``.

    Raises
    ------
    InputError
        If the answers are numbers, besides what :func:`derive` refuses.
    """
    spec = definition.spec
    assert isinstance(spec, Survey)
    if not spec.is_binary:
        raise InputError(
            "a survey whose answers are numbers has no cases",
            where=definition.source,
            fix="name a definition with cases and controls",
        )
    values = Values(records, "observation", spec.id)
    _read(values, definition, spec)
    days = values.side_table(
        f"SELECT person, min(date) AS date FROM {values.relation} WHERE value = {CASE} GROUP BY person"
    )
    last = values.summarised(spec.several, min_values=1, min_span=0, what="")
    if spec.only_sex:
        last = np.where(records.people.sex == spec.only_sex, last, np.nan)
    records.connection.register("arriving", pa.table({"person": pa.array(np.flatnonzero(last == CASE), pa.int32())}))
    name = records.fresh_name("cases")
    records.connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {days} SEMI JOIN arriving USING (person)")
    records.connection.unregister("arriving")
    values.drop()
    return name


def _groups(values: NDArray[np.float64]) -> NDArray[np.int8]:
    groups = np.full(len(values), MISSING, dtype=np.int8)
    groups[values == CASE] = CASE
    groups[values == CONTROL] = CONTROL
    return groups


def _read(values: Values, definition: Definition, spec: Survey) -> ResolvedCodes:
    """Fill values with the answers of each day."""
    records = values.records
    question = codes_of(definition, spec.question, records, ("question",))
    have = [column for column in _VALUES if records.has("observation", column)]
    events = matching_events(records, "observation", question, have)
    shown = ", ".join(c if c in have else f"CAST(NULL AS {_TYPES[c]}) AS {c}" for c in _VALUES)
    rows = f"(SELECT person, date, {shown} FROM {events})"
    mapped = _meanings(values, definition, spec, rows)
    same = " AND ".join(f"m.{column} IS NOT DISTINCT FROM r.{column}" for column in _VALUES)
    values.read(
        f"SELECT r.person, r.date, m.value, m.state, p.birth FROM {rows} AS r JOIN {mapped} AS m ON {same} "
        "JOIN people AS p USING (person)",
        [
            Gate(f"state <> {_SKIPPED}", "who answered", "questions without an answer"),
            Gate(f"state = {_KNOWN}", "with an answer that is known", "other answers"),
            *window_gates(spec.ages, spec.dates),
        ],
        "max",
        first="asked",
    )
    return question


_TYPES = dict(zip(_VALUES, ("BIGINT", "BIGINT", "VARCHAR", "VARCHAR", "DOUBLE"), strict=True))
_KNOWN, _SKIPPED, _UNKNOWN = 0, 1, 2


@dataclass
class _Answer:
    """One way in which rows say an answer."""

    values: tuple[Any, ...]  # of _VALUES
    rows: int
    people: int
    names: list[str]  # what it may be called, the surest first
    sure: int  # how many of the names are of the vocabulary, and not words of the records

    @property
    def shown(self) -> str:
        """What may be said of it: no words that only few people's rows have."""
        if self.sure:
            return repr(self.names[1]) if self.sure > 1 else f"concept {self.names[0]}"
        return repr(self.names[0]) if self.people > FEW else "an answer of few people's"


def _meanings(values: Values, definition: Definition, spec: Survey, rows: str) -> str:
    """A relation from the values of rows to their meaning: ``value``, ``state``."""
    records = values.records
    found = records.connection.execute(
        f"SELECT {', '.join(_VALUES)}, count(*), count(DISTINCT person) FROM {rows} GROUP BY ALL ORDER BY ALL "
        f"LIMIT {MOST_ANSWERS + 1}"
    ).fetchall()
    if len(found) > MOST_ANSWERS:
        raise InputError(
            f"the question has more than {MOST_ANSWERS:,} answers",
            where=definition.where("question"),
            fix="name a question with answers to choose from; numbers are of kind measurement (tables: [observations])",
        )
    answers = _named(records, found)
    meaning: dict[str, tuple[int, float | None]] = {
        _plain(name): (_SKIPPED, None) for name in (*SKIPPED, *spec.missing)
    }
    meaning.update({_plain(name): (_KNOWN, _as_number(one)) for name, one in spec.answers.items()})
    states = []
    unknown = []
    for answer in answers:
        known = [meaning[name] for name in map(_plain, answer.names) if name in meaning]
        if not known and answer.names:
            unknown.append(answer)
        states.append(known[0] if known else (_UNKNOWN if answer.names else _SKIPPED, None))
    if unknown:
        _refuse(definition, spec, unknown)
        shown = listed([f"{one.shown} ({told(one.rows)})" for one in unknown], limit=MOST_SHOWN)
        values.notes.append(f"answers taken as missing: {shown}")
    columns = {
        column: pa.array([answer.values[i] for answer in answers], _ARROW[_TYPES[column]])
        for i, column in enumerate(_VALUES)
    }
    columns["value"] = pa.array([value for _, value in states], pa.float64())
    columns["state"] = pa.array([state for state, _ in states], pa.int32())
    records.connection.register("arriving", pa.table(columns))
    mapped = values.side_table("SELECT * FROM arriving")
    records.connection.unregister("arriving")
    return mapped


_ARROW = {"BIGINT": pa.int64(), "VARCHAR": pa.string(), "DOUBLE": pa.float64()}


def _as_number(meaning: float | str) -> float:
    return {"case": float(CASE), "control": float(CONTROL)}[meaning] if isinstance(meaning, str) else float(meaning)


def _named(records: Records, found: Sequence[tuple[Any, ...]]) -> list[_Answer]:
    concepts = _concepts(records, sorted({one for row in found for one in row[:2] if one}))
    answers = []
    for *values, n_rows, n_people in found:
        names = []
        for concept in dict.fromkeys(values[:2]):
            if concept:
                names += [str(concept), *concepts.get(concept, ())]
        sure = len(names)
        names += [text for text in values[2:4] if text is not None and text.strip()]
        if values[4] is not None and np.isfinite(values[4]):
            names.append(f"{values[4]:g}")
        answers.append(_Answer(tuple(values), n_rows, n_people, names, sure))
    return answers


def _concepts(records: Records, ids: Sequence[int]) -> Mapping[int, tuple[str, ...]]:
    """Codes and names of concepts, where the records have them."""
    if not ids or not records.has("concept", "concept_id", "concept_code", "concept_name"):
        return {}
    relation = records.vocabulary(
        "concept", ["concept_id", "concept_code", "concept_name"], f"concept_id IN ({', '.join(map(str, ids))})"
    )
    rows = records.connection.execute(f"SELECT * FROM {relation}").fetchall()
    return {concept: tuple(name for name in names if name) for concept, *names in rows}


def _refuse(definition: Definition, spec: Survey, unknown: Sequence[_Answer]) -> None:
    if spec.unknown_answers == "missing":
        return
    ranked = sorted(unknown, key=lambda one: (-one.rows, one.shown))
    shown = listed([f"{one.shown} (given {told(one.rows)} times)" for one in ranked], limit=MOST_SHOWN)
    raise InputError(
        f"answers are not in the definition: {shown}",
        where=definition.where("answers"),
        fix="add them to `answers` or to `missing`, or write `unknown_answers: missing`",
    )


def _plain(name: str) -> str:
    return " ".join(name.lower().split())
