"""Matching people by id, and guessing why ids that should match do not."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHOWN_IDS = 3

_GUESSES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("white space around the ids", str.strip),
    ("upper and lower case", str.lower),
    ("leading zeros (a spreadsheet drops them)", lambda text: text.lstrip("0")),
    ("a trailing '.0' (ids that went through a floating-point column)", lambda text: text.removesuffix(".0")),
    ("their form: FID_IID on one side, IID on the other", lambda text: text.rpartition("_")[2]),
)


def rows_of(wanted: NDArray[np.object_], available: NDArray[np.object_]) -> NDArray[np.int64]:
    """For each wanted id (wanted,), its row among the available ones (unique), or -1."""
    row_of = dict(zip(available.tolist(), range(len(available)), strict=True))
    return np.fromiter(map(row_of.get, wanted.tolist(), repeat(-1)), np.int64, len(wanted))


def guess(left: NDArray[np.object_], right: NDArray[np.object_]) -> str:
    """What two sets of ids, which share few or none, seem to differ by; an empty text if nothing shows."""
    some = 20_000
    ours, theirs = left[:some], set(right)
    for what, simplified in _GUESSES:
        form = {simplified(person) for person in theirs}
        matched = sum(simplified(person) in form for person in ours)
        if matched > len(ours) // 10 and matched > sum(person in theirs for person in ours):
            return what
    return ""


def no_overlap(
    genotype_ids: NDArray[np.object_],
    table_ids: NDArray[np.object_],
    *,
    what: str,
    source: str,
    key: str,
    whole: str = "genotypes",
) -> InputError:
    """The error for a table that shares nobody with the genotypes, or what stands in their place."""
    ours = ", ".join(repr(str(person)) for person in genotype_ids[:SHOWN_IDS])
    theirs = ", ".join(repr(str(person)) for person in table_ids[:SHOWN_IDS])
    reason = guess(genotype_ids, table_ids)
    return InputError(
        f"no person of the {what} is in the {whole}: ids there are like {ours}; here like {theirs}"
        + (f"; they seem to differ by {reason}" if reason else ""),
        where=f"{source}, column {key!r}",
        fix=f"use the ids of the {whole} in the table, or name another column as id_column",
    )
