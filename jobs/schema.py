"""The files that people write, described for programs (JSON schema) and for people (a page), from their models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

_JOB = """\
# The job file

This page is made from the job model by `allscan schema --format markdown`; a test keeps the two equal.

A job file is one YAML 1.2 mapping in UTF-8. Paths are relative to the job file's folder. Unknown keys, wrong
types, keys written twice, tabs and tags are refused, with line, key and the nearest known key. The smallest
job is

```yaml
name: lipids
genotypes: cohort.zarr
traits: {file: traits.tsv, columns: [ldl, hdl]}
covariates: {file: covariates.tsv, formula: "age + sex + pc[1:10]"}
output: runs/lipids
```

`allscan check JOB.yaml` reads everything and says what would be analysed, `allscan plan JOB.yaml` what it
costs, `allscan run JOB.yaml` runs it or goes on with it. The effect allele is always ALT.

`name`, `output` and the keys under `report` and `runtime` change no result: they may differ between two runs
in the same folder. A change of any other key, or of the content of a table, needs a new output folder.
"""

_PHENOTYPES = """\
# The phenotype file

This page is made from the model by `allscan schema --of phenotypes --format markdown`; a test keeps the two equal.

A phenotype file is one YAML 1.2 mapping in UTF-8, read as strictly as a [job file](job.md); paths are relative to its
folder. [Traits from records](../guide/records.md) shows one. `name`, `output` and the keys under `runtime` change
nothing in the trait table.
"""

_PAGES = {"job": ("allscan job", _JOB), "phenotypes": ("allscan phenotype file", _PHENOTYPES)}

DESCRIBED = tuple(_PAGES)
"""Files that are described."""


def _model(of: str) -> type[BaseModel]:
    if of == "phenotypes":
        from allscan.phenotypes.build.spec import PhenotypeFile

        return PhenotypeFile
    from allscan.jobs.spec import JobSpec

    return JobSpec


def json_schema(of: str = "job") -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one of the files ``DESCRIBED``, for editors and other programs."""
    schema = _model(of).model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _PAGES[of][0],
        **{key: value for key, value in schema.items() if key != "title"},
    }


def markdown_reference(of: str = "job") -> str:
    """Reference page of one of the files ``DESCRIBED``: one table of keys per section."""
    schema = json_schema(of)
    definitions = schema["$defs"]
    parts = [_PAGES[of][1], "## Top level\n", *_table(schema, definitions)]
    for path, section in _sections(schema, definitions, ""):
        parts += [f"\n## {path}\n", f"{section['description']}\n", *_table(section, definitions)]
    return "\n".join(parts) + "\n"


def _sections(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in schema["properties"].items():
        for name, below in _section_names(value, ()):
            path = f"`{prefix}{key}{below}`"
            section = definitions[name]
            yield path, section
            yield from _sections(section, definitions, f"{prefix}{key}{below}.")


def _section_names(value: Mapping[str, Any], below: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Names of the sections that a key's value may be, and how the key path goes on to reach them."""
    if "$ref" in value:
        yield value["$ref"].rsplit("/", 1)[1], "".join(below)
    for option in (*value.get("anyOf", ()), *value.get("allOf", ())):
        yield from _section_names(option, below)
    if isinstance(value.get("additionalProperties"), dict):
        yield from _section_names(value["additionalProperties"], (*below, ".NAME"))


def _table(section: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    required = section.get("required", ())
    for key, value in section["properties"].items():
        default = "**required**" if key in required else _default(value.get("default"))
        meaning = _meaning(value, definitions) + _examples(value)
        cells = (f"`{key}`", _type(value), default, meaning)
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _meaning(value: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    # pydantic leaves a key's description out where it equals that of the section.
    if "description" in value or "$ref" not in value:
        return str(value.get("description", ""))
    return str(definitions[value["$ref"].rsplit("/", 1)[1]]["description"])


def _default(value: Any) -> str:
    if value in (None, {}, []) or isinstance(value, dict):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _examples(value: Mapping[str, Any]) -> str:
    examples = [f"`{json.dumps(example)}`" for example in value.get("examples", ())]
    return f" Example: {', or '.join(examples)}." if examples else ""


def _type(value: Mapping[str, Any]) -> str:
    if "$ref" in value:
        return "section"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "anyOf" in value:
        names = [_type(option) for option in value["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(names))
    kind = value.get("type")
    if kind == "array":
        return f"list of {_type(value['items'])}"
    if kind == "object":
        inner = value.get("additionalProperties")
        return f"mapping from name to {_type(inner)}" if isinstance(inner, dict) else "mapping"
    if kind == "string":
        return "path" if value.get("format") == "path" else "text"
    if kind == "boolean":
        return "`true` or `false`"
    name = "whole number" if kind == "integer" else "number"
    bounds = [
        f"{sign} {value[bound]:g}"
        for bound, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if bound in value
    ]
    return f"{name} {', '.join(bounds)}" if bounds else name
