"""Kernels, one by one, on one core: decode, count, multiply, sum over carriers, and the tail of Student's t."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from allscan.engine.simulation.spectrum import simulate_calls_block
from allscan.kernels.block import Encoding, GenotypeBlock, encode_block, hard_calls
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.jit import jit
from allscan.kernels.king import count_differences
from allscan.kernels.panel import Panel, make_panel
from allscan.kernels.products import genotype_products
from allscan.kernels.student import t_neg_log10_p
from benchmarks.limits import YardstickName
from benchmarks.timing import SIZE, Timed, Work

SAMPLES, VARIANTS = {"tiny": (700, 64), "quick": (20_000, 256), "full": (50_000, 512)}[SIZE]
CARRIER_VARIANTS = {"tiny": 200, "quick": 4_096, "full": 8_192}[SIZE]
MISSING_RATE = 0.002

COLUMNS = [1, 16, 28, 140, 524]  # 1 trait; 16; 16, 128 and 512 traits beside 12 covariates


@cache
def dense() -> GenotypeBlock:
    """Common variants, 0.2 % of calls missing."""
    rng = np.random.default_rng(23)
    genotypes = simulate_calls_block(rng, SAMPLES, VARIANTS, "array", missing_rate=MISSING_RATE)
    genotypes[:, 0] = 1  # none is so rare that it would be a list of carriers in the tiny size
    block = encode_block(genotypes)
    packed = np.flatnonzero(block.encoding == Encoding.CALLS)
    assert len(packed) > 0.75 * VARIANTS
    return encode_block(np.ascontiguousarray(genotypes[packed]))


@cache
def sparse() -> GenotypeBlock:
    """The variants of whole genomes that are held as carriers."""
    rng = np.random.default_rng(17)
    genotypes = simulate_calls_block(rng, SAMPLES, CARRIER_VARIANTS, "wgs", missing_rate=0.0005)
    block = encode_block(genotypes)
    return encode_block(np.ascontiguousarray(genotypes[block.encoding == Encoding.CARRIERS]))


def work(block: GenotypeBlock, items: float | None = None) -> Work:
    """Work on a block: held against float64 operations per item, by default per genotype."""
    genotypes = block.n_variants * block.n_samples
    return Work("dgemm", float(genotypes) if items is None else items, genotypes, traffic(block))


def traffic(block: GenotypeBlock) -> int:
    """Bytes of the genotypes."""
    return block.calls.nbytes + block.carrier_sample.nbytes + block.carrier_call.nbytes


def panel(columns: int, dtype: str) -> tuple[NDArray[np.floating], Panel]:
    """Sample vectors, (samples, columns), plain and as a scan holds them."""
    vectors = np.random.default_rng(columns).normal(size=(SAMPLES, columns)).astype(dtype)
    return vectors, make_panel(vectors, dtype)


def test_decode_calls(timed: Timed) -> None:
    block = dense()
    out = np.empty((block.n_variants, SAMPLES), np.int8)
    timed(lambda: hard_calls(block, 0, block.n_variants, out), work(block))
    assert set(np.unique(out)) <= {-1, 0, 1, 2}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", COLUMNS if SIZE != "tiny" else [1, 16])
def test_products(timed: Timed, columns: int, dtype: str) -> None:
    block, (vectors, laid_out) = dense(), panel(columns, dtype)
    genotypes = block.n_variants * SAMPLES
    # From 28 columns on, a matrix product is most of the work; below, decoding is.
    of_blas: YardstickName = "sgemm" if dtype == "float32" else "dgemm"
    product = Work(of_blas, 2.0 * genotypes * columns, genotypes, traffic(block), is_product=True)
    load = product if columns >= 28 else work(block)
    out = timed(lambda: genotype_products(block, laid_out), load)
    row = np.empty((1, SAMPLES), np.int8)
    hard_calls(block, 0, 1, row)
    expected = np.maximum(row[0], 0).astype(float) @ vectors.astype(float)
    np.testing.assert_allclose(out[0], expected, rtol=1e-5, atol=1e-4 * np.sqrt(SAMPLES))


@pytest.mark.parametrize("columns", [1, 16, 128] if SIZE != "tiny" else [1, 3])
def test_sum_over_carriers(timed: Timed, columns: int) -> None:
    block, (_, laid_out) = sparse(), panel(columns, "float64")
    carriers = float(block.carrier_offset[-1])
    assert carriers < 0.02 * block.n_variants * SAMPLES
    out = timed(lambda: genotype_products(block, laid_out), work(block, carriers * columns))
    assert out.shape == (block.n_variants, columns)


@pytest.mark.parametrize("sets", [1, 16])
@pytest.mark.parametrize("kind", ["calls", "carriers"])
def test_count_genotypes(timed: Timed, kind: str, sets: int) -> None:
    block = dense() if kind == "calls" else sparse()
    member = np.random.default_rng(sets).random((sets, SAMPLES)) < 0.9
    prepared = sample_sets(member)
    items = block.n_variants * SAMPLES if kind == "calls" else block.carrier_offset[-1]
    counts = timed(lambda: count_genotypes(block, prepared), work(block, float(items) * sets))
    assert (counts.n_missing <= counts.size).all()


@jit
def _tails(t: NDArray[np.float64], df: float, out: NDArray[np.float64]) -> None:
    for i in range(t.shape[0]):
        out[i] = t_neg_log10_p(t[i], df)


@pytest.mark.parametrize("size", ["null", "associated"])
def test_tail_of_t(timed: Timed, size: str) -> None:
    number = {"tiny": 100, "quick": 50_000, "full": 200_000}[SIZE]
    rng = np.random.default_rng(29)
    t = rng.normal(size=number) if size == "null" else rng.uniform(5, 38, number)
    out = np.empty(number)
    timed(lambda: _tails(t, float(SAMPLES), out), Work("dgemm", float(number)))
    assert (np.diff(out[np.argsort(np.abs(t))]) >= -1e-9).all()


PAIR_PEOPLE, PAIR_MARKERS = {"tiny": (70, 512), "quick": (1_024, 8_192), "full": (2_048, 8_192)}[SIZE]


def test_differences_of_pairs(timed: Timed) -> None:
    """The first look at every pair of people, by which relatives are found."""
    rng = np.random.default_rng(5)
    planes = rng.integers(0, 2**63, (PAIR_PEOPLE, 2, PAIR_MARKERS // 64), np.uint64)
    out = np.empty((2, PAIR_PEOPLE, PAIR_PEOPLE), np.int32)
    compared = PAIR_PEOPLE**2 * PAIR_MARKERS
    timed(lambda: count_differences(planes, planes, out), Work("dgemm", float(compared), compared, planes.nbytes))
    assert not np.diagonal(out, axis1=1, axis2=2).any()
