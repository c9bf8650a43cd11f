"""The staging folder of an ingest: what is finished survives a kill, and one process at a time works on it.

``OUT.partial/`` beside the store to be holds ``parts/<source>/<number>.{genotypes,variants,json}``, one
triple for each partition that was read, and ``store/``, the store in the making. A part counts once its
``.json`` is there, which is renamed into place last.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import uuid
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import google_crc32c
import numcodecs
import numpy as np

from allscan.errors import ClusterError, CorruptChunkError, OutputError
from allscan.kernels.wire import from_bytes, to_bytes
from allscan.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock
    from allscan.storage import Place

PARTIAL = ".partial"
_CHECKSUM_BYTES = 4
_ZSTD_LEVEL = 1

STRING_COLUMNS = ("id", "ref", "alt")
NUMBER_COLUMNS = {
    "position": np.int32,
    "n_called": np.int32,
    "allele_count": np.float64,
    "n_het": np.int32,
    "n_hom_alt": np.int32,
    "hwe_neg_log10_p": np.float32,
    "info": np.float32,
    "n_alt": np.int16,
    "n_haploid": np.int32,
}


class Segment(NamedTuple):
    """Consecutive variants of one contig in a part, sorted by position."""

    contig: str
    first: int  # position of the first variant
    last: int  # position of the last variant
    n_variants: int
    has_ties: bool  # two variants share a position
    offset: int  # where its genotypes begin in the part's file
    size: int  # their bytes, with the checksum


class Stretch(NamedTuple):
    """What a part saw of one contig, variants that were filtered out included."""

    contig: str  # as the source spells it
    first: int  # position of the first variant
    last: int  # position of the last variant
    first_key: str  # contig:position:ref:alt of the first variant


@dataclass
class PartSummary:
    """What is in a part, and what was left out of it."""

    source: int
    number: int
    segments: list[Segment] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of the part's files, by suffix

    @property
    def n_variants(self) -> int:
        """Variants kept."""
        return sum(segment.n_variants for segment in self.segments)


def part_path(folder: Path, number: int, suffix: str) -> Path:
    """One of the files of a part."""
    return folder / f"{number:08d}.{suffix}"


def load_summary(folder: Path, source: int, number: int) -> PartSummary | None:
    """Summary of a finished part, None if it is not there whole."""
    try:
        document = json.loads(part_path(folder, number, "json").read_bytes())
        sizes = {suffix: part_path(folder, number, suffix).stat().st_size for suffix in document["sizes"]}
    except FileNotFoundError:
        return None
    if sizes != document["sizes"]:
        return None
    return PartSummary(
        source,
        number,
        [Segment(*row) for row in document["segments"]],
        [Stretch(*row) for row in document["stretches"]],
        document["counts"],
        document["sizes"],
    )


class PartWriter:
    """Writes one part, segment by segment; on leaving the context it is committed, or nothing is left."""

    def __init__(self, folder: Path, summary: PartSummary) -> None:
        self._folder = folder
        self._summary = summary
        self._offset = 0

    def __enter__(self) -> Self:
        import pyarrow as pa

        if not self._folder.is_dir():
            raise ClusterError(
                f"{socket.gethostname()} does not see the folder where the ingest puts what it has read",
                where=str(self._folder),
                fix="make the store where every machine of the cluster sees the same folder, or give such a one with "
                "--staging",
            )
        tag = uuid.uuid4().hex
        self._temporary = {
            suffix: part_path(self._folder, self._summary.number, f"{suffix}.{tag}{PARTIAL}")
            for suffix in ("genotypes", "variants")
        }
        self._genotypes = self._temporary["genotypes"].open("wb")
        self._variants = self._temporary["variants"].open("wb")
        self._table = pa.ipc.new_file(self._variants, _schema())
        return self

    def add(self, contig: str, block: GenotypeBlock, columns: dict[str, NDArray[Any]]) -> None:
        """Add a segment: genotypes, and the columns of :data:`NUMBER_COLUMNS` and :data:`STRING_COLUMNS`."""
        import pyarrow as pa

        content = numcodecs.Zstd(level=_ZSTD_LEVEL).encode(to_bytes(block))
        checksum = google_crc32c.value(bytes(content)).to_bytes(_CHECKSUM_BYTES, "little")
        self._genotypes.write(content)
        self._genotypes.write(checksum)
        self._table.write_batch(
            pa.record_batch([pa.array(columns[name.name], name.type) for name in _schema()], schema=_schema())
        )
        position = columns["position"]
        size = len(content) + _CHECKSUM_BYTES
        self._summary.segments.append(
            Segment(
                contig,
                int(position[0]),
                int(position[-1]),
                len(position),
                bool((position[1:] == position[:-1]).any()),
                self._offset,
                size,
            )
        )
        self._offset += size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            for file in (self._genotypes, self._variants):
                file.close()
            for path in self._temporary.values():
                path.unlink(missing_ok=True)

    def _commit(self) -> None:
        self._table.close()
        for suffix, file in (("genotypes", self._genotypes), ("variants", self._variants)):
            file.flush()
            os.fsync(file.fileno())
            self._summary.sizes[suffix] = file.tell()
            self._temporary[suffix].replace(part_path(self._folder, self._summary.number, suffix))
        document = {**asdict(self._summary), "segments": self._summary.segments}
        document["stretches"] = self._summary.stretches
        write_atomically(part_path(self._folder, self._summary.number, "json"), json.dumps(document).encode())


class PartReader:
    """Reads segments of one finished part."""

    def __init__(self, folder: Path, number: int) -> None:
        import pyarrow as pa

        self._genotypes = part_path(folder, number, "genotypes")
        self._table = pa.ipc.open_file(pa.memory_map(str(part_path(folder, number, "variants"))))

    def columns(self, segment: int, *names: str) -> dict[str, NDArray[Any]]:
        """Columns of a segment, each of shape (variants,)."""
        batch = self._table.get_batch(segment)
        return {name: batch.column(name).to_numpy(zero_copy_only=False) for name in names}

    def genotypes(self, offset: int, size: int) -> GenotypeBlock:
        """Genotypes of the segment at ``offset``.

        Raises
        ------
        CorruptChunkError
            If they are not what was written.
        """
        with self._genotypes.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        body, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if len(content) != size or google_crc32c.value(body) != int.from_bytes(checksum, "little"):
            raise CorruptChunkError(
                "staged genotypes do not match their checksum",
                where=f"{self._genotypes}, byte {offset}",
                fix=f"delete {self._genotypes} and run the ingest again: only this part is read again",
            )
        return from_bytes(numcodecs.Zstd().decode(body))


def _schema() -> pa.Schema:
    import pyarrow as pa

    numbers = [pa.field(name, pa.from_numpy_dtype(dtype)) for name, dtype in NUMBER_COLUMNS.items()]
    return pa.schema(numbers + [pa.field(name, pa.string()) for name in STRING_COLUMNS])


@contextmanager
def exclusive(folder: Path, out: Place) -> Iterator[None]:
    """Hold the staging folder for this process alone. The lock goes with the process, however it ends.

    Raises
    ------
    OutputError
        If another process holds it.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / "lock"
        with lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise OutputError(
                    f"another ingest ({holder}) is writing this store",
                    where=str(out),
                    fix="wait until it has ended, or give another output path",
                ) from error
            # The holder before us may have finished and removed the folder between open and lock.
            if not lock.exists() or lock.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield
            return


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed process left."""
    for path in folder.rglob(f"*{PARTIAL}"):
        if path.is_file():
            path.unlink(missing_ok=True)
