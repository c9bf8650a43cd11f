"""The genotype store: what is written is what is read, and damage is named."""

from __future__ import annotations

import pickle
from pathlib import Path

import google_crc32c
import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr

import allscan
from allscan.engine.store import VARIANT_COLUMNS, GenotypeStore, block_file, verify_store
from allscan.engine.store_writing import QUICK_SAMPLES, create_store, default_block_variants
from allscan.engine.zstd import compress_with_tail
from allscan.errors import CorruptChunkError, FileFormatError, InputError, OutputError
from allscan.kernels.wire import to_bytes, to_bytes_and_planes
from benchmarks.stores import write_store
from tests.engine.cohorts import BLOCK, Cohort, write_cohort


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return write_cohort(tmp_path / "cohort.zarr")


def expected_dosages(cohort: Cohort) -> np.ndarray:
    return np.where(cohort.calls < 0, np.nan, cohort.calls).astype(np.float32)


def test_dosages_of_any_range(cohort: Cohort) -> None:
    expected = expected_dosages(cohort)
    for start, stop in ((0, 210), (0, 1), (63, 65), (100, 210), (7, 7)):
        np.testing.assert_array_equal(cohort.store.dosages(start, stop), expected[start:stop])


def test_any_zarr_reader_sees_dosages(cohort: Cohort) -> None:
    group = zarr.open_group(cohort.store.path, mode="r")
    np.testing.assert_array_equal(group["call_dosage"][:], expected_dosages(cohort))
    dataset = xr.open_zarr(cohort.store.path, consolidated=False)
    np.testing.assert_array_equal(dataset["call_dosage"][5:70].values, expected_dosages(cohort)[5:70])
    assert {column.name for column in VARIANT_COLUMNS} <= set(dataset)


def test_zarr_writes_what_the_store_reads(tmp_path: Path) -> None:
    """The codec's encoder: dosages written through Zarr come back through the store."""
    path = tmp_path / "other.zarr"
    dosage = np.random.default_rng(0).integers(0, 201, (100, 40)).astype(np.float32) / 100
    dosage[3, 4] = np.nan
    create_store(
        path,
        n_variants=100,
        sample_ids=np.array([str(i) for i in range(40)], object),
        sample_sex=np.zeros(40, np.int8),
        contigs=("1",),
        contig_lengths=(0,),
        block_variants=50,
        attributes={},
    )
    group = zarr.open_group(path, mode="r+")
    group["call_dosage"][:] = dosage
    np.testing.assert_array_equal(group["call_dosage"][:], dosage)
    np.testing.assert_array_equal(GenotypeStore(path).dosages(0, 100), dosage)


@pytest.fixture
def common(tmp_path: Path) -> tuple[GenotypeStore, np.ndarray]:
    """Common variants of enough people to be held in planes, and their dosages."""
    rng = np.random.default_rng(12)
    frequency = rng.uniform(0.2, 0.8, 130)
    calls = rng.binomial(2, frequency[:, None], (130, QUICK_SAMPLES + 300)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.01] = -1
    write_store(tmp_path / "common.zarr", [calls], *calls.shape)
    return GenotypeStore(tmp_path / "common.zarr"), np.where(calls < 0, np.nan, calls).astype(np.float32)


def test_common_variants_of_many_people_are_held_in_planes(common: tuple[GenotypeStore, np.ndarray]) -> None:
    store, expected = common
    parts = store.fetch_block(0).parts
    assert len(parts.second_bytes) > 100
    np.testing.assert_array_equal(store.dosages(0, 130), expected)
    np.testing.assert_array_equal(zarr.open_group(store.path, mode="r")["call_dosage"][:], expected)


def test_planes_are_hardly_larger_than_what_zstd_makes(
    common: tuple[GenotypeStore, np.ndarray],
) -> None:
    store, _ = common
    packed = bytes(numcodecs.Zstd(level=1).encode(to_bytes(store.read_block(0))))
    assert block_file(store.path, 0).stat().st_size < 1.05 * len(packed)


def test_blocks_without_planes_are_read_as_before(common: tuple[GenotypeStore, np.ndarray]) -> None:
    store, expected = common
    content = bytes(numcodecs.Zstd(level=1).encode(to_bytes(store.read_block(0))))
    block_file(store.path, 0).write_bytes(content + google_crc32c.value(content).to_bytes(4, "little"))
    np.testing.assert_array_equal(store.dosages(0, 130), expected)


def test_damaged_planes_are_named(common: tuple[GenotypeStore, np.ndarray]) -> None:
    store, _ = common
    block = store.read_block(0)
    head, planes = to_bytes_and_planes(block)
    content = compress_with_tail(head, b"\xff" * len(planes), 1)
    block_file(store.path, 0).write_bytes(content + google_crc32c.value(content).to_bytes(4, "little"))
    with pytest.raises(CorruptChunkError, match="planes") as raised:
        store.read_block(0)
    assert "variants 0 to 129" in str(raised.value)


