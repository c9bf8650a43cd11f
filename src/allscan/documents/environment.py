"""Environment variables in YAML files: ``${NAME}`` in a value stands for what the environment says.

That is all there is: no defaults, no commands, no ``$NAME``. What may be a credential is refused, and never repeated.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from allscan.storage.places import CREDENTIALS_ELSEWHERE, is_url, looks_like_credential

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(r"\$?\$\{([^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(
    r"-----BEGIN|AKIA[0-9A-Z]{12}|ya29\.|gh[pousr]_[A-Za-z0-9]{20}|eyJ[A-Za-z0-9_-]{10,}\.|AccountKey=|[?&]sig=|Bearer "
)
"""How keys and tokens begin that are often met in variables."""


class VariableError(ValueError):
    """A reference cannot be replaced: what is wrong, and what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


def expanded(text: str, environment: Mapping[str, str], used: dict[str, str]) -> str:
    """A text with the values of its variables.

    Parameters
    ----------
    text
        In which ``${NAME}`` stands for a variable, and ``$${`` for ``${``.
    environment
        The variables.
    used
        Receives those that are found, with their values.

    Raises
    ------
    VariableError
        A variable is not set, empty, or may be a credential; or what stands in the brackets is no name.
    """

    def value(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        used[match[1]] = found = _value(match, environment)
        return found

    return _REFERENCE.sub(value, text) if "${" in text else text


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    name = match[1]
    if not match[0].endswith("}") or not _NAME.fullmatch(name):
        raise VariableError(
            f"{match[0]!r} names no environment variable",
            "write ${NAME}, with letters, digits and _; a text with ${ itself is written $${",
        )
    if looks_like_credential(name):
        raise VariableError(
            f"the environment variable {name!r} is named like a credential, and is not read", CREDENTIALS_ELSEWHERE
        )
    found = environment.get(name, "")
    if not found:
        state = "is empty" if name in environment else "is not set"
        raise VariableError(
            f"the environment variable {name!r} {state}", f"set it (export {name}=…), or write what it stands for"
        )
    if _SECRET.search(found) or (is_url(found) and re.match(r"[^/]*//[^/]*@", found)):
        raise VariableError(
            f"the environment variable {name!r} may hold a credential (it is not repeated here)", CREDENTIALS_ELSEWHERE
        )
    if not found.isprintable():
        raise VariableError(
            f"the environment variable {name!r} holds a line break or control character", "set it to one line of text"
        )
    return found
