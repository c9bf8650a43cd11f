"""Requests to object storage: what comes back, what is tried again, and what a failure says."""

from __future__ import annotations

import json
import threading
import traceback
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from allscan.errors import InputError, OutputError, StorageError
from allscan.phenotypes.auxiliary import find_auxiliary
from allscan.storage import (
    ObjectPlace,
    StorageOptions,
    copy_tree,
    create_exclusive,
    each,
    files_below,
    first_bytes,
    objects,
    one_match,
    open_stream,
    opened,
    remove_tree,
    size_of,
    write_atomically,
    write_files,
)
from tests.storage.servers import ACCESS_KEY, ENVIRONMENT, Answer, Request, Server, passed_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRETS = [value for name, value in ENVIRONMENT.items() if name != "AWS_REGION"]
REFUSAL = (
    f"<Error><Code>SignatureDoesNotMatch</Code><Message>m</Message><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId>"
    f"<StringToSign>{ENVIRONMENT['AWS_SESSION_TOKEN']}</StringToSign></Error>"
).encode()


def at(endpoint: str, key: str = "x/y", scheme: str = "s3", **options: object) -> ObjectPlace:
    return ObjectPlace(scheme, "bucket", key, StorageOptions(endpoint=endpoint, **{"retry_seconds": 2.0, **options}))


def test_objects_are_written_read_listed_and_removed(bucket: ObjectPlace) -> None:
    folder = bucket / "run"
    assert not folder.exists()
    write_files((folder / f"c/{k}", [b"head", bytes([k])]) for k in range(40))
    write_atomically(folder / "zarr.json", b"{}")
    assert folder.exists()
    assert folder.is_dir()
    assert not folder.is_file()
    assert (folder / "zarr.json").is_file()
    assert (folder / "c/7").read_bytes() == b"head\x07"
    assert size_of(folder / "c/7") == 5
    assert first_bytes(folder / "c/7", 2) == b"he"
    assert first_bytes(folder / "c/7", 99) == b"head\x07"
    assert len(files_below(folder)) == 41
    assert ("c/7", 5) in files_below(folder)
    assert sorted(place.name for place in folder.iterdir()) == ["c", "zarr.json"]
    assert [place.name for place in (folder / "c").glob("3?")] == [str(k) for k in range(30, 40)]
    contents = list(each(lambda place: place.read_bytes(), [folder / f"c/{k}" for k in range(40)]))
    assert contents == [b"head" + bytes([k]) for k in range(40)]
    copy_tree(folder, bucket / "copy")
    remove_tree(folder)
    assert not folder.exists()
    assert len(files_below(bucket / "copy")) == 41
    # A prefix ends at a slash.
    assert not (bucket / "cop").exists()


def test_what_is_missing_is_missing(bucket: ObjectPlace) -> None:
    place = bucket / "nothing"
    for read in (place.read_bytes, place.unlink, lambda: open_stream(place), lambda: size_of(place)):
        with pytest.raises(FileNotFoundError):
            read()
    place.unlink(missing_ok=True)
    remove_tree(place)
    with opened(place) as file, pytest.raises(FileNotFoundError):
        file.load_end(8)


def test_stretches_of_an_object(bucket: ObjectPlace) -> None:
    place = bucket / "x"
    place.write_bytes(bytes(range(100)))
    with opened(place) as file:
        file.load_end(10)
        assert file.size == 100
        assert file.read(90, 10) == bytes(range(90, 100))
        file.load([(5, 10), (50, 3), (98, 10), (200, 5)][:3])
        assert file.read(5, 10) == bytes(range(5, 15))
        assert file.read(50, 3) == bytes(range(50, 53))
        assert file.read(98, 10) == bytes((98, 99))
        file.load([(200, 5)])
        assert file.read(200, 5) == b""
    place.write_bytes(b"")
    with opened(place) as file:
        file.load_end(10)
        assert (file.size, file.read(0, 10)) == (0, b"")


def test_a_stream_can_be_sought_in_and_notices_a_replaced_object(bucket: ObjectPlace) -> None:
    place = bucket / "x"
    content = np.random.default_rng(1).bytes(20 << 20)
    place.write_bytes(content)
    with open_stream(place) as stream:
        assert stream.read() == content
        stream.seek(-3, 2)
        assert stream.read() == content[-3:]
        stream.seek(0)
        assert stream.read(10) == content[:10]
        place.write_bytes(b"other")
        stream.seek(9 << 20)
        with pytest.raises(StorageError, match="replaced"):
            stream.read(1)