def test_strong_ld_is_left_to_the_compressor(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    calls = np.repeat(rng.binomial(2, 0.4, (4, QUICK_SAMPLES + 300)), 20, axis=0).astype(np.int8)
    write_store(tmp_path / "ld.zarr", [calls], *calls.shape)
    store = GenotypeStore(tmp_path / "ld.zarr")
    assert not len(store.fetch_block(0).parts.second_bytes)


def test_a_store_travels_to_workers(cohort: Cohort) -> None:
    copy = pickle.loads(pickle.dumps(cohort.store))
    np.testing.assert_array_equal(copy.dosages(10, 20), cohort.store.dosages(10, 20))


def test_variants_and_samples(cohort: Cohort) -> None:
    table = cohort.store.variants(140, 160)
    assert table.key(0) == f"1:{cohort.position[140]}:A:C"
    assert list(table.contig[[9, 10]]) == ["1", "2"]
    assert cohort.store.sample_ids[0] == "person0"
    assert cohort.store.contigs == ("1", "2")
    assert cohort.store.reference_build == "GRCh38"
    assert "210 variants" in repr(cohort.store)


@pytest.mark.parametrize(("samples", "variants"), [(100, 4096), (50_000, 1024), (535_000, 64), (10**7, 64)])
def test_blocks_stay_small(samples: int, variants: int) -> None:
    assert default_block_variants(samples) == variants


def flip_a_bit(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 16
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("byte", [0, 40, -1])
def test_a_flipped_bit_is_named_and_never_used(cohort: Cohort, byte: int) -> None:
    chunk = cohort.store.path / "call_dosage" / "c" / "2" / "0"
    flip_a_bit(chunk, byte)
    with pytest.raises(CorruptChunkError, match=r"does not match its checksum") as caught:
        cohort.store.read_block(2)
    assert f"variants {2 * BLOCK} to {3 * BLOCK - 1}" in str(caught.value)
    assert caught.value.exit_code == 2
    cohort.store.read_block(1)
    damaged = verify_store(cohort.store.path)
    assert [(d.array, d.chunk) for d in damaged] == [("call_dosage", "2/0")]


def test_damage_in_any_array_is_found(cohort: Cohort) -> None:
    assert verify_store(cohort.store.path) == ()
    for name in ("sample_id", "variant_position", "variant_allele"):
        chunk = next(path for path in sorted((cohort.store.path / name / "c").rglob("*")) if path.is_file())
        flip_a_bit(chunk, chunk.stat().st_size // 2)
    (cohort.store.path / "variant_n_het" / "c" / "0").unlink()
    (cohort.store.path / "call_dosage" / "c" / "1" / "0").unlink()
    found = {d.array for d in verify_store(cohort.store.path)}
    assert found == {"sample_id", "variant_position", "variant_allele", "variant_n_het", "call_dosage"}
    with pytest.raises(CorruptChunkError, match="variant_position"):
        _ = GenotypeStore(cohort.store.path).variant_position
    with pytest.raises(CorruptChunkError, match="missing"):
        cohort.store.read_block(1)


def test_a_chunk_in_the_wrong_place_is_refused(cohort: Cohort) -> None:
    chunks = cohort.store.path / "call_dosage" / "c"
    (chunks / "0" / "0").write_bytes((chunks / "3" / "0").read_bytes())
    with pytest.raises(CorruptChunkError, match=r"18 variants × 300 samples, expected 64 × 300"):
        cohort.store.read_block(0)


def test_what_is_not_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such genotype store"):
        allscan.open_store(tmp_path / "nowhere.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match="not a genotype store"):
        allscan.open_store(tmp_path / "empty")
    zarr.create_group(tmp_path / "other.zarr", attributes={"vcf_zarr_version": "0.4"})
    with pytest.raises(FileFormatError, match=r"allscan ingest STORE OUT\.zarr"):
        allscan.open_store(tmp_path / "other.zarr")


def test_a_store_of_another_version_is_refused(cohort: Cohort) -> None:
    zarr.open_group(cohort.store.path, mode="r+").attrs["format_version"] = 99
    with pytest.raises(FileFormatError, match="version 99"):
        GenotypeStore(cohort.store.path)


def test_a_store_is_not_overwritten(cohort: Cohort) -> None:
    with pytest.raises(OutputError, match="cannot create"):
        write_cohort(cohort.store.path)


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    one = write_cohort(tmp_path / "a.zarr", seed=1).store
    again = write_cohort(tmp_path / "b.zarr", seed=1).store
    other = write_cohort(tmp_path / "c.zarr", seed=2).store
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()
