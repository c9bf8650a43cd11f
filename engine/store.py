"""The genotype store: one Zarr v3 group with the names of the VCF Zarr specification."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numcodecs
import numpy as np

from allscan.engine.arrays import StoredArray, encode_numbers_chunk, read_group_attributes, write_array
from allscan.engine.chunk_files import CHECKSUM_BYTES, stored_checksum
from allscan.engine.zstd import decompress
from allscan.errors import CorruptChunkError, FileFormatError, InputError, OutputError
from allscan.kernels.block import dosages
from allscan.kernels.packing import row_bytes
from allscan.kernels.wire import HEADER, from_bytes, to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    import zarr
    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock

FORMAT = "allscan-genotypes"
FORMAT_VERSION = 1

# Level 3 saves less than one percent and takes twice as long to write (measured: docs/reference/store.md).
ZSTD_LEVEL = 1
# A negative level leaves literals uncoded and decompresses in half the time. It is taken in small cohorts, whose
# stores are small whatever is done, where it costs at most this factor: strong LD makes long matches.
QUICK_ZSTD_LEVEL = -1
QUICK_FACTOR = 4 / 3
QUICK_SAMPLES = 4096
BLOCK_CHECKSUMS = "block_checksum"
METADATA_BLOCKS = 16
"""Genotype blocks whose variants share one chunk of each variant array."""

MAX_BLOCK_VARIANTS = 4096
MIN_BLOCK_VARIANTS = 64
BLOCK_BYTES = 16 << 20


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


def default_block_variants(n_samples: int) -> int:
    """Variants of a block: a power of two that keeps a block of packed calls below 16 MiB."""
    variants = MAX_BLOCK_VARIANTS
    while variants > MIN_BLOCK_VARIANTS and variants * n_samples > 4 * BLOCK_BYTES:
        variants //= 2
    return variants


def create_store(
    path: Path,
    *,
    n_variants: int,
    sample_ids: NDArray[np.object_],
    sample_sex: NDArray[np.int8],
    contigs: tuple[str, ...],
    contig_lengths: tuple[int, ...],
    block_variants: int,
    attributes: Mapping[str, Any],
) -> None:
    """Lay out an empty store: every array, no genotype yet.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    from allscan.engine.codec import GenotypeCodec

    n_samples = len(sample_ids)
    try:
        group = zarr.create_group(path, zarr_format=3, overwrite=False)
    except (OSError, zarr.errors.ContainsGroupError) as error:
        raise OutputError(f"cannot create the store: {error}", where=str(path)) from error
    group.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, "block_variants": block_variants})
    group.attrs.update(attributes)
    checked = (ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec())

    def array(name: str, dtype: str, shape: tuple[int, ...], chunks: tuple[int, ...], dims: tuple[str, ...]) -> Any:
        return group.create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=tuple(max(1, c) for c in chunks),
            compressors=checked,
            dimension_names=dims,
            # A chunk full of zeros must exist all the same: an absent chunk is a damaged store.
            config={"write_empty_chunks": True},
        )

    array("sample_id", "string", (n_samples,), (n_samples,), ("samples",))[:] = sample_ids
    array("sample_sex", "int8", (n_samples,), (n_samples,), ("samples",))[:] = sample_sex
    array("contig_id", "string", (len(contigs),), (len(contigs),), ("contigs",))[:] = np.array(contigs, object)
    array("contig_length", "int64", (len(contigs),), (len(contigs),), ("contigs",))[:] = np.array(contig_lengths)
    rows = block_variants * METADATA_BLOCKS
    for column in VARIANT_COLUMNS:
        created = array(column.name, column.dtype, (n_variants,), (rows,), ("variants",))
        created.attrs["description"] = column.description
    alleles = array("variant_allele", "string", (n_variants, 2), (rows, 2), ("variants", "alleles"))
    alleles.attrs["description"] = "REF and ALT; ALT is the counted allele"
    group.create_array(
        "call_dosage",
        shape=(n_variants, n_samples),
        dtype="float32",
        fill_value=float("nan"),
        chunks=(block_variants, max(1, n_samples)),
        serializer=GenotypeCodec(),
        compressors=checked,
        dimension_names=("variants", "samples"),
    ).attrs["description"] = "Expected copies of ALT, 0 to 2; NaN is missing"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def most_bytes(n_variants: int, n_samples: int) -> int:
    """Bytes that a block can take before compression, whatever its content.

    A variant is a row of calls, or a list of carriers, each with a gap of at most five bytes and two bits for its call.
    """
    return HEADER.size + n_variants * (16 + row_bytes(n_samples) + 6 * n_samples)


def write_genotypes(path: Path, index: int, block: GenotypeBlock) -> int:
    """Write block ``index`` of a store; returns its bytes on disk."""
    content = to_bytes(block)
    compressed = numcodecs.Zstd(level=ZSTD_LEVEL).encode(content)
    if block.n_samples <= QUICK_SAMPLES:
        quick = numcodecs.Zstd(level=QUICK_ZSTD_LEVEL).encode(content)
        if len(quick) <= QUICK_FACTOR * len(compressed):
            compressed = quick
    checksum = google_crc32c.value(bytes(compressed)).to_bytes(CHECKSUM_BYTES, "little")
    write_atomically(path / "call_dosage" / "c" / str(index) / "0", bytes(compressed) + checksum)
    return len(compressed) + CHECKSUM_BYTES


