"""Find what other packages add, by name: one entry point group for each kind of thing."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Plugins:
    """One kind of thing that packages may provide.

    Parameters
    ----------
    group
        The entry point group.
    noun
        What it is in messages: ``association test``.
    expected
        The class, in messages.
    is_one
        Whether an object is such a thing.
    built_in
        Names and homes of our own, beside those of the group.
    """

    group: str
    noun: str
    expected: str
    is_one: Callable[[object], bool]
    built_in: tuple[tuple[str, str], ...] = ()

    def available(self) -> dict[str, str]:
        """Names and where each lives.

        Raises
        ------
        InputError
            If two packages claim one name.
        """
        return dict(_available(self))

    def find(self, name: str) -> Any:
        """What is called ``name``: an installed one, or ``module:NAME``.

        Raises
        ------
        InputError
            If there is none, or it fails to load.
        """
        homes = _available(self)
        home = name if ":" in name else homes.get(name)
        if home is None:
            known = sorted(homes)
            near = get_close_matches(name, known, n=1)
            raise InputError(
                f"there is no {self.noun} {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                fix=f"installed: {', '.join(known)}; one of your own is module:NAME",
            )
        module, _, attribute = home.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except Exception as error:  # whatever the package raises as it is imported
            why = f"{type(error).__name__}: {error}"
            raise InputError(f"the {self.noun} {name!r} cannot be loaded: {why}", where=home) from error
        if not self.is_one(found):
            raise InputError(f"{home} is not of {self.expected} but of {type(found).__name__}", where=home)
        return found


@cache  # every task asks, and the answer is in the metadata files of all installed packages
def _available(kind: Plugins) -> dict[str, str]:
    homes = dict(kind.built_in)
    for point in _installed().select(group=kind.group):
        if homes.get(point.name, point.value) != point.value:
            raise InputError(
                f"two packages provide the {kind.noun} {point.name!r}",
                where=f"{homes[point.name]} and {point.value}",
                fix=f"uninstall one of them, or name the {kind.noun} as module:NAME",
            )
        homes[point.name] = point.value
    return homes


@cache
def _installed() -> Any:  # its type follows the version of Python
    return entry_points()


def forget_installed() -> None:
    """Look again, after packages have changed."""
    _installed.cache_clear()
    _available.cache_clear()
