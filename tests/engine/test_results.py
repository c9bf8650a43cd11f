"""The results cube as files: what is written is what any Zarr reader reads, checked, and by traits alone."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numcodecs
import numcodecs.blosc
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from numpy.typing import NDArray

import allscan
from allscan.engine.hits import compact_hits, write_hits
from allscan.engine.plan import ScanPlan, ScanTask
from allscan.engine.results import CUBE, ResultsCube, column_layout, write_block
from allscan.errors import CorruptChunkError, FileFormatError
from tests.engine.result_blocks import all_tasks, fill, lay_out, make_plan, make_values, values_of_task

PLANS = {
    "one trait": make_plan(1, 1_000, 256),
    "whole chunks": make_plan(4, 512, 256),
    "odd ends": make_plan(35, 700, 256),
    "batches": make_plan(70, 300, 128, task_traits=32),
    "long": make_plan(3, 20_000, 16_384),
    "strata": make_plan(2, 300, 128, strata=("afr", "eur")),
}


@pytest.fixture(params=list(PLANS))
def plan(request: pytest.FixtureRequest) -> ScanPlan:
    return PLANS[request.param]


def values_of(plan: ScanPlan) -> dict[str, NDArray[Any]]:
    return make_values(np.random.default_rng(5), plan.n_traits, plan.n_variants, patterns=min(3, plan.n_traits))


def test_zarr_reads_what_was_written(plan: ScanPlan, tmp_path: Path) -> None:
    values = values_of(plan)
    lay_out(tmp_path / "run", plan)
    fill(tmp_path / "run", plan, values)
    group = zarr.open_group(tmp_path / "run" / CUBE, mode="r")
    assert set(values) == {str(column["name"]) for column in group.attrs["columns"]}  # type: ignore[index,union-attr]
    for name, rows in values.items():
        for stratum in range(len(plan.strata)):
            np.testing.assert_array_equal(group[name][stratum], rows)  # type: ignore[index]
    dataset = allscan.open_results(tmp_path / "run")
    np.testing.assert_array_equal(dataset["beta"].isel(stratum=-1, trait=-1).to_numpy(), values["beta"][-1])


def test_any_part_is_read(plan: ScanPlan, tmp_path: Path) -> None:
    values = values_of(plan)
    lay_out(tmp_path / "run", plan)
    fill(tmp_path / "run", plan, values)
    cube = ResultsCube(tmp_path / "run")
    rng = np.random.default_rng(1)
    for _ in range(30):
        traits = slice(*np.sort(rng.integers(0, plan.n_traits + 1, 2)).tolist())
        variants = slice(*np.sort(rng.integers(0, plan.n_variants + 1, 2)).tolist())
        for name, rows in values.items():
            np.testing.assert_array_equal(cube.block(name, 0, traits, variants), rows[traits, variants])
    names = cube.variant_names(10, 20)
    assert names.variant_id.to_pylist() == [f"v{v}" for v in range(10, 20)]
    assert set(names.ref.to_pylist()) == {"A"}
    assert set(names.alt.to_pylist()) == {"C"}
    assert cube.variant_table(10, 20).key(0) == "1:11:A:C"


def test_one_trait_is_read_alone(tmp_path: Path) -> None:
    """Damage to one trait's numbers does not concern another's; the damaged ones are refused."""
    plan = make_plan(32, 8_192, 8_192)
    lay_out(tmp_path / "run", plan)
    fill(tmp_path / "run", plan, values_of(plan))
    chunk = tmp_path / "run" / CUBE / "beta" / "c" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[10] ^= 1
    chunk.write_bytes(content)
    cube = ResultsCube(tmp_path / "run")
    assert cube.block("beta", 0, slice(1, 32), slice(0, 8_192)).shape == (31, 8_192)
    with pytest.raises(CorruptChunkError, match="checksum"):
        cube.block("beta", 0, slice(0, 1), slice(0, 1))


@pytest.mark.parametrize("name", ["beta", "n", "missing_rate", "status"])
@pytest.mark.parametrize("change", ["flip", "cut", "empty", "remove"])
def test_damage_is_found(name: str, change: str, tmp_path: Path) -> None:
    plan = PLANS["odd ends"]
    lay_out(tmp_path / "run", plan)
    fill(tmp_path / "run", plan, values_of(plan))
    chunk = tmp_path / "run" / CUBE / name / "c" / "0" / "0" / "1"
    content = bytearray(chunk.read_bytes())
    content[-6] ^= 1
    chunk.write_bytes({"flip": content, "cut": content[:-1]}.get(change, b""))
    if change == "remove":
        chunk.unlink()
    cube = ResultsCube(tmp_path / "run")
    with pytest.raises(CorruptChunkError, match="cannot be read") as caught:
        cube.block(name, 0, slice(0, 35), slice(0, 700))
    assert name in (caught.value.where or "")


def test_bytes_do_not_depend_on_the_thread(tmp_path: Path) -> None:
    plan = make_plan(8, 16_384, 16_384)
    values = values_of(plan)
    for name in ("main", "worker"):
        lay_out(tmp_path / name, plan)
    fill(tmp_path / "main", plan, values)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(fill, tmp_path / "worker", plan, values).result()
    files = [path for path in (tmp_path / "main" / CUBE).rglob("*") if path.is_file()]
    for path in files:
        assert path.read_bytes() == (tmp_path / "worker" / path.relative_to(tmp_path / "main")).read_bytes()


def test_blosc_has_one_thread_also_in_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own threads put the blocks of a chunk in the order in which they finish."""
    encode, seen = numcodecs.Blosc.encode, []

    def record(self: numcodecs.Blosc, values: NDArray[Any]) -> bytes:
        seen.append(numcodecs.blosc.use_threads)
        content: bytes = encode(self, values)
        return content

    # The Zarr library switches them off as well, but a scan does not load it.
    monkeypatch.setattr(numcodecs.blosc, "use_threads", None)
    monkeypatch.setattr(numcodecs.Blosc, "encode", record)
    column_layout("n", np.dtype(np.int32), 8, 256).encode(np.zeros((8, 256), np.int32))
    assert seen == [False]
    assert numcodecs.blosc.use_threads is None


