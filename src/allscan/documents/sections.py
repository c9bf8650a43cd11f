"""What the keys of YAML files of this program are made of: texts, paths, sections."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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


def checked_place(value: str) -> str:
    """A path or URL, if it can be one.

    Raises
    ------
    ValueError
        It is a URL of another kind or with a credential, or names an environment variable in another way.
    """
    if is_url(value):
        parse_url(value)
    elif re.match(r"\$[A-Za-z_]", value):
        raise ValueError("an environment variable is written ${NAME}, with brackets")
    return value


Text = Annotated[str, AfterValidator(_check_text)]
FilePath = Annotated[Text, AfterValidator(checked_place), Field(json_schema_extra={"format": "path"})]
"""A path, or s3://BUCKET/KEY, gs://BUCKET/KEY or az://CONTAINER/KEY."""


def one_or_several(value: Any) -> Any:
    """A list of what may stand alone."""
    return [value] if isinstance(value, str) else value


def number_as_text(value: Any) -> Any:
    """Codes such as -9 and contigs such as 22 may be written without quotes."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def numbers_as_texts(value: Any) -> Any:
    """As :func:`number_as_text`, one or several."""
    return [number_as_text(item) for item in (value if isinstance(value, list) else [value])]


def checked_day(value: str, what: str = "date") -> str:
    """A day as YYYY-MM-DD.

    Raises
    ------
    ValueError
        If there is no such day.
    """
    try:
        return dt.date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError(f"{value!r} is no {what}; write it as 2015-12-31") from None


Texts = Annotated[list[Text], BeforeValidator(one_or_several, json_schema_input_type=str | list[str])]
FilePaths = Annotated[list[FilePath], BeforeValidator(one_or_several, json_schema_input_type=str | list[str])]
TextsOrNumbers = Annotated[
    list[Text], BeforeValidator(numbers_as_texts, json_schema_input_type=str | int | float | list[str | int | float])
]
Day = Annotated[Text, AfterValidator(checked_day)]


class Section(BaseModel):
    """A part of the job file. Unknown keys and wrong types are refused, nothing is converted."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=False, defer_build=True
    )
