"""What every page is filled with: head, look, scripts and tables. Everything is inside, nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined

from allscan.code_cache import CodeCache, usual_folders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2.bccache import Bucket

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Table:
    """A table of the accounting."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def tile(label: str, value: str, more: str = "") -> dict[str, str]:
    """A number at the top of the page, and what it is."""
    return {"label": label, "value": value, "more": more}


def fill(
    template: str,
    scripts: Sequence[str],
    provenance: Mapping[str, Any],
    *,
    folder: Path = HERE,
    styles: Sequence[str] = (),
    subject: str = "association report",
    with_document: bool = True,
    **more: Any,
) -> str:
    """A page, as text.

    Names from the user's files are escaped wherever they stand: by the template in the page itself, as
    JSON without ``<`` in the data, and as text nodes by the scripts.

    Parameters
    ----------
    template
        Its file; it extends ``base.html.j2``.
    scripts
        Files of the scripts beside the common one.
    provenance
        The document that warnings come from.
    folder
        Where template, scripts and styles stand.
    styles
        Files of the styles beside the common one.
    subject
        What the title says of the page.
    with_document
        Whether the whole document is shown.
    **more
        What else the template asks for.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        bytecode_cache=_CompiledTemplates(),
    )
    script = _texts([HERE / "common.js", *(folder / name for name in scripts)])
    return environment.get_template(template).render(
        version=metadata.version("allscan"),
        subject=subject,
        css=_texts([HERE / "report.css", *(folder / name for name in styles)]),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        warnings=[str(warning) for warning in provenance.get("warnings", ())],
        provenance_json=json.dumps(_without_examples(provenance), indent=2) if provenance and with_document else "",
        **more,
    )


class _CompiledTemplates(BytecodeCache):
    """Templates as Python code on disk: to compile one takes longer than to fill it."""

    def __init__(self) -> None:
        source = Path(__file__)
        # Jinja says of the code itself which version of Python it is for, and of which text it was made.
        stamp = hashlib.sha256(jinja2.__version__.encode() + source.read_bytes()).digest()
        self._cache = CodeCache(source, usual_folders(source), stamp)

    def load_bytecode(self, bucket: Bucket) -> None:
        """Code of a template, if there is any that is valid."""
        body = self._cache.load(_file_name(bucket))
        if body is not None:
            bucket.load_bytecode(io.BytesIO(body))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template."""
        body = io.BytesIO()
        bucket.write_bytecode(body)
        self._cache.keep(_file_name(bucket), body.getvalue())


def _file_name(bucket: Bucket) -> str:
    return f"{bucket.key}.{sys.implementation.cache_tag}.template"


def _texts(files: Sequence[Path]) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in files)


def as_json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    # `<` could end the script element that holds the data; U+2028 and the like are escaped by ensure_ascii.
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _without_examples(value: Any) -> Any:
    """A document without any ``examples``: in an accounting they are ids of people, for the terminal only."""
    if isinstance(value, dict):
        return {key: _without_examples(item) for key, item in value.items() if key != "examples"}
    if isinstance(value, list):
        return [_without_examples(item) for item in value]
    return value
