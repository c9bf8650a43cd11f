"""Calls as files, without the ingest: for benchmarks that time something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allscan.engine.store import create_store, default_block_variants, write_genotypes, write_variants
from allscan.kernels.block import encode_block


def write_pgen(path: Path, calls: NDArray[np.int8]) -> None:
    """Write calls as PLINK 2 would store them."""
    import pgenlib

    coded = np.where(calls < 0, np.int8(-9), calls)
    with pgenlib.PgenWriter(bytes(path), calls.shape[1], len(calls), nonref_flags=False) as writer:
        for row in coded:
            writer.append_biallelic(np.ascontiguousarray(row))


def write_store(path: Path, calls: NDArray[np.int8]) -> int:
    """Write calls as a store of one contig; returns the bytes of its genotypes."""
    v, n = calls.shape
    block = default_block_variants(n)
    create_store(
        path,
        n_variants=v,
        sample_ids=np.array([f"s{i}" for i in range(n)], object),
        sample_sex=np.zeros(n, np.int8),
        contigs=("1",),
        contig_lengths=(0,),
        block_variants=block,
        attributes={"reference_build": "GRCh38"},
    )
    blocks = (calls[start : start + block] for start in range(0, v, block))
    size = sum(write_genotypes(path, index, encode_block(part)) for index, part in enumerate(blocks))
    called = (calls >= 0).sum(axis=1)
    copies = np.where(calls < 0, 0, calls).sum(axis=1, dtype=np.float64)
    write_variants(
        path,
        0,
        {
            "variant_contig": np.zeros(v, np.int16),
            "variant_position": np.arange(1, v + 1, dtype=np.int32),
            "variant_id": np.full(v, ".", object),
            "variant_allele": np.array([["A", "C"]] * v, object),
            "variant_info": np.full(v, np.nan, np.float32),
            "variant_n_called": called,
            "variant_allele_count": copies,
        },
    )
    return size
