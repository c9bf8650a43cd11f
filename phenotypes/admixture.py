"""Shares of a person's genome from each ancestry, as Rye and ADMIXTURE estimate them: covariates of a scan.

Rye's ``.Q`` is what R writes: a name for each ancestry, and rows that begin with an id, which has no name. ADMIXTURE's
has neither names nor ids: rows are in the order of a ``.fam`` beside it. With a header that names all columns it is a
table like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.errors import FileFormatError, InputError
from allscan.phenotypes.files import delimiter_of, first_line, split_cells
from allscan.phenotypes.lines import rows_with_lines
from allscan.phenotypes.model import CovariateColumn, CovariateTable
from allscan.phenotypes.names import ID_KEYS, bare, family_column, id_column
from allscan.storage import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from allscan.storage import Place

ENDINGS = (".Q", ".Q.gz", ".Q.bgz")
PREFIX = "admixture_"
"""Of the names of the covariates: ``admixture_eur``."""
TOLERANCE = 0.02
"""Of the sum of a person's shares: programs write few decimals."""
_FIX = "give shares between 0 and 1 that add up to 1 for everybody"


class _Layout(NamedTuple):
    names: tuple[str, ...]  # of the ancestries
    shares: tuple[int, ...]  # their cells in a row
    id_cell: int | None  # which cell is the id; None: there is none
    width: int  # cells of a row
    before: int  # physical line before the first row


def is_admixture(place: Place) -> bool:
    """Whether a file is one of shares of ancestry, by its name."""
    return place.name.endswith(ENDINGS)


def read_admixture(place: str | Place, *, id_key: str | None = None) -> CovariateTable:
    """Read shares of ancestry as covariates ``admixture_NAME``.

    Parameters
    ----------
    place
        What Rye or ADMIXTURE wrote, plain or compressed. Without a header, ancestries are numbered from 1; without ids,
        rows are the people of the ``.fam`` file of the same name (less what ADMIXTURE adds: ``cohort.6.Q`` and
        ``cohort.fam``).
    id_key
        The column of ids, where a header names one by none of the known keys.

    Raises
    ------
    InputError
        A share is none, those of a person do not add up to 1, or whose rows they are is not known.
    FileFormatError
        The file is damaged or ragged.
    """
    place = place_of(place)
    line, number = first_line(place)
    delimiter = delimiter_of(line)
    header = split_cells(line, delimiter)
    second = next((row for _, row in rows_with_lines(place, number, delimiter)), [])
    layout = _layout(place, header, number, second, id_key)
    ids, shares = _read(place, layout, rows_with_lines(place, layout.before, delimiter))
    named = ids if layout.id_cell is not None else _people_beside(place, len(shares))
    _refuse_repeated(place, named)
    columns = {
        PREFIX + name: CovariateColumn(PREFIX + name, np.ascontiguousarray(shares[:, k]))
        for k, name in enumerate(layout.names)
    }
    note = f"{place}: shares of {len(columns)} ancestries add up to 1: leave one out of a formula"
    return CovariateTable(named, columns, str(place), id_column="IID", notes=(note,))


def _layout(place: Place, first: list[str], number: int, second: list[str], wanted: str | None) -> _Layout:
    """What the first line holds, and how it differs from the second."""
    width = len(first)
    if len(second) == width + 1:
        return _Layout(tuple(first), tuple(range(1, width + 1)), 0, width + 1, number)
    words = [not _is_number(cell) for cell in first]
    if any(words[1:]) or bare(first[0]).lower() in {key.lower() for key in ID_KEYS}:
        key, family = id_column(first, source=str(place), wanted=wanted), family_column(first)
        shares = tuple(k for k, name in enumerate(first) if name not in (key, family))
        return _Layout(tuple(first[k] for k in shares), shares, first.index(key), width, number)
    has_id = words[0] or abs(sum(map(float, first)) - 1) > TOLERANCE
    shares = tuple(range(int(has_id), width))
    names = tuple(str(k) for k in range(1, len(shares) + 1))
    return _Layout(names, shares, 0 if has_id else None, width, number - 1)


def _read(
    place: Place, layout: _Layout, rows: Iterator[tuple[int, list[str]]]
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    ids: list[str] = []
    shares: list[list[float]] = []
    for at, row in rows:
        if len(row) != layout.width:
            raise FileFormatError(
                f"the row has {len(row)} cells, not {layout.width}",
                where=f"{place}, line {at}",
                fix="write the file again",
            )
        if layout.id_cell is not None:
            ids.append(row[layout.id_cell].strip())
        try:
            of_person = [float(row[k]) for k in layout.shares]
        except ValueError:
            raise InputError("a share is no number", where=f"{place}, line {at}", fix=_FIX) from None
        inside = all(-TOLERANCE <= share <= 1 + TOLERANCE for share in of_person)
        if not inside or not abs(sum(of_person) - 1) <= TOLERANCE:
            raise InputError(
                "the shares of a person are not between 0 and 1, or do not add up to 1",
                where=f"{place}, line {at}",
                fix=_FIX,
            )
        shares.append(of_person)
    if not shares:
        raise InputError("the file holds no shares of anybody", where=str(place), fix=_FIX)
    return np.array(ids, dtype=object), np.array(shares)


def _people_beside(place: Place, n_rows: int) -> NDArray[np.object_]:
    """Ids of the `.fam` file that the rows are of."""
    stem = next(place.name.removesuffix(ending) for ending in ENDINGS if place.name.endswith(ending))
    names = dict.fromkeys([f"{stem}.fam", f"{stem.rpartition('.')[0] or stem}.fam"])
    fam = next((one for one in (place.with_name(name) for name in names) if one.is_file()), None)
    if fam is None:
        raise InputError(
            f"the file does not say whose shares its rows are, and there is no {' or '.join(names)} beside it",
            where=str(place),
            fix="put the .fam file that ADMIXTURE was given there, or begin each row with the id",
        )
    line, number = first_line(fam)
    people = [row[1].strip() for _, row in rows_with_lines(fam, number - 1, delimiter_of(line)) if len(row) > 1]
    if len(people) != n_rows:
        raise InputError(
            f"there are {n_rows:,} rows of shares, and {len(people):,} people in {fam.name}",
            where=str(place),
            fix="give the .fam file of the same people",
        )
    return np.array(people, dtype=object)


def _refuse_repeated(place: Place, ids: NDArray[np.object_]) -> None:
    if len(set(ids)) < len(ids) or "" in ids:
        raise InputError(
            f"{len(ids) - len(set(ids)):,} rows repeat the id of an earlier row, or have none",
            where=str(place),
            fix="give each person one row",
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
