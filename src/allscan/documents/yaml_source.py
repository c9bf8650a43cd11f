"""Strict YAML 1.2 for job files and tables of prices: plain data, and the line and column of every key.

ruamel.yaml scans and parses; this module builds the values itself, from the parser's events, so that ``no``
stays a word, a key is written once, nothing is ever executed, and a small file cannot unfold into a huge one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from allscan.documents.environment import VariableError, expanded
from allscan.errors import JobError
from allscan.storage import first_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from allscan.storage import Place

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 100_000
"""Values after aliases are unfolded: 5,000 traits with five options each fit four times."""

LONGEST_KEY = 1000
"""Characters; a message repeats a key that is wrong."""
LONGEST_INTEGER = 64
"""Digits; a longer one stays text, which no key takes for a number. Python cannot write out one of 4,300."""

KeyPath = tuple[str | int, ...]

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)(\.inf|\.Inf|\.INF)")
_NAN = re.compile(r"\.nan|\.NaN|\.NAN")


@dataclass(frozen=True)
class Position:
    """Where something stands in the job file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class YamlDocument:
    """A job file as plain data, with the position of every key and list item."""

    path: Place
    data: dict[str, Any]
    positions: dict[KeyPath, Position]
    text: str
    variables: Mapping[str, str] = field(default_factory=dict)  # of the environment, that stand in it

    def expanded_text(self) -> str:
        """The text with the values of its variables, which says the same wherever it is read.

        Where a value would be something else in the place of its variable (``: `` in a path), the text as it is.
        """
        if not self.variables:
            return self.text
        names = "|".join(map(re.escape, self.variables))
        text = re.sub(rf"(?<!\$)\$\{{({names})\}}", lambda match: self.variables[match[1]], self.text)
        try:
            same = parse_yaml(text, self.path, {}).data == self.data
        except JobError:
            same = False
        return text if same else self.text

    def position(self, key_path: KeyPath) -> Position:
        """Position of a key, or of the nearest key above it that the file holds."""
        for length in range(len(key_path), 0, -1):
            found = self.positions.get(key_path[:length])
            if found is not None:
                return found
        return Position(1, 1)


def read_yaml(path: Place) -> YamlDocument:
    """Read a job file, and put the values of environment variables in the place of ``${NAME}``.

    Parameters
    ----------
    path
        A UTF-8 text file of at most 1 MiB that holds one YAML 1.2 mapping.

    Raises
    ------
    JobError
        The file is missing, too large, not text, not YAML, not a mapping, says a key twice, or uses tags or
        aliases beyond plain data; a variable is not set. The message names file, line and column.
    """
    return parse_yaml(_read_text(path), path, os.environ)


def parse_yaml(text: str, path: Place, environment: Mapping[str, str] | None = None) -> YamlDocument:
    """Parse the text of a job file; ``path`` is for messages. See :func:`read_yaml`.

    Without an ``environment``, ``${NAME}`` is a text like any other.
    """
    builder = _Builder(path, environment)
    try:
        data = builder.document(YAML(typ="safe", pure=True).parse(text))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise JobError(
            f"the file holds a control character (code {_code_point(error.character)})",
            where=f"{path}:{line}",
            fix="remove it: the file is plain UTF-8 text",
        ) from error
    except MarkedYAMLError as error:
        _refuse_syntax(error, text, path)
    except YAMLError as error:
        raise JobError(f"the file is not YAML: {error}", where=str(path)) from error
    return YamlDocument(path, data, builder.positions, text, builder.variables)


