"""The samples of a genotype file: rows of .fam, .psam and .sample files, sex codes, unique ids."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from allscan.engine.ingest.alleles import as_objects
from allscan.errors import FileFormatError, InputError
from allscan.printable import control_character

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_MALE = frozenset({"1", "m", "male"})
_FEMALE = frozenset({"2", "f", "female"})
_UNKNOWN = frozenset({"0", "-9", "na", "nan", ".", "", "u", "unknown"})


def split_table(lines: Sequence[str], path: Path, first_line: int = 1) -> list[list[str]]:
    """Split rows at white space and check that they have equally many columns. Blank lines are skipped.

    Raises
    ------
    FileFormatError
        If a row has another number of columns than the first one.
    """
    rows = [line.split("\t") if "\t" in line else line.split() for line in lines]
    width = next((len(row) for line, row in zip(lines, rows, strict=True) if line.strip()), 0)
    table = []
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=first_line):
        if not line.strip():
            continue
        cells = row if len(row) == width else line.split()
        if len(cells) != width:
            raise FileFormatError(
                f"{len(cells)} columns where the first row has {width}",
                where=f"{path}, line {number}",
                fix="give every row the same number of columns, separated by tabs or blanks",
            )
        table.append([cell.strip() for cell in cells])
    return table


def sex_codes(values: Sequence[str]) -> tuple[NDArray[np.int8], int]:
    """Sex as 1 male, 2 female, 0 unknown, and how many values were not understood (and are unknown)."""
    codes = np.zeros(len(values), dtype=np.int8)
    unknown = 0
    for row, value in enumerate(values):
        lowered = value.lower()
        if lowered in _MALE:
            codes[row] = 1
        elif lowered in _FEMALE:
            codes[row] = 2
        elif lowered not in _UNKNOWN:
            unknown += 1
    return codes, unknown


def sex_note(unknown: int, path: Path) -> tuple[str, ...]:
    """The header note on sex codes that were not understood."""
    if unknown == 0:
        return ()
    return (f"{path.name}: {unknown} sex codes are neither 1/M, 2/F nor 0/NA and are taken as unknown",)


def unique_samples(ids: Sequence[str], where: str) -> NDArray[np.object_]:
    """Sample ids as an array.

    Raises
    ------
    InputError
        If there are none, one is empty, or one occurs twice. The message counts duplicates by row number,
        because ids of people may not reach a log.
    """
    if not ids:
        raise InputError(
            "there are no samples", where=where, fix="give a file with at least one sample that has genotypes"
        )
    repeated = {name for name, count in Counter(ids).items() if count > 1}
    if repeated:
        rows = [row for row, name in enumerate(ids, start=1) if name in repeated]
        first = ids[rows[0] - 1]
        pair = [row for row in rows if ids[row - 1] == first]
        raise InputError(
            f"{len(repeated)} sample ids occur more than once, the first in samples {pair[0]} and {pair[1]}",
            where=where,
            fix="give every sample its own id, or remove the duplicates",
        )
    if "" in ids:
        raise InputError(
            f"sample {list(ids).index('') + 1} has an empty id", where=where, fix="give every sample an id"
        )
    if control_character("".join(ids)) is not None:
        row = next(row for row, name in enumerate(ids, start=1) if control_character(name) is not None)
        raise InputError(
            f"the id of sample {row} holds a control character", where=where, fix="give samples ids of plain text"
        )
    return as_objects(ids)