def read_block_checksums(path: Path, n_blocks: int) -> NDArray[np.int64]:
    """Size and CRC-32C of each genotype chunk as it is on the disk, shape (blocks, 2); -1 where there is none."""
    checksums = np.full((n_blocks, 2), -1, np.int64)
    for index in range(n_blocks):
        with suppress(FileNotFoundError):
            checksums[index] = stored_checksum(path / "call_dosage" / "c" / str(index) / "0")
    return checksums


def write_block_checksums(path: Path, n_blocks: int) -> None:
    """Keep the checksums of all genotype chunks in one array, once they are written."""
    checksums = read_block_checksums(path, n_blocks)
    write_array(
        path / BLOCK_CHECKSUMS,
        dtype=checksums.dtype,
        shape=checksums.shape,
        chunks=checksums.shape,
        dimensions=("blocks", "size_and_crc32c"),
        attributes={"description": "Bytes of each chunk of call_dosage, and the CRC-32C that ends it"},
    )
    content = b"".join(encode_numbers_chunk(checksums.ravel(), checksums.size))
    write_atomically(path / BLOCK_CHECKSUMS / "c" / "0" / "0", content)


def write_variants(path: Path, start: int, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write a run of variants' columns, ``variant_allele`` (variants, 2) among them.

    ``start`` must be a multiple of ``block_variants × METADATA_BLOCKS``, and the run as long as that or end
    the store, so that every chunk is written once.
    """
    import zarr

    group = zarr.open_group(path, mode="r+")
    for name, values in columns.items():
        array = group[name]
        assert isinstance(array, zarr.Array)
        # The setting is not kept in the metadata: a chunk of zeros would be left out.
        array.with_config({"write_empty_chunks": True})[start : start + len(values)] = values


class GenotypeStore:
    """An opened store: variants × samples, read by blocks. Picklable; safe to read from many threads."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise InputError("there is no such genotype store", where=str(path), fix="check the path")
        try:
            self.attrs = read_group_attributes(self.path)
        except (OSError, ValueError) as error:
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

    def __reduce__(self) -> tuple[type[GenotypeStore], tuple[Path]]:
        return (GenotypeStore, (self.path,))

    def __repr__(self) -> str:
        return f"GenotypeStore({str(self.path)!r}: {self.n_variants:,} variants × {self.n_samples:,} samples)"

    @cached_property
    def group(self) -> zarr.Group:
        """The store as the Zarr library sees it."""
        import zarr

        return zarr.open_group(self.path, mode="r")

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
        path = self.path / "call_dosage" / "c" / str(index) / "0"
        start, stop = self.block_range(index)
        where = f"{path} (variants {start} to {stop - 1})"
        fix = "restore the file from a copy, or ingest the genotypes again; nothing of this chunk was used"
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise CorruptChunkError("a chunk of the genotype store is missing", where=where, fix=fix) from error
        body, checksum = memoryview(content)[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
        if google_crc32c.value(bytes(body)) != int.from_bytes(checksum, "little"):
            raise CorruptChunkError("a chunk of the genotype store does not match its checksum", where=where, fix=fix)
        try:
            block = from_bytes(decompress(body, most_bytes(stop - start, self.n_samples)))
        except (ValueError, RuntimeError) as error:
            raise CorruptChunkError(
                f"a chunk of the genotype store cannot be read: {error}", where=where, fix=fix
            ) from error
        if (block.n_variants, block.n_samples) != (stop - start, self.n_samples):
            raise CorruptChunkError(
                f"a chunk holds {block.n_variants} variants × {block.n_samples} samples, "
                f"expected {stop - start} × {self.n_samples}",
                where=where,
                fix=fix,
            )
        return block

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
        if (self.path / BLOCK_CHECKSUMS).exists():
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
        digest.update(self.column("variant_position").tobytes())
        digest.update(self.column("variant_allele_count").tobytes())
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class DamagedChunk:
    """A chunk that does not match its checksum."""

    array: str
    chunk: str
    reason: str


def verify_store(path: str | Path, on_progress: Callable[[int, int], None] | None = None) -> tuple[DamagedChunk, ...]:
    """Read every chunk of a store, compare it with its checksum, and name the ones that are damaged.

    Parameters
    ----------
    path
        The store.
    on_progress
        Called with chunks done and chunks in all.
    """
    store = GenotypeStore(path)
    damaged = []
    names = [name for name, _ in store.group.arrays() if name != "call_dosage"]
    total, done = store.n_blocks + len(names), 0
    for name in sorted(names):
        array = store.array(name)
        rows = array.chunks[0]
        for k in range(-(-array.shape[0] // rows)):
            chunk = "/".join([str(k), *["0"] * (array.ndim - 1)])
            if not (store.path / name / "c" / chunk).exists():
                damaged.append(DamagedChunk(name, chunk, "missing"))
                continue
            try:
                array[k * rows : (k + 1) * rows]
            except Exception as error:  # whatever zarr or a codec raises, the chunk is not readable
                damaged.append(DamagedChunk(name, chunk, str(error)))
        done += 1
        if on_progress:
            on_progress(done, total)
    for index in range(store.n_blocks):
        try:
            store.read_block(index)
        except (CorruptChunkError, ValueError, RuntimeError) as error:
            reason = error.what if isinstance(error, CorruptChunkError) else str(error)
            damaged.append(DamagedChunk("call_dosage", f"{index}/0", reason))
        done += 1
        if on_progress:
            on_progress(done, total)
    return tuple(damaged)


def open_store(path: str | Path) -> GenotypeStore:
    """Open a genotype store.

    Raises
    ------
    InputError
        If there is no store at ``path``, or it is not one.
    """
    return GenotypeStore(path)
