"""The files that people write, described for programs (JSON schema) and for people (a page), from their models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

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

_DEFINITION = """\
# The definition file

This page is made from the models by `allscan schema --of definition --format markdown`; a test keeps the two equal.

A definition says who has a trait. It is one YAML 1.2 mapping in UTF-8, read as strictly as a [job file](job.md), or the
same keys in a phenotype file; paths are relative to its folder. `kind` says which other keys there are.
[Definitions](../guide/definitions.md) shows what they are for. Lengths of time are written as 30d, 2w, 1y (365 days).
"""

_STRUCTURE = """\
# The structure file

This page is made from the model by `allscan schema --of structure --format markdown`; a test keeps the two equal.

A structure file is one YAML 1.2 mapping in UTF-8, read as strictly as a [job file](job.md); paths are relative to its
folder. [The structure of a cohort](../guide/structure.md) shows one. `name`, `output` and the keys under `runtime`
change nothing in the tables.
"""

_META = """\
# The meta file

This page is made from the model by `allscan schema --of meta --format markdown`; a test keeps the two equal.

A meta file is one YAML 1.2 mapping in UTF-8, read as strictly as a [job file](job.md); paths are relative to its
folder. [Meta-analysis](../guide/meta.md) shows one. `name`, `output` and the keys under `report` and `runtime` change
no result.
"""

_PAGES = {
    "job": ("allscan job", _JOB),
    "phenotypes": ("allscan phenotype file", _PHENOTYPES),
    "definition": ("allscan phenotype definition", _DEFINITION),
    "structure": ("allscan structure file", _STRUCTURE),
    "meta": ("allscan meta file", _META),
}

DESCRIBED = tuple(_PAGES)
"""Files that are described."""


def _model(of: str) -> type[BaseModel]:
    if of == "phenotypes":
        from allscan.phenotypes.build.spec import PhenotypeFile

        return PhenotypeFile
    if of == "structure":
        from allscan.jobs.structure.spec import StructureFile

        return StructureFile
    if of == "meta":
        from allscan.jobs.meta.spec import MetaFile

        return MetaFile
    from allscan.jobs.spec import JobSpec

    return JobSpec


def json_schema(of: str = "job") -> dict[str, Any]:
    """JSON schema (draft 2020-12) of one of the files ``DESCRIBED``, for editors and other programs."""
    schema = _kinds_schema() if of == "definition" else _model(of).model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _PAGES[of][0],
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _kinds_schema() -> dict[str, Any]:
    """A definition is of one of the kinds."""
    models = _kinds()
    _, schema = models_json_schema([(model, "validation") for model in models.values()])
    names = {kind: {"$ref": f"#/$defs/{model.__name__}"} for kind, model in models.items()}
    return {"oneOf": list(names.values()), "$defs": schema["$defs"]}


def _kinds() -> dict[str, type[BaseModel]]:
    from allscan.phenotypes.definitions.loading import KINDS, kind_module

    return {kind: kind_module(kind).SPEC for kind in KINDS}


def markdown_reference(of: str = "job") -> str:
    """Reference page of one of the files ``DESCRIBED``: one table of keys per section."""
    if of == "definition":
        return _definition_page()
    schema = json_schema(of)
    definitions = schema["$defs"]
    parts = [_PAGES[of][1], "## Top level\n", *_table(schema, definitions)]
    for path, section in _sections(schema, definitions, ""):
        parts += [f"\n## {path}\n", f"{section['description']}\n", *_table(section, definitions)]
    return "\n".join(parts) + "\n"


def _definition_page() -> str:
    """Keys of every kind, then each section once: sections of definitions stand in many places, and in themselves."""
    from allscan.phenotypes.definitions.spec import Header

    sections = json_schema("definition")["$defs"]
    common = Header.model_fields
    parts = [_DEFINITION]
    for number, (kind, model) in enumerate(_kinds().items()):
        section = sections.pop(model.__name__)
        own = {key: value for key, value in section["properties"].items() if key not in common}
        if not number:
            shared = {key: value for key, value in section["properties"].items() if key in common}
            meaning = {"description": common["kind"].description, "type": "string"}
            parts += [
                "## Every kind\n",
                *_table({**section, "properties": {**shared, "kind": meaning}}, sections, True),
            ]
        parts += [
            f"\n## `kind: {kind}`\n",
            f"{_line(section)}\n",
            *_table({**section, "properties": own}, sections, True),
        ]
    parts.append("\n## Sections")
    for name, section in sorted(sections.items()):
        if "properties" in section:
            parts += [f"\n### {name}\n", f"{_line(section)}\n", *_table(section, sections, True)]
    return "\n".join(parts) + "\n"


def _line(section: Mapping[str, Any]) -> str:
    return " ".join(str(section["description"]).split())


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
    if isinstance(value.get("items"), dict):
        yield from _section_names(value["items"], (*below, "[]"))


def _table(section: Mapping[str, Any], definitions: Mapping[str, Any], linked: bool = False) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    required = section.get("required", ())
    for key, value in section["properties"].items():
        default = "**required**" if key in required else _default(value.get("default"))
        meaning = _meaning(value, definitions) + _examples(value)
        cells = (f"`{key}`", _type(value, linked), default, meaning)
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _meaning(value: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    # pydantic leaves a key's description out where it equals that of the section.
    if "description" in value or "$ref" not in value:
        return str(value.get("description", ""))
    return str(definitions[value["$ref"].rsplit("/", 1)[1]]["description"])


def _default(value: Any) -> str:
    if value in (None, {}, [], "") or isinstance(value, dict):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _examples(value: Mapping[str, Any]) -> str:
    examples = [f"`{json.dumps(example)}`" for example in value.get("examples", ())]
    return f" Example: {', or '.join(examples)}." if examples else ""


def _type(value: Mapping[str, Any], linked: bool = False) -> str:
    """What a value is, in words; ``linked``: a section by its name, which is a heading of the page."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})" if linked else "section"
    if "const" in value:
        return f"`{str(value['const']).lower() if value['const'] is True else value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "anyOf" in value:
        names = [_type(option, linked) for option in value["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(names))
    kind = value.get("type")
    if kind == "array":
        return f"list of {_type(value['items'], linked)}"
    if kind == "object":
        inner = value.get("additionalProperties")
        return f"mapping from name to {_type(inner, linked)}" if isinstance(inner, dict) else "mapping"
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
