"""Names of columns: which hold people's ids, and which one was probably meant."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ID_KEYS = ("IID", "sample_id", "person_id", "research_id", "sample_id.s", "s")
FAMILY_KEY = "FID"


def did_you_mean(name: str, options: Iterable[str], *, otherwise: str = "") -> str:
    """A sentence that proposes the nearest of ``options``, or ``otherwise`` when none is near."""
    by_lower: dict[str, str] = {}
    for option in options:
        by_lower.setdefault(option.lower(), option)
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]!r}?" if near else otherwise


def listed(names: Iterable[str], *, limit: int = 8) -> str:
    """Names for a message, the first few of them."""
    everything = list(names)
    shown = ", ".join(everything[:limit])
    return f"{shown}, … ({len(everything)} in all)" if len(everything) > limit else shown


def fits(name: str, pattern: str) -> bool:
    """Whether a name is of a pattern, in which ``*`` stands for any text and everything else for itself."""
    return fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]"))


def bare(name: str) -> str:
    """A column name without the ``#`` that PLINK 2 puts before the first one."""
    return name.removeprefix("#")


def family_column(names: Sequence[str]) -> str | None:
    """The family id column, which is recognised only to be set aside."""
    return next((name for name in names if bare(name).upper() == FAMILY_KEY), None)


def id_column(names: Sequence[str], *, source: str, wanted: str | None = None) -> str:
    """The column that holds the people's ids.

    Parameters
    ----------
    names
        The table's columns.
    source
        The file, for messages.
    wanted
        The job's ``id_column``, which overrides the known keys.

    Raises
    ------
    InputError
        If ``wanted`` is not a column, or no column, or more than one, has a known key as its name.
    """
    if wanted is not None:
        found = [name for name in names if name == wanted] or [name for name in names if bare(name) == wanted]
        if found:
            return found[0]
        raise InputError(
            f"there is no column {wanted!r}, which is to hold the people's ids",
            where=f"{source}, header: {listed(names)}",
            fix=did_you_mean(wanted, names, otherwise="name one of the columns as id_column"),
        )
    known = {key.lower() for key in ID_KEYS if key != "s"}
    found = [name for name in names if bare(name).lower() in known]
    if not found and names and bare(names[0]) == "s":
        found = [names[0]]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"more than one column could hold the people's ids: {listed(found)}",
            where=f"{source}, header",
            fix=f"say which one: id_column: {bare(found[0])}",
        )
    raise InputError(
        f"no column holds the people's ids; known names are FID IID, {', '.join(ID_KEYS)}",
        where=f"{source}, header: {listed(names)}",
        fix=f"rename the id column, or say which it is, for example id_column: {bare(names[0])}",
    )
