"""Arrays are read as the Zarr library reads them, and what is damaged or foreign is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from allscan.engine.arrays import StoredArray, encode_numbers_chunk, read_group_attributes, write_array, write_group
from allscan.engine.chunk_files import BLOSC_LEVEL, ZSTD_LEVEL, ChecksumError, ChunkLayout, Codec

CODECS = (ZstdCodec(level=1), Crc32cCodec())


def write(path: Path, values: np.ndarray, rows: int, **options: Any) -> None:
    dtype = "string" if values.dtype == object else values.dtype
    array = zarr.create_array(
        path,
        shape=values.shape,
        dtype=dtype,
        config={"write_empty_chunks": True},
        overwrite=True,
        **{"chunks": (rows, *values.shape[1:]), "compressors": CODECS, **options},
    )
    array[:] = values


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_any_rows_are_those_that_zarr_wrote(tmp_path: Path, data: st.DataObject) -> None:
    length, rows = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 8))
    shape = (length, 2) if data.draw(st.booleans()) else (length,)
    kind = data.draw(st.sampled_from(["int8", "int16", "int32", "int64", "float32", "float64", "string"]))
    random = np.random.default_rng(length)
    if kind == "string":
        texts = ["", "a", "Ångström", "chr1:2:G:T" * 20]
        values = np.array(texts, object)[random.integers(0, len(texts), shape)]
    else:
        values = random.integers(-100, 100, shape).astype(kind)
    write(tmp_path / "array", values, rows)
    array = StoredArray(tmp_path / "array")
    assert array.shape == shape
    np.testing.assert_array_equal(array.read(), values)
    start, stop = data.draw(st.integers(0, length)), data.draw(st.integers(0, length + 3))
    part = array.read(start, stop)
    np.testing.assert_array_equal(part, values[start:stop])
    assert part.dtype == values.dtype
    part[...] = values[:1]  # it is the caller's own


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "int64", "float32", "float64", "string"])
def test_arrays_are_described_as_zarr_describes_them(tmp_path: Path, kind: str) -> None:
    group = zarr.create_group(tmp_path / "theirs", attributes={"a": [1, "ü"]})
    options = {"fill_value": float("nan")} if kind.startswith("float") else {}
    group.create_array(
        "array",
        shape=(20, 2),
        chunks=(8, 2),
        dtype=kind,
        compressors=CODECS,
        dimension_names=("rows", "columns"),
        attributes={"unit": "people"},
        **options,
    )
    (tmp_path / "ours").mkdir()
    write_group(tmp_path / "ours", {"a": [1, "ü"]})
    write_array(
        tmp_path / "ours" / "array",
        dtype=None if kind == "string" else np.dtype(kind),
        shape=(20, 2),
        chunks=(8, 2),
        dimensions=("rows", "columns"),
        attributes={"unit": "people"},
    )
    for name in ("zarr.json", "array/zarr.json"):
        ours, theirs = (json.loads((tmp_path / who / name).read_text()) for who in ("ours", "theirs"))
        assert ours == theirs


@pytest.mark.parametrize("inner", [2, 8])
@pytest.mark.parametrize(("codec", "kind"), [(Codec.BITSHUFFLE, "float32"), (Codec.ZSTD, "uint8")])
def test_codecs_of_results_are_described_as_zarr_describes_them(
    tmp_path: Path, codec: Codec, kind: str, inner: int
) -> None:
    layout = ChunkLayout(np.dtype(kind), 8, 100, inner, codec)
    blosc = BloscCodec(
        typesize=layout.dtype.itemsize, cname="lz4", clevel=BLOSC_LEVEL, shuffle="bitshuffle", blocksize=0
    )
    array = zarr.create_array(
        tmp_path / "theirs",
        shape=(2, 16, 300),
        chunks=(1, inner, 100),
        shards=(1, 8, 100) if inner < 8 else None,
        dtype=kind,
        compressors=(blosc if codec is Codec.BITSHUFFLE else ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()),
    )
    described = json.loads((tmp_path / "theirs" / "zarr.json").read_text())
    assert layout.codecs == described["codecs"]
    assert described["chunk_grid"]["configuration"]["chunk_shape"] == [1, 8, 100]
    assert array.dtype == layout.dtype


@pytest.mark.parametrize("kind", ["int16", "int32", "float32"])
def test_zarr_reads_the_chunks_of_columns(tmp_path: Path, kind: str) -> None:
    values = np.arange(11).astype(kind)
    write_array(tmp_path / "array", dtype=values.dtype, shape=(11,), chunks=(8,), dimensions=("rows",))
    (tmp_path / "array" / "c").mkdir()
    for k in range(2):
        pieces = encode_numbers_chunk(values[8 * k : 8 * k + 8], 8)
        (tmp_path / "array" / "c" / str(k)).write_bytes(b"".join(pieces))
    theirs = zarr.open_array(tmp_path / "array", mode="r")
    np.testing.assert_array_equal(theirs[:], values)
    np.testing.assert_array_equal(StoredArray(tmp_path / "array").read(), values)


def chunk(path: Path) -> Path:
    return path / "c" / "1"


@pytest.fixture
def array(tmp_path: Path) -> Path:
    write(tmp_path / "array", np.arange(20.0), 8)
    return tmp_path / "array"


def test_a_damaged_chunk_is_refused_and_the_others_are_read(array: Path) -> None:
    content = bytearray(chunk(array).read_bytes())
    content[3] ^= 1
    chunk(array).write_bytes(content)
    with pytest.raises(ChecksumError):
        StoredArray(array).read()
    np.testing.assert_array_equal(StoredArray(array).read(16), np.arange(16.0, 20.0))


def test_a_chunk_that_is_not_there_is_no_chunk_of_zeros(array: Path) -> None:
    chunk(array).unlink()
    with pytest.raises(FileNotFoundError):
        StoredArray(array).read()


@pytest.mark.parametrize(
    "options", [{"compressors": (GzipCodec(),)}, {"compressors": (ZstdCodec(level=1),)}, {"compressors": None}]
)
def test_codecs_of_others_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    write(tmp_path / "array", np.arange(20.0), 8, **options)
    with pytest.raises(ValueError, match="not this program's"):
        StoredArray(tmp_path / "array").read()


def test_chunks_of_some_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "array", np.ones((4, 4)), 2, chunks=(2, 2))
    with pytest.raises(ValueError, match="not this program's"):
        StoredArray(tmp_path / "array").read()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"zarr_format": 2}', '{"zarr_format": 3, "shape": 5}'])
def test_what_describes_no_array_is_refused(array: Path, content: str) -> None:
    (array / "zarr.json").write_text(content)
    with pytest.raises(ValueError, match=r".") as caught:
        StoredArray(array)
    assert not isinstance(caught.value, KeyError)


def test_attributes_of_groups(tmp_path: Path, array: Path) -> None:
    zarr.create_group(tmp_path / "group", attributes={"a": [1, None]})
    assert read_group_attributes(tmp_path / "group") == {"a": [1, None]}
    zarr.create_group(tmp_path / "old", zarr_format=2, attributes={"a": 1})
    assert read_group_attributes(tmp_path / "old") == {}
    with pytest.raises(ValueError, match="no group"):
        read_group_attributes(array)
    with pytest.raises(FileNotFoundError):
        read_group_attributes(tmp_path)
