"""The words and marks of a covariate formula."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>`[^`]*`)
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[^\W\d][\w.]*)
      | (?P<text>"[^"]*"|'[^']*')
      | (?P<mark>\*\*|[-+*/:^()\[\]{},=~])
    )""",
    re.VERBOSE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Token:
    """A piece of a formula."""

    kind: str  # quoted (in backticks), number, name, text (in quotes), mark
    text: str
    start: int  # characters of the formula
    end: int


def scan(formula: str) -> list[Token]:
    """Cut a formula into its pieces.

    Raises
    ------
    InputError
        If a character has no meaning in a formula.
    """
    tokens = []
    position = 0
    while formula[position:].strip():
        match = _TOKEN.match(formula, position)
        if match is None or match.lastgroup is None:
            rest = formula[position:].lstrip()
            raise InputError(
                f"the character {rest[0]!r} has no meaning here",
                where=f"covariate formula, at {rest[:20]!r}",
                fix="write names that are not plain words in `backticks`; terms are joined by +",
            )
        kind = match.lastgroup
        tokens.append(Token(kind, match[kind], match.start(kind), match.end(kind)))
        position = match.end()
    return tokens


def closing(tokens: Sequence[Token], opening: int) -> int | None:
    """Index of the bracket that closes the one at ``opening``; None if there is none."""
    expected: list[str] = []
    for index in range(opening, len(tokens)):
        text = tokens[index].text
        if tokens[index].kind != "mark":
            continue
        if text in _CLOSING:
            expected.append(_CLOSING[text])
        elif text in _CLOSING.values():
            if text != expected.pop():
                return None
            if not expected:
                return index
    return None
