"""One trait that was made of people's records, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

BINARY = "binary"
QUANTITATIVE = "quantitative"

CASE, CONTROL, MISSING = 1, 0, -1

ONLY_SEX: dict[str, int] = {"both": 0, "male": 1, "female": 2}
"""Words for the people whom a trait is of, and their code."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
"""A trait's name."""


@dataclass(frozen=True)
class Step:
    """One step from everybody in the records to the trait's people."""

    what: str
    people: int  # who are left after it
    kind: str = "filter"  # or "count": a remark about people who stay


@dataclass(frozen=True)
class Phenotype:
    """One trait of everybody in the records.

    Raises
    ------
    ValueError
        If the name is not a plain one, or values are not of the kind.
    """

    name: str  # of its column: a letter, then letters, digits, _ . -
    kind: str  # BINARY or QUANTITATIVE
    values: NDArray[Any]  # (people,) binary: int8, 1 case, 0 control, -1 missing; quantitative: float64, NaN missing
    label: str = ""
    category: str = ""
    only_sex: int = 0  # 1 men, 2 women: the others are missing
    units: str = ""
    transform: str = "none"  # what a job does to it among its analysed people, unless it says otherwise
    recipe: Mapping[str, Any] = field(default_factory=dict)  # what made it, as JSON, with hashes of its files
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a trait")
        wanted = {BINARY: np.int8, QUANTITATIVE: np.float64}[self.kind]
        if self.values.dtype != wanted:
            raise ValueError(f"{self.name}: values of type {self.values.dtype}, not {wanted.__name__}")

    @property
    def cases(self) -> int:
        """Cases of a binary trait."""
        return int(np.count_nonzero(self.values == CASE)) if self.kind == BINARY else 0

    @property
    def n(self) -> int:
        """People who have a value."""
        present = self.values != MISSING if self.kind == BINARY else ~np.isnan(self.values)
        return int(np.count_nonzero(present))
