"""From plain data to a model, with every refusal told by line, key, and what to do."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from allscan.errors import AllscanError, JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic_core import ErrorDetails

    from allscan.documents.yaml_source import KeyPath, YamlDocument

Model = TypeVar("Model", bound=BaseModel)

MAX_PROBLEMS = 8
"""Problems shown of one job file; the rest is counted."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a job."""

    what: str
    key_path: KeyPath
    fix: str


def validate(
    model: type[Model], data: dict[str, Any], document: YamlDocument | None, *, subject: str, fix: str
) -> Model:
    """Check plain data against a model.

    Parameters
    ----------
    model
        What the data must be.
    data
        The keys and values.
    document
        The file that the data come from, for line numbers; None for data made in Python.
    subject, fix
        What the data are, and where the keys are described, for messages.

    Raises
    ------
    JobError
        Unknown keys (with the nearest known one), missing keys, wrong types, impossible values: all at once.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
    if document is not None:
        found.sort(key=lambda details: _order(document, _key_path(details["loc"])))
    # A damaged file has problems by the ten thousand, and each takes a search for what was meant.
    problems = [_problem(model, details) for details in found[:MAX_PROBLEMS]]
    raise refusal(problems, document, subject=subject, fix=fix, count=len(found))


def locate(key_path: KeyPath, document: YamlDocument | None) -> str:
    """``job.yaml:4:3, key traits.file``, or the key alone for a job made in Python."""
    key = key_name(key_path)
    if document is None:
        return f"key {key}" if key else "the job"
    position = document.position(key_path)
    place = f"{document.path}:{position.line}:{position.column}"
    return f"{place}, key {key}" if key else place


def key_name(key_path: KeyPath) -> str:
    """``traits.columns.ldl``; items of lists as ``samples.keep[0]``."""
    name = ""
    for part in key_path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def _order(document: YamlDocument, key_path: KeyPath) -> tuple[int, int]:
    position = document.position(key_path)
    return position.line, position.column


def refusal(
    problems: Sequence[Problem], document: YamlDocument | None, *, subject: str, fix: str, count: int | None = None
) -> JobError:
    """The error that tells of problems, each with its place.

    Parameters
    ----------
    problems
        At least one.
    document, subject, fix
        See :func:`validate`.
    count
        How many there are, if that are more than are told.
    """
    count = len(problems) if count is None else count
    if count == 1:
        problem = problems[0]
        return JobError(problem.what, where=locate(problem.key_path, document), fix=problem.fix)
    lines = [f"{subject} has {count} problems:"]
    lines.extend(f"  {locate(problem.key_path, document)}: {problem.what}; {problem.fix}" for problem in problems)
    if count > len(problems):
        lines.append(f"  … and {count - len(problems)} more")
    where = str(document.path) if document is not None else subject
    return JobError("\n".join(lines), where=where, fix=f"correct these keys; {fix}")


def _problem(model: type[BaseModel], details: ErrorDetails) -> Problem:
    key_path = _key_path(details["loc"])
    kind = details["type"]
    value = details["input"]
    context = details.get("ctx", {})
    key = str(key_path[-1]) if key_path else ""
    if kind == "extra_forbidden":
        return Problem(f"unknown key {key!r}", key_path, _nearest(model, key_path))
    if kind == "missing":
        return Problem(
            f"the key {key_name(key_path)!r} is missing", key_path, f"add it: {_description(model, key_path)}"
        )
    if kind == "value_error":
        error = context["error"]
        if isinstance(error, AllscanError):
            return Problem(error.what, key_path, error.fix or _advice(model, key_path))
        return Problem(str(error), key_path, _advice(model, key_path))
    if kind == "literal_error":
        return _not_a_choice(key, value, context["expected"], key_path)
    if value is None:
        return Problem(f"{key!r} has no value", key_path, "write a value after the ':', or remove the key")
    if kind == "too_short":
        return Problem(f"{key!r} is empty", key_path, _advice(model, key_path))
    wanted = _WANTED.get(kind)
    if wanted is None:
        message = details["msg"].removeprefix("Input ")
        return Problem(f"{key!r} is {_shown(value)}; it {message}", key_path, _advice(model, key_path))
    fix = f"write {wanted}"
    if kind == "string_type" and not isinstance(value, (dict, list)):
        fix = f"put it in quotes: '{_shown(value)}'"
    return Problem(f"{key!r} is {_shown(value)}, not {wanted}", key_path, fix)


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list: [a, b]",
    "dict_type": "keys with values",
    "model_type": "a section of keys with values",
    "finite_number": "a finite number",
}


def _not_a_choice(key: str, value: Any, expected: str, key_path: KeyPath) -> Problem:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    close = difflib.get_close_matches(str(value), choices, n=1)
    fix = f"did you mean {close[0]!r}? " if close else ""
    return Problem(
        f"{key!r} is {_shown(value)}, which is none of its values",
        key_path,
        f"{fix}write {', '.join(choices)}",
    )


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a section of keys"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _key_path(location: tuple[int | str, ...]) -> KeyPath:
    # pydantic marks an error in a mapping's key (not its value) by a last part "[key]".
    return tuple(part for part in location if part != "[key]")


def _nearest(model: type[BaseModel], key_path: KeyPath) -> str:
    """The nearest known key of the same section, else the section that has a key of this name."""
    unknown = str(key_path[-1])
    section = _section(model, key_path[:-1])
    known = list(section.model_fields) if section is not None else []
    lowered = unknown.lower().replace("-", "_")
    close = difflib.get_close_matches(lowered, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    for path, name in _all_keys(model, ()):
        if name == lowered:
            return f"{name!r} belongs under {key_name(path)!r}" if path else f"move {name!r} to the top level"
    return f"known keys here: {', '.join(known)}"


def _advice(model: type[BaseModel], key_path: KeyPath) -> str:
    description = _description(model, key_path)
    return f"change the value: {description}" if description else "change the value"


def _description(model: type[BaseModel], key_path: KeyPath) -> str:
    """First sentence of what a key means; empty for names that the user chose, and of the whole document."""
    if not key_path:
        return ""
    section = _section(model, key_path[:-1])
    info = section.model_fields.get(str(key_path[-1])) if section is not None else None
    text = (info.description or "") if info is not None else ""
    return re.split(r"\. (?=[A-Z])", text)[0].rstrip(".")


def _section(model: type[BaseModel], key_path: KeyPath) -> type[BaseModel] | None:
    """The model of the section at a key path, stepping through mappings from names to sections."""
    parts = list(key_path)
    while parts:
        part = parts.pop(0)
        if isinstance(part, int):
            continue  # an item of a list
        info = model.model_fields.get(part)
        if info is None:
            return None
        found = next(_models(info.annotation), None)
        if found is None:
            return None
        if _is_mapping(info.annotation) and parts:
            parts.pop(0)
        model = found
    return model


def _all_keys(
    model: type[BaseModel], path: KeyPath, above: tuple[type[BaseModel], ...] = ()
) -> Iterator[tuple[KeyPath, str]]:
    for name, info in model.model_fields.items():
        yield path, name
        if not _is_mapping(info.annotation):
            for child in _models(info.annotation):
                if child not in (*above, model):
                    yield from _all_keys(child, (*path, name), (*above, model))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _is_mapping(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is dict
