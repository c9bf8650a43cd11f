"""Whole jobs in object storage: the same bytes as on a disk, whatever the storage does in between."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import allscan
from allscan.jobs import lease
from allscan.storage import ObjectPlace, StorageOptions, files_below, objects, upload_tree
from tests.engine.null_models import draw_model
from tests.storage.servers import ENVIRONMENT, Answer, Request, Server, passed_on

if TYPE_CHECKING:
    from tests.jobs.conftest import Cohort, CommandLine

RESULTS = ("results.zarr", "commits", "hits.parts", "hits.parquet", "manifest.json")
SECRETS = [value for name, value in ENVIRONMENT.items() if name != "AWS_REGION"]


def results_of(run: Path | ObjectPlace) -> dict[str, bytes]:
    """Every file that the scan wrote."""
    names = [name for name, _ in files_below(run) if name.partition("/")[0] in RESULTS]
    return {name: (run / name).read_bytes() for name in names}


def put_cohort(cohort: Cohort, bucket: ObjectPlace) -> None:
    upload_tree(cohort.store, bucket / "cohort.zarr", last="zarr.json")
    for name in ("traits.tsv", "covariates.tsv"):
        (bucket / name).write_bytes((cohort.folder / name).read_bytes())


def remote_job(cohort: Cohort, bucket: ObjectPlace, name: str = "remote.yaml", **changes: Any) -> Path:
    """The cohort's job with everything in the bucket."""
    keys = {
        "genotypes": f"{bucket}cohort.zarr",
        "traits": {"file": f"{bucket}traits.tsv", "columns": ["height", "ldl"]},
        "covariates": {"file": f"{bucket}covariates.tsv", "formula": "age + sex"},
        "output": f"{bucket}run",
        "runtime": {"workers": 2, "memory": "2GB", "storage": {"retry_seconds": 5}},
        "variants": {"min_mac": 1},
        "results": {"hits_neg_log10_p": 2},
    }
    return cohort.job(name, **{**keys, **changes})


@pytest.fixture
def expected(cohort: Cohort, allscan_cli: CommandLine) -> dict[str, bytes]:
    """What the job writes on a disk."""
    job = cohort.job("local.yaml", variants={"min_mac": 1}, results={"hits_neg_log10_p": 2})
    done = allscan_cli("run", job)
    assert done.exit_code == 0, done.output
    return results_of(cohort.folder / "run")


def assert_no_secret(*places: Path | ObjectPlace) -> None:
    for place in places:
        for name, _ in files_below(place):
            content = (place / name).read_bytes()
            assert not any(secret.encode() in content for secret in SECRETS), f"{place}/{name}"


def test_a_job_in_object_storage_writes_what_it_writes_on_a_disk(
    cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine, expected: dict[str, bytes], tmp_path: Path
) -> None:
    put_cohort(cohort, bucket)
    job = remote_job(cohort, bucket)
    told = {}
    for words in (
        ("info", f"{bucket}cohort.zarr"),
        ("verify", f"{bucket}cohort.zarr"),
        ("check", job),
        ("plan", job),
        ("run", job),
        ("status", f"{bucket}run"),
        ("logs", f"{bucket}run"),
        ("report", f"{bucket}run"),
        ("export", f"{bucket}run", "--trait", "height", "--format", "regenie", "--out", tmp_path / "remote.txt"),
    ):
        done = allscan_cli(*words)
        assert done.exit_code == 0, (words, done.output)
        told[words[0]] = done.output
    assert results_of(bucket / "run") == expected
    assert "state       complete" in told["status"]
    assert "session begun" in told["logs"]
    assert "complete: tests" in told["logs"]
    assert "free" not in told["plan"]
    assert b"<html" in (bucket / "run/report.html").read_bytes()
    assert not (bucket / "run/run.lock").exists()
    local = allscan_cli(
        "export", cohort.folder / "run", "--trait", "height", "--format", "regenie", "--out", tmp_path / "local.txt"
    )
    assert local.exit_code == 0, local.output
    assert (tmp_path / "remote.txt").read_bytes() == (tmp_path / "local.txt").read_bytes()
    assert_no_secret(bucket, cohort.folder, tmp_path)
    assert not any(secret in text for secret in SECRETS for text in told.values())
    again = allscan_cli("run", job)
    assert "nothing was computed" in again.output


