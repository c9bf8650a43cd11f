"""The outline of a BGEN file: its header, its samples, and where its variants lie."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from allscan.engine.ingest.records import file_size
from allscan.engine.ingest.sample_tables import sex_codes, sex_note, split_table
from allscan.engine.ingest.tables import MAX_POSITION, OrderCheck, read_lines
from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

STRIDE = 256
"""Variants between two remembered offsets."""

_ROWS = 1 << 16


@dataclass(frozen=True)
class BgenOutline:
    """What the first bytes of a BGEN file say.

    The layout is that of the specification (www.chg.ox.ac.uk/~gav/bgen_format), BGEN 1.2 and 1.3.
    """

    first_variant: int  # byte offset
    n_variants: int
    n_samples: int
    compression: int  # 0 none, 1 zlib, 2 zstd
    sample_ids: tuple[str, ...] | None
    size: int  # of the file in bytes


def read_outline(path: Path) -> BgenOutline:
    """Read and check the header and the sample block of a BGEN file.

    Raises
    ------
    InputError
        If the file cannot be opened or has no samples or variants.
    FileFormatError
        If it is not BGEN, of an older version, or cut off.
    """
    size = file_size(path)
    with path.open("rb") as file:
        head = file.read(24)
        if len(head) < 24 or head[16:20] not in (b"bgen", b"\0\0\0\0"):
            raise FileFormatError(
                f"{path.name} does not begin as a BGEN file does",
                where=str(path),
                fix="check that this is the right file",
            )
        offset, header_size, n_variants, n_samples = struct.unpack("<4I", head[:16])
        file.seek(header_size)  # the header begins after the 4-byte offset, and flags are its last 4 bytes
        flags = int.from_bytes(file.read(4), "little")
        layout, compression, has_ids = (flags >> 2) & 15, flags & 3, bool(flags >> 31)
        if layout != 2 or compression > 2:
            raise FileFormatError(
                f"{path.name} has BGEN layout {layout} and compression {compression}; layout 2 (BGEN 1.2 "
                "and 1.3) with compression 0, 1 or 2 is read",
                where=str(path),
                fix=f"plink2 --bgen {path.name} ref-first --sample FILE.sample --export bgen-1.3 --out new",
            )
        if n_variants == 0 or n_samples == 0:
            raise InputError(
                f"{path.name} holds {n_variants} variants of {n_samples} samples",
                where=str(path),
                fix="give a file with at least one variant and one sample",
            )
        if 4 + offset > size:
            raise _cut_off(path, 0, n_variants)
        block = file.read(4 + offset - header_size - 4) if has_ids else b""
    ids = _embedded_ids(block, n_samples, path) if has_ids else None
    return BgenOutline(4 + offset, n_variants, n_samples, compression, ids, size)


def _embedded_ids(block: bytes, n_samples: int, path: Path) -> tuple[str, ...]:
    try:
        listed = struct.unpack_from("<I", block, 4)[0]
        at = 8
        ids = []
        for _ in range(listed):
            length = struct.unpack_from("<H", block, at)[0]
            ids.append(block[at + 2 : at + 2 + length].decode())
            at += 2 + length
    except (struct.error, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"the sample block of {path.name} is damaged: {error}",
            where=str(path),
            fix="copy or create the file again",
        ) from error
    if listed != n_samples:
        raise FileFormatError(
            f"{path.name} holds {n_samples} samples but lists {listed} ids",
            where=str(path),
            fix="create the file again",
        )
    return tuple(ids)


def variant_offsets(path: Path, outline: BgenOutline) -> tuple[NDArray[np.int64], bool]:
    """Offset of every 256th variant, and whether a usable .bgi index told them.

    A .bgi that does not describe this file is not used. Without one the file is walked from variant to
    variant, which reads none of the genotypes. Either way the order of the variants is checked.

    Raises
    ------
    FileFormatError
        If the file is cut off, is damaged, or its variants are not sorted.
    """
    fix = f"plink2 --bgen {path.name} ref-first --make-pgen --sort-vars --out sorted, and give sorted.pgen"
    index = path.with_name(path.name + ".bgi")
    if index.is_file():
        offsets = _from_index(index, outline, OrderCheck(str(path), fix))
        if offsets is not None:
            return offsets, True
    return _from_walk(path, outline, OrderCheck(str(path), fix)), False


def _from_index(index: Path, outline: BgenOutline, order: OrderCheck) -> NDArray[np.int64] | None:
    """Offsets from bgenix's index, None if it is not the index of this file."""
    query = "SELECT chromosome, position, file_start_position, size_in_bytes FROM Variant ORDER BY file_start_position"
    kept: list[NDArray[np.int64]] = []
    expected = outline.first_variant
    number = 0
    try:
        # Opened as immutable: nothing may be written beside the user's file.
        with closing(sqlite3.connect(f"{index.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            cursor = database.execute(query)
            while rows := cursor.fetchmany(_ROWS):
                contig, position, start, length = zip(*rows, strict=True)
                starts = np.array(start, dtype=np.int64)
                stops = starts + np.array(length, dtype=np.int64)
                if starts[0] != expected or not np.array_equal(starts[1:], stops[:-1]):
                    return None
                order.check(
                    np.array(contig, dtype=object),
                    np.array(position, dtype=np.int64),
                    partial(_variant_name, number),
                )
                kept.append(starts[-number % STRIDE :: STRIDE])
                number += len(starts)
                expected = int(stops[-1])
    except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, FileFormatError):
            raise
        return None
    if number != outline.n_variants or expected != outline.size:
        return None
    return np.concatenate(kept)


def _variant_name(first: int, row: int) -> str:
    return f"variant {first + row + 1}"


def _from_walk(path: Path, outline: BgenOutline, order: OrderCheck) -> NDArray[np.int64]:
    kept = []
    at = outline.first_variant
    with path.open("rb") as file:
        for number in range(outline.n_variants):
            if number % STRIDE == 0:
                kept.append(at)
            try:
                identity = read_identity(file, at)
            except ValueError as error:
                raise _cut_off(path, number, outline.n_variants) from error
            at = identity.stop
            if at > outline.size:
                raise _cut_off(path, number, outline.n_variants)
            if identity.position > MAX_POSITION:
                raise FileFormatError(
                    f"position {identity.position} is too large for a chromosome",
                    where=f"{path}, variant {number + 1}",
                    fix="the file is damaged: copy or create it again",
                )
            order.check_next(identity.contig, identity.position)
    if at != outline.size:
        raise FileFormatError(
            f"{outline.size - at} bytes follow the last of the {outline.n_variants} variants of the header",
            where=str(path),
            fix="the file is damaged or was not finished: create it again",
        )
    return np.array(kept, dtype=np.int64)


class Identity(NamedTuple):
    """What a BGEN file says of a variant before its genotypes."""

    contig: str
    position: int
    variant_id: str  # the rsid, or the other id where that is empty
    alleles: tuple[str, ...]
    start: int  # byte offset of the genotypes
    stop: int  # and of the next variant


def read_identity(file: BinaryIO, offset: int) -> Identity:
    """Read all of a variant at a byte offset but its genotypes.

    Raises
    ------
    ValueError
        If the file ends, or the names are not text.
    """

    def number(size: int) -> int:
        raw = file.read(size)
        if len(raw) < size:
            raise ValueError("the file ends within a variant")
        return int.from_bytes(raw, "little")

    def text(size: int) -> str:
        raw = file.read(size)
        if len(raw) < size:
            raise ValueError("the file ends within a variant")
        return raw.decode()

    file.seek(offset)
    other_id = text(number(2))
    rsid = text(number(2))
    contig = text(number(2))
    position = number(4)
    alleles = tuple(text(number(4)) for _ in range(number(2)))
    length = number(4)
    start = file.tell()
    return Identity(contig, position, rsid or other_id or ".", alleles, start, start + length)


def _cut_off(path: Path, number: int, n_variants: int) -> FileFormatError:
    return FileFormatError(
        f"{path.name} ends or is damaged after variant {number} of {n_variants}",
        where=str(path),
        fix="copy or create the file again",
    )


@dataclass(frozen=True)
class SampleTable:
    """A .sample file."""

    sample_ids: tuple[str, ...]
    family_ids: tuple[str, ...] | None
    sex: NDArray[np.int8]
    notes: tuple[str, ...]


def read_sample_file(path: Path) -> SampleTable:
    """Read an Oxford .sample file: a line of names, a line of column types, then one line per sample.

    The sample id is ``ID_2`` and the family id ``ID_1``; where ``ID_2`` is ``0`` throughout, or there is no
    ``ID_2``, the sample id is the first column.

    Raises
    ------
    InputError, FileFormatError
        If it lists no samples or lacks the line of column types.
    """
    table = split_table(read_lines(path), path)
    if len(table) < 2 or table[1][0] != "0":
        raise FileFormatError(
            f"{path.name} has no second line of column types (0 0 0 D ...)",
            where=f"{path}, line 2",
            fix="give an Oxford .sample file: names, types, then one line per sample",
        )
    names = [name.lower() for name in table[0]]
    rows = table[2:]
    if not rows:
        raise InputError(f"{path.name} lists no samples", where=str(path), fix="give a file with at least one sample")
    first = tuple(row[0] for row in rows)
    second = tuple(row[1] for row in rows) if len(names) > 1 and names[1] == "id_2" else None
    ids, families = first, None
    if second is not None and set(second) != {"0"}:
        ids, families = second, None if set(first) == {"0"} else first
    sex = np.zeros(len(ids), dtype=np.int8)
    notes: tuple[str, ...] = ()
    if "sex" in names:
        sex, unknown = sex_codes([row[names.index("sex")] for row in rows])
        notes = sex_note(unknown, path)
    return SampleTable(ids, families, sex, notes)
