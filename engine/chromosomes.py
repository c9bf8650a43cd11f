"""Human chromosomes: their names, their order, their ploidy, and regions of them."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


class PloidyClass(IntEnum):
    """How many copies of a position a person has."""

    AUTOSOME = 0  # two, everybody; also every contig that is not one of the classes below
    X = 1  # outside the pseudoautosomal regions: one in males, two in females
    Y = 2  # outside the pseudoautosomal regions: one in males, none in females
    MT = 3  # one, everybody
    PAR = 4  # pseudoautosomal: two, everybody


class Region(NamedTuple):
    """Positions ``start`` to ``end`` of a contig, 1-based, both included."""

    contig: str
    start: int = 1
    end: int = 2**31 - 1

    def __str__(self) -> str:
        if self.end >= Region._field_defaults["end"]:
            return self.contig if self.start <= 1 else f"{self.contig}:{self.start}-"
        return f"{self.contig}:{self.start}-{self.end}"


PLINK_CODES = {"23": "X", "24": "Y", "25": "XY", "26": "MT"}
"""PLINK 1 writes the human sex chromosomes, the pseudoautosomal region and mtDNA as numbers."""

UNPLACED = "0"
"""PLINK's chromosome of variants whose place is not known."""

_RANK = {str(number): number for number in range(1, 23)} | {
    "X": 23,
    "Y": 24,
    "XY": 25,
    "PAR1": 26,
    "PAR2": 27,
    "MT": 28,
}

# UCSC genome browser and Genome Reference Consortium, 1-based and inclusive; PLINK 2's --split-par b37 and
# b38 draw the same borders on X.
_PSEUDOAUTOSOMAL = {
    ("GRCh37", "X"): ((60_001, 2_699_520), (154_931_044, 155_260_560)),
    ("GRCh37", "Y"): ((10_001, 2_649_520), (59_034_050, 59_363_566)),
    ("GRCh38", "X"): ((10_001, 2_781_479), (155_701_383, 156_030_895)),
    ("GRCh38", "Y"): ((10_001, 2_781_479), (56_887_903, 57_217_415)),
}

_BUILDS = {
    "GRCh37": ("grch37", "hg19", "b37", "37", "hs37", "hs37d5", "g1kv37"),
    "GRCh38": ("grch38", "hg38", "b38", "38", "hs38", "hs38dh"),
}

_CLASSES = {
    "X": PloidyClass.X,
    "Y": PloidyClass.Y,
    "MT": PloidyClass.MT,
    "XY": PloidyClass.PAR,
    "PAR1": PloidyClass.PAR,
    "PAR2": PloidyClass.PAR,
}


def canonical_name(contig: str) -> str | None:
    """Plain name of a human chromosome, ``"1"`` … ``"22"``, ``"X"``, ``"Y"``, ``"XY"``, ``"MT"``; else None.

    The prefix ``chr``, letter case and a leading zero make no difference: ``chrM`` is ``MT``, ``01`` is
    ``1``. PLINK's numbers 23 to 26 are not names: translate them first (:func:`translate_plink_code`).

    >>> canonical_name("chrX"), canonical_name("02"), canonical_name("chrUn_KI270302v1")
    ('X', '2', None)
    """
    name = contig[3:] if contig[:3].lower() == "chr" else contig
    name = name.upper()
    if name == "M":
        return "MT"
    if len(name) == 2 and name[0] == "0":
        name = name[1]
    return name if name in _RANK else None


def translate_plink_code(contig: str) -> str:
    """Name of a chromosome that PLINK writes as a number: ``23`` is ``X``, ``chr26`` is ``chrMT``.

    Other names come back as they are.
    """
    prefix = contig[:3] if contig[:3].lower() == "chr" else ""
    code = contig[len(prefix) :]
    return prefix + PLINK_CODES[code] if code in PLINK_CODES else contig


def same_contig(one: str, other: str) -> bool:
    """Whether two spellings mean the same contig, as ``chr7`` and ``7`` do."""
    if one == other:
        return True
    canonical = canonical_name(one)
    return canonical is not None and canonical == canonical_name(other)