def test_traits_of_another_kind_are_added_in_object_storage(
    cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine
) -> None:
    rows = [line.split("\t") for line in (cohort.folder / "traits.tsv").read_text().splitlines()]
    told = [[*rows[0], "tall"], *([*row, "yes" if float(row[1]) > 173 else "no"] for row in rows[1:])]
    (cohort.folder / "traits.tsv").write_text("\n".join("\t".join(row) for row in told) + "\n")
    put_cohort(cohort, bucket)
    both = {"tall": {"type": "binary"}, "height": {}}
    first, second = (
        remote_job(cohort, bucket, f"{len(columns)}.yaml", traits={"file": f"{bucket}traits.tsv", "columns": columns})
        for columns in ({"height": {}}, both)
    )
    for words in (("run", first), ("run", second, "--update")):
        done = allscan_cli(*words)
        assert done.exit_code == 0, done.output
    keys: dict[str, Any] = {"variants": {"min_mac": 1}, "results": {"hits_neg_log10_p": 2}}
    local = cohort.job("local.yaml", traits={"file": "traits.tsv", "columns": both}, **keys)
    assert allscan_cli("run", local).exit_code == 0
    found, expected = (results_of(run) for run in (bucket / "run", cohort.folder / "run"))
    for results in (found, expected):
        assert any(name.startswith("results.zarr/binary/cases/c/") for name in results)
        # Commits count what an update kept.
        assert {results.pop(name) for name in list(results) if name.startswith("commits/")}
    assert found == expected
    remote, disk = (allscan.open_results(str(run)) for run in (f"{bucket}run", cohort.folder / "run"))
    assert remote.trait_kind.to_numpy().tolist() == ["binary", "quantitative"]
    assert remote.load().identical(disk.load())


def test_a_null_model_in_object_storage_is_that_of_a_disk(
    cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine
) -> None:
    put_cohort(cohort, bucket)
    for place in (cohort.folder / "null_model", bucket / "null_model"):
        draw_model(place, cohort.ids, ["height", "ldl"], chromosomes=("21", "22"))
    both = [cohort.folder / "null_model", bucket / "null_model"]
    one, other = ({name: (place / name).read_bytes() for name, _ in files_below(place)} for place in both)
    assert one == other
    settings = {"variants": {"min_mac": 1}, "results": {"hits_neg_log10_p": 2}}
    for job in (
        cohort.job("local.yaml", null_model={"load": "null_model"}, **settings),
        remote_job(cohort, bucket, null_model={"load": f"{bucket}null_model"}),
    ):
        done = allscan_cli("run", job)
        assert done.exit_code == 0, done.output
    assert results_of(bucket / "run") == results_of(cohort.folder / "run")


def test_a_job_file_may_lie_beside_its_data(
    cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine, expected: dict[str, bytes]
) -> None:
    put_cohort(cohort, bucket)
    job = cohort.job("beside.yaml", variants={"min_mac": 1}, results={"hits_neg_log10_p": 2}, output="there")
    (bucket / "job.yaml").write_bytes(job.read_bytes())
    done = allscan_cli("run", f"{bucket}job.yaml")
    assert done.exit_code == 0, done.output
    assert results_of(bucket / "there") == expected


def test_results_open_as_a_dataset(cohort: Cohort, bucket: ObjectPlace, expected: dict[str, bytes]) -> None:
    import numpy as np

    import allscan

    upload_tree(cohort.folder / "run" / "results.zarr", bucket / "run/results.zarr", last="zarr.json")
    upload_tree(cohort.store, bucket / "cohort.zarr", last="zarr.json")
    remote, local = allscan.open_results(f"{bucket}run"), allscan.open_results(cohort.folder / "run")
    np.testing.assert_array_equal(remote["beta"].values, local["beta"].values)
    calls = allscan.open_dataset(f"{bucket}cohort.zarr")["call_dosage"][100:120]
    np.testing.assert_array_equal(calls.values, allscan.open_dataset(cohort.store)["call_dosage"][100:120].values)


