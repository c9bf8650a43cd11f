"""Phased genotypes and ancestries of VCF text, many haplotypes a second: FLARE's output, and any phased VCF."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from allscan.engine.ingest.tables import open_bytes
from allscan.errors import FileFormatError
from allscan.kernels.jit import jit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

READ_BYTES = 4 << 20
_COLUMNS = 9  # before the samples
_TRUNCATED, _BROKEN = -1, -2


class PhasedSite(NamedTuple):
    """A site of a phased source; arrays are overwritten when the next one is read."""

    contig: str
    position: int
    ref: str
    alternates: tuple[str, ...]
    alleles: NDArray[np.int8]  # (2 × samples,) -1: missing
    phased: NDArray[np.bool_]  # (samples,)
    ancestry: NDArray[np.uint8] | None  # (2 × samples,)


class VcfHeader(NamedTuple):
    """What the header of a VCF file says."""

    samples: tuple[str, ...]
    ancestries: tuple[str, ...]  # of FLARE, by their number; empty: it has none


def read_vcf_header(path: Path) -> VcfHeader:
    """Samples and ancestries of a VCF file.

    Raises
    ------
    FileFormatError
        If it is no VCF file, or its ancestries are not numbered from 0.
    """
    with open_bytes(path) as stream:
        return _header(stream, path)[0]


def _header(stream: BinaryIO, path: Path) -> tuple[VcfHeader, bytes]:
    """The header, and what was read after it."""
    text = b""
    ancestries: dict[int, str] = {}
    while True:
        end = text.find(b"\n")
        if end < 0:
            more = stream.read(READ_BYTES)
            if not more:
                raise FileFormatError(
                    f"{path.name} has no #CHROM line: it is not a VCF file", where=str(path), fix="give a VCF file"
                )
            text += more
            continue
        line, text = text[:end].decode("utf-8", "replace").rstrip("\r"), text[end + 1 :]
        if line.startswith("##ANCESTRY="):
            ancestries.update(_ancestries(line, path))
        elif line.startswith("#CHROM"):
            return VcfHeader(tuple(line.split("\t")[_COLUMNS:]), numbered(ancestries, path)), text
        elif not line.startswith("##"):
            raise FileFormatError(
                f"{path.name} has no #CHROM line: it is not a VCF file", where=str(path), fix="give a VCF file"
            )


def _ancestries(line: str, path: Path) -> dict[int, str]:
    """``##ANCESTRY=<EUR=0,AFR=1>``."""
    found: dict[int, str] = {}
    for item in line.partition("=")[2].strip("<>").split(","):
        name, _, number = item.partition("=")
        if not number.isdigit():
            raise FileFormatError(
                f"{path.name} does not say which ancestry has which number: {line[:80]}",
                where=f"{path}, the line ##ANCESTRY",
                fix="FLARE writes ##ANCESTRY=<NAME=0,NAME=1>",
            )
        found[int(number)] = name
    return found


def numbered(ancestries: dict[int, str], path: Path) -> tuple[str, ...]:
    """Names in the order of their numbers.

    Raises
    ------
    FileFormatError
        If a number or a name is missing or there twice.
    """
    names = tuple(ancestries[number] for number in sorted(ancestries))
    if sorted(ancestries) != list(range(len(ancestries))) or len(set(names)) < len(names):
        raise FileFormatError(
            f"the ancestries of {path.name} are not numbered 0, 1, 2, …: {ancestries}",
            where=str(path),
            fix="correct the line that numbers them",
        )
    return names


def read_vcf_sites(path: Path) -> Iterator[PhasedSite]:
    """Sites of a VCF file, in file order.

    Raises
    ------
    FileFormatError
        If a line is not one of VCF, or lacks GT.
    """
    with open_bytes(path) as stream:
        header, text = _header(stream, path)
        n = len(header.samples)
        alleles, phased = np.empty(2 * n, np.int8), np.empty(n, bool)
        ancestry = np.empty(2 * n, np.uint8) if header.ancestries else None
        room = np.empty(0, np.uint8) if ancestry is None else ancestry
        at, number, ended = 0, 0, False
        while True:
            begin = _after_columns(text, at)
            end = _TRUNCATED
            if begin > 0 or ended:
                if at >= len(text):
                    return
                if begin == 0 or b"\n" in text[at:begin]:
                    raise _broken(path, number, "it has fewer columns than a VCF file with samples")
                fields = text[at:begin].split(b"\t")
                keys = fields[8].split(b":")
                gt, an1, an2 = (_place(keys, key) for key in (b"GT", b"AN1", b"AN2"))
                if gt < 0 or (ancestry is not None and min(an1, an2) < 0):
                    raise _broken(path, number, f"its FORMAT is {fields[8].decode()!r}")
                buffer = np.frombuffer(text, np.uint8)
                end = int(
                    parse_samples(buffer, begin, n, gt, an1, an2, ended, len(header.ancestries), alleles, phased, room)
                )
                if end == _BROKEN:
                    what = "genotypes" if ancestry is None else "genotypes and ancestries"
                    raise _broken(path, number, f"it does not hold the {what} of {n} samples")
            if end == _TRUNCATED:
                more = stream.read(max(READ_BYTES, 16 * n))
                ended = not more
                text, at = text[at:] + more, 0
                continue
            number += 1
            contig, position, _, ref, alternates = (field.decode("utf-8", "replace") for field in fields[:5])
            if not position.isdigit():
                raise _broken(path, number, f"its position is {position!r}")
            at = end
            yield PhasedSite(contig, int(position), ref, tuple(alternates.split(",")), alleles, phased, ancestry)


