"""What htslib leaves to its caller: its complaints, the end of a file, and its indexes."""

from __future__ import annotations

import gzip
import os
import struct
import sys
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from allscan.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_EOF_MARKER = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_LAST_BASE = 2**31 - 1


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collect what htslib writes to standard error while the block runs.

    htslib tells of some damage there and nowhere else: reading a region of a damaged file ends
    without an error. The list is filled when the block ends; lines of other origin are passed on.
    """
    collected: list[str] = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield collected
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            refused = False
            for line in sink.read().splitlines(keepends=True):
                if line.startswith((b"[E::", b"[W::")):
                    collected.append(line.decode(errors="replace").strip())
                    refused |= line.startswith(b"[E::")
                elif not refused:
                    # An error can go on over several lines and repeat the line of sample ids.
                    os.write(2, line)


def errors_among(messages: list[str]) -> list[str]:
    """The errors among htslib's messages, without their tags."""
    return [message.partition("] ")[2] for message in messages if message.startswith("[E::")]


def is_bgzf(head: bytes) -> bool:
    """Whether a file that begins with these bytes is compressed by bgzip."""
    return head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC"


def check_end(path: Path, size: int) -> None:
    """Check that a bgzip-compressed file was not cut off.

    Raises
    ------
    FileFormatError
        If it does not end with the block that marks the end.
    """
    with path.open("rb") as file:
        file.seek(max(0, size - len(_EOF_MARKER)))
        tail = file.read()
    if tail != _EOF_MARKER:
        raise FileFormatError(
            f"{path.name} does not end with the BGZF end-of-file block: it was cut off",
            where=f"{path}, after byte {size}",
            fix="copy or create it again; if it is known to be whole: bcftools view -Oz -o new.vcf.gz FILE",
        )


@dataclass(frozen=True)
class IndexedContig:
    """What a .tbi or .csi index knows of one contig."""

    name: str | None  # None in a .csi of a BCF file, which numbers contigs as the header does
    number: int
    n_records: int | None
    positions: NDArray[np.int64]  # (windows,) 1-based first base, increasing
    offsets: NDArray[np.uint64]  # (windows,) virtual file offset of the first record, not decreasing

    def regions(self, target_variants: int) -> list[tuple[int, int]]:
        """Split into half-open base-pair ranges of about ``target_variants`` records each.

        Records are taken to be spread evenly over the bytes of the file.
        """
        pieces = max(1, -(-(self.n_records or 1) // target_variants))
        bytes_before = _file_bytes(self.offsets)
        wanted = np.linspace(bytes_before[0], bytes_before[-1], pieces + 1)[1:-1]
        windows = np.searchsorted(bytes_before, wanted, side="left")
        inner = np.unique(self.positions[np.minimum(windows, len(self.positions) - 1)])
        bounds = [0, *(int(bound) for bound in inner if bound > 1), _LAST_BASE]
        return list(pairwise(bounds))


def _file_bytes(offsets: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Place in the compressed file of virtual offsets: the byte of a block, and a share of the block."""
    block = (offsets >> np.uint64(16)).astype(np.float64)
    within = (offsets & np.uint64(0xFFFF)).astype(np.float64) / 65536
    blocks, number = np.unique(block, return_inverse=True)
    # A block has 64 KiB at most; where the next one that the index names is further off, that is the better guess.
    sizes = np.minimum(np.diff(blocks, append=blocks[-1] + 65536), 65536)
    return np.maximum.accumulate(block + within * sizes[number])


def read_index(path: Path) -> list[IndexedContig]:
    """Contigs that have records, in file order, from a .tbi or .csi file.

    The layouts are those of the hts-specs (samtools.github.io/hts-specs: tabix, CSIv1).

    Raises
    ------
    FileFormatError
        If the index is damaged.
    """
    try:
        data = gzip.decompress(path.read_bytes())
        contigs = _parse_tbi(data) if data[:4] == b"TBI\1" else _parse_csi(data)
    except (OSError, EOFError, zlib.error, struct.error, ValueError, IndexError) as error:
        raise FileFormatError(
            f"{path.name} is not a readable index: {error}",
            where=str(path),
            fix="make it again: tabix -f -p vcf FILE (or bcftools index -f FILE)",
        ) from error
    return sorted((contig for contig in contigs if len(contig.offsets)), key=lambda c: int(c.offsets[0]))


class _Cursor:
    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def array(self, dtype: str, count: int) -> NDArray[np.uint64]:
        values = np.frombuffer(self.data, dtype=dtype, count=count, offset=self.at)
        self.at += values.nbytes
        return values.astype(np.uint64)


def _parse_tbi(data: bytes) -> list[IndexedContig]:
    cursor = _Cursor(data, 4)
    n_contigs, *_, name_bytes = cursor.take("<8i")
    names = data[cursor.at : cursor.at + name_bytes].split(b"\0")
    cursor.at += name_bytes
    contigs = []
    for number in range(n_contigs):
        n_records = None
        for _ in range(cursor.take("<i")[0]):
            bin_number, n_chunks = cursor.take("<Ii")
            chunks = cursor.array("<u8", 2 * n_chunks)
            if bin_number == 37450 and n_chunks == 2:
                n_records = int(chunks[2])
        starts = np.maximum.accumulate(cursor.array("<u8", cursor.take("<i")[0]))
        windows = np.flatnonzero(np.diff(starts, prepend=np.uint64(0)))
        contigs.append(IndexedContig(names[number].decode(), number, n_records, windows * 16384 + 1, starts[windows]))
    return contigs


def _parse_csi(data: bytes) -> list[IndexedContig]:
    if data[:4] != b"CSI\1":
        raise ValueError("neither TBI nor CSI")
    cursor = _Cursor(data, 4)
    min_shift, depth, aux_bytes = cursor.take("<3i")
    aux = data[cursor.at : cursor.at + aux_bytes]
    cursor.at += aux_bytes
    names = aux[28:].split(b"\0") if aux_bytes > 28 else []
    leaf = ((1 << (3 * depth)) - 1) // 7  # number of the first bin of the finest level
    meta = ((1 << (3 * (depth + 1))) - 1) // 7 + 1
    contigs = []
    for number in range(cursor.take("<i")[0]):
        n_records = None
        starts: dict[int, int] = {}
        for _ in range(cursor.take("<i")[0]):
            bin_number, first, n_chunks = cursor.take("<IQi")
            chunks = cursor.array("<u8", 2 * n_chunks)
            if bin_number == meta and n_chunks == 2:
                n_records = int(chunks[2])
            elif leaf <= bin_number < meta:
                starts[((bin_number - leaf) << min_shift) + 1] = first
            elif n_chunks:
                starts.setdefault(1, int(chunks[0]))
        positions = np.array(sorted(starts), dtype=np.int64)
        offsets = np.array([starts[int(p)] for p in positions], dtype=np.uint64)
        name = names[number].decode() if names else None
        contigs.append(IndexedContig(name, number, n_records, positions, np.maximum.accumulate(offsets)))
    return contigs
