"""The genotype store: one Zarr v3 group with the names of the VCF Zarr specification."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan.engine.arrays import StoredArray, read_group_attributes
from allscan.engine.chunk_files import ChecksumError, read_file, stored_checksum
from allscan.engine.zstd import decompress
from allscan.errors import AllscanError, CorruptChunkError, FileFormatError, InputError, StorageError
from allscan.kernels.block import dosages
from allscan.kernels.wire import DamagedBlockError, Parts, decode, most_bytes, parse
from allscan.storage import each, is_remote, place_of, zarr_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa
    import zarr
    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock
    from allscan.storage import Place

FORMAT = "allscan-genotypes"
FORMAT_VERSION = 1
BLOCK_CHECKSUMS = "block_checksum"


@dataclass(frozen=True)
class VariantColumn:
    """One array of the store with a value for each variant."""

    name: str
    dtype: str
    description: str


VARIANT_COLUMNS = (
    VariantColumn("variant_contig", "int16", "Index into contig_id"),
    VariantColumn("variant_position", "int32", "1-based position of the first base of REF"),
    VariantColumn("variant_id", "string", "Identifier, or '.'"),
    VariantColumn("variant_length", "int32", "Length of REF in bases"),
    VariantColumn("variant_n_called", "int32", "Samples with a call"),
    VariantColumn("variant_allele_count", "float64", "Copies of ALT, haploid calls counted as two"),
    VariantColumn("variant_allele_frequency", "float64", "variant_allele_count / (2 variant_n_called)"),
    VariantColumn("variant_missing_rate", "float32", "Fraction of samples without a call"),
    VariantColumn("variant_n_het", "int32", "Heterozygous samples; dosages rounded to the nearest call"),
    VariantColumn("variant_n_hom_alt", "int32", "Samples homozygous for ALT; dosages rounded"),
    VariantColumn("variant_hwe_neg_log10_p", "float32", "Exact test of Hardy-Weinberg equilibrium, -log10 p"),
    VariantColumn("variant_info", "float32", "Imputation quality; NaN for calls"),
    VariantColumn("variant_n_alt", "int16", "ALT alleles of the site this row was split from; 1: not split"),
    VariantColumn("variant_n_haploid", "int32", "Samples with a haploid call, held as 0 or 2"),
)
OTHER_ARRAYS = ("sample_id", "sample_sex", "contig_id", "contig_length", "variant_allele")
"""Arrays of a store beside genotypes and columns of variants."""


@dataclass(frozen=True)
class VariantTable:
    """Variants of a store, column by column; every array has shape (variants,)."""

    contig: NDArray[np.object_]
    position: NDArray[np.int32]
    variant_id: NDArray[np.object_]
    ref: NDArray[np.object_]
    alt: NDArray[np.object_]
    info: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.position)

    def key(self, variant: int) -> str:
        """``contig:position:ref:alt`` of one variant."""
        return f"{self.contig[variant]}:{self.position[variant]}:{self.ref[variant]}:{self.alt[variant]}"


def block_file(path: Place, index: int) -> Place:
    """The file of a block of genotypes."""
    return path / f"call_dosage/c/{index}/0"


def read_block_checksums(path: Place, n_blocks: int) -> NDArray[np.int64]:
    """Size and CRC-32C of each genotype chunk as it is stored, shape (blocks, 2); -1 where there is none."""
    checksums = list(each(_checksum_if_there, [block_file(path, index) for index in range(n_blocks)]))
    return np.array(checksums, np.int64).reshape(n_blocks, 2)


def _checksum_if_there(file: Place) -> tuple[int, int]:
    try:
        return stored_checksum(file)
    except FileNotFoundError:
        return -1, -1


class FetchedBlock(NamedTuple):
    """A block as it is stored: read, checked and decompressed, not yet decoded."""

    number: int
    parts: Parts


class GenotypeStore:
    """An opened store: variants × samples, read by blocks. Picklable; safe to read from many threads."""

    def __init__(self, path: str | Place) -> None:
        self.path = place_of(path)
        try:
            self.attrs = read_group_attributes(self.path)
        except (OSError, ValueError) as error:
            if not self.path.exists():
                raise InputError("there is no such genotype store", where=str(path), fix="check the path") from None
            raise FileFormatError(
                "this is not a genotype store",
                where=str(path),
                fix=f"make one of your genotype file: allscan ingest FILE {self.path.with_suffix('.zarr').name}",
            ) from error
        if self.attrs.get("format") != FORMAT:
            raise FileFormatError(
                f"this Zarr group is not an allscan genotype store (format: {self.attrs.get('format')!r})",
                where=str(path),
                fix="a VCF Zarr store must be ingested first: allscan ingest STORE OUT.zarr",
            )
        if self.attrs.get("format_version") != FORMAT_VERSION:
            raise FileFormatError(
                f"the store has format version {self.attrs.get('format_version')}; this program reads {FORMAT_VERSION}",
                where=str(path),
                fix="ingest the genotypes again, or use the version of allscan named in the store's attributes",
            )
        self._arrays: dict[str, StoredArray] = {}
        self.n_variants, self.n_samples = self._stored("call_dosage").shape
        self.block_variants = int(self.attrs["block_variants"])
        self.n_blocks = -(-self.n_variants // self.block_variants)

    def __reduce__(self) -> tuple[type[GenotypeStore], tuple[Place]]:
        return (GenotypeStore, (self.path,))

    def __repr__(self) -> str:
        return f"GenotypeStore({str(self.path)!r}: {self.n_variants:,} variants × {self.n_samples:,} samples)"

    @cached_property
    def group(self) -> zarr.Group:
        """The store as the Zarr library sees it."""
        import zarr

        return zarr.open_group(zarr_store(self.path), mode="r")

    def array(self, name: str) -> zarr.Array[Any]:
        """An array of the store as the Zarr library sees it."""
        import zarr

        array = self.group[name]
        assert isinstance(array, zarr.Array)
        return array

    def _stored(self, name: str) -> StoredArray:
        if name not in self._arrays:
            try:
                self._arrays[name] = StoredArray(self.path / name)
            except (OSError, ValueError) as error:
                raise self._unreadable(name, error) from error
        return self._arrays[name]

    def _read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        try:
            return self._stored(name).read(start, stop)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, error: Exception) -> CorruptChunkError:
        return CorruptChunkError(
            f"an array of the store cannot be read: {error}",
            where=f"{self.path}, {name}",
            fix="run `allscan verify` on the store, then ingest the damaged part again",
        )

    @cached_property
    def sample_ids(self) -> NDArray[np.object_]:
        """Sample identifiers, shape (samples,)."""
        return self._read("sample_id")

    @cached_property
    def sample_sex(self) -> NDArray[np.int8]:
        """1 male, 2 female, 0 unknown, shape (samples,)."""
        return self._read("sample_sex")

    @cached_property
    def contigs(self) -> tuple[str, ...]:
        """Contig names in store order."""
        return tuple(str(name) for name in self._read("contig_id"))

    @cached_property
    def variant_contig(self) -> NDArray[np.int16]:
        """Index into ``contigs`` of every variant, shape (variants,)."""
        return self._read("variant_contig")

    @cached_property
    def variant_position(self) -> NDArray[np.int32]:
        """1-based position of every variant, shape (variants,)."""
        return self._read("variant_position")

    @property
    def reference_build(self) -> str | None:
        """Reference genome, where known."""
        return self.attrs.get("reference_build")

    def column(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """A variant column (see :data:`VARIANT_COLUMNS`) of variants ``start:stop``."""
        return self._read(name, start, stop)

    def strings(self, name: str, start: int, stop: int) -> pa.StringArray:
        """``variant_id``, or ``variant_allele`` (REF and ALT in turn), of variants ``start:stop``."""
        from allscan.engine.variant_names import read_strings

        array = self._stored(name)
        try:
            return read_strings(self.path / name, array.shape, array.chunks[0], start, stop)
        except AllscanError:
            raise
        except Exception as error:
            raise self._unreadable(name, error) from error

    def variants(self, start: int = 0, stop: int | None = None) -> VariantTable:
        """Names and places of variants ``start:stop``."""
        alleles = self.column("variant_allele", start, stop)
        names = np.array(self.contigs, dtype=object)
        return VariantTable(
            names[self.column("variant_contig", start, stop)],
            self.column("variant_position", start, stop),
            self.column("variant_id", start, stop),
            alleles[:, 0],
            alleles[:, 1],
            self.column("variant_info", start, stop),
        )

    def block_range(self, index: int) -> tuple[int, int]:
        """First variant of a block and one past its last."""
        start = index * self.block_variants
        return start, min(start + self.block_variants, self.n_variants)

    def read_block(self, index: int) -> GenotypeBlock:
        """Genotypes of block ``index``, checked against their checksum.

        Raises
        ------
        CorruptChunkError
            If the chunk is absent, or its bytes are not those that were written.
        """
        return self.decode([self.fetch_block(index)])

    def fetch_block(self, index: int) -> FetchedBlock:
        """What is stored of block ``index``, checked and decompressed, for :meth:`decode`.

        Raises
        ------
        CorruptChunkError
            If the chunk is absent, or its bytes are not those that were written.
        """
        try:
            body = read_file(block_file(self.path, index))
        except FileNotFoundError as error:
            raise self._damaged_block(index, "a chunk of the genotype store is missing") from error
        except ChecksumError as error:
            raise self._damaged_block(index, "a chunk of the genotype store does not match its checksum") from error
        start, stop = self.block_range(index)
        try:
            parts = parse(decompress(body, most_bytes(stop - start, self.n_samples)))
        except (ValueError, RuntimeError) as error:
            raise self._damaged_block(index, f"a chunk of the genotype store cannot be read: {error}") from error
        if (len(parts.encoding), parts.n_samples) != (stop - start, self.n_samples):
            raise self._damaged_block(
                index,
                f"a chunk holds {len(parts.encoding)} variants × {parts.n_samples} samples, "
                f"expected {stop - start} × {self.n_samples}",
            )
        return FetchedBlock(index, parts)

    def decode(self, fetched: Sequence[FetchedBlock]) -> GenotypeBlock:
        """Genotypes of some blocks, one after the other, as one block.

        Raises
        ------
        CorruptChunkError
            If the bytes of one are damaged.
        """
        try:
            return decode([block.parts for block in fetched])
        except DamagedBlockError as error:
            index = fetched[error.number].number
            raise self._damaged_block(index, f"a chunk of the genotype store cannot be read: {error}") from error

    def _damaged_block(self, index: int, what: str) -> CorruptChunkError:
        start, stop = self.block_range(index)
        return CorruptChunkError(
            what,
            where=f"{block_file(self.path, index)} (variants {start} to {stop - 1})",
            fix="restore the file from a copy, or ingest the genotypes again; nothing of this chunk was used",
        )

    def dosages(self, start: int, stop: int) -> NDArray[np.float32]:
        """Expected copies of ALT of variants ``start:stop``, shape (variants, samples); NaN is missing."""
        out = np.empty((stop - start, self.n_samples), np.float32)
        for index in range(start // self.block_variants, -(-stop // self.block_variants)):
            first, last = self.block_range(index)
            a, b = max(start, first), min(stop, last)
            dosages(self.read_block(index), a - first, b - first, out[a - start : b - start])
        return out

    @cached_property
    def block_checksums(self) -> NDArray[np.int64]:
        """Size and CRC-32C of each genotype chunk as it was written, shape (blocks, 2); -1 where it is not known."""
        if (self.path / BLOCK_CHECKSUMS / "zarr.json").exists():
            return self._read(BLOCK_CHECKSUMS)
        return read_block_checksums(self.path, self.n_blocks)

    def fingerprint(self) -> str:
        """A short hash that changes when the store's content does; not when the same files are ingested again."""
        import hashlib

        content = {name: self.attrs.get(name) for name in ("format_version", "reference_build", "content_checksum")}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        for name in ("sample_id", "variant_position", "variant_contig", "variant_allele_count"):
            digest.update(str(self._stored(name).shape).encode())
        digest.update("\x00".join(self.sample_ids).encode())
        if content["content_checksum"] is None:
            # Not made by an ingest, which hashes all of it.
            digest.update(self.column("variant_position").tobytes())
            digest.update(self.column("variant_allele_count").tobytes())
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class DamagedChunk:
    """A chunk that does not match its checksum."""

    array: str
    chunk: str
    reason: str


