"""Making a genotype store: its layout, its blocks of genotypes, and its columns of variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import google_crc32c
import numcodecs
import numpy as np

from allscan.engine.arrays import encode_numbers_chunk, write_array
from allscan.engine.chunk_files import CHECKSUM_BYTES
from allscan.engine.store import (
    BLOCK_CHECKSUMS,
    FORMAT,
    FORMAT_VERSION,
    VARIANT_COLUMNS,
    block_file,
    read_block_checksums,
)
from allscan.engine.zstd import compress_with_tail
from allscan.errors import OutputError
from allscan.kernels.wire import to_bytes, to_bytes_and_planes
from allscan.storage import write_atomically, zarr_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from allscan.kernels.block import GenotypeBlock
    from allscan.storage import Place

# Level 3 saves less than one percent and takes twice as long to write (measured: docs/reference/store.md).
ZSTD_LEVEL = 1
# A negative level leaves literals uncoded and decompresses in half the time. It is taken in small cohorts, whose
# stores are small whatever is done, where it costs at most this factor: strong LD makes long matches.
QUICK_ZSTD_LEVEL = -1
QUICK_FACTOR = 4 / 3
QUICK_SAMPLES = 4096
# Planes of bits are read in a third of the time that an entropy coder takes. Where LD makes long matches for zstd, its
# files are smaller: it is asked first, and planes are tried where it leaves so much of its input, and taken where they
# make files at most so much larger.
PLANES_FROM = 0.4
PLANES_FACTOR = 1.1
METADATA_BLOCKS = 16
"""Genotype blocks whose variants share one chunk of each variant array."""

MAX_BLOCK_VARIANTS = 4096
MIN_BLOCK_VARIANTS = 64
BLOCK_BYTES = 16 << 20


def default_block_variants(n_samples: int) -> int:
    """Variants of a block: a power of two that keeps a block of packed calls below 16 MiB."""
    variants = MAX_BLOCK_VARIANTS
    while variants > MIN_BLOCK_VARIANTS and variants * n_samples > 4 * BLOCK_BYTES:
        variants //= 2
    return variants


def create_store(
    path: Place,
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
        group = zarr.create_group(zarr_store(path, read_only=False), zarr_format=3, overwrite=False)
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


def write_genotypes(path: Place, index: int, block: GenotypeBlock) -> int:
    """Write block ``index`` of a store; returns its bytes on disk."""
    compressed = _compress(block)
    checksum = google_crc32c.value(compressed).to_bytes(CHECKSUM_BYTES, "little")
    write_atomically(block_file(path, index), compressed + checksum)
    return len(compressed) + CHECKSUM_BYTES


def _compress(block: GenotypeBlock) -> bytes:
    content = to_bytes(block)
    compressed = bytes(numcodecs.Zstd(level=ZSTD_LEVEL).encode(content))
    if block.n_samples <= QUICK_SAMPLES:
        quick = bytes(numcodecs.Zstd(level=QUICK_ZSTD_LEVEL).encode(content))
        return quick if len(quick) <= QUICK_FACTOR * len(compressed) else compressed
    if len(compressed) > PLANES_FROM * len(content):
        head, planes = to_bytes_and_planes(block)
        if planes:
            with_planes = compress_with_tail(head, planes, ZSTD_LEVEL)
            if len(with_planes) <= PLANES_FACTOR * len(compressed):
                return with_planes
    return compressed


def write_block_checksums(path: Place, n_blocks: int) -> None:
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


def write_variants(path: Place, start: int, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write a run of variants' columns, ``variant_allele`` (variants, 2) among them.

    ``start`` must be a multiple of ``block_variants × METADATA_BLOCKS``, and the run as long as that or end
    the store, so that every chunk is written once.
    """
    import zarr

    group = zarr.open_group(zarr_store(path, read_only=False), mode="r+")
    for name, values in columns.items():
        array = group[name]
        assert isinstance(array, zarr.Array)
        # The setting is not kept in the metadata: a chunk of zeros would be left out.
        array.with_config({"write_empty_chunks": True})[start : start + len(values)] = values
