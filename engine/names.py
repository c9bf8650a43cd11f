"""Names of variants, contigs and people as files may hold them: without control characters."""

from __future__ import annotations

from allscan.printable import control_character

MOST_TEXT = 2**31 - 1
"""Bytes of one chunk of names: those that 32 bits can count, as Arrow does."""


def refuse_controls(text: str) -> None:
    """Refuse names with a control character, which would break the rows of tables made of them.

    Parameters
    ----------
    text
        Names, one after another.

    Raises
    ------
    ValueError
        If there is one.
    """
    found = control_character(text)
    if found is not None:
        raise ValueError(f"its names hold a control character ({found})")
