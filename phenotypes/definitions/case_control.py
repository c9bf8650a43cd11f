"""Cases and controls by what stands in people's records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from pydantic import Field

from allscan.phenotypes.definitions.attrition import Attrition
from allscan.phenotypes.definitions.compiling import Compiler, ages_sql
from allscan.phenotypes.definitions.criteria import (
    CodeSets,
    Criterion,
    Duration,
    People,
    atoms,
    evidence,
    unknown_codes,
    without_index,
)
from allscan.phenotypes.definitions.spec import Header, days
from allscan.phenotypes.definitions.telling import told_ages, words
from allscan.phenotypes.phenotype import BINARY, CASE, CONTROL, MISSING, Phenotype, Step
from allscan.phenotypes.quantities.spec import Ages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.documents.yaml_source import KeyPath
    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.records.records import Records


class Controls(People):
    """Who is a control."""

    without: list[Criterion] | None = Field(
        default=None,
        description="Who fulfils one of these is no control. Without: who has a single event of what makes a case, "
        "whenever it was; `[]`: everybody who is no case is one.",
    )
    require: Criterion | None = Field(default=None, description="What a control has, such as another diagnosis.")


class CaseControl(Header):
    """Cases, controls, and everybody else missing."""

    kind: Literal["case_control"] = Field(description="Cases and controls.")
    codes: CodeSets = Field(default={})
    people: People = Field(default=People(), description="What is asked of cases and controls alike.")
    index: Criterion | None = Field(
        default=None,
        description="Whose date is the index date, and what cases and controls alike have, such as a delivery. "
        "Without: the date of the cases' criterion.",
    )
    exclude: list[Criterion] = Field(default=[], description="Who fulfils one of these is missing.")
    cases: Criterion = Field(description="Who is a case.")
    case_ages: Ages | None = Field(default=None, description="Age of cases on the index date; others are missing.")
    exclude_cases: list[Criterion] = Field(
        default=[], description="Cases who fulfil one of these are missing; windows are around their index date."
    )
    washout: Duration | None = Field(
        default=None,
        description="Only incident cases: those whose index date is earlier than this after the beginning of their "
        "record are missing.",
    )
    controls: Controls = Field(default=Controls(), description="Who is a control.")


SPEC = CaseControl


def problems(spec: CaseControl) -> Iterator[tuple[KeyPath, str, str]]:
    """What the keys say against each other: key, what, fix."""
    everywhere = _criteria(spec)
    yield from unknown_codes([atom for path, one in everywhere.items() for atom in atoms(one, path)], spec.codes)
    unplaced = [
        atom
        for path, one in everywhere.items()
        if path == ("index",) or (spec.index is None and path[0] != "exclude_cases")
        for atom in atoms(one, path)
    ]
    fix = "say under 'index' whose date it is; windows under 'exclude_cases' are around the date of the case"
    yield from without_index(unplaced, fix)
    if spec.index is not None and not spec.index.has_date:
        yield ("index",), "nobody has an index date by 'none' alone", "add a criterion that has one"
    if spec.index is None and not spec.cases.has_date:
        for key in {"washout", "case_ages", "exclude_cases"} & spec.model_fields_set:
            yield (key,), "cases by 'none' alone have no date for it", "add an 'index', or a criterion with a date"


def derive(records: Records, definition: Definition) -> Iterator[Phenotype]:
    """The one trait of the definition.

    Raises
    ------
    InputError
        If the records do not have what it needs.
    """
    search = _Search(records, definition)
    compiler = search.compiler
    cases, controls = search.cases(), search.controls()
    values = np.full(len(records.people), MISSING, dtype=np.int8)
    values[controls] = CONTROL
    values[cases] = CASE
    steps = (*search.attrition.steps, Step("cases or controls", int((cases | controls).sum())))
    nobody = [f"there are no {what}" for what, who in (("cases", cases), ("controls", controls)) if not who.any()]
    yield Phenotype(
        definition.spec.id,
        BINARY,
        values,
        recipe=compiler.recipe,
        steps=steps,
        notes=tuple(compiler.notes),
        warnings=(*compiler.warnings, *nobody),
    )


def cohort(records: Records, definition: Definition) -> str:
    """The cases and their index dates (see :class:`~allscan.phenotypes.definitions.loading.KindModule`)."""
    search = _Search(records, definition)
    cases = search.compiler.listed(search.cases())
    return search.compiler.keep(f"SELECT person, date FROM {search.index} SEMI JOIN {cases} USING (person)")


class _Search:
    """Who is what, in some records."""

    def __init__(self, records: Records, definition: Definition) -> None:
        self.spec = cast("CaseControl", definition.spec)
        self.compiler = Compiler(records, definition, self.spec.codes)
        self.attrition = Attrition.of_everybody(self.compiler)
        if self.spec.index is not None:
            self.compiler.index = self.compiler.relation(self.spec.index, ("index",))
            what = f"with an index date: {words(self.spec.index)}"
            self.attrition.keep(what, self.compiler.mask(self.compiler.index))
        self.attrition.exclude(self.spec.exclude, ("exclude",))
        self._candidates = self.compiler.relation(self.spec.cases, ("cases",))
        self.index = self.compiler.index or self._candidates
        """Relation of the index dates of cases."""

    def cases(self) -> NDArray[np.bool_]:
        """The cases."""
        spec, compiler = self.spec, self.compiler
        for number, part in enumerate(spec.cases.parts):
            self.attrition.count_parts(part, ("cases", spec.cases.head, number))
        what = f"{spec.cases.head} of these" if spec.cases.parts else words(spec.cases)
        group = self.attrition.fork(f"cases: {what}", compiler.mask(self._candidates))
        if spec.case_ages is not None:
            rows = f"{self.index} JOIN people USING (person)"
            aged = f"SELECT person FROM {rows} WHERE {ages_sql(spec.case_ages, 'birth', 'date')}"
            group.keep(f"cases, {told_ages(spec.case_ages)} on the index date", compiler.mask(f"({aged})"))
        if spec.washout is not None:
            rows = f"{self.index} JOIN {compiler.record_span()} USING (person)"
            new = f"SELECT person FROM {rows} WHERE date >= start + {days(spec.washout)}"
            group.keep(f"cases, {spec.washout} or longer after their record begins", compiler.mask(f"({new})"))
        with compiler.around(self.index):
            group.exclude(spec.exclude_cases, ("exclude_cases",), "cases, ")
        return group.left

    def controls(self) -> NDArray[np.bool_]:
        """The controls."""
        wanted, compiler = self.spec.controls, self.compiler
        group = self.attrition.fork("others", ~compiler.mask(self._candidates))
        if wanted.without is None:
            # One event of what makes a case, which is no criterion that stands anywhere.
            for criterion in evidence(self.spec.cases):
                group.drop(words(criterion), compiler.mask(compiler.relation(criterion, ("cases",))), "controls, ")
        else:
            group.exclude(wanted.without, ("controls", "without"), "controls, ")
        if wanted.require is not None:
            required = compiler.mask(compiler.relation(wanted.require, ("controls", "require")))
            group.keep(f"controls, {words(wanted.require)}", required)
        group.ask(wanted, "controls, ")
        return group.left


def _criteria(spec: CaseControl) -> dict[KeyPath, Criterion]:
    """The criteria by the keys that lead to them."""
    out: dict[KeyPath, Criterion] = {("cases",): spec.cases}
    if spec.index is not None:
        out["index",] = spec.index
    if spec.controls.require is not None:
        out["controls", "require"] = spec.controls.require
    lists: dict[KeyPath, list[Criterion]] = {
        ("exclude",): spec.exclude,
        ("exclude_cases",): spec.exclude_cases,
        ("controls", "without"): spec.controls.without or [],
    }
    return out | {(*path, number): one for path, several in lists.items() for number, one in enumerate(several)}
