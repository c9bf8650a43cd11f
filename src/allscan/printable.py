"""Text that came in from somebody's file, on its way to a terminal, a log, a page or a table.

Control characters can move a terminal's cursor, forge a line of a log, turn around the order of letters, or break a
table's row in two. Names that hold one are refused where files are read; what is quoted in a message is spelt out.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # of ASCII and Latin-1: escape sequences, tabs, line ends
    "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"  # not seen, and those that turn the direction around
    "\u2028\u2029"  # ends of lines and paragraphs
    "\ud800-\udfff]"  # halves of characters
)


def control_character(text: str) -> str | None:
    """The first control character of a text, as ``U+001B``; None if there is none."""
    found = _CONTROL.search(text)
    return None if found is None else f"U+{ord(found[0]):04X}"


def printable(text: str) -> str:
    """A text with its control characters spelt out, except ends of lines."""
    return _CONTROL.sub(lambda found: "\n" if found[0] == "\n" else found[0].encode("unicode_escape").decode(), text)
