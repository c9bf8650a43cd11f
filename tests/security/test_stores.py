"""Stores that somebody else made: nothing in them is executed, and a few bytes do not become all of the memory."""

from __future__ import annotations

import ast
import json
import os
import pickle
import zlib
from pathlib import Path

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zarr

from allscan.engine.ingest.bgen_blocks import decompress as decompress_bgen
from allscan.engine.ingest.sources import open_source
from allscan.engine.store import GenotypeStore
from allscan.engine.zstd import content_size, decompress
from allscan.errors import CorruptChunkError, FileFormatError
from allscan.kernels.block import encode_block
from allscan.kernels.wire import most_bytes, to_bytes
from allscan.phenotypes.lines import LONGEST_LINE
from allscan.phenotypes.tables import read_trait_table
from tests.jobs.conftest import Cohort
from tests.security.conftest import Refusal

FORBIDDEN_CALLS = {"eval", "exec", "__import__", "os.system", "os.popen", "marshal.loads", "pickle.load", "yaml.load",
                   "joblib.load", "shelve.open", "np.load", "numpy.load", "pd.read_pickle"}  # fmt: skip


UNPICKLED = [
    "cluster/parcel.py: pickle.loads",  # what a driver sends to its workers, through Ray, which asks for a token
    "cluster/ray_worker.py: pickle.loads",  # what the same function has pickled
    "kernels/kernel_cache.py: pickle.Unpickler",  # see test_code_cache.py
]


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_535, 65_536, 65_791, 65_792, 5_000_000])
def test_a_frame_says_its_size(size: int) -> None:
    frame = bytes(numcodecs.Zstd(level=1).encode(b"a" * size))
    assert content_size(frame) == size
    assert decompress(frame, size) == b"a" * size
    with pytest.raises(ValueError, match="at most"):
        decompress(frame, size - 1)


def test_a_frame_that_lies_about_its_size_fills_no_memory() -> None:
    frame = bytearray(numcodecs.Zstd(level=1).encode(b"a" * 5_000_000))
    frame[5:9] = (10).to_bytes(4, "little")
    with pytest.raises((ValueError, RuntimeError)):
        decompress(bytes(frame), 100)


def test_a_second_frame_fills_no_memory() -> None:
    frames = numcodecs.Zstd(level=1).encode(b"a" * 10) + numcodecs.Zstd(level=1).encode(b"b" * 5_000_000)
    with pytest.raises((ValueError, RuntimeError)):
        decompress(frames, 100)


def test_a_frame_without_a_size_is_refused() -> None:
    frame = bytearray(numcodecs.Zstd(level=1).encode(b"a" * 1000))
    frame[4] &= 0b00011111
    with pytest.raises(ValueError, match="does not say its size"):
        decompress(bytes(frame), 100)


def _bomb(path: Path, size: int = 1 << 30) -> None:
    """A chunk with the right checksum that becomes a thousand times what can be right."""
    content = bytes(numcodecs.Zstd(level=1).encode(np.zeros(size, np.uint8)))
    path.write_bytes(content + google_crc32c.value(content).to_bytes(4, "little"))


@pytest.mark.parametrize("array", ["call_dosage", "variant_position"])
def test_a_bomb_in_a_store_is_refused(array: str, cohort: Cohort) -> None:
    _bomb(cohort.store / array / "c" / "0" / ("0" if array == "call_dosage" else ""))
    store = GenotypeStore(cohort.store)
    with pytest.raises(CorruptChunkError, match="at most"):
        store.read_block(0) if array == "call_dosage" else store.column(array)


@pytest.mark.parametrize("samples", [1, 3, 64, 1001])
def test_every_block_is_within_its_bound(samples: int) -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.01, 0.5, 1.0):
        calls = (rng.random((40, samples)) < share).astype(np.int8) * rng.integers(-1, 3, (40, samples)).astype(np.int8)
        assert len(to_bytes(encode_block(calls))) <= most_bytes(40, samples)
    dosage = rng.uniform(0, 2, (40, samples)).astype(np.float32)
    block = encode_block(np.zeros(dosage.shape, np.int8), dosage, np.ones(40, np.bool_))
    assert len(to_bytes(block)) <= most_bytes(40, samples)


