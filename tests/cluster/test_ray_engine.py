"""Ingest and scan on Ray write the bytes that they write on one machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import allscan
from allscan.cluster.embedded import EmbeddedExecutor
from allscan.cluster.ray_executor import RayExecutor
from allscan.engine.design import pooled
from allscan.engine.marker_names import named_markers
from allscan.engine.markers import MarkerRules, choose_markers
from allscan.engine.null_model_files import NullModelFiles
from allscan.engine.offsets import StoredOffsets
from allscan.engine.plan import ScanSpec, plan_scan
from allscan.engine.results import CUBE
from allscan.engine.scan import run_scan
from tests.cluster.ray_nodes import Machines
from tests.engine.cohorts import make_design, write_cohort
from tests.engine.null_models import draw_model

pytestmark = pytest.mark.timeout(240)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write_bed(prefix: Path, *, variants: int = 300, samples: int = 50) -> Path:
    """Genotypes in PLINK's format, of random bytes."""
    rng = np.random.default_rng(3)
    body = rng.integers(0, 256, (variants, -(-samples // 4)), np.uint8)
    body[:, -1] &= (1 << (2 * (samples % 4 or 4))) - 1
    prefix.with_suffix(".bed").write_bytes(bytes([0x6C, 0x1B, 0x01]) + body.tobytes())
    people = "".join(f"0 person{i} 0 0 {1 + i % 2} -9\n" for i in range(samples))
    prefix.with_suffix(".fam").write_text(people)
    rows = "".join(f"{1 + v // 200} rs{v} 0 {1000 + 10 * v} A C\n" for v in range(variants))
    prefix.with_suffix(".bim").write_text(rows)
    return prefix.with_suffix(".bed")


def test_an_ingest_on_ray_writes_the_same_store(machines: Machines, tmp_path: Path) -> None:
    source = write_bed(tmp_path / "calls")
    allscan.ingest(source, tmp_path / "here.zarr", workers=1)
    allscan.ingest(source, tmp_path / "ray.zarr", address=machines.address)
    here, ray = tree(tmp_path / "here.zarr"), tree(tmp_path / "ray.zarr")
    assert here.keys() == ray.keys()
    differing = [name for name in here if here[name] != ray[name]]
    # When it was made, and nothing else.
    assert set(differing) <= {"zarr.json"}
    attributes = [json.loads(files["zarr.json"])["attributes"] for files in (here, ray)]
    for one in attributes:
        del one["created"]
    assert attributes[0] == attributes[1]


@pytest.mark.parametrize(("through_the_head", "with_null_model"), [(False, False), (True, False), (False, True)])
def test_a_scan_on_ray_writes_the_same_results(
    machines: Machines, tmp_path: Path, through_the_head: bool, with_null_model: bool
) -> None:
    cohort = write_cohort(tmp_path / "cohort.zarr")
    design, spec = make_design(cohort), ScanSpec()
    if with_null_model:
        draw_model(tmp_path / "null_model", cohort.store.sample_ids, design.trait_names)
        ids = cohort.store.sample_ids[design.store_rows]
        design = replace(design, offsets=StoredOffsets(NullModelFiles(tmp_path / "null_model"), design, ids))
    plan = plan_scan(cohort.store, pooled(design), spec, workers=2, memory_bytes=4 << 30)
    run_scan(plan, cohort.store, pooled(design), spec, EmbeddedExecutor(2), tmp_path / "here")
    address = machines.client_address if through_the_head else machines.address
    with RayExecutor(address) as executor:
        run_scan(plan, cohort.store, pooled(design), spec, executor, tmp_path / "ray")
    for part in (CUBE, "hits.parquet"):
        here, ray = tmp_path / "here" / part, tmp_path / "ray" / part
        assert (tree(here) if here.is_dir() else here.read_bytes()) == (tree(ray) if ray.is_dir() else ray.read_bytes())


def test_markers_chosen_and_named_on_ray_are_the_same(machines: Machines, tmp_path: Path) -> None:
    store = write_cohort(tmp_path / "cohort.zarr", contigs={"1": 900, "2": 300}).store
    people = np.arange(0, store.n_samples, 2)
    here = choose_markers(store, people, MarkerRules(prune_r2=0.01), EmbeddedExecutor(1))
    names = [*store.column("variant_id")[here.rows[:40]], "nobody"]
    with RayExecutor(machines.address) as executor:
        on_ray = choose_markers(store, people, MarkerRules(prune_r2=0.01), executor)
        named = named_markers(store, names, people, executor)
    np.testing.assert_array_equal(on_ray.rows, here.rows)
    assert on_ray.accounting == here.accounting
    assert "r² above" in str(here.accounting)
    np.testing.assert_array_equal(named.rows, here.rows[:40])
    assert named.unknown == ("nobody",)