def holding_chromosome(contig: str, chromosomes: Sequence[str]) -> int | None:
    """Index of the chromosome that a contig is, or (PLINK's XY, PAR1, PAR2) is a part of; None: of none of them.

    >>> holding_chromosome("chr2", ["1", "2"]), holding_chromosome("XY", ["1", "X"]), holding_chromosome("MT", ["1"])
    (1, 1, None)
    """
    part_of_x = _CLASSES.get(canonical_name(contig) or "") == PloidyClass.PAR
    found = [k for k, name in enumerate(chromosomes) if same_contig(name, "X" if part_of_x else contig)]
    return found[0] if found else None


def sort_contigs(contigs: Iterable[str]) -> list[str]:
    """Human chromosomes in natural order (1 … 22, X, Y, XY, PAR1, PAR2, MT), then the others as they come.

    >>> sort_contigs(["chrMT", "scaffold_9", "chr10", "chr2", "chrX"])
    ['chr2', 'chr10', 'chrX', 'chrMT', 'scaffold_9']
    """
    # sorted() is stable, so the contigs that share the last rank keep their order.
    return sorted(contigs, key=lambda contig: _RANK.get(canonical_name(contig) or "", len(_RANK) + 1))


def normalise_build(build: str) -> str:
    """``GRCh37`` or ``GRCh38`` for their other names (hg19, b37, hg38, …); another build as it is.

    Raises
    ------
    InputError
        If ``build`` is empty.
    """
    text = build.strip()
    if not text:
        raise InputError("the name of the reference build is empty", fix="give GRCh37, GRCh38 or another name")
    for name, synonyms in _BUILDS.items():
        if text.lower() in synonyms:
            return name
    return text


def ploidy_class(contig: str, position: int, build: str | None) -> PloidyClass:
    """Ploidy of one position.

    Parameters
    ----------
    contig
        Contig name in any spelling.
    position
        1-based.
    build
        Reference build. Where the pseudoautosomal regions of a build are not known (None, or neither
        GRCh37 nor GRCh38), all of X counts as X and all of Y as Y.
    """
    return PloidyClass(int(ploidy_classes(contig, np.array([position]), build)[0]))


def ploidy_classes(contig: str, positions: NDArray[np.integer], build: str | None) -> NDArray[np.uint8]:
    """Ploidy of many positions of one contig.

    Parameters
    ----------
    contig
        Contig name in any spelling.
    positions
        1-based, shape (variants,).
    build
        As in :func:`ploidy_class`.

    Returns
    -------
    Codes of :class:`PloidyClass`, shape (variants,).
    """
    name = canonical_name(contig) or ""
    classes = np.full(len(positions), _CLASSES.get(name, PloidyClass.AUTOSOME), dtype=np.uint8)
    if build is not None:
        for start, end in _PSEUDOAUTOSOMAL.get((normalise_build(build), name), ()):
            classes[(positions >= start) & (positions <= end)] = PloidyClass.PAR
    return classes


LONGEST_POSITION = 20
"""Digits."""

_REGION = re.compile(r"(?P<contig>.+?)(?::(?P<start>[\d,]+)(?:(?P<dash>-)(?P<end>[\d,]*))?)?")


def parse_region(text: str) -> Region:
    """Read ``22``, ``chr22:16000000-17000000``, ``X:1,000,000-`` or a single position ``22:16050075``.

    Raises
    ------
    InputError
        If the text is not a region, or ends before it starts.
    """
    match = _REGION.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{text!r} is not a region", fix="write CONTIG or CONTIG:START-END, 1-based")
    if match["start"] is None:
        # A colon that is not followed by a position belongs to the name, as in HLA contigs, but a range
        # that was mistyped must not become a contig that matches nothing.
        if re.search(r":[^:]*-", match["contig"]):
            raise InputError(f"{text!r} is not a region", fix="write CONTIG:START-END with whole numbers")
        return Region(match["contig"])
    start = _position(match["start"], text)
    without_end = Region("").end if match["dash"] else start
    end = _position(match["end"], text) if match["end"] else without_end
    if start < 1 or end < start:
        raise InputError(
            f"region {text!r} ends before it starts" if end < start else f"region {text!r} starts before 1",
            fix="positions are 1-based, and START may not be larger than END",
        )
    return Region(match["contig"], start, end)


def _position(digits: str, text: str) -> int:
    number = digits.replace(",", "")
    if not number or len(number) > LONGEST_POSITION or int(number) > Region("").end:
        raise InputError(f"{digits[:40]!r} in region {text[:80]!r} is not a position", fix="write CONTIG:START-END")
    return int(number)
