"""Calls as files, without the ingest: for benchmarks that time something else.

Calls come in parts of any number of variants, so that a cohort larger than memory can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allscan.engine.store_writing import create_store, default_block_variants, write_genotypes, write_variants
from allscan.kernels.block import Encoding, GenotypeBlock, encode_block
from allscan.kernels.packing import pack_rows, row_bytes

Parts = Iterable[NDArray[np.int8]]
"""Calls, each part of shape (variants, samples); -1 is missing."""


def dense_block(calls: NDArray[np.int8]) -> GenotypeBlock:
    """Every variant in two bits, however rare."""
    v, n = calls.shape
    packed = np.empty((v, row_bytes(n)), np.uint8)
    pack_rows(calls, packed)
    empty = encode_block(np.empty((0, n), np.int8))
    return empty._replace(
        encoding=np.full(v, Encoding.CALLS, np.uint8),
        slot=np.arange(v, dtype=np.int32),
        steps=np.ones(v, np.uint16),
        calls=packed,
    )


def write_pgen(path: Path, parts: Parts, variants: int, samples: int) -> None:
    """Write calls as PLINK 2 would store them."""
    import pgenlib

    with pgenlib.PgenWriter(bytes(path), samples, variants, nonref_flags=False) as writer:
        for part in parts:
            for row in np.where(part < 0, np.int8(-9), part):
                writer.append_biallelic(np.ascontiguousarray(row))


def write_store(
    path: Path,
    parts: Parts,
    variants: int,
    samples: int,
    encode: Callable[[NDArray[np.int8]], GenotypeBlock] = encode_block,
) -> int:
    """Write calls as a store of one contig; returns the bytes of its genotypes."""
    block = default_block_variants(samples)
    create_store(
        path,
        n_variants=variants,
        sample_ids=np.array([f"s{i}" for i in range(samples)], object),
        sample_sex=np.zeros(samples, np.int8),
        contigs=("1",),
        contig_lengths=(0,),
        block_variants=block,
        attributes={"reference_build": "GRCh38"},
    )
    size = 0
    called = np.empty(variants, np.int64)
    copies = np.empty(variants)
    for index, part in enumerate(_blocks(parts, block)):
        rows = slice(index * block, index * block + len(part))
        size += write_genotypes(path, index, encode(part))
        called[rows] = (part >= 0).sum(axis=1)
        copies[rows] = np.maximum(part, 0).sum(axis=1, dtype=np.float64)
    write_variants(
        path,
        0,
        {
            "variant_contig": np.zeros(variants, np.int16),
            "variant_position": np.arange(1, variants + 1, dtype=np.int32),
            "variant_id": np.array([f"v{v}" for v in range(variants)], object),
            "variant_allele": np.array([["A", "C"]] * variants, object),
            "variant_info": np.full(variants, np.nan, np.float32),
            "variant_n_alt": np.ones(variants, np.int16),
            "variant_n_called": called,
            "variant_allele_count": copies,
        },
    )
    return size


def _blocks(parts: Parts, size: int) -> Iterator[NDArray[np.int8]]:
    """The same rows, ``size`` at a time."""
    waiting: list[NDArray[np.int8]] = []
    for part in parts:
        start = 0
        while start < len(part):
            room = size - sum(map(len, waiting))
            waiting.append(part[start : start + room])
            start += room
            if sum(map(len, waiting)) == size:
                yield np.concatenate(waiting)
                waiting = []
    if waiting:
        yield np.concatenate(waiting)