def verify_store(path: str | Place, on_progress: Callable[[int, int], None] | None = None) -> tuple[DamagedChunk, ...]:
    """Read every chunk of a store, compare it with its checksum, and name the ones that are damaged.

    Parameters
    ----------
    path
        The store.
    on_progress
        Called with chunks done and chunks in all.
    """
    store = GenotypeStore(path)
    names = [*OTHER_ARRAYS, *(column.name for column in VARIANT_COLUMNS)]
    if (store.path / BLOCK_CHECKSUMS / "zarr.json").exists():
        names.append(BLOCK_CHECKSUMS)
    damaged = []
    total, done = store.n_blocks + len(names), 0
    for name in sorted(names):
        damaged += _damage_of(store.path, name)
        done += 1
        if on_progress:
            on_progress(done, total)

    def damage(index: int) -> str | None:
        try:
            store.read_block(index)
        except StorageError:
            raise
        except CorruptChunkError as error:
            return error.what
        except (ValueError, RuntimeError) as error:
            return str(error)
        return None

    for index, reason in enumerate(each(damage, range(store.n_blocks), side_by_side=is_remote(store.path), most=4)):
        if reason is not None:
            damaged.append(DamagedChunk("call_dosage", f"{index}/0", reason))
        done += 1
        if on_progress:
            on_progress(done, total)
    return tuple(damaged)


def _damage_of(path: Place, name: str) -> list[DamagedChunk]:
    """Damaged chunks of one array that is not of genotypes."""
    try:
        array = StoredArray(path / name)
    except (OSError, ValueError) as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else str(error)
        return [DamagedChunk(name, "zarr.json", reason)]
    rest = ["0"] * (len(array.shape) - 1)
    damaged = []
    for k in range(-(-array.shape[0] // array.chunks[0])):
        chunk = "/".join([str(k), *rest])
        try:
            array.read(k * array.chunks[0], (k + 1) * array.chunks[0])
        except FileNotFoundError:
            damaged.append(DamagedChunk(name, chunk, "missing"))
        except StorageError:
            raise
        except Exception as error:  # whatever a codec raises, the chunk is not readable
            damaged.append(DamagedChunk(name, chunk, str(error)))
    return damaged


def open_store(path: str | Place) -> GenotypeStore:
    """Open a genotype store.

    Raises
    ------
    InputError
        If there is no store at ``path``, or it is not one.
    """
    return GenotypeStore(path)
