"""What the keys of YAML files of this program are made of: texts, paths, sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from allscan.storage.places import is_url, parse_url

LONGEST_TEXT = 20_000
"""Characters; the longest text of a job is its formula, whose parser stops there too."""


def _check_text(value: str) -> str:
    if not value.strip():
        raise ValueError("the text is empty")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"the text has {len(value):,} characters; stay below {LONGEST_TEXT:,}")
    if not value.isprintable():
        raise ValueError("the text holds a line break or control character")
    return value


def _check_place(value: str) -> str:
    if is_url(value):
        parse_url(value)
    return value


Text = Annotated[str, AfterValidator(_check_text)]
FilePath = Annotated[Text, AfterValidator(_check_place), Field(json_schema_extra={"format": "path"})]
"""A path, or s3://BUCKET/KEY, gs://BUCKET/KEY or az://CONTAINER/KEY."""


class Section(BaseModel):
    """A part of the job file. Unknown keys and wrong types are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=False)