def test_creation_is_exclusive_also_among_many(bucket: ObjectPlace) -> None:
    won, lock = [], threading.Lock()

    def create(number: int) -> None:
        try:
            create_exclusive(bucket / "lease", str(number).encode())
        except FileExistsError:
            return
        with lock:
            won.append(number)

    threads = [threading.Thread(target=create, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    content, tag = objects.get_tagged(bucket / "lease")
    assert content == str(won[0]).encode()
    objects.replace_if_same(bucket / "lease", b"next", tag)
    with pytest.raises(objects.ObjectChangedError):
        objects.replace_if_same(bucket / "lease", b"late", tag)
    assert (bucket / "lease").read_bytes() == b"next"


@pytest.mark.parametrize(
    "failure",
    [Answer(500, REFUSAL), Answer(503, REFUSAL), Answer(429, REFUSAL), Answer(200, b"x", silent=True)],
    ids=["500", "503", "429", "silence"],
)
def test_what_fails_for_a_while_is_tried_again(s3: str, bucket: ObjectPlace, failure: Answer) -> None:
    fail_next = [2]

    def answer(request: Request, _: int) -> Answer:
        if fail_next[0]:
            fail_next[0] -= 1
            return failure
        return passed_on(s3, request)

    with Server(answer).running() as endpoint:
        place = ObjectPlace("s3", bucket.bucket, "x", StorageOptions(endpoint=endpoint, retry_seconds=6))
        write_atomically(place, b"content")
        fail_next[0] = 1
        assert place.read_bytes() == b"content"
    assert (bucket / "x").read_bytes() == b"content"


def test_an_answer_that_breaks_off_is_read_to_its_end(s3: str, bucket: ObjectPlace) -> None:
    content = np.random.default_rng(2).bytes(100_000)
    (bucket / "x").write_bytes(content)

    def answer(request: Request, number: int) -> Answer:
        said = passed_on(s3, request)
        return Answer(said.status, said.body, said.headers, cut=len(said.body) // 2) if number < 3 else said

    with Server(answer).running() as endpoint:
        place = ObjectPlace("s3", bucket.bucket, "x", StorageOptions(endpoint=endpoint, retry_seconds=20))
        assert place.read_bytes() == content


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(403, REFUSAL), "403, SignatureDoesNotMatch"),
        (Answer(401, REFUSAL), "401, SignatureDoesNotMatch"),
        (Answer(400, REFUSAL), "400, SignatureDoesNotMatch"),
        (Answer(301, b""), "another region"),
        (Answer(404, b"<Error><Code>NoSuchBucket</Code></Error>"), "no bucket 'bucket'"),
        (Answer(500, REFUSAL), "answered with 500 for 1 s"),
        (Answer(503, REFUSAL), "answered with 503 for 1 s"),
        (Answer(200, b"", silent=True), "could not be reached for 1 s"),
        (
            Answer(200, b"0123456789", {"etag": '"1"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, cut=5),
            "broke off",
        ),
    ],
)
def test_what_fails_for_good_says_what_where_and_what_to_do(answer: Answer, said: str) -> None:
    with Server(lambda *_: answer).running() as endpoint:
        place = at(endpoint, retry_seconds=1.0)
        attempts: list[tuple[type[Exception], Callable[[], object]]] = [(StorageError, place.read_bytes)]
        if not answer.cut:
            attempts.append((OutputError, lambda: place.write_bytes(b"1")))
        for kind, attempt in attempts:
            with pytest.raises(kind) as refused:
                attempt()
            assert said in str(refused.value)
            assert "s3://bucket/x/y" in str(refused.value)
            assert "to do:" in str(refused.value)
            printed = "".join(traceback.format_exception(refused.value))
            assert not any(secret in printed for secret in SECRETS)


def test_nobody_at_the_endpoint(bucket: ObjectPlace) -> None:
    with pytest.raises(StorageError, match="could not be reached"):
        at("http://127.0.0.1:9").exists()


def test_the_bucket_is_missing(bucket: ObjectPlace) -> None:
    place = ObjectPlace("s3", "absent-bucket", "x", bucket.options)
    with pytest.raises(StorageError, match="no bucket 'absent-bucket'"):
        place.exists()
    with pytest.raises(OutputError, match="no bucket 'absent-bucket'"):
        write_atomically(place, b"")


def test_without_credentials_it_says_so(bucket: ObjectPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: Request, _: int) -> Answer:
        return Answer(404, b"no role")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with Server(answer).running() as metadata:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", metadata)
        with pytest.raises(StorageError, match="no credentials for S3"):
            (bucket / "x").read_bytes()


def test_keys_come_from_the_providers_own_file(
    bucket: ObjectPlace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    file.write_text(f"[work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = {SECRETS[1]}\nregion = eu-west-3\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "work")
    server = Server(lambda *_: Answer(403))
    with server.running() as endpoint, pytest.raises(StorageError):
        at(endpoint).read_bytes()
    assert "Credential=AKIAWORK/" in server.requests[0].headers["authorization"]
    assert "/eu-west-3/s3/" in server.requests[0].headers["authorization"]


@pytest.mark.parametrize("do", ["get", "put", "list", "delete"])
def test_the_requester_pays_on_s3(do: str) -> None:
    server = Server(lambda *_: Answer(403))
    with server.running() as endpoint:
        place = at(endpoint, requester_pays=True)
        with pytest.raises((StorageError, OutputError)):
            {
                "get": place.read_bytes,
                "put": lambda: place.write_bytes(b""),
                "list": lambda: list(files_below(place)),
                "delete": lambda: objects.delete([place]),
            }[do]()
    assert server.requests[0].headers["x-amz-request-payer"] == "requester"


def test_google_requests_name_the_project_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "ya29.EXAMPLETOKEN")
    kept: dict[str, bytes] = {}

    def answer(request: Request, _: int) -> Answer:
        if request.method == "PUT":
            if request.headers.get("x-goog-if-generation-match") == "0" and request.path in kept:
                return Answer(412)
            kept[request.path] = request.body
            return Answer(200, b"", {"etag": '"1"', "x-goog-generation": "1"})
        if request.method == "GET" and request.path in kept:
            return Answer(200, kept[request.path], {"etag": '"1"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"})
        if "list-type" in request.path:
            return Answer(200, b"<ListBucketResult></ListBucketResult>")
        return Answer(404)

    server = Server(answer)
    with server.running() as endpoint:
        place = at(endpoint, scheme="gs", requester_pays="my-project")
        create_exclusive(place, b"first")
        with pytest.raises(FileExistsError):
            create_exclusive(place, b"second")
        assert place.read_bytes() == b"first"
        assert not (place.parent / "absent").exists()
    assert {request.headers["x-goog-user-project"] for request in server.requests} == {"my-project"}
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer ya29.EXAMPLETOKEN"}
    assert server.requests[0].path == "/bucket/x%2Fy"

    server = Server(answer)
    monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "of-the-environment")
    with server.running() as endpoint:
        assert not at(endpoint, "z", scheme="gs").is_file()
    assert server.requests[0].headers["x-goog-user-project"] == "of-the-environment"


def test_public_data_need_no_signature(s3: str) -> None:
    server = Server(lambda *_: Answer(404))
    with server.running() as endpoint:
        assert not at(endpoint, anonymous=True).is_file()
    assert "authorization" not in server.requests[0].headers


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match="requester_pays: PROJECT"):
        at("http://127.0.0.1:9", scheme="gs", requester_pays=True).read_bytes()
    with pytest.raises(InputError, match="without encryption"):
        at("http://storage.example.org", scheme="gs").read_bytes()


def test_parquet_is_read_where_it_stands(bucket: ObjectPlace) -> None:
    from pyarrow import dataset

    from allscan.storage.parquet import arrow_place

    for part in range(3):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"a": [part, part + 10], "b": ["x", "y"]}), sink)
        (bucket / f"t/part-{part}.parquet").write_bytes(sink.getvalue().to_pybytes())
    path, system = arrow_place(bucket / "t")
    assert dataset.dataset(path, format="parquet", filesystem=system).to_table(columns=["a"]).column(
        "a"
    ).to_pylist() == [*(0, 10, 1, 11, 2, 12)]
    path, system = arrow_place(bucket / "t/part-1.parquet")
    assert pq.read_schema(path, filesystem=system).names == ["a", "b"]
    assert dataset.dataset(path, format="parquet", filesystem=system).count_rows() == 2


