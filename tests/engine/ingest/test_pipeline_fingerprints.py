"""What makes a source another one, and what does not."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from allscan.engine.ingest import fingerprints
from allscan.engine.ingest.fingerprints import describe_source, source_bytes, source_identity

sys.path.append(str(Path(__file__).parent))

from fake_source import FakeSource, Record


def header(path, **settings):
    return FakeSource(str(path), (Record("1", 1),), **settings).header


@pytest.mark.parametrize(
    "name",
    ["x.bed", "x.bim", "x.fam", "x.pvar", "x.pvar.zst", "x.psam", "x.sample", "x.bed.bgi", "x.bed.tbi", "x.bed.csi"],
)
def test_a_change_of_any_file_of_a_fileset_is_seen(tmp_path, name):
    (tmp_path / "x.bed").write_bytes(b"genotypes")
    before = source_identity(header(tmp_path / "x.bed"), {})
    (tmp_path / name).write_bytes(b"something else")
    assert source_identity(header(tmp_path / "x.bed"), {}) != before


def test_a_touched_file_other_samples_and_options_are_seen(tmp_path):
    path, table = tmp_path / "x.bgen", tmp_path / "people.txt"
    path.write_bytes(b"genotypes")
    table.write_text("a")
    options = {"sample_file": table}
    before = source_identity(header(path), options)
    assert source_identity(header(path), options) == before
    assert source_identity(header(path, n_samples=41), options) != before
    assert source_identity(header(path, sex=(1,) * 40), options) != before
    assert source_identity(header(path), options | {"ref_first": False}) != before
    table.write_text("ab")
    assert source_identity(header(path), options) != before
    table.write_text("a")
    os.utime(path, ns=(1, 1))
    assert source_identity(header(path), options) != before


def test_unrelated_neighbours_are_not_seen(tmp_path):
    (tmp_path / "x.bed").write_bytes(b"genotypes")
    before = source_identity(header(tmp_path / "x.bed"), {})
    (tmp_path / "x.log").write_text("log")
    (tmp_path / "x.zarr.partial").mkdir()
    assert source_identity(header(tmp_path / "x.bed"), {}) == before


def test_small_files_are_hashed_whole(tmp_path):
    (tmp_path / "x.bed").write_bytes(b"abc")
    described = describe_source(header(tmp_path / "x.bed"))
    assert described["sha256_of"] == "whole file"
    assert described["sha256"] == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(("place", "seen"), [(0, True), (50, False), (99, True), (None, True)])
def test_large_files_are_hashed_by_size_and_ends(tmp_path, monkeypatch, place, seen):
    monkeypatch.setattr(fingerprints, "WHOLE_FILE_BYTES", 50)
    monkeypatch.setattr(fingerprints, "_END_BYTES", 10)
    path = tmp_path / "x.bed"
    path.write_bytes(bytes(100))
    before = describe_source(header(path))
    assert before["sha256_of"] == "size, first and last MiB"
    changed = bytearray(101 if place is None else 100)
    if place is not None:
        changed[place] = 1
    path.write_bytes(changed)
    assert (describe_source(header(path))["sha256"] != before["sha256"]) == seen


def test_folders_are_described_by_their_files(tmp_path):
    store = tmp_path / "x.vcz"
    (store / "call_genotype").mkdir(parents=True)
    (store / "zarr.json").write_text("{}")
    (store / "call_genotype" / "0").write_bytes(b"chunk")
    before, identity = describe_source(header(store)), source_identity(header(store), {})
    assert source_bytes(store) == before["bytes"] == 7
    (store / "zarr.json").write_text("[]")
    assert describe_source(header(store))["sha256"] != before["sha256"]
    (store / "call_genotype" / "1").write_bytes(b"more")
    assert source_identity(header(store), {}) != identity
