"""Places: parsing, keys, and URLs that hold what they must not."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from allscan.errors import InputError
from allscan.storage import ObjectPlace, StorageOptions, one_match, place_of
from allscan.storage.places import checked_endpoint, looks_like_credential
from tests.storage.servers import ENVIRONMENT


def test_a_path_stays_a_path() -> None:
    assert place_of("runs/one") == Path("runs/one")
    assert place_of(Path("runs")) == Path("runs")


@pytest.mark.parametrize("url", ["s3://bucket/a/b.zarr", "gs://bucket/a/b.zarr", "az://bucket/a/b.zarr"])
def test_a_url_is_a_place_that_behaves_as_a_path(url: str) -> None:
    place = place_of(url)
    assert isinstance(place, ObjectPlace)
    assert str(place) == url
    assert (place.name, place.suffix, place.stem) == ("b.zarr", ".zarr", "b")
    assert str(place / "c/0" / "1") == f"{url}/c/0/1"
    assert place.parent / "b.zarr" == place
    assert str(place.with_name("c")) == url.replace("b.zarr", "c")
    assert place_of(url + "/") == place


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://AKIAKEY:SECRETSECRET@bucket/x", "password"),
        ("s3://SECRETSECRET@bucket/x", "password"),
        ("s3://bucket/x?X-Amz-Signature=SECRETSECRET", "query"),
        ("gs://bucket?token=SECRETSECRET", "query"),
        ("s3://bucket/x#SECRETSECRET", "query"),
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        place_of(url)
    assert said in str(refused.value)
    assert "SECRETSECRET" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["http://host/x", "file:///x", "s3://b/x", "s3:///x", "s3://bucket/a/../b", "s3://bucket//x", "s3://bucket/\0"],
)
def test_impossible_urls_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        place_of(url)


@pytest.mark.parametrize("part", ["..", "a/../b", "/a", "a//b", "", "a\nb"])
def test_names_cannot_lead_out_of_a_place(part: str) -> None:
    with pytest.raises(InputError):
        ObjectPlace("s3", "bucket", "run") / part


def test_a_url_that_was_made_a_path_is_refused() -> None:
    with pytest.raises(InputError, match="as text"):
        place_of(Path("s3://bucket/x"))


@pytest.mark.parametrize("endpoint", ["https://user:pw@host", "https://host/?sig=x", "ftp://host", "host"])
def test_endpoints_are_addresses_and_nothing_else(endpoint: str) -> None:
    with pytest.raises(InputError):
        checked_endpoint(endpoint)


def test_names_of_credentials_are_known() -> None:
    for name in ("secret_access_key", "access_key_id", "account_key", "token", "password", "sas_key", "bearer"):
        assert looks_like_credential(name), name
    for name in ("endpoint", "region", "anonymous", "requester_pays", "retry_seconds"):
        assert not looks_like_credential(name), name


def test_a_pickled_place_holds_no_credentials(bucket: ObjectPlace) -> None:
    (bucket / "x").write_bytes(b"1")
    content = pickle.dumps(bucket)
    assert not any(secret.encode() in content for name, secret in ENVIRONMENT.items() if name != "AWS_REGION")
    assert pickle.loads(content) == bucket
    assert StorageOptions() == ObjectPlace("s3", "bucket", "").options


def test_a_star_means_the_one_file_that_there_is(tmp_path):
    (tmp_path / "echo_v4.preds.tsv").write_text("")
    (tmp_path / ".hidden.preds.tsv").write_text("")
    pattern = tmp_path / "*preds.tsv"
    assert one_match(pattern) == tmp_path / "echo_v4.preds.tsv"
    assert one_match(tmp_path / "echo_v4.preds.tsv") == tmp_path / "echo_v4.preds.tsv"
    assert one_match(tmp_path / "*.[a-z]sv") == tmp_path / "*.[a-z]sv"
    assert one_match(tmp_path / "nowhere" / "*") == tmp_path / "nowhere" / "*"
    (tmp_path / "foxtrot.preds.tsv").write_text("")
    with pytest.raises(InputError, match=r"may be 2 files: echo_v4\.preds\.tsv, foxtrot\.preds\.tsv"):
        one_match(pattern)
    pattern.write_text("")
    assert one_match(pattern) == pattern