def _read_text(path: Place) -> str:
    try:
        raw = first_bytes(path, MAX_BYTES + 1)
    except FileNotFoundError:
        raise JobError("there is no such file", where=str(path), fix="check the path") from None
    except IsADirectoryError:
        raise JobError("this is a folder, not a file", where=str(path), fix="name the YAML file in it") from None
    except OSError as error:
        raise JobError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise JobError(
            f"the file is larger than {MAX_BYTES // 1024} KiB: is it a data file?",
            where=str(path),
            fix="a job file names data files; the data stand in files of their own",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise JobError(
            f"the file is not UTF-8 text (byte 0x{raw[error.start]:02x})",
            where=f"{path}:{line}",
            fix="save it as plain UTF-8 text",
        ) from error


def _code_point(character: object) -> str:
    return f"0x{character:02x}" if isinstance(character, int) else f"U+{ord(str(character)[0]):04X}"


def _refuse_syntax(error: MarkedYAMLError, text: str, path: Place) -> NoReturn:
    """Turn the parser's words into what, where, and what to do."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    lines = text.split("\n")
    here = lines[line - 1] if line <= len(lines) else ""
    problem = str(error.problem or error.context or "it cannot be parsed")
    fix = "compare the line with an example of `allscan schema`; text with special characters needs quotes"
    if here[column - 1 : column] == "\t":
        problem = "a tab stands where only spaces may stand"
        fix = "indent with spaces: replace every tab by two spaces"
    elif "mapping values are not allowed" in problem:
        problem = "a key stands where a value ends: wrong indentation, or a value that holds ': '"
        fix = "give keys of one section the same indentation, and put a value that holds ': ' in quotes"
    elif "cannot start any token" in problem or "unknown escape character" in problem:
        fix = "put the text in 'single quotes'"
    elif "unexpected end of stream" in problem or "stream end" in problem:
        start = error.context_mark
        opened = f" (opened in line {start.line + 1})" if start is not None else ""
        problem = f"the file ends inside a quote or bracket{opened}"
        fix = "close it"
    elif "expected ',' or" in problem:
        start = error.context_mark
        opened = f" opened in line {start.line + 1}" if start is not None else ""
        problem = f"a comma or the end of the bracket{opened} is missing"
        fix = "close the bracket, or put a comma between its items"
        if "${" in here:
            fix = "inside brackets, put a value with ${NAME} in quotes"
    raise JobError(f"the file is not YAML: {problem}", where=f"{path}:{line}:{column}", fix=fix) from error


@dataclass
class _Builder:
    """Builds plain data from parser events and keeps where each key stood."""

    path: Place
    environment: Mapping[str, str] | None = None
    positions: dict[KeyPath, Position] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    _anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    _open_anchors: set[str] = field(default_factory=set)
    _size: int = 0

    def document(self, events: Iterator[ev.Event]) -> dict[str, Any]:
        first: ev.Event | None = None
        data: Any = None
        for event in events:
            if isinstance(event, (ev.StreamStartEvent, ev.DocumentStartEvent, ev.DocumentEndEvent)):
                continue
            if isinstance(event, ev.StreamEndEvent):
                break
            if first is not None:
                self._refuse(event, "the file holds more than one document", "one file is one job: remove '---'")
            first = event
            data = self._value(event, events, (), depth=1)
        if first is None or data is None:
            raise JobError(
                "the file is empty",
                where=str(self.path),
                fix="a job has at least name, genotypes, traits and output; see `allscan schema`",
            )
        if not isinstance(data, dict):
            kind = "a list" if isinstance(data, list) else "a single value"
            self._refuse(first, f"the file holds {kind}, not keys", "write lines like 'name: lipids'")
        return data

    def _value(self, event: ev.Event, events: Iterator[ev.Event], key_path: KeyPath, depth: int) -> Any:
        if depth > MAX_DEPTH:
            self._refuse(event, f"more than {MAX_DEPTH} brackets or levels inside each other", "a job has four")
        if isinstance(event, ev.AliasEvent):
            return self._alias(event)
        anchor = event.anchor if isinstance(event, ev.NodeEvent) else None
        before = self._size
        self._grow(event, 1)
        self._refuse_tag(event)
        if anchor is not None:
            self._open_anchors.add(anchor)
        value: Any
        if isinstance(event, ev.MappingStartEvent):
            value = self._mapping(events, key_path, depth)
        elif isinstance(event, ev.SequenceStartEvent):
            value = self._sequence(events, key_path, depth)
        elif isinstance(event, ev.ScalarEvent):
            value = self._expanded(event, _scalar(event, self._text(event)))
        else:
            raise AssertionError(f"the parser sent {event} where a value must stand")
        if anchor is not None:
            self._open_anchors.discard(anchor)
            self._anchors[anchor] = (value, self._size - before)
        return value

    def _mapping(self, events: Iterator[ev.Event], key_path: KeyPath, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_event in events:
            if isinstance(key_event, ev.MappingEndEvent):
                break
            if not isinstance(key_event, ev.ScalarEvent):
                self._refuse(key_event, "a key is not plain text", "write keys as words, e.g. 'ldl:'")
            self._refuse_tag(key_event)
            key = self._text(key_event)
            if not key:
                self._refuse(key_event, "a key is empty", "write a name before the ':'")
            if len(key) > LONGEST_KEY:
                self._refuse(key_event, f"a key has {len(key):,} characters", f"stay below {LONGEST_KEY:,}")
            if key in mapping:
                self._refuse(
                    key_event,
                    f"the key {key!r} is written twice in one section (first in line {first_lines[key]})",
                    "keep one of the two",
                )
            position = _position(key_event)
            first_lines[key] = position.line
            path = (*key_path, key)
            self.positions[path] = position
            mapping[key] = self._value(next(events), events, path, depth + 1)
        return mapping

    def _sequence(self, events: Iterator[ev.Event], key_path: KeyPath, depth: int) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, ev.SequenceEndEvent):
                break
            path = (*key_path, len(items))
            self.positions[path] = _position(event)
            items.append(self._value(event, events, path, depth + 1))
        return items

    def _alias(self, event: ev.AliasEvent) -> Any:
        name = str(event.anchor)
        if name in self._open_anchors:
            self._refuse(event, f"the alias '*{name}' stands inside its own anchor", "write the value out")
        if name not in self._anchors:
            self._refuse(event, f"no anchor '&{name}' stands before '*{name}'", "text that begins with * needs quotes")
        value, size = self._anchors[name]
        self._grow(event, size)
        return value

    def _grow(self, event: ev.Event, number: int) -> None:
        self._size += number
        if self._size > MAX_VALUES:
            self._refuse(
                event,
                f"the file unfolds to more than {MAX_VALUES:,} values",
                "remove the aliases (*name) that repeat each other",
            )

    def _text(self, event: ev.ScalarEvent) -> str:
        text = str(event.value)
        if text.isascii():
            return text
        try:
            # JSON escapes a character outside the basic plane as two halves ("\\ud83d\\ude00").
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._refuse(event, "an escape (\\u…) is half of a character", "write the character itself")

    def _expanded(self, event: ev.ScalarEvent, value: Any) -> Any:
        if self.environment is None or not isinstance(value, str):
            return value
        try:
            return expanded(value, self.environment, self.variables)
        except VariableError as error:
            self._refuse(event, error.what, error.fix)

    def _refuse_tag(self, event: ev.Event) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None and str(tag) not in ("tag:yaml.org,2002:str", "!"):
            self._refuse(event, f"the tag {str(tag)!r} is not allowed", "remove it: values are plain data")

    def _refuse(self, event: ev.Event, what: str, fix: str) -> NoReturn:
        position = _position(event)
        raise JobError(what, where=f"{self.path}:{position.line}:{position.column}", fix=fix)


def _position(event: ev.Event) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


def _scalar(event: ev.ScalarEvent, text: str) -> Any:
    """Value of a scalar under the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema)."""
    plain = bool(event.implicit[0]) and event.style in (None, "")
    if not plain:
        return text
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if len(text) <= LONGEST_INTEGER:
        if _INT.fullmatch(text):
            return int(text)
        if _OCTAL.fullmatch(text):
            return int(text[2:], 8)
        if _HEX.fullmatch(text):
            return int(text[2:], 16)
    elif _INT.fullmatch(text):
        return text
    if _FLOAT.fullmatch(text):
        return float(text)
    if infinity := _INFINITY.fullmatch(text):
        return float(f"{infinity[1]}inf")
    if _NAN.fullmatch(text):
        return float("nan")
    return text