def test_zarr_reads_and_pickles_without_credentials(bucket: ObjectPlace) -> None:
    import pickle

    import zarr

    from allscan.storage import zarr_store

    place = bucket / "g.zarr"
    group = zarr.create_group(zarr_store(place, read_only=False), attributes={"a": 1})
    group.create_array("x", shape=(10,), chunks=(4,), dtype="int32")[:] = np.arange(10)
    again = zarr.open_group(zarr_store(place), mode="r")
    array = again["x"]
    np.testing.assert_array_equal(array[:], np.arange(10))
    content = pickle.dumps(again)
    assert not any(secret.encode() in content for secret in SECRETS)
    np.testing.assert_array_equal(pickle.loads(content)["x"][2:9], np.arange(2, 9))
    assert json.loads((place / "zarr.json").read_bytes())["attributes"] == {"a": 1}


def test_tables_are_found_in_a_bucket(bucket: ObjectPlace) -> None:
    aux = bucket / "v8/wgs/short_read/snpindel/aux"
    write_atomically(aux / "ancestry/echo_v4_r2.ancestry_preds.tsv", b"x")
    write_atomically(aux / "qc/flagged_samples.tsv", b"x")
    for start in (bucket / "v8", aux, aux / "ancestry", aux / "ancestry/echo_v4"):
        assert find_auxiliary(start, "ancestry_preds") == aux / "ancestry/echo_v4_r2.ancestry_preds.tsv"
    assert one_match(aux / "qc/*flagged*.tsv") == aux / "qc/flagged_samples.tsv"
    with pytest.raises(InputError, match="no table of pairs of relatives"):
        find_auxiliary(bucket / "v8", "relatedness")
