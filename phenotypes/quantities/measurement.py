"""Labs and physical measurements: one unit, believable values, one number for each person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from allscan.documents.sections import Text
from allscan.errors import InputError
from allscan.phenotypes.phenotype import QUANTITATIVE, Phenotype, Step
from allscan.phenotypes.quantities.arithmetic import check_formula, formula_sql, number
from allscan.phenotypes.quantities.near import adjust, around, leave_out, window_gates
from allscan.phenotypes.quantities.reading import Reading, read
from allscan.phenotypes.quantities.spec import Summarised
from allscan.phenotypes.quantities.values import LARGEST, Values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from allscan.phenotypes.definitions.loading import Definition
    from allscan.phenotypes.records.codes import ResolvedCodes
    from allscan.phenotypes.records.records import Records

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class Input(Reading):
    """One of the measurements that a formula is of."""

    @model_validator(mode="after")
    def _has_codes(self) -> Self:
        if self.codes is None:
            raise InputError("the measurement has no codes", fix="add the key `codes`")
        return self


class Measurement(Summarised, Reading):
    """A lab, a vital sign, or a quantity that is computed of several of them."""

    kind: Literal["measurement"] = Field(description="Kind of the definition.")
    min_values: int = Field(default=1, ge=1, description="Days with a value, at least.")
    inputs: dict[Name, Input] = Field(
        default={}, description="In place of `codes`: measurements of the same day that `formula` is of."
    )
    formula: Text | None = Field(
        default=None, description="The value, of the inputs' names.", examples=["weight / height ** 2"]
    )

    @model_validator(mode="after")
    def _is_measured_or_computed(self) -> Self:
        computed = self.formula is not None or bool(self.inputs)
        if computed == (self.codes is not None):
            raise InputError(
                "a measurement is found by its codes, or is computed of others",
                fix="write either `codes`, or `inputs` and `formula`",
            )
        if computed:
            if self.formula is None or not self.inputs:
                raise InputError("a formula and its inputs belong together", fix="write both `inputs` and `formula`")
            check_formula(self.formula, self.inputs)
            own = {
                "tables",
                "molar_mass",
                "conversions",
                "assume",
                "drop_units",
                "unknown_units",
                "beyond_limit",
                "same_day",
            }
            if given := sorted(own & self.model_fields_set):
                raise InputError(f"the key {given[0]!r} belongs to the inputs of a formula", fix="move it to an input")
        return self


SPEC = Measurement


def derive(records: Records, definition: Definition) -> Iterator[Phenotype]:
    """The trait of a definition.

    Raises
    ------
    InputError
        If the records lack what it needs, or many values are in units that cannot be converted.
    """
    spec = definition.spec
    assert isinstance(spec, Measurement)
    values = Values(records, "measurement", spec.id)
    windows = window_gates(spec.ages, spec.dates)
    used: dict[str, ResolvedCodes] = {}
    if spec.formula is None:
        used["codes"] = read(values, definition, spec, windows)
    else:
        used.update(_compute(values, definition, spec))
    yield finished(
        values, definition, spec, used, min_values=spec.min_values, units=spec.unit, days="days with a value"
    )


def _compute(values: Values, definition: Definition, spec: Measurement) -> dict[str, ResolvedCodes]:
    """Fill values with those of a formula, on days with all of its inputs."""
    assert spec.formula is not None
    used = {}
    parts = []
    for name, reading in spec.inputs.items():
        part = Values(values.records, "measurement", spec.id)
        windows = window_gates(spec.ages, spec.dates)
        used[f"inputs.{name}.codes"] = read(
            part, definition, reading, windows, key_path=("inputs", name), prefix=f"{name}: "
        )
        values.steps += part.steps
        values.notes += part.notes
        parts.append(part)
    columns = {name: f"input_{i}.value" for i, name in enumerate(spec.inputs)}
    joined = " ".join(
        f"JOIN {part.relation} AS input_{i} USING (person, date)" if i else f"{part.relation} AS input_0"
        for i, part in enumerate(parts)
    )
    values.take(
        f"SELECT person, date, {formula_sql(spec.formula, columns)} AS value FROM {joined}",
        f"{' and '.join(spec.inputs)} on the same day" if len(parts) > 1 else f"with {next(iter(spec.inputs))}",
    )
    for part in parts:
        part.drop()
    low, high = spec.plausible if spec.plausible is not None else (-LARGEST, LARGEST)
    told = f"from {low:g} to {high:g} {spec.unit}" if spec.plausible is not None else "with a value of the formula"
    believed = f"isfinite(value) AND value BETWEEN {number(low)} AND {number(high)}"
    before = values.rows()
    values.take(f"SELECT * FROM {{values}} WHERE {believed}", told)
    values.records.note_quality("measurement", f"{spec.id}: days without a believable value", before - values.rows())
    return used


def finished(
    values: Values,
    definition: Definition,
    spec: Summarised,
    used: Mapping[str, ResolvedCodes],
    *,
    min_values: int,
    units: str,
    days: str,
) -> Phenotype:
    """From the values of days to the trait."""
    everybody = Step("in the records", len(values.records.people))
    resolved = dict(used)
    if spec.exclude:
        resolved.update(_numbered("exclude", leave_out(values, definition, spec.exclude)))
    if spec.adjust:
        resolved.update(_numbered("adjust", adjust(values, definition, spec.adjust)))
    if spec.index is not None:
        resolved.update(_numbered("index", around(values, definition, spec.index)))
    least = f"{min_values} {days} or more" if min_values > 1 else f"with a {spec.summary}"
    result = values.summarised(spec.summary, min_values=min_values, min_span=spec.min_span, what=least)
    values.drop()
    if spec.only_sex:
        result = np.where(values.records.people.sex == spec.only_sex, result, np.nan)
        values.steps.append(Step(f"{spec.sex} only", int(np.count_nonzero(~np.isnan(result)))))
    return Phenotype(
        spec.id,
        QUANTITATIVE,
        result,
        units=f"{units} per year" if spec.summary == "slope" else units,
        transform=spec.transform,
        recipe=codes_recipe(resolved),
        steps=(everybody, *values.steps),
        notes=(*values.notes, *(f"{name}: {note}" for name, codes in resolved.items() for note in codes.notes)),
        warnings=(*_warnings(result), *_unknown_codes(resolved)),
    )


def codes_recipe(used: Mapping[str, ResolvedCodes]) -> dict[str, Any]:
    """What the provenance says of sets of codes."""
    return {"codes": {name: {"sha256": codes.digest, "concepts": codes.n_concepts} for name, codes in used.items()}}


def _numbered(key: str, used: list[ResolvedCodes]) -> dict[str, ResolvedCodes]:
    return {f"{key}.{i}.codes": codes for i, codes in enumerate(used)}


def _unknown_codes(used: Mapping[str, ResolvedCodes]) -> list[str]:
    """Codes of drugs and events that the records do not know: nothing is adjusted or left out for them."""
    return [
        f"{name}: the records know none of these codes as a concept; their source values are looked for"
        for name, codes in used.items()
        if codes.n_concepts == 0
    ]


def _warnings(values: NDArray[np.float64]) -> tuple[str, ...]:
    present = values[~np.isnan(values)]
    if not len(present):
        return ("nobody has a value",)
    if len(present) > 1 and present.min() == present.max():
        return ("everybody has the same value",)
    return ()