def test_a_bgen_block_longer_than_it_says_is_refused() -> None:
    content = zlib.compress(bytes(1 << 26))
    assert decompress_bgen((1 << 26).to_bytes(4, "little") + content, 1) == bytes(1 << 26)
    with pytest.raises(ValueError, match="1001 bytes"):
        decompress_bgen((1000).to_bytes(4, "little") + content, 1)
    with pytest.raises(ValueError, match="damaged"):
        decompress_bgen((1 << 26).to_bytes(4, "little") + content[:-5], 1)


def test_a_compressed_line_without_end_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    """200 MB of one character are 200 kB of gzip."""
    path = tmp_path / "traits.tsv.gz"
    compressor = zlib.compressobj(wbits=31)
    with path.open("wb") as file:
        file.write(compressor.compress(b"IID\theight\n"))
        for _ in range(3 * LONGEST_LINE // (1 << 20)):
            file.write(compressor.compress(b"1" * (1 << 20)))
        file.write(compressor.flush())
    assert "longer than" in refusal(lambda: read_trait_table(path, ["height"])).what


class _Trap:
    """Runs a command where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.mark}",))


@pytest.mark.parametrize("where", ["filters", "compressor"])
def test_pickled_arrays_of_a_zarr_store_are_refused(where: str, tmp_path: Path, refusal: Refusal) -> None:
    mark = tmp_path / "it-ran"
    path = tmp_path / "x.vcz"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for name, values in {
        "variant_contig": np.zeros(4, np.int8),
        "variant_position": np.arange(1, 5, dtype=np.int32),
        "call_genotype": np.zeros((4, 2, 2), np.int8),
    }.items():
        group.create_array(name, data=values)
    for name, texts in {"contig_id": ["1"], "sample_id": ["a", "b"], "variant_allele": [["A", "C"]] * 4}.items():
        array = group.create_array(name, shape=np.shape(texts), dtype="str", compressors=None)
        array[:] = np.array(texts, object)
    metadata = path / "variant_allele" / ".zarray"
    keys = json.loads(metadata.read_text())
    pickles = {"id": "pickle", "protocol": 4}
    keys["filters"] = [{"id": "vlen-utf8"}, pickles] if where == "filters" else [{"id": "vlen-utf8"}]
    keys["compressor"] = pickles if where == "compressor" else None
    metadata.write_text(json.dumps(keys))
    (path / "variant_allele" / "0.0").write_bytes(pickle.dumps(_Trap(mark)))
    assert "pickle" in str(refusal(lambda: open_source(path)))
    assert not mark.exists()


def test_no_source_file_runs_or_unpickles_what_it_reads(repository: Path) -> None:
    """What is unpickled comes from a process of the same run, or from files that nobody else may write."""
    found = []
    for room in ("cluster", "engine", "jobs", "kernels", "phenotypes", "src"):
        for path in sorted((repository / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    bases = map(ast.unparse, node.bases)
                    found += [f"{path.relative_to(repository)}: {name}" for name in bases if "Unpickler" in name]
                if not isinstance(node, ast.Call):
                    continue
                name = ast.unparse(node.func)
                shell = any(word.arg == "shell" and not isinstance(word.value, ast.Constant) for word in node.keywords)
                shell |= any(
                    word.arg in ("shell", "allow_pickle") and getattr(word.value, "value", False)
                    for word in node.keywords
                )
                refuses = any(
                    word.arg == "allow_pickle" and ast.unparse(word.value) == "False" for word in node.keywords
                )
                if name == "np.load" and refuses:
                    continue  # arrays of numbers: what would be unpickled is an error
                if name in FORBIDDEN_CALLS or shell or name in ("pickle.loads", "pickle.Unpickler"):
                    found.append(f"{path.relative_to(repository)}: {name}")
    assert found == UNPICKLED


def test_a_store_is_no_format_error_by_chance(cohort: Cohort) -> None:
    """Headers of any content make an error of ours, never another one."""
    rng = np.random.default_rng(5)
    path = cohort.store / "call_dosage" / "c" / "0" / "0"
    content = numcodecs.Zstd().decode(path.read_bytes()[:-4])
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(0, min(len(damaged), 600))] = rng.integers(0, 256)
        body = bytes(numcodecs.Zstd(level=1).encode(bytes(damaged)))
        path.write_bytes(body + google_crc32c.value(body).to_bytes(4, "little"))
        store = GenotypeStore(cohort.store)
        try:
            store.dosages(0, 64)
        except FileFormatError:
            continue