def _after_columns(text: bytes, at: int) -> int:
    """Where the samples of a record begin; 0: the text ends before."""
    for _ in range(_COLUMNS):
        at = text.find(b"\t", at) + 1
        if at == 0:
            return 0
    return at


def _place(keys: list[bytes], key: bytes) -> int:
    return keys.index(key) if key in keys else -1


def _broken(path: Path, number: int, what: str) -> FileFormatError:
    return FileFormatError(
        f"record {number + 1} of {path.name} cannot be read: {what}",
        where=f"{path}, record {number + 1}",
        fix="copy or create the file again; GT must be there, of FLARE's output AN1 and AN2 too",
    )


@jit
def parse_samples(
    text: NDArray[np.uint8],
    at: int,
    n: int,
    gt: int,
    an1: int,
    an2: int,
    ended: bool,
    n_ancestries: int,
    alleles: NDArray[np.int8],
    phased: NDArray[np.bool_],
    ancestry: NDArray[np.uint8],
) -> int:
    """Parse the samples of a record; returns where the next line begins, or that the text ends or is broken.

    Parameters
    ----------
    text, at
        Bytes, and the first one of the samples.
    gt, an1, an2
        Places of the fields; -1: there are none.
    ended
        Whether the file ends with the text.
    n_ancestries
        Numbers of ancestries are below it.
    """
    size = text.shape[0]
    plain = gt == 0 and an1 == 1 and an2 == 2
    tab, newline, colon, bar = 9, 10, 58, 124
    for i in range(n):
        if plain and at + 8 <= size:
            a, b, c, d = text[at], text[at + 2], text[at + 4], text[at + 6]
            after = text[at + 7]
            digits = a - 48 < 10 and a > 47 and b - 48 < 10 and b > 47
            known = c > 47 and c - 48 < n_ancestries and d > 47 and d - 48 < n_ancestries
            separators = text[at + 1] == bar and text[at + 3] == colon and text[at + 5] == colon
            if digits and known and separators and after == (tab if i + 1 < n else newline):
                alleles[2 * i], alleles[2 * i + 1] = a - 48, b - 48
                phased[i] = True
                ancestry[2 * i], ancestry[2 * i + 1] = c - 48, d - 48
                at += 8
                continue
        field = 0
        alleles[2 * i] = alleles[2 * i + 1] = -1
        phased[i] = False
        found = 0
        while True:
            value, which, digits_read = 0, 0, 0
            while at < size and text[at] != tab and text[at] != newline and text[at] != colon:
                byte = text[at]
                if 48 <= byte <= 57:
                    value = 10 * value + (byte - 48)
                    digits_read += 1
                elif field == gt and (byte == bar or byte == 47):
                    if which > 0:
                        return _BROKEN
                    alleles[2 * i] = value if digits_read > 0 and value < 127 else -1
                    phased[i] = byte == bar
                    which, value, digits_read = 1, 0, 0
                at += 1
            if at >= size and not ended:
                return _TRUNCATED
            if field == gt:
                alleles[2 * i + which] = value if digits_read > 0 and value < 127 else -1
            elif field in (an1, an2):
                if digits_read == 0 or value >= n_ancestries:
                    return _BROKEN
                ancestry[2 * i + (1 if field == an2 else 0)] = value
                found += 1
            if at < size and text[at] == colon:
                field += 1
                at += 1
                continue
            break
        if an1 >= 0 and n_ancestries > 0 and found != 2:
            return _BROKEN
        last = i + 1 == n
        if at >= size:
            return at if last else _BROKEN
        if (text[at] == newline) != last:
            return _BROKEN
        at += 1
    return at
