"""Text compressed by blocks (BGZF), and its index for tabix, made while the text is written.

The layouts are those of the hts-specs (samtools.github.io/hts-specs: SAMv1 section 4.1, tabix, CSIv1).
"""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

BLOCK = 0xFF00
"""Bytes of text in a block, as htslib has them."""
LEVEL = 1
END_OF_FILE = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

TABIX_LIMIT = 2**29 - 1
"""Positions from here on need an index of type CSI."""
WINDOW_SHIFT = 14
"""An index knows stretches of 16,384 base pairs."""
_TABIX_DEPTH, _CSI_DEPTH = 5, 6  # levels of bins, each of eight of the next, above those of one window

LEAST_BIN_BYTES = 1 << 16
"""A bin whose rows are closer together in the file has no place of its own."""

_HEAD = bytes.fromhex("1f8b08040000000000ff060042430200")  # of a block, before its size
_SIZE, _TAIL = struct.Struct("<H"), struct.Struct("<II")


def _codec() -> tuple[Callable[[Any, int, int], bytes], Callable[[Any], int]]:
    """What compresses, and what makes checksums: of the library isal where it is, which takes a quarter of the time."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compress, zlib.crc32
    return isal_zlib.compress, isal_zlib.crc32


class BgzfWriter:
    """Writes bytes in compressed blocks.

    Parameters
    ----------
    write
        Takes the file's bytes.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._compress, self._checksum = _codec()
        self._waiting = b""
        self.starts = [0]
        """Where in the file each block begins, and the end of the last."""

    def write(self, content: bytes | memoryview) -> None:
        """Write some bytes."""
        view = memoryview(content)
        if self._waiting:
            missing = BLOCK - len(self._waiting)
            self._waiting += view[:missing]
            view = view[missing:]
            if len(self._waiting) < BLOCK:
                return
            self._block(self._waiting)
        whole = len(view) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            self._block(view[start : start + BLOCK])
        self._waiting = bytes(view[whole:])

    def close(self) -> None:
        """Write what is left, and the block that ends a file."""
        if self._waiting:
            self._block(self._waiting)
        self._write(END_OF_FILE)

    def offsets(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Virtual offsets of places in the text, of a file that is closed."""
        starts = np.array(self.starts, np.uint64)
        return starts[places // BLOCK] << np.uint64(16) | (places % BLOCK).astype(np.uint64)

    def _block(self, content: bytes | memoryview) -> None:
        packed = self._compress(content, LEVEL, -15)
        if len(packed) > BLOCK:
            packed = zlib.compress(content, 0, -15)  # as it stands: no text is like that
        size = len(_HEAD) + _SIZE.size + len(packed) + _TAIL.size
        tail = _TAIL.pack(self._checksum(content), len(content))
        self._write(b"".join([_HEAD, _SIZE.pack(size - 1), packed, tail]))
        self.starts.append(self.starts[-1] + size)


class _Stretches(NamedTuple):
    """Rows of one contig and one window, one after another."""

    contig: NDArray[np.int64]
    window: NDArray[np.int64]
    begin: NDArray[np.int64]  # place in the text


class TabixIndex:
    """Where the rows of each stretch of the genome are; rows are one position wide.

    Parameters
    ----------
    header_lines
        Lines at the top that are passed over, beside those that begin with ``#``.
    place
        Where in the text the first row is.
    """

    def __init__(self, header_lines: int, place: int) -> None:
        self._header_lines = header_lines
        self._place = place
        self._farthest = 0
        self._last = (-1, 0)  # contig and position of the last row
        self._contigs: dict[str, int] = {}
        self._found: list[_Stretches] = []

    def add(
        self, contigs: Sequence[str], contig: NDArray[Any], position: NDArray[Any], ends: NDArray[np.int64]
    ) -> None:
        """Take note of some rows, one after another.

        Parameters
        ----------
        contigs, contig
            Names, and which one each row has, shape (rows,).
        position
            1-based, shape (rows,).
        ends
            Where each row ends, shape (rows,), counted from the end of those before.

        Raises
        ------
        InputError
            If rows of a contig stand apart, or not in the order of their positions.
        """
        if not len(ends):
            return
        begin = np.concatenate([[0], ends[:-1]]) + self._place
        self._place += int(ends[-1])
        # Contigs by the order in which they come.
        changed = np.flatnonzero(np.diff(contig, prepend=contig[0]))
        own = np.empty(len(ends), np.int64)
        for first, stop in zip([0, *changed], [*changed, len(ends)], strict=True):
            own[first:stop] = self._contig(contigs[int(contig[first])], int(position[first]))
            self._last = (int(own[first]), int(position[stop - 1]))
        falls = np.flatnonzero((np.diff(position) < 0) & (np.diff(own) == 0))
        if len(falls):
            row = int(falls[0]) + 1
            raise _unordered(contigs[int(contig[row])], int(position[row]))
        self._farthest = max(self._farthest, int(position.max()))
        window = (position.astype(np.int64) - 1) >> WINDOW_SHIFT
        is_first = np.ones(len(ends), np.bool_)
        is_first[1:] = (np.diff(own) != 0) | (np.diff(window) != 0)
        self._found.append(_Stretches(own[is_first], window[is_first], begin[is_first]))

    def _contig(self, name: str, position: int) -> int:
        """The number of the contig that rows from ``position`` on have."""
        number = self._contigs.setdefault(name, len(self._contigs))
        last, before = self._last
        if number < last or (number == last and position < before):
            raise _unordered(name, position)
        return number

    @property
    def suffix(self) -> str:
        """Of the index's name: positions decide its type."""
        return ".csi" if self._farthest >= TABIX_LIMIT else ".tbi"

    def content(self, text: BgzfWriter) -> bytes:
        """The index of ``text``, which is closed; not compressed."""
        is_csi = self.suffix == ".csi"
        names = b"".join(name.encode() + b"\0" for name in self._contigs)
        # Columns, of which contig is the first, position the second, and the end the second again.
        layout = struct.pack("<7i", 0, 1, 2, 2, ord("#"), self._header_lines, len(names)) + names
        count = struct.pack("<i", len(self._contigs))
        if is_csi:
            parts = [b"CSI\1", struct.pack("<3i", WINDOW_SHIFT, _CSI_DEPTH, len(layout)), layout, count]
        else:
            parts = [b"TBI\1", count, layout]
        if self._found:
            contig, window, begin = (np.concatenate(column) for column in zip(*self._found, strict=True))
            # One stretch may come in pieces.
            is_first = np.ones(len(begin), np.bool_)
            is_first[1:] = (np.diff(contig) != 0) | (np.diff(window) != 0)
            contig, window, begin = contig[is_first], window[is_first], begin[is_first]
            offsets = text.offsets(np.append(begin, self._place))
            edges = np.searchsorted(contig, np.arange(len(self._contigs) + 1))
            for first, stop in pairwise(edges):
                parts.append(_of_contig(window[first:stop], offsets[first : stop + 1], is_csi))
        return b"".join([*parts, bytes(8)])


def _of_contig(window: NDArray[np.int64], offsets: NDArray[np.uint64], is_csi: bool) -> bytes:
    """The part of an index that is of one contig.

    Parameters
    ----------
    window : (stretches,)
        In ascending order.
    offsets : (stretches + 1,)
        Virtual offsets of where each begins, and of where the last ends.
    is_csi
        Which type the index has.
    """
    bins: list[bytes] = []
    for number, chunks in _bins(window, offsets, _CSI_DEPTH if is_csi else _TABIX_DEPTH):
        # Rows are one position wide, so that a bin's first chunk has its first row.
        first = chunks[0, :1].astype("<u8").tobytes() if is_csi else b""
        bins.append(struct.pack("<I", number) + first + struct.pack("<i", len(chunks)) + chunks.astype("<u8").tobytes())
    content = struct.pack("<i", len(bins)) + b"".join(bins)
    if is_csi:
        return content
    # For each window, where the rows of it and of those after it begin.
    windows = np.arange(int(window[-1]) + 1)
    linear = offsets[np.searchsorted(window, windows)].astype("<u8")
    return content + struct.pack("<i", len(linear)) + linear.tobytes()


def _bins(
    window: NDArray[np.int64], offsets: NDArray[np.uint64], depth: int
) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """Numbers of bins, and their chunks, shape (chunks, 2): where each begins and ends.

    A bin that lies within a few blocks of the file is not worth a place of its own: its chunks are those of the one
    that it is a part of, as htslib has it.
    """
    number, chunks = window, np.column_stack([offsets[:-1], offsets[1:]])
    for level in range(depth, -1, -1):
        edges = np.append(np.flatnonzero(np.diff(number, prepend=-1)), len(number))
        size = np.diff(edges)
        block = chunks >> np.uint64(16)
        is_own = (block[edges[1:] - 1, 1] - block[edges[:-1], 0] >= LEAST_BIN_BYTES) | (level == 0)
        for k in np.flatnonzero(is_own):
            yield (8**level - 1) // 7 + int(number[edges[k]]), chunks[edges[k] : edges[k + 1]]
        passed_on = ~np.repeat(is_own, size)
        number, chunks, block = number[passed_on] >> 3, chunks[passed_on], block[passed_on]
        # Chunks of one bin that touch in the file are one.
        begins = np.ones(len(number), np.bool_)
        begins[1:] = (np.diff(number) != 0) | (block[:-1, 1] < block[1:, 0])
        ends = np.append(begins[1:], True)[: len(number)]
        number, chunks = number[begins], np.column_stack([chunks[begins, 0], chunks[ends, 1]])


def _unordered(contig: str, position: int) -> InputError:
    return InputError(
        "an index for tabix needs each contig's variants together and in the order of their positions, and those of "
        "the results are not",
        where=f"the variant at {contig}:{position}",
        fix="export to a name without .gz, or to gwas-ssf, which is sorted",
    )