def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_bytes(
    s3: str, cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine, expected: dict[str, bytes]
) -> None:
    put_cohort(cohort, bucket)
    job = remote_job(cohort, bucket)
    process: list[subprocess.Popen[bytes]] = []
    commits, ready = [0], threading.Event()

    def answer(request: Request, _: int) -> Answer:
        if request.method == "PUT" and "/run/commits/" in request.path:
            commits[0] += 1
            if commits[0] == 3:
                ready.wait(30)
                os.killpg(process[0].pid, signal.SIGKILL)
        return passed_on(s3, request)

    with Server(answer).running() as endpoint:
        process.append(
            subprocess.Popen(
                [sys.executable, "-m", "allscan.jobs.cli", "run", str(job)],
                env={**os.environ, "AWS_ENDPOINT_URL": endpoint},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        ready.set()
        assert process[0].wait(120) == -signal.SIGKILL
    done = sum(1 for _ in (bucket / "run/commits").iterdir())
    assert 2 <= done < len([name for name in expected if name.startswith("commits/")])
    status = allscan_cli("status", f"{bucket}run")
    assert "killed" in status.output, status.output
    # The lease is there still, and its process is known to be gone.
    assert (bucket / "run/run.lock").exists()
    resumed = allscan_cli("resume", f"{bucket}run", "--here")
    assert resumed.exit_code == 0, resumed.output
    assert results_of(bucket / "run") == expected


def test_workers_of_a_ray_cluster_read_and_write_object_storage(
    cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine, expected: dict[str, bytes]
) -> None:
    put_cohort(cohort, bucket)
    runtime = {"workers": 2, "memory": "2GB", "executor": "ray", "address": "local"}
    done = subprocess.run(
        [sys.executable, "-m", "allscan.jobs.cli", "run", str(remote_job(cohort, bucket, runtime=runtime))],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert results_of(bucket / "run") == expected
    assert_no_secret(bucket, cohort.folder)
    assert not any(secret in text for secret in SECRETS for text in (done.stdout, done.stderr))


@pytest.mark.parametrize("every", [4, 7])
def test_storage_that_fails_now_and_then_changes_nothing(
    s3: str, cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine, expected: dict[str, bytes], every: int
) -> None:
    put_cohort(cohort, bucket)

    def answer(request: Request, number: int) -> Answer:
        kind = number // every % 4
        if number % every or kind == 0:
            return passed_on(s3, request)
        if kind == 1:
            return Answer(503, b"<Error><Code>SlowDown</Code></Error>")
        if kind == 2:
            return Answer(500, b"<Error><Code>InternalError</Code></Error>")
        said = passed_on(s3, request)  # done, and the answer is lost
        if request.method == "GET" and len(said.body) > 10:
            return Answer(said.status, said.body, said.headers, cut=5)
        return Answer(500)

    with Server(answer).running() as endpoint:
        storage = {"endpoint": endpoint, "retry_seconds": 60}
        job = remote_job(cohort, bucket, runtime={"workers": 2, "memory": "2GB", "storage": storage})
        done = allscan_cli("run", job)
    assert done.exit_code == 0, done.output
    assert results_of(bucket / "run") == expected


def test_storage_that_fails_for_good_ends_the_run_with_what_to_do(
    s3: str, cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine, expected: dict[str, bytes]
) -> None:
    put_cohort(cohort, bucket)
    fails = [True]

    def answer(request: Request, _: int) -> Answer:
        if fails[0] and request.method == "PUT" and re.search(r"/results.zarr/beta/c/.*/2$", request.path):
            return Answer(503, b"<Error><Code>SlowDown</Code></Error>")
        return passed_on(s3, request)

    with Server(answer).running() as endpoint:
        storage = {"endpoint": endpoint, "retry_seconds": 1}
        job = remote_job(cohort, bucket, runtime={"workers": 2, "memory": "2GB", "storage": storage})
        failed = allscan_cli("run", job)
        assert failed.exit_code == 2, failed.output
        assert "S3 answered with 503 for 1 s" in failed.output
        assert "finished work is kept" in failed.output
        assert "failed" in allscan_cli("status", f"{bucket}run").output
        fails[0] = False
        done = allscan_cli("run", job)
    assert done.exit_code == 0, done.output
    assert results_of(bucket / "run") == expected


def test_an_update_keeps_what_holds(
    cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine, expected: dict[str, bytes]
) -> None:
    put_cohort(cohort, bucket)
    one = remote_job(cohort, bucket, "one.yaml", traits={"file": f"{bucket}traits.tsv", "columns": ["height"]})
    assert allscan_cli("run", one).exit_code == 0
    two = remote_job(cohort, bucket)
    refused = allscan_cli("run", two)
    assert refused.exit_code == 2
    assert "--update" in refused.output
    updated = allscan_cli("run", "--update", two)
    assert updated.exit_code == 0, updated.output
    found = results_of(bucket / "run")
    # A commit says how much of its task was taken over.
    assert {name: found[name] for name in found if "commits/" not in name} == {
        name: expected[name] for name in expected if "commits/" not in name
    }
    assert not (bucket / "run/previous").exists()
    kept = json.loads((bucket / "run/provenance.json").read_bytes())["run"]["results_kept"]
    assert kept > 0


def test_a_damaged_chunk_is_named(cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine) -> None:
    put_cohort(cohort, bucket)
    chunk = bucket / "cohort.zarr/call_dosage/c/3/0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(bytes(content))
    (bucket / "cohort.zarr/variant_id/c/0").unlink()
    verified = allscan_cli("verify", f"{bucket}cohort.zarr")
    assert verified.exit_code == 2
    assert "call_dosage, chunk 3/0" in verified.output
    assert "variant_id, chunk 0: missing" in verified.output
    ran = allscan_cli("run", remote_job(cohort, bucket))
    assert ran.exit_code == 2
    assert "cohort.zarr" in ran.output


def test_what_is_not_there_is_told(cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine) -> None:
    for words, said in (
        (("info", f"{bucket}nothing.zarr"), "no such genotype store"),
        (("info", "s3://absent-bucket/x.zarr"), "no bucket 'absent-bucket'"),
        (("status", f"{bucket}run"), "no such run folder"),
        (("check", remote_job(cohort, bucket)), "no genotype store"),
        (("run", f"{bucket}job.yaml"), "no such file"),
        (("info", "s3://KEYKEY:SECRETSECRET@bucket/x"), "user name, password or key"),
        (
            ("export", f"{bucket}run", "--trait", "t", "--format", "plink", "--out", f"{bucket}x"),
            "a path on this machine",
        ),
        (("ingest", f"{bucket}a.vcf", "out.zarr"), "a path on this machine"),
    ):
        done = allscan_cli(*words)
        assert done.exit_code == 2, done.output
        assert said in done.output, done.output
        assert "SECRETSECRET" not in done.output
    upload_tree(cohort.store, bucket / "cohort.zarr", last="zarr.json")
    done = allscan_cli("check", remote_job(cohort, bucket))
    assert done.exit_code == 2
    assert "traits.tsv' " in done.output or "there is no file" in done.output, done.output


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runtime": {"storage": {"secret_access_key": "SECRETSECRET"}}}, "is a credential"),
        ({"runtime": {"storage": {"endpoint": "https://user:SECRETSECRET@host"}}}, "holds a credential"),
        ({"output": "s3://key:SECRETSECRET@bucket/run"}, "user name, password or key"),
        ({"genotypes": "s3://bucket/x?X-Amz-Signature=SECRETSECRET"}, "query"),
        ({"genotypes": "https://host/x"}, "not a kind of storage"),
        ({"genotypes": "s3://bucket/../x"}, "part that is empty"),
    ],
)
def test_a_job_file_holds_no_credentials(
    cohort: Cohort, allscan_cli: CommandLine, changes: dict[str, Any], said: str
) -> None:
    refused = allscan_cli("check", cohort.job("bad.yaml", **changes))
    assert refused.exit_code == 2
    assert said in refused.output
    assert "SECRETSECRET" not in refused.output


def test_where_data_are_read_from_is_no_science(cohort: Cohort, bucket: ObjectPlace) -> None:
    from allscan.jobs.check import check_job
    from allscan.jobs.job import Job

    put_cohort(cohort, bucket)
    job = remote_job(cohort, bucket, variants=None, results=None)
    assert check_job(Job.from_yaml(job)).science == check_job(Job.from_yaml(cohort.job())).science


def other_holder(process: int = 1, machine: str = "elsewhere") -> bytes:
    return json.dumps(
        {"token": "other", "machine": machine, "host": "elsewhere", "process": process, "started": "0"}
    ).encode()


def test_a_run_folder_is_held_by_one(
    cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_cohort(cohort, bucket)
    place = bucket / "run/run.lock"
    place.write_bytes(other_holder())
    job = remote_job(cohort, bucket)
    refused = allscan_cli("run", job)
    assert refused.exit_code == 2
    assert "another run is working in this folder (process 1 on elsewhere)" in refused.output
    assert lease.is_held(place)
    monkeypatch.setattr(lease, "LEASE_SECONDS", -1.0)
    assert not lease.is_held(place)
    taken = allscan_cli("run", job)
    assert taken.exit_code == 0, taken.output
    assert not place.exists()


def test_of_many_one_gets_a_free_lease(bucket: ObjectPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_machine", lambda: "this")
    place = bucket / "run.lock"
    place.write_bytes(other_holder(2**22 + 1, "this"))
    got, barrier, leave = [], threading.Barrier(6), threading.Event()

    def hold(number: int) -> None:
        barrier.wait()
        try:
            with lease.held(place):
                got.append(number)
                leave.wait(30)
        except lease.OutputError:
            pass
        finally:
            ended.release()

    ended = threading.Semaphore(0)
    threads = [threading.Thread(target=hold, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        assert ended.acquire(timeout=60)
    leave.set()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert not place.exists()


def test_who_loses_the_lease_stops_and_writes_no_more(bucket: ObjectPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    from allscan.errors import OutputError
    from allscan.jobs.run_folder import RunFolder

    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    stopped = threading.Event()
    monkeypatch.setattr(lease._thread, "interrupt_main", stopped.set)
    folder = RunFolder(bucket / "run")
    with folder.locked():
        folder.write_state({"state": "running"})
        folder.lock.write_bytes(other_holder())
        assert stopped.wait(30)
        with pytest.raises(OutputError, match="taken over"):
            folder.write_state({"state": "stopped"})
    # It is the other's, and stays.
    assert (bucket / "run/run.lock").read_bytes() == other_holder()


def test_a_lease_is_renewed_while_it_is_held(bucket: ObjectPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    place = bucket / "run.lock"
    renewed = threading.Event()
    before, count = objects.replace_if_same, [0]

    def counted(*given: Any) -> None:
        before(*given)
        count[0] += 1
        if count[0] == 3:
            renewed.set()

    monkeypatch.setattr(objects, "replace_if_same", counted)
    with lease.held(place):
        assert renewed.wait(30)
        assert lease.is_held(place)
    assert not place.exists()


def test_the_endpoint_of_the_job_is_used(cohort: Cohort, bucket: ObjectPlace, allscan_cli: CommandLine) -> None:
    server = Server(lambda *_: Answer(403))
    with server.running() as endpoint:
        storage = {"endpoint": endpoint, "region": "eu-west-3", "requester_pays": True, "retry_seconds": 1}
        done = allscan_cli("check", remote_job(cohort, bucket, runtime={"storage": storage}))
    assert done.exit_code == 2
    assert "403" in done.output
    assert server.requests[0].headers["x-amz-request-payer"] == "requester"
    assert "/eu-west-3/s3/" in server.requests[0].headers["authorization"]
    assert ObjectPlace("s3", "bucket", "x").options == StorageOptions()