def test_every_file_has_reached_the_disk_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PLANS["odd ends"]
    values = values_of(plan)
    lay_out(tmp_path / "run", plan)
    synced = set()
    sync = os.fsync

    def record(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    part = values_of_task(plan, ScanTask(0, 0), values)
    write_block(tmp_path / "run" / CUBE, plan, ScanTask(0, 0), part)
    assert write_hits(tmp_path / "run", plan, ScanTask(0, 0), part, 1.0) > 0
    written = {str(path) for path in (tmp_path / "run" / CUBE).rglob("c/0/*/0")}
    assert len(written) == 2 * len(values)
    assert synced == written | {str(tmp_path / "run" / "hits.parts" / "b0-v000000.bin")}


def test_counts_of_one_pattern_cost_next_to_nothing() -> None:
    values = make_values(np.random.default_rng(3), 32, 16_384)
    size = {
        name: sum(map(len, column_layout(name, rows.dtype, 32, 16_384).encode(rows))) / rows.size
        for name, rows in values.items()
    }
    assert size["n"] + size["effect_allele_count"] + size["effect_allele_frequency"] + size["missing_rate"] < 1.5
    assert size["status"] < 0.05
    assert size["beta"] + size["standard_error"] + size["neg_log10_p"] < 11.5


def test_results_of_another_version_are_refused(tmp_path: Path) -> None:
    lay_out(tmp_path / "run", PLANS["strata"])
    metadata = tmp_path / "run" / CUBE / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(FileFormatError, match="format version 1; this program reads 2"):
        ResultsCube(tmp_path / "run")


def test_hits_are_the_rows_at_or_above_the_threshold(plan: ScanPlan, tmp_path: Path) -> None:
    values = values_of(plan)
    values["neg_log10_p"][0, 3] = 2.5
    lay_out(tmp_path / "run", plan)
    found = [
        task.name
        for task in all_tasks(plan)
        if write_hits(tmp_path / "run", plan, task, values_of_task(plan, task, values), 2.5)
    ]
    assert len(list((tmp_path / "run" / "hits.parts").iterdir())) == len(found)
    cube = ResultsCube(tmp_path / "run")
    rows = compact_hits(tmp_path / "run", cube, reversed(found))
    table = pq.read_table(tmp_path / "run" / "hits.parquet").to_pydict()
    trait, variant = np.nonzero(values["neg_log10_p"] >= 2.5)
    repeats = len(plan.strata)
    assert rows == repeats * len(trait)
    assert table["stratum"] == [name for name in plan.strata for _ in trait]
    assert table["trait"] == [f"trait{t}" for t in trait] * repeats
    assert table["variant_id"] == [f"v{v}" for v in variant] * repeats
    assert table["position"] == (variant + 1).tolist() * repeats
    assert set(table["contig"]) == {"1"}
    for name, of_all in values.items():
        if name != "status":
            np.testing.assert_array_equal(table[name], np.tile(of_all[trait, variant], repeats))
    assert list(table)[8:] == [column.name for column in cube.columns]


def test_no_hits_are_an_empty_table(tmp_path: Path) -> None:
    plan = PLANS["strata"]
    lay_out(tmp_path / "run", plan)
    values = values_of_task(plan, ScanTask(0, 0), values_of(plan))
    assert write_hits(tmp_path / "run", plan, ScanTask(0, 0), values, 1e9) == 0
    assert compact_hits(tmp_path / "run", ResultsCube(tmp_path / "run"), []) == 0
    table = pq.read_table(tmp_path / "run" / "hits.parquet")
    assert (table.num_rows, table.schema.field("beta").type) == (0, "float")


@pytest.mark.parametrize("traits", [3, 32, 40])
def test_a_row_that_is_repeated_is_written_as_its_copies_are(traits: int) -> None:
    row = np.random.default_rng(1).integers(0, 9, (1, 300)).astype(np.int32)
    repeated = np.broadcast_to(row, (traits, 300))
    layout = column_layout("n", row.dtype, 32, 512)
    for start in range(0, traits, 32):
        inside = repeated[start : start + 32]
        assert b"".join(layout.encode(inside)) == b"".join(layout.encode(inside.copy()))
