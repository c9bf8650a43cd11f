"""Cells of phecode maps: what they mean, and what is wrong with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from allscan.errors import FileFormatError
from allscan.phenotypes.phecodes.maps import ANY_SEX, MEN, WOMEN

if TYPE_CHECKING:
    from allscan.phenotypes.files import RawTable

SEXES = {"both": ANY_SEX, "": ANY_SEX, "nan": ANY_SEX, "na": ANY_SEX, "male": MEN, "female": WOMEN}
"""The sexes that a phecode may be of, as maps write them."""
NOTHING = frozenset({"", "na", "nan", "null", "none"})
"""Cells that hold nothing."""

_DIAGNOSIS = re.compile(r"[0-9A-Z][0-9A-Z.]{1,9}([+*!]|-[0-9A-Z.]{2,6})?")
NUMBER = re.compile(r"\d{3,4}(\.\d{1,3})?")
"""Phecodes of version 1.2."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")


def damage(vocabulary: str, code: str) -> str:
    """What is wrong with a diagnosis code; empty if nothing is."""
    digits = code.partition(".")[0]
    if vocabulary.startswith("ICD9") and digits.isdigit() and len(digits) < 3:
        return f"the ICD-9 code {code!r} has lost its leading zeros"
    return "" if _DIAGNOSIS.fullmatch(code) else f"{code!r} is no diagnosis code"


def check_phecode(phecode: str, table: RawTable, row: int, column: str) -> None:
    """Refuse what is no phecode.

    Raises
    ------
    FileFormatError
        Naming the cell.
    """
    digits = phecode.partition(".")[0]
    if digits.isdigit() and len(digits) < 3:
        raise FileFormatError(
            f"the phecode {phecode!r} has lost its leading zeros",
            where=table.where(row, column),
            fix="spreadsheets do that: read such columns as text",
        )
    if not _NAME.fullmatch(phecode):
        raise FileFormatError(f"{phecode!r} is no phecode", where=table.where(row, column), fix="get the file again")


def parts(text: str) -> list[str]:
    """What stands between the commas of a cell."""
    return [] if text.lower() in NOTHING else [part.strip() for part in text.split(",") if part.strip()]


def check_range(text: str, table: RawTable, row: int, column: str) -> None:
    """Refuse a cell that is no list of phecodes and ranges of them.

    Raises
    ------
    FileFormatError
        Naming the cell.
    """
    for part in parts(text):
        ends = part.split("-")
        right = all(NUMBER.fullmatch(end) for end in ends) if len(ends) == 2 else _NAME.fullmatch(part)
        if not right or (len(ends) == 2 and float(ends[0]) > float(ends[1])):
            raise FileFormatError(
                f"{part!r} is no range of phecodes",
                where=table.where(row, column),
                fix="ranges are written as 001-009.99, several with commas",
            )


def yes(text: str) -> bool | None:
    """What R, or a spreadsheet, means by a flag; None if it is none."""
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())


def contradiction(what: str, where: str) -> FileFormatError:
    """The error for files that say two things of the same."""
    return FileFormatError(what, where=where, fix="get the file again; files of different versions do not go together")
