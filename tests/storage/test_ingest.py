"""Ingest into object storage: the store appears when it is whole, and is the one that a disk would hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import allscan
from allscan.errors import InputError, OutputError
from allscan.storage import ObjectPlace, files_below, objects

if TYPE_CHECKING:
    from tests.jobs.conftest import CommandLine

HEADER = "##fileformat=VCFv4.2\n##contig=<ID=22>\n##FORMAT=<ID=GT,Number=1,Type=String,Description='g'>\n"


@pytest.fixture
def vcf(tmp_path: Path) -> Path:
    rng = np.random.default_rng(4)
    rows = ["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(f"P{k}" for k in range(30))]
    for k in range(300):
        calls = "\t".join(("0/0", "0/1", "1/1", "./.")[code] for code in rng.integers(0, 4, 30))
        rows.append(f"22\t{100 + k}\trs{k}\tA\tG\t.\tPASS\t.\tGT\t{calls}")
    path = tmp_path / "x.vcf"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def content(store: Path | ObjectPlace) -> dict[str, Any]:
    """Every file of a store, but for the time at which it was made."""
    files: dict[str, Any] = {name: (store / name).read_bytes() for name, _ in files_below(store)}
    attributes = json.loads(files.pop("zarr.json"))
    assert attributes["attributes"].pop("created")
    return files | {"attributes": attributes}


def test_a_store_is_the_one_that_a_disk_would_hold(
    vcf: Path, bucket: ObjectPlace, tmp_path: Path, allscan_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    local = allscan_cli("ingest", vcf, "local.zarr", "--workers", "1")
    assert local.exit_code == 0, local.output
    remote = allscan_cli("ingest", vcf, f"{bucket}made/x.zarr", "--workers", "1")
    assert remote.exit_code == 0, remote.output
    assert content(bucket / "made/x.zarr") == content(tmp_path / "local.zarr")
    assert not list(tmp_path.glob("*.partial")), "the staging folder is gone"
    assert [place.name for place in (bucket / "made").iterdir()] == ["x.zarr"]
    again = allscan_cli("ingest", vcf, f"{bucket}made/x.zarr", "--workers", "1")
    assert "complete already" in again.output
    assert not allscan.verify_store(f"{bucket}made/x.zarr")


def test_an_upload_that_breaks_off_leaves_no_store_and_goes_on(
    vcf: Path, bucket: ObjectPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allscan.ingest(vcf, tmp_path / "local.zarr", workers=1)
    out, put, puts = bucket / "x.zarr", objects.put, [0]

    def failing(place: ObjectPlace, data: bytes) -> None:
        puts[0] += 1
        if puts[0] == 20:
            raise OutputError("S3 answered with 503 for 180 s, whatever was tried", where=str(place))
        put(place, data)

    monkeypatch.setattr(objects, "put", failing)
    with pytest.raises(OutputError, match="503"):
        allscan.ingest(vcf, out, workers=1, staging=tmp_path)
    assert out.exists()
    with pytest.raises(InputError):
        allscan.open_store(out)
    puts[0] = 100
    report = allscan.ingest(vcf, out, workers=1, staging=tmp_path)
    assert report.tasks_resumed > 0
    assert content(out) == content(tmp_path / "local.zarr")


def test_a_store_that_is_there_is_replaced_only_when_asked(vcf: Path, bucket: ObjectPlace, tmp_path: Path) -> None:
    out = bucket / "x.zarr"
    (out / "precious.txt").write_bytes(b"1")
    with pytest.raises(OutputError, match="holds other objects"):
        allscan.ingest(vcf, out, workers=1, staging=tmp_path, overwrite=True)
    (out / "precious.txt").unlink()
    allscan.ingest(vcf, out, workers=1, staging=tmp_path, regions=["22:100-200"])
    with pytest.raises(OutputError, match="exists already"):
        allscan.ingest(vcf, out, workers=1, staging=tmp_path)
    allscan.ingest(vcf, tmp_path / "local.zarr", workers=1)
    allscan.ingest(vcf, out, workers=1, staging=tmp_path, overwrite=True)
    assert content(out) == content(tmp_path / "local.zarr")


def test_a_missing_bucket_is_told_before_the_work(vcf: Path, bucket: ObjectPlace, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no bucket 'absent-bucket'"):
        allscan.ingest(vcf, "s3://absent-bucket/x.zarr", workers=1, staging=tmp_path)
    assert not list(tmp_path.glob("*.partial/parts"))
