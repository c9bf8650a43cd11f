"""A phecode map: which diagnosis codes make which phecodes, and what a phecode excludes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

ANY_SEX, MEN, WOMEN = 0, 1, 2

X_STYLE = re.compile(r"[A-Z]{2}_\d{3}(\.\d{1,3})?")
"""Phecodes of version X, whose parents are their beginnings: CV_401.11, CV_401.1, CV_401."""


@dataclass(frozen=True)
class Phecode:
    """One phecode."""

    code: str
    label: str
    category: str
    only_sex: int  # ANY_SEX, MEN or WOMEN
    leaf: bool  # nothing rolls up to it


@dataclass(frozen=True)
class PhecodeMap:
    """A phecode map as read from its files. Phecodes are called by their place in :attr:`phecodes`."""

    name: str
    phecodes: tuple[Phecode, ...]  # in order of their numbers
    codes: Mapping[tuple[str, str], tuple[int, ...]]  # (vocabulary, code in capitals): phecodes, without their parents
    parents: tuple[tuple[int, ...], ...]  # of each phecode: what it rolls up to
    exclusions: tuple[tuple[int, ...], ...]  # of each phecode: whoever has one of these is none of its controls
    lacks: tuple[str, ...]  # of "roll-up", "exclusions", "sexes": what the files do not say
    sources: tuple[tuple[str, str], ...]  # (file, SHA-256)
    notes: tuple[str, ...] = ()

    @property
    def vocabularies(self) -> tuple[str, ...]:
        """Vocabularies that the map has codes of."""
        return tuple(sorted({vocabulary for vocabulary, _ in self.codes}))

    @property
    def digest(self) -> str:
        """SHA-256 of the names and contents of the files that it was read from."""
        return hashlib.sha256(json.dumps(sorted(self.sources)).encode()).hexdigest()

    def table(self, codes: Sequence[tuple[str, str]], *, roll_up: bool) -> CodeTable:
        """The phecodes of diagnosis codes.

        Parameters
        ----------
        codes
            (vocabulary, code) pairs. A code is looked up in capitals; one without a dot, that the map does not have
            like this, also by what it is with one (``25000`` for ``250.00``).
        roll_up
            Whether a code also counts for what its phecodes roll up to.
        """
        dotted = self._dotted({vocabulary for vocabulary, _ in codes})
        found: list[int] = []
        ends = np.zeros(len(codes) + 1, np.int64)
        for row, (vocabulary, code) in enumerate(codes):
            key = (vocabulary, plain(code))
            direct = self.codes.get(key)
            if direct is None and "." not in key[1]:
                direct = self.codes.get((vocabulary, dotted.get(key, "")))
            found.extend(self._rolled(direct or (), roll_up))
            ends[row + 1] = len(found)
        return CodeTable(ends, np.array(found, np.int32))

    def _dotted(self, vocabularies: Iterable[str]) -> dict[tuple[str, str], str]:
        """Codes by how they are written without their dot, where that leaves no doubt."""
        wanted = set(vocabularies)
        found: dict[tuple[str, str], str] = {}
        doubtful = set()
        for vocabulary, code in self.codes:
            if vocabulary in wanted and "." in code:
                key = (vocabulary, code.replace(".", ""))
                if found.setdefault(key, code) != code:
                    doubtful.add(key)
        return {key: code for key, code in found.items() if key not in doubtful}

    def _rolled(self, direct: tuple[int, ...], roll_up: bool) -> Iterable[int]:
        if not roll_up:
            return direct
        return sorted({*direct, *(parent for phecode in direct for parent in self.parents[phecode])})


@dataclass(frozen=True)
class CodeTable:
    """The phecodes of diagnosis codes: those of code ``c`` are ``phecodes[ends[c]:ends[c + 1]]``."""

    ends: NDArray[np.int64]  # (codes + 1,)
    phecodes: NDArray[np.int32]  # (links,)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many phecodes each code has."""
        return np.diff(self.ends)


def plain(code: str) -> str:
    """A diagnosis code as maps are searched for it: in capitals, without blanks around it and a dot at its end."""
    return code.strip().upper().rstrip(".")


def order(phecode: str) -> tuple[float, str]:
    """Sorts phecodes by their numbers, which go on from one category to the next."""
    number = phecode.rpartition("_")[2]
    try:
        return float(number), phecode
    except ValueError:
        return float("inf"), phecode


def beginnings(phecode: str) -> list[str]:
    """What a phecode of version X rolls up to by its name: ``CV_401.11`` to ``CV_401.1`` and ``CV_401``."""
    base, _, digits = phecode.partition(".")
    return [f"{base}.{digits[:n]}" if n else base for n in range(len(digits) - 1, -1, -1)] if digits else []
